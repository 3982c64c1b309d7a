"""Fields on a mesh that does not change, one named array each, in one temporal VTKHDF file for a whole run.

Rows are in the order of the input mesh (original vertex and cell numbers), so that a file does not depend on the
number of ranks and can be continued, or read back, on another number. All goes through rank 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import basix
import numpy as np
from dolfinx import fem
from dolfinx.mesh import CellType, Mesh

from limitpde.errors import InputError
from limitpde.parallel import gathered, on_root
from limitpde.results import vtkhdf
from limitpde.results.vtkhdf import Layout, Mode, times

__all__ = ["FieldSeries", "read_fields", "times"]

Place = Literal["Point", "Cell"]

LAYOUT = Layout(
    "UnstructuredGrid",
    fixed=(
        "NumberOfPoints",
        "NumberOfCells",
        "NumberOfConnectivityIds",
        "Points",
        "Connectivity",
        "Offsets",
        "Types",
    ),
)
VTK_CELLS = {
    CellType.interval: (3, [0, 1]),
    CellType.triangle: (5, [0, 1, 2]),
    CellType.quadrilateral: (9, [0, 1, 3, 2]),
    CellType.tetrahedron: (10, [0, 1, 2, 3]),
    CellType.hexahedron: (12, [0, 1, 3, 2, 4, 5, 7, 6]),
}
"""DOLFINx cell -> VTK's number of it, and the vertices in VTK's order."""


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


class FieldSeries:
    """The time series of some functions on one mesh.

    All methods are collective and right when a rank owns nothing; an error on one rank is raised on all.

    Args:
        path: the file, *.vtkhdf.
        mesh: intervals, triangles, quadrilaterals, tetrahedra or hexahedra with straight edges, or curved triangles,
            which become flat ones between their nodes.
        mode: "w" writes a new file, "a" continues one on the same input mesh.

    Raises:
        InputError: the mesh has other cells; the mode is unknown; the file to continue is not there, or is one on
            another mesh.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path | str, mesh: Mesh, *, mode: Mode = "w") -> None:
        self.path, self.mesh = Path(path), mesh
        vtkhdf.check_mode(self.path, mode)
        self._degree = mesh.geometry.cmaps[0].degree
        pieces = _pieces(mesh.topology.cell_type, self._degree)
        if pieces is None:
            raise InputError(
                f"mesh of {mesh.topology.cell_name()}s: allowed are simplices and boxes with straight edges, and "
                "triangles with curved ones"
            )
        self._kind, self._pieces = pieces
        self._nodes = np.asarray(mesh.geometry.input_global_indices)
        self._cells = np.asarray(mesh.topology.original_cell_index)
        grid = self._gather_grid()
        on_root(mesh.comm, lambda: self._open(mode, grid))

    def _open(self, mode: str, grid: dict[str, np.ndarray]) -> None:
        if mode == "w":
            vtkhdf.create(self.path, LAYOUT, grid)
            return
        with vtkhdf.reading(self.path) as group:
            same = all(
                name in group and group[name].shape == grid[name].shape and np.allclose(group[name], grid[name])
                for name in LAYOUT.fixed
            )
        if not same:
            raise InputError(f"{self.path}: was written on another mesh, so that it cannot be continued")

    @property
    def times(self) -> np.ndarray:
        """The times of the steps in the file, (steps,). Collective."""
        return on_root(self.mesh.comm, lambda: times(self.path))

    def write(self, t: float, functions: Mapping[str, fem.Function]) -> None:
        """Add a step. Collective; ghosts need not be up to date.

        Args:
            t: its time, later than all before.
            functions: name -> real function of one to three components on this mesh, Lagrange with its nodes, or DG-0
                where the cells are drawn as they are; the same names at each step.

        Raises:
            InputError: the time is not later; the names are not those of the steps before; a function is on
                another mesh or of another kind.
            OSError: the disk is full, or the like.
        """
        t = vtkhdf.check_time(t)
        places = {name: self._place(name, function) for name, function in functions.items()}
        arrays = {f"{place}Data/{name}": self._gather(functions[name], place) for name, place in places.items()}
        on_root(self.mesh.comm, lambda: self._append(t, arrays))

    def read(self, t: float, functions: Mapping[str, fem.Function]) -> None:
        """Put the step at a time back into functions like those it was written from. Collective; updates ghosts.

        Args:
            t: the time of a step in the file, up to rounding.
            functions: array in the file -> function to fill.

        Raises:
            InputError: there is no such step or array, or the function is on another mesh or of another kind.
        """
        t = vtkhdf.check_time(t)
        places = {name: self._place(name, function) for name, function in functions.items()}
        for name, function in functions.items():
            place, size = places[name], function.function_space.dofmap.index_map_bs
            rows = on_root(self.mesh.comm, partial(self._load, t, name, place, size))
            dofs = function.function_space.dofmap.list
            function.x.array.reshape(-1, size)[dofs] = rows[self._original(place, len(dofs))]

    def truncate(self, t: float) -> None:
        """Drop the steps later than t, before a run is continued from there. Collective.

        Raises:
            InputError: the time is not a finite number.
        """
        t = vtkhdf.check_time(t)
        on_root(self.mesh.comm, lambda: vtkhdf.truncate(self.path, LAYOUT, t))

    def _place(self, name: str, function: fem.Function) -> Place:
        """Where the values of a function sit; rejects what the file cannot hold."""
        vtkhdf.check_name(name)
        space = function.function_space
        if space.mesh is not self.mesh:
            raise InputError(f"function {name}: is on another mesh than {self.path}")
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

    def _original(self, place: Place, cells: int) -> np.ndarray:
        """Row in the file of each local degree of freedom of each local cell, (cells, dofs of a cell)."""
        if place == "Cell":
            return self._cells[:cells, None]
        rows: np.ndarray = self._nodes[self.mesh.geometry.dofmaps[0][:cells]]
        return rows

    def _gather(self, function: fem.Function, place: Place) -> np.ndarray:
        """Values in the order of the file, (rows,) or (rows, 3), on rank 0; nothing elsewhere. Collective."""
        dofmap = function.function_space.dofmap
        owned, size = dofmap.index_map.size_local, dofmap.index_map_bs
        row = np.empty(owned, dtype=np.int64)
        mine = dofmap.list < owned
        row[dofmap.list[mine]] = self._original(place, len(dofmap.list))[mine]
        values = gathered(self.mesh.comm, row, function.x.array[: owned * size].reshape(-1, size))
        return np.pad(values, ((0, 0), (0, 1))) if size == 2 else values[:, 0] if size == 1 else values

    def _gather_grid(self) -> dict[str, np.ndarray]:
        """The datasets of the mesh, on rank 0. Collective."""
        geometry, topology = self.mesh.geometry, self.mesh.topology
        nodes, cells = geometry.index_map().size_local, topology.index_map(topology.dim).size_local
        points = gathered(self.mesh.comm, self._nodes[:nodes], geometry.x[:nodes].astype("f8"))
        pieces = self._nodes[geometry.dofmaps[0][:cells]][:, self._pieces].astype("i8")
        corners = gathered(self.mesh.comm, self._cells[:cells], pieces).reshape(-1, self._pieces.shape[1])
        return {
            "NumberOfPoints": np.array([len(points)]),
            "NumberOfCells": np.array([len(corners)]),
            "NumberOfConnectivityIds": np.array([corners.size]),
            "Points": points,
            "Connectivity": corners.ravel(),
            "Offsets": np.arange(len(corners) + 1) * self._pieces.shape[1],
            "Types": np.full(len(corners), self._kind, dtype="u1"),
        }

    def _append(self, t: float, arrays: Mapping[str, np.ndarray]) -> None:
        step = len(times(self.path))
        zero = np.zeros(1, dtype=np.int64)
        rows = {
            "Steps/PartOffsets": (step, zero),
            "Steps/NumberOfParts": (step, zero + 1),
            "Steps/PointOffsets": (step, zero),
            "Steps/CellOffsets": (step, zero[:, None]),
            "Steps/ConnectivityIdOffsets": (step, zero[:, None]),
        }
        for name, values in arrays.items():
            first = step * len(values)
            rows[name] = (first, values)
            rows[f"Steps/{name.replace('/', 'Offsets/', 1)}"] = (step, zero + first)
        vtkhdf.append(self.path, LAYOUT, t, {}, rows)

    def _load(self, t: float, name: str, place: Place, size: int) -> np.ndarray:
        with vtkhdf.reading(self.path) as group:
            values = group[vtkhdf.VALUES][:]
            near = np.flatnonzero(np.abs(values - t) <= vtkhdf.close_to(t))
            if not len(near):
                raise InputError(f"{self.path}: t = {t}: the file has steps at t = {values.tolist()}")
            array = _load_array(group, f"{place}Data/{name}", int(near[0]))
        width = {1: (), 2: (3,), 3: (3,)}[size]
        if array.shape[1:] != width:
            raise InputError(f"{self.path}: {name}: rows are of shape {array.shape[1:]}, the function needs {width}")
        return array.reshape(len(array), -1)[:, :size]


def read_fields(path: Path | str, step: int = -1) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], float]:
    """One step of a file of fields. Serial.

    Args:
        path: the file.
        step: its number, from 0, or counted from the end.

    Returns:
        Points (points, 3); corners of the cells (cells, corners) in VTK's order; name -> values, (points,) or (cells,)
        of a scalar and (points, 3) or (cells, 3) of a vector; the time.

    Raises:
        InputError: there is no such file or step.
    """
    with vtkhdf.reading(path) as group:
        step = vtkhdf.step_index(group, step)
        cells = int(group["NumberOfCells"][0])
        arrays = {
            name: _load_array(group, f"{kind}/{name}", step)
            for kind in vtkhdf.ARRAYS
            if kind in group
            for name in group[kind]
        }
        corners = group["Connectivity"][:].reshape(cells, -1)
        return group["Points"][:], corners, arrays, float(group[vtkhdf.VALUES][step])


def _load_array(group: Any, name: str, step: int) -> np.ndarray:
    """Rows of one array at one step; the name with its place, such as PointData/u."""
    if name not in group:
        raise InputError(f"{group.file.filename}: there is no array {name}")
    count = int(group["NumberOfPoints" if name.startswith("Point") else "NumberOfCells"][0])
    return np.asarray(group[name][step * count : (step + 1) * count])


def _element(space: fem.FunctionSpace) -> tuple[basix.ElementFamily, int, bool] | None:
    """Family, degree and discontinuity; None if basix does not know the element (a mixed one), or for other nodes."""
    try:
        element = space.element.basix_element
    except RuntimeError:
        return None
    if element.degree > 2 and element.lagrange_variant != basix.LagrangeVariant.equispaced:
        return None
    return element.family, element.degree, element.discontinuous
