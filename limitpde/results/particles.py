"""Particles, whose number may change from step to step, in one temporal VTKHDF file for a whole run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limitpde.errors import InputError
from limitpde.results import vtkhdf
from limitpde.results.vtkhdf import Layout, Mode, times

__all__ = ["ParticleSeries", "read_particles", "times"]

POINTS, NONE = "NumberOfPoints", "Lines/NumberOfCells"
COUNTS = ("NumberOfCells", "NumberOfConnectivityIds")
EMPTY = ("Lines", "Polygons", "Strips")
LAYOUT = Layout(
    "PolyData",
    counts=(POINTS, NONE),
    links={f"Vertices/{count}": POINTS for count in COUNTS}
    | {f"{cells}/{count}": NONE for cells in EMPTY for count in COUNTS if f"{cells}/{count}" != NONE}
    | {f"{cells}/Offsets": "Lines/Offsets" for cells in EMPTY if cells != "Lines"},
    fixed=tuple(f"{cells}/Connectivity" for cells in EMPTY),
)
"""Each particle is a vertex, and there are no other cells."""


class ParticleSeries:
    """The time series of a cloud of particles. Serial: one process opens the file and writes it.

    Args:
        path: the file, *.vtkhdf.
        mode: "w" writes a new file, "a" continues one.

    Raises:
        InputError: the mode is unknown, or there is no such file of particles to continue.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path | str, *, mode: Mode = "w") -> None:
        self.path = Path(path)
        vtkhdf.check_mode(self.path, mode)
        if mode == "w":
            vtkhdf.create(self.path, LAYOUT, {name: np.empty(0, dtype=np.int64) for name in LAYOUT.fixed})
            return
        with vtkhdf.reading(self.path) as group:
            if NONE not in group:
                raise InputError(f"{self.path}: is no file of particles")

    @property
    def times(self) -> np.ndarray:
        """The times of the steps in the file, (steps,)."""
        return times(self.path)

    def write(self, t: float, positions: np.ndarray, **data: np.ndarray) -> None:
        """Add a step.

        Args:
            t: its time, later than all before.
            positions: (n, d), d = 1, 2 or 3; missing coordinates are zero in the file. n may be 0.
            data: name -> numbers, (n,) or (n, k); pairs get a zero third component, which makes them vectors for
                ParaView. The same names and shapes at each step.

        Raises:
            InputError: the time is not later; an array has the wrong shape or holds no real numbers; the arrays are
                not those of the steps before.
            OSError: the disk is full, or the like.
        """
        t = vtkhdf.check_time(t)
        points = _checked_points(positions)
        arrays = {f"PointData/{name}": _checked_data(name, values, len(points)) for name, values in data.items()}
        with vtkhdf.reading(self.path) as group:
            counts = group[POINTS][:]
        first, most = int(counts.sum()), int(counts.max(initial=0))
        rows = _step_rows(len(counts), first, int(np.maximum(counts, 1).sum()), len(points)) | {
            "Points": (first, points),
            # Vertex i is point i at every step, so that all steps share the beginning of one table.
            "Vertices/Connectivity": (most, np.arange(most, len(points))),
        }
        for name, values in arrays.items():
            rows[name] = (first, values)
            rows[f"Steps/{name.replace('/', 'Offsets/', 1)}"] = (len(counts), np.array([first]))
        vtkhdf.append(self.path, LAYOUT, t, {POINTS: len(points), NONE: 0}, rows)

    def truncate(self, t: float) -> None:
        """Drop the steps later than t, before a run is continued from there.

        Raises:
            InputError: the time is not a finite number.
        """
        vtkhdf.truncate(self.path, LAYOUT, vtkhdf.check_time(t))


def read_particles(path: Path | str, step: int = -1) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """One step of a file of particles. Serial.

    Args:
        path: the file.
        step: its number, from 0, or counted from the end.

    Returns:
        Positions (n, 3); name -> values, (n,) or (n, k); the time.

    Raises:
        InputError: there is no such file or step.
    """
    with vtkhdf.reading(path) as group:
        step = vtkhdf.step_index(group, step)
        first = int(group["Steps/PointOffsets"][step])
        end = first + int(group[POINTS][step])
        data = {name: array[first:end] for name, array in group.get("PointData", {}).items()}
        return group["Points"][first:end], data, float(group[vtkhdf.VALUES][step])


def _checked_points(positions: np.ndarray) -> np.ndarray:
    points = np.asarray(positions)
    if points.ndim != 2 or not 1 <= points.shape[1] <= 3 or points.dtype.kind not in "fiu":
        raise InputError(f"positions of shape {points.shape}, {points.dtype}: must be real, (n, 1), (n, 2) or (n, 3)")
    return np.pad(points.astype("f8"), ((0, 0), (0, 3 - points.shape[1])))


def _checked_data(name: str, values: np.ndarray, count: int) -> np.ndarray:
    array = np.asarray(values)
    vtkhdf.check_name(name)
    if array.ndim not in (1, 2) or len(array) != count or array.dtype.kind not in "fiub":
        raise InputError(
            f"data {name} of shape {array.shape}, {array.dtype}: must be real, ({count},) or ({count}, k), "
            "one row for each position"
        )
    array = array.astype("u1") if array.dtype == bool else array
    return np.pad(array, ((0, 0), (0, 1))) if array.shape[1:] == (2,) else array


def _step_rows(step: int, first: int, cell: int, count: int) -> dict[str, tuple[int, np.ndarray]]:
    """The tables of one step whose `count` points begin at row `first`, and its cells at `cell`.

    VTK looks for the offsets of a step at row CellOffsets + PartOffsets, since each part has one more than cells. But
    VTK 9.4 to 9.7 takes the mesh for unchanged when CellOffsets is that of the step before; so an empty step counts
    as one cell there.
    """
    none = np.zeros((1, 4), dtype=np.int64)
    return {
        "Vertices/Offsets": (cell + step, np.arange(count + 1)),
        "Lines/Offsets": (step, none[0, :1]),
        "Steps/PartOffsets": (step, np.array([step])),
        "Steps/NumberOfParts": (step, np.array([1])),
        "Steps/PointOffsets": (step, np.array([first])),
        "Steps/CellOffsets": (step, np.array([[cell, 0, 0, 0]])),
        "Steps/ConnectivityIdOffsets": (step, none),
    }
