"""Candidate densities (4.2) against test functions phi(x, n, t) by Python: the parts of W as in `candidate`.

The sums over the nodes are the same. Compiled code says which mass there is how much of at which node, and what its
pairs make there; phi is put into these places and masses at once. d phi / dt goes with the diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from limitpde.coagulation.proof.mass_rates import MassRateArrays, MassRates
from limitpde.coagulation.proof.mollifier import NodeGrid, eta_table
from limitpde.coagulation.proof.node_sums import node_entries, planes
from limitpde.coagulation.proof.walls import wall_points
from limitpde.coagulation.simulator.python_balance import fragments
from limitpde.compare.marked import AnyFunction, evaluate_marked, values_marked
from limitpde.compare.user_functions import UserFunction
from limitpde.domains import Domain
from limitpde.errors import InputError

PER_LENGTH = 16
"""Nodes along the length over which a function changes, for its mean over a domain."""
MOST_MEAN_NODES = 2**18


class SplitParts:
    """What splitting adds to int phi f, per particle: parts that stay apart.

    Args:
        rates: of the masses.
        functions: F test functions phi(x, n, t).
    """

    def __init__(self, rates: MassRates, functions: Sequence[AnyFunction]) -> None:
        self._rates, self._functions = rates, functions

    def __call__(self, x: np.ndarray, mass: np.ndarray, value: np.ndarray, t: float) -> np.ndarray:
        """Of particles at x (n, d) with masses (n,) and phi = value, (F, n); (F, n)."""
        splitting, most = self._rates.model.fragmentation, int(mass.max(initial=1))
        if splitting is None:
            return np.zeros_like(value)
        share, loss = np.zeros((most + 1, most + 1)), np.zeros(most + 1)
        for n in np.unique(mass[mass > 1]):
            part = np.arange(1, n)
            apart = float(splitting.at(n)) / len(part) * self._rates.escape(part, n - part)
            share[n, 1:n], loss[n] = 2 * apart, apart.sum()
        return fragments(self._functions, x, mass, t, share) - loss[mass] * value


class SmearedByPython:
    """Integrals of densities smeared over a length delta.

    Args:
        functions: F test functions phi(x, n, t).
        rates: of the masses.
        domain: where the particles are.
        few: L, the masses whose products are kept.
        delta: reach of the mollifier.
    """

    def __init__(
        self, functions: Sequence[AnyFunction], rates: MassRates, domain: Domain, few: int, delta: float
    ) -> None:
        self._functions, self._model, self._domain = functions, rates.model, domain
        self._few, self._delta, d = few, delta, rates.model.dimension
        self._eta, self._split = eta_table(d), SplitParts(rates, functions)
        self._grid = NodeGrid.of(domain, delta) if domain.bounded else None
        self._walls = (np.empty((0, d)), np.empty((0, d)), np.empty(0), np.empty(0, dtype=np.int64))
        if self._grid is not None:
            self._walls = wall_points(domain, self._grid)

    def integrands(
        self, x: np.ndarray, places: np.ndarray, system: MassRateArrays, t: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `MacroResidual.integrands`, without the shares of N."""
        delta, d = self._delta, x.shape[1]
        grid = NodeGrid.around(x, delta) if self._grid is None else self._grid
        wide = np.zeros((len(x), 3))
        wide[:, :d] = self._domain.wrap(x)
        shape = (grid.kind, grid.low, grid.edge, grid.nodes)
        starts, *reach = planes(wide, shape, grid.places[0], len(grid.kept[0]), delta)
        cut, lines, masses = (grid.weight, grid.share), (grid.places, grid.kept), system.masses
        here, gain, products = node_entries(
            wide, places, starts, (reach[0], reach[1]), shape, delta, self._eta, lines, cut,
            (masses, system.beta, system.merge), d, self._few,
        )  # fmt: skip
        mass, at, number, lost = masses[here[:, 0].astype(np.int64)], here[:, 2 : 2 + d], here[:, 5], here[:, 6]
        phi = evaluate_marked(self._functions, np.ascontiguousarray(at), mass.astype(float), t)
        diffused = phi.laplacian @ (self._model.d(mass) * number) + phi.rate @ number
        made = values_marked(self._functions, gain[:, 1 : 1 + d], gain[:, 0], t) @ gain[:, 4]
        split = self._split(at, mass, phi.value, t) @ number
        diffused -= self._through_walls(here[:, 1].astype(np.int64), mass, number, grid, t)
        return np.stack([phi.value @ number, diffused, split, made - phi.value @ lost]), products

    def _through_walls(
        self, nodes: np.ndarray, mass: np.ndarray, number: np.ndarray, grid: NodeGrid, t: float
    ) -> np.ndarray:
        """int_wall d f dphi/dn, (F,), of what is at the nodes, (k,) each."""
        points, normals, areas, near = self._walls
        order = np.argsort(nodes, kind="stable")
        first, last = (np.searchsorted(nodes, near, side, sorter=order) for side in ("left", "right"))
        wall = np.repeat(np.arange(len(points)), last - first)
        place = np.arange(len(wall)) - np.repeat(np.cumsum(last - first) - last, last - first)
        entry = order[place]
        volume = grid.weight[nodes[entry]] if len(grid.weight) > 1 else grid.weight[0]
        weight = areas[wall] * self._model.d(mass[entry]) * number[entry] / volume
        slopes = evaluate_marked(self._functions, points[wall], mass[entry].astype(float), t).gradient
        return np.asarray((slopes * normals[wall]).sum(axis=2) @ weight)


class EvenByPython:
    """Integrals of densities smeared over the whole domain.

    Args:
        functions: F test functions phi(x, n, t).
        rates: of the masses.
        domain: where the particles are.
        few: L, the masses whose products are kept.
    """

    def __init__(self, functions: Sequence[AnyFunction], rates: MassRates, domain: Domain, few: int) -> None:
        self._means = DomainMeans(functions, domain)
        self._functions, self._rates, self._volume, self._few = functions, rates, domain.volume, few

    def integrands(
        self, x: np.ndarray, places: np.ndarray, system: MassRateArrays, t: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `MacroResidual.integrands`, without the shares of N."""
        volume = self._volume
        masses, mass = np.unique(system.masses[places], return_counts=True)
        number = mass.astype(float)
        pairs = np.outer(number, number)
        pairs[np.diag_indices(len(number))] -= number  # ordered pairs i != j
        rates = self._rates.rates(masses[:, None], masses[None, :]) * pairs / volume
        after = masses[:, None] + masses[None, :]
        every = np.unique(np.append(masses, after if system.merge else []).astype(np.int64))
        value, rate = self._means(every, t)
        value, here = np.asarray(value), np.searchsorted(every, masses)
        change = -value[:, here] @ rates.sum(axis=1)
        if system.merge:
            change += np.einsum("fnm,nm->f", value[:, np.searchsorted(every, after)], rates) / 2
        split = self._split(masses, number, t)
        products = np.zeros((self._few, self._few))
        first = masses <= self._few
        products[np.ix_(masses[first] - 1, masses[first] - 1)] = pairs[np.ix_(first, first)] / volume
        return np.stack([value[:, here] @ number, rate[:, here] @ number, split, change]), products

    def _split(self, masses: np.ndarray, number: np.ndarray, t: float) -> np.ndarray:
        if self._rates.model.fragmentation is None:
            return np.zeros(len(self._functions))
        every = np.arange(1, masses.max() + 1)
        tracked = MassRates(self._rates.model, self._rates.rates, every)
        return np.asarray(self._means(every, t)[0] @ (number @ tracked.splittings(masses)))


class DomainMeans:
    """Means of phi(., n, t) over a bounded domain.

    Args:
        functions: F test functions.
        domain: where.

    Raises:
        InputError: the domain is the whole space.
    """

    def __init__(self, functions: Sequence[AnyFunction], domain: Domain) -> None:
        if not domain.bounded:
            raise InputError("compare.deltas: a constant mollifier (none) needs a bounded domain, not the whole space")
        d, longest = domain.dimension, float(domain.size.max())
        shortest = min([f.length for f in functions if isinstance(f, UserFunction)], default=longest)
        nodes = min(math.ceil(PER_LENGTH * longest / min(shortest, longest)), int(MOST_MEAN_NODES ** (1 / d)))
        lines = [
            low + size * (np.arange(nodes) + 0.5) / nodes for low, size in zip(domain.low, domain.size, strict=True)
        ]
        points = np.stack([axis.ravel() for axis in np.meshgrid(*lines, indexing="ij")], axis=1)
        self._functions, self._points = functions, points[domain.contains(points)]

    def __call__(self, masses: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Of phi and d phi / dt for each of the masses (M,), (F, M) each."""
        found = np.zeros((2, len(self._functions), len(masses)))
        for k, n in enumerate(masses):
            mark = np.full(len(self._points), float(n))
            found[0, :, k] = values_marked(self._functions, self._points, mark, t).mean(axis=1)
            for f, function in enumerate(self._functions):
                if isinstance(function, UserFunction):
                    found[1, f, k] = function.rate(self._points, mark, t).mean()
        return found[0], found[1]
