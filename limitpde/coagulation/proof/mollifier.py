"""The mollifier of (4.2) on a grid, and what the edge of a domain does to it.

    f_n(u) = (Z/N) sum_i delta^-d eta((x_i - u) / delta) 1(m_i = n),   eta ~ exp(-1 / (1 - |x|^2)),  int eta = 1.

The nodes u are the midpoints of cells of an edge near delta / 2 (d = 3) or delta / 2.5 (d = 2). There the sum is
evaluated as it stands, so the mean of f_n(u) and of the products is exact, and the sum over the nodes is the midpoint
rule for these smooth means. One particle alone keeps its mass to 2 % only, at random with its place between the nodes,
which adds 0.1 % to the variance of W. A torus wraps the mollifier around. A box reflects it at its walls and a ball
divides it by what of it lies inside, at u: a constant density stays constant, and a box keeps the number of particles.

The sums themselves are in `node_sums`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from limitpde.coagulation.interaction import Bump, sphere_area
from limitpde.compiled import compiled
from limitpde.domains import Domain
from limitpde.errors import InputError

CELLS_PER_DELTA = {1: 4.0, 2: 2.5, 3: 2.0}
MOST_NODES = 20_000_000
"""Nodes of a bounded domain; a smaller delta is refused."""
MOST_PLANES = 10_000_000
"""Nodes along one axis of the whole space."""
SAMPLES = 4096
"""Intervals of the table of eta as a function of |x|^2, read by linear interpolation."""
SMALLEST = 1e-30
"""Smaller values of eta count as zero."""


def eta_table(dimension: int) -> np.ndarray:
    """Eta at |x|^2 = 0, 1/SAMPLES, ..., 1, of integral one over R^d, (SAMPLES + 1,)."""
    values = Bump(alpha=1.0).profile(np.sqrt(np.linspace(0, 1, SAMPLES + 1)), dimension)
    return np.where(values > SMALLEST, values, 0.0)


@dataclass(frozen=True, slots=True)
class NodeGrid:
    """Nodes over a part of R^d, as three axes; those beyond d have one node, at 0."""

    kind: int
    """Number of the domain: 0 space, 1 torus, 2 box, 3 ball."""
    low: np.ndarray
    """(3,) where the first cell begins."""
    edge: np.ndarray
    """(3,) edges of a cell."""
    nodes: np.ndarray
    """(3,) number of nodes."""
    places: tuple[np.ndarray, ...]
    """For each of the three axes, where each node is among those kept (all of them where the domain is bounded)."""
    kept: tuple[np.ndarray, ...]
    """For each axis, the nodes that are kept."""
    weight: np.ndarray
    """Volume of each cell that lies in the domain, in the order of the axes; or (1,) if all are alike."""
    share: np.ndarray
    """(same shape as weight) int of the mollifier around each node over the domain."""

    @classmethod
    def of(cls, domain: Domain, delta: float) -> NodeGrid:
        """The grid of a bounded domain.

        Raises:
            InputError: it would have too many nodes.
        """
        d = domain.dimension
        nodes = np.ones(3, dtype=np.int64)
        nodes[:d] = np.maximum(1, np.ceil(domain.size / delta * CELLS_PER_DELTA[d] * (1 - 1e-9)))
        if math.prod(float(n) for n in nodes) > MOST_NODES:
            raise InputError(f"delta = {delta:g}: too small for the domain, more than {MOST_NODES} nodes")
        low, edge = _padded(domain.low, domain.size / nodes[:d], delta)
        lines = tuple(np.arange(n) for n in nodes)
        volume = np.array([np.prod(edge[:d])])
        grid = cls(domain.number, low, edge, nodes, lines, lines, volume, np.ones(1))
        return grid._cut(domain, delta) if domain.kind == "ball" else grid

    @classmethod
    def around(cls, x: np.ndarray, delta: float) -> NodeGrid:
        """The grid near points (n, d) of the whole space: of one lattice, the nodes along each axis that are near some.

        Raises:
            InputError: the points are spread too far.
        """
        d = x.shape[1]
        edge = delta / CELLS_PER_DELTA[d]
        first, last = np.floor((x.min(axis=0) - delta) / edge), np.ceil((x.max(axis=0) + delta) / edge)
        if not (last - first).max() < MOST_PLANES:
            raise InputError(f"delta = {delta:g}: too small for particles that are {np.ptp(x, axis=0).max():.3g} apart")
        nodes = np.ones(3, dtype=np.int64)
        nodes[:d] = last - first
        low, edges = _padded(first * edge, np.full(d, edge), delta)
        places, kept = [], []
        for axis in range(3):
            near = np.zeros(nodes[axis] + 1, dtype=np.int64)
            if axis < d:
                begin = np.ceil((x[:, axis] - delta - low[axis]) / edge - 0.5).astype(np.int64)
                end = np.floor((x[:, axis] + delta - low[axis]) / edge - 0.5).astype(np.int64) + 1
                np.add.at(near, np.clip(begin, 0, nodes[axis]), 1)
                np.add.at(near, np.clip(end, 0, nodes[axis]), -1)
            mask = np.cumsum(near)[:-1] > 0 if axis < d else np.ones(1, dtype=bool)
            places.append(np.cumsum(mask) - 1)
            kept.append(np.flatnonzero(mask))
        return cls(0, low, edges, nodes, tuple(places), tuple(kept), np.array([edge**d]), np.ones(1))

    def points(self, dimension: int) -> np.ndarray:
        """All nodes of a bounded domain, (nodes, d), in the order of the axes."""
        lines = [self.low[c] + self.edge[c] * (np.arange(self.nodes[c]) + 0.5) for c in range(dimension)]
        return np.stack([axis.ravel() for axis in np.meshgrid(*lines, indexing="ij")], axis=1)

    def _cut(self, domain: Domain, delta: float) -> NodeGrid:
        """The same grid with the cells cut at the surface of a ball."""
        d, parts = domain.dimension, 8
        centres = self.points(d)
        distance = np.linalg.norm(centres - domain.center, axis=1)
        radius, diagonal = domain.size[0] / 2, np.linalg.norm(self.edge[:d]) / 2
        weight = (distance < radius).astype(float)
        fine = np.stack(np.meshgrid(*[(np.arange(parts) + 0.5) / parts - 0.5] * d, indexing="ij"), axis=-1)
        offsets = fine.reshape(-1, d) * self.edge[:d]
        for node in np.flatnonzero(np.abs(distance - radius) <= diagonal):
            weight[node] = domain.contains(centres[node] + offsets).mean()
        weight *= domain.volume / weight.sum()
        share = np.ones(len(weight))
        near = distance > radius - delta
        share[near] = np.maximum(_share_inside(distance[near], radius, delta, d), SMALLEST)
        return NodeGrid(self.kind, self.low, self.edge, self.nodes, self.places, self.kept, weight, share)


def _share_inside(distance: np.ndarray, radius: float, delta: float, d: int) -> np.ndarray:
    """Part (n,) of mollifiers around points at these distances from its centre that lies in a ball.

    By shells: of a sphere of radius rho around the point, the part at angles with cos < (R^2 - r^2 - rho^2) / (2 r rho)
    from the outward direction is inside.
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    rho = delta * (nodes + 1) / 2
    shell = weights / 2 * sphere_area(d) * (rho / delta) ** (d - 1) * Bump(alpha=1.0).profile(rho / delta, d)
    r = np.maximum(distance, 1e-12 * radius)[:, None]
    cosine = np.clip((radius**2 - r**2 - rho**2) / (2 * r * rho), -1, 1)
    inside = {1: ((cosine > -1) + 1.0 * (cosine >= 1)) / 2, 2: 1 - np.arccos(cosine) / np.pi, 3: (1 + cosine) / 2}[d]
    return np.asarray(inside @ shell)


def _padded(low: np.ndarray, edge: np.ndarray, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower corner and edges with the axes beyond d, whose single node is at 0 and has no neighbour within delta."""
    d = len(low)
    return np.append(low, np.full(3 - d, -2 * delta)), np.append(edge, np.full(3 - d, 4 * delta))


@compiled
def eta_at(square: float, table: np.ndarray) -> float:
    """Eta at |x|^2 = square < 1."""
    place = square * (len(table) - 1)
    k = int(place)
    return float(table[k] + (place - k) * (table[k + 1] - table[k]))


@compiled
def fold(k: int, n: int, kind: int) -> int:
    """The node that a torus, or a box with reflecting walls, has for the node k of a line of n; -1 if there is none."""
    if 0 <= k < n:
        return k
    if kind == 1:
        return k % n
    if kind == 2:
        k = k % (2 * n)
        return k if k < n else 2 * n - 1 - k
    return -1


@compiled
def cells_near(x: float, low: float, edge: float, delta: float) -> tuple[int, int]:
    """Cells whose midpoints are within delta of x: from, to (excluded)."""
    return math.ceil((x - delta - low) / edge - 0.5), math.floor((x + delta - low) / edge - 0.5) + 1
