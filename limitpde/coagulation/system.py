"""The coagulating system as the package runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI

from limitpde.coagulation import summary as figures
from limitpde.coagulation.case import Case
from limitpde.coagulation.distances import distance_figures
from limitpde.coagulation.fluctuations import limiting_covariance
from limitpde.coagulation.particles import Ensemble, simulate
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.pictures import PAINTERS
from limitpde.coagulation.proof.evidence import comparison_figures
from limitpde.coagulation.report import CoagulationWording
from limitpde.coagulation.residual import PDEResidual
from limitpde.compare.cloud_functions import PointCloud, nodal_cloud
from limitpde.compare.statistics import by_axis
from limitpde.nbody.replicas import Controls
from limitpde.parallel import on_root
from limitpde.results.fields import Outputs
from limitpde.results.figures import Record
from limitpde.sections import keywords
from limitpde.system import System

MOST_DENSITIES = 8
"""Masses whose densities are written at each output time."""


class Coagulation(System[Case, Solver, PDEResidual, Ensemble]):
    """Coagulating Brownian particles and the Smoluchowski coagulation-diffusion equations (Hammond)."""

    work_unit = "particle_steps"
    wording = CoagulationWording()
    painters = PAINTERS
    summary = figures.PDESummary
    residual = PDEResidual
    particle_cautions = staticmethod(figures.particle_cautions)

    def residual_rate(self, case: Case) -> float | None:
        """See `Model.residual_rate`."""
        return case.model.residual_rate

    def means_powers(self, case: Case) -> tuple[float, ...]:
        """See `Model.means_powers`."""
        return case.model.means_powers

    def mass(self, case: Case) -> float:
        """Z, the integral of all initial densities."""
        return case.initial.Z

    def solver(self, case: Case, comm: MPI.Comm) -> Solver:
        """The solver of the equation. Collective."""
        return Solver(case.model, case.initial, **keywords(case.pde), comm=comm)

    def outputs(self, case: Case, solver: Solver) -> Outputs:
        """With the fluxes that the case asks for. Collective."""
        return solver.outputs(fluxes=case.output.fluxes)

    def cloud(self, solver: Solver, comm: MPI.Comm) -> PointCloud:
        """The nodes, with the mass n as their mark; of a point, the middle of the unit torus. Collective."""
        nodes, weights = solver.nodes, solver.nodes.volume[:, None] * solver.densities
        return nodal_cloud(comm, nodes.original, nodes.points, solver.masses, weights)

    def limiting_covariance(self, case: Case, comm: MPI.Comm, stepped: Callable[[], object]) -> np.ndarray | None:
        """In equilibrium: see `limitpde.coagulation.fluctuations`."""
        return limiting_covariance(case)

    def simulate(self, case: Case, count: int, controls: Controls) -> Ensemble:
        """Simulate the replicas of one particle number. Collective."""
        options = case.simulation(leave_out=("domain",)) | {"domain": case.domain, "deltas": case.deltas}
        return simulate(case.model, case.initial, count=count, controls=controls, **options)

    def particle_figures(self, case: Case, ensemble: Ensemble) -> Record:
        """One entry of the list `particles` of summary.json."""
        return figures.particle_figures(case.model, ensemble)

    def observable_series(self, ensemble: Ensemble) -> dict[str, np.ndarray]:
        """Survivors, mass and its moments, the largest mass, densities of the first masses, (R, T) each."""
        found = {"survivors": ensemble.survivors, "mass": ensemble.mass, "second_moment": ensemble.second_moment}
        found |= {"largest_mass": ensemble.largest_mass, "mass_squares": ensemble.mass_squares}
        found |= by_axis("centre", ensemble.centre)
        densities = ensemble.Z / ensemble.count * ensemble.counts_by_mass[:, :, :MOST_DENSITIES]
        return found | {f"density_{n + 1}": densities[:, :, n] for n in range(densities.shape[2])}

    def comparison_figures(
        self, case: Case, ensembles: Sequence[Ensemble], solution: PDEResidual | None, comm: MPI.Comm
    ) -> Record:
        """What the particles say about the steps of the proof, and how far they are from f. Collective."""
        found = on_root(
            comm,
            lambda: comparison_figures(
                case.model,
                ensembles,
                solution,
                deltas=case.deltas,
                initial=case.initial,
                domain=case.domain,
            ),
        )
        return found | ({} if solution is None else distance_figures(solution.solver, ensembles, case.seed))


SYSTEM = Coagulation()
