"""Collision of two Brownian particles under any V: Hammond (1.8) as an integral equation on a grid, by FFT.

With the Green function G of -Lap in R^d (d = 2: -log(r / l) / (2 pi) with a length l that exceeds the diameter of all
that is looked at), psi + s G V psi = 1, or symmetrically

    (1 + s A) phi = V^(1/2),   A = V^(1/2) G V^(1/2) >= 0,   phi = V^(1/2) psi,
    F(s) = int V psi = <V^(1/2), (1 + s A)^-1 V^(1/2)>;

    d = 3:  w = 1 - u = psi, beta = D s F = D g(s)      (1.9);
    d = 2:  psi ~ 1 + s F log(r / l) / (2 pi), so that w ~ log(r / a) with log a = log l - 2 pi / (s F).

Points: the centres of n cells per axis of the smallest box around the support, so that the spacing differs by axis; G
is cut off beyond the box, where its Fourier transform is known (Vico, Greengard, Ferrando 2016), and the sums are
spectrally accurate for smooth V. F(s) is a Stieltjes function: one run of Lanczos's method gives its Gauss quadrature
sum_j omega_j / (1 + s theta_j), hence beta for all s at once, with the convergence of conjugate gradients. The grid is
refined until two grids agree, and their difference is the error that is reported; where V has jumps, the values are
means over cells.
"""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass

import numba
import numpy as np
import scipy.fft
from scipy.linalg import eigh_tridiagonal
from scipy.special import j0

from limitpde.coagulation.interaction import Ellipsoid, Interaction, InteractionFromFile
from limitpde.compiled import compiled
from limitpde.errors import InputError, RunError

TOLERANCE = 1e-7
"""Relative difference of two grids at which refinement stops; the finer is then off by a tenth of it or less."""
LADDERS = {3: (32, 48, 64, 96), 2: (64, 96, 128, 192, 256)}
"""Numbers of cells per axis that are tried one after another, by dimension."""
POINTS, CUT_POINTS = 24, 256
"""Points for the mean of a rough V over a cell, and over a cell in which it varies much."""
ROUGH = 1e-5
"""Relative difference of int V on two grids above which V is taken for one with jumps."""
WARN = 1e-6
"""Relative error above which a warning is given."""
INEXACT = "beta has an estimated relative error"
"""How that warning begins."""
MOST_POINTS = 2**25
"""Largest table of G, the limit of what a flat V may ask for."""
MOST_ITERATIONS = 500
"""Where Lanczos's method and conjugate gradients give up."""


class SupportGrid:
    """Cells around the support of V, with A as a product.

    Args:
        interaction: V.
        dimension: 2 or 3.
        cells: cells per axis over the support, even.

    Keyword Args:
        margin: further cells on each side.
        averaged: take means of V over the cells instead of values at their centres.
    """

    def __init__(
        self, interaction: Interaction, dimension: int, cells: int, *, margin: int = 0, averaged: bool = False
    ) -> None:
        reach = interaction.reach(dimension)
        half = np.array(interaction.axes) if isinstance(interaction, Ellipsoid) else np.full(dimension, reach)
        self.dimension, self.cells, self.margin = dimension, cells + 2 * margin, margin
        self.spacing = 2 * half / cells
        self.axes = [h * (np.arange(self.cells) + 0.5 - self.cells / 2) for h in self.spacing]
        self.volume = float(self.spacing.prod())
        self.values = self._sample(interaction, averaged)
        self.root = np.sqrt(self.values)
        self.cut = float(np.linalg.norm(self.spacing * self.cells / 2)) + reach
        """Length beyond which G is cut off: from any point of the box to any of the support; d = 2: also l."""
        self._green = self._transform()

    def _sample(self, interaction: Interaction, averaged: bool) -> np.ndarray:
        """The even part of V on the grid; scaled to the exact integral where that is known."""
        lines = np.meshgrid(*self.axes, indexing="ij")
        points = np.stack([line.ravel() for line in lines], axis=1)
        found = _means(interaction, points, self.spacing) if averaged else interaction.values(points)
        values = found.reshape((self.cells,) * self.dimension)
        values = (values + np.flip(values)) / 2
        if isinstance(interaction, InteractionFromFile):
            return values
        return np.asarray(values * interaction.integral(self.dimension) / (values.sum() * self.volume))

    def _transform(self) -> np.ndarray:
        """Transform of G times a cell's volume, on displacements within the box, for twice as many points per axis."""
        edges = self.spacing * self.cells
        halves = [max(self.cells, math.ceil((1 + self.cut / edge) * self.cells / 2)) for edge in edges]
        if math.prod(halves) > MOST_POINTS:
            raise InputError(
                "interaction: V is too flat for a grid, its box has the edges "
                + ", ".join(f"{edge:.3g}" for edge in edges)
            )
        lines = [np.pi * np.arange(half + 1) / (half * h) for half, h in zip(halves, self.spacing, strict=True)]
        square = np.zeros((1,) * self.dimension)
        for line in np.meshgrid(*lines, indexing="ij", sparse=True):
            square = square + line**2
        square[(0,) * self.dimension] = 1.0
        k = np.sqrt(square)
        if self.dimension == 3:
            green, middle = 2 * (np.sin(k * self.cut / 2) / k) ** 2, self.cut**2 / 2
        else:
            green, middle = (1 - j0(k * self.cut)) / square, self.cut**2 / 4
        green[(0,) * self.dimension] = middle
        near = scipy.fft.dctn(green, type=1, overwrite_x=True, workers=_workers())
        near = near[(slice(self.cells + 1),) * self.dimension] / math.prod(2 * half for half in halves)
        table = scipy.fft.dctn(near, type=1, workers=_workers())
        for axis in range(self.dimension - 1):
            mirrored = np.flip(np.take(table, range(1, self.cells), axis=axis), axis=axis)
            table = np.concatenate([table, mirrored], axis=axis)
        return np.asarray(table)

    def green(self, charge: np.ndarray) -> np.ndarray:
        """G * charge on the grid, both (cells,) * d."""
        shape, axes = (2 * self.cells,) * self.dimension, tuple(range(self.dimension))
        hat = scipy.fft.rfftn(charge, shape, axes=axes, workers=_workers())
        hat *= self._green
        found = scipy.fft.irfftn(hat, shape, axes=axes, overwrite_x=True, workers=_workers())
        return np.asarray(found[(slice(self.cells),) * self.dimension])

    def product(self, phi: np.ndarray) -> np.ndarray:
        """A phi."""
        return np.asarray(self.root * self.green(self.root * phi))


def _means(interaction: Interaction, centers: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Means of V over the cells around points (n, d) -> (n,): over more points where V varies much within the cell.

    The points are Kronecker's, multiples of powers of 1 / g, g^(d+1) = g + 1: no two lie in one plane across an axis.
    """
    d = centers.shape[1]
    ratio = {2: 1.324717957244746, 3: 1.2207440846057596}[d] ** -np.arange(1.0, d + 1)
    shifts = ((np.arange(CUT_POINTS)[:, None] * ratio + 0.5) % 1 - 0.5) * spacing
    total = interaction.values(centers)
    low, high = total.copy(), total.copy()
    for shift in shifts[1:POINTS]:
        found = interaction.values(centers + shift)
        total += found
        np.minimum(low, found, out=low)
        np.maximum(high, found, out=high)
    means = total / POINTS
    cut = np.flatnonzero(high - low > 0.05 * high.max(initial=0.0))
    refined = total[cut]
    for shift in shifts[POINTS:]:
        refined += interaction.values(centers[cut] + shift)
    means[cut] = refined / CUT_POINTS
    return means


def _midpoint(interaction: Interaction, dimension: int, cells: int, averaged: bool) -> float:
    """Int V as the sum over cells of the box around the support."""
    half = interaction.reach(dimension)
    line = half * (2 * np.arange(cells) + 1 - cells) / cells
    points = np.stack([axis.ravel() for axis in np.meshgrid(*[line] * dimension, indexing="ij")], axis=1)
    spacing = np.full(dimension, 2 * half / cells)
    values = _means(interaction, points, spacing) if averaged else interaction.values(points)
    return float(values.sum() * spacing.prod())


def _workers() -> int:
    return int(numba.get_num_threads())


@dataclass(frozen=True, slots=True)
class StieltjesQuadrature:
    """F(s) = sum_j weights_j / (1 + s nodes_j), good for s <= largest."""

    nodes: np.ndarray
    weights: np.ndarray
    largest: float
    length: float  # l, d = 2
    cells: int  # per axis

    @property
    def integral(self) -> float:
        """F(0) = int V."""
        return float(self.weights.sum())

    def at(self, s: np.ndarray) -> np.ndarray:
        """F at s > 0 of any shape."""
        s = np.asarray(s, dtype=float)
        return np.asarray(_rational(s.ravel(), self.nodes, self.weights)).reshape(s.shape)

    def conductance(self, s: np.ndarray) -> np.ndarray:
        """g(s) = beta / D, d = 3."""
        return np.asarray(s * self.at(s))

    def log_length(self, s: np.ndarray) -> np.ndarray:
        """log a(s), d = 2."""
        return np.asarray(math.log(self.length) - 2 * np.pi / (s * self.at(s)))


@compiled(parallel=True)
def _rational(s: np.ndarray, nodes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    result = np.zeros(len(s))
    for i in numba.prange(len(s)):
        for j in range(len(nodes)):
            result[i] += weights[j] / (1.0 + s[i] * nodes[j])
    return result


def quadrature(grid: SupportGrid, largest: float, *, tolerance: float = 1e-13) -> StieltjesQuadrature:
    """The Gauss quadrature of F by Lanczos's method, run until F no longer changes at s = largest.

    Raises:
        RunError: it does not settle.
    """
    norm = float(grid.values.sum()) * grid.volume
    if norm == 0:
        raise InputError("interaction: V is zero at all points of a grid around its support")
    vector = grid.root / math.sqrt(float((grid.root**2).sum()))
    before, across, found = np.zeros_like(vector), 0.0, 0.0
    diagonal: list[float] = []
    off: list[float] = []
    for _ in range(MOST_ITERATIONS):
        image = grid.product(vector) - across * before
        diagonal.append(float((image * vector).sum()))
        image -= diagonal[-1] * vector
        theta, vectors = eigh_tridiagonal(np.array(diagonal), np.array(off))
        result = StieltjesQuadrature(theta, norm * vectors[0] ** 2, largest, grid.cut, grid.cells)
        value = float(result.at(np.array(largest)))
        across = math.sqrt(float((image**2).sum()))
        if abs(value - found) <= tolerance * value or across <= 1e-14 * theta[-1]:
            return result
        found = value
        off.append(across)
        before, vector = vector, image / across
    raise RunError(
        f"interaction: alpha / D = {largest:.3g} is too large for a grid, Lanczos's method did not settle in "
        f"{MOST_ITERATIONS} steps; beta has the upper bound D Cap(supp V)"
    )


def solve(grid: SupportGrid, s: float, *, tolerance: float = 1e-12) -> np.ndarray:
    """The charge V psi on the grid, by conjugate gradients for phi.

    Raises:
        RunError: they do not converge.
    """
    phi, rest = np.zeros_like(grid.root), grid.root.copy()
    direction, square = rest.copy(), float((rest**2).sum())
    goal = tolerance**2 * square
    for _ in range(MOST_ITERATIONS):
        image = direction + s * grid.product(direction)
        step = square / float((direction * image).sum())
        phi += step * direction
        rest -= step * image
        before, square = square, float((rest**2).sum())
        if square <= goal:
            return np.asarray(grid.root * phi)
        direction = rest + square / before * direction
    raise RunError(
        f"interaction: alpha / D = {s:.3g} is too large for a grid, conjugate gradients did not converge in "
        f"{MOST_ITERATIONS} steps"
    )


class GridScattering:
    """Any V seen from afar, on grids that are refined until two of them agree.

    Args:
        interaction: V.
        dimension: 2 or 3.
    """

    def __init__(self, interaction: Interaction, dimension: int) -> None:
        self._interaction, self._dimension = interaction, dimension
        self._pair: tuple[StieltjesQuadrature, StieltjesQuadrature] | None = None

    def on(self, cells: int, largest: float, *, averaged: bool = False) -> StieltjesQuadrature:
        """The quadrature on one grid."""
        return quadrature(SupportGrid(self._interaction, self._dimension, cells, averaged=averaged), largest)

    @functools.cached_property
    def integral(self) -> float:
        """Int V: sums over two grids if they agree, or else of means."""
        coarse, fine = (_midpoint(self._interaction, self._dimension, cells, False) for cells in (96, 128))
        if abs(coarse - fine) <= ROUGH * fine:
            return fine
        return _midpoint(self._interaction, self._dimension, 96, True)

    def _for(self, s: np.ndarray) -> tuple[StieltjesQuadrature, StieltjesQuadrature]:
        """Quadratures of the two finest grids, good for these s."""
        if self._pair is None or s.max(initial=0.0) > self._pair[1].largest:
            self._pair = self._refine(2 * float(s.max()))  # with some room, should s grow from call to call
        return self._pair

    def _refine(self, largest: float) -> tuple[StieltjesQuadrature, StieltjesQuadrature]:
        ladder = LADDERS[self._dimension]
        coarse, fine = (self.on(cells, largest) for cells in ladder[:2])
        averaged = False
        for cells in ladder[2:]:
            difference = self._relative(coarse, fine)
            if difference <= TOLERANCE:
                break
            if not averaged and abs(coarse.integral / fine.integral - 1) > ROUGH:
                averaged = True
                fine = self.on(fine.cells, largest, averaged=averaged)
            coarse, fine = fine, self.on(cells, largest, averaged=averaged)
        difference = self._relative(coarse, fine)
        if difference > 1e-2:
            raise RunError(f"V is too rough for a grid: beta would be off by {difference:.1e} (relative)")
        if difference > WARN:
            warnings.warn(
                f"{INEXACT} of {difference:.1e}: V is not smooth, or alpha / D is large, up to {largest / 2:.3g}",
                RuntimeWarning,
                stacklevel=2,
            )
        return coarse, fine

    def _relative(self, coarse: StieltjesQuadrature, fine: StieltjesQuadrature) -> float:
        """Largest relative difference of F over the s asked for."""
        s = fine.largest / 2 * np.array([1e-3, 1e-2, 1e-1, 1.0])
        return float(np.abs(coarse.at(s) / fine.at(s) - 1).max())

    def conductance(self, s: np.ndarray) -> np.ndarray:
        """g(s) = beta / D, d = 3."""
        return self._for(s)[1].conductance(s)

    def log_length(self, s: np.ndarray) -> np.ndarray:
        """log a(s), d = 2."""
        return self._for(s)[1].log_length(s)

    def error(self, s: np.ndarray) -> np.ndarray:
        """Estimated relative error of F(s): the difference of the two finest grids."""
        coarse, fine = self._for(s)
        return np.asarray(np.abs(coarse.at(s) / fine.at(s) - 1))
