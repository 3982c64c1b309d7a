"""Triangles around nodes that are removed, replaced by triangles of their other corners. Serial, and linear in these.

What a node leaves is a polygon, in which one sees the whole boundary from the place of the node. It is cut up ear by
ear: of the corners whose two neighbours see each other inside, that with the fattest triangle goes first. A node of the
boundary leaves its two neighbours there joined by a straight edge, beyond which none of its others may lie.
"""

from __future__ import annotations

import numpy as np

from limitpde.compiled import compiled

FLAT = 1e-9
"""Twice the area of a triangle, as a part of the square of its longest edge, up to which it is none."""


def without(points: np.ndarray, cells: np.ndarray, removed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangles without some of the nodes.

    Args:
        points: (n, 2).
        cells: (m, 3) triangles that do not overlap, each with its inside on the left.
        removed: (n,) bool, nodes of which no two are neighbours.

    Returns:
        Triangles of the others, and those of the nodes removed without which there is no triangulation, for rounding
        or as another node would lie outside.
    """
    cell, k = np.nonzero(removed[cells])
    around = cells[cell[:, None], (k[:, None] + np.arange(3)) % 3]
    around = around[np.argsort(around[:, 0], kind="stable")]
    starts = np.append(np.flatnonzero(np.diff(around[:, 0], prepend=-1)), len(around))
    made, failed = _fill(points, around, starts)
    stay = np.ones(len(cells), dtype=bool)
    stay[cell] = False
    return np.concatenate([cells[stay], made]), around[starts[:-1], 0][failed]


@compiled
def _fill(points: np.ndarray, around: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles in the cavities of nodes, and which of these cannot be filled.

    Args:
        points: (n, 2).
        around: (c, 3) triangles, first the node that is removed; those of one node together.
        starts: (r + 1,) where those of each node begin.
    """
    made, count = np.empty_like(around), 0
    failed = np.zeros(len(starts) - 1, dtype=np.bool_)
    for node in range(len(starts) - 1):
        ring, closed = _ring(around[starts[node] : starts[node + 1]])
        before = count
        failed[node] = not closed and not _convex(points, ring)
        while len(ring) > 2 and not failed[node]:
            ear = _fattest(points, ring)
            if ear < 0:
                failed[node], count = True, before
                break
            made[count] = ring[ear - 1], ring[ear], ring[(ear + 1) % len(ring)]
            count += 1
            ring.pop(ear)
    return made[:count], failed


@compiled
def _ring(around: np.ndarray) -> tuple[list[int], bool]:
    """The other corners of all triangles of a node (c, 3), one after another, and whether they go all around it."""
    first = 0
    for row in range(len(around)):
        if not (around[:, 2] == around[row, 1]).any():
            first = row
    ring, row = [around[first, 1]], first
    while True:
        head = around[row, 2]
        if head == ring[0]:
            return ring, True
        ring.append(head)
        found = -1
        for other in range(len(around)):
            if around[other, 1] == head:
                found = other
        if found < 0:
            return ring, False
        row = found


@compiled
def _convex(points: np.ndarray, ring: list[int]) -> bool:
    """Whether all corners but the last and the first lie on the left of the way from that to this."""
    least = 1.0
    for k in range(1, len(ring) - 1):
        least = min(least, _fatness(points, ring[-1], ring[0], ring[k]))
    return least > FLAT


@compiled
def _fattest(points: np.ndarray, ring: list[int]) -> int:
    """The place of the best ear of a polygon, -1 if there is none."""
    best, found = FLAT, -1
    for k in range(len(ring)):
        a, b, c = ring[k - 1], ring[k], ring[(k + 1) % len(ring)]
        fat = _fatness(points, a, b, c)
        if fat <= best:
            continue
        free = True
        for other in ring:
            if other not in (a, b, c):
                inside = min(_fatness(points, a, b, other), _fatness(points, b, c, other))
                free = free and min(inside, _fatness(points, c, a, other)) < -FLAT
        if free:
            best, found = fat, k
    return found


@compiled
def _fatness(points: np.ndarray, a: int, b: int, c: int) -> float:
    """Twice the area of a triangle over the square of its longest edge; negative if its inside is on the right."""
    ux, uy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
    vx, vy = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1]
    wx, wy = vx - ux, vy - uy
    longest = max(ux * ux + uy * uy, vx * vx + vy * vy, wx * wx + wy * wy)
    return float((ux * vy - uy * vx) / longest) if longest > 0.0 else 0.0
