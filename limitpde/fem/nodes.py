"""Nodes of first-order simplices in one, two and three dimensions, each once, with their matrices. For many fields.

Volumes are lumped, m_i = int lambda_i, and K_ij = int grad lambda_i . grad lambda_j; the operator A = m^-1 K stands for
-Lap without flux through the boundary. Nodes on opposite faces of a torus are one node. K has zero row and column
sums, so A conserves sum_i m_i u_i; where its off-diagonal entries are <= 0 (`m_matrix`), as they are on grids and on
Delaunay triangulations of the plane, exp(-t A) keeps signs as well. Fields are arrays (nodes, M), one row a node.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import dolfinx.fem
import dolfinx.mesh
import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from limitpde.dolfinx_versions import cell_nodes, coordinate_map, entries_setter
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem.cell_fluxes import CellFluxes
from limitpde.fem.original import original_nodes
from limitpde.fem.periodic import Periodic, identify, numbered
from limitpde.fem.simplices import CELLS, pieces
from limitpde.fem.sums import GlobalSums
from limitpde.parallel import on_all

TAG = 7301
"""Of the messages that carry ghost rows."""
ROUNDING = 1e-14
"""Entries of K below this part of the largest one are rounding: on a grid most of them vanish."""
PIECES = {1: 64, 2: 16, 3: 8}
"""Parts of each edge of a cell in which a function jumps."""
JUMP = 0.25
"""Part of its largest value by which a function jumps: what is smooth differs by less where cells are small enough."""
CELLS_AT_ONCE = 4096
FLAT = 1e-12
"""Volume of a cell, as a part of its longest edge to the power d, below which it counts as degenerate."""

type MeshLike = meshes.Torus | meshes.Box | meshes.Ball | meshes.Point | str | Path | dolfinx.mesh.Mesh | Periodic


class Halo:
    """Brings rows of arrays from the ranks that own them to the ranks that see them. Collective.

    Rows have global numbers: those of rank 0 come first, then those of rank 1, and so on.

    Args:
        comm: the communicator.
        owned: number of rows of this rank.
        ghosts: (n_ghosts,) int64, sorted: global numbers of the rows of other ranks that this rank sees.
    """

    def __init__(self, comm: MPI.Comm, owned: int, ghosts: np.ndarray) -> None:
        self.comm, self.owned, self.ghosts = comm, owned, ghosts
        ends = np.cumsum(comm.allgather(owned))
        owner = np.searchsorted(ends, ghosts, side="right")
        starts = np.searchsorted(owner, np.arange(comm.size + 1))
        asked = comm.alltoall([ghosts[a:b] for a, b in itertools.pairwise(starts)])
        self.first = int(ends[comm.rank]) - owned
        self._sent = [(rank, rows - self.first) for rank, rows in enumerate(asked) if len(rows)]
        self._received = [(rank, owned + starts[rank], owned + starts[rank + 1]) for rank in np.unique(owner)]

    def local(self, numbers: np.ndarray) -> np.ndarray:
        """Local rows of global numbers that this rank owns or sees."""
        own = (numbers >= self.first) & (numbers < self.first + self.owned)
        return np.where(own, numbers - self.first, self.owned + np.searchsorted(self.ghosts, numbers))

    def update(self, rows: np.ndarray) -> None:
        """Set the ghost rows, behind the owned ones, of a C-contiguous array (owned + ghosts, ...). Collective."""
        requests = [self.comm.Irecv(rows[a:b], source=rank, tag=TAG) for rank, a, b in self._received]
        parcels = [rows[own] for _, own in self._sent]
        requests += [
            self.comm.Isend(parcel, dest=rank, tag=TAG) for (rank, _), parcel in zip(self._sent, parcels, strict=True)
        ]
        MPI.Request.Waitall(requests)


class NodeSpace:
    """The nodes of a mesh, their volumes and the stiffness matrix between them. Collective; a rank may own nothing.

    Args:
        mesh: a torus, a box, a ball, a point, the path of a gmsh file, or a DOLFINx mesh of simplices; `Periodic` of
            the latter for a torus.
        comm: communicator of the mesh.

    Keyword Args:
        dimension: d.

    Attributes:
        mesh: the DOLFINx mesh; None for a point, which has no cells.
        domain: what the mesh covers; the whole space where that is not known, with a file or a DOLFINx mesh.
        owned, size, first: numbers of nodes of this rank, of all, and of the ranks before this one.
        original: (owned,) int64, number of each node, 0 ... size - 1, the same for any number of ranks.
        points: (owned, d).
        volume: (owned,) lumped volumes; their sum is the volume of the mesh.
        indptr, columns, values: K by rows, (owned + 1,), (entries,) int32 local columns, ghosts behind, (entries,).
        halo: of the columns.
        m_matrix: whether no off-diagonal entry of K is positive, on any rank.
        sums: global sums over the nodes.

    Raises:
        InputError: the mesh is not there, not of simplices in d dimensions, or has a degenerate cell.
    """

    def __init__(self, mesh: MeshLike, comm: MPI.Comm = MPI.COMM_WORLD, *, dimension: int) -> None:
        self.dimension = dimension
        if isinstance(mesh, meshes.Torus | meshes.Box | meshes.Ball | meshes.Point):
            self.domain = mesh.domain(dimension)
        else:
            self.domain = Domain.space(dimension)
        own, periodic = (mesh.mesh, True) if isinstance(mesh, Periodic) else (mesh, False)
        self.comm: MPI.Comm = own.comm if isinstance(own, dolfinx.mesh.Mesh) else comm
        self.mesh: dolfinx.mesh.Mesh | None = None
        if isinstance(own, meshes.Point):
            self._set_nodes(np.zeros((int(self.comm.rank == 0), dimension)))
            self.original = np.zeros(self.owned, dtype=np.int64)
            self.volume = np.ones(self.owned)
            self._set_rows(np.zeros(self.owned + 1, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
            return
        self.mesh = meshes.build(own, comm, dimension=dimension)
        _check_cells(self.mesh, dimension)
        self.space: dolfinx.fem.FunctionSpace = dolfinx.fem.functionspace(self.mesh, ("Lagrange", 1))
        corners = _corner_points(self.space)
        if periodic:
            number, kept = self._identified(corners)
        else:
            number, kept = self._number(mesh.boxes(dimension) if isinstance(mesh, meshes.Torus) else None)
        self._set_nodes(corners[kept].copy())
        cells = self.space.dofmap.list[: self.mesh.topology.index_map(dimension).size_local]
        self._assemble(number[cells], corners[cells])
        away = (number < self.first) | (number >= self.first + self.owned)
        self._copies = Halo(self.comm, self.owned, np.unique(number[away]))
        self._row_of_dof = self._copies.local(number)

    def _set_nodes(self, points: np.ndarray) -> None:
        self.owned, self.points = len(points), points
        self.size = int(self.comm.allreduce(self.owned))
        self.first = sum(self.comm.allgather(self.owned)[: self.comm.rank])
        self.sums = GlobalSums(self.comm, self.owned)

    def _number(self, boxes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Global node of each local degree of freedom of the mesh, and which of them are this rank's nodes. Collective.

        Args:
            boxes: (d,) numbers of boxes along the edges of a torus; None where nothing is to be identified.
        """
        index_map = self.space.dofmap.index_map
        owned = index_map.size_local
        place = original_nodes(self.space)
        if boxes is None:
            self.original = place[:owned]
            number = index_map.local_to_global(np.arange(owned + index_map.num_ghosts, dtype=np.int32))
            return number.astype(np.int64), np.arange(owned)
        lattice = np.stack(np.unravel_index(place, tuple(boxes + 1)))
        node = np.ravel_multi_index(tuple(lattice % boxes[:, None]), tuple(boxes))
        kept = np.flatnonzero((lattice[:, :owned] < boxes[:, None]).all(axis=0))
        self.original = node[kept]
        number = numbered(kept, index_map, self.comm)
        copy, faces = (lattice == boxes[:, None]).any(axis=0), kept[(lattice[:, kept] == 0).any(axis=0)]
        there, numbers = (np.concatenate(self.comm.allgather(found[faces])) for found in (node, number))
        order = np.argsort(there)
        number[copy] = numbers[order][np.searchsorted(there[order], node[copy])]
        return number, kept

    def _identified(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for a mesh of a user's own, at the points (n_local, d), whose opposite faces are one. Collective."""
        found = identify(corners, self.space.dofmap.index_map, original_nodes(self.space), self.comm)
        self.domain, self.original = found.domain, found.original
        return found.number, found.kept

    def _assemble(self, cells: np.ndarray, corners: np.ndarray) -> None:
        """Volumes and K from the nodes of this rank's cells (n, d + 1) and their corners (n, d + 1, d). Collective."""
        volume, local = _cell_matrices(corners)
        self._check_shape(volume, corners)
        index = cells.astype(PETSc.IntType)
        sizes, width = (self.owned, self.size), cells.shape[1]
        lumped = PETSc.Vec().createMPI(sizes, comm=self.comm)
        lumped.setValues(index.ravel(), np.repeat(volume / width, width), addv=PETSc.InsertMode.ADD_VALUES)
        lumped.assemble()
        self.volume = lumped.array_r.copy()
        matrix = PETSc.Mat().create(self.comm)
        matrix.setSizes((sizes, sizes))
        matrix.setType(PETSc.Mat.Type.AIJ)
        rows, columns = np.repeat(index, width, axis=1).ravel(), np.tile(index, (1, width)).ravel()
        entries_setter(matrix, rows, columns)(local.ravel())
        self._set_rows(*matrix.getValuesCSR())
        matrix.destroy()
        lumped.destroy()

    def _set_rows(self, indptr: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """K without the entries that are rounding, and with rows that add to zero. Collective."""
        first = self.first
        row = np.repeat(np.arange(self.owned), np.diff(indptr))
        largest = float(self.comm.allreduce(np.abs(values).max(initial=0.0), op=MPI.MAX))
        other = (columns != row + first) & (np.abs(values) > ROUNDING * largest)
        row, column, value = row[other], columns[other].astype(np.int64), values[other]
        diagonal = -np.bincount(row, value, self.owned)
        row = np.concatenate([row, np.arange(self.owned)])
        column = np.concatenate([column, first + np.arange(self.owned)])
        away = (column < first) | (column >= first + self.owned)
        self.halo = Halo(self.comm, self.owned, np.unique(column[away]))
        column = self.halo.local(column)
        order = np.lexsort((column, row))
        self.values = np.concatenate([value, diagonal])[order]
        self.columns = column[order].astype(np.int32)
        self.indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=self.owned))]).astype(np.int64)
        self.m_matrix = not self.comm.allreduce(bool((value > 0).any()), op=MPI.LOR)

    def _check_shape(self, volume: np.ndarray, corners: np.ndarray) -> None:
        edges = np.linalg.norm(corners[:, :, None] - corners[:, None], axis=3).max(axis=(1, 2))
        flat = int(self.comm.allreduce(np.count_nonzero(~(volume > FLAT * edges**self.dimension))))
        if flat:
            raise InputError(f"mesh: {flat} of its cells are degenerate, with a volume of zero")

    def averages(self, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(1/m_i) int lambda_i f of a function that may jump, (owned,). Collective.

        A cell in which its values at the corners and in the middle differ by a part JUMP of its largest value anywhere
        is cut into `PIECES`^d, with the value in the middle of each; elsewhere the values at the corners stand for it.

        Args:
            value: f at points (n, d) -> (n,).

        Raises:
            Exception: what `value` raises, on every rank.
        """
        d, space = self.dimension, self.space
        cells = space.dofmap.list[: space.mesh.topology.index_map(d).size_local]
        corners = _corner_points(space)[cells]
        seen = on_all(self.comm, lambda: _seen(corners, value))
        most = self.comm.allreduce(float(np.abs(seen).max(initial=0.0)), op=MPI.MAX)
        total = on_all(self.comm, lambda: _cell_integrals(corners, seen, JUMP * most, value))
        rows = self._row_of_dof[cells]
        ghosts = np.append(self._copies.ghosts, 0)
        number = np.where(rows < self.owned, self.first + rows, ghosts[np.clip(rows - self.owned, 0, len(ghosts) - 1)])
        added = PETSc.Vec().createMPI((self.owned, self.size), comm=self.comm)
        added.setValues(number.astype(PETSc.IntType).ravel(), total.ravel(), addv=PETSc.InsertMode.ADD_VALUES)
        added.assemble()
        found = added.array_r / self.volume
        added.destroy()
        return np.asarray(found)

    @property
    def local(self) -> int:
        """Rows that this rank owns or sees."""
        return self.owned + len(self.halo.ghosts)

    def everywhere(self, values: np.ndarray) -> np.ndarray:
        """Values (owned, ...) of this rank's nodes, then of the others that it sees, (local, ...). Collective."""
        found = np.zeros((self.local, *values.shape[1:]), dtype=values.dtype)
        found[: self.owned] = values
        self.halo.update(found)
        return found

    def function(self, name: str, values: np.ndarray) -> dolfinx.fem.Function:
        """Nodal values (owned,) as a function on the mesh, ghosts and both ends of a torus set. Collective."""
        function = dolfinx.fem.Function(self.space, name=name)
        rows = np.concatenate([values, np.empty(len(self._copies.ghosts))])
        self._copies.update(rows)
        function.x.array[:] = rows[self._row_of_dof]
        return function

    @cached_property
    def cell_fluxes(self) -> CellFluxes:
        """Fluxes of densities, given as functions on the mesh, as a vector a cell. Collective at first."""
        return CellFluxes(self.space)


def _check_cells(mesh: dolfinx.mesh.Mesh, dimension: int) -> None:
    straight = coordinate_map(mesh).degree == 1
    found = (mesh.topology.cell_name(), mesh.geometry.dim)
    if found != (CELLS[dimension], dimension) or not straight:
        raise InputError(
            f"mesh: must consist of first-order {CELLS[dimension]} cells in {dimension} dimensions, "
            f"not of {found[0]} cells in {found[1]}"
        )


def _corner_points(space: dolfinx.fem.FunctionSpace) -> np.ndarray:
    """Points (n_local, d) of the degrees of freedom of a first-order Lagrange space: those of the mesh, to the bit."""
    geometry = space.mesh.geometry
    points = np.empty((space.dofmap.index_map.size_local + space.dofmap.index_map.num_ghosts, geometry.dim))
    points[space.dofmap.list] = geometry.x[cell_nodes(space.mesh), : geometry.dim]
    return points


def _cell_matrices(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Volumes (n,) and stiffness matrices (n, d + 1, d + 1) of simplices with corners (n, d + 1, d)."""
    d = corners.shape[2]
    edges = corners[:, 1:] - corners[:, :1]
    volume = np.abs(np.linalg.det(edges)) / math.factorial(d)
    inverse = np.linalg.inv(np.where((volume > 0)[:, None, None], edges, np.eye(d)))
    gradients = np.concatenate([-inverse.sum(axis=2, keepdims=True), inverse], axis=2)  # (n, d, d + 1)
    return volume, volume[:, None, None] * (gradients.transpose(0, 2, 1) @ gradients)


def _seen(corners: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Values at the corners (n, d + 1, d) of cells and in their middles, (n, d + 2)."""
    n, width, d = corners.shape
    return np.column_stack([value(corners.reshape(-1, d)).reshape(n, width), value(corners.mean(axis=1))])


def _cell_integrals(
    corners: np.ndarray, seen: np.ndarray, jump: float, value: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Int lambda_i f over cells with the corners (n, d + 1, d), (n, d + 1); see `NodeSpace.averages`."""
    d = corners.shape[2]
    volume = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / math.factorial(d)
    found = volume[:, None] / (d + 1) * seen[:, :-1]
    jumps = np.flatnonzero(seen.max(axis=1) - seen.min(axis=1) > jump)
    middles = pieces(d, PIECES[d])
    for some in np.array_split(jumps, max(1, len(jumps) // CELLS_AT_ONCE)):
        inside = value((middles @ corners[some]).reshape(-1, d)).reshape(len(some), len(middles))
        found[some] = volume[some, None] / len(middles) * (inside @ middles)
    return found
