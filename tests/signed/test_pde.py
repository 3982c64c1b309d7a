"""The finite-element solver of the signed system against what the equation and the scheme promise.

The load is carried by the laws at rounding level (mass, sign, free energy falling without help of the gate, the
M-matrix for any potential), the case in which the gate must act, and equality over ranks. The free energy is computed
anew here, with the closed form of the potential where there is one. All figures are global and the same on every rank.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import meshio
import numpy as np
import pytest
from mpi4py import MPI
from petsc4py import PETSc
from scipy.special import xlogy
from solvers import NAMES, difference, everywhere, initial_of, recorded, run, solver_of, unequal

from limitpde.densities import Gaussian, Ring, UniformDisk
from limitpde.errors import InputError, RunError
from limitpde.fem import mesh as meshes
from limitpde.fem.edge_flux import fill_transport
from limitpde.fem.edges import EdgeGraph, EdgeMatrix
from limitpde.fem.mesh import Disk
from limitpde.signed.exact import PROBLEMS
from limitpde.signed.model import Initial, Model
from limitpde.signed.pde import Solver
from limitpde.signed.scheme import Scheme
from limitpde.signed.summary import PDESummary


def energy(solver: Solver) -> float:
    """D sum_s int rho_s log rho_s + (gamma_bar / 2) int u psi, from the fields."""
    model, densities = solver.model, solver.densities
    charge = sum(b * rho for b, rho in zip(solver.charges, densities.values(), strict=True))
    entropy = sum(xlogy(rho, rho) for rho in densities.values())
    values = solver.graph.area * (model.D * entropy + model.gamma_bar / 2 * charge * solver.potential)
    return float(solver.graph.sums.total(values)[0])


def check_laws(solver: Solver, first: dict, reports: list, *, rise: float = 1e-12) -> None:
    """Mass, sign, free energy and maximum, step by step; `rise` is by how much a step may raise the maximum.

    The discrete maximum principle is one of the implicit potential. The predicted one keeps it where it is accurate;
    where it is not, the gate must.
    """
    scale = abs(first["free_energy"]) + solver.model.D
    for before, report in zip([first, *(r.figures for r in reports)], reports, strict=False):
        now = report.figures
        for name in solver.densities:
            assert abs(now[f"mass_{name}"] - first[f"mass_{name}"]) < 1e-12
        assert now["minimum"] >= 0.0
        assert now["free_energy"] - before["free_energy"] <= 1e-12 * scale
        assert now["free_energy_increase"] == now["free_energy"] - before["free_energy"]
        assert now["maximum"] <= before["maximum"] * (1 + rise)
    assert energy(solver) == pytest.approx(reports[-1].figures["free_energy"], rel=1e-12)


# Laws


@pytest.mark.parametrize("name", NAMES)
def test_laws_hold_without_help_of_the_gate(name):
    solver, first, reports = run(name, 40, 0.02)
    assert len(reports) == 50
    assert all(report.refused == () for report in reports)
    assert [report.order for report in reports] == [1] + [2] * 49
    assert reports[-1].t == pytest.approx(1.0, rel=1e-12)
    check_laws(solver, first, reports)
    assert reports[-1].figures["free_energy"] < first["free_energy"] - 1e-2


@pytest.mark.parametrize("name", ["S1", "S2"])
def test_free_energy_is_that_of_the_continuum(name):
    """At time 0, where the potential is known: D sum rho log rho exactly, (gamma_bar / 2) int u psi by quadrature."""
    problem, solver = PROBLEMS[name], solver_of(name, 40, 0.1)
    entropy = sum(
        g.mass * (math.log(g.mass / (2 * np.pi * g.variance)) - 1.0) for g in (*problem.positive, *problem.negative)
    )
    x, y = solver.graph.points.T
    charge = problem.initial_positive(x, y) - problem.initial_negative(x, y)
    psi = sum(g.potential(x, y) for g in problem.positive) - sum(g.potential(x, y) for g in problem.negative)
    (interaction,) = solver.graph.sums.total(solver.graph.area * charge * psi)
    expected = problem.diffusivity * entropy + problem.gamma_bar / 2 * interaction
    assert solver.figures()["free_energy"] == pytest.approx(expected, abs=5e-3)


def stiff(step: float) -> Solver:
    """gamma_bar = 50, sigma^2 / 2 = 0.05: charge relaxes within 0.012."""
    model = Model(sigma=math.sqrt(0.1), gamma_bar=50.0)
    return Solver(model, initial_of(PROBLEMS["S3"]), mesh=Disk(radius=8.0, cell_size=0.4), step=step)


def test_steps_of_eighty_relaxation_times_need_no_gate():
    solver = stiff(1.0)
    first, reports = solver.figures(), recorded(solver, 4.0)
    assert [report.dt for report in reports] == [1.0] * 4
    assert all(report.refused == () for report in reports)
    check_laws(solver, first, reports)


def test_steps_of_eight_thousand_relaxation_times_meet_the_gate():
    solver = stiff(100.0)
    first, reports = solver.figures(), recorded(solver, 200.0)
    refused = [reason for report in reports for reason in report.refused]
    assert refused
    assert any("free energy rises" in reason for reason in refused)
    assert all("with dt = " in reason for reason in refused)
    assert sum(report.figures["refused"] for report in reports) == len(refused)
    assert min(report.dt for report in reports) < 100.0
    assert reports[-1].t == pytest.approx(200.0, rel=1e-12)
    check_laws(solver, first, reports, rise=1e-3)


@pytest.mark.ranks
def test_a_step_that_is_given_up_changes_nothing(monkeypatch):
    solver, other = solver_of("S2", 10, 0.5), solver_of("S2", 10, 0.5)
    solver.step(0.5)
    other.step(0.5)
    before, t = everywhere(solver), solver.t
    with monkeypatch.context() as patch:
        patch.setattr(solver.stepping, "_refusal", lambda end: "refused by the test")
        with pytest.raises(RunError, match=r"no step from t = 0\.5 passes the gate.*refused by the test"):
            solver.step(0.5)
    assert solver.t == t
    np.testing.assert_array_equal(everywhere(solver), before)
    np.testing.assert_allclose(everywhere(solver), everywhere(other), rtol=0, atol=1e-12)
    assert solver.step(0.5).order == other.step(0.5).order == 2
    np.testing.assert_allclose(everywhere(solver), everywhere(other), rtol=0, atol=1e-9)


@pytest.mark.ranks
def test_step_after_a_refusal_is_that_of_the_accepted_size(monkeypatch):
    """What the gate refuses leaves no trace: BDF2 with dt = 0.1 after refused attempts = the same without them."""
    cut, plain = solver_of("S2", 10, 0.2), solver_of("S2", 10, 0.1)
    for solver in (cut, plain):
        solver.step(0.1)
    honest, calls = cut.stepping._refusal, []
    monkeypatch.setattr(
        cut.stepping, "_refusal", lambda end: calls.append(1) or (honest(end) if len(calls) > 2 else "no")
    )
    report = cut.step(0.2)
    assert (report.order, report.dt, len(report.refused)) == (2, 0.1, 2)
    assert report.refused[0].startswith("BDF2 with dt = 0.2")
    assert report.refused[1].startswith("backward Euler with dt = 0.2")
    plain.step(0.1)
    np.testing.assert_allclose(everywhere(cut), everywhere(plain), rtol=0, atol=1e-11)
    assert cut.suggested_step == pytest.approx(0.12)  # grows back by a factor 1.2 a step
    cut.step(cut.suggested_step)
    assert cut.suggested_step == pytest.approx(0.144)


# Transport: an M-matrix for any potential


def dense(matrix: PETSc.Mat) -> np.ndarray:
    indptr, columns, values = matrix.getValuesCSR()
    own = np.zeros((len(indptr) - 1, matrix.size[1]))
    for row in range(len(own)):
        own[row, columns[indptr[row] : indptr[row + 1]]] = values[indptr[row] : indptr[row + 1]]
    return np.concatenate(matrix.comm.tompi4py().allgather(own))


@pytest.mark.parametrize("dt", [1e-3, 1.0, 1e3])
def test_transport_keeps_sign_and_mass_for_any_potential(comm, dt):
    graph = EdgeGraph(meshes.build(Disk(radius=8.0, cell_size=0.8), comm))
    psi = 5.0 * np.random.default_rng(comm.rank + 1).standard_normal(graph.local)
    psi = graph.share(psi)  # any potential will do, on any number of ranks
    matrix = EdgeMatrix(graph)
    fill_transport(matrix.edges, graph.weight, graph.weight * (psi[graph.tail] - psi[graph.head]), 0.5)
    matrix.edges *= dt
    matrix.diagonal[:] = graph.area[: graph.owned]
    A, area = dense(matrix.assemble()), np.concatenate(comm.allgather(graph.area[: graph.owned]))
    off = A - np.diag(A.diagonal())
    assert off.max() <= 0.0
    np.testing.assert_allclose(A.sum(axis=0), area, rtol=0, atol=1e-12 * np.abs(A).max())
    right = np.zeros(graph.size)
    right[graph.size // 3] = 1.0  # unit mass at one node
    density = np.linalg.solve(A, right)
    assert density.min() >= 0.0
    assert np.isfinite(density).all()
    assert area @ density == pytest.approx(1.0, abs=1e-12)
    equilibrium = np.concatenate(comm.allgather(np.exp(psi[: graph.owned] / 0.5)))
    assert np.abs((A - np.diag(area)) @ equilibrium).max() < 1e-12 * np.abs(A).max() * equilibrium.max()


def test_rough_data_stay_lawful():
    """Disks with sharp edges that touch, strong coupling: where a Galerkin scheme goes negative at once."""
    initial = Initial(
        positive=(UniformDisk(mass=0.7, center=(-0.5, 0.0), radius=0.5),),
        negative=(UniformDisk(mass=0.3, center=(0.5, 0.1), radius=0.45),),
    )
    for step in (1e-3, 0.3):
        model = Model(sigma=0.3, gamma_bar=2.0)
        solver = Solver(model, initial, mesh=Disk(radius=4.0, cell_size=0.2), step=step)
        first, reports = solver.figures(), recorded(solver, 5 * step)
        check_laws(solver, first, reports)


# Ranks, meshes, steps


@pytest.mark.ranks
@pytest.mark.parametrize("rings", [1, 2, 16])
def test_solution_does_not_depend_on_the_number_of_ranks(comm, rings, monkeypatch):
    monkeypatch.setattr("limitpde.signed.setting.SEEN", (0.0, 10.0))  # so that a rank may own nothing
    monkeypatch.setattr("limitpde.signed.setting.HELD", 0.0)
    many, one = unequal(rings, comm=comm), unequal(rings, comm=MPI.COMM_SELF)
    for solver in (many, one):
        solver.solve(0.3)
    a, b = everywhere(many), everywhere(one)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)
    figures, expected = many.figures(), one.figures()
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    assert comm.allgather(figures) == [figures] * comm.size  # bitwise the same on every rank


def test_far_tails_do_not_cost_the_order_in_time():
    """Two charges that leave their tails behind: BDF2 goes below zero there by 1e-7 of the mass, which is no matter."""
    apart = [[{"mass": 0.5, "center": (x, 0.0), "width": 0.4}] for x in (-1.0, 1.0)]
    model, mesh = Model(sigma=0.5, gamma_bar=2.0), Disk(radius=8.0, cell_size=0.2)
    solver = Solver(model, Initial(positive=apart[0], negative=apart[1]), mesh=mesh, step=0.01)
    reports = recorded(solver, 0.5)
    assert [report.order for report in reports] == [1] + [2] * 49
    assert not any(report.refused for report in reports)
    for report in reports:
        assert report.figures["minimum"] >= 0.0
        assert report.figures["free_energy_increase"] <= 0.0
        assert report.figures["mass_positive"] == pytest.approx(0.5, rel=1e-13)


@pytest.mark.ranks
def test_gmsh_mesh_gives_the_solution_of_the_same_disk(comm, shared_folder):
    disk = Disk(radius=7.0, cell_size=0.5)
    points, cells = disk.cells(2)
    path = shared_folder / "disk.msh"
    if comm.rank == 0:
        points = np.column_stack([points, np.zeros(len(points))])
        meshio.write(path, meshio.Mesh(points, [("triangle", cells)]), file_format="gmsh22")
    comm.barrier()
    plain, read = (
        Solver(Model(sigma=1.0, gamma_bar=1.0), initial_of(PROBLEMS["S2"]), mesh=mesh, step=0.1)
        for mesh in (disk, str(path))
    )
    for solver in (plain, read):
        solver.solve(0.3)
    np.testing.assert_allclose(everywhere(read), everywhere(plain), rtol=0, atol=1e-10)


def test_stops_are_met_on_the_way():
    solver = solver_of("S2", 10, 0.1)
    stops = [0.137, 0.5, 0.503, 0.9]
    reports = recorded(solver, 1.0, stops=stops)
    times = np.array([report.t for report in reports])
    for stop in [*stops, 1.0]:
        assert np.abs(times - stop).min() < 1e-13
    sizes = np.array([report.dt for report in reports])
    np.testing.assert_allclose(np.cumsum(sizes), times, rtol=1e-13)
    assert (sizes <= 0.1 * (1 + 1e-9)).all()
    assert (sizes[1:] <= 2.0 * sizes[:-1] * (1 + 1e-9)).all()  # variable BDF2 is stable up to 1 + sqrt(2)
    assert all(report.refused == () for report in reports)
    plain = solver_of("S2", 10, 0.1)
    plain.solve(1.0)
    assert np.abs(everywhere(solver) - everywhere(plain)).max() < 2e-3


@pytest.mark.ranks
def test_fields_are_the_nodal_values():
    solver = unequal(14)
    fields = solver.outputs()["fields"][1]
    assert set(fields) == {"rho_positive", "rho_negative", "charge", "potential"}
    np.testing.assert_array_equal(fields["rho_positive"].x.array, solver.densities["positive"])
    np.testing.assert_array_equal(fields["potential"].x.array, solver.potential)
    difference_ = solver.densities["positive"] - solver.densities["negative"]
    np.testing.assert_array_equal(fields["charge"].x.array, difference_)
    assert solver.dofs == 3 * solver.graph.size


def test_one_sign_alone():
    solver = solver_of("R1", 10, 0.1)
    assert list(solver.densities) == ["positive"]
    both = initial_of(PROBLEMS["S2"])
    repulsive = Model(sigma=1.0, gamma_bar=0.4, interaction="repulsive")
    mesh = Disk(radius=8.0, cell_size=0.4)
    merged = Solver(repulsive, Initial(positive=(*both.positive, *both.negative)), mesh=mesh, step=0.1)
    apart = Solver(repulsive, both, mesh=mesh, step=0.1)
    for s in (merged, apart):
        s.solve(0.5)
    total = sum(apart.densities.values())
    assert difference(apart.graph, total, merged.densities["positive"]) < 1e-9  # what repels is one gas


# Errors of the user


@pytest.mark.parametrize("step", [0.0, -0.1, math.nan, math.inf])
def test_step_must_be_positive_and_finite(step):
    with pytest.raises(InputError, match=r"pde\.step"):
        solver_of("S2", 20, step)
    solver = solver_of("S2", 20, 0.1)
    with pytest.raises(InputError, match="dt"):
        solver.step(step)
    assert solver.t == 0.0


def test_time_does_not_run_back():
    solver = solver_of("S2", 20, 0.1)
    solver.solve(0.2)
    with pytest.raises(InputError, match="end"):
        solver.solve(0.1)


@pytest.mark.ranks
def test_wrong_input_is_refused_on_every_rank():
    both, mesh = initial_of(PROBLEMS["S2"]), Disk(radius=8.0, cell_size=0.5)
    mean_field = Model(sigma=1.0, gamma_bar=0.4)
    far = Initial(positive=both.positive, negative=(UniformDisk(mass=0.5, center=(30.0, 0.0), radius=1.0),))
    for model, initial, options, message in (
        (Model(sigma=1.0, gamma=0.1), both, {}, "gamma_bar is missing"),
        (mean_field, both, {"degree": 2, "boundary": "grounded"}, r"pde\.degree = 2: must be 1 with .* walls"),
        (mean_field, Initial(points="points.npz"), {}, "needs densities, not points"),
        (mean_field, far, {}, r"initial\.negative\[0\]: the nodes of the mesh see 0 of its mass"),
        (mean_field, both, {"mesh": "no/such/file.msh"}, "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            Solver(model, initial, **({"mesh": mesh, "step": 0.1} | options))


@pytest.mark.ranks
def test_a_part_that_the_mesh_does_not_see_is_refused_or_told_of():
    """Each part keeps its own mass: none of it may end up on another part."""
    options = {"mesh": Disk(radius=6.0, cell_size=0.5), "step": 0.1}
    near = Gaussian(mass=0.25, center=(0.0, 0.0), width=0.6)
    away = Gaussian(mass=0.25, center=(20.0, 0.0), width=0.6)
    with pytest.raises(InputError, match=r"initial\.positive\[1\]: the nodes of the mesh see [0-9.e-]+ of its mass"):
        Solver(Model(sigma=1.0, gamma_bar=0.4), Initial(positive=(near, away)), **options)
    for center, wrong in (
        ((0.0, 0.0), "the nodes of the mesh see .* be 0.9 to 1.1"),
        ((0.405, 0.1), "it lies on 1 no"),
    ):
        narrow = Gaussian(mass=0.25, center=center, width=0.08)  # at the second place nodes happen to see its mass
        with pytest.raises(InputError, match=rf"initial\.positive\[1\]: {wrong}"):
            Solver(Model(sigma=1.0, gamma_bar=0.4), Initial(positive=(near, narrow)), **options)
    thin = Ring(mass=0.25, center=(0.0, 0.0), radius=2.0, width=0.22)
    solver = Solver(Model(sigma=1.0, gamma_bar=0.4), Initial(positive=(near, thin)), **options)
    assert len(solver.warnings) == 1
    assert solver.warnings[0].startswith("initial.positive[1]: the nodes see ")
    assert solver.figures()["mass_positive"] == pytest.approx(0.5, rel=1e-14)


@pytest.mark.ranks
@pytest.mark.parametrize("center", [(0.0, 0.0), (0.1, 0.2), (9.7, -5.3)])
def test_a_ring_of_nodes_at_nine_tenths_of_the_radius_is_not_beyond(center, comm):
    """The radius of the circle is known up to rounding, which differs between numbers of ranks."""
    part = Gaussian(mass=1.0, center=center, width=1.0)
    solver = Solver(
        Model(sigma=1.0, gamma_bar=0.4),
        Initial(positive=(part,)),
        mesh=Disk(radius=6.0, cell_size=0.6, center=center),
        step=0.1,
        comm=comm,
    )
    beyond = solver.graph.sums.total(solver.poisson.outer().astype(float))[0]
    assert beyond == 60  # the outermost of ten rings


@pytest.mark.ranks
def test_halvings_are_bounded(monkeypatch):
    monkeypatch.setattr(Scheme, "halvings", 1)
    solver = solver_of("S2", 20, 0.1)
    tried = []
    monkeypatch.setattr(solver.stepping, "_refusal", lambda end: tried.append(1) or "never")
    with pytest.raises(RunError, match=r"dt = 0\.05: never"):
        solver.step(0.1)
    assert len(tried) == 2


def test_mass_that_reaches_the_edge_is_said_and_stops_nothing():
    """Repulsion drives all to the edge of a small disk, where it piles up as at a wall."""
    initial = Initial(positive=(Gaussian(mass=1.0, center=(0.0, 0.0), width=0.3),))
    solver = Solver(
        Model(sigma=0.3, gamma_bar=1.0), initial, mesh=Disk(radius=1.5, cell_size=0.15), step=0.05
    )  # fmt: skip
    summary = PDESummary(solver)
    start = solver.figures()["second_moment"]
    solver.solve(0.2, observers=[summary.add])
    assert not any(caution.exceeded for caution in summary.cautions())
    assert solver.figures()["second_moment"] == pytest.approx(start + 0.2 * 1.18, rel=0.02)
    solver.solve(2.5, observers=[summary.add])
    assert summary.steps == 50
    assert summary.refused == 0
    (caution,) = (caution for caution in summary.cautions() if caution.exceeded)
    assert caution.name == "mass_outside"
    assert caution.value > 0.3
    assert "take a radius (pde.mesh) above 2.25" in caution.text
