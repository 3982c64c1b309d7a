"""The signed system as the package runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from mpi4py import MPI

from limitpde.compare.cloud_functions import PointCloud, nodal_cloud
from limitpde.compare.companions import Orders
from limitpde.compare.statistics import by_axis
from limitpde.nbody.replicas import Controls
from limitpde.results.fields import Outputs
from limitpde.results.figures import Record
from limitpde.sections import keywords
from limitpde.signed import summary as figures
from limitpde.signed.case import Case
from limitpde.signed.distances import distance_figures
from limitpde.signed.fluctuations import covariance_of_charges, first_order, predictable
from limitpde.signed.particles import Ensemble, simulate
from limitpde.signed.pde import Solver
from limitpde.signed.pictures import PAINTERS
from limitpde.signed.report import SignedWording
from limitpde.signed.residual import SIGNS, PDEResidual
from limitpde.signed.start import signs_outside
from limitpde.system import System


class SignedCharges(System[Case, Solver, PDEResidual, Ensemble]):
    """Signed Coulomb charges and the signed Keller-Segel system (van Meurs, Peletier, Slangen)."""

    work_unit = "pair_interactions"
    wording = SignedWording()
    fluctuation_order = 2.0
    painters = PAINTERS
    summary = figures.PDESummary
    residual = PDEResidual
    particle_warnings = staticmethod(figures.particle_warnings)
    particle_cautions = staticmethod(figures.particle_cautions)

    def residual_rate(self, case: Case) -> float | None:
        """-1/2, or the largest power of the terms of Lemma 5.10."""
        return case.scaling.residual_rate

    def departs(self, case: Case) -> str:
        """Powers of N of the particles that do not lead to the equation."""
        return case.scaling.departs

    def means_powers(self, case: Case) -> tuple[float, ...]:
        """1 / N, and what gamma_N and sigma_N of the particles leave."""
        return case.scaling.means_powers

    def orders(self, case: Case) -> Orders:
        """BDF2 on first-order elements; degree + 1 and four for smooth data."""
        degree = 1 if case.pde is None else case.pde.degree
        return Orders(degree + 1.0, 2.0 if degree == 1 else 4.0)

    def outside_theory(self, case: Case) -> str:
        """What Theorem 5.4 and Lemma 5.10 assume and the case does not have."""
        if case.particles is None:
            return case.model.outside_theory
        return case.scaling.outside_theory or signs_outside(case.initial, case.particles.counts)

    def solver(self, case: Case, comm: MPI.Comm) -> Solver:
        """The solver. Collective."""
        options = {name: value for name, value in keywords(case.pde).items() if value is not None}
        return Solver(case.limit, case.initial, **options, comm=comm)

    def outputs(self, case: Case, solver: Solver) -> Outputs:
        """With the fluxes that the case asks for. Collective."""
        return solver.outputs(fluxes=case.output.fluxes)

    def cloud(self, solver: Solver, comm: MPI.Comm) -> PointCloud:
        """The nodes, with the sign as their mark. Collective."""
        owned, scheme, densities = solver.sums.owned, solver.stepping.scheme, solver.densities
        masses = np.stack([scheme.tested(density)[:owned] for density in densities.values()], axis=1)
        signs = np.array([SIGNS[name] for name in densities])
        return nodal_cloud(comm, scheme.numbers[:owned], solver.nodes.points[:owned, :2], signs, masses)

    def limiting_covariance(self, case: Case, comm: MPI.Comm, stepped: Callable[[], object]) -> np.ndarray | None:
        """By the adjoint equation, in the plane, for charges that all stay and move on their own. Collective."""
        if case.pde is None or not predictable(case):
            return None
        first = replace(case, pde=first_order(case.pde, case.time.end))
        fixed = case.initial.signs == "fixed"
        solver, times, end = self.solver(first, comm), case.fluctuation_times, case.time.end
        return covariance_of_charges(
            solver, case.test_functions, end, earlier=times, numbers_fixed=fixed, stepped=stepped
        )

    def comparison_figures(
        self, case: Case, ensembles: Sequence[Ensemble], solution: PDEResidual | None, comm: MPI.Comm
    ) -> Record:
        """Distances of L^N to rho. Collective."""
        return {} if solution is None else distance_figures(solution.solver, ensembles, case.seed, comm)

    def simulate(self, case: Case, count: int, controls: Controls) -> Ensemble:
        """Simulate the replicas of one particle number. Collective."""
        eps = case.estimates.eps if case.estimates.check else None
        return simulate(case.limit, case.initial, count=count, controls=controls, estimate_eps=eps, **case.simulation())

    def particle_figures(self, case: Case, ensemble: Ensemble) -> Record:
        """One entry of the list `particles` of summary.json."""
        return figures.particle_figures(case.scaling.particles(ensemble.count), ensemble)

    def observable_series(self, ensemble: Ensemble) -> dict[str, np.ndarray]:
        """Second moment and centre, (R, T) each."""
        return {"second_moment": ensemble.second_moment} | by_axis("centre", ensemble.centre)

    def particle_tables(self, ensemble: Ensemble) -> Mapping[str, Iterable[Mapping[str, float]]]:
        """Who has met whom, and when, in each replica, where charges that meet stay together or vanish."""
        rows = list(ensemble.meetings())
        return {"collisions": rows} if rows else {}


SYSTEM = SignedCharges()
