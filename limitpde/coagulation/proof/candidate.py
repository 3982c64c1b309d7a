"""Microscopic candidate densities (4.2) and the macroscopic residual of particles: (1.10) evaluated on them.

    f_n(u) = (Z/N) sum_i delta^-d eta((x_i - u) / delta) 1(m_i = n)                                              (4.2)
    W[t, phi] = int phi_n (f_n(t) - f_n(0))                                                             (change)
                - int_0^t int d(n) Lap phi_n f_n                                                        (diffusion)
                - int_0^t int phi_n (1/2 sum_{m<n} beta(m, n-m) f_m f_{n-m} - f_n sum_m beta(n, m) f_m) (reaction)

for phi(x, m) = g(x) 1(m = n), with the rates of (1.3)-(1.4) (the factors of (4.4)-(4.5) are twice too large). For all
masses (n = None) the terms are summed: the reaction is -1/2 sum beta f_n f_m. Where pairs annihilate there is no gain
(h' = -beta h^2, (3.2)), and for all masses it is -sum beta f_n f_m. Fragmentation adds its own linear terms. W tends
to zero as N -> infinity and then delta -> 0 (section 4.1.6); time integrals are trapezoidal sums over the times of
measurement.

A product f_n f_m counts pairs i != j only. With its pairs i = i the literal f_n^2 is larger by (Z/N)^2 sum_i eta_i^2,
in the mean by Z / (N delta^d) int eta^2 h_n, which vanishes as N -> infinity before delta -> 0 but is all there is at
a small delta. For independent particles the product then has the mean of f_n(u) squared. Correlations remain: particles
near each other may have met before, hence at a distance r >> eps the pair density is f_n f_m (1 - a eps / r) (d = 3, a
the scattering length), and the products are low by a share of order a eps / delta (`evidence`).

delta = None stands for a mollifier that is constant over the whole domain: f_n = (Z/N) (number of mass n) / volume, for
what starts homogeneous.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limitpde.coagulation.model import Model
from limitpde.coagulation.proof.mass_rates import Beta, MassRateArrays, MassRates
from limitpde.coagulation.proof.mollifier import CELLS_PER_DELTA, NodeGrid, eta_table
from limitpde.coagulation.proof.node_sums import node_sums, planes
from limitpde.coagulation.proof.python_candidate import EvenByPython, SmearedByPython
from limitpde.coagulation.proof.walls import at_grid
from limitpde.compare.marked import AnyFunction, time_dependent
from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import FunctionTable, SpatialFunction, TestFunction, fitted, shaped_only
from limitpde.compare.user_functions import UserFunction
from limitpde.domains import Domain
from limitpde.errors import InputError

FEW = 8
"""Products of pairs of the first few masses are kept."""
MOST_VALUES = 20_000_000
"""Values of test functions at the nodes of a bounded domain; a smaller delta is refused."""
HOMOGENEOUS_NODES = {1: 4096, 2: 256, 3: 64}
"""Nodes along each axis for the integral of a test function over a domain."""


def check_functions(functions: Sequence[TestFunction], domain: Domain) -> list[AnyFunction]:
    """The test functions, on a torus with their images, that fit particles with masses.

    Raises:
        InputError: a function has another dimension or a charge, or is not periodic on a torus.
    """
    for number, function in enumerate(functions):
        if not isinstance(function, UserFunction) and function.charge:
            raise InputError(f"compare.test_functions[{number}].charge = true: these particles have masses, no charges")
    FunctionTable.of(functions, domain.dimension)
    return fitted(functions, domain)


def means(functions: Sequence[SpatialFunction], domain: Domain) -> np.ndarray:
    """Means of g over a bounded domain, (F,)."""
    d = domain.dimension
    grid = NodeGrid.of(domain, float(domain.size.max()) / HOMOGENEOUS_NODES[d] * CELLS_PER_DELTA[d])
    points = grid.points(d)
    weight = np.broadcast_to(grid.weight, len(points)) / domain.volume
    return np.array([weight @ evaluate(function, points)[0] for function in functions])


class MacroResidual:
    """W[t, phi] of the candidate densities of particles, measured while they are simulated.

    Args:
        model: the parameters.
        count: N.
        Z: sum_n int h_n.
        domain: where the particles are.
        functions: F test functions.
        deltas: D reaches of the mollifier; None for a constant one.
        beta: propensities, of arrays of masses that broadcast.

    Raises:
        InputError: a function does not fit, a delta is not positive or too small, or None meets the whole space.
    """

    def __init__(
        self,
        model: Model,
        count: int,
        Z: float,
        domain: Domain,
        functions: Sequence[TestFunction],
        deltas: Sequence[float | None],
        beta: Beta,
    ) -> None:
        self.model, self.share, self.domain = model, Z / count, domain
        fit = check_functions(functions, domain)
        self.table, by_python = FunctionTable.of(fit, model.dimension), time_dependent(fit)
        tracked = np.zeros(1, dtype=np.int64) if by_python else np.unique(np.append(self.table.masses, 0))
        self.slots = np.searchsorted(tracked, self.table.masses)
        self.reaction = MassRates(model, beta, tracked)
        self.parts: list[_Smeared | _Homogeneous | SmearedByPython | EvenByPython] = []
        for number, delta in enumerate(deltas):
            if delta is not None and not 0 < delta < np.inf:
                raise InputError(f"compare.deltas[{number}] = {delta}: must be a length > 0")
            if by_python:
                known = fit, self.reaction, domain, self.few[0]
                self.parts.append(EvenByPython(*known) if delta is None else SmearedByPython(*known, delta))
            else:
                shaped = shaped_only(fit)
                self.parts.append(_Homogeneous(self, shaped) if delta is None else _Smeared(self, shaped, delta))

    def start(self) -> MacroBalance:
        """An empty balance for one replica."""
        return MacroBalance(self)

    def integrands(self, x: np.ndarray, mass: np.ndarray, t: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """What W and the products are made of at a time, for particles at x (n, d) with masses (n,), n >= 0.

        Returns:
            (4, F, D): int phi f, int (d Lap phi + d phi / dt) f, linear part and pairs of the reaction against phi;
            (D, L, L): int f_n f_m for n, m <= L, pairs i = i left out.
        """
        sums = np.zeros((4, len(self.slots), len(self.parts)))
        products = np.zeros((len(self.parts), *self.few))
        if len(x):
            places, system = self.reaction.at(np.asarray(mass, dtype=np.int64))
            for k, part in enumerate(self.parts):
                sums[:, :, k], products[k] = part.integrands(x, places, system, t)
        powers = np.array([1, 1, 1, self.share])[:, None, None]
        return self.share * powers * sums, self.share**2 * products

    @property
    def few(self) -> tuple[int, int]:
        """(L, L)."""
        few = min(self.model.n_max, FEW)
        return few, few


class MacroBalance:
    """W[t, phi] and the products of candidate densities, of one replica.

    Args:
        residual: what is measured.
    """

    def __init__(self, residual: MacroResidual) -> None:
        self._residual = residual
        functions, deltas = len(residual.slots), len(residual.parts)
        self._initial: np.ndarray | None = None
        self._last: tuple[float, np.ndarray, np.ndarray] | None = None
        self._integrals, self._products = np.zeros((3, functions, deltas)), np.zeros((deltas, *residual.few))

    def measure(self, t: float, x: np.ndarray, mass: np.ndarray) -> None:
        """Take in the state at a time: extends the time integrals from the last one by a trapezium.

        Args:
            t: not before the time of the last call.
            x: (n, d) positions of the particles that are there.
            mass: (n,) their masses.
        """
        sums, products = self._residual.integrands(x, mass, t)
        if self._last is None:
            self._initial = sums[0]
        else:
            weight = (t - self._last[0]) / 2
            self._integrals += weight * (self._last[1][1:] + sums[1:])
            self._products += weight * (self._last[2] + products)
        self._last = t, sums, products

    def change(self) -> np.ndarray:
        """int phi (f(t) - f(0)), (F, D)."""
        if self._last is None:
            return np.zeros(self._integrals.shape[1:])
        return np.asarray(self._last[1][0] - self._initial)

    def diffusion(self) -> np.ndarray:
        """int_0^t int (d Lap phi + d phi / dt) f, (F, D)."""
        return self._integrals[0]

    def reaction(self) -> np.ndarray:
        """int_0^t int phi (gain - loss), (F, D), with the splitting."""
        return np.asarray(self._integrals[1] + self._integrals[2])

    def values(self) -> np.ndarray:
        """W[t, phi] up to the last measurement, (F, D)."""
        return self.change() - self.diffusion() - self.reaction()

    def products(self) -> np.ndarray:
        """int_0^t int f_n f_m for n, m = 1 ... L, (D, L, L)."""
        return self._products.copy()


class _Smeared:
    """Integrals of densities smeared over a length delta."""

    def __init__(self, residual: MacroResidual, functions: Sequence[SpatialFunction], delta: float) -> None:
        self._residual, self._delta, d = residual, delta, residual.model.dimension
        self._eta = eta_table(d)
        self._grid = NodeGrid.of(residual.domain, delta) if residual.domain.bounded else None
        if self._grid is None:
            self._values = np.empty((0, len(functions), 2))
            return
        if int(np.prod(self._grid.nodes)) * max(len(functions), 1) > MOST_VALUES:
            raise InputError(
                f"compare.deltas: {delta:g} is too small, the values of {len(functions)} functions too many"
            )
        self._values = at_grid(functions, residual.domain, self._grid)

    def integrands(
        self, x: np.ndarray, places: np.ndarray, system: MassRateArrays, t: float
    ) -> tuple[np.ndarray, np.ndarray]:
        residual, delta, d = self._residual, self._delta, x.shape[1]
        grid = NodeGrid.around(x, delta) if self._grid is None else self._grid
        wide = np.zeros((len(x), 3))
        wide[:, :d] = residual.domain.wrap(x)
        shape = (grid.kind, grid.low, grid.edge, grid.nodes)
        starts, *reach = planes(wide, shape, grid.places[0], len(grid.kept[0]), delta)
        table = residual.table
        sums, products = node_sums(
            wide,
            places,
            starts,
            (reach[0], reach[1]),
            shape,
            delta,
            self._eta,
            (grid.places, grid.kept),
            (grid.weight, grid.share),
            (
                system.masses,
                system.beta,
                system.merge,
                residual.reaction.tracked,
                system.linear,
            ),
            (residual.slots, table.kinds, table.parameters, self._values),
            d,
            residual.few[0],
        )
        return sums.sum(axis=0), products.sum(axis=0)


class _Homogeneous:
    """Integrals of densities smeared over the whole domain: numbers over the volume, which do not diffuse."""

    def __init__(self, residual: MacroResidual, functions: Sequence[SpatialFunction]) -> None:
        domain = residual.domain
        if not domain.bounded:
            raise InputError("compare.deltas: a constant mollifier (none) needs a bounded domain, not the whole space")
        self._residual, self._volume = residual, domain.volume
        self._means = means(functions, domain)

    def integrands(
        self, x: np.ndarray, places: np.ndarray, system: MassRateArrays, t: float
    ) -> tuple[np.ndarray, np.ndarray]:
        residual, tracked = self._residual, self._residual.reaction.tracked
        number = np.bincount(places, minlength=len(system.masses)).astype(float)
        there = np.flatnonzero(number)
        masses, number = system.masses[there], number[there]
        pairs = np.outer(number, number)
        pairs[np.diag_indices(len(number))] -= number  # ordered pairs i != j
        rates = system.beta[np.ix_(there, there)] * pairs
        sums = masses[:, None] + masses[None, :]
        change = np.zeros(len(tracked))
        change[0] = -rates.sum() / (2 if system.merge else 1)
        for s in range(1, len(tracked)):
            gain = rates[sums == tracked[s]].sum() / 2 if system.merge else 0.0
            change[s] = gain - rates[masses == tracked[s]].sum()
        linear = np.einsum("msk,m->ks", system.linear[there], number)[:, residual.slots]
        value = self._means
        found = np.array([value * linear[0], 0 * value, value * linear[2], value * change[residual.slots]])
        found[3] /= self._volume
        products = np.zeros(residual.few)
        first = masses <= residual.few[0]
        products[np.ix_(masses[first] - 1, masses[first] - 1)] = pairs[np.ix_(first, first)] / self._volume
        return found, products
