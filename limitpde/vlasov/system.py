"""The Vlasov system as the package runs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from limitpde.compare.statistics import by_axis
from limitpde.compare.test_functions import TestFunction
from limitpde.nbody.replicas import Controls
from limitpde.results.figures import Record
from limitpde.sections import keywords
from limitpde.system import System
from limitpde.vlasov import convergence, report, summary
from limitpde.vlasov.case import Case
from limitpde.vlasov.particles import Ensemble, simulate
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.pictures import PAINTERS
from limitpde.vlasov.residual import PDEResidual


class Vlasov(System[Case, Solver, PDEResidual, Ensemble]):
    """Newtonian particles and the Vlasov equation, also in its Hamiltonian forms (Neiss and Pickl)."""

    work_unit = "particle_steps"
    wording = report
    painters = PAINTERS
    particle_warnings = staticmethod(summary.particle_warnings)
    comparison_figures = staticmethod(convergence.comparison_figures)

    def residual_rate(self, case: Case) -> float | None:
        """-1: that 1/(N - 1) is not 1/N."""
        return case.model.residual_rate

    def solver(self, case: Case, comm: MPI.Comm) -> Solver:
        """The solver of the equation. Collective."""
        return Solver(case.model, case.initial, **keywords(case.pde, leave_out=("fit",)), comm=comm)

    def summary(self, solver: Solver, case: Case) -> summary.PDESummary:
        """What takes in the steps of a solver. Collective."""
        return summary.PDESummary(solver, case)

    def residual(self, solver: Solver, functions: Sequence[TestFunction]) -> PDEResidual:
        """What observes W of a solver. Collective."""
        return PDEResidual(solver, functions)

    def simulate(self, case: Case, count: int, controls: Controls) -> Ensemble:
        """Simulate the replicas of one particle number. Collective."""
        return simulate(
            case.model,
            case.initial,
            **keywords(case.particles, leave_out=("counts",)),
            count=count,
            end=case.time.end,
            seed=case.seed,
            stops=case.output_times,
            test_functions=case.test_functions,
            controls=controls,
        )

    def particle_figures(self, case: Case, ensemble: Ensemble) -> Record:
        """One entry of the list `particles` of summary.json."""
        return summary.particle_figures(case.model, ensemble)

    def observable_series(self, ensemble: Ensemble) -> dict[str, np.ndarray]:
        """Energies, second moment, momentum and centre, (R, T) each."""
        found = {"energy": ensemble.energy, "kinetic": ensemble.kinetic, "second_moment": ensemble.second_moment}
        return found | by_axis("momentum", ensemble.momentum) | by_axis("centre", ensemble.centre)


SYSTEM = Vlasov()
