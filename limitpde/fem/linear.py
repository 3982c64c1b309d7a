"""Linear solvers: PETSc options set in one place, reasons instead of exceptions, for a stepper that can try again."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
from petsc4py import PETSc

from limitpde.fem.shared_factor import SharedFactor

Options = dict[str, str | int | float | None]

_numbers = itertools.count()

SHARED_LIMIT = 2_000_000
"""Unknowns times ranks up to which the ranks share a factor: some 2,000 lie between them then (docs/scaling.md)."""
REDUNDANT_LIMIT = 100_000
"""Unknowns up to which each of more ranks factorises the whole matrix by itself."""
DIRECT_LIMIT = 500_000
"""Unknowns up to which a matrix that rarely changes is factorised; above, algebraic multigrid needs less."""

BORROWED = 20
"""Iterations after which a solver gives up a preconditioner that is not its own."""


class LinearSolver:
    """A PETSc KSP with options of its own and vectors that live as long as it does. Collective.

    Args:
        matrix: the assembled operator; its entries may change between solves.

    Keyword Args:
        prefix: what the options of this solver are called by; a user's own, such as
            `PETSC_OPTIONS="-limitpde_poisson_ksp_rtol 1e-10"`, win over the ones given here.
        options: PETSc options by name, without the prefix.
        lag: keep the preconditioner until a solve takes twice the iterations of the first one with it.
        lender: a solver, of a matrix near this one, whose preconditioner serves until a solve takes twice the
            iterations of its last one; needs `lag`.
    """

    def __init__(
        self,
        matrix: PETSc.Mat,
        *,
        prefix: str,
        options: Options,
        lag: bool = False,
        lender: LinearSolver | None = None,
    ) -> None:
        self._ksp = PETSc.KSP().create(matrix.comm)
        self._ksp.setOperators(matrix)
        database = PETSc.Options()
        unique = f"limitpde_{prefix}_{next(_numbers)}_"
        for name, value in options.items():
            shared = f"limitpde_{prefix}_{name}"
            database.setValue(unique + name, database.getString(shared) if database.hasName(shared) else value)
        self._ksp.setOptionsPrefix(unique)
        self._ksp.setFromOptions()
        forget = weakref.finalize(self, _forget, [unique + name for name in options])  # inner solvers read theirs later
        forget.atexit = False
        self._lag, self._fresh_iterations = lag, 0
        self._own: tuple[PETSc.PC, int] | None = None
        if lender is not None:
            self._borrow(lender)
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

    def _borrow(self, lender: LinearSolver) -> None:
        """Use the preconditioner of another solver, and give up soon where it does not serve. Collective."""
        self._own = self._ksp.getPC(), self._ksp.max_it
        self._fresh_iterations = max(lender._ksp.getIterationNumber(), 1)
        borrowed = PETSc.PC().create(self._ksp.comm)
        borrowed.setOperators(*self._ksp.getOperators())
        borrowed.setType(PETSc.PC.Type.PYTHON)
        borrowed.setPythonContext(_Borrowed(lender._ksp.getPC()))
        self._ksp.setPC(borrowed)
        self._ksp.max_it = min(BORROWED, self._ksp.max_it)

    def _run(self, guess: np.ndarray | None, reuse: bool) -> tuple[int, int]:
        if not reuse and self._own is not None:
            own, self._ksp.max_it = self._own
            self._ksp.setPC(own)
            self._own = None
        self._ksp.setInitialGuessNonzero(guess is not None)
        if guess is not None:
            self.solution.array[:] = guess
        self._ksp.getPC().setReusePreconditioner(reuse)
        self._ksp.solve(self.right_side, self.solution)
        return self._ksp.getIterationNumber(), self._ksp.getConvergedReason()


class _Borrowed:
    """What PETSc's `pc_type python` calls to precondition by what another solver has set up."""

    def __init__(self, lender: PETSc.PC) -> None:
        self._lender = lender

    def apply(self, pc: PETSc.PC, right_side: PETSc.Vec, solution: PETSc.Vec) -> None:
        """Precondition. Collective."""
        self._lender.apply(right_side, solution)


def _forget(names: list[str]) -> None:
    database = PETSc.Options()
    for name in names:
        database.delValue(name)


def symmetric_options(matrix: PETSc.Mat, *, constant: bool, relative_tolerance: float) -> Options:
    """Options for a symmetric positive matrix that rarely changes: what is fastest for its size and number of ranks.

    A constant matrix is factorised and solved with directly; one that changes keeps a factorisation as a
    preconditioner of conjugate gradients while it serves (see `LinearSolver`, `lag`). PETSc's own Cholesky solves three
    times as fast as MUMPS, and even the same one on every rank is faster than MUMPS spread over a few; one that is
    shared takes half of that on two (docs/scaling.md).
    """
    size, ranks = matrix.size[0], matrix.comm.size
    iterative: Options = {"ksp_type": "cg", "ksp_rtol": relative_tolerance, "ksp_max_it": 500}
    start: Options = {"ksp_type": "preonly"} if constant else iterative
    if ranks == 1 and size <= DIRECT_LIMIT:
        return {**start, "pc_type": "cholesky", "pc_factor_mat_ordering_type": "nd"}
    if size <= min(SHARED_LIMIT // ranks, DIRECT_LIMIT):
        return {**start, "pc_type": "python", "pc_python_type": f"{SharedFactor.__module__}.{SharedFactor.__name__}"}
    if size <= REDUNDANT_LIMIT:
        whole = {"redundant_pc_type": "cholesky", "redundant_pc_factor_mat_ordering_type": "nd"}
        return {**start, "pc_type": "redundant", **whole}
    if size <= DIRECT_LIMIT and constant and PETSc.Sys.hasExternalPackage("mumps"):
        return {**start, "pc_type": "cholesky", "pc_factor_mat_solver_type": "mumps"}
    return {**iterative, "pc_type": "gamg"}
