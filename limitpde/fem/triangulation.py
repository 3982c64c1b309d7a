"""Delaunay triangulations of a domain in the plane that gain nodes where edges are halved, and lose them again. Serial.

Halving an edge puts a node on its middle; the nodes are then connected anew by the Delaunay triangulation inside the
boundary. A triangle with an edge to be halved has its longest edge halved as well, so that cells keep their shape. The
result must again have edge weights >= 0 (`limitpde.fem.edges`): a part of the boundary that is missing from the
triangulation, or lies opposite to an obtuse angle, is halved until there is none (Ruppert, J. Algorithms 18, 1995),
or gets the node back that was to be removed from it. The nodes of the first triangulation are never removed, and where
nothing happens all stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from limitpde.errors import RunError
from limitpde.fem import flips, simplices

Circle = tuple[np.ndarray, float]
"""Centre (2,) and radius."""
REPAIRS = 40
"""How often parts of the boundary may be halved until the edge weights are >= 0."""
SHORTEST = 1e-6
"""Length that edges keep, as a part of the largest coordinate: below, rounding decides on the sign of their weights."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of a triangulation."""

    ends: np.ndarray
    """(e, 2), the smaller number first, in lexical order."""
    of_cells: np.ndarray
    """(m, 3), edge k of a triangle lies opposite to its corner k."""

    @classmethod
    def of(cls, cells: np.ndarray) -> Edges:
        """The edges of triangles (m, 3)."""
        pairs = np.sort(cells[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2), axis=1)
        keys, of_cells = np.unique(_keys(pairs), return_inverse=True)
        return cls(np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1), of_cells.reshape(-1, 3))


@dataclass(frozen=True, slots=True)
class Boundary:
    """The edges of the boundary."""

    ends: np.ndarray
    """(s, 2), the domain on the left of the way from the first to the second."""
    group: np.ndarray
    """(s,) number of the group of lines that each belongs to, -1 for none."""
    circle: Circle | None = None
    """Where new nodes of the boundary are to lie, if it is round."""

    @classmethod
    def of(cls, points: np.ndarray, cells: np.ndarray) -> Boundary:
        """The edges that only one triangle has, in no group, and not round."""
        edges = Edges.of(cells)
        alone = np.bincount(edges.of_cells.ravel(), minlength=len(edges.ends)) == 1
        cell, k = np.nonzero(alone[edges.of_cells])
        first, second, opposite = (cells[cell, (k + turn) % 3] for turn in (1, 2, 0))
        left = _cross(points[second] - points[first], points[opposite] - points[first]) > 0
        ends = np.where(left[:, None], np.stack([first, second], axis=1), np.stack([second, first], axis=1))
        return cls(ends, np.full(len(ends), -1))

    def grouped(self, lines: np.ndarray, group: np.ndarray) -> Boundary:
        """The same with the groups of lines (k, 2); of several lines at one place, the last one counts."""
        keys = _keys(np.sort(lines, axis=1))
        order = np.argsort(keys, kind="stable")
        mine = _keys(np.sort(self.ends, axis=1))
        place = np.searchsorted(keys[order], mine, side="right") - 1
        known = (place >= 0) & (keys[order][place] == mine)
        return replace(self, group=np.where(known, group[order][place], -1))


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the nodes of a triangulation."""

    kept: np.ndarray
    """(k,) old numbers of the nodes that are left; they come first, in this order."""
    born: list[np.ndarray] = field(default_factory=list)
    """(b, 2) nodes, in new numbers, in the middle between which the next nodes lie; batch after batch."""


@dataclass(frozen=True, slots=True)
class Triangulation:
    """A Delaunay triangulation with the memory of how it was refined."""

    points: np.ndarray
    """(n, 2)."""
    cells: np.ndarray
    """(m, 3)."""
    level: np.ndarray
    """(n,) 0 for the nodes of the first triangulation, else one more than the higher of the two ends."""
    boundary: Boundary
    needed: np.ndarray
    """(n,) bool, nodes of the boundary that were to be removed and could not, while their neighbours stay."""

    @classmethod
    def first(cls, points: np.ndarray, cells: np.ndarray, boundary: Boundary) -> Triangulation:
        """One that has not been refined yet."""
        return cls(points, cells, np.zeros(len(points), dtype=np.int64), boundary, np.zeros(len(points), dtype=bool))

    def length(self, edges: Edges) -> np.ndarray:
        """Of the edges, (e,)."""
        return np.asarray(np.hypot(*(self.points[edges.ends[:, 0]] - self.points[edges.ends[:, 1]]).T))

    def weights(self, edges: Edges) -> np.ndarray:
        """kappa of the edges, (e,), as those of `limitpde.fem.edges.EdgeGraph`."""
        corners, weight = self.points[self.cells], np.zeros(len(edges.ends))
        for k in range(3):
            a, b = (corners[:, (k + turn) % 3] - corners[:, k] for turn in (1, 2))
            cotangent = (a * b).sum(axis=1) / np.abs(_cross(a, b))
            weight += np.bincount(edges.of_cells[:, k], cotangent / 2, len(weight))
        return weight

    def areas(self, edges: Edges) -> np.ndarray:
        """The Voronoi areas m of the nodes, (n,), likewise."""
        share = self.weights(edges) * self.length(edges) ** 2 / 4
        return np.asarray(sum(np.bincount(end, share, len(self.points)) for end in edges.ends.T))

    def shapely(self, edges: Edges, marked: np.ndarray) -> np.ndarray:
        """The marked edges (e,) bool, and with each the longest edge of its triangles, and so on."""
        length, marked = self.length(edges), marked.copy()
        longest = np.take_along_axis(edges.of_cells, length[edges.of_cells].argmax(axis=1)[:, None], axis=1)[:, 0]
        while True:
            found = longest[marked[edges.of_cells].any(axis=1)]
            if marked[found].all():
                return marked
            marked[found] = True

    def removable(self, edges: Edges, spare: np.ndarray) -> np.ndarray:
        """Which of the spare nodes (n,) bool are to go together, (n,) bool: no two neighbours, else all that can.

        A node goes before its neighbours of lower level; one on the boundary when the two parts there that it made are
        not cut any further. One that is needed stays, and its neighbours do not wait for it.
        """
        tail, head = edges.ends.T
        waiting = np.where(self.needed, 0, self.level)
        highest = np.zeros_like(self.level)
        np.maximum.at(highest, tail, waiting[head])
        np.maximum.at(highest, head, waiting[tail])
        along = np.full(len(self.points), -1)
        first, second = self.boundary.ends.T
        np.maximum.at(along, first, self.level[second])
        np.maximum.at(along, second, self.level[first])
        spare = spare & (waiting > 0) & (highest <= self.level) & (along < self.level)
        return _independent(edges, spare)

    def changed(self, halved: np.ndarray, removed: np.ndarray) -> tuple[Triangulation, Change]:
        """The triangulation with some edges halved and some nodes removed, but those that the boundary needs.

        Args:
            halved: (h, 2) edges.
            removed: (n,) bool, nodes that are no ends of them.

        Raises:
            RunError: there is no triangulation with edge weights >= 0, or edges become too short for one.
        """
        kept = np.flatnonzero(~removed)
        number = np.full(len(self.points), -1)
        number[kept] = np.arange(len(kept))
        boundary, between = _without(self.boundary, removed, number)
        grown = Triangulation.first(self.points[kept], np.empty((0, 3), dtype=np.int64), boundary)
        near = np.zeros(len(self.points), dtype=bool)
        near[self.cells[removed[self.cells].any(axis=1)]] = True
        grown = replace(grown, level=self.level[kept], needed=(self.needed & ~near)[kept])
        whole = len(kept) == len(self.points)
        cells, parts, change = self.cells, number[halved], Change(kept)
        for _ in range(REPAIRS):
            if len(parts):
                cells = _cut(cells, parts, len(grown.points)) if whole else cells
                grown = grown._halved(parts)
                change.born.append(parts)
            if whole:
                cells = flips.delaunay(grown.points, cells, Edges.of(cells).of_cells)
                bad = _obtuse(grown.points, cells, grown.boundary.ends)
            else:
                cells, bad = _delaunay(grown.points, grown.boundary.ends)
            if not bad.any():
                return replace(grown, cells=cells), change
            parts = grown.boundary.ends[bad]
            back = between[np.isin(_keys(boundary.ends), _keys(parts)) & (between >= 0)]
            if len(back):
                stays = removed.copy()
                stays[back] = False
                found, change = self.changed(halved, stays)
                found.needed[np.searchsorted(change.kept, back)] = True
                return found, change
        raise RunError(f"the mesh cannot be refined: {bad.sum()} edges of its boundary keep a negative weight")

    def _halved(self, ends: np.ndarray) -> Triangulation:
        """With nodes on the middles of edges (h, 2), not connected yet."""
        shortest = float(np.hypot(*(self.points[ends[:, 0]] - self.points[ends[:, 1]]).T).min()) / 2
        if shortest < SHORTEST * np.abs(self.points).max():
            raise RunError(
                f"the mesh cannot be refined: edges of length {shortest:.3g} would be too short to tell its nodes apart"
            )
        middle = self.points[ends].mean(axis=1)
        new = len(self.points) + np.arange(len(ends))
        keys, edges = _keys(np.sort(ends, axis=1)), self.boundary
        order = np.argsort(keys)
        mine = _keys(np.sort(edges.ends, axis=1))
        place = np.minimum(np.searchsorted(keys[order], mine), len(keys) - 1)
        cut = keys[order][place] == mine
        node = new[order][place[cut]]
        if edges.circle is not None:
            center, radius = edges.circle
            out = middle[node - len(self.points)] - center
            middle[node - len(self.points)] = center + radius * out / np.hypot(*out.T)[:, None]
        first, second = edges.ends[cut].T
        parts = [edges.ends[~cut], np.stack([first, node], axis=1), np.stack([node, second], axis=1)]
        group = [edges.group[~cut], edges.group[cut], edges.group[cut]]
        return Triangulation(
            np.concatenate([self.points, middle]),
            self.cells,
            np.concatenate([self.level, self.level[ends].max(axis=1) + 1]),
            replace(edges, ends=np.concatenate(parts), group=np.concatenate(group)),
            np.concatenate([self.needed, np.zeros(len(ends), dtype=bool)]),
        )


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross products of vectors (p, 2), (p,)."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _keys(pairs: np.ndarray) -> np.ndarray:
    """One number for each pair of nodes (p, 2)."""
    return np.asarray((pairs[:, 0].astype(np.int64) << 32) | pairs[:, 1])


def _independent(edges: Edges, nodes: np.ndarray) -> np.ndarray:
    """Some of the nodes (n,) bool, of which no two are neighbours; each other one has one of them as its neighbour."""
    tail, head = edges.ends.T
    rank = np.arange(len(nodes)) * 2654435761 % 2**32  # in no order, so that few rounds are needed (Luby 1986)
    left, found = nodes.copy(), np.zeros_like(nodes)
    while left.any():
        beaten = np.full(len(nodes), -1)
        np.maximum.at(beaten, tail, np.where(left, rank, -1)[head])
        np.maximum.at(beaten, head, np.where(left, rank, -1)[tail])
        best = left & (rank > beaten)
        found |= best
        left[best] = left[head[best[tail]]] = left[tail[best[head]]] = False
    return found


def _without(boundary: Boundary, removed: np.ndarray, number: np.ndarray) -> tuple[Boundary, np.ndarray]:
    """The boundary without some of its nodes, in new numbers, and which old one each of its edges lacks, -1 for none.

    No two neighbours are removed.
    """
    after = np.full(len(removed), -1)
    after[boundary.ends[:, 0]] = boundary.ends[:, 1]
    stays = ~removed[boundary.ends[:, 0]]
    first, second = boundary.ends[stays].T
    between = np.where(removed[second], second, -1)
    second = np.where(removed[second], after[second], second)
    ends = number[np.stack([first, second], axis=1)]
    return replace(boundary, ends=ends, group=boundary.group[stays]), between


def _delaunay(points: np.ndarray, boundary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangles inside a boundary (s, 2), and which of its edges are missing or opposite to an obtuse angle."""
    cells = simplices.triangulate(points - (points.min(axis=0) + points.max(axis=0)) / 2)  # Qhull squares them
    if len(np.unique(cells)) < len(points):
        raise RunError("the mesh cannot be refined: its nodes lie too close together to be told apart")
    edges = Edges.of(cells)
    keys, wanted = _keys(edges.ends), _keys(np.sort(boundary, axis=1))
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    missing = keys[place] != wanted
    if missing.any():
        return cells, missing
    walls = np.zeros(len(keys), dtype=bool)
    walls[place] = True
    cells = _inside(points, cells, edges, walls, boundary)
    return cells, _obtuse(points, cells, boundary)


def _cut(cells: np.ndarray, ends: np.ndarray, first: int) -> np.ndarray:
    """The triangles with nodes first, first + 1, ... on the middles of their edges with these ends (h, 2)."""
    edges = Edges.of(cells)
    middles = np.full(len(edges.ends), -1)
    middles[np.searchsorted(_keys(edges.ends), _keys(np.sort(ends, axis=1)))] = first + np.arange(len(ends))
    return flips.split(cells, middles[edges.of_cells])


def _obtuse(points: np.ndarray, cells: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    """Which edges of the boundary (s, 2) of triangles are opposite to an obtuse angle, (s,) bool."""
    edges = Edges.of(cells)
    place = np.searchsorted(_keys(edges.ends), _keys(np.sort(boundary, axis=1)))
    walls = np.zeros(len(edges.ends), dtype=bool)
    walls[place] = True
    cell, k = np.nonzero(walls[edges.of_cells])
    a, b = (points[cells[cell, (k + turn) % 3]] - points[cells[cell, k]] for turn in (1, 2))
    cotangent = np.zeros(len(edges.ends))
    cotangent[edges.of_cells[cell, k]] = (a * b).sum(axis=1) / np.abs(_cross(a, b))
    return np.asarray(cotangent[place] < -1e-10)


def _inside(points: np.ndarray, cells: np.ndarray, edges: Edges, walls: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    """The triangles that lie inside: those joined to the left side of the boundary but through it."""
    count = np.bincount(edges.of_cells.ravel(), minlength=len(edges.ends))
    if ((count == 1) == walls).all():
        return cells
    owner = np.repeat(np.arange(len(cells)), 3)
    order = np.argsort(edges.of_cells.ravel(), kind="stable")
    edge, owner = edges.of_cells.ravel()[order], owner[order]
    joined = (edge[1:] == edge[:-1]) & ~walls[edge[1:]]
    links = (np.ones(joined.sum()), (owner[1:][joined], owner[:-1][joined]))
    parts, part = connected_components(coo_array(links, shape=(len(cells), len(cells))), directed=False)
    kept = np.zeros(parts, dtype=bool)
    corners, directed = cells[:, [[1, 2], [2, 0], [0, 1]]], set(map(tuple, boundary.tolist()))
    cell, k = np.nonzero(walls[edges.of_cells])
    a, b, c = points[corners[cell, k, 0]], points[corners[cell, k, 1]], points[cells[cell, k]]
    left = _cross(b - a, c - a) > 0
    way = np.where(left[:, None], corners[cell, k], corners[cell, k, ::-1])
    inner = [pair in directed for pair in map(tuple, way.tolist())]
    kept[part[cell[inner]]] = True
    return np.asarray(cells[kept[part]])
