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

The tensor grid makes K a sum of Kronecker products of matrices of one coordinate. For d = 1, 2 it is factorised once by
PETSc, on every rank the same; the constant is fixed by one degree of freedom and then by the mean. For d = 3 the
factors fill up (46 656 unknowns take minutes), so K is diagonalised instead, coordinate by coordinate (Lynch, Rice and
Thomas, Numer. Math. 6 (1964)): with S_j V_j = M_j V_j diag(lambda_j), V_j^T M_j V_j = 1,

    K^+ = V diag(1 / (lambda_1 + lambda_2 + lambda_3)) V^T,    V = V_1 x V_2 x V_3,

without the constant, for which the sum is 0.
"""

from __future__ import annotations

import functools
import math
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


def _kronecker(matrices: Sequence[scipy.sparse.csr_array]) -> scipy.sparse.csr_array:
    return functools.reduce(lambda a, b: scipy.sparse.kron(a, b, format="csr"), matrices)


class TorusPoisson:
    """Convolutions with the periodic Gamma, -Lap Gamma = strength (delta - mean).

    Args:
        strength: of Gamma.
        axes: of x.
    """

    def __init__(self, strength: float, axes: Sequence[Any]) -> None:
        self._strength = strength
        d = len(axes)
        lines = [Line(axis) for axis in axes]
        self._weights = weights_of(axes)
        self._values = _kronecker([line.values for line in lines])
        self._slopes = [
            _kronecker([line.slopes if i == j else line.values for i, line in enumerate(lines)]) for j in range(d)
        ]
        self._integrals = self._values.T @ self._weights.ravel()
        self._volume = math.prod(axis.high - axis.low for axis in axes)
        self._inverse = factorised(lines) if d < 3 else diagonalised(lines)

    def _solve(self, right_side: np.ndarray) -> np.ndarray:
        """K^+ applied to (dofs,): to its part without mean, and without mean itself."""
        balanced = right_side - right_side.sum() / self._volume * self._integrals
        solution = self._inverse(balanced)
        return np.asarray(solution - self._integrals @ solution / self._volume)

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """phi, (*X) -> (*X)."""
        phi = self._solve(self._values.T @ (self._weights * rho).ravel())
        return np.asarray(self._strength * (self._values @ phi).reshape(rho.shape))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, (*X) -> (d, *X)."""
        weighted = (self._weights * rho).ravel()
        phi = self._solve(self._values.T @ weighted)
        parts = [slope @ phi - self._values @ self._solve(slope.T @ weighted) for slope in self._slopes]
        return np.asarray(-self._strength / 2 * np.stack(parts).reshape(-1, *rho.shape))

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """sum_j d_j Gamma * J_j, (d, *X) -> (*X)."""
        weighted = (self._weights * current).reshape(len(current), -1)
        weak = sum(slope.T @ part for slope, part in zip(self._slopes, weighted, strict=True))
        total = -self._values @ self._solve(np.asarray(weak))
        for slope, part in zip(self._slopes, weighted, strict=True):
            total = total + slope @ self._solve(self._values.T @ part)
        return np.asarray(self._strength / 2 * total.reshape(current.shape[1:]))


def factorised(lines: Sequence[Line]) -> Callable[[np.ndarray], np.ndarray]:
    """K^{-1} with the first unknown fixed at 0, (dofs,) -> (dofs,), by a factorisation of K."""
    parts = [
        _kronecker([line.stiffness if i == j else line.mass for i, line in enumerate(lines)]) for j in range(len(lines))
    ]
    matrix = scipy.sparse.csr_array(sum(parts[1:], parts[0])[1:, 1:])
    matrix.sort_indices()
    rows, columns = (part.astype(PETSc.IntType) for part in (matrix.indptr, matrix.indices))
    aij = PETSc.Mat().createAIJ(matrix.shape, csr=(rows, columns, matrix.data), comm=PETSc.COMM_SELF)
    aij.setOption(PETSc.Mat.Option.SPD, True)
    aij.assemble()
    options = symmetric_options(aij, constant=True, relative_tolerance=1e-14)
    solver = LinearSolver(aij, prefix="vlasov_poisson", options=options)

    def solve(right_side: np.ndarray) -> np.ndarray:
        found, _, reason = solver.solve(right_side[1:])
        if reason < 0:
            raise RunError(f"the Poisson solver failed: PETSc gives reason {reason}")
        return np.concatenate([[0.0], found])

    return solve


def diagonalised(lines: Sequence[Line]) -> Callable[[np.ndarray], np.ndarray]:
    """K^+ by the eigenvectors of each coordinate, (dofs,) -> (dofs,)."""
    pairs = [scipy.linalg.eigh(line.stiffness.toarray(), line.mass.toarray()) for line in lines]
    vectors = [vector for _, vector in pairs]
    transposed = [vector.T for vector in vectors]
    sums = functools.reduce(np.add.outer, [values for values, _ in pairs])
    sums[(0,) * len(lines)] = np.inf  # the constant

    def solve(right_side: np.ndarray) -> np.ndarray:
        return along(vectors, along(transposed, right_side.reshape(sums.shape)) / sums).ravel()

    return solve
