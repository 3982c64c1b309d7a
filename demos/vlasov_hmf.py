"""Claim: the attractive HMF model has its transition at T = 1/2: noise is damped above, amplified to order one below.

Gamma = -cos x, unit mass: Newton's particles start independently from a homogeneous Maxwellian, so that the
magnetisation M = |(1/N) sum e^{i x_j}| is noise, N E M^2 = 1. The linear theory of (Vl) says what becomes of it. For T
> 1/2 the state is stable, and the noise settles at that of thermal equilibrium, N E M^2 = 2 T / (2 T - 1), a value that
no iid sample has. For T < 1/2 it grows like exp(gamma t) with gamma from the dispersion relation, until M is of order
one whatever N is; the Vlasov equation, started from a perturbation of that size, does the same.

Run: mpiexec -n 2 python -m mpi4py demos/vlasov_hmf.py   (a minute)
"""

import sys

import numpy as np
from mpi4py import MPI

from limitpde.compare.test_functions import Wave
from limitpde.vlasov import Landau, Maxwellian, Model, Solver, simulate
from limitpde.vlasov.exact.dispersion import Beam, dominant_root
from limitpde.vlasov.exact.equilibria import hmf_magnetisation

QUICK = "--quick" in sys.argv
WAVES = [Wave(k=(1.0, 0.0)), Wave(k=(1.0, 0.0), phase=-np.pi / 2)]  # the components of the magnetisation
root = MPI.COMM_WORLD.rank == 0


def model(temperature):
    """The HMF model with velocities up to seven standard deviations."""
    width = 7 * np.sqrt(temperature)
    return Model(potential={"kind": "cosine", "strength": -1.0}, domain={"x": (0.0, 2 * np.pi), "v": (-width, width)})


def squares(temperature, count, replicas, end, every):
    """Times, and M^2 of each replica at these, (R, T)."""
    stops = np.arange(every, end, every)
    initial = Maxwellian(thermal=np.sqrt(temperature))
    options = {"count": count, "replicas": replicas, "step": 0.1, "end": end, "seed": 3, "stops": stops}
    ensemble = simulate(model(temperature), initial, test_functions=WAVES, **options)
    return ensemble.times, (ensemble.observables**2).sum(axis=1)


for temperature in (0.75, 1.0):
    times, found = squares(temperature, 1000, 200 if QUICK else 400, 20.0, 5.0)
    noise, error = 1000 * found.mean(axis=0), 1000 * found.std(axis=0) / np.sqrt(len(found))
    theory = 2 * temperature / (2 * temperature - 1)
    if root:
        print(f"T = {temperature}: N E M^2 = {noise[0]:.3f} +- {error[0]:.3f} at the start (iid: 1)")
        print(f"           N E M^2 = {noise[-1]:.3f} +- {error[-1]:.3f} at t = 20 (equilibrium: {theory:.3f})")
    assert abs(noise[0] - 1) < 4.5 * error[0], "the start is not iid"
    assert abs(noise[-1] - theory) < 4.5 * error[-1], "the noise is not that of equilibrium"
    assert noise[-1] - 1 > 4.5 * error[-1], "the noise has not changed"

T, N = 0.25, 20_000 if QUICK else 100_000
gamma = dominant_root(1.0, -np.pi, [Beam(density=1 / (2 * np.pi), temperature=T)]).imag
times, found = squares(T, N, 4, 30.0, 1.0)
size, most = np.sqrt(found.mean(axis=0)), np.sqrt(found.max(axis=1)).mean()
grows = (times >= 5) & (times <= 11)
rate = np.polyfit(times[grows], np.log(size[grows]), 1)[0]
solver = Solver(model(T), Landau(k=1.0, amplitude=2 / np.sqrt(N), thermal=np.sqrt(T)), cells=(16, 48), step=0.25)
largest = [0.0]
x, ones = solver.space.x_points[..., 0], [np.ones((1, len(solver.space.v_nodes[0])))]


def watch(report):
    """Keep the largest magnetisation of the equation."""
    rho = solver.form.velocity_integrals(ones)[0]
    largest[0] = max(largest[0], abs(float(solver.space.integrate_x(rho * np.cos(x)))))


solver.solve(30.0, observers=[watch])
if root:
    print(f"T = {T}: rms M grows from {size[0]:.4f} at the rate {rate:.4f} (theory: {gamma:.4f})")
    print(f"         largest M of the particles {most:.3f}, of the equation {largest[0]:.3f}")
    print(f"         (thermal equilibrium at this temperature: {hmf_magnetisation(T):.3f})")
assert abs(rate - gamma) < 0.05 * gamma, f"the growth rate {rate:.4f} is not {gamma:.4f}"
assert abs(most - largest[0]) < 0.03, "particles and equation come to different magnetisations"
assert most > 0.3, "the noise has not grown to order one"
