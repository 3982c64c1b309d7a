"""Meshes: a disk that needs no mesh generator, and a user's gmsh file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import basix.ufl
import dolfinx.mesh
import meshio
import numpy as np
from mpi4py import MPI
from pydantic import Field
from scipy.spatial import Delaunay

from limitpde.checked import record
from limitpde.errors import InputError
from limitpde.parallel import on_root

Point = tuple[float, float]


@record
class Disk:
    """A disk, meshed by rings of 6, 12, 18, ... nodes and their Delaunay triangulation (all edge weights >= 0)."""

    shape: Literal["disk"] = "disk"
    radius: Annotated[float, Field(gt=0)]
    """Radius of the disk, a length."""
    cell_size: Annotated[float, Field(gt=0)]
    """Distance of the rings; the number of rings is radius / cell_size, rounded up."""
    center: Point = (0.0, 0.0)
    """Centre of the disk."""

    def __post_init__(self) -> None:
        if self.cell_size > self.radius:
            raise ValueError(f"cell_size = {self.cell_size} must not exceed radius = {self.radius}")

    @property
    def rings(self) -> int:
        """Number of rings of nodes around the centre."""
        return math.ceil(self.radius / self.cell_size * (1 - 1e-12))

    def points(self) -> np.ndarray:
        """Nodes, (1 + 3 n (n + 1), 2): the centre, then ring after ring, every second ring turned by half a step."""
        ring = np.repeat(np.arange(1, self.rings + 1), 6 * np.arange(1, self.rings + 1))
        place = np.arange(len(ring)) - 3 * ring * (ring - 1)
        angle = 2 * np.pi * (place + 0.5 * (ring % 2)) / (6 * ring)
        radius = self.radius * ring / self.rings
        nodes = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return np.concatenate([np.zeros((1, 2)), nodes]) + np.array(self.center)


def build(mesh: Disk | str | Path | dolfinx.mesh.Mesh, comm: MPI.Comm) -> dolfinx.mesh.Mesh:
    """The DOLFINx mesh of a description, or of a gmsh file; a DOLFINx mesh is returned as it is. Collective.

    Raises:
        InputError: the file is not there, not readable, or holds no triangles in the plane.
    """
    if isinstance(mesh, dolfinx.mesh.Mesh):
        return mesh
    points, cells = np.empty((0, 2)), np.empty((0, 3), dtype=np.int64)

    def make() -> None:
        nonlocal points, cells
        points, cells = _triangulate(mesh.points()) if isinstance(mesh, Disk) else _read(Path(mesh))

    on_root(comm, make)
    element = basix.ufl.element("Lagrange", "triangle", 1, shape=(2,))
    return dolfinx.mesh.create_mesh(comm, cells, element, points)


def _triangulate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cells = Delaunay(points).simplices.astype(np.int64)
    area = _doubled_area(points, cells)
    return points, cells[area > 1e-9 * area.max()]  # round-off leaves slivers between nodes of the outer circle


def _doubled_area(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    a, b = points[cells[:, 1]] - points[cells[:, 0]], points[cells[:, 2]] - points[cells[:, 0]]
    return np.asarray(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2) and triangles (m, 3) of a gmsh file, without the points that no triangle uses."""
    if not path.is_file():
        raise InputError(f"mesh = {str(path)!r}: no such file")
    try:
        data = meshio.gmsh.read(path)  # meshio.read ends the process where the file is not gmsh's
    except Exception as error:  # meshio raises many kinds for a file that is not gmsh's
        raise InputError(f"mesh = {str(path)!r}: not a gmsh .msh file that meshio can read ({error})") from error
    kinds = sorted(set(data.cells_dict) - {"vertex", "line", "triangle"})
    if kinds or "triangle" not in data.cells_dict:
        found = ", ".join(sorted(data.cells_dict)) or "no cells"
        raise InputError(f"mesh = {str(path)!r}: must hold triangles of first order only (it holds {found})")
    used, cells = np.unique(data.cells_dict["triangle"], return_inverse=True)
    points = data.points[used]
    if points.shape[1] == 3 and np.ptp(points[:, 2]) > 1e-12 * np.ptp(points):
        raise InputError(f"mesh = {str(path)!r}: must lie in a plane z = constant")
    return points[:, :2].copy(), cells.reshape(-1, 3).astype(np.int64)
