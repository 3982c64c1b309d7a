"""Meshes in space around the support of V: a ball that needs no mesh generator, and a user's gmsh file.

The ball consists of 20 cones over the faces of an icosahedron, each divided into k^3 tetrahedra by Freudenthal's
division, whose layers are moved onto spheres; cells are curved, of order 2. A layer of nodes lies on the surface of the
support (a sphere, or the ellipsoid), so that no cell is cut by it.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import basix.ufl
import dolfinx.mesh
import meshio
import numpy as np
from mpi4py import MPI

from limitpde.coagulation.interaction import Ellipsoid, Interaction
from limitpde.errors import InputError
from limitpde.parallel import on_root

EDGES = ((2, 3), (1, 3), (1, 2), (0, 3), (0, 2), (0, 1))
"""Edges of a tetrahedron in the order in which DOLFINx numbers the nodes on them."""
FROM_MESHIO = {"tetra": [0, 1, 2, 3], "tetra10": [0, 1, 2, 3, 9, 8, 5, 7, 6, 4]}
"""The nodes of a cell in DOLFINx's order."""


def icosahedral_ball(radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A ball of curved tetrahedra with nodes on given spheres.

    Args:
        radii: (k,) increasing radii > 0 of the spheres, the last that of the ball.

    Returns:
        Points (about 80/3 k^3, 3) and cells (20 k^3, 10), in DOLFINx's order for tetrahedra of order 2.
    """
    k = len(radii)
    corners, faces = _icosahedron()
    parts = _divided(k)
    nodes = [2 * parts[:, i] for i in range(4)] + [parts[:, i] + parts[:, j] for i, j in EDGES]
    lattice = np.stack(nodes, axis=1).reshape(-1, 3)  # x1 >= x2 >= x3, half steps
    weights = np.stack([lattice[:, 0] - lattice[:, 1], lattice[:, 1] - lattice[:, 2], lattice[:, 2]], axis=1)
    places = np.concatenate([weights @ corners[face] for face in faces])
    level = np.tile(lattice[:, 0], len(faces))
    keys = np.round(places * 1e7).astype(np.int64)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    places, level = places[first], level[first]
    radius = np.interp(level / 2, np.arange(k + 1), np.concatenate([[0.0], radii]))
    length = np.where(level > 0, np.linalg.norm(places, axis=1), 1.0)
    return places * (radius / length)[:, None], inverse.reshape(-1, 10).astype(np.int64)


def _icosahedron() -> tuple[np.ndarray, list[list[int]]]:
    """Corners (12, 3) of length one, and the 20 faces."""
    golden = (1 + np.sqrt(5)) / 2
    corners = np.array([np.roll([0.0, a, b * golden], turn) for turn in range(3) for a in (-1, 1) for b in (-1, 1)])
    edge = np.isclose(np.linalg.norm(corners[:, None] - corners, axis=2), 2.0)
    faces = [[a, b, c] for a, b, c in itertools.combinations(range(12), 3) if edge[a, b] and edge[b, c] and edge[a, c]]
    return corners / np.linalg.norm(corners[0]), faces


def _divided(k: int) -> np.ndarray:
    """Corners (k^3, 4, 3) of the parts of the simplex k >= x1 >= x2 >= x3 >= 0; each spans one step of x1."""
    base = np.array([x for x in itertools.product(range(k), repeat=3) if x[0] >= x[1] >= x[2]])
    paths = [np.cumsum(np.eye(3, dtype=int)[list(order)], axis=0) for order in itertools.permutations(range(3))]
    steps = np.array([np.vstack([np.zeros((1, 3), dtype=int), path]) for path in paths])
    parts = (base[:, None, None, :] + steps).reshape(-1, 4, 3)
    return parts[(np.diff(parts, axis=2) <= 0).all(axis=(1, 2))]


def around(interaction: Interaction, *, layers: int, radius: float, comm: MPI.Comm) -> dolfinx.mesh.Mesh:
    """The ball of radius `radius`, in units of the reach of V, with nodes on the support's surface. Collective.

    Raises:
        InputError: the radius is below 1 (for an ellipsoid: not above 1), or there are too few layers.
    """
    reach, stretched = interaction.reach(3), isinstance(interaction, Ellipsoid) and not interaction.radial
    if radius < 1 or (stretched and radius == 1):
        raise InputError(f"radius = {radius}: must be at least 1, for an ellipsoid above 1, in units of the reach of V")
    outside = max(round(layers * (1 - 1 / radius) / 1.5), 1) if radius > 1 else 0
    if layers <= outside:
        raise InputError(f"layers = {layers}: must be at least {outside + 1}")
    inner = reach * np.arange(1, layers - outside + 1) / (layers - outside)
    radii = np.concatenate([inner, reach * radius ** (np.arange(1, outside + 1) / max(outside, 1))])
    points, cells = np.empty((0, 3)), np.empty((0, 10), dtype=np.int64)
    if comm.rank == 0:
        points, cells = icosahedral_ball(radii)
    if isinstance(interaction, Ellipsoid) and stretched:
        points = _stretch(points, np.array(interaction.axes), reach * radius)
    element = basix.ufl.element("Lagrange", "tetrahedron", 2, shape=(3,))
    return dolfinx.mesh.create_mesh(comm, cells, e=element, x=points)


def _stretch(points: np.ndarray, axes: np.ndarray, radius: float) -> np.ndarray:
    """Points (n, 3) of a ball moved along their rays, so that its sphere max(axes) becomes the ellipsoid."""
    reach, length = axes.max(), np.linalg.norm(points, axis=1)[:, None]
    beyond = np.clip((length - reach) / (radius - reach), 0, None)
    surface = points / np.maximum(length, 1e-300) * axes
    outer = points * (radius / np.maximum(length, 1e-300))
    return np.where(length <= reach, points * axes / reach, surface * (1 - beyond) + outer * beyond)


def from_file(path: Path, volume: int | str | None, comm: MPI.Comm) -> tuple[dolfinx.mesh.Mesh, np.ndarray]:
    """The mesh of a gmsh file and, for the cells of this rank with ghosts, whether they lie in the volume. Collective.

    Raises:
        InputError: no such file, no tetrahedra in it, or no such volume.
    """
    points, cells = np.empty((0, 3)), np.empty((0, 0), dtype=np.int64)

    def read() -> tuple[int, np.ndarray]:
        nonlocal points, cells
        points, cells, inside = _read(path, volume)
        return cells.shape[1], inside

    nodes, inside = on_root(comm, read)
    if comm.rank != 0:
        cells = np.empty((0, nodes), dtype=np.int64)
    element = basix.ufl.element("Lagrange", "tetrahedron", 1 if nodes == 4 else 2, shape=(3,))
    mesh = dolfinx.mesh.create_mesh(comm, cells, e=element, x=points)
    return mesh, inside[mesh.topology.original_cell_index]


def _read(path: Path, volume: int | str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (n, 3), cells (m, 4 or 10) and which cells lie in the physical volume (m,)."""
    if not path.is_file():
        raise InputError(f"mesh = {str(path)!r}: no such file")
    try:
        data = meshio.gmsh.read(path)  # meshio.read ends the process where the file is not gmsh's
    except Exception as error:  # meshio raises many kinds for a file that is not gmsh's
        raise InputError(f"mesh = {str(path)!r}: not a gmsh .msh file that meshio can read ({error})") from error
    kinds = [kind for kind in data.cells_dict if kind in FROM_MESHIO]
    if len(kinds) != 1 or set(data.cells_dict) & {"hexahedron", "wedge", "pyramid"}:
        found = ", ".join(sorted(data.cells_dict)) or "no cells"
        raise InputError(f"mesh = {str(path)!r}: must hold tetrahedra of one order, 1 or 2 (it holds {found})")
    order = FROM_MESHIO[kinds[0]]
    used, cells = np.unique(data.cells_dict[kinds[0]], return_inverse=True)
    cells = cells.reshape(-1, len(order))[:, order].astype(np.int64)
    tags = np.asarray(data.cell_data_dict.get("gmsh:physical", {}).get(kinds[0], np.zeros(len(cells))), dtype=np.int64)
    names = {name: int(number) for name, (number, dimension) in data.field_data.items() if dimension == 3}
    inside = tags == (names.get(volume, -1) if isinstance(volume, str) else volume)
    if volume is not None and not inside.any():
        known = ", ".join([str(tag) for tag in np.unique(tags)] + [repr(name) for name in names])
        raise InputError(f"volume = {volume!r}: no physical volume of {str(path)!r}, which has {known}")
    return data.points[used], cells, np.asarray(inside)
