"""The reaction at the nodes of a mesh: one step of f_n' = Q1_n - Q2_n (1.3)-(1.4), and of fragmentation, at each node.

In the mass-flow variables g_n = n f_n the equations read, exactly,

    g_n' = sum_{m+l=n} beta(m, l) f_l g_m - g_n sum_l beta(n, l) f_l,

a linear flow of mass from m to m + l once f is known (Filbet and Laurencot, SIAM J. Sci. Comput. 25, 2004; and the
rule of the particles of section 1.3, where the survivor is chosen in proportion to mass). The scheme is the modified
Patankar-Runge-Kutta method MPRK22 (Burchard, Deleersnijder and Meister, Appl. Numer. Math. 47, 2003, 1-30): with A(f)
the generator of the flow,

    g1 = g0 + dt A(f0) g1,     g = g0 + dt/2 [A(f0) diag(g0/g1) + A(f1)] g,

two lower triangular systems. It is of order two; densities stay >= 0 for any step; the mass at a node and what is
lost add up to the mass before, to rounding. Lost is what would be heavier than the last mass of the grid, so that
truncation tends to an inert gel (Stockmayer), or for annihilation (section 3) the mass of what vanishes.
Fragmentation (`fragmentation`) acts for half a step before and for half a step after (Strang).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from limitpde.coagulation.model import Model
from limitpde.coagulation.reaction.annihilation import Annihilation
from limitpde.coagulation.reaction.bins import LARGEST_MATRIX, MassGrid
from limitpde.coagulation.reaction.fragmentation import Splitting
from limitpde.coagulation.reaction.ledger import masses_at, settle
from limitpde.coagulation.reaction.low_rank import Factors, PropensityFunction, factorise
from limitpde.coagulation.reaction.pivots import PivotCoagulation
from limitpde.coagulation.reaction.relaxed import RelaxedCoagulation, pays
from limitpde.coagulation.reaction.substitution import DirectCoagulation
from limitpde.errors import InputError


class Collisions(Protocol):
    """What pairs do, on densities (P, M) in place; returns the mass (P,) that was lost."""

    def step(self, f: np.ndarray, dt: float) -> np.ndarray: ...  # noqa: D102


class Reaction:
    """Advances densities (P, M) at P nodes by the reaction alone. No communication: each rank has its own nodes."""

    def __init__(self, model: Model, grid: MassGrid, beta: PropensityFunction) -> None:
        """Prepare the tables of a model's reaction.

        Args:
            model: says whether a pair merges or vanishes, and how particles split.
            grid: the masses.
            beta: beta(n, m) of float arrays of masses that broadcast, symmetric and >= 0.

        Raises:
            InputError: beta is not symmetric, finite and >= 0; or there are too many masses for it.
        """
        self.grid = grid
        self._collisions: Collisions = _collisions(model, grid, beta)
        self._splitting = None if model.fragmentation is None else Splitting(model, grid, beta)

    def advance(self, f: np.ndarray, dt: float) -> np.ndarray:
        """One step, in place. Threaded.

        Args:
            f: densities (P, M), float64, C-contiguous, >= 0: f[p, k] is the number of particles of mass
                grid.masses[k] per volume at node p.
            dt: length of the step, >= 0.

        Returns:
            (P,) mass per volume that left the range or vanished.

        Raises:
            InputError: f has another shape, type or layout, or dt is negative or not finite.
        """
        if f.dtype != np.float64 or f.ndim != 2 or f.shape[1] != self.grid.M or not f.flags.c_contiguous:
            raise InputError(f"f: {f.dtype} {f.shape}: must be a C-contiguous float64 array (P, {self.grid.M})")
        if not 0 <= dt < np.inf:
            raise InputError(f"dt = {dt}: must be finite and at least 0")
        if f.size == 0 or dt == 0:
            return np.zeros(len(f))
        before = masses_at(f, self.grid.masses)
        if self._splitting is not None:
            self._splitting.step(f, dt / 2)
        lost = self._collisions.step(f, dt)
        if self._splitting is not None:
            self._splitting.step(f, dt / 2)
        settle(f, self.grid.masses, before, lost)
        return lost


def _collisions(model: Model, grid: MassGrid, beta: PropensityFunction) -> Collisions:
    annihilate = model.reaction == "annihilation"
    if grid.M > LARGEST_MATRIX and not grid.every_integer:
        raise InputError(f"bins: {grid.M} masses; at most {LARGEST_MATRIX} are possible, take fewer per decade")
    factors = _factors(model, grid, beta)
    if factors is not None and (annihilate or grid.M > LARGEST_MATRIX or pays(factors.rank, grid.M)):
        if annihilate:
            return Annihilation(grid.masses, factors.U, factors.W)
        return RelaxedCoagulation(grid.masses, factors)
    if grid.M > LARGEST_MATRIX:
        raise InputError(
            f"model.n_max = {grid.M}: above {LARGEST_MATRIX}, beta must be close to a matrix of low rank, and is not; "
            "take a smaller n_max or bins"
        )
    matrix = _matrix(grid, beta)
    if annihilate:
        return Annihilation(grid.masses, None, matrix)
    return DirectCoagulation(grid.masses, matrix) if grid.every_integer else PivotCoagulation(grid, matrix)


def _factors(model: Model, grid: MassGrid, beta: PropensityFunction) -> Factors | None:
    """Factors of beta where these may be of use."""
    if not grid.every_integer or not pays(1, grid.M):
        return None
    return factorise(beta, grid.M, kernel=model.beta.kernel)


def _matrix(grid: MassGrid, beta: PropensityFunction) -> np.ndarray:
    x = grid.masses
    found = np.array(np.broadcast_to(beta(x[:, np.newaxis], x[np.newaxis, :]), (grid.M, grid.M)), dtype=float)
    if not np.all(np.isfinite(found) & (found >= 0)):
        raise InputError("beta: must be finite and >= 0 for all pairs of masses")
    if not np.allclose(found, found.T, rtol=1e-10, atol=0):
        raise InputError("beta: must be symmetric, beta(n, m) = beta(m, n)")
    return found
