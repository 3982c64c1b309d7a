"""Where iterative solvers begin: at what the states foresee, put right by what such guesses have missed before."""

from __future__ import annotations

import math
from collections.abc import Hashable

import numpy as np

ALIKE = 1e-6
"""Relative difference of sizes up to which two steps are alike."""


class FirstGuess:
    """A guess that extrapolates states misses by nearly as much in each step that is made alike.

    What it missed in the last two steps is extrapolated and added, which gains two orders in dt. It only says where a
    solver begins. Forget it where the mesh has changed.
    """

    def __init__(self) -> None:
        self._kind: Hashable = None
        self._dt = 0.0
        self._missed: list[np.ndarray] = []

    def __call__(self, foreseen: np.ndarray, dt: float, kind: Hashable) -> np.ndarray:
        """The guess for a step, (n,).

        Args:
            foreseen: what the states foresee, (n,).
            dt: size of the step.
            kind: of the formula, and of how many states it foresees from.
        """
        if kind != self._kind or not math.isclose(dt, self._dt, rel_tol=ALIKE):
            self._kind, self._dt, self._missed = kind, dt, []
        if not self._missed:
            return foreseen
        last, *before = self._missed
        return foreseen + (2 * last - before[0] if before else last)

    def learn(self, foreseen: np.ndarray, found: np.ndarray) -> None:
        """Take in the solution, (n,), of the step for which this was foreseen."""
        self._missed = [found - foreseen, *self._missed[:1]]
