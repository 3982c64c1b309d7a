"""The series of fields of a run, on any number of ranks, and the export of all series to ParaView.

The load is carried by `test_fields_round_trip`, `test_vtk_sees_fields` and `test_files_do_not_depend_on_ranks` (this
file is also the program it runs).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import h5py
import numpy as np
import pytest
import pyvista
import series
from dolfinx import fem, mesh
from mpi4py import MPI
from series import MESHES, TIMES, fill, make_functions, particles, values, vtk_steps, write_fields, write_particles

from limitpde.errors import InputError
from limitpde.results import fields, vtkhdf
from limitpde.results.export import export
from limitpde.results.fields import FieldSeries, read_fields, times
from limitpde.results.particles import ParticleSeries


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
    path = os.pathsep.join([str(Path(series.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    for ranks in (1, 2, 3):
        command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", __file__, root]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
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


@pytest.mark.parametrize("name", MESHES)
def test_each_rank_writes_the_same_as_rank_0_alone(rank_files, name):
    for folder in rank_files[1:]:
        one, apart = folder / f"{name}.vtkhdf", folder / f"{name}_apart.vtkhdf"
        assert fields.digests(apart) == fields.digests(one)
        assert [t for t, *_ in vtk_steps(apart)] == TIMES


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
    with pytest.raises(InputError, match="on a mesh of other cells, so that it cannot be continued"):
        FieldSeries(path, MESHES["quadrilateral"](MPI.COMM_SELF), mode="a")
    with pytest.raises(InputError, match="on a mesh of other cells"):
        series.write(2.0, make_functions(MESHES["quadrilateral"](MPI.COMM_SELF)))
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
    with pytest.raises(InputError, match="function rho: is on another mesh"):
        series.write(2.0, functions | {"rho": make_functions(MESHES["triangle"](MPI.COMM_SELF))["rho"]})
    with pytest.raises(InputError, match="on another mesh than this step"):
        series.read(0.25, make_functions(mesh.create_unit_square(MPI.COMM_SELF, 4, 5)))
    with pytest.raises(InputError, match=r"steps at t = \[0.0, 0.25, 1.0\]"):
        series.read(0.3, functions)
    with pytest.raises(InputError, match="no array PointData/v"):
        series.read(0.25, {"v": functions["u"]})
    with pytest.raises(InputError, match="step = 3"):
        read_fields(path, 3)
    assert np.array_equal(times(path), TIMES)


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
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "summary.json").write_text("{}")
    with pytest.raises(InputError, match=r"is not the folder of a result; .*a is one, export that$"):
        export(tmp_path)


def test_foreign_file(tmp_path):
    with h5py.File(tmp_path / "other.vtkhdf", "w") as file:
        file["x"] = 1.0
    with pytest.raises(InputError, match="no temporal VTKHDF"):
        times(tmp_path / "other.vtkhdf")


def stop_before_the_end(path, domain):
    """A step whose values are there but which was not added is none; it can be written again, with others behind."""
    before = domain.comm.bcast(fields.digests(path) if domain.comm.rank == 0 else None)

    def fail(*arguments):
        raise OSError("stopped")

    append, vtkhdf.append = vtkhdf.append, fail
    try:
        write_fields(path, domain, "a", [2.0])
    except OSError:
        vtkhdf.append = append
    else:
        raise AssertionError("was not stopped")
    assert domain.comm.bcast(fields.digests(path) if domain.comm.rank == 0 else None) == before
    write_fields(path, domain, "a", [3.0, 4.0, 5.0]).truncate(1.0)
    assert domain.comm.bcast(fields.digests(path) if domain.comm.rank == 0 else None) == before


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
        large, fields.LARGE = fields.LARGE, 0
        write_fields(folder / f"{name}_apart.vtkhdf", domain)
        if comm.size > 1:
            stop_before_the_end(folder / f"{name}_apart.vtkhdf", domain)
        fields.LARGE = large
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
