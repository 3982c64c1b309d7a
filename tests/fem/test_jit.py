"""Forms whose compilation was killed, damaged, or has no folder or no compiler: compiled anew, or one error.

The load is carried by `test_what_is_broken_is_compiled_anew`: FFCx alone waits and fails, or crashes, in these cases.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import fcntl
import os

import dolfinx
import numpy as np
import pytest
import ufl
from mpi4py import MPI

from limitpde import compiled
from limitpde.errors import RunError
from limitpde.fem import jit
from limitpde.parallel import on_root


def area(comm):
    """That of a unit square, by a form: one."""
    mesh = dolfinx.mesh.create_unit_square(comm, 2, 2)
    found = dolfinx.fem.assemble_scalar(jit.form(dolfinx.fem.Constant(mesh, 1.0) * ufl.dx(domain=mesh)))
    return comm.allreduce(found)


@pytest.fixture
def folder(shared_folder, monkeypatch):
    monkeypatch.setattr(compiled, "folders", lambda: (shared_folder,))
    monkeypatch.setattr(jit, "_whole", set())
    return shared_folder / "forms"


def names(folder):
    return sorted(path.name.partition(".")[2].rpartition(".")[2] for path in folder.glob("lib*"))


ALL = ["c", "cached", "o", "sha256", "so"]


def killed_at_once(folder):
    """Its .c is empty, and nothing else is there."""
    for path in folder.glob("lib*"):
        path.write_bytes(b"") if path.suffix == ".c" else path.unlink()


def killed_before_the_mark(folder):
    next(folder.glob("*.sha256")).unlink()


def cut(folder):
    library = next(folder.glob("*.so"))
    content = library.read_bytes()
    library.unlink()  # this process has it in use
    library.write_bytes(content[: len(content) // 3])


def emptied(folder):
    library = next(folder.glob("*.so"))
    library.unlink()
    library.write_bytes(b"")


@pytest.mark.ranks
@pytest.mark.parametrize("broken", [killed_at_once, killed_before_the_mark, cut, emptied])
def test_what_is_broken_is_compiled_anew(folder, comm, broken):
    assert area(comm) == pytest.approx(1.0)
    assert on_root(comm, lambda: names(folder)) == ALL
    on_root(comm, lambda: broken(folder))
    jit._whole.clear()  # as in a process of its own
    assert area(comm) == pytest.approx(1.0)
    assert on_root(comm, lambda: names(folder)) == ALL


def test_what_is_whole_stays(folder):
    area(MPI.COMM_SELF)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("lib*")}
    jit._whole.clear()
    area(MPI.COMM_SELF)
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("lib*")} == before


def test_a_folder_in_use_is_waited_for_and_then_left(folder, monkeypatch):
    monkeypatch.setattr(jit, "PATIENCE", 0.1)
    folder.mkdir()
    other = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert area(MPI.COMM_SELF) == pytest.approx(1.0)
    assert names(folder) == []
    os.close(other)


def test_without_a_folder_nothing_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "folders", lambda: (tmp_path / "file" / "below",))
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(jit.tempfile, "tempdir", str(tmp_path))
    assert area(MPI.COMM_SELF) == pytest.approx(1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.ranks
def test_without_a_compiler_every_rank_says_so(folder, comm, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RunError, match=r"cannot compile a form .* it needs a C compiler"):
        area(comm)
    monkeypatch.undo()
    assert np.isclose(area(comm), 1.0)
