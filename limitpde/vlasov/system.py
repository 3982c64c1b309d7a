"""The Vlasov system as the package runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from mpi4py import MPI

from limitpde.cautions import Caution
from limitpde.compare.cloud_functions import PointCloud
from limitpde.compare.companions import COARSE, COARSEST, FINE, LONG, Level, Orders
from limitpde.compare.statistics import by_axis
from limitpde.compare.user_functions import UserFunction
from limitpde.nbody.replicas import Controls
from limitpde.results.figures import Record
from limitpde.sections import keywords
from limitpde.system import System
from limitpde.vlasov import convergence, trust
from limitpde.vlasov import summary as figures
from limitpde.vlasov.case import Case
from limitpde.vlasov.cloud import phase_cloud
from limitpde.vlasov.fluctuations import covariance_of_newton
from limitpde.vlasov.particles import Ensemble, simulate
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.pictures import PAINTERS
from limitpde.vlasov.report import VlasovWording
from limitpde.vlasov.residual import PDEResidual

FINE_WORK = 2e7
"""Values of f times steps up to which fluctuations are predicted as finely as f is solved: some seconds."""


class Vlasov(System[Case, Solver, PDEResidual, Ensemble]):
    """Newtonian particles and the Vlasov equation, also in its Hamiltonian forms (Neiss and Pickl)."""

    work_unit = "particle_steps"
    wording = VlasovWording()
    painters = PAINTERS
    summary = figures.PDESummary
    residual = PDEResidual
    particle_warnings = staticmethod(figures.particle_warnings)
    comparison_figures = staticmethod(convergence.comparison_figures)

    def residual_rate(self, case: Case) -> float | None:
        """-1: that 1/(N - 1) is not 1/N."""
        return case.model.residual_rate

    def mass(self, case: Case) -> float:
        """That of f."""
        return case.initial.mass

    def orders(self, case: Case) -> Orders:
        """Degree + 1 in the cells, those of the splitting and of the symplectic integrator in the steps."""
        pde, particles = case.pde, case.particles
        space, time = (2.0, 2.0) if pde is None else (pde.degree + 1.0, pde.order or (2.0 if pde.mesh else 4.0))
        return Orders(space, time, 2.0 if particles is None else particles.order)

    def solver(self, case: Case, comm: MPI.Comm) -> Solver:
        """The solver of the equation. Collective."""
        return Solver(case.model, case.initial, **keywords(case.pde, leave_out=("fit",)), comm=comm)

    def cloud(self, solver: Solver, comm: MPI.Comm) -> PointCloud:
        """The nodes of a grid, with the velocity as their mark. Collective."""
        return phase_cloud(solver, comm)

    def limiting_covariance(self, case: Case, comm: MPI.Comm, stepped: Callable[[], object]) -> np.ndarray | None:
        """By the adjoint of the linearised equation for f, whatever the form of the case. Collective."""
        if case.pde is None or case.pde.mesh is not None:
            return None
        functions = [function for function in case.test_functions if not isinstance(function, UserFunction)]
        if len(functions) < len(case.test_functions):
            return None
        plain = replace(case.initial, phase=None)
        pde, model = replace(case.pde, positivity=False), replace(case.model, form="density")
        solver = Solver(model, plain, **keywords(pde, leave_out=("fit",)), comm=comm)
        times, end = case.fluctuation_times, case.time.end
        return covariance_of_newton(solver, functions, end, earlier=times, stepped=stepped)

    def fluctuation_levels(self, case: Case) -> tuple[Level, Level]:
        """On the cells of the solution, where that costs little, as on most lines: psi is as rough as f."""
        if case.pde is None or case.model.dimension > 1:
            return COARSE, COARSEST
        values = math.prod((case.pde.degree + 1) * cells for cells in case.pde.cells)
        return (FINE, LONG) if values * case.time.end / case.pde.step <= FINE_WORK else (COARSE, COARSEST)

    def simulate(self, case: Case, count: int, controls: Controls) -> Ensemble:
        """Simulate the replicas of one particle number. Collective."""
        return simulate(case.model, case.initial, count=count, controls=controls, **case.simulation())

    def particle_figures(self, case: Case, ensemble: Ensemble) -> Record:
        """One entry of the list `particles` of summary.json."""
        return figures.particle_figures(case.model, ensemble)

    def particle_cautions(self, case: Case, ensemble: Ensemble) -> list[Caution]:
        """Their step, and whether their noise outgrows the waves of f_0."""
        return list(trust.particles(case, ensemble.count))

    def observable_series(self, ensemble: Ensemble) -> dict[str, np.ndarray]:
        """Energies, second moment, momentum and centre, (R, T) each."""
        found = {"energy": ensemble.energy, "kinetic": ensemble.kinetic, "second_moment": ensemble.second_moment}
        return found | by_axis("momentum", ensemble.momentum) | by_axis("centre", ensemble.centre)


SYSTEM = Vlasov()
