"""The ranks as a grid over the axes of phase space, each with a block of whole cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from limitpde.vlasov.phase_space.axes import Axis, block_ends

WORK = 1.5
"""Seconds that a step takes for one value, over those in which one is received: 12 ns, and 8 bytes at 1 GB/s."""
KICKS_APART = 0.5
"""The same for what kicks cost more where velocities are split, as they are not moved along all axes together."""
GAIN = 0.9
"""Part of the time of a step on a mesh, with cells alone cut, below which velocities are cut as well."""
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


def received(cells: int, parts: int, sweeps: np.ndarray) -> float:
    """Cells of other parts that one part of an axis needs in a step, over those that it has.

    Args:
        cells: of the axis.
        parts: of the axis.
        sweeps: (S, M) whole cells by which its lines are moved in each sweep of a step.
    """
    block = -(-cells // parts)
    return 0.0 if parts == 1 else float(np.mean(np.minimum(sweeps, block) + 1, axis=1).sum()) / block


def parts_of(cells: Sequence[int], ranks: int, d: int, sweeps: Sequence[np.ndarray] | None = None) -> tuple[int, ...]:
    """Parts of each axis with which a step takes the least time: of the largest block, and of what it receives.

    Args:
        cells: of the axes.
        ranks: the product of the parts.
        d: number of x axes.
        sweeps: for each axis (S, M) whole cells by which its lines are moved in a step; one sweep by less than one.
    """
    moved = [np.zeros((1, 1))] * len(cells) if sweeps is None else sweeps
    shares = [
        {p: received(n, p, part) for p in range(1, ranks + 1) if ranks % p == 0}
        for n, part in zip(cells, moved, strict=True)
    ]

    def cost(parts: tuple[int, ...]) -> tuple[float, ...]:
        """What counts first, then few parts of v, then of the last axes, along which cells lie in short pieces."""
        block = math.prod(-(-n // p) for n, p in zip(cells, parts, strict=True))
        volumes = sum(share[p] for share, p in zip(shares, parts, strict=True))
        cut = math.prod(parts[d:])
        return (block * (WORK + volumes + (KICKS_APART if cut > 1 else 0.0)), cut, *reversed(parts))

    return min(_factorisations(ranks, len(cells)), key=cost)


def mesh_parts(cells: int, v_axes: Sequence[Axis], ranks: int) -> tuple[int, ...]:
    """Parts of the cells of a mesh, and along each v axis, for which the rank with most to do has least.

    The transport in x takes the time, in proportion to the speed: what counts are the cells of a part, which has one
    more than the mean, times the sum of |v_1| + ... + |v_d| over its velocities. Velocities are cut where that gains a
    tenth.
    """

    def most(axis: Axis, number: int) -> tuple[int, float]:
        """Nodes, and the sum of |v|, of the largest of so many parts."""
        ends = block_ends(axis.cells, number) * axis.P
        sums = np.diff(np.append(0.0, np.cumsum(np.abs(axis.nodes)))[ends])
        return int(np.diff(ends).max()), float(sums.max())

    found = [{p: most(axis, p) for p in range(1, ranks + 1) if ranks % p == 0} for axis in v_axes]

    def cost(parts: tuple[int, ...]) -> float:
        nodes, sums = zip(*(table[p] for table, p in zip(found, parts[1:], strict=True)), strict=True)
        return (cells / parts[0] + 1) * sum(math.prod(nodes) * total / n for n, total in zip(nodes, sums, strict=True))

    whole = (ranks, *(1,) * len(v_axes))
    best = min(_factorisations(ranks, 1 + len(v_axes)), key=lambda parts: (cost(parts), math.prod(parts[1:])))
    return best if cost(best) < GAIN * cost(whole) else whole


class ProcessGrid:
    """Which cells of each axis a rank has, and the communicators along x and v. Collective.

    Args:
        axes: the 2 d axes, those of x first.
        d: number of x axes.
        comm: the ranks.
        parts: parts of each axis; their product is the number of ranks. By default, what is fastest (`parts_of`).
        sweeps: for each axis (S, M) whole cells by which its lines are moved in a step, if that is known.

    Attributes:
        parts: parts of each axis.
        balance: mean number of cells of a rank over the largest one.
        place: which part of each axis this rank has.
        ends: for each axis, the first cells of its parts, and their end.
        x_comm: the ranks that have the same part of v, in order.
        v_comm: the ranks that have the same part of x, in order.
        spare: arrays in which something came from other ranks, or went there, for the next that does.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        d: int,
        comm: MPI.Comm,
        parts: Sequence[int] | None = None,
        sweeps: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.comm, cells = comm, [axis.cells for axis in axes]
        self.parts = tuple(parts) if parts is not None else parts_of(cells, comm.size, d, sweeps)
        largest = math.prod(-(-n // p) for n, p in zip(cells, self.parts, strict=True))
        self.balance = math.prod(cells) / (comm.size * largest)
        self.ends = [block_ends(axis.cells, parts) for axis, parts in zip(axes, self.parts, strict=True)]
        self.place = self.place_of(comm.rank)
        self.x_comm, self.v_comm = _halves(comm, math.prod(self.parts[:d]), math.prod(self.parts[d:]))
        self._P = [axis.P for axis in axes]
        self.spare: list[np.ndarray] = []

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


def gathered_x(grid: ProcessGrid, d: int, shape: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Values (..., *x_shape) of all x nodes, (..., *X), on every rank. Collective.

    Args:
        grid: the ranks.
        d: number of x axes.
        shape: (*X,).
        values: of this rank.
    """
    comm, values = grid.x_comm, np.ascontiguousarray(values)
    if comm.size == 1:
        return values
    lead = values.shape[: values.ndim - d]
    v_parts = math.prod(grid.parts[d:])
    places = [grid.nodes(rank * v_parts)[:d] for rank in range(comm.size)]
    shapes = [(*lead, *(part.stop - part.start for part in place)) for place in places]
    sizes = [math.prod(part) for part in shapes]
    ends = np.cumsum([0, *sizes])
    kind = MPI.C_DOUBLE_COMPLEX if np.iscomplexobj(values) else MPI.DOUBLE
    parts, whole = np.empty(ends[-1], dtype=values.dtype), np.empty((*lead, *shape), dtype=values.dtype)
    comm.Allgatherv(values, [parts, sizes, ends[:-1], kind])
    for place, part_shape, first, end in zip(places, shapes, ends, ends[1:], strict=False):
        index: Any = (..., *place)
        whole[index] = parts[first:end].reshape(part_shape)
    return whole


def _halves(comm: MPI.Comm, x_parts: int, v_parts: int) -> tuple[MPI.Comm, MPI.Comm]:
    """The ranks with the same part of v, and those with the same part of x. Collective."""
    x_comm, v_comm = rows_of_ranks(comm, (x_parts, v_parts), divmod(comm.rank, v_parts), "halves")
    return x_comm, v_comm


def cuts_of(cells: Sequence[int], ranks: int) -> tuple[int, ...]:
    """Parts of each axis for so many ranks: the least cells in the largest part, then the least ranks on an axis."""

    def cost(parts: tuple[int, ...]) -> tuple[int, ...]:
        return math.prod(-(-n // p) for n, p in zip(cells, parts, strict=True)), sum(parts)

    return min(_factorisations(ranks, len(cells)), key=cost)


def rows_of_ranks(comm: MPI.Comm, parts: Sequence[int], place: Sequence[int], order: object) -> list[MPI.Comm]:
    """Of ranks in a grid, those that differ from this one along one axis only, in order, for each axis. Collective.

    Args:
        comm: the ranks, as many as the product of the parts.
        parts: numbers of ranks along each axis.
        place: of this rank.
        order: how ranks are placed, any name that tells this from other ways.
    """
    known: Any = comm.Get_attr(_KEY)
    if known is None:
        known = {}
        comm.Set_attr(_KEY, known)
    name = (*parts, order)
    if name not in known:
        known[name] = []
        for j, part in enumerate(parts):
            if part in (1, comm.size):
                known[name].append(MPI.COMM_SELF if part == 1 else comm)
                continue
            others = [0 if i == j else k for i, k in enumerate(place)]
            known[name].append(comm.Split(int(np.ravel_multi_index(others, tuple(parts))), place[j]))
    found: list[MPI.Comm] = known[name]
    return found
