"""Sweeps of lines that lie side by side and have a translation each: drifts along the last position.

The lines are taken in groups (`groups`), and several groups go through their cells together, so that whole rows of f
are read and written at a time. As in `kernels`, cells that are still needed are kept in rings, one for each group, in
which what a group has of a node lies side by side: a new cell is then a product of small matrices, one for each line,
with columns in the registers of the processor (`registers`).
"""

from __future__ import annotations

import numba
import numpy as np

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space.halo import LineHalo
from limitpde.vlasov.phase_space.lines import Lines
from limitpde.vlasov.phase_space.registers import LANES, expect, move_lanes, multiply_each

AHEAD = 128
"""How far ahead numbers are asked for in the next lines; where there are none, those of the cell after the next are."""
RING = 1 << 10
"""Numbers of rings in use together: they and their matrices stay in the nearest cache."""


def sweep(f: np.ndarray, lines: Lines, halo: LineHalo, tasks: int) -> None:
    """Move all lines of one component, in place.

    Args:
        f: the component, flat.
        lines: its lines, and their moves, which vary within runs.
        halo: what comes from other ranks.
        tasks: parts of the work that threads take.
    """
    groups = lines.groups
    run, ahead = groups.run, groups.ahead
    _groups(
        f, lines.layout, lines.base[run] + ahead, groups.width, lines.cells[run], lines.forward[run], groups.table,
        halo.values, halo.places, halo.inside, run, lines.width, ahead, tasks,
    )  # fmt: skip


@compiled(_nrt=False, forceinline=True)
def _take(f, at, window, to, width):  # type: ignore[no-untyped-def]
    """A row of a group into the window."""
    if width == LANES or at + LANES <= len(f):  # what is too much is never used
        move_lanes(f, at, window, to)
    else:
        for k in range(width):
            window[to + k] = f[at + k]


@compiled(_nrt=False, forceinline=True)
def _fill(f, start, step, stride, count, t, width, ring, to, P, values, places, offset, slab, inside):  # type: ignore[no-untyped-def]
    """The t + 1 cells (or all there are) behind the first one of a group, into its ring."""
    for k in range(min(t, count) + 1):
        for p in range(P):
            at = to + (k * P + p) * LANES
            if inside:
                _take(f, start + (k - t - 1 + count) * step + p * stride, ring, at, width)
            elif k < len(places) and places[k] >= 0:
                _take(values, places[k] + offset + p * slab, ring, at, width)
            else:
                ring[at : at + LANES] = 0.0


@compiled(_nrt=False, forceinline=True)
def _advance(  # type: ignore[no-untyped-def]
    f, start, stride, count, base, width, cells, forward, P, table, first, ring, size, behind, saved, out, ahead
):
    """Move some groups, all one cell after the other; their rings have what lies behind them."""
    cell = P * LANES
    for j in range(count):
        for p in range(P):
            for n in range(len(behind)):
                g = first + n
                if j + cells[g] + 1 <= count:
                    at = start + base[g] + ((j if forward[g] else count - 1 - j) * P + p) * stride
                    _take(f, at, ring, n * size + saved[n] + p * LANES, width[g])
                    expect(f, at + (ahead if ahead > 0 else (2 if forward[g] else -2) * P * stride))
        for n in range(len(behind)):
            g, own = first + n, n * size
            at = start + base[g] + (j if forward[g] else count - 1 - j) * P * stride
            full = min(count + 1, cells[g] + 2) * cell
            saved[n] = saved[n] + cell if saved[n] + cell < full else 0
            here = behind[n] + cell if behind[n] + cell < full else 0
            if width[g] == LANES:
                multiply_each(P, table, g * 2 * P * cell, ring, own + here, own + behind[n], f, at, stride)
            else:
                multiply_each(P, table, g * 2 * P * cell, ring, own + here, own + behind[n], out, 0, LANES)
                for q in range(P):
                    for k in range(width[g]):
                        f[at + q * stride + k] = out[q * LANES + k]
            behind[n] = here


@compiled(parallel=True)
def _groups(f, layout, base, width, cells, forward, table, values, places, inside, run, run_width, ahead, tasks):  # type: ignore[no-untyped-def]
    outer, outer_stride, count, stride, mid, mid_stride = layout
    P, flat = table.shape[1], table.reshape(-1)
    if outer * mid * count * len(base) == 0:
        return
    far_ahead = mid_stride * max(1, AHEAD // mid_stride) if mid > 1 else 0
    size = (min(count, np.max(cells)) + 2) * P * LANES
    together = min(len(base), max(1, RING // size))
    batches = (len(base) + together - 1) // together
    total = outer * mid * batches
    pieces = min(total, tasks)
    for piece in numba.prange(pieces):
        ring, out = np.zeros(together * size), np.empty(P * LANES)
        behind, saved = (np.empty(together, dtype=np.int64), np.empty(together, dtype=np.int64))
        for number in range(piece * total // pieces, (piece + 1) * total // pieces):
            batch, m, o = (number % batches, (number // batches) % mid, number // (batches * mid))
            first, last = batch * together, min(len(base), (batch + 1) * together)
            start = o * outer_stride + m * mid_stride
            for g in range(first, last):
                n, t, w = g - first, cells[g], run_width[run[g]]
                step = P * stride if forward[g] else -P * stride
                at = start + base[g] if forward[g] else start + base[g] - (count - 1) * step
                offset, slab = (o * P * mid + m) * w + ahead[g], mid * w
                _fill(
                    f, at, step, stride, count, t, width[g], ring, n * size, P,
                    values, places[run[g]], offset, slab, inside,
                )  # fmt: skip
                behind[n], saved[n] = 0, (t + 1) % min(count + 1, t + 2) * P * LANES
            some = last - first
            _advance(
                f, start, stride, count, base, width, cells, forward, P, flat, first, ring, size,
                behind[:some], saved[:some], out, far_ahead,
            )  # fmt: skip
