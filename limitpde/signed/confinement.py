"""Exterior potentials U(x), which confine the particles: the drift -grad U beside that of the interaction.

The limit becomes d_t rho_s + div(rho_s (b_s gamma_bar K * u - grad U)) = D Lap rho_s, the free energy gains
sum_s int U rho_s, and W the term int_0^T int grad U . grad phi rho_t dt (van Meurs-Peletier-Slangen, section 1, name
such potentials among what may be added to (1.1)).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, Tag

from limitpde.checked import Coordinate, record, told_apart
from limitpde.errors import InputError
from limitpde.files import PythonFunction, evaluate

GRADIENT_ERROR = 1e-4
"""By what part of its largest value a gradient may differ from differences of U: far above their error."""
RELATIVE_STEP = 6e-6
"""Step of central differences per 1 + |x|: near the cube root of the rounding unit, for an error of about 1e-11."""


@record
class HarmonicTrap:
    """U(x) = strength |x - center|^2 / 2: the force -strength (x - center)."""

    kind: Literal["harmonic"] = "harmonic"
    strength: Annotated[float, Field(gt=0)]
    """k > 0, an inverse time."""
    center: tuple[Coordinate, Coordinate] = (0.0, 0.0)
    """Where U is zero."""

    def potential(self, x: np.ndarray) -> np.ndarray:
        """U at x, (n, 2) -> (n,)."""
        return np.asarray(0.5 * self.strength * ((x - np.array(self.center)) ** 2).sum(axis=1))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """grad U at x, (n, 2) -> (n, 2)."""
        return np.asarray(self.strength * (x - np.array(self.center)))

    def second_moment(self, t: float, *, mass: float, centre: np.ndarray, moment: float, rate: float) -> float:
        """int |x|^2 rho_t in the plane, exactly: about the center c of U its rate is `rate` - 2 k times itself.

        Args:
            t: time since the data.

        Keyword Args:
            mass: M.
            centre: (2,) int x rho at time 0.
            moment: int |x|^2 rho at time 0.
            rate: 4 D M + g (net charge)^2, the rate without U.
        """
        k, c = self.strength, np.array(self.center)
        about = moment - 2 * float(c @ centre) + mass * float(c @ c)
        about = rate / (2 * k) + (about - rate / (2 * k)) * math.exp(-2 * k * t)
        moved = mass * c + (centre - mass * c) * math.exp(-k * t)
        return about + 2 * float(c @ moved) - mass * float(c @ c)


@record
class ConfinementFromFile:
    """U(x), x of shape (n, 2) -> (n,), given by a Python function: python = "file.py:function"; the file is run.

    grad U is the function that `gradient` names, (n, 2) -> (n, 2), or else central differences of U with the step
    6e-6 (1 + |x|), whose error is about 1e-11 where U and its derivatives are of the order of one.
    """

    python: PythonFunction
    """"file.py:function" for U."""
    gradient_python: PythonFunction | None = None
    """"file.py:function" for grad U."""

    def __post_init__(self) -> None:
        origin = np.zeros((2, 2))
        self.potential(origin)
        self.gradient(origin)

    def potential(self, x: np.ndarray) -> np.ndarray:
        """U at x, (n, 2) -> (n,)."""
        return evaluate(self.python, x, shapes=[(len(x),)], key="confinement.python")[0]

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """grad U at x, (n, 2) -> (n, 2)."""
        if self.gradient_python is not None:
            return evaluate(self.gradient_python, x, shapes=[x.shape], key="confinement.gradient_python")[0]
        return self._differences(x)

    def check(self, x: np.ndarray) -> None:
        """Compare grad U with differences of U at points (n, 2); a few of them may lie next to a kink.

        Raises:
            InputError: the gradient is not that of U.
        """
        if self.gradient_python is None or len(x) == 0:
            return
        gradient, differences = self.gradient(x), self._differences(x)
        wrong = np.abs(differences - gradient).max(axis=1) > GRADIENT_ERROR * np.abs(differences).max()
        if 8 * np.count_nonzero(wrong) > len(x):
            at, found, expected = (np.round(values[wrong][0], 6).tolist() for values in (x, gradient, differences))
            raise InputError(
                f"confinement.gradient_python = {self.gradient_python!r}: is not the gradient of confinement.python: "
                f"at x = {at} it is {found}, differences of U give {expected}; leave it out to take these"
            )

    def _differences(self, x: np.ndarray) -> np.ndarray:
        """grad U by central differences, (n, 2)."""
        step = RELATIVE_STEP * (1.0 + np.linalg.norm(x, axis=1))
        shifts = [step[:, None] * direction for direction in np.eye(2)]
        differences = [self.potential(x + shift) - self.potential(x - shift) for shift in shifts]
        return np.asarray(np.stack(differences, axis=1) / (2 * step[:, None]))


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "from file" if "python" in value else str(value.get("kind", "harmonic"))
    return "from file" if isinstance(value, ConfinementFromFile) else str(getattr(value, "kind", "harmonic"))


Confinement = Annotated[
    Annotated[HarmonicTrap, Tag("harmonic")] | Annotated[ConfinementFromFile, Tag("from file")],
    told_apart(_kind, "'harmonic'; or give python = 'file.py:function'", key="kind"),
]
"""What `model.confinement` can name."""
