"""The weak-form residual (1.10) of the solution of the limit equation: an observer of its steps.

    W[T, phi] = int phi_n (f_n(T) - f_n(0))                                                             (change)
                - int_0^T d(n) (int Lap phi_n f_n - int_wall f_n dphi_n/dn) dt                          (diffusion)
                - int_0^T int phi_n (1/2 sum_{m<n} beta(m, n-m) f_m f_{n-m} - f_n sum_m beta(n, m) f_m) (reaction)

for phi(x, m) = g(x) 1(m = n), and with its terms summed over all masses where n is not given. It vanishes for a weak
solution. On the solution of the scheme it is a check of order two in mesh and step that shares nothing with the scheme
but the nodes and beta: phi, grad phi and Lap phi are exact at the nodes, the integrals lumped, the reaction is
(1.3)-(1.4) as they stand. The wall of a domain without flux enters through int_wall lambda_j n = K x at node j, K the
stiffness matrix, since int grad lambda_j . grad x_c = int d_c lambda_j = int_wall lambda_j n_c. On a torus a Gaussian
stands for the sum of its images.

For phi(x, m, t) by Python it is the sum over all masses m, with d phi / dt beside d(m) Lap phi.

What grows beyond the range of masses has left it: for all masses, the number in the range then falls by two. On pivots
(`limitpde.coagulation.reaction.bins`) products are split between neighbours, number and mass kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from limitpde.coagulation.model import Model
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.proof.candidate import check_functions, means
from limitpde.coagulation.proof.mass_rates import MassRates
from limitpde.coagulation.proof.python_candidate import DomainMeans
from limitpde.coagulation.rates import propensity
from limitpde.coagulation.reaction.bins import MassGrid
from limitpde.coagulation.reaction.low_rank import factorise
from limitpde.compare.marked import evaluate_marked, time_dependent
from limitpde.compare.observed import ObservedIntegrals, time_integrals
from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import FunctionTable, SpatialFunction, TestFunction, shaped_only
from limitpde.errors import InputError
from limitpde.fem.nodes import NodeSpace
from limitpde.parallel import on_all

LARGEST_MATRIX = 2048
"""Masses up to which all pairs are summed one by one; beyond, by factors of beta."""
BLOCK = 512
"""Rows of the matrix of all pairs that are made at a time."""


class PDEResidual(ObservedIntegrals):
    """W[t, phi] of the solution of the limit equation. Collective.

    Args:
        solver: at time 0.
        functions: F test functions.

    Raises:
        InputError: a function does not fit, or asks for a mass that the solution does not have.
    """

    STATE = "coagulation.PDEResidual 2"

    def __init__(self, solver: Solver, functions: Sequence[TestFunction]) -> None:
        model = solver.model
        fit = check_functions(functions, solver.domain)
        self._by_python = fit if time_dependent(fit) else []
        table = FunctionTable.of(fit, model.dimension)
        for number, n in enumerate(table.masses):
            if n and n not in solver.masses:
                raise InputError(f"compare.test_functions[{number}].n = {n}: the equation has no such mass")
        if functions and model.fragmentation is not None and not solver.grid.every_integer:
            raise InputError("compare.test_functions: W of an equation with bins and fragmentation is not available")
        self.solver = solver
        if self._by_python and solver.grid.M > LARGEST_MATRIX:
            raise InputError(
                f"compare.test_functions: one by Python sees every mass, of which there may be {LARGEST_MATRIX} then, "
                f"not {solver.grid.M}; lower model.n_max, or take pde.bins"
            )
        masses = solver.grid.masses.astype(np.int64) if solver.grid.every_integer else solver.grid.masses
        tracked = np.append(0, masses) if self._by_python else np.unique(np.append(table.masses, 0))
        self._slots = np.searchsorted(tracked, table.masses)
        self._terms = _Terms(model, solver.grid, tracked, every=not self._by_python and bool((table.masses == 0).any()))
        if not self._by_python:
            self._phi = _nodal(solver.nodes, shaped_only(fit))
        elif solver.nodes.mesh is None:
            self._means = DomainMeans(fit, solver.domain)
        else:
            self._normal = _wall_normals(solver.nodes)
        super().__init__(solver.t)

    @property
    def time_integral(self) -> np.ndarray:
        """int_0^t of the observables at the times seen, (T, F)."""
        return time_integrals(self.times, np.array(self.observables))

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """int phi f, and the rates of diffusion, with time, and of reaction, with the splitting, (2, F)."""
        f = self.solver.densities
        number, diffused = self._terms.linear(f)
        reacted = self._terms.reaction(f)
        if self._by_python:
            nodes = self.solver.nodes
            local = on_all(nodes.comm, partial(self._against, number[:, 1:], diffused[:, 1:], reacted[:, 1:]))
            found = nodes.sums.add(local)
            return found[0], found[1:]
        value, laplacian = self._phi
        local = np.zeros((3, len(self._slots)))
        for p, s in enumerate(self._slots):
            local[:, p] = value[p] @ number[:, s], laplacian[p] @ diffused[:, s], value[p] @ reacted[:, s]
        found = self.solver.nodes.sums.add(local)
        return found[0], found[1:]

    def _against(self, number: np.ndarray, diffused: np.ndarray, reacted: np.ndarray) -> np.ndarray:
        """`measure` of functions of which one is by Python, on this rank, of all masses (owned, M); (3, F)."""
        nodes, t, masses = self.solver.nodes, self.solver.t, self.solver.grid.masses
        if nodes.mesh is None:
            value, rate = self._means(masses, t)
            parts = (nodes.volume @ part for part in (number, number, reacted))
            return np.stack([phi @ part for phi, part in zip((value, rate, value), parts, strict=True)])
        found = np.zeros((3, len(self._by_python)))
        for k, n in enumerate(masses):
            phi = evaluate_marked(self._by_python, nodes.points, np.full(nodes.owned, float(n)), t)
            held = nodes.volume * number[:, k]
            found[0] += phi.value @ held
            found[1] += phi.laplacian @ (nodes.volume * diffused[:, k]) + phi.rate @ held
            found[1] -= (phi.gradient * self._normal).sum(axis=2) @ diffused[:, k]
            found[2] += phi.value @ (nodes.volume * reacted[:, k])
        return found


def _nodal(nodes: NodeSpace, functions: Sequence[SpatialFunction]) -> tuple[np.ndarray, np.ndarray]:
    """Integrals of g, and of Lap g less the flux through the walls, over the part of each node, (F, owned) each.

    Without a mesh g is its mean over the unit domain. Collective.
    """
    if nodes.mesh is None:
        mean = means(functions, nodes.domain)
        return np.outer(mean, nodes.volume), np.zeros((len(functions), nodes.owned))
    value, laplacian = np.empty((2, len(functions), nodes.owned))
    normal = _wall_normals(nodes)
    for p, function in enumerate(functions):
        g, gradient, second = evaluate(function, nodes.points)
        value[p] = nodes.volume * g
        laplacian[p] = nodes.volume * second - (gradient * normal).sum(axis=1)
    return value, laplacian


def _wall_normals(nodes: NodeSpace) -> np.ndarray:
    """int_wall lambda_j n, (owned, d); zero inside, and on a torus. Collective."""
    if nodes.domain.kind == "torus":
        return np.zeros_like(nodes.points)
    x = np.zeros((nodes.local, nodes.points.shape[1]))
    x[: nodes.owned] = nodes.points
    nodes.halo.update(x)
    row = np.repeat(np.arange(nodes.owned), np.diff(nodes.indptr))
    differences = x[nodes.columns] - x[row]  # the rows of K add to zero: this keeps the nodes inside at zero
    products = nodes.values[:, None] * differences
    return np.stack([np.bincount(row, product, nodes.owned) for product in products.T], axis=1)


class _Terms:
    """What densities (P, M) at nodes add to the numbers of tracked masses (S,)."""

    def __init__(self, model: Model, grid: MassGrid, tracked: np.ndarray, *, every: bool) -> None:
        """Prepare the pairs that make or take each tracked mass.

        Args:
            model: the parameters.
            grid: the masses.
            tracked: masses; the first is 0, for all.
            every: whether anything is asked of all masses.
        """
        self._grid, self._tracked, self._every = grid, tracked, every
        self._merge, self._diffusion = model.reaction == "coagulation", model.d(grid.masses)
        self._beta = MassRates(model, propensity(model), tracked)
        self._factors = None
        if every and grid.every_integer and grid.M > LARGEST_MATRIX:
            self._factors = factorise(propensity(model), grid.M, kernel=model.beta.kernel)
        self._splittings = None if model.fragmentation is None else self._beta.splittings(grid.masses.astype(np.int64))
        self._places = np.searchsorted(grid.masses, tracked)
        self._gains = [self._gain(k) if self._merge else None for k in self._places[1:]]

    def linear(self, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the tracked masses per volume, and d(n) times these, (P, S) each."""
        number, diffused = np.empty((2, len(f), len(self._tracked)))
        number[:, 0], diffused[:, 0] = f.sum(axis=1), f @ self._diffusion
        number[:, 1:] = f[:, self._places[1:]]
        diffused[:, 1:] = number[:, 1:] * self._diffusion[self._places[1:]]
        return number, diffused

    def reaction(self, f: np.ndarray) -> np.ndarray:
        """Rates of change of the tracked masses, (P, S); of all masses only where asked for."""
        found = np.zeros((len(f), len(self._tracked)))
        masses = self._grid.masses
        if self._every:
            found[:, 0] = self._all_pairs(f)
        for s, (k, gain) in enumerate(zip(self._places[1:], self._gains, strict=True), start=1):
            found[:, s] = -f[:, k] * (f @ self._beta.rates(masses[k], masses))
            if gain is not None:
                first, second, rate = gain
                found[:, s] += (f[:, first] * f[:, second]) @ rate
        return found if self._splittings is None else found + f @ self._splittings

    def _gain(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of places of masses that make mass number k, and what each pair adds: beta / 2, times its share."""
        x, found = self._grid.masses, []
        low = x[k - 1] if k > 0 else x[k]
        high = x[k + 1] if k + 1 < len(x) else x[k]
        for m in range(k + 1):
            begin, end = np.searchsorted(x, low - x[m], side="left"), np.searchsorted(x, high - x[m], side="right")
            second = np.arange(begin, min(end, k + 1))
            place, share = self._grid.split(x[m] + x[second])
            part = np.where(place == k, share, np.where(place == k - 1, 1 - share, 0.0))
            rate = self._beta.rates(x[m], x[second]) * part / 2
            kept = rate != 0
            found.append((np.full(kept.sum(), m), second[kept], rate[kept]))
        first, second, rate = (np.concatenate(column) for column in zip(*found, strict=True))
        return first, second, rate

    def _all_pairs(self, f: np.ndarray) -> np.ndarray:
        """Rate of change of the number of all masses, (P,): -sum beta f f, and half of it back in the range."""
        x, found = self._grid.masses, np.zeros(len(f))
        if self._factors is not None:
            for first, second in zip(self._factors.U, self._factors.W, strict=True):
                sums = np.cumsum(f * second, axis=1)  # over l <= m; in reverse, over l <= M - m
                back = np.append(sums[:, -2::-1], np.zeros((len(f), 1)), axis=1) / 2 if self._merge else 0.0
                found += ((back - sums[:, -1:]) * f) @ first
            return found
        for begin in range(0, len(x), BLOCK):
            rows = slice(begin, begin + BLOCK)
            rates = self._beta.rates(x[rows, None], x[None, :])
            back = 0.5 * (x[rows, None] + x[None, :] <= x[-1]) if self._merge else 0.0
            found += ((f[:, rows] @ (rates * (back - 1.0))) * f).sum(axis=1)
        return found
