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
        out: (F,).
    """
    out[:] = 0.0
    if P.domain == BOX:
        for c in range(2 if P.flat else 3):
            low = 2.0 * (x[c] - P.low[c]) + by[c] < P.size[c]
            a = x[c] - P.low[c] if low else P.low[c] + P.size[c] - x[c]
            b = a + by[c] if low else a - by[c]
            if not _met(a, b, variance):
                continue
            first, second = two_uniforms(draw[0], LOOKS, draw[1], draw[2], draw[3] + (THIRD if c == 2 else 0))
            length = local_time(a, b, variance, second if c == 1 else first)
            normal, wall = np.zeros(3), P.low[c] if low else P.low[c] + P.size[c]
            normal[c] = 1.0 if low else -1.0
            for end in range(2 if length > 0.0 else 0):
                point = x + end * by
                point[c] = wall
                _add_slopes(P.flat, kinds, parameters, point, normal, 0.5 * length, out)
    elif P.domain == BALL:
        radius = P.size[0] / 2.0
        centre = P.low + P.size / 2.0
        start, end_ = x - centre, x + by - centre
        r0, r1 = math.sqrt((start**2).sum()), math.sqrt((end_**2).sum())
        if not _met(radius - r0, radius - r1, variance):
            return
        first, _ = two_uniforms(draw[0], LOOKS, draw[1], draw[2], draw[3])
        length = local_time(radius - r0, radius - r1, variance, first)
        for end in range(2 if length > 0.0 else 0):
            outward = start / r0 if end == 0 else end_ / r1
            _add_slopes(P.flat, kinds, parameters, centre + radius * outward, -outward, 0.5 * length, out)


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
