"""Fields on a mesh that may change from step to step, in one temporal VTKHDF file for a whole run.

Rows are in the order of the input mesh (original vertex and cell numbers), so that a file does not depend on the
number of ranks and can be continued, or read back, on another number. Meshes go through rank 0, and so do values unless
they are many: then each rank writes its own by MPI-IO, between making room for the step and adding it to the file.

The grids lie one after another in the file, each of them once; a step says which one is its own (Steps/PartOffsets)
and where that begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dolfinx import fem
from dolfinx.mesh import Mesh

from limitpde.errors import InputError
from limitpde.parallel import on_root
from limitpde.results import shared_array, vtkhdf
from limitpde.results.grids import Grid
from limitpde.results.vtkhdf import PARTS, Layout, Mode, times

__all__ = ["FieldSeries", "read_fields", "times"]

COUNTS = {"NumberOfPoints": "Points", "NumberOfCells": "Types", "NumberOfConnectivityIds": "Connectivity"}
"""Table of the grids -> the dataset in which each of them has so many rows."""
LAYOUT = Layout("UnstructuredGrid", counts=tuple(COUNTS))
NO_GRID = {
    "Points": np.empty((0, 3)),
    "Connectivity": np.empty(0, dtype="i8"),
    "Offsets": np.empty(0, dtype="i8"),
    "Types": np.empty(0, dtype="u1"),
}
"""What a step adds to the grids when its own is there already."""
PLACES = (
    PARTS,
    *(f"Steps/{name}" for name in ("NumberOfParts", "PointOffsets", "CellOffsets", "ConnectivityIdOffsets")),
)
"""Where the grid of a step is."""
Outputs = dict[str, tuple[Mesh, dict[str, fem.Function]]]
"""Stem of a file -> its mesh and the functions on it."""
LARGE = 1 << 23
"""Values of a step from which each rank writes its own, if they are in double precision."""
SAME_POINT = 1e-12
"""How far apart points of equal meshes may be, as a part of the largest coordinate."""


class FieldSeries:
    """The time series of some functions; those of one step share a mesh, which may be another at each step.

    All methods are collective and right when a rank owns nothing; an error on one rank is raised on all.

    Args:
        path: the file, *.vtkhdf.
        mesh: the mesh at the start; what it may be, says `Grid`.
        mode: "w" writes a new file, "a" continues one. A mesh that is that of the last step is not stored again.

    Raises:
        InputError: the mesh has cells that a file cannot hold; the mode is unknown; the file to continue is not there,
            or its cells are of another kind.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path | str, mesh: Mesh, *, mode: Mode = "w") -> None:
        self.path = Path(path)
        vtkhdf.check_mode(self.path, mode)
        self._grid = Grid(mesh)
        self._stored = False  # whether that is the grid of the last step
        on_root(mesh.comm, lambda: self._open(mode, self._grid.kind))

    def _open(self, mode: Mode, kind: int) -> None:
        if mode == "w":
            vtkhdf.create(self.path, LAYOUT, {})
            return
        with vtkhdf.reading(self.path) as group:
            _check_kind(group, kind)

    @property
    def times(self) -> np.ndarray:
        """The times of the steps in the file, (steps,). Collective."""
        return on_root(self._grid.mesh.comm, lambda: times(self.path))

    def write(self, t: float, functions: Mapping[str, fem.Function]) -> None:
        """Add a step. Collective; ghosts need not be up to date.

        Args:
            t: its time, later than all before.
            functions: name -> real function of one to three components, Lagrange with the nodes of the mesh, or DG-0
                where the cells are drawn as they are; all on one mesh; the same names at each step.

        Raises:
            InputError: the time is not later; the names are not those of the steps before; a function is on another
                mesh than the first one, or of another kind; the cells are of another kind than before.
            OSError: the disk is full, or the like.
        """
        t = vtkhdf.check_time(t)
        grid = self._grid_of(functions.values())
        stored = self._stored and grid is self._grid
        cells = None if stored else grid.arrays()
        rows = self._filled(t, grid, functions, cells) if _are_large(functions.values()) else grid.rows(functions)
        on_root(grid.mesh.comm, lambda: vtkhdf.append(self.path, LAYOUT, t, *self._added(rows, cells)))
        self._grid, self._stored = grid, True

    def read(self, t: float, functions: Mapping[str, fem.Function]) -> None:
        """Put the step at a time back into functions like those it was written from. Collective; updates ghosts.

        Args:
            t: the time of a step in the file, up to rounding.
            functions: array in the file -> function to fill, all on a mesh equal to that of the step.

        Raises:
            InputError: there is no such step or array, or a function is on another mesh or of another kind.
        """
        t = vtkhdf.check_time(t)
        grid = self._grid_of(functions.values())
        places = {name: grid.place(name, function) for name, function in functions.items()}
        sizes = {name: function.function_space.dofmap.index_map_bs for name, function in functions.items()}
        cells = grid.arrays()

        def load() -> dict[str, np.ndarray]:
            with vtkhdf.reading(self.path) as group:
                step = _step_at(group, t, cells)
                return {name: _load_rows(group, f"{places[name]}Data/{name}", step, sizes[name]) for name in places}

        rows = on_root(grid.mesh.comm, load)
        for name, function in functions.items():
            grid.fill(function, places[name], rows[name])

    def truncate(self, t: float) -> None:
        """Drop the steps later than t, and the grids that only they have, before a run is continued. Collective.

        Raises:
            InputError: the time is not a finite number.
        """
        t = vtkhdf.check_time(t)
        on_root(self._grid.mesh.comm, lambda: vtkhdf.truncate(self.path, LAYOUT, t))
        self._stored = False

    def _grid_of(self, functions: Iterable[fem.Function]) -> Grid:
        """The grid of the first function's mesh: the one before, if the mesh is still the same object."""
        mesh = next((function.function_space.mesh for function in functions), self._grid.mesh)
        return self._grid if mesh is self._grid.mesh else Grid(mesh)

    def _filled(
        self, t: float, grid: Grid, functions: Mapping[str, fem.Function], cells: dict[str, np.ndarray] | None
    ) -> dict[str, vtkhdf.Hole]:
        """What a step adds to its arrays, by then in the file but not yet in use. Collective."""
        comm, parts = grid.mesh.comm, grid.parts(functions)
        holes = {name: vtkhdf.Hole(shape, np.dtype(float)) for name, (shape, _) in parts.items()}
        first = on_root(comm, lambda: vtkhdf.reserve(self.path, LAYOUT, t, self._added(holes, cells)[1]))
        shared_array.fill(comm, self.path, [(first[name], block) for name, (_, block) in parts.items()])
        return holes

    def _added(
        self, arrays: Mapping[str, np.ndarray] | Mapping[str, vtkhdf.Hole], grid: dict[str, np.ndarray] | None
    ) -> tuple[dict[str, int], vtkhdf.Rows]:
        """What a step adds to tables and datasets, on the last grid (None) or on one perhaps not there. On rank 0."""
        with vtkhdf.reading(self.path) as group:
            step, counts = len(group[vtkhdf.VALUES]), [group[name][:] for name in COUNTS]
            parts = group[PARTS][:step] if step else np.empty(0, dtype=np.int64)
            if grid is not None and step:
                _check_kind(group, int(grid["Types"][0]))
                grid = None if _is_part(group, int(parts[-1]), grid) else grid
        added = {count: len(grid[name]) for count, name in COUNTS.items()} if grid else {}
        part = len(counts[0]) - (0 if grid else 1)
        end, first = _starts(counts, len(counts[0])), _starts(counts, part)
        rows: dict[str, tuple[int, np.ndarray | vtkhdf.Hole]] = {
            name: (end[name], array) for name, array in (grid or NO_GRID).items()
        }
        rows |= {
            PARTS: (step, np.array([part])),
            "Steps/NumberOfParts": (step, np.array([1])),
            "Steps/PointOffsets": (step, np.array([first["Points"]])),
            "Steps/CellOffsets": (step, np.array([[first["Types"]]])),
            "Steps/ConnectivityIdOffsets": (step, np.array([[first["Connectivity"]]])),
        }
        for name, values in arrays.items():
            row = int(counts[0 if name.startswith("Point") else 1][parts].sum())
            rows[name] = (row, values)
            rows[_offsets(name)] = (step, np.array([row]))
        return added, rows


def _are_large(functions: Iterable[fem.Function]) -> bool:
    """Whether each rank should write the values of these functions itself; the same on every rank."""
    own = list(functions)
    dofmaps = [function.function_space.dofmap for function in own]
    values = sum(dofmap.index_map.size_global * dofmap.index_map_bs for dofmap in dofmaps)
    return values >= LARGE and all(each.dtype == float and each.function_space.mesh.comm.size > 1 for each in own)


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
        grid = _load_part(group, int(group[PARTS][step]))
        arrays = {
            name: _load_array(group, f"{kind}/{name}", step)
            for kind in vtkhdf.ARRAYS
            if kind in group
            for name in group[kind]
        }
        corners = grid["Connectivity"].reshape(len(grid["Types"]), -1)
        return grid["Points"], corners, arrays, float(group[vtkhdf.VALUES][step])


def digests(path: Path, *, first: int = 0, end: int | None = None) -> list[str]:
    """A sha256 of all that the file holds of each step: its time, its grid, its arrays and where they lie. Serial.

    Args:
        path: the file.

    Keyword Args:
        first: number of the first step.
        end: number of the step behind the last one; all steps by default.

    Raises:
        InputError: there is no such file, or it is no temporal VTKHDF file of fields.
    """
    with vtkhdf.reading(path) as group:
        vtkhdf.check_head(group, LAYOUT)
        steps = range(len(group[vtkhdf.VALUES]))[first:end]
        arrays = [f"{kind}/{name}" for kind in vtkhdf.ARRAYS if kind in group for name in group[kind]]
        tables = [vtkhdf.VALUES, *PLACES, *map(_offsets, arrays)]
        return [_digest(group, step, sorted(arrays), tables) for step in steps]


def _digest(group: Any, step: int, arrays: Iterable[str], tables: Iterable[str]) -> str:
    rows = {name: np.asarray(group[name][step]) for name in tables}
    rows |= _load_part(group, int(group[PARTS][step])) | {name: _load_array(group, name, step) for name in arrays}
    found = hashlib.sha256()
    for name, values in rows.items():
        found.update(f"{name} {values.dtype} {values.shape} ".encode() + values.tobytes())
    return found.hexdigest()


def _starts(counts: Sequence[np.ndarray], part: int) -> dict[str, int]:
    """Row at which a grid begins in each of its datasets, behind all before it; each has one more offset than cells.

    Args:
        counts: the tables COUNTS, (grids,) each.
        part: number of the grid; that of a grid to come is the number of grids.
    """
    points, cells, corners = (int(array[:part].sum()) for array in counts)
    return {"Points": points, "Connectivity": corners, "Offsets": cells + part, "Types": cells}


def _load_part(group: Any, part: int) -> dict[str, np.ndarray]:
    """The datasets of one grid."""
    counts = [group[name][:] for name in COUNTS]
    first, end = _starts(counts, part), _starts(counts, part + 1)
    return {name: group[name][first[name] : end[name]] for name in first}


def _is_part(group: Any, part: int, grid: Mapping[str, np.ndarray]) -> bool:
    """Whether a grid is the one in the file with this number, up to rounding of the points."""
    if any(len(grid[name]) != group[count][part] for count, name in COUNTS.items()):
        return False
    there, scale = _load_part(group, part), np.abs(grid["Points"]).max()
    near = np.allclose(there["Points"], grid["Points"], rtol=0, atol=SAME_POINT * scale)
    return near and all(np.array_equal(there[name], grid[name]) for name in grid if name != "Points")


def _check_kind(group: Any, kind: int) -> None:
    """Reject cells of another kind than those in the file."""
    if len(group[vtkhdf.VALUES]) and group["Types"][0] != kind:
        raise InputError(f"{group.file.filename}: was written on a mesh of other cells, so that it cannot be continued")


def _step_at(group: Any, t: float, grid: Mapping[str, np.ndarray]) -> int:
    """The step at a time, which must be on the grid."""
    name, values = group.file.filename, group[vtkhdf.VALUES][:]
    near = np.flatnonzero(np.abs(values - t) <= vtkhdf.close_to(t))
    if not len(near):
        raise InputError(f"{name}: t = {t}: the file has steps at t = {values.tolist()}")
    step = int(near[0])
    if not _is_part(group, int(group[PARTS][step]), grid):
        raise InputError(f"{name}: t = {t}: the functions are on another mesh than this step")
    return step


def _load_rows(group: Any, name: str, step: int, size: int) -> np.ndarray:
    """Values of a function of so many components at a step, (rows, components); the name with its place."""
    array = _load_array(group, name, step)
    width = {1: (), 2: (3,), 3: (3,)}[size]
    if array.shape[1:] != width:
        raise InputError(
            f"{group.file.filename}: {name}: rows are of shape {array.shape[1:]}, the function needs {width}"
        )
    return array.reshape(len(array), -1)[:, :size]


def _load_array(group: Any, name: str, step: int) -> np.ndarray:
    """Rows of one array at one step; the name with its place, such as PointData/u."""
    if name not in group:
        raise InputError(f"{group.file.filename}: there is no array {name}")
    counts = group["NumberOfPoints" if name.startswith("Point") else "NumberOfCells"]
    first = int(group[_offsets(name)][step])
    return np.asarray(group[name][first : first + int(counts[group[PARTS][step]])])


def _offsets(name: str) -> str:
    """Where the first rows of an array are: PointData/u -> Steps/PointDataOffsets/u."""
    return f"Steps/{name.replace('/', 'Offsets/', 1)}"
