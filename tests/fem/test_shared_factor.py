"""The direct solver that ranks share: against numpy, wherever the border between the ranks lies."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
import pytest
import scipy.sparse
from petsc4py import PETSc

from limitpde.fem.linear import LinearSolver
from limitpde.fem.panels import backward, factorised, forward

SHARED = {"pc_type": "python", "pc_python_type": "limitpde.fem.shared_factor.SharedFactor"}


def positive(unknowns, neighbours, seed):
    """A sparse symmetric positive matrix, neither an M-matrix nor diagonally dominant, of a random graph."""
    rng = np.random.default_rng(seed)
    factor = scipy.sparse.random_array((unknowns, unknowns), density=neighbours / unknowns, rng=rng)
    factor.data -= 0.5
    return scipy.sparse.csr_array(factor @ factor.T + 0.05 * scipy.sparse.eye_array(unknowns))


def distributed(comm, matrix, shares):
    """The matrix with rows shared among ranks in proportion to the shares, and the first row and number of this one."""
    parts = np.array([shares[rank % len(shares)] for rank in range(comm.size)], dtype=float)
    ends = np.rint(matrix.shape[0] * np.cumsum([0.0, *parts]) / parts.sum()).astype(int)
    mine = matrix[ends[comm.rank] : ends[comm.rank + 1]]
    size = (mine.shape[0], matrix.shape[0])
    rows, columns = (part.astype(PETSc.IntType) for part in (mine.indptr, mine.indices))
    return PETSc.Mat().createAIJ((size, size), csr=(rows, columns, mine.data), comm=comm), ends[comm.rank]


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("matrix", "shares"),
    [
        pytest.param(positive(60, 1.5, 1), (1,), id="sparse"),
        pytest.param(positive(60, 1.5, 2), (1, 0, 2), id="a rank owns nothing"),
        pytest.param(positive(40, 40, 3), (1, 2), id="all but the first rank's is border"),
        pytest.param(scipy.sparse.eye_array(12, format="csr") * 3.0, (1,), id="no border"),
        pytest.param(positive(3, 2, 4), (1,), id="one unknown a rank"),
    ],
)
def test_shared_factor_solves(comm, matrix, shares):
    distributed_matrix, first = distributed(comm, matrix, shares)
    solver = LinearSolver(distributed_matrix, prefix="tested", options={"ksp_type": "preonly", **SHARED})
    exact = np.random.default_rng(5).normal(size=matrix.shape[0])
    mine = slice(first, first + distributed_matrix.getLocalSize()[0])
    found, _, reason = solver.solve((matrix @ exact)[mine])
    assert reason > 0
    assert found == pytest.approx(exact[mine], abs=1e-11 * np.linalg.cond(matrix.toarray()))


@pytest.mark.ranks
def test_a_matrix_that_cannot_be_factorised_fails_on_all_ranks_and_the_next_one_does_not(comm):
    good = positive(60, 1.5, 1)
    matrix, first = distributed(comm, good, (1,))
    mine = slice(first, first + matrix.getLocalSize()[0])
    solver = LinearSolver(matrix, prefix="tested", options={"ksp_type": "cg", "ksp_rtol": 1e-10, **SHARED})
    if comm.rank == 0:
        matrix.setValue(0, 0, np.nan)
    matrix.assemble()
    assert solver.solve(np.ones(60)[mine])[2] < 0
    if comm.rank == 0:
        matrix.setValue(0, 0, good[0, 0])
    matrix.assemble()
    found, iterations, reason = solver.solve(np.ones(60)[mine])
    assert (iterations, reason > 0) == (1, True)
    assert found == pytest.approx(np.linalg.solve(good.toarray(), np.ones(60))[mine], rel=1e-8)


@pytest.mark.parametrize("inside", [0, 1, 37, 50])
def test_panels_eliminate_the_first_unknowns(inside):
    """Of a matrix with a full block, so that there are panels of four columns, two and one."""
    full = positive(50, 1.0, 6).toarray()
    full[20:34, 20:34] += 0.1
    factor, order, left = factorised(scipy.sparse.csc_array(full), inside)
    A, B = full[:inside, :inside], full[inside:, :inside]
    assert left == pytest.approx(full[inside:, inside:] - B @ np.linalg.solve(A, B.T), abs=1e-10)
    x = np.random.default_rng(7).normal(size=50)
    values = np.concatenate([x[:inside][order], x[inside:]])
    forward(factor, values)
    assert values[inside:] == pytest.approx(x[inside:] - B @ np.linalg.solve(A, x[:inside]), abs=1e-10)
    values[inside:] = x[inside:]
    backward(factor, values)
    assert values[:inside] == pytest.approx(np.linalg.solve(A, x[:inside] - B.T @ x[inside:])[order], abs=1e-9)
    assert inside < 37 or set(np.diff(factor.first)) == {1, 2, 4}
