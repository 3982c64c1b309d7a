"""Test functions that a case can name, in any dimension, with gradient and Laplacian.

phi(x, b) = g(x) or b g(x) of a charge b, phi(x, m) = g(x) or g(x) 1(m = n) of a mass m.

`limitpde.compare.spatial` evaluates all shapes. A new shape is a record here, its number in `_KINDS` and a branch in
`spatial`. Functions by Python, which may depend on time, are in `limitpde.compare.user_functions`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, Tag

from limitpde.checked import Coordinate, Vector, record, told_apart
from limitpde.compare.user_functions import UserFunction
from limitpde.domains import Domain
from limitpde.errors import InputError


def _factor(charge: bool, n: int | None) -> str:
    """What stands in front of g in the name of a test function."""
    return f"{'b ' if charge else ''}{'' if n is None else f'1(m = {n}) '}"


@record
class GaussianBump:
    """g(x) = exp(-|x - center|^2 / (2 width^2))."""

    shape: Literal["gaussian"] = "gaussian"
    center: Vector
    """Where g = 1, (d,)."""
    width: Annotated[float, Field(ge=1e-100, le=1e100)]
    """Distance at which g = exp(-1/2)."""
    charge: bool = False
    """phi(x, b) = b g(x) instead of g(x)."""
    n: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """phi(x, m) = g(x) for particles of mass m = n, or of the species n, only; 0 for others."""

    @property
    def dimension(self) -> int:
        """d."""
        return len(self.center)

    @property
    def label(self) -> str:
        """A short name for tables and pictures."""
        return f"{_factor(self.charge, self.n)}gaussian(center={list(self.center)}, width={self.width:g})"

    def parameters(self) -> list[float]:
        """What `spatial` needs: center, 1 / width^2."""
        return [*self.center, self.width**-2]


@record
class Wave:
    """g(x) = cos(k . x + phase)."""

    shape: Literal["wave"] = "wave"
    k: Vector
    """Wave vector, (d,)."""
    phase: Coordinate = 0.0
    """Phase at the origin."""
    charge: bool = False
    """phi(x, b) = b g(x) instead of g(x)."""
    n: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """phi(x, m) = g(x) for particles of mass m = n, or of the species n, only; 0 for others."""

    @property
    def dimension(self) -> int:
        """d."""
        return len(self.k)

    @property
    def label(self) -> str:
        """A short name for tables and pictures."""
        return f"{_factor(self.charge, self.n)}wave(k={list(self.k)}, phase={self.phase:g})"

    def parameters(self) -> list[float]:
        """What `spatial` needs: k, phase."""
        return [*self.k, self.phase]


def _kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return "python" if "python" in value else value.get("shape")
    return getattr(value, "shape", None)


TestFunction = Annotated[
    Annotated[GaussianBump, Tag("gaussian")] | Annotated[Wave, Tag("wave")] | Annotated[UserFunction, Tag("python")],
    told_apart(_kind, "'gaussian', 'wave'; or give python = 'file.py:function'"),
]


@dataclass(frozen=True, slots=True)
class PeriodicBump:
    """The sum of the images of a Gaussian around a torus."""

    one: GaussianBump
    size: tuple[float, ...]
    """Edges of the torus, (d,)."""
    shape: Literal["periodic gaussian"] = "periodic gaussian"

    @property
    def dimension(self) -> int:
        """d."""
        return self.one.dimension

    @property
    def charge(self) -> bool:
        """That of the Gaussian."""
        return self.one.charge

    @property
    def n(self) -> int | None:
        """That of the Gaussian."""
        return self.one.n

    @property
    def label(self) -> str:
        """That of the Gaussian."""
        return self.one.label

    def parameters(self) -> list[float]:
        """What `spatial` needs: center, 1 / width^2, the edges."""
        return [*self.one.parameters(), *self.size]


SpatialFunction = GaussianBump | Wave | PeriodicBump
_KINDS = {"gaussian": 0, "wave": 1, "periodic gaussian": 2}


@dataclass(frozen=True, slots=True)
class FunctionTable:
    """Test functions as arrays, for compiled kernels."""

    kinds: np.ndarray
    """(P,) int64, the shapes."""
    charged: np.ndarray
    """(P,) bool: phi(x, b) = b g(x)."""
    masses: np.ndarray
    """(P,) int64: the only mass n that counts; 0 where all do."""
    parameters: np.ndarray
    """(P, K), see `parameters` of each shape; zeros beyond."""

    @classmethod
    def of(cls, functions: Sequence[SpatialFunction | UserFunction], dimension: int) -> FunctionTable:
        """The table of these functions; those by Python have the kinds -1, -2, ... and are evaluated elsewhere.

        Raises:
            InputError: a function does not live in this dimension.
        """
        for index, function in enumerate(functions):
            if not isinstance(function, UserFunction) and function.dimension != dimension:
                key = "k" if isinstance(function, Wave) else "center"
                raise InputError(
                    f"compare.test_functions[{index}].{key} must have {dimension} entries, not {function.dimension}"
                )
        own = [f for f in functions if isinstance(f, UserFunction)]
        rows = [[] if isinstance(f, UserFunction) else f.parameters() for f in functions]
        parameters = np.zeros((len(rows), max(map(len, rows), default=dimension + 1)))
        for row, values in zip(parameters, rows, strict=True):
            row[: len(values)] = values
        return cls(
            np.array([_KINDS[f.shape] if f not in own else -1 - own.index(f) for f in functions], dtype=np.int64),
            np.array([getattr(f, "charge", False) for f in functions], dtype=bool),
            np.array([getattr(f, "n", None) or 0 for f in functions], dtype=np.int64),
            parameters,
        )


def by_kind(functions: Sequence[TestFunction]) -> tuple[list[GaussianBump | Wave], list[UserFunction], np.ndarray]:
    """Those with shapes, those by Python, and the places (P,) of all among the former and then the latter."""
    shaped: list[GaussianBump | Wave] = [f for f in functions if not isinstance(f, UserFunction)]
    own = [f for f in functions if isinstance(f, UserFunction)]
    order = np.argsort([isinstance(f, UserFunction) for f in functions], kind="stable")
    return shaped, own, np.argsort(order)


def shaped_only(functions: Sequence[SpatialFunction | UserFunction]) -> list[SpatialFunction]:
    """The functions with a shape; those by Python are left out."""
    return [function for function in functions if not isinstance(function, UserFunction)]


REACH = 8.6
"""Widths beyond which a Gaussian is below 1e-16."""
MOST_IMAGES = 1000
"""Images of one test function on a torus that are allowed."""


def on_torus(
    functions: Sequence[GaussianBump | Wave], low: np.ndarray, size: np.ndarray
) -> tuple[list[GaussianBump | Wave], np.ndarray]:
    """The functions as periodic ones: each Gaussian as the sum of its images, each wave as it is.

    Args:
        functions: P functions.
        low: (d,) lower corner of the torus.
        size: (d,) its edges; infinite along coordinates that are not periodic.

    Returns:
        The images of all, and a matrix (P, images) of zeros and ones that adds up what belongs together.

    Raises:
        InputError: a Gaussian is so wide that it has too many images.
    """
    images: list[GaussianBump | Wave] = []
    owners = []
    for number, function in enumerate(functions):
        mine = [function] if isinstance(function, Wave) else _images(number, function, low, size)
        images += mine
        owners += [number] * len(mine)
    return images, np.equal.outer(np.arange(len(functions)), owners).astype(float)


def _images(number: int, function: GaussianBump, low: np.ndarray, size: np.ndarray) -> list[GaussianBump | Wave]:
    """The images of a Gaussian that can be seen from the torus."""
    shifts = []
    for c, a, length in zip(function.center, low.tolist(), size.tolist(), strict=True):
        if math.isinf(length):
            shifts.append([0.0])
            continue
        first = math.ceil((a - REACH * function.width - c) / length)
        last = math.floor((a + length + REACH * function.width - c) / length)
        if (last + 1 - first) * math.prod(map(len, shifts)) > MOST_IMAGES:
            width = f"compare.test_functions[{number}].width = {function.width:g}"
            raise InputError(f"{width}: too large on a torus with an edge of {length:g}; take a wave")
        shifts.append([turn * length for turn in range(first, last + 1)])
    values = {field.name: getattr(function, field.name) for field in fields(function)}
    centers = [np.add(function.center, shift) for shift in itertools.product(*shifts)]
    return [GaussianBump(**values | {"center": tuple(center.tolist())}) for center in centers]


def waves_off_torus(functions: Sequence[TestFunction], size: np.ndarray) -> list[int]:
    """Numbers of the waves that are not periodic on the torus with edges `size` (d,), infinite where it has none."""
    found = []
    for number, function in enumerate(functions):
        if isinstance(function, Wave):
            bounded = np.isfinite(size)
            turns = np.array(function.k)[bounded] * size[bounded] / (2 * math.pi)
            if np.abs(turns - np.round(turns)).max(initial=0.0) > 1e-3:
                found.append(number)
    return found


def fitted(functions: Sequence[TestFunction], domain: Domain) -> list[SpatialFunction | UserFunction]:
    """The functions as those of a domain: on a torus each Gaussian as the sum of its images; by Python, as they are.

    Raises:
        InputError: on a torus, a wave is not periodic, or a Gaussian is so wide that it has too many images.
    """
    if domain.kind != "torus":
        return list(functions)
    for number in waves_off_torus(functions, domain.size):
        steps = ", ".join(f"{2 * math.pi / edge:.6g}" for edge in domain.size)
        raise InputError(
            f"compare.test_functions[{number}].k: must be a multiple of 2 pi / size along each axis of the torus, "
            f"({steps}), or the wave jumps where a particle goes around"
        )
    found: list[SpatialFunction | UserFunction] = []
    for number, function in enumerate(functions):
        if not isinstance(function, GaussianBump):
            found.append(function)
        else:
            _images(number, function, domain.low, domain.size)
            found.append(PeriodicBump(function, tuple(domain.size.tolist())))
    return found
