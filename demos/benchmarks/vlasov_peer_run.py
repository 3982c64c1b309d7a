"""Other Vlasov-Poisson codes on the problem of `vlasov_peers.py`; started by that script, where these codes are.

Electrons of unit density with f_0 = M(v) (1 + a cos(x/2)) on the circle of length 4 pi. Prints as JSON the times, the
density mode rho_1(t) / rho_1(0) and the seconds of the run without compiling. It needs no limitpde.

treetensor (module ttn) has f as a tree tensor network, or dense; its mode is that of the field, E_1 = -i rho_1 / k.
SPECTRAX has Hermite functions in v, Fourier modes in x, two species and Maxwell's equations; its ions are made still by
a mass of 1e10 and a small temperature. (Its wheel does not name diffrax and orthax, which it needs.)

Run: python vlasov_peer_run.py treetensor|treetensor-dense NX NV AMPLITUDE END STEP
     python vlasov_peer_run.py spectrax NX HERMITE AMPLITUDE END TOLERANCE
"""

import json
import math
import sys
import time

import numpy as np


def treetensor(nx: int, nv: int, amplitude: float, end: float, step: float, *, dense: bool) -> dict[str, object]:
    """Strang's splitting of a tree tensor network, or Runge-Kutta steps of the full array."""
    import ttn as t

    x, v = t.periodic("x", nx, [0, 4 * math.pi]), t.periodic("v", nv, [-6, 6])
    space, velocity = t.cartesian(x), t.cartesian(v)
    density = t.cosine(x, 0.5, offset=1, amplitude=amplitude)
    initial = t.normalized(t.maxwellian(velocity, density=density), space.volume)
    electrons = t.species("electrons", charge=-1, mass=1, velocity=velocity, initial=initial)
    fields = t.electrostatic(form="poisson", background_charge=1)
    kind = {"integrator": t.rk4()} if dense else {}
    plasma = t.vlasov(space=space, species=[electrons], fields=fields, **kind)
    field = plasma.observable("E", t.component(plasma.fields.electric, "x"))
    shape = t.dense() if dense else t.ttn(rank=t.automatic(capacity=48))
    run = t.run(plasma).represent(electrons.f, shape).time(t.fixed_step(step, final_time=end)).compile()
    times, modes = [0.0], [np.fft.rfft(run.tensor(field))[1]]
    began = time.perf_counter()
    while not run.done:
        run.advance()
        times.append(run.time)
        modes.append(np.fft.rfft(run.tensor(field))[1])
    seconds = time.perf_counter() - began
    ratio = np.array(modes) / modes[0]
    return {"t": times, "r": ratio.real.tolist(), "seconds": seconds}


def spectrax(nx: int, hermite: int, amplitude: float, end: float, tolerance: float) -> dict[str, object]:
    """Dormand-Prince 8(7) in time with an error control relative to the perturbation."""
    import jax.numpy as jnp
    from spectrax import simulation

    number = round(end / 0.5) + 1
    width, ions = math.sqrt(2.0), 1e-5  # sqrt(2) times the thermal velocities, in all three directions
    middle = nx // 2
    C = np.zeros((2 * hermite, 1, nx, 1), dtype=complex)
    C[0, 0, middle - 1 : middle + 2, 0] = np.array([amplitude / 2, 1.0, amplitude / 2]) / width**3
    C[hermite, 0, middle, 0] = 1.0 / ions**3
    F = np.zeros((6, 1, nx, 1), dtype=complex)  # div E = 1 - rho
    F[0, 0, middle + 1, 0], F[0, 0, middle - 1, 0] = 1j * amplitude, -1j * amplitude
    options = {
        "Lx": 4 * math.pi, "mi_me": 1e10, "qs": jnp.array([-1.0, 1.0]), "u_s": jnp.zeros(6), "nu": 0.0, "t_max": end,
        "alpha_s": jnp.array([width] * 3 + [ions] * 3), "Omega_cs": jnp.array([1.0, 1e-10]),
        "Ck_0": jnp.array(C), "Fk_0": jnp.array(F), "ode_tolerance": tolerance,
    }  # fmt: skip

    def run() -> tuple[np.ndarray, np.ndarray]:
        sizes = {"Nx": nx, "Nn": hermite, "timesteps": number, "dt": 0.01}
        found = simulation(options, **sizes)
        return np.asarray(found["time"]), np.asarray(found["Ck"])[:, 0, 0, middle + 1, 0]

    run()  # compile
    began = time.perf_counter()
    times, modes = run()
    seconds = time.perf_counter() - began
    return {"t": times.tolist(), "r": (modes / modes[0]).real.tolist(), "seconds": seconds}


if __name__ == "__main__":
    peer, first, second, *numbers = sys.argv[1:]
    sizes, rest = (int(first), int(second)), [float(number) for number in numbers]
    if peer == "spectrax":
        result = spectrax(*sizes, *rest)
    else:
        result = treetensor(*sizes, *rest, dense=peer == "treetensor-dense")
    print(json.dumps(result))
