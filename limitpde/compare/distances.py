"""Wasserstein-1 distances between samples and a density: on a line, on a circle, and over slices of a space.

W_1(mu, nu) = inf E|X - Y| over X ~ mu, Y ~ nu = sup (int phi dmu - int phi dnu) over phi with |grad phi| <= 1. On a
line it is int |F - G| of the distribution functions, on a circle min_c int |F - G - c|.

The energy distance is (2 E|X - Y| - E|X - X'| - E|Y - Y'|)^(1/2), all independent. As |x| is c_d times the mean of
|theta . x| over directions theta, its square is c_d times the mean over slices of 2 int (F - G)^2.

A density becomes atoms at the Gauss-Legendre points of small pieces of its cells, whose masses are its values times the
weights: its integrals against polynomials in a cell are exact, and no mass moves farther than the length of a piece.
Since F - G is as often too large as too small by that, its effect on the distance to a cloud is far less
(tests/vlasov/test_distances.py measures it). Where a numerical density is negative, that part changes sides: W_1 = sup
over phi depends on mu - nu only.

A slice of a space is its image under z -> theta . z, |theta| = 1, which lengthens no distance: W_1 of the images is at
most W_1. The sliced distance is its mean over directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import basix
import numpy as np
import scipy.special

from limitpde.compiled import compiled
from limitpde.errors import RunError

ATOMS = 1 << 14
"""At least so many atoms stand for a density on a line."""
BINS = 1 << 14
"""Atoms to which the masses of a slice are distributed."""
SCRAMBLING = 20251  # of the directions, which are the same in every run


@dataclass(frozen=True, slots=True, eq=False)
class LineMeasure:
    """A measure of total mass one on a line or a circle, as atoms.

    Raises:
        RunError: its masses are not finite, or do not have a positive sum.
    """

    points: np.ndarray
    """Where the atoms are, (m,), put in order."""
    masses: np.ndarray
    """Their masses, (m,), made to sum to one; a few may be negative."""
    period: float | None = None
    """Length of the circle; None on a line."""

    def __post_init__(self) -> None:
        total = float(np.sum(self.masses))
        if not (math.isfinite(total) and total > 0):
            raise RunError(f"Wasserstein distance: the mass of the density is {total:g}, it must be positive")
        order = np.argsort(self.points, kind="stable")
        object.__setattr__(self, "points", self.points[order])
        object.__setattr__(self, "masses", np.asarray(self.masses, dtype=float)[order] / total)

    @classmethod
    def of_polynomial(cls, values: np.ndarray, low: float, high: float, degree: int, *, periodic: bool) -> LineMeasure:
        """A piecewise polynomial density on uniform cells.

        Args:
            values: at the Gauss-Legendre points of the cells, one cell after the other, (cells * (degree + 1),).
            low: lower end of the interval.
            high: upper end.
            degree: of the polynomials.

        Keyword Args:
            periodic: whether the interval is a circle.
        """
        cells = len(values) // (degree + 1)
        pieces = -(-ATOMS // len(values))
        points, matrix = refined(low, high, cells, degree, pieces)
        masses = values.reshape(cells, degree + 1) @ matrix.T
        return cls(points, masses.ravel(), high - low if periodic else None)

    def distance(self, samples: np.ndarray, weights: np.ndarray | None = None) -> float:
        """W_1 from the samples (n,), of equal or of positive weights (n,), which are divided by their sum."""
        if self.period is None:
            return self.gaps(samples, weights)[0]
        given = _shares(samples, weights)
        return circle_distance(samples, self.points, given, self.masses, self.period)

    def gaps(self, samples: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
        """int |F - G| = W_1, and 2 int (F - G)^2, on a line."""
        if weights is None:
            samples = np.sort(samples)
        points = np.concatenate([self.points, samples])
        order = np.argsort(points, kind="stable")  # merges parts that are in order
        lengths = np.diff(points[order])
        gap = np.cumsum(np.concatenate([self.masses, -_shares(samples, weights)])[order])[:-1]
        return float(np.abs(gap) @ lengths), float(2 * gap**2 @ lengths)


def _shares(samples: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.full(len(samples), 1 / len(samples)) if weights is None else weights / weights.sum()


def energy_distance(squares: np.ndarray, dimension: int) -> float:
    """That in a space of this dimension, from 2 int (F - G)^2 of its slices, (S,)."""
    constant = math.sqrt(math.pi) * math.gamma((dimension + 1) / 2) / math.gamma(dimension / 2)  # 1 / E|theta_1|
    return math.sqrt(constant * float(squares.mean()))


def circle_distance(a: np.ndarray, b: np.ndarray, a_masses: np.ndarray, b_masses: np.ndarray, period: float) -> float:
    """W_1 between atoms on a circle: int |D - c|, D = F - G, c the median of D.

    Args:
        a: points of one measure, (n,), any representatives.
        b: points of the other, (m,).
        a_masses: their masses, (n,), of sum one; a few may be negative.
        b_masses: those of the other, (m,), of sum one.
        period: length of the circle.
    """
    points = np.remainder(np.concatenate([a, b]), period)
    order = np.argsort(points, kind="stable")
    points = points[order]
    levels = np.cumsum(np.concatenate([a_masses, -b_masses])[order])
    lengths = np.append(points[1:], points[0] + period) - points
    ranked = np.argsort(levels, kind="stable")
    half = int(np.searchsorted(np.cumsum(lengths[ranked]), period / 2))
    median = levels[ranked[min(half, len(ranked) - 1)]]
    return float(lengths @ np.abs(levels - median))


def refined(low: float, high: float, cells: int, degree: int, pieces: int) -> tuple[np.ndarray, np.ndarray]:
    """Atoms that stand for polynomials on uniform cells: the Gauss-Legendre points of equal pieces of the cells.

    Args:
        low: lower end of the first cell.
        high: upper end of the last cell.
        cells: number of cells.
        degree: of the polynomials; their nodes are the Gauss-Legendre points of the cells.
        pieces: of each cell; one, and the atoms are at the nodes.

    Returns:
        Points (cells * n,), n = pieces * (degree + 1), and the matrix (n, degree + 1) that takes the nodal values in a
        cell to the masses of its atoms.
    """
    width = (high - low) / cells
    x, w = scipy.special.roots_legendre(degree + 1)
    within = ((np.arange(pieces)[:, None] + (x + 1) / 2) / pieces).ravel()
    points = low + width * (np.arange(cells)[:, None] + within)
    element = basix.create_element(
        basix.ElementFamily.P,
        basix.CellType.interval,
        degree,
        basix.LagrangeVariant.gl_warped,
        basix.DPCVariant.unset,
        True,
    )
    table = element.tabulate(0, within.reshape(-1, 1))[0, :, :, 0]
    return points.ravel(), np.tile(w / 2, pieces)[:, None] * table * (width / pieces)


def directions(dimension: int, count: int) -> np.ndarray:
    """Unit vectors spread evenly over the sphere, the same in every run, (count, dimension).

    In the plane they are the middles of `count` equal parts of a half circle; otherwise normal vectors of a scrambled
    Sobol sequence, for which `count` is best a power of two.
    """
    if dimension == 2:
        angle = np.pi * (np.arange(count) + 0.5) / count
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    from scipy.stats.qmc import Sobol  # scipy.stats takes half a second and 280 files to load

    engine = Sobol(dimension, scramble=True, rng=np.random.default_rng(SCRAMBLING))
    uniform = engine.random_base2(max(count - 1, 0).bit_length())[:count]
    normal = scipy.special.ndtri(uniform)
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def binned(points: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Few atoms in place of many on a line: each mass goes to the two next to it of BINS that are evenly spaced."""
    low = points.min()
    spacing = max(float(points.max() - low), 1e-300) / (BINS - 2)
    found = np.zeros(BINS)
    _distribute(masses[None, :], np.zeros(1), (points - low) / spacing, found)
    return low + spacing * np.arange(BINS), found


class Slices:
    """Slices of a measure that lives on a lattice whose projections are sums over its axes.

    The masses of each slice are distributed to evenly spaced atoms, each mass to the two next to it so that its mean
    stays; this moves it by a third of their spacing on average.

    Args:
        masses: on the lattice, (n_1, ..., n_D); a few may be negative.
        offsets: for each axis what its points add to the projections, (S, n_j).

    Raises:
        RunError: the masses are not finite, or do not have a positive sum.
    """

    def __init__(self, masses: np.ndarray, offsets: Sequence[np.ndarray]) -> None:
        flat = np.ascontiguousarray(masses.reshape(-1, masses.shape[-1]))
        self._measures = [self._slice(flat, [axis[s] for axis in offsets]) for s in range(len(offsets[0]))]

    @staticmethod
    def _slice(masses: np.ndarray, offsets: list[np.ndarray]) -> LineMeasure:
        rows = np.zeros(1)
        for axis in offsets[:-1]:
            rows = (rows[:, None] + axis).ravel()
        low, high = sum(axis.min() for axis in offsets), sum(axis.max() for axis in offsets)
        spacing = max(high - low, 1e-300) / (BINS - 2)
        binned = np.zeros(BINS)
        _distribute(masses, (rows - low) / spacing, offsets[-1] / spacing, binned)
        kept = binned != 0
        return LineMeasure((low + spacing * np.arange(BINS))[kept], binned[kept])

    def gaps(self, projections: np.ndarray) -> np.ndarray:
        """W_1 and 2 int (F - G)^2 in each slice from a cloud of n points of equal weight, given by its projections.

        Args:
            projections: (S, n).

        Returns:
            (2, S).
        """
        return np.array([m.gaps(p) for m, p in zip(self._measures, projections, strict=True)]).T


@compiled
def _distribute(masses, rows, columns, binned):  # type: ignore[no-untyped-def]
    """Add masses (n, m) at the places rows[i] + columns[j], in spacings, to the atoms (BINS,) on either side."""
    last = len(binned) - 2
    for i in range(len(rows)):
        for j in range(len(columns)):
            place = min(max(rows[i] + columns[j], 0.0), np.float64(last))
            k = int(place)
            share = place - k
            binned[k] += (1.0 - share) * masses[i, j]
            binned[k + 1] += share * masses[i, j]
