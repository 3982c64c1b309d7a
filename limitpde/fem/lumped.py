"""Integrals over first-order triangles by their nodes: the lumped rule, and the vertex rule on each triangle."""

from __future__ import annotations

import numpy as np

from limitpde.compiled import compiled
from limitpde.fem.edges import EdgeGraph


class LumpedQuadrature:
    """The nodes as quadrature points; what `limitpde.fem.lagrange.Quadrature` is for elements of higher order.

    Attributes:
        points: (n_local, 2) the nodes.
        weights: (n_local,) Voronoi areas, zero for ghosts; their sum over the ranks is the area of the mesh.
    """

    def __init__(self, graph: EdgeGraph) -> None:
        self.points, self._cells = graph.points, graph.cells
        self.weights = np.where(np.arange(graph.local) < graph.owned, graph.area, 0.0)

    def values(self, nodal: np.ndarray) -> np.ndarray:
        """A function at the points, (n_local,): its nodal values."""
        return nodal

    def along_gradient(self, nodal: np.ndarray, vectors: np.ndarray) -> float:
        """int grad u . v over this rank's triangles, of u (n_local,) and v (n_local, 2) at the nodes."""
        return _along_gradient(self.points, self._cells, nodal, vectors)


@compiled
def _along_gradient(points: np.ndarray, cells: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> float:
    total = 0.0
    for c in range(len(cells)):
        i, j, k = cells[c]
        ax, ay = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
        bx, by = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1]
        cross = ax * by - ay * bx
        first, second = values[j] - values[i], values[k] - values[i]
        gx, gy = first * by - second * ay, second * ax - first * bx  # cross times the gradient
        mean_x = (vectors[i, 0] + vectors[j, 0] + vectors[k, 0]) / 3.0
        mean_y = (vectors[i, 1] + vectors[j, 1] + vectors[k, 1]) / 3.0
        total += 0.5 * (gx * mean_x + gy * mean_y) * (1.0 if cross > 0.0 else -1.0)
    return total
