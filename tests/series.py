"""Files of fields and of particles: written, read back, and as VTK sees them."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
from dolfinx import fem, mesh
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkIOHDF import vtkHDFReader

from limitpde.results.fields import FieldSeries, times
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
