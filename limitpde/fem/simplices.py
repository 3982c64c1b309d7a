"""Points and cells of simple domains: simplices in one, two and three dimensions. Serial.

A grid is cut into Kuhn's simplices, d! to a cell: the stiffness matrix of first-order elements on it is that of finite
differences with 2 d neighbours. The disk has rings of 6, 12, 18, ... nodes and their Delaunay triangulation, with edge
weights >= 0. The three-dimensional ball is an icosahedron, twenty nearly regular tetrahedra around the centre, each cut
into n^3 and pushed out until its n layers lie on spheres; dihedral angles stay between 37 and 130 degrees.

Points and cells are functions of their numbers, so that each rank can make its share of them; the numbers are those of
the whole, whatever the shares.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

CELLS = {1: "interval", 2: "triangle", 3: "tetrahedron"}
"""Dimension -> DOLFINx's name of its simplex."""
AT_ONCE = 1 << 16
"""Cells of a ball that are made together."""

type Share = tuple[int, int]
"""Which of how many equal parts, such as (rank, ranks)."""
WHOLE: Share = (0, 1)


def numbers(total: int, share: Share) -> np.ndarray:
    """Those of a share of 0 ... total - 1."""
    return np.arange(total * share[0] // share[1], total * (share[0] + 1) // share[1])


def grid(low: np.ndarray, size: np.ndarray, cells: np.ndarray, share: Share = WHOLE) -> tuple[np.ndarray, np.ndarray]:
    """A box, cut into boxes and these into Kuhn's simplices.

    Args:
        low: (d,) lower corner.
        size: (d,) lengths of the edges.
        cells: (d,) numbers of boxes along them.
        share: what is wanted of it.

    Returns:
        Points (n, d), the last coordinate running fastest, and cells (m, d + 1).
    """
    d, counts, ends = len(cells), tuple(map(int, cells)), tuple(int(n) + 1 for n in cells)
    place = np.unravel_index(numbers(math.prod(ends), share), ends)
    lines = [low[c] + size[c] * np.arange(ends[c]) / counts[c] for c in range(d)]
    points = np.stack([line[along] for line, along in zip(lines, place, strict=True)], axis=1)
    order, box = np.divmod(numbers(math.factorial(d) * math.prod(counts), share), math.prod(counts))
    corner = np.ravel_multi_index(np.unravel_index(box, counts), ends)
    steps = np.ravel_multi_index(tuple(np.moveaxis(kuhn(np.zeros((1, d), dtype=np.int64)), -1, 0)), ends)
    return points, corner[:, None] + steps[order]


def kuhn(corners: np.ndarray) -> np.ndarray:
    """Vertices of the d! simplices of the unit cells at the corners (n, d), as lattice points (d! n, d + 1, d)."""
    d = corners.shape[1]
    paths = []
    for order in itertools.permutations(range(d)):
        steps = np.zeros((d + 1, d), dtype=np.int64)
        for k, axis in enumerate(order):
            steps[k + 1 :, axis] = 1
        paths.append(corners[:, None] + steps)
    return np.concatenate(paths)


def pieces(dimension: int, count: int) -> np.ndarray:
    """Barycentric coordinates (count^d, d + 1) of the middles of the parts of a simplex, each edge cut in `count`."""
    d = dimension
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*[np.arange(count)] * d, indexing="ij")], axis=1)
    middle = kuhn(corners).mean(axis=1) / count  # of a cube; those with x_1 >= x_2 >= ... cut the simplex of that order
    middle = middle[(np.diff(middle, axis=1) <= 0).all(axis=1)]
    return -np.diff(middle, axis=1, prepend=1.0, append=0.0)


def disk(radii: np.ndarray, center: np.ndarray, share: Share = WHOLE) -> tuple[np.ndarray, np.ndarray]:
    """A disk: its centre, then n rings of 6, 12, 18, ... nodes, every second turned by half a step.

    Around a triangle with a side on one of two rings there is a circle that meets the other ring symmetrically to the
    middle of that side. So, whatever the radii, Delaunay's triangle has its third node where the other ring is nearest
    to that middle in angle (never half-way between two of its nodes: of the two rings one is even), and rings that are
    no closer than their nodes do not reach beyond their neighbours.

    Args:
        radii: (n,) of the rings.
        center: (2,).
        share: what is wanted of it.

    Returns:
        Points (1 + 3 n (n + 1), 2) and triangles (6 n^2, 3), from the inside out.
    """
    count = len(radii)
    node = numbers(1 + 3 * count * (count + 1), share)
    ring = np.searchsorted(_before_ring(np.arange(1, count + 1)), node, side="right")
    angle = 2 * np.pi * (node - _before_ring(ring) + 0.5 * (ring % 2)) / (6 * np.maximum(ring, 1))
    distance = np.concatenate([np.zeros(1), radii])[ring]
    points = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1) + center
    cell = numbers(6 * count**2, share)
    outer = np.searchsorted(6 * np.arange(count) ** 2, cell, side="right")
    place = cell - 6 * (outer - 1) ** 2
    inward = place < 6 * outer  # has two nodes on the outer ring
    base, tip = np.where(inward, outer, outer - 1), np.where(inward, outer - 1, outer)
    place -= np.where(inward, 0, 6 * outer)
    middle = (2 * place + 1 + base % 2) * tip - (tip % 2) * base  # as a place on the ring of the tip, times 2 base
    third = (middle + base) // (2 * base)
    ends = [_before_ring(base) + (place + step) % (6 * base) for step in (~inward, inward)]  # the third on the left
    triangles = [*ends, np.where(tip > 0, _before_ring(tip) + third % (6 * np.maximum(tip, 1)), 0)]
    return points, np.stack(triangles, axis=1)


def _before_ring(ring: np.ndarray) -> np.ndarray:
    """Nodes of a disk before those of a ring; of the centre, ring 0, as if it had one there."""
    return np.where(ring > 0, 1 + 3 * ring * (ring - 1), 0)


def ball(radius: float, layers: int, center: np.ndarray, share: Share = WHOLE) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) and tetrahedra (20 layers^3, 4) of a ball, from the inside out, or a share of them."""
    made = _Icosahedron(layers)
    return radius / layers * made.points(share) + center, made.cells(share)


class _Icosahedron:
    """The layers of an icosahedron: each has its 12 corners, then the nodes of 30 edges, then those of 20 faces.

    A node of a face has the coordinates (i, j, k), i >= j >= k >= 0: it lies in layer i, i - j steps along the first
    corner of the face from the centre, j - k along the second one and k along the third.
    """

    def __init__(self, layers: int) -> None:
        self.layers, self.corners = layers, _corners()
        near = np.linalg.norm(self.corners[:, None] - self.corners, axis=2) < 1.1  # an edge is 1.0515 long
        self.faces = np.array([f for f in itertools.combinations(range(12), 3) if near[np.ix_(f, f)].all()])
        self.edges = np.array([e for e in itertools.combinations(range(12), 2) if near[e]])
        number = np.zeros((12, 12), dtype=np.int64)
        number[tuple(self.edges.T)] = np.arange(len(self.edges))
        self.edges_of = np.stack([number[tuple(self.faces[:, pair].T)] for pair in ([1, 2], [0, 2], [0, 1])], axis=1)

    def points(self, share: Share) -> np.ndarray:
        """Those of the share, on spheres of radius 0, 1, ..., layers."""
        node = numbers(int(_before_layer(np.array(self.layers + 1))), share)
        layer = np.searchsorted(_before_layer(np.arange(1, self.layers + 1)), node, side="right")
        place, found = node - _before_layer(layer), np.zeros((len(node), 3))
        on_edge, inside = layer - 1, (layer - 1) * (layer - 2) // 2
        is_corner = (place < 12) & (layer > 0)
        found[is_corner] = self.corners[place[is_corner]]
        place -= 12
        some = (place >= 0) & (place < 30 * on_edge)
        edge, step = np.divmod(place[some], on_edge[some])
        ends = self.corners[self.edges[edge]]
        found[some] = (layer[some] - step - 1)[:, None] * ends[:, 0] + (step + 1)[:, None] * ends[:, 1]
        place -= 30 * on_edge
        some = (place >= 0) & (layer > 0)
        face, step = np.divmod(place[some], inside[some])
        row, last = _of_triangle(step)
        steps = np.stack([layer[some] - row - 2, row - last + 1, last + 1], axis=1)
        found[some] = np.einsum("nk,nkd->nd", steps, self.corners[self.faces[face]])
        length = np.linalg.norm(found, axis=1)
        return np.asarray(found * (layer / np.where(layer > 0, length, 1.0))[:, None])

    def cells(self, share: Share) -> np.ndarray:
        """Those of the share: Kuhn's simplices inside i >= j >= k, of each face in each layer."""
        cell = numbers(20 * self.layers**3, share)
        parts = np.array_split(cell, 1 + len(cell) // AT_ONCE)
        return np.concatenate([self._cells(part) for part in parts])

    def _cells(self, cell: np.ndarray) -> np.ndarray:
        layer = np.searchsorted(20 * np.arange(self.layers) ** 3, cell, side="right") - 1
        face, place = np.divmod(cell - 20 * layer**3, 3 * layer * (layer + 1) + 1)
        orders = np.array(list(itertools.permutations(range(3))))
        first, second, third = np.argsort(orders, axis=1).T  # when i, j and k are raised
        strict = (second < first).astype(int), (third < second).astype(int)  # then j < i, k < j from the start
        rows = layer[:, None] + 1 - strict[0] - strict[1]
        ends = np.cumsum(rows * (rows + 1) // 2, axis=1)
        order = (place[:, None] >= ends).sum(axis=1)
        place = place - np.where(order > 0, np.take_along_axis(ends, np.maximum(order - 1, 0)[:, None], 1)[:, 0], 0)
        row, last = _of_triangle(place)
        corner = np.stack([layer, row + strict[1][order], last], axis=1)
        return self._nodes(face[:, None], corner[:, None] + kuhn(np.zeros((1, 3), dtype=np.int64))[order])

    def _nodes(self, face: np.ndarray, lattice: np.ndarray) -> np.ndarray:
        """Numbers of the nodes of faces (m, 1) with the coordinates (m, 4, 3)."""
        layer = lattice[..., 0]
        steps = -np.diff(lattice, axis=2, append=0)
        some = steps > 0
        missing = np.argmin(some, axis=2)  # of the corners, if there is one
        later = np.where(missing == 2, steps[..., 1], steps[..., 2])  # along the second corner of an edge
        row = steps[..., 1] + steps[..., 2] - 2
        place = np.select(
            [some.sum(axis=2) == 1, some.sum(axis=2) == 2],
            [self.faces[face, np.argmax(some, axis=2)], 12 + self.edges_of[face, missing] * (layer - 1) + later - 1],
            12 + 30 * (layer - 1) + face * ((layer - 1) * (layer - 2) // 2) + row * (row + 1) // 2 + steps[..., 2] - 1,
        )
        return np.where(layer > 0, _before_layer(layer) + place, 0)


def _corners() -> np.ndarray:
    """Of an icosahedron, (12, 3), at distance one from its centre."""
    golden = (1 + math.sqrt(5)) / 2
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=2)))
    corners = np.column_stack([np.zeros(4), signs * np.array([1.0, golden])])
    return np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)]) / math.hypot(1.0, golden)


def _before_layer(layer: np.ndarray) -> np.ndarray:
    """Nodes of a ball before those of a layer; layer i > 0 has 10 i^2 + 2."""
    return np.where(layer > 0, 1 + 2 * (layer - 1) + 5 * (layer - 1) * layer * (2 * layer - 1) // 3, 0)


def _of_triangle(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and places in these, of places in a triangle with rows of 1, 2, 3, ..."""
    ends = np.arange(1, 2 + math.isqrt(2 * int(place.max(initial=0)) + 1))
    row = np.searchsorted(ends * (ends + 1) // 2, place, side="right")
    return row, place - row * (row + 1) // 2
