"""Statistics of the weak-form residual over independent replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ResidualStatistics:
    """Mean and spread of W over replicas, and what the theory predicts for them."""

    mean: float
    """Mean of W."""
    stderr: float
    """Standard error of the mean."""
    mean_abs: float
    """Mean of |W|, the quantity of the theorems."""
    rms: float
    """Root of the mean of W^2."""
    variance: float
    """Unbiased variance of W."""
    variance_stderr: float
    """Standard error of the variance, from the fourth moment."""
    theory_mean: float
    """Mean that the model predicts: 0 for the right limit equation."""
    theory_variance: float
    """Variance that the martingale property predicts."""

    @classmethod
    def of(cls, residual: np.ndarray, *, theory_mean: float, theory_variance: float) -> ResidualStatistics | None:
        """Statistics of W over replicas (R,); none from fewer than two replicas."""
        n = len(residual)
        if n < 2:
            return None
        mean, variance = residual.mean(), residual.var(ddof=1)
        fourth = ((residual - mean) ** 4).mean()
        spread = max(fourth - variance**2 * (n - 3) / (n - 1), 0.0) / n
        return cls(
            mean=float(mean),
            stderr=math.sqrt(variance / n),
            mean_abs=float(np.abs(residual).mean()),
            rms=float(np.sqrt((residual**2).mean())),
            variance=float(variance),
            variance_stderr=math.sqrt(spread),
            theory_mean=theory_mean,
            theory_variance=theory_variance,
        )


def mean_and_stderr(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean over the first axis (replicas) and its standard error; no error from fewer than two replicas."""
    error = values.std(axis=0, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None
    return values.mean(axis=0), error
