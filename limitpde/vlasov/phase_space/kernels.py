"""Compiled sweeps: all lines of an array moved along their axis, in place.

Each line is gone through once along the direction of its move. The cells that come too late from behind (from the other
end of the axis, from other ranks, or nothing) are put into a ring of cells first; then each cell is saved in the ring
before its new values are written, and leaves the ring when it is t + 1 cells behind. So f needs no second copy.

Lines whose numbers do not lie side by side (those along the last velocity, width 1) are taken whole, some at a time:
their nodes are sorted by their place in the cell, which makes every cell a column, and the sweep a product of small
matrices with long rows. The number of nodes P is no compile-time constant: the innermost loops run over what lies side
by side, two source nodes at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from limitpde.vlasov.phase_space.halo import Halo
from limitpde.vlasov.phase_space.lines import Lines

FAST = {"contract", "reassoc", "nsz"}
TASKS_PER_THREAD = 8
TOGETHER = 512
"""Cells of lines of width 1 that make one product: enough for long rows, few enough for the first-level cache."""


def sweep(f: np.ndarray, lines: Lines, halo: Halo, P: int) -> None:
    """Move all lines of one component, in place.

    Args:
        f: the component, flat.
        lines: its lines, and their moves.
        halo: what comes from other ranks.
        P: nodes of a cell.
    """
    near, far = lines.moves.near, lines.moves.far
    if lines.varying:
        near, far = (np.ascontiguousarray(np.moveaxis(table, 0, -1))[None] for table in (near, far))
    tasks = TASKS_PER_THREAD * numba.get_num_threads()
    moved = lines.first, lines.cells, lines.forward, near, far, halo.values, halo.places
    if not lines.varying and lines.layout[3] == 1:  # along the last velocity, an axis with ends
        _rows(f, lines.layout, lines.base, *moved, tasks, P)
    else:
        _runs(f, lines.layout, lines.base, lines.width, *moved, halo.inside, tasks, P)


def _hot[F: Callable[..., Any]](function: F) -> F:
    """Compile a function that allocates nothing, with fused and reordered sums."""
    return numba.njit(cache=True, fastmath=FAST, error_model="numpy", _nrt=False)(function)


@_hot
def _product(f, at, stride, ring, here, behind, pitch, P, width, near, far):  # type: ignore[no-untyped-def]
    """sum_r near[q, r] here[r] + far[q, r] behind[r], for q < P, to at + q stride in f.

    Rows r of the two cells begin at here + r pitch and behind + r pitch in the ring; all rows are `width` long. Slices
    of flat arrays are what the compiler knows to lie side by side.
    """
    for pair in range(0, P, 2):
        q = min(pair, P - 2)  # an odd last row goes with the one before, which is done again
        o, u = f[at + q * stride : at + q * stride + width], f[at + (q + 1) * stride : at + (q + 1) * stride + width]
        for r in range(0, P - 1, 2):
            x, y, z = here + r * pitch, behind + r * pitch, pitch
            h, g, i, j = (
                ring[x : x + width],
                ring[y : y + width],
                ring[x + z : x + z + width],
                ring[y + z : y + z + width],
            )
            a0, a1, a2, a3 = near[q, r], far[q, r], near[q, r + 1], far[q, r + 1]
            b0, b1, b2, b3 = near[q + 1, r], far[q + 1, r], near[q + 1, r + 1], far[q + 1, r + 1]
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
            a0, a1, b0, b1 = near[q, P - 1], far[q, P - 1], near[q + 1, P - 1], far[q + 1, P - 1]
            for k in range(width):
                o[k] += a0 * h[k] + a1 * g[k]
                u[k] += b0 * h[k] + b1 * g[k]


@_hot
def _varying_product(f, at, stride, ring, here, behind, pitch, P, width, near, far):  # type: ignore[no-untyped-def]
    """The same with matrices of their own for each column: those of (q, r) begin at (q P + r) pitch in near and far."""
    for q in range(P):
        o = f[at + q * stride : at + q * stride + width]
        for r in range(0, P - 1, 2):
            x, y, z, n = here + r * pitch, behind + r * pitch, pitch, (q * P + r) * pitch
            h, g, i, j = (
                ring[x : x + width],
                ring[y : y + width],
                ring[x + z : x + z + width],
                ring[y + z : y + z + width],
            )
            a, b, c, d = (
                near[n : n + width],
                far[n : n + width],
                near[n + z : n + z + width],
                far[n + z : n + z + width],
            )
            if r == 0:
                for k in range(width):
                    o[k] = a[k] * h[k] + b[k] * g[k] + c[k] * i[k] + d[k] * j[k]
            else:
                for k in range(width):
                    o[k] += a[k] * h[k] + b[k] * g[k] + c[k] * i[k] + d[k] * j[k]
        if P % 2:
            x, y, n = here + (P - 1) * pitch, behind + (P - 1) * pitch, (q * P + P - 1) * pitch
            h, g, a, b = ring[x : x + width], ring[y : y + width], near[n : n + width], far[n : n + width]
            for k in range(width):
                o[k] += a[k] * h[k] + b[k] * g[k]


@_hot
def _save(f, at, stride, ring, slot, pitch, P, width):  # type: ignore[no-untyped-def]
    """Put the cell that begins at `at` into a slot of the ring, P rows."""
    for p in range(P):
        to = slot + p * pitch
        source, target = f[at + p * stride : at + p * stride + width], ring[to : to + width]
        for k in range(width):
            target[k] = source[k]


@_hot
def _fill_ring(f, start, step, stride, count, width, t, ring, pitch, P, values, places, offset, slab, inside):  # type: ignore[no-untyped-def]
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
def _line(f, start, step, stride, count, width, t, near, far, ring, pitch, P):  # type: ignore[no-untyped-def]
    """Move one line, whose ring has what lies behind it; near and far (P, P), or flat ones of each column."""
    slots, size = min(count + 1, t + 2), P * pitch
    behind, saved = 0, (t + 1) % slots
    for j in range(count):
        here = behind + 1 if behind + 1 < slots else 0
        at = start + j * step
        if j + t + 1 <= count:
            _save(f, at, stride, ring, saved * size, pitch, P, width)
            saved = saved + 1 if saved + 1 < slots else 0
        if near.ndim == 1:
            _varying_product(f, at, stride, ring, here * size, behind * size, pitch, P, width, near, far)
        else:
            _product(f, at, stride, ring, here * size, behind * size, pitch, P, width, near, far)
        behind = here


@numba.njit(cache=True, parallel=True)
def _runs(f, layout, base, width, first, cells, forward, near, far, values, places, inside, tasks, P):  # type: ignore[no-untyped-def]
    outer, outer_stride, count, stride, mid, mid_stride = layout
    runs = len(base)
    total = outer * mid * runs
    if total * count == 0:
        return
    slots, pitch = min(count, np.max(cells)) + 2, np.max(width)
    pieces = min(total, tasks)
    for piece in numba.prange(pieces):
        ring = np.empty(slots * P * pitch)
        if near.ndim == 4:
            own_near, own_far, owner = np.empty((P, P, pitch)), np.empty((P, P, pitch)), -1
        for number in range(piece * total // pieces, (piece + 1) * total // pieces):
            if near.ndim == 4:
                m, r, o = number % mid, (number // mid) % runs, number // (runs * mid)
            else:
                r, m, o = number % runs, (number // runs) % mid, number // (runs * mid)
            w, t = width[r], cells[r]
            start, step = base[r] + o * outer_stride + m * mid_stride, P * stride
            if not forward[r]:
                start, step = start + (count - 1) * step, -step
            offset, slab = (o * P * mid + m) * w, mid * w
            _fill_ring(f, start, step, stride, count, w, t, ring, pitch, P, values, places[r], offset, slab, inside)
            if near.ndim == 4:
                if r != owner:
                    own_near[:, :, :w] = near[0, :, :, first[r] : first[r] + w]
                    own_far[:, :, :w] = far[0, :, :, first[r] : first[r] + w]
                    owner = r
                _line(f, start, step, stride, count, w, t, own_near.reshape(-1), own_far.reshape(-1), ring, pitch, P)
            else:
                _line(f, start, step, stride, count, w, t, near[first[r]], far[first[r]], ring, pitch, P)


@_hot
def _sort_row(f, start, step, count, t, P, rows, at, pitch, values, places, offset):  # type: ignore[no-untyped-def]
    """Node p of cell m - t - 1 of a line, counted along its move, to at + p pitch + m, m <= count, in `rows`."""
    for k in range(t + 1):
        for p in range(P):
            rows[at + p * pitch + k] = values[places[k] + offset + p] if k < len(places) and places[k] >= 0 else 0.0
    for p in range(P):
        to, source = at + p * pitch + t + 1, start + p
        target = rows[to : to + count - t]
        for j in range(count - t):
            target[j] = f[source + j * step]


@numba.njit(cache=True, parallel=True)
def _rows(f, layout, base, first, cells, forward, near, far, values, places, tasks, P):  # type: ignore[no-untyped-def]
    """Lines of width 1: those of a run are moved alike, so that some of them make one product."""
    outer, outer_stride, count = layout[:3]
    if outer * count * len(base) == 0:
        return
    together = min(outer, max(1, TOGETHER // count))
    groups = (outer + together - 1) // together
    total = groups * len(base)
    pieces = min(total, tasks)
    pitch = together * (count + 1)
    for piece in numba.prange(pieces):
        rows, moved = np.zeros(P * pitch), np.empty(P * pitch)
        for number in range(piece * total // pieces, (piece + 1) * total // pieces):
            r, group = number // groups, number % groups
            t, step = min(cells[r], count), P if forward[r] else -P
            begin = base[r] if forward[r] else base[r] + (count - 1) * P
            lines = range(group * together, min(outer, (group + 1) * together))
            for o in lines:
                at = (o - lines.start) * (count + 1)
                _sort_row(f, begin + o * outer_stride, step, count, t, P, rows, at, pitch, values, places[r], o * P)
            _product(moved, 0, pitch, rows, 1, 0, pitch, P, pitch - 1, near[first[r]], far[first[r]])
            for o in lines:
                for p in range(P):
                    source, at = p * pitch + (o - lines.start) * (count + 1), begin + o * outer_stride + p
                    column = moved[source : source + count]
                    for j in range(count):
                        f[at + j * step] = column[j]
