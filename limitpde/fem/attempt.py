"""An attempt at a step, and where its solvers begin: at what states foresee, put right by what such guesses missed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from limitpde.fem.gated import History
from limitpde.fem.stepping import Bdf

ALIKE = 1e-6
"""Relative difference of sizes up to which two steps are alike."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a step; values in a row are those of the present state and of the ones before it."""

    history: History
    dt: float
    order: int
    bdf: Bdf
    weights: np.ndarray | None
    """Of the local error; None where it is not asked for, or not known."""

    def combined(self, weights: tuple[float, float], row: list[np.ndarray]) -> np.ndarray:
        """Values of the formula."""
        return weights[0] * row[0] + weights[1] * row[1] if self.order == 2 else row[0]

    def foreseen(self, row: list[np.ndarray]) -> np.ndarray:
        """Values at the end (see `History.foreseen`)."""
        return self.history.foreseen(self.order, self.dt, row)


class FirstGuess:
    """A guess that extrapolates states misses by nearly as much in each step that is made alike.

    What it missed in the last two steps is extrapolated and added, which gains two orders in dt. It only says where a
    solver begins. Forget it where the mesh has changed.
    """

    def __init__(self) -> None:
        self._order, self._foresight, self._dt = 0, False, 0.0
        self._missed: list[np.ndarray] = []

    def __call__(self, attempt: Attempt, foreseen: np.ndarray) -> np.ndarray:
        """The guess for a step, (n,).

        Args:
            attempt: the step.
            foreseen: what the states foresee, (n,).
        """
        foresight = len(attempt.history.past) >= attempt.order
        alike = (attempt.order, foresight) == (self._order, self._foresight)
        if not alike or not math.isclose(attempt.dt, self._dt, rel_tol=ALIKE):
            self._order, self._foresight, self._dt, self._missed = attempt.order, foresight, attempt.dt, []
        if not self._missed:
            return foreseen
        last, *before = self._missed
        return foreseen + (2 * last - before[0] if before else last)

    def learn(self, foreseen: np.ndarray, found: np.ndarray) -> None:
        """Take in the solution, (n,), of the step for which this was foreseen."""
        self._missed = [found - foreseen, *self._missed[:1]]
