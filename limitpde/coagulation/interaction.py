"""The microscopic interaction: alpha(n, m) and V of Hammond section 1.3.

A pair of particles of masses n, m at a displacement eps x from each other coagulates at the rate
alpha(n, m) eps^-2 V(x) (with a factor 1 / |log eps| in two dimensions). V is bounded, not negative, and zero outside a
ball around 0; as the pair rate is symmetric, only the even part of V matters.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag

from limitpde.checked import LARGEST, Moderate, record, told_apart
from limitpde.files import PythonFunction, evaluate, load_function

NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]
ALPHA = (
    "alpha(n, m): for all masses alike; as a matrix, beyond which its last row and column hold; or { power, scale }, "
    "scale (n m)^power."
)


@record
class ProductLaw:
    """scale (n m)^power."""

    power: Annotated[float, Field(ge=-4, le=4)]
    """Exponent of each mass."""
    scale: Moderate = 1.0
    """Value for two of mass one."""

    def factor(self, n: np.ndarray) -> np.ndarray:
        """What each mass n contributes, of any shape."""
        return np.asarray(np.asarray(n, dtype=float) ** self.power)


def _alpha_kind(value: Any) -> str | None:
    if isinstance(value, dict | ProductLaw):
        return "law"
    if isinstance(value, list | tuple):
        return "matrix"
    return "number" if isinstance(value, float | int) else None


Alpha = Annotated[
    Annotated[NotNegative, Tag("number")]
    | Annotated[tuple[tuple[NotNegative, ...], ...], Tag("matrix")]
    | Annotated[ProductLaw, Tag("law")],
    Discriminator(
        _alpha_kind,
        custom_error_type="table",
        custom_error_message="Input should be a number, a list of rows, or a section { power = ..., scale = ... }",
    ),
    Field(description=ALPHA),
]


def sphere_area(dimension: int) -> float:
    """Area of the unit sphere in R^d: 2, 2 pi, 4 pi, ..."""
    from scipy.special import gamma

    return float(2 * math.pi ** (dimension / 2) / gamma(dimension / 2))


@functools.cache
def _bump_integral(dimension: int) -> float:
    """Integral of exp(-1 / (1 - |x|^2)) over the unit ball of R^d: 0.4665... (d = 2), 0.4411... (d = 3)."""
    from scipy.integrate import quad

    value, _ = quad(
        lambda r: r ** (dimension - 1) * math.exp(-1 / (1 - r * r)) if r < 1 else 0.0, 0, 1, epsabs=1e-15, epsrel=1e-14
    )
    return sphere_area(dimension) * float(value)


def _bump(square: np.ndarray) -> np.ndarray:
    """exp(-1 / (1 - s)) for s = |x|^2 < 1, zero beyond."""
    inside = square < 1
    return np.where(inside, np.exp(-1 / np.where(inside, 1 - square, 1.0)), 0.0)


def _check_alpha(alpha: Any) -> None:
    if isinstance(alpha, tuple) and (not alpha or any(len(row) != len(alpha) for row in alpha)):
        raise ValueError("alpha: must be a number or a square matrix, a list of rows")
    if isinstance(alpha, tuple) and not np.array_equal(np.array(alpha), np.array(alpha).T):
        raise ValueError("alpha: must be symmetric, alpha(n, m) = alpha(m, n)")


@record
class _Round(ABC):
    """V of the distance alone, zero beyond a radius."""

    shape: str
    radius: Moderate = 1.0
    """Radius of the support, in units of eps."""
    alpha: Alpha

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    @property
    def radial(self) -> bool:
        """Whether V depends on |x| only."""
        return True

    def reach(self, dimension: int) -> float:
        """Radius of a ball around 0 outside of which V is zero, in units of eps."""
        return self.radius

    @abstractmethod
    def integral(self, dimension: int) -> float:
        """Int V."""

    @abstractmethod
    def profile(self, r: np.ndarray, dimension: int) -> np.ndarray:
        """V at the distances r >= 0, of any shape."""

    def values(self, x: np.ndarray) -> np.ndarray:
        """V at the points (n, d) -> (n,)."""
        return self.profile(np.linalg.norm(x, axis=1), x.shape[1])


@record
class DoiBall(_Round):
    """V = 1 for |x| < radius, 0 beyond (the Doi or lambda-rho model)."""

    shape: Literal["ball"] = "ball"

    def integral(self, dimension: int) -> float:
        """Int V."""
        return sphere_area(dimension) / dimension * self.radius**dimension

    def profile(self, r: np.ndarray, dimension: int) -> np.ndarray:
        """V at the distances r >= 0, of any shape."""
        return np.where(np.asarray(r) < self.radius, 1.0, 0.0)


@record
class Bump(_Round):
    """V = exp(-1 / (1 - |x/radius|^2)) up to a factor that makes int V = 1: smooth, as the theorem asks."""

    shape: Literal["bump"] = "bump"

    def integral(self, dimension: int) -> float:
        """Int V."""
        return 1.0

    def profile(self, r: np.ndarray, dimension: int) -> np.ndarray:
        """V at the distances r >= 0, of any shape."""
        scale = _bump_integral(dimension) * self.radius**dimension
        return _bump((np.asarray(r) / self.radius) ** 2) / scale


@record
class Ellipsoid:
    """The bump on an ellipsoid: V = exp(-1 / (1 - q)), q = sum (x_c / axes_c)^2 < 1, with int V = 1."""

    shape: Literal["ellipsoid"] = "ellipsoid"
    axes: Annotated[tuple[Moderate, ...], Field(min_length=2, max_length=3)]
    """Half axes along the coordinates, (d,), in units of eps."""
    alpha: Alpha

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    @property
    def radial(self) -> bool:
        """Whether V depends on |x| only."""
        return len(set(self.axes)) == 1

    def reach(self, dimension: int) -> float:
        """Radius of a ball around 0 outside of which V is zero, in units of eps."""
        return max(self.axes)

    def integral(self, dimension: int) -> float:
        """Int V."""
        return 1.0

    def profile(self, r: np.ndarray, dimension: int) -> np.ndarray:
        """V at the distances r >= 0 along the first axis."""
        points = np.zeros((np.size(r), dimension))
        points[:, 0] = np.ravel(r)
        return self.values(points).reshape(np.shape(r))

    def values(self, x: np.ndarray) -> np.ndarray:
        """V at the points (n, d) -> (n,)."""
        square = ((x / np.array(self.axes)) ** 2).sum(axis=1)
        return _bump(square) / (_bump_integral(x.shape[1]) * math.prod(self.axes))


@record
class InteractionFromFile:
    """V given by a Python function of the points (n, d) -> (n,) in a file: python = "file.py:function"."""

    python: PythonFunction
    """"file.py:function"; the file is run."""
    radius: Moderate
    """V counts as zero at and beyond this distance from 0, in units of eps."""
    radial: bool = False
    """Whether V depends on |x| only, which the function is then trusted to do."""
    alpha: Alpha

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)
        load_function(self.python)

    def reach(self, dimension: int) -> float:
        """Radius of a ball around 0 outside of which V is zero, in units of eps."""
        return self.radius

    def profile(self, r: np.ndarray, dimension: int) -> np.ndarray:
        """V at the distances r >= 0 along the first axis."""
        points = np.zeros((np.size(r), dimension))
        points[:, 0] = np.ravel(r)
        return self.values(points).reshape(np.shape(r))

    def values(self, x: np.ndarray) -> np.ndarray:
        """V at the points (n, d) -> (n,).

        Raises:
            InputError: the function fails, or returns something else than n finite values >= 0.
        """
        inside = np.linalg.norm(x, axis=1) < self.radius
        number = int(np.count_nonzero(inside))
        (found,) = evaluate(self.python, x[inside], shapes=[(number,)], nonnegative=True)
        result = np.zeros(len(x))
        result[inside] = found
        return result


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "from file" if "python" in value else str(value.get("shape", "ball"))
    return "from file" if isinstance(value, InteractionFromFile) else str(getattr(value, "shape", "ball"))


Interaction = DoiBall | Bump | Ellipsoid | InteractionFromFile
AnyInteraction = Annotated[
    Annotated[DoiBall, Tag("ball")]
    | Annotated[Bump, Tag("bump")]
    | Annotated[Ellipsoid, Tag("ellipsoid")]
    | Annotated[InteractionFromFile, Tag("from file")],
    told_apart(_kind, "'ball', 'bump', 'ellipsoid'; or give python = 'file.py:function'"),
]
