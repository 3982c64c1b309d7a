"""Sums over all pairs in the whole space, for many replicas at once.

    G_i = sum_{j != i} grad Gamma(x_i - x_j),    grad Gamma(x) = g(|x|^2) x,
    g(q) = -strength / width^2 exp(-q / (2 width^2))  (gaussian),    -strength (q + width^2)^(-3/2)  (softened).

A particle acts on itself with x = 0, hence with force 0 and no branch. g is even in x to the last bit, so that the
forces of a pair are opposite, and momentum is conserved to the rounding of the sums. The order of each sum depends on N
alone, not on the number of threads, nor on the team of ranks that share the particles.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from limitpde.compiled import compiled
from limitpde.nbody.sums.arithmetic import exp_minus
from limitpde.nbody.teams import SINGLE, Team

_FAST = {"reassoc", "contract", "nsz"}


class PairSums:
    """Gaussian or softened Gamma in R^d.

    Args:
        strength: of Gamma.
        width: of Gamma.
        softened: whether it is strength / sqrt(|x|^2 + width^2); the Gaussian otherwise.
        team: of ranks.
    """

    def __init__(self, strength: float, width: float, *, softened: bool, team: Team = SINGLE) -> None:
        self._strength, self._width, self._softened, self._team = strength, width, softened, team

    def gradients(self, x: np.ndarray) -> np.ndarray:
        """G for positions (R, N, d), (R, N, d)."""
        self._team.align(x)
        q = np.ascontiguousarray(np.moveaxis(x, 2, 1))
        found, cuts = np.empty_like(q), self._team.cuts(x.shape[1])
        some = cuts[self._team.rank : self._team.rank + 2]
        if self._softened:
            _softened(q, found, -self._strength, self._width**2, *some)
        else:
            _gaussian(q, found, -self._strength / self._width**2, 0.5 / self._width**2, *some)
        self._team.complete([found], cuts)
        return np.ascontiguousarray(np.moveaxis(found, 1, 2))

    def energies(self, x: np.ndarray) -> np.ndarray:
        """sum_{i < j} Gamma(x_i - x_j) of each replica, (R,)."""
        team, n = self._team, x.shape[1]
        team.align(x)
        q, rows = np.ascontiguousarray(np.moveaxis(x, 2, 1)), np.zeros(x.shape[:2])
        cuts = np.rint(n * np.sqrt(np.arange(team.size + 1) / team.size)).astype(int)  # row i has i pairs
        _energies(q, rows, self._width**2, self._softened, *cuts[team.rank : team.rank + 2])
        team.complete([rows], cuts)
        return np.asarray(self._strength * rows.sum(axis=1))


@compiled(parallel=True, error_model="numpy", fastmath=_FAST)
def _gaussian(x, out, front, inverse, first, last):  # type: ignore[no-untyped-def]
    R, d, n = x.shape
    for task in prange(R * (last - first)):
        r, i = task // (last - first), first + task % (last - first)
        if d == 1:
            a, x0 = x[r, 0, i], x[r, 0]
            f0 = 0.0
            for j in range(n):
                u = a - x0[j]
                f0 += u * exp_minus(inverse * (u * u))
            out[r, 0, i] = front * f0
        elif d == 2:
            a, b, x0, x1 = x[r, 0, i], x[r, 1, i], x[r, 0], x[r, 1]
            f0 = f1 = 0.0
            for j in range(n):
                u, v = a - x0[j], b - x1[j]
                g = exp_minus(inverse * (u * u + v * v))
                f0 += u * g
                f1 += v * g
            out[r, 0, i], out[r, 1, i] = front * f0, front * f1
        else:
            a, b, c, x0, x1, x2 = x[r, 0, i], x[r, 1, i], x[r, 2, i], x[r, 0], x[r, 1], x[r, 2]
            f0 = f1 = f2 = 0.0
            for j in range(n):
                u, v, w = a - x0[j], b - x1[j], c - x2[j]
                g = exp_minus(inverse * (u * u + v * v + w * w))
                f0 += u * g
                f1 += v * g
                f2 += w * g
            out[r, 0, i], out[r, 1, i], out[r, 2, i] = front * f0, front * f1, front * f2


@compiled(parallel=True, error_model="numpy", fastmath=_FAST)
def _softened(x, out, front, soft, first, last):  # type: ignore[no-untyped-def]
    R, d, n = x.shape
    for task in prange(R * (last - first)):
        r, i = task // (last - first), first + task % (last - first)
        if d == 1:
            a, x0 = x[r, 0, i], x[r, 0]
            f0 = 0.0
            for j in range(n):
                u = a - x0[j]
                q = u * u + soft
                f0 += u / (q * math.sqrt(q))
            out[r, 0, i] = front * f0
        elif d == 2:
            a, b, x0, x1 = x[r, 0, i], x[r, 1, i], x[r, 0], x[r, 1]
            f0 = f1 = 0.0
            for j in range(n):
                u, v = a - x0[j], b - x1[j]
                q = u * u + v * v + soft
                g = 1.0 / (q * math.sqrt(q))
                f0 += u * g
                f1 += v * g
            out[r, 0, i], out[r, 1, i] = front * f0, front * f1
        else:
            a, b, c, x0, x1, x2 = x[r, 0, i], x[r, 1, i], x[r, 2, i], x[r, 0], x[r, 1], x[r, 2]
            f0 = f1 = f2 = 0.0
            for j in range(n):
                u, v, w = a - x0[j], b - x1[j], c - x2[j]
                q = u * u + v * v + w * w + soft
                g = 1.0 / (q * math.sqrt(q))
                f0 += u * g
                f1 += v * g
                f2 += w * g
            out[r, 0, i], out[r, 1, i], out[r, 2, i] = front * f0, front * f1, front * f2


@compiled(parallel=True, error_model="numpy")
def _energies(x, rows, square, softened, first, last):  # type: ignore[no-untyped-def]
    R, d, _ = x.shape
    for task in prange(R * (last - first)):
        r, i = task // (last - first), first + task % (last - first)
        total = 0.0
        for j in range(i):
            q = 0.0
            for a in range(d):
                q += (x[r, a, i] - x[r, a, j]) ** 2
            total += 1.0 / math.sqrt(q + square) if softened else math.exp(-0.5 * q / square)
        rows[r, i] = total
