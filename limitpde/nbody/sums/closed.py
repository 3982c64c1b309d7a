"""Sums over pairs in closed form or by sorting, for forces that are polynomials or signs; and sums of any potential."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import prange

from limitpde.compiled import compiled

PAIRS = 1_000_000
"""Pairs that are evaluated at once."""


class NoSums:
    """Gamma = 0."""

    def gradients(self, x: np.ndarray) -> np.ndarray:
        """Zero, (R, N, d)."""
        return np.zeros_like(x)

    def energies(self, x: np.ndarray) -> np.ndarray:
        """Zero, (R,)."""
        return np.zeros(len(x))


class HarmonicSums:
    """Gamma = strength |x|^2 / 2.

    Args:
        strength: of Gamma.
    """

    def __init__(self, strength: float) -> None:
        self._strength = strength

    def gradients(self, x: np.ndarray) -> np.ndarray:
        """strength (N x_i - sum_j x_j), (R, N, d)."""
        return np.asarray(self._strength * x.shape[1] * (x - x.mean(axis=1, keepdims=True)))

    def energies(self, x: np.ndarray) -> np.ndarray:
        """sum_{i < j} Gamma, (R,)."""
        away = x - x.mean(axis=1, keepdims=True)
        return np.asarray(self._strength * x.shape[1] * (away**2).sum(axis=(1, 2)) / 2)


class SheetSums:
    """Charged sheets, d = 1: -Gamma'' = strength (delta - mean), by sorting in O(N log N).

    Gamma(x) = strength (x^2 / (2 L) - |x| / 2 + L / 12) for |x| <= L on a torus of length L (that is periodic, so
    positions in one period need no wrapping); -strength |x| / 2 in the whole space. Sheets at one place do not feel
    each other.

    Args:
        strength: of Gamma.
        length: of the torus; None for the whole space.
    """

    def __init__(self, strength: float, length: float | None) -> None:
        self._strength, self._length = strength, length

    def gradients(self, x: np.ndarray) -> np.ndarray:
        """sum_j Gamma'(x_i - x_j), (R, N, 1)."""
        places = np.ascontiguousarray(x[:, :, 0])
        signs = _sign_sums(places, np.argsort(places, axis=1))[:, :, None]
        background = 0.0
        if self._length is not None:
            background = x.shape[1] * (x - x.mean(axis=1, keepdims=True)) / self._length
        return np.asarray(self._strength * (background - signs / 2))

    def energies(self, x: np.ndarray) -> np.ndarray:
        """sum_{i < j} Gamma, (R,)."""
        n = x.shape[1]
        ordered = np.sort(x[:, :, 0], axis=1)
        distances = (ordered * (2 * np.arange(n) - n + 1)).sum(axis=1)
        if self._length is None:
            return np.asarray(-self._strength * distances / 2)
        away = x - x.mean(axis=1, keepdims=True)
        squares = n * (away**2).sum(axis=(1, 2)) / (2 * self._length)
        return np.asarray(self._strength * (squares - distances / 2 + n * (n - 1) * self._length / 24))


@compiled(parallel=True)
def _sign_sums(x, orders):  # type: ignore[no-untyped-def]
    """sum_j sign(x_i - x_j), (R, N); orders are those that sort the rows."""
    R, n = x.shape
    out = np.empty((R, n))
    for r in prange(R):
        order = orders[r]
        first = 0
        while first < n:
            last = first
            while last + 1 < n and x[r, order[last + 1]] == x[r, order[first]]:
                last += 1
            for m in range(first, last + 1):
                out[r, order[m]] = first - (n - 1 - last)
            first = last + 1
    return out


class AnySums:
    """A potential given by functions of displacements, over all pairs, by numpy.

    Args:
        evaluate: displacements (n, d) -> Gamma (n,), grad Gamma (n, d); even.
    """

    def __init__(self, evaluate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
        self._evaluate = evaluate

    def gradients(self, x: np.ndarray) -> np.ndarray:
        """sum_{j != i} grad Gamma(x_i - x_j), (R, N, d)."""
        found = np.zeros_like(x)
        for r, rows in self._tasks(x):
            pairs = (x[r, rows, None] - x[r, None]).reshape(-1, x.shape[2])
            gradients = self._evaluate(pairs)[1].reshape(-1, *x.shape[1:])
            gradients[np.arange(len(rows)), rows] = 0.0
            found[r, rows] = gradients.sum(axis=1)
        return found

    def energies(self, x: np.ndarray) -> np.ndarray:
        """sum_{i < j} Gamma, (R,)."""
        found = np.zeros(len(x))
        for r, rows in self._tasks(x):
            pairs = (x[r, rows, None] - x[r, None]).reshape(-1, x.shape[2])
            values = self._evaluate(pairs)[0].reshape(len(rows), -1)
            values[np.arange(len(rows)), rows] = 0.0
            found[r] += values.sum() / 2
        return found

    def _tasks(self, x: np.ndarray) -> list[tuple[int, np.ndarray]]:
        R, n, _ = x.shape
        some = max(1, PAIRS // n)
        return [(r, np.arange(a, min(n, a + some))) for r in range(R) for a in range(0, n, some)]
