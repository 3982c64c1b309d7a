"""The finite-element solver of coagulation and diffusion against what the equations and the scheme promise.

The load is carried by exact references that know nothing of the scheme (the number and the mass of a constant kernel,
its generating function, the ordinary equations of homogeneous data), by the ledger and the sign at rounding level, and
by equality over ranks. Figures are global and the same on every rank.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import functools
import itertools
import math

import dolfinx.mesh
import meshio
import numpy as np
import pytest
import pyvista
import scipy.integrate
from clouds import CLOUDS_MASS, clouds, fields_of, homogeneous, model_of
from mpi4py import MPI
from nodal import everywhere
from states import hand_over

from limitpde.coagulation.model import Initial
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.reaction.bins import Bins
from limitpde.densities import UniformDisk
from limitpde.fem.mesh import Ball, Box, Point, Torus
from limitpde.results.fields import FieldSeries, read_fields

FILE = '''
"""Densities on the unit torus."""
import numpy as np


def f1(x):
    return 1 + 0.5 * np.cos(2 * np.pi * x[:, 0])


def f2(x):
    return 0.3 * (1 + np.sin(2 * np.pi * x[:, 0]))
'''


# The generating function: a reference with no truncation in mass (methods, section B)


TARGET = {
    "n(0)": 0.8470085596,
    "n(.5)": 0.7084445248,
    "f1(0)": 0.3880388719,
    "f2(0)": 0.2290562202,
    "f3(0)": 0.1096184315,
    "int n": 0.7781958228,
}
"""d(n) = 0.05, beta = 2, f_1 = 1 + cos(2 pi x) / 2, f_2 = 0.3 (1 + sin(2 pi x)) on the unit torus, at t = 1/2."""


@pytest.fixture
def generating(shared_folder, comm):
    """Solver of the target for a number of cells and of steps -> its six figures."""
    if comm.rank == 0:
        (shared_folder / "target.py").write_text(FILE)
    comm.barrier()

    @functools.cache
    def values(cells: int, steps: int) -> np.ndarray:
        around = {"center": [0.5], "radius": 0.5}  # nodes at the seam belong to both ends of the interval
        file = shared_folder / "target.py"
        initial = Initial(
            masses=[
                {"n": 1, "python": f"{file}:f1", "mass": 1.0, **around},
                {"n": 2, "python": f"{file}:f2", "mass": 0.3, **around},
            ]
        )
        model = model_of(1, diffusion=[0.05], n_max=36)
        solver = Solver(model, initial, mesh=Torus(size=1.0, cell_size=1 / cells), step=0.5 / steps)
        solver.solve(0.5)
        f = fields_of(solver)[:, :-1]
        number = f.sum(axis=1)
        return np.array([number[0], number[cells // 2], *f[0, :3], solver.integrated.sum()])

    return values


def test_solution_is_that_of_the_generating_function(generating):
    """The errors are of the form a h^2 + b dt^2 + smaller: extrapolated in both, six digits more are right."""
    exact = np.array(list(TARGET.values()))
    plain = generating(64, 100)
    np.testing.assert_allclose(plain, exact, rtol=0, atol=2e-4)
    coarse, fine = ([generating(cells, steps) for steps in (100, 200)] for cells in (64, 128))
    in_time = [(4 * b - a) / 3 for a, b in (coarse, fine)]
    found = (4 * in_time[1] - in_time[0]) / 3
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-7)
    errors = [np.abs(values - exact).max() for values in in_time]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.02)


# Laws


@pytest.mark.parametrize("mesh", [Torus(size=1.0, cell_size=0.1), Ball(radius=0.6, cell_size=0.1, center=(0.5, 0.5))])
def test_number_and_mass_of_a_constant_kernel(comm, mesh):
    """With one d, d_t M0 = d Lap M0 - (beta / 2) M0^2, and the mass solves the heat equation; order two in time."""
    errors = []
    for steps in (8, 16):
        solver = Solver(model_of(n_max=40), clouds(2), mesh=mesh, step=0.4 / steps, comm=MPI.COMM_SELF)
        nodes = solver.nodes
        A = np.zeros((nodes.size, nodes.size))
        row = np.repeat(np.arange(nodes.size), np.diff(nodes.indptr))
        A[row, nodes.columns] = nodes.values / nodes.volume[row]
        number, mass = solver.densities.sum(axis=1), solver.densities @ solver.masses
        values, vectors = np.linalg.eig(A)
        heat = (vectors * np.exp(-0.4 * 0.1 * values)) @ np.linalg.inv(vectors)
        exact = scipy.integrate.solve_ivp(
            lambda t, u, A=A: -0.1 * A @ u - u**2, (0, 0.4), number, method="DOP853", rtol=1e-10, atol=1e-12
        ).y[:, -1]
        solver.solve(0.4)
        assert solver.figures()["mass_overflow"] < 1e-9
        np.testing.assert_allclose(solver.densities @ solver.masses, (heat @ mass).real, rtol=1e-6)
        errors.append(np.abs(solver.densities.sum(axis=1) - exact).max())
    assert errors[1] < 1e-2
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("step", [1e-3, 10.0])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_ledger_and_sign_for_rough_data_and_any_step(comm, dimension, step):
    """Sharp edges, a kernel that makes a gel, diffusivities from 1 to 10^-3, tetrahedra with obtuse angles."""
    ball = UniformDisk(mass=3.0, center=(0.2,) * dimension, radius=0.4)
    initial = Initial(masses=[{"n": 1, "density": ball}, {"n": 5, "shape": "uniform", "mass": 0.5}])
    model = model_of(dimension, diffusion={"power": -3.0}, beta={"kernel": "multiplicative", "scale": 3.0}, n_max=10)
    solver = Solver(model, initial, mesh=Ball(radius=1.0, cell_size=0.25), step=step)
    first, reports = solver.figures(), []
    assert first["ledger"] == pytest.approx(3.0 + 5 * 0.5, rel=1e-14)
    assert first["mass_overflow"] == 0.0
    solver.solve(5 * step, observers=[reports.append])
    assert [report.order for report in reports] == [2] * 5
    for before, after in itertools.pairwise([first, *(report.figures for report in reports)]):
        assert after["ledger"] == pytest.approx(first["ledger"], rel=1e-13)
        assert after["minimum"] >= 0.0
        assert after["mass_overflow"] >= before["mass_overflow"]
    if step == 10.0:
        assert reports[-1].figures["mass_overflow"] > 0.9 * first["ledger"]


def test_homogeneous_data_solve_the_ordinary_equations(comm):
    model = model_of(2, diffusion={"power": -0.5}, beta={"kernel": "additive"}, n_max=12)
    initial = homogeneous((1, 1.0), (4, 0.2))
    point = Solver(model, initial, mesh=Point(), step=0.1)
    torus = Solver(model, Initial(masses=initial.masses), mesh=Torus(size=1.0, cell_size=0.3), step=0.1)
    for solver in (point, torus):
        solver.solve(1.0)
    (ode,) = everywhere(point.nodes, point.densities)
    np.testing.assert_allclose(torus.densities, np.broadcast_to(ode, torus.densities.shape), rtol=1e-12)
    assert (point.dofs, point.mesh, point.outputs()) == (12, None, {})
    assert set(torus.figures()) - set(point.figures()) == {"centre_x", "centre_y"}
    for name, value in point.figures().items():
        if name != "second_moment":
            assert torus.figures()[name] == pytest.approx(value, rel=1e-12, abs=1e-15), name


@pytest.mark.parametrize("mesh", [Torus, Box, Ball], ids=lambda mesh: mesh.__name__)
def test_cells_in_files_are_turned_as_paraview_integrates_them(tmp_path, mesh):
    place = {"radius": 1.0} if mesh is Ball else {"size": 2.0, "origin": -1.0}
    cloud = {"n": 2, "shape": "gaussian", "mass": 1.3, "center": [0.1, 0.0, 0.0], "width": 0.25}
    on = {"mesh": mesh(cell_size=0.25, **place), "step": 0.1, "comm": MPI.COMM_SELF}
    solver = Solver(model_of(3), Initial(masses=[cloud]), **on)
    domain, functions = solver.outputs()["fields"]
    FieldSeries(tmp_path / "fields.vtkhdf", domain).write(0.0, functions)
    found, figures = pyvista.read(tmp_path / "fields.vtkhdf").integrate_data(), solver.figures()
    assert found["number"] == pytest.approx(figures["moment_0"], rel=1e-12)
    assert found["mass"] == pytest.approx(figures["mass_total"], rel=1e-12)
    assert figures["mass_total"] == pytest.approx(2.6, rel=1e-9)
    np.testing.assert_allclose([figures[f"centre_{axis}"] for axis in "xyz"], [0.1, 0.0, 0.0], atol=0.01)


def test_constant_kernel_on_a_point(comm):
    """f_k = T^(k-1) / (1 + T)^(k+1), T = beta t / 2."""
    errors = []
    for step in (0.1, 0.05):
        solver = Solver(model_of(3, n_max=64), homogeneous((1, 1.0)), mesh=Point(), step=step)
        solver.solve(1.0)
        (f,) = everywhere(solver.nodes, solver.densities)
        errors.append(np.abs(f - 0.5 ** (solver.masses + 1)).max())
    assert errors[1] < 5e-4
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.2)


def test_annihilation_counts_what_vanishes(comm, shared_folder):
    """h' = -beta h^2, h(0) = 1 on the unit torus (section 3)."""
    model = model_of(2, n_max=1, reaction="annihilation")
    solver = Solver(model, homogeneous((1, 1.0)), mesh=Torus(size=1.0, cell_size=0.5), step=0.01)
    solver.solve(0.5)
    figures = solver.figures()
    assert figures["mass_total"] == pytest.approx(0.5, abs=1e-4)
    assert figures["mass_annihilated"] == pytest.approx(1 - figures["mass_total"], rel=1e-13)
    assert (figures["mass_overflow"], figures["ledger"]) == (0.0, pytest.approx(1.0, rel=1e-13))
    assert list(solver.outputs()["fields"][1]) == ["f_1", "number", "mass", "annihilated"]


# What it reports


def test_figures_are_those_of_the_fields(comm):
    solver = Solver(model_of(3), clouds(3), mesh=Box(size=1.0, cell_size=0.125), step=0.05)
    assert solver.figures()["mass_total"] == pytest.approx(CLOUDS_MASS, rel=1e-13)
    np.testing.assert_allclose(solver.integrated[:3], [0.7, 0.2, 0.1], rtol=1e-13)
    solver.solve(0.1)
    nodes, f = solver.nodes, fields_of(solver)
    volume, x = everywhere(nodes, nodes.volume), everywhere(nodes, nodes.points)
    n, figures = solver.masses, solver.figures()
    mass = volume * (f[:, :-1] @ n)
    expected = {
        "mass_total": mass.sum(),
        "mass_overflow": volume @ f[:, -1],
        "ledger": mass.sum() + volume @ f[:, -1],
        "minimum": f[:, :-1].min(),
        "maximum": f[:, :-1].max(),
        **{f"moment_{k}": volume @ f[:, :-1] @ n**k for k in range(3)},
        "second_moment": mass @ (x**2).sum(axis=1),
        "clipped": 0.0,
        **{f"centre_{axis}": mass @ x[:, c] / mass.sum() for c, axis in enumerate("xyz")},
    }
    assert list(figures) == list(expected)
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, rel=1e-12, abs=1e-15), name
    np.testing.assert_allclose(solver.integrated, volume @ f[:, :-1], rtol=1e-12)
    assert comm.allgather(figures) == [figures] * comm.size  # bitwise the same on every rank
    assert solver.dofs == 9**3 * 8


@pytest.mark.ranks
def test_fields_can_be_written(comm, shared_folder):
    solver = Solver(model_of(2, n_max=12), clouds(2), mesh=Torus(size=1.0, cell_size=0.2), step=0.05)
    series = FieldSeries(shared_folder / "fields.vtkhdf", solver.mesh)
    solver.solve(0.05)
    series.write(solver.t, solver.outputs()["fields"][1])
    f = fields_of(solver).reshape(5, 5, 13)
    if comm.rank == 0:
        points, _, arrays, t = read_fields(shared_folder / "fields.vtkhdf")
        i, j = np.rint(points[:, :2].T * 5).astype(int) % 5
        assert t == 0.05
        assert set(arrays) == {*(f"f_{n}" for n in range(1, 9)), "number", "mass", "overflow"}
        np.testing.assert_array_equal(arrays["f_3"], f[i, j, 2])
        np.testing.assert_allclose(arrays["mass"], f[i, j, :12] @ np.arange(1.0, 13.0), rtol=1e-13)
        np.testing.assert_array_equal(arrays["overflow"], f[i, j, 12])


# Ranks, states, steps, meshes


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("mesh", "dimension"),
    [
        (Torus(size=1.0, cell_size=0.2), 2),
        (Box(size=1.0, cell_size=0.25), 3),
        (Torus(size=1.0, cell_size=1.0), 1),
        (Point(), 3),
    ],
    ids=["torus", "box", "one node", "point"],
)
def test_solution_does_not_depend_on_the_number_of_ranks(comm, mesh, dimension):
    initial = clouds(dimension) if isinstance(mesh, Box) or dimension == 2 else homogeneous((1, 1.0), (2, 0.3))
    model = model_of(dimension, diffusion={"power": -0.5, "scale": 0.1})
    many, one = (Solver(model, initial, mesh=mesh, step=0.05, comm=ranks) for ranks in (comm, MPI.COMM_SELF))
    for solver in (many, one):
        solver.solve(0.2)
    np.testing.assert_allclose(fields_of(many), fields_of(one), rtol=0, atol=1e-13)
    for name, value in one.figures().items():
        assert many.figures()[name] == pytest.approx(value, rel=1e-12, abs=1e-13), name


@pytest.mark.ranks
@pytest.mark.parametrize("mesh", [Torus(size=1.0, cell_size=0.2), Point()], ids=["torus", "point"])
def test_state_goes_on_where_it_was(comm, mesh, shared_folder):
    initial = homogeneous((1, 1.0), (2, 0.5)) if isinstance(mesh, Point) else clouds(2)
    solver, other = (Solver(model_of(), initial, mesh=mesh, step=0.05) for _ in range(2))
    single = Solver(model_of(), initial, mesh=mesh, step=0.05, comm=MPI.COMM_SELF)
    solver.solve(0.1)
    for continued in (other, single):
        hand_over(solver, continued, shared_folder, comm, continued.nodes.comm)
        assert continued.t == solver.t
        assert continued.figures()["ledger"] == pytest.approx(solver.figures()["ledger"], rel=1e-13)
    for continued in (solver, other, single):
        continued.solve(0.2)
    np.testing.assert_allclose(fields_of(other), fields_of(solver), rtol=0, atol=1e-14)
    np.testing.assert_allclose(fields_of(single), fields_of(solver), rtol=0, atol=1e-13)


def test_stops_are_met_on_the_way(comm):
    solver, times = Solver(model_of(), clouds(2), mesh=Torus(size=1.0, cell_size=0.25), step=0.04), []
    solver.solve(0.2, stops=[0.05, 0.11], observers=[lambda report: times.append(report.t)])
    for stop in (0.05, 0.11, 0.2):
        assert min(abs(t - stop) for t in times) < 1e-14
    assert solver.suggested_step == 0.04
    assert np.diff([0.0, *times]).max() <= 0.04 * (1 + 1e-9)


@pytest.mark.ranks
def test_gmsh_file_gives_the_solution_of_the_same_box(comm, shared_folder):
    box = Box(size=1.0, cell_size=0.25)
    points, cells = box.cells(3)
    path = shared_folder / "box.msh"
    if comm.rank == 0:
        meshio.write(path, meshio.Mesh(points, [("tetra", cells)]), file_format="gmsh22")
    comm.barrier()
    plain, read = (Solver(model_of(3), clouds(3), mesh=mesh, step=0.05) for mesh in (box, str(path)))
    for solver in (plain, read):
        solver.solve(0.1)
    np.testing.assert_allclose(fields_of(read), fields_of(plain), rtol=0, atol=1e-12)
    assert (plain.domain.kind, read.domain.kind) == ("box", "space")
    own = Solver(model_of(3), clouds(3), mesh=dolfinx.mesh.create_unit_cube(comm, 6, 6, 6), step=0.05)
    assert own.figures()["mass_total"] == pytest.approx(CLOUDS_MASS, rel=1e-13)


def test_bins_split_a_mass_between_pivots(comm):
    bins = Bins(largest=1e4, per_decade=5, exact_up_to=4)
    solver = Solver(
        model_of(2), homogeneous((1, 0.5), (777, 0.25)), mesh=Torus(size=1.0, cell_size=0.5), step=0.1, bins=bins
    )
    assert 777 not in solver.masses
    assert solver.densities.shape[1] == len(solver.masses) == solver.dofs // solver.nodes.size
    figures = solver.figures()
    assert figures["moment_0"] == pytest.approx(0.75, rel=1e-13)
    assert figures["ledger"] == pytest.approx(0.5 + 777 * 0.25, rel=1e-13)
    solver.solve(0.2)
    assert solver.figures()["ledger"] == pytest.approx(0.5 + 777 * 0.25, rel=1e-13)
    assert list(solver.outputs()["fields"][1])[:5] == ["f_1", "f_2", "f_3", "f_4", "f_6"]
