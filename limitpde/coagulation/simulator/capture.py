"""Closed forms of the chance that a pair far apart reacts, given both ends of its relative path over a step.

From afar, V acts like an absorbing ball whose radius a is the scattering length, and of that only the part of angular
momentum zero is felt: the rest is smaller by (a / |x|)^2. With x, y the ends, tau = D dt and w = |x||y| + x.y,

    d = 3:  P = tau / (|x||y|) (exp(a (|x| + |y| - a) / tau) - 1) exp(-w / (2 tau));
    d = 2:  P = (4/pi) Re int_0^inf k exp(k^2 + |x - y|^2 / 4) K_0(k|x|) K_0(k|y|) / (log(2/(k a)) - gamma) du,

lengths in units of sqrt(tau) and k = c + i u. That is the Laplace transform of the exterior Green function of a disk
that is small beside |x|, |y| and sqrt(tau), inverted along the line of steepest descent, c = (|x| + |y|)/2, or c = 1 if
that is less, where the trapezoidal rule converges exponentially. Only log a enters.
"""

from __future__ import annotations

import math

import numpy as np

from limitpde.compiled import hot
from limitpde.nbody.random import pair_normals, pair_uniforms

GAMMA = 0.5772156649015329
STEP, POINTS = 0.5, 9
"""The trapezoidal rule in u: exp(-(STEP POINTS)^2) and exp(-2 pi c / STEP) are below 4e-6."""
_HERMITE, _WEIGHTS = (array[6:].copy() for array in np.polynomial.hermite.hermgauss(12))
TERMS = 24
NEAR = 4.0
"""|z| up to which K_0 is summed as a power series."""


@hot
def sphere_chance(rx: float, ry: float, dot: float, tau: float, radius: float) -> float:
    """P for d = 3.

    Args:
        rx: |x|, several times the radius.
        ry: |y|, likewise.
        dot: x.y.
        tau: D dt.
        radius: a.
    """
    product = rx * ry
    found = tau / product * math.expm1(radius * (rx + ry - radius) / tau) * math.exp(-(product + dot) / (2.0 * tau))
    return min(found, 1.0)


@hot
def disk_chance(rx: float, ry: float, dot: float, tau: float, log_radius: float) -> float:
    """P for d = 2; arguments as in `sphere_chance`, but for log_radius, log a."""
    unit = math.sqrt(tau)
    x, y = rx / unit, ry / unit
    ends = x + y
    c = max(ends / 2.0, 1.0)
    square = x * x + y * y - 2.0 * dot / tau
    level = math.log(2.0) - GAMMA - log_radius + math.log(unit)
    total = 0.0
    for point in range(POINTS):
        u = point * STEP
        k = complex(c, u)
        kernel = k * _scaled_k0(k * x) * _scaled_k0(k * y) / (level - np.log(k))
        weight = 0.5 if point == 0 else 1.0
        total += (
            weight
            * math.exp(c * c - u * u - c * ends + square / 4.0)
            * (kernel * np.exp(complex(0.0, u * (2.0 * c - ends)))).real
        )
    return min(max(4.0 / math.pi * STEP * total, 0.0), 1.0)


@hot
def _scaled_k0(z: complex) -> complex:
    """exp(z) K_0(z) for Re z > 0: the power series, or 2 int_0^inf exp(-s^2) / sqrt(s^2 + 2 z) ds by Gauss's rule."""
    if abs(z) > NEAR:
        total = complex(0.0, 0.0)
        for k in range(len(_HERMITE)):
            total += _WEIGHTS[k] / np.sqrt(_HERMITE[k] ** 2 + 2.0 * z)
        return 2.0 * total
    square = 0.25 * z * z
    term, harmonic = complex(1.0, 0.0), 0.0
    first, second = complex(1.0, 0.0), complex(0.0, 0.0)
    for k in range(1, TERMS):
        term *= square / (k * k)
        harmonic += 1.0 / k
        first += term
        second += harmonic * term
        if abs(term) < 1e-9:
            break
    return (second - (np.log(0.5 * z) + GAMMA) * first) * np.exp(z)


@hot
def capture_time(
    flat: bool, rx: float, ry: float, tau: float, pair: tuple[np.uint64, int, int, int], draw: int
) -> float:
    """When a path that was captured met the centre, as a share of the step, up to O(a / |x|).

    With s the share, its density is ~ [s (1 - s)]^(-d/2) exp(-|x|^2 / (4 tau s) - |y|^2 / (4 tau (1 - s))), d = 3: then
    s / (1 - s) is inverse Gaussian or one over such, with chances in the ratio |y| : |x|; d = 2: its logarithm less
    log(|x|/|y|) has the density ~ exp(-q cosh), q = |x||y| / (2 tau).

    Args:
        flat: whether d = 2.
        rx: |x|.
        ry: |y|.
        tau: D dt.
        pair: as for `bisect`.
        draw: number of the first draw.
    """
    q = rx * ry / (2.0 * tau)
    if flat:
        while True:
            z, _, _, _ = pair_normals(pair[0], pair[1], pair[2], pair[3], draw)
            u, _ = pair_uniforms(pair[0], pair[1], pair[2], pair[3], draw + 1)
            draw += 2
            v = z / math.sqrt(q)
            if math.log(u) <= -q * (math.cosh(v) - 1.0 - 0.5 * v * v):
                ratio = rx / ry * math.exp(v)
                return ratio / (1.0 + ratio)
    z, _, _, _ = pair_normals(pair[0], pair[1], pair[2], pair[3], draw)
    u, v = pair_uniforms(pair[0], pair[1], pair[2], pair[3], draw + 1)
    turn = v * (rx + ry) > ry
    mean, shape = (ry / rx, ry * ry / (2.0 * tau)) if turn else (rx / ry, rx * rx / (2.0 * tau))
    part = 0.5 * mean * z * z / shape
    root = mean / (1.0 + part + math.sqrt(part * (2.0 + part)))
    ratio = root if u * (mean + root) <= mean else mean * mean / root
    return 1.0 / (1.0 + ratio) if turn else ratio / (1.0 + ratio)
