"""The limit equation on the circle: its solver, what its steps add up to, W of its solution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from kuramoto.case import Initial, Model
from limitpde.compare.observed import DriftDiffusionResidual
from limitpde.compare.test_functions import TestFunction
from limitpde.fem.drift_diffusion import DriftDiffusion
from limitpde.fem.gate import Gate
from limitpde.fem.gated import GatedSolver, GatedStepping
from limitpde.fem.mesh import Torus
from limitpde.fem.nodes import NodeSpace
from limitpde.fem.stepping import StepSize
from limitpde.fem.tally import Tally
from limitpde.results.fields import Outputs


class Solver(GatedSolver[DriftDiffusion]):
    """Solver of the Fokker-Planck equation on the circle, V = -coupling r cos(theta - psi)."""

    STATE = "kuramoto.Solver 1"

    def __init__(
        self, model: Model, initial: Initial, *, cells: int, step: float, comm: MPI.Comm = MPI.COMM_WORLD
    ) -> None:
        mesh = Torus(size=2 * math.pi, cell_size=2 * math.pi / cells * (1 + 1e-12), origin=-math.pi)
        self.model, self.nodes, self.warnings = model, NodeSpace(mesh, comm, dimension=1), []
        self.stepping = GatedStepping(
            lambda: DriftDiffusion(self.nodes, model.D, self._potential),
            lambda scheme: initial.density(scheme.points[:, 0])[None],
            gate=Gate(model.D, falling_maximum=False),
            size=StepSize(step, None),
        )

    def _potential(self, points: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, float]:
        order, coupling = self.order(masses[0]), self.model.coupling
        return -coupling * (order * np.exp(-1j * points.T)).real, -coupling * abs(order) ** 2 / 2

    def order(self, masses: np.ndarray) -> complex:
        """R e^(i psi) of masses at the nodes."""
        waves = np.exp(1j * self.nodes.points[:, 0])
        return complex(*self.nodes.sums.total(masses * waves.real, masses * waves.imag))

    @property
    def dofs(self) -> int:
        """Nodes."""
        return self.nodes.size

    @property
    def masses(self) -> np.ndarray:
        """Rho times the length of each node of this rank."""
        return np.asarray(self.nodes.volume * self.now.densities[0][: self.nodes.owned])

    def figures(self) -> dict[str, float]:
        """Mass, free energy, order parameter and extrema."""
        found = {"mass": float(self.nodes.sums.total(self.masses)[0]), "free_energy": self.now.energy}
        return found | {"minimum": self.now.minimum, "maximum": self.now.maximum, "order": abs(self.order(self.masses))}

    def outputs(self) -> Outputs:
        """The density."""
        assert self.nodes.mesh is not None
        rho = self.nodes.function("rho", self.now.densities[0][: self.nodes.owned])
        return {"fields": (self.nodes.mesh, {"rho": rho})}


class PDESummary(Tally[Solver]):
    """The part `pde` of summary.json."""

    STATE = "kuramoto.PDESummary 1"
    MASSES = {"total": "mass"}
    ENDS = ("free_energy", "order")


class PDEResidual(DriftDiffusionResidual):
    """W of the solution."""

    STATE = "kuramoto.PDEResidual 3"

    def __init__(self, solver: Solver, functions: Sequence[TestFunction]) -> None:
        super().__init__(
            solver.nodes,
            functions,
            now=lambda: solver.t,
            diffusivity=solver.model.D,
            masses=lambda: solver.masses[None],
            force=lambda: solver.model.force(solver.order(solver.masses), solver.nodes.points)[None],
        )
