"""Claim: small perturbations answer as the linear theory says, to 1e-6, with errors of order two and four in the step.

f_0 = n_0 M(v) (1 + a cos kx) with a = 1e-6: r(t) = rho_k(t) / rho_k(0) solves the Volterra equation exactly (no fitted
rate has that many digits: the asymptote is not reached in the times over which rates are fitted). Cases: Landau damping
of plasma waves at k = 0.3, 0.4, 0.5, the attractive HMF below and above its critical temperature 1/2, and a Gaussian
kernel.

Run: mpiexec -n 2 python -m mpi4py demos/vlasov_linear_response.py   (a minute)
"""

import sys

import numpy as np
from mpi4py import MPI

from limitpde.vlasov import Landau, Model, Solver
from limitpde.vlasov.exact import torus_symbol
from limitpde.vlasov.exact.dispersion import Beam, dominant_root
from limitpde.vlasov.exact.linear_response import linear_response

QUICK = "--quick" in sys.argv
END, AMPLITUDE = 10.0, 1e-6
CASES = {  # name: (potential, k, temperature)
    "Landau k = 0.3": ({"kind": "poisson", "strength": 1.0}, 0.3, 1.0),
    "Landau k = 0.4": ({"kind": "poisson", "strength": 1.0}, 0.4, 1.0),
    "Landau k = 0.5": ({"kind": "poisson", "strength": 1.0}, 0.5, 1.0),
    "HMF T = 0.4": ({"kind": "cosine", "strength": -1.0}, 1.0, 0.4),
    "HMF T = 0.75": ({"kind": "cosine", "strength": -1.0}, 1.0, 0.75),
    "Gaussian k = 0.5": ({"kind": "gaussian", "strength": 1.0, "width": 1.0}, 0.5, 1.0),
}
if QUICK:
    CASES = {name: CASES[name] for name in ("Landau k = 0.5", "HMF T = 0.4")}
STEPS = {2: (0.2, 0.1, 0.05), 4: (1.0, 0.5, 0.25)}


def largest_error(potential, k, temperature, *, order, step):
    """The largest error of r(t) at whole times up to END, and the exact values."""
    length, thermal = 2 * np.pi / k, np.sqrt(temperature)
    mass = 1.0 if potential["kind"] == "cosine" else length
    model = Model(potential=potential, domain={"x": (0.0, length), "v": (-8 * thermal, 8 * thermal)})
    initial = Landau(k=k, amplitude=AMPLITUDE, thermal=thermal, mass=mass)
    solver = Solver(model, initial, cells=(12, 96), degree=5, step=step, order=order)
    x, ones = solver.space.x_points[..., 0], [np.ones((1, len(solver.space.v_nodes[0])))]
    found = []
    for t in range(int(END) + 1):
        solver.solve(t)
        rho = solver.form.velocity_integrals(ones)[0]
        found.append(float(solver.space.integrate_x(rho * np.cos(k * x))))
    streams = [Beam(density=mass / length, temperature=temperature)]
    symbol = float(torus_symbol(model.potential, np.array([[k]]), model.x_box)[0])
    exact = linear_response(np.arange(END + 1), k=k, symbol=symbol, streams=streams).real
    return np.abs(np.array(found) / found[0] - exact).max(), dominant_root(k, symbol, streams)


for name, case in CASES.items():
    for order, steps in STEPS.items():
        errors, root = [], 0j
        for step in steps:
            error, root = largest_error(*case, order=order, step=step)
            errors.append(error)
        if MPI.COMM_WORLD.rank == 0:
            cells = ", ".join(f"{step:g}: {error:.1e}" for step, error in zip(steps, errors, strict=True))
            print(f"{name:17s} omega = {root:.6f}  order {order}: largest error of r(t) at step {cells}")
        if order == 2:
            rate = np.log2(errors[-2] / errors[-1])
            assert abs(rate - 2) < 0.1, f"{name}: order {rate:.2f} instead of 2"
        assert errors[-1] < (1e-6 if order == 4 else 2e-3), f"{name}: {errors[-1]:.1e} is too much"
