"""Thermal equilibria of (Vl) in one dimension, in closed form.

They are f = rho(x) M_T(v), M_T Maxwell's law of temperature T, with

    rho = m e^{-Phi / T} / int e^{-Phi / T} dx,    Phi = Gamma * rho + U,    m the mass.

That of the HMF model (Gamma = -c cos x) has Phi = -c m M cos x, with the magnetisation M = I_1(b) / I_0(b), b = c m M /
T (Bessel functions), magnetised below T = c m / 2; the other one is a sheet of gravitating mass. Both are set in motion
by `exact.boosted`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.special

from limitpde.errors import InputError


def _require(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise InputError(f"{name} = {value!r}: must be {allowed}")


def _zero(function: Callable[[float], float], low: float, high: float) -> float:
    """The zero between two points of different sign, to rounding."""
    return float(scipy.optimize.brentq(function, low, high, xtol=1e-300, rtol=4.0 * np.finfo(float).eps))


def maxwellian(v: np.ndarray, temperature: float) -> np.ndarray:
    """Maxwell's law of one velocity coordinate, in the shape of v."""
    v = np.asarray(v, dtype=float)
    return np.asarray(np.exp(-(v**2) / (2.0 * temperature)) / math.sqrt(2.0 * math.pi * temperature))


# --- The HMF model ----------------------------------------------------------------------------------------------------


def hmf_magnetisation(temperature: float) -> float:
    """M > 0 with M = I_1(M / T) / I_0(M / T); 0 from T = 1/2 on. Mass and strength are 1: T is in units of c m.

    Raises:
        InputError: the temperature is not positive.
    """
    T = temperature
    _require("temperature", T, 0.0 < T < math.inf, "finite and greater than 0")
    if T >= 0.5:
        return 0.0

    def excess(b: float) -> float:  # M = T b divides out: I_1(b) / (b I_0(b)) = T falls from 1/2 to 0
        return float(scipy.special.ive(1, b) / (b * scipy.special.ive(0, b)) - T)

    small = 2.0 * math.sqrt(max(1.0 - 2.0 * T, 1e-30))
    low = min(small, 1.0 / T) / 4.0
    return T * _zero(excess, low, 2.0 / T)


def hmf_energy(temperature: float) -> float:
    """e = T / 2 + (1 - M(T)^2) / 2, energy per mass, that of (1 - cos) rather than -cos; 3/4 at T = 1/2.

    Raises:
        InputError: the temperature is not positive.
    """
    return temperature / 2.0 + (1.0 - hmf_magnetisation(temperature) ** 2) / 2.0


def hmf_temperature(energy: float) -> float:
    """The temperature of equilibrium at an energy e > 0: the inverse of `hmf_energy`.

    Raises:
        InputError: the energy is not positive.
    """
    _require("energy", energy, 0.0 < energy < math.inf, "finite and greater than 0")
    if energy >= 0.75:
        return 2.0 * energy - 1.0

    def excess(b: float) -> float:
        ratio = scipy.special.ive(1, b) / scipy.special.ive(0, b)
        return float(ratio / b / 2.0 + (1.0 - ratio**2) / 2.0 - energy)

    highest = 2.0 / energy
    b = _zero(excess, 1e-9, highest)
    return float(scipy.special.ive(1, b) / (b * scipy.special.ive(0, b)))


@dataclass(frozen=True, slots=True)
class HmfEquilibrium:
    """f = m e^{-(v^2 / 2 - c m M cos x) / T} / ((2 pi T)^{1/2} 2 pi I_0(c m M / T)) on the circle of length 2 pi."""

    temperature: float
    """T > 0."""
    mass: float = 1.0
    """m > 0."""
    strength: float = -1.0
    """-c of Gamma = strength cos x, negative."""

    def __post_init__(self) -> None:
        _require("mass", self.mass, 0.0 < self.mass < math.inf, "finite and greater than 0")
        _require("strength", self.strength, -math.inf < self.strength < 0.0, "finite and less than 0")
        _require("temperature", self.temperature, 0.0 < self.temperature < math.inf, "finite and greater than 0")

    @property
    def magnetisation(self) -> float:
        """M = |int rho e^{ix} dx| / m."""
        return hmf_magnetisation(self.temperature / (-self.strength * self.mass))

    def density(self, x: np.ndarray) -> np.ndarray:
        """rho at positions, in their shape."""
        b = -self.strength * self.mass * self.magnetisation / self.temperature
        return np.asarray(self.mass * np.exp(b * (np.cos(x) - 1.0)) / (2.0 * math.pi * scipy.special.ive(0, b)))

    def __call__(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """f at positions and velocities, broadcast."""
        return np.asarray(self.density(x) * maxwellian(v, self.temperature))


# --- The sheet of gravitating mass ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GravitySheet:
    """f = rho_0 sech^2(x / h) M_T(v) on the line, Gamma = g |x| / 2: h = 4 T / (g m), rho_0 = m / (2 h).

    The potential Poisson of a model has strength = -g.
    """

    temperature: float
    """T > 0."""
    mass: float = 1.0
    """m > 0."""
    gravity: float = 1.0
    """g > 0."""

    def __post_init__(self) -> None:
        for name in ("temperature", "mass", "gravity"):
            _require(name, getattr(self, name), 0.0 < getattr(self, name) < math.inf, "finite and greater than 0")

    @property
    def thickness(self) -> float:
        """H of sech^2(x / h), a length."""
        return 4.0 * self.temperature / (self.gravity * self.mass)

    def density(self, x: np.ndarray) -> np.ndarray:
        """rho at positions, in their shape."""
        falling = np.exp(-2.0 * np.abs(x) / self.thickness)
        return np.asarray(self.mass / (2.0 * self.thickness) * 4.0 * falling / (1.0 + falling) ** 2)

    def __call__(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """f at positions and velocities, broadcast."""
        return np.asarray(self.density(x) * maxwellian(v, self.temperature))
