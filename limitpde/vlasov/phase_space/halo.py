"""Cells that a translation needs from other ranks, brought by point-to-point messages along one axis.

With t >= 0 whole cells along a direction, a block of N cells needs the cells t + 1, ..., t + 1 - min(t, N) before its
first, counted along the direction; those of its own cells that are needed as well it still has when it comes to them.
Every rank of a line of ranks knows the moves of the others, which are its own, so nobody has to ask: each works out
what the others lack and sends it.

The lines are taken some at a time, and the messages of the next ones are under way while those before are moved: what
is sent and what comes stays small, whatever the size of the block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.grid import ProcessGrid
from limitpde.vlasov.phase_space.lines import Lines

NOTHING = -1
"""Place of a cell beyond an end of the axis: f is zero there."""
PIECE = 1 << 19
"""Numbers that a rank receives at a time, about."""


@dataclass(frozen=True)
class LineHalo:
    """Cells before the first of each run.

    Attributes:
        values: what came, cell after cell; each (outer, P, mid, width of the run).
        places: (R, K) where in `values` cell k - t - 1 begins, k = 0, 1, ..., or NOTHING.
        inside: whether nothing is needed but the rank's own cells, at the other end of the axis.
    """

    values: np.ndarray
    places: np.ndarray
    inside: bool


@dataclass
class _Exchange:
    """Messages under way."""

    halo: LineHalo
    """What has come when they have arrived."""
    requests: list[MPI.Request] = field(default_factory=list)
    rooms: list[np.ndarray] = field(default_factory=list)
    """What they are in: must not change until they have gone, and what came has been used."""

    def finish(self) -> LineHalo:
        """Wait for them."""
        MPI.Request.Waitall(self.requests)
        return self.halo


def needed(cells: np.ndarray, forward: np.ndarray, begin: int, end: int, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the axis that a block [begin, end) needs for moves by `cells`, (R, K), and whether there are any such.

    Column k is cell k - t - 1 of the block, counted along the direction of the move.
    """
    count = end - begin
    most = np.minimum(cells, count) + 1 if count else np.zeros_like(cells)
    k = np.arange(int(most.max(initial=0)))
    oriented = k - cells[:, None] - 1
    found = np.where(forward[:, None], begin + oriented, end - 1 - oriented)
    if axis.periodic:
        found %= axis.cells
    return found, (k < most[:, None]) & (found >= 0) & (found < axis.cells)


def bring(f: np.ndarray, lines: Lines, which: int, axis: Axis, grid: ProcessGrid) -> Iterator[tuple[Lines, LineHalo]]:
    """Some of the lines after others, each with what other ranks have of them. Collective on the ranks along the axis.

    Lines may be changed as soon as they are given.

    Args:
        f: one component of this rank's block, flat.
        lines: its lines along the axis.
        which: number of the axis in the grid.
        axis: the axis.
        grid: the ranks.
    """
    if grid.parts[which] == 1:
        yield lines, LineHalo(np.empty(0), np.empty((len(lines.cells), 0), dtype=np.int64), axis.periodic)
        return
    most = lines.slab(axis.P) * (np.minimum(lines.cells, axis.cells) + 1)  # the same on all ranks along the axis
    pieces = lines.pieces(-(-int(most.sum()) // PIECE))
    ahead = _start(f, pieces[0], which, axis, grid)
    for number, piece in enumerate(pieces, 1):
        present = ahead
        if number < len(pieces):
            ahead = _start(f, pieces[number], which, axis, grid)
        yield piece, present.finish()
        grid.spare += present.rooms


def _room(size: int, spare: list[np.ndarray]) -> np.ndarray:
    """An array for so many numbers, if possible one that was in use before, whose memory is there already."""
    fits = [k for k, room in enumerate(spare) if len(room) >= size]
    if fits:
        return spare.pop(fits[0])
    del spare[-1:]  # too small: this one comes in its place
    return np.empty(size)


def _start(f: np.ndarray, lines: Lines, which: int, axis: Axis, grid: ProcessGrid) -> _Exchange:
    """Send what the others need of some lines, and receive what this rank does."""
    parts, ends = grid.parts[which], grid.ends[which]
    mine, slab = grid.place[which], lines.slab(axis.P)
    found, there = needed(lines.cells, lines.forward, int(ends[mine]), int(ends[mine + 1]), axis)
    owner = np.where(there, np.searchsorted(ends[1:], found, side="right"), -1)
    places = np.full(found.shape, NOTHING, dtype=np.int64)
    sizes, total = [], 0
    for part in range(parts):
        run, column = np.nonzero(owner == part)
        starts = np.cumsum(slab[run]) - slab[run]
        places[run, column] = total + starts
        sizes.append(int(slab[run].sum()))
        total += sizes[-1]
    values, at = _room(total, grid.spare), 0
    exchange = _Exchange(LineHalo(values, places, False), rooms=[values])
    for part, size in enumerate(sizes):
        if size and part != mine:
            exchange.requests.append(grid.comm.Irecv(values[at : at + size], grid.rank_at(which, part)))
        elif size:
            own = owner == part
            run = np.nonzero(own)[0]
            _collect(f, lines.layout, lines.base, lines.width, run, found[own] - ends[mine], axis.P, values[at:])
        at += size
    for part in (part for part in range(parts) if part != mine):
        wanted, there = needed(lines.cells, lines.forward, int(ends[part]), int(ends[part + 1]), axis)
        own = there & (wanted >= ends[mine]) & (wanted < ends[mine + 1])
        run = np.nonzero(own)[0]
        size = int(slab[run].sum())
        if size:
            message = _room(size, grid.spare)
            _collect(f, lines.layout, lines.base, lines.width, run, wanted[own] - ends[mine], axis.P, message)
            exchange.rooms.append(message)
            exchange.requests.append(grid.comm.Isend(message[:size], grid.rank_at(which, part)))
    return exchange


@compiled
def _collect(
    f: np.ndarray,
    layout: np.ndarray,
    base: np.ndarray,
    width: np.ndarray,
    run: np.ndarray,
    cell: np.ndarray,
    P: int,
    message: np.ndarray,
) -> None:
    """Put cells (run[n], cell[n]) of all lines one behind the other; numbers that are near each other go together."""
    first, total = np.empty(len(run), dtype=np.int64), 0
    for n in range(len(run)):
        first[n] = total
        total += width[run[n]] * layout[0] * P * layout[4]
    for o in range(layout[0]):
        for p in range(P):
            for m in range(layout[4]):
                for n in range(len(run)):
                    w = width[run[n]]
                    start = base[run[n]] + o * layout[1] + (cell[n] * P + p) * layout[3] + m * layout[5]
                    at = first[n] + ((o * P + p) * layout[4] + m) * w
                    for k in range(w):
                        message[at + k] = f[start + k]
