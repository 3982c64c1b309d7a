"""The gate that every step of the signed system's solver must pass: what the equation promises, asked of the step.

All finite, densities >= 0 (the solver sees to that), the free energy not rising, and, where the equation has that
principle (repulsion or signed charges in the whole plane), the largest density not rising.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ROUNDING = 1e-12
"""Negative densities and increases of the energy up to this part of their scale are rounding of the linear solvers,
whose tolerance is a tenth of it."""
MAXIMUM_RISE = 1e-3
"""Part by which a step may raise the largest density, where the equation lets it only fall; with the potential that
is predicted for the end of a step, the scheme keeps that principle up to O(dt)."""


class State:
    """Densities, potential and free energy at one time: what a step starts from and what it makes."""

    def __init__(self, densities: Any, potential: np.ndarray, energy: float, maximum: float) -> None:
        self.densities = densities  # per species present: (n_local,), ghosts up to date; rows of an array, or a list
        self.potential = potential  # psi, (n_local,)
        self.energy = energy  # free energy, global
        self.maximum = maximum  # largest density, global


def refusal(
    now: State, trial: State | str, *, scale: float, falling_maximum: bool, energy_rise: float = ROUNDING
) -> str | None:
    """Why a step must not be taken, or None.

    Args:
        now: where the step starts.
        trial: where it ends, or why it has no end.

    Keyword Args:
        scale: of the free energy, beside its own size: D M.
        falling_maximum: the equation lets the largest density only fall.
        energy_rise: part of its scale by which the free energy may rise.
    """
    if isinstance(trial, str):
        return trial
    if not math.isfinite(trial.energy):
        return "the free energy is not finite"
    rise = trial.energy - now.energy
    if rise > energy_rise * (abs(now.energy) + scale):
        return f"the free energy rises by {rise:.3g}"
    if falling_maximum and trial.maximum > (1 + MAXIMUM_RISE) * now.maximum:
        return f"the largest density rises from {now.maximum:.4g} to {trial.maximum:.4g}"
    return None
