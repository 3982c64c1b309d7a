"""Pairs of particles that may react during one step, and the candidates for their reactions.

Every pair within the reach of the step is asked whether its relative path, of which both ends are known, met the
support of V: see `bridge` for any V, and `capture` for pairs far apart where the scattering length is used. At a wall
the free path of a particle is folded back, and the folded paths of a pair meet where the path of one meets the mirror
image of the other's; so a pair near a wall is tested once more with one of the two mirrored, in a box at each wall and
edge exactly, in a ball at the sphere by the map r -> 2 R - r along the radius, which is exact but for the curvature
over a step. Mirror images are farther apart than the pair itself, so no pair is missed.

Every draw has a counter of its own, made of the two numbers of the particles, and a pair is always seen from its lower
number. Hence nothing depends on the order in which pairs are met.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from limitpde.coagulation.simulator.bridge import CANDIDATES, CUT, bisect, note
from limitpde.coagulation.simulator.capture import capture_time, disk_chance, sphere_chance
from limitpde.coagulation.simulator.potential import CompiledInteraction
from limitpde.compiled import hot
from limitpde.nbody.random import pair_uniforms

TORUS, BOX, BALL = 1, 2, 3
"""Kinds of domain, as `Domain.number` gives them."""
FAR = 20.0
"""In units of the reach of V: where the closed form takes over; what it leaves out is of the order of FAR^-2 of it."""
DRAWS = 1 << 27
"""Draws of a pair for each of its images; from 8 DRAWS on are those for reactions and splittings."""
AT_ONCE = 8
"""Positions that are copied together."""


class MassLaw(NamedTuple):
    """A function of the mass."""

    values: np.ndarray
    """(K,) at masses 1 ... K."""
    scale: float
    """Beyond K it is scale n^power; 0 if it keeps its last value."""
    power: float


class Physics(NamedTuple):
    """What particles are and do, for compiled code."""

    V: CompiledInteraction
    flat: bool
    """Whether d = 2."""
    log_eps: float
    log_front: float
    """Log of what the rate of a pair carries besides alpha eps^-2 V: `Model.log_front`."""
    alpha: np.ndarray
    """(A, A) alpha(n, m); beyond A its last row and column hold."""
    strength: MassLaw
    """What each mass multiplies alpha by."""
    diffusion: MassLaw
    """d(n)."""
    ranges: MassLaw
    """r_n, a pair's range being (r_n + r_m) eps; one half where all masses have one range."""
    splitting: MassLaw
    """Splittings per time; no values where there are none."""
    merge: bool
    """Whether a pair merges; otherwise both vanish."""
    closed: bool
    """Whether pairs far apart use the scattering length."""
    lengths: np.ndarray
    """(k,) log of the scattering length in units of the range, at evenly spaced log(alpha / (D front))."""
    log_s: np.ndarray
    """(2,) the first of these, and one over their distance."""
    domain: int
    low: np.ndarray
    """(3,) of the domain; 0 beyond d."""
    size: np.ndarray
    """(3,) of the domain; 0 beyond d."""
    contact: np.ndarray
    """(2,) bounds on the rate at which a pair reacts per volume: max alpha int V, times both strengths, and D times the
    second one; for d = 2 both times the front."""


class Sorted(NamedTuple):
    """The particles of one replica, sorted by cell."""

    at: np.ndarray
    """(3, n + AT_ONCE) positions at the start of the step, and some that mean nothing."""
    by: np.ndarray
    """(3, n) displacements over the step, before walls fold them."""
    diffusion: np.ndarray
    """(n,) d(m_i)."""
    ranges: np.ndarray
    """(n,) r of each."""
    kind: np.ndarray
    """(n,) int64, row of alpha."""
    strength: np.ndarray
    """(n,) what each multiplies alpha by."""
    ident: np.ndarray
    """(n,) int64, numbers of the particles."""
    place: np.ndarray
    """(n,) int64, where they are in the unsorted arrays."""
    mate: np.ndarray
    """(n,) int64, number of the particle from which it was just split off; -1 for none."""
    offset: np.ndarray
    """(3, n) displacement from that one, in units of the pair's range, where there is one."""


@hot
def law(of: MassLaw, n: int) -> float:
    """A function of the mass at mass n."""
    if n <= len(of.values):
        return of.values[n - 1]
    if of.scale > 0.0:
        return of.scale * float(n) ** of.power
    return of.values[-1]


@hot
def meet_one(P, S, p, q, r, key, step, dt, square, stack, records, count):  # type: ignore[no-untyped-def]
    """Candidates of one pair and its images; r is the displacement from p to q at the start."""
    if S.ident[p] > S.ident[q]:
        p, q = q, p
        r = (-r[0], -r[1], -r[2])
    pair = (key, S.ident[p], S.ident[q], step)
    y = (
        r[0] + (S.by[0, q] - S.by[0, p]),
        r[1] + (S.by[1, q] - S.by[1, p]),
        r[2] + (S.by[2, q] - S.by[2, p]),
    )
    close = S.mate[q] == S.ident[p]
    count = _test(P, S, p, q, r, y, close, pair, 0, dt, stack, records, count)
    if P.domain == BOX:
        return _images_in_box(P, S, p, q, r, y, pair, dt, square, stack, records, count)
    if P.domain == BALL:
        return _image_in_ball(P, S, p, q, pair, dt, square, stack, records, count)
    return count


@hot
def _test(P, S, p, q, x, y, close, pair, draw, dt, stack, records, count):  # type: ignore[no-untyped-def]
    """Candidates on one relative path from x to y."""
    D, factor = S.diffusion[p] + S.diffusion[q], S.ranges[p] + S.ranges[q]
    tau = D * dt
    log_range = P.log_eps + math.log(factor)
    width = math.exp(log_range)
    core = P.V.reach * width
    rx = math.sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2])
    ry = math.sqrt(y[0] * y[0] + y[1] * y[1] + y[2] * y[2])
    dot = x[0] * y[0] + x[1] * y[1] + x[2] * y[2]
    if rx > core and ry > core and not close:
        bend = 0.5 * (rx * ry + dot) - core * (rx + ry) + core * core  # [(rx + ry - 2 core)^2 - |x - y|^2] / 4
        if rx + ry > 2.0 * core and bend > CUT * tau:
            return count
    alpha = P.alpha[S.kind[p], S.kind[q]] * S.strength[p] * S.strength[q]
    if not alpha > 0.0:
        return count
    i, j = S.place[p], S.place[q]
    if P.closed and rx > FAR * core and ry > FAR * core and not close:
        log_length = log_range + _log_length(P, math.log(alpha / D) + P.log_front)
        if P.flat:
            chance = disk_chance(rx, ry, dot, tau, log_length)
        else:
            chance = sphere_chance(rx, ry, dot, tau, math.exp(log_length))
        u, _ = pair_uniforms(pair[0], pair[1], pair[2], pair[3], draw)
        likely = min(1.0, CANDIDATES * chance)
        if u <= likely:
            time = capture_time(P.flat, rx, ry, tau, pair, draw + 1)
            return note(records, count, time, chance / likely, u <= chance, i, j)
        return count
    log_rate = math.log(CANDIDATES * alpha * P.V.highest * dt) + P.log_front - 2.0 * log_range
    unit = math.sqrt(tau)
    a = (x[0] / unit, x[1] / unit, x[2] / unit)
    b = (y[0] / unit, y[1] / unit, y[2] / unit)
    if close:
        a = (S.offset[0, q], S.offset[1, q], S.offset[2, q])
    log_unit = log_range - math.log(unit)
    return bisect(P.V, P.flat, log_unit, log_rate, a, b, close, pair, draw, stack, records, count, i, j)


@hot
def _log_length(P, log_s):  # type: ignore[no-untyped-def]
    """Log of the scattering length in units of the range, by linear interpolation."""
    place = min(max((log_s - P.log_s[0]) * P.log_s[1], 0.0), len(P.lengths) - 1.0)
    k = min(int(place), len(P.lengths) - 2)
    return P.lengths[k] + (place - k) * (P.lengths[k + 1] - P.lengths[k])


@hot
def _images_in_box(P, S, p, q, r, y, pair, dt, square, stack, records, count):  # type: ignore[no-untyped-def]
    """Candidates of p with the mirror images of q at the walls near them."""
    axes = 2 if P.flat else 3
    near = 0
    m0 = m1 = m2 = e0 = e1 = e2 = 0.0
    for c in range(axes):
        both = S.at[c, p] + S.at[c, q]
        middle = 2.0 * P.low[c] + P.size[c]
        mirrored = 2.0 * (P.low[c] if both < middle else P.low[c] + P.size[c]) - both
        end = mirrored - (S.by[c, p] + S.by[c, q])
        if mirrored * mirrored <= square:
            near |= 1 << c
        if c == 0:
            m0, e0 = mirrored, end
        elif c == 1:
            m1, e1 = mirrored, end
        else:
            m2, e2 = mirrored, end
    for mask in range(1, 8):
        if mask & near != mask:
            continue
        a0, b0 = (m0, e0) if mask & 1 else (r[0], y[0])
        a1, b1 = (m1, e1) if mask & 2 else (r[1], y[1])
        a2, b2 = (m2, e2) if mask & 4 else (r[2], y[2])
        if a0 * a0 + a1 * a1 + a2 * a2 <= square:
            x, end = (a0, a1, a2), (b0, b1, b2)
            count = _test(P, S, p, q, x, end, False, pair, mask * DRAWS, dt, stack, records, count)
    return count


@hot
def _image_in_ball(P, S, p, q, pair, dt, square, stack, records, count):  # type: ignore[no-untyped-def]
    """Candidates of p with the mirror image of q at the sphere."""
    radius = P.size[0] / 2.0
    a = (S.at[0, p] - P.low[0] - radius, S.at[1, p] - P.low[1] - radius, 0.0)
    b = (S.at[0, q] - P.low[0] - radius, S.at[1, q] - P.low[1] - radius, 0.0)
    if not P.flat:
        a = (a[0], a[1], S.at[2, p] - P.low[2] - radius)
        b = (b[0], b[1], S.at[2, q] - P.low[2] - radius)
    ra, rb = math.sqrt(a[0] ** 2 + a[1] ** 2 + a[2] ** 2), math.sqrt(b[0] ** 2 + b[1] ** 2 + b[2] ** 2)
    apart = 2.0 * radius - ra - rb
    if apart * apart > square or rb == 0.0:
        return count
    f = (2.0 * radius - rb) / rb
    x = (f * b[0] - a[0], f * b[1] - a[1], f * b[2] - a[2])
    if x[0] * x[0] + x[1] * x[1] + x[2] * x[2] > square:
        return count
    a = (a[0] + S.by[0, p], a[1] + S.by[1, p], a[2] + S.by[2, p])
    b = (b[0] + S.by[0, q], b[1] + S.by[1, q], b[2] + S.by[2, q])
    rb = math.sqrt(b[0] ** 2 + b[1] ** 2 + b[2] ** 2)
    if rb == 0.0:
        return count
    f = (2.0 * radius - rb) / rb
    y = (f * b[0] - a[0], f * b[1] - a[1], f * b[2] - a[2])
    return _test(P, S, p, q, x, y, False, pair, DRAWS, dt, stack, records, count)
