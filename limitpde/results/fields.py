"""Fields on a mesh that may change from step to step, in one temporal VTKHDF file for a whole run.

Rows are in the order of the input mesh (original vertex and cell numbers), so that a file does not depend on the
number of ranks and can be continued, or read back, on another number. They go through rank 0 unless they are many: then
each rank writes its own by MPI-IO, between making room for the step and adding it to the file.

The grids lie one after another in the file, each of them once; a step says which one is its own (Steps/PartOffsets)
and where that begins.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dolfinx import fem
from dolfinx.mesh import Mesh
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.parallel import on_all, on_root
from limitpde.results import shared_array, vtkhdf
from limitpde.results.grids import Grid
from limitpde.results.shared_array import Block
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
type Added = Mapping[str, np.ndarray] | Mapping[str, vtkhdf.Hole] | Mapping[str, np.ndarray | vtkhdf.Hole]
"""What a step adds to datasets, or the room for it."""
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
        blocks = None if self._stored and grid is self._grid else grid.blocks()
        if blocks is not None and self._has(blocks, grid, -1):
            blocks = None
        rows: Added
        cells: Added | None
        if _are_large(functions.values()):
            rows, cells = self._filled(t, grid, functions, blocks)
        else:
            rows, cells = grid.rows(functions), None if blocks is None else grid.arrays()
        on_root(grid.mesh.comm, lambda: vtkhdf.append(self.path, LAYOUT, t, *self._added(rows, cells, grid.kind)))
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

        def find() -> int:
            with vtkhdf.reading(self.path) as group:
                return _step_at(group, t)

        step = on_root(grid.mesh.comm, find)
        if not self._has(grid.blocks(), grid, step):
            raise InputError(f"{self.path}: t = {t}: the functions are on another mesh than this step")

        def load() -> dict[str, np.ndarray]:
            with vtkhdf.reading(self.path) as group:
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

    def _has(self, blocks: Mapping[str, Block], grid: Grid, step: int) -> bool:
        """Whether a grid is that of a step, up to rounding of the points; -1 for the last one, if any. Collective."""
        comm = grid.mesh.comm
        scale = comm.allreduce(float(np.abs(blocks["Points"].values).max(initial=0.0)), op=MPI.MAX)

        def mine() -> bool:
            with vtkhdf.reading(self.path) as group:
                if not len(group[vtkhdf.VALUES]):
                    return False
                part = int(group[PARTS][: len(group[vtkhdf.VALUES])][step])
                first = _starts([group[name][:] for name in COUNTS], part)
                sizes = {"Points": "NumberOfPoints", "Connectivity": "NumberOfConnectivityIds"}
                if any(group[count][part] != blocks[name].shape[0] for name, count in sizes.items()):
                    return False
                there = {}
                for name in ("Points", "Connectivity"):
                    rows, start = blocks[name].index[0], first[name]
                    assert isinstance(rows, slice)
                    there[name] = group[name][start + rows.start : start + rows.stop]
                points, corners = blocks["Points"].values, blocks["Connectivity"].values.view("i8")
                near = np.allclose(there["Points"], points, rtol=0, atol=SAME_POINT * scale)
                same = np.array_equal(there["Connectivity"], corners)
                return near and same and bool(group["Types"][first["Types"]] == grid.kind)

        return bool(comm.allreduce(on_all(comm, mine), op=MPI.LAND))

    def _filled(
        self, t: float, grid: Grid, functions: Mapping[str, fem.Function], blocks: Mapping[str, Block] | None
    ) -> tuple[Added, Added | None]:
        """What a step adds to its arrays and to the grids, by then in the file but not yet in use. Collective."""
        comm, parts = grid.mesh.comm, grid.parts(functions)
        cells: dict[str, np.ndarray | vtkhdf.Hole] | None = None
        holes = {name: vtkhdf.Hole(shape, np.dtype(float)) for name, (shape, _) in parts.items()}
        given = {name: block for name, (_, block) in parts.items()}
        if blocks is not None:
            cells = {name: vtkhdf.Hole(block.shape, NO_GRID[name].dtype) for name, block in blocks.items()}
            cells["Types"] = np.broadcast_to(np.uint8(grid.kind), len(cells["Offsets"]) - 1)
            given |= {name: functools.partial(blocks.__getitem__, name) for name in blocks}
        first = on_root(comm, lambda: vtkhdf.reserve(self.path, LAYOUT, t, self._added(holes, cells, grid.kind)[1]))
        shared_array.fill(comm, self.path, [(first[name], block) for name, block in given.items()])
        return holes, cells

    def _added(self, arrays: Added, grid: Added | None, kind: int) -> tuple[dict[str, int], vtkhdf.Rows]:
        """What a step adds to tables and datasets, on the last grid (None) or on a new one. On rank 0."""
        with vtkhdf.reading(self.path) as group:
            step, counts = len(group[vtkhdf.VALUES]), [group[name][:] for name in COUNTS]
            parts = group[PARTS][:step] if step else np.empty(0, dtype=np.int64)
            if grid is not None and step:
                _check_kind(group, kind)
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


def _check_kind(group: Any, kind: int) -> None:
    """Reject cells of another kind than those in the file."""
    if len(group[vtkhdf.VALUES]) and group["Types"][0] != kind:
        raise InputError(f"{group.file.filename}: was written on a mesh of other cells, so that it cannot be continued")


def _step_at(group: Any, t: float) -> int:
    """The step at a time."""
    name, values = group.file.filename, group[vtkhdf.VALUES][:]
    near = np.flatnonzero(np.abs(values - t) <= vtkhdf.close_to(t))
    if not len(near):
        raise InputError(f"{name}: t = {t}: the file has steps at t = {values.tolist()}")
    return int(near[0])


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
