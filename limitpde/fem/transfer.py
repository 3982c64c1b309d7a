"""How nodal values move from one mesh to the next (`limitpde.fem.refinement`), with the mass of each part that changes.

Values move by Hermite interpolation, not below half the smaller and not above the largest of the old ones. Then each
connected part of the mesh that has changed is multiplied by the one number that gives it the mass which the old mesh
had there: sum_i m_i rho_i is conserved, part by part, no value becomes negative, and others stay as they are.
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from limitpde.compiled import compiled
from limitpde.fem.ghosts import Ghosts, joined
from limitpde.fem.triangulation import Change, Edges, Triangulation, touching
from limitpde.parallel import before

SAME = 1e-10
"""Difference up to which two weights of an edge are the same."""


def nodal_gradients(triangulation: Triangulation, values: np.ndarray) -> np.ndarray:
    """Recovered gradients at the nodes, (n, S, 2), of nodal values (n, S)."""
    found = np.empty((*values.shape, 2))
    for s, column in enumerate(np.ascontiguousarray(values.T)):
        sums = np.zeros((3, len(values)))
        add_gradients(triangulation.points, triangulation.cells, column, sums)
        found[:, s] = (sums[:2] / sums[2]).T
    return found


def moved(
    new: Triangulation, change: Change, values: np.ndarray, gradients: np.ndarray, largest: np.ndarray
) -> np.ndarray:
    """Values >= 0 at the nodes of a new triangulation, (n_new, S), without regard to mass.

    Args:
        new: the triangulation.
        change: what became of the nodes of the old one.
        values: (n_old, S) there.
        gradients: (n_old, S, 2) recovered from them.
        largest: (S,) what no value is to exceed.
    """
    found, slope = values[change.kept], gradients[change.kept]
    for ends in change.born:
        a, b = ends.T
        along = new.points[b] - new.points[a]
        lift = np.einsum("esd,ed->es", slope[a] - slope[b], along) / 8
        middle = np.clip((found[a] + found[b]) / 2 + lift, np.minimum(found[a], found[b]) / 2, largest)
        found = np.concatenate([found, middle])
        slope = np.concatenate([slope, (slope[a] + slope[b]) / 2])
    return found


class ChangedParts:
    """The connected parts of a mesh that a change has changed. Collective.

    Args:
        comm: the ranks.
        old, new: the mesh before and after it.
        edges: those of both.
        kept: (k,) which of the old nodes are the first of the new ones.
        owner, name: (n_old + n_new - k,) of the old nodes, then of those that were born; None on a single rank.
    """

    def __init__(
        self,
        comm: MPI.Comm,
        old: Triangulation,
        new: Triangulation,
        edges: tuple[Edges, Edges],
        kept: np.ndarray,
        owner: np.ndarray | None = None,
        name: np.ndarray | None = None,
    ) -> None:
        count = len(old.points) + len(new.points) - len(kept)  # old nodes first, then those that were born
        self.comm, self.own = comm, np.ones(count, dtype=bool) if owner is None else owner == comm.rank
        self.number = np.concatenate([kept, np.arange(len(old.points), count)])
        self.areas = old.areas(), new.areas()
        links = edges[0].ends, self.number[edges[1].ends]  # both in lexical order, as numbers keep theirs
        differ = _differing(*links, old.weights(edges[0]), new.weights(edges[1]))
        changed, near = np.zeros(count, dtype=bool), self.own.copy()  # nodes whose Voronoi cells have other faces
        for ends, differs in zip(links, differ, strict=True):
            changed[ends[differs]] = True
            near[ends[touching(ends, self.own)]] = True
        place = np.flatnonzero(near)
        shared = Ghosts.none(count)
        if owner is not None and name is not None:
            shared = Ghosts(comm, owner[place], name[place])
        changed &= near
        changed[place] = shared.updated(changed[place])
        known = [ends[touching(ends, self.own) & ~touching(ends, ~changed)] for ends in links]
        pairs = np.concatenate(known)
        graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(count, count))
        _, part = connected_components(graph, directed=False)
        self.part, self.parts, self.changed = part, int(part.max(initial=-1)) + 1, changed
        self._join(place[changed[place]], changed[place], shared)

    def _join(self, place: np.ndarray, changed: np.ndarray, shared: Ghosts) -> None:
        """Find which parts of this rank belong to one with those of others. Collective."""
        self._linked, self._groups = np.zeros(0, dtype=np.int64), 0
        self._group: np.ndarray = np.zeros(0, dtype=np.int64)
        if self.comm.size == 1:
            return
        first = before(self.comm, self.parts)
        mine = np.full(len(changed), -1)
        mine[changed] = first + self.part[place]
        both = np.column_stack([mine, shared.updated(mine)])[changed]
        links = joined(self.comm, np.unique(both[both[:, 0] != both[:, 1]], axis=0))
        labels, compact = np.unique(links, return_inverse=True)
        compact = compact.reshape(-1, 2)
        graph = coo_array((np.ones(len(compact)), compact.T), shape=(len(labels), len(labels)))
        self._groups, group = connected_components(graph, directed=False)
        here = (labels >= first) & (labels < first + self.parts)
        self._linked, self._group = labels[here] - first, group[here].astype(np.int64)

    def _sums(self, part: np.ndarray, weights: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Of weights of this rank's nodes over each part, (parts,), those of other ranks included. Collective."""
        sums = np.bincount(part[own], weights[own], self.parts).astype(float)
        if self.comm.size > 1:
            whole = np.bincount(self._group, sums[self._linked], self._groups).astype(float)  # of nothing it is int
            self.comm.Allreduce(MPI.IN_PLACE, whole)
            sums[self._linked] = whole[self._group]
        return sums

    def with_mass_of(self, values: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """The moved values (n_new, S), with the mass of the old ones (n_old, S) on each part; right for own nodes.

        Collective.
        """
        old, new = self.part[: len(values)], self.part[self.number]
        own_old, own_new = self.own[: len(values)], self.own[self.number]
        result, here = moved.copy(), self.changed[self.number]
        area = self._sums(new, self.areas[1], own_new)
        for s in range(values.shape[1]):
            wanted = self._sums(old, self.areas[0] * values[:, s], own_old)
            found = self._sums(new, self.areas[1] * moved[:, s], own_new)
            factor = np.divide(wanted, found, out=np.ones(self.parts), where=found > 0)
            extra = np.divide(np.where(found > 0, 0.0, wanted), area, out=np.zeros(self.parts), where=area > 0)
            result[here, s] = (moved[:, s] * factor[new] + extra[new])[here]
        return result


@compiled
def add_gradients(points: np.ndarray, cells: np.ndarray, values: np.ndarray, sums: np.ndarray) -> None:
    """Add twice the area of the triangles around each node, and that times their gradients, to sums (3, n): x, y, 1."""
    for c in range(len(cells)):
        i, j, k = cells[c]
        ax, ay = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
        bx, by = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1]
        first, second = values[j] - values[i], values[k] - values[i]
        cross = ax * by - ay * bx
        sign = 1.0 if cross > 0.0 else -1.0
        for node in (i, j, k):
            sums[0, node] += sign * (first * by - second * ay)
            sums[1, node] += sign * (second * ax - first * bx)
            sums[2, node] += sign * cross


@compiled
def _differing(
    first: np.ndarray, second: np.ndarray, weights: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which edges (e, 2) in lexical order of two meshes have another weight in the other one, where none has 0."""
    differ, others_differ = np.abs(weights) > SAME, np.abs(others) > SAME
    i, j = 0, 0
    while i < len(first) and j < len(second):
        here, there = (first[i, 0], first[i, 1]), (second[j, 0], second[j, 1])
        if here == there:
            differ[i] = others_differ[j] = abs(weights[i] - others[j]) > SAME
        i += here <= there
        j += there <= here
    return differ, others_differ
