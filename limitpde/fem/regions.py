"""What a rank changes of a triangulation that lies over the ranks: the triangles around its nodes, and some more.

Each rank halves edges and removes nodes in its region as if that were all there is, the same ones as its neighbours in
theirs. As there is but one Delaunay triangulation of given nodes (`limitpde.fem.flips`), all find the same one, unless
a change reaches in from where the region ends. That does not pass unseen: where any two ranks have the same triangles
at nodes of both, those of all ranks together are a triangulation each of whose edges is the right one. Where two ranks
have not, regions take twice as many rings of triangles, and at last the whole.
"""

from __future__ import annotations

import contextlib

import numpy as np

from limitpde.errors import RunError
from limitpde.fem.ghosts import Ghosts
from limitpde.fem.patches import MeshPiece, Patch, dealt, state_of
from limitpde.fem.triangulation import Change, Edges, Triangulation, mix, touching
from limitpde.parallel import on_all

BORN = 1 << 62
"""Names of nodes that a change has brought are not below this; the numbers of others are their names."""


class Region:
    """A patch and some rings of triangles around it. Collective.

    Args:
        patch: what this rank has.
        rings: how many more it borrows.
        nodal: (n, columns) values at the nodes of the patch, right where they are its own.

    Attributes:
        mesh: the triangulation.
        own: (n,) bool, nodes of this rank.
        values: (n, columns) at its nodes.
        edges: those of the mesh.
        nodes, sides: what this rank knows of nodes and edges of others.
        whole: whether no rank's region ends anywhere.
    """

    def __init__(self, patch: Patch, rings: int, nodal: np.ndarray) -> None:
        self.comm, self.patch = patch.comm, patch
        grown = patch.grown(rings)
        self.mesh, self.number, self.owner, self.own = grown.mesh, grown.number, grown.owner, grown.own
        self.edges = Edges.of(self.mesh.cells)
        self.nodes = Ghosts(self.comm, self.owner, self.number)
        tail, head = self.edges.ends.T  # the lower number first
        names = self.number[tail] * patch.total + self.number[head]
        self.sides = Ghosts(self.comm, self.owner[tail], names)
        values = np.zeros((len(self.number), nodal.shape[1]))
        values[self.own] = nodal[patch.own]
        self.values = self.nodes.updated(values)
        self.whole = not self.nodes.any(self.mesh.rim is not None and self.mesh.rim.any())

    def changed(self, marked: np.ndarray, removed: np.ndarray) -> tuple[Triangulation, Change] | None:
        """The mesh with marked edges (e,) bool halved and nodes (n,) bool removed, None if ranks differ. Collective.

        Raises:
            RunError: see `Triangulation.changed`; on every rank alike.
        """

        def change() -> tuple[Triangulation, Change]:
            return self.mesh.changed(self.edges.ends[marked], removed)

        if self.whole:
            return on_all(self.comm, change)
        found: tuple[Triangulation, Change] | None = None
        with contextlib.suppress(RunError):  # it may be that of the rim
            found = change()
        if self.nodes.any(found is None) or found is None:
            return None
        return found if self._agreed(*found) else None

    def _agreed(self, new: Triangulation, change: Change) -> bool:
        """Whether any two ranks have the same triangles at nodes of both. Collective."""
        owner, name = self.names(change)
        own = owner == self.comm.rank
        assert new.rim is not None
        cells = new.cells[touching(new.cells, own)]
        sums, to = np.zeros(self.comm.size, dtype=np.uint64), owner[cells]
        digests = mix(mix(name.astype(np.uint64))[cells].sum(axis=1))
        for k in range(3):
            new_rank = (to[:, :k] != to[:, k : k + 1]).all(axis=1)
            np.add.at(sums, to[new_rank, k], digests[new_rank])
        theirs = np.empty_like(sums)
        self.comm.Alltoall(sums, theirs)
        return not self.nodes.any((sums != theirs).any() or new.rim[own].any())

    def names(self, change: Change) -> tuple[np.ndarray, np.ndarray]:
        """Owners and names of the nodes after a change; those born belong to the owner of the end named first."""
        owner, name = self.owner[change.kept], self.number[change.kept]
        for ends in change.born:
            first, second = np.sort(name[ends], axis=1).T
            bits = mix(mix(first.astype(np.uint64)) * np.uint64(3) + second.astype(np.uint64))
            born = (bits >> np.uint64(2)).astype(np.int64) | BORN
            owners = np.where(name[ends[:, 0]] == first, owner[ends[:, 0]], owner[ends[:, 1]])
            owner, name = np.concatenate([owner, owners]), np.concatenate([name, born])
        return owner, name

    def differs(self, change: Change) -> bool:
        """Whether nodes of this rank come or go. Not collective."""
        kept, own = self.own[change.kept].sum(), self.names(change)[0] == self.comm.rank
        return bool(kept < self.own.sum() or kept < own.sum())

    def left(self, new: Triangulation, change: Change, values: np.ndarray) -> tuple[Patch, np.ndarray]:
        """The patches of the mesh after a change, and values (n, columns) at their nodes, given at those of the mesh.

        Collective.
        """
        owner, name = self.names(change)
        own = owner == self.comm.rank
        cells = new.cells[touching(new.cells, own)]
        boundary = new.boundary
        known = np.zeros(len(own), dtype=bool)
        known[cells] = True
        ends = boundary.ends[_first_own(boundary.ends, name, own)]
        group = boundary.group[_first_own(boundary.ends, name, own)]
        rows = np.column_stack([state_of(new), values])
        part = MeshPiece(name[known], rows[known], name[cells], np.column_stack([name[ends], group]))
        return dealt(self.comm, part, own[known], _first_own(cells, name, own), boundary.circle)


def _first_own(rows: np.ndarray, name: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Which rows of nodes (k, ...) have that named first among those of this rank, (k,) bool."""
    return np.asarray(own[rows[np.arange(len(rows)), name[rows].argmin(axis=1)]])
