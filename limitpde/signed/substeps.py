"""Steps that are cut where charges come close: how small a part of a step the closest pair of a replica allows.

Two charges at a distance r drift towards or away from each other by 2 gamma dt / r in a step of dt. Below r = sqrt(2
gamma dt) that is more than r, and there the default cap of K acts: such a pair does not feel its force. So a step may
be cut into up to m parts, and a part of size h is small enough if

    h <= CLOSING r^2 / gamma

for all pairs that do not move by their exact law, gamma the strength of K: then no pair changes its distance by more
than 2 CLOSING of it through its own drift.

Parts are dt / m times a power of two, on the dyadic grid of the step: one of size h begins at a multiple of h. The
largest one that is small enough, or the smallest of all, is taken anew after each part, from where the particles of a
replica are then. The size of a part is a function of the present, so the noise over it is that of Brownian motion, and
of one replica alone, so neither ranks nor batches of replicas matter. (To cut a step that has been seen to go wrong
would bias the noise.) It is drawn for the number of the step and the place in it, so that a whole step has the noise
that it would have with m = 1.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange
from scipy.spatial import cKDTree

from limitpde.arrays import Floats
from limitpde.compiled import compiled
from limitpde.signed.collisions import BRUTE_FORCE
from limitpde.signed.options import MOST_STEPS

CLOSING = 1 / 16
"""h gamma / r^2 of a part of a step. The distance D of a pair gains (2 gamma h / r)^2 too much in E |D|^2 over a part,
Euler-Maruyama's error: at most 4 CLOSING gamma h, as if gamma were larger by that share of it, and only where r is so
small that the step is cut."""


def part_number(step: int, place: np.ndarray) -> np.ndarray:
    """The number of the random draws of a part that begins at a place in a step, (R,) int64; step itself at 0."""
    return step + MOST_STEPS * place


def part_sizes(
    x: Floats,
    y: Floats,
    partner: np.ndarray,
    counted: np.ndarray,
    *,
    gamma: float,
    dt: float,
    most: int,
    place: np.ndarray,
) -> np.ndarray:
    """The next part of the step of each replica, (R,) int64, in units of dt / m.

    Args:
        x: (R, N) positions.
        y: (R, N) positions.
        partner: (R, N) int64, with whom each particle moves by an exact law; -1 where with none.
        counted: (R, N) bool, particles that feel others.

    Keyword Args:
        gamma: strength of K, >= 0.
        dt: size of the step.
        most: m, a power of two.
        place: (R,) int64, how far each replica is within the step, in units of dt / m, below m.
    """
    size = np.full(len(x), most)
    reach = math.sqrt(gamma * dt / CLOSING)  # from here on no part is too large
    if most > 1 and reach > 0:
        allowed = most * (closest_pairs(x, y, partner, counted, reach) / reach) ** 2
        while (large := (size > 1) & ((size > allowed) | (place % size > 0))).any():
            size[large] //= 2
    return size


def closest_pairs(x: Floats, y: Floats, partner: np.ndarray, counted: np.ndarray, reach: float) -> Floats:
    """The smallest distance of two counted particles that are not partners, (R,); at least `reach` if that is less.

    Up to BRUTE_FORCE particles among all pairs, in compiled code; above, by a k-d tree. Arguments as in `part_sizes`.
    """
    if x.shape[1] <= BRUTE_FORCE:
        return np.asarray(_closest(x, y, partner, counted))
    return np.array([_closest_by_tree(*row, reach) for row in zip(x, y, partner, counted, strict=True)])


def _closest_by_tree(x: Floats, y: Floats, partner: np.ndarray, counted: np.ndarray, reach: float) -> float:
    """The same for one replica: among the three nearest of a particle are itself, its partner, and another."""
    which = np.flatnonzero(counted)
    points = np.column_stack([x[which], y[which]])
    distance, found = cKDTree(points).query(points, k=3, distance_upper_bound=reach)
    other = np.append(which, -2)[found]  # beyond the reach there is nobody
    another = (other >= 0) & (other != which[:, None]) & (other != partner[which, None])
    return float(distance[another].min(initial=reach))


@compiled(parallel=True)
def _closest(x: Floats, y: Floats, partner: np.ndarray, counted: np.ndarray) -> Floats:
    """The same for many replicas, among all pairs."""
    replicas, count = x.shape
    out = np.empty(replicas)
    for r in prange(replicas):
        best = np.full(count, np.inf)
        for i in range(count):
            if counted[r, i]:
                end = partner[r, i]
                if not 0 <= end < i:
                    end = i
                _lower(best[:end], x[r, i], y[r, i], x[r, :end], y[r, :end])
                _lower(best[end + 1 : i], x[r, i], y[r, i], x[r, end + 1 : i], y[r, end + 1 : i])
        least = np.inf
        for i in range(count):
            if counted[r, i]:
                least = min(least, best[i])
        out[r] = math.sqrt(least)
    return out


@compiled
def _lower(best, u, v, x, y):  # type: ignore[no-untyped-def]
    """Lower each best[j], a squared distance, to that of (u, v) from the point j."""
    for j in range(len(best)):
        square = (u - x[j]) ** 2 + (v - y[j]) ** 2
        best[j] = square if square < best[j] else best[j]
