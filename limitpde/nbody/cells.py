"""Cell lists: which particles are near each other, in two and three dimensions, on a torus or anywhere.

A grid of cells with edges no shorter than the reach asked for; a pair within the reach then lies in one cell or in two
that touch. The grid is always periodic. On a torus its period is that of the torus, and a neighbour met across the edge
comes with the shift of its image. Elsewhere points are folded onto it: two that are far apart may share a cell, and
only their distance tells, so that clouds of any shape and extent need no more cells than there are particles. With
three or more cells along each axis no pair is met twice.

Cells are numbered with the first axis fastest; three neighbours along it are one stretch of the sorted particles.
Points have three coordinates, of which the third is 0, with one cell along it, in the plane.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from limitpde.compiled import compiled, hot

FEWEST = 3
"""Cells along an axis."""
FEWEST_IN_ALL = 64
PER_PARTICLE = 4
"""Largest number of cells per particle; beyond, cells are enlarged (torus) or points folded more often (elsewhere)."""
STRETCHES = 10
"""Most stretches of sorted particles that the neighbours ahead of a cell make."""


class CellGrid(NamedTuple):
    """A periodic grid of cells."""

    cells: np.ndarray
    """(3,) int64, number of cells along each axis."""
    low: np.ndarray
    """(3,) where the first cell begins."""
    inverse: np.ndarray
    """(3,) one over the edge of a cell."""
    period: np.ndarray
    """(3,) lengths of the torus; zeros elsewhere."""


@compiled
def corners(x: np.ndarray, n: int, flat: bool) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest coordinates (3,) of the first n points (>= n, 3); of none inf and -inf."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    _widen(x, n, 2 if flat else 3, low, high)
    return low, high


@hot
def _widen(x, n, axes, low, high):  # type: ignore[no-untyped-def]
    """`corners` in place."""
    for c in range(axes):
        first, last = low[c], high[c]
        for i in range(n):
            first, last = min(first, x[i, c]), max(last, x[i, c])
        low[c], high[c] = first, last


@compiled
def make_grid(
    box: tuple[np.ndarray, np.ndarray],
    n: int,
    low: np.ndarray,
    size: np.ndarray,
    torus: bool,
    flat: bool,
    reach: float,
) -> CellGrid:
    """A grid for pairs of n points within a reach.

    Args:
        box: their `corners`; on a torus, where they lie inside [low, low + size), unused.
        n: how many.
        low: (3,) lower corner of the torus; elsewhere unused.
        size: (3,) edges of the torus, each three times the reach or more; elsewhere unused.
        torus: whether the domain is one.
        flat: whether the points lie in the plane.
        reach: largest distance of a pair that must be found, > 0.
    """
    axes = 2 if flat else 3
    cells, inverse = np.ones(3, dtype=np.int64), np.zeros(3)
    corner, period = np.zeros(3), np.zeros(3)
    wanted = np.ones(3)
    for c in range(axes):
        if torus:
            corner[c], period[c] = low[c], size[c]
            wanted[c] = math.floor(size[c] / reach * (1 - 1e-12))
        else:
            corner[c] = box[0][c]
            wanted[c] = math.floor((box[1][c] - box[0][c]) / reach) + 2
    most = max(float(PER_PARTICLE * n), float(FEWEST_IN_ALL))
    for _ in range(3):  # an axis that has come down to FEWEST leaves more to the others
        shrink = min(1.0, (most / wanted.prod()) ** (1 / axes))
        for c in range(axes):
            wanted[c] = max(wanted[c] * shrink, float(FEWEST))
    while wanted.prod() > most:
        wanted[wanted.argmax()] *= max(most / wanted.prod(), FEWEST / wanted.max())
    for c in range(axes):
        cells[c] = int(wanted[c])
        inverse[c] = cells[c] / size[c] if torus else 1 / reach
    return CellGrid(cells, corner, inverse, period)


@hot
def _cell(v, low, inverse, cells):  # type: ignore[no-untyped-def]
    """The cell of a coordinate along one axis."""
    k = math.floor((v - low) * inverse)
    return np.int64(k - cells * math.floor(k / cells))


@hot
def sort_into_cells(x: np.ndarray, n: int, grid: CellGrid, slot: np.ndarray, start: np.ndarray) -> float:
    """Sort the first n points (>= n, 3) by cell, keeping the order within a cell.

    Args:
        x: the points.
        n: how many of them.
        grid: the cells.
        slot: (>= n,) int64, overwritten: the place of each point among the sorted ones.
        start: (cells + 1,) int64, overwritten: where the points of each cell begin.

    Returns:
        The number of ordered pairs of different points that share a cell.
    """
    cells, low, inverse = grid.cells, grid.low, grid.inverse
    start[:] = 0
    for i in range(n):
        c = _cell(x[i, 0], low[0], inverse[0], cells[0])
        c += cells[0] * _cell(x[i, 1], low[1], inverse[1], cells[1])
        if cells[2] > 1:
            c += cells[0] * cells[1] * _cell(x[i, 2], low[2], inverse[2], cells[2])
        slot[i] = c
        start[c + 1] += 1
    return _count_up(slot, n, start)


@hot
def shared_cells(number: np.ndarray) -> float:
    """Ordered pairs of different points that share a cell, from how many are in each."""
    shared = 0.0
    for c in range(len(number)):
        shared += float(number[c]) * float(number[c] - 1)
    return shared


@hot
def _count_up(slot, n, start):  # type: ignore[no-untyped-def]
    """The places of n points, and where cells begin, from the points' cells and, from start[1] on, their numbers.

    Returns what `sort_into_cells` does.
    """
    shared = 0.0
    for c in range(len(start) - 1):
        shared += float(start[c + 1]) * float(start[c + 1] - 1)
        start[c + 1] += start[c]
    for i in range(n - 1, -1, -1):  # from behind, each cell is filled from its end
        c = slot[i]
        start[c + 1] -= 1
        slot[i] = start[c + 1]
    for c in range(len(start) - 1):  # start[c + 1] is now where cell c begins
        start[c] = start[c + 1]
    start[-1] = n
    return shared


@hot
def layers_of(x: np.ndarray, n: int, grid: CellGrid, layer: np.ndarray, number: np.ndarray) -> None:
    """The layers of cells along the last axis in which the first n points (>= n, 3) lie.

    Args:
        x: the points.
        n: how many of them.
        grid: the cells.
        layer: (>= n,) int64, overwritten.
        number: (layers,) int64, overwritten: points in each.
    """
    axis = 2 if grid.cells[2] > 1 else 1
    low, inverse, cells = grid.low[axis], grid.inverse[axis], grid.cells[axis]
    number[:] = 0
    for i in range(n):
        layer[i] = _cell(x[i, axis], low, inverse, cells)
        number[layer[i]] += 1


@hot
def sort_into_layers(
    x: np.ndarray, grid: CellGrid, first: int, layers: int, slot: np.ndarray, start: np.ndarray
) -> None:
    """`sort_into_cells` of all points (n, 3), which lie in `layers` layers of a grid from the first on, in a circle.

    Cells are counted from the first of these layers on. On a torus points met around it are moved by its period, so
    that they can be met in the layers as in a grid of their own.
    """
    cells, low, inverse = grid.cells, grid.low, grid.inverse
    axis = 2 if cells[2] > 1 else 1
    layer = cells[0] * cells[1] if axis == 2 else cells[0]
    start[:] = 0
    for i in range(len(x)):
        k = _cell(x[i, axis], low[axis], inverse[axis], cells[axis]) - first
        c = _cell(x[i, 0], low[0], inverse[0], cells[0])
        if axis == 2:
            c += cells[0] * _cell(x[i, 1], low[1], inverse[1], cells[1])
        if k < 0:
            k += cells[axis]
            x[i, axis] += grid.period[axis]
        slot[i] = c + layer * k
        start[slot[i] + 1] += 1
    _count_up(slot, len(x), start)


@hot
def _stretch(begin, end, moved, at, first, last, shift, s0, s1, s2):  # type: ignore[no-untyped-def]
    """Notes down one stretch unless it is empty."""
    if end > begin:
        first[at], last[at] = begin, end
        shift[at, 0], shift[at, 1], shift[at, 2] = s0 + moved, s1, s2
        at += 1
    return at


@hot
def neighbours_ahead(
    cell: int, grid: CellGrid, start: np.ndarray, first: np.ndarray, last: np.ndarray, shift: np.ndarray
) -> int:
    """Stretches of sorted particles in the cells that follow one cell in the order of the numbering, periodically.

    Each pair of cells that touch is met once, from one of the two. The pairs within the cell itself are not included.

    Args:
        cell: its number.
        grid: the cells.
        start: (cells + 1,), from `sort_into_cells`.
        first: (STRETCHES,) int64, overwritten: where each stretch begins.
        last: (STRETCHES,) int64, overwritten: where it ends.
        shift: (STRETCHES, 3), overwritten: what to add to the positions there.

    Returns:
        The number of stretches.
    """
    m0, m1, m2 = grid.cells
    i0, rest = cell % m0, cell // m0
    i1, i2 = rest % m1, rest // m1
    at = 0
    for row in range(5 if m2 > 1 else 2):
        j1, j2 = i1, i2
        if row == 1:
            j1 += 1
        elif row > 1:
            j1, j2 = i1 + row - 3, i2 + 1
        s1 = s2 = 0.0
        if j1 >= m1:
            j1, s1 = j1 - m1, grid.period[1]
        elif j1 < 0:
            j1, s1 = j1 + m1, -grid.period[1]
        if j2 >= m2:
            j2, s2 = j2 - m2, grid.period[2]
        base = (j2 * m1 + j1) * m0
        begin = base + (i0 + 1 if row == 0 else max(i0 - 1, 0))
        end = base + min(i0 + 2, m0)
        if begin < end:
            at = _stretch(start[begin], start[end], 0.0, at, first, last, shift, 0.0, s1, s2)
        if i0 == m0 - 1:
            at = _stretch(start[base], start[base + 1], grid.period[0], at, first, last, shift, 0.0, s1, s2)
        if i0 == 0 and row > 0:
            top = base + m0 - 1
            at = _stretch(start[top], start[top + 1], -grid.period[0], at, first, last, shift, 0.0, s1, s2)
    return at
