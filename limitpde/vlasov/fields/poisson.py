"""Poisson on a torus, -Lap phi = strength (rho - mean), by continuous finite elements on the cells of f.

phi in V_h, periodic and piecewise of degree k + 1 in each coordinate (f has degree k):

    int grad phi . grad psi dx = strength int (rho - mean) psi dx    for all psi in V_h,    int phi dx = 0,

where the Gauss points of f integrate rho psi exactly. Call K the stiffness matrix, E and D_j the values and derivatives
of the basis at the Gauss points, W their weights. The force -D_j phi is not antisymmetric as a matrix: int rho F is not
0. What is used is the mean of it and of its negative adjoint,

    F_j = -(strength / 2) (D_j K^+ E^T - E K^+ D_j^T) W rho,

which is, in W, and is as accurate: both parts converge to -d_j phi with order k + 2 at the Gauss points, the first by
superconvergence there, the second, which solves for the derivative itself, in the L2 norm. The potential gives the
energy strength / 2 (W rho)^T E K^+ E^T W rho = int |grad phi|^2 / (2 strength).

For d = 1 both parts are antiderivatives (`sheets`). For d = 2, 3
E and D_j are products of matrices of one coordinate each, and K a sum of such. K is diagonalised, coordinate by
coordinate (Lynch, Rice and Thomas, Numer. Math. 6 (1964)): with S_j V_j = M_j V_j diag(lambda_j), V_j^T M_j V_j = 1,

    K^+ = V diag(1 / (lambda_1 + ... + lambda_d)) V^T,    V = V_1 x ... x V_d,

without the constant, for which the sum is 0. What is kept are E V and D_j V by their factors, 16 n^2 bytes for an axis
of n nodes, which are applied along one axis of an array after the other; each rank has its share of the positions,
and of the products of eigenvectors.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import basix
import numpy as np
import scipy.linalg
import scipy.sparse

from limitpde.vlasov.fields.products import Products
from limitpde.vlasov.fields.share import FieldShare


class Line:
    """Matrices of the continuous elements of degree k + 1 on the periodic cells of one axis, sparse.

    Attributes:
        values, slopes: (n, dofs) basis functions and their derivatives at the Gauss points of f.
        mass: (dofs, dofs).
    """

    def __init__(self, axis: Any) -> None:
        degree = axis.degree + 1
        element = basix.create_element(
            basix.ElementFamily.P, basix.CellType.interval, degree, basix.LagrangeVariant.gll_warped
        )
        inner = (axis.nodes[: axis.P] - axis.low) / axis.h
        points, weights = basix.make_quadrature(basix.CellType.interval, 2 * degree)
        ends = np.array([0, degree, *range(1, degree)])  # of basix: both ends, then the inside
        cells = np.arange(axis.cells)
        dofs = (cells[:, None] * degree + ends) % (axis.cells * degree)

        def spread(block: np.ndarray, rows: np.ndarray) -> scipy.sparse.csr_array:
            """The same block (r, c) for each cell, at rows (cells, r)."""
            i = np.broadcast_to(rows[:, :, None], (axis.cells, *block.shape))
            j = np.broadcast_to(dofs[:, None, :], (axis.cells, *block.shape))
            entries = np.broadcast_to(block, i.shape)
            shape = (int(rows.max()) + 1, axis.cells * degree)
            return scipy.sparse.csr_array((entries.ravel(), (i.ravel(), j.ravel())), shape=shape)

        at_nodes = element.tabulate(1, inner[:, None])[..., 0]
        at_points = element.tabulate(0, points)[0, ..., 0]
        nodes = cells[:, None] * axis.P + np.arange(axis.P)
        self.values = spread(at_nodes[0], nodes)
        self.slopes = spread(at_nodes[1] / axis.h, nodes)
        self.mass = spread(at_points.T @ (weights[:, None] * at_points) * axis.h, dofs)


class TorusPoisson:
    """Convolutions with the periodic Gamma, -Lap Gamma = strength (delta - mean), in d = 2, 3. Collective.

    Args:
        strength: of Gamma.
        share: the positions of this rank.
    """

    def __init__(self, strength: float, share: FieldShare) -> None:
        self._strength, self._share = strength, share
        lines = [Line(axis) for axis in share.axes]
        sums, vectors = diagonalised(lines, [axis.weights for axis in share.axes])
        self._sums = sums[tuple(share.part(j, size) for j, size in enumerate(sums.shape))].copy()
        values = [line.values @ V for line, V in zip(lines, vectors, strict=True)]
        slopes = [line.slopes @ V for line, V in zip(lines, vectors, strict=True)]
        self._at_nodes = Products(share, values, slopes)
        self._integrals = self._at_nodes.adjoint

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """phi, (*X) -> (*X)."""
        integrals = self._integrals.values(self._share.weighted(rho))
        return self._strength * self._at_nodes.values(integrals / self._sums)

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, (*X) -> (d, *X)."""
        phi, *slopes = self._integrals.gradient(self._share.weighted(rho)) / self._sums
        return -self._strength / 2 * self._at_nodes.gradient(phi, -np.stack(slopes))[1:]

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """sum_j d_j Gamma * J_j, (d, *X) -> (*X)."""
        slope, *parts = self._integrals.divergence(self._share.weighted(current)) / self._sums
        return self._strength / 2 * self._at_nodes.divergence(np.stack(parts), -slope)[0]


def diagonalised(lines: Sequence[Line], weights: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Eigenvalues of K, (*dofs), infinite for the constant, and the eigenvectors of each coordinate, (dofs, dofs).

    S = D^T W D, as the Gauss points integrate products of derivatives: its eigenvectors are found as singular vectors,
    without squares, else the smallest eigenvalues would lose as many digits as the largest are larger.
    """
    values, vectors = [], []
    for line, w in zip(lines, weights, strict=True):
        lower = np.linalg.cholesky(line.mass.toarray())
        slopes = np.sqrt(w)[:, None] * line.slopes.toarray()
        _, singular, right = scipy.linalg.svd(scipy.linalg.solve_triangular(lower, slopes.T, lower=True).T)
        values.append(singular**2)
        vectors.append(scipy.linalg.solve_triangular(lower.T, right.T))
    sums = functools.reduce(np.add.outer, values)
    sums[(-1,) * len(lines)] = np.inf  # the constant
    return sums, vectors
