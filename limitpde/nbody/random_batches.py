"""Random batches: an unbiased estimate of the pair sum in O(N p) operations (Jin, Li and Liu, arXiv 1812.10575).

At each step a random permutation of the N particles is cut into groups of p; where p does not divide N, into N // p
groups whose sizes differ by one at most, none below p. In a group of s particles,

    chi_i = (N - 1) / (s - 1) b_i sum_(j in the group of i) b_j k(X_i - X_j) .

*No bias in the force.* Given the size of its group, the partners of i are s - 1 of the N - 1 others, drawn without
replacement, so E chi_i = F_i = b_i sum_j b_j k(X_i - X_j). In each group the forces add to zero, as those of all do.

*Its variance.* chi_i is the mean of s - 1 of the numbers g_j = (N - 1) b_i b_j k(X_i - X_j), j != i, and so

    E |chi_i - F_i|^2 = (1 / (s - 1) - 1 / (N - 1)) S_i^2,   S_i^2 = sum_j |g_j - F_i|^2 / (N - 2),

with the mean over the sizes s that the group of i may have. Particles of local density rho (of mass one) have S_i^2 ~
N^2 2 pi rho log(1 / eps): k is capped or regularised at eps, or the variance is infinite.

*What it does to the particles.* With the velocities gamma chi_i in place of gamma F_i, an Euler-Maruyama step of size
dt adds gamma^2 dt^2 E |chi_i - F_i|^2 to E |X_i|^2: as much as noise of the diffusivity

    dt / 4 mean_i gamma^2 E |chi_i - F_i|^2   ~   dt gamma_bar^2 2 pi rho log(1 / eps) / (4 (p - 1)),

by which the particles diffuse more than sigma^2 / 2, and mean |X_i|^2 grows faster by four times that number. Of order
one in the step, as the error of Euler-Maruyama is; it falls like 1 / (p - 1), and does not fall with N.

Permutations are functions of (seed, stream, replica, step): not of threads, ranks or which replicas are together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from limitpde.arrays import Floats
from limitpde.compiled import compiled
from limitpde.nbody.limits import groups_of
from limitpde.nbody.pairs import check_arrays, check_forces, own_particles, softness
from limitpde.nbody.random import Stream, check_seed, two_uniforms
from limitpde.nbody.shares import delivered
from limitpde.nbody.teams import SINGLE, Team

TASK = 2048
"""Particles of a task of a thread, about."""
_FAST = {"reassoc", "contract", "nsz"}


def batch_pair_sum(
    x: Floats,
    y: Floats,
    b: Floats,
    fx: Floats,
    fy: Floats,
    *,
    eps: float,
    kernel: str,
    size: int,
    seed: int,
    replicas: np.ndarray,
    step: int,
    team: Team = SINGLE,
    own: bool = False,
) -> None:
    """chi_i of the module's head in every replica, written to fx, fy. Threaded, bitwise reproducible.

    Collective in the team.

    Args:
        x: First coordinates, float64 (R, N), C-contiguous.
        y: Second coordinates, likewise.
        b: Charges, float64 (N,), the same in every replica, or (R, N).
        fx: First components of the forces, float64 (R, N), C-contiguous, overwritten; no memory shared with another.
        fy: Second components, likewise.

    Keyword Args:
        eps: Length of the cap or of the regularisation, >= 0.
        kernel: "capped" or "regularised".
        size: p, 2 <= p <= N.
        seed: 0 <= seed < 2^64.
        replicas: Numbers of the replicas, int64 (R,).
        step: Number of the step, below 2^40.
        team: Whose ranks have the same particles, and share the groups.
        own: Whether fx, fy are (R, own), forces on the rank's own particles alone (`own_particles`).

    Raises:
        InputError: An argument has a wrong shape, type, layout or value.
        TeamFailure: A rank of the team has failed.
    """
    soft, floor = softness(eps, kernel)
    b = check_arrays(b, x=x, y=y)
    mine = check_forces(fx, fy, x.shape, team, own=own)
    count, groups = x.shape[1], groups_of(x.shape[1], size)
    parts = team.cuts(groups)
    low, high = parts[team.rank : team.rank + 2].tolist()
    order = _orders(count, check_seed(seed), int(Stream.EVENT), replicas, step)
    order = np.ascontiguousarray(order[:, low * count // groups : high * count // groups])
    team.align(x, y)
    found = np.empty((2, *order.shape))
    _forces(x, y, b, *found, order, groups, low, high, soft, floor)
    cuts = own_particles(count, team)
    for r, places in enumerate(order):
        out = (fx[r], fy[r]) if own else (fx[r, mine], fy[r, mine])
        delivered(list(found[:, r]), places, cuts, team, out)
    if not own:
        team.complete([fx, fy], cuts)


def batch_variance(
    x: Floats,
    y: Floats,
    b: Floats,
    *,
    eps: float,
    kernel: str,
    size: int,
    sample: int,
    seed: int,
    replicas: np.ndarray,
    step: int,
) -> Floats:
    """The mean over the particles of E |chi_i - F_i|^2, (R,): see the module's head. Threaded, bitwise reproducible.

    S_i^2 is measured in random groups of `sample` particles, an unbiased estimate; for `sample` > N / 2 it is exact.

    Args:
        x: First coordinates, float64 (R, N), C-contiguous.
        y: Second coordinates, likewise.
        b: Charges, float64 (N,), the same in every replica, or (R, N).

    Keyword Args:
        eps: Length of the cap or of the regularisation, > 0.
        kernel: "capped" or "regularised".
        size: p, 2 <= p <= N.
        sample: Particles among which S_i^2 is measured, >= 3; N where that is less.
        seed: 0 <= seed < 2^64.
        replicas: Numbers of the replicas, int64 (R,).
        step: Number of the measurement, below 2^40.

    Raises:
        InputError: An argument has a wrong shape, type, layout or value.
    """
    soft, floor = softness(eps, kernel)
    b = check_arrays(b, x=x, y=y)
    count = x.shape[1]
    share = _share_of_spread(count, groups_of(count, size))
    if share == 0.0:  # all particles in one group
        return np.zeros(len(x))
    order = _orders(count, check_seed(seed), int(Stream.TEST), replicas, step)
    return share * _spread(x, y, b, order, groups_of(count, min(sample, count)), soft, floor)


def strongest(count: int, size: int) -> float:
    """(N - 1) / (s - 1) of the smallest groups: by what the force of a pair grows where it is counted at all."""
    return (count - 1) / (count // groups_of(count, size) - 1)


def _share_of_spread(count: int, groups: int) -> float:
    """The mean over all particles of 1 / (s - 1) - 1 / (N - 1), s the size of their group."""
    sizes = np.diff(np.arange(groups + 1) * count // groups)
    return float((sizes / count) @ (1 / (sizes - 1) - 1 / (count - 1)))


@compiled(parallel=True)
def _orders(count: int, seed: Any, stream: int, replicas: np.ndarray, step: int) -> np.ndarray:
    """A permutation of the particles for each replica, (R, N) int32: Fisher and Yates' shuffle."""
    orders = np.empty((len(replicas), count), dtype=np.int32)
    for r in prange(len(replicas)):
        order = orders[r]
        for i in range(count):
            order[i] = i
        for k in range(count - 1, 0, -2):
            u, v = two_uniforms(seed, stream, replicas[r], k, step)  # 1 - u is below 1, even after rounding
            j = int((k + 1) * (1.0 - u))
            order[k], order[j] = order[j], order[k]
            j = int(k * (1.0 - v))
            order[k - 1], order[j] = order[j], order[k - 1]
    return orders


@compiled(fastmath=_FAST, error_model="numpy")
def _force(xi, yi, x, y, b, soft, floor):  # type: ignore[no-untyped-def]
    """sum_j b_j k(X_i - X_j) over a group, both components."""
    f = g = 0.0
    for j in range(len(x)):
        dx, dy = xi - x[j], yi - y[j]
        square = dx * dx + dy * dy + soft
        weight = b[j] / (square if square > floor else floor)
        f += weight * dx
        g += weight * dy
    return f, g


@compiled(fastmath=_FAST, error_model="numpy")
def _squares(xi, yi, x, y, b, soft, floor):  # type: ignore[no-untyped-def]
    """sum_j |b_j k(X_i - X_j)|^2 over a group."""
    total = 0.0
    for j in range(len(x)):
        dx, dy = xi - x[j], yi - y[j]
        square = dx * dx + dy * dy
        scale = square + soft
        weight = b[j] / (scale if scale > floor else floor)
        total += weight * weight * square
    return total


@compiled(parallel=True, error_model="numpy")
def _forces(x, y, b, fx, fy, order, groups, begin, end, soft, floor):  # type: ignore[no-untyped-def]
    """chi_i in groups `begin` to `end`, whose particles are in the order; group g of all begins at g N // groups."""
    replicas, count = x.shape
    some, offset = end - begin, begin * count // groups
    tasks = min(some, 1 + count // TASK)
    for task in prange(replicas * tasks):
        r, t = task // tasks, task % tasks
        for g in range(begin + t * some // tasks, begin + (t + 1) * some // tasks):
            first = g * count // groups - offset
            members = order[r, first : (g + 1) * count // groups - offset]
            u, v, q = x[r][members], y[r][members], b[r][members]
            factor = (count - 1) / (len(members) - 1)
            for k in range(len(members)):
                f, h = _force(u[k], v[k], u, v, q, soft, floor)
                fx[r, first + k], fy[r, first + k] = factor * q[k] * f, factor * q[k] * h


@compiled(parallel=True, error_model="numpy")
def _spread(x, y, b, order, groups, soft, floor):  # type: ignore[no-untyped-def]
    """The mean over the particles of S_i^2, (R,), as the sample variance of g_j over the others in the group."""
    replicas, count = x.shape
    sums = np.empty((replicas, groups))
    for task in prange(replicas * groups):
        r, g = task // groups, task % groups
        members = order[r, g * count // groups : (g + 1) * count // groups]
        u, v, q = x[r][members], y[r][members], b[r][members]
        others, total = len(members) - 1, 0.0
        for k in range(len(members)):
            f, h = _force(u[k], v[k], u, v, q, soft, floor)
            squares = _squares(u[k], v[k], u, v, q, soft, floor)
            total += q[k] * q[k] * (squares - (f * f + h * h) / others) / (others - 1)
        sums[r, g] = (count - 1) ** 2 * total
    return sums.sum(axis=1) / count
