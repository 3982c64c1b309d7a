"""Statistics of the weak-form residual over independent replicas.

A is what W should be but for the noise M. Particles without noise leave M = W - A to rounding and to the errors of the
time steps, which are no sample of anything: a deviation in standard errors would point at the smallest rounding. So
differences up to a share NEGLIGIBLE of the observables, of which W is a difference, count as zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

NEGLIGIBLE = 1e-8
"""Share of the observables up to which the difference of W and A counts as zero."""


@dataclass(frozen=True, slots=True)
class ResidualStatistics:
    """Mean and spread of W = A + M over replicas, and what the theory predicts for them.

    A is what W should be but for the noise (zero for particles of the limit's own drift and diffusivity), M a
    martingale, of quadratic variation Q where that is known: E M^2 = E Q. Particles without noise have M = 0.
    """

    mean: float
    """Mean of W."""
    stderr: float
    """Standard error of the mean."""
    mean_abs: float
    """Mean of |W|, the quantity of the theorems."""
    rms: float
    """Root of the mean of W^2."""
    rms_stderr: float
    """Standard error of it."""
    variance: float
    """Unbiased variance of W."""
    variance_stderr: float
    """Standard error of the variance, from the fourth moment."""
    theory_mean: float
    """Mean of A."""
    mean_deviation: float
    """Mean of M, in its standard errors; NaN where M is negligible."""
    theory_variance: float | None
    """Mean of Q: the variance of W where A = 0, of M always; None where the theory knows no Q."""
    variance_deviation: float | None
    """Mean of M^2 - Q, in its standard errors."""

    @classmethod
    def of(
        cls,
        residual: np.ndarray,
        *,
        compensator: np.ndarray,
        quadratic_variation: np.ndarray | None,
        scale: float = 0.0,
    ) -> ResidualStatistics | None:
        """Statistics of W, A and (where it is known) Q over replicas, (R,) each; none from fewer than two replicas.

        `scale` is the size of the observables.
        """
        n = len(residual)
        if n < 2:
            return None
        martingale = _difference(residual, compensator, scale)
        variance, variance_stderr = variance_and_stderr(residual)
        rms = float(np.sqrt((residual**2).mean()))
        return cls(
            mean=float(residual.mean()),
            stderr=math.sqrt(variance / n),
            mean_abs=float(np.abs(residual).mean()),
            rms=rms,
            rms_stderr=float((residual**2).std(ddof=1)) / (2 * rms * math.sqrt(n)) if rms > 0 else 0.0,
            variance=variance,
            variance_stderr=variance_stderr,
            theory_mean=float(compensator.mean()),
            mean_deviation=deviation(martingale),
            theory_variance=None if quadratic_variation is None else float(quadratic_variation.mean()),
            variance_deviation=None if quadratic_variation is None else deviation(martingale**2 - quadratic_variation),
        )


def _difference(residual: np.ndarray, compensator: np.ndarray, scale: float) -> np.ndarray:
    """W - A of each replica, (R,); zeros where none of them is more than negligible."""
    difference = residual - compensator
    size = max(scale, float(np.abs(residual).max()), float(np.abs(compensator).max()))
    return difference if np.abs(difference).max() > NEGLIGIBLE * size else np.zeros_like(difference)


def deviation(values: np.ndarray) -> float:
    """The mean of independent values (R,) in its standard errors; NaN where they do not spread."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()) / error if error > 0 else math.nan


def student(probability: float, degrees: float | np.ndarray) -> np.ndarray:
    """Student's quantile, also for infinite degrees of freedom."""
    from scipy.special import ndtri, stdtrit  # scipy.stats would take half a second to load

    normal = np.isinf(degrees)
    return np.where(normal, ndtri(probability), stdtrit(np.where(normal, 1.0, degrees), probability))


def welch(variances: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Welch's degrees of freedom of sums of independent parts, (...); infinite without a variance.

    Args:
        variances: of the parts, as estimated from samples, (K, ...).
        sizes: of these samples, (K,).
    """
    below = np.tensordot(1 / (sizes - 1), variances**2, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, variances.sum(axis=0) ** 2 / below, math.inf)


def mean_and_stderr(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean over the first axis (replicas) and its standard error; no error from fewer than two replicas."""
    error = values.std(axis=0, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None
    return values.mean(axis=0), error


def variance_and_stderr(values: np.ndarray) -> tuple[float, float]:
    """Unbiased variance of independent values (R,), R >= 2, and its standard error, from the fourth moment."""
    n, variance = len(values), float(values.var(ddof=1))
    fourth = float(((values - values.mean()) ** 4).mean())
    return variance, math.sqrt(max(fourth - variance**2 * (n - 3) / (n - 1), 0.0) / n)


def covariance_and_stderr(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Unbiased covariance of independent pairs of values (R,), R >= 2, and its standard error."""
    products = (first - first.mean()) * (second - second.mean()) * len(first) / (len(first) - 1)
    return float(products.mean()), float(products.std(ddof=1)) / math.sqrt(len(first))


def mean_figures(values: np.ndarray) -> dict[str, Any]:
    """Mean and standard error over the first axis (replicas), as numbers or lists for summary.json."""
    mean, error = mean_and_stderr(values)
    return {"mean": mean.tolist(), "stderr": None if error is None else error.tolist()}


def by_axis(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Vectors (R, T, d) as d series (R, T), named after their axes."""
    return {f"{name}_{axis}": values[..., k] for k, axis in enumerate("xyz"[: values.shape[2]])}
