"""Probability laws in phase space of which initial densities are made: a value at points, and exact draws.

A law of positions times a law of velocities, or a function of both that a user has written. On a torus the law of a
position is periodic: waves 1 + a sum_j cos(k_j . x) over the volume, or a normal law wrapped around it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.files import PythonFunction, evaluate, load_function

BLOCK = 1 << 17
"""Points at which a user's function is called at once."""

Factor = Callable[[np.ndarray], np.ndarray]
"""A function of one coordinate, (n,) -> (n,)."""


class Law(Protocol):
    """A probability law of points with D coordinates."""

    def density(self, z: np.ndarray) -> np.ndarray:
        """Values at z, (n, D) -> (n,)."""

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n independent points, (n, D)."""

    def inside(self, box: np.ndarray) -> float:
        """Probability of a box (D, 2), which on a torus is all of it."""


class FactoredLaw(Law, Protocol):
    """A law whose density is a sum of products of functions of one coordinate."""

    def terms(self) -> list[list[Factor]]:
        """D functions for each term; where they are complex, the density is the real part of the sum."""


def normal_density(x: np.ndarray, center: float, width: float) -> np.ndarray:
    """The normal density in one coordinate; shape of x."""
    return np.asarray(np.exp(-(((x - center) / width) ** 2) / 2) / (math.sqrt(2 * math.pi) * width))


def wrapped_normal_density(x: np.ndarray, center: float, width: float, period: float) -> np.ndarray:
    """Sum of the normal density over the images x + m period, to rounding; shape of x.

    A narrow law is summed over seven images, a wide one over the six first modes of its Fourier series.
    """
    offset = np.remainder(x - center + period / 2, period) - period / 2
    if width < period / 4:
        return np.asarray(sum(normal_density(offset + m * period, 0.0, width) for m in range(-3, 4)))
    modes = range(1, 7)
    decay = [math.exp(-((2 * math.pi * m * width / period) ** 2) / 2) for m in modes]
    waves = [2 * a * np.cos(2 * math.pi * m * offset / period) for m, a in zip(modes, decay, strict=True)]
    return np.asarray((1 + sum(waves)) / period)


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """(1 + amplitude sum_j cos(k_j . x)) / volume on a torus, |amplitude| J <= 1."""

    torus: Domain
    k: np.ndarray
    """Wave vectors, (J, d)."""
    amplitude: float
    """Of each of them."""

    def _relative(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(1 + self.amplitude * np.cos(x @ self.k.T).sum(axis=1))

    def density(self, z: np.ndarray) -> np.ndarray:
        """Values at z, (n, d) -> (n,)."""
        return np.maximum(self._relative(z), 0.0) / self.torus.volume

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n points, (n, d): even ones, kept by their density."""
        highest = 1 + abs(self.amplitude) * len(self.k)
        drawn = np.empty((0, self.torus.dimension))
        while len(drawn) < n:
            x = self.torus.sample(2 * (n - len(drawn)) + 16, rng)
            drawn = np.concatenate([drawn, x[rng.random(len(x)) * highest < self._relative(x)]])
        return drawn[:n]

    def inside(self, box: np.ndarray) -> float:
        """1: the box is the torus."""
        return 1.0

    def terms(self) -> list[list[Factor]]:
        """The constant, and the waves as products of e^{i k_j x_j}."""
        waves = [(1.0, np.zeros(self.torus.dimension)), *((self.amplitude, k) for k in self.k)]
        scale = self.torus.volume ** (-1 / self.torus.dimension)

        def factor(share: float, k: float) -> Factor:
            return lambda x: share * scale * np.exp(1j * k * x)

        return [[factor(share if j == 0 else 1.0, k[j]) for j in range(len(k))] for share, k in waves]


@dataclass(frozen=True, slots=True, eq=False)
class Normals:
    """Equal mixture of normal laws with a standard deviation for each coordinate; wrapped where `domain` is a torus."""

    domain: Domain
    """The whole space, or a torus."""
    centers: np.ndarray
    """Means, (M, D)."""
    widths: np.ndarray
    """Standard deviations, (D,)."""

    def density(self, z: np.ndarray) -> np.ndarray:
        """Values at z, (n, D) -> (n,)."""
        result = np.zeros(len(z))
        for factors in self.terms():
            product = np.ones(len(z))
            for j, factor in enumerate(factors):
                product *= factor(z[:, j])
            result += product
        return result

    def terms(self) -> list[list[Factor]]:
        """A product for each of the means."""
        share = 1 / len(self.centers)

        def factor(j: int, center: float) -> Factor:
            scale, width = (share if j == 0 else 1.0), self.widths[j]
            if self.domain.bounded:
                return lambda x: scale * wrapped_normal_density(x, center, width, self.domain.size[j])
            return lambda x: scale * normal_density(x, center, width)

        return [[factor(j, float(c)) for j, c in enumerate(center)] for center in self.centers]

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n points, (n, D); on a torus wrapped into it."""
        which = rng.integers(len(self.centers), size=n)
        return self.domain.wrap(self.centers[which] + self.widths * rng.standard_normal((n, len(self.widths))))

    def inside(self, box: np.ndarray) -> float:
        """Probability of a box (D, 2); 1 on a torus."""
        if self.domain.bounded:
            return 1.0
        ends = np.vectorize(math.erfc)((self.centers - box.T[:, None]) / (math.sqrt(2) * self.widths)) / 2
        return float((ends[1] - ends[0]).prod(axis=1).mean())


@dataclass(frozen=True, slots=True)
class Product:
    """Positions and velocities drawn independently."""

    positions: FactoredLaw
    velocities: FactoredLaw

    def density(self, z: np.ndarray) -> np.ndarray:
        """Values at z, (n, 2d) -> (n,)."""
        d = z.shape[1] // 2
        return self.positions.density(z[:, :d]) * self.velocities.density(z[:, d:])

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n points, (n, 2d)."""
        return np.concatenate([self.positions.sample(n, rng), self.velocities.sample(n, rng)], axis=1)

    def inside(self, box: np.ndarray) -> float:
        """Probability of a box (2d, 2)."""
        d = len(box) // 2
        return self.positions.inside(box[:d]) * self.velocities.inside(box[d:])


@dataclass(frozen=True, slots=True)
class FromFunction:
    """A user's function in the box of phase space, zero outside of it, divided by its integral.

    The integral is the trapezoidal rule on a lattice (of spectral accuracy where the function is smooth and periodic,
    or falls to zero at the boundary). Draws take a cell of the lattice by an upper bound of the function in it, then an
    even point of that cell, kept by its value: exact as long as the bounds are. A bound is the greatest value seen in
    the cell and its neighbours, plus half of how much the values there differ; a point above it is an error. Features
    much narrower than a cell are not seen.
    """

    python: PythonFunction
    """"file.py:function" of z (n, 2d) -> (n,)."""
    low: tuple[float, ...]
    """Lower corner of the box, (2d,)."""
    high: tuple[float, ...]
    """Upper corner, (2d,)."""
    periodic: bool
    """Whether the first d coordinates are those of a torus."""

    NAME: ClassVar[str] = "initial.python"

    def check(self) -> None:
        """Evaluate the function on its lattice.

        Raises:
            InputError: it is wrong, zero everywhere, or too rough.
        """
        _lattice(self)

    def raw(self, z: np.ndarray) -> np.ndarray:
        """What the function says at points in the box, (n, 2d) -> (n,)."""
        blocks = [z[i : i + BLOCK] for i in range(0, max(len(z), 1), BLOCK)]
        parts = [
            evaluate(self.python, block, shapes=[(len(block),)], key=self.NAME, nonnegative=True)[0] for block in blocks
        ]
        return np.concatenate(parts)

    def density(self, z: np.ndarray) -> np.ndarray:
        """Values at z, (n, 2d) -> (n,)."""
        z, d = np.array(z, dtype=float), len(self.low) // 2
        low, high = np.array(self.low), np.array(self.high)
        if self.periodic:
            z[:, :d] = Domain.torus(high[:d] - low[:d], low[:d]).wrap(z[:, :d])
        inside = ((z >= low) & (z <= high)).all(axis=1)
        result = np.zeros(len(z))
        result[inside] = self.raw(z[inside]) / _lattice(self).integral
        return result

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n points, (n, 2d).

        Raises:
            InputError: d = 3, for which there is no lattice of bounds; or the function exceeds its bound.
        """
        lattice = _lattice(self)
        if lattice.bounds is None:
            raise InputError(
                f"{self.NAME} = {self.python!r}: particles cannot be drawn from a function in dimension 3; "
                "give a shape, or a function in dimension 1 or 2"
            )
        drawn = np.empty((0, len(self.low)))
        cumulative = np.cumsum(lattice.bounds.ravel())
        while len(drawn) < n:
            number = min(int(1.1 * (n - len(drawn)) / lattice.acceptance) + 64, 1 << 20)
            cell = np.searchsorted(cumulative, rng.random(number) * cumulative[-1], side="right")
            corner = np.stack(np.unravel_index(cell, lattice.bounds.shape), axis=1)
            z = np.array(self.low) + lattice.width * (corner + rng.random(corner.shape))
            z = np.minimum(z, self.high)
            value, bound = self.raw(z), lattice.bounds.ravel()[cell]
            if np.any(value > bound):
                at = ", ".join(f"{c:.6g}" for c in z[np.argmax(value - bound)])
                raise InputError(
                    f"{self.NAME} = {self.python!r}: it has a peak at ({at}) that is narrower than the cells "
                    f"{', '.join(f'{w:.3g}' for w in lattice.width)} from which particles are drawn; "
                    "shrink model.domain, or smooth the function"
                )
            drawn = np.concatenate([drawn, z[rng.random(number) * bound < value]])
        return drawn[:n]

    def inside(self, box: np.ndarray) -> float:
        """1: it is zero outside of its box."""
        return 1.0


class _Lattice:
    """A function on the corners and midpoints of the cells of its box: its integral, and bounds in the cells.

    Attributes:
        integral: over the box.
        width: (2d,) edges of a cell.
        bounds: upper bound in each cell; None in dimension 3.
        acceptance: share of the volume under the bounds that is under the function.
    """

    CELLS: ClassVar[dict[int, int]] = {1: 512, 2: 24, 3: 8}
    """Cells in each coordinate, for d."""
    ROUGH: ClassVar[float] = 0.05
    """Largest relative difference between the integral and that on every second point."""

    def __init__(self, source: FromFunction) -> None:
        low, high = np.array(source.low), np.array(source.high)
        d = len(low) // 2
        n = self.CELLS[d]
        self.width = (high - low) / n
        axes = [a + w / 2 * np.arange(2 * n + 1) for a, w in zip(low, self.width, strict=True)]
        fine = [_trapezoid(2 * n + 1, w / 2) for w in self.width]
        coarse = [_trapezoid(n + 1, w, spread=2) for w in self.width]
        self.integral, rough, values = 0.0, 0.0, []
        for at, z in _slabs(axes, periodic=source.periodic):
            slab = source.raw(z).reshape(-1, *(len(axis) for axis in axes[1:]))
            self.integral += _contract(slab, [fine[0][at], *fine[1:]])
            rough += _contract(slab, [coarse[0][at], *coarse[1:]])
            values += [slab] if d < 3 else []
        self._check(source, rough)
        self.bounds = self._bounds(np.concatenate(values), source.periodic) if d < 3 else None
        volume = 0.0 if self.bounds is None else float(self.bounds.sum() * self.width.prod())
        self.acceptance = self.integral / volume if volume else 0.0

    def _check(self, source: FromFunction, rough: float) -> None:
        where = f"{source.NAME} = {source.python!r}"
        if not self.integral > 0:
            raise InputError(f"{where}: it is zero all over model.domain")
        if abs(rough - self.integral) > self.ROUGH * self.integral:
            spacing = ", ".join(f"{w / 2:.3g}" for w in self.width)
            raise InputError(
                f"{where}: its integral over model.domain is {self.integral:.6g} on a lattice of spacing {spacing}, "
                f"and {rough:.6g} on one of twice that; shrink the domain, or smooth the function"
            )

    @staticmethod
    def _bounds(values: np.ndarray, periodic: bool) -> np.ndarray:
        """From the values on all points, those of three cells in each coordinate around each cell."""
        from scipy.ndimage import maximum_filter, minimum_filter

        D = values.ndim
        if periodic:  # the last point is the first one
            values = values[(slice(None, -1),) * (D // 2)]
        mode: list[Literal["wrap", "nearest"]] = ["wrap" if periodic and j < D // 2 else "nearest" for j in range(D)]
        middle = (slice(1, None, 2),) * D
        highest = maximum_filter(values, size=7, mode=mode)[middle]
        lowest = minimum_filter(values, size=7, mode=mode)[middle]
        return np.asarray(highest + 0.5 * (highest - lowest))


def _trapezoid(points: int, spacing: float, spread: int = 1) -> np.ndarray:
    """Weights of the trapezoidal rule; zeros between them where they are spread over more points."""
    weights = np.zeros(spread * (points - 1) + 1)
    weights[::spread] = spacing
    weights[[0, -1]] /= 2
    return weights


def _contract(values: np.ndarray, weights: list[np.ndarray]) -> float:
    result: Any = values
    for w in reversed(weights):
        result = result @ w
    return float(result)


def _slabs(axes: list[np.ndarray], *, periodic: bool) -> Iterator[tuple[slice, np.ndarray]]:
    """The points of a lattice, a few values of the first coordinate at a time: which ones, and the points (n, D).

    On a torus the upper end of a position is passed on as the lower one.
    """
    if periodic:
        axes = [np.append(a[:-1], a[0]) if j < len(axes) // 2 else a for j, a in enumerate(axes)]
    rest = math.prod(len(axis) for axis in axes[1:])
    step = max(1, 8 * BLOCK // rest)
    for i in range(0, len(axes[0]), step):
        at = slice(i, min(i + step, len(axes[0])))
        grid = np.meshgrid(axes[0][at], *axes[1:], indexing="ij")
        yield at, np.stack([axis.ravel() for axis in grid], axis=1)


def _lattice(source: FromFunction) -> _Lattice:
    return _kept_lattice(source, load_function(source.python))


@functools.lru_cache(maxsize=2)
def _kept_lattice(source: FromFunction, function: object) -> _Lattice:
    """That of a function, which is another one when its file has changed."""
    return _Lattice(source)
