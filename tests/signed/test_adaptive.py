"""Steps that follow a tolerance, and meshes that follow the densities, for the first-order solver.

The load is carried by the local error of BDF2 for polynomials, by the order with which the true error follows the
tolerance, by the heat kernel and Gouy and Chapman's layer on meshes that refine themselves, and by the radial
reference times of blow-up up to an amplification of 100,000.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import itertools
import math

import dolfinx.mesh
import numpy as np
import pytest
from blobs import MODEL, blob
from mpi4py import MPI
from solvers import difference, everywhere, recorded, solver_of
from strips import spread_of_mu, write_strip

from limitpde.compare.test_functions import GaussianBump
from limitpde.densities import Gaussian, Uniform
from limitpde.errors import InputError, RunError
from limitpde.fem.mesh import Disk, Refinement
from limitpde.fem.stepping import Bdf, bdf_error_weights
from limitpde.signed.model import Initial, Model
from limitpde.signed.pde import Solver
from limitpde.signed.residual import PDEResidual
from limitpde.signed.summary import PDESummary

# Steps that follow a tolerance


@pytest.mark.parametrize("steps", [(0.3, 0.3, 0.3), (0.1, 0.2, 0.35), (0.4, 0.2, 0.1)])
@pytest.mark.parametrize("order", [1, 2])
def test_the_estimate_is_the_local_error_for_the_first_power_that_the_formula_misses(order, steps):
    """y' = (order + 1) t^order from exact values: the solution of one step is off by the estimate."""
    bdf, power = Bdf.of(order, steps[0] / steps[1]), order + 1
    times = 1.7 - np.cumsum([0.0, *steps[:power]])
    exact = times**power
    found = (bdf.history[0] * exact[1] + bdf.history[1] * exact[2] + steps[0] * power * 1.7**order) / bdf.implicit
    estimate = bdf_error_weights(order, steps[:power]) @ exact
    assert abs(found - exact[0]) == pytest.approx(abs(estimate), rel=1e-9)


@pytest.fixture(scope="module")
def resolved():
    """The solution of S2 on 20 rings with steps whose error does not count, by name of the species."""
    solver = solver_of("S2", 20, 0.002)
    solver.solve(0.5)
    return solver.densities


def test_the_error_follows_the_tolerance(resolved):
    errors, counts = [], []
    for tolerance in (1e-3, 1e-4, 1e-5):
        solver = solver_of("S2", 20, 0.1, tolerance=tolerance)
        reports = recorded(solver, 0.5)
        assert all(report.figures["error_estimate"] <= tolerance for report in reports)
        assert [report.order for report in reports] == [1] + [2] * (len(reports) - 1)
        errors.append(max(difference(solver.graph, rho, resolved[name]) for name, rho in solver.densities.items()))
        counts.append(len(reports))
    assert counts[0] < counts[1] < counts[2]
    assert errors[0] < 10 * 1e-3
    for k in (0, 1):  # local errors of order three: ten times less makes 10^(1/3) times as many steps, errors 10^(2/3)
        assert math.log10(errors[k] / errors[k + 1]) > 0.5
        assert math.log10(counts[k + 1] / counts[k]) < 0.45


def test_steps_grow_where_little_happens():
    solver = solver_of("S1", 12, 0.05, tolerance=1e-4)
    reports = recorded(solver, 20.0)
    sizes = [report.dt for report in reports]
    assert sizes[0] == pytest.approx(5e-4)
    assert max(sizes) > 500 * sizes[0]
    assert max(b / a for a, b in itertools.pairwise(sizes)) < 2.0 + 1e-6
    assert max(abs(report.figures["mass_positive"] - solver.mass[0]) for report in reports) < 1e-14


def test_a_step_beyond_the_tolerance_is_halved_without_backward_euler():
    solver = solver_of("S2", 12, 0.1, tolerance=1e-10)
    for _ in range(2):
        solver.step(1e-4)
    report = solver.step(2e-4)
    (reason,) = {text.split(" with ")[0] for text in report.refused}
    assert reason == "BDF2"
    assert report.order == 2
    assert all("exceeds the tolerance 1e-10" in text for text in report.refused)


def test_steps_that_are_too_long_are_no_matter_of_the_gate():
    solver = solver_of("S2", 12, 0.1, tolerance=1e-4)
    summary = PDESummary(solver)
    solver.step(1e-4)
    solver.step(2e-4)
    summary.add(solver.step(0.2))
    gate = summary.figures()["gate"]
    assert gate["shortened"] > 0
    assert gate["refused"] == 0
    assert summary.warnings() == []


# Meshes that follow the densities


def heat(tolerance, smallest=0.005, comm=MPI.COMM_SELF, **options):
    initial = Initial(positive=(Gaussian(mass=1.0, center=(0.3, 0.1), width=0.2),))
    model = Model(sigma=1.0, gamma_bar=0.0)
    refinement = Refinement(tolerance=tolerance, smallest_cell=smallest)
    mesh = Disk(radius=5.0, cell_size=0.5)
    return Solver(model, initial, mesh=mesh, step=0.004, refinement=refinement, comm=comm, **options)


def heat_error(solver):
    """Largest nodal error against the heat kernel, as a part of the largest value."""
    variance = 0.04 + 2 * solver.model.D * solver.t
    x = solver.graph.points - np.array([0.3, 0.1])
    exact = np.exp(-(x**2).sum(axis=1) / (2 * variance)) / (2 * np.pi * variance)
    return float(np.abs(solver.densities["positive"] - exact).max() / exact.max())


def test_heat_kernel_on_a_mesh_that_coarsens():
    errors, nodes = [], []
    for tolerance in (2e-2, 5e-3):
        solver = heat(tolerance)
        first = solver.graph.size
        reports = recorded(solver, 0.4)
        assert solver.adaptive.changes >= 1
        assert solver.graph.size < 2 * first
        assert max(abs(report.figures["mass_positive"] - 1) for report in reports) < 1e-13
        assert min(report.figures["minimum"] for report in reports) >= 0.0
        errors.append(heat_error(solver))
        nodes.append(solver.graph.size)
    assert errors[0] < 1.5 * 2e-2
    assert errors[1] < 1.5 * 5e-3
    assert nodes[1] < 3000  # a uniform mesh needs 7,651 nodes for that


def test_initial_densities_are_resolved_before_the_start():
    """A density of which the first mesh sees nothing: zero in double precision at all its nodes."""
    initial = Initial(positive=(Gaussian(mass=1.0, center=(0.2, 0.1), width=0.004),))
    model, mesh = Model(sigma=1.0, gamma_bar=0.0), Disk(radius=5.0, cell_size=0.5)
    with pytest.raises(InputError, match="it lies outside the mesh, or between its nodes"):
        Solver(model, initial, mesh=mesh, step=0.01)
    solver = Solver(model, initial, mesh=mesh, step=0.01, refinement=Refinement(tolerance=0.01, smallest_cell=1e-4))
    assert not solver.warnings
    x = solver.graph.points - np.array([0.2, 0.1])
    exact = np.exp(-(x**2).sum(axis=1) / (2 * 0.004**2)) / (2 * np.pi * 0.004**2)
    assert difference(solver.graph, solver.densities["positive"], exact) < 0.02


def test_the_weak_form_sees_the_changes_of_the_mesh():
    """W[T, phi] of the solution stays of the size of the tolerance."""
    solver = heat(5e-3)
    residual = PDEResidual(solver, [GaussianBump(center=(0.0, 0.0), width=0.5)])
    solver.solve(0.2, observers=[residual])
    assert solver.adaptive.changes >= 1
    assert 0.0 < abs(residual.values[-1][0]) < 5e-3


def test_gouy_chapman_layer_thinner_than_the_first_cells(tmp_path):
    """Debye length 0.045, first cells of 0.2; beside a uniform mesh with cells of 0.0125.

    Which nodes a tolerance brings hangs on chance: between 0.0115 and 0.013 the error is 0.007 to 0.014.
    """
    model, errors = Model(sigma=1.0, gamma_bar=20.0), {}
    for cells, refinement in ((160, None), (10, Refinement(tolerance=0.01, smallest_cell=1e-3))):
        write_strip(tmp_path / f"{cells}.msh", cells)
        solver = Solver(
            model,
            Initial(positive=(Uniform(mass=1.0),), negative=(Uniform(mass=1.0),)),
            mesh=tmp_path / f"{cells}.msh",
            boundary={"left": 0.1, "right": -0.1},
            step=0.05,
            tolerance=1e-4,
            refinement=refinement,
        )
        solver.solve(2.5)
        plus, minus = solver.densities.values()
        background = math.sqrt(float(solver.sums.maximum(plus * minus)))
        kappa = math.sqrt(4 * np.pi * model.gamma_bar / model.D * background)
        x, tangent = solver.graph.points[:, 0], math.tanh(0.1 * model.gamma_bar / model.D / 4)
        phi = 4 * np.arctanh(tangent * np.exp(-kappa * (1 + x))) - 4 * np.arctanh(tangent * np.exp(-kappa * (1 - x)))
        exact = background * np.exp(-phi)
        errors[cells] = float(np.abs(plus - exact).max() / exact.max())
        assert spread_of_mu(solver) < 0.1
        if refinement:
            lines, group = solver.adaptive.lines()
            height = solver.adaptive.triangulation.points[lines[group == 0]][:, :, 1]
            assert np.abs(np.diff(height, axis=1)).sum() == pytest.approx(0.4)  # the halves of "left" are all "left"
            assert np.abs(np.diff(height, axis=1)).max() < 0.02
    assert kappa == pytest.approx(22.4, rel=0.01)
    assert errors[10] < min(0.01, errors[160])


@pytest.mark.parametrize(
    ("mass", "radius", "times"),
    [
        (1.0, 6.0, (0.2338, 0.3034, 0.3197, 0.3239)),
        (0.6, 8.0, (1.107, 1.672, 1.797, 1.824)),
    ],
)
def test_blow_up_is_followed_to_a_hundred_thousand_times_the_density(mass, radius, times):
    solver = Solver(
        MODEL,
        blob(mass),
        mesh=Disk(radius=radius, cell_size=0.6),
        step=0.02,
        tolerance=1e-4,
        refinement=Refinement(tolerance=2e-3, smallest_cell=3e-4),
    )
    summary = PDESummary(solver)
    with pytest.raises(RunError, match="blow-up at t = "):
        solver.solve(4.0, observers=[summary.add])
    figures = summary.figures()
    found = figures["blow_up"]["amplification_times"]
    for level, expected in zip(("10", "100", "1000", "100000"), times, strict=True):
        assert found[level] == pytest.approx(expected, rel=0.03)
    assert figures["mass"]["positive"]["max_relative_drift"] < 1e-12
    assert figures["minimum"] >= 0.0
    assert figures["free_energy"]["largest_increase"] <= 0.0
    assert figures["mesh"]["nodes"]["largest"] < 8000
    assert figures["steps"] < 1000


def adaptive(comm):
    """A density that collapses, with both kinds of adaptivity."""
    initial = Initial(positive=(Gaussian(mass=1.0, center=(0.3, -0.1), width=0.6),))
    mesh, refinement = Disk(radius=5.0, cell_size=0.5), Refinement(tolerance=0.02, smallest_cell=0.01)
    return Solver(MODEL, initial, mesh=mesh, step=0.02, tolerance=1e-3, refinement=refinement, comm=comm)


@pytest.mark.ranks
def test_ranks_take_the_same_steps_on_the_same_meshes(comm):
    alone, together = adaptive(MPI.COMM_SELF), adaptive(comm)
    first, second = recorded(alone, 0.2), recorded(together, 0.2)
    assert [report.figures["nodes"] for report in first] == [report.figures["nodes"] for report in second]
    assert alone.adaptive.changes >= 2
    np.testing.assert_allclose([report.t for report in first], [report.t for report in second], rtol=1e-7)
    ours, theirs = everywhere(alone), everywhere(together)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7 * np.abs(ours).max())


@pytest.mark.ranks
def test_what_cannot_be_refined(comm):
    square = dolfinx.mesh.create_unit_square(comm, 4, 4)
    with pytest.raises(InputError, match="needs a mesh by its description or its file"):
        Solver(
            Model(sigma=1.0, gamma_bar=1.0),
            Initial(positive=(Uniform(mass=1.0),)),
            mesh=square,
            step=0.1,
            boundary="grounded",
            refinement=Refinement(tolerance=0.1, smallest_cell=0.1),
        )
    with pytest.raises(InputError, match="tolerance"):
        Refinement(tolerance=1.5, smallest_cell=0.1)
