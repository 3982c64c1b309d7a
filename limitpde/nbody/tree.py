"""A tree of boxes over points in the plane, halved at medians, and which of its boxes are near each other.

Level m has 2^m boxes. Box k holds the points k n / 2^m to (k + 1) n / 2^m (rounded down) of the tree's own order; its
halves, 2 k and 2 k + 1 of the next level, are cut at the median of the longer side of its points' bounding rectangle.
So all boxes of a level hold equally many points, to one, wherever these are: clusters get small boxes, empty space
gets none, and coincident points get boxes of radius zero.

Two boxes are far from each other when their discs, of centres a distance D apart and of radii R >= r, satisfy

    D > R / theta + r    and    D > R + r + reach

and near otherwise. The first is the theta-criterion of Engblom, "On well-separated sets and fast multipole methods",
Appl. Numer. Math. 61 (2011): it makes R / (D - r) < theta, the ratio of the geometric series of a multipole
expansion. A pair of boxes is looked at only if its parents are near: each pair of points is thus met exactly once,
in far boxes of one level or in near ones of the last.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from limitpde.compiled import compiled, hot
from limitpde.nbody.teams import Team


class Boxes(NamedTuple):
    """One level of the tree; all arrays in the order of its boxes."""

    x: np.ndarray
    """(2^m,) first coordinates of the centres."""
    y: np.ndarray
    """(2^m,) second coordinates."""
    radius: np.ndarray
    """(2^m,) largest distance of a point of the box from its centre."""
    start: np.ndarray
    """(2^m + 1,) int64: the boxes near box k are near[start[k] : start[k + 1]], k itself among them."""
    near: np.ndarray
    """int32, their numbers."""


class Points(NamedTuple):
    """The points of this rank, or of all, in the order of the tree."""

    x: np.ndarray
    """(m,) first coordinates."""
    y: np.ndarray
    """(m,) second coordinates."""
    order: np.ndarray
    """(m,) int32, their numbers before they were put into order."""
    first: int
    """How many points come before them."""
    total: int
    """Points of all ranks."""

    def part(self, first: int, last: int) -> Points:
        """Copies of the points from one place of the tree's order to another."""
        mine = slice(first - self.first, last - self.first)
        return Points(self.x[mine].copy(), self.y[mine].copy(), self.order[mine].copy(), first, self.total)


@hot
def begin(box, n, boxes):  # type: ignore[no-untyped-def]
    """The first point of a box; that of box + 1 is where it ends."""
    return box * n // boxes


@hot
def is_far(boxes: Boxes, i: int, j: int, theta: float, reach: float) -> bool:
    """Whether boxes i and j of one level are far from each other."""
    large, small = max(boxes.radius[i], boxes.radius[j]), min(boxes.radius[i], boxes.radius[j])
    least = small + max(large / theta, large + reach)
    return (boxes.x[i] - boxes.x[j]) ** 2 + (boxes.y[i] - boxes.y[j]) ** 2 > least * least


def root(points: Points) -> Boxes:
    """Level 0: one box of all points, one at least, near itself."""
    centre_x, centre_y, radius = _measure(points, 1, 0, 1)
    return Boxes(centre_x, centre_y, radius, np.array([0, 1]), np.zeros(1, dtype=np.int32))


def halves(parents: Boxes, points: Points, theta: float, reach: float, team: Team) -> Boxes:
    """The next level. Threaded; the same for any number of threads. Collective in the team.

    In a team (`cut_boxes`) each rank puts its points into order, and knows which boxes are near its own; all know where
    all boxes are.

    Args:
        parents: a level, of at most n/2 boxes.
        points: in the order of that level, those of this rank at least; put into the order of the new one.
        theta: largest ratio of the series, between 0 and 1.
        reach: distance within which points are near, >= 0.
        team: whose ranks share the boxes.
    """
    boxes = 2 * len(parents.x)
    cuts = cut_boxes(boxes, team)
    low, high = own_boxes(boxes, team)
    _halve_all(points, len(parents.x), low // 2, (high + 1) // 2)
    centre_x, centre_y, radius = discs = _measure(points, boxes, low, high)
    if cuts is not None:
        team.complete(discs, cuts)
    start, near = _near(parents, centre_x, centre_y, radius, theta, reach, low, high)
    return Boxes(centre_x, centre_y, radius, start, near)


def cut_boxes(boxes: int, team: Team) -> np.ndarray | None:
    """The boxes of each rank at a level, (size + 1,); none where all ranks have all of them.

    From one level on, the first that can be cut into parts no more than an eighth above the mean, a rank has the same
    part of the plane on all levels.
    """
    first = 1
    while -(-first // team.size) * team.size > 1.125 * first:
        first *= 2
    return None if boxes < first or team.size == 1 else team.cuts(first) * (boxes // first)


def own_boxes(boxes: int, team: Team) -> tuple[int, int]:
    """The first of this rank's boxes of a level, and the one after its last."""
    cuts = cut_boxes(boxes, team)
    own = slice(0, boxes) if cuts is None else team.mine(cuts)
    return own.start, own.stop


@hot
def _extent(v):  # type: ignore[no-untyped-def]
    """Smallest and largest of (n >= 1,) numbers."""
    low = high = v[0]
    for i in range(1, len(v)):
        low, high = min(low, v[i]), max(high, v[i])
    return low, high


@compiled(parallel=True)
def _measure(points, boxes, begin_at, end_at):  # type: ignore[no-untyped-def]
    """Centres and radii of some boxes of a level."""
    x, y, n, offset = points.x, points.y, points.total, points.first
    centre_x, centre_y, radius = np.empty(boxes), np.empty(boxes), np.empty(boxes)
    for k in prange(begin_at, end_at):
        first, last = begin(k, n, boxes) - offset, begin(k + 1, n, boxes) - offset
        left, right = _extent(x[first:last])
        low, high = _extent(y[first:last])
        centre_x[k], centre_y[k] = left + 0.5 * (right - left), low + 0.5 * (high - low)
        square = 0.0
        for i in range(first, last):
            square = max(square, (x[i] - centre_x[k]) ** 2 + (y[i] - centre_y[k]) ** 2)
        radius[k] = math.sqrt(square)
    return centre_x, centre_y, radius


@hot
def _select(key, other, order, middle):  # type: ignore[no-untyped-def]
    """Reorder all three so that no key before `middle` exceeds one from there on: Hoare's quickselect.

    Pivots are medians of three keys in places drawn from a fixed sequence: with fixed places, points in order along a
    closed curve would take quadratic time.
    """
    low, high = 0, len(key) - 1
    draw = np.uint64(1)
    while low < high:
        draw = draw * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        width, place = np.uint64(high - low + 1), draw >> np.uint64(33)
        a, b = key[low + np.int64(place % width)], key[low + np.int64((place >> np.uint64(3)) % width)]
        c = key[low + np.int64((place * np.uint64(5) + np.uint64(7)) % width)]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while key[i] < pivot:
                i += 1
            while key[j] > pivot:
                j -= 1
            if i <= j:
                key[i], key[j] = key[j], key[i]
                other[i], other[j] = other[j], other[i]
                order[i], order[j] = order[j], order[i]
                i, j = i + 1, j - 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@compiled(parallel=True)
def _halve_all(points, boxes, begin_at, end_at):  # type: ignore[no-untyped-def]
    """Sort the points of each of some boxes into its two halves."""
    n, offset = points.total, points.first
    for k in prange(begin_at, end_at):
        first, last = begin(k, n, boxes) - offset, begin(k + 1, n, boxes) - offset
        middle = begin(2 * k + 1, n, 2 * boxes) - offset - first
        u, v, w = points.x[first:last], points.y[first:last], points.order[first:last]
        left, right = _extent(u)
        low, high = _extent(v)
        if right - left >= high - low:
            _select(u, v, w, middle)
        else:
            _select(v, u, w, middle)


@compiled(parallel=True)
def _near(parents, x, y, radius, theta, reach, begin_at, end_at):  # type: ignore[no-untyped-def]
    """Which boxes of the new level are near some of them: start and near of `Boxes`, where the others have none."""
    boxes = len(x)
    start = np.zeros(boxes + 1, dtype=np.int64)
    level = Boxes(x, y, radius, start, parents.near)
    for k in prange(begin_at, end_at):
        found = 0
        for p in range(parents.start[k // 2], parents.start[k // 2 + 1]):
            for child in range(2 * parents.near[p], 2 * parents.near[p] + 2):
                found += 0 if is_far(level, k, child, theta, reach) else 1
        start[k + 1] = found
    for k in range(boxes):
        start[k + 1] += start[k]
    near = np.empty(start[boxes], dtype=np.int32)
    for k in prange(begin_at, end_at):
        at = start[k]
        for p in range(parents.start[k // 2], parents.start[k // 2 + 1]):
            for child in range(2 * parents.near[p], 2 * parents.near[p] + 2):
                if not is_far(level, k, child, theta, reach):
                    near[at] = child
                    at += 1
    return start, near
