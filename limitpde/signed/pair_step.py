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

Up to z = max(FAR, 4 mu^2) its distribution function is summed up and inverted. Beyond, theta has the density
exp(z cos theta) of the plane (mu = 0), times E exp(-mu^2 / 2 int ds / R_s) over the bridge; there the bridge keeps to
its straight line, on which the integral is theta / (z sin theta). What that neglects changes every E cos(n theta) by
less than 3e-6 (tests/signed/test_pairs.py).

Random numbers are functions of (key of seed and replica, first, second, step, draw); the draws of one step are
numbered as they are made.
"""

from __future__ import annotations

import math

import numpy as np

from limitpde.compiled import compiled
from limitpde.nbody.random import pair_normals, pair_uniforms

FAR = 60.0
"""z from which the angle is drawn by rejection."""
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
def far_angle(mu, z, key, first, second, step, draw):  # type: ignore[no-untyped-def]
    """The angle for large z, from normal numbers by rejection: sin(theta / 2) >= theta / pi bounds the density."""
    width = math.pi / (2.0 * math.sqrt(z))
    while True:
        theta = width * pair_normals(key, first, second, step, draw)[0]
        u, _ = pair_uniforms(key, first, second, step, draw + 1)
        draw += 2
        if abs(theta) >= math.pi:
            continue
        weight = 2.0 * z * (math.sin(0.5 * theta) ** 2 - (theta / math.pi) ** 2)
        if theta != 0.0:
            weight += 0.5 * mu * mu / z * (theta / math.sin(theta) - 1.0)
        if math.log(u) < -weight:
            return theta


@compiled
def relative_step(wx, wy, nu, time, sticky, xi, eta, key, first, second, step):  # type: ignore[no-untyped-def]
    """w after some time, and whether it was at 0 in between.

    Args:
        wx: (X_1 - X_2) / (sqrt(2) sigma), first coordinate.
        wy: second coordinate.
        nu: gamma / sigma^2, negative where the two attract each other.
        time: > 0.
        sticky: whether a pair that hits stays together; taken as true for nu <= -1.
        xi: standard normal number.
        eta: another one.
        key: of the pairs of this replica, `pair_key`.
        first: number of the one particle.
        second: number of the other.
        step: number of the step; draws 1, 2, ... are used.

    Returns:
        Both coordinates and whether the pair has hit.
    """
    g, draw = gamma_variate(abs(nu), key, first, second, step, 1)
    return _moved(wx, wy, nu, time, sticky, g, xi, eta, math.nan, key, first, second, step, draw)


@compiled
def relative_half(wx, wy, nu, time, sticky, along, across, half, key, first, second, step):  # type: ignore[no-untyped-def]
    """w after one half of a step, and whether it was at 0 in between: the same law, see `limitpde.signed.halves`.

    Arguments as in `relative_step`, with `along` and `across` for standard normal numbers of the radius and the angle,
    and the half, 1 or 2. The first one has the Gamma variate of the whole step; all else is drawn from FIRST or SECOND
    on, where a whole step never comes.
    """
    own = FIRST if half == 1 else SECOND
    g, draw = gamma_variate(abs(nu), key, first, second, step, 1 if half == 1 else own)
    draw = max(draw, own)
    eta = pair_normals(key, first, second, step, draw)[0]
    return _moved(wx, wy, nu, time, sticky, g, along, eta, across, key, first, second, step, draw + 1)


@compiled
def _moved(wx, wy, nu, time, sticky, g, xi, eta, turn, key, first, second, step, draw):  # type: ignore[no-untyped-def]
    """w after some time, given its Gamma variate and, unless it is to be drawn, the normal number of its angle."""
    mu, start = abs(nu), wx * wx + wy * wy
    before, after = (2.0 * time * g, 0.0) if nu < 0.0 else (0.0, 2.0 * time * g)
    if nu < 0.0 and start <= before:
        if sticky or mu >= 1.0:
            return 0.0, 0.0, True
        left = time if start == 0.0 else time - start / (2.0 * g)
        h, draw = gamma_variate(1.0 - mu, key, first, second, step, draw)
        radius = math.sqrt(2.0 * max(left, 0.0) * h)
        angle = 2.0 * math.pi * pair_uniforms(key, first, second, step, draw)[0]
        return radius * math.cos(angle), radius * math.sin(angle), True
    end = (math.sqrt(start - before) + math.sqrt(time) * xi) ** 2 + time * eta * eta + after
    z = math.sqrt(start * end) / time
    if z == 0.0:  # from 0, in any direction
        angle = 2.0 * math.pi * pair_uniforms(key, first, second, step, draw)[0]
        return math.sqrt(end) * math.cos(angle), math.sqrt(end) * math.sin(angle), False
    if not math.isnan(turn):
        angle = angle_of(mu, z, turn)
    elif z <= max(FAR, 4.0 * mu * mu):
        angle = near_angle(mu, z, pair_uniforms(key, first, second, step, draw)[0])
    else:
        angle = far_angle(mu, z, key, first, second, step, draw)
    stretch = math.sqrt(end / start)
    c, s = stretch * math.cos(angle), stretch * math.sin(angle)
    return c * wx - s * wy, s * wx + c * wy, False


@compiled
def angle_of(mu: float, z: float, n: float) -> float:
    """The angle that a standard normal number n stands for: both distribution functions have the same value there."""
    if z <= max(FAR, 4.0 * mu * mu):
        return float(near_angle(mu, z, 0.5 * math.erfc(-math.sqrt(0.5) * n)))
    sine = 0.5 * n * (1.0 + _stretch(mu, z)) / math.sqrt(z)
    return 2.0 * math.asin(min(max(sine, -1.0), 1.0))


@compiled
def turn_of_a_step(mu, z, key, first, second, step, draw):  # type: ignore[no-untyped-def]
    """The standard normal number that stands for the angle which a step draws from this draw on, at about this z."""
    if z <= max(FAR, 4.0 * mu * mu):
        return normal_quantile(pair_uniforms(key, first, second, step, draw)[0])
    theta = far_angle(mu, z, key, first, second, step, draw)
    return 2.0 * math.sqrt(z) * math.sin(0.5 * theta) / (1.0 + _stretch(mu, z))


@compiled
def _stretch(mu: float, z: float) -> float:
    """By what share s = 2 sqrt(z) sin(theta / 2) is larger than a normal number, to order 1 / z.

    Its density is that of a normal number times 1 + (1 / (8 z) - mu^2 / (12 z^2)) s^2.
    """
    return 0.125 / z - mu * mu / (12.0 * z * z)


@compiled
def normal_quantile(u: float) -> float:
    """Where the normal distribution function is u in (0, 1]: Newton's steps on a rational start (error 4.5e-4)."""
    tail = max(min(u, 1.0 - u), 2.0**-54)
    t = math.sqrt(-2.0 * math.log(tail))
    n = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)))
    for _ in range(3):
        excess = 0.5 * math.erfc(math.sqrt(0.5) * n) - tail
        n += excess * math.sqrt(2.0 * math.pi) * math.exp(0.5 * n * n)
    return n if u > 0.5 else -n
