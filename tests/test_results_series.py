"""The two series of a run: fields and particles.

The load is carried by `test_every_torn_append_leaves_whole_steps` (crash safety, exhaustive), `test_killed_writer`
(the same with a real SIGKILL) and `test_files_do_not_depend_on_ranks` (this file is also the program it runs).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import h5py
import numpy as np
import pytest
import pyvista
from dolfinx import fem, mesh
from mpi4py import MPI
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkIOHDF import vtkHDFReader

from limitpde.errors import InputError
from limitpde.results import vtkhdf
from limitpde.results.export import export
from limitpde.results.fields import FieldSeries, read_fields, times
from limitpde.results.particles import ParticleSeries, read_particles

pytestmark = pytest.mark.serial

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


@pytest.mark.parametrize("name", MESHES)
def test_fields_round_trip(tmp_path, name):
    domain = MESHES[name](MPI.COMM_SELF)
    path = tmp_path / "fields.vtkhdf"
    series = write_fields(path, domain)
    assert np.array_equal(series.times, TIMES)
    found = make_functions(domain)
    wanted = make_functions(domain)
    for step, t in enumerate(TIMES):
        series.read(t, found)
        fill(wanted, t)
        assert all(np.array_equal(found[key].x.array, wanted[key].x.array) for key in found)
        points, cells, arrays, at = read_fields(path, step)
        assert at == t
        assert np.allclose(arrays["u"], values(points.T, t)[0])
        assert np.allclose(arrays["flow"], np.pad(values(points.T, t, 2).T, ((0, 0), (0, 1))))
        assert np.allclose(arrays["rho"], values(points[cells].mean(axis=1).T, t)[0])
        assert arrays["b"].shape == (len(cells), 3)


@pytest.mark.parametrize("name", MESHES)
def test_vtk_sees_fields(tmp_path, name):
    path = tmp_path / "fields.vtkhdf"
    write_fields(path, MESHES[name](MPI.COMM_SELF))
    seen = vtk_steps(path)
    assert [t for t, *_ in seen] == TIMES
    for step, (_, points, cells, arrays) in enumerate(seen):
        nodes, corners, wanted, _ = read_fields(path, step)
        assert (points, cells) == (len(nodes), len(corners))
        assert all(np.array_equal(arrays[key], wanted[key]) for key in wanted)
    grid = pyvista.read(path)
    assert (
        grid.compute_cell_sizes().cell_data[("Length", "Area", "Volume")[grid.max_cell_dimensionality - 1]].sum()
        > 0.999
    )


@pytest.fixture(scope="module")
def rank_files(tmp_path_factory):
    """Folders of the files written on 1, 2 and 3 ranks; each run also reads the files of the run before."""
    root = tmp_path_factory.mktemp("ranks")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    for ranks in (1, 2, 3):
        command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", __file__, root]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    return [root / str(ranks) for ranks in (1, 2, 3)]


@pytest.mark.parametrize("name", MESHES)
def test_files_do_not_depend_on_ranks(rank_files, name):
    for step in range(len(TIMES)):
        points, cells, arrays, t = read_fields(rank_files[0] / f"{name}.vtkhdf", step)
        for folder in rank_files[1:]:
            other_points, other_cells, other_arrays, other_t = read_fields(folder / f"{name}.vtkhdf", step)
            assert t == other_t
            assert np.array_equal(points, other_points)
            assert np.array_equal(cells, other_cells)
            assert arrays.keys() == other_arrays.keys()
            assert all(np.allclose(arrays[key], other_arrays[key], rtol=0, atol=1e-14) for key in arrays)


def test_fields_truncate_and_continue(tmp_path):
    domain, path = MESHES["triangle"](MPI.COMM_SELF), tmp_path / "fields.vtkhdf"
    write_fields(path, domain).truncate(0.25)
    assert np.array_equal(times(path), TIMES[:2])
    write_fields(path, domain, "a", [0.5, 2.0])
    assert [t for t, *_ in vtk_steps(path)] == [0.0, 0.25, 0.5, 2.0]
    points, _, arrays, _ = read_fields(path, 2)
    assert np.allclose(arrays["u"], values(points.T, 0.5)[0])


def test_fields_reject(tmp_path):
    domain, path = MESHES["triangle"](MPI.COMM_SELF), tmp_path / "fields.vtkhdf"
    with pytest.raises(InputError, match="cannot be read"):
        FieldSeries(path, domain, mode="a")
    with pytest.raises(InputError, match="mode = 'r'"):
        FieldSeries(path, domain, mode="r")
    series, functions = write_fields(path, domain), make_functions(domain)
    with pytest.raises(InputError, match="another mesh"):
        FieldSeries(path, MESHES["quadrilateral"](MPI.COMM_SELF), mode="a")
    with pytest.raises(InputError, match="must be later"):
        series.write(1.0, functions)
    with pytest.raises(InputError, match="the steps in the file have"):
        series.write(2.0, {"u": functions["u"]})
    with pytest.raises(InputError, match="finite"):
        series.write(np.nan, functions)
    with pytest.raises(InputError, match="slash"):
        series.write(2.0, {"a/b": functions["u"]})
    with pytest.raises(InputError, match="Lagrange-1 or DG-0"):
        series.write(2.0, {"u": fem.Function(fem.functionspace(domain, ("Lagrange", 2)))})
    with pytest.raises(InputError, match="on another mesh"):
        series.write(2.0, make_functions(MESHES["triangle"](MPI.COMM_SELF)))
    with pytest.raises(InputError, match=r"steps at t = \[0.0, 0.25, 1.0\]"):
        series.read(0.3, functions)
    with pytest.raises(InputError, match="no array PointData/v"):
        series.read(0.25, {"v": functions["u"]})
    with pytest.raises(InputError, match="step = 3"):
        read_fields(path, 3)
    assert np.array_equal(times(path), TIMES)


def test_particles_round_trip(tmp_path):
    path = tmp_path / "particles.vtkhdf"
    for steps in (1, 2, 5):
        write_particles(path, range(steps))
        check_particles(path, steps)
        check_particles_vtk(path, steps)
    write_particles(path, range(5, 300), "a")  # more than the room that a file is made with
    check_particles(path, 300)
    check_particles_vtk(path, 300)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_particles_are_padded(tmp_path, dimension):
    series = ParticleSeries(tmp_path / "particles.vtkhdf")
    x = np.arange(2.0 * dimension).reshape(2, dimension)
    series.write(1.5, x, velocity=x, inside=np.array([True, False]))
    positions, data, t = read_particles(series.path)
    assert t == 1.5
    assert np.array_equal(positions[:, :dimension], x)
    assert positions.shape == (2, 3)
    assert data["velocity"].shape == (2, 1 if dimension == 1 else 3)
    assert data["inside"].tolist() == [1, 0]


def test_particles_truncate_and_continue(tmp_path):
    path = tmp_path / "particles.vtkhdf"
    series = write_particles(path, range(9))
    for t, left in ((1e9, 9), (2.0, 5), (0.1, 1), (-1.0, 0)):
        series.truncate(t)
        check_particles(path, left)
        write_particles(path, range(left, 9), "a")
        check_particles(path, 9)
        check_particles_vtk(path, 9)


def test_particles_reject(tmp_path):
    path = tmp_path / "particles.vtkhdf"
    with pytest.raises(InputError, match="cannot be read"):
        ParticleSeries(path, mode="a")
    series = write_particles(path, range(3))
    x, data = np.ones((2, 2)), {"mass": np.ones(2), "label": np.ones(2, dtype=int)}
    for positions in (np.ones(3), np.ones((3, 4)), np.ones((2, 2), dtype=complex)):
        with pytest.raises(InputError, match="positions of shape"):
            series.write(9.0, positions)
    with pytest.raises(InputError, match="data mass of shape"):
        series.write(9.0, x, mass=np.ones(3))
    with pytest.raises(InputError, match="label: rows of shape"):
        series.write(9.0, x, **(data | {"label": np.ones(2)}))
    with pytest.raises(InputError, match="the steps in the file have"):
        series.write(9.0, x)
    with pytest.raises(InputError, match="must be later"):
        series.write(1.0, x, **data)
    check_particles(path, 3)
    write_fields(path, MESHES["one"](MPI.COMM_SELF))
    with pytest.raises(InputError, match="no file of particles"):
        ParticleSeries(path, mode="a")


@pytest.mark.parametrize("change", ["append", "truncate"])
def test_every_torn_append_leaves_whole_steps(tmp_path, monkeypatch, change):
    """After each of the writes that make up a change, the file holds the steps before it or those after it."""
    path = tmp_path / "particles.vtkhdf"
    series, states, put = write_particles(path, range(20)), [], os.pwrite

    def recorded(file, data, offset):
        half = put(file, data[: len(data) // 2], offset) if offset else 0  # the first page is not torn
        states.append(path.read_bytes())
        rest = put(file, data[half:], offset + half)
        states.append(path.read_bytes())
        return half + rest

    monkeypatch.setattr(os, "pwrite", recorded)
    if change == "append":
        write_particles(path, [20], "a")
    else:
        series.truncate(2.0)
    before, after = (20, 21) if change == "append" else (20, 5)
    assert len(states) >= (1 if change == "truncate" else 12)
    for state in [*states[:-1], states[-1]]:
        path.write_bytes(state)
        check_particles(path, after if state is states[-1] else before)
        check_particles_vtk(path, after if state is states[-1] else before)


def test_appending_leaves_the_past_alone(tmp_path):
    """An append writes no more than its rows and the step tables, however long the file is."""
    path = tmp_path / "particles.vtkhdf"
    series = ParticleSeries(path)
    for step in range(75):
        series.write(step, np.full((1000, 3), float(step)))
    before = np.frombuffer(path.read_bytes(), dtype="u1")
    series.write(75, np.full((1000, 3), 75.0))
    after = np.frombuffer(path.read_bytes(), dtype="u1")
    assert len(before) == len(after)
    assert np.count_nonzero(before != after) < 26500
    assert np.count_nonzero((before != after)[: vtkhdf.PAGE]) == 4  # three lengths and NSteps


KILLED = """
import sys, itertools, limitpde, numpy as np
sys.path.insert(0, sys.argv[2])
from limitpde.results.particles import ParticleSeries
from limitpde.results.vtkhdf import times
mode = "a" if sys.argv[3] == "a" else "w"
series = ParticleSeries(sys.argv[1], mode=mode)
print("ready", flush=True)
for step in itertools.count(len(series.times)):
    number = (step * 7) % 5
    mass, label = np.full(number, 2.0 * step), np.arange(number)
    series.write(0.5 * step, np.full((number, 2), step + 0.5), mass=mass, label=label)
    print(step + 1, flush=True)
"""


def kill_writer(path, mode, delay):
    """Let a process append in a loop, kill it, and return the number of steps that it had finished."""
    writer = subprocess.Popen([sys.executable, "-c", KILLED, path, ".", mode], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    time.sleep(delay)
    writer.send_signal(signal.SIGKILL)
    said = writer.stdout.read().split("\n")
    writer.stdout.close()
    writer.wait(timeout=60)
    return int(said[-2]) if len(said) > 1 else 0


def test_killed_writer(tmp_path):
    path, pick = tmp_path / "particles.vtkhdf", random.Random(1)
    for attempt in range(int(os.environ.get("LIMITPDE_KILLS", "6"))):
        finished = kill_writer(path, "a" if attempt % 3 else "w", pick.uniform(0, 0.2))
        steps = len(times(path))
        assert steps >= finished
        check_particles(path, steps)
        check_particles_vtk(path, steps)


def test_signals_are_held():
    done = False
    with pytest.raises(KeyboardInterrupt), vtkhdf.signals_held():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        done = True
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_export(tmp_path):
    (tmp_path / "deep & down").mkdir()
    write_particles(tmp_path / "deep & down" / "particles.vtkhdf", range(3))
    write_fields(tmp_path / "fields.vtkhdf", MESHES["triangle"](MPI.COMM_SELF))
    write_fields(tmp_path / "still.vtkhdf", MESHES["one"](MPI.COMM_SELF), at=[0.5])
    ParticleSeries(tmp_path / "empty.vtkhdf")
    written = export(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in written} == {
        "deep & down/particles.pvd",
        "fields.pvd",
        "still.pvd",
    }
    reader = pyvista.get_reader(tmp_path / "fields.pvd")
    assert reader.time_values == TIMES
    for step, t in enumerate(TIMES):
        reader.set_active_time_value(t)
        _, _, arrays, _ = read_fields(tmp_path / "fields.vtkhdf", step)
        assert np.array_equal(reader.read()[0]["u"], arrays["u"])
        assert np.array_equal(reader.read()[0]["rho"], arrays["rho"])
    reader = pyvista.get_reader(tmp_path / "deep & down" / "particles.pvd")
    assert reader.time_values == [0.0, 0.5, 1.0]
    reader.set_active_time_value(1.0)
    assert np.array_equal(reader.read()[0]["mass"], particles(2)[1]["mass"])
    assert pyvista.get_reader(tmp_path / "still.pvd").time_values == [0.5]


def test_export_of_nothing(tmp_path):
    with pytest.raises(InputError, match=r"holds no \*.vtkhdf"):
        export(tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        export(tmp_path / "missing")
    (tmp_path / "broken.vtkhdf").write_text("no HDF5")
    with pytest.raises(InputError, match="cannot be read"):
        export(tmp_path)


def test_foreign_file(tmp_path):
    with h5py.File(tmp_path / "other.vtkhdf", "w") as file:
        file["x"] = 1.0
    with pytest.raises(InputError, match="no temporal VTKHDF"):
        times(tmp_path / "other.vtkhdf")


def main(root):
    """Write all meshes' fields on these ranks, after putting those of one rank less back into functions."""
    comm = MPI.COMM_WORLD
    folder, earlier = root / str(comm.size), root / str(comm.size - 1)
    if comm.rank == 0:
        folder.mkdir()
    comm.barrier()
    for name, build in MESHES.items():
        domain = build(comm)
        write_fields(folder / f"{name}.vtkhdf", domain)
        series = FieldSeries((earlier if comm.size > 1 else folder) / f"{name}.vtkhdf", domain, mode="a")
        found, wanted = make_functions(domain), make_functions(domain)
        series.read(0.25, found)
        fill(wanted, 0.25)
        for key in found:
            assert np.allclose(found[key].x.array, wanted[key].x.array, rtol=0, atol=1e-14), (name, key)
        for bad in (lambda: series.read(7.0, found), lambda: series.write(0.5, found)):  # noqa: B023
            try:
                bad()
            except InputError:
                continue
            raise AssertionError("an error of rank 0 must be raised on all ranks")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
