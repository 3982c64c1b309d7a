"""Radial solutions of the signed system, by another equation and other methods than `PlaneReference`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.integrate
from numpy.polynomial import chebyshev

from limitpde.errors import InputError, RunError

type RadialMass = Callable[[np.ndarray], np.ndarray]


def _require(name: str, value: object, holds: object, allowed: str) -> None:
    if not holds:
        raise InputError(f"{name} = {value!r}: it must be {allowed}")


RADIAL_STRETCH = 6.0  # y = y_max (exp(6 s) - 1)/(exp(6) - 1), s in [0, 1]: fine at the origin
RADIAL_QUADRATURE_POINTS = 256


@dataclass(frozen=True, slots=True, eq=False)
class RadialSolution:
    """Cumulative masses m_s(y) = int_{|x|^2 < y} rho_s at one time, as Chebyshev series in the stretched coordinate."""

    time: float  # time since the initial data
    outer_radius: float  # the solution ends at y_max = outer_radius^2, where m_s is held fixed
    mass_series: np.ndarray  # (2, nodes) Chebyshev coefficients of m+ and m-
    slope_series: np.ndarray  # (2, nodes) Chebyshev coefficients of dm+/dy and dm-/dy

    def densities(self, radius: np.ndarray) -> np.ndarray:
        """(2, ...) rho+ and rho- = m_s'(y)/pi at the given distances from the origin, at most outer_radius."""
        return np.asarray(chebyshev.chebval(self._coordinate(radius), self.slope_series.T)) / np.pi

    def masses_within(self, radius: np.ndarray) -> np.ndarray:
        """(2, ...) masses of rho+ and rho- in the disks of the given radii, at most outer_radius."""
        return np.asarray(chebyshev.chebval(self._coordinate(radius), self.mass_series.T))

    @property
    def l2_norms(self) -> tuple[float, float]:
        """L2(R^2) norms of rho+ and rho-, by Gauss quadrature of pi rho^2 dy."""
        y, weights = self._quadrature()
        squares = np.pi * self.densities(np.sqrt(y)) ** 2 @ weights
        return float(squares[0] ** 0.5), float(squares[1] ** 0.5)

    @property
    def second_moment(self) -> float:
        """Integral of |x|^2 (rho+ + rho-), by Gauss quadrature of pi y rho dy."""
        y, weights = self._quadrature()
        return float(np.pi * (self.densities(np.sqrt(y)).sum(axis=0) * y) @ weights)

    def _coordinate(self, radius: np.ndarray) -> np.ndarray:
        fraction = (np.asarray(radius, dtype=float) / self.outer_radius) ** 2
        _require("radius", radius, np.all(fraction <= 1.0 + 1e-12), f"at most outer_radius = {self.outer_radius:g}")
        return np.asarray(2.0 * np.log1p(fraction * np.expm1(RADIAL_STRETCH)) / RADIAL_STRETCH - 1.0)

    def _quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Points and weights of Gauss-Legendre quadrature over 0 < y < y_max, in the stretched coordinate."""
        coordinate, weights = np.polynomial.legendre.leggauss(RADIAL_QUADRATURE_POINTS)
        y, stretch = _stretched(coordinate, self.outer_radius)
        return y, weights * stretch


def radial_reference(
    positive: RadialMass,
    negative: RadialMass,
    *,
    diffusivity: float,
    gamma_bar: float,
    t_end: float,
    outer_radius: float = 12.0,
    nodes: int = 64,
    tolerance: float = 1e-11,
) -> RadialSolution:
    """Radial solution of (1.3), by another equation and other methods than `PlaneReference`.

    The cumulative masses in y = |x|^2 satisfy, without any convolution,

        d_t m_s = 4 D y m_s'' - 2 s gamma_bar (m+ - m-) m_s',   m_s(0) = 0,   m_s(y_max) as at the start;

    Chebyshev collocation in y, the Radau method of order five with step control in time.

    Args:
        positive: m+(y) at time 0, a vectorised function of y (such as `Blob.mass_within`).
        negative: m-(y) at time 0, likewise.
        diffusivity: D >= 0.
        gamma_bar: strength of the interaction; < 0: equal signs attract.
        t_end: final time, > 0.
        outer_radius: where the plane is cut; the mass beyond must be negligible.
        nodes: Chebyshev nodes.
        tolerance: relative tolerance of the time integrator.

    Raises:
        InputError: for values outside these ranges.
        RunError: if the time integrator gives up.
    """
    for name, value in (("t_end", t_end), ("outer_radius", outer_radius), ("tolerance", tolerance)):
        _require(name, value, 0.0 < value < np.inf, "finite and > 0")
    _require("diffusivity", diffusivity, 0.0 <= diffusivity < np.inf, "finite and >= 0")
    _require("nodes", nodes, nodes >= 8, ">= 8")
    system = _RadialCollocation(diffusivity, gamma_bar, outer_radius, nodes)
    start = np.concatenate([np.broadcast_to(mass(system.y), nodes) for mass in (positive, negative)])
    run = scipy.integrate.solve_ivp(
        system.rate, (0.0, t_end), start, method="Radau", jac=system.jacobian, rtol=tolerance, atol=1e-2 * tolerance
    )
    if not run.success:
        raise RunError(f"the radial reference stopped at t = {run.t[-1]:g} of {t_end:g}: {run.message}")
    masses = run.y[:, -1].reshape(2, nodes)
    slopes = masses @ system.derivative.T
    return RadialSolution(t_end, outer_radius, masses @ system.to_series.T, slopes @ system.to_series.T)


class _RadialCollocation:
    """The equations at Chebyshev nodes, with their Jacobian; the unknowns are the values of m+, then of m-."""

    def __init__(self, diffusivity: float, gamma_bar: float, outer_radius: float, nodes: int) -> None:
        coordinate = np.cos(np.pi * np.arange(nodes) / (nodes - 1))  # from y_max to 0
        self.y, stretch = _stretched(coordinate, outer_radius)
        self.y[-1] = 0.0
        self.to_series = np.linalg.inv(chebyshev.chebvander(coordinate, nodes - 1))
        slopes = chebyshev.chebvander(coordinate, nodes - 2) @ chebyshev.chebder(self.to_series)
        self.derivative = slopes / stretch[:, np.newaxis]  # d/dy at the nodes
        self.diffusion = 4.0 * diffusivity * self.y[:, np.newaxis] * (self.derivative @ self.derivative)
        self.gamma_bar = gamma_bar
        self.ends = [0, nodes - 1, nodes, 2 * nodes - 1]  # unknowns that keep their values

    def rate(self, _: float, masses: np.ndarray) -> np.ndarray:
        """d_t m_s."""
        by_sign, drift = self._split(masses)
        rates: np.ndarray = by_sign @ self.diffusion.T - np.stack([drift, -drift]) * (by_sign @ self.derivative.T)
        rates = rates.ravel()
        rates[self.ends] = 0.0
        return rates

    def jacobian(self, _: float, masses: np.ndarray) -> np.ndarray:
        """Derivative of `rate`."""
        by_sign, drift = self._split(masses)
        positive, negative = (np.diag(2.0 * self.gamma_bar * slope) for slope in by_sign @ self.derivative.T)
        transport = drift[:, np.newaxis] * self.derivative
        upper = [self.diffusion - transport - positive, positive]
        lower = [negative, self.diffusion + transport - negative]
        matrix: np.ndarray = np.block([upper, lower])
        matrix[self.ends] = 0.0
        return matrix

    def _split(self, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(2, nodes) masses by sign, and the velocity 2 gamma_bar (m+ - m-) of y for the positive sign."""
        by_sign = masses.reshape(2, -1)
        return by_sign, 2.0 * self.gamma_bar * (by_sign[0] - by_sign[1])


def _stretched(coordinate: np.ndarray, outer_radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The squared radius y and dy/dcoordinate at the stretched coordinate in [-1, 1]."""
    scale = outer_radius**2 / np.expm1(RADIAL_STRETCH)
    exponent = 0.5 * RADIAL_STRETCH * (1.0 + coordinate)
    return scale * np.expm1(exponent), 0.5 * RADIAL_STRETCH * scale * np.exp(exponent)
