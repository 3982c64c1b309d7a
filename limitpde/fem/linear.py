"""Linear solvers: PETSc options set in one place, reasons instead of exceptions, for a stepper that can try again."""

from __future__ import annotations

import itertools

import numpy as np
from petsc4py import PETSc

Options = dict[str, str | int | float | None]

_numbers = itertools.count()

DIRECT_LIMIT = 500_000
"""Unknowns up to which a matrix that rarely changes is factorised; above, algebraic multigrid needs less."""


class LinearSolver:
    """A PETSc KSP with options of its own and vectors that live as long as it does. Collective.

    Args:
        matrix: the assembled operator; its entries may change between solves.

    Keyword Args:
        prefix: what the options of this solver are called by; a user's own, such as
            `PETSC_OPTIONS="-limitpde_poisson_ksp_rtol 1e-10"`, win over the ones given here.
        options: PETSc options by name, without the prefix.
        lag: keep the preconditioner until a solve takes twice the iterations of the first one with it.
    """

    def __init__(self, matrix: PETSc.Mat, *, prefix: str, options: Options, lag: bool = False) -> None:
        self._ksp = PETSc.KSP().create(matrix.comm)
        self._ksp.setOperators(matrix)
        database = PETSc.Options()
        unique = f"limitpde_{prefix}_{next(_numbers)}_"
        for name, value in options.items():
            shared = f"limitpde_{prefix}_{name}"
            database.setValue(unique + name, database.getString(shared) if database.hasName(shared) else value)
        self._ksp.setOptionsPrefix(unique)
        self._ksp.setFromOptions()
        for name in options:
            database.delValue(unique + name)
        self._lag, self._fresh_iterations = lag, 0
        self.solution, self.right_side = matrix.createVecs()

    def solve(self, right_side: np.ndarray, guess: np.ndarray | None = None) -> tuple[np.ndarray, int, int]:
        """Solve for the owned entries. Collective.

        Args:
            right_side: (owned,).
            guess: (owned,) to start from; zero otherwise.

        Returns:
            The solution (a view of (owned,), valid until the next solve), the iterations, and PETSc's reason: negative
            where the solver did not converge, and then the solution means nothing.
        """
        self.right_side.array[:] = right_side
        reuse = self._lag and self._fresh_iterations > 0
        iterations, reason = self._run(guess, reuse)
        if reason < 0 and reuse:
            reuse = False
            iterations, reason = self._run(guess, reuse)
        if not reuse:
            self._fresh_iterations = max(iterations, 1)
        elif iterations > 2 * self._fresh_iterations + 2:
            self._fresh_iterations = 0  # the next solve renews the preconditioner
        return self.solution.array_r, iterations, reason

    def _run(self, guess: np.ndarray | None, reuse: bool) -> tuple[int, int]:
        self._ksp.setInitialGuessNonzero(guess is not None)
        if guess is not None:
            self.solution.array[:] = guess
        self._ksp.getPC().setReusePreconditioner(reuse)
        self._ksp.solve(self.right_side, self.solution)
        return self._ksp.getIterationNumber(), self._ksp.getConvergedReason()


def symmetric_options(matrix: PETSc.Mat, *, constant: bool, relative_tolerance: float) -> Options:
    """Options for a symmetric positive matrix: conjugate gradients with what is fastest on this number of ranks.

    One iteration with a factorisation of the matrix itself, a few with that of a similar one (a matrix that changes
    keeps it while it serves, see `LinearSolver`), some ten with algebraic multigrid. PETSc's own Cholesky runs on one
    rank only and solves three times as fast as MUMPS there; on more ranks a solve with MUMPS takes less time than
    multigrid for a constant matrix, but more than a few multigrid iterations.
    """
    options: Options = {"ksp_type": "cg", "ksp_rtol": relative_tolerance, "ksp_max_it": 500}
    if matrix.size[0] <= DIRECT_LIMIT and matrix.comm.size == 1:
        return {**options, "pc_type": "cholesky", "pc_factor_mat_ordering_type": "nd"}
    if matrix.size[0] <= DIRECT_LIMIT and constant and PETSc.Sys.hasExternalPackage("mumps"):
        return {**options, "pc_type": "cholesky", "pc_factor_mat_solver_type": "mumps"}
    return {**options, "pc_type": "gamg"}
