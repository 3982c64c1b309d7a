"""Compiled sweeps: all lines of an array moved along their axis, in place.

Each line is gone through once along the direction of its move. The cells that come too late from behind (from the other
end of the axis, from other ranks, or nothing) are put into a ring of cells first; then each cell is saved in the ring
before its new values are written, and leaves the ring when it is t + 1 cells behind. So f needs no second copy.

Lines whose numbers do not lie side by side (those along the last velocity, width 1) are taken whole: their cells are
sorted into columns, a number of them at a time, multiplied, and sorted back (`registers`). Lines side by side with a
move each are another matter (`lanes`). For the others, which have long rows with one move, the number of nodes P is no
compile-time constant: the innermost loops run over what lies side by side, two source nodes at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space import lanes
from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.grid import ProcessGrid
from limitpde.vlasov.phase_space.halo import LineHalo, bring
from limitpde.vlasov.phase_space.lines import Lines
from limitpde.vlasov.phase_space.registers import LANES, expect, multiply_sorted, sort

FAST = {"contract", "reassoc", "nsz"}
TASKS_PER_THREAD = 8
TOGETHER = 64
"""Lines of width 1 that a thread takes at a time."""


def move(f: np.ndarray, lines: Lines, which: int, axis: Axis, grid: ProcessGrid) -> None:
    """Move all lines of one component along an axis, in place. Collective on the ranks along the axis.

    Args:
        f: the component, flat.
        lines: its lines, and their moves.
        which: number of the axis in the grid.
        axis: the axis.
        grid: the ranks.
    """
    for some, halo in bring(f, lines, which, axis, grid):
        sweep(f, some, halo, axis.P)


def sweep(f: np.ndarray, lines: Lines, halo: LineHalo, P: int) -> None:
    """Move all lines of one component, in place.

    Args:
        f: the component, flat.
        lines: its lines, and their moves.
        halo: what comes from other ranks.
        P: nodes of a cell.
    """
    tasks = TASKS_PER_THREAD * numba.get_num_threads()
    if lines.varying:
        lanes.sweep(f, lines, halo, tasks)
        return
    moved = (lines.cells, lines.forward, lines.moves.near, lines.moves.far, halo.values, halo.places)
    if lines.layout[3] == 1:  # along the last velocity, an axis with ends
        _rows(f, lines.layout, lines.base, *moved, tasks, P)
    else:
        _runs(f, lines.layout, lines.base, lines.width, *moved, halo.inside, tasks, P)


def _hot[F: Callable[..., Any]](function: F) -> F:
    """Compile a function that allocates nothing, with fused and reordered sums."""
    return compiled(fastmath=FAST, error_model="numpy", _nrt=False)(function)


@_hot
def _product(f, at, stride, ring, here, behind, pitch, P, width, near, far):  # type: ignore[no-untyped-def]
    """sum_r near[q, r] here[r] + far[q, r] behind[r], for q < P, to at + q stride in f.

    Rows r of the two cells begin at here + r pitch and behind + r pitch in the ring; all rows are `width` long. Slices
    of flat arrays are what the compiler knows to lie side by side.
    """
    for pair in range(0, P, 2):
        q = min(pair, P - 2)  # an odd last row goes with the one before, which is done again
        o, u = (f[at + q * stride : at + q * stride + width], f[at + (q + 1) * stride : at + (q + 1) * stride + width])
        for r in range(0, P - 1, 2):
            x, y, z = here + r * pitch, behind + r * pitch, pitch
            h, g, i, j = (
                ring[x : x + width],
                ring[y : y + width],
                ring[x + z : x + z + width],
                ring[y + z : y + z + width],
            )
            a0, a1, a2, a3 = near[q, r], far[q, r], near[q, r + 1], far[q, r + 1]
            b0, b1, b2, b3 = (near[q + 1, r], far[q + 1, r], near[q + 1, r + 1], far[q + 1, r + 1])
            if r == 0:
                for k in range(width):
                    o[k] = a0 * h[k] + a1 * g[k] + a2 * i[k] + a3 * j[k]
                    u[k] = b0 * h[k] + b1 * g[k] + b2 * i[k] + b3 * j[k]
            else:
                for k in range(width):
                    o[k] += a0 * h[k] + a1 * g[k] + a2 * i[k] + a3 * j[k]
                    u[k] += b0 * h[k] + b1 * g[k] + b2 * i[k] + b3 * j[k]
        if P % 2:
            x, y = here + (P - 1) * pitch, behind + (P - 1) * pitch
            h, g = ring[x : x + width], ring[y : y + width]
            a0, a1, b0, b1 = (near[q, P - 1], far[q, P - 1], near[q + 1, P - 1], far[q + 1, P - 1])
            for k in range(width):
                o[k] += a0 * h[k] + a1 * g[k]
                u[k] += b0 * h[k] + b1 * g[k]


@_hot
def _save(f, at, stride, ring, slot, pitch, P, width):  # type: ignore[no-untyped-def]
    """Put the cell that begins at `at` into a slot of the ring, P rows."""
    for p in range(P):
        to = slot + p * pitch
        source, target = (f[at + p * stride : at + p * stride + width], ring[to : to + width])
        for k in range(width):
            target[k] = source[k]


@_hot
def fill_ring(f, start, step, stride, count, width, t, ring, pitch, P, values, places, offset, slab, inside):  # type: ignore[no-untyped-def]
    """The t + 1 cells (or all there are) behind the first one of a line."""
    for k in range(min(t, count) + 1):
        slot = k * P * pitch
        if inside:
            _save(f, start + (k - t - 1 + count) * step, stride, ring, slot, pitch, P, width)
        elif k < len(places) and places[k] >= 0:
            _save(values, places[k] + offset, slab, ring, slot, pitch, P, width)
        else:
            ring[slot : slot + P * pitch] = 0.0


@_hot
def line(f, start, step, stride, count, width, t, near, far, ring, pitch, P):  # type: ignore[no-untyped-def]
    """Move one line, whose ring has what lies behind it; near and far (P, P)."""
    slots, size = min(count + 1, t + 2), P * pitch
    behind, saved = 0, (t + 1) % slots
    for j in range(count):
        here = behind + 1 if behind + 1 < slots else 0
        at = start + j * step
        if j + t + 1 <= count:
            _save(f, at, stride, ring, saved * size, pitch, P, width)
            saved = saved + 1 if saved + 1 < slots else 0
        _product(f, at, stride, ring, here * size, behind * size, pitch, P, width, near, far)
        behind = here


@compiled(parallel=True)
def _runs(f, layout, base, width, cells, forward, near, far, values, places, inside, tasks, P):  # type: ignore[no-untyped-def]
    outer, outer_stride, count, stride, mid, mid_stride = layout
    runs = len(base)
    total = outer * mid * runs
    if total * count == 0:
        return
    slots, pitch = min(count, np.max(cells)) + 2, np.max(width)
    pieces = min(total, tasks)
    for piece in numba.prange(pieces):
        ring = np.empty(slots * P * pitch)
        for number in range(piece * total // pieces, (piece + 1) * total // pieces):
            r, m, o = number % runs, (number // runs) % mid, number // (runs * mid)
            w, t = width[r], cells[r]
            start, step = base[r] + o * outer_stride + m * mid_stride, P * stride
            if not forward[r]:
                start, step = start + (count - 1) * step, -step
            offset, slab = (o * P * mid + m) * w, mid * w
            fill_ring(f, start, step, stride, count, w, t, ring, pitch, P, values, places[r], offset, slab, inside)
            line(f, start, step, stride, count, w, t, near[r], far[r], ring, pitch, P)


@_hot
def move_rows(f, begin, stride, lines, count, t, forward, near, far, first, P, values, places, rows, out, ahead):  # type: ignore[no-untyped-def]
    """Move some lines of width 1 alike; line o begins at begin + o stride, its matrices at `first` in near and far.

    The cells of a line that are needed become columns of `rows`, from one end of the axis to the other: `kept` of its
    own, and t + 1 of other ranks or of nothing. The numbers `ahead` of a line are asked for meanwhile.
    """
    pitch, kept = len(rows) // P, count - t
    own, others = (t + 1, 0) if forward else (0, kept)
    A, B = (near, far) if forward else (far, near)
    for o in lines:
        at = begin + o * stride
        for c in range(0, count * P if ahead > 0 else 0, LANES):
            expect(f, at + ahead + c)
        for k in range(t + 1):
            place = k if forward else t - k
            there = place < len(places) and places[place] >= 0
            for p in range(P):
                rows[p * pitch + others + k] = values[places[place] + o * P + p] if there else 0.0
        source = at if forward else at + t * P
        sorted_ = kept - kept % LANES
        for c in range(0, sorted_, LANES):
            sort(P, f, source + c * P, rows, own + c, pitch)
        for c in range(sorted_, kept):
            for p in range(P):
                rows[p * pitch + own + c] = f[source + c * P + p]
        done = count - count % LANES
        for c in range(0, done, LANES):
            multiply_sorted(P, A, B, first, rows, c, pitch, f, at + c * P)
        if done < count:
            multiply_sorted(P, A, B, first, rows, done, pitch, out, 0)
            for k in range((count - done) * P):
                f[at + done * P + k] = out[k]


@compiled(parallel=True)
def _rows(f, layout, base, cells, forward, near, far, values, places, tasks, P):  # type: ignore[no-untyped-def]
    """Lines of width 1, some of those of a run at a time."""
    outer, outer_stride, count = layout[:3]
    if outer * count * len(base) == 0:
        return
    groups = (outer + TOGETHER - 1) // TOGETHER
    total = groups * len(base)
    pieces = min(total, tasks)
    near, far = near.reshape(-1), far.reshape(-1)
    for piece in numba.prange(pieces):
        rows, out = np.zeros(P * (count + 1 + LANES)), np.empty(P * LANES)
        for number in range(piece * total // pieces, (piece + 1) * total // pieces):
            r, group = number // groups, number % groups
            lines = range(group * TOGETHER, min(outer, (group + 1) * TOGETHER))
            move_rows(
                f, base[r], outer_stride, lines, count, min(cells[r], count), forward[r], near, far, r * P * P, P,
                values, places[r], rows, out, 0,
            )  # fmt: skip
