"""Meshes of gmsh and XDMF files.

The numbers of an XDMF file mostly lie in an HDF5 file beside it (so meshio and DOLFINx write them). Of these each rank
reads its share, so that none holds the whole; other files are read on rank 0, which deals them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.parallel import before, collected, named, on_all, on_root, scattered

if TYPE_CHECKING:
    import meshio

MESHIO_CELLS = {1: "line", 2: "triangle", 3: "tetra"}
"""Dimension -> meshio's name of its simplex."""
XDMF_CELLS = {1: "polyline", 2: "triangle", 3: "tetrahedron"}
"""Dimension -> XDMF's name of it, in small letters."""
PLURALS = {1: "lines", 2: "triangles", 3: "tetrahedra"}

type Dataset = tuple[Path, str]
"""An HDF5 file and the path of a dataset in it."""


def read(path: Path, dimension: int, comm: MPI.Comm = MPI.COMM_SELF) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, d) and simplices (m, d + 1) of a file, without the points that none of them uses. Collective.

    Returns:
        Those of this rank, in the order of the file; the simplices have the numbers of the points of all ranks.

    Raises:
        InputError: the file is not there, not readable, or holds other cells; its points are too few, not finite, or
            need more coordinates.
    """
    datasets = on_root(comm, lambda: _datasets(path, dimension))
    if datasets is None:
        points, cells = _dealt(path, dimension, comm)
    else:
        points, cells = on_all(comm, lambda: _shares(path, datasets, dimension, comm))
    total = comm.allreduce(len(points))
    used, inverse = np.unique(cells, return_inverse=True)
    on_all(comm, lambda: _check_numbers(path, used, total))
    kept = named(comm, used, total)
    new = np.cumsum(kept) - 1 + before(comm, int(np.count_nonzero(kept)))
    cells = collected(comm, used, new, total)[inverse].reshape(-1, dimension + 1)
    points = points[kept].astype(float, copy=False)
    on_all(comm, lambda: _check_finite(path, points))
    low, high = points.min(axis=0, initial=np.inf), points.max(axis=0, initial=-np.inf)
    comm.Allreduce(MPI.IN_PLACE, low, op=MPI.MIN)
    comm.Allreduce(MPI.IN_PLACE, high, op=MPI.MAX)
    if (high - low)[dimension:].max(initial=0.0) > 1e-12 * (high.max() - low.min()):
        where = "in a plane z = constant" if dimension == 2 else "on a line along x"
        raise InputError(f"mesh = {str(path)!r}: must lie {where}")
    return np.ascontiguousarray(points[:, :dimension]), cells


def _datasets(path: Path, dimension: int) -> list[Dataset] | None:
    """Where the points and the simplices of an XDMF file are; None if not each in one dataset of HDF5. Serial."""
    if path.suffix != ".xdmf":
        return None
    with _told(path):
        grids = ElementTree.parse(path).findall("./Domain/Grid")
    datasets, parts = [], (("Geometry", {"xy", "xyz"}), ("Topology", {XDMF_CELLS[dimension]}))
    for kind, types in parts:
        found = [part for grid in grids for part in grid.findall(kind)]
        items = [item for part in found for item in part]
        if [part.get("Type", part.get(f"{kind}Type", "")).lower() in types for part in found] != [True]:
            return None
        if [(item.get("Format"), len(item.get("Dimensions", "").split())) for item in items] != [("HDF", 2)]:
            return None
        file, _, name = (items[0].text or "").strip().partition(":")
        datasets.append((path.parent / file, name))
    return datasets


def _shares(path: Path, datasets: list[Dataset], dimension: int, comm: MPI.Comm) -> tuple[np.ndarray, np.ndarray]:
    """This rank's rows of the points and of the simplices of HDF5 files. Serial."""
    import h5py

    found, widths = [], (range(dimension, 4), [dimension + 1])
    with _told(path):
        for (file, name), allowed in zip(datasets, widths, strict=True):
            with h5py.File(file, "r", locking=False) as data:
                rows = data[name]
                if rows.ndim != 2 or rows.shape[1] not in allowed:
                    raise ValueError(f"{name} of {file.name} has the shape {rows.shape}")
                first, last = (len(rows) * rank // comm.size for rank in (comm.rank, comm.rank + 1))
                found.append(rows[first:last])
        return found[0], found[1].astype(np.int64, casting="same_kind", copy=False)


def _dealt(path: Path, dimension: int, comm: MPI.Comm) -> tuple[np.ndarray, np.ndarray]:
    """This rank's rows of the points and of the simplices of a file that is read on rank 0. Collective."""
    points, cells = np.empty((0, 0)), np.empty((0, dimension + 1), dtype=np.int64)

    def keep() -> int:
        nonlocal points, cells
        data = _file(path)
        wanted = MESHIO_CELLS[dimension]
        lesser = {"vertex", *(MESHIO_CELLS[d] for d in range(1, dimension))}
        if wanted not in data.cells_dict or set(data.cells_dict) - lesser - {wanted}:
            held = ", ".join(sorted(data.cells_dict)) or "no cells"
            allowed = f"{PLURALS[dimension]} of first order only"
            raise InputError(f"mesh = {str(path)!r}: must hold {allowed} (it holds {held})")
        points = np.asarray(data.points, dtype=float)
        cells = np.asarray(data.cells_dict[wanted], dtype=np.int64).reshape(-1, dimension + 1)
        if points.shape[1] < dimension:
            raise InputError(f"mesh = {str(path)!r}: its points have {points.shape[1]} coordinates, not {dimension}")
        return points.shape[1]

    width = on_root(comm, keep)
    return scattered(comm, points.reshape(-1, width)), scattered(comm, cells)


def _check_numbers(path: Path, used: np.ndarray, total: int) -> None:
    if len(used) and not 0 <= used[0] <= used[-1] < total:
        raise InputError(f"mesh = {str(path)!r}: some of its cells have points that are not there")


def _check_finite(path: Path, points: np.ndarray) -> None:
    if not np.isfinite(points).all():
        raise InputError(f"mesh = {str(path)!r}: some of its points have coordinates that are not finite")


def boundary_lines(path: Path, groups: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """The lines of some physical groups of a gmsh file of triangles, group after group.

    Args:
        path: the file.
        groups: names of physical groups of lines, or their numbers as text.

    Returns:
        The ends of the lines (k, 2), numbered as `read` numbers points, and the place of their groups in `groups` (k,).

    Raises:
        InputError: the file has no lines of such a group.
    """
    data = _file(path)
    used = np.unique(data.cells_dict["triangle"])
    lines = data.cells_dict.get("line", np.empty((0, 2), dtype=np.int64))
    seen = np.isin(lines, used).all(axis=1)
    marks = data.cell_data_dict.get("gmsh:physical", {}).get("line", np.zeros(len(lines), dtype=np.int64))
    names = {name: int(number) for name, (number, dimension) in data.field_data.items() if dimension == 1}
    names |= {str(number): int(number) for number in np.unique(marks)}
    found = []
    for name in groups:
        mine = seen & (marks == names.get(name, -1))
        if not mine.any():
            known = ", ".join(map(repr, names)) or "none"
            raise InputError(f"pde.boundary: {str(path)!r} has no lines of a physical group {name!r} (it has {known})")
        found.append(np.searchsorted(used, lines[mine]))
    return np.concatenate(found), np.repeat(np.arange(len(found)), list(map(len, found)))


def _file(path: Path) -> meshio.Mesh:
    import meshio

    with _told(path):  # meshio.read may end the process
        return meshio.xdmf.read(path) if path.suffix == ".xdmf" else meshio.gmsh.read(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of a file that is something else, which are of many kinds, become one."""
    if not path.is_file():
        raise InputError(f"mesh = {str(path)!r}: no such file")
    try:
        yield
    except (Exception, SystemExit) as error:
        kind, reason = "an .xdmf" if path.suffix == ".xdmf" else "a gmsh .msh", str(error) or type(error).__name__
        raise InputError(f"mesh = {str(path)!r}: not {kind} file that meshio can read ({reason})") from error
