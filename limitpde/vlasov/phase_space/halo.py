"""Cells that a translation needs from other ranks, brought by point-to-point messages along one axis.

With t >= 0 whole cells along a direction, a block of N cells needs the cells t + 1, ..., t + 1 - min(t, N) before its
first, counted along the direction; those of its own cells that are needed as well it still has when it comes to them.
Every rank of a line of ranks knows the moves of the others, which are its own, so nobody has to ask: each works out
what the others lack and sends it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.grid import ProcessGrid
from limitpde.vlasov.phase_space.lines import Lines

NOTHING = -1
"""Place of a cell beyond an end of the axis: f is zero there."""


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


def bring(f: np.ndarray, lines: Lines, which: int, axis: Axis, grid: ProcessGrid) -> LineHalo:
    """Fetch what other ranks have. Collective on the ranks along the axis.

    Args:
        f: one component of this rank's block, flat.
        lines: its lines along the axis.
        which: number of the axis in the grid.
        axis: the axis.
        grid: the ranks.
    """
    parts, ends = grid.parts[which], grid.ends[which]
    if parts == 1:
        return LineHalo(np.empty(0), np.empty((len(lines.cells), 0), dtype=np.int64), axis.periodic)
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
    values = np.empty(total)
    requests, at = [], 0
    for part, size in enumerate(sizes):
        if size and part != mine:
            requests.append(grid.comm.Irecv(values[at : at + size], grid.rank_at(which, part)))
        elif size:
            own = owner == part
            run = np.nonzero(own)[0]
            _collect(f, lines.layout, lines.base, lines.width, run, found[own] - ends[mine], axis.P, values[at:])
        at += size
    held = []  # until the messages have gone
    for part in (part for part in range(parts) if part != mine):
        wanted, there = needed(lines.cells, lines.forward, int(ends[part]), int(ends[part + 1]), axis)
        own = there & (wanted >= ends[mine]) & (wanted < ends[mine + 1])
        run = np.nonzero(own)[0]
        message = np.empty(int(slab[run].sum()))
        if len(message):
            _collect(f, lines.layout, lines.base, lines.width, run, wanted[own] - ends[mine], axis.P, message)
            held.append(message)
            requests.append(grid.comm.Isend(message, grid.rank_at(which, part)))
    MPI.Request.Waitall(requests)
    return LineHalo(values, places, False)


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
    """Put cells (run[n], cell[n]) of all lines one behind the other."""
    at = 0
    for n in range(len(run)):
        w = width[run[n]]
        for o in range(layout[0]):
            for p in range(P):
                for m in range(layout[4]):
                    start = base[run[n]] + o * layout[1] + (cell[n] * P + p) * layout[3] + m * layout[5]
                    for k in range(w):
                        message[at + k] = f[start + k]
                    at += w
