"""Densities that drift down potentials and diffuse, on nodes in one to three dimensions, as a gated scheme.

    d_t rho_s = div(D grad rho_s + rho_s grad V_s),   V_s = V_s[rho_1, ..., rho_S],

by exponentially fitted fluxes along the edges (`limitpde.fem.edge_flux`), implicit, in the potentials that the states
before predict: BDF2, or backward Euler where the gate refuses it. Mass is conserved to rounding, stationary densities
rho ~ exp(-V / D) are exact at the nodes, and densities stay >= 0 where the mesh is Delaunay: the history of BDF2 is
below zero where a density has fallen to less than a quarter in a step, in its far tail; what is missing there, up to
REPAIRED of the mass, is taken from the rest in proportion.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from limitpde.fem.edge_flux import fill_transport
from limitpde.fem.gate import ROUNDING, GatedState
from limitpde.fem.gated import BDF_FORMULAS, Formula, History, Trial
from limitpde.fem.linear import LinearSolver, Options
from limitpde.fem.nodes import NodeSpace

DIRECT: Options = {"ksp_type": "preonly", "pc_type": "redundant", "redundant_pc_type": "lu"}
"""Every rank factorises the whole matrix: for lines."""
ITERATIVE: Options = {"ksp_type": "bcgs", "pc_type": "bjacobi", "ksp_rtol": ROUNDING / 10, "ksp_max_it": 500}
REPAIRED = 1e-5
"""Share of the mass below zero in the history of a step up to which it is repaired; above, the formula is refused."""
SEEN = 1e-3
"""Part of the largest density from which the Peclet number of an edge matters."""


class DriftDiffusion:
    """The scheme of S densities. Collective; a rank may own nothing.

    Args:
        nodes: where the densities have values.
        diffusivity: D.
        potential: V at the points (n_local, d), (S, n_local), and the energy besides the entropy, of masses (S, owned)
            at the owned nodes.

    Attributes:
        points: (n_local, d) of the nodes that this rank sees, its own first.
        numbers: (n_local,) of these nodes in the input mesh.
        tail, head, weight: of the edges from each owned node to all nodes beside it, (n_edges,): nodes, and -K.
    """

    formulas: tuple[Formula, ...] = BDF_FORMULAS
    step_figures: tuple[str, ...] = ("iterations", "cell_peclet")
    remembered, halvings = 1, 30

    def __init__(
        self,
        nodes: NodeSpace,
        diffusivity: float,
        potential: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]],
    ) -> None:
        self.nodes, self.diffusivity, self._potential = nodes, diffusivity, potential
        self.points = nodes.everywhere(nodes.points)
        self.numbers = nodes.everywhere(nodes.original)
        row = np.repeat(np.arange(nodes.owned, dtype=np.int32), np.diff(nodes.indptr))
        off = nodes.columns != row
        self._edges, self._diagonal = np.flatnonzero(off), np.flatnonzero(~off)
        self.tail, self.head, self.weight = row[off], nodes.columns[off], -nodes.values[off]
        seen = np.concatenate([nodes.first + np.arange(nodes.owned), nodes.halo.ghosts])
        self._pattern = nodes.indptr.astype(PETSc.IntType), seen[nodes.columns].astype(PETSc.IntType)
        size = (nodes.owned, nodes.size)
        self._matrix = PETSc.Mat().createAIJ((size, size), csr=(*self._pattern, nodes.values), comm=nodes.comm)
        options = DIRECT if nodes.dimension == 1 else ITERATIVE
        self._solver = LinearSolver(self._matrix, prefix="drift_diffusion", options=options)

    def state(self, densities: np.ndarray) -> GatedState:
        """The state of densities (S, n_local), with the free energy D sum_s int rho_s log rho_s + what V adds."""
        rho, volume, sums = densities[:, : self.nodes.owned], self.nodes.volume, self.nodes.sums
        potential, energy = self._potential(self.points, volume * rho)
        entropy = (volume * rho * np.log(np.maximum(rho, np.finfo(float).tiny))).sum(axis=0)
        free = self.diffusivity * float(sums.total(entropy)[0]) + energy
        return GatedState(densities, potential, free, *sums.extremes(*rho))

    def advance(self, history: History, dt: float, order: int, *, judged: bool) -> Trial:
        """A step of size dt with BDF of this order; its error is not estimated."""
        bdf, nodes, now = history.bdf(order, dt), self.nodes, history.now
        potential, before = np.zeros_like(now.potential), np.zeros((len(now.densities), nodes.owned))
        states = (now, *history.past[:1])
        for state, ahead, weight in zip(states, bdf.extrapolation, bdf.history, strict=False):
            potential += ahead * state.potential
            before += weight * state.densities[:, : nodes.owned]
        figures, ends = {"iterations": 0.0, "cell_peclet": self._peclet(potential, now)}, []
        for field, known, guess in zip(potential, before, now.densities, strict=True):
            known, missing = self._repaired(known)
            if missing > REPAIRED:
                return Trial(f"{missing:.3g} of the mass of the history is below zero", figures=figures)
            self._fill(field, bdf.implicit / dt)
            start = None if nodes.dimension == 1 else guess[: nodes.owned]
            solution, iterations, reason = self._solver.solve(nodes.volume * known / dt, start)
            figures["iterations"] += iterations
            if reason < 0:
                return Trial(f"PETSc's solver gave up ({reason})", figures=figures)
            density = np.maximum(solution, 0.0)
            mass, held = nodes.sums.total(nodes.volume * known, nodes.volume * density)
            ends.append(nodes.everywhere(density * (mass / bdf.implicit / held)))
        return Trial(self.state(np.stack(ends)), 0.0 if judged else None, figures)

    def _repaired(self, known: np.ndarray) -> tuple[np.ndarray, float]:
        """A history (owned,) without negative values, of the same mass, and which part of that was below zero."""
        volume, kept = self.nodes.volume, np.maximum(known, 0.0)
        mass, held = map(float, self.nodes.sums.total(volume * known, volume * kept))
        return kept * (mass / held), held / mass - 1

    def _fill(self, potential: np.ndarray, implicit: float) -> None:
        """The matrix of a step with a potential, (n_local,)."""
        there, back = self.rates(potential)
        self._set(-back, np.bincount(self.tail, there, self.nodes.owned) + implicit * self.nodes.volume)

    def rates(self, potential: np.ndarray) -> np.ndarray:
        """What the fluxes take along each edge of the density at its tail, and bring of that at its head, (2, n_edges).

        Args:
            potential: (n_local,).
        """
        fluxes = np.empty((4, len(self._edges)))
        climb = self.weight * (potential[self.head] - potential[self.tail])
        fill_transport(fluxes, self.weight, climb, self.diffusivity)
        return fluxes[[0, 3]]

    def solve_transposed(self, there: np.ndarray, implicit: float, right_side: np.ndarray) -> tuple[np.ndarray, int]:
        """The solution (owned,) of implicit m psi_i + sum_j c_ij (psi_i - psi_j), and PETSc's reason. Collective.

        Args:
            there: c along each edge, of `rates`.
            implicit: before the volumes m.
            right_side: (owned,).
        """
        self._set(-there, np.bincount(self.tail, there, self.nodes.owned) + implicit * self.nodes.volume)
        solution, _, reason = self._solver.solve(right_side, None)
        return solution, reason

    def _set(self, beside: np.ndarray, diagonal: np.ndarray) -> None:
        """The matrix with these entries for the edges and on the diagonal."""
        values = np.empty(len(self.nodes.columns))
        values[self._edges], values[self._diagonal] = beside, diagonal
        self._matrix.setValuesCSR(*self._pattern, values)
        self._matrix.assemble()

    def _peclet(self, potential: np.ndarray, now: GatedState) -> float:
        """The largest |v| h / (2 D) of edges with a density of SEEN of the largest."""
        climb = np.abs(potential[:, self.head] - potential[:, self.tail])
        seen = np.maximum(now.densities[:, self.head], now.densities[:, self.tail]) >= SEEN * now.maximum
        largest = self.nodes.comm.allreduce(float(np.max(climb * seen, initial=0.0)), op=MPI.MAX)
        return largest / (2 * self.diffusivity)
