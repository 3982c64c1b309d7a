"""Even functions on a torus as finite sums of cosines, and where the sum of an analytic kernel may be cut.

On the torus with edges L_j and volume V the sum of the images of Gamma is, up to a constant, which no force feels,

    sum_{k != 0} Gammahat(k) / V e^{i k . x} = sum_{k in a half space} c_k cos(k . x),    c_k = 2 Gammahat(k) / V,

k_j = 2 pi m_j / L_j, m in Z^d. The terms of its gradient, k c_k, fall exponentially for an analytic Gamma; those below
`CUT` of the largest are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limitpde.errors import InputError

CUT = 1e-16
"""Terms of the gradient below this part of the largest one are left out."""
MOST = 4_000_000
"""Modes, of the whole space, that are allowed."""
BLOCK = 4_000_000
"""Numbers in a block of an evaluation at points."""

Symbol = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Modes:
    """sum_k c_k cos(k . x), k in a half space without 0."""

    k: np.ndarray
    """(K, d) wave vectors."""
    c: np.ndarray
    """(K,) coefficients."""

    def value(self, x: np.ndarray) -> np.ndarray:
        """The sum at points, (n, d) -> (n,)."""
        parts = [np.cos(part @ self.k.T) @ self.c for part in self._blocks(x)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """The gradient of the sum at points, (n, d) -> (n, d)."""
        weighted = self.c[:, None] * self.k
        parts = [-np.sin(part @ self.k.T) @ weighted for part in self._blocks(x)]
        return np.concatenate(parts) if parts else np.zeros(x.shape)

    def bound(self) -> float:
        """A bound for C_Gamma of (Pot) on the torus: the largest of sum |c_k| |k|^n, n = 1, 2, 3."""
        norms = np.linalg.norm(self.k, axis=1)
        return max(float(np.abs(self.c) @ norms**n) for n in (1, 2, 3))

    def _blocks(self, x: np.ndarray) -> list[np.ndarray]:
        size = max(BLOCK // max(len(self.c), 1), 1)
        return [x[start : start + size] for start in range(0, len(x), size)]


def cut_radius(symbol: Symbol, shortest: float, width: float) -> float:
    """|k| beyond which |k Gammahat(k)| stays below `CUT` of its largest value; 0 if there is nothing to keep.

    Args:
        symbol: Gammahat as a function of |k|, (n,) -> (n,).
        shortest: the smallest |k| of the torus.
        width: the length over which Gamma varies: nothing is left at |k| = 100 / width.
    """
    radii = np.geomspace(shortest, max(100 / width, 2 * shortest), 4000)
    size = radii * np.abs(symbol(radii))
    kept = np.flatnonzero(size >= CUT * size.max()) if size.max() > 0 else np.zeros(0, dtype=int)
    if len(kept) == 0:
        return 0.0
    return float(radii[min(kept[-1] + 1, len(radii) - 1)])


def count(radius: float, x_box: np.ndarray) -> int:
    """Number of wave vectors of the torus x_box (d, 2) in the box |k_j| <= radius."""
    lengths = np.diff(x_box, axis=1)[:, 0]
    return math.prod(2 * int(radius * length / (2 * math.pi)) + 1 for length in lengths)


def lattice_modes(symbol: Symbol, radius: float, x_box: np.ndarray) -> Modes:
    """The modes of a radial symbol on the torus x_box (d, 2), up to |k| = radius and `CUT`."""
    lengths = np.diff(x_box, axis=1)[:, 0]
    d = len(lengths)
    most = [int(radius * length / (2 * math.pi)) for length in lengths]
    grids = np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij")
    numbers = np.stack([grid.ravel() for grid in grids], axis=1)
    numbers = numbers[_in_half_space(numbers)]
    k = 2 * math.pi * numbers / lengths
    norms = np.linalg.norm(k, axis=1)
    near = (norms > 0) & (norms <= radius * (1 + 1e-12))
    k, norms = k[near], norms[near]
    c = 2 * symbol(norms) / math.prod(lengths) if len(norms) else np.zeros(0)
    size = norms * np.abs(c)
    kept = size >= CUT * size.max(initial=0.0) if size.max(initial=0.0) > 0 else np.zeros(len(c), dtype=bool)
    return Modes(k[kept].reshape(-1, d), c[kept])


def _in_half_space(numbers: np.ndarray) -> np.ndarray:
    """Which of the integer vectors (K, d) begin, after zeros, with a positive entry."""
    chosen = np.zeros(len(numbers), dtype=bool)
    undecided = np.ones(len(numbers), dtype=bool)
    for column in numbers.T:
        chosen |= undecided & (column > 0)
        undecided &= column == 0
    return chosen


def wave_numbers(x_box: np.ndarray) -> np.ndarray:
    """2 pi m_j / L_j (d,) next to 1.

    Raises:
        InputError: an edge of the torus is not a multiple of 2 pi.
    """
    lengths = np.diff(x_box, axis=1)[:, 0]
    periods = np.maximum(np.round(lengths / (2 * math.pi)), 1)
    wrong = np.abs(lengths / (2 * math.pi) - periods) > 1e-3
    if wrong.any():
        length = float(lengths[wrong][0])
        raise InputError(
            f"domain.x: an interval of length {length:g} is no torus for kind = 'cosine': the length must be "
            f"a multiple of 2 pi, up to 1e-3 of it; the nearest is {2 * math.pi * periods[wrong][0]:.15g}"
        )
    return np.asarray(2 * math.pi * periods / lengths)
