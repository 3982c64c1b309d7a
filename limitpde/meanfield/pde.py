"""Solver of the McKean-Vlasov equation (`limitpde.meanfield.model`) on an interval or a rectangle with walls.

Exponentially fitted fluxes along the edges of a grid (`limitpde.fem.drift_diffusion`), in potentials W * rho by fast
convolution (`limitpde.meanfield.convolution`): densities stay >= 0, masses are kept to rounding, stationary states are
those of the discrete W * rho exactly, and where there is a free energy it falls: a step with which it rises is repeated
with backward Euler or half its size. Nothing flows through the walls, which the particles do not have: they must be far
enough away.
"""

from __future__ import annotations

import math

import numpy as np
from mpi4py import MPI

from limitpde.densities import checked_share
from limitpde.fem.drift_diffusion import DriftDiffusion
from limitpde.fem.gate import ROUNDING, Gate
from limitpde.fem.gated import GatedSolver, GatedStepping
from limitpde.fem.mesh import Box
from limitpde.fem.nodes import NodeSpace
from limitpde.fem.stepping import StepSize
from limitpde.meanfield.convolution import GridConvolution
from limitpde.meanfield.model import Initial, Model
from limitpde.parallel import on_all
from limitpde.results.fields import Outputs

RIM = 0.05
"""Part of each edge of the box next to its walls in which mass counts as too far out."""


class Solver(GatedSolver[DriftDiffusion]):
    """Solver of the limit equation. Every public method is collective.

    Args:
        model: the parameters.
        initial: the initial densities; each part is scaled so that its discrete mass is exact.

    Keyword Args:
        mesh: a box around all mass.
        step: size of the time step.
        comm: communicator of the mesh.

    Raises:
        InputError: the data do not fit the model or the mesh, or W or U fail.

    Attributes:
        model, nodes, warnings: the parameters, the nodes, what to know before trusting the solution.
    """

    STATE = "meanfield.Solver 2"

    def __init__(
        self, model: Model, initial: Initial, *, mesh: Box, step: float, comm: MPI.Comm = MPI.COMM_WORLD
    ) -> None:
        initial.check(model)
        domain = mesh.domain(model.dimension)
        on_all(comm, lambda: model.check(np.stack([domain.low, domain.low + domain.size], axis=1)))
        self.model, self.nodes, self.warnings = model, NodeSpace(mesh, comm, dimension=model.dimension), []
        self._sums = GridConvolution(self.nodes, mesh, self._kernel)
        x, rim = self.nodes.points - domain.low, RIM * domain.size
        self._outer = ((x < rim) | (x > domain.size - rim)).any(axis=1)
        self._numbers = self.nodes.everywhere(self.nodes.original)
        self._exterior = self._of_exterior("value", self.nodes.everywhere(self.nodes.points))
        self._slope = self._of_exterior("gradient", self.nodes.points)
        rise = ROUNDING if model.symmetric else math.inf
        scale = model.D * float(initial.masses.sum())
        self.stepping = GatedStepping(
            lambda: DriftDiffusion(self.nodes, model.D, lambda points, masses: self.potential(masses)),
            lambda scheme: np.stack([self.nodes.everywhere(self._density(initial, s)) for s in range(self.species)]),
            gate=Gate(scale, falling_maximum=False, energy_rise=rise),
            size=StepSize(step, None),
        )

    def _kernel(self, x: np.ndarray) -> np.ndarray:
        """W and grad W at displacements (n, d), (n, 1 + d). Collective."""
        both = self.model.interaction
        return on_all(self.nodes.comm, lambda: np.column_stack([both.value(x), both.gradient(x)]))

    def _of_exterior(self, what: str, x: np.ndarray) -> np.ndarray:
        """U or grad U at points (n, d). Collective."""
        exterior = self.model.exterior
        if exterior is None:
            return np.zeros(len(x)) if what == "value" else np.zeros_like(x)
        return on_all(self.nodes.comm, lambda: np.asarray(getattr(exterior, what)(x)))

    def _density(self, initial: Initial, s: int) -> np.ndarray:
        """Nodal values of a species, (owned,)."""
        found = np.zeros(self.nodes.owned)
        for number, part in enumerate(initial.species[s]):
            values = self.nodes.averages(part.density)
            share = float(self.nodes.sums.total(self.nodes.volume * values)[0]) / part.mass
            found += values / checked_share(f"initial.species[{s}][{number}]", share, self.warnings)
        return found

    def felt(self, masses: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """sum_t a_st W * masses_t, of masses (S, owned), at the nodes that this rank sees, (S, n_local). Collective."""
        return np.asarray((matrix @ self._sums(self._sums.everywhere(masses), slice(0, 1))[0])[:, self._numbers])

    def potential(self, masses: np.ndarray) -> tuple[np.ndarray, float]:
        """V at the nodes that this rank sees, (S, n_local), and the energy of W and U. Collective."""
        felt, owned = self.felt(masses, self.model.matrix), self.nodes.owned
        energy = (felt[:, :owned] / 2 + self._exterior[:owned]) * masses
        return felt + self._exterior, float(self.nodes.sums.total(energy.sum(axis=0))[0])

    def force(self) -> np.ndarray:
        """-grad V at this rank's nodes, (S, owned, d)."""
        found = self._sums(self._sums.everywhere(self.masses), slice(1, None))
        felt = np.einsum("st,ktn->snk", self.model.matrix, found[:, :, self.nodes.original])
        return -felt - self._slope

    @property
    def species(self) -> int:
        """S."""
        return len(self.model.strengths)

    @property
    def dofs(self) -> int:
        """Nodes times species."""
        return self.species * self.nodes.size

    @property
    def densities(self) -> np.ndarray:
        """rho_s at this rank's nodes, (S, owned)."""
        return np.asarray(self.now.densities[:, : self.nodes.owned])

    @property
    def masses(self) -> np.ndarray:
        """rho_s times the volume of each node, (S, owned)."""
        return self.nodes.volume * self.densities

    def figures(self) -> dict[str, float]:
        """Masses, moments, mass near the walls, extrema, and the free energy where there is one."""
        masses, x = self.masses, self.nodes.points
        total = masses.sum(axis=0)
        sums = self.nodes.sums.total(*masses, total * (x**2).sum(axis=1), total * self._outer, *(total * x.T))
        names = [*self.mass_names, "second_moment", "mass_outside", *(f"centre_{a}" for a in "xyz"[: x.shape[1]])]
        found = dict(zip(names, map(float, sums), strict=True))
        found |= {"minimum": self.now.minimum, "maximum": self.now.maximum}
        return found | ({"free_energy": self.now.energy} if self.model.symmetric else {})

    @property
    def mass_names(self) -> list[str]:
        """Figures of the masses: mass_1 ... mass_S."""
        return [f"mass_{s + 1}" for s in range(self.species)]

    def outputs(self, *, fluxes: bool = False) -> Outputs:
        """The densities rho_1 ... rho_S and the potentials V_1 ... V_S; rho and V of a single species. Collective.

        Keyword Args:
            fluxes: also those of the densities, -D grad rho_s - rho_s grad V_s, on cells.
        """
        assert self.nodes.mesh is not None
        owned, functions = self.nodes.owned, {}
        for name, rows in (("rho", self.now.densities), ("V", self.now.potential)):
            for s in range(self.species):
                label = f"{name}_{s + 1}" if self.species > 1 else name
                functions[label] = self.nodes.function(label, rows[s, :owned])
        if fluxes:
            for rho in [label for label in functions if label.startswith("rho")]:
                density, potential = functions[rho].x.array, functions[rho.replace("rho", "V")].x.array
                flux = self.nodes.cell_fluxes.drift_diffusion(density, potential, self.model.D)
                name = rho.replace("rho", "flux")
                functions[name] = self.nodes.cell_fluxes.function(name, flux)
        return {"fields": (self.nodes.mesh, functions)}
