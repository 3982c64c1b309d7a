"""Delaunay triangulations of a domain in the plane that gain nodes where edges are halved, and lose them again. Serial.

Halving an edge puts a node on its middle; what a removed node leaves is filled (`limitpde.fem.cavities`); edges are
flipped until the triangulation is Delaunay's inside the boundary (`limitpde.fem.flips`). A triangle with an edge to be
halved has its longest edge halved as well, so that cells keep their shape. The result must again have edge weights >= 0
(`limitpde.fem.edges`): a part of the boundary that lies opposite to an obtuse angle is halved until there is none
(Ruppert, J. Algorithms 18, 1995), or gets the node back that was to be removed from it. The nodes of the first
triangulation are never removed, and where nothing happens all stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from limitpde.compiled import compiled
from limitpde.errors import RunError
from limitpde.fem import cavities, flips
from limitpde.fem.ghosts import Ghosts

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
        return cls(*_numbered(np.ascontiguousarray(cells), int(cells.max(initial=-1)) + 1))


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

    def at(self, some: np.ndarray) -> Boundary:
        """Some of the edges, (s,) bool."""
        return replace(self, ends=self.ends[some], group=self.group[some])

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
    """(n,) bool, nodes that were to be removed and could not, while their neighbours stay."""
    rim: np.ndarray | None = None
    """(n,) bool, nodes where it ends that has been cut out of a larger one: they stay, and so do edges between two."""

    @classmethod
    def first(cls, points: np.ndarray, cells: np.ndarray, boundary: Boundary) -> Triangulation:
        """One that has not been refined yet."""
        return cls(points, cells, np.zeros(len(points), dtype=np.int64), boundary, np.zeros(len(points), dtype=bool))

    def length(self, edges: Edges) -> np.ndarray:
        """Of the edges, (e,)."""
        return np.asarray(np.hypot(*(self.points[edges.ends[:, 0]] - self.points[edges.ends[:, 1]]).T))

    def weights(self, edges: Edges) -> np.ndarray:
        """kappa of the edges, (e,), as those of `limitpde.fem.edges.EdgeGraph`."""
        return np.asarray(_cotangents(self.points, self.cells, edges.of_cells, len(edges.ends)) / 2)

    def areas(self) -> np.ndarray:
        """The Voronoi areas m of the nodes, (n,), likewise."""
        return np.asarray(_voronoi(self.points, self.cells))

    def shapely(self, edges: Edges, marked: np.ndarray, shared: Ghosts | None = None) -> np.ndarray:
        """The marked edges (e,) bool, and with each the longest edge of its triangles, and so on.

        Collective where edges are shared. Of equally long ones that opposite to the first corner by coordinates counts.
        """
        shared = shared or Ghosts.none(len(marked))
        longest = _longest(self.points, self.cells, edges.of_cells, self.length(edges))
        marked = shared.updated(marked.copy())
        while True:
            found = longest[touching(edges.of_cells, marked)]
            more = not marked[found].all()
            marked[found] = True
            if more:
                continue
            before = marked
            marked = shared.updated(marked)
            marked |= before
            if not shared.any((marked != before).any()):
                return marked

    def removable(self, edges: Edges, spare: np.ndarray, shared: Ghosts | None = None) -> np.ndarray:
        """Which of the spare nodes (n,) bool are to go together, (n,) bool: no two neighbours, else all that can.

        Collective where nodes are shared.
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
        return _independent(edges, spare, _mixed(self.points), shared or Ghosts.none(len(spare)))

    def changed(self, halved: np.ndarray, removed: np.ndarray) -> tuple[Triangulation, Change]:
        """The triangulation with some edges halved and some nodes removed, but those that the boundary needs.

        Args:
            halved: (h, 2) edges.
            removed: (n,) bool, nodes that are no ends of them.

        Raises:
            RunError: there is no triangulation with edge weights >= 0, or edges become too short for one.
        """
        if self.rim is not None:
            halved, removed = halved[~self.rim[halved].all(axis=1)], removed & ~self.rim
        cells, stay = cavities.without(self.points, flips.turned(self.points, self.cells), removed)
        if len(stay):
            return self._keeping(halved, removed, stay)
        kept = np.flatnonzero(~removed)
        number = np.full(len(self.points), -1)
        number[kept] = np.arange(len(kept))
        boundary, between = _without(self.boundary, removed, number)
        near = np.zeros(len(self.points), dtype=bool)
        near[self.cells[touching(self.cells, removed)]] = True
        rim = None if self.rim is None else self.rim[kept]
        grown = Triangulation(self.points[kept], cells, self.level[kept], boundary, (self.needed & ~near)[kept], rim)
        cells, parts, change = number[cells], number[halved], Change(kept)
        for _ in range(REPAIRS):
            if len(parts):
                cells = _cut(cells, parts, len(grown.points))
                grown = grown._halved(parts)
                change.born.append(parts)
            cells, outer = flips.delaunay(grown.points, cells, Edges.of(cells).of_cells)
            bad = np.isin(_keys(grown.boundary.ends), _keys(outer[_obtuse(grown.points, outer)]))
            if grown.rim is not None:
                bad &= ~grown.rim[grown.boundary.ends].any(axis=1)
            if not bad.any():
                return replace(grown, cells=cells), change
            parts = grown.boundary.ends[bad]
            back = between[np.isin(_keys(boundary.ends), _keys(parts)) & (between >= 0)]
            if len(back):
                return self._keeping(halved, removed, back)
        raise RunError(f"the mesh cannot be refined: {bad.sum()} edges of its boundary keep a negative weight")

    def _keeping(self, halved: np.ndarray, removed: np.ndarray, stay: np.ndarray) -> tuple[Triangulation, Change]:
        """What `changed` returns when some of the nodes removed, with these numbers, stay."""
        removed = removed.copy()
        removed[stay] = False
        found, change = self.changed(halved, removed)
        found.needed[np.searchsorted(change.kept, stay)] = True
        return found, change

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
            middle[node - len(self.points)] = center + radius * out / np.sqrt(out[:, :1] ** 2 + out[:, 1:] ** 2)
        first, second = edges.ends[cut].T
        parts = [edges.ends[~cut], np.stack([first, node], axis=1), np.stack([node, second], axis=1)]
        group = [edges.group[~cut], edges.group[cut], edges.group[cut]]
        return Triangulation(
            np.concatenate([self.points, middle]),
            self.cells,
            np.concatenate([self.level, self.level[ends].max(axis=1) + 1]),
            replace(edges, ends=np.concatenate(parts), group=np.concatenate(group)),
            np.concatenate([self.needed, np.zeros(len(ends), dtype=bool)]),
            None if self.rim is None else np.concatenate([self.rim, np.zeros(len(ends), dtype=bool)]),
        )


@compiled
def touching(rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Which rows of numbers (k, ...) have one that is chosen, (k,) bool."""
    found = np.zeros(len(rows), dtype=np.bool_)
    for row in range(len(rows)):
        for number in rows[row]:
            found[row] |= chosen[number]
    return found


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross products of vectors (p, 2), (p,)."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _keys(pairs: np.ndarray) -> np.ndarray:
    """One number for each pair of nodes (p, 2)."""
    return np.asarray((pairs[:, 0].astype(np.int64) << 32) | pairs[:, 1])


def _independent(edges: Edges, nodes: np.ndarray, rank: np.ndarray, shared: Ghosts) -> np.ndarray:
    """Some of the nodes (n,) bool, of which no two are neighbours; each other one has one of them as its neighbour.

    Those go first whose rank (n,) is above that of all neighbours (Luby 1986). Collective where nodes are shared.
    """
    tail, head = edges.ends.T
    left, found = shared.updated(nodes), np.zeros_like(nodes)
    while shared.any(left.any()):
        beaten, ranks = np.full(len(nodes), -1), np.where(left, rank, -1)
        np.maximum.at(beaten, tail, ranks[head])
        np.maximum.at(beaten, head, ranks[tail])
        best = shared.updated(left & (rank > beaten))
        found |= best
        left = left & ~best
        left[head[best[tail]]] = left[tail[best[head]]] = False
        left = shared.updated(left)
    return found


def _mixed(points: np.ndarray) -> np.ndarray:
    """A number >= 0 for each of the points (n, 2), in no order, that depends on nothing else."""
    x, y = np.ascontiguousarray(points).view(np.uint64).T
    return np.asarray(mix(x ^ (mix(y) * np.uint64(3))) >> np.uint64(1)).astype(np.int64)


def mix(bits: np.ndarray) -> np.ndarray:
    """Numbers (n,) uint64 whose bits depend on all bits of those given (splitmix64; Steele, Lea, Flood 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))


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


def _cut(cells: np.ndarray, ends: np.ndarray, first: int) -> np.ndarray:
    """The triangles with nodes first, first + 1, ... on the middles of their edges with these ends (h, 2)."""
    edges = Edges.of(cells)
    middles = np.full(len(edges.ends), -1)
    middles[np.searchsorted(_keys(edges.ends), _keys(np.sort(ends, axis=1)))] = first + np.arange(len(ends))
    return flips.split(cells, middles[edges.of_cells])


def _obtuse(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Which triangles (s, 3) have an obtuse angle at their third corner, (s,) bool."""
    a, b = (points[corners[:, k]] - points[corners[:, 2]] for k in range(2))
    return np.asarray((a * b).sum(axis=1) < -1e-10 * np.abs(_cross(a, b)))


@compiled
def _numbered(cells: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """The fields of `Edges`, of triangles (m, 3): sides are sorted by their lower node, then those of each of these."""
    starts = np.zeros(nodes + 1, dtype=np.int64)
    for c in range(len(cells)):
        for k in range(3):
            starts[min(cells[c, (k + 1) % 3], cells[c, (k + 2) % 3]) + 1] += 1
    starts = np.cumsum(starts)
    free, sides, heads = starts.copy(), np.empty(cells.size, dtype=np.int64), np.empty(cells.size, dtype=np.int64)
    for side in range(cells.size):
        first, second = cells[side // 3, (side + 1) % 3], cells[side // 3, (side + 2) % 3]
        tail, head = min(first, second), max(first, second)
        place = free[tail]
        while place > starts[tail] and heads[place - 1] > head:
            heads[place], sides[place] = heads[place - 1], sides[place - 1]
            place -= 1
        heads[place], sides[place] = head, side
        free[tail] += 1
    ends, of_sides, count = np.empty((cells.size, 2), dtype=np.int64), np.empty(cells.size, dtype=np.int64), 0
    for tail in range(nodes):
        for place in range(starts[tail], starts[tail + 1]):
            if place == starts[tail] or heads[place] != heads[place - 1]:
                ends[count] = tail, heads[place]
                count += 1
            of_sides[sides[place]] = count - 1
    return ends[:count].copy(), of_sides.reshape(-1, 3)


@compiled
def _longest(points: np.ndarray, cells: np.ndarray, of_cells: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The longest edge of each triangle, (m,)."""
    found = np.empty(len(cells), dtype=np.int64)
    for c in range(len(cells)):
        best = 0
        for k in (1, 2):
            gain = length[of_cells[c, k]] - length[of_cells[c, best]]
            if gain > 0.0 or (gain == 0.0 and flips.before(points, cells[c, k], cells[c, best])):
                best = k
        found[c] = of_cells[c, best]
    return found


@compiled
def _cotangents(points: np.ndarray, cells: np.ndarray, of_cells: np.ndarray, count: int) -> np.ndarray:
    """Sums (count,) of the cotangents of the angles opposite to edges, in triangles (m, 3) with edges (m, 3)."""
    sums = np.zeros(count)
    for c in range(len(cells)):
        for k in range(3):
            sums[of_cells[c, k]] += _opposite(points, cells[c, k], cells[c, (k + 1) % 3], cells[c, (k + 2) % 3])[0]
    return sums


@compiled
def _voronoi(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Of the nodes, (n,), the sums over the edges of their triangles (m, 3) of weight times length squared over 4."""
    areas = np.zeros(len(points))
    for c in range(len(cells)):
        for k in range(3):
            i, j = cells[c, (k + 1) % 3], cells[c, (k + 2) % 3]
            cotangent, square = _opposite(points, cells[c, k], i, j)
            areas[i] += cotangent * square / 8
            areas[j] += cotangent * square / 8
    return areas


@compiled
def _opposite(points: np.ndarray, node: int, first: int, second: int) -> tuple[float, float]:
    """The cotangent of the angle at a node of a triangle, and the square of the length of the side opposite to it."""
    ax, ay = points[first, 0] - points[node, 0], points[first, 1] - points[node, 1]
    bx, by = points[second, 0] - points[node, 0], points[second, 1] - points[node, 1]
    return (ax * bx + ay * by) / abs(ax * by - ay * bx), (bx - ax) ** 2 + (by - ay) ** 2
