"""How far a solution is from that on finer meshes with shorter steps, by its companions on coarser ones.

With u(h, dt) = u + A h^p + B dt^q, the differences of four solutions tell A h^p and B dt^q apart, and show whether they
fall as they should (Roache's grid convergence index: estimates by Richardson's extrapolation, with a safety factor).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SAFETY, SAFETY_OF_TWO = 1.25, 3.0
"""Roache's factors: where the order was seen on three levels, and where it was not."""
LEAST_ORDER = 0.5
"""Part of the order of the scheme that must be seen for an estimate to be trusted."""
ROUNDING = 1e-10
"""Share of the largest observable up to which differences show no order, and of max |phi| times the mass up to which
they are none."""


class Orders(NamedTuple):
    """Orders of what is computed."""

    space: float = 2.0
    """Of the solution, in the size of the cells."""
    time: float = 2.0
    """Of the solution, in the step."""
    particles: float = 1.0
    """Of the means of the particles, in their step."""


class Level(NamedTuple):
    """A companion of a solution: by which factors its cells and its steps are larger."""

    cells: int
    steps: int


FINE, COARSE, COARSEST, LONG = Level(1, 2), Level(2, 2), Level(4, 4), Level(2, 4)
LEVELS = (COARSE, LONG, COARSEST)
"""In the order in which they are computed: the last one is only needed to see the order."""


@dataclass(frozen=True, slots=True)
class SolutionErrors:
    """Estimated errors of int phi rho_t, for P test functions and T times, (P, T) each; NaN where not known."""

    mesh: np.ndarray
    step: np.ndarray
    order: np.ndarray
    """(P,) seen when cells and steps grow together; NaN where it was not, or where all is rounding."""
    trusted: np.ndarray
    """(P,) whether at least half the order of the scheme was seen."""

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The error of the initial data, and what mesh and step have added to it since, (P, T) each."""
        since = {"mesh": self.mesh - self.mesh[:, :1], "step": self.step - self.step[:, :1]}
        return since | {"initial": np.repeat((self.mesh + self.step)[:, :1], self.mesh.shape[1], axis=1)}


def solution_errors(
    fine: np.ndarray, companions: dict[Level, np.ndarray], orders: Orders, *, same_cells: bool, growth: float = 2.0
) -> SolutionErrors:
    """Estimate the errors of observables.

    Args:
        fine: int phi rho_t, (P, T).
        companions: the same of the companions that there are.
        orders: of the scheme.

    Keyword Args:
        same_cells: the companions have larger steps alone, so that errors of the mesh do not show.
        growth: by how much the cells of the first companion are larger, where they could not be twice as large.
    """
    nothing = np.full_like(fine, math.nan)
    if COARSE not in companions:
        return SolutionErrors(nothing, nothing, nothing[:, 0], np.zeros(len(fine), dtype=bool))
    coarse = companions[COARSE]
    together = fine - coarse
    scheme = orders.time if same_cells else min(orders.space, orders.time)
    order, trusted = _seen(fine, together, companions, scheme)
    seen = COARSEST in companions
    safety = np.where(trusted, SAFETY if seen else SAFETY_OF_TWO, SAFETY_OF_TWO)[:, None]
    share = np.where(np.isnan(order), 1.0, np.clip(order / scheme, 1 / scheme, 1.0))
    p, q = (np.maximum(share * one, 1.0)[:, None] for one in (orders.space, orders.time))
    if same_cells:
        return SolutionErrors(nothing, safety * _envelope(together) / (2**q - 1), order, trusted)
    if LONG not in companions:
        return SolutionErrors(safety * _envelope(together) / (growth ** np.minimum(p, q) - 1), nothing, order, trusted)
    by_step = (coarse - companions[LONG]) / 2**q
    mesh, step = (together - by_step) / (growth**p - 1), by_step / (2**q - 1)
    return SolutionErrors(safety * _envelope(mesh), safety * _envelope(step), order, trusted)


def _seen(
    fine: np.ndarray, together: np.ndarray, companions: dict[Level, np.ndarray], scheme: float
) -> tuple[np.ndarray, np.ndarray]:
    """The order that is seen, (P,), and whether it is near enough to that of the scheme."""
    if COARSEST not in companions:
        return np.full(len(fine), math.nan), np.ones(len(fine), dtype=bool)
    near = np.abs(together).max(axis=1)
    far = np.abs(companions[COARSE] - companions[COARSEST]).max(axis=1)
    rounding = near <= ROUNDING * np.abs(fine).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        order = np.where(rounding, math.nan, np.log2(far / near))
    return order, rounding | (order >= LEAST_ORDER * scheme)


def _envelope(errors: np.ndarray) -> np.ndarray:
    """The largest modulus up to each time: an error that passes through zero is not small."""
    return np.asarray(np.maximum.accumulate(np.abs(errors), axis=1))
