"""W[T, phi] of a solution of the McKean-Vlasov equation.

    int sum_s phi (rho_s(T) - rho_s(0)) - int_0^T int sum_s (-grad V_s . grad phi + D Lap phi + d phi / dt) rho_s dt

for phi(x, s, t), with grad V_s = sum_t a_st grad W * rho_t + grad U by the gradients that the user gave.
"""

from __future__ import annotations

from collections.abc import Sequence

from limitpde.compare.observed import DriftDiffusionResidual
from limitpde.compare.test_functions import TestFunction
from limitpde.meanfield.pde import Solver


class PDEResidual(DriftDiffusionResidual):
    """W of a solver. Collective."""

    STATE = "meanfield.PDEResidual 1"

    def __init__(self, solver: Solver, functions: Sequence[TestFunction]) -> None:
        self.solver = solver
        super().__init__(
            solver.nodes,
            functions,
            now=lambda: solver.t,
            diffusivity=solver.model.D,
            masses=lambda: solver.masses,
            force=solver.force,
        )
