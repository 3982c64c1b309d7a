"""The L2 projection of a density onto piecewise polynomials on a tensor grid: what the cells hold of it.

In a cell the nodal polynomials l_p at the P Gauss points are orthogonal, so the value at a point is the integral of the
density times l_p over that of l_p. Integrals over all of phase space of the density times a polynomial of degree k in
each cell, its mass among them, are those of the density itself, however coarse the cells.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from limitpde.vlasov.initial_laws import Factor
from limitpde.vlasov.phase_space.axes import CellAxis, gauss, lagrange

POINTS = 8
"""Gauss points in a piece of a cell, in the projection of functions of one coordinate."""
CLOSE = 1e-14
"""Change by cutting the pieces in two, as a part of the largest value, from which they are cut no further."""
MOST_PIECES = 1 << 10
"""Pieces of a cell that are tried."""
LEVELS = {1: 7, 2: 1, 3: 0}
"""How often a cell of a function in phase space may be cut in two along each coordinate, for d."""
ROUGH = {1: 1e-9, 2: 1e-2, 3: np.inf}
"""Coefficient of the highest polynomial, as a part of the largest value, from which a cell is cut, for d."""
BLOCK = 1 << 19
"""Values of a function that are worked on together."""


def line(axis: CellAxis, factor: Factor) -> np.ndarray:
    """The projection of a function of one coordinate, at the nodes (n,); real or complex."""
    found, pieces = _line(axis, factor, 1), 2
    while pieces <= MOST_PIECES and pieces * axis.n <= 8 * BLOCK:
        before, found = found, _line(axis, factor, pieces)
        if np.abs(found - before).max() <= CLOSE * np.abs(found).max():
            break
        pieces *= 2
    return found


def _line(axis: CellAxis, factor: Factor, pieces: int) -> np.ndarray:
    points, weights = gauss(POINTS)
    inner = ((np.arange(pieces)[:, None] + points) / pieces).ravel()
    table = np.tile(weights / pieces, pieces)[:, None] * lagrange(axis.P, inner) / gauss(axis.P)[1]
    values = factor((axis.low + (np.arange(axis.cells)[:, None] + inner) * axis.h).ravel())
    return np.asarray((values.reshape(axis.cells, -1) @ table).ravel())


def separable(terms: Sequence[Sequence[Factor]], axes: Sequence[CellAxis], parts: Sequence[slice]) -> np.ndarray:
    """The projection of a sum of products of functions of one coordinate, at some nodes.

    Args:
        terms: a function for each axis; where they are complex, the real part of the sum is meant.
        axes: the coordinates.
        parts: which nodes of each axis.
    """
    found: np.ndarray | float = 0.0
    for factors in terms:
        lines = [line(axis, factor)[part] for axis, factor, part in zip(axes, factors, parts, strict=True)]
        found = found + functools.reduce(np.multiply.outer, lines).real
    return np.asarray(found)


def of_function(
    function: Callable[[np.ndarray], np.ndarray],
    axes: Sequence[CellAxis],
    cells: Sequence[tuple[int, int]],
    peak: float,
) -> np.ndarray:
    """The projection of a function in phase space, z (n, 2d) -> (n,), by Gauss's points in parts of the cells.

    A cell is cut in two along each coordinate, and its parts again, where the polynomial through its points does not
    end: where the function jumps, or varies within the cell.

    Args:
        function: what is projected.
        axes: the 2 d axes.
        cells: first cell and end of a block, along each axis.
        peak: the largest value.

    Returns:
        Values at the nodes of the block, (*X, *V).
    """
    D, P = len(axes), axes[0].P
    counts = [end - begin for begin, end in cells]
    found = np.zeros((int(np.prod(counts)), P**D))
    some = max(1, BLOCK // P**D)
    rough = ROUGH[D // 2] * peak
    for first in range(0, len(found), some):
        numbers = np.arange(first, min(first + some, len(found)))
        inner = np.stack(np.unravel_index(numbers, counts), axis=1) + [begin for begin, _ in cells]
        _add_parts(found, function, axes, numbers, inner.astype(float), rough)
    split = found.reshape(*counts, *(P,) * D)
    order = [axis for j in range(D) for axis in (j, D + j)]
    return np.ascontiguousarray(split.transpose(order).reshape([n * P for n in counts]))


def _add_parts(
    found: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    axes: Sequence[CellAxis],
    owners: np.ndarray,
    corners: np.ndarray,
    rough: float,
) -> None:
    """Add what whole cells, given by their numbers and lower corners in units of the cells, hold of a function."""
    D, P = len(axes), axes[0].P
    low, h = np.array([axis.low for axis in axes]), np.array([axis.h for axis in axes])
    points, weights = gauss(P)
    grid = np.stack([g.ravel() for g in np.meshgrid(*[points] * D, indexing="ij")], axis=1)
    pending, most = [(owners, np.zeros_like(corners), corners, 0)], max(1, BLOCK // P**D)
    while pending:
        owner, offset, corner, level = pending.pop()
        if len(owner) > most:
            pending.append((owner[most:], offset[most:], corner[most:], level))
            owner, offset, corner = owner[:most], offset[:most], corner[:most]
        size = 0.5**level
        z = low + h * (corner[:, None, :] + offset[:, None, :] + size * grid)
        values = function(z.reshape(-1, D)).reshape(len(owner), *(P,) * D)
        cut = _unresolved(values) > rough if level < LEVELS[D // 2] else np.zeros(len(owner), dtype=bool)
        parts = values[~cut]
        for j in range(D):  # to the polynomials of the whole cell, one coordinate after the other
            table = size * weights[:, None] * lagrange(P, offset[~cut, j, None] + size * points) / weights
            parts = np.moveaxis(np.einsum("n...q,nqp->n...p", np.moveaxis(parts, 1 + j, -1), table), -1, 1 + j)
        np.add.at(found, owner[~cut], parts.reshape(len(parts), P**D))
        if cut.any():
            halves = size / 2 * np.array(list(itertools.product((0, 1), repeat=D)))
            children = (offset[cut, None, :] + halves).reshape(-1, D)
            repeated = np.repeat(owner[cut], len(halves)), children, np.repeat(corner[cut], len(halves), axis=0)
            pending.append((*repeated, level + 1))


def highest(P: int) -> np.ndarray:
    """Weights (P,) that take values at Gauss's points to the coefficient of the Legendre polynomial of degree P - 1."""
    points, weights = gauss(P)
    polynomial = np.polynomial.legendre.legval(2 * points - 1, [0.0] * (P - 1) + [1.0])
    return np.asarray((2 * P - 1) * weights * polynomial)


def _unresolved(values: np.ndarray) -> np.ndarray:
    """Largest coefficient of the highest polynomial along any coordinate, of cells (n, P, ..., P), (n,)."""
    row = highest(values.shape[1])
    along = [np.abs(np.moveaxis(values, 1 + j, -1) @ row).reshape(len(values), -1) for j in range(values.ndim - 1)]
    return np.asarray(np.max([found.max(axis=1) for found in along], axis=0))


def keep_positive(f: np.ndarray, P: int) -> None:
    """Scale f (*X, *V) towards its mean in each cell just so much that its nodal values are >= 0, in place."""
    D = f.ndim
    inner = tuple(range(1, 2 * D, 2))
    weights = functools.reduce(np.multiply.outer, [gauss(P)[1]] * D).reshape((1, P) * D)
    for slab in _slabs(f, P):
        cells = slab.reshape([size for n in slab.shape for size in (n // P, P)])
        mean = (cells * weights).sum(axis=inner, keepdims=True)
        least = cells.min(axis=inner, keepdims=True)
        theta = np.where(least < 0, mean / np.where(least < 0, mean - least, 1.0), 1.0)
        slab[...] = np.maximum(mean + theta * (cells - mean), 0.0).reshape(slab.shape)


def _slabs(f: np.ndarray, P: int) -> Iterator[np.ndarray]:
    """Views of f, a few cells of the first coordinate at a time."""
    if f.size:
        some = P * max(1, BLOCK * f.shape[0] // f.size // P)
        yield from (f[first : first + some] for first in range(0, f.shape[0], some))
