"""Growth rate and frequency of a field, fitted to the energy of the field over time.

A mode of the field is like exp(gamma t) cos(omega t - theta), so that its energy is like

    W(t) = C exp(2 gamma t) cos(omega t - theta)^2,

whose peaks lie pi / omega apart and on a line of slope 2 gamma in log W. Each peak is that of the parabola through
three points of log W, exact to second order in the step. A field that grows or decays without oscillating has no peaks:
then the line is fitted to log W itself. The energy of an attractive potential is negative; its modulus is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

DIP = 0.5
"""Part of the lower of two peaks below which W falls between them; what falls less is a ripple on one rise."""
FEWEST_PEAKS = 3
"""Peaks from which a field counts as oscillating."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What the field does in an interval of time."""

    rate: float
    """gamma, half the slope of log W; negative where the field decays."""
    frequency: float
    """omega, pi over the mean distance of the peaks of W; 0.0 where it has fewer than three."""
    intercept: float
    """log W of the fitted line at time 0: W ~ exp(intercept + 2 rate t)."""
    peaks: int
    """Peaks of W in the interval."""


def fit_growth(times: ArrayLike, energy: ArrayLike, window: tuple[float, float]) -> Growth | None:
    """Fit gamma and omega to the energy of the field in an interval of time.

    Args:
        times: (n,), increasing.
        energy: (n,) W at these times; values that are not positive are left out.
        window: the interval, both ends within.

    Returns:
        The fit; None from fewer than two points.
    """
    t, w = np.asarray(times, dtype=float), np.abs(np.asarray(energy, dtype=float))
    slack = 1e-9 * (window[1] - window[0])
    inside = (t >= window[0] - slack) & (t <= window[1] + slack) & (w > 0)
    t, log = t[inside], np.log(w[inside])
    if len(t) < 2:
        return None
    when, height = _peaks(t, log)
    if len(when) < FEWEST_PEAKS:
        rate, intercept = _line(t, log)
        return Growth(rate=rate / 2, frequency=0.0, intercept=intercept, peaks=len(when))
    rate, intercept = _line(when, height)
    frequency = math.pi * (len(when) - 1) / (when[-1] - when[0])
    return Growth(rate=rate / 2, frequency=float(frequency), intercept=intercept, peaks=len(when))


def _line(t: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Slope, and value at time 0, by least squares."""
    away = t - t.mean()
    slope = float(away @ values / (away @ away))
    return slope, float(values.mean() - slope * t.mean())


def _apart(values: np.ndarray, tops: np.ndarray) -> np.ndarray:
    """The maxima that are left when of each two without a dip between them only the higher one stays."""
    kept: list[int] = []
    for top in map(int, tops):
        while kept and values[kept[-1] : top].min() > min(values[kept[-1]], values[top]) + math.log(DIP):
            if values[top] <= values[kept[-1]]:
                break
            kept.pop()
        else:
            kept.append(top)
    return np.array(kept, dtype=int)


def _peaks(t: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times and heights of the peaks between the ends: vertices of the parabolas through three points."""
    top = _apart(values, 1 + np.flatnonzero((values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])))
    before, after = t[top] - t[top - 1], t[top + 1] - t[top]
    fall_before, fall_after = (values[top - 1] - values[top]) / before, (values[top + 1] - values[top]) / after
    curvature = (fall_before + fall_after) / (before + after)  # < 0
    slope = fall_after - curvature * after
    return t[top] - slope / (2 * curvature), values[top] - slope**2 / (4 * curvature)
