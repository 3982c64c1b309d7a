"""Convergence rates in N: the slope of log(statistic) against log(N), with Student's interval over replicas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limitpde.compare.statistics import student, welch

CONFIDENCE = 0.95
FEWEST_EVENTS = 5
"""Replicas of each N that must not be zero, where others are, for an interval to be known."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A fitted power of N."""

    slope: float
    """d log(statistic) / d log(N), by least squares."""
    low: float
    """Lower end of the 95 % interval; NaN where it is not known."""
    high: float
    """Upper end of the 95 % interval; NaN where it is not known."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """(E |W|^power)^(1/root) of independent samples of W, or E W."""

    power: int
    root: int = 1
    signed: bool = False
    """W itself in place of |W|."""

    def _moments(self, values: np.ndarray) -> np.ndarray:
        return np.asarray((values if self.signed else np.abs(values)) ** self.power)

    def __call__(self, values: np.ndarray) -> float:
        """Of samples (R,)."""
        found = float(self._moments(values).mean())
        return found if self.root == 1 else found ** (1 / self.root)

    def log_error(self, values: np.ndarray) -> float:
        """Standard error of the log of it, from samples (R,)."""
        moments = self._moments(values)
        return float(moments.std(ddof=1) / (math.sqrt(len(moments)) * moments.mean())) / self.root

    def degrees(self, variances: np.ndarray, sizes: np.ndarray) -> float:
        """Degrees of freedom of a sum of parts with these estimated variances, from samples of these sizes.

        Welch's for |W|. Few squares show less than they spread: there those of the smallest sample. With either, 95 %
        intervals of slopes hold 93 to 98 % for 3 to 200 Gaussian replicas (tests/compare/test_compare.py).
        """
        if self.power > 1:
            return float(sizes.min() - 1)
        return float(welch(variances, sizes))


mean = Statistic(power=1, signed=True)
"""E W."""
mean_abs = Statistic(power=1)
"""E|W|."""
rms = Statistic(power=2, root=2)
"""(E W^2)^(1/2)."""
mean_square = Statistic(power=2)
"""E W^2."""


def fit_rate(counts: Sequence[int], samples: Sequence[np.ndarray], statistic: Statistic) -> Rate | None:
    """Fit a power of N to a statistic of independent samples.

    The interval is Student's for the logs of the statistic. It covers the noise of the samples, not a deviation from a
    power law. It is not known where few samples are not zero, as those of rare events.

    Args:
        counts: particle numbers N, (K,).
        samples: one array of replicas (R_N,) for each N.
        statistic: `mean`, `mean_abs`, `rms` or `mean_square`.

    Returns:
        The rate; None with fewer than two particle numbers or replicas, or a statistic that is not positive.
    """
    logs = np.log(np.asarray(counts, dtype=float))
    sizes = np.array([len(sample) for sample in samples])
    if len(set(counts)) < 2 or sizes.min() < 2 or not all(statistic(sample) > 0 for sample in samples):
        return None
    weights = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
    slope = float(weights @ np.log([statistic(sample) for sample in samples]))
    events = [np.count_nonzero(sample) for sample in samples]
    if any(FEWEST_EVENTS > some < size for some, size in zip(events, sizes, strict=True)):
        return Rate(slope=slope, low=math.nan, high=math.nan)
    variances = (weights * [statistic.log_error(sample) for sample in samples]) ** 2
    quantile = student((1 + CONFIDENCE) / 2, statistic.degrees(variances, sizes))
    half = float(quantile * math.sqrt(variances.sum()))
    return Rate(slope=slope, low=slope - half, high=slope + half)
