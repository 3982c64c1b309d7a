"""Compiled sweeps: all lines of an array moved along their axis, in place.

Each line is gone through once along the direction of its move. The cells that come too late from behind (from the other
end of the axis, from other ranks, or nothing) are put into a ring of cells first; then each cell is saved in the ring
before its new values are written, and leaves the ring when it is t + 1 cells behind. So f needs no second copy.

Lines whose numbers do not lie side by side (those along the last velocity, width 1) are taken whole: their nodes are
sorted by their place in the cell, which makes every cell of the line a column, and the sweep a product of small matrices
with rows as long as the line. The number of nodes P is no compile-time constant: the innermost loops run over what lies
side by side, two source nodes at a time.
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
    moved = f, lines.layout, lines.base, lines.width, lines.first, lines.cells, lines.forward, near, far
    if not lines.varying and lines.layout[3] == 1:  # along the last velocity, an axis with ends
        _rows(*moved, halo.values, halo.places, tasks, P)
    else:
        _runs(*moved, halo.values, halo.places, halo.inside, tasks, P)


def _hot[F: Callable[..., Any]](function: F) -> F:
    """Compile a function that allocates nothing, with fused and reordered sums."""
    return numba.njit(cache=True, fastmath=FAST, error_model="numpy", _nrt=False)(function)


@_hot
def _product(f, at, stride, here, behind, near, far):  # type: ignore[no-untyped-def]
    """sum_r near[q, r] here[r] + far[q, r] behind[r], (P, width) like these, to at + q stride in f."""
    P, width = here.shape
    for q in range(P):
        o = f[at + q * stride : at + q * stride + width]
        a, b, h, g = near[q, 0], far[q, 0], here[0], behind[0]
        c, d, i, j = near[q, 1], far[q, 1], here[1], behind[1]
        for k in range(width):
            o[k] = a * h[k] + b * g[k] + c * i[k] + d * j[k]
        r = 2
        while r + 1 < P:
            a, b, h, g = near[q, r], far[q, r], here[r], behind[r]
            c, d, i, j = near[q, r + 1], far[q, r + 1], here[r + 1], behind[r + 1]
            for k in range(width):
                o[k] += a * h[k] + b * g[k] + c * i[k] + d * j[k]
            r += 2
        if r < P:
            a, b, h, g = near[q, r], far[q, r], here[r], behind[r]
            for k in range(width):
                o[k] += a * h[k] + b * g[k]


@_hot
def _varying_product(f, at, stride, here, behind, near, far):  # type: ignore[no-untyped-def]
    """The same with matrices of their own for each column: near, far (P, P, width)."""
    P, width = here.shape
    for q in range(P):
        o = f[at + q * stride : at + q * stride + width]
        a, b, h, g = near[q, 0], far[q, 0], here[0], behind[0]
        c, d, i, j = near[q, 1], far[q, 1], here[1], behind[1]
        for k in range(width):
            o[k] = a[k] * h[k] + b[k] * g[k] + c[k] * i[k] + d[k] * j[k]
        r = 2
        while r + 1 < P:
            a, b, h, g = near[q, r], far[q, r], here[r], behind[r]
            c, d, i, j = near[q, r + 1], far[q, r + 1], here[r + 1], behind[r + 1]
            for k in range(width):
                o[k] += a[k] * h[k] + b[k] * g[k] + c[k] * i[k] + d[k] * j[k]
            r += 2
        if r < P:
            a, b, h, g = near[q, r], far[q, r], here[r], behind[r]
            for k in range(width):
                o[k] += a[k] * h[k] + b[k] * g[k]


@_hot
def _save(f, at, stride, ring, width):  # type: ignore[no-untyped-def]
    """Put the cell that begins at `at` into a slot of the ring, (P, widest)."""
    for p in range(len(ring)):
        source, target = f[at + p * stride : at + p * stride + width], ring[p]
        for k in range(width):
            target[k] = source[k]


@_hot
def _fill_ring(f, start, step, stride, count, width, t, ring, values, places, offset, slab, inside):  # type: ignore[no-untyped-def]
    """The t + 1 cells (or all there are) behind the first one of a line."""
    for k in range(min(t, count) + 1):
        if inside:
            _save(f, start + (k - t - 1 + count) * step, stride, ring[k], width)
        elif k < len(places) and places[k] >= 0:
            _save(values, places[k] + offset, slab, ring[k], width)
        else:
            ring[k, :, :width] = 0.0


@_hot
def _line(f, start, step, stride, count, width, t, near, far, ring):  # type: ignore[no-untyped-def]
    """Move one line, whose ring has what lies behind it; near and far (P, P), or (P, P, width) of each column."""
    slots = min(count + 1, t + 2)
    behind, saved = 0, (t + 1) % slots
    for j in range(count):
        here = behind + 1 if behind + 1 < slots else 0
        at = start + j * step
        if j + t + 1 <= count:
            _save(f, at, stride, ring[saved], width)
            saved = saved + 1 if saved + 1 < slots else 0
        if near.ndim == 3:
            _varying_product(f, at, stride, ring[here, :, :width], ring[behind, :, :width], near, far)
        else:
            _product(f, at, stride, ring[here, :, :width], ring[behind, :, :width], near, far)
        behind = here


@numba.njit(cache=True, parallel=True)
def _runs(f, layout, base, width, first, cells, forward, near, far, values, places, inside, tasks, P):  # type: ignore[no-untyped-def]
    outer, outer_stride, count, stride, mid, mid_stride = layout
    runs = len(base)
    total = outer * mid * runs
    if total * count == 0:
        return
    slots, widest = min(count, np.max(cells)) + 2, np.max(width)
    pieces = min(total, tasks)
    for piece in numba.prange(pieces):
        ring = np.empty((slots, P, widest))
        for number in range(piece * total // pieces, (piece + 1) * total // pieces):
            r, m, o = number % runs, (number // runs) % mid, number // (runs * mid)
            w, t = width[r], cells[r]
            start, step = base[r] + o * outer_stride + m * mid_stride, P * stride
            if not forward[r]:
                start, step = start + (count - 1) * step, -step
            offset, slab = (o * P * mid + m) * w, mid * w
            _fill_ring(f, start, step, stride, count, w, t, ring, values, places[r], offset, slab, inside)
            if near.ndim == 4:
                a, b = near[0, :, :, first[r] : first[r] + w], far[0, :, :, first[r] : first[r] + w]
                _line(f, start, step, stride, count, w, t, a, b, ring)
            else:
                _line(f, start, step, stride, count, w, t, near[first[r]], far[first[r]], ring)


@_hot
def _sort_row(f, start, step, count, t, sorted_row, values, places, offset, slab):  # type: ignore[no-untyped-def]
    """Node p of cell m - t - 1 of a line, counted along its move, into sorted_row[p, m]."""
    P = len(sorted_row)
    for k in range(t + 1):
        if k < len(places) and places[k] >= 0:
            for p in range(P):
                sorted_row[p, k] = values[places[k] + offset + p * slab]
        else:
            for p in range(P):
                sorted_row[p, k] = 0.0
    for p in range(P):
        target, at = sorted_row[p], start + p
        for j in range(count - t):
            target[t + 1 + j] = f[at + j * step]


@numba.njit(cache=True, parallel=True)
def _rows(f, layout, base, width, first, cells, forward, near, far, values, places, tasks, P):  # type: ignore[no-untyped-def]
    outer, outer_stride, count, _, mid, mid_stride = layout
    runs = len(base)
    total = outer * mid * runs
    if total * count == 0:
        return
    pieces = min(total, tasks)
    for piece in numba.prange(pieces):
        sorted_row, moved = np.empty((P, count + 1)), np.empty(P * count)
        for number in range(piece * total // pieces, (piece + 1) * total // pieces):
            r, m, o = number % runs, (number // runs) % mid, number // (runs * mid)
            t = min(cells[r], count)
            start, step = base[r] + o * outer_stride + m * mid_stride, P
            if not forward[r]:
                start, step = start + (count - 1) * P, -P
            offset, slab = o * P * mid + m, mid
            _sort_row(f, start, step, count, t, sorted_row, values, places[r], offset, slab)
            _product(moved, 0, count, sorted_row[:, 1:], sorted_row[:, :count], near[first[r]], far[first[r]])
            for p in range(P):
                source, at = moved[p * count : (p + 1) * count], start + p
                for j in range(count):
                    f[at + j * step] = source[j]
