"""Potentials by a Python function, x (n, d) -> value (n,), gradient (n, d), and the checks that they must pass."""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np

from limitpde.checked import record
from limitpde.errors import InputError
from limitpde.files import PythonFunction, evaluate, load_function
from limitpde.potentials.modes import Modes

SAMPLES = 32
"""Random points at which a function is tried."""
PANELS = {1: (64, 16), 2: (16, 8), 3: (6, 8)}
"""Panels of each coordinate of a torus, and Gauss's points in each, from which the mean is taken, for d."""


def user_potential(reference: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value (n,) and gradient (n, d) at points (n, d) by the function that "file.py:function" names.

    Raises:
        InputError: the file or the function fails, or returns something else.
    """
    value, gradient = evaluate(reference, x, shapes=[(len(x),), x.shape])
    return value, gradient


def nearest_image(x: np.ndarray, x_box: np.ndarray) -> np.ndarray:
    """Displacements (n, d) on the torus x_box (d, 2), each coordinate in [-L/2, L/2]."""
    lengths = np.diff(x_box, axis=1)[:, 0]
    return np.asarray(x - lengths * np.round(x / lengths))


def torus_mean(reference: str, lengths: tuple[float, ...]) -> float:
    """The mean of a function over the displacements of a torus with these edges, by Gauss's quadrature.

    A kink at 0 or half an edge away lies between two panels.
    """
    return _kept_mean(reference, lengths, load_function(reference))


@functools.lru_cache(maxsize=8)
def _kept_mean(reference: str, lengths: tuple[float, ...], function: object) -> float:
    """That of a function, which is another one when its file has changed."""
    panels, points = PANELS[len(lengths)]
    inner, weights = np.polynomial.legendre.leggauss(points)
    unit = ((np.arange(panels)[:, None] + (inner + 1) / 2) / panels - 0.5).ravel()
    share = np.tile(weights / (2 * panels), panels)
    x = np.stack([grid.ravel() for grid in np.meshgrid(*(length * unit for length in lengths), indexing="ij")], axis=1)
    value = user_potential(reference, x)[0]
    return float(value @ functools.reduce(np.multiply.outer, [share] * len(lengths)).ravel())


def check_user_potential(reference: str, x_box: np.ndarray, *, periodic: bool, even: bool) -> None:
    """Try a function at random points of the box, or at random displacements in it.

    Raises:
        InputError: it fails, it is not even though it should be, or its gradient is not that of its values.
    """
    rng = np.random.default_rng(0)
    lengths = np.diff(x_box, axis=1)[:, 0]
    unit = rng.random((SAMPLES, len(x_box)))
    x = lengths * (unit - 0.5) * (1 if periodic else 2) if even else x_box[:, 0] + lengths * unit
    value, gradient = user_potential(reference, x)
    scale = max(float(np.abs(value).max()), float(np.abs(gradient).max()) * float(lengths.max()))
    if even:
        mirrored, opposite = user_potential(reference, -x)
        if (
            np.abs(mirrored - value).max() > 1e-8 * scale
            or np.abs(opposite + gradient).max() * lengths.max() > 1e-8 * scale
        ):
            raise InputError(f"python = {reference!r}: Gamma must be even, Gamma(-x) = Gamma(x), and its gradient odd")
    for j, length in enumerate(lengths):
        step = np.zeros(len(lengths))
        step[j] = 1e-5 * length
        difference = (user_potential(reference, x + step)[0] - user_potential(reference, x - step)[0]) / (2 * step[j])
        wrong = np.abs(difference - gradient[:, j]) * length > 1e-4 * scale
        if wrong.sum() > SAMPLES // 8:  # a few points may lie next to a kink
            at = x[wrong][0]
            raise InputError(
                f"python = {reference!r}: the gradient is not that of the values: at x = {at.tolist()} its "
                f"component {j} is {gradient[wrong][0, j]:.6g}, differences of the values give "
                f"{difference[wrong][0]:.6g}"
            )


@record
class PotentialFromFile:
    """Gamma and its gradient by a Python function: python = "file.py:function"."""

    kind: Literal["python"] = "python"
    python: PythonFunction
    """"file.py:function", function(x (n, d)) -> Gamma (n,), grad Gamma (n, d); the file is run."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError unless Gamma is finite, even, and has the gradient that it says it has."""
        check_user_potential(self.python, x_box, periodic=periodic, even=True)

    def value(self, x: np.ndarray) -> np.ndarray:
        """Gamma, (n, d) -> (n,)."""
        return user_potential(self.python, x)[0]

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """grad Gamma, (n, d) -> (n, d)."""
        return user_potential(self.python, x)[1]

    def symbol(self, k: np.ndarray) -> np.ndarray | None:
        """None: not known."""
        return None

    def modes(self, x_box: np.ndarray) -> Modes | None:
        """None: not known."""
        return None

    def bound(self, dimension: int) -> float:
        """Infinite: not known."""
        return math.inf
