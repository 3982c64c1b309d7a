"""Whether and when a pair reacts, given both ends of its relative path over a step: for any V, without knowing beta.

Given its ends a and b, the relative path over a time d is a Brownian bridge, of variance 2 D d per coordinate, and the
pair reacts at the rate k V(x / l), l the pair's range. The bridge is halved again and again, its middle being normal
with mean (a + b) / 2 and variance D d / 2, and a half is left out where it can hardly touch the ball |x| < R l that
holds the support of V: the probability is below exp(-[(|a| + |b| - 2 R l)^2 - |a - b|^2] / (4 D d)), here below
exp(-CUT). A piece so short that few candidates are expected is thinned: candidates for a reaction come as a Poisson
process of the rate CANDIDATES k max V, the path is drawn at each of them in turn, exactly, and a candidate at x is
accepted with the probability p = V(x / l) / (CANDIDATES max V). So the law of the reaction is exact but for CUT,
whatever the length of the step, without any step for V. Summed over the candidates up to the reaction, p is an unbiased
estimate of the hazard int k V dt along the path, and (accepted - p) are the increments of a martingale.

A piece after j halvings is kept in units of its own sqrt(D d), where its ends are of order one, and the range enters by
its logarithm. So eps may be smaller than any floating-point number.
"""

from __future__ import annotations

import math

import numpy as np

from limitpde.coagulation.simulator.potential import CompiledInteraction, value
from limitpde.compiled import hot
from limitpde.nbody.random import pair_normals, pair_uniforms

CUT = 12.0
CANDIDATES = 8.0
"""Candidates per acceptance where V is largest: more make the estimated hazard less noisy, not the law more exact."""
FEW = 2.0
"""Expected candidates on a piece that is halved no further."""
FIRST_MASS, SECOND_MASS, FIRST_STAYS, FIELDS = 5, 6, 7, 8
"""Columns of a record of a candidate: time as a share of the step, p, 1 if accepted, and two labels of the pair. Those
named are written when it is carried out (`events.happen`): masses, one of them 0 where it was void, and 1 if the first
particle is the one that a reaction would leave."""
_ROOT, _HALF_LOG, _LOG = math.sqrt(2.0), math.log(2.0) / 2, math.log(2.0)


@hot
def stack_size(log_rate: float) -> int:
    """Rows of the stack for `bisect`, for the greatest log of the candidates expected over a step."""
    return int(max(0.0, math.ceil(log_rate / _LOG))) + 4


@hot
def note(records: np.ndarray, count: int, time: float, chance: float, accepted: bool, i: int, j: int) -> int:
    """Write down a candidate if there is room; the number of records there should be."""
    if count < len(records):
        records[count, 0], records[count, 1], records[count, 2] = time, chance, 1.0 if accepted else 0.0
        records[count, 3], records[count, 4] = i, j
    return count + 1


@hot
def bisect(
    V: CompiledInteraction,
    flat: bool,
    log_range: float,
    log_rate: float,
    a: tuple[float, float, float],
    b: tuple[float, float, float],
    close: bool,
    pair: tuple[np.uint64, int, int, int],
    draw: int,
    stack: np.ndarray,
    records: np.ndarray,
    count: int,
    i: int,
    j: int,
) -> int:
    """Candidates for a reaction of one pair over one step, and whether it reacts.

    Args:
        V: the interaction.
        flat: whether the pair moves in the plane.
        log_range: log of the pair's range l in units of sqrt(D d), d the length of the step.
        log_rate: log of the number of candidates expected where V is not zero, CANDIDATES k max V d.
        a: relative position at the start, in units of sqrt(D d); in units of l if `close`.
        b: at the end, in units of sqrt(D d).
        close: see a.
        pair: key, numbers of the two particles and number of the step for `pair_block`.
        draw: number of the first draw; up to 2^27 are used.
        stack: scratch, (stack_size, 8).
        records: (k, FIELDS); candidates with p > 0 are noted from row `count` on, in no order. At most one of them,
            the last, is accepted.
        count: records so far.
        i: label of the first particle for the records.
        j: label of the second.

    Returns:
        Records now; if there are more than rows, those beyond are not written.
    """
    stack[0, 0], stack[0, 1] = 0.0, 0.0
    for c in range(3):
        stack[0, 2 + c], stack[0, 5 + c] = a[c], b[c]
    top = 1
    while top > 0:
        top -= 1
        time, depth = stack[top, 0], stack[top, 1]
        unit = math.exp(log_range + depth * _HALF_LOG)
        a0, a1, a2 = stack[top, 2], stack[top, 3], stack[top, 4]
        b0, b1, b2 = stack[top, 5], stack[top, 6], stack[top, 7]
        if close and time == 0.0:
            a0, a1, a2 = a[0] * unit, a[1] * unit, a[2] * unit
        reach = V.reach * unit
        ra, rb = math.sqrt(a0 * a0 + a1 * a1 + a2 * a2), math.sqrt(b0 * b0 + b1 * b1 + b2 * b2)
        if ra > reach and rb > reach:
            s = ra + rb - 2.0 * reach
            if s * s - (a0 - b0) ** 2 - (a1 - b1) ** 2 - (a2 - b2) ** 2 > 4.0 * CUT:
                continue
        expected = math.exp(log_rate - depth * _LOG)
        if expected <= FEW:
            place = (time, 2.0**-depth)
            count, draw, hit = _thin(
                V, flat, unit, expected, (a0, a1, a2), (b0, b1, b2), place, pair, draw, records, count, i, j
            )
            if hit:
                return count
            continue
        z0, z1, z2, _ = pair_normals(pair[0], pair[1], pair[2], pair[3], draw)
        draw += 1
        # the middle in the units of the parent, then all in those of the halves
        m0 = _ROOT * 0.5 * (a0 + b0) + z0
        m1 = _ROOT * 0.5 * (a1 + b1) + z1
        m2 = 0.0 if flat else _ROOT * 0.5 * (a2 + b2) + z2
        # only the piece at the start of the step has time 0, also where powers of two underflow
        stack[top, 0], stack[top, 1] = max(time + 2.0 ** (-depth - 1.0), 1e-300), depth + 1.0
        stack[top, 2], stack[top, 3], stack[top, 4] = m0, m1, m2
        stack[top, 5], stack[top, 6], stack[top, 7] = _ROOT * b0, _ROOT * b1, _ROOT * b2
        top += 1
        stack[top, 0], stack[top, 1] = time, depth + 1.0
        stack[top, 2], stack[top, 3], stack[top, 4] = _ROOT * a0, _ROOT * a1, _ROOT * a2
        stack[top, 5], stack[top, 6], stack[top, 7] = m0, m1, m2
        top += 1
    return count


@hot
def _thin(V, flat, unit, expected, a, b, place, pair, draw, records, count, i, j):  # type: ignore[no-untyped-def]
    """Candidates on one piece, in order of time: records, next draw, and whether one was accepted."""
    x, y, z = a
    gone = 0.0  # share of the piece
    while True:
        u, v = pair_uniforms(pair[0], pair[1], pair[2], pair[3], draw)
        draw += 1
        gap, left = -math.log(u) / expected, 1.0 - gone
        if not gap < left:
            return count, draw, False
        z0, z1, z2, _ = pair_normals(pair[0], pair[1], pair[2], pair[3], draw)
        draw += 1
        share, spread = gap / left, math.sqrt(2.0 * gap * (left - gap) / left)
        x += share * (b[0] - x) + spread * z0
        y += share * (b[1] - y) + spread * z1
        if not flat:
            z += share * (b[2] - z) + spread * z2
        gone += gap
        chance = value(V, x / unit, y / unit, z / unit) / (CANDIDATES * V.highest) if unit > 0.0 else 0.0
        if chance > 0.0:
            hit = v <= chance
            count = note(records, count, place[0] + place[1] * gone, chance, hit, i, j)
            if hit:
                return count, draw, True
