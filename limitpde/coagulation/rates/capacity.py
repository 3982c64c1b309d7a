"""Collision of two Brownian particles under a radial V: the radial part of Hammond (1.8), any dimension d >= 2.

The function w = 1 - u solves Lap w = s V w, s = alpha / D, D = d(n) + d(m). For radial V all that is seen from
outside the support, a ball of radius R, is the logarithmic derivative p(s) = R w'(R) / w(R):

    d >= 3:  w = 1 - c r^(2-d),  c = R^(d-2) p / (d - 2 + p),  beta = D g(s),  g = (d-2) |S^(d-1)| c       (1.9);
    d = 3:   c is the scattering length a, g = 4 pi a;
    d = 2:   w ~ log(r / a),  log a = log R - 1 / p.

For a ball p is a quotient of Bessel functions. Otherwise (r^(d-1) w')' = s r^(d-1) V w is marched from the centre
over intervals, on each of which the Volterra equation for w is collocated at Chebyshev points. All terms are positive,
so p keeps its relative accuracy for small s; an interval is halved until the Chebyshev series of the integrand has
ended, which finds the jumps of V by itself and follows the layer of large s. The march forgets what it started from at
the rate exp(-2 int sqrt(s V) dr) and therefore starts no deeper than where that is 1e-35.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import ive

from limitpde.coagulation.interaction import sphere_area
from limitpde.errors import InputError, RunError

type Profile = Callable[[np.ndarray], np.ndarray]

NODES = 32
"""Chebyshev points of an interval."""
PIECES = 8
"""Intervals to begin with: features of V narrower than about R / (NODES PIECES) may go unseen."""
MOST_INTERVALS = 2000
"""Where the halving of intervals gives up."""
SHORTEST = 2.0**-50
"""Length, relative to R, below which an interval is not halved any more: what a jump can cost."""
DEPTH = 40.0
"""int sqrt(s V) dr beyond which nothing of the interior is seen: exp(-2 DEPTH) is 2e-35."""


def ball_log_derivative(k: np.ndarray, dimension: int) -> np.ndarray:
    """p = k I_(d/2)(k) / I_(d/2-1)(k) of the ball V = 1_{|x| < R}, k = R sqrt(s); k >= 0 of any shape, d >= 2."""
    k = np.asarray(k, dtype=float)
    order = dimension / 2
    small = k < 1e-2
    square = np.where(small, k, 0.0) ** 2
    next_term = 2 * square / (dimension * (dimension + 4))
    series = square / dimension * (1 - square / (dimension * (dimension + 2)) * (1 - next_term))
    large = k > 1e5
    asymptotic = k - (dimension - 1) / 2 + ((dimension - 2) ** 2 - 1) / (8 * np.where(large, k, 1.0))
    regular = np.where(small | large, 1.0, k)
    between = regular * ive(order, regular) / ive(order - 1, regular)
    return np.where(small, series, np.where(large, asymptotic, between))


def conductance(p: np.ndarray, reach: float, dimension: int) -> np.ndarray:
    """g = beta / D from the logarithmic derivative p at the distance `reach`, d >= 3."""
    front = (dimension - 2) * sphere_area(dimension) * reach ** (dimension - 2)
    return np.asarray(front * p / (dimension - 2 + p))


@functools.cache
def _transform() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """On [0, 1]: points (NODES,), values to Chebyshev coefficients, integrals from 0 to the points, and from 0 to 1."""
    x = -np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    coefficients = np.linalg.inv(chebyshev.chebvander(x, NODES - 1))
    integrals = chebyshev.chebint(np.eye(NODES), lbnd=-1, scl=0.5, axis=0)
    to_points = chebyshev.chebvander(x, NODES) @ integrals @ coefficients
    to_end = chebyshev.chebvander(np.ones(1), NODES) @ integrals @ coefficients
    return (x + 1) / 2, coefficients, to_points, to_end[0]


@functools.cache
def _central(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Means int_0^1 t^(d-1) f(x t) dt of values f at the points: for x = the points (NODES, NODES), x = 1 (NODES,)."""
    points, coefficients, _, _ = _transform()
    nodes, weights = np.polynomial.legendre.leggauss(NODES + dimension)
    t, weights = (nodes + 1) / 2, weights / 2
    at = np.concatenate([points, [1.0]])[:, None] * t
    means = (weights * t ** (dimension - 1))[None, :, None] * chebyshev.chebvander(2 * at - 1, NODES - 1)
    rows = means.sum(axis=1) @ coefficients
    return rows[:-1], rows[-1]


@dataclass(frozen=True, slots=True)
class RadialPiece:
    """The solution on one interval, where w is 1 at its lower end."""

    low: float
    high: float
    coefficients: np.ndarray  # (NODES,) of w, Chebyshev series over the interval
    end: float  # w at the upper end
    flux: float  # r^(d-1) w' there
    resolved: bool  # whether the series of w and of the integrand have ended


@dataclass(frozen=True, slots=True)
class RadialProfile:
    """w on the support of V, from the centre outwards, up to a factor on each interval."""

    dimension: int
    reach: float
    intervals: tuple[RadialPiece, ...]
    p: float  # R w'(R) / w(R)

    def inside(self, r: np.ndarray) -> np.ndarray:
        """w / w(R) at distances 0 <= r <= R, (k,)."""
        ends = np.array([piece.high for piece in self.intervals])
        growth = np.array([piece.end for piece in self.intervals])
        factors = 1 / np.cumprod(growth[::-1])[::-1]  # w at the lower end of each interval, of w(R)
        place = np.minimum(np.searchsorted(ends, r), len(ends) - 1)
        result = np.empty(np.shape(r))
        for index in np.unique(place):
            chosen, piece = place == index, self.intervals[index]
            x = np.clip(2 * (r[chosen] - piece.low) / (piece.high - piece.low) - 1, -1, 1)
            result[chosen] = factors[index] * chebyshev.chebval(x, piece.coefficients)
        return result


def solve_radial(profile: Profile, reach: float, dimension: int, s: float) -> RadialProfile:
    """Solve (r^(d-1) w')' = s r^(d-1) V w on 0 < r < reach.

    Args:
        profile: V(r) at distances (k,) -> (k,), >= 0.
        reach: radius R of the support.
        dimension: d >= 2.
        s: alpha / D (d = 2: with the factor 1 / |log eps|), > 0.

    Raises:
        RunError: V is too rough to be resolved.
        InputError: V is zero.
    """
    start, slope = _start(profile, reach, s)
    flux = slope * start ** (dimension - 1)
    edges = np.linspace(start, reach, PIECES + 1)
    waiting = list(itertools.pairwise(edges))[::-1]
    done: list[RadialPiece] = []
    while waiting:
        low, high = waiting.pop()
        piece = _solve_interval(profile, float(low), float(high), dimension, s, flux)
        if piece.resolved or high - low < SHORTEST * reach:
            done.append(piece)
            flux = piece.flux / piece.end
        else:
            middle = (low + high) / 2
            waiting += [(middle, high), (low, middle)]
        if len(done) + len(waiting) > MOST_INTERVALS:
            raise RunError(
                f"interaction: V is too rough near r = {low:.6g}, {MOST_INTERVALS} intervals do not resolve it "
                f"(alpha / D = {s:.6g})"
            )
    p = flux / reach ** (dimension - 2)
    if p == 0:
        raise InputError(f"interaction: V is zero at all points that were looked at, up to its radius {reach:.6g}")
    return RadialProfile(dimension, reach, tuple(done), p)


def _start(profile: Profile, reach: float, s: float) -> tuple[float, float]:
    """Where the march may start, and w'/w there: the centre, or as deep as is seen from outside."""
    cells = 4096
    r = reach * (np.arange(cells) + 0.5) / cells
    rate = np.sqrt(s * profile(r))
    depth = np.cumsum(rate[::-1])[::-1] * reach / cells  # int_r^R sqrt(s V)
    deep = np.flatnonzero(depth > DEPTH)
    if not len(deep):
        return 0.0, 0.0
    return float(r[deep[-1]]), float(rate[deep[-1]])


def _solve_interval(profile: Profile, low: float, high: float, dimension: int, s: float, flux: float) -> RadialPiece:
    """Solve on one interval from w = 1, r^(d-1) w' = flux at its lower end, by collocation of the integral equation."""
    points, coefficients, to_points, to_end = _transform()
    h = high - low
    r = low + h * points
    weight = s * profile(r)
    if low > 0:
        powers = r ** (dimension - 1)
        weight = weight * powers
        inner, inner_end = h * to_points, h * to_end
        offset = flux / powers
    else:
        means, mean_end = _central(dimension)
        powers = np.ones(NODES)
        inner, inner_end = r[:, None] * means, high**dimension * mean_end
        offset = np.zeros(NODES)
    slopes = inner * weight / powers[:, None]  # w' = slopes w + offset
    outer = h * to_points
    w = np.linalg.solve(np.eye(NODES) - outer @ slopes, 1 + outer @ offset)
    source = weight * w
    end_flux = float(flux + inner_end @ source)
    end = float(1 + h * to_end @ (slopes @ w + offset))
    series, ending = coefficients @ w, np.abs(coefficients @ source)[-4:].max()
    scale = 1.0 if low > 0 else high ** (dimension - 1)
    resolved = h * scale * ending <= 2e-14 * end_flux and np.abs(series[-4:]).max() <= 1e-13 * end
    return RadialPiece(low, high, series, end, end_flux, bool(resolved))
