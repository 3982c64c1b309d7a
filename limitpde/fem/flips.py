"""Triangles whose edges are halved, and edges that are flipped until the triangulation is Delaunay's. Serial.

An edge between two triangles whose angles opposite to it add to more than pi is the wrong diagonal of their
quadrilateral; the other one takes its place, and the four sides around are looked at again. That ends with the Delaunay
triangulation inside the boundary (Lawson 1977), after few flips where it is nearly one already. Of four nodes on one
circle the diagonal ends in the first by coordinates, as if nodes were lifted from the plane the less the later they
come: so there is but one such triangulation, in whatever order edges are flipped.
"""

from __future__ import annotations

import numpy as np

from limitpde.compiled import compiled

ROUNDING = 1e-13
"""Sine of the sum of two angles, from which on its sign is right in the usual precision."""
EXACT = 1e-28
"""That in twice the precision; below, nodes lie on one circle."""
SPLIT = 134217729.0
"""2^27 + 1, which cuts a number into two halves."""


def split(cells: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Triangles with nodes on the middles of some of their edges, cut until no node lies on an edge.

    Args:
        cells: (m, 3).
        middles: (m, 3) the node on the edge opposite to each corner, -1 for none.
    """
    whole = []
    while len(cells):
        cut = (middles >= 0).any(axis=1)
        whole.append(cells[~cut])
        turn = (np.argmax(middles[cut] >= 0, axis=1)[:, None] + np.arange(3)) % 3
        (a, b, c), (middle, second, third) = (
            np.take_along_axis(rows[cut], turn, axis=1).T for rows in (cells, middles)
        )
        none = np.full(len(a), -1)
        cells = np.concatenate([np.stack([a, b, middle], axis=1), np.stack([a, middle, c], axis=1)])
        middles = np.concatenate([np.stack([none, none, third], axis=1), np.stack([none, second, none], axis=1)])
    return np.concatenate(whole)


def turned(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The triangles (m, 3), each in the order that has the inside on the left; a copy."""
    a, b = points[cells[:, 1]] - points[cells[:, 0]], points[cells[:, 2]] - points[cells[:, 0]]
    right, found = a[:, 0] * b[:, 1] < a[:, 1] * b[:, 0], cells.copy()
    found[right, 1:] = found[right, :0:-1]
    return found


def delaunay(points: np.ndarray, cells: np.ndarray, of_cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Delaunay triangulation (m, 3) with the boundary of another one, and the edges of the boundary.

    Args:
        points: (n, 2).
        cells: (m, 3) triangles that do not overlap, each with its inside on the left.
        of_cells: (m, 3) numbers of their edges, each opposite to its corner.

    Returns:
        Its triangles, insides on the left; and (s, 3) for each edge of the boundary its ends, the domain on the left of
        the way from one to the other, and the third corner of its triangle.
    """
    found, across = cells.copy(), _twins(of_cells.reshape(-1))
    _flip(points, found.reshape(-1), across)
    cell, k = np.divmod(np.flatnonzero(across < 0), 3)
    return found, found[cell[:, None], (k[:, None] + [1, 2, 0]) % 3]


@compiled
def _twins(edges: np.ndarray) -> np.ndarray:
    """The other side of the same edge for each side, given the edges of all sides (3 m,); -1 where there is none."""
    twins, first = np.full(len(edges), -1), np.full(len(edges), -1)
    for side in range(len(edges)):
        other = first[edges[side]]
        if other >= 0:
            twins[side], twins[other] = other, side
        first[edges[side]] = side
    return twins


@compiled
def _flip(points: np.ndarray, corners: np.ndarray, across: np.ndarray) -> None:
    """Flip edges until each is the right diagonal.

    Args:
        points: (n, 2).
        corners: (3 m,) of the triangles, each in the order that has the inside on the left.
        across: (3 m,) side h, opposite to corner h, is the side across[h] of another triangle; -1 on the boundary.
    """
    waiting = list(range(len(corners)))
    while len(waiting) > 0:
        h = waiting.pop()
        g = across[h]
        if g < 0:
            continue
        h1, h2 = h - h % 3 + (h + 1) % 3, h - h % 3 + (h + 2) % 3
        g1, g2 = g - g % 3 + (g + 1) % 3, g - g % 3 + (g + 2) % 3
        p, a, q, b = corners[h], corners[h1], corners[g], corners[h2]
        if not _wrong(points, p, a, q, b):
            continue
        after_a, after_b = across[g1], across[h1]
        corners[h2], corners[g2] = q, p  # the triangles p a q and q b p
        across[h], across[g], across[h1], across[g1] = after_a, after_b, g1, h1
        if after_a >= 0:
            across[after_a] = h
        if after_b >= 0:
            across[after_b] = g
        waiting.extend((h, g, h2, g2))


@compiled
def _wrong(points: np.ndarray, p: int, a: int, q: int, b: int) -> bool:
    """Whether the side from a to b, with the corners p and q opposite to it, is to be flipped."""
    ax, ay, bx, by = _towards(points, p, a, b)
    cx, cy, dx, dy = _towards(points, q, b, a)
    sine = (ax * bx + ay * by) * (cx * dy - cy * dx) + (ax * by - ay * bx) * (cx * dx + cy * dy)
    size = np.sqrt((ax * ax + ay * ay) * (bx * bx + by * by) * (cx * cx + cy * cy) * (dx * dx + dy * dy))
    if abs(sine) > ROUNDING * size:
        return bool(sine < 0)
    sine = _sine(points, p, a, q, b)
    if abs(sine) > EXACT * size:
        return bool(sine < 0)
    first = p if before(points, p, q) else q
    return bool(before(points, first, a) and before(points, first, b))


@compiled
def before(points: np.ndarray, i: int, j: int) -> bool:
    """Whether one node comes before another one in the lexical order of coordinates."""
    return bool(points[i, 0] < points[j, 0] or (points[i, 0] == points[j, 0] and points[i, 1] < points[j, 1]))


@compiled
def _towards(points: np.ndarray, node: int, first: int, second: int) -> tuple[float, float, float, float]:
    """The two components of the way to a first other node, then to a second one."""
    x, y = points[node]
    return points[first, 0] - x, points[first, 1] - y, points[second, 0] - x, points[second, 1] - y


@compiled
def _sine(points: np.ndarray, p: int, a: int, q: int, b: int) -> float:
    """The sine of the sum of the angles at p and q, times the lengths of their sides, in twice the usual precision."""
    dot, cross = _turn(points, p, a, b)
    other_dot, other_cross = _turn(points, q, b, a)
    return float(_sum(_product(dot, other_cross), _product(cross, other_dot))[0])


@compiled
def _turn(points: np.ndarray, node: int, first: int, second: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """The scalar and the vector product of the ways to two other nodes, each as the sum of two numbers."""
    ux, uy = _difference(points[first, 0], points[node, 0]), _difference(points[first, 1], points[node, 1])
    vx, vy = _difference(points[second, 0], points[node, 0]), _difference(points[second, 1], points[node, 1])
    back = _product(uy, vx)
    return _sum(_product(ux, vx), _product(uy, vy)), _sum(_product(ux, vy), (-back[0], -back[1]))


@compiled
def _difference(a: float, b: float) -> tuple[float, float]:
    """a - b as it is rounded, and what is missing (Knuth)."""
    high = a - b
    part = high - a
    return high, (a - (high - part)) - (b + part)


@compiled
def _sum(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Of two numbers in twice the usual precision (Dekker 1971)."""
    high, low = _difference(a[0], -b[0])
    low += a[1] + b[1]
    total = high + low
    return total, low - (total - high)


@compiled
def _product(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Likewise."""
    high = a[0] * b[0]
    first, second = SPLIT * a[0], SPLIT * b[0]
    a_high, b_high = first - (first - a[0]), second - (second - b[0])
    a_low, b_low = a[0] - a_high, b[0] - b_high
    low = ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low
    low += a[0] * b[1] + a[1] * b[0]
    total = high + low
    return total, low - (total - high)
