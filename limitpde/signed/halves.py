"""Steps made as two halves along the same Brownian paths, so that their difference to whole steps has little noise.

Every particle of a whole step has two standard normal numbers. Those of its halves are (whole +- inside) / sqrt(2) with
`inside` of the stream BRIDGE: their increments are independent, and add to that of the whole step. Where two charges
move by their exact law, a whole step has no increments in the plane; it draws the radius and the angle of w = (X_1 -
X_2) / (sqrt(2) sigma) from numbers of their own. There the whole is the centre's noise, and for w the normal number of
the radius along w and that of the angle across it, which for far charges are the components of Brownian motion. In a
half, each pair takes the parts of its noise along and across its own w, so that the law of a half is exact. What cannot
be the same is drawn anew: the Gamma variate of the second half (the first one takes that of the whole step, so that it
hits only where the whole step does), and where a pair comes out that has hit. Random batches of the first half are
those of the whole step; the second half has its own, as a step of that size would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from limitpde.compiled import compiled
from limitpde.nbody.random import pair_key, two_normals
from limitpde.signed.pair_step import gamma_variate, turn_of_a_step

INSIDE = 1 << 39
"""Added to the number of a step for the random batches in its middle; steps are below 2^39."""


@dataclass(frozen=True, slots=True)
class Path:
    """What drives some replicas through a step, or through one of its halves."""

    half: int
    """0 for a whole step, which takes its noise from counters; 1 and 2 for its halves."""
    normals: np.ndarray
    """(2, r, N) standard normals of a half; empty for a whole step."""


WHOLE = (Path(0, np.empty((2, 0, 0))),)
"""A step in one."""


def halves(
    x: np.ndarray,
    y: np.ndarray,
    partner: np.ndarray,
    bond: np.ndarray,
    strength: np.ndarray,
    charges: np.ndarray,
    *,
    sigma: float,
    dt: np.ndarray,
    seed: int,
    replicas: np.ndarray,
    number: np.ndarray,
) -> tuple[Path, Path]:
    """The noise of both halves of a step.

    Args:
        x: (R, N) positions at its beginning.
        y: (R, N) positions.
        partner: (R, N), from `mutual_neighbours`; -1 where a particle moves alone.
        bond: (R, N), see `Encounters`.
        strength: (R,) what stands before b_i b_j k in the velocities.
        charges: (N,) b_i as the interaction sees it.

    Keyword Args:
        sigma: strength of the noise.
        dt: (R,) sizes of the whole step.
        seed: of the particle number.
        replicas: (R,) their numbers.
        number: (R,) int64, of the whole step.
    """
    first, second = np.empty((2, 2, *x.shape))
    _halves(
        x, y, partner, bond, strength, charges, sigma, dt, np.uint64(seed), replicas, number, *first, *second
    )  # fmt: skip
    return Path(1, first), Path(2, second)


@compiled(parallel=True)
def _halves(  # type: ignore[no-untyped-def]
    x, y, partner, bond, strength, charges, sigma, sizes, seed: Any, replicas, numbers, ax, ay, bx, by
):
    count = x.shape[1]
    for task in numba.prange(x.size):
        r, i = task // count, task % count
        j, number = partner[r, i], numbers[r]
        if 0 <= j < i:
            continue
        a, b = two_normals(seed, 0, replicas[r], i, number)  # stream 0: NOISE
        if j >= 0:
            c, d = two_normals(seed, 0, replicas[r], j, number)
            if bond[r, i] < 0:
                nu = strength[r] * charges[i] * charges[j] / sigma**2
                dx, dy = x[r, i] - x[r, j], y[r, i] - y[r, j]
                key = pair_key(seed, replicas[r])
                u, v = _relative(dx, dy, nu, sigma, sizes[r], math.sqrt(0.5) * (a - c), key, i, j, number)
                m, n = math.sqrt(0.5) * (a + c), math.sqrt(0.5) * (b + d)
                a, b = math.sqrt(0.5) * (m + u), math.sqrt(0.5) * (n + v)
                c, d = math.sqrt(0.5) * (m - u), math.sqrt(0.5) * (n - v)
            _bridge(c, d, seed, replicas[r], j, number, r, ax, ay, bx, by)
        _bridge(a, b, seed, replicas[r], i, number, r, ax, ay, bx, by)


@compiled
def _relative(dx, dy, nu, sigma, time, xi, key, first, second, step):  # type: ignore[no-untyped-def]
    """The noise of w over a whole step, in the plane: xi along w, the normal number of its angle across."""
    distance = math.sqrt(dx * dx + dy * dy)
    c, s = (dx / distance, dy / distance) if distance > 0.0 else (1.0, 0.0)
    _, draw = gamma_variate(abs(nu), key, first, second, step, 1)
    z = distance**2 / (2.0 * sigma * sigma * time)
    eta = turn_of_a_step(abs(nu), z, key, first, second, step, draw)
    return c * xi - s * eta, s * xi + c * eta


@compiled
def _bridge(a, b, seed, replica, particle, number, r, ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """Cut one particle's normal numbers in two."""
    c, d = two_normals(seed, 5, replica, particle, number)  # stream 5: BRIDGE
    ax[r, particle], ay[r, particle] = math.sqrt(0.5) * (a + c), math.sqrt(0.5) * (b + d)
    bx[r, particle], by[r, particle] = math.sqrt(0.5) * (a - c), math.sqrt(0.5) * (b - d)
