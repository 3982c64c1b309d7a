"""One array of all ranks in one file, by MPI-IO: each rank writes and reads its own part, and nobody holds the whole.

The file has the values in the order of the whole array and nothing else, so any number of ranks can read it. Its digest
is the sha256 of those of its pieces, of which each rank reads some. All ranks must see the folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.parallel import on_all

PIECE = 1 << 24
"""Bytes of a file that have a digest of their own."""
READ = 1 << 20
"""Bytes of it that are read at a time."""


@dataclass(frozen=True, slots=True)
class Block:
    """What this rank has of an array of all ranks, each of whose values is on one rank."""

    values: np.ndarray
    """Of this rank, float, contiguous; `read` puts them here."""
    shape: tuple[int, ...]
    """Of the whole array."""
    index: tuple[np.ndarray | slice, *tuple[slice, ...]]
    """Where in the whole they belong: a slice of each axis, or of the first the numbers of some rows."""

    def _places(self) -> tuple[MPI.Datatype, MPI.Datatype]:
        """Of the values in the file, and in memory."""
        rows, *parts = self.index
        first = [part.start for part in parts]
        if isinstance(rows, np.ndarray):
            order, size = np.argsort(rows), int(np.prod(self.values.shape[1:]))
            there = MPI.DOUBLE.Create_subarray(self.shape[1:], self.values.shape[1:], first)
            here = MPI.DOUBLE.Create_contiguous(size)
            there, here = (
                row.Create_indexed_block(1, list(map(int, some))) for row, some in ((there, rows[order]), (here, order))
            )
            return there, here
        first = [rows.start, *first]
        return (
            MPI.DOUBLE.Create_subarray(self.shape, self.values.shape, first),
            MPI.DOUBLE.Create_contiguous(self.values.size),
        )

    def move(self, file: MPI.File, *, write: bool, first: int = 0) -> None:
        """Write the values to a file, or read them from it; the array begins at its byte `first`. Collective."""
        there, here = self._places() if self.values.size else (MPI.DOUBLE.Dup(), MPI.DOUBLE.Dup())
        there.Commit()
        here.Commit()
        try:
            file.Set_view(first, MPI.DOUBLE, there)
            (file.Write_all if write else file.Read_all)([self.values, min(self.values.size, 1), here])
        finally:
            there.Free()
            here.Free()


def write(comm: MPI.Comm, path: Path, block: Block) -> str:
    """Write the array to a file, which is on the disk itself when this returns: its digest. Collective.

    Raises:
        OSError: it cannot be written; on every rank alike.
    """
    mode = MPI.MODE_CREATE | MPI.MODE_WRONLY
    _with_file(comm, path, mode, lambda file: block.move(file, write=True), MPI.File.Sync)
    found = digest(comm, path)
    if found is None:
        raise OSError(errno.EIO, "was written, but is not there", str(path))
    return found


def fill(comm: MPI.Comm, path: Path, blocks: Sequence[tuple[int, Callable[[], Block]]]) -> None:
    """Write arrays into a file that has room for them; they are on the disk when this returns. Collective.

    Args:
        comm: the ranks.
        path: the file.
        blocks: the byte at which each array begins, and what gives it, called when those before are written.

    Raises:
        OSError: they cannot be written; on every rank alike.
    """

    def move(first: int, block: Callable[[], Block], file: MPI.File) -> None:
        block().move(file, write=True, first=first)

    _with_file(comm, path, MPI.MODE_WRONLY, *(partial(move, *each) for each in blocks), MPI.File.Sync)


def read(comm: MPI.Comm, path: Path, block: Block) -> None:
    """Read the array from a file into the values of the block. Collective.

    Raises:
        InputError: it is another array, or cannot be read; on every rank alike.
    """
    expected, size = 8 * int(np.prod(block.shape)), on_all(comm, lambda: path.stat().st_size)
    if size != expected:
        raise InputError(f"{path}: has {size} bytes, where {expected} are needed; run again without --resume")
    try:
        _with_file(comm, path, MPI.MODE_RDONLY, lambda file: block.move(file, write=False))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); make it readable, or remove it") from error


def digest(comm: MPI.Comm, path: Path) -> str | None:
    """The sha256 of a file piece by piece, the same on any number of ranks; None if it is not there. Collective.

    Raises:
        InputError: it cannot be read; on every rank alike.
    """

    def mine() -> bytes | None:
        try:
            pieces = -(-path.stat().st_size // PIECE)
            first, end = (pieces * rank // comm.size for rank in (comm.rank, comm.rank + 1))
            with path.open("rb") as file:
                return b"".join(_digest_of_piece(file, number) for number in range(first, end))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); make it readable, or remove it") from error

    parts = comm.allgather(on_all(comm, mine))
    there = [part for part in parts if part is not None]
    return hashlib.sha256(b"".join(there)).hexdigest() if len(there) == len(parts) else None


def _digest_of_piece(file: BinaryIO, number: int) -> bytes:
    found, left = hashlib.sha256(), PIECE
    file.seek(number * PIECE)
    while left and (some := file.read(min(left, READ))):
        found.update(some)
        left -= len(some)
    return found.digest()


def _with_file(comm: MPI.Comm, path: Path, mode: int, *work: Callable[[MPI.File], object]) -> None:
    """Open a file, do collective things with it, whether or not one fails on some ranks, and close it. Collective.

    Raises:
        OSError: that failed on any rank; on every rank alike.
    """
    failed: list[OSError] = []

    def attempt(call: Callable[[], object]) -> None:
        try:
            call()
        except MPI.Exception as error:
            full = error.Get_error_class() in (MPI.ERR_NO_SPACE, MPI.ERR_QUOTA)
            number = errno.ENOSPC if full else errno.EIO
            failed.append(OSError(number, os.strerror(number) if full else error.Get_error_string(), str(path)))

    opened: list[MPI.File] = []
    attempt(lambda: opened.append(MPI.File.Open(cast(MPI.Intracomm, comm), path, mode)))  # on all ranks or on none
    for file in opened:
        for each in (*work, MPI.File.Close):
            attempt(partial(each, file))

    def complain() -> None:
        if failed:
            raise failed[0]

    on_all(comm, complain)
