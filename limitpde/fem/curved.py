"""Triangles of higher order, whose outer edges follow the circle of a disk, built-in or of a file."""

from __future__ import annotations

from pathlib import Path

import basix
import basix.ufl
import dolfinx.mesh
import numpy as np
from mpi4py import MPI

from limitpde.fem.mesh import Box, Disk, arrays
from limitpde.fem.plane import fitted_circle
from limitpde.parallel import on_root, scattered


def build_curved(mesh: Disk | Box | str | Path | dolfinx.mesh.Mesh, degree: int, comm: MPI.Comm) -> dolfinx.mesh.Mesh:
    """The disk of a description, or of a gmsh file, with nodes of a degree; a DOLFINx mesh as it is. Collective.

    The outer edges of a disk follow its circle; those of a box stay straight.

    Raises:
        InputError: the file is not there, not readable, or does not hold triangles of first order; their boundary is no
            circle.
    """
    if isinstance(mesh, dolfinx.mesh.Mesh):
        return mesh
    element = basix.ufl.element(
        "Lagrange", "triangle", degree, lagrange_variant=basix.LagrangeVariant.equispaced, shape=(2,)
    )
    nodes, cells = np.empty((0, 2)), np.empty((0, (degree + 1) * (degree + 2) // 2), dtype=np.int64)

    def make() -> None:
        nonlocal nodes, cells
        points, triangles = arrays(mesh, 2)
        nodes, cells = raised(points, triangles, degree)
        outer = outer_edges(cells[:, :3])
        if isinstance(mesh, Disk):
            _round(nodes, cells, outer, degree, np.array(mesh.center), mesh.radius)
        elif not isinstance(mesh, Box):
            ends = np.unique([cells[c, [a, b]] for c, a, b in outer])
            _round(nodes, cells, outer, degree, *fitted_circle(nodes[ends]))

    on_root(comm, make)
    nodes, cells = scattered(comm, nodes), scattered(comm, cells)
    return dolfinx.mesh.create_mesh(comm, cells, e=element, x=nodes)


def raised(corners: np.ndarray, triangles: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Equispaced nodes (n, 2) of a degree on straight triangles, and the nodes of each, in basix's order.

    The corners come first, as they were; the corners of each triangle are put in ascending order, so that edges run
    from their lower to their higher end in each of their triangles.

    Args:
        corners: (v, 2).
        triangles: (m, 3).
        degree: at least 1.
    """
    triangles = np.sort(triangles, axis=1)
    reference = _reference(degree)
    shares = np.column_stack([1 - reference.sum(axis=1), reference])
    edges, number = np.unique(triangles[:, [[1, 2], [0, 2], [0, 1]]].reshape(-1, 2), axis=0, return_inverse=True)
    inner, on_edge = (degree - 1) * (degree - 2) // 2, degree - 1
    first = len(corners)
    along = first + number.reshape(-1, 3)[:, :, None] * on_edge + np.arange(on_edge)
    first += len(edges) * on_edge
    within = first + np.arange(len(triangles))[:, None] * inner + np.arange(inner)
    cells = np.concatenate([triangles, along.reshape(len(triangles), -1), within], axis=1)
    nodes = np.empty((first + len(triangles) * inner, 2))
    nodes[cells] = np.einsum("nk,mkd->mnd", shares, corners[triangles])
    return nodes, cells.astype(np.int64)


def outer_edges(triangles: np.ndarray) -> np.ndarray:
    """Edges of one triangle alone: the triangle, and the places of both ends in it, (k, 3) of triangles (m, 3)."""
    places = np.array([[1, 2], [0, 2], [0, 1]])
    ends = np.sort(triangles[:, places], axis=2).reshape(-1, 2)
    _, first, count = np.unique(ends, axis=0, return_index=True, return_counts=True)
    outer = np.sort(first[count == 1])
    return np.column_stack([outer // 3, places[outer % 3]])


def _round(
    nodes: np.ndarray, cells: np.ndarray, outer: np.ndarray, degree: int, center: np.ndarray, radius: float
) -> None:
    """Move the nodes of the triangles with an outer edge, so that this edge follows the circle.

    With d(s) the way from the point of the straight edge (a_1, a_2) with the share s of a_2 to the circle, the point
    sum lambda_k a_k is moved by lambda_1 lambda_2 g(s), g(s) = d(s) / (s (1 - s)), s = (1 + lambda_2 - lambda_1) / 2.
    The k-th derivatives of this map are of order h^k, so elements of every degree keep their order on it.
    """
    reference = _reference(degree)
    shares = np.column_stack([1 - reference.sum(axis=1), reference])
    corners = nodes[cells[:, :3]]
    for c, a, b in outer:
        weight, s = shares[:, a] * shares[:, b], 0.5 * (1 + shares[:, b] - shares[:, a])
        moved = weight > 1e-12
        weight, s = weight[moved, None], s[moved, None]
        edge = (1 - s) * corners[c, a] + s * corners[c, b] - center
        way = (radius / np.linalg.norm(edge, axis=1, keepdims=True) - 1) * edge
        nodes[cells[c, moved]] += weight * way / (s * (1 - s))


def _reference(degree: int) -> np.ndarray:
    """Equispaced nodes of the reference triangle in basix's order, (n, 2)."""
    equispaced = basix.LagrangeVariant.equispaced
    return np.asarray(basix.create_element(basix.ElementFamily.P, basix.CellType.triangle, degree, equispaced).points)
