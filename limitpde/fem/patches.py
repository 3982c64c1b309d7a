"""Triangulations over the ranks: each holds the triangles around its own nodes, and borrows more to change them.

Nodes are numbered along Morton's curve through their bounding box, and each rank owns as many of them, one after
another, as the others. So numbers are the same on any number of ranks. A rank holds all triangles around its nodes, its
`Patch`. For a change it borrows some rings of triangles around these and changes the whole on its own
(`limitpde.fem.regions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from mpi4py import MPI

from limitpde.compiled import compiled
from limitpde.errors import InputError
from limitpde.fem import flips
from limitpde.fem.ghosts import Ghosts, exchanged, joined
from limitpde.fem.plane import fitted_circle
from limitpde.fem.triangulation import Boundary, Circle, Triangulation, touching
from limitpde.parallel import before, collected, counts

COORDINATES, LEVEL, NEEDED, STATE = slice(0, 2), 2, 3, 4
"""Columns of what is known of a node: its coordinates, its level, whether it is needed; their number."""
FINEST = 1 << 31
"""Parts of the bounding box in each direction that Morton's curve tells apart."""


@dataclass(frozen=True, slots=True)
class MeshPiece:
    """Triangles by the names of their nodes: integers that are the same on all ranks."""

    name: np.ndarray
    """(n,) of the nodes."""
    rows: np.ndarray
    """(n, STATE + columns) their state, and what else is known of them."""
    cells: np.ndarray
    """(m, 3) names."""
    boundary: np.ndarray
    """(s, 3) the names of the ends of edges of the boundary, the domain on the left, and their group."""

    def sent(self, comm: MPI.Comm, places: tuple[np.ndarray, ...], to: tuple[np.ndarray, ...]) -> MeshPiece:
        """What comes when rows of nodes, cells and boundary, with these places in them, go to ranks. Collective."""
        found = []
        for table, place, goal in zip((self.name, self.rows, self.cells, self.boundary), places, to, strict=True):
            order = np.argsort(goal, kind="stable")
            found.append(exchanged(comm, table[place[order]], np.bincount(goal, minlength=comm.size))[0])
        return MeshPiece(*found)

    @classmethod
    def joined(cls, parts: list[MeshPiece]) -> Self:
        """All of them, one after another."""
        tables = zip(*((part.name, part.rows, part.cells, part.boundary) for part in parts), strict=True)
        return cls(*map(np.concatenate, tables))


@dataclass(frozen=True, slots=True)
class Patch:
    """The triangles around the nodes of this rank."""

    comm: MPI.Comm
    mesh: Triangulation
    """Of these; of the boundary it has the edges that touch nodes of this rank."""
    number: np.ndarray
    """(n,) of its nodes among all, rising."""
    owner: np.ndarray
    """(n,) rank to which each belongs."""
    total: int
    """Nodes of all ranks."""

    @property
    def own(self) -> np.ndarray:
        """Nodes of this rank, (n,) bool."""
        return np.asarray(self.owner == self.comm.rank)

    def first_here(self, nodes: np.ndarray) -> np.ndarray:
        """Which rows of nodes (k, ...), known to all their owners, are to count on this rank, (k,) bool."""
        return np.asarray(self.own[nodes[np.arange(len(nodes)), self.number[nodes].argmin(axis=1)]])

    def rounded(self) -> Patch:
        """The same with a boundary that is to stay a circle. Collective.

        Raises:
            InputError: it is none.
        """
        ends = self.mesh.boundary.ends[self.own[self.mesh.boundary.ends[:, 0]], 0]
        points = joined(self.comm, self.mesh.points[np.sort(ends)])
        boundary = replace(self.mesh.boundary, circle=fitted_circle(points))
        return replace(self, mesh=replace(self.mesh, boundary=boundary))

    def part(self, cells: np.ndarray, boundary: np.ndarray) -> MeshPiece:
        """Some of its triangles, (m,) bool, and of its edges of the boundary, (s,) bool, with their nodes."""
        mesh, ends = self.mesh, self.mesh.boundary.ends[boundary]
        nodes = np.zeros(len(self.number), dtype=bool)
        nodes[mesh.cells[cells]] = nodes[ends] = True
        edges = np.column_stack([self.number[ends], mesh.boundary.group[boundary]])
        return MeshPiece(self.number[nodes], state_of(mesh)[nodes], self.number[mesh.cells[cells]], edges)

    def grown(self, rings: int) -> Patch:
        """With so many more rings of triangles; the nodes of the last one are the rim of its mesh. Collective."""
        if self.comm.size == 1:
            return self
        mesh, ringed = self.mesh, np.zeros(0, dtype=np.int64)
        parts = [self.part(np.ones(len(mesh.cells), dtype=bool), np.ones(len(mesh.boundary.ends), dtype=bool))]
        starts = np.concatenate([[0], np.cumsum(counts(self.comm, int(self.own.sum())))])
        asked = self.number[~self.own]
        for _ in range(rings):
            parts.append(self._around(asked, np.searchsorted(starts, asked, side="right") - 1))
            asked = np.setdiff1d(parts[-1].name, ringed)  # few, beside the nodes of the patch
            place = np.minimum(np.searchsorted(self.number, asked), max(len(self.number) - 1, 0))
            asked = asked[self.number[place] != asked] if len(asked) else asked
            ringed = np.concatenate([ringed, asked])
        found = MeshPiece.joined(parts)
        number, place = np.unique(found.name, return_index=True)
        edges, first = np.unique(found.boundary[:, :2], axis=0, return_index=True)
        boundary = replace(mesh.boundary, ends=np.searchsorted(number, edges), group=found.boundary[first, 2])
        cells = sorted_cells(np.searchsorted(number, found.cells))
        here = triangulation(found.rows[place], cells, boundary)
        rim = np.zeros(len(number), dtype=bool)
        rim[np.searchsorted(number, asked)] = True
        here = replace(here, rim=rim)
        return replace(self, mesh=here, number=number, owner=np.searchsorted(starts, number, side="right") - 1)

    def _around(self, number: np.ndarray, owner: np.ndarray) -> MeshPiece:
        """All triangles around nodes of other ranks. Collective."""
        comm, mesh = self.comm, self.mesh
        asked, coming = exchanged(comm, number, np.bincount(owner, minlength=comm.size))
        parts, sizes = [], np.zeros((4, comm.size), dtype=np.int64)
        starts = np.cumsum(coming) - coming
        for rank in np.flatnonzero(coming):
            nodes = np.zeros(len(self.number), dtype=bool)
            nodes[np.searchsorted(self.number, asked[starts[rank] : starts[rank] + coming[rank]])] = True
            part = self.part(touching(mesh.cells, nodes), touching(mesh.boundary.ends, nodes))
            parts.append(part)
            sizes[:, rank] = len(part.name), len(part.name), len(part.cells), len(part.boundary)
        none = self.part(np.zeros(len(mesh.cells), dtype=bool), np.zeros(len(mesh.boundary.ends), dtype=bool))
        found = MeshPiece.joined([*parts, none])
        goals = tuple(np.repeat(np.arange(comm.size), size) for size in sizes)
        return found.sent(comm, tuple(np.arange(len(goal)) for goal in goals), goals)


def dealt(
    comm: MPI.Comm, part: MeshPiece, nodes: np.ndarray, cells: np.ndarray, circle: Circle | None
) -> tuple[Patch, np.ndarray]:
    """The patches of a triangulation that lies in parts over the ranks. Collective.

    Args:
        comm: the ranks.
        part: that of this rank, triangles with the inside on the left. Its edges of the boundary are on no other rank.
        nodes: (n,) bool, for which it says what is known; each node has to be among those of a rank with its triangles.
        cells: (m,) bool, triangles that are not on other ranks or do not count there.
        circle: on which the boundary lies, if it is round.

    Returns:
        The patch of this rank; and what else is known of its nodes, (n, columns).
    """
    points, order = part.rows[:, COORDINATES], np.argsort(part.name)
    low = _extreme(comm, points, MPI.MIN)
    size = float((_extreme(comm, points, MPI.MAX) - low).max())
    key = _morton(points, low, size)
    splitters, got = _splitters(comm, np.sort(key[nodes])), part
    if comm.size > 1:
        to = np.searchsorted(splitters, key, side="right")
        corners, ends = (order[np.searchsorted(part.name[order], rows)] for rows in (part.cells, part.boundary[:, :2]))
        node, rank = _wanted(corners, to, nodes)
        cell, of_cell = _goals(to[corners])
        cell, of_cell = cell[cells[cell]], of_cell[cells[cell]]
        edge, of_edge = _goals(to[ends])
        got = part.sent(comm, (node, node, cell, edge), (rank, rank, of_cell, of_edge))
    name, first = np.unique(got.name, return_index=True)
    rows = got.rows[first]
    key = _morton(rows[:, COORDINATES], low, size)
    order = np.argsort(key, kind="stable")
    if (np.diff(key[order]) == 0).any():  # nodes that Morton's curve does not tell apart
        order = np.lexsort((name, rows[:, 1], rows[:, 0], key))
    owner, place = np.searchsorted(splitters, key[order], side="right"), np.empty(len(name), dtype=np.int64)
    place[order] = np.arange(len(name))
    own = owner == comm.rank
    number = np.where(own, np.cumsum(own) - 1 + before(comm, int(own.sum())), -1)
    number = Ghosts(comm, owner, name[order]).updated(number)
    boundary = Boundary(place[np.searchsorted(name, got.boundary[:, :2])], got.boundary[:, 2], circle)
    mesh = triangulation(rows[order], sorted_cells(place[np.searchsorted(name, got.cells)]), boundary)
    return Patch(comm, mesh, number, owner, comm.allreduce(int(own.sum()))), rows[order, STATE:]


def dealt_anew(
    comm: MPI.Comm, rows: np.ndarray, cells: np.ndarray, boundary: np.ndarray, circle: Circle | None
) -> tuple[Patch, np.ndarray]:
    """The patches of a triangulation whose rows lie in equal parts over the ranks, in their order. Collective.

    Args:
        comm: the ranks.
        rows: (n, STATE) what is known of the nodes of this rank's part.
        cells: (m, 3) nodes of some triangles, insides on any side, by their numbers among all.
        boundary: (s, 3) the same of some edges of the boundary, with their groups.
        circle: on which the boundary lies, if it is round.

    Returns:
        The patch of this rank, and which numbers its nodes had.
    """
    total = comm.allreduce(len(rows))
    name = np.unique(np.concatenate([cells.ravel(), boundary[:, :2].ravel()]))
    known = np.column_stack([collected(comm, name, rows, total), name])
    cells = name[flips.turned(known[:, COORDINATES], np.searchsorted(name, cells))]
    part = MeshPiece(name, known, cells, boundary)
    patch, number = dealt(comm, part, np.ones(len(name), dtype=bool), np.ones(len(cells), dtype=bool), circle)
    return patch, number[:, 0].astype(np.int64)


def first_patch(
    comm: MPI.Comm, points: np.ndarray, cells: np.ndarray, lines: tuple[np.ndarray, np.ndarray] | None
) -> Patch:
    """The patches of a triangulation that has not been refined, all of whose nodes are in triangles. Collective.

    Args:
        comm: the ranks.
        points: (n, 2) the equal part of this rank.
        cells: (m, 3) some of the triangles, by the numbers of all points.
        lines: ends (k, 2) of all lines of the boundary that are in groups, by these numbers, and their group (k,).

    Raises:
        InputError: lines lie elsewhere than on the boundary.
    """
    rows = np.column_stack([points, np.zeros((len(points), STATE - 2))])
    patch, number = dealt_anew(comm, rows, cells, np.empty((0, 3), dtype=np.int64), None)
    boundary = Boundary.of(patch.mesh.points, patch.mesh.cells)
    boundary = boundary.at(touching(boundary.ends, patch.own))
    if lines is not None:
        group = replace(boundary, ends=number[boundary.ends]).grouped(*lines).group
        boundary = replace(boundary, group=group)
        count = comm.allreduce(int((group >= 0)[patch.first_here(boundary.ends)].sum()))
        if count != len(np.unique(np.sort(lines[0], axis=1), axis=0)):
            raise InputError("refinement: the lines of pde.boundary must lie on the boundary of the mesh")
    return replace(patch, mesh=replace(patch.mesh, boundary=boundary))


def state_of(mesh: Triangulation) -> np.ndarray:
    """What is known of its nodes, (n, STATE)."""
    return np.column_stack([mesh.points, mesh.level, mesh.needed])


def triangulation(rows: np.ndarray, cells: np.ndarray, boundary: Boundary) -> Triangulation:
    """That of nodes of which this is known, (n, STATE or more)."""
    level, needed = rows[:, LEVEL].astype(np.int64), rows[:, NEEDED] > 0
    return Triangulation(np.ascontiguousarray(rows[:, COORDINATES]), cells, level, boundary, needed)


def sorted_cells(cells: np.ndarray) -> np.ndarray:
    """Triangles (m, 3), each once and with its first node first, in order: so that sums do not depend on the ranks."""
    cells, key = _first_first(np.ascontiguousarray(cells))
    return cells[np.unique(key, return_index=True)[1]]


@compiled
def _first_first(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (m, 3) turned so that their first node is first, and a number for each (m,)."""
    turned, key = np.empty_like(cells), np.empty(len(cells), dtype=np.int64)
    for c in range(len(cells)):
        i, j, k = cells[c]
        while i > j or i > k:
            i, j, k = j, k, i
        turned[c] = i, j, k
        key[c] = (i << 42) | (j << 21) | k  # nodes of a rank have numbers below 2^21
    return turned, key


def _wanted(corners: np.ndarray, to: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Given nodes (n,) bool and ranks, each pair once, to which triangles (m, 3) with them go, as their corners do."""
    first, second, third = to[corners].T
    mixed = corners[(first != second) | (first != third)]
    node, rank = (np.concatenate([mixed[:, k] for k in order]) for order in ((0, 1, 2, 0, 1, 2), (1, 2, 0, 2, 0, 1)))
    pairs = np.unique(np.column_stack([node, to[rank]])[to[rank] != to[node]], axis=0)
    pairs = np.concatenate([np.column_stack([np.arange(len(to)), to]), pairs])
    return tuple(pairs[given[pairs[:, 0]]].T)


def _goals(to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ranks (m, k), and ranks, each pair once."""
    rows, ranks = [], []
    for k in range(to.shape[1]):
        new = np.flatnonzero((to[:, :k] != to[:, k : k + 1]).all(axis=1))
        rows.append(new)
        ranks.append(to[new, k])
    return np.concatenate(rows), np.concatenate(ranks)


def _extreme(comm: MPI.Comm, points: np.ndarray, op: MPI.Op) -> np.ndarray:
    """The smallest or the largest coordinates (2,) of all ranks. Collective."""
    none = np.full((1, 2), np.inf if op == MPI.MIN else -np.inf)
    found = np.concatenate([points, none])
    found = found.min(axis=0) if op == MPI.MIN else found.max(axis=0)
    comm.Allreduce(MPI.IN_PLACE, found, op=op)
    return found


def _splitters(comm: MPI.Comm, keys: np.ndarray) -> np.ndarray:
    """Numbers (ranks - 1,) that cut all keys, which each rank has sorted, into equal parts. Collective."""
    found = np.zeros(comm.size - 1, dtype=np.int64)
    goals = np.arange(1, comm.size) * comm.allreduce(len(keys)) // comm.size
    for bit in reversed(range(2 * (FINEST.bit_length() - 1) if len(found) else 0)):
        trial = found | (1 << bit)
        below = np.searchsorted(keys, trial)
        comm.Allreduce(MPI.IN_PLACE, below)
        found = np.where(below <= goals, trial, found)
    return found


@compiled
def _morton(points: np.ndarray, low: np.ndarray, size: float) -> np.ndarray:
    """Places of points (n, 2) on Morton's curve through a square, (n,)."""
    found = np.empty(len(points), dtype=np.int64)
    for n in range(len(points)):
        key = 0
        for d in range(2):
            bits = min(max(int((points[n, d] - low[d]) / size * FINEST), 0), FINEST - 1)
            for shift, mask in (
                (16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F),
                (2, 0x3333333333333333), (1, 0x5555555555555555),
            ):  # fmt: skip
                bits = (bits | (bits << shift)) & mask
            key |= bits << (1 - d)
        found[n] = key
    return found
