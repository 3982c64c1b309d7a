"""Local times of reflected particles at the walls, and what they add to the balance of a test function.

A particle that walls reflect moves as X = x + W + n_in L: L, its local time, grows only while it is at a wall of inward
normal n_in, and

    d phi(X) = d Lap phi dt + grad phi . dW + dphi/dn_in dL,

the counterpart of the flux through the walls in the weak form (`limitpde.coagulation.proof.walls`). Of a path of
variance v = 2 d dt from the distance a to the free end b, negative behind the wall,

    P(L > l | a, b) = exp(-[(|a| + |b| + l)^2 - (a - b)^2] / (2 v)),

so L is drawn exactly. In a ball a, b are R - |x|, which is exact but for the curvature over a step, as the reflection
itself. The slope of phi is the mean of those at the wall next to both ends.
"""

from __future__ import annotations

import math

import numpy as np

from limitpde.coagulation.simulator.pairs import BALL, BOX, Physics
from limitpde.compare.spatial import spatial
from limitpde.compiled import compiled, hot
from limitpde.nbody.random import two_uniforms

LOOKS = 4  # Stream.TEST
THIRD = 1 << 34
"""Added to the number of a step for the draw of the third axis."""
MOST_CONTACTS = 6
"""Rows for the contacts of one particle in one step: two at each of three walls."""
WEIGHT, END = 6, 7
"""Columns of a contact."""
RARE = 36.0
"""Minus the log of a chance that counts as none."""


@hot
def local_time(a: float, b: float, variance: float, u: float) -> float:
    """L of a path from a >= 0 to the free end b, for a uniform u in (0, 1]."""
    found = math.sqrt((a - b) ** 2 - 2.0 * variance * math.log(u)) - abs(a) - abs(b)
    return max(found, 0.0)


@compiled
def touch(
    P: Physics,
    kinds: np.ndarray,
    parameters: np.ndarray,
    x: np.ndarray,
    by: np.ndarray,
    variance: float,
    draw: tuple[np.uint64, int, int, int],
    met: np.ndarray,
    out: np.ndarray,
) -> None:
    """What the walls add to each test function over the step of one particle: the sum of dphi/dn_in L.

    Args:
        P: the model.
        kinds: (F,) of the test functions.
        parameters: of the test functions.
        x: (3,) where it starts.
        by: (3,) its free displacement.
        variance: 2 d dt.
        draw: seed, replica, number of the particle and of the step.
        met: room for what `contacts` finds.
        out: (F,).
    """
    out[:] = 0.0
    for k in range(contacts(P, x, by, variance, draw, met)):
        _add_slopes(P.flat, kinds, parameters, met[k, :3], met[k, 3:6], met[k, WEIGHT], out)


@compiled
def contacts(
    P: Physics, x: np.ndarray, by: np.ndarray, variance: float, draw: tuple[np.uint64, int, int, int], met: np.ndarray
) -> int:
    """Where a particle meets walls in one step; how many rows of `met` are filled.

    Args:
        P: the model.
        x: (3,) where it starts.
        by: (3,) its free displacement.
        variance: 2 d dt.
        draw: seed, replica, number of the particle and of the step.
        met: (MOST_CONTACTS, 8): a point of a wall, the inward normal, its part of the local time there, and 0 or 1 for
            the start or the end of the step, to which the point is next.
    """
    count = 0
    if P.domain == BOX:
        for c in range(2 if P.flat else 3):
            low = 2.0 * (x[c] - P.low[c]) + by[c] < P.size[c]
            a = x[c] - P.low[c] if low else P.low[c] + P.size[c] - x[c]
            b = a + by[c] if low else a - by[c]
            if not _met(a, b, variance):
                continue
            first, second = two_uniforms(draw[0], LOOKS, draw[1], draw[2], draw[3] + (THIRD if c == 2 else 0))
            length = local_time(a, b, variance, second if c == 1 else first)
            for end in range(2 if length > 0.0 else 0):
                met[count, :3], met[count, 3:6] = x + end * by, 0.0
                met[count, c] = P.low[c] if low else P.low[c] + P.size[c]
                met[count, 3 + c] = 1.0 if low else -1.0
                met[count, WEIGHT], met[count, END] = 0.5 * length, end
                count += 1
    elif P.domain == BALL:
        radius = P.size[0] / 2.0
        centre = P.low + P.size / 2.0
        start, end_ = x - centre, x + by - centre
        r0, r1 = math.sqrt((start**2).sum()), math.sqrt((end_**2).sum())
        if not _met(radius - r0, radius - r1, variance):
            return 0
        first, _ = two_uniforms(draw[0], LOOKS, draw[1], draw[2], draw[3])
        length = local_time(radius - r0, radius - r1, variance, first)
        for end in range(2 if length > 0.0 else 0):
            outward = start / r0 if end == 0 else end_ / r1
            met[count, :3], met[count, 3:6] = centre + radius * outward, -outward
            met[count, WEIGHT], met[count, END] = 0.5 * length, end
            count += 1
    return count


@compiled
def all_contacts(
    P: Physics,
    x: np.ndarray,
    by: np.ndarray,
    variances: np.ndarray,
    seed: np.uint64,
    replica: int,
    ident: np.ndarray,
    step: int,
) -> np.ndarray:
    """What `contacts` finds of n particles, (k, 9): their places last."""
    n, count = len(variances), 0
    found, met = np.empty((2 * n + MOST_CONTACTS, 9)), np.empty((MOST_CONTACTS, 8))
    for i in range(n):
        more = contacts(P, x[i], by[i].copy(), variances[i], (seed, replica, ident[i], step), met)
        if count + more > len(found):
            found = np.concatenate((found, np.empty_like(found)))
        found[count : count + more, :8], found[count : count + more, 8] = met[:more], i
        count += more
    return found[:count]


@hot
def _met(a: float, b: float, variance: float) -> bool:
    """Whether a path from the distance a to b may have met the wall."""
    return b <= 0.0 or 2.0 * a * b <= RARE * variance


@compiled
def _add_slopes(flat, kinds, parameters, point, normal, weight, out):  # type: ignore[no-untyped-def]
    """Add the slope of each test function along the normal, times a weight."""
    gradient, d = np.empty(3), len(point) - (1 if flat else 0)
    for f in range(len(kinds)):
        spatial(kinds[f], parameters[f], point[:d], gradient)
        for c in range(d):
            out[f] += weight * normal[c] * gradient[c]
