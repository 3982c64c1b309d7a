"""Meshes that follow a solution: where to refine, and when.

The error of linear interpolation in the middle of an edge from x_i to x_j is estimated with gradients g that are
recovered at the nodes (averages over their triangles, weighted by area; Zienkiewicz and Zhu 1987):

    e_ij = (g_i - g_j) . (x_j - x_i) / 8,

which is also what cubic Hermite interpolation adds to the mean of the two values. Edges with |e| above the tolerance,
as a part of the largest value, are halved; nodes that refinement has brought are removed where all their edges are far
below it. How values move to the new mesh: `limitpde.fem.transfer`. The mesh lies over the ranks
(`limitpde.fem.patches`), and its points and cells are the same on any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from mpi4py import MPI

from limitpde.compiled import compiled
from limitpde.errors import InputError, RunError
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.ghosts import joined
from limitpde.fem.mesh import Refinement
from limitpde.fem.patches import Patch, dealt_anew
from limitpde.fem.regions import Region
from limitpde.fem.transfer import ChangedParts, add_gradients, moved, nodal_gradients
from limitpde.fem.triangulation import Edges, Triangulation
from limitpde.parallel import collected, on_all, spread
from limitpde.results.shared_array import Numbered, Stored, one_after_another

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
NOWHERE = np.empty((0, 2))
RINGS = 6
"""Of triangles that a rank borrows for a change, at first."""
TINY = float(np.finfo(float).tiny)
"""Stands for the largest value of a density that is zero, which needs nothing."""


class AdaptiveMesh:
    """A triangulation over the ranks that follows nodal values. Every method is collective.

    Args:
        patch: what this rank has of the first one.
        refinement: how fine it may become.

    Attributes:
        patch: what it has of the present one.
        changes: how often it has been changed since the start.
    """

    def __init__(self, patch: Patch, refinement: Refinement) -> None:
        self.patch, self.refinement, self.comm = patch, refinement, patch.comm
        self.changes, self._age = 0, 0

    @property
    def triangulation(self) -> Triangulation:
        """What this rank has of it. Not collective."""
        return self.patch.mesh

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """This rank's share of the points (n, 2) and of the triangles (m, 3), in their order. Not collective."""
        patch, cells = self.patch, self.patch.mesh.cells
        return patch.mesh.points[patch.own], patch.number[cells[patch.first_here(cells)]]

    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends (s, 2) and group (s,) of the edges of the boundary, on every rank."""
        patch, boundary = self.patch, self.patch.mesh.boundary
        here = patch.first_here(boundary.ends)
        found = joined(self.comm, np.column_stack([patch.number[boundary.ends[here]], boundary.group[here]]))
        found = found[np.lexsort(found.T)]
        return found[:, :2], found[:, 2]

    def resolve(self, densities: Callable[[np.ndarray], np.ndarray], drawn: np.ndarray = NOWHERE) -> None:
        """Refine until the tolerance is met for known densities.

        Args:
            densities: their values at points, (n, 2) -> (n, S).
            drawn: (k, 2) points drawn from the densities, so that none of them hides between the nodes.
        """

        def at(points: np.ndarray) -> np.ndarray:
            return on_all(self.comm, lambda: densities(points))

        at_drawn = at(drawn)

        def chosen(region: Region, _: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
            here, edges = region.mesh, region.edges
            values, middle = at(here.points), at(here.points[edges.ends].mean(axis=1))
            missed = np.abs(middle - values[edges.ends].mean(axis=1))
            largest = self._largest(np.concatenate([values, middle, at_drawn]))
            slopes = region.nodes.updated(nodal_gradients(here, values))
            found = np.maximum(_estimates(here.points, edges.ends, slopes), missed)
            inside, cell, interpolated = _interpolated(here, values, drawn)
            for k in range(3):  # errs by no more than twice what it does on edges, unless something hides there
                np.maximum.at(found, edges.of_cells[cell, k], GOAL * np.abs(at_drawn[inside] - interpolated))
            marked = self._splittable(region, (found > GOAL * self.refinement.tolerance * largest).any(axis=1))
            return (marked, np.zeros(len(here.points), dtype=bool)) if region.nodes.any(marked.any()) else None

        while self._changed(chosen, np.empty((len(self.patch.number), 0))) is not None:
            pass

    def follow(
        self, graph: EdgeGraph, numbers: np.ndarray, watched: list[np.ndarray], others: list[np.ndarray]
    ) -> np.ndarray | None:
        """Change the mesh where densities need it.

        Args:
            graph: the present mesh.
            numbers: (n_local,) its nodes' numbers in the triangulation.
            watched: densities (n_local,) that must be resolved.
            others: what else is to be moved to the new mesh, likewise.

        Returns:
            None if the mesh stays as it is; else the values of all of them on the new one, (n, columns), as
            `limitpde.parallel.spread` puts those of all its nodes.

        Raises:
            RunError: the mesh would need too many nodes, or cannot be refined.
        """
        self._age += 1
        refining = self._largest_error(graph, watched) > self.refinement.tolerance
        if not refining and self._age < PATIENCE:
            return None
        columns = np.stack([values[: graph.owned] for values in (*watched, *others)], axis=1)
        _, part = spread(self.comm, numbers[: graph.owned], columns, self.patch.total)
        nodal = collected(self.comm, self.patch.number, part, self.patch.total)
        found = self._follow(nodal, len(watched), refining=refining)
        self._age = 0
        if found is None:
            return None
        self.changes += 1
        own = self.patch.own
        return spread(self.comm, self.patch.number[own], found[own], self.patch.total)[1]

    def _follow(self, nodal: np.ndarray, watched: int, *, refining: bool) -> np.ndarray | None:
        tolerance, first = self.refinement.tolerance, True

        def chosen(region: Region, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
            here, edges = region.mesh, region.edges
            largest = np.maximum(self._largest(region.values[:, :watched]), TINY)
            error = (_estimates(here.points, edges.ends, gradients[:, :watched]) / largest).max(axis=1, initial=0.0)
            marked = self._splittable(region, error > GOAL * tolerance)
            removed = np.zeros(len(here.points), dtype=bool)
            if not first:
                return (marked, removed) if region.nodes.any(marked.any()) else None
            highest = np.zeros(len(here.points))  # what is refined is not coarsened at once
            for end in edges.ends.T:
                np.maximum.at(highest, end, np.where(marked, np.inf, error))
            removed = here.removable(edges, highest < SPARE * tolerance, region.nodes)
            count = self.comm.allreduce(int(removed[region.own].sum()))
            return (marked, removed) if refining or count >= WORTHWHILE * self.patch.total else None

        while True:
            found = self._changed(chosen, nodal)
            if found is None:
                return None if first else nodal
            nodal, same = found
            if same:  # the boundary needs all that were to be removed
                return None
            first = False

    def _changed(
        self,
        chosen: Callable[[Region, np.ndarray], tuple[np.ndarray, np.ndarray] | None],
        nodal: np.ndarray,
    ) -> tuple[np.ndarray, bool] | None:
        """Halve edges and remove nodes that are chosen for a region, as masks (e,) and (n,); None if there are none.

        Returns:
            The nodal values (n, columns) on the new mesh, and whether its nodes are those of the old one.

        Raises:
            RunError: see `follow`.
        """
        rings = RINGS
        while True:
            region = Region(self.patch, rings, nodal)
            gradients = region.nodes.updated(nodal_gradients(region.mesh, region.values))
            choice = chosen(region, gradients)
            if choice is None:
                return None
            self._check_count(region, choice[0])
            found = region.changed(*choice)
            if found is not None:
                break
            rings *= 2
        new, change = found
        values = np.empty((len(new.points), nodal.shape[1]))
        if nodal.shape[1]:
            values = moved(new, change, region.values, gradients, self._largest(region.values))
            owner, name = region.names(change)
            owner = np.concatenate([region.owner, owner[len(change.kept) :]])
            name = np.concatenate([region.number, name[len(change.kept) :]])
            edges = region.edges, Edges.of(new.cells)
            parts = ChangedParts(self.comm, region.mesh, new, edges, change.kept, owner, name)
            values = parts.with_mass_of(region.values, values)
        same = not region.nodes.any(region.differs(change))
        self.patch, nodal = region.left(new, change, values)
        return nodal, same

    def _check_count(self, region: Region, marked: np.ndarray) -> None:
        if self.patch.total + self.comm.allreduce(int(marked[region.sides.own].sum())) > MOST_NODES:
            raise RunError(
                f"the mesh would need more than {MOST_NODES} nodes for pde.refinement.tolerance = "
                f"{self.refinement.tolerance:g}; take a larger one, or a larger smallest_cell"
            )

    def _largest(self, values: np.ndarray) -> np.ndarray:
        """Of the columns of values (k, S) on all ranks, (S,)."""
        found = values.max(axis=0, initial=-np.inf)
        self.comm.Allreduce(MPI.IN_PLACE, found, op=MPI.MAX)
        return found

    def _splittable(self, region: Region, wanted: np.ndarray) -> np.ndarray:
        """The wanted edges that are long enough, with those that must be halved for the shape of the cells."""
        mesh, edges = region.mesh, region.edges
        long = mesh.length(edges) >= 2 * self.refinement.smallest_cell
        return mesh.shapely(edges, wanted & long, region.sides)

    def _largest_error(self, graph: EdgeGraph, densities: list[np.ndarray]) -> float:
        """Over all edges that may be halved, as a part of the largest value."""
        largest = 0.0
        for values in densities:
            sums = np.zeros((3, graph.local))
            add_gradients(graph.points, graph.cells, values, sums)
            x, y, area = (graph.share_sum(part) for part in sums)
            error = _largest(
                graph.points, graph.tail, graph.head, x / area, y / area, 2 * self.refinement.smallest_cell
            )
            largest = max(largest, error / max(graph.sums.maximum(values), TINY))
        return self.comm.allreduce(largest, op=MPI.MAX)

    def state(self) -> dict[str, np.ndarray | Numbered]:
        """What `restore` needs to go on from here: rows of all ranks, and "counts"."""
        patch, mesh = self.patch, self.patch.mesh
        cells, lines = (rows[patch.first_here(rows)] for rows in (mesh.cells, mesh.boundary.ends))
        rows = {
            "points": mesh.points[patch.own],
            "level": mesh.level[patch.own],
            "needed": mesh.needed[patch.own],
            "cells": patch.number[cells],
            "ends": patch.number[lines],
            "group": mesh.boundary.group[patch.first_here(mesh.boundary.ends)],
        }
        found = {name: one_after_another(self.comm, array) for name, array in rows.items()}
        return {**found, "counts": np.array([self.changes, self._age])}

    def restore(self, counts: np.ndarray, state: Mapping[str, Stored]) -> None:
        """Go on from a `state`.

        Raises:
            InputError: it is that of a mesh whose nodes are in another order.
        """
        self.changes, self._age = map(int, counts)
        found = {name: stored.part() for name, stored in state.items()}
        rows = np.column_stack([found["points"], found["level"], found["needed"]])
        edges = np.column_stack([found["ends"], found["group"]])
        self.patch, number = dealt_anew(self.comm, rows, found["cells"], edges, self.patch.mesh.boundary.circle)
        if self.comm.allreduce(bool((number != self.patch.number).any()), op=MPI.LOR):
            raise InputError("the state holds a mesh of an earlier version; run again without --resume")


def _interpolated(
    triangulation: Triangulation, values: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of the points (k, 2) lie inside, in which triangles, and values (n, S) interpolated linearly there."""
    from matplotlib import tri

    if not len(triangulation.cells) or not len(points):
        none = np.zeros(0, dtype=np.int64)
        return none, none, values[:0]
    flat = tri.Triangulation(*triangulation.points.T, triangulation.cells)
    cell = np.asarray(flat.get_trifinder()(*points.T))
    inside = np.flatnonzero(cell >= 0)
    corners = triangulation.cells[cell[inside]]
    origin, first, second = np.moveaxis(triangulation.points[corners], 1, 0)
    sides = np.stack([first - origin, second - origin], axis=2)
    shares = np.linalg.solve(sides, (points[inside] - origin)[:, :, None])[:, :, 0]
    weights = np.column_stack([1 - shares.sum(axis=1), shares])
    return inside, cell[inside], np.einsum("ki,kis->ks", weights, values[corners])


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
