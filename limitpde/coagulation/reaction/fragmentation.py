"""Fragmentation at the nodes (Hammond section 8.3.4, the model of `limitpde.coagulation.model.Fragmentation`).

Mass n splits at the rate a(n), into m and n - m with m even on 1 ... n-1, and the two do not merge again at once with
the chance w(m, n-m) (beta / (alpha int V) where beta follows from the particles, 1 otherwise):

    f_n' = sum_{k>n} 2 a(k)/(k-1) w(n, k-n) f_k - f_n a(n)/(n-1) sum_{m<n} w(m, n-m).

In g_n = n f_n this is a linear flow of mass from k to n < k at the rate L_nk = (n/k) 2 a(k)/(k-1) w(n, k-n); as w is
symmetric the loss of k is sum_n L_nk, so mass is conserved. With a few thousand masses the flow over a step is taken
exactly, as exp(dt L): a matrix >= 0 with column sums one. For more masses and w = 1, L_nk = n c_k, and the scheme is
that of `operator`, solved from the top by running sums: of order two, positive, conservative.

On pivots the parts go to pivots by `MassGrid.split`; parts below the smallest pivot go to it by their mass. For
continuous mass the lighter part is even on (0, n). Sums over many integers are integrals, by Gauss's rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import prange

from limitpde.arrays import Floats
from limitpde.coagulation.model import Fragmentation, Model
from limitpde.coagulation.rates import naive
from limitpde.coagulation.reaction.bins import MassGrid
from limitpde.compiled import compiled
from limitpde.errors import InputError

LARGEST_MATRIX = 2048  # masses up to which exp(dt L) is formed
SUMMED_UP_TO = 64  # integers between two pivots that are summed one by one
KEPT = 4  # matrices exp(dt L) that are kept, for steps that alternate
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


class Splitting:
    """Advances densities (P, M) by fragmentation alone."""

    def __init__(self, model: Model, grid: MassGrid, beta: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        """Prepare the flow of mass.

        Args:
            model: has a `fragmentation`.
            grid: the masses.
            beta: propensities, for the chance that two parts do not merge at once.

        Raises:
            InputError: there are too many masses for it.
        """
        assert model.fragmentation is not None
        self._masses = grid.masses
        self._exponentials: dict[float, Floats] = {}
        self._flow: Floats | None = None
        micro = model.beta.kernel == "from_micro"
        if grid.M > LARGEST_MATRIX:
            if micro:
                raise InputError(
                    f'model.n_max = {grid.M}: fragmentation with beta.kernel = "from_micro" needs '
                    f"n_max <= {LARGEST_MATRIX}, or bins"
                )
            n = grid.masses
            self._per_mass = 2.0 * model.fragmentation.at(n) / (n * np.maximum(n - 1.0, 1.0))
            return

        def separate(m: np.ndarray, rest: np.ndarray) -> np.ndarray:
            if not micro:
                return np.ones(np.broadcast_shapes(m.shape, rest.shape))
            bound = naive(model, m, rest)
            return np.where(bound > 0, beta(m, rest) / (model.beta.scale * np.where(bound > 0, bound, 1.0)), 1.0)

        self._flow = _flow(grid, model.fragmentation, separate)

    def step(self, f: Floats, dt: float) -> None:
        """Advance f (P, M) by dt in place; the mass of each node stays what it is."""
        if self._flow is None:
            _sweep(self._per_mass, self._masses, f, dt)
            return
        if dt not in self._exponentials:
            if len(self._exponentials) == KEPT:
                self._exponentials.pop(next(iter(self._exponentials)))
            self._exponentials[dt] = _exponential(self._flow, dt)
        g = f * self._masses
        mass = g.sum(axis=1)
        g = g @ self._exponentials[dt]
        after = g.sum(axis=1)
        g *= np.divide(mass, after, out=np.ones_like(mass), where=after > 0)[:, np.newaxis]
        np.divide(g, self._masses, out=f)


def _flow(grid: MassGrid, rule: Fragmentation, separate: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Floats:
    """L^T (M, M): in row k the rates at which mass flows from k to the others, and minus their sum."""
    x, found = grid.masses, np.zeros((grid.M, grid.M))
    m, weight = _parts(grid)
    k, share = grid.split(np.maximum(m, x[0]))
    low = share * x[k] * np.where(m < x[0], m / x[0], 1.0)  # mass that a part m brings to x_k, and to x_{k+1}
    high = (1.0 - share) * x[np.minimum(k + 1, grid.M - 1)]
    for parent in range(1, grid.M):
        n, here = x[parent], m < x[parent]
        number = 2.0 * weight[here] * separate(np.maximum(m[here], x[0]), np.maximum(n - m[here], x[0]))
        number *= rule.rate * n**rule.power / (n if grid.continuous else n - 1.0)
        np.add.at(found[parent], k[here], number * low[here] / n)
        np.add.at(found[parent], k[here] + 1, number * high[here] / n)
        found[parent, parent] = 0.0
        found[parent, parent] = -found[parent].sum()
    return found


def _parts(grid: MassGrid) -> tuple[np.ndarray, np.ndarray]:
    """Masses (K,) of parts below the last pivot, and the weights with which sums over them are taken."""
    x = grid.masses
    starts, ends = x[:-1], x[1:]
    if grid.continuous:
        starts, ends = np.concatenate([[0.0], starts]), np.concatenate([[x[0]], ends])
    masses, weights = [], []
    for a, b in zip(starts, ends, strict=True):
        if not grid.continuous and b - a <= SUMMED_UP_TO:
            masses.append(np.arange(a, b))
            weights.append(np.ones(int(b - a)))
        elif grid.continuous:
            masses.append(a + (b - a) * (_NODES + 1) / 2)
            weights.append((b - a) / 2 * _WEIGHTS)
        else:  # a itself, and the other integers of (a, b) by the midpoint rule: the integral from a + 1/2 to b - 1/2
            masses.append(np.concatenate([[a], a + 0.5 + (b - a - 1) * (_NODES + 1) / 2]))
            weights.append(np.concatenate([[1.0], (b - a - 1) / 2 * _WEIGHTS]))
    return np.concatenate(masses), np.concatenate(weights)


def _exponential(flow: Floats, dt: float) -> Floats:
    """exp(dt flow) with entries >= 0 and row sums one: powers of I + flow/q are >= 0, so there is no cancellation."""
    rate = dt * float(np.abs(flow.diagonal()).max(initial=0.0))
    halvings = max(0, int(np.ceil(np.log2(max(rate, 1e-300)))))
    step, rate = dt / 2**halvings, rate / 2**halvings
    stay = step * flow + rate * np.eye(len(flow))  # >= 0
    term = np.exp(-rate) * np.eye(len(flow))
    found = term.copy()
    for power in range(1, 30):  # rate <= 1: 1/30! is below rounding
        term = term @ stay / power
        found += term
    for _ in range(halvings):
        found = found @ found
        found /= found.sum(axis=1, keepdims=True)
    return found / found.sum(axis=1, keepdims=True)


@compiled(parallel=True, error_model="numpy")
def _sweep(per_mass, masses, f, dt):  # type: ignore[no-untyped-def]
    """MPRK22 for L_nk = n per_mass_k, from the largest mass down."""
    P, M = f.shape
    h = 0.5 * dt
    for p in prange(P):
        g1 = np.empty(M)
        above = 0.0
        for n in range(M - 1, -1, -1):
            x = masses[n]
            leave = per_mass[n] * x * (x - 1.0) * 0.5  # sum of L_kn over k < n: 1 + ... + (n-1) times per_mass_n
            g1[n] = (x * f[p, n] + dt * x * above) / (1.0 + dt * leave)
            above += per_mass[n] * g1[n]
        above = 0.0
        for n in range(M - 1, -1, -1):
            x = masses[n]
            leave = per_mass[n] * x * (x - 1.0) * 0.5
            r = x * f[p, n] / g1[n] if g1[n] > 0.0 else 0.0
            g = (x * f[p, n] + h * x * above) / (1.0 + h * leave * (r + 1.0))
            above += per_mass[n] * (r + 1.0) * g
            f[p, n] = g / x
