"""Arrays of all ranks in one file, by MPI-IO: each rank writes and reads its own part, and nobody holds the whole.

A `Block` is a part of a grid; a rank has `Numbered` rows where they are in no order, such as nodes by their numbers in
the input mesh. The file has one array after another, each with the values in the order of the whole and nothing else,
so any number of ranks can read it. Its digest is the sha256 of those of its pieces, of which each rank reads some. All
ranks must see the folder.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.parallel import before, collected, on_all, spread

PIECE = 1 << 24
"""Bytes of a file that have a digest of their own."""
READ = 1 << 20
"""Bytes of it that are read at a time."""
WINDOW, SHARE = 1 << 20, 1 << 18
"""Bytes of numbered rows that are on their way at a time, of all ranks together; of each where these are more."""

type Move = Callable[[MPI.File], object]
"""Writes to a file or reads from it. Collective, also where it raises on some ranks."""


class Shared(Protocol):
    """What this rank has of an array of all ranks."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""

    def moves(self, comm: MPI.Comm, *, write: bool, first: int) -> Iterator[Move]:
        """What writes the values to a file, or reads them from it, in turn; the array begins at its byte `first`."""


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

    @property
    def dtype(self) -> np.dtype:
        """Float."""
        return np.dtype(float)

    def moves(self, comm: MPI.Comm, *, write: bool, first: int) -> Iterator[Move]:
        """One that moves all."""
        yield partial(self.move, write=write, first=first)

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


@dataclass(frozen=True, slots=True)
class Numbered:
    """Rows that this rank has of an array of all ranks, or wants of one, by their numbers.

    On their way between this rank and the file they are in equal parts over the ranks, some at a time.
    """

    numbers: np.ndarray
    """(k,); of those that are written each of 0 ... total - 1 is on one rank, those that are read may be on several."""
    total: int
    """Rows of all ranks."""
    columns: Sequence[np.ndarray]
    """(k,) each, of one kind, side by side in the array; what is read is put here."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(total, columns)."""
        return (self.total, len(self.columns))

    @property
    def dtype(self) -> np.dtype:
        """That of the columns."""
        return self.columns[0].dtype

    def moves(self, comm: MPI.Comm, *, write: bool, first: int) -> Iterator[Move]:
        """One for each window."""
        order, size = np.argsort(self.numbers, kind="stable"), self.dtype.itemsize * len(self.columns)
        numbers, some = self.numbers[order], max(1, max(WINDOW, comm.size * SHARE) // size)
        for begin in range(0, self.total, some):
            count = min(some, self.total - begin)
            low, high = np.searchsorted(numbers, [begin, begin + count])
            move = self._write if write else self._read
            yield partial(move, comm, order[low:high], numbers[low:high] - begin, count, first + begin * size)

    def _write(
        self, comm: MPI.Comm, mine: np.ndarray, numbers: np.ndarray, count: int, first: int, file: MPI.File
    ) -> None:
        rows = np.stack([column[mine] for column in self.columns], axis=1)
        at, part = spread(comm, numbers, rows, count)
        file.Set_view(first)
        file.Write_at_all(at * self.dtype.itemsize * len(self.columns), part.view(np.uint8))

    def _read(
        self, comm: MPI.Comm, mine: np.ndarray, numbers: np.ndarray, count: int, first: int, file: MPI.File
    ) -> None:
        at, end = (count * rank // comm.size for rank in (comm.rank, comm.rank + 1))
        part = np.zeros((end - at, len(self.columns)), dtype=self.dtype)
        file.Set_view(first)
        try:
            file.Read_at_all(at * self.dtype.itemsize * len(self.columns), part.view(np.uint8))
        finally:  # others wait for these rows
            rows = collected(comm, numbers, part, count)
        for column, values in zip(self.columns, rows.T, strict=True):
            column[mine] = values


def one_after_another(comm: MPI.Comm, rows: np.ndarray) -> Numbered:
    """Rows (k,) or (k, columns) of each rank, those of one rank after the other's, as an array of all. Collective."""
    numbers = before(comm, len(rows)) + np.arange(len(rows))
    return Numbered(numbers, comm.allreduce(len(rows)), list(np.atleast_2d(rows.T)))


@dataclass(frozen=True, slots=True)
class Stored:
    """An array of all ranks in a file."""

    comm: MPI.Comm
    path: Path
    first: int
    """Byte at which it begins."""
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, array: Shared) -> None:
        """Read it into the values of an array like it. Collective.

        Raises:
            InputError: it is another array, or cannot be read; on every rank alike.
        """
        if (self.shape, self.dtype) != (array.shape, array.dtype):
            raise InputError(
                f"{self.path}: holds an array {self.shape} of {self.dtype} where one {array.shape} of {array.dtype} is "
                "needed; run again without --resume"
            )
        try:
            moves = array.moves(self.comm, write=False, first=self.first)
            _with_file(self.comm, self.path, MPI.MODE_RDONLY, *moves)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def part(self) -> np.ndarray:
        """The rows (k, columns) that fall to this rank when all share them in equal parts. Collective.

        Raises:
            InputError: it cannot be read; on every rank alike.
        """
        first, last = (self.shape[0] * rank // self.comm.size for rank in (self.comm.rank, self.comm.rank + 1))
        found = np.empty((last - first, *self.shape[1:]), dtype=self.dtype)
        self.read(Numbered(np.arange(first, last), self.shape[0], list(found.T)))
        return found


def write(comm: MPI.Comm, path: Path, *arrays: Shared) -> tuple[str, list[int]]:
    """Write arrays to a file, which is on the disk itself when this returns. Collective.

    Returns:
        Its digest, and the byte at which each array begins.

    Raises:
        OSError: it cannot be written; on every rank alike.
    """
    sizes = [array.dtype.itemsize * math.prod(array.shape) for array in arrays]
    places = list(itertools.accumulate(sizes, initial=0))[: len(arrays)]
    moves = [
        move for array, first in zip(arrays, places, strict=True) for move in array.moves(comm, write=True, first=first)
    ]
    _with_file(comm, path, MPI.MODE_CREATE | MPI.MODE_WRONLY, *moves, MPI.File.Sync)
    found = digest(comm, path)
    if found is None:
        raise OSError(errno.EIO, "was written, but is not there", str(path))
    return found, places


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
            raise _unreadable(path, error) from error

    parts = comm.allgather(on_all(comm, mine))
    there = [part for part in parts if part is not None]
    return hashlib.sha256(b"".join(there)).hexdigest() if len(there) == len(parts) else None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.strerror}); make it readable, or remove it")


def _digest_of_piece(file: BinaryIO, number: int) -> bytes:
    found, left = hashlib.sha256(), PIECE
    file.seek(number * PIECE)
    while left and (some := file.read(min(left, READ))):
        found.update(some)
        left -= len(some)
    return found.digest()


def _with_file(comm: MPI.Comm, path: Path, mode: int, *work: Move) -> None:
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
