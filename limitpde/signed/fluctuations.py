"""Fluctuations of the charges: what N Var int phi dL^N_T tends to, by the linearised equation, solved backwards.

sqrt(N) (L^N - rho) tends to a Gaussian field, so L is deterministic (van Meurs-Peletier-Slangen, Remark 5.5; Braun and
Hepp 1977 for forces that are smooth; for K formally). Let psi_b solve the adjoint of the equation linearised at rho,
backwards from psi_b(T) = phi(., b): with the charges q_b, u = sum_c q_c rho_c and V_b = q_b g psi_u + U of
`limitpde.signed.scheme`, psi_u = -log|.| * u,

    -d_t psi_b = D Lap psi_b - grad V_b . grad psi_b + q_b g chi,    -Lap chi = 2 pi div(sum_c q_c rho_c grad psi_c),

where chi, in the whole plane, is what a charge does to int phi rho_T through the field in which the others move: K is
odd, so that -K * . (rho grad psi) has this potential. Then for starts that are drawn independently

    N Var int phi dL^N_T  ->  sum_b Var_{rho_b(0)}(psi_b(0))  +  2 D int_0^T sum_b int |grad psi_b|^2 rho_b dt,

with the variance of each sign by itself, as their numbers are fixed; the mean of the starts and of the noise.

The scheme is the transpose of that of degree one: with c_ij the rate at which its fluxes take density from node i to
node j, m_i d_t psi_i = sum_j c_ij (psi_i - psi_j) - ..., an M-matrix for every step. Its densities are those of a jump
process, whose noise is sum_ij rho_i c_ij (psi_i - psi_j)^2 exactly: without interaction both terms add to the variance
of phi under rho_T but for the error of the steps. These are BDF2, the first one backward Euler, chi extrapolated, which
is stable for 2 pi g rho dt < 4/3; all is of second order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import TestFunction
from limitpde.compare.user_functions import UserFunction
from limitpde.errors import RunError
from limitpde.fem.edge_flux import add_gradient_flux, add_mean_density, fill_transport
from limitpde.fem.edges import EdgeMatrix
from limitpde.fem.kept_states import covariance_over_time
from limitpde.fem.linear import LinearSolver, Options
from limitpde.fem.mesh import coarser
from limitpde.fem.stepping import LARGEST_RATIO, Bdf
from limitpde.signed.case import PDE, Case
from limitpde.signed.pde import Solver
from limitpde.signed.setting import exterior_potential

LONGEST = 0.5
"""Longest step backwards, in units of 1 / (2 pi g max rho), the time in which charges screen each other."""

FEWEST_STEPS = 50
"""Steps that are made at least where the solution itself is of higher degree, and makes longer ones."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The linear equation at one time: for each species on each edge, (S, n_edges)."""

    rates: np.ndarray
    """c of the way from tail to head, and of the way back, (S, 2, n_edges)."""
    seen: np.ndarray
    """The density that the flux sees."""
    densities: np.ndarray
    """(S, n_local)."""


class Adjoint:
    """psi of P test functions, backwards from the end of a solution. Collective; a rank may own nothing.

    Args:
        solver: the solver, of degree 1 with noise in the whole plane, on the mesh on which it stays.
        functions: phi(x, b), P of them.
        numbers_fixed: the number of charges of each sign is the same in all replicas; else signs are drawn as well.

    Attributes:
        psi: (P, S, n_local) at the present time.
    """

    def __init__(self, solver: Solver, functions: Sequence[TestFunction], *, numbers_fixed: bool = True) -> None:
        self._numbers_fixed = numbers_fixed
        self._solver, self._graph, self._model = solver, solver.graph, solver.model
        self._exterior = exterior_potential(self._graph, self._model)
        self._matrix = EdgeMatrix(self._graph)
        options: Options = {"ksp_type": "bcgs", "pc_type": "bjacobi", "ksp_rtol": 1e-12, "ksp_max_it": 500}
        self._solve = LinearSolver(self._matrix.mat, prefix="adjoint", options=options)
        self.psi = np.empty((0, len(solver.species), self._graph.local))
        self._before: tuple[np.ndarray, float] | None = None
        self.join(functions, solver.t)

    def join(self, functions: Sequence[TestFunction], t: float) -> None:
        """Take more functions along from the present time t on, after the others."""
        species = self._solver.species
        values = [[self._values(function, (1.0, -1.0)[s], t) for s in species] for function in functions]
        self.psi = np.concatenate([self.psi, np.reshape(values, (len(functions), *self.psi.shape[1:]))])
        self._before = None

    def _values(self, function: TestFunction, sign: float, t: float) -> np.ndarray:
        """phi(x, b, t) at the nodes, (n_local,)."""
        points = self._graph.points
        if isinstance(function, UserFunction):
            return function.values(points, np.full(len(points), sign), t)
        value = evaluate(function, points)[0]
        return sign * value if function.charge else value

    def longest(self, densities: np.ndarray) -> float:
        """How long a step may be, for densities (S, n_local). Collective."""
        rate = 2 * np.pi * abs(self._model.coupling) * self._graph.sums.maximum(densities.sum(axis=0))
        return LONGEST / rate if rate > 0 else np.inf

    def frozen(self, densities: np.ndarray) -> Frozen:
        """The equation around these densities, (S, n_local). Collective."""
        solver, graph, diffusivity = self._solver, self._graph, self._model.D
        potential = self._model.coupling * solver.poisson.solve(np.tensordot(solver.charges, densities, axes=1))
        rates, seen = np.empty((len(densities), 2, len(graph.weight))), np.zeros((len(densities), len(graph.weight)))
        for s, charge in enumerate(solver.charges):
            barrier = charge * potential + self._exterior
            climb = graph.weight * (barrier[graph.head] - barrier[graph.tail])
            fill_transport(self._matrix.edges, graph.weight, climb, diffusivity)
            rates[s] = self._matrix.edges[[0, 3]]
            add_mean_density(seen[s], graph.tail, graph.head, barrier, densities[s], diffusivity, 1.0)
        return Frozen(rates, seen, densities)

    def step(self, frozen: Frozen, dt: float) -> None:
        """Go back by dt, to the time of `frozen`. Collective.

        Raises:
            RunError: a linear system could not be solved.
        """
        before, last = self._before or (self.psi, dt)
        order = 2 if self._before is not None and dt <= LARGEST_RATIO * last * (1 + 1e-9) else 1
        bdf = Bdf.of(order, dt / last)
        known = bdf.history[0] * self.psi + bdf.history[1] * before
        expected = bdf.extrapolation[0] * self.psi + bdf.extrapolation[1] * before
        graph, found, chi = self._graph, np.empty_like(self.psi), self._chi(expected, frozen)
        self._matrix.diagonal[:] = bdf.implicit * graph.area[: graph.owned]
        for s, charge in enumerate(self._solver.charges):
            there, back = dt * frozen.rates[s]
            self._matrix.edges[:] = there, -there, -back, back
            self._matrix.assemble()
            pulled = dt * charge * self._model.coupling
            for p in range(len(found)):
                right_side = graph.area * (known[p, s] + pulled * chi[p])
                solution, _, reason = self._solve.solve(right_side[: graph.owned], expected[p, s, : graph.owned])
                if reason < 0:
                    raise RunError(f"the adjoint equation could not be solved (PETSc reason {reason})")
                found[p, s] = graph.share(solution)
        self._before, self.psi = (self.psi, dt), found

    def _chi(self, psi: np.ndarray, frozen: Frozen) -> np.ndarray:
        """chi of psi (P, S, n_local), (P, n_local). Collective."""
        graph, found = self._graph, np.zeros((len(psi), self._graph.local))
        if self._model.coupling == 0:
            return found
        for row, values in zip(found, psi, strict=True):
            for charge, seen, value in zip(self._solver.charges, frozen.seen, values, strict=True):
                add_gradient_flux(row, graph.tail, graph.head, charge * graph.weight * seen, value)
            row[:] = self._solver.poisson.solve(graph.share_sum(row) / graph.area)
        return found

    def noise(self, frozen: Frozen) -> np.ndarray:
        """2 D sum_b int grad psi_p . grad psi_q rho_b, (P, P), by the jumps of the scheme. Collective."""
        graph, local = self._graph, np.zeros((len(self.psi), len(self.psi)))
        for s, (there, back) in enumerate(frozen.rates):
            jumps = frozen.densities[s][graph.tail] * there + frozen.densities[s][graph.head] * back
            slopes = self.psi[:, s, graph.tail] - self.psi[:, s, graph.head]
            local += np.einsum("pe,qe,e->pq", slopes, slopes, jumps)
        return graph.sums.add(local)

    def start(self, densities: np.ndarray) -> np.ndarray:
        """The covariance of psi_p and psi_q at independent starts from these densities, (P, P). Collective."""
        graph = self._graph
        products, sums, held = np.zeros((len(self.psi),) * 2), np.zeros((len(densities), len(self.psi))), []
        for s, density in enumerate(densities):
            mass, psi = (graph.area * density)[: graph.owned], self.psi[:, s, : graph.owned]
            products += np.einsum("pi,qi,i->pq", psi, psi, mass)
            sums[s] = np.einsum("pi,i->p", psi, mass)
            held.append(mass.sum())
        products, sums = graph.sums.add(products), graph.sums.add(sums)
        masses = graph.sums.add(np.array(held))
        if not self._numbers_fixed:
            sums, masses = sums.sum(axis=0, keepdims=True), masses.sum(keepdims=True)
        return np.asarray(products - np.einsum("sp,sq,s->pq", sums, sums, 1 / masses))


def covariance_of_charges(
    solver: Solver,
    functions: Sequence[TestFunction],
    end: float,
    *,
    earlier: Sequence[float] | None = None,
    numbers_fixed: bool = True,
    stepped: Callable[[], object] = bool,
) -> np.ndarray:
    """What N Cov(int phi_p dL^N, int phi_q dL^N) tends to at a time, (P, P), or with earlier times. Collective.

    Args:
        solver: a solver at time 0, of degree 1 with noise in the whole plane, which is stepped to that time.
        functions: phi(x, b), P of them.
        end: the time.

    Keyword Args:
        earlier: K times s: then (K, P, P), of int phi_p dL^N_s and int phi_q dL^N at the end.
        numbers_fixed: the number of charges of each sign is the same in all replicas; else signs are drawn as well.
        stepped: called after each step forward or backward; what it raises ends all.

    Raises:
        InputError: the earlier times do not rise between 0 and the end.
        RunError: a step, or a linear system, could not be solved.
    """
    adjoint = partial(Adjoint, solver, functions, numbers_fixed=numbers_fixed)
    return covariance_over_time(solver, adjoint, functions, end, earlier, stepped)


def predictable(case: Case) -> bool:
    """Whether `covariance_of_charges` is for the charges of a case, which has [pde] and [particles]."""
    model, pde, particles = case.limit, case.pde, case.particles
    assert pde is not None
    assert particles is not None
    in_the_plane = (
        pde.boundary == "plane" and pde.refinement is None and not (pde.degree > 1 and isinstance(pde.mesh, str))
    )
    same_noise = model.sigma > 0 and math.isclose(model.D, model.sigma**2 / 2)
    stay = particles.collision == "through" and model.reaction == 0
    same_strength = particles.gamma is None and particles.sigma is None
    return in_the_plane and same_noise and same_strength and stay and model.interaction != "rotated"


def first_order(pde: PDE, end: float) -> PDE:
    """The same equation for elements of degree one: with as many nodes, and with steps for BDF2."""
    if pde.degree == 1:
        return pde
    step = min(pde.step, end / FEWEST_STEPS)
    return replace(pde, degree=1, mesh=coarser(pde.mesh, 1 / pde.degree), step=step, tolerance=None, undershoot=None)
