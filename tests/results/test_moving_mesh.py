"""Series of fields on a mesh that changes during the run.

The load is carried by `test_each_step_is_on_its_mesh` (any number of ranks, VTK's reader, exact content) and
`test_every_torn_write_leaves_whole_steps` (crash safety, exhaustive). Whole runs: tests/runs/test_resume.py.
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
import numpy as np
import pytest
import pyvista
import series
from mpi4py import MPI
from series import (
    MOVING,
    check_moving,
    check_values,
    fill,
    make_functions,
    size_at,
    write_moving,
)
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOHDF import vtkHDFReader

from limitpde.errors import InputError
from limitpde.parallel import on_root
from limitpde.results import vtkhdf
from limitpde.results.export import export
from limitpde.results.fields import FieldSeries, read_fields, times

TRIANGLE = MOVING["triangle"]
STEPS = range(12)


@pytest.mark.ranks
@pytest.mark.parametrize("name", MOVING)
def test_each_step_is_on_its_mesh(shared_folder, comm, name):
    """What any number of ranks write is what the formula and the mesh of one rank say, for every step."""
    build, path = MOVING[name], shared_folder / "fields.vtkhdf"
    series = write_moving(path, build, STEPS, comm=comm)
    on_root(comm, lambda: check_moving(path, build, len(STEPS)))
    for step in (0, 3, 5):
        found, wanted = (make_functions(build(comm, size_at(step))) for _ in range(2))
        series.read(0.5 * step, found)
        fill(wanted, 0.5 * step)
        for key in found:
            np.testing.assert_allclose(found[key].x.array, wanted[key].x.array, rtol=0, atol=1e-13)
    with pytest.raises(InputError, match="another mesh than this step"):
        series.read(0.0, found)


@pytest.mark.ranks
@pytest.mark.parametrize("left", [0, 1, 4, 8])
def test_a_truncated_series_is_continued(shared_folder, comm, left):
    """Wherever it is cut: inside a grid, at its end, at the start; on meshes that were made anew."""
    path = shared_folder / "fields.vtkhdf"
    series = write_moving(path, TRIANGLE, STEPS, comm=comm)
    series.truncate(0.5 * left - 0.25)
    on_root(comm, lambda: check_moving(path, TRIANGLE, left))
    write_moving(path, TRIANGLE, range(left, 14), "a", comm)
    on_root(comm, lambda: check_moving(path, TRIANGLE, 14))


@pytest.mark.ranks
def test_an_open_series_is_truncated(shared_folder, comm):
    """The series that is cut goes on itself, as a resumed run does."""
    path = shared_folder / "fields.vtkhdf"
    write_moving(path, TRIANGLE, STEPS, comm=comm)
    functions = make_functions(TRIANGLE(comm, size_at(5)))
    series = FieldSeries(path, functions["u"].function_space.mesh, mode="a")
    series.truncate(2.0)
    fill(functions, 2.5)
    series.write(2.5, functions)
    on_root(comm, lambda: check_moving(path, TRIANGLE, 6))


def test_a_grid_is_stored_once(tmp_path):
    """On one mesh the grid is as long as the mesh and the file grows by the fields alone; so it does on the second."""
    path, functions = tmp_path / "fields.vtkhdf", make_functions(TRIANGLE(MPI.COMM_SELF, 40))
    mesh = functions["u"].function_space.mesh
    series = FieldSeries(path, mesh)
    for step in range(100):
        series.write(step, functions)
    cells, nodes = 2 * 40 * 41, 41 * 42
    with vtkhdf.reading(path) as group:
        lengths = [len(group[name]) for name in ("Points", "Connectivity", "Offsets", "Types")]
        assert lengths == [nodes, 3 * cells, cells + 1, cells]
    rebuilt = make_functions(TRIANGLE(MPI.COMM_SELF, 40))
    series.write(100, rebuilt)  # another mesh object, the same mesh
    before = np.frombuffer(path.read_bytes(), dtype="u1")
    series.write(101, rebuilt)
    after = np.frombuffer(path.read_bytes(), dtype="u1")
    assert len(before) == len(after)
    assert np.count_nonzero(before != after) < 8 * (nodes * 4 + cells * 4) + 500
    with vtkhdf.reading(path) as group:
        assert group["NumberOfPoints"][:].tolist() == [nodes]


def test_vtk_goes_back_and_forth(tmp_path):
    """VTK's reader keeps meshes it has read; the right one must come, in any order."""
    path = tmp_path / "fields.vtkhdf"
    write_moving(path, TRIANGLE, STEPS)
    reader = vtkHDFReader()
    reader.SetFileName(str(path))
    for step in (11, 0, 5, 4, 5, 2, 3, 9, 1, 8, 6, 0):
        reader.UpdateTimeStep(0.5 * step)
        grid = pyvista.wrap(reader.GetOutputDataObject(0))
        points, cells, _, t = read_fields(path, step)
        assert np.array_equal(grid.points, points)
        assert np.array_equal(vtk_to_numpy(grid.GetCells().GetConnectivityArray()), cells.ravel())
        assert np.array_equal(vtk_to_numpy(grid.GetCells().GetOffsetsArray()), 3 * np.arange(len(cells) + 1))
        assert grid.compute_cell_sizes()["Area"].sum() == pytest.approx(1.0, rel=1e-12)
        check_values(points, cells, {name: np.asarray(grid[name]) for name in ("u", "flow", "rho", "b")}, t)


def test_export_follows_the_mesh(tmp_path):
    write_moving(tmp_path / "fields.vtkhdf", TRIANGLE, STEPS)
    (collection,) = export(tmp_path)
    reader = pyvista.get_reader(collection)
    assert reader.time_values == [0.5 * step for step in STEPS]
    for step in STEPS:
        reader.set_active_time_value(0.5 * step)
        grid = reader.read()[0]
        points, cells, arrays, _ = read_fields(tmp_path / "fields.vtkhdf", step)
        assert np.array_equal(grid.points, points)
        assert np.array_equal(grid.cells_dict[pyvista.CellType.TRIANGLE], cells)
        assert all(np.array_equal(grid[name], arrays[name]) for name in arrays)


CHANGES = {"the same grid": (19, 20), "a new grid": (23, 24), "grids dropped": (20, 8), "one step is left": (20, 1)}
"""Steps before and after."""


@pytest.mark.parametrize("change", CHANGES)
def test_every_torn_write_leaves_whole_steps(tmp_path, monkeypatch, change):
    """After each of the writes that make up a change, the file holds the steps before it or those after it."""
    before, after = CHANGES[change]
    path = tmp_path / "fields.vtkhdf"
    series, states, put = write_moving(path, TRIANGLE, range(before)), [], os.pwrite

    def recorded(file, data, offset):
        half = put(file, data[: len(data) // 2], offset) if offset else 0  # the first page is not torn
        states.append(path.read_bytes())
        rest = put(file, data[half:], offset + half)
        states.append(path.read_bytes())
        return half + rest

    monkeypatch.setattr(os, "pwrite", recorded)
    if after > before:
        write_moving(path, TRIANGLE, [before], "a")
    else:
        series.truncate(0.5 * after - 0.25)
    assert len(states) >= (12 if after > before else 1)
    for number, state in enumerate(states):
        path.write_bytes(state)
        check_moving(path, TRIANGLE, after if number == len(states) - 1 else before)


KILLED = """
import sys, itertools, limitpde
sys.path.insert(0, sys.argv[2])
from series import MOVING, write_moving
from limitpde.results.vtkhdf import times
path, mode = sys.argv[1], sys.argv[3]
print("ready", flush=True)
for step in itertools.count(len(times(path)) if mode == "a" else 0):
    write_moving(path, MOVING["triangle"], [step], mode)
    mode = "a"
    print(step + 1, flush=True)
"""


def test_killed_writer(tmp_path):
    path, pick = tmp_path / "fields.vtkhdf", random.Random(2)
    for attempt in range(int(os.environ.get("LIMITPDE_KILLS", "3"))):
        command = [sys.executable, "-c", KILLED, path, str(Path(series.__file__).parent), "a" if attempt else "w"]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "ready\n"
        time.sleep(pick.uniform(0.3, 0.8))
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().split("\n")
        writer.stdout.close()
        writer.wait(timeout=60)
        steps = len(times(path))
        assert steps >= (int(said[-2]) if len(said) > 1 else 0)
        check_moving(path, TRIANGLE, steps)
    assert steps > 10
