"""Fluxes of a velocity without divergence through the Voronoi faces of a triangulation.

For v = (d_y chi, -d_x chi) the flux from left to right of any way is the difference of chi at its ends. The Voronoi
face of an edge from node i to node j goes from the circumcentre of the triangle on its right to that on its left, or
ends in the middle of the edge on the boundary: q_ij = chi(left) - chi(right), with chi in a circumcentre taken from the
linear function on the triangle. Around a node inside the domain the q_ij add to zero to rounding, for whatever chi.
"""

from __future__ import annotations

import dolfinx.la
import numpy as np

from limitpde.compiled import compiled
from limitpde.fem.edges import EdgeGraph


class FaceFluxes:
    """The map from chi at the nodes to q on the edges.

    Args:
        graph: the edges.
    """

    def __init__(self, graph: EdgeGraph) -> None:
        topology = graph.mesh.topology
        self._graph, self._edges = graph, topology.index_map(1)
        self._of_cells = topology.connectivity(2, 1).array.reshape(-1, 3)[: len(graph.cells)]
        topology.create_connectivity(1, 2)
        count = topology.index_map(1).size_local + topology.index_map(1).num_ghosts
        outer = np.zeros(count, dtype=bool)
        outer[dolfinx.mesh.exterior_facet_indices(topology)] = True
        self._outer = outer[self._of_cells]
        corners = graph.points[graph.cells]
        a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        counterclockwise = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0
        number = graph.index_map.local_to_global(np.arange(graph.local, dtype=np.int32))
        ends = number[graph.cells]
        ascending = ends[:, [1, 2, 0]] < ends[:, [2, 0, 1]]  # edge k lies opposite to corner k
        self._sign = np.where(ascending == counterclockwise[:, None], 1.0, -1.0)  # of the triangle left of the edge
        self._direction = np.where(number[graph.tail] < number[graph.head], 1.0, -1.0)
        self._centre = _circumcentres(corners)

    def __call__(self, stream: np.ndarray) -> np.ndarray:
        """q from tail to head, (n_edges,), of chi at the nodes, (n_local,), ghosts up to date. Collective."""
        fluxes = dolfinx.la.vector(self._edges)
        fluxes.array[:] = 0.0
        _add_differences(fluxes.array, self._graph.cells, self._of_cells, self._outer, self._sign, self._centre, stream)
        fluxes.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.asarray(self._direction * fluxes.array[: len(self._direction)])


def _circumcentres(corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates (m, 3) of the circumcentres of triangles (m, 3, 2)."""
    squares = np.stack(
        [((corners[:, (k + 1) % 3] - corners[:, (k + 2) % 3]) ** 2).sum(axis=1) for k in range(3)], axis=1
    )
    weights = squares * (squares.sum(axis=1, keepdims=True) - 2 * squares)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@compiled
def _add_differences(
    fluxes: np.ndarray,
    cells: np.ndarray,
    of_cells: np.ndarray,
    outer: np.ndarray,
    sign: np.ndarray,
    centre: np.ndarray,
    stream: np.ndarray,
) -> None:
    """Add this rank's triangles' part of the fluxes, each edge taken from the lower to the higher node."""
    for c in range(len(cells)):
        middle = 0.0
        for k in range(3):
            middle += centre[c, k] * stream[cells[c, k]]
        for k in range(3):
            beyond = 0.0
            if outer[c, k]:
                beyond = 0.5 * (stream[cells[c, (k + 1) % 3]] + stream[cells[c, (k + 2) % 3]])
            fluxes[of_cells[c, k]] += sign[c, k] * (middle - beyond)
