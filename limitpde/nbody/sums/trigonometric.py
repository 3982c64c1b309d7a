"""Sums of trigonometric potentials in O(N K) instead of O(N^2).

Gamma(x) = sum_k c_k cos(k.x) (a cosine, or any smooth kernel on a torus with its finitely many modes) gives

    sum_j Gamma(x_i - x_j)      = sum_k c_k [cos(k.x_i) C_k + sin(k.x_i) S_k],
    sum_j grad Gamma(x_i - x_j) = sum_k c_k k [cos(k.x_i) S_k - sin(k.x_i) C_k],

C_k + i S_k = sum_j e^{i k.x_j}. The term j = i of the second sum is zero, that of the first c_k. The waves of all k
come from those of the lattice's first wave numbers by multiplication. Sums over particles are over blocks of a fixed
size, then over the blocks, so that they do not depend on the number of threads, nor on the team of ranks that share the
blocks.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from limitpde.compiled import compiled
from limitpde.nbody.sums.arithmetic import sine
from limitpde.nbody.teams import SINGLE, Team
from limitpde.potentials.modes import Modes

BLOCK = 2048
"""Particles whose waves are summed by one task."""


class TrigonometricSums:
    """A potential with finitely many modes, on a torus or of that period in the whole space.

    Args:
        modes: of the potential.
        wave_numbers: (d,) the first wave number along each axis, of which all k are multiples.
        team: of ranks.
    """

    def __init__(self, modes: Modes, wave_numbers: np.ndarray, team: Team = SINGLE) -> None:
        self._team = team
        self._first = np.ascontiguousarray(wave_numbers, dtype=float)
        self._numbers = np.rint(modes.k / self._first).astype(np.int64).reshape(-1, len(self._first))
        self._k, self._c = np.ascontiguousarray(modes.k, dtype=float), np.ascontiguousarray(modes.c, dtype=float)

    def gradients(self, x: np.ndarray) -> np.ndarray:
        """sum_j grad Gamma(x_i - x_j) for positions (R, N, d), (R, N, d)."""
        turns, amplitudes, cuts = self._waves(x)
        some = cuts[self._team.rank : self._team.rank + 2]
        found = np.asarray(_forces(turns, self._numbers, self._k, self._c * amplitudes, BLOCK, *some))
        self._team.complete([np.moveaxis(found, 1, 2)], np.minimum(cuts * BLOCK, x.shape[1]))
        return found

    def energies(self, x: np.ndarray) -> np.ndarray:
        """sum_{i < j} Gamma(x_i - x_j) of each replica, (R,)."""
        pairs = (self._c * np.abs(self._waves(x)[1]) ** 2).sum(axis=1)
        return np.asarray((pairs - x.shape[1] * self._c.sum()) / 2)

    def _waves(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The turns of this rank's blocks, all amplitudes C_k + i S_k (R, K), and where the blocks are cut."""
        team = self._team
        team.align(x)
        cuts = team.cuts(-(-x.shape[1] // BLOCK))
        some = cuts[team.rank : team.rank + 2]
        turns = _turns(np.ascontiguousarray(x), self._first, BLOCK, *some)
        parts = _sum_waves(turns, self._numbers, BLOCK, *some)
        team.complete([np.moveaxis(parts, 1, 2)], cuts)
        return turns, np.asarray(_summed(parts)), cuts


@compiled(parallel=True, error_model="numpy")
def _turns(x, first, block, low, high):  # type: ignore[no-untyped-def]
    """e^{i kappa_a x_a} of the particles of blocks `low` to `high`, (R, N, d)."""
    R, n, d = x.shape
    out = np.empty((R, n, d), dtype=np.complex128)
    for task in prange(R * (high - low)):
        r, b = task // (high - low), low + task % (high - low)
        for a in range(d):
            for i in range(b * block, min(n, (b + 1) * block)):
                angle = first[a] * x[r, i, a]
                out[r, i, a] = complex(sine(angle + 0.5 * math.pi), sine(angle))
    return out


@compiled(error_model="numpy")
def _powers(turns, table):  # type: ignore[no-untyped-def]
    """Powers 0, 1, ... of the turns (d,) of a particle, into table (d, most + 1)."""
    for a in range(len(turns)):
        table[a, 0] = 1.0
        for m in range(1, table.shape[1]):
            table[a, m] = table[a, m - 1] * turns[a]


@compiled(error_model="numpy")
def _wave(table, numbers):  # type: ignore[no-untyped-def]
    """e^{i k.x} for the integers of k."""
    wave = 1.0 + 0.0j
    for a in range(len(numbers)):
        m = numbers[a]
        if m > 0:
            wave *= table[a, m]
        elif m < 0:
            wave *= table[a, -m].conjugate()
    return wave


@compiled(parallel=True, error_model="numpy")
def _sum_waves(turns, numbers, block, low, high):  # type: ignore[no-untyped-def]
    """The parts of C_k + i S_k from blocks `low` to `high`, (R, blocks, K)."""
    R, n, d = turns.shape
    K = len(numbers)
    most = np.abs(numbers).max() if K else 0
    blocks = (n + block - 1) // block
    parts = np.zeros((R, blocks, K), dtype=np.complex128)
    for task in prange(R * (high - low)):
        r, b = task // (high - low), low + task % (high - low)
        table = np.empty((d, most + 1), dtype=np.complex128)
        for i in range(b * block, min(n, (b + 1) * block)):
            _powers(turns[r, i], table)
            for k in range(K):
                parts[r, b, k] += _wave(table, numbers[k])
    return parts


@compiled(error_model="numpy")
def _summed(parts):  # type: ignore[no-untyped-def]
    """Sums over the blocks in their order, (R, K)."""
    R, blocks, K = parts.shape
    total = np.zeros((R, K), dtype=np.complex128)
    for r in range(R):
        for b in range(blocks):
            total[r] += parts[r, b]
    return total


@compiled(parallel=True, error_model="numpy")
def _forces(turns, numbers, waves, weighted, block, low, high):  # type: ignore[no-untyped-def]
    """sum_k c_k k Im(conj(e^{i k.x_i}) (C_k + i S_k)) in blocks `low` to `high`, with weighted = c_k (C_k + i S_k)."""
    R, n, d = turns.shape
    K = len(numbers)
    most = np.abs(numbers).max() if K else 0
    out = np.zeros((R, n, d))
    for task in prange(R * (high - low)):
        r, b = task // (high - low), low + task % (high - low)
        table = np.empty((d, most + 1), dtype=np.complex128)
        for i in range(b * block, min(n, (b + 1) * block)):
            _powers(turns[r, i], table)
            for k in range(K):
                size = (_wave(table, numbers[k]).conjugate() * weighted[r, k]).imag
                for a in range(d):
                    out[r, i, a] += waves[k, a] * size
    return out
