"""Doing things together on all ranks: work on rank 0, errors that every rank learns of, and requests to stop.

A collective call must be reached by all ranks or by none. So what only one rank can know (a file that is not there, a
full disk, Ctrl-C) is told to the others here, and they all go on or all raise the same error.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import numpy as np
from mpi4py import MPI

from limitpde.errors import Interrupted, RunError, is_out_of_memory

TAG = 7303
"""Of the rows that go to rank 0."""


def on_root[T](comm: MPI.Comm, work: Callable[[], T]) -> T:
    """Call `work` on rank 0 and return its result, or raise its error, on every rank. Collective."""
    outcome: tuple[T | None, Exception | None] = (None, None)
    if comm.rank == 0:
        try:
            outcome = (work(), None)
        except (Exception, SystemExit) as error:
            outcome = (None, _told(error))
    result, failure = comm.bcast(outcome, root=0)
    if failure is not None:
        raise failure
    return result


def on_all[T](comm: MPI.Comm, work: Callable[[], T]) -> T:
    """Call `work`, which is not collective, on every rank; if it fails on any, raise that error on all. Collective."""
    result: T | None = None
    mine: Exception | None = None
    try:
        result = work()
    except (Exception, SystemExit) as error:
        mine = _told(error)
    for failure in comm.allgather(mine):
        if failure is not None:
            raise failure
    return result  # type: ignore[return-value]


def gathered(comm: MPI.Comm, numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows of all ranks in the order of their numbers, on rank 0; nothing elsewhere. Collective.

    Args:
        comm: the ranks.
        numbers: (owned,) number of each row, each of 0, 1, ... on one rank.
        values: (owned, ...) rows, of the same kind on every rank.
    """
    counts, numbers = comm.gather(len(numbers)), numbers.astype(np.int64)
    if counts is None:
        comm.Send(numbers, dest=0, tag=TAG)
        comm.Send(np.ascontiguousarray(values), dest=0, tag=TAG)
        return values[:0]
    found = np.empty((sum(counts), *values.shape[1:]), dtype=values.dtype)
    found[numbers] = values
    for rank in range(1, comm.size):  # one after another, so that rank 0 holds little besides
        places, rows = np.empty(counts[rank], dtype=np.int64), np.empty((counts[rank], *values.shape[1:]), values.dtype)
        comm.Recv(places, source=rank, tag=TAG)
        comm.Recv(rows, source=rank, tag=TAG)
        found[places] = rows
    return found


def spread(comm: MPI.Comm, numbers: np.ndarray, values: np.ndarray, total: int) -> tuple[int, np.ndarray]:
    """Rows of all ranks in the order of their numbers, in as equal parts as can be: the first one here, and they.

    Collective.

    Args:
        comm: the ranks.
        numbers: (owned,) number of each row, each of 0 ... total - 1 on one rank.
        values: (owned, ...) rows, of the same kind on every rank.
        total: rows of all ranks.
    """
    first, order, counts, coming, places = _routes(comm, numbers, total)
    width = math.prod(values.shape[1:])
    rows, found = (np.empty((len(places), *values.shape[1:]), dtype=values.dtype) for _ in range(2))
    comm.Alltoallv([np.ascontiguousarray(values[order]), counts * width], [rows, coming * width])
    found[places - first] = rows
    return first, found


def collected(comm: MPI.Comm, numbers: np.ndarray, part: np.ndarray, total: int) -> np.ndarray:
    """Rows with these numbers, which may be those of another rank, too, of rows that lie as `spread` has put them.

    Collective.

    Args:
        comm: the ranks.
        numbers: (k,) of the rows that this rank wants.
        part: the rows that it has, of the same kind on every rank.
        total: rows of all ranks.
    """
    first, order, counts, asked, places = _routes(comm, numbers, total)
    width = math.prod(part.shape[1:])
    rows, found = (np.empty((len(numbers), *part.shape[1:]), dtype=part.dtype) for _ in range(2))
    comm.Alltoallv([np.ascontiguousarray(part[places - first]), asked * width], [rows, counts * width])
    found[order] = rows
    return found


def named(comm: MPI.Comm, numbers: np.ndarray, total: int) -> np.ndarray:
    """Which of the rows that `spread` puts on this rank have numbers that some rank names, as truth values. Collective.

    Args:
        comm: the ranks.
        numbers: (k,) of rows, which may be those of another rank, too.
        total: rows of all ranks.
    """
    first, *_, places = _routes(comm, numbers, total)
    found = np.zeros(total * (comm.rank + 1) // comm.size - first, dtype=bool)
    found[places - first] = True
    return found


def _routes(
    comm: MPI.Comm, numbers: np.ndarray, total: int
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For rows in as equal parts as can be: numbers are sent to the ranks that have these rows. Collective.

    Returns:
        The first row of this rank; the order in which its numbers are sent, and how many to each rank; how many come
        from each, and which.
    """
    ends = np.arange(comm.size + 1) * total // comm.size
    to = np.searchsorted(ends[1:], numbers, side="right")
    order, counts = np.argsort(to, kind="stable"), np.bincount(to, minlength=comm.size)
    coming = np.empty_like(counts)
    comm.Alltoall(counts, coming)
    places = np.empty(coming.sum(), dtype=np.int64)
    comm.Alltoallv([numbers[order].astype(np.int64), counts], [places, coming])
    return int(ends[comm.rank]), order, counts, coming, places


def counts(comm: MPI.Comm, here: int) -> np.ndarray:
    """How many things each rank has, (ranks,), if this one has so many. Collective."""
    found = np.empty(comm.size, dtype=np.int64)
    comm.Allgather(np.array([here]), found)
    return found


def before(comm: MPI.Comm, here: int) -> int:
    """How many things the ranks before this one have, if this one has so many. Collective."""
    return int(counts(comm, here)[: comm.rank].sum())


def scattered(comm: MPI.Comm, rows: np.ndarray) -> np.ndarray:
    """The share of this rank of rows (n, k) that rank 0 has, in as equal parts as can be. Collective.

    Args:
        comm: the ranks.
        rows: of the same k and kind on every rank; those of other ranks do not count.
    """
    ends = np.arange(comm.size + 1) * comm.bcast(len(rows)) // comm.size
    mine = np.empty((ends[comm.rank + 1] - ends[comm.rank], rows.shape[1]), dtype=rows.dtype)
    comm.Scatterv([np.ascontiguousarray(rows), np.diff(ends) * rows.shape[1]], mine)
    return mine


def all_arrive(comm: MPI.Comm, *, seconds: float) -> bool:
    """Wait until every rank has called this, for some seconds at most; False if one has not."""
    request, deadline = comm.Ibarrier(), time.monotonic() + seconds
    while not request.Test():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def ends_all(comm: MPI.Comm, error: Exception) -> bool:
    """Whether all ranks go on to write what there is after an error; those that know of none cannot."""
    if isinstance(error, RunError):  # raised on every rank
        return True
    ours = isinstance(error, ArithmeticError | OSError) or is_out_of_memory(error)
    return ours and all_arrive(comm, seconds=5.0)


def wait_for_all(comm: MPI.Comm) -> None:
    """Wait until every rank has called this, however long that takes, without keeping a core busy. Collective."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(0.02)


def _told(error: Exception | SystemExit) -> Exception:
    """The error as other ranks are told of it: a call of exit() must not end this rank alone."""
    return error if isinstance(error, Exception) else RunError(f"exit({error.code}) was called")


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a request that all ranks honour at the same step.

    A context manager. Inside it the signals only set a flag; `check` (collective) raises `Interrupted` on every rank
    when any rank was asked to stop. A second signal gets the usual effect at once. In a thread that may not set
    signal handlers it does nothing, and Ctrl-C keeps its meaning.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        before = self._previous.get(number)
        self._restore()
        around = getattr(before, "__self__", None)
        if isinstance(around, StopRequest):  # is asked as well
            around._ask(number, frame)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def check(self, comm: MPI.Comm) -> None:
        """Raise `Interrupted` on all ranks if any of them was asked to stop. Collective."""
        asked = np.array([self.asked])
        comm.Allreduce(MPI.IN_PLACE, asked, op=MPI.LOR)
        if asked[0]:
            raise Interrupted("stopped on request (Ctrl-C or SIGTERM)")
