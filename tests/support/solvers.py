"""Solvers of the signed system for the reference problems, what they report, and their fields on every rank.

What is expensive is kept, for all tests of a session.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import functools
import math

import numpy as np

from limitpde.densities import Gaussian
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.mesh import Disk
from limitpde.signed.exact import PROBLEMS, ReferenceProblem
from limitpde.signed.model import Initial, Model
from limitpde.signed.pde import Solver

NAMES = ["S1", "S2", "S3", "R1"]


def initial_of(problem: ReferenceProblem, shift: tuple[float, float] = (0.0, 0.0)) -> Initial:
    def parts(gaussians):
        return tuple(
            Gaussian(mass=g.mass, center=(g.centre[0] + shift[0], g.centre[1] + shift[1]), width=math.sqrt(g.variance))
            for g in gaussians
        )

    return Initial(positive=parts(problem.positive), negative=parts(problem.negative))


def solver_of(name: str, rings: int, step: float, **options) -> Solver:
    problem = PROBLEMS[name]
    model = Model(sigma=problem.sigma, gamma_bar=problem.gamma_bar)
    return Solver(model, initial_of(problem), mesh=Disk(radius=8.0, cell_size=8.0 / rings), step=step, **options)


def unequal(rings: int, center=(0.0, 0.0), shift=(0.0, 0.0), **options) -> Solver:
    initial = Initial(
        positive=(Gaussian(mass=0.7, center=(-1.0 + shift[0], 0.4 + shift[1]), width=0.6),),
        negative=(Gaussian(mass=0.3, center=(0.8 + shift[0], -0.2 + shift[1]), width=0.5),),
    )
    mesh = Disk(radius=7.0, cell_size=7.0 / rings, center=center)
    return Solver(Model(sigma=1.0, gamma_bar=1.5), initial, mesh=mesh, step=1.0 / rings, **options)


def recorded(solver: Solver, end: float, **options):
    """The reports of all steps up to the end."""
    reports = []

    def keep(report):
        reports.append(report)
        assert len(reports) <= 500, f"the gate lets only tiny steps pass: {report}"

    solver.solve(end, observers=[keep], **options)
    return reports


@functools.cache
def run(name: str, rings: int, step: float):
    """Solver at t = 1, figures at t = 0, reports."""
    solver = solver_of(name, rings, step)
    first = solver.figures()
    return solver, first, recorded(solver, 1.0)


def everywhere(solver: Solver) -> np.ndarray:
    """x, y, densities and potential on every rank, (n, 2 + ...), in an order that does not depend on their number."""
    own = solver.graph.owned
    values = [*solver.densities.values(), solver.potential]
    table = np.column_stack([solver.graph.points[:own], *(v[:own] for v in values)])
    table = np.concatenate(solver.graph.comm.allgather(table))
    return table[np.lexsort(np.round(table[:, :2], 9).T)]


def difference(graph: EdgeGraph, values: np.ndarray, expected: np.ndarray) -> float:
    """Relative nodal l2 norm of the difference."""
    error, size = graph.sums.total((values - expected) ** 2, expected**2)
    return math.sqrt(error / size)
