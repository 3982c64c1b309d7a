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
from limitpde.nbody.pairs import FLOOR, LANES, check_arrays, check_forces, own_particles, softness
from limitpde.nbody.shares import NeededBoxes, delivered
from limitpde.nbody.teams import SINGLE, Team
from limitpde.nbody.tree import Boxes, Points, begin, cut_boxes, halves, own_boxes, root

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
    own: bool = False,
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
        own: Whether fx, fy are (R, own), forces on the rank's own particles alone (`own_particles`).

    Raises:
        InputError: An argument has a wrong shape, type, layout or value.
        TeamFailure: A rank of the team has failed.
    """
    soft, floor = softness(eps, kernel)
    b = check_arrays(b, x=x, y=y)
    mine = check_forces(fx, fy, x.shape, team, own=own)
    check_accuracy(accuracy)
    if kernel == "regularised":  # half of the error for its reach, half for the expansions
        accuracy *= 0.5
        reach = math.sqrt(soft / accuracy)
    else:
        reach = max(eps, FLOOR)
    team.align(x, y)
    cuts, p = own_particles(x.shape[1], team), multipoles.coefficients(accuracy, THETA)
    for r in range(x.shape[0] if x.size else 0):
        out = (fx[r], fy[r]) if own else (fx[r, mine], fy[r, mine])
        if np.isfinite(x[r]).all() and np.isfinite(y[r]).all():
            _sum(x[r], y[r], b[r], out, soft, floor, reach, p, team, cuts)
        else:
            out[0][:] = out[1][:] = np.nan
    if not own:
        team.complete([fx, fy], cuts)


def check_accuracy(accuracy: float) -> None:
    """Raises InputError unless the accuracy is one that can be had."""
    low, high = ACCURACIES
    if not low <= accuracy <= high:
        raise InputError(f"accuracy = {accuracy}: {low} <= accuracy <= {high} is needed")


def far_cost(p: int) -> float:
    """Operations for a pair of far boxes, in units of what a pair of near particles takes; measured."""
    return 0.8 * p * p + 14.0 * p


def _sum(x, y, b, out, soft, floor, reach, p, team, cuts):  # type: ignore[no-untyped-def]
    """The forces of one replica on this rank's own particles, both components, written to `out`."""
    points = Points(x.copy(), y.copy(), np.arange(len(x), dtype=np.int32), 0, len(x))
    levels, points = _grown_tree(points, reach, far_cost(p), team)
    boxes = len(levels[-1].x)
    shared = cut_boxes(boxes, team)
    parts = team.cuts(boxes) if shared is None else shared
    low, high = parts[team.rank : team.rank + 2].tolist()
    charges = b[points.order]
    local = _local(levels, points, charges, reach, p, team)
    sources, at = [points.x, points.y, charges], np.arange(boxes) * len(x) // boxes
    if shared is not None:
        near = np.unique(levels[-1].near)
        others = NeededBoxes([near[(near < low) | (near >= high)]], [shared], team)
        sources, at = others.with_points(sources, len(x), low, high)
    elif team.size > 1:
        local, points = local[low:high], points.part(at[low], high * len(x) // boxes)
    found = np.empty((2, len(points.x)))
    _forces(levels[-1], points, local, *sources, at, *found, soft, floor, low)
    delivered(list(found), points.order, cuts, team, out)


def _grown_tree(points: Points, reach: float, cost: float, team: Team) -> tuple[list[Boxes], Points]:
    """The levels up to the one with the least work; and the points in the order of a finer one.

    These are all points, or this rank's where the last level is shared.
    """
    n, levels, far, near = points.total, [root(points)], 0, 1
    least, kept = float(n) * n, 1
    work = least
    while n >= 2 * FEWEST * len(levels[-1].x) and near <= MOST_NEAR and work <= HOPELESS * least:
        levels.append(halves(levels[-1], points, THETA, reach, team))
        boxes, before, near = len(levels[-1].x), near, len(levels[-1].near)
        cuts = cut_boxes(boxes, team)
        if cuts is not None:
            near = team.total(near)
            own = cuts * n // boxes
            if len(points.x) == n:
                points = points.part(own[team.rank], own[team.rank + 1])
        far += 4 * before - near
        work = near * (n / boxes) ** 2 + cost * far
        if work < least:
            least, kept = work, len(levels)
    if len(points.x) < n and cut_boxes(len(levels[kept - 1].x), team) is None:  # of finer boxes than are wanted
        x, y, order = (team.joined(values) for values in points[:3])
        points = Points(x, y, order, 0, n)
    return levels[:kept], points


def _local(levels: list[Boxes], points: Points, b: Floats, reach: float, p: int, team: Team) -> Floats:
    """Local coefficients of this rank's boxes of the last level, (own, 2, p): all that far charges do."""
    own = [own_boxes(len(level.x), team) for level in levels]
    far, at = _multipoles(levels, points, b, p, team)
    local = np.zeros((1, 2, p))
    for m in range(1, len(levels)):
        parents, children = levels[m - 1], levels[m]
        boxes, before = len(children.x), own[m - 1][0]
        local = multipoles.from_parents(parents, children, local, before, *own[m])
        rows = at[boxes : 2 * boxes]
        multipoles.add_far(parents, children, far, rows, local, _table(p), THETA, reach, own[m][0])
    return local


def _multipoles(levels: list[Boxes], points: Points, b: Floats, p: int, team: Team) -> tuple[Floats, np.ndarray]:
    """Multipole coefficients (m, 2, p) of all boxes that this rank needs, its own first, and the row of each.

    Box k of a level of b boxes has the number b + k.
    """
    counts = [len(level.x) for level in levels]
    own = [own_boxes(boxes, team) for boxes in counts]
    cuts = {m: found for m, boxes in enumerate(counts) if (found := cut_boxes(boxes, team)) is not None}
    others = NeededBoxes([_others_near(levels[m - 1], *own[m]) for m in cuts], list(cuts.values()), team)
    first = np.cumsum([0, *(high - low for low, high in own)])
    found, at = np.empty((first[-1] + len(others.numbers), 2, p)), np.empty(2 * counts[-1], dtype=np.int32)
    for m, (low, high) in enumerate(own):
        at[counts[m] + low : counts[m] + high] = np.arange(first[m], first[m + 1])
    at[others.numbers] = np.arange(first[-1], len(found))
    multipoles.from_charges(levels[-1], points, b, found[first[-2] : first[-1]], own[-1][0])
    for m in range(len(levels) - 2, -1, -1):
        inner = found[first[m + 1] : first[m + 2]]
        if m not in cuts and m + 1 in cuts:
            inner = team.joined(inner)
        multipoles.from_halves(levels[m], levels[m + 1], inner, found[first[m] : first[m + 1]], own[m][0])
    found[first[-1] :] = others.rows(found[at[others.asked]])
    return found, at


def _others_near(parents: Boxes, low: int, high: int) -> np.ndarray:
    """The halves of all boxes near the parents of boxes `low` to `high`, but these boxes themselves; rising."""
    needed = np.zeros((len(parents.x), 2), dtype=bool)
    needed[parents.near[parents.start[low // 2] : parents.start[(high + 1) // 2]]] = True
    needed.reshape(-1)[low:high] = False
    return np.flatnonzero(needed)


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
def _forces(leaves, points, local, sx, sy, sb, at, fx, fy, soft, floor, low):  # type: ignore[no-untyped-def]
    """Forces on the points of boxes from `low` on, of near particles by k and of far ones by the local coefficients.

    The sources (m,) of a box begin at at[box].
    """
    x, y, n, offset, boxes = points.x, points.y, points.total, points.first, len(leaves.x)
    most = (n + boxes - 1) // boxes
    for k in prange(low, low + len(local)):
        first, last = begin(k, n, boxes) - offset, begin(k + 1, n, boxes) - offset
        count = last - first
        u, v, f, g = np.zeros((4, most + 3))
        inverse = 1 / multipoles.radius_of(leaves, k)
        u[:count], v[:count] = (x[first:last] - leaves.x[k]) * inverse, (y[first:last] - leaves.y[k]) * inverse
        multipoles.evaluate(local[k - low], u[:count], v[:count], f[:count], g[:count])
        xs, ys, bs = _gathered(leaves, k, n, sx, sy, sb, at)
        u[:count], v[:count] = x[first:last], y[first:last]
        for i in range(0, count, 4):
            s = _rows(u, v, i, xs, ys, bs, soft, floor)
            for j in range(4):
                f[i + j] += s[j]
                g[i + j] -= s[4 + j]
        for i in range(count):
            fx[first + i] = sb[at[k] + i] * f[i]
            fy[first + i] = -sb[at[k] + i] * g[i]


@compiled
def _gathered(leaves, k, n, x, y, b, at):  # type: ignore[no-untyped-def]
    """Copies of the points and charges of all boxes near box k, filled up with zeros to a multiple of LANES."""
    boxes, count = len(leaves.x), 0
    for q in range(leaves.start[k], leaves.start[k + 1]):
        count += begin(leaves.near[q] + 1, n, boxes) - begin(leaves.near[q], n, boxes)
    out, place = np.zeros((3, (count + LANES - 1) // LANES * LANES)), 0
    for q in range(leaves.start[k], leaves.start[k + 1]):
        box = leaves.near[q]
        first = at[box]
        for i in range(first, first + begin(box + 1, n, boxes) - begin(box, n, boxes)):
            out[0, place], out[1, place], out[2, place] = x[i], y[i], b[i]
            place += 1
    return out[0], out[1], out[2]
