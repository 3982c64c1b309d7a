"""Meshes: a torus, a box, a ball and a point, which need no mesh generator, and a user's gmsh file."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from mpi4py import MPI
from pydantic import Field, Tag

from limitpde.checked import Coordinate, Moderate, record, told_apart
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.fem import mesh_files, simplices
from limitpde.fem.simplices import WHOLE, Share
from limitpde.files import ExistingFile
from limitpde.parallel import before, on_all, spread

if TYPE_CHECKING:
    import dolfinx.mesh

Lengths = Moderate | Annotated[tuple[Moderate, ...], Field(min_length=1, max_length=3)]
Coordinates = Coordinate | Annotated[tuple[Coordinate, ...], Field(min_length=1, max_length=3)]

MOST_NODES = 10**8
"""Nodes that a mesh may have."""
LARGEST_TOLERANCE = 0.1
"""Up to which `Refinement.coarser` lets a tolerance grow."""


@record
class Disk:
    """A disk, meshed by rings of 6, 12, 18, ... nodes and their Delaunay triangulation (all edge weights >= 0)."""

    shape: Literal["disk"] = "disk"
    radius: Moderate
    """Radius of the disk, a length."""
    cell_size: Moderate
    """Distance of the rings; the number of rings is radius / cell_size, rounded up."""
    center_size: Moderate | None = None
    """Distance of the rings at the centre, for a mesh that is finer there; from there it grows to cell_size at the
    edge like (center_size^2 + (r / radius)^2 (cell_size^2 - center_size^2))^(1/2). The same everywhere by default."""
    center: tuple[Coordinate, Coordinate] = (0.0, 0.0)
    """Centre of the disk."""

    def __post_init__(self) -> None:
        _check_radius(self.radius, self.cell_size)
        if self.center_size is not None and self.center_size > self.cell_size:
            raise ValueError(f"center_size = {self.center_size} must not exceed cell_size = {self.cell_size}")

    @property
    def rings(self) -> int:
        """Number of rings of nodes around the centre."""
        growth, scale = self._grading
        return _rounded_up(math.asinh(self.radius / scale) / growth if growth else self.radius / self.cell_size)

    @property
    def _grading(self) -> tuple[float, float]:
        """b and a of the radii a sinh(b k) of a graded mesh, whose distance at r is ((a b)^2 + (b r)^2)^(1/2)."""
        finest = self.center_size or self.cell_size
        growth = math.sqrt(self.cell_size**2 - finest**2) / self.radius
        return growth, finest / growth if growth else math.inf

    @property
    def radii(self) -> np.ndarray:
        """Of the rings, (n,)."""
        rings, growth, scale = self.rings, *self._grading
        steps = np.arange(1, rings + 1)
        if not growth:
            return self.radius * steps / rings
        radii = np.sinh(math.asinh(self.radius / scale) / rings * steps)
        return np.asarray(self.radius * radii / radii[-1])

    def cells(self, dimension: int, share: Share = WHOLE) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 2) and triangles (m, 3), or a share of them."""
        if dimension != 2:
            raise InputError(f"mesh.shape = 'disk': has dimension 2, not {dimension}")
        return simplices.disk(self.radii, np.array(self.center), share)


@record
class _Grid:
    """A grid of boxes cut into simplices; abstract: the shapes below say what becomes of its ends."""

    shape: Literal["torus", "box"]
    size: Lengths
    """Lengths of the edges, (d,), or one length for all."""
    cell_size: Moderate
    """Length of the edges of the grid; the number of boxes along an edge is size / cell_size, rounded up."""
    origin: Coordinates = 0.0
    """Lower corner, (d,), or one coordinate for all."""

    def __post_init__(self) -> None:
        if self.cell_size > np.min(self.size):
            shown = list(self.size) if isinstance(self.size, tuple) else self.size
            raise ValueError(f"cell_size = {self.cell_size} must not exceed size = {shown}")

    def domain(self, dimension: int) -> Domain:
        """The torus or box in R^d.

        Raises:
            InputError: `size` or `origin` has another number of entries than d.
        """
        size = _each("size", self.size, dimension)
        return Domain(self.shape, _each("origin", self.origin, dimension), size)

    def boxes(self, dimension: int) -> np.ndarray:
        """Numbers of boxes along the edges, (d,)."""
        return np.array([_rounded_up(length / self.cell_size) for length in self.domain(dimension).size])

    def check(self, dimension: int) -> None:
        """Check that the mesh can be made.

        Raises:
            InputError: it has too many nodes.
        """
        _check_count(math.prod((self.boxes(dimension) + 1).tolist()), self.cell_size)

    def cells(self, dimension: int, share: Share = WHOLE) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, d) of the grid, both ends of each edge among them, simplices (m, d + 1), or a share of both."""
        domain = self.domain(dimension)
        return simplices.grid(domain.low, domain.size, self.boxes(dimension), share)


@record
class Torus(_Grid):
    """The torus: a grid of boxes cut into simplices, its opposite faces identified (`limitpde.fem.nodes`)."""

    shape: Literal["torus"] = "torus"


@record
class Box(_Grid):
    """A box with walls: a grid of boxes cut into simplices."""

    shape: Literal["box"] = "box"


@record
class Ball:
    """A ball with a wall: an interval, the disk of `Disk`, or tetrahedra in layers (`limitpde.fem.simplices`)."""

    shape: Literal["ball"] = "ball"
    radius: Moderate
    """Radius, a length."""
    cell_size: Moderate
    """Distance of the layers; the number of layers is radius / cell_size, rounded up."""
    center: Coordinates = 0.0
    """Centre, (d,), or one coordinate for all."""

    def __post_init__(self) -> None:
        _check_radius(self.radius, self.cell_size)

    @property
    def rings(self) -> int:
        """Number of layers around the centre."""
        return _rounded_up(self.radius / self.cell_size)

    def domain(self, dimension: int) -> Domain:
        """The ball in R^d.

        Raises:
            InputError: `center` has another number of entries than d.
        """
        return Domain.ball(self.radius, _each("center", self.center, dimension))

    def check(self, dimension: int) -> None:
        """Check that the mesh can be made.

        Raises:
            InputError: it has too many nodes.
        """
        layers = self.rings
        _check_count({1: 2 * layers, 2: 3 * layers**2, 3: 4 * layers**3}[dimension], self.cell_size)  # roughly

    def cells(self, dimension: int, share: Share = WHOLE) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, d) simplices (m, d + 1), or a share of both."""
        domain, layers = self.domain(dimension), self.rings
        if dimension == 1:
            return simplices.grid(domain.low, domain.size, np.array([2 * layers]), share)
        if dimension == 2:
            return simplices.disk(self.radius * np.arange(1, layers + 1) / layers, domain.center, share)
        return simplices.ball(self.radius, layers, domain.center, share)


@record
class Point:
    """One point of unit volume, for homogeneous densities: there is no mesh, and the equations are ordinary ones."""

    shape: Literal["point"] = "point"

    def domain(self, dimension: int) -> Domain:
        """The unit torus, on which particles have the same homogeneous densities."""
        return Domain.torus(np.ones(dimension))


@record
class Refinement:
    """How fine a mesh becomes that follows a solution (`limitpde.fem.refinement`)."""

    tolerance: Annotated[float, Field(gt=0, lt=1)]
    """Largest error of interpolation in the middle of an edge, as a part of the largest value of each density."""
    smallest_cell: Moderate
    """Length of edges that are not halved any more."""

    def coarser(self, factor: float) -> Refinement:
        """The same for cells that are larger by a factor."""
        tolerance = max(self.tolerance, min(factor**2 * self.tolerance, LARGEST_TOLERANCE))
        return Refinement(tolerance=tolerance, smallest_cell=factor * self.smallest_cell)


def mesh_kind(value: Any) -> str:
    """The shape of a mesh, "path" for a file, nothing where it is not said."""
    if isinstance(value, str):
        return "path"
    return str(value.get("shape", "")) if isinstance(value, dict) else str(getattr(value, "shape", ""))


AnyMesh = Annotated[
    Annotated[Torus, Tag("torus")]
    | Annotated[Box, Tag("box")]
    | Annotated[Ball, Tag("ball")]
    | Annotated[Point, Tag("point")]
    | Annotated[ExistingFile, Tag("path")],
    told_apart(mesh_kind, "'torus', 'box', 'ball', 'point'; or give the path of a gmsh file"),
]
"""What a case may name as its mesh."""


def coarser[M: Disk | Torus | Box | Ball | Point | str](mesh: M, factor: float) -> M:
    """The same mesh with cells that are larger by a factor, but a quarter of its size at most; one of a file stays."""
    if isinstance(mesh, str | Point):
        return mesh
    size = mesh.size if isinstance(mesh, Torus | Box) else mesh.radius
    longest = min(size) / 4 if isinstance(size, tuple) else size / 4
    return replace(mesh, cell_size=min(factor * mesh.cell_size, max(longest, mesh.cell_size)))


def finer(mesh: Disk | Torus | Box | Ball | Point | str, factor: float) -> dict[str, float]:
    """Key -> value of the same mesh with cells that are smaller by a factor; nothing for one of a file, or a point."""
    sizes = {name: getattr(mesh, name, None) for name in ("cell_size", "center_size")}
    return {f"mesh.{name}": size / factor for name, size in sizes.items() if size is not None}


def build(
    mesh: Disk | Torus | Box | Ball | str | Path | dolfinx.mesh.Mesh, comm: MPI.Comm, *, dimension: int = 2
) -> dolfinx.mesh.Mesh:
    """The DOLFINx mesh of a description, or of a gmsh or XDMF file; a DOLFINx mesh is returned as it is. Collective.

    One with coordinates in single precision is made anew in double precision. Opposite faces of a torus are not
    identified here.

    Raises:
        InputError: the file is not there, not readable, or holds no simplices of this dimension; the description is
            one of another dimension.
    """
    import dolfinx.mesh

    if isinstance(mesh, dolfinx.mesh.Mesh):
        return mesh if mesh.geometry.x.dtype == np.float64 else _in_double(mesh)
    return put_together(comm, *parts(mesh, comm, dimension))


def parts(
    mesh: Disk | Torus | Box | Ball | str | Path, comm: MPI.Comm, dimension: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """This rank's equal part of the points (n, d), and of the simplices (m, d + 1) by their numbers. Collective.

    Raises:
        InputError: see `build`.
    """
    if not isinstance(mesh, str | Path):
        return on_all(comm, lambda: arrays(mesh, dimension, (comm.rank, comm.size)))
    points, cells = mesh_files.read(Path(mesh), dimension, comm)
    numbers = before(comm, len(points)) + np.arange(len(points))
    return spread(comm, numbers, points, comm.allreduce(len(points)))[1], cells


def _in_double(mesh: dolfinx.mesh.Mesh) -> dolfinx.mesh.Mesh:
    """A mesh of simplices again, its nodes numbered as they were in its input. Collective."""
    from limitpde.dolfinx_versions import cell_nodes

    geometry, owned = mesh.geometry, mesh.topology.index_map(mesh.topology.dim).size_local
    numbers, nodes = np.asarray(geometry.input_global_indices), geometry.index_map()
    mine = nodes.size_local
    coordinates = geometry.x[:mine, : geometry.dim].astype(float)
    _, points = spread(mesh.comm, numbers[:mine], coordinates, nodes.size_global)
    return put_together(mesh.comm, points, numbers[cell_nodes(mesh)[:owned]])


def arrays(
    mesh: Disk | Torus | Box | Ball | str | Path, dimension: int, share: Share = WHOLE
) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, d) and simplices (m, d + 1) of a description, or a share of them; or of a gmsh or XDMF file. Serial.

    Raises:
        InputError: see `build`.
    """
    if isinstance(mesh, str | Path):
        return mesh_files.read(Path(mesh), dimension)
    if isinstance(mesh, Torus | Box | Ball):
        mesh.check(dimension)
    return mesh.cells(dimension, share)


def put_together(comm: MPI.Comm, points: np.ndarray, cells: np.ndarray) -> dolfinx.mesh.Mesh:
    """The DOLFINx mesh of each rank's share of the points and of the simplices, in their order. Collective."""
    import basix.ufl
    import dolfinx.mesh

    dimension = points.shape[1]
    element = basix.ufl.element("Lagrange", simplices.CELLS[dimension], 1, shape=(dimension,))
    return dolfinx.mesh.create_mesh(comm, cells, e=element, x=points)


def _rounded_up(ratio: float) -> int:
    return math.ceil(ratio * (1 - 1e-12))


def _check_count(nodes: int, cell_size: float) -> None:
    if nodes > MOST_NODES:
        most = f"more than {MOST_NODES:.3g}; make it larger"
        raise InputError(f"mesh.cell_size = {cell_size:g}: makes {nodes:.3g} nodes, {most}")


def _check_radius(radius: float, cell_size: float) -> None:
    if cell_size > radius:
        raise ValueError(f"cell_size = {cell_size} must not exceed radius = {radius}")


def _each(key: str, value: float | tuple[float, ...], dimension: int) -> np.ndarray:
    """The value for each coordinate, (d,)."""
    if isinstance(value, tuple) and len(value) != dimension:
        raise InputError(f"mesh.{key} = {list(value)}: must be a number or have {dimension} entries, one per dimension")
    return np.broadcast_to(np.asarray(value, dtype=float), (dimension,)).copy()
