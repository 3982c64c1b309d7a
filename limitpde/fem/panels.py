"""Factors L D L^T of sparse symmetric matrices, up to a border, and solves that run through them once each way.

Up to four columns of L in a row that have the same rows below are kept as a panel, row by row: an index and a value
of the solution are read once for all of them. Solves with L^T read the memory strictly backwards, which the processor
foresees as it does the way forwards: a panel forwards, then the one before it, takes three times as long.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from limitpde.compiled import compiled


class Panels(NamedTuple):
    """The first n columns of a unit lower triangular L, and 1 / D."""

    first: np.ndarray
    """(panels + 1,) int32, the first column of each, and n. A panel has one, two or four columns."""
    rows_at: np.ndarray
    """(panels + 1,) int64, where the rows below each begin."""
    rows: np.ndarray
    """(rows_at[-1],) uint32."""
    values: np.ndarray
    """Of each panel its strict lower triangle by rows, then its rows below, as many entries each as it has columns."""
    pivots: np.ndarray
    """(n,) 1 / D."""


def factorised(matrix: scipy.sparse.csc_array, inside: int) -> tuple[Panels, np.ndarray, np.ndarray]:
    """Eliminate the first unknowns of a symmetric positive matrix, in about the order in which they come.

    Args:
        matrix: (n + m, n + m) [A, B^T; B, C].
        inside: n.

    Returns:
        The factor of A with B L^-T D^-1 below it, the order of the unknowns of A in it (n,), and C - B A^-1 B^T (m, m).

    Raises:
        RuntimeError: the matrix is singular.
    """
    size = matrix.shape[0]
    found = scipy.sparse.linalg.splu(
        matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    if not np.array_equal(found.perm_r, found.perm_c):
        raise RuntimeError("a pivot is zero")
    order = np.argsort(found.perm_c[:inside])
    places = np.concatenate([found.perm_c[order], found.perm_c[inside:]])  # SuperLU moves whole subtrees
    number = np.empty(size, dtype=np.int32)
    number[places] = np.arange(size)
    entries, diagonal = found.L.tocoo(), found.U.diagonal()[places]
    del found  # and its U
    moved = (entries.data, (number[entries.row], number[entries.col]))
    lower = scipy.sparse.csc_array(scipy.sparse.csr_array(moved, shape=(size, size)))  # by rows first: they are sorted
    border = lower[inside:, inside:].toarray()
    return _panels(lower, 1 / diagonal[:inside]), order, (border * diagonal[inside:]) @ border.T


def _panels(lower: scipy.sparse.csc_array, pivots: np.ndarray) -> Panels:
    """The first columns of L, as many as there are pivots 1 / D; rows are sorted."""
    first = _first_columns(lower.indptr, lower.indices, len(pivots))
    width = np.diff(first)
    below = np.diff(lower.indptr)[first[:-1]] - width
    rows_at = np.concatenate([[0], np.cumsum(below)])
    rows = np.empty(rows_at[-1], dtype=np.uint32)
    values = np.empty(int(width @ below + (width * (width - 1)).sum() // 2))
    _fill(first, lower.indptr, lower.indices, lower.data, rows_at, rows, values)
    return Panels(first, rows_at, rows, values, pivots)


@compiled
def _first_columns(pointers: np.ndarray, rows: np.ndarray, columns: int) -> np.ndarray:
    """(panels + 1,) int32: the first column of each panel of the first columns, and their number."""
    first = np.empty(columns + 1, dtype=np.int32)
    count, j = 0, 0
    while j < columns:
        width = 1
        while width < 4 and j + width < columns and _same(pointers, rows, j + width):
            width += 1
        first[count] = j
        count += 1
        j += 2 if width == 3 else width
    first[count] = columns
    return first[: count + 1].copy()


@compiled
def _same(pointers: np.ndarray, rows: np.ndarray, j: int) -> bool:
    """Whether column j has the rows of the one before it, but for the first."""
    before, here, end = pointers[j - 1] + 1, pointers[j], pointers[j + 1]
    if here - before != end - here:
        return False
    k = 0
    while k < end - here and rows[here + k] == rows[before + k]:
        k += 1
    return k == end - here


@compiled
def _fill(
    first: np.ndarray,
    pointers: np.ndarray,
    rows: np.ndarray,
    entries: np.ndarray,
    rows_at: np.ndarray,
    panel_rows: np.ndarray,
    values: np.ndarray,
) -> None:
    """Write rows and values of the panels."""
    at = 0
    for p in range(len(first) - 1):
        start, width, below = first[p], first[p + 1] - first[p], rows_at[p + 1] - rows_at[p]
        for i in range(1, width + below):
            for k in range(min(i, width)):
                values[at] = entries[pointers[start + k] + i - k]
                at += 1
        for i in range(below):
            panel_rows[rows_at[p] + i] = rows[pointers[start] + width + i]


@compiled(fastmath={"contract"}, _nrt=False)
def forward(factor: Panels, x: np.ndarray) -> None:
    """Solve with L: x (n + m,) ends as L^-1 of its first n, and what these leave of the others."""
    first, rows_at, rows, values, _ = factor
    at = 0
    for p in range(len(first) - 1):
        c, width = first[p], first[p + 1] - first[p]
        if width == 4:
            a = x[c]
            b = x[c + 1] - values[at] * a
            d = x[c + 2] - values[at + 1] * a - values[at + 2] * b
            e = x[c + 3] - values[at + 3] * a - values[at + 4] * b - values[at + 5] * d
            x[c + 1], x[c + 2], x[c + 3] = b, d, e
            at += 6
            for r in range(rows_at[p], rows_at[p + 1]):
                x[rows[r]] -= (values[at] * a + values[at + 1] * b) + (values[at + 2] * d + values[at + 3] * e)
                at += 4
        elif width == 2:
            a = x[c]
            b = x[c + 1] - values[at] * a
            x[c + 1] = b
            at += 1
            for r in range(rows_at[p], rows_at[p + 1]):
                x[rows[r]] -= values[at] * a + values[at + 1] * b
                at += 2
        else:
            a = x[c]
            for r in range(rows_at[p], rows_at[p + 1]):
                x[rows[r]] -= values[at] * a
                at += 1


@compiled(fastmath={"contract"}, _nrt=False)
def backward(factor: Panels, x: np.ndarray) -> None:
    """Solve with D and L^T: x (n + m,), where the last m are given, ends as the solution in its first n."""
    first, rows_at, rows, values, pivots = factor
    at = len(values) - 1
    for p in range(len(first) - 2, -1, -1):
        c, width = first[p], first[p + 1] - first[p]
        if width == 4:
            a, b, d, e = x[c] * pivots[c], x[c + 1] * pivots[c + 1], x[c + 2] * pivots[c + 2], x[c + 3] * pivots[c + 3]
            for r in range(rows_at[p + 1] - 1, rows_at[p] - 1, -1):
                y = x[rows[r]]
                a -= values[at - 3] * y
                b -= values[at - 2] * y
                d -= values[at - 1] * y
                e -= values[at] * y
                at -= 4
            d -= values[at] * e
            b -= values[at - 3] * d + values[at - 1] * e
            a -= values[at - 5] * b + values[at - 4] * d + values[at - 2] * e
            x[c], x[c + 1], x[c + 2], x[c + 3] = a, b, d, e
            at -= 6
        elif width == 2:
            a, b = x[c] * pivots[c], x[c + 1] * pivots[c + 1]
            for r in range(rows_at[p + 1] - 1, rows_at[p] - 1, -1):
                y = x[rows[r]]
                a -= values[at - 1] * y
                b -= values[at] * y
                at -= 2
            x[c], x[c + 1] = a - values[at] * b, b
            at -= 1
        else:
            a = x[c] * pivots[c]
            for r in range(rows_at[p + 1] - 1, rows_at[p] - 1, -1):
                a -= values[at] * x[rows[r]]
                at -= 1
            x[c] = a
