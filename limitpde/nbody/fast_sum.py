"""The pair sum of `pairs` in O(N) operations to an accuracy that the caller chooses: an adaptive fast multipole method.

    F_i = b_i sum_j b_j k(X_i - X_j),    k(x) = x / max(|x|^2, eps^2)   or   x / (|x|^2 + eps^2)

Where k is K(x) = x/|x|^2, the complex conjugate of F_i is b_i sum_j b_j / (z_i - z_j): an analytic function, of which
one complex expansion is enough. Particles are sorted into a tree of boxes with equally many particles each (`tree`);
what far boxes do to each other goes through expansions (`multipoles`), what near boxes of the last level do is summed
up with k itself. Boxes are far only if all their distances exceed a reach within which k is not K: eps for the capped
kernel, eps / accuracy^(1/2) for the regularised one. The tree ends at the level that leaves the fewest operations; so
a large eps, or few particles, end in the direct sum.

Every error is bounded by the charges, however they are placed:

    |F_i - exact F_i| <= accuracy |b_i| sum_j |b_j| / |X_i - X_j|.

Relative to F itself (in the l2 norm over all particles) the error is smaller than `accuracy` by far unless the forces
cancel to less than the accuracy, as on an infinite lattice.

Each force is summed up by one task in an order that the positions alone determine: any number of threads gives the
same bits, and so does a team of ranks, which share the boxes, from one of the first levels on, and tell each other the
points and the coefficients of theirs.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numba import prange

from limitpde.arrays import Floats
from limitpde.compiled import compiled
from limitpde.errors import InputError
from limitpde.nbody import multipoles
from limitpde.nbody.pairs import FLOOR, LANES, check_arrays, softness
from limitpde.nbody.teams import SINGLE, Team
from limitpde.nbody.tree import Boxes, begin, cut_boxes, halves, own_boxes, root

ACCURACIES = (1e-14, 0.1)
"""Smallest and largest accuracy that may be asked for."""
THETA = 0.5
"""Largest ratio of the series of an expansion."""
FEWEST = 12
"""Particles in a box, at least."""
HOPELESS = 2.0
"""Ratio of the work on a level to the least of the levels before, beyond which the tree does not grow on. The first
levels save nothing, however large N is: among a few boxes none are far from each other."""
MOST_NEAR = 1 << 25
"""Entries of the list of near boxes beyond which the tree stops growing: coincident charges must fit into memory."""
_FAST = {"reassoc", "contract", "nsz"}


def fast_pair_sum(
    x: Floats,
    y: Floats,
    b: Floats,
    fx: Floats,
    fy: Floats,
    *,
    eps: float,
    kernel: str,
    accuracy: float,
    team: Team = SINGLE,
) -> None:
    """F_i = b_i sum_j b_j k(X_i - X_j) in every replica, written to fx, fy. Threaded, bitwise reproducible.

    Collective in the team. Replicas are summed one after the other. One with a NaN or inf among its positions gets NaN
    for all forces.

    Args:
        x: First coordinates, float64 (R, N), C-contiguous; all distances below 1e75.
        y: Second coordinates, likewise.
        b: Charges, float64 (N,), the same in every replica, or (R, N).
        fx: First components of the forces, float64 (R, N), C-contiguous, overwritten; no memory shared with another.
        fy: Second components, likewise.
        eps: Length of the cap or of the regularisation, >= 0.
        kernel: "capped" or "regularised".
        accuracy: Largest error, in the sense of the module docstring, from 1e-14 to 0.1.
        team: Whose ranks have the same particles, and share the boxes.

    Raises:
        InputError: An argument has a wrong shape, type, layout or value.
        TeamFailure: A rank of the team has failed.
    """
    soft, floor = softness(eps, kernel)
    b = check_arrays(b, x=x, y=y, fx=fx, fy=fy)
    check_accuracy(accuracy)
    if kernel == "regularised":  # half of the error for its reach, half for the expansions
        accuracy *= 0.5
        reach = math.sqrt(soft / accuracy)
    else:
        reach = max(eps, FLOOR)
    team.align(x, y)
    for r in range(x.shape[0] if x.size else 0):
        if np.isfinite(x[r]).all() and np.isfinite(y[r]).all():
            _sum(x[r], y[r], b[r], fx[r], fy[r], soft, floor, reach, multipoles.coefficients(accuracy, THETA), team)
        else:
            fx[r] = fy[r] = np.nan


def check_accuracy(accuracy: float) -> None:
    """Raises InputError unless the accuracy is one that can be had."""
    low, high = ACCURACIES
    if not low <= accuracy <= high:
        raise InputError(f"accuracy = {accuracy}: {low} <= accuracy <= {high} is needed")


def far_cost(p: int) -> float:
    """Operations for a pair of far boxes, in units of what a pair of near particles takes; measured."""
    return 0.8 * p * p + 14.0 * p


def _sum(x, y, b, fx, fy, soft, floor, reach, p, team):  # type: ignore[no-untyped-def]
    """The forces of one replica, (N,) each."""
    order = np.arange(len(x))
    u, v = x.copy(), y.copy()
    levels = _grown_tree(u, v, order, reach, far_cost(p), team)
    boxes = len(levels[-1].x)
    shared = cut_boxes(boxes, team)
    cuts = team.cuts(boxes) if shared is None else shared
    points = cuts * len(x) // boxes
    if shared is not None:
        team.complete([u, v], points)
        team.complete([order], points)
    charges = b[order]
    local = _local(levels, u, v, charges, reach, p, team)
    found = np.empty((2, len(x)))
    _forces(levels[-1], u, v, charges, local, *found, soft, floor, cuts[team.rank], cuts[team.rank + 1])
    team.complete([found], points)
    fx[order], fy[order] = found


def _grown_tree(x: Floats, y: Floats, order: np.ndarray, reach: float, cost: float, team: Team) -> list[Boxes]:
    """The levels up to the one with the least work; the points are put into the order of a finer one."""
    n, levels, far, near = len(x), [root(x, y)], 0, 1
    least, kept = float(n) * n, 1
    work = least
    while n >= 2 * FEWEST * len(levels[-1].x) and near <= MOST_NEAR and work <= HOPELESS * least:
        levels.append(halves(levels[-1], x, y, order, THETA, reach, team))
        boxes, before, near = len(levels[-1].x), near, len(levels[-1].near)
        if cut_boxes(boxes, team) is not None:
            near = team.total(near)
        far += 4 * before - near
        work = near * (n / boxes) ** 2 + cost * far
        if work < least:
            least, kept = work, len(levels)
    return levels[:kept]


def _local(levels: list[Boxes], x: Floats, y: Floats, b: Floats, reach: float, p: int, team: Team) -> Floats:
    """Local coefficients (boxes, 2, p) of the last level, of this rank's boxes: all that far charges do."""
    counts = [len(level.x) for level in levels]
    cuts = [cut_boxes(boxes, team) for boxes in counts]
    some = [own_boxes(boxes, team) for boxes in counts]
    found = multipoles.from_charges(levels[-1], x, y, b, p, *some[-1])
    far = [_everywhere(found, cuts[-1], team)]
    for m in range(len(levels) - 2, -1, -1):
        found = multipoles.from_halves(levels[m], levels[m + 1], far[0], *some[m])
        far.insert(0, _everywhere(found, cuts[m], team))
    local = np.zeros_like(far[0])
    for m in range(1, len(levels)):
        parents, children = levels[m - 1], levels[m]
        local = multipoles.from_parents(parents, children, local, *some[m])
        multipoles.add_far(parents, children, far[m], local, _table(p), THETA, reach, *some[m])
    return local


def _everywhere(coefficients: Floats, cuts: np.ndarray | None, team: Team) -> Floats:
    """Coefficients (boxes, 2, p) of the boxes of all ranks."""
    if cuts is not None:
        team.complete([np.moveaxis(coefficients, 0, -1)], cuts)
    return coefficients


@cache
def _table(p: int) -> Floats:
    """The binomials, once for each p."""
    return multipoles.binomials(p)


@compiled(fastmath=_FAST, error_model="numpy", _nrt=False)
def _rows(x, y, i, xs, ys, bs, soft, floor):  # type: ignore[no-untyped-def]
    """sum_j b_j k(X - X_j) over all sources for the targets i..i+3; divisions shared as in `pairs`."""
    x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
    y0, y1, y2, y3 = y[i], y[i + 1], y[i + 2], y[i + 3]
    f0 = f1 = f2 = f3 = g0 = g1 = g2 = g3 = 0.0
    for j in range(len(xs)):
        xj, yj, bj = xs[j], ys[j], bs[j]
        d0, d1, d2, d3 = x0 - xj, x1 - xj, x2 - xj, x3 - xj
        e0, e1, e2, e3 = y0 - yj, y1 - yj, y2 - yj, y3 - yj
        r0 = d0 * d0 + (e0 * e0 + soft)
        r1 = d1 * d1 + (e1 * e1 + soft)
        r2 = d2 * d2 + (e2 * e2 + soft)
        r3 = d3 * d3 + (e3 * e3 + soft)
        r0 = r0 if r0 > floor else floor
        r1 = r1 if r1 > floor else floor
        r2 = r2 if r2 > floor else floor
        r3 = r3 if r3 > floor else floor
        s = bj / (r0 * r1)
        t = bj / (r2 * r3)
        w0, w1, w2, w3 = s * r1, s * r0, t * r3, t * r2
        f0 += w0 * d0
        f1 += w1 * d1
        f2 += w2 * d2
        f3 += w3 * d3
        g0 += w0 * e0
        g1 += w1 * e1
        g2 += w2 * e2
        g3 += w3 * e3
    return f0, f1, f2, f3, g0, g1, g2, g3


@compiled(parallel=True)
def _forces(leaves, x, y, b, local, fx, fy, soft, floor, low, high):  # type: ignore[no-untyped-def]
    """Forces on boxes `low` to `high`, of near particles by k and of far ones by the local coefficients."""
    n, boxes = len(x), len(leaves.x)
    most = (n + boxes - 1) // boxes
    for k in prange(low, high):
        first, last = begin(k, n, boxes), begin(k + 1, n, boxes)
        count = last - first
        u, v, f, g = np.zeros((4, most + 3))
        inverse = 1 / multipoles.radius_of(leaves, k)
        u[:count], v[:count] = (x[first:last] - leaves.x[k]) * inverse, (y[first:last] - leaves.y[k]) * inverse
        multipoles.evaluate(local[k], u[:count], v[:count], f[:count], g[:count])
        xs, ys, bs = _gathered(leaves, k, x, y, b)
        u[:count], v[:count] = x[first:last], y[first:last]
        for i in range(0, count, 4):
            s = _rows(u, v, i, xs, ys, bs, soft, floor)
            for j in range(4):
                f[i + j] += s[j]
                g[i + j] -= s[4 + j]
        for i in range(count):
            fx[first + i] = b[first + i] * f[i]
            fy[first + i] = -b[first + i] * g[i]


@compiled
def _gathered(leaves, k, x, y, b):  # type: ignore[no-untyped-def]
    """Copies of the points and charges of all boxes near box k, filled up with zeros to a multiple of LANES."""
    n, boxes, count = len(x), len(leaves.x), 0
    for q in range(leaves.start[k], leaves.start[k + 1]):
        count += begin(leaves.near[q] + 1, n, boxes) - begin(leaves.near[q], n, boxes)
    out, at = np.zeros((3, (count + LANES - 1) // LANES * LANES)), 0
    for q in range(leaves.start[k], leaves.start[k + 1]):
        first, last = begin(leaves.near[q], n, boxes), begin(leaves.near[q] + 1, n, boxes)
        for i in range(first, last):
            out[0, at], out[1, at], out[2, at] = x[i], y[i], b[i]
            at += 1
    return out[0], out[1], out[2]
