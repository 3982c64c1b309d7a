"""Meshes, and functions on them, as files hold them: in the order of the input mesh, on rank 0 or in parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import basix
import numpy as np
from dolfinx import fem
from dolfinx.mesh import CellType, Mesh

from limitpde.dolfinx_versions import cell_nodes, coordinate_map
from limitpde.errors import InputError
from limitpde.parallel import gathered, spread
from limitpde.results import vtkhdf
from limitpde.results.shared_array import Block

Place = Literal["Point", "Cell"]

VTK_CELLS = {
    CellType.interval: (3, [0, 1]),
    CellType.triangle: (5, [0, 1, 2]),
    CellType.quadrilateral: (9, [0, 1, 3, 2]),
    CellType.tetrahedron: (10, [0, 1, 2, 3]),
    CellType.hexahedron: (12, [0, 1, 3, 2, 4, 5, 7, 6]),
}
"""DOLFINx cell -> VTK's number of it, and the vertices in VTK's order."""


class Grid:
    """A mesh as a file holds it. All methods but `place` are collective and right when a rank owns nothing.

    Args:
        mesh: intervals, triangles, quadrilaterals, tetrahedra or hexahedra with straight edges, or curved triangles,
            which become flat ones between their nodes.

    Raises:
        InputError: the mesh has other cells.

    Attributes:
        mesh: the mesh.
        kind: VTK's number of its cells.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._degree = coordinate_map(mesh).degree
        pieces = _pieces(mesh.topology.cell_type, self._degree)
        if pieces is None:
            raise InputError(
                f"mesh of {mesh.topology.cell_name()}s: allowed are simplices and boxes with straight edges, and "
                "triangles with curved ones"
            )
        self.kind, self._pieces = pieces
        self._nodes = np.asarray(mesh.geometry.input_global_indices)
        self._cells = np.asarray(mesh.topology.original_cell_index)

    def place(self, name: str, function: fem.Function) -> Place:
        """Where the values of a function on this mesh sit.

        Raises:
            InputError: it is on another mesh, or of a kind that a file cannot hold; or the name cannot be one.
        """
        vtkhdf.check_name(name)
        space = function.function_space
        if space.mesh is not self.mesh:
            raise InputError(f"function {name}: is on another mesh than the first function of the step")
        if np.issubdtype(function.dtype, np.floating) and space.dofmap.index_map_bs <= 3:
            match _element(space):
                case (basix.ElementFamily.P, self._degree, False):
                    return "Point"
                case (basix.ElementFamily.P, 0, _) if self._degree == 1:
                    return "Cell"
        allowed = "Lagrange-1 or DG-0" if self._degree == 1 else f"equispaced Lagrange-{self._degree}"
        raise InputError(
            f"function {name}: element {space.ufl_element()}, {function.dtype}: "
            f"must be real, {allowed}, of at most 3 components; interpolate it first"
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Points (points, 3), Connectivity (corners,), Offsets (cells + 1,) and Types (cells,), on rank 0."""
        geometry, topology = self.mesh.geometry, self.mesh.topology
        nodes, cells = geometry.index_map().size_local, topology.index_map(topology.dim).size_local
        points = gathered(self.mesh.comm, self._nodes[:nodes], geometry.x[:nodes].astype("f8"))
        corners = gathered(self.mesh.comm, self._cells[:cells], self._corners()).reshape(-1, self._pieces.shape[1])
        return {
            "Points": points,
            "Connectivity": corners.ravel(),
            "Offsets": np.arange(len(corners) + 1) * self._pieces.shape[1],
            "Types": np.full(len(corners), self.kind, dtype="u1"),
        }

    def blocks(self) -> dict[str, Block]:
        """The same Points, Connectivity and Offsets in parts over the ranks; of integers the bytes, as if of floats."""
        comm, geometry, topology = self.mesh.comm, self.mesh.geometry, self.mesh.topology
        nodes, cells = geometry.index_map(), topology.index_map(topology.dim)
        mine, coordinates = self._nodes[: nodes.size_local], geometry.x[: nodes.size_local].astype("f8")
        first, points = spread(comm, mine, coordinates, nodes.size_global)
        pieces = self._corners().reshape(cells.size_local, self._pieces.size)
        before, corners = spread(comm, self._cells[: cells.size_local], pieces, cells.size_global)
        width, drawn = pieces.shape[1], cells.size_global * len(self._pieces) + 1
        start, end = (drawn * rank // comm.size for rank in (comm.rank, comm.rank + 1))
        flat = {
            "Connectivity": (before * width, corners.ravel(), cells.size_global * width),
            "Offsets": (start, np.arange(start, end) * self._pieces.shape[1], drawn),
        }
        found = {"Points": Block(points, (nodes.size_global, 3), (slice(first, first + len(points)), slice(0, 3)))}
        for name, (at, values, total) in flat.items():
            found[name] = Block(values.astype("i8").view(float), (total,), (slice(at, at + len(values)),))
        return found

    def _corners(self) -> np.ndarray:
        """Points in the file of what the cells of this rank are drawn as, (cells, pieces, corners).

        Simplices are turned so that their area or volume is positive, as DOLFINx does not ask: VTK subtracts others.
        """
        topology = self.mesh.topology
        nodes = cell_nodes(self.mesh)[: topology.index_map(topology.dim).size_local][:, self._pieces]
        d = topology.dim
        if self._pieces.shape[1] == d + 1 > 2:
            x = self.mesh.geometry.x[:, :d]
            turned = np.linalg.det(x[nodes[..., 1:]] - x[nodes[..., :1]]) < 0
            nodes[turned, -2:] = nodes[turned, :-3:-1]
        return self._nodes[nodes].astype("i8")

    def rows(self, functions: Mapping[str, fem.Function]) -> dict[str, np.ndarray]:
        """PointData/NAME or CellData/NAME -> values, (rows,) of a scalar and (rows, 3) of a vector, on rank 0.

        Ghosts need not be up to date.

        Raises:
            InputError: see `place`.
        """
        places = {name: self.place(name, function) for name, function in functions.items()}
        own = {f"{place}Data/{name}": self._own(functions[name], place) for name, place in places.items()}
        return {name: gathered(self.mesh.comm, numbers, values) for name, (numbers, values) in own.items()}

    def parts(self, functions: Mapping[str, fem.Function]) -> dict[str, tuple[tuple[int, ...], Callable[[], Block]]]:
        """The shape of the same rows, and what gives those of this rank when they are in parts over the ranks.

        The latter is collective, and what it gives is new.

        Raises:
            InputError: see `place`.
        """
        found: dict[str, tuple[tuple[int, ...], Callable[[], Block]]] = {}
        for name, function in functions.items():
            place, dofmap = self.place(name, function), function.function_space.dofmap
            shape = dofmap.index_map.size_global, *((3,) if dofmap.index_map_bs > 1 else ())
            found[f"{place}Data/{name}"] = shape, functools.partial(self._part, function, place, shape)
        return found

    def _part(self, function: fem.Function, place: Place, shape: tuple[int, ...]) -> Block:
        numbers, own = self._own(function, place)
        first, values = spread(self.mesh.comm, numbers, own.astype(float), shape[0])
        return Block(values, shape, (slice(first, first + len(values)), *(slice(0, size) for size in shape[1:])))

    def fill(self, function: fem.Function, place: Place, rows: np.ndarray) -> None:
        """Set a function, ghosts too, to the rows of a file, (rows, components), which every rank must have."""
        dofs = function.function_space.dofmap.list
        function.x.array.reshape(-1, rows.shape[1])[dofs] = rows[self._row(place, len(dofs))]

    def _row(self, place: Place, cells: int) -> np.ndarray:
        """Row in the file of each local degree of freedom of each local cell, (cells, dofs of a cell)."""
        if place == "Cell":
            return self._cells[:cells, None]
        rows: np.ndarray = self._nodes[cell_nodes(self.mesh)[:cells]]
        return rows

    def _own(self, function: fem.Function, place: Place) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the file of the values of this rank, (owned,), and the values, (owned,) or (owned, 3)."""
        dofmap = function.function_space.dofmap
        owned, size = dofmap.index_map.size_local, dofmap.index_map_bs
        row = np.empty(owned, dtype=np.int64)
        mine = dofmap.list < owned
        row[dofmap.list[mine]] = self._row(place, len(dofmap.list))[mine]
        values = function.x.array[: owned * size].reshape(-1, size)
        return row, np.pad(values, ((0, 0), (0, 1))) if size == 2 else values[:, 0] if size == 1 else values


def _pieces(cell: CellType, degree: int) -> tuple[int, np.ndarray] | None:
    """VTK's cell, and the nodes of the ones that a cell with nodes of a degree is drawn as, (pieces, corners).

    Triangles of higher degree become degree^2 flat ones between their nodes, which every program can draw.
    """
    if degree == 1:
        return (VTK_CELLS[cell][0], np.array([VTK_CELLS[cell][1]])) if cell in VTK_CELLS else None
    if cell != CellType.triangle:
        return None
    equispaced = basix.LagrangeVariant.equispaced
    nodes = basix.create_element(basix.ElementFamily.P, basix.CellType.triangle, degree, equispaced).points
    number = {(round(degree * x), round(degree * y)): k for k, (x, y) in enumerate(nodes)}
    corners = [((i, j), (i + 1, j), (i, j + 1)) for i, j in number]
    corners += [((i + 1, j), (i + 1, j + 1), (i, j + 1)) for i, j in number]
    inside = [[number[corner] for corner in piece] for piece in corners if all(corner in number for corner in piece)]
    return VTK_CELLS[cell][0], np.array(inside)


def _element(space: fem.FunctionSpace) -> tuple[basix.ElementFamily, int, bool] | None:
    """Family, degree and discontinuity; None if basix does not know the element (a mixed one), or for other nodes."""
    try:
        element = space.element.basix_element
    except RuntimeError:
        return None
    if element.degree > 2 and element.lagrange_variant != basix.LagrangeVariant.equispaced:
        return None
    return element.family, element.degree, element.discontinuous
