"""Densities that drift down their own potential and diffuse, on nodes in one to three dimensions, as a gated scheme.

    d_t rho = div(D grad rho + rho grad V),   V = V[rho],

by exponentially fitted fluxes along the edges (`limitpde.fem.edge_flux`), implicit, in the potential that the states
before predict: BDF2, or backward Euler where the gate refuses it. Mass is conserved to rounding, stationary densities
rho ~ exp(-V / D) are exact at the nodes, and backward Euler keeps rho >= 0 where the mesh is Delaunay.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from petsc4py import PETSc

from limitpde.fem.edge_flux import fill_transport
from limitpde.fem.gate import GatedState
from limitpde.fem.gated import BDF_FORMULAS, Formula, History, Trial
from limitpde.fem.linear import LinearSolver, Options
from limitpde.fem.nodes import NodeSpace

OPTIONS: Options = {"ksp_type": "preonly", "pc_type": "redundant", "redundant_pc_type": "lu"}
"""Every rank factorises the whole matrix: for lines and small meshes."""


class DriftDiffusion:
    """The scheme of one density. Collective; a rank may own nothing.

    Args:
        nodes: where the density has values.
        diffusivity: D.
        potential: V at the points (n_local, d), and the energy of interaction, of masses (owned,) at the owned nodes.

    Attributes:
        points: (n_local, d) of the nodes that this rank sees, its own first.
    """

    formulas: tuple[Formula, ...] = BDF_FORMULAS
    step_figures: tuple[str, ...] = ("iterations",)
    remembered, halvings = 1, 30

    def __init__(
        self,
        nodes: NodeSpace,
        diffusivity: float,
        potential: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]],
    ) -> None:
        self.nodes, self.diffusivity, self._potential = nodes, diffusivity, potential
        self.points = self.everywhere(nodes.points)
        self.numbers = self.everywhere(nodes.original)
        row = np.repeat(np.arange(nodes.owned, dtype=np.int32), np.diff(nodes.indptr))
        off = nodes.columns != row
        self._edges, self._diagonal = np.flatnonzero(off), np.flatnonzero(~off)
        self._row, self._head, self._weight = row[off], nodes.columns[off], -nodes.values[off]
        seen = np.concatenate([nodes.first + np.arange(nodes.owned), nodes.halo.ghosts])
        self._pattern = nodes.indptr.astype(PETSc.IntType), seen[nodes.columns].astype(PETSc.IntType)
        size = (nodes.owned, nodes.size)
        self._matrix = PETSc.Mat().createAIJ((size, size), csr=(*self._pattern, nodes.values), comm=nodes.comm)
        self._solver = LinearSolver(self._matrix, prefix="drift_diffusion", options=OPTIONS)

    def everywhere(self, values: np.ndarray) -> np.ndarray:
        """Values (owned, ...) of this rank's nodes, then of the others that it sees, (n_local, ...)."""
        found = np.zeros((self.nodes.local, *values.shape[1:]), dtype=values.dtype)
        found[: self.nodes.owned] = values
        self.nodes.halo.update(found)
        return found

    def state(self, densities: np.ndarray) -> GatedState:
        """The state of a density, (1, n_local), with the free energy D int rho log rho + that of interaction."""
        rho, volume, sums = densities[0][: self.nodes.owned], self.nodes.volume, self.nodes.sums
        potential, energy = self._potential(self.points, volume * rho)
        entropy = volume * rho * np.log(np.maximum(rho, np.finfo(float).tiny))
        free = self.diffusivity * float(sums.total(entropy)[0]) + energy
        return GatedState(densities, potential, free, sums.minimum(rho), sums.maximum(rho))

    def advance(self, history: History, dt: float, order: int, *, judged: bool) -> Trial:
        """A step of size dt with BDF of this order; its error is not estimated."""
        bdf, nodes = history.bdf(order, dt), self.nodes
        potential, before = np.zeros(nodes.local), np.zeros(nodes.owned)
        states = (history.now, *history.past[:1])
        for state, ahead, weight in zip(states, bdf.extrapolation, bdf.history, strict=False):
            potential += ahead * state.potential
            before += weight * state.densities[0][: nodes.owned]
        fluxes, values = np.empty((4, len(self._edges))), np.empty(len(nodes.columns))
        climb = self._weight * (potential[self._head] - potential[self._row])
        fill_transport(fluxes, self._weight, climb, self.diffusivity)
        values[self._edges] = fluxes[1]
        values[self._diagonal] = np.bincount(self._row, fluxes[0], nodes.owned) + bdf.implicit / dt * nodes.volume
        self._matrix.setValuesCSR(*self._pattern, values)
        self._matrix.assemble()
        solution, iterations, reason = self._solver.solve(nodes.volume * before / dt)
        end = self.state(self.everywhere(solution)[None]) if reason > 0 else f"PETSc's solver gave up ({reason})"
        return Trial(end, 0.0 if judged else None, {"iterations": float(iterations)})
