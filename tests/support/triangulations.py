"""Triangulations of domains that are round, not convex, pierced or pointed, what must hold on them, random changes."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from scipy.spatial import Delaunay

from limitpde.fem import mesh_files, simplices
from limitpde.fem.patches import Patch, first_patch
from limitpde.fem.plane import fitted_circle
from limitpde.fem.triangulation import Boundary, Change, Edges, Triangulation

MESHES = Path(__file__).parents[2] / "meshes"


# Domains


def plain(points: np.ndarray, cells: np.ndarray) -> Triangulation:
    return Triangulation.first(points, cells, Boundary.of(points, cells))


def disk(radius=1.0, rings=4, center=(0.0, 0.0)) -> Triangulation:
    first = plain(*simplices.disk(radius * np.arange(1, rings + 1) / rings, np.array(center)))
    circle = fitted_circle(first.points[first.boundary.ends[:, 0]])
    return replace(first, boundary=replace(first.boundary, circle=circle))


def grid(x, y, without: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None, angle=0.0) -> Triangulation:
    """Between lines x = ..., y = ..., turned, without the cells whose middles lie in a part."""
    points, cells = simplices.grid(np.zeros(2), np.ones(2), np.array([len(x) - 1, len(y) - 1]))
    points = np.stack([axis.ravel() for axis in np.meshgrid(x, y, indexing="ij")], axis=1)
    if without is not None:
        cells = cells[~without(*points[cells].mean(axis=1).T)]
        used, cells = np.unique(cells, return_inverse=True)
        points, cells = points[used], cells.reshape(-1, 3)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return plain(points @ turn, cells)


def box(cells=4, angle=0.0) -> Triangulation:
    return grid(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1), angle=angle)


def ell() -> Triangulation:
    line = np.linspace(0, 1, 5)
    return grid(line, line, lambda x, y: (x > 0.5) & (y > 0.5))


def hole() -> Triangulation:
    line = np.linspace(0, 1, 7)
    return grid(line, line, lambda x, y: (abs(x - 0.5) < 1 / 6) & (abs(y - 0.5) < 1 / 6))


def slit(width=0.02) -> Triangulation:
    """A hole much narrower than cells, so that nodes on one wall lie near to the other one."""
    x = np.concatenate([np.linspace(0, 0.5 - width / 2, 4), np.linspace(0.5 + width / 2, 1, 4)])
    return grid(x, np.linspace(0, 1, 7), lambda x, y: (abs(x - 0.5) < width / 2) & (abs(y - 0.5) < 1 / 3))


def wedge(degrees=20.0) -> Triangulation:
    """One triangle; its legs differ as much as a right angle at the base allows, less a little."""
    angle = np.radians(degrees)
    leg = (1 + np.cos(angle)) / 2
    return plain(np.array([[0, 0], [1, 0], [leg * np.cos(angle), leg * np.sin(angle)]]), np.array([[0, 1, 2]]))


def room() -> Triangulation:
    return plain(*mesh_files.read(MESHES / "room.msh", 2))


ROUND = {"disk": disk, "hexagon": lambda: disk(rings=1), "small disk": lambda: disk(1e-6, 3, (2e-5, -1e-5))}
POLYGONS = {
    "box": box,
    "turned box": lambda: box(angle=0.3),
    "flat cells": lambda: grid(np.linspace(0, 10, 5), np.linspace(0, 1, 9)),
    "L": ell,
    "hole": hole,
    "slit": slit,
    "60 degrees": lambda: wedge(60.0),
    "30 degrees": lambda: wedge(30.0),
    "5 degrees": lambda: wedge(5.0),
    "room": room,
    "large": lambda: moved(box(angle=0.3), 1e6, (0.0, 0.0)),
    "far away": lambda: moved(ell(), 1.0, (1e3, -7e2)),
}
DOMAINS = ROUND | POLYGONS


def moved(first: Triangulation, scale: float, by: tuple[float, float]) -> Triangulation:
    return plain(scale * first.points + np.array(by), first.cells)


# What is measured on them


def triangulate(points: np.ndarray) -> np.ndarray:
    """The triangles (m, 3) of the Delaunay triangulation of points (n, 2)."""
    cells = Delaunay(points).simplices.astype(np.int64)
    a, b = points[cells[:, 1]] - points[cells[:, 0]], points[cells[:, 2]] - points[cells[:, 0]]
    area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    flat = area < 1e-9 * np.maximum((a**2).sum(axis=1), (b**2).sum(axis=1))
    return cells[~flat]  # round-off leaves slivers between nodes of a straight boundary, or of a circle


def sides(mesh: Triangulation, k: int) -> tuple[np.ndarray, np.ndarray]:
    """From corner k of each triangle to the others."""
    corners = mesh.points[mesh.cells]
    return corners[:, (k + 1) % 3] - corners[:, k], corners[:, (k + 2) % 3] - corners[:, k]


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def weights(mesh: Triangulation) -> np.ndarray:
    """kappa of the edges: half the sum of the cotangents of the angles opposite to them."""
    edges = Edges.of(mesh.cells)
    weight = np.zeros(len(edges.ends))
    for k in range(3):
        a, b = sides(mesh, k)
        weight += np.bincount(edges.of_cells[:, k], 0.5 * (a * b).sum(axis=1) / abs(cross(a, b)), len(weight))
    return weight


def areas(mesh: Triangulation) -> np.ndarray:
    """Voronoi areas of the nodes."""
    return mesh.areas()


def smallest_angle(mesh: Triangulation) -> float:
    """In degrees."""
    angles = [np.arctan2(abs(cross(a, b)), (a * b).sum(axis=1)) for a, b in (sides(mesh, k) for k in range(3))]
    return float(np.degrees(np.min(angles)))


def area_inside(mesh: Triangulation) -> float:
    """By the boundary alone."""
    first, second = (mesh.points[end] - mesh.points.mean(axis=0) for end in mesh.boundary.ends.T)
    return float(cross(first, second).sum() / 2)


def check(mesh: Triangulation) -> None:
    edges = Edges.of(mesh.cells)
    cells_of = np.bincount(edges.of_cells.ravel())
    assert cells_of.max() <= 2
    assert weights(mesh).min() > -1e-10
    np.testing.assert_allclose(mesh.weights(edges), weights(mesh), atol=1e-12)
    assert len(np.unique(mesh.cells)) == len(mesh.points) == len(mesh.level) == len(mesh.needed)
    outer = edges.ends[cells_of == 1]
    np.testing.assert_array_equal(outer, np.unique(np.sort(mesh.boundary.ends, axis=1), axis=0))
    np.testing.assert_array_equal(np.sort(mesh.boundary.ends[:, 0]), np.sort(mesh.boundary.ends[:, 1]))  # closed
    area = area_inside(mesh)
    cells = abs(cross(*sides(mesh, 0))).sum() / 2
    voronoi = areas(mesh)
    rounding = 1e-14 * max(1.0, np.abs(mesh.points).max() / np.sqrt(area))
    assert cells == pytest.approx(area, rel=1e3 * rounding)
    assert voronoi.sum() == pytest.approx(area, rel=1e3 * rounding)
    assert voronoi.min() > 0
    if mesh.boundary.circle is not None:
        center, radius = mesh.boundary.circle
        distance = np.hypot(*(mesh.points[mesh.boundary.ends[:, 0]] - center).T)
        assert np.abs(distance - radius).max() < 1e-14 * (radius + np.abs(center).max())


def dealt(comm: MPI.Comm, mesh: Triangulation) -> Patch:
    """A triangulation that all ranks know, and that has not been refined, over the ranks."""
    points, cells = (rows[simplices.numbers(len(rows), (comm.rank, comm.size))] for rows in (mesh.points, mesh.cells))
    named = mesh.boundary.group >= 0
    lines = (mesh.boundary.ends[named], mesh.boundary.group[named]) if named.any() else None
    patch = first_patch(comm, points, cells, lines)
    return patch if mesh.boundary.circle is None else patch.rounded()


def whole(patch: Patch) -> tuple[np.ndarray, ...]:
    """Points, levels, needed nodes, triangles, and edges of the boundary with their groups, of all ranks on each."""
    mesh, number = patch.mesh, patch.number
    cells, lines = (patch.first_here(rows) for rows in (mesh.cells, mesh.boundary.ends))
    edges = np.column_stack([number[mesh.boundary.ends[lines]], mesh.boundary.group[lines]])
    nodes = (rows[patch.own] for rows in (mesh.points, mesh.level, mesh.needed))
    found = [np.concatenate(patch.comm.allgather(rows)) for rows in (*nodes, number[mesh.cells[cells]], edges)]
    return *found[:-1], found[-1][np.lexsort(found[-1].T)]


def size_of(mesh: Triangulation) -> float:
    return float(np.ptp(mesh.points, axis=0).max())


def nothing(mesh: Triangulation) -> np.ndarray:
    return np.zeros(len(mesh.points), dtype=bool)


def refined(mesh: Triangulation, edges: Edges, near: np.ndarray, within: float, smallest: float) -> np.ndarray:
    """Which edges are to be halved: those near a point that are long enough."""
    distance = np.hypot(*(mesh.points[edges.ends].mean(axis=1) - near).T)
    return mesh.shapely(edges, (distance < within) & (mesh.length(edges) >= 2 * smallest))


def random_change(mesh: Triangulation, rng: np.random.Generator) -> tuple[Triangulation, Change]:
    """Halve what is near an edge, on the scale of that edge or more, and remove some nodes that are not near."""
    size, edges = size_of(mesh), Edges.of(mesh.cells)
    chosen = rng.integers(len(edges.ends))
    near = mesh.points[edges.ends[chosen]].mean(axis=0)
    within = mesh.length(edges)[chosen] * 10 ** rng.uniform(0, 1)
    marked = refined(mesh, edges, near, within, 2e-3 * size)
    if len(mesh.points) > 1000 or rng.random() < 0.3:
        marked[:] = False
    spare = (rng.random(len(mesh.points)) < 0.7) & (np.hypot(*(mesh.points - near).T) > within)
    spare[edges.ends[marked]] = False
    removed = mesh.removable(edges, spare)
    assert not removed[~spare].any()
    assert not removed[edges.ends].all(axis=1).any()  # no two neighbours
    return mesh.changed(edges.ends[marked], removed)
