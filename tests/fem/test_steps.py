"""Time steps and linear solvers.

The load is carried by `test_bdf_is_exact_for_polynomials`, the march with a solver that does nothing but count, and
`test_lagged_preconditioner_still_solves_the_matrix_of_now`.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from graphs import mesh_of, wiggle
from petsc4py import PETSc

from limitpde.errors import InputError, RunError
from limitpde.fem.edge_flux import (
    add_gradient_flux,
)
from limitpde.fem.edges import EdgeGraph, laplacian_matrix
from limitpde.fem.linear import LinearSolver, symmetric_options
from limitpde.fem.stepping import Bdf, StepReport, march
from limitpde.fem.tally import Tally

# Time steps


SHARED = {"pc_type": "python", "pc_python_type": "limitpde.fem.shared_factor.SharedFactor"}


@pytest.mark.parametrize(
    ("unknowns", "ranks", "chosen"),
    [
        (158_000, 1, {"pc_type": "cholesky"}),
        (158_000, 2, SHARED),
        (77_000, 16, SHARED),
        (77_000, 32, {"pc_type": "redundant", "redundant_pc_type": "cholesky"}),
        (158_000, 16, {"pc_type": "cholesky", "pc_factor_mat_solver_type": "mumps"}),
        (600_000, 1, {"pc_type": "gamg"}),
    ],
)
def test_the_linear_solver_goes_by_size_and_ranks(unknowns, ranks, chosen):
    matrix = SimpleNamespace(size=(unknowns, unknowns), comm=SimpleNamespace(size=ranks))
    options = symmetric_options(matrix, constant=True, relative_tolerance=1e-12)
    assert {name: value for name, value in options.items() if "pc_" in name and "ordering" not in name} == chosen


@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 1.37, 2.0])
@pytest.mark.parametrize("order", [1, 2])
def test_bdf_is_exact_for_polynomials(order, ratio):
    bdf, dt, t = Bdf.of(order, ratio), 0.3, 1.7
    for degree in range(order + 1):
        new, now, before = ((t + s) ** degree for s in (0.0, -dt, -dt - dt / ratio))
        derivative = (bdf.implicit * new - bdf.history[0] * now - bdf.history[1] * before) / dt
        assert derivative == pytest.approx(degree * t ** max(degree - 1, 0), abs=1e-10)
        if degree < order:
            assert bdf.extrapolation[0] * now + bdf.extrapolation[1] * before == pytest.approx(new, rel=1e-12)


@dataclass
class Clock:
    """A solver that does nothing but count; `longest` is what its gate lets pass."""

    t: float = 0.0
    suggested_step: float = 0.1
    longest: float = math.inf
    taken: list[float] = field(default_factory=list)

    def step(self, dt: float) -> StepReport:
        """Let at most dt pass."""
        assert dt > 0.0
        assert len(self.taken) < 10_000, "march does not end"
        dt = min(dt, self.longest)
        self.t += dt
        self.taken.append(dt)
        return StepReport(t=self.t, dt=dt, order=1)


def test_march_lands_on_stops_in_equal_steps():
    clock, seen = Clock(), []
    march(clock, 1.0, stops=[0.25, 0.7, 0.0, 1.0, 3.0], observers=[lambda r: seen.append(r.t)])
    np.testing.assert_allclose(clock.taken, [0.25 / 3] * 3 + [0.09] * 5 + [0.1] * 3, rtol=1e-12)
    np.testing.assert_allclose(seen, np.cumsum(clock.taken), rtol=1e-12)
    assert {round(t, 12) for t in seen} >= {0.25, 0.7, 1.0}
    march(clock, 1.0)  # nothing is left to do
    assert len(clock.taken) == 11


def test_march_reaches_the_end_when_the_gate_cuts_steps():
    clock = Clock(longest=0.03)
    march(clock, 0.5, stops=[0.2])
    assert math.isclose(clock.t, 0.5, rel_tol=1e-12)
    assert any(math.isclose(t, 0.2, rel_tol=1e-12) for t in np.cumsum(clock.taken))
    assert max(clock.taken) == 0.03
    long = Clock(suggested_step=1e300)
    march(long, 0.5)
    assert long.taken == [0.5]


@pytest.mark.parametrize("end", [1e-15, 1e-200])
def test_march_reaches_an_end_however_near(end):
    clock = Clock()
    march(clock, end)
    assert clock.taken == [end]


class Observed:
    """A solver of which a tally takes in what it is told."""

    t, dofs, warnings, step_figures = 0.0, 1, [], ()

    def figures(self):
        """Those at time 0."""
        return {"mass": 2.0, "peak": 1.0}


class OneMass(Tally):
    """A tally of a solver with one mass."""

    MASSES = {"total": "mass"}


@pytest.mark.parametrize(
    ("figures", "fragment"),
    [
        ({"mass": 2.0, "peak": math.nan}, "peak is not a number at t = 0.5"),
        ({"mass": 0.0, "peak": 1.0}, r"the mass \(total\) has gone from 2 to 0 by t = 0.5"),
        ({"mass": math.inf, "peak": 1.0}, "from 2 to inf"),
    ],
)
def test_a_tally_takes_in_no_step_that_is_none(figures, fragment):
    tally = OneMass(Observed())
    tally.add(StepReport(t=0.25, dt=0.25, order=1, figures={"mass": 1.9, "peak": math.inf}))
    with pytest.raises(RunError, match=fragment):
        tally.add(StepReport(t=0.5, dt=0.25, order=1, figures=figures))
    assert tally.steps == 1


def test_march_does_not_go_back_in_time():
    clock = Clock(t=1.0)
    with pytest.raises(InputError, match="end"):
        march(clock, 0.5)
    assert clock.taken == []


# Linear solvers


def linear_system(comm):
    graph = EdgeGraph(mesh_of(comm, "disk"))
    matrix = laplacian_matrix(graph, graph.boundary)
    exact = np.where(graph.boundary, 0.0, wiggle(graph))
    right = np.where(graph.boundary, 0.0, graph.laplacian(exact))
    return graph, matrix, exact, right


@pytest.mark.ranks
@pytest.mark.parametrize("constant", [True, False])
def test_linear_solver_solves_and_says_how(comm, constant):
    graph, matrix, exact, right = linear_system(comm)
    options = symmetric_options(matrix.mat, constant=constant, relative_tolerance=1e-12)
    solver = LinearSolver(matrix.mat, prefix="tested", options=options, lag=not constant)
    solution, iterations, reason = solver.solve(right[: graph.owned])
    assert reason > 0
    assert iterations >= 1
    assert graph.sums.maximum(np.abs(solution - exact[: graph.owned])) < 1e-9
    if not constant:  # a factorisation alone has no use for a guess
        _, iterations, reason = solver.solve(right[: graph.owned], guess=exact[: graph.owned])
        assert (iterations, reason > 0) == (0, True)


@pytest.mark.ranks
def test_lagged_preconditioner_still_solves_the_matrix_of_now(comm):
    graph, matrix, exact, right = linear_system(comm)
    options = symmetric_options(matrix.mat, constant=False, relative_tolerance=1e-12)
    solver = LinearSolver(matrix.mat, prefix="tested", options=options, lag=True)
    for factor in (1.0, 1.5, 40.0, 0.01):
        bent = graph.weight * (1.0 + factor * (graph.points[graph.tail, 0] > 0.5))
        matrix.edges[:] = np.array([1.0, -1.0, -1.0, 1.0])[:, None] * bent
        matrix.assemble()
        balance = np.zeros(graph.local)
        add_gradient_flux(balance, graph.tail, graph.head, bent, exact)
        right = np.where(graph.boundary, 0.0, -graph.share_sum(balance))
        solution, _, reason = solver.solve(right[: graph.owned])
        assert reason > 0
        assert graph.sums.maximum(np.abs(solution - exact[: graph.owned])) < 1e-8


@pytest.mark.ranks
def test_a_lent_preconditioner_serves_while_the_matrix_is_near(comm):
    """Near the lender's matrix none is made; far from it the solver makes its own, after which a solve is exact."""
    graph, matrix, exact, right = linear_system(comm)
    options = symmetric_options(matrix.mat, constant=True, relative_tolerance=1e-13)
    lender = LinearSolver(matrix.mat, prefix="lending", options=options)
    lender.solve(right[: graph.owned])
    bent = laplacian_matrix(graph, graph.boundary)
    options = symmetric_options(bent.mat, constant=False, relative_tolerance=1e-10)
    solver = LinearSolver(bent.mat, prefix="borrowing", options=options, lag=True, lender=lender)
    counts = []
    for factor in (0.003, 0.003, 1e4, 1e4):
        weight = graph.weight * (1.0 + factor * (graph.points[graph.tail, 0] > 0.5))
        bent.set_laplacian(weight)
        bent.assemble()
        balance = np.zeros(graph.local)
        add_gradient_flux(balance, graph.tail, graph.head, weight, exact)
        right = np.where(graph.boundary, 0.0, -graph.share_sum(balance))
        solution, iterations, reason = solver.solve(right[: graph.owned])
        assert reason > 0
        assert graph.sums.maximum(np.abs(solution - exact[: graph.owned])) < 1e-7
        counts.append(iterations)
    assert counts[0] == counts[1] > 1
    assert counts[3] == 1


@pytest.mark.ranks
def test_linear_solver_reports_failure_and_leaves_no_options_behind(comm):
    graph, matrix, _, right = linear_system(comm)
    before = set(PETSc.Options().getAll())
    hopeless = {"ksp_type": "cg", "pc_type": "none", "ksp_rtol": 1e-12, "ksp_max_it": 2}
    _, iterations, reason = LinearSolver(matrix.mat, prefix="tested", options=hopeless).solve(right[: graph.owned])
    assert reason < 0
    assert iterations == 2
    assert set(PETSc.Options().getAll()) == before


@pytest.mark.ranks
def test_options_of_the_user_win(comm):
    graph, matrix, _, right = linear_system(comm)
    database = PETSc.Options()
    database["limitpde_mine_ksp_max_it"] = 3  # one that the package sets too
    database["limitpde_mine_ksp_norm_type"] = "natural"  # one that it does not
    try:
        options = {"ksp_type": "cg", "pc_type": "none", "ksp_rtol": 1e-12, "ksp_max_it": 500}
        solver = LinearSolver(matrix.mat, prefix="mine", options=options)
        _, iterations, _ = solver.solve(right[: graph.owned])
        assert iterations == 3
        assert solver._ksp.getNormType() == PETSc.KSP.NormType.NATURAL
    finally:
        database.delValue("limitpde_mine_ksp_max_it")
        database.delValue("limitpde_mine_ksp_norm_type")
