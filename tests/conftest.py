"""Fixtures that hold on any number of ranks.

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
