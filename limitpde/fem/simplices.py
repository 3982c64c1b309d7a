"""Points and cells of simple domains, and of gmsh and XDMF files: simplices in one, two and three dimensions. Serial.

A grid is cut into Kuhn's simplices, d! to a cell: the stiffness matrix of first-order elements on it is that of finite
differences with 2 d neighbours. The disk has rings of 6, 12, 18, ... nodes and their Delaunay triangulation, with edge
weights >= 0. The three-dimensional ball is an icosahedron, twenty nearly regular tetrahedra around the centre, each cut
into n^3 and pushed out until its n layers lie on spheres; dihedral angles stay between 37 and 130 degrees.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limitpde.errors import InputError

if TYPE_CHECKING:
    import meshio

CELLS = {1: "interval", 2: "triangle", 3: "tetrahedron"}
"""Dimension -> DOLFINx's name of its simplex."""
GMSH_CELLS = {1: "line", 2: "triangle", 3: "tetra"}
"""Dimension -> meshio's name of its simplex."""
FLAT = 1e-9
"""Twice the area of a triangle, as a part of the square of its longest edges, up to which it is none."""
PLURALS = {1: "lines", 2: "triangles", 3: "tetrahedra"}


def grid(low: np.ndarray, size: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A box, cut into boxes and these into Kuhn's simplices.

    Args:
        low: (d,) lower corner.
        size: (d,) lengths of the edges.
        cells: (d,) numbers of boxes along them.

    Returns:
        Points (n, d), the last coordinate running fastest, and cells (m, d + 1).
    """
    d = len(cells)
    lines = [low[c] + size[c] * np.arange(cells[c] + 1) / cells[c] for c in range(d)]
    points = np.stack([axis.ravel() for axis in np.meshgrid(*lines, indexing="ij")], axis=1)
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*map(np.arange, cells), indexing="ij")], axis=1)
    return points, np.ravel_multi_index(tuple(np.moveaxis(kuhn(corners), -1, 0)), tuple(cells + 1)).astype(np.int64)


def kuhn(corners: np.ndarray) -> np.ndarray:
    """Vertices of the d! simplices of the unit cells at the corners (n, d), as lattice points (d! n, d + 1, d)."""
    d = corners.shape[1]
    paths = []
    for order in itertools.permutations(range(d)):
        steps = np.zeros((d + 1, d), dtype=np.int64)
        for k, axis in enumerate(order):
            steps[k + 1 :, axis] = 1
        paths.append(corners[:, None] + steps)
    return np.concatenate(paths)


def pieces(dimension: int, count: int) -> np.ndarray:
    """Barycentric coordinates (count^d, d + 1) of the middles of the parts of a simplex, each edge cut in `count`."""
    d = dimension
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*[np.arange(count)] * d, indexing="ij")], axis=1)
    middle = kuhn(corners).mean(axis=1) / count  # of a cube; those with x_1 >= x_2 >= ... cut the simplex of that order
    middle = middle[(np.diff(middle, axis=1) <= 0).all(axis=1)]
    return -np.diff(middle, axis=1, prepend=1.0, append=0.0)


def disk(radius: float, rings: int, center: np.ndarray) -> np.ndarray:
    """Points (1 + 3 n (n + 1), 2) on the centre and n rings at equal distances: `ringed`."""
    return ringed(radius * np.arange(1, rings + 1) / rings, center)


def ringed(radii: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Points (1 + 3 n (n + 1), 2): the centre, then n rings of the given radii, every second turned by half a step."""
    ring = np.repeat(np.arange(1, len(radii) + 1), 6 * np.arange(1, len(radii) + 1))
    place = np.arange(len(ring)) - 3 * ring * (ring - 1)
    angle = 2 * np.pi * (place + 0.5 * (ring % 2)) / (6 * ring)
    distance = radii[ring - 1]
    nodes = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)
    return np.concatenate([np.zeros((1, 2)), nodes]) + center


def triangulate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points (n, 2) and the triangles (m, 3) of their Delaunay triangulation."""
    from scipy.spatial import Delaunay

    cells = Delaunay(points).simplices.astype(np.int64)
    a, b = points[cells[:, 1]] - points[cells[:, 0]], points[cells[:, 2]] - points[cells[:, 0]]
    area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    flat = area < FLAT * np.maximum((a**2).sum(axis=1), (b**2).sum(axis=1))
    return points, cells[~flat]  # round-off leaves slivers between nodes of a straight boundary, or of a circle


def ball(radius: float, layers: int, center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) and tetrahedra (20 layers^3, 4) of a ball."""
    from scipy.spatial import ConvexHull

    golden = (1 + math.sqrt(5)) / 2
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=2)))
    corners = np.column_stack([np.zeros(4), signs * np.array([1.0, golden])])
    corners = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)]) / math.hypot(1.0, golden)
    faces = ConvexHull(corners).simplices
    lattice = np.array([(i, j, k) for i in range(layers + 1) for j in range(i + 1) for k in range(j + 1)])
    number = np.full((layers + 2,) * 3, -1)
    number[tuple(lattice.T)] = np.arange(len(lattice))
    one = number[tuple(np.moveaxis(kuhn(lattice), -1, 0))]
    one = one[(one >= 0).all(axis=1)]  # the n^3 simplices in layers >= i >= j >= k >= 0, one tetrahedron
    steps = np.zeros((len(faces), len(lattice), len(corners)), dtype=np.int64)
    for face, (a, b, c) in enumerate(faces):
        steps[face][:, [a, b, c]] = -np.diff(lattice, axis=1, append=0)  # i - j, j - k, k steps along the corners
    steps, merged = np.unique(steps.reshape(-1, len(corners)), axis=0, return_inverse=True)
    cells = merged.ravel()[np.concatenate([one + len(lattice) * face for face in range(len(faces))])]
    points, layer = steps @ corners, steps.sum(axis=1)
    length = np.linalg.norm(points, axis=1)
    points *= (radius / layers * layer / np.where(layer > 0, length, 1.0))[:, None]
    return points + center, cells.astype(np.int64)


def read(path: Path, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, d) and simplices (m, d + 1) of a gmsh or XDMF file, without the points that none of them uses.

    Raises:
        InputError: the file is not there, not readable, or holds other cells; its points need more coordinates.
    """
    data = _file(path)
    wanted = GMSH_CELLS[dimension]
    lesser = {"vertex", *(GMSH_CELLS[d] for d in range(1, dimension))}
    if wanted not in data.cells_dict or set(data.cells_dict) - lesser - {wanted}:
        found = ", ".join(sorted(data.cells_dict)) or "no cells"
        raise InputError(f"mesh = {str(path)!r}: must hold {PLURALS[dimension]} of first order only (it holds {found})")
    used, cells = np.unique(data.cells_dict[wanted], return_inverse=True)
    points = data.points[used]
    if not np.isfinite(points).all():
        raise InputError(f"mesh = {str(path)!r}: some of its points have coordinates that are not finite")
    for c in range(dimension, points.shape[1]):
        if np.ptp(points[:, c]) > 1e-12 * np.ptp(points):
            where = "in a plane z = constant" if dimension == 2 else "on a line along x"
            raise InputError(f"mesh = {str(path)!r}: must lie {where}")
    return points[:, :dimension].copy(), cells.reshape(-1, dimension + 1).astype(np.int64)


def boundary_lines(path: Path, groups: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """The lines of some physical groups of a gmsh file of triangles, group after group.

    Args:
        path: the file.
        groups: names of physical groups of lines, or their numbers as text.

    Returns:
        The ends of the lines (k, 2), numbered as `read` has the points, and the place of their groups in `groups` (k,).

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

    if not path.is_file():
        raise InputError(f"mesh = {str(path)!r}: no such file")
    xdmf = path.suffix == ".xdmf"
    try:
        return meshio.xdmf.read(path) if xdmf else meshio.gmsh.read(path)  # meshio.read may end the process
    except (Exception, SystemExit) as error:  # meshio raises many kinds for a file that is something else
        kind, reason = "an .xdmf" if xdmf else "a gmsh .msh", str(error) or type(error).__name__
        raise InputError(f"mesh = {str(path)!r}: not {kind} file that meshio can read ({reason})") from error
