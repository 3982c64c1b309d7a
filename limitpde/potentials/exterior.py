"""Exterior potentials U(x): one of the kernels around a centre, a Python function, or a sum over pairs of coordinates.

The last one,

    U(x_1, ..., x_d) = (1 / normalisation) sum_{m < n} Gamma(x_m - x_n),    normalisation = d - 1 by default,

turns (Vl) in d dimensions, with Gamma = 0 as its two-body potential, into Liouville's equation of d particles on a line
or a circle, and (HVl) into (HLv^N).
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Tag

from limitpde.checked import Coordinate, Moderate, SpaceVector, record
from limitpde.errors import InputError
from limitpde.files import PythonFunction
from limitpde.potentials.modes import wave_numbers
from limitpde.potentials.two_body import (
    AnyPotential,
    Cosine,
    GaussianPotential,
    Harmonic,
    Potential,
    Softened,
    by_kind,
    on_torus,
)
from limitpde.potentials.user import check_user_potential, user_potential


class Exterior(Protocol):
    """What every exterior potential can be asked."""

    @property
    def kind(self) -> str:
        """Its name in a case file."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError where U makes no sense on the torus or, if not periodic, in the whole space."""

    def value(self, x: np.ndarray, torus: np.ndarray | None = None) -> np.ndarray:
        """U in the whole space or on a torus (d, 2), (n, d) -> (n,)."""

    def gradient(self, x: np.ndarray, torus: np.ndarray | None = None) -> np.ndarray:
        """grad U in the whole space or on a torus (d, 2), (n, d) -> (n, d)."""


@record
class Centred:
    """A kernel around a centre: gaussian, cosine, softened or harmonic."""

    kind: Literal["gaussian", "cosine", "softened", "harmonic"]
    strength: Coordinate = 1.0
    """As for the two-body potential of this kind."""
    width: Moderate | None = None
    """A length, of gaussian and softened; 1 by default."""
    center: SpaceVector | None = None
    """(d,) the centre; the origin by default."""

    def __post_init__(self) -> None:
        if self.width is not None and self.kind in ("cosine", "harmonic"):
            raise ValueError(f"width = {self.width:g}: kind = {self.kind!r} has none; leave it out")

    @property
    def kernel(self) -> GaussianPotential | Cosine | Softened | Harmonic:
        """The kernel around the origin."""
        width = 1.0 if self.width is None else self.width
        match self.kind:
            case "gaussian":
                return GaussianPotential(strength=self.strength, width=width)
            case "softened":
                return Softened(strength=self.strength, width=width)
            case "cosine":
                return Cosine(strength=self.strength)
            case _:
                return Harmonic(strength=self.strength)

    def _shifted(self, x: np.ndarray) -> np.ndarray:
        return x if self.center is None else x - np.array(self.center)

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError if the centre has the wrong dimension, or U is not periodic on the torus."""
        if self.center is not None and len(self.center) != len(x_box):
            raise InputError(f"exterior.center = {list(self.center)}: must have {len(x_box)} entries")
        if periodic and self.kind != "cosine":
            raise InputError(
                f"exterior.kind = {self.kind!r}: not periodic; on a torus 'cosine', 'pairs' and python are allowed, "
                "else set domain.periodic = false"
            )
        if periodic:
            wave_numbers(x_box)

    def value(self, x: np.ndarray, torus: np.ndarray | None = None) -> np.ndarray:
        """U, (n, d) -> (n,)."""
        if torus is not None:
            self.check(torus, periodic=True)
            return on_torus(self.kernel, self._shifted(x), torus)[0]
        return self.kernel.value(self._shifted(x))

    def gradient(self, x: np.ndarray, torus: np.ndarray | None = None) -> np.ndarray:
        """grad U, (n, d) -> (n, d)."""
        if torus is not None:
            self.check(torus, periodic=True)
            return on_torus(self.kernel, self._shifted(x), torus)[1]
        return self.kernel.gradient(self._shifted(x))


@record
class ExteriorFromFile:
    """U and its gradient by a Python function; on a torus it is evaluated within the box."""

    kind: Literal["python"] = "python"
    python: PythonFunction
    """"file.py:function", function(x (n, d)) -> U (n,), grad U (n, d); the file is run."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError unless U is finite and has the gradient that it says it has."""
        check_user_potential(self.python, x_box, periodic=periodic, even=False)

    def _wrapped(self, x: np.ndarray, torus: np.ndarray | None) -> np.ndarray:
        return x if torus is None else torus[:, 0] + np.mod(x - torus[:, 0], np.diff(torus, axis=1)[:, 0])

    def value(self, x: np.ndarray, torus: np.ndarray | None = None) -> np.ndarray:
        """U, (n, d) -> (n,)."""
        return user_potential(self.python, self._wrapped(x, torus))[0]

    def gradient(self, x: np.ndarray, torus: np.ndarray | None = None) -> np.ndarray:
        """grad U, (n, d) -> (n, d)."""
        return user_potential(self.python, self._wrapped(x, torus))[1]


@record
class Pairs:
    """sum_{m < n} Gamma(x_m - x_n) / normalisation: the d coordinates are d particles on a line or a circle."""

    kind: Literal["pairs"] = "pairs"
    potential: AnyPotential
    """Gamma, in one dimension."""
    normalisation: Moderate | None = None
    """What the sum is divided by; d - 1 by default."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError if d = 1, the coordinates live on different circles, or Gamma does not fit theirs."""
        if len(x_box) < 2:
            raise InputError("exterior.kind = 'pairs': needs dimension = 2 or 3, a coordinate for each particle")
        if periodic and np.ptp(np.diff(x_box, axis=1)) > 0:
            raise InputError("exterior.kind = 'pairs' on a torus: all intervals of domain.x must have the same length")
        try:
            self.potential.check(x_box[:1], periodic=periodic)
        except InputError as error:
            raise InputError(f"exterior.{error}") from None

    def _pairs(self, x: np.ndarray, torus: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """U and its gradient."""
        d = x.shape[1]
        scale = 1 / (d - 1 if self.normalisation is None else self.normalisation)
        total, gradient = np.zeros(len(x)), np.zeros(x.shape)
        for m in range(d):
            for n in range(m + 1, d):
                value, slope = _in_one(self.potential, x[:, m : m + 1] - x[:, n : n + 1], torus)
                total += scale * value
                gradient[:, m] += scale * slope
                gradient[:, n] -= scale * slope
        return total, gradient

    def value(self, x: np.ndarray, torus: np.ndarray | None = None) -> np.ndarray:
        """U, (n, d) -> (n,)."""
        return self._pairs(x, torus)[0]

    def gradient(self, x: np.ndarray, torus: np.ndarray | None = None) -> np.ndarray:
        """grad U, (n, d) -> (n, d)."""
        return self._pairs(x, torus)[1]


def _in_one(potential: Potential, r: np.ndarray, torus: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Gamma and Gamma' at displacements (n, 1) -> (n,), (n,)."""
    if torus is None:
        return potential.value(r), potential.gradient(r)[:, 0]
    value, gradient = on_torus(potential, r, torus[:1])
    return value, gradient[:, 0]


AnyExterior = Annotated[
    Annotated[Centred, Tag("gaussian")]
    | Annotated[Centred, Tag("cosine")]
    | Annotated[Centred, Tag("softened")]
    | Annotated[Centred, Tag("harmonic")]
    | Annotated[Pairs, Tag("pairs")]
    | Annotated[ExteriorFromFile, Tag("from file")],
    by_kind("'gaussian', 'cosine', 'softened', 'harmonic', 'pairs'"),
]
"""An exterior potential as a case names it."""
