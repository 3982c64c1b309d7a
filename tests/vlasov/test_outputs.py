"""What ParaView gets of a solution of the Vlasov equation: means over parts of cells, moments, planes.

The load is carried by the mass of what is drawn, by moments of a Maxwellian with known mean velocity and temperature,
and by planes of functions that are known; a rank may own nothing.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
import pydantic
import pytest

from limitpde.results.fields import FieldSeries, read_fields
from limitpde.vlasov.hamiltonian.fourier import UniformAxis
from limitpde.vlasov.initial import Initial
from limitpde.vlasov.model import Model
from limitpde.vlasov.outputs import PartGrid, middle, part_means
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.phase_space import Axis


def axis_of(low=-1.0, high=2.0, cells=3, degree=2) -> Axis:
    return Axis(low=low, high=high, cells=cells, degree=degree, periodic=False)


def solver_of(dimension, comm, cells, degree=2, *, x=(0.0, 2 * np.pi), v=(-6.0, 6.0), form="density", **initial):
    potential = {"kind": "cosine", "strength": -1.0}
    domain = {"x": x, "v": v}
    model = Model(dimension=dimension, potential=potential, domain=domain, form=form)
    start = pydantic.TypeAdapter(Initial).validate_python(initial)
    return Solver(model, start, cells=cells, degree=degree, step=0.1, comm=comm)


def written(folder, comm, stem, mesh, functions):
    """Centres (n, d), sizes (n, d) of the cells, and values, of what is read back from a file; None on other ranks."""
    path = folder / f"{stem}.vtkhdf"
    FieldSeries(path, mesh).write(0.0, functions)
    if comm.rank > 0:
        return None
    points, cells, values, _ = read_fields(path)
    corners = points[cells][:, :, : mesh.topology.dim]
    return corners.mean(axis=1), np.ptp(corners, axis=1), values


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("parts", [1, 2, 6])
def test_means_over_parts_are_exact(degree, parts):
    axis = axis_of(0.5, 2.0, 1, degree)
    ends = np.linspace(0.5, 2.0, parts + 1)
    for power in range(degree + 1):
        exact = np.diff(ends ** (power + 1)) / (power + 1) / np.diff(ends)
        np.testing.assert_allclose(part_means(axis, parts) @ axis.nodes**power, exact, rtol=1e-12)


def test_values_at_equally_spaced_points_are_means_themselves():
    axis = UniformAxis(low=-1.0, high=2.0, cells=3, degree=3)
    np.testing.assert_array_equal(part_means(axis, 4), np.eye(4))
    np.testing.assert_allclose(part_means(axis, 1), np.full((1, 4), 0.25))
    np.testing.assert_allclose(part_means(axis, 3).mean(axis=0), 0.25)


@pytest.mark.parametrize("cells", [1, 2, 5, 6])
def test_the_middle_is_that_of_the_polynomial(cells):
    axis = axis_of(-1.0, 2.0, cells, 3)
    assert middle(axis) @ (axis.nodes**3 - axis.nodes) == pytest.approx(0.5**3 - 0.5, abs=1e-13)
    step = np.where(axis.nodes > 0.5, 3.0, 1.0)
    if cells % 2 == 0:
        assert middle(axis) @ step == pytest.approx(2.0)  # the mean of both sides of a face


@pytest.mark.ranks
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_tensor_grid_is_written_in_natural_order(d, shared_folder, comm):
    axes = [axis_of(-1.0 + j, 2.0 + j, 1 + 2 * j) for j in range(d)]  # fewer cells than ranks for d = 1
    grid = PartGrid(comm, axes)
    x = np.meshgrid(*[axis.nodes for axis in axes], indexing="ij")
    f = sum((j + 1) * along**2 for j, along in enumerate(x))
    functions = {
        "f": grid.function("f", grid.means(f)),
        "x": grid.function("x", *map(grid.means, x)),
        "root": grid.from_root("root", f if comm.rank == 0 else np.empty(0)),
    }
    found = written(shared_folder, comm, "fields", grid.mesh, functions)
    if found is not None:
        centres, sizes, values = found
        exact = ((np.arange(d) + 1) * (centres**2 + sizes**2 / 12)).sum(axis=1)
        np.testing.assert_allclose(values["f"], exact, rtol=1e-12)
        np.testing.assert_allclose(values["root"], exact, rtol=1e-12)
        np.testing.assert_allclose(values["x"].reshape(len(centres), -1)[:, :d], centres, rtol=1e-12)
        assert (np.lexsort(centres.T[::-1]) == np.arange(len(centres))).all()


@pytest.mark.ranks
@pytest.mark.parametrize("form", ["density", "hamiltonian", "hartree"])
def test_the_plane_and_the_moments_have_the_mass_of_f(form, shared_folder, comm):
    start = {"shape": "maxwellian", "center": 3.0, "width": 0.8, "drift": 0.7, "thermal": 0.9}
    solver = solver_of(1, comm, (6, 16), 3, form=form, **start)
    for _ in range(2):
        solver.step(0.1)
    outputs = solver.outputs()
    assert list(outputs) == ["fields", "moments"]
    assert solver.outputs()["fields"][0] is outputs["fields"][0]
    mass, figures = solver.figures()["mass_total"], solver.figures()
    plane = written(shared_folder, comm, "fields", *outputs["fields"])
    line = written(shared_folder, comm, "moments", *outputs["moments"])
    if plane is not None:
        assert plane[2]["f"] @ plane[1].prod(axis=1) == pytest.approx(mass, rel=1e-12)
        rho, size = line[2]["rho"], line[1][:, 0]
        assert rho @ size == pytest.approx(mass, rel=1e-12)
        assert (rho * line[2]["velocity"]) @ size == pytest.approx(figures["momentum_x"], rel=1e-9)
        kinetic = rho * (line[2]["temperature"] + line[2]["velocity"] ** 2) / 2
        assert kinetic @ size == pytest.approx(figures["energy_kinetic"], rel=1e-9)
        assert abs((rho * line[2]["force"]) @ size) < 1e-2 * np.abs(line[2]["force"]).max()


@pytest.mark.ranks
@pytest.mark.parametrize("d", [1, 2, 3])
def test_moments_of_a_maxwellian(d, shared_folder, comm):
    cells = (1, 12 if d < 3 else 6)
    drift = (0.5, -0.3, 0.2)[:d]
    solver = solver_of(d, comm, cells, 3 if d < 3 else 2, shape="maxwellian", drift=drift, thermal=1.2)
    outputs = solver.outputs()
    found = written(shared_folder, comm, "moments", *outputs["moments" if d == 1 else "fields"])
    if found is not None:
        values, tolerance = found[2], 1e-4 if d < 3 else 0.02
        np.testing.assert_allclose(values["temperature"], 1.44, rtol=tolerance)
        np.testing.assert_allclose(values["velocity"].reshape(-1, max(d, 1) if d == 1 else 3)[0, :d], drift, atol=1e-2)
        np.testing.assert_allclose(values["rho"], (2 * np.pi) ** -d, rtol=1e-2)
        np.testing.assert_allclose(values["force"], 0.0, atol=0.02)  # one cell: the quadrature sees cos x


@pytest.mark.ranks
@pytest.mark.parametrize(("d", "cells"), [(2, (3, 4)), (2, (2, 5)), (3, (1, 2))])
def test_slices_are_those_of_the_initial_density(d, cells, shared_folder, comm):
    """Through the middle of the other coordinates, at x = pi, v = 0, in the middle of a cell or on a face."""
    solver = solver_of(d, comm, cells, 3 if d == 2 else 2, v=(-3.0, 3.0), shape="landau", k=1.0, amplitude=0.2)
    outputs = solver.outputs()
    assert list(outputs) == ["fields", *(f"slice_x{j + 1}_v{j + 1}" for j in range(d))]
    f = solver.form.density_values()
    space = solver.space
    axes = [*space.x_axes, *space.v_axes]
    for j in range(d):
        grid = PartGrid(comm, [space.x_axes[j], space.v_axes[j]])
        found = written(shared_folder, comm, f"slice{j}", *outputs[f"slice_x{j + 1}_v{j + 1}"])
        if found is not None:
            plane = f
            for number in reversed(range(2 * d)):
                if number not in (j, d + j):
                    plane = np.tensordot(plane, middle(axes[number]), (number, 0))
            np.testing.assert_allclose(found[2]["f"], grid.means(plane).ravel(), rtol=1e-12, atol=1e-15)


@pytest.mark.ranks
def test_large_grids_are_cut_into_fewer_parts(monkeypatch, comm):
    from limitpde.vlasov import outputs

    monkeypatch.setattr(outputs, "LARGEST", 300)
    axes = [axis_of(cells=5, degree=5), axis_of(cells=7, degree=5)]
    grid = PartGrid(comm, axes)  # 35 cells of 36 parts are 1260; of 4, 140
    assert grid.mesh.topology.index_map(2).size_global == 140
    values = np.outer(axes[0].nodes, axes[1].nodes ** 2)
    assert grid.means(values).mean() == pytest.approx(0.5 * 1.0)
