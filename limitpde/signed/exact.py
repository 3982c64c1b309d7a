"""Closed forms and reference solutions of the signed system, for tests and demos: plain numbers and arrays.

The system is van Meurs-Peletier-Slangen (1.3) = (5.6) with the diffusivity D (sigma^2/2 by Ito's formula),

    d_t rho_s + s gamma_bar div(rho_s K*(rho+ - rho-)) = D Lap rho_s,   s = +1, -1,   K(x) = x/|x|^2,

and its particles are (1.1), dX_i = sigma dB_i + gamma sum_j b_i b_j K(X_i - X_j) dt.

Here: Gaussians with field and potential; the law of the second moment; the squared Bessel laws of the particles; the
problems S1, S2, S3, R1 with reference values.
The solution for any smooth data is `limitpde.signed.plane_reference.PlaneReference`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.special
import scipy.stats

from limitpde.errors import InputError


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


def second_moment_rate(diffusivity: float, gamma_bar: float, positive_mass: float, negative_mass: float) -> float:
    """d/dt of the integral of |x|^2 (rho+ + rho-) under (1.3): 4 D (M+ + M-) + gamma_bar (M+ - M-)^2, at all times."""
    return 4.0 * diffusivity * (positive_mass + negative_mass) + gamma_bar * (positive_mass - negative_mass) ** 2


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

    By `PlaneReference` (192 points and step 0.005; S3: 384 points), with tests/support/radial.py agreeing on S1 and R1.
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
