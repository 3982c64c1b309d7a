"""The ranks as a grid over the axes of phase space, each with a block of whole cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from limitpde.vlasov.phase_space.axes import Axis, block_ends

_KEY = MPI.Comm.Create_keyval()
"""Under this key a communicator keeps its parts, so that many spaces on it do not use up all communicators."""


def _factorisations(number: int, factors: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a number as an ordered product."""
    if factors == 1:
        yield (number,)
        return
    for first in (k for k in range(1, number + 1) if number % k == 0):
        for rest in _factorisations(number // first, factors - 1):
            yield (first, *rest)


def parts_of(cells: Sequence[int], ranks: int, d: int) -> tuple[int, ...]:
    """Parts of each axis: the largest block is as small as can be, then few parts in v, then little surface."""

    def cost(parts: tuple[int, ...]) -> tuple[float, ...]:
        block = [-(-n // p) for n, p in zip(cells, parts, strict=True)]
        surface = sum(1 / b for b, p in zip(block, parts, strict=True) if p > 1)
        return (math.prod(block), math.prod(parts[d:]), surface)

    return min(_factorisations(ranks, len(cells)), key=cost)


class ProcessGrid:
    """Which cells of each axis a rank has, and the communicators along x and v. Collective.

    Args:
        axes: the 2 d axes, those of x first.
        d: number of x axes.
        comm: the ranks.
        parts: parts of each axis; their product is the number of ranks. By default, what makes blocks small.

    Attributes:
        parts: parts of each axis.
        place: which part of each axis this rank has.
        ends: for each axis, the first cells of its parts, and their end.
        x_comm: the ranks that have the same part of v, in order.
        v_comm: the ranks that have the same part of x, in order.
    """

    def __init__(self, axes: Sequence[Axis], d: int, comm: MPI.Comm, parts: Sequence[int] | None = None) -> None:
        self.comm = comm
        self.parts = tuple(parts) if parts is not None else parts_of([axis.cells for axis in axes], comm.size, d)
        self.ends = [block_ends(axis.cells, parts) for axis, parts in zip(axes, self.parts, strict=True)]
        self.place = self.place_of(comm.rank)
        self.x_comm, self.v_comm = _halves(comm, math.prod(self.parts[:d]), math.prod(self.parts[d:]))
        self._P = [axis.P for axis in axes]

    def place_of(self, rank: int) -> tuple[int, ...]:
        """Which part of each axis a rank has."""
        return tuple(int(k) for k in np.unravel_index(rank, self.parts))

    def rank_at(self, axis: int, part: int) -> int:
        """The rank that has another part of one axis, and otherwise the place of this rank."""
        place = list(self.place)
        place[axis] = part
        return int(np.ravel_multi_index(place, self.parts))

    def cells(self, rank: int) -> list[tuple[int, int]]:
        """First cell and end of the block of a rank, along each axis."""
        return [(int(ends[k]), int(ends[k + 1])) for ends, k in zip(self.ends, self.place_of(rank), strict=True)]

    def nodes(self, rank: int) -> tuple[slice, ...]:
        """Nodes of the block of a rank, along each axis."""
        return tuple(slice(a * P, b * P) for (a, b), P in zip(self.cells(rank), self._P, strict=True))


def _halves(comm: MPI.Comm, x_parts: int, v_parts: int) -> tuple[MPI.Comm, MPI.Comm]:
    """The ranks with the same part of v, and those with the same part of x. Collective."""
    if v_parts == 1:
        return comm, MPI.COMM_SELF
    if x_parts == 1:
        return MPI.COMM_SELF, comm
    known: Any = comm.Get_attr(_KEY)
    if known is None:
        known = {}
        comm.Set_attr(_KEY, known)
    if (x_parts, v_parts) not in known:
        x_place, v_place = divmod(comm.rank, v_parts)
        known[x_parts, v_parts] = comm.Split(v_place, x_place), comm.Split(x_place, v_place)
    found: tuple[MPI.Comm, MPI.Comm] = known[x_parts, v_parts]
    return found
