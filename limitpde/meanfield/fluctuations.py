"""Fluctuations of mean-field particles: what N Var int phi dL^N_T tends to, by the linearised equation, backwards.

sqrt(N) (L^N - rho) tends to a Gaussian field for smooth W (Tanaka and Hitsuda 1981; Sznitman 1985). Let psi_s solve
the adjoint of the McKean-Vlasov equation linearised at rho, backwards from psi_s(T) = phi(., s):

    -d_t psi_s = D Lap psi_s - grad V_s . grad psi_s + sum_t a_ts sum_j d_j W * (rho_t d_j psi_t).

The last term is what a particle does through the force on the others. For starts that are drawn independently, the
number of each species fixed,

    N Var int phi dL^N_T  ->  sum_s Var_{rho_s(0)}(psi_s(0))  +  2 D int_0^T sum_s int |grad psi_s|^2 rho_s dt,

the variance of rho_s / M_s times M_s. The scheme is the transpose of that of `limitpde.fem.drift_diffusion`, whose
fluxes are the rates of a jump process on the nodes; its noise stands for the last term. BDF2, the first step backward
Euler, the term of W extrapolated; of second order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from limitpde.compare.marked import values_marked
from limitpde.compare.test_functions import TestFunction
from limitpde.errors import RunError
from limitpde.fem.edge_flux import add_mean_density
from limitpde.fem.kept_states import covariance_over_time
from limitpde.fem.stepping import LARGEST_RATIO, Bdf
from limitpde.meanfield.pde import Solver


class McKeanVlasovAdjoint:
    """psi of P test functions, backwards from the end of a solution. Collective; a rank may own nothing.

    Args:
        solver: at the end.
        functions: phi(x, s, t), P of them.

    Attributes:
        psi: (P, S, n_local) at the present time.
    """

    def __init__(self, solver: Solver, functions: Sequence[TestFunction]) -> None:
        self._solver, self._scheme, self._nodes = solver, solver.stepping.scheme, solver.nodes
        self.psi = np.empty((0, solver.species, len(self._scheme.points)))
        self._before: tuple[np.ndarray, float] | None = None
        self.join(functions, solver.t)

    def join(self, functions: Sequence[TestFunction], t: float) -> None:
        """Take more functions along from the present time t on, after the others."""
        x = self._scheme.points
        values = [values_marked(functions, x, np.full(len(x), s + 1.0), t) for s in range(self._solver.species)]
        self.psi, self._before = np.concatenate([self.psi, np.stack(values, axis=1)]), None

    def longest(self, densities: np.ndarray) -> float:
        """Steps may be of any length."""
        return np.inf

    def frozen(self, densities: np.ndarray) -> np.ndarray:
        """The densities themselves."""
        return densities

    def step(self, densities: np.ndarray, dt: float) -> None:
        """Go back by dt, to the time of these densities, (S, n_local). Collective.

        Raises:
            RunError: a linear system could not be solved.
        """
        before, last = self._before or (self.psi, dt)
        order = 2 if self._before is not None and dt <= LARGEST_RATIO * last * (1 + 1e-9) else 1
        bdf, nodes = Bdf.of(order, dt / last), self._nodes
        known = bdf.history[0] * self.psi + bdf.history[1] * before
        expected = bdf.extrapolation[0] * self.psi + bdf.extrapolation[1] * before
        potential, found = self._potential(densities), np.empty_like(self.psi)
        pulled = self._pulled(expected, densities, potential)
        for s, field in enumerate(potential):
            there = self._scheme.rates(field)[0]
            for p in range(len(found)):
                right_side = nodes.volume * (known[p, s, : nodes.owned] / dt + pulled[p, s])
                solution, reason = self._scheme.solve_transposed(there, bdf.implicit / dt, right_side)
                if reason < 0:
                    raise RunError(f"the adjoint equation could not be solved (PETSc reason {reason})")
                found[p, s] = nodes.everywhere(solution)
        self._before, self.psi = (self.psi, dt), found

    def _potential(self, densities: np.ndarray) -> np.ndarray:
        return self._solver.potential(self._nodes.volume * densities[:, : self._nodes.owned])[0]

    def _pulled(self, psi: np.ndarray, densities: np.ndarray, potential: np.ndarray) -> np.ndarray:
        """The term of W, (P, S, owned), of psi (P, S, n_local). Collective."""
        scheme, solver, found = self._scheme, self._solver, []
        seen = np.zeros((len(densities), len(scheme.tail)))
        for row, field, density in zip(seen, potential, densities, strict=True):
            add_mean_density(row, scheme.tail, scheme.head, field, density, scheme.diffusivity, 1.0)
        for values in psi:
            slopes = scheme.weight * seen * (values[:, scheme.tail] - values[:, scheme.head])
            outflow = np.stack([np.bincount(scheme.tail, row, self._nodes.owned) for row in slopes])
            found.append(-solver.felt(outflow, solver.model.matrix.T)[:, : self._nodes.owned])
        return np.stack(found)

    def noise(self, densities: np.ndarray) -> np.ndarray:
        """2 D sum_s int grad psi_p . grad psi_q rho_s, (P, P), by the jumps of the scheme. Collective."""
        scheme, local = self._scheme, np.zeros((len(self.psi),) * 2)
        for s, field in enumerate(self._potential(densities)):
            jumps = densities[s, scheme.tail] * scheme.rates(field)[0]
            slopes = self.psi[:, s, scheme.tail] - self.psi[:, s, scheme.head]
            local += np.einsum("pe,qe,e->pq", slopes, slopes, jumps)
        return self._nodes.sums.add(local)

    def start(self, densities: np.ndarray) -> np.ndarray:
        """The covariance of psi_p and psi_q at independent starts from these densities, (P, P). Collective."""
        nodes, found = self._nodes, np.zeros((len(self.psi),) * 2)
        for s, density in enumerate(densities):
            mass, psi = nodes.volume * density[: nodes.owned], self.psi[:, s, : nodes.owned]
            sums, total = nodes.sums.add(psi @ mass), float(nodes.sums.total(mass)[0])
            found += nodes.sums.add(np.einsum("pi,qi,i->pq", psi, psi, mass)) - np.multiply.outer(sums, sums) / total
        return found


def covariance_of_particles(
    solver: Solver,
    functions: Sequence[TestFunction],
    end: float,
    *,
    earlier: Sequence[float] | None = None,
    stepped: Callable[[], object] = bool,
) -> np.ndarray:
    """What N Cov(int phi_p dL^N, int phi_q dL^N) tends to at a time, (P, P), or with earlier times. Collective.

    Args:
        solver: a solver at time 0, which is stepped to that time.
        functions: phi(x, s, t), P of them.
        end: the time.

    Keyword Args:
        earlier: K times s: then (K, P, P), of int phi_p dL^N_s and int phi_q dL^N at the end.
        stepped: called after each step forward or backward; what it raises ends all.

    Raises:
        InputError: the earlier times do not rise between 0 and the end.
        RunError: a step, or a linear system, could not be solved.
    """
    return covariance_over_time(
        solver, partial(McKeanVlasovAdjoint, solver, functions), functions, end, earlier, stepped
    )
