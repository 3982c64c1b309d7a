"""Meshes of several kinds on any number of ranks, and nodal values on them that do not depend on that number."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import basix.ufl
import dolfinx.fem
import dolfinx.fem.petsc
import dolfinx.graph
import dolfinx.mesh
import numpy as np

from limitpde.fem import mesh as meshes
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.mesh import Disk

HEXAGON = Disk(radius=1.0, cell_size=1.0)  # 6 triangles: on 3 ranks each has 2 of them
EPS = np.finfo(float).eps


def create(comm, points, cells, partitioner=None) -> dolfinx.mesh.Mesh:
    """A mesh of triangles that rank 0 knows."""
    here = comm.rank == 0
    points = np.array(points, dtype=float) if here else np.empty((0, 2))
    cells = np.array(cells, dtype=np.int64) if here else np.empty((0, 3), dtype=np.int64)
    element = basix.ufl.element("Lagrange", "triangle", 1, shape=(2,))
    return dolfinx.mesh.create_mesh(comm, cells, e=element, x=points, partitioner=partitioner)


def all_to_the_last(comm, parts, types, cells):
    """Partitioner that leaves every rank but one without cells and nodes."""
    count = len(cells[0]) // 3
    table = dolfinx.graph.adjacencylist(np.full(count, parts - 1, dtype=np.int32), np.arange(count + 1, dtype=np.int32))
    return getattr(table, "_cpp_object", table)  # DOLFINx 0.9 has no other object


def with_ghosts():
    """Partitioner that gives a rank the cells of others behind its facets."""
    cells_of_a_facet = () if dolfinx.__version__.startswith("0.9") else (2,)
    return dolfinx.mesh.create_cell_partitioner(dolfinx.mesh.GhostMode.shared_facet, *cells_of_a_facet)


def triangulated(disk: Disk):
    return disk.cells(2)


def mesh_of(comm, kind: str) -> dolfinx.mesh.Mesh:
    match kind:
        case "hexagon":
            return meshes.build(HEXAGON, comm)
        case "disk":
            return meshes.build(Disk(radius=2.0, cell_size=0.25, center=(0.4, -0.3)), comm)
        case "square":
            return dolfinx.mesh.create_unit_square(comm, 5, 4)
        case "ghosts":
            return create(comm, *triangulated(Disk(radius=2.0, cell_size=0.25)), partitioner=with_ghosts())
        case "one rank":
            return create(comm, *triangulated(Disk(radius=1.0, cell_size=0.25)), partitioner=all_to_the_last)
    raise AssertionError(kind)


KINDS = ["hexagon", "disk", "square", "ghosts", "one rank"]


def everywhere(graph: EdgeGraph, *values: np.ndarray) -> list[np.ndarray]:
    """Points and nodal values of all ranks, on every rank, in an order that does not depend on their number."""
    own = [graph.points[: graph.owned], *(v[: graph.owned] for v in values)]
    table = np.concatenate(graph.comm.allgather(np.column_stack(own)))
    table = table[np.lexsort(np.round(table[:, :2], 9).T)]
    return [table[:, :2], *table[:, 2:].T]


def wiggle(graph: EdgeGraph, k: float = 1.0) -> np.ndarray:
    """Nodal values of mixed signs, the same for any number of ranks."""
    x, y = graph.points.T
    return np.sin(37.0 * k * x + 11.0 * y) + np.cos(23.0 * k * y - 5.0 * x) + 0.1
