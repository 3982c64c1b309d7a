"""The attractive system (1.2): energy law, blow-up above the critical mass 4 D / gamma_bar, spreading below it.

The load is carried by the times of amplification of an independent radial solver (implicit, 1600 logarithmic cells), by
the law of the free energy for steps far beyond what is accurate, and by the virial law.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
from dataclasses import replace

import numpy as np
import pytest
from blobs import MODEL, blob
from mpi4py import MPI
from solvers import everywhere

from limitpde.compare.test_functions import GaussianBump
from limitpde.densities import Gaussian
from limitpde.errors import InputError, RunError
from limitpde.experiment import run
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.mesh import Disk, build
from limitpde.results.fields import read_fields
from limitpde.signed.blow_up import BlowUpError, expected_time, latest_time, levels_reached
from limitpde.signed.case import PDE, Case
from limitpde.signed.model import Initial, Model
from limitpde.signed.pde import Solver
from limitpde.signed.residual import PDEResidual
from limitpde.signed.summary import PDESummary

REFERENCE = {1.0: (0.2338, 0.3034), 0.75: (0.4613, 0.6346), 0.6: (1.107, 1.672)}
"""Mass -> times at which the density at the centre is 10 and 100 times that at the start; critical mass 0.5."""


def solver_of(mass, mesh, step, model=MODEL):
    return Solver(model, blob(mass), mesh=mesh, step=step)


def amplified(mass, radius, mesh_scale=1.0):
    """Times of amplification 10 and 100, and the solver once the second is past."""
    mesh = Disk(radius=radius, cell_size=0.6 * mesh_scale, center_size=0.02 * mesh_scale)
    solver = solver_of(mass, mesh, 0.02)
    summary = PDESummary(solver)

    class Past(Exception):  # noqa: N818 - the signal to stop
        pass

    def watch(report):
        summary.add(report)
        if report.figures["maximum"] > 101 * summary.first["maximum"]:
            raise Past

    with pytest.raises(Past):
        solver.solve(4.0, observers=[watch])
    return summary.figures(), solver


@pytest.mark.parametrize(("mass", "radius"), [(1.0, 6.0), (0.75, 6.0), (0.6, 8.0)])
def test_times_of_amplification(mass, radius):
    figures, _ = amplified(mass, radius)
    times = figures["blow_up"]["amplification_times"]
    assert times["10"] == pytest.approx(REFERENCE[mass][0], rel=0.03)
    assert times["100"] == pytest.approx(REFERENCE[mass][1], rel=0.03)
    assert figures["blow_up"]["critical_mass"] == 0.5
    assert times["100"] < figures["blow_up"]["latest_time_theory"]
    assert figures["minimum"] >= 0.0
    assert figures["mass"]["positive"]["max_relative_drift"] < 1e-12
    assert figures["free_energy"]["largest_increase"] <= 0.0


@pytest.mark.ranks
def test_collapse_is_an_error_of_its_own_after_everything_else_is_known(shared_folder, comm):
    case = Case(
        system="signed",
        model=MODEL,
        initial=blob(1.0),
        time={"end": 2.0},
        pde=PDE(mesh=Disk(radius=5.0, cell_size=0.5, center_size=0.05), step=0.02),
    )
    summary = run(case, out=shared_folder, comm=comm, check=False)
    assert summary["status"] == "failed"
    assert summary["reason"].startswith("blow-up at t = 0.3")
    found = summary["pde"]["blow_up"]
    assert found["largest_cell_share"] >= 0.1
    assert found["peak"]["largest"] == pytest.approx(found["largest_cell_share"] / _center_area(comm), rel=1e-6)
    assert summary["pde"]["end_time"] == pytest.approx(found["peak"]["time"])
    if comm.rank == 0:
        _, _, arrays, t = read_fields(shared_folder / "pde" / "fields.vtkhdf")
        assert t == pytest.approx(found["peak"]["time"])  # the last state is there to be seen
        assert arrays["rho_positive"].max() == pytest.approx(found["peak"]["largest"])
        rows = (shared_folder / "pde" / "diagnostics.csv").read_text().splitlines()
        assert len(rows) == summary["pde"]["steps"] + 2
        assert (shared_folder / "report.md").read_text().count("100-fold") == 1


@pytest.mark.parametrize("degree", [1, 3])
def test_reports_of_confined_densities_and_of_no_interaction(shared_folder, comm, degree):
    """Where there is no critical mass, or no bound on the time of blow-up, the report does without."""
    for gamma_bar in (0.0, 1.0):
        case = Case(
            system="signed",
            model=Model(
                sigma=1.0,
                gamma_bar=gamma_bar,
                interaction="attractive",
                confinement={"kind": "harmonic", "strength": 1.0},
            ),
            initial=blob(1.0),
            time={"end": 0.1},
            pde=PDE(mesh=Disk(radius=5.0, cell_size=0.5), step=0.05, degree=degree),
            output={"pictures": False},
        )
        folder = shared_folder / f"{gamma_bar:g}"
        summary = run(case, out=folder, comm=comm)
        assert summary["status"] == "done", summary.get("reason")
        assert "latest_time_theory" not in summary["pde"]["blow_up"]
        assert ("critical_mass" in summary["pde"]["blow_up"]) == (gamma_bar > 0)
        if comm.rank == 0:
            assert "largest density at the start" in (folder / "report.md").read_text()


def _center_area(comm):
    graph = EdgeGraph(build(Disk(radius=5.0, cell_size=0.5, center_size=0.05), comm))
    return graph.sums.minimum(graph.area)


def test_blow_up_is_a_run_error_with_its_figures():
    error = BlowUpError(0.5, 3.0, 0.2)
    assert isinstance(error, RunError)
    assert (error.time, error.peak, error.share) == (0.5, 3.0, 0.2)
    assert "t = 0.5" in str(error)
    error = BlowUpError(0.856023, 4.8, 0.17, resolved=0.72, expected=0.92, latest=1.32)
    assert "blow-up at t = 0.856 on this mesh" in str(error)
    assert "after 0.72" in str(error)
    assert "before 1.32" in str(error)
    assert "at about 0.92" in str(error)


def test_the_time_of_blow_up_has_bounds_on_every_mesh():
    """Two clumps above the critical mass: by refinement at 1.02; seen at 0.86 on these cells."""
    clumps = Initial(positive=tuple(Gaussian(mass=0.5, center=(x, 0.0), width=0.4) for x in (-1.0, 1.0)))
    model = Model(sigma=1.0, gamma_bar=3.0, interaction="attractive")
    solver = Solver(model, clumps, mesh=Disk(radius=6.0, cell_size=0.2), step=0.01)
    summary = PDESummary(solver)
    with pytest.raises(BlowUpError) as caught:
        solver.solve(1.5, observers=[summary.add])
    error = caught.value
    assert error.resolved < error.time < error.expected < error.latest
    assert error.resolved < 1.02 < error.latest
    assert error.expected == pytest.approx(1.02, rel=0.15)
    found = summary.figures()["blow_up"]
    assert found["not_before"] == error.resolved
    assert found["expected"] == pytest.approx(error.expected, rel=1e-9)


def test_line_through_the_reciprocals():
    times = np.linspace(0.0, 0.9, 50)
    assert expected_time(times, 2 / (1 - times)) == pytest.approx(1.0, rel=1e-12)
    assert expected_time(times, np.ones(50) - 0.01 * times) is None
    assert expected_time([0.0, 0.1], [1.0, 2.0]) is None


def test_below_the_critical_mass_the_density_spreads():
    solver = solver_of(0.2, Disk(radius=9.0, cell_size=0.3), 0.05)
    first = solver.figures()
    solver.solve(1.0)
    now = solver.figures()
    assert now["maximum"] < 0.7 * first["maximum"]
    rate = 4 * 0.5 * 0.2 - 4.0 * 0.2**2
    assert now["second_moment"] - first["second_moment"] == pytest.approx(rate, rel=2e-2)
    assert latest_time(0.4, 0.4, diffusivity=0.5, gamma_bar=4.0) is None


def test_energy_falls_for_steps_beyond_all_accuracy():
    """Backward Euler with the potential from before, in steps of a hundred accurate ones: no help of the gate."""
    solver = solver_of(1.0, Disk(radius=4.0, cell_size=0.4), 5.0)
    energy, reports = solver.figures()["free_energy"], []
    while not reports or (len(reports) < 5 and solver.cell_share < 0.1):
        solver.stepping.history = replace(solver.stepping.history, past=())  # backward Euler
        reports.append(solver.step(0.6))
        figures = reports[-1].figures
        assert reports[-1].refused == ()
        assert figures["free_energy"] < energy
        assert figures["minimum"] >= 0.0
        energy = figures["free_energy"]
    assert [report.order for report in reports] == [1] * len(reports)


def test_residual_vanishes_to_second_order():
    found = []
    for rings in (20, 40):
        solver = solver_of(0.8, Disk(radius=5.0, cell_size=5.0 / rings), 0.8 / rings)
        residual = PDEResidual(solver, [GaussianBump(center=(0.4, 0.2), width=0.8)])
        solver.solve(0.2, observers=[residual])
        found.append(abs(residual.values[-1][0]))
    assert found[1] < 1e-3
    assert found[0] / found[1] > 3.2


def test_virial_law_to_second_order():
    defects = []
    for rings in (20, 40):
        solver = solver_of(0.8, Disk(radius=6.0, cell_size=6.0 / rings), 0.8 / rings)
        start = solver.figures()["second_moment"]
        solver.solve(0.2)
        change = solver.figures()["second_moment"] - start
        defects.append(abs(change - 0.2 * (4 * 0.5 * 0.8 - 4.0 * 0.64)))
    assert defects[1] < 5e-3
    assert defects[0] / defects[1] > 3.2


@pytest.mark.ranks
def test_fields_do_not_depend_on_the_number_of_ranks(comm):
    mesh = Disk(radius=5.0, cell_size=0.5, center_size=0.1)
    together, alone = (Solver(MODEL, blob(0.9), mesh=mesh, step=0.01, comm=c) for c in (comm, MPI.COMM_SELF))
    for solver in (together, alone):
        solver.solve(0.1)
    assert np.abs(everywhere(together) - everywhere(alone)).max() < 1e-9


@pytest.mark.ranks
@pytest.mark.parametrize("center_size", [0.02, 0.1])
def test_graded_disk_is_delaunay_and_as_fine_as_asked(comm, center_size):
    mesh = Disk(radius=3.0, cell_size=0.3, center_size=center_size)
    graph = EdgeGraph(build(mesh, comm))  # raises where an edge weight is negative
    assert graph.sums.total(graph.area)[0] == pytest.approx(np.pi * 9.0, rel=1e-2)
    radii = np.unique(np.round(np.hypot(*mesh.cells(2)[0].T), 9))
    assert radii[-1] == pytest.approx(3.0)
    assert len(radii) == mesh.rings + 1
    assert np.diff(radii)[0] == pytest.approx(center_size, rel=0.05)
    assert np.diff(radii)[-1] == pytest.approx(0.3, rel=0.1)


def test_disk_that_is_coarser_at_the_centre_is_refused():
    with pytest.raises(InputError, match=r"center_size = 0.5 must not exceed cell_size = 0.2"):
        Disk(radius=3.0, cell_size=0.2, center_size=0.5)


def test_levels_are_interpolated_in_the_reciprocal():
    assert levels_reached((0.0, 1.0), (1.0, 5.0), 1.0) == {}
    assert levels_reached((0.0, 5.0), (1.0, 20.0), 1.0) == {"10": pytest.approx(2 / 3)}


def test_opposite_charges_have_no_attractive_equation():
    both = Initial(
        positive=(Gaussian(mass=0.5, center=(0.0, 0.0), width=1.0),),
        negative=(Gaussian(mass=0.5, center=(0.0, 0.0), width=1.0),),
    )
    solver = Solver(MODEL, both, mesh=Disk(radius=6.0, cell_size=0.6), step=0.1)
    assert solver.charges == [1.0, 1.0]  # all attract all, whatever their sign


@pytest.mark.parametrize("mass", [1.0, 1000.0])
def test_data_that_have_collapsed_on_their_mesh_blow_up(mass, shared_folder, comm):
    """A seventh of the mass in one cell at the start: the density cannot rise tenfold, and no solution may go on."""
    case = Case(
        system="signed",
        model=Model(sigma=0.5, gamma_bar=1.0, interaction="attractive"),
        initial={"positive": [{"shape": "gaussian", "mass": mass, "center": [0.0, 0.0], "width": 0.4}]},
        time={"end": 1.0},
        pde=PDE(mesh=Disk(radius=4.0, cell_size=0.4), step=0.01),
        output={"pictures": False},
    )
    summary = run(case, out=shared_folder, comm=comm, check=False)
    assert (summary["status"], summary["reason"][:14]) == ("failed", "blow-up at t =")
    latest = summary["pde"]["blow_up"]["latest_time_theory"]
    assert latest == pytest.approx(0.32 * mass / (mass**2 - 4 * 0.125 * mass), rel=0.05)
    assert summary["pde"]["end_time"] <= latest
    assert summary["pde"]["steps"] > 0


def test_no_solution_passes_its_own_latest_time():
    """Degree two, which knows no cells: the steps end at the bound, whatever the mesh shows."""
    solver = Solver(MODEL, blob(0.51), mesh=Disk(radius=5.0, cell_size=0.7), step=0.5, degree=2, undershoot=0.1)
    assert Solver(MODEL, blob(0.49), mesh=Disk(radius=5.0, cell_size=0.7), step=0.5).latest_time is None
    solver.latest_time = 0.01
    with pytest.raises(BlowUpError, match=r"blow-up at t = 0\.01: no solution in the plane lives longer than 0\.01"):
        solver.solve(1.0)
    assert solver.t == pytest.approx(0.01)
