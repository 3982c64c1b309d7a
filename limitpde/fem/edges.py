"""The edge graph of a Delaunay triangulation, and matrices assembled from fluxes along its edges.

On first-order elements the Laplacian is a sum over edges, int grad u . grad v = sum_ij kappa_ij (u_i - u_j)(v_i - v_j)
with kappa_ij = sum of (cot of the angles opposite to the edge) / 2 = (length of the Voronoi face) / (edge length). A
triangulation is Delaunay where every kappa_ij >= 0; node i has the Voronoi area m_i = 1/4 sum_j kappa_ij |x_i - x_j|^2.
Schemes with two-point fluxes on these edges are conservative, and positive where their coefficients are.
"""

from __future__ import annotations

import dolfinx.common
import dolfinx.fem
import dolfinx.la
import dolfinx.mesh
import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from limitpde.dolfinx_versions import coordinate_map, entries_setter
from limitpde.errors import InputError
from limitpde.fem.sums import GlobalSums

FLAT = 1e-5
"""Part of the largest weight below which a negative one is zero: coordinates in single precision are off by that."""


class EdgeGraph:
    """Nodes, edges, edge weights and Voronoi areas of a triangulation. Collective.

    Each edge belongs to one rank, which adds its flux to both ends, so no work is done twice. A rank may own nothing.

    Args:
        mesh: a mesh of first-order triangles in the plane.

    Attributes:
        space: the first-order Lagrange space; nodes are numbered as its degrees of freedom on this rank.
        tail, head: (n_edges,) int32, local nodes at the ends of this rank's edges.
        weight: (n_edges,) kappa >= 0.
        beside: (n_edges,) area of the triangles at each edge.
        area: (n_local,) Voronoi areas m, ghosts up to date; they add to the area of the domain.
        points: (n_local, 2) coordinates of the nodes.
        cells: (n_cells, 3) int32, local nodes of this rank's triangles.
        boundary: (n_local,) bool, nodes on the boundary of the domain.
        owned: number of nodes this rank owns (they come first).
        sums: global sums over the nodes.

    Raises:
        InputError: the triangulation is not Delaunay (an edge weight is negative), or not of triangles.
    """

    def __init__(self, mesh: dolfinx.mesh.Mesh) -> None:
        straight = coordinate_map(mesh).degree == 1
        if mesh.topology.cell_type != dolfinx.mesh.CellType.triangle or mesh.geometry.dim != 2 or not straight:
            raise InputError("the mesh must consist of triangles in the plane, with straight edges")
        self.mesh, self.comm = mesh, mesh.comm
        self.space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1))
        self.index_map = self.space.dofmap.index_map
        self.owned, self.size = self.index_map.size_local, self.index_map.size_global
        self.local = self.owned + self.index_map.num_ghosts
        self.sums = GlobalSums(self.comm, self.owned)
        self.points = self.space.tabulate_dof_coordinates()[:, :2].copy()
        self.cells = self.space.dofmap.list[: mesh.topology.index_map(2).size_local].copy()
        self._node_vector = dolfinx.la.vector(self.index_map)
        self._forest = _forest(self.index_map, mesh.comm)
        self._set_edges()
        self._set_boundary()

    def _set_edges(self) -> None:
        topology = self.mesh.topology
        topology.create_entities(1)
        topology.create_connectivity(2, 1)
        edges = topology.index_map(1)
        per_cell = topology.connectivity(2, 1).array.reshape(-1, 3)[: len(self.cells)]
        weight, beside = dolfinx.la.vector(edges), dolfinx.la.vector(edges)
        tail = np.full(len(weight.array), -1, dtype=np.int32)
        head = np.full(len(weight.array), -1, dtype=np.int32)
        corners = self.points[self.cells]
        for k in range(3):  # edge k lies opposite to corner k
            i, j = (k + 1) % 3, (k + 2) % 3
            a, b = corners[:, i] - corners[:, k], corners[:, j] - corners[:, k]
            cross = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
            np.add.at(weight.array, per_cell[:, k], 0.5 * (a * b).sum(axis=1) / cross)
            np.add.at(beside.array, per_cell[:, k], 0.5 * cross)
            tail[per_cell[:, k]], head[per_cell[:, k]] = self.cells[:, i], self.cells[:, j]
        for values in (weight, beside):
            values.scatter_reverse(dolfinx.la.InsertMode.add)
        n = edges.size_local
        self.tail, self.head, self.weight = tail[:n].copy(), head[:n].copy(), weight.array[:n].copy()
        self.beside = beside.array[:n].copy()
        self._check_weights()
        np.maximum(self.weight, 0.0, out=self.weight)
        length2 = ((self.points[self.tail] - self.points[self.head]) ** 2).sum(axis=1)
        share = 0.25 * self.weight * length2
        self.area = self.add_at_nodes(share, share)

    def _check_weights(self) -> None:
        edges = GlobalSums(self.comm, len(self.weight))
        largest, smallest = edges.maximum(self.weight), edges.minimum(self.weight)
        negative = int(edges.add(np.array([np.count_nonzero(self.weight < -FLAT * largest)]))[0])
        if negative:
            raise InputError(
                f"the mesh is not Delaunay: {negative} edges have a negative weight (smallest {smallest:.3g}), so no "
                "positive scheme exists on it. Use a Delaunay mesh without obtuse angles at the boundary, such as "
                "gmsh's Frontal-Delaunay (Mesh.Algorithm = 6), or the built-in disk."
            )
        np.maximum(self.weight, 0.0, out=self.weight)

    def _set_boundary(self) -> None:
        topology = self.mesh.topology
        topology.create_connectivity(1, 2)
        facets = dolfinx.mesh.exterior_facet_indices(topology)
        mark = np.zeros(self.local)
        mark[dolfinx.fem.locate_dofs_topological(self.space, 1, facets)] = 1.0
        self.boundary = self.share_sum(mark) > 0.0

    def share(self, values: np.ndarray) -> np.ndarray:
        """Copy of nodal values (n_local,) with the ghosts set by their owners. Collective."""
        self._node_vector.array[: self.owned] = values[: self.owned]
        self._node_vector.scatter_forward()
        return self._node_vector.array.copy()

    def share_sum(self, values: np.ndarray) -> np.ndarray:
        """Nodal contributions (n_local,) of all ranks, summed at the owners and shared. Collective."""
        self._node_vector.array[:] = values
        self._node_vector.scatter_reverse(dolfinx.la.InsertMode.add)
        self._node_vector.scatter_forward()
        return self._node_vector.array.copy()

    def extremes(self, least: np.ndarray, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least and the most of nodal values (n_local,) at each node and its neighbours, (n_local,). Collective."""
        found = np.stack([-least, most])
        lower, upper = found.copy()
        for out, values in ((lower, -least), (upper, most)):
            np.maximum.at(out, self.tail, values[self.head])
            np.maximum.at(out, self.head, values[self.tail])
        return -self._share_largest(lower), self._share_largest(upper)

    def _share_largest(self, values: np.ndarray) -> np.ndarray:
        """The largest that any rank has at a node, (n_local,). Collective."""
        owned = values[: self.owned].copy()
        self._forest.reduceBegin(MPI.DOUBLE, values[self.owned :], owned, MPI.MAX)
        self._forest.reduceEnd(MPI.DOUBLE, values[self.owned :], owned, MPI.MAX)
        return self.share(np.concatenate([owned, values[self.owned :]]))

    def add_at_nodes(self, at_tail: np.ndarray, at_head: np.ndarray) -> np.ndarray:
        """Sum edge values (n_edges,) at the nodes, shared to all ranks: (n_local,). Collective."""
        local = np.bincount(self.tail, at_tail, self.local) + np.bincount(self.head, at_head, self.local)
        return self.share_sum(local)

    def laplacian(self, values: np.ndarray) -> np.ndarray:
        """K u, (K u)_i = sum_j kappa_ij (u_i - u_j) = int grad u . grad lambda_i, (n_local,). Collective."""
        flux = self.weight * (values[self.tail] - values[self.head])
        return self.add_at_nodes(flux, -flux)

    def tested(self, values: np.ndarray) -> np.ndarray:
        """m u = int u lambda_i by the lumped rule, (n_local,)."""
        return self.area * values

    def dirichlet_laplacian(self) -> PETSc.Mat:
        """K with identity rows and columns at the nodes on the boundary. Collective."""
        return laplacian_matrix(self, self.boundary).mat


def _forest(index_map: dolfinx.common.IndexMap, comm: MPI.Comm) -> PETSc.SF:
    """Which node of which rank each ghost is. Collective."""
    first = np.array(comm.allgather(index_map.local_range[0]), dtype=np.int64)
    owners = index_map.owners
    remote = np.stack([owners, index_map.ghosts - first[owners]], axis=1).astype(PETSc.IntType)
    forest = PETSc.SF().create(comm)
    forest.setGraph(index_map.size_local, None, np.ascontiguousarray(remote))
    return forest


class EdgeMatrix:
    """A sparse matrix that is the sum of 2 x 2 edge contributions and a diagonal, refilled at each step. Collective.

    Args:
        graph: the edges.
        dirichlet: nodes (n_local,) bool whose rows and columns are those of the identity.

    Attributes:
        mat: the PETSc matrix.
        edges: (4, n_edges) contributions of each edge, to be written before `assemble`: entries (tail, tail),
            (tail, head), (head, tail), (head, head).
        diagonal: (owned,) added to the diagonal (overwritten by 1 on Dirichlet nodes).
    """

    def __init__(self, graph: EdgeGraph, dirichlet: np.ndarray | None = None) -> None:
        n = graph.owned
        fixed = np.zeros(graph.local, dtype=bool) if dirichlet is None else dirichlet
        number = graph.index_map.local_to_global(np.arange(graph.local, dtype=np.int32)).astype(PETSc.IntType)
        free = np.where(fixed, -1, number).astype(PETSc.IntType)  # PETSc ignores negative indices
        tail, head = free[graph.tail], free[graph.head]
        self.mat = PETSc.Mat().create(graph.comm)
        self.mat.setSizes(((n, graph.size), (n, graph.size)))
        self.mat.setType(PETSc.Mat.Type.AIJ)
        rows = np.concatenate([tail, tail, head, head, number[:n]])
        columns = np.concatenate([tail, head, tail, head, number[:n]])
        self._fill = entries_setter(self.mat, rows, columns)
        self._values = np.zeros(4 * len(tail) + n)
        self.edges = self._values[: 4 * len(tail)].reshape(4, -1)
        self.diagonal = self._values[4 * len(tail) :]
        self._fixed = np.flatnonzero(fixed[:n])

    def set_laplacian(self, weight: np.ndarray) -> None:
        """Set the edge contributions to those of the Laplacian with these edge weights, (n_edges,)."""
        np.multiply(np.array([[1.0], [-1.0], [-1.0], [1.0]]), weight, out=self.edges)

    def assemble(self) -> PETSc.Mat:
        """Put `edges` and `diagonal` into the matrix. Collective."""
        self.diagonal[self._fixed] = 1.0
        self._fill(self._values)
        return self.mat


def laplacian_matrix(graph: EdgeGraph, dirichlet: np.ndarray | None = None) -> EdgeMatrix:
    """The assembled stiffness matrix K, with identity rows and columns at Dirichlet nodes, (n_local,). Collective."""
    matrix = EdgeMatrix(graph, dirichlet)
    matrix.set_laplacian(graph.weight)
    matrix.assemble()
    return matrix
