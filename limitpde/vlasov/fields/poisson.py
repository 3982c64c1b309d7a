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

For d = 1 K is factorised by PETSc; the constant is fixed by one degree of freedom and then by the mean. For d = 2, 3
E and D_j are products of matrices of one coordinate each, and K a sum of such. K is diagonalised, coordinate by
coordinate (Lynch, Rice and Thomas, Numer. Math. 6 (1964)): with S_j V_j = M_j V_j diag(lambda_j), V_j^T M_j V_j = 1,

    K^+ = V diag(1 / (lambda_1 + ... + lambda_d)) V^T,    V = V_1 x ... x V_d,

without the constant, for which the sum is 0. What is kept are E V and D_j V by their factors, 16 n^2 bytes for an axis
of n nodes, which are applied along one axis of an array after the other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import basix
import numpy as np
import scipy.linalg
import scipy.sparse
from petsc4py import PETSc

from limitpde.errors import RunError
from limitpde.fem.linear import LinearSolver, symmetric_options
from limitpde.vlasov.fields.along import along, weights_of

Inverse = Callable[[np.ndarray], np.ndarray]


class Line:
    """Matrices of the continuous elements of degree k + 1 on the periodic cells of one axis, sparse.

    Attributes:
        values, slopes: (n, dofs) basis functions and their derivatives at the Gauss points of f.
        mass, stiffness: (dofs, dofs).
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
        at_points = element.tabulate(1, points)[..., 0]
        nodes = cells[:, None] * axis.P + np.arange(axis.P)
        self.values = spread(at_nodes[0], nodes)
        self.slopes = spread(at_nodes[1] / axis.h, nodes)
        self.mass = spread(at_points[0].T @ (weights[:, None] * at_points[0]) * axis.h, dofs)
        self.stiffness = spread(at_points[1].T @ (weights[:, None] * at_points[1]) / axis.h, dofs)


class TorusPoisson:
    """Convolutions with the periodic Gamma, -Lap Gamma = strength (delta - mean).

    Args:
        strength: of Gamma.
        axes: of x.
    """

    def __init__(self, strength: float, axes: Sequence[Any]) -> None:
        self._strength, self._weights = strength, weights_of(axes)
        lines = [Line(axis) for axis in axes]
        self._values: list[Any] = [line.values for line in lines]
        self._slopes: list[Any] = [line.slopes for line in lines]
        if len(lines) == 1:
            self._inverse = factorised(lines[0])
            return
        self._inverse, vectors = diagonalised(lines, [axis.weights for axis in axes])
        self._values = [matrix @ V for matrix, V in zip(self._values, vectors, strict=True)]
        self._slopes = [matrix @ V for matrix, V in zip(self._slopes, vectors, strict=True)]

    def _solve(self, functions: Sequence[Any], values: np.ndarray) -> np.ndarray:
        """K^+ applied to the integrals of values (*X) with products of functions given at the nodes of each axis."""
        return self._inverse(along([matrix.T for matrix in functions], self._weights * values))

    def _one_slope(self, j: int) -> list[Any]:
        """The factors of D_j."""
        return [*self._values[:j], self._slopes[j], *self._values[j + 1 :]]

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """phi, (*X) -> (*X)."""
        return self._strength * along(self._values, self._solve(self._values, rho))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, (*X) -> (d, *X)."""
        phi = self._solve(self._values, rho)
        parts = [
            along(slope, phi) - along(self._values, self._solve(slope, rho))
            for slope in map(self._one_slope, range(rho.ndim))
        ]
        return -self._strength / 2 * np.stack(parts)

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """sum_j d_j Gamma * J_j, (d, *X) -> (*X)."""
        total = np.zeros(current.shape[1:])
        for slope, part in zip(map(self._one_slope, range(len(current))), current, strict=True):
            total += along(slope, self._solve(self._values, part)) - along(self._values, self._solve(slope, part))
        return self._strength / 2 * total


def factorised(line: Line) -> Inverse:
    """K^+ of one coordinate by a factorisation of K with the first unknown fixed at 0, (dofs,) -> (dofs,)."""
    matrix = scipy.sparse.csr_array(line.stiffness[1:, 1:])
    matrix.sort_indices()
    rows, columns = (part.astype(PETSc.IntType) for part in (matrix.indptr, matrix.indices))
    aij = PETSc.Mat().createAIJ(matrix.shape, csr=(rows, columns, matrix.data), comm=PETSc.COMM_SELF)
    aij.setOption(PETSc.Mat.Option.SPD, True)
    aij.assemble()
    options = symmetric_options(aij, constant=True, relative_tolerance=1e-14)
    solver = LinearSolver(aij, prefix="vlasov_poisson", options=options)
    integrals = line.mass.sum(axis=1)
    length = integrals.sum()

    def solve(right_side: np.ndarray) -> np.ndarray:
        balanced = right_side - right_side.sum() / length * integrals
        found, _, reason = solver.solve(balanced[1:])
        if reason < 0:
            raise RunError(f"the Poisson solver failed: PETSc gives reason {reason}")
        solution = np.concatenate([[0.0], found])
        return np.asarray(solution - integrals @ solution / length)

    return solve


def diagonalised(lines: Sequence[Line], weights: Sequence[np.ndarray]) -> tuple[Inverse, list[np.ndarray]]:
    """K^+ for coefficients of the eigenvectors of each coordinate, (*dofs) -> (*dofs), and these vectors.

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
    return lambda right_side: right_side / sums, vectors
