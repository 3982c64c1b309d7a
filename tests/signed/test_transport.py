"""Strong drifts on large cells: fluxes that are corrected to second order.

The load is carried by a Fourier solution of two vortices at a cell Peclet number of 17, by Lamb and Oseen's vortex and
by characteristics for sigma = 0: order two where fitted fluxes have order one, with mass to rounding and no density
below zero.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import functools

import numpy as np
import pytest
from mpi4py import MPI
from solvers import difference, everywhere, recorded

from limitpde.densities import Gaussian
from limitpde.fem.mesh import Disk
from limitpde.signed.case import PDE
from limitpde.signed.model import Initial, Model
from limitpde.signed.pde import Solver
from limitpde.signed.plane_reference import PlaneReference
from limitpde.signed.summary import PECLET_CORRECTED, PDESummary

PAIR = Initial(
    positive=(Gaussian(mass=0.6, center=(0.8, 0.0), width=0.4),),
    negative=(Gaussian(mass=0.4, center=(-0.8, 0.0), width=0.4),),
)
STRONG = Model(sigma=0.2, gamma_bar=5.0, interaction="rotated")


def gaussian(mass, centre):
    return lambda x, y: mass * np.exp(-((x - centre) ** 2 + y**2) / 0.32) / (0.32 * np.pi)


@functools.cache
def reference(gamma_bar, end, *, rotated):
    """The Fourier solution for PAIR with sigma = 0.2."""
    plane = PlaneReference(diffusivity=0.02, gamma_bar=gamma_bar, half_width=6.0, points=160, rotated=rotated)
    return plane.solve(gaussian(0.6, 0.8), gaussian(0.4, -0.8), end, 0.02)


def test_two_strong_vortices_to_two_per_cent():
    """0.0335 in the middle of the plane after one and a half turns; fitted fluxes give 0.0458."""
    exact = reference(5.0, 1.0, rotated=True)
    x, y = exact.axis[:, None], exact.axis[None, :]
    bump = np.exp(-2 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))
    expected = float((bump * (exact.positive + exact.negative)).sum()) * exact.spacing**2
    assert expected == pytest.approx(0.03345, abs=1e-5)
    solver = Solver(STRONG, PAIR, mesh=Disk(radius=6.0, cell_size=0.1), step=0.02)
    summary = PDESummary(solver)
    solver.solve(1.0, observers=[summary.add])
    values = np.exp(-2 * ((solver.graph.points - 0.5) ** 2).sum(axis=1))
    (found,) = solver.sums.total(solver.graph.area * values * sum(solver.now.densities))
    assert found == pytest.approx(expected, rel=0.02)
    figures = summary.figures()
    assert 15 < figures["cell_peclet"] < 20
    assert figures["minimum"] >= 0.0
    assert max(mass["max_relative_drift"] for mass in figures["mass"].values()) < 1e-13
    assert summary.steps == 50
    assert not any(caution.exceeded for caution in summary.cautions())


def pair_error(cell_size, *, rotated, transport="auto"):
    """In L2 at t = 0.5, relative, the worse species; the largest cell Peclet number; and the reports."""
    model = Model(sigma=0.2, gamma_bar=2.0, interaction="rotated" if rotated else "signed")
    solver = Solver(model, PAIR, mesh=Disk(radius=5.0, cell_size=cell_size), step=cell_size / 8, transport=transport)
    reports = recorded(solver, 0.5)
    exact = reference(2.0, 0.5, rotated=rotated).evaluate(solver.graph.points)
    pairs = zip(solver.densities.values(), exact, strict=True)
    return max(difference(solver.graph, a, b) for a, b in pairs), reports


@pytest.mark.parametrize("rotated", [False, True])
def test_order_two_beside_fitted_fluxes(rotated):
    coarse, fine = (pair_error(h, rotated=rotated)[0] for h in (0.2, 0.1))
    _, reports = pair_error(0.1, rotated=rotated)
    fitted = [pair_error(h, rotated=rotated, transport="fitted")[0] for h in (0.2, 0.1)]
    assert min(report.figures["cell_peclet"] for report in reports) > 1
    assert not any(report.refused for report in reports)
    assert np.log2(coarse / fine) > 1.8
    assert np.log2(fitted[0] / fitted[1]) < 1.3
    assert fine < 0.25 * fitted[1]
    for report in reports:
        assert report.figures["minimum"] >= 0.0
        assert abs(report.figures["mass_positive"] - 0.6) < 1e-13


def test_weak_drifts_have_the_fitted_fluxes():
    model = Model(sigma=1.0, gamma_bar=1.0)
    solvers = [Solver(model, PAIR, mesh=Disk(radius=5.0, cell_size=0.2), step=0.02, transport=t)
               for t in ("auto", "fitted", "corrected")]  # fmt: skip
    peclet = [max(report.figures["cell_peclet"] for report in recorded(solver, 0.2)) for solver in solvers]
    auto, fitted, corrected = (everywhere(solver) for solver in solvers)
    assert 0.05 < max(peclet) < 1
    np.testing.assert_array_equal(auto, fitted)
    assert 1e-6 < np.abs(corrected - fitted).max() / fitted.max() < 0.01
    early = Solver(model, PAIR, mesh=Disk(radius=5.0, cell_size=0.2), step=0.02, corrected_from=peclet[0] / 2)
    early.solve(0.2)
    assert 1e-6 < np.abs(everywhere(early) - fitted).max() / fitted.max() < 0.01


def test_cells_that_are_too_large_are_said():
    solver = Solver(STRONG, PAIR, mesh=Disk(radius=6.0, cell_size=0.3), step=0.02)
    summary = PDESummary(solver)
    solver.solve(0.1, observers=[summary.add])
    (caution,) = (caution for caution in summary.cautions() if caution.name == "cell_peclet")
    assert caution.exceeded
    assert caution.threshold == PECLET_CORRECTED
    assert f"{caution.value / PECLET_CORRECTED:.2g} times smaller" in caution.text


@pytest.mark.ranks
def test_the_same_on_any_number_of_ranks(comm):
    together, alone = (
        Solver(STRONG, PAIR, mesh=Disk(radius=6.0, cell_size=0.3), step=0.02, comm=c) for c in (comm, MPI.COMM_SELF)
    )
    for solver in (together, alone):
        solver.solve(0.2)
    np.testing.assert_allclose(everywhere(together), everywhere(alone), atol=1e-10)


def test_companions_correct_where_the_solution_does():
    """At |v| h / (2 D) of 0.8 the mesh has fitted fluxes, and so has the one with cells twice as large."""
    pde = PDE(mesh=Disk(radius=4.0, cell_size=0.2), step=0.01)
    assert pde.coarser(2, 4).corrected_from == 2 * pde.corrected_from
    assert pde.coarser(1, 4).corrected_from == pde.corrected_from


@pytest.mark.parametrize("rotated", [False, True])
def test_order_two_in_time(rotated):
    """On one mesh, against short steps. Of still shorter ones the limiter shows (docs/signed.md)."""
    model = Model(sigma=0.2, gamma_bar=2.0, interaction="rotated" if rotated else "signed")

    def end(step):
        solver = Solver(model, PAIR, mesh=Disk(radius=4.0, cell_size=0.2), step=step, transport="corrected")
        reports = recorded(solver, 0.4)
        assert not any(report.refused for report in reports)
        return everywhere(solver)

    exact, coarse, fine = end(0.4 / 320), end(0.4 / 10), end(0.4 / 20)
    orders = np.log2(np.linalg.norm(coarse - exact) / np.linalg.norm(fine - exact))
    assert orders > 1.8, orders
