"""Meshes that follow a solution: where to refine, when, and how nodal values move from one mesh to the next.

The error of linear interpolation in the middle of an edge from x_i to x_j is estimated with gradients g that are
recovered at the nodes (averages over their triangles, weighted by area; Zienkiewicz and Zhu 1987):

    e_ij = (g_i - g_j) . (x_j - x_i) / 8,

which is also what cubic Hermite interpolation adds to the mean of the two values. Edges with |e| above the tolerance,
as a part of the largest value, are halved; nodes that refinement has brought are removed where all their edges are far
below it. Values move by Hermite interpolation, not below half the smaller and not above the largest of the old ones.
Then each connected part of the mesh that has changed is multiplied by the one number that gives it the mass which the
old mesh had there: sum_i m_i rho_i is conserved, part by part, no value becomes negative, and others stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mpi4py import MPI
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from limitpde.compiled import compiled
from limitpde.errors import RunError
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.mesh import Refinement
from limitpde.fem.triangulation import Boundary, Change, Edges, Triangulation
from limitpde.parallel import gathered, on_root

MOST_NODES = 2_000_000
"""Nodes up to which a mesh may grow."""
GOAL = 0.5
"""What refinement brings the error to, as a part of the tolerance, so that it lasts for some steps."""
SPARE = 1 / 32
"""Part of the tolerance below which all edges of a node must be for it to go; twice as long, they are below GOAL."""
PATIENCE = 20
"""Steps after which a mesh may be coarsened."""
WORTHWHILE = 0.05
"""Part of the nodes that must be spare for that."""
SAME = 1e-10
"""Difference up to which two weights of an edge are the same."""
NOWHERE = np.empty((0, 2))
TINY = float(np.finfo(float).tiny)
"""Stands for the largest value of a density that is zero, which needs nothing."""


class AdaptiveMesh:
    """A triangulation on rank 0 that follows nodal values on all ranks.

    Args:
        triangulation: the first one, on rank 0.
        refinement: how fine it may become.
        comm: the ranks.

    Attributes:
        triangulation: the present one, on rank 0.
        changes: how often it has been changed since the start.
    """

    def __init__(self, triangulation: Triangulation | None, refinement: Refinement, comm: MPI.Comm) -> None:
        self.triangulation, self.refinement, self.comm = triangulation, refinement, comm
        self.changes, self._age = 0, 0

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 2) and triangles (m, 3). On rank 0."""
        return self._here.points, self._here.cells

    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends (s, 2) and group (s,) of the edges of the boundary, on every rank. Collective."""
        return on_root(self.comm, lambda: (self._here.boundary.ends, self._here.boundary.group))

    @property
    def _here(self) -> Triangulation:
        assert self.triangulation is not None
        return self.triangulation

    def resolve(self, densities: Callable[[np.ndarray], np.ndarray], drawn: np.ndarray = NOWHERE) -> None:
        """Refine until the tolerance is met for known densities. Collective.

        Args:
            densities: their values at points, (n, 2) -> (n, S); called on rank 0.
            drawn: (k, 2) points drawn from the densities, so that none of them hides between the nodes; on rank 0.
        """
        on_root(self.comm, lambda: self._resolve(densities, drawn))

    def _resolve(self, densities: Callable[[np.ndarray], np.ndarray], drawn: np.ndarray) -> None:
        at_drawn = densities(drawn)
        while True:
            here = self._here
            edges, values = Edges.of(here.cells), densities(here.points)
            middle = densities(here.points[edges.ends].mean(axis=1))
            missed = np.abs(middle - values[edges.ends].mean(axis=1))
            largest = np.concatenate([values, middle, at_drawn]).max(axis=0)
            found = np.maximum(self._errors(edges, nodal_gradients(here, values)), missed)
            inside, cell, interpolated = _interpolated(here, values, drawn)
            for k in range(3):  # errs by no more than twice what it does on edges, unless something hides there
                np.maximum.at(found, edges.of_cells[cell, k], GOAL * np.abs(at_drawn[inside] - interpolated))
            marked = self._splittable(edges, (found > GOAL * self.refinement.tolerance * largest).any(axis=1))
            if not marked.any():
                return
            self._change(edges, marked, np.zeros(len(here.points), dtype=bool))

    def follow(
        self, graph: EdgeGraph, numbers: np.ndarray, watched: list[np.ndarray], others: list[np.ndarray]
    ) -> np.ndarray | None:
        """Change the mesh where densities need it. Collective.

        Args:
            graph: the present mesh.
            numbers: (n_local,) its nodes' numbers in the triangulation.
            watched: densities (n_local,) that must be resolved.
            others: what else is to be moved to the new mesh, likewise.

        Returns:
            None if the mesh stays as it is; else the values of all of them on the new one, (n, columns), in the order
            of its triangulation, on every rank.

        Raises:
            RunError: the mesh would need too many nodes, or cannot be refined.
        """
        self._age += 1
        refining = self._largest_error(graph, watched) > self.refinement.tolerance
        if not refining and self._age < PATIENCE:
            return None
        columns = np.stack([values[: graph.owned] for values in (*watched, *others)], axis=1)
        nodal = gathered(self.comm, numbers[: graph.owned], columns)
        moved = on_root(self.comm, lambda: self._follow(nodal, len(watched), refining=refining))
        self._age = 0
        self.changes += moved is not None
        return moved

    def _follow(self, nodal: np.ndarray, watched: int, *, refining: bool) -> np.ndarray | None:
        tolerance, first = self.refinement.tolerance, True
        edges = Edges.of(self._here.cells)
        while True:
            here = self._here
            gradients = nodal_gradients(here, nodal)
            largest = np.maximum(nodal[:, :watched].max(axis=0), TINY)
            error = (self._errors(edges, gradients[:, :watched]) / largest).max(axis=1)
            marked = self._splittable(edges, error > GOAL * tolerance)
            removed = np.zeros(len(nodal), dtype=bool)
            if first:  # what is refined is not coarsened at once
                highest = np.zeros(len(nodal))
                for end in edges.ends.T:
                    np.maximum.at(highest, end, np.where(marked, np.inf, error))
                removed = here.removable(edges, highest < SPARE * tolerance)
                if not refining and removed.sum() < WORTHWHILE * len(nodal):
                    return None
            elif not marked.any():
                return nodal
            change, first = self._change(edges, marked, removed), False
            if not change.born and len(change.kept) == len(nodal):  # the boundary needs all that were to be removed
                return None
            before, edges = edges, Edges.of(self._here.cells)
            nodal = transferred(here, self._here, change, nodal, gradients, (before, edges))

    def _change(self, edges: Edges, marked: np.ndarray, removed: np.ndarray) -> Change:
        if len(removed) + marked.sum() > MOST_NODES:
            raise RunError(
                f"the mesh would need more than {MOST_NODES} nodes for pde.refinement.tolerance = "
                f"{self.refinement.tolerance:g}; take a larger one, or a larger smallest_cell"
            )
        self.triangulation, change = self._here.changed(edges.ends[marked], removed)
        return change

    def _errors(self, edges: Edges, gradients: np.ndarray) -> np.ndarray:
        """|e| of the edges, (e, S), with gradients (n, S, 2)."""
        return np.asarray(_estimates(self._here.points, edges.ends, gradients))

    def _splittable(self, edges: Edges, wanted: np.ndarray) -> np.ndarray:
        """The wanted edges that are long enough, with those that must be halved for the shape of the cells."""
        return self._here.shapely(edges, wanted & (self._here.length(edges) >= 2 * self.refinement.smallest_cell))

    def _largest_error(self, graph: EdgeGraph, densities: list[np.ndarray]) -> float:
        """Over all edges that may be halved, as a part of the largest value. Collective."""
        largest = 0.0
        for values in densities:
            sums = np.zeros((3, graph.local))
            _add_gradients(graph.points, graph.cells, values, sums)
            x, y, area = (graph.share_sum(part) for part in sums)
            error = _largest(
                graph.points, graph.tail, graph.head, x / area, y / area, 2 * self.refinement.smallest_cell
            )
            largest = max(largest, error / max(graph.sums.maximum(values), TINY))
        return self.comm.allreduce(largest, op=MPI.MAX)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on from here. On rank 0."""
        here = self._here
        return {
            "points": here.points,
            "cells": here.cells,
            "level": here.level,
            "needed": here.needed,
            "ends": here.boundary.ends,
            "group": here.boundary.group,
            "counts": np.array([self.changes, self._age]),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`, given on every rank."""
        self.changes, self._age = map(int, state["counts"])
        if self.triangulation is not None:
            boundary = Boundary(state["ends"], state["group"], self.triangulation.boundary.circle)
            self.triangulation = Triangulation(
                state["points"], state["cells"], state["level"], boundary, state["needed"]
            )


def _interpolated(
    triangulation: Triangulation, values: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of the points (k, 2) lie inside, in which triangles, and values (n, S) interpolated linearly there."""
    from matplotlib import tri

    flat = tri.Triangulation(*triangulation.points.T, triangulation.cells)
    cell = np.asarray(flat.get_trifinder()(*points.T))
    inside = np.flatnonzero(cell >= 0)
    corners = triangulation.cells[cell[inside]]
    origin, first, second = np.moveaxis(triangulation.points[corners], 1, 0)
    sides = np.stack([first - origin, second - origin], axis=2)
    shares = np.linalg.solve(sides, (points[inside] - origin)[:, :, None])[:, :, 0]
    weights = np.column_stack([1 - shares.sum(axis=1), shares])
    return inside, cell[inside], np.einsum("ki,kis->ks", weights, values[corners])


def nodal_gradients(triangulation: Triangulation, values: np.ndarray) -> np.ndarray:
    """Recovered gradients at the nodes, (n, S, 2), of nodal values (n, S)."""
    found = np.empty((*values.shape, 2))
    for s, column in enumerate(np.ascontiguousarray(values.T)):
        sums = np.zeros((3, len(values)))
        _add_gradients(triangulation.points, triangulation.cells, column, sums)
        found[:, s] = (sums[:2] / sums[2]).T
    return found


def transferred(
    old: Triangulation,
    new: Triangulation,
    change: Change,
    values: np.ndarray,
    gradients: np.ndarray,
    edges: tuple[Edges, Edges],
) -> np.ndarray:
    """Nodal values >= 0 on the new triangulation, (n_new, S); sum_i m_i rho_i is that of the old one.

    Args:
        old: the triangulation before the change.
        new: the one after it.
        change: what became of the nodes.
        values: (n_old, S).
        gradients: (n_old, S, 2) recovered from them.
        edges: those of both triangulations.
    """
    moved, slope, largest = values[change.kept], gradients[change.kept], values.max(axis=0)
    for ends in change.born:
        a, b = ends.T
        along = new.points[b] - new.points[a]
        lift = np.einsum("esd,ed->es", slope[a] - slope[b], along) / 8
        middle = np.clip((moved[a] + moved[b]) / 2 + lift, np.minimum(moved[a], moved[b]) / 2, largest)
        moved = np.concatenate([moved, middle])
        slope = np.concatenate([slope, (slope[a] + slope[b]) / 2])
    return _with_mass_of(old, new, change.kept, values, moved, edges)


def _with_mass_of(
    old: Triangulation,
    new: Triangulation,
    kept: np.ndarray,
    values: np.ndarray,
    moved: np.ndarray,
    edges: tuple[Edges, Edges],
) -> np.ndarray:
    """The moved values, with the mass of the old ones on each connected part of the mesh that has changed."""
    count = len(old.points) + len(new.points) - len(kept)  # old nodes first, then those that were born
    number = np.concatenate([kept, np.arange(len(old.points), count)])
    area_old, area_new = old.areas(), new.areas()
    links = edges[0].ends, number[edges[1].ends]  # both in lexical order, as numbers keep theirs
    differ = _differing(*links, old.weights(edges[0]), new.weights(edges[1]))
    changed = np.zeros(count, dtype=bool)  # nodes whose Voronoi cells have other faces
    for ends, differs in zip(links, differ, strict=True):
        changed[ends[differs]] = True
    joined = np.concatenate([ends[changed[ends].all(axis=1)] for ends in links])
    graph = coo_array((np.ones(len(joined)), joined.T), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    parts = int(part.max()) + 1
    result, here = moved.copy(), changed[number]
    for s in range(values.shape[1]):
        wanted = np.bincount(part[: len(values)], area_old * values[:, s], parts)
        found = np.bincount(part[number], area_new * moved[:, s], parts)
        factor = np.divide(wanted, found, out=np.ones(parts), where=found > 0)
        extra = np.where(found > 0, 0.0, wanted) / np.bincount(part[number], area_new, parts)
        result[here, s] = (moved[:, s] * factor[part[number]] + extra[part[number]])[here]
    return result


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


@compiled
def _add_gradients(points: np.ndarray, cells: np.ndarray, values: np.ndarray, sums: np.ndarray) -> None:
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
def _estimates(points: np.ndarray, ends: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """|e| of edges (e, 2), (e, S), of gradients (n, S, 2)."""
    found = np.empty((len(ends), gradients.shape[1]))
    for edge in range(len(ends)):
        i, j = ends[edge]
        dx, dy = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
        for s in range(gradients.shape[1]):
            turn_x, turn_y = gradients[i, s, 0] - gradients[j, s, 0], gradients[i, s, 1] - gradients[j, s, 1]
            found[edge, s] = abs(turn_x * dx + turn_y * dy) / 8
    return found


@compiled
def _largest(
    points: np.ndarray, tail: np.ndarray, head: np.ndarray, x: np.ndarray, y: np.ndarray, shortest: float
) -> float:
    """Largest |e| of this rank's edges that are not shorter than a length, of gradients (x, y)."""
    largest = 0.0
    for edge in range(len(tail)):
        i, j = tail[edge], head[edge]
        dx, dy = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
        if dx * dx + dy * dy >= shortest * shortest:
            largest = max(largest, abs((x[i] - x[j]) * dx + (y[i] - y[j]) * dy) / 8.0)
    return largest
