"""What a pair of particles sees of V from afar, as a function of s = alpha / D: one object per V, found once and kept.

    d = 3:  conductance g(s) = beta / D = 4 pi a, a the scattering length in units of eps       (Hammond (1.9));
    d = 2:  log a(s), where w = 1 - u ~ log(r / a), s = alpha / (D |log eps|).

Radial V: `limitpde.coagulation.rates.capacity`, exactly where few values of s are asked for, and otherwise through the
Chebyshev interpolant of log p in log s, which is analytic in a strip of half width pi because p(s) is a Stieltjes
function. Any other V: `limitpde.coagulation.rates.lippmann`, whose Lanczos quadrature holds for all s at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import numba
import numpy as np
import scipy.fft
from numpy.polynomial import chebyshev

from limitpde.coagulation.interaction import DoiBall, Interaction, InteractionFromFile, sphere_area
from limitpde.coagulation.rates.capacity import RadialProfile, ball_log_derivative, conductance, solve_radial
from limitpde.coagulation.rates.lippmann import GridScattering
from limitpde.compiled import compiled
from limitpde.errors import RunError
from limitpde.files import load_function

FEW = 48
"""Up to this many different values of s each is solved for."""
MANY = 4096
"""Up to this many values of s the closed form of a ball is evaluated for each."""
INTERPOLATION_ERROR = 1e-12
"""Relative error of the interpolant of p, as two numbers of points tell it."""
MOST_POINTS = 1024
"""Where the interpolant gives up."""


class Scattering(Protocol):
    """A V seen from afar. Methods take s > 0 of any shape."""

    def conductance(self, s: np.ndarray) -> np.ndarray:
        """g(s), d = 3."""
        ...

    def log_length(self, s: np.ndarray) -> np.ndarray:
        """log a(s), a in units of eps, d = 2."""
        ...

    def error(self, s: np.ndarray) -> np.ndarray:
        """Estimated relative error of g(s), or of 1 / log a(s)."""
        ...


class RadialScattering:
    """V that depends on |x| only.

    Args:
        interaction: V.
        dimension: 2 or 3.
    """

    def __init__(self, interaction: Interaction, dimension: int) -> None:
        self._interaction, self._dimension = interaction, dimension
        self._reach = interaction.reach(dimension)
        self._interpolant: tuple[float, float, np.ndarray] | None = None  # of log p, between two values of log s

    def solution(self, s: float) -> RadialProfile:
        """w on the support."""
        return solve_radial(lambda r: self._interaction.profile(r, self._dimension), self._reach, self._dimension, s)

    def _exactly(self, s: float) -> float:
        if isinstance(self._interaction, DoiBall):
            return float(ball_log_derivative(np.array(self._reach * math.sqrt(s)), self._dimension))
        return self.solution(s).p

    def log_derivative(self, s: np.ndarray) -> np.ndarray:
        """p = R w'(R) / w(R) for s > 0 of any shape."""
        s = np.asarray(s, dtype=float)
        if isinstance(self._interaction, DoiBall) and s.size <= MANY:
            return ball_log_derivative(self._reach * np.sqrt(s), self._dimension)
        flat = s.ravel()
        if flat.size <= FEW or np.unique(flat[: 16 * FEW]).size <= FEW:
            different, inverse = np.unique(flat, return_inverse=True)
            if different.size <= FEW:
                return np.array([self._exactly(value) for value in different])[inverse].reshape(s.shape)
        low, high, coefficients = self._reaching(math.log(flat.min()), math.log(flat.max()))
        return _series(flat, low, high, coefficients).reshape(s.shape)

    def _reaching(self, low: float, high: float) -> tuple[float, float, np.ndarray]:
        """An interpolant over [low, high] in log s at least."""
        kept = self._interpolant
        if kept is not None:
            if kept[0] <= low and high <= kept[1]:
                return kept
            low, high = min(low, kept[0]), max(high, kept[1])
        self._interpolant = (low, high, _interpolate(lambda x: math.log(self._exactly(math.exp(x))), low, high))
        return self._interpolant

    def conductance(self, s: np.ndarray) -> np.ndarray:
        """g(s), d = 3."""
        return conductance(self.log_derivative(s), self._reach, self._dimension)

    def log_length(self, s: np.ndarray) -> np.ndarray:
        """log a(s), d = 2."""
        return np.asarray(math.log(self._reach) - 1 / self.log_derivative(s))

    def error(self, s: np.ndarray) -> np.ndarray:
        """Relative error: the interpolation's tolerance, which is far above that of the solutions."""
        return np.full(np.shape(s), INTERPOLATION_ERROR)


def _interpolate(function: Callable[[float], float], low: float, high: float) -> np.ndarray:
    """Coefficients of the Chebyshev series over [low, high]; points are doubled until it agrees with the new values."""
    if low == high:
        return np.array([function(low)])
    n = 8
    values = np.array([function((low + high + (high - low) * x) / 2) for x in _extrema(n)])
    while n < MOST_POINTS:
        coefficients = scipy.fft.dct(values, type=1) / n
        coefficients[[0, -1]] /= 2
        fresh = _extrema(2 * n)[1::2]
        found = np.array([function((low + high + (high - low) * x) / 2) for x in fresh])
        if np.abs(chebyshev.chebval(fresh, coefficients) - found).max() <= INTERPOLATION_ERROR:
            return np.asarray(coefficients)
        both = np.empty(2 * n + 1)
        both[::2], both[1::2] = values, found
        values, n = both, 2 * n
    raise RunError(f"beta could not be interpolated between s = {math.exp(low):.3g} and {math.exp(high):.3g}")


def _extrema(n: int) -> np.ndarray:
    """Of the Chebyshev polynomial T_n, (n + 1,), from 1 to -1."""
    return np.asarray(np.cos(np.pi * np.arange(n + 1) / n))


@compiled(parallel=True)
def _series(s: np.ndarray, low: float, high: float, coefficients: np.ndarray) -> np.ndarray:
    """exp of the Chebyshev series at log s, (k,), by Clenshaw's recurrence."""
    result = np.empty(len(s))
    for i in numba.prange(len(s)):
        x = (2.0 * math.log(s[i]) - low - high) / (high - low) if high > low else 0.0
        last, before = 0.0, 0.0
        for k in range(len(coefficients) - 1, 0, -1):
            last, before = coefficients[k] + 2.0 * x * last - before, last
        result[i] = math.exp(coefficients[0] + x * last - before)
    return result


_kept: dict[object, Scattering] = {}


def scattering(interaction: Interaction, dimension: int) -> Scattering:
    """The scattering of V, whatever alpha is; the same V gives the same object."""
    key: object = (dataclasses.replace(interaction, alpha=0.0), dimension)
    if isinstance(interaction, InteractionFromFile):  # a path alone does not tell a file from another
        key = (load_function(interaction.python), interaction.radius, interaction.radial, dimension)
    if key not in _kept:
        _kept[key] = (RadialScattering if interaction.radial else GridScattering)(interaction, dimension)
    return _kept[key]


def integral(interaction: Interaction, dimension: int) -> float:
    """Int V; of V from a file as exactly as its jumps allow."""
    if not isinstance(interaction, InteractionFromFile):
        return interaction.integral(dimension)
    found = scattering(interaction, dimension)
    if isinstance(found, GridScattering):
        return found.integral
    weak = 1e-30
    solution = solve_radial(lambda r: interaction.profile(r, dimension), interaction.radius, dimension, weak)
    return sphere_area(dimension) * interaction.radius ** (dimension - 2) * solution.p / weak
