"""The derivative along an axis by the discontinuous Galerkin method with central fluxes.

For every test function phi on a cell, int phi g = -int phi' f + [phi f*], f* the mean of the values on both sides of a
cell's end, and zero taken for f beyond the end of an axis that has ends. So int u Dv + int v Du = 0 for all u and v of
the space, which the forms with i D rely on, and D is exact for polynomials away from such ends.
"""

from __future__ import annotations

import functools

import numba
import numpy as np

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space.axes import Axis, derivatives, gauss, lagrange
from limitpde.vlasov.phase_space.grid import ProcessGrid
from limitpde.vlasov.phase_space.halo import bring
from limitpde.vlasov.phase_space.lines import Lines
from limitpde.vlasov.phase_space.translation import Moves


@functools.cache
def stencil(P: int) -> np.ndarray:
    """Matrices of the cell before, the cell itself and the cell after, (3, P, P), for cells of length one."""
    weights = gauss(P)[1]
    left, right = lagrange(P, np.zeros(())), lagrange(P, np.ones(()))
    inner = -(weights[:, None] * derivatives(P)).T + 0.5 * (np.outer(right, right) - np.outer(left, left))
    return np.stack([-0.5 * np.outer(left, right), inner, 0.5 * np.outer(right, left)]) / weights[:, None]


def derivative(f: np.ndarray, which: int, axis: Axis, grid: ProcessGrid) -> np.ndarray:
    """Derivative of one component (*x_shape, *v_shape) along one of the 2 d axes. Collective.

    Args:
        f: the values of this rank.
        which: number of the axis.
        axis: the axis.
        grid: the ranks.
    """
    P, count = axis.P, f.shape[which] // axis.P
    outer, inner = (int(np.prod(part, dtype=np.int64)) for part in (f.shape[:which], f.shape[which + 1 :]))
    cells = np.ascontiguousarray(f).reshape(outer, count, P, inner)
    result = np.empty_like(cells)
    before, after = _neighbours(cells, which, axis, grid)
    _apply(cells, before, after, stencil(P) / axis.h, result)
    return result.reshape(f.shape)


def _neighbours(cells: np.ndarray, which: int, axis: Axis, grid: ProcessGrid) -> tuple[np.ndarray, np.ndarray]:
    """The cells before the first and after the last of this rank, (outer, P, inner) each."""
    outer, count, P, inner = cells.shape
    if grid.parts[which] == 1:
        if axis.periodic:
            return cells[:, -1], cells[:, 0]
        return np.zeros((outer, P, inner)), np.zeros((outer, P, inner))
    none = np.empty(0)
    still, both = np.zeros(2, dtype=np.int64), np.array([True, False])
    layout = np.array([outer, count * P * inner, count, inner, 1, 0])
    lines = Lines(layout, still, np.full(2, inner), still, Moves(still, both, none, none), False, still, both)
    halo = bring(cells.reshape(-1), lines, which, axis, grid)
    sides = np.zeros((2, outer, P, inner))
    for side, places in zip(sides, halo.places, strict=True):
        if len(places) and places[0] >= 0:
            side[:] = halo.values[places[0] : places[0] + side.size].reshape(side.shape)
    return sides[0], sides[1]


@compiled(parallel=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
def _apply(cells: np.ndarray, before: np.ndarray, after: np.ndarray, table: np.ndarray, result: np.ndarray) -> None:
    outer, count, P, inner = cells.shape
    for number in numba.prange(outer * count):
        o, i = number // count, number % count
        here, out = cells[o, i], result[o, i]
        left = cells[o, i - 1] if i > 0 else before[o]
        right = cells[o, i + 1] if i < count - 1 else after[o]
        for q in range(P):
            for k in range(inner):
                out[q, k] = 0.0
            for r in range(P):
                a, b, c = table[0, q, r], table[1, q, r], table[2, q, r]
                for k in range(inner):
                    out[q, k] += a * left[r, k] + b * here[r, k] + c * right[r, k]
