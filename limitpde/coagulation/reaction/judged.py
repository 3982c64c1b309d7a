"""How far the reaction is off: by its step, and by its bins, at the node where most particles are.

A step is made again as two halves: with an error of third order in it, the difference is 3/4 of that of the whole. The
errors of the steps, relative to the number of particles and to the second moment, are added up: an upper bound where
they are forgotten, as most are. All the first steps are judged, then one of EVERY, which counts for all of them.

Products that fall between two pivots are split between these, number and mass kept, which widens the distribution: its
second moment is too large, to second order in the ratio of pivots. A twin with half as many pivots tells by how much,
both without space from where the solution starts, at its densest node.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from limitpde.coagulation.model import Model
from limitpde.coagulation.rates import propensity
from limitpde.coagulation.reaction.bins import Bins, MassGrid
from limitpde.coagulation.reaction.operator import Reaction
from limitpde.compare.companions import SAFETY

FIRST, EVERY = 16, 8
FEWEST_PIVOTS = 4
"""Pivots per decade of which half as many are still bins; of fewer, twice as many tell the error."""


class StepError:
    """Adds up what the steps of a reaction cost.

    Args:
        reaction: the reaction.

    Attributes:
        value: the error so far, as a part of the number or the second moment, whichever is more.
        steps: steps seen.
    """

    def __init__(self, reaction: Reaction) -> None:
        self._reaction, self.value, self.steps = reaction, 0.0, 0

    @property
    def due(self) -> bool:
        """Whether the next step is judged."""
        return self.steps < FIRST or self.steps % EVERY == 0

    def of_step(self, f: np.ndarray, dt: float) -> float:
        """The error of a step of the densities f (1, M), which stay as they are."""
        whole, halves = f.copy(), f.copy()
        self._reaction.advance(whole, dt)
        for _ in range(2):
            self._reaction.advance(halves, dt / 2)
        powers = self._reaction.grid.masses ** np.array([[0], [2]])
        first, second = powers @ whole[0], powers @ halves[0]
        return 4 / 3 * float(np.abs(np.divide(first - second, second, out=np.zeros(2), where=second > 0)).max())

    def add(self, error: float) -> None:
        """Take in the next step, with its error where it was judged."""
        self.value += error * (1 if self.steps < FIRST else EVERY)
        self.steps += 1


class BinsError:
    """Twins of a solution without space, on its bins and on half as many.

    Args:
        model: the parameters.
        bins: those of the solution.
        reaction: of the solution.
        start: number of particles of each mass per volume where there are most, mass -> number.

    Attributes:
        twins: densities of both, (1, M) each.
    """

    def __init__(self, model: Model, bins: Bins, reaction: Reaction, start: dict[float, float]) -> None:
        fewer = bins.per_decade // 2 if bins.per_decade >= FEWEST_PIVOTS else 2 * bins.per_decade
        other = MassGrid(model.n_max, replace(bins, per_decade=fewer))
        self._ratio = bins.per_decade / fewer
        self._reactions = [reaction, Reaction(model, other, propensity(model))]
        self.twins = [
            np.sum([n * grid.spread(mass) for mass, n in start.items()], axis=0)[None]
            for grid in (reaction.grid, other)
        ]

    def advance(self, dt: float) -> None:
        """Advance both."""
        for reaction, f in zip(self._reactions, self.twins, strict=True):
            reaction.advance(f, dt)

    @property
    def value(self) -> float:
        """Error of the second moment of the twin on the solution's bins, as a part of it, with a factor for safety."""
        mine, other = (
            float(reaction.grid.masses**2 @ f[0]) for reaction, f in zip(self._reactions, self.twins, strict=True)
        )
        return SAFETY * abs(other - mine) / abs(self._ratio**2 - 1) / mine if mine > 0 else 0.0
