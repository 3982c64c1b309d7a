"""Fixtures of several files: those that hold on any number of ranks, and folders of cases for tests of one process.

The suite runs in several processes of one rank each (pytest-xdist), and what has the mark `ranks` as
`mpiexec -n P python -m pytest -m ranks` as well: tests in which the number of ranks matters.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mpi4py import MPI

SHARED = "PYTEST_XDIST_WORKER" in os.environ or MPI.COMM_WORLD.size > 1
if SHARED:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy; numba may still start as many as there are cores

import limitpde  # noqa: E402, F401  (loads MPI and HDF5 in the right order)

pytest.register_assert_rewrite(
    "processes", "series", "solvers", "triangulations"
)  # their asserts speak like those of tests

import casefiles  # noqa: E402
import dolfinx.jit  # noqa: E402
import numba  # noqa: E402
import processes  # noqa: E402
from durations import pytest_addoption, pytest_collection_modifyitems, pytest_configure  # noqa: E402, F401

from limitpde.compare.user_functions import UserFunction  # noqa: E402
from limitpde.parallel import on_root  # noqa: E402

if SHARED:
    numba.set_num_threads(1)
    dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS["timeout"] = (120, "Seconds to wait for a form that another compiles.")


@pytest.fixture
def comm() -> MPI.Comm:
    return MPI.COMM_WORLD


@pytest.fixture
def shared_folder(comm: MPI.Comm) -> Iterator[Path]:
    """One empty folder for all ranks."""
    path = comm.bcast(tempfile.mkdtemp(prefix="limitpde-") if comm.rank == 0 else None, root=0)
    yield Path(path)
    comm.barrier()
    if comm.rank == 0:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def mine(request: pytest.FixtureRequest, comm: MPI.Comm, shared_folder: Path) -> Callable[..., UserFunction]:
    """Name of a function in SOURCE of the test's module -> the test function."""
    if comm.rank == 0:
        (shared_folder / "phi.py").write_text(request.module.SOURCE)
    comm.barrier()
    return lambda name, **options: UserFunction(python=f"{shared_folder}/phi.py:{name}", **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a case that is only read, and files of densities."""
    return casefiles.furnish(tmp_path)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all ranks: a case to run, a file of densities, meshes, and files that are something else."""
    return on_root(MPI.COMM_WORLD, lambda: processes.furnish(tmp_path_factory.mktemp("workshop")))
