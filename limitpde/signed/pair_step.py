"""The exact step of two charges: their joint law after any time, collisions included.

The centre of X_1 and X_2 moves as a Brownian motion of its own. In w = (X_1 - X_2) / (sqrt(2) sigma), nu = +- gamma /
sigma^2 (positive where they repel) and mu = |nu|,

    dw = dB + nu w / |w|^2 dt,    R = |w|^2 is a squared Bessel process of dimension 2 (1 + nu).

*Radius, repelling.* R_t / t is noncentral chi-square with 2 + 2 mu degrees of freedom:

    R_t = |(sqrt(R_0), 0) + sqrt(t) xi|^2 + 2 t g,    xi normal in the plane, g of the law Gamma(mu).

*Radius, attracting.* The first time at 0 is tau = R_0 / (2 g), so P(tau < t) = Q(mu, R_0 / (2 t)). Where tau >= t,

    R_t = |(sqrt(R_0 - 2 t g), 0) + sqrt(t) xi|^2 :

the density of R_t = y before the hit is (y / R_0)^(-mu/2) exp(-(R_0 + y) / (2 t)) I_mu(sqrt(R_0 y) / t) / (2 t); term k
of the series of I_mu is the weight a^(k+mu) e^-a / Gamma(k + mu + 1), a = R_0 / (2 t), times the density of
2 t Gamma(k+1); and that weight is the chance that g < a and a Poisson number of mean a - g is k (the dual of the
law above, with g before instead of after). After a hit the pair stays at 0 (always for mu >= 1), or for mu < 1 starts
anew: R_t = 2 (t - tau) h, h of the law Gamma(1 - mu), in a direction that is uniform.

*Angle without a hit.* The angle turns by a normal of variance int ds / R_s, and given both radii, with
z = sqrt(R_0 R_t) / t,

    E cos(n theta) = I_sqrt(mu^2 + n^2)(z) / I_mu(z) .

With v = (sqrt(R_0 - 2 t g), 0) + sqrt(t) xi before or without a hit, |v|^2 is R_t but for 2 t g, and given |v| the
angle of v has the density exp(z' cos theta), z' = |v| sqrt(R_0 - 2 t g) / t <= z. So its distribution function there is
uniform and independent of the radii, and theta is where that of the pair has the same value: for gamma -> 0 a step is
the increment sqrt(t) xi in the plane.

Up to z = max(FAR, 4 mu^2) both are summed up, and the pair's is inverted. Beyond, theta has the density
exp(z cos theta) of the plane (mu = 0), times E exp(-mu^2 / 2 int ds / R_s) over the bridge; there the bridge keeps to
its straight line, on which the integral is (theta / sin theta - 1) / z more than for theta = 0, and 2 sqrt(z) sin(theta
/ 2) is a normal number but for a cubic (`_bent`). What that neglects changes every E cos(n theta) by less than 3e-6
(tests/signed/test_pairs.py).

Random numbers are functions of (key of seed and replica, first, second, step, draw); the draws of one step are
numbered as they are made.
"""

from __future__ import annotations

import math

import numpy as np

from limitpde.compiled import compiled
from limitpde.nbody.random import pair_normals, pair_uniforms

FAR = 60.0
"""z from which the angle is a function of a normal number."""
ROUNDING = 1e-16
FIRST, SECOND = 1 << 29, 1 << 30
"""First draws of the halves of a step."""


@compiled
def gamma_variate(shape, key, first, second, step, draw):  # type: ignore[no-untyped-def]
    """A number of the law Gamma(shape) of scale one (Marsaglia and Tsang, 2000), and the number of the next draw.

    Args:
        shape: >= 0; 0 gives 0.
        key: of the pairs of this replica, `pair_key`.
        first: number of a particle.
        second: number of the other one.
        step: number of the step.
        draw: number of the first draw to use.
    """
    if shape == 0.0:
        return 0.0, draw
    factor = 1.0
    if shape < 1.0:  # Gamma(shape) = Gamma(shape + 1) U^(1 / shape)
        u, _ = pair_uniforms(key, first, second, step, draw)
        factor, draw = u ** (1.0 / shape), draw + 1
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        n = pair_normals(key, first, second, step, draw)[0]
        u, _ = pair_uniforms(key, first, second, step, draw + 1)
        draw += 2
        v = (1.0 + c * n) ** 3
        if v > 0.0 and math.log(u) < 0.5 * n * n + d - d * v + d * math.log(v):
            return d * v * factor, draw


@compiled
def log_bessel_i(order: float, z: float) -> float:
    """log I_order(z) for order >= 0 and 0 < z <= 700, by the power series, all of whose terms are positive."""
    term = total = 1.0
    k, quarter = 0, 0.25 * z * z
    while term > ROUNDING * total:
        k += 1
        term *= quarter / (k * (k + order))
        total += term
    return order * math.log(0.5 * z) - math.lgamma(order + 1.0) + math.log(total)


@compiled
def angle_moments(mu: float, z: float) -> np.ndarray:
    """E cos(n theta) for n = 1, 2, ..., while above rounding; see the module docstring. Needs 0 < z <= 700."""
    found = np.empty(8 + int(9.0 * math.sqrt(z) + 9.0 * math.sqrt(mu + 1.0)) * 2)
    bottom = log_bessel_i(mu, z)
    n = 0
    while n < len(found):
        value = math.exp(log_bessel_i(math.sqrt(mu * mu + (n + 1.0) ** 2), z) - bottom)
        if value < ROUNDING:
            break
        found[n] = value
        n += 1
    return found[:n]


@compiled
def near_angle(mu: float, z: float, u: float) -> float:
    """The angle in (-pi, pi) at which its distribution function is u, by safeguarded Newton steps."""
    moments, wanted = angle_moments(mu, z), abs(2.0 * u - 1.0)
    low, high = 0.0, math.pi
    theta = wanted * math.pi
    for _ in range(100):
        cosine, sine = math.cos(theta), math.sin(theta)
        value, slope = theta, 1.0
        c, s = cosine, sine
        for n in range(len(moments)):
            value += 2.0 * moments[n] * s / (n + 1)
            slope += 2.0 * moments[n] * c
            c, s = c * cosine - s * sine, s * cosine + c * sine
        excess = value - wanted * math.pi
        if excess > 0.0:
            high = theta
        else:
            low = theta
        moved = theta - excess / slope if slope > 0.0 else -1.0
        if not low < moved < high:
            moved = 0.5 * (low + high)
        if abs(moved - theta) < 1e-13:
            break
        theta = moved
    return math.copysign(theta, u - 0.5)


@compiled
def relative_step(wx, wy, nu, time, sticky, xi, eta, key, first, second, step, half):  # type: ignore[no-untyped-def]
    """w after some time, and whether it was at 0 in between.

    Args:
        wx: (X_1 - X_2) / (sqrt(2) sigma), first coordinate.
        wy: second coordinate.
        nu: gamma / sigma^2, negative where the two attract each other.
        time: > 0.
        sticky: whether a pair that hits stays together; taken as true for nu <= -1.
        xi: standard normal number, the first component of the noise of w.
        eta: another one, the second component.
        key: of the pairs of this replica, `pair_key`.
        first: number of the one particle.
        second: number of the other.
        step: number of the step.
        half: 0 for a whole step, 1 and 2 for its halves: the draws are 1, 2, ..., or from FIRST or SECOND on. The first
            half has the Gamma variate of the whole step.

    Returns:
        Both coordinates and whether the pair has hit.
    """
    mu, start = abs(nu), wx * wx + wy * wy
    own = SECOND if half == 2 else FIRST if half == 1 else 1
    g, draw = gamma_variate(mu, key, first, second, step, own if half == 2 else 1)
    draw = max(draw, own)
    before, after = (2.0 * time * g, 0.0) if nu < 0.0 else (0.0, 2.0 * time * g)
    if nu < 0.0 and start <= before:
        if sticky or mu >= 1.0:
            return 0.0, 0.0, True
        left = time if start == 0.0 else time - start / (2.0 * g)
        h, draw = gamma_variate(1.0 - mu, key, first, second, step, draw)
        radius = math.sqrt(2.0 * max(left, 0.0) * h)
        angle = 2.0 * math.pi * pair_uniforms(key, first, second, step, draw)[0]
        return radius * math.cos(angle), radius * math.sin(angle), True
    length, unit = math.sqrt(start), math.sqrt(time)
    p, q = (wx / length, wy / length) if length > 0.0 else (1.0, 0.0)
    left = math.sqrt(start - before)
    along, across = left + unit * (p * xi + q * eta), unit * (p * eta - q * xi)
    end = along * along + across * across + after
    z = length * math.sqrt(end) / time
    if z == 0.0:  # from 0, in any direction
        return along, across, False
    angle = angle_of(mu, z, left * math.hypot(along, across) / time, math.atan2(across, along))
    stretch = math.sqrt(end / start)
    c, s = stretch * math.cos(angle), stretch * math.sin(angle)
    return c * wx - s * wy, s * wx + c * wy, False


@compiled
def angle_of(mu: float, z: float, plane_z: float, plane_angle: float) -> float:
    """The angle of the pair for that of a Brownian motion: both distribution functions have the same value there.

    Args:
        mu: >= 0.
        z: > 0.
        plane_z: z of the Brownian motion, at most that of the pair.
        plane_angle: its angle, of density exp(plane_z cos theta).
    """
    if z <= max(FAR, 4.0 * mu * mu):
        return float(near_angle(mu, z, von_mises(plane_z, plane_angle)))
    if plane_z > FAR:
        s = 2.0 * math.sqrt(plane_z) * math.sin(0.5 * plane_angle)
        first, third = _bent(0.0, plane_z)
        n = s * (1.0 - first - third * s * s)
    else:
        n = normal_quantile(von_mises(plane_z, plane_angle))
    first, third = _bent(mu, z)
    sine = 0.5 * n * (1.0 + first + first**2 + third * n * n) / math.sqrt(z)
    return 2.0 * math.asin(min(max(sine, -1.0), 1.0))


@compiled
def von_mises(z: float, theta: float) -> float:
    """The distribution function in (-pi, pi) of the density exp(z cos theta) (Hill, ACM TOMS 3, 1977)."""
    total = ratio = 0.0
    if z > 0.0:
        for n in range(20 + int(9.0 * math.sqrt(z)), 0, -1):  # I_n / I_(n-1) from its continued fraction
            ratio = 1.0 / (2.0 * n / z + ratio)
            total = ratio * (math.sin(n * theta) / n + total)
    return 0.5 + (0.5 * theta + total) / math.pi


@compiled
def normal_quantile(u: float) -> float:
    """Where the normal distribution function is u: Newton's steps from a rational start."""
    tail = max(min(u, 1.0 - u), 2.0**-54)
    t = math.sqrt(-2.0 * math.log(tail))
    n = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)))
    for _ in range(3):
        n += (0.5 * math.erfc(math.sqrt(0.5) * n) - tail) * math.sqrt(2.0 * math.pi) * math.exp(0.5 * n * n)
    return n if u > 0.5 else -n


@compiled
def _bent(mu: float, z: float) -> tuple[float, float]:
    """p and q such that s (1 - p - q s^2) is normal to order 1 / z^2, s = 2 sqrt(z) sin(theta / 2).

    The density of s is that of a normal number times exp(a s^2 + b s^4) to that order, with these a and b.
    """
    a = 0.125 / z - mu * mu / (12.0 * z * z)
    b = 1.0 / (64.0 * z * z) - mu * mu / (60.0 * z**3)
    return a + 3.0 * b + 0.5 * a * a, b
