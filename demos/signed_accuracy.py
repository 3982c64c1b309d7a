"""Claim: with elements of degree four, ten steps carry a smooth dipole to t = 1 with an error of 1e-5.

The dipole S2 of `limitpde.signed.exact` (van Meurs-Peletier-Slangen (1.3), sigma = 1, gamma_bar = 0.4) in a disk of
radius 8; error of rho_+ in L2, relative, at the nodes, against the Fourier solution of
`limitpde.signed.plane_reference`, right to 1e-8. The same in a case file: `pde.degree = 4`.

Run: mpiexec -n 2 python -m mpi4py demos/signed_accuracy.py
"""

import math
import sys

from mpi4py import MPI

from limitpde.fem.mesh import Disk
from limitpde.signed import Initial, Model, Solver
from limitpde.signed.exact import PROBLEMS
from limitpde.signed.plane_reference import PlaneReference

QUICK = "--quick" in sys.argv
problem, END = PROBLEMS["S2"], 0.5 if QUICK else 1.0
plane = PlaneReference(diffusivity=problem.diffusivity, gamma_bar=problem.gamma_bar, half_width=12.0, points=192)
truth = plane.solve(problem.initial_positive, problem.initial_negative, END, END / 50)

clouds = [
    [{"mass": g.mass, "center": g.centre, "width": math.sqrt(g.variance)} for g in species]
    for species in (problem.positive, problem.negative)
]
solver = Solver(
    Model(sigma=problem.sigma, gamma_bar=problem.gamma_bar),
    Initial(positive=clouds[0], negative=clouds[1]),
    mesh=Disk(radius=8.0, cell_size=0.4),
    step=END / 10,
    degree=4,
)
solver.solve(END)
exact = truth.evaluate(solver.nodes.points)[0]
error = solver.densities["positive"] - exact
squares = solver.sums.total(error * solver.nodes.tested(error), exact * solver.nodes.tested(exact))
relative = math.sqrt(squares[0] / squares[1])
if MPI.COMM_WORLD.rank == 0:
    print(f"relative error of rho_+ at t = {END:g} after ten steps: {relative:.2e}")
assert relative < 1e-5, f"the error is {relative:.2e}"
