"""The command `limitpde` in processes of its own and in this one, a case for it, and its results as others read them.

Each process has a time limit, so that a hang is a failure.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import meshio
import numpy as np
import pytest
from mpi4py import MPI
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkIOHDF import vtkHDFReader

from limitpde import cli
from limitpde.fem.mesh import Disk, build

COMMANDS = Path(sys.executable).parent
LIMIT = 120  # seconds; the first process on a machine compiles
CASE = """
system = "signed"
seed = 3
[model]
sigma = 0.5
gamma_bar = 0.4
[initial]
positive = [{ shape = "gaussian", mass = 0.5, center = [-0.8, 0.0], width = 0.6 }]
negative = [{ shape = "gaussian", mass = 0.5, center = [0.8, 0.0], width = 0.6 }]
[time]
end = 0.1
[pde]
mesh = { shape = "disk", radius = 4.0, cell_size = 0.5 }
step = 0.02
[particles]
counts = [4, 8]
replicas = 5
step = 0.02
[compare]
test_functions = [
  { shape = "gaussian", center = [0.0, 0.0], width = 1.0 },
  { shape = "wave", k = [1.0, 0.5], phase = 0.3, charge = true },
]
[output]
every = 0.05
pictures = false
"""
DRAWN = CASE.replace("pictures = false", "pictures = true")
DENSITIES = """
import numpy as np
from mpi4py import MPI


def good(x):
    return np.exp(-(x**2).sum(axis=1))


def negative_beyond(x):
    return np.where(x[:, 0] > 2.0, -1.0, good(x))


def fails_on_rank_1(x):
    if MPI.COMM_WORLD.rank == 1:
        raise RuntimeError("rank 1 only")
    return good(x)


def leaves(x):
    raise SystemExit(0)
"""
PYTHON = 'initial.positive=[{{ python = "densities.py:{}", mass = 0.5, radius = 1.5 }}]'


def furnish(folder):
    """Put into a folder a case, a file of densities, a mesh, and files that are something else."""
    (folder / "case.toml").write_text(CASE)
    (folder / "densities.py").write_text(DENSITIES)
    (folder / "junk.msh").write_text("this is no mesh\n")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "file").write_text("")
    disk = build(Disk(radius=4.0, cell_size=1.0), MPI.COMM_SELF)
    points, cells = disk.geometry.x, disk.geometry.dofmaps[0]
    meshio.gmsh.write(folder / "disk.msh", meshio.Mesh(points, tagged(cells)), fmt_version="2.2", binary=False)
    moved = points.copy()
    moved[np.hypot(points[:, 0], points[:, 1]) < 0.5, :2] += [0.9, 0.0]
    meshio.gmsh.write(folder / "flat.msh", meshio.Mesh(moved, tagged(cells)), fmt_version="2.2", binary=False)
    return folder


def tagged(cells):
    return [("triangle", np.asarray(cells))]


def command(*arguments, ranks=1):
    mpiexec = [COMMANDS / "mpiexec", "-n", ranks] if ranks > 1 else []
    return [str(part) for part in (*mpiexec, COMMANDS / "limitpde", *arguments)]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def started(*arguments, ranks=1, cwd):
    """The command on its way, in a session of its own, with its output in pipes."""
    return subprocess.Popen(
        command(*arguments, ranks=ranks),
        cwd=cwd,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def limitpde_(*arguments, ranks=1, cwd, status=0):
    """Run the command to its end: (stdout, stderr)."""
    with started(*arguments, ranks=ranks, cwd=cwd) as process:
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            end(process)
            pytest.fail(f"{arguments} on {ranks} ranks hangs")
    assert process.returncode == status, (process.returncode, out, err)
    assert "Traceback" not in err
    return out, err


def end(process):
    """SIGTERM lets mpiexec take its ranks with it."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def call(capsys, *arguments):
    """Exit status, stdout, stderr of the command, called in this process."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return left.value.code or 0, captured.out, captured.err


def summary_of(folder):
    def refuse(constant):
        raise ValueError(f"{constant} in {folder}")

    found = json.loads((folder / "summary.json").read_text(), parse_constant=refuse)
    no_null(found)
    return found


def no_null(value, path=""):
    assert value is not None, path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            no_null(item, f"{path}.{key}")


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def steps_of(path):
    """(times, points of the last step, names of its arrays), as VTK reads them."""
    reader = vtkHDFReader()
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    times = reader.GetOutputInformation(0).Get(vtkStreamingDemandDrivenPipeline.TIME_STEPS()) or ()
    reader.UpdateTimeStep(times[-1]) if times else reader.Update()
    data = reader.GetOutputDataObject(0)
    arrays = data.GetPointData()
    return times, data.GetNumberOfPoints(), {arrays.GetArrayName(i) for i in range(arrays.GetNumberOfArrays())}
