"""Convergence rates in N: the slope of log(statistic) against log(N), with a bootstrap interval over replicas."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """A fitted power of N."""

    slope: float
    """d log(statistic) / d log(N), by least squares."""
    low: float
    """Lower end of the 95 % interval; NaN where it is not known."""
    high: float
    """Upper end of the 95 % interval; NaN where it is not known."""


def mean_abs(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """E|W| of samples along an axis, by default (..., R) -> (...)."""
    return np.asarray(np.abs(values).mean(axis=axis))


def rms(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """(E W^2)^(1/2) of samples along an axis, by default (..., R) -> (...)."""
    return np.asarray(np.sqrt((values**2).mean(axis=axis)))


def mean_square(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """E M^2 of samples along an axis, by default (..., R) -> (...)."""
    return np.asarray((values**2).mean(axis=axis))


def fit_rate(
    counts: Sequence[int], samples: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], *, seed: int
) -> Rate | None:
    """Fit a power of N to a statistic of independent samples.

    The interval is the percentile bootstrap, resampling the replicas of each N. It covers the noise of the samples, not
    a deviation from a power law. It is not known where a statistic is zero on resamples, as that of rare events.

    Args:
        counts: particle numbers N, (K,).
        samples: one array of replicas (R_N,) for each N.
        statistic: maps samples along `axis` to a positive number: `mean_abs`, `rms` or `mean_square`.

    Keyword Args:
        seed: of the resampling.

    Returns:
        The rate; None with fewer than two particle numbers, fewer than two replicas, or a statistic that is zero.
    """
    logs = np.log(np.asarray(counts, dtype=float))
    if len(set(counts)) < 2 or min(len(sample) for sample in samples) < 2:
        return None
    if not all(np.all(statistic(sample) > 0) for sample in samples):
        return None
    from scipy.stats import DegenerateDataWarning, bootstrap

    weights = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()

    def slope(*parts: np.ndarray, axis: int = -1) -> np.ndarray:
        heights = np.stack([np.log(statistic(part, axis=axis)) for part in parts])
        return np.tensordot(weights, heights, axes=1)

    with (
        np.errstate(divide="ignore", invalid="ignore"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DegenerateDataWarning)  # of rare events a resample may hold none
        interval = bootstrap(
            tuple(samples),
            slope,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            vectorized=True,
            method="percentile",
            batch=100,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    known = np.isfinite(interval.low) and np.isfinite(interval.high)
    low, high = (float(interval.low), float(interval.high)) if known else (math.nan, math.nan)
    return Rate(slope=float(slope(*samples)), low=low, high=high)
