"""Sums over pairs in closed form or by sorting, for forces that are polynomials or signs; and sums of any potential."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numba import prange

from limitpde.compiled import compiled
from limitpde.nbody.teams import SINGLE, Team
from limitpde.nbody.tournament import Round, add_shared

SIDE, PAIRS = 256, 65_536
"""Particles of a block of pairs, and pairs that are evaluated at once: few enough for the cache."""


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
    """A potential given by functions of displacements, over all pairs, by numpy; each pair is evaluated once.

    Args:
        evaluate: displacements (n, d) -> Gamma (n,), grad Gamma (n, d); even.

    Keyword Args:
        strengths: (N, N), what stands before Gamma where the first particle feels the second; 1 by default.
        team: of ranks, which share the blocks.
    """

    def __init__(
        self,
        evaluate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        *,
        strengths: np.ndarray | None = None,
        team: Team = SINGLE,
    ) -> None:
        self._evaluate, self._strengths, self._team = evaluate, strengths, team

    def gradients(self, x: np.ndarray) -> np.ndarray:
        """sum_{j != i} grad Gamma(x_i - x_j), (R, N, d)."""
        self._team.align(x)

        def meet(some: Round, pieces: np.ndarray) -> None:
            for (a, b), (mine, other) in zip(some.mine, some.places, strict=True):
                for replicas, rows, columns, pairs in self._meeting(x, a, b):
                    gradients = self._evaluate(pairs.reshape(-1, x.shape[2]))[1].reshape(pairs.shape)
                    felt, back = self._weighted(gradients, rows, columns)
                    pieces[mine, replicas, :, : felt.shape[1]] = np.moveaxis(felt.sum(axis=2), 1, 2)
                    if a != b:
                        pieces[other, replicas, :, : back.shape[2]] = -np.moveaxis(back.sum(axis=1), 1, 2)

        found = np.zeros(np.moveaxis(x, 1, 2).shape)
        add_shared(found, _in_rows, SIDE, meet, self._team)
        return np.ascontiguousarray(np.moveaxis(found, 1, 2))

    def energies(self, x: np.ndarray) -> np.ndarray:
        """sum_{i < j} Gamma, (R,); without strengths."""
        self._team.align(x)
        meetings = _in_rows(-(-x.shape[1] // SIDE))
        found, cuts = np.zeros((len(x), len(meetings))), self._team.cuts(len(meetings))
        for m in range(*cuts[self._team.rank : self._team.rank + 2]):
            for replicas, rows, columns, pairs in self._meeting(x, *meetings[m]):
                values = np.asarray(self._evaluate(pairs.reshape(-1, x.shape[2]))[0]).reshape(pairs.shape[:-1])
                if rows == columns:
                    np.einsum("rii->ri", values)[:] = 0.0
                found[replicas, m] = values.sum(axis=(1, 2)) * (0.5 if rows == columns else 1.0)
        self._team.complete([found], cuts)
        return np.asarray(np.cumsum(found, axis=1)[:, -1])

    def _weighted(self, gradients: np.ndarray, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """What the rows feel of the columns, without what a particle feels of itself, and the columns of the rows."""
        if rows == columns:
            inside = np.arange(gradients.shape[1])
            gradients[:, inside, inside] = 0.0
        if self._strengths is None:
            return gradients, gradients
        here, there = self._strengths[rows, columns, None], self._strengths[columns, rows].T[:, :, None]
        return here * gradients, there * gradients

    def _meeting(self, x: np.ndarray, a: int, b: int) -> Iterator[tuple[slice, slice, slice, np.ndarray]]:
        """Replicas, rows and columns of a block of pairs, and their displacements, (replicas, rows, columns, d)."""
        R, n, _ = x.shape
        together = max(1, PAIRS // min(n, SIDE) ** 2)
        rows, columns = slice(a * SIDE, (a + 1) * SIDE), slice(b * SIDE, (b + 1) * SIDE)
        for first in range(0, R, together):
            some = slice(first, first + together)
            yield some, rows, columns, x[some, rows, None] - x[some, None, columns]


def _in_rows(blocks: int) -> np.ndarray:
    """Which blocks of particles meet, (meetings, 2): each one with itself and those after it."""
    return np.stack(np.triu_indices(blocks), axis=1)
