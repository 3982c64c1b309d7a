"""The reference simplex of an unstructured mesh in x: nodes of DG_k, their weights, and the matrices of transport.

The vertices of a cell are 0, ..., d; lambda_e are its barycentric coordinates, xi_r = lambda_r (r = 1, ..., d) the
coordinates on the reference simplex, and facet e is the one opposite to vertex e, with the other vertices in order.

*Nodes.* Where basix has a quadrature rule of degree 2k with as many points as DG_k has functions (intervals: Gauss's
points; triangles, k = 1, 2; tetrahedra, k = 1), these are the nodes, and the mass matrix is diagonal in the nodal
basis. Otherwise the nodes are those of `gl_isaac`, and the mass matrix is not diagonal. In any case the weights are the
integrals of the nodal functions, all positive: sums with these weights are exact for polynomials of degree k at least.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import basix
import numpy as np

CELLS = {1: basix.CellType.interval, 2: basix.CellType.triangle, 3: basix.CellType.tetrahedron}
EXACT = 1e-13
"""Off-diagonal entries of the mass matrix below this are rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Simplex:
    """DG_k on the reference simplex; n functions, m of them on a facet. Integrals are means over the cell or facet."""

    dimension: int
    """d."""
    degree: int
    """k."""
    nodes: np.ndarray
    """(n, d)."""
    weights: np.ndarray
    """(n,) means of the nodal functions; they add to one."""
    mass: np.ndarray
    """(n, n) means of their products; diagonal if `diagonal`."""
    diagonal: bool
    """Whether the weights alone integrate squares exactly."""
    derivatives: np.ndarray
    """(d, n, n): nodal values -> derivative with respect to xi_r at the nodes; rows add to zero."""
    traces: np.ndarray
    """(d + 1, m, n): nodal values -> values at the m nodes of facet e."""
    facet_weights: np.ndarray
    """(m,) as `weights`, on a facet."""
    lifts: np.ndarray
    """(d + 1, n, m): values g on facet e -> mass^-1 times the means of g l_i over it."""

    @property
    def n(self) -> int:
        """Nodes of a cell."""
        return len(self.weights)

    def tabulate(self, points: np.ndarray) -> np.ndarray:
        """Values of the nodal functions at points (p, d) of the reference simplex, (p, n)."""
        element = _element(self.dimension, self.degree)
        return np.asarray(np.linalg.solve(_values(element, self.nodes).T, _values(element, points).T).T)


@functools.cache
def simplex(dimension: int, degree: int) -> Simplex:
    """The reference simplex with DG_k."""
    d, k = dimension, degree
    element = _element(d, k)
    nodes = _nodes(d, k)
    inverse = np.linalg.inv(_values(element, nodes))
    points, measure = basix.make_quadrature(CELLS[d], 2 * k)
    basis, measure = _values(element, points) @ inverse, measure * math.factorial(d)
    mass = basis.T @ (measure[:, None] * basis)
    diagonal = bool(np.abs(mass - np.diag(mass.diagonal())).max() < EXACT)
    weights = basis.T @ measure
    if diagonal:
        mass = np.diag(weights)
    derivatives = element.tabulate(1, nodes)[1:, :, :, 0] @ inverse
    derivatives -= derivatives.mean(axis=2, keepdims=True)  # constants stay constants, to rounding
    if d == 1:
        facet_weights, facet_mass, facet_nodes = np.ones(1), np.ones((1, 1)), np.zeros((1, 0))
    else:
        facet = simplex(d - 1, k)
        facet_weights, facet_mass, facet_nodes = facet.weights, facet.mass, facet.nodes
    corners = np.concatenate([np.zeros((1, d)), np.eye(d)])
    barycentric = np.concatenate([1 - facet_nodes.sum(axis=1, keepdims=True), facet_nodes], axis=1)
    places = [barycentric @ np.delete(corners, e, axis=0) for e in range(d + 1)]
    traces = np.stack([_values(element, place) @ inverse for place in places])
    lifts = np.linalg.solve(mass, traces.transpose(0, 2, 1) @ facet_mass)
    return Simplex(d, k, nodes, weights, mass, diagonal, derivatives, traces, facet_weights, lifts)


def _element(d: int, k: int) -> basix.finite_element.FiniteElement:
    return basix.create_element(basix.ElementFamily.P, CELLS[d], k, basix.LagrangeVariant.gl_isaac, discontinuous=True)


def _values(element: basix.finite_element.FiniteElement, points: np.ndarray) -> np.ndarray:
    return np.asarray(element.tabulate(0, points)[0, :, :, 0])


def _nodes(d: int, k: int) -> np.ndarray:
    points, weights = basix.make_quadrature(CELLS[d], 2 * k)
    if len(points) == math.comb(k + d, d) and weights.min() > 0:
        return np.asarray(points[np.argsort(points[:, 0])]) if d == 1 else points
    return np.asarray(_element(d, k).points)
