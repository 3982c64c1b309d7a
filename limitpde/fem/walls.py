"""Poisson's equation between walls: the potential is given on some of them, the others let no field through.

-Lap psi = 2 pi u in a bounded domain, psi = psi_0 on the conducting walls, d psi / dn = 0 on the rest. Where no wall
conducts, the equation has a solution only for neutral charge: then u - mean(u) stands for u, a uniform background that
makes the whole neutral, and psi has the mean zero. On the edge graph of first-order elements
(`limitpde.fem.edges`), psi = psi_ext + G u with psi_ext the discrete harmonic extension of psi_0 and G symmetric and
positive, which the discrete energy law needs.
"""

from __future__ import annotations

import numpy as np

from limitpde.errors import RunError
from limitpde.fem.edges import EdgeGraph, laplacian_matrix
from limitpde.fem.linear import LinearSolver, symmetric_options
from limitpde.fem.original import original_nodes


class WallPoisson:
    """Solver of -Lap psi = 2 pi u between walls. Collective.

    Args:
        graph: the domain.
        values: (n_local,) psi_0 at the nodes on conducting walls, NaN elsewhere, ghosts up to date.

    Attributes:
        fixed: (n_local,) bool, nodes at which psi is given; where no wall conducts, one node that stands for the
            constant.
        external: (n_local,) psi_ext, the potential without charge.
        insulated: no wall conducts.
    """

    def __init__(self, graph: EdgeGraph, values: np.ndarray) -> None:
        self._graph = graph
        self.fixed = np.isfinite(values)
        self.insulated = not graph.sums.add(np.array([float(self.fixed[: graph.owned].sum())]))[0]
        if self.insulated:
            self.fixed = np.asarray(original_nodes(graph.space) == 0)  # the same one on any number of ranks
        matrix = laplacian_matrix(graph, self.fixed).mat
        options = symmetric_options(matrix, constant=True, relative_tolerance=1e-13)
        self.solver = LinearSolver(matrix, prefix="poisson", options=options)
        self._values = np.where(self.fixed & np.isfinite(values), values, 0.0)
        self._area = float(graph.sums.total(graph.area)[0])
        self.external = self._values + self._inside(-graph.laplacian(self._values))

    def _inside(self, right_side: np.ndarray) -> np.ndarray:
        """Solution that is zero at the fixed nodes, (n_local,)."""
        owned = self._graph.owned
        solution, _, reason = self.solver.solve(np.where(self.fixed, 0.0, right_side)[:owned])
        if reason < 0:
            raise RunError(f"Poisson's equation could not be solved (PETSc reason {reason})")
        return self._graph.share(solution)

    def lifted(self, charge: np.ndarray, guess: np.ndarray) -> np.ndarray:
        """A guess of psi, (n_local,), an array of its own, with the values given on the walls, whatever the charge."""
        return guess.copy() if self.insulated else np.where(self.fixed, self._values, guess)

    def source(self, charge: np.ndarray) -> np.ndarray:
        """2 pi int (u - background) v_i, (n_local,), of u at the nodes, (n_local,). Collective."""
        return 2 * np.pi * self._graph.tested(charge - self._mean(charge) if self.insulated else charge)

    def solve(self, charge: np.ndarray) -> np.ndarray:
        """psi at the nodes, (n_local,), ghosts up to date, of u at the nodes, (n_local,). Collective."""
        potential = self.external + self._inside(self.source(charge))
        return potential - self._mean(potential) if self.insulated else potential

    def outer(self) -> np.ndarray:
        """(n_local,) bool, nodes too far out to be trusted: none, the walls are part of the problem."""
        return np.zeros(self._graph.local, dtype=bool)

    def _mean(self, values: np.ndarray) -> float:
        return float(self._graph.sums.total(self._graph.area * values)[0]) / self._area
