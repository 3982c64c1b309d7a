"""The mean-field system as the package runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI

from limitpde.compare.cloud_functions import PointCloud, nodal_cloud
from limitpde.compare.statistics import by_axis
from limitpde.meanfield import summary as figures
from limitpde.meanfield.case import Case
from limitpde.meanfield.distances import distance_figures
from limitpde.meanfield.fluctuations import covariance_of_particles
from limitpde.meanfield.particles import simulate
from limitpde.meanfield.pde import Solver
from limitpde.meanfield.pictures import PAINTERS
from limitpde.meanfield.report import MeanfieldWording
from limitpde.meanfield.residual import PDEResidual
from limitpde.nbody.diffusions import DiffusionEnsemble
from limitpde.nbody.replicas import Controls
from limitpde.results.fields import Outputs
from limitpde.results.figures import Record
from limitpde.sections import keywords
from limitpde.system import System


class Meanfield(System[Case, Solver, PDEResidual, DiffusionEnsemble]):
    """Particles with an interaction of the user's own and their McKean-Vlasov equation."""

    work_unit, wording, painters = "particle_steps", MeanfieldWording(), PAINTERS
    summary, residual = figures.PDESummary, PDEResidual
    fluctuation_order = 2.0

    def residual_rate(self, case: Case) -> float:
        """-1/2: W is a martingale."""
        return -0.5

    def departs(self, case: Case) -> str:
        """W or noise of the particles' own."""
        own, model = case.particles, case.model
        if own is None:
            return ""
        if own.sigma not in (None, model.sigma):
            return f"particles.sigma = {own.sigma:g}: that of the equation is {model.sigma:g}"
        if own.interaction not in (None, model.interaction):
            return "particles.interaction: is not that of the equation"
        return ""

    def mass(self, case: Case) -> float:
        """That of all species."""
        return float(case.initial.masses.sum())

    def solver(self, case: Case, comm: MPI.Comm) -> Solver:
        """The solver of the equation. Collective."""
        return Solver(case.model, case.initial, **keywords(case.pde), comm=comm)

    def outputs(self, case: Case, solver: Solver) -> Outputs:
        """With the fluxes that the case asks for. Collective."""
        return solver.outputs(fluxes=case.output.fluxes)

    def cloud(self, solver: Solver, comm: MPI.Comm) -> PointCloud:
        """The nodes, with the species as their mark. Collective."""
        nodes, masses = solver.nodes, np.asarray(solver.masses)
        return nodal_cloud(comm, nodes.original, nodes.points, np.arange(1, len(masses) + 1), masses.T)

    def simulate(self, case: Case, count: int, controls: Controls) -> DiffusionEnsemble:
        """Simulate the replicas of one particle number. Collective."""
        return simulate(case.model, case.initial, count=count, controls=controls, **case.simulation())

    def limiting_covariance(self, case: Case, comm: MPI.Comm, stepped: Callable[[], object]) -> np.ndarray | None:
        """By the adjoint equation, for particles with noise that are those of the equation. Collective."""
        if case.pde is None or case.model.sigma == 0 or self.departs(case):
            return None
        solver, times, end = self.solver(case, comm), case.fluctuation_times, case.time.end
        return covariance_of_particles(solver, case.test_functions, end, earlier=times, stepped=stepped)

    def comparison_figures(
        self, case: Case, ensembles: Sequence[DiffusionEnsemble], solution: PDEResidual | None, comm: MPI.Comm
    ) -> Record:
        """Distances of L^N to rho. Collective."""
        return {} if solution is None else distance_figures(solution.solver, case.initial, ensembles, case.seed)

    def particle_figures(self, case: Case, ensemble: DiffusionEnsemble) -> Record:
        """One entry of the list `particles` of summary.json."""
        return figures.particle_figures(ensemble)

    def observable_series(self, ensemble: DiffusionEnsemble) -> dict[str, np.ndarray]:
        """Second moment and centre, (R, T) each."""
        return {"second_moment": ensemble.second_moment} | by_axis("centre", ensemble.centre)


SYSTEM = Meanfield()
