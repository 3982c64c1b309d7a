"""Operators that are products of matrices of one coordinate each, their gradients and divergences, over the ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limitpde.vlasov.fields.share import FieldShare


class Products:
    """E = E_1 x ... x E_d and D_j, which is E with D_j in the place of its factor j. Collective, like all methods.

    Args:
        share: the positions of this rank.
        values: E_1, ..., E_d, (m_j, n_j).
        slopes: D_1, ..., D_d, (m_j, n_j).
    """

    def __init__(self, share: FieldShare, values: Sequence[np.ndarray], slopes: Sequence[np.ndarray]) -> None:
        self._share, self._values, self._slopes = share, values, slopes

    @property
    def adjoint(self) -> Products:
        """E^T and D_j^T."""
        return Products(self._share, [part.T for part in self._values], [part.T for part in self._slopes])

    def values(self, function: np.ndarray) -> np.ndarray:
        """E u, (*n) -> (*m)."""
        return self._share.along(self._values, function)

    def gradient(self, function: np.ndarray, plus: np.ndarray | None = None) -> np.ndarray:
        """E u and D_j u + E w_j, for u (*n) and w (d, *n), if there are such: (1 + d, *m)."""
        share = self._share
        rows = function[None] if plus is None else np.concatenate([function[None], plus])
        for j, (value, slope) in enumerate(zip(self._values, self._slopes, strict=True)):
            lines = share.lines(rows, j, value.shape[1])
            rows, more = share.apply(value, lines, j), share.apply(slope, lines[0], j)
            if plus is None:
                rows = np.concatenate([rows, more[None]])
            else:
                rows[1 + j] += more
        return rows

    def divergence(self, functions: np.ndarray, plus: np.ndarray | None = None) -> np.ndarray:
        """sum_j D_j u_j + E w and E u_j, for u (d, *n) and w (*n), if there is one: (1 + d, *m)."""
        share = self._share
        rows = np.concatenate([np.zeros((1, *functions.shape[1:])) if plus is None else plus[None], functions])
        for j, (value, slope) in enumerate(zip(self._values, self._slopes, strict=True)):
            lines = share.lines(rows, j, value.shape[1])
            rows = share.apply(value, lines, j)
            rows[0] += share.apply(slope, lines[1 + j], j)
        return rows
