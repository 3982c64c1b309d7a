"""The gate that every step of a solver must pass: what the equation promises, asked of the step.

All finite, densities not below zero, the free energy not rising, and, where the equation has that principle, the
largest density not rising. Where a disk stands for the plane, mass that reaches its edge piles up as at a wall: a state
says then that its largest density is not to be tested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

ROUNDING = 1e-12
"""Negative densities and increases of the energy up to this part of their scale are rounding of the linear solvers,
whose tolerance is a tenth of it."""
MAXIMUM_RISE = 1e-3
"""Part by which a step may raise the largest density, where the equation lets it only fall; with the potential that
is predicted for the end of a step, a scheme keeps that principle up to O(dt)."""


@dataclass(frozen=True, slots=True)
class GatedState:
    """Densities, potential and free energy at one time: what a step starts from and what it makes."""

    densities: Any
    """Of each species present, (n_local,), ghosts up to date; rows of an array, or a list."""
    potential: np.ndarray
    """Of the densities' own field, (n_local,)."""
    energy: float
    """Free energy, global."""
    minimum: float
    """Smallest density, global."""
    maximum: float
    """Largest density, global."""
    walled: bool = False
    """Mass has reached an edge that the equation does not have, so its largest density may rise."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a step may do. Nothing here is collective: the figures of states are global."""

    scale: float
    """Of the free energy, beside its own size: diffusivity times mass."""
    falling_maximum: bool
    """The equation lets the largest density only fall."""
    energy_rise: float = ROUNDING
    """Part of its scale by which the free energy may rise."""
    undershoot: float = 0.0
    """How far below zero densities may fall, as a part of their largest value."""

    def refusal(self, now: GatedState, trial: GatedState) -> str | None:
        """Why the step from one state to another must not be taken, or None."""
        if not math.isfinite(trial.energy):
            return "the free energy is not finite"
        rise, below = trial.energy - now.energy, self.below_zero(trial)
        if below:
            return below
        if rise > self.energy_rise * (abs(now.energy) + self.scale):
            return f"the free energy rises by {rise:.3g}"
        if self.falling_maximum and not trial.walled and trial.maximum > (1 + MAXIMUM_RISE) * now.maximum:
            return f"the largest density rises from {now.maximum:.4g} to {trial.maximum:.4g}"
        return None

    def below_zero(self, state: GatedState) -> str | None:
        """Why a state is none, where its densities are too far below zero."""
        if state.minimum >= -self.undershoot * state.maximum:
            return None
        return f"a density falls to {state.minimum:.3g}, below -{self.undershoot:g} of the largest, {state.maximum:.4g}"
