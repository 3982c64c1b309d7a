"""Initial densities that a case can name: each has a mass, a value at points, and a way to draw from it.

Written for any dimension d: points are arrays (n, d).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Tag

from limitpde.checked import Coordinate, Moderate, Vector, record, told_apart
from limitpde.errors import InputError
from limitpde.files import PythonFunction, evaluate, load_function


def _distance(x: np.ndarray, center: tuple[float, ...]) -> np.ndarray:
    return np.asarray(np.linalg.norm(x - np.array(center), axis=1))


def _directions(rng: np.random.Generator, n: int, dimension: int) -> np.ndarray:
    normal = rng.standard_normal((n, dimension))
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def _ball_volume(dimension: int, radius: float) -> float:
    from scipy.special import gamma

    return float(math.pi ** (dimension / 2) / gamma(dimension / 2 + 1) * radius**dimension)


@record
class Gaussian:
    """mass * N(center, width^2 I)."""

    shape: Literal["gaussian"] = "gaussian"
    mass: Moderate
    """Integral of the density."""
    center: Vector
    """Mean, (d,)."""
    width: Moderate
    """Standard deviation in each coordinate, a length."""

    def density(self, x: np.ndarray) -> np.ndarray:
        """Values at x, (n, d) -> (n,)."""
        scale = self.mass / (2 * np.pi * self.width**2) ** (x.shape[1] / 2)
        return np.asarray(scale * np.exp(-(_distance(x, self.center) ** 2) / (2 * self.width**2)))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n points, (n, d)."""
        return np.array(self.center) + self.width * rng.standard_normal((n, len(self.center)))


@record
class UniformDisk:
    """mass spread evenly over the disk (ball) |x - center| < radius."""

    shape: Literal["disk"] = "disk"
    mass: Moderate
    """Integral of the density."""
    center: Vector
    """Centre, (d,)."""
    radius: Moderate
    """Radius, a length."""

    def density(self, x: np.ndarray) -> np.ndarray:
        """Values at x, (n, d) -> (n,)."""
        inside = _distance(x, self.center) < self.radius
        return np.asarray(inside * (self.mass / _ball_volume(x.shape[1], self.radius)))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n points, (n, d)."""
        d = len(self.center)
        radius = self.radius * rng.random((n, 1)) ** (1 / d)
        return np.array(self.center) + radius * _directions(rng, n, d)


@record
class Ring:
    """mass around the circle |x - center| = radius in the plane, ~ exp(-(|x - center| - radius)^2 / (2 width^2))."""

    shape: Literal["ring"] = "ring"
    mass: Moderate
    """Integral of the density."""
    center: tuple[Coordinate, Coordinate]
    """Centre, (2,)."""
    radius: Moderate
    """Radius of the circle, a length."""
    width: Moderate
    """Standard deviation across the circle, a length."""

    @property
    def _normalisation(self) -> float:
        """2 pi int_0^inf exp(-(r - a)^2 / (2 w^2)) r dr."""
        a, w = self.radius, self.width
        tail = w**2 * math.exp(-(a**2) / (2 * w**2))
        return 2 * math.pi * (tail + a * w * math.sqrt(math.pi / 2) * (1 + math.erf(a / (w * math.sqrt(2)))))

    def density(self, x: np.ndarray) -> np.ndarray:
        """Values at x, (n, 2) -> (n,)."""
        r = _distance(x, self.center)
        return np.asarray(self.mass / self._normalisation * np.exp(-((r - self.radius) ** 2) / (2 * self.width**2)))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n points, (n, 2): normal radii accepted with a probability proportional to r."""
        highest = self.radius + 8 * self.width
        radii = np.empty(0)
        while len(radii) < n:
            r = self.radius + self.width * rng.standard_normal(2 * n + 16)
            radii = np.append(radii, r[(r > 0) & (rng.random(len(r)) * highest < r)])
        return np.array(self.center) + radii[:n, None] * _directions(rng, n, 2)


@record
class Uniform:
    """mass spread evenly over the whole domain, which must be bounded; drawn and evaluated by what knows the domain."""

    shape: Literal["uniform"] = "uniform"
    mass: Moderate
    """Integral of the density."""


@record
class DensityFromFile:
    """A density given by a Python function f(x), x of shape (n, d), in a file: python = "file.py:function".

    It is multiplied by a constant so that its integral over the ball of the given radius, outside of which it counts as
    zero, is `mass`.
    """

    python: PythonFunction
    """"file.py:function"; the file is run."""
    mass: Moderate
    """Integral of the density."""
    center: Vector = (0.0, 0.0)
    """Centre of the ball that holds the density, (d,)."""
    radius: Moderate
    """Radius of that ball, a length."""

    def __post_init__(self) -> None:
        self._raw(np.array([self.center, self.center]))

    def _raw(self, x: np.ndarray) -> np.ndarray:
        inside = _distance(x, self.center) <= self.radius
        number = int(np.count_nonzero(inside))
        (values,) = evaluate(self.python, x[inside], shapes=[(number,)], nonnegative=True)
        result = np.zeros(len(inside))
        result[inside] = values
        return result

    def density(self, x: np.ndarray) -> np.ndarray:
        """Values at x, (n, d) -> (n,)."""
        return np.asarray(self.mass / _grid_of(self).integral * self._raw(x))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n points, (n, d): a cell of a fine grid by its mass, then a point in it, kept by its density."""
        grid = _grid_of(self)
        d = grid.midpoints.shape[1]
        drawn = np.empty((0, d))
        while len(drawn) < n:
            at = np.searchsorted(grid.cumulative, rng.random(2 * n + 16), side="right")
            x = grid.midpoints[at] + grid.width * (rng.random((len(at), d)) - 0.5)
            keep = rng.random(len(at)) * 2 * grid.values[at] < self._raw(x)
            drawn = np.concatenate([drawn, x[keep]])
        return drawn[:n]


class _Grid:
    """A function at the midpoints of a grid over its ball: where to draw from, and its integral."""

    CELLS_PER_SIDE: ClassVar[dict[int, int]] = {1: 100_000, 2: 1000, 3: 128}

    def __init__(self, source: DensityFromFile) -> None:
        d = len(source.center)
        n = self.CELLS_PER_SIDE.get(d, 16)
        self.width = 2 * source.radius / n
        line = (np.arange(n) + 0.5) * self.width - source.radius
        axes = np.meshgrid(*(c + line for c in source.center), indexing="ij")
        self.midpoints = np.stack([axis.ravel() for axis in axes], axis=1)
        self.values = source._raw(self.midpoints)
        self.integral = float(self.values.sum() * self.width**d)
        if self.integral == 0:
            raise InputError(f"{source.python} is zero in the ball of radius {source.radius} around {source.center}")
        self.cumulative = np.cumsum(self.values) / self.values.sum()
        self.cumulative[-1] = 1.0


def _grid_of(source: DensityFromFile) -> _Grid:
    return _kept_grid(source, load_function(source.python))


@functools.lru_cache(maxsize=4)
def _kept_grid(source: DensityFromFile, function: object) -> _Grid:
    """That of a function, which is another one when its file has changed."""
    return _Grid(source)


def density_kind(value: Any) -> str:
    """The tag of a density."""
    if isinstance(value, dict):
        return "from file" if "python" in value else str(value.get("shape", "gaussian"))
    return "from file" if isinstance(value, DensityFromFile) else str(getattr(value, "shape", "gaussian"))


NODES = ("the nodes of the mesh see", "the nodes see")
SEEN_AT_LEAST = 0.5
"""Share of the mass of a density that a mesh must see."""
UNRESOLVED = 0.02
"""Relative error in the mass of a density, as a mesh sees it, from which the user is told."""


def checked_share(name: str, share: float, warnings: list[str], *, eyes: tuple[str, str] = NODES) -> float:
    """The share of its mass that a mesh sees of a density, by which the values are divided.

    Args:
        name: the key of the density.
        share: what is seen.
        warnings: gains a line where it is not nearly all.

    Keyword Args:
        eyes: what sees it, in an error and in a warning.

    Raises:
        InputError: the mesh sees less than half.
    """
    if not share > SEEN_AT_LEAST:
        seen = f"{eyes[0]} {share:.3g} of its mass"
        raise InputError(f"{name}: {seen}; it lies outside the mesh, or between its nodes")
    if abs(share - 1) > UNRESOLVED:
        warnings.append(f"{name}: {eyes[1]} {share:.4g} of its mass, which was scaled to all")
    return share


def drawn(
    parts: Sequence[Gaussian | UniformDisk | Ring | DensityFromFile], number: int, rng: np.random.Generator
) -> np.ndarray:
    """So many points from the sum of some densities, those of each part together, (n, d)."""
    masses = np.array([part.mass for part in parts])
    numbers = rng.multinomial(number, masses / masses.sum())
    return np.concatenate([part.sample(n, rng) for part, n in zip(parts, numbers, strict=True)])


Density = Gaussian | UniformDisk | Ring | DensityFromFile
AnyDensityIn = Annotated[
    Annotated[Gaussian, Tag("gaussian")]
    | Annotated[UniformDisk, Tag("disk")]
    | Annotated[Ring, Tag("ring")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[DensityFromFile, Tag("from file")],
    told_apart(density_kind, "'gaussian', 'disk', 'ring', 'uniform'; or give python = 'file.py:function'"),
]
"""What a case can name; `Uniform` only in a bounded domain."""
