"""Test functions at the walls of a domain: the flux that reflecting walls add to a weak form.

Reflected at a wall, density and particles have no flux through it, but a test function need not. Green's formula gives

    int phi d Lap f = int d Lap phi f - int_wall d f dphi/dn,

the counterpart for particles being the local time at the wall, d phi(X) = d Lap phi dt + ... - dphi/dn dL (see
`limitpde.coagulation.simulator.local_times`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from limitpde.coagulation.proof.mollifier import NodeGrid
from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import SpatialFunction
from limitpde.domains import Domain

POINTS_PER_CELL = 4
"""Points on the surface of a ball along the edge of a cell."""


def wall_points(domain: Domain, grid: NodeGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points that cover the walls of a box or ball: points (k, d), outward normals (k, d), areas (k,), nodes (k,).

    `nodes` are those of the grid whose cells the points belong to, numbered as in `NodeGrid.points`. Empty
    without walls.
    """
    d = domain.dimension
    if domain.kind == "box":
        return _box_walls(domain, grid)
    if domain.kind != "ball":
        return np.empty((0, d)), np.empty((0, d)), np.empty(0), np.empty(0, dtype=np.int64)
    radius, edge = domain.size[0] / 2, grid.edge[:d]
    normals = _directions(d, POINTS_PER_CELL * radius / edge.min())
    points = domain.center + radius * normals
    areas = np.full(len(points), domain.volume * d / radius / len(points))
    depth = np.linspace(0, 1, 9)[:, None] * np.linalg.norm(edge) / radius  # the first cell inwards that is not empty
    nodes = np.full(len(points), -1)
    for share in depth[:, 0]:
        place = np.floor((domain.center + (1 - share) * radius * normals - grid.low[:d]) / edge).astype(np.int64)
        place = np.clip(place, 0, grid.nodes[:d] - 1)
        flat = np.ravel_multi_index(tuple(place.T), tuple(grid.nodes[:d]))
        nodes = np.where((nodes < 0) & (grid.weight[flat] > 0), flat, nodes)
    return points[nodes >= 0], normals[nodes >= 0], areas[nodes >= 0], nodes[nodes >= 0]


def _box_walls(domain: Domain, grid: NodeGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    d, centres = domain.dimension, grid.points(domain.dimension)
    numbers = np.arange(len(centres)).reshape(tuple(grid.nodes[:d]))
    parts = []
    for c in range(d):
        area = float(np.prod(grid.edge[:d])) / grid.edge[c]
        for side, sign in ((0, -1.0), (-1, 1.0)):
            nodes = np.take(numbers, side, axis=c).ravel()
            points, normals = centres[nodes], np.zeros((len(nodes), d))
            points[:, c], normals[:, c] = domain.low[c] + (domain.size[c] if sign > 0 else 0.0), sign
            parts.append((points, normals, np.full(len(nodes), area), nodes))
    points, normals, areas, nodes = (np.concatenate(part) for part in zip(*parts, strict=True))
    return points, normals, areas, nodes


def _directions(d: int, per_radius: float) -> np.ndarray:
    """Unit vectors (k, d), evenly spread, about per_radius of them on an arc of length one."""
    if d == 1:
        return np.array([[-1.0], [1.0]])
    if d == 2:
        angle = 2 * math.pi * (np.arange(math.ceil(2 * math.pi * per_radius)) + 0.5)
        angle /= len(angle)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    count = math.ceil(4 * math.pi * per_radius**2)
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = math.pi * (3 - math.sqrt(5)) * np.arange(count)  # Fibonacci's spiral: every point has the same area
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)


def at_grid(functions: Sequence[SpatialFunction], domain: Domain, grid: NodeGrid) -> np.ndarray:
    """g, and Lap g less the flux through the walls per volume, at the nodes of a bounded domain, (nodes, F, 2)."""
    centres = grid.points(domain.dimension)
    points, normals, areas, nodes = wall_points(domain, grid)
    weight = grid.weight if len(grid.weight) > 1 else np.full(len(centres), grid.weight[0])
    values = np.empty((len(centres), len(functions), 2))
    for f, function in enumerate(functions):
        values[:, f, 0], _, laplacian = evaluate(function, centres)
        if len(points):
            slope = (evaluate(function, points)[1] * normals).sum(axis=1)
            np.subtract.at(laplacian, nodes, areas * slope / weight[nodes])
        values[:, f, 1] = laplacian
    return values
