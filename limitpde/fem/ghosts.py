"""What a rank knows of things that other ranks own, such as nodes and edges beside its own. Collective."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from mpi4py import MPI

from limitpde.parallel import counts


class Ghosts:
    """Things on this rank, each owned by one rank, where it has the same name as here.

    Args:
        comm: the ranks.
        owner: (n,) who owns each of them.
        name: (n,) integers; no two things of one owner have the same.

    Raises:
        KeyError: an owner does not know what it is asked for; on that rank alone, where the program is wrong.
    """

    def __init__(self, comm: MPI.Comm, owner: np.ndarray, name: np.ndarray) -> None:
        self.comm, self.own = comm, owner == comm.rank
        if comm.size == 1:
            return
        there = np.flatnonzero(~self.own)
        self._ghosts = there[np.argsort(owner[there], kind="stable")]
        self._counts = np.bincount(owner[there], minlength=comm.size)
        asked, self._asked = exchanged(comm, name[self._ghosts], self._counts)
        mine = np.flatnonzero(self.own)
        order = mine[np.argsort(name[mine])]
        place = np.searchsorted(name[order], asked)
        if len(asked) and (not len(order) or (name[order[np.minimum(place, len(order) - 1)]] != asked).any()):
            raise KeyError("a rank was asked for what it does not own")
        self._sent = order[place]

    @classmethod
    def none(cls, count: int) -> Self:
        """Of things that one rank owns alone."""
        return cls(MPI.COMM_SELF, np.zeros(count, dtype=np.int64), np.arange(count))

    def updated(self, values: np.ndarray) -> np.ndarray:
        """The values (n, ...), where others own them those of their owners. Collective."""
        if self.comm.size == 1:
            return values
        values = values.copy()
        values[self._ghosts] = exchanged(self.comm, values[self._sent], self._asked, self._counts)[0]
        return values

    def any(self, here: bool | np.bool_) -> bool:
        """Whether something holds on any rank. Collective."""
        return bool(self.comm.allreduce(bool(here), op=MPI.LOR)) if self.comm.size > 1 else bool(here)


def exchanged(
    comm: MPI.Comm, rows: np.ndarray, counts: np.ndarray, coming: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What comes when rows go to each rank, one rank after another, likewise; and how much from each. Collective.

    Args:
        comm: the ranks.
        rows: (n, ...) of the same kind on every rank.
        counts: (ranks,) how many go to each.
        coming: how many come from each, if that is known.
    """
    if coming is None:
        coming = np.empty_like(counts)
        comm.Alltoall(counts, coming)
    found = np.empty((int(coming.sum()), *rows.shape[1:]), dtype=rows.dtype)
    width = math.prod(rows.shape[1:]) * rows.dtype.itemsize
    kind = MPI.BYTE.Create_contiguous(width).Commit()
    try:
        comm.Alltoallv([np.ascontiguousarray(rows), counts, kind], [found, coming, kind])
    finally:
        kind.Free()
    return found, coming


def joined(comm: MPI.Comm, rows: np.ndarray) -> np.ndarray:
    """The rows (n, ...) of all ranks, one rank after another, on every rank. Collective."""
    many = counts(comm, len(rows))
    found = np.empty((int(many.sum()), *rows.shape[1:]), dtype=rows.dtype)
    width = math.prod(rows.shape[1:]) * rows.dtype.itemsize
    comm.Allgatherv([np.ascontiguousarray(rows), len(rows) * width, MPI.BYTE], [found, many * width, MPI.BYTE])
    return found
