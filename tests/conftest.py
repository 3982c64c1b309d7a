"""Fixtures of several files: those that hold on any number of ranks, and folders of cases for serial tests.

The suite runs serially and as `mpiexec -n P python -m pytest -m "not serial"`. The mark `serial` is for tests that
start processes of their own (the command line, mpiexec, kills) and for those in which nothing knows of ranks.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mpi4py import MPI

import limitpde  # noqa: F401  (loads MPI and HDF5 in the right order)

pytest.register_assert_rewrite(
    "processes", "series", "solvers", "triangulations"
)  # their asserts speak like those of tests

import casefiles  # noqa: E402
import processes  # noqa: E402


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
def folder(tmp_path: Path) -> Path:
    """A folder with a case that is only read, and files of densities."""
    return casefiles.furnish(tmp_path)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a case to run, a file of densities, meshes, and files that are something else."""
    return processes.furnish(tmp_path_factory.mktemp("workshop"))
