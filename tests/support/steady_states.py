"""Steady solutions of (Vl) in one dimension: thermal equilibria, and a nonlinear wave of Bernstein, Greene and Kruskal.

Thermal equilibria are f = rho(x) M_T(v), M_T Maxwell's law of temperature T, with

    rho = m e^{-Phi / T} / int e^{-Phi / T} dx,    Phi = Gamma * rho + U,    m the mass.

In closed form: the HMF model (`limitpde.vlasov.exact.equilibria`); a sheet of gravitating mass. Otherwise by Newton's
method on a lattice (`ThermalEquilibrium`). Any of them is set in motion by `motions.boosted`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.special
from numpy.polynomial import chebyshev

from limitpde.errors import InputError, RunError
from limitpde.potentials.modes import Symbol
from limitpde.vlasov.exact.equilibria import hmf_magnetisation

DESCENT_STEPS = 60
"""Steps that follow the free energy down before Newton's method takes over."""
NEWTON_STEPS = 60
WAVE_POINTS = 256
"""Points of a period of a wave."""


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


# --- Any kernel on a circle -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class ThermalEquilibrium:
    """A thermal equilibrium on a circle, its potential as a Fourier series."""

    temperature: float
    """T."""
    mass: float
    """m."""
    length: float
    """Of the circle."""
    modes: np.ndarray
    """(n/2 + 1,) complex: Phi = Re sum_j modes_j e^{2 pi i j x / length}, such that rho = e^{-Phi / T}."""

    def potential(self, x: np.ndarray) -> np.ndarray:
        """Phi, up to a constant, in the shape of x."""
        x = np.asarray(x, dtype=float)
        waves = np.exp(2j * math.pi / self.length * x[..., np.newaxis] * np.arange(len(self.modes)))
        return np.asarray((waves @ self.modes).real)

    def density(self, x: np.ndarray) -> np.ndarray:
        """rho at positions, in their shape."""
        return np.asarray(np.exp(-self.potential(x) / self.temperature))

    def __call__(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """f at positions and velocities, broadcast."""
        return np.asarray(self.density(x) * maxwellian(v, self.temperature))


def thermal_equilibrium(
    symbol: Symbol,
    *,
    temperature: float,
    length: float,
    mass: float = 1.0,
    guess: Callable[[np.ndarray], np.ndarray] | None = None,
    exterior: Callable[[np.ndarray], np.ndarray] | None = None,
    points: int = 256,
) -> ThermalEquilibrium:
    """Solve rho = m e^{-(Gamma * rho + U) / T} / Z on a circle by Newton's method, to rounding.

    There may be several solutions (a homogeneous one; where Gamma attracts strongly, others and their translates): the
    guess decides. Without U only even solutions are sought, which fixes the translation.

    Args:
        symbol: Gammahat(k) at wave numbers k = 2 pi j / length, j >= 1: (n,) -> (n,).

    Keyword Args:
        temperature: T > 0.
        length: of the circle.
        mass: m > 0.
        guess: rho at positions (n,) up to a factor; by default 1 + cos(2 pi x / length) / 2.
        exterior: U at positions (n,), periodic.
        points: of the lattice, even.

    Raises:
        InputError: an argument is out of range.
        RunError: Newton's method does not converge; or rho is too sharp for the lattice.
    """
    for name, value in (("temperature", temperature), ("length", length), ("mass", mass)):
        _require(name, value, 0.0 < value < math.inf, "finite and greater than 0")
    _require("points", points, points >= 16 and points % 2 == 0, "even and at least 16")
    x = np.arange(points) * length / points
    kernel = _kernel(symbol, length, points, even=exterior is None)
    U = np.zeros(points) if exterior is None else np.asarray(exterior(x), dtype=float)
    rho = 1.0 + 0.5 * np.cos(2.0 * math.pi * x / length) if guess is None else np.asarray(guess(x), dtype=float)
    if rho.shape != (points,) or not (rho > 0.0).all():
        raise InputError("guess: must map positions (n,) to n values greater than 0")
    phi = _descend(kernel, U, rho * mass / (rho.mean() * length), temperature, length / points)
    for _ in range(NEWTON_STEPS):
        rho = _boltzmann(phi, temperature, mass, length)
        slope = (np.outer(rho, rho) * length / (points * mass) - np.diag(rho)) / temperature
        change = np.linalg.solve(np.eye(points) - kernel @ slope, phi - kernel @ rho - U)
        phi = phi - change * min(1.0, temperature / max(float(np.abs(change).max()), 1e-300))
        if np.abs(change).max() < 1e-13 * (np.abs(phi).max() + temperature):
            return _as_series(phi, temperature, length, mass)
    raise RunError("no thermal equilibrium was found from this guess: give another one, or change the temperature")


def _kernel(symbol: Symbol, length: float, points: int, *, even: bool) -> np.ndarray:
    """The matrix of Gamma * on the lattice, (points, points); of even functions, if wanted."""
    k = 2.0 * math.pi * np.arange(points // 2 + 1) / length
    values = np.zeros(len(k))
    values[1:-1] = symbol(k[1:-1])
    if not np.isfinite(values).all():
        raise InputError("symbol: must be finite at the wave numbers of the circle")
    distance = np.subtract.outer(np.arange(points), np.arange(points)) % points
    kernel = np.asarray(np.fft.irfft(values, points)[distance])
    return (kernel + kernel[:, -np.arange(points) % points]) / 2.0 if even else kernel


def _boltzmann(phi: np.ndarray, temperature: float, mass: float, length: float) -> np.ndarray:
    rho = np.exp(-(phi - phi.min()) / temperature)
    return np.asarray(rho * (mass / (rho.mean() * length)))


def _descend(kernel: np.ndarray, U: np.ndarray, rho: np.ndarray, temperature: float, cell: float) -> np.ndarray:
    """The potential after some steps towards e^{-Phi / T}, each so short that the free energy falls.

    It is int rho (T log rho + Gamma * rho / 2 + U) dx; what is stable attracts, which Newton's method does not see.
    """

    def free_energy(rho: np.ndarray) -> float:
        return float(rho @ (temperature * np.log(np.maximum(rho, 1e-300)) + kernel @ rho / 2.0 + U)) * cell

    mass, length = float(rho.sum()) * cell, len(rho) * cell
    energy = free_energy(rho)
    for _ in range(DESCENT_STEPS):
        towards = _boltzmann(kernel @ rho + U, temperature, mass, length) - rho
        share = 1.0
        while share > 1e-3 and free_energy(rho + share * towards) > energy:
            share /= 2.0
        rho = rho + share * towards
        energy = free_energy(rho)
    return np.asarray(kernel @ rho + U)


def _as_series(phi: np.ndarray, temperature: float, length: float, mass: float) -> ThermalEquilibrium:
    points = len(phi)
    total = float(np.exp(-(phi - phi.min()) / temperature).mean() * length)
    shifted = phi - phi.min() + temperature * math.log(total / mass)
    modes = np.fft.rfft(shifted) / points
    modes[1:-1] *= 2.0
    tail = np.abs(np.fft.rfft(np.exp(-shifted / temperature)))
    if tail[-4:].max() > 1e-10 * tail[0]:
        raise RunError(f"points = {points}: too few for an equilibrium this sharp")
    return ThermalEquilibrium(temperature, mass, length, modes)


# --- A wave -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class BgkWave:
    """A smooth wave of electrons (Gammahat = 1 / k^2, mean density 1) that stands still.

        f = F(v^2 / 2 - phi(x)),    F(E) = (1 - b/2 + b E) e^{-E} / (2 pi)^{1/2},
        phi'' = e^phi (1 - b phi) - 1 = rho - 1,

    made by `bgk_wave`. The mass in one period is `length`.
    """

    b: float
    """Of F; beyond 1, where small waves exist."""
    highest: float
    """Largest phi, at x = 0."""
    lowest: float
    """Smallest phi, at half the period."""
    length: float
    """Period."""
    series: np.ndarray
    """Coefficients c_j of phi = sum_j c_j cos(2 pi j x / length)."""

    def potential(self, x: np.ndarray) -> np.ndarray:
        """Phi at positions, in their shape: minus the mean-field potential Gamma * rho, up to a constant."""
        return np.asarray(chebyshev.chebval(np.cos(2.0 * math.pi / self.length * np.asarray(x)), self.series))

    def density(self, x: np.ndarray) -> np.ndarray:
        """rho at positions, in their shape."""
        phi = self.potential(x)
        return np.asarray(np.exp(phi) * (1.0 - self.b * phi))

    def __call__(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """f at positions and velocities, broadcast."""
        energy = np.asarray(v) ** 2 / 2.0 - self.potential(x)
        return np.asarray((1.0 - self.b / 2.0 + self.b * energy) * np.exp(-energy) / math.sqrt(2.0 * math.pi))

    @property
    def field_energy(self) -> float:
        """W = 1/2 int phi'^2 dx over a period."""
        k = 2.0 * math.pi / self.length * np.arange(len(self.series))
        return float(self.length / 4.0 * ((k * self.series) ** 2).sum())


def bgk_wave(b: float = 1.5, highest: float = 0.1) -> BgkWave:
    """The wave with a given b and largest phi, to rounding, by quadrature.

    phi'^2 / 2 = P(phi) - P(highest), P' = e^phi (1 - b phi) - 1. With phi = c + d sin theta between its extrema,
    dx / dtheta = (-2 P[highest, lowest, phi])^{-1/2} with the second divided difference of P: smooth and periodic.

    Args:
        b: 1 < b < 2.
        highest: largest phi, 0 < highest <= (1 - b/2) / b, so that f >= 0.

    Raises:
        InputError: b or highest is out of range.
        RunError: the wave is almost a solitary one.
    """
    _require("b", b, 1.0 < b < 2.0, "between 1 and 2")
    _require("highest", highest, 0.0 < highest <= (1.0 - b / 2.0) / b, f"between 0 and {(1.0 - b / 2.0) / b:g}")
    x, w = np.polynomial.legendre.leggauss(24)
    s, w = (x + 1.0) / 2.0, w / 2.0

    def rise(low: float) -> float:  # (P(highest) - P(low)) / (highest - low)
        phi = low + (highest - low) * s
        return float((np.expm1(phi) - b * phi * np.exp(phi)) @ w)

    saddle = _zero(lambda phi: math.expm1(phi) - b * phi * math.exp(phi), -60.0, (1.0 - b) / b)
    _require("highest", highest, rise(saddle) > 0.0, "smaller: for this b the wave would not come back")
    lowest = _zero(rise, saddle, -1e-3 * highest)
    centre, half = (highest + lowest) / 2.0, (highest - lowest) / 2.0
    t, wt = s[:, np.newaxis], w[:, np.newaxis] * w * s[:, np.newaxis]  # the triangle of Hermite and Genocchi

    def spread(theta: np.ndarray) -> np.ndarray:
        phi = centre + half * np.sin(theta)[:, np.newaxis, np.newaxis]
        point = highest + t * (lowest - highest) + t * s * (phi - lowest)
        second = np.exp(point) * (1.0 - b - b * point)
        return (-2.0 * (second * wt).sum(axis=(1, 2))) ** -0.5

    points = WAVE_POINTS
    theta = 2.0 * math.pi * np.arange(points) / points
    waves = np.fft.rfft(spread(theta + math.pi / 2.0)) / points  # theta from the highest point, even
    length = float(2.0 * math.pi * waves[0].real)
    order = np.arange(1, points // 2)
    sines = 2.0 * waves[1 : points // 2].real / order
    target = length * np.arange(points) / points
    for _ in range(50):
        position = waves[0].real * theta + np.sin(np.outer(theta, order)) @ sines
        step = (position - target) / spread(theta + math.pi / 2.0)
        theta = theta - step
        if np.abs(step).max() < 1e-14:
            break
    series = np.fft.rfft(centre + half * np.cos(theta)).real / points
    series[1:-1] *= 2.0
    if not np.abs(series[-16:]).max() < 1e-14 * half:
        raise RunError(f"highest = {highest:g}: too close to a solitary wave for {points} points")
    return BgkWave(b, highest, float(lowest), length, series[: points // 2])
