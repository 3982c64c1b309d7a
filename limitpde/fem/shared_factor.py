"""A direct solver of sparse symmetric positive matrices that the ranks share.

The border consists of the unknowns that have an entry with one of a lower rank; those inside a rank p have entries
only with each other and with the border,

    A = [A_pp on the diagonal, A_pb; A_bp, A_bb],   S = A_bb - sum_p A_bp A_pp^-1 A_pb.

Each rank holds a factor of A_pp, and its rows of S^-1, which is dense: on a plane mesh the border has one to two
sqrt(n P) unknowns. A solve is one with L on each rank, a sum over the ranks of as many numbers, and one with L^T: half
the work of one rank on two, exact up to rounding.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from mpi4py import MPI
from petsc4py import PETSc

from limitpde.compiled import compiled
from limitpde.fem.panels import backward, factorised, forward


class SharedFactor:
    """What PETSc's `pc_type python` calls to solve with a matrix. Collective; a rank may own nothing."""

    def setUp(self, pc: PETSc.PC) -> None:
        """Factorise the matrix, which is new or has changed. Collective."""
        matrix = pc.getOperators()[1]
        self._comm = matrix.comm.tompi4py()
        first, last = matrix.getOwnershipRange()
        pointers, columns, values = matrix.getValuesCSR()
        rows = scipy.sparse.csr_array((values, columns, pointers), shape=(last - first, matrix.size[1]))
        self._own = np.unique(np.repeat(np.arange(last - first), np.diff(pointers))[columns < first])
        border = np.concatenate(self._comm.allgather(first + self._own))
        self._here = np.searchsorted(border, first + self._own)
        inside = np.setdiff1d(np.arange(last - first), self._own)
        coupling = rows[inside][:, border]
        self._seen = np.unique(coupling.indices)
        schur = np.zeros((len(border), len(border)))
        schur[self._here] = rows[self._own][:, border].toarray()
        shift = 2 * self._sum(np.abs(schur).sum(axis=1))[self._seen]
        failed = False
        try:
            order, left = self._factorise(rows[inside][:, first + inside], coupling[:, self._seen], shift)
            self._inside = inside[order]
            schur[np.ix_(self._seen, self._seen)] += left - np.diag(shift)
        except RuntimeError:
            failed = True
        self._failed = self._comm.allreduce(failed, op=MPI.LOR)
        if self._failed:
            return
        try:
            inverse = np.linalg.inv(self._sum(schur))
        except np.linalg.LinAlgError:  # on all ranks: they have the same sum
            self._failed = True
            return
        self._solved = np.concatenate([inverse[self._seen], inverse[self._here]])

    def _factorise(
        self, inside: scipy.sparse.csr_array, coupling: scipy.sparse.csr_array, shift: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Factorise A_pp; returns the order of its unknowns and shift - A_bp A_pp^-1 A_pb, on the border seen from it.

        That product is at most A_bb, and half the shift is more than A_bb: the matrix with the shift is positive, too.
        """
        n, border = coupling.shape
        shifted = scipy.sparse.diags_array(shift, shape=(border, border))
        whole = scipy.sparse.block_array([[inside, coupling], [coupling.T, shifted]], format="csr")
        dissected = _dissected(whole)
        order = np.concatenate([dissected[dissected < n], np.arange(n, n + border)])
        self._factor, moved, left = factorised(whole[order][:, order].tocsc(), n)
        return order[moved], left

    def apply(self, pc: PETSc.PC, right_side: PETSc.Vec, solution: PETSc.Vec) -> None:
        """Solve; NaN, at which iterations end, where the matrix could not be factorised. Collective."""
        if self._failed:  # a reason told to PETSc would make the next solve fail, too
            solution.set(np.nan)
            return
        given, n, seen = right_side.array_r, len(self._inside), len(self._seen)
        values, balance = np.zeros(n + seen), np.zeros(self._solved.shape[1])
        values[:n] = given[self._inside]
        forward(self._factor, values)
        balance[self._seen] = values[n:]
        balance[self._here] += given[self._own]
        border = row_products(self._solved, self._sum(balance))
        values[n:] = border[:seen]
        backward(self._factor, values)
        found = solution.array
        found[self._inside], found[self._own] = values[:n], border[seen:]

    def _sum(self, values: np.ndarray) -> np.ndarray:
        total = np.empty_like(values)
        self._comm.Allreduce(values, total, op=MPI.SUM)
        return total


def _dissected(matrix: scipy.sparse.csr_array) -> np.ndarray:
    """An order of the unknowns in which the factor stays sparse: nested dissection."""
    rows, columns = (part.astype(PETSc.IntType) for part in (matrix.indptr, matrix.indices))
    aij = PETSc.Mat().createAIJ(matrix.shape, csr=(rows, columns, matrix.data), comm=PETSc.COMM_SELF)
    return np.asarray(aij.getOrdering(PETSc.Mat.OrderingType.ND)[0].getIndices())


@compiled(fastmath={"reassoc", "contract"})
def row_products(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Matrix times vector, where numpy would call a threaded BLAS, which waits for cores that other ranks use."""
    result = np.zeros(len(matrix))
    for k in range(len(matrix)):
        for i in range(len(values)):
            result[k] += matrix[k, i] * values[i]
    return result
