"""The cells of a DOLFINx mesh of simplices as the transport in x sees them: geometry, neighbours, walls, ghosts.

Cells and vertices are known by their numbers in the input mesh, and the vertices of a cell are taken in increasing
order: so the nodes of a cell, and those on a facet seen from both sides, are the same on any number of ranks. Every
rank knows the whole mesh, which is small beside f; DOLFINx says which cells it owns. Ranks that share velocities have
the cells of all of them.
"""

from __future__ import annotations

import math
from typing import Literal

import dolfinx.mesh
import numpy as np
from mpi4py import MPI

from limitpde.dolfinx_versions import cell_nodes, coordinate_map
from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem.nodes import FLAT, Halo
from limitpde.fem.simplices import CELLS
from limitpde.vlasov.phase_space.grid import ProcessGrid
from limitpde.vlasov.phase_space.mesh_kernels import ABSORBING

ALIGNED = 1e-10
"""Sine of the angle up to which a normal counts as one along an axis."""

Walls = Literal["absorbing", "specular"]


def make_mesh(
    mesh: meshes.AnyMesh | meshes.Disk | dolfinx.mesh.Mesh, dimension: int, comm: MPI.Comm
) -> dolfinx.mesh.Mesh:
    """The DOLFINx mesh of a box, a ball, a disk or a gmsh file; a DOLFINx mesh is returned as it is. Collective.

    Raises:
        InputError: it is a torus or a point, or cannot be made.
    """
    if isinstance(mesh, meshes.Torus | meshes.Point):
        shapes = "'box', 'ball' or the path of a gmsh file"
        raise InputError(
            f"mesh.shape = {mesh.shape!r}: must be {shapes}; a torus has a tensor grid: set pde.cells, no mesh"
        )
    return meshes.build(mesh, comm, dimension=dimension)


class MeshCells:
    """The cells of this rank, their geometry and surroundings. Collective; a rank may own nothing.

    Args:
        mesh: first-order simplices, in as many dimensions as they have.
        grid: the ranks; those that differ in v follow each other, and have the same cells.

    Keyword Args:
        walls: what happens at the boundary.

    Attributes:
        mesh, comm, dimension: as they are.
        vertices: (C, d + 1) vertices of all cells in the order of the input mesh, in increasing order in each cell.
        points: (V, d) all vertices.
        total: C.
        original: (owned,) number of each cell of this rank in the input mesh.
        drawn: those that the mesh has on this rank.
        halo: rows are cells: those owned, then ghosts.
        corners: (owned, d + 1, d); gradients: (owned, d + 1, d) of the barycentric coordinates; volume: (owned,).
        neighbours: (owned, d + 1, 2) int32, as `mesh_kernels.stage` takes them.
        wall_cells, wall_facets, wall_normals: of the facets on absorbing walls, (f,), (f,), (f, d) times the area.
        mirrors: axes j to which specular walls are perpendicular.

    Raises:
        InputError: cells of another kind, degenerate, or more than two at a facet; oblique walls that are to reflect.
    """

    def __init__(self, mesh: dolfinx.mesh.Mesh, grid: ProcessGrid, *, walls: Walls) -> None:
        if walls not in ("absorbing", "specular"):
            raise InputError(f"pde.walls = {walls!r}: must be 'absorbing' or 'specular'")
        self.mesh, self.comm, self.dimension = mesh, mesh.comm, mesh.topology.dim
        _check_kind(mesh)
        self._gather(grid)
        d, everywhere = self.dimension, self.points[self.vertices]
        gradients, volume = barycentric(everywhere)
        _check_shapes(everywhere, volume)
        neighbours = _facet_neighbours(self.vertices)
        code, self.mirrors = self._walls(neighbours, gradients, walls)
        self.corners, self.gradients = everywhere[self.original], gradients[self.original]
        self.volume = volume[self.original]
        mine = neighbours[self.original]
        inside = mine[..., 0] >= 0
        row = self._row[mine[..., 0]]
        owned = len(self.original)
        away = inside & ((row < self._first) | (row >= self._first + owned))
        self.halo = Halo(grid.x_comm, owned, np.unique(row[away]))
        mine[..., 0] = np.where(inside, self.halo.local(np.where(inside, row, self._first)), code[self.original])
        self.neighbours = mine.astype(np.int32)
        self.wall_cells, self.wall_facets = np.nonzero(mine[..., 0] == ABSORBING)
        scale = -d * self.volume[self.wall_cells]
        self.wall_normals = scale[:, None] * self.gradients[self.wall_cells, self.wall_facets]

    @property
    def total(self) -> int:
        """Cells of all ranks."""
        return len(self.vertices)

    @property
    def owned(self) -> int:
        """Cells of this rank."""
        return len(self.original)

    def _gather(self, grid: ProcessGrid) -> None:
        """Learn all cells of the input mesh, and which rank has which. Collective."""
        mesh, d = self.mesh, self.dimension
        owned = mesh.topology.index_map(d).size_local
        self.original = np.asarray(mesh.topology.original_cell_index)[:owned].astype(np.int64)
        numbers = np.asarray(mesh.geometry.input_global_indices)
        local = cell_nodes(mesh)[:owned]
        parts = self.comm.allgather((self.original, numbers[local], mesh.geometry.x[local, :d].copy()))
        original, cells, corners = (np.concatenate(part) for part in zip(*parts, strict=True))
        _, first, cells = np.unique(cells, return_index=True, return_inverse=True)
        self.points = corners.reshape(-1, d)[first]
        self._row = np.argsort(original)  # of a cell of the input mesh: its number among the rows, rank after rank
        self.vertices = np.sort(cells.reshape(-1, d + 1)[self._row], axis=1)
        ends = np.cumsum([0, *(len(part[0]) for part in parts)])
        together, rank = grid.v_comm.size, self.comm.rank
        self._first, end = (int(ends[(rank // together + k) * together]) for k in (0, 1))
        self.drawn = slice(int(ends[rank]) - self._first, int(ends[rank + 1]) - self._first)
        place = np.empty(len(original), dtype=np.int64)
        place[self._row] = np.arange(len(original))
        self.original = place[self._first : end]

    def _walls(self, neighbours: np.ndarray, gradients: np.ndarray, walls: Walls) -> tuple[np.ndarray, list[int]]:
        """What stands in place of a neighbour at each facet of all cells, (C, d + 1), and the axes of mirrors."""
        code = np.full(neighbours.shape[:2], ABSORBING)
        if walls == "absorbing":
            return code, []
        wall = neighbours[..., 0] < 0
        normals = np.abs(gradients[wall])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        axis = normals.argmax(axis=1)
        oblique = int(np.count_nonzero(np.sort(normals, axis=1)[:, :-1].max(axis=1, initial=0.0) > ALIGNED))
        if oblique:
            raise InputError(
                f"pde.walls = 'specular': {oblique} facets of the mesh's wall are not perpendicular to a coordinate "
                "axis, and velocities mirrored there are not on the grid; such walls must be 'absorbing'"
            )
        code[wall] = ABSORBING - 1 - axis
        return code, np.unique(axis).tolist()


def barycentric(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the barycentric coordinates (n, d + 1, d), and volumes (n,), of simplices (n, d + 1, d)."""
    d = corners.shape[2]
    edges = corners[:, 1:] - corners[:, :1]
    determinant = np.linalg.det(edges)
    inverse = np.linalg.inv(np.where((determinant != 0)[:, None, None], edges, np.eye(d))).transpose(0, 2, 1)
    gradients = np.concatenate([-inverse.sum(axis=1, keepdims=True), inverse], axis=1)
    return gradients, np.abs(determinant) / math.factorial(d)


def _facet_neighbours(vertices: np.ndarray) -> np.ndarray:
    """Cell on the other side of each facet, -1 at the boundary, and the number of the facet there: (C, d + 1, 2).

    Raises:
        InputError: more than two cells meet at a facet.
    """
    cells, corners = vertices.shape
    facets = np.stack([np.delete(vertices, e, axis=1) for e in range(corners)], axis=1).reshape(-1, corners - 1)
    order = np.lexsort(facets.T)
    same = (facets[order[1:]] == facets[order[:-1]]).all(axis=1)
    if (same[1:] & same[:-1]).any():
        raise InputError("mesh: more than two of its cells meet at a facet")
    a, b = order[:-1][same], order[1:][same]
    found = np.full((cells * corners, 2), -1)
    found[a] = np.stack(np.divmod(b, corners), axis=1)
    found[b] = np.stack(np.divmod(a, corners), axis=1)
    found[found[:, 0] < 0, 1] = 0
    return found.reshape(cells, corners, 2)


def _check_kind(mesh: dolfinx.mesh.Mesh) -> None:
    d = mesh.topology.dim
    if mesh.topology.cell_name() != CELLS.get(d) or mesh.geometry.dim != d or coordinate_map(mesh).degree != 1:
        raise InputError(
            f"mesh: must consist of first-order intervals, triangles or tetrahedra in 1, 2 or 3 dimensions, not of "
            f"{mesh.topology.cell_name()} cells in {mesh.geometry.dim}"
        )


def _check_shapes(corners: np.ndarray, volume: np.ndarray) -> None:
    edges = np.linalg.norm(corners[:, :, None] - corners[:, None], axis=3).max(axis=(1, 2))
    flat = int(np.count_nonzero(~(volume > FLAT * edges ** corners.shape[2])))
    if flat:
        raise InputError(f"mesh: {flat} of its cells are degenerate, with a volume of zero")
