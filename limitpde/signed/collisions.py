"""Steps of many charges in which close pairs move by their exact joint law, and what happens where they collide.

In each replica the particles that are nearest neighbours of each other form pairs. Over a step, a pair moves by
Strang's splitting: half of the drift that the other particles and U give it, the exact law of two charges
(`pair_step`), the other half. All other particles take an Euler-Maruyama step. So for N = 2 a step is exact for every
size; for larger N the forces of the others are frozen over a step, as in Euler-Maruyama, but no pair is thrown across
itself. Without noise the distance of a pair obeys r^2 -> r^2 + 4 gamma b_i b_j dt.

Charges that hit each other (van Meurs-Peletier-Slangen, sections 1.6 and 2.3) go "through" and separate at once, which
is their law for gamma < sigma^2; or "stick" together from then on, as they must for gamma >= sigma^2: one particle pair
at one place, whose centre moves with the noise sigma / sqrt(2) and the mean of the drifts; or "annihilate": they leave
L^N. The forces of a pair of opposite charges at one place cancel, so those of particles that have left need no removal.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from scipy.spatial import cKDTree

from limitpde.compiled import compiled
from limitpde.nbody.random import pair_key, two_normals
from limitpde.signed.encounters import Encounters
from limitpde.signed.halves import Path
from limitpde.signed.options import Collision
from limitpde.signed.pair_step import relative_step

BRUTE_FORCE = 500
"""Particles up to which neighbours are sought among all pairs, in compiled code; above, by a k-d tree."""


def mutual_neighbours(x: np.ndarray, y: np.ndarray, bond: np.ndarray) -> np.ndarray:
    """The partner of each particle, (R, N) int64, -1 where it has none; bound particles are partners of each other.

    Args:
        x: (R, N) positions.
        y: (R, N) positions.
        bond: see `Encounters`.
    """
    if x.shape[1] <= BRUTE_FORCE:
        nearest = _nearest(x, y, bond)
    else:
        nearest = np.stack([_nearest_by_tree(*row) for row in zip(x, y, bond, strict=True)])
    rows = np.arange(len(x))[:, None]
    mutual = (nearest >= 0) & (nearest[rows, nearest] == np.arange(x.shape[1]))
    return np.where(bond >= 0, bond, np.where(mutual, nearest, -1))


def _nearest_by_tree(x: np.ndarray, y: np.ndarray, bond: np.ndarray) -> np.ndarray:
    """The nearest free particle of each free one, (N,); -1 where there is none."""
    free = np.flatnonzero(bond < 0)
    nearest = np.full(len(x), -1)
    if len(free) > 1:
        points = np.column_stack([x[free], y[free]])
        found = cKDTree(points).query(points, k=2)[1]
        other = np.where(found[:, 0] == np.arange(len(free)), found[:, 1], found[:, 0])
        nearest[free] = free[other]
    return nearest


@compiled(parallel=True)
def _nearest(x: np.ndarray, y: np.ndarray, bond: np.ndarray) -> np.ndarray:
    """The same for many replicas, among all pairs."""
    replicas, count = x.shape
    nearest = np.full((replicas, count), -1)
    for r in numba.prange(replicas):
        best = np.full(count, np.inf)
        for i in range(count):
            for j in range(i) if bond[r, i] < 0 else range(0):
                square = (x[r, i] - x[r, j]) ** 2 + (y[r, i] - y[r, j]) ** 2
                if bond[r, j] < 0:
                    if square < best[i]:
                        best[i], nearest[r, i] = square, j
                    if square < best[j]:
                        best[j], nearest[r, j] = square, i
    return nearest


def uncapped(
    x: np.ndarray,
    y: np.ndarray,
    strength: np.ndarray,
    charges: np.ndarray,
    partner: np.ndarray,
    encounters: Encounters,
    *,
    kernel: tuple[float, float],
) -> np.ndarray:
    """What K itself adds to the velocities of partners that were made with k, (2, R, N); arguments as in `advance`."""
    out = np.zeros((2, *x.shape))
    _uncapped(x, y, strength, charges, partner, encounters.bond, *kernel, *out)
    return out


@compiled(parallel=True)
def _uncapped(x, y, strength, charges, partner, bond, soft, floor, out_x, out_y):  # type: ignore[no-untyped-def]
    count = x.shape[1]
    for task in numba.prange(x.size):
        r, i = task // count, task % count
        j = partner[r, i]
        if j < 0 or bond[r, i] >= 0:
            continue
        dx, dy = x[r, i] - x[r, j], y[r, i] - y[r, j]
        square = dx * dx + dy * dy
        if square > 0.0:  # K(0) = 0
            more = strength[r] * charges[r, i] * charges[r, j] * (1.0 / square - 1.0 / max(square + soft, floor))
            out_x[r, i], out_y[r, i] = more * dx, more * dy


def advance(
    x: np.ndarray,
    y: np.ndarray,
    drift: np.ndarray,
    strength: np.ndarray,
    charges: np.ndarray,
    partner: np.ndarray,
    encounters: Encounters,
    *,
    sigma: float,
    dt: np.ndarray,
    kernel: tuple[float, float],
    collision: Collision,
    seed: int,
    replicas: np.ndarray,
    number: np.ndarray,
    path: Path,
) -> None:
    """One step of all particles, in place.

    Args:
        x: (R, N) positions.
        y: (R, N) positions.
        drift: (2, R, N) velocities of the particles without noise.
        strength: (R,) what stands before b_i b_j k in them.
        charges: (R, N) b_i as the interaction sees it.
        partner: (R, N), from `mutual_neighbours`.
        encounters: of the replicas, updated.

    Keyword Args:
        sigma: strength of the noise.
        dt: (R,) sizes of the step.
        kernel: soft and floor of k, `limitpde.nbody.pairs.softness`.
        collision: what happens where two charges collide.
        seed: of the particle number.
        replicas: (R,) their numbers.
        number: (R,) int64, of the step.
        path: what drives it: the step itself or one of its halves.
    """
    _advance(
        x, y, *drift, strength, charges, partner, encounters.bond, encounters.alive, encounters.collided,
        sigma, dt, *kernel, collision != "through", collision == "annihilate",
        np.uint64(seed), replicas, number, path.half, *path.normals,
    )  # fmt: skip


@compiled
def _noiseless(dx: float, dy: float, own: float, dt: float) -> tuple[float, float, bool]:
    """The difference of two charges after dt without noise, and whether it came to 0: |x|^2 changes by 4 own dt."""
    square = dx * dx + dy * dy
    after = square + 4.0 * own * dt
    if square == 0.0 or after <= 0.0:
        return 0.0, 0.0, own < 0.0
    factor = math.sqrt(after / square)
    return factor * dx, factor * dy, False


@compiled(parallel=True)
def _advance(  # type: ignore[no-untyped-def]
    x, y, vx, vy, strength, charges, partner, bond, alive, collided,
    sigma, sizes, soft, floor, sticky, annihilate, seed: Any, replicas, numbers,
    half, given_x, given_y,
):  # fmt: skip
    count, unit = x.shape[1], math.sqrt(2.0) * sigma if sigma > 0.0 else 1.0
    for task in numba.prange(x.size):
        r, i = task // count, task % count
        j, dt, number = partner[r, i], sizes[r], numbers[r]
        noise = sigma * math.sqrt(dt)
        if not alive[r, i] or (0 <= j < i):
            continue
        if half == 0:
            a, b = two_normals(seed, 0, replicas[r], i, number)  # stream 0: NOISE
        else:
            a, b = given_x[r, i], given_y[r, i]
        if j < 0:
            x[r, i] += dt * vx[r, i] + noise * a
            y[r, i] += dt * vy[r, i] + noise * b
            continue
        if half == 0:
            c, d = two_normals(seed, 0, replicas[r], j, number)
        else:
            c, d = given_x[r, j], given_y[r, j]
        middle_x = 0.5 * (x[r, i] + x[r, j] + dt * (vx[r, i] + vx[r, j]) + noise * (a + c))
        middle_y = 0.5 * (y[r, i] + y[r, j] + dt * (vy[r, i] + vy[r, j]) + noise * (b + d))
        half_x = half_y = 0.0
        if bond[r, i] < 0:
            dx, dy = x[r, i] - x[r, j], y[r, i] - y[r, j]
            own = strength[r] * charges[r, i] * charges[r, j]
            share = 2.0 * own / max(dx * dx + dy * dy + soft, floor)
            push_x = 0.5 * dt * (vx[r, i] - vx[r, j] - share * dx)
            push_y = 0.5 * dt * (vy[r, i] - vy[r, j] - share * dy)
            wx, wy, xi, eta = (
                (dx + push_x) / unit,
                (dy + push_y) / unit,
                math.sqrt(0.5) * (a - c),
                math.sqrt(0.5) * (b - d),
            )
            if sigma > 0.0:
                nu, key = own / sigma**2, pair_key(seed, replicas[r])
                wx, wy, hit = relative_step(wx, wy, nu, dt, sticky, xi, eta, key, i, j, number, half)
            else:
                wx, wy, hit = _noiseless(wx, wy, own, dt)
            if hit:
                collided[r] = True
            if hit and (sticky or own <= -(sigma**2)):
                bond[r, i], bond[r, j] = j, i
                if annihilate:
                    alive[r, i] = alive[r, j] = False
            else:
                half_x, half_y = 0.5 * (unit * wx + push_x), 0.5 * (unit * wy + push_y)
        x[r, i], y[r, i] = middle_x + half_x, middle_y + half_y
        x[r, j], y[r, j] = middle_x - half_x, middle_y - half_y
