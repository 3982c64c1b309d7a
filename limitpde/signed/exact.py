"""Closed forms and reference solutions of the signed system, for tests and demos: plain numbers and arrays.

The system is van Meurs-Peletier-Slangen (1.3) = (5.6) with the diffusivity D (sigma^2/2 by Ito's formula),

    d_t rho_s + s gamma_bar div(rho_s K*(rho+ - rho-)) = D Lap rho_s,   s = +1, -1,   K(x) = x/|x|^2,

and its particles are (1.1), dX_i = sigma dB_i + gamma sum_j b_i b_j K(X_i - X_j) dt.

Here: Gaussians with field, potential and moments; the laws of the second moment; the uniform disk at D = 0; the radial
solution in y = |x|^2; the squared Bessel laws of the particles; the problems S1, S2, S3, R1 with reference values.
The solution for any smooth data is `limitpde.signed.plane_reference.PlaneReference`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.integrate
import scipy.special
import scipy.stats
from numpy.polynomial import chebyshev

from limitpde.errors import InputError, RunError

type RadialMass = Callable[[np.ndarray], np.ndarray]


def _require(name: str, value: object, holds: object, allowed: str) -> None:
    if not holds:
        raise InputError(f"{name} = {value!r}: it must be {allowed}")


def _checked_signs(signs: np.ndarray) -> np.ndarray:
    signs = np.asarray(signs, dtype=float)
    valid = signs.ndim == 1 and signs.size > 0 and np.all(np.abs(signs) == 1.0)
    _require("signs", signs, valid, "+1 or -1, of the shape (N,)")
    return signs


SMALLEST_EXPONENT = 1e-20  # |x - c|^2/(2v) at the centre, where the closed forms read 0/0


@dataclass(frozen=True, slots=True)
class Blob:
    """The density mass * N(centre, variance * identity) in the plane, and what it makes of K(x) = x/|x|^2."""

    mass: float  # integral over the plane, >= 0
    centre: tuple[float, float]  # coordinates (c_1, c_2)
    variance: float  # per coordinate, > 0

    def __post_init__(self) -> None:
        _require("mass", self.mass, 0.0 <= self.mass < np.inf, "finite and >= 0")
        _require("centre", self.centre, len(self.centre) == 2 and np.isfinite(self.centre).all(), "two finite numbers")
        _require("variance", self.variance, 0.0 < self.variance < np.inf, "finite and > 0")

    def density(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values at the points (x, y), mass per unit area, in the shape of x and y."""
        return self.mass / (2.0 * np.pi * self.variance) * np.exp(-self._exponent(x, y))

    def field(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """K*density = mass (1 - exp(-r^2/2v)) (x - c)/r^2, (2, ...) at the points (x, y)."""
        exponent = np.maximum(self._exponent(x, y), SMALLEST_EXPONENT)
        slope = -np.expm1(-exponent) / exponent * self.mass / (2.0 * self.variance)
        return np.stack([slope * (x - self.centre[0]), slope * (y - self.centre[1])])

    def potential(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """-log|.| * density = -mass (log r + E_1(r^2/2v)/2) at the points (x, y); the field is minus its gradient."""
        exponent = np.maximum(self._exponent(x, y), SMALLEST_EXPONENT)
        doubled = np.log(2.0 * self.variance) + np.log(exponent) + scipy.special.exp1(exponent)
        return np.asarray(-0.5 * self.mass * doubled)

    def mass_within(self, radius_squared: np.ndarray) -> np.ndarray:
        """Mass in the disk of the given squared radius about the Gaussian's own centre."""
        return np.asarray(-self.mass * np.expm1(-np.asarray(radius_squared) / (2.0 * self.variance)))

    @property
    def second_moment(self) -> float:
        """Integral of |x|^2 times the density (about the origin)."""
        return self.mass * (self.centre[0] ** 2 + self.centre[1] ** 2 + 2.0 * self.variance)

    def spread(self, diffusivity: float, time: float) -> "Blob":
        """The heat equation's solution from this Gaussian: variance + 2 D t.

        Where rho+ = rho- at the start, K*(rho+ - rho-) = 0 for ever, and this is the solution of (1.3) for each sign.
        """
        return Blob(self.mass, self.centre, self.variance + 2.0 * diffusivity * time)

    def _exponent(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return ((x - self.centre[0]) ** 2 + (y - self.centre[1]) ** 2) / (2.0 * self.variance)


def total_density(gaussians: Sequence[Blob], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum of the densities at the points (x, y); zero where there are none."""
    return sum((gaussian.density(x, y) for gaussian in gaussians), np.zeros(np.broadcast(x, y).shape))


def multipole_moments(gaussians: Sequence[Blob], highest: int) -> np.ndarray:
    """Integrals of (x_1 + i x_2)^k density, k = 0 ... highest, as (highest + 1,) complex numbers.

    They are sum_j mass_j c_j^k with the complex centres c_j, exactly (mean value property).
    """
    powers = np.arange(highest + 1)
    moments = (g.mass * complex(*g.centre) ** powers for g in gaussians)
    return sum(moments, np.zeros(highest + 1, dtype=complex))


def second_moment_rate(diffusivity: float, gamma_bar: float, positive_mass: float, negative_mass: float) -> float:
    """d/dt of the integral of |x|^2 (rho+ + rho-) under (1.3): 4 D (M+ + M-) + gamma_bar (M+ - M-)^2, at all times."""
    return 4.0 * diffusivity * (positive_mass + negative_mass) + gamma_bar * (positive_mass - negative_mass) ** 2


def particle_second_moment_rate(sigma: float, gamma: float, signs: np.ndarray) -> float:
    """d/dt of (1/N) sum E|X_i|^2 under (1.1): 2 sigma^2 + gamma ((sum b)^2 - N)/N, exact for every N and gamma.

    Args:
        sigma: noise.
        gamma: strength per pair (gamma_bar/N in the mean-field scaling).
        signs: (N,) the b_i, each +1 or -1.
    """
    signs = _checked_signs(signs)
    return 2.0 * sigma**2 + gamma * (float(signs.sum()) ** 2 - signs.size) / signs.size


def uniform_disk_radius(initial_radius: float, gamma_bar: float, mass: float, time: float) -> float:
    """Radius of a uniform disk of one sign under (1.3) with D = 0: (r_0^2 + 2 gamma_bar M t)^(1/2).

    The same formula moves the circle of radius r_0 that encloses the mass M of any radial density of one sign.
    """
    for name, value in (("initial_radius", initial_radius), ("mass", mass), ("time", time)):
        _require(name, value, value >= 0.0, ">= 0")
    radius_squared = initial_radius**2 + 2.0 * gamma_bar * mass * time
    _require("time", time, radius_squared >= 0.0, "before the collapse of an attractive disk")
    return float(np.sqrt(radius_squared))


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


def pair_collision_probability(
    *, sigma: float, gamma: float, separation: np.ndarray | float, time: np.ndarray | float
) -> np.ndarray | float:
    """Probability that two particles of opposite sign meet before `time`.

    It is Q(gamma/sigma^2, separation^2/(4 sigma^2 time)), Q the regularised upper incomplete gamma function, because
    |X_1 - X_2|^2/(2 sigma^2) is a squared Bessel process of dimension 2 (1 - gamma/sigma^2) (van Meurs-Peletier-Slangen
    (2.2), (2.6)). Without attraction (gamma <= 0) they never meet.

    Args:
        sigma: noise, > 0.
        gamma: strength per pair.
        separation: |X_1 - X_2| at time 0, >= 0.
        time: > 0.
    """
    _require("sigma", sigma, sigma > 0.0, "> 0")
    _require("time", time, np.all(np.asarray(time) > 0.0), "> 0")
    _require("separation", separation, np.all(np.asarray(separation) >= 0.0), ">= 0")
    argument = np.square(separation) / (4.0 * sigma**2 * np.asarray(time))
    return scipy.special.gammaincc(gamma / sigma**2, argument) if gamma > 0.0 else np.zeros_like(argument)


def squared_bessel_dimension(*, sigma: float, gamma: float, signs: np.ndarray) -> float:
    """Dimension 2 (N - 1) + gamma ((sum b)^2 - N)/sigma^2 of R = sum |X_i - centroid|^2/sigma^2: (4.26), all particles.

    Here sigma > 0 is the noise, gamma the strength per pair, signs the (N,) b_i.
    """
    _require("sigma", sigma, sigma > 0.0, "> 0")
    signs = _checked_signs(signs)
    return 2.0 * (signs.size - 1) + gamma * (float(signs.sum()) ** 2 - signs.size) / sigma**2


def squared_bessel_law(*, sigma: float, gamma: float, positions: np.ndarray, signs: np.ndarray, time: float) -> Any:
    """Exact law of R_t = sum |X_i(t) - centroid(t)|^2/sigma^2 from fixed initial positions under (1.1).

    R_t/t is noncentral chi-square with `squared_bessel_dimension` degrees of freedom and noncentrality R_0/t. Needs
    gamma < sigma^2/2 (for two particles gamma < sigma^2 will do), so that (1.1) has a solution.

    Args:
        sigma: noise, > 0.
        gamma: strength per pair.
        positions: (N, 2) initial positions.
        signs: (N,) the b_i.
        time: > 0.

    Returns:
        A frozen distribution of scipy.stats, for its cdf, mean, rvs and kstest.

    Raises:
        InputError: for wrong shapes, or a dimension <= 0 (the particles stick together).
    """
    dimension = squared_bessel_dimension(sigma=sigma, gamma=gamma, signs=signs)
    _require("squared Bessel dimension", dimension, dimension > 0.0, "> 0: a smaller gamma, or more particles")
    _require("time", time, time > 0.0, "> 0")
    positions = np.asarray(positions, dtype=float)
    _require("shape of positions", positions.shape, positions.shape == (np.size(signs), 2), "(N, 2), as many as signs")
    initial = float(np.sum((positions - positions.mean(axis=0)) ** 2)) / sigma**2
    return scipy.stats.ncx2(dimension, initial / time, scale=time)


@dataclass(frozen=True, slots=True)
class ReferenceValues:
    """Solution at t_end, in order (rho+, rho-); all digits written are right.

    By `PlaneReference`, with `radial_reference` agreeing on S1 and R1 (192 points and step 0.005; S3: 384 points).
    """

    at_origin: tuple[float, float]
    l2_norms: tuple[float, float]
    second_moment: float  # exact: initial value + t_end * second_moment_rate


@dataclass(frozen=True, slots=True)
class ReferenceProblem:
    """Gaussian initial data and parameters of (1.3), with reference values; M+ + M- = 1 as for particles."""

    name: str
    diffusivity: float  # D
    gamma_bar: float
    positive: tuple[Blob, ...]  # rho+ at time 0 is their sum
    negative: tuple[Blob, ...]  # rho- at time 0
    values: ReferenceValues
    t_end: float = 1.0

    @property
    def sigma(self) -> float:
        """Noise of the particles with this diffusivity, (2 D)^(1/2)."""
        return float(np.sqrt(2.0 * self.diffusivity))

    @property
    def masses(self) -> tuple[float, float]:
        """M+ and M-."""
        return sum(g.mass for g in self.positive), sum(g.mass for g in self.negative)

    def initial_positive(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """rho+ at time 0 at the points (x, y)."""
        return total_density(self.positive, x, y)

    def initial_negative(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """rho- at time 0 at the points (x, y)."""
        return total_density(self.negative, x, y)


ORIGIN = (0.0, 0.0)
S1_VALUES = ReferenceValues((0.0593445493863, 0.0275199095830), (0.1346048812865, 0.0730365995440), 3.816)
S2_VALUES = ReferenceValues((0.0437546139045, 0.0437546139045), (0.1198331588419, 0.1198331588419), 3.6)
S3_VALUES = ReferenceValues((0.1020147617, 0.1020147617), (0.175836959403, 0.175836959403), 1.84)
R1_VALUES = ReferenceValues((0.0503658044807, 0.0), (0.1719563466857, 0.0), 5.0)
# radial, both signs, not neutral
S1 = ReferenceProblem("S1", 0.5, 0.4, (Blob(0.6, ORIGIN, 0.5),), (Blob(0.4, ORIGIN, 1.5),), S1_VALUES)
# dipole, neutral
S2 = ReferenceProblem("S2", 0.5, 0.4, (Blob(0.5, (-1.0, 0.0), 0.3),), (Blob(0.5, (1.0, 0.0), 0.3),), S2_VALUES)
# two charges that meet, drift-dominated: gamma_bar/D = 20
S3 = ReferenceProblem("S3", 0.05, 1.0, (Blob(0.5, (-1.0, 0.2), 0.3),), (Blob(0.5, (1.0, -0.2), 0.3),), S3_VALUES)
# one sign, radial, strong repulsion
R1 = ReferenceProblem("R1", 0.5, 2.0, (Blob(1.0, ORIGIN, 0.5),), (), R1_VALUES)
PROBLEMS: Mapping[str, ReferenceProblem] = MappingProxyType({problem.name: problem for problem in (S1, S2, S3, R1)})
