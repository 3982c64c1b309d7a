"""Files of fields and of particles: written, read back, and as VTK sees them."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
from dolfinx import fem, mesh
from mpi4py import MPI
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkIOHDF import vtkHDFReader

from limitpde.results import vtkhdf
from limitpde.results.fields import LAYOUT, FieldSeries, read_fields, times
from limitpde.results.grids import Grid
from limitpde.results.particles import ParticleSeries, read_particles

TIMES = [0.0, 0.25, 1.0]
MESHES = {
    "interval": lambda comm: mesh.create_interval(comm, 7, [0.0, 2.0]),
    "one": lambda comm: mesh.create_interval(comm, 1, [0.0, 2.0]),  # on 2 and 3 ranks, some own nothing
    "triangle": lambda comm: mesh.create_unit_square(comm, 5, 4),
    "quadrilateral": lambda comm: mesh.create_unit_square(comm, 5, 4, mesh.CellType.quadrilateral),
    "tetrahedron": lambda comm: mesh.create_unit_cube(comm, 2, 3, 2),
    "hexahedron": lambda comm: mesh.create_unit_cube(comm, 2, 3, 2, mesh.CellType.hexahedron),
}


def values(x, t, size=1):
    return np.stack([np.exp(-t) * (1 + c + x[0] - 2 * x[1] + 3 * x[2]) for c in range(size)])


def make_functions(domain):
    def make(family, degree, size):
        return fem.Function(fem.functionspace(domain, (family, degree, (size,)) if size > 1 else (family, degree)))

    return {"u": make("Lagrange", 1, 1), "flow": make("Lagrange", 1, 2), "rho": make("DG", 0, 1), "b": make("DG", 0, 3)}


def fill(functions, t):
    for function in functions.values():
        size = function.function_space.dofmap.index_map_bs
        function.interpolate(lambda x, size=size: values(x, t, size))


def write_fields(path, domain, mode="w", at=TIMES):
    series, functions = FieldSeries(path, domain, mode=mode), make_functions(domain)
    for t in at:
        fill(functions, t)
        series.write(t, functions)
    return series


MOVING = {
    "interval": lambda comm, size: mesh.create_interval(comm, size, [0.0, 2.0]),  # of size 1: some ranks own nothing
    "triangle": lambda comm, size: mesh.create_unit_square(comm, size, size + 1),
    "tetrahedron": lambda comm, size: mesh.create_unit_cube(comm, size, 2, 1),
}
"""Meshes of a kind and a size; the size is that of step k."""


def size_at(step):
    """Three sizes, which come back; no two grids one after another are equal, and each lasts for two or three steps."""
    return (4, 1, 6)[step * 2 // 5 % 3]


def grids_of(steps):
    """How many grids there are."""
    return sum(step == 0 or size_at(step) != size_at(step - 1) for step in range(steps))


def write_moving(path, build, steps, mode="w", comm=None):
    """Steps of a series whose mesh changes; step k is at time k / 2."""
    made = {size: make_functions(build(comm or MPI.COMM_SELF, size)) for size in sorted(set(map(size_at, steps)))}
    series = FieldSeries(path, made[size_at(steps[0])]["u"].function_space.mesh, mode=mode)
    for step in steps:
        fill(made[size_at(step)], 0.5 * step)
        series.write(0.5 * step, made[size_at(step)])
    return series


def check_moving(path, build, steps):
    """That the file holds the steps 0, 1, ..., each on its mesh, and each grid once, for readers of ours and VTK's."""
    assert np.array_equal(times(path), 0.5 * np.arange(steps))
    with vtkhdf.reading(path) as group:
        assert [len(group[name]) for name in LAYOUT.counts] == [grids_of(steps)] * 3
    seen = vtk_steps(path)
    for step in range(steps):
        grid = Grid(build(MPI.COMM_SELF, size_at(step))).arrays()
        points, cells, arrays, t = read_fields(path, step)
        assert np.array_equal(points, grid["Points"])
        assert np.array_equal(cells.ravel(), grid["Connectivity"])
        check_values(points, cells, arrays, t)
        _, vtk_points, vtk_cells, vtk_arrays = seen[step]
        assert (vtk_points, vtk_cells) == (len(points), len(cells))
        assert vtk_arrays.keys() == arrays.keys()
        assert all(np.array_equal(vtk_arrays[name], arrays[name]) for name in arrays)


def check_values(points, cells, arrays, t):
    """That the arrays are those of `fill` at this time."""
    centres = points[cells].mean(axis=1)
    near = {"rtol": 0, "atol": 1e-13}
    np.testing.assert_allclose(arrays["u"], values(points.T, t)[0], **near)
    np.testing.assert_allclose(arrays["flow"][:, :2], values(points.T, t, 2).T, **near)
    np.testing.assert_allclose(arrays["rho"], values(centres.T, t)[0], **near)
    np.testing.assert_allclose(arrays["b"], values(centres.T, t, 3).T, **near)
    assert not arrays["flow"][:, 2].any()


def vtk_steps(path):
    """What VTK sees: (time, points, cells, {name: array}) of each step."""
    reader = vtkHDFReader()
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    seen = reader.GetOutputInformation(0).Get(vtkStreamingDemandDrivenPipeline.TIME_STEPS()) or [None]
    steps = []
    for t in seen:
        reader.Update() if t is None else reader.UpdateTimeStep(t)
        data = reader.GetOutputDataObject(0)
        parts = (data.GetPointData(), data.GetCellData())
        arrays = {
            part.GetArrayName(i): vtk_to_numpy(part.GetArray(i))
            for part in parts
            for i in range(part.GetNumberOfArrays())
        }
        if data.IsA("vtkPolyData"):
            assert all(data.GetCell(i).GetPointId(0) == i for i in range(data.GetNumberOfCells()))
            assert vtk_to_numpy(data.GetVerts().GetOffsetsArray()).tolist() == list(range(data.GetNumberOfPoints() + 1))
        steps.append((t, data.GetNumberOfPoints(), data.GetNumberOfCells(), arrays))
    return steps


def particles(step):
    """Positions and data of a step: the number of particles changes, and is 0 at times."""
    number = (step * 7) % 5
    return np.full((number, 2), step + 0.5), {"mass": np.full(number, 2.0 * step), "label": np.arange(number)}


def write_particles(path, steps, mode="w"):
    series = ParticleSeries(path, mode=mode)
    for step in steps:
        positions, data = particles(step)
        series.write(0.5 * step, positions, **data)
    return series


def check_particles(path, steps):
    assert np.array_equal(times(path), 0.5 * np.arange(steps))
    for step in range(steps):
        positions, data = particles(step)
        read, read_data, t = read_particles(path, step)
        assert t == 0.5 * step
        assert np.array_equal(read[:, :2], positions)
        assert np.array_equal(read[:, 2], np.zeros(len(positions)))
        assert read_data.keys() == data.keys()
        assert all(np.array_equal(read_data[name], data[name]) for name in data)


def check_particles_vtk(path, steps):
    seen = vtk_steps(path)
    assert [t for t, *_ in seen] == ([0.5 * step for step in range(steps)] if steps > 1 else [None])
    for step, (_, points, cells, arrays) in enumerate(seen):
        assert points == cells == len(particles(step)[0])
        assert points == 0 or np.array_equal(arrays["mass"], particles(step)[1]["mass"])
