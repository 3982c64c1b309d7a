"""The oscillators as limitpde runs them."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from kuramoto.case import Case
from kuramoto.equation import PDEResidual, PDESummary, Solver
from limitpde.compare.marked import evaluate_marked
from limitpde.compare.statistics import by_axis, mean_figures
from limitpde.nbody.diffusions import DiffusionEnsemble, Diffusions, Motion
from limitpde.nbody.replicas import Controls
from limitpde.results.figures import Record
from limitpde.results.report import Wording
from limitpde.sections import keywords
from limitpde.system import System


class KuramotoWording(Wording):
    """What report.md says about the oscillators."""

    residual_note = "Expected: zero in the mean, with the variance of Ito's isometry."
    EQUATION = {"unknowns": "dofs", "mass, relative drift": "mass.total.max_relative_drift", "order parameter": "order"}
    PARTICLES = {"N": "N", "replicas": "replicas", "order parameter at the end": "order"}


class Kuramoto(System[Case, Solver, PDEResidual, DiffusionEnsemble]):
    """Noisy Kuramoto oscillators."""

    work_unit, wording, summary, residual = "particle_steps", KuramotoWording(), PDESummary, PDEResidual

    def residual_rate(self, case: Case) -> float:
        """-1/2: W is a martingale."""
        return -0.5

    def solver(self, case: Case, comm: MPI.Comm) -> Solver:
        """The solver of the equation. Collective."""
        return Solver(case.model, case.initial, **keywords(case.pde), comm=comm)

    def simulate(self, case: Case, count: int, controls: Controls) -> DiffusionEnsemble:
        """Simulate the replicas of one particle number, as points of the unit circle. Collective."""
        model, options = case.model, case.simulation()
        functions = options.pop("test_functions")
        oscillators = Diffusions(
            count=count,
            motion=Motion(
                force=lambda angle: model.force(np.exp(1j * angle).mean(axis=1, keepdims=True), angle),
                sigma=model.sigma,
            ),
            start=lambda rng: rng.vonmises(0.0, case.initial.concentration, (count, 1)),
            tested=lambda angle, t: evaluate_marked(functions, angle, np.ones(len(angle)), t),
            places=lambda angle: np.concatenate([np.cos(angle), np.sin(angle)], axis=2),
        )
        return oscillators.simulate(controls, **options)

    def particle_figures(self, case: Case, ensemble: DiffusionEnsemble) -> Record:
        """One entry of the list `particles` of summary.json."""
        known = {"N": ensemble.count, "replicas": len(ensemble.replicas), "steps": ensemble.steps}
        return known | {"order": mean_figures(np.hypot(*ensemble.centre[:, -1].T))}

    def observable_series(self, ensemble: DiffusionEnsemble) -> dict[str, np.ndarray]:
        """The order parameter, (R, T) each."""
        return by_axis("order", ensemble.centre)


SYSTEM = Kuramoto()
