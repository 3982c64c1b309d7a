"""What the means of N particles tend to: fits of a + b / N over the particle numbers, by test function and time.

The mean of int phi dL^N of a mean-field system is that of the limit and a term b / N; or b N^-r with r < 1 where the
strengths of the particles come to those of the limit so slowly, and 1 / N is then among the bounds. Where strengths
have no limit there is no law in N either, and the largest N stands for itself. The weights of the fit are N R, as if
variances were like 1 / N (they do not depend on what was drawn, so that a is unbiased); its error is that of the
samples as they are, with Welch's degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limitpde.compare.measured import MeasuredEnsemble
from limitpde.compare.statistics import welch

UNKNOWN_BIAS = 4.0
"""|b| that is allowed for where one N alone was simulated, as a multiple of max |phi| times the mass: more than twice
what strongly interacting charges have (gamma_bar = 32 sigma^2)."""
UNSEEN = 3.0
"""Particles that all replicas together may have missed where they show less than one: the rule of three."""


@dataclass(frozen=True, slots=True)
class Extrapolated:
    """Int phi dL^N_t at N = infinity, for P test functions and T times: (P, T) each."""

    value: np.ndarray
    """a."""
    stderr: np.ndarray
    """Its standard error; NaN with fewer than two replicas."""
    degrees: np.ndarray
    """Of freedom of that error; infinite where nothing spreads."""
    correction: np.ndarray
    """a less the mean of the largest N."""
    misfit: np.ndarray
    """Probability that means lie so far from any a + b / N by chance; 1 with fewer than three N."""
    bias: np.ndarray
    """Bound of what N leaves in a beyond b / N: of one N alone b / N itself, else a second-order term."""


def extrapolate(
    ensembles: Sequence[MeasuredEnsemble], scale: float | np.ndarray, powers: Sequence[float] = (-1.0,)
) -> Extrapolated:
    """Extrapolate what was observed of ensembles of different N to N = infinity.

    Args:
        ensembles: one for each N.
        scale: max |phi| times the mass, (P, 1) or one for all.
        powers: of N, of what N leaves in the means: the first one is fitted, the others are bounded; none where there
            is no law in N.
    """
    if not powers:
        ensembles, powers = [max(ensembles, key=lambda ensemble: ensemble.count)], (-1.0,)
    counts = np.array([ensemble.count for ensemble in ensembles], dtype=float)
    sizes = np.array([len(ensemble.replicas) for ensemble in ensembles])
    means = np.stack([ensemble.observables.mean(axis=0) for ensemble in ensembles])  # (K, P, T)
    if sizes.min() < 2:
        spread = np.full_like(means, math.nan)
    else:
        spread = np.stack([ensemble.observables.var(axis=0, ddof=1) for ensemble in ensembles])
        one = (scale / counts[:, None, None]) ** 2 / sizes[:, None, None]  # of a particle in one of the replicas
        spread = np.where(spread < 0.5 * one, UNSEEN**2 * one, spread)
    variances = spread / sizes[:, None, None]
    inverse = counts ** powers[0]
    weights, slopes = fit_weights(counts, sizes, inverse)
    parts = weights[:, None, None] ** 2 * variances
    value = np.tensordot(weights, means, 1)
    return Extrapolated(
        value=value,
        stderr=np.sqrt(parts.sum(axis=0)),
        degrees=np.full_like(value, math.inf) if sizes.min() < 2 else welch(parts, sizes),
        correction=value - means[counts.argmax()],
        misfit=_misfit(inverse, means, variances, sizes),
        bias=_second_order(inverse, weights, np.tensordot(slopes, means, 1), scale)
        + UNKNOWN_BIAS * scale * sum(abs(float(weights @ counts**power)) for power in powers[1:]),
    )


def fit_weights(counts: np.ndarray, sizes: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Weights w, (2, K), of the fit: a and b are sums of w_k mean_k; of one N, a is its mean and b unknown, zero.

    Args:
        counts: N, (K,).
        sizes: replicas, (K,).
        inverse: 1 / N, or N^-r, (K,).
    """
    if len(counts) == 1:
        return np.array([[1.0], [0.0]])
    design = np.stack([np.ones_like(counts), inverse], axis=1)
    weighted = design * (counts * sizes)[:, None]
    return np.asarray(np.linalg.solve(design.T @ weighted, weighted.T))


def _second_order(inverse: np.ndarray, weights: np.ndarray, b: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """What c / N^2 does to a, with |c| up to 3 b^2 / scale: strong charges, N = 20 and 40, have 0.9 of that."""
    if len(inverse) == 1:
        return np.broadcast_to(UNKNOWN_BIAS * scale * float(inverse[0]), b.shape).copy()
    return np.asarray(3 * b**2 / scale * abs(float(weights @ inverse**2)))


def _misfit(inverse: np.ndarray, means: np.ndarray, variances: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Probability of means as far from the best a + b / N as these, (P, T)."""
    degrees = len(inverse) - 2
    if degrees < 1 or not np.all(variances > 0):
        return np.ones(means.shape[1:])
    from scipy.special import fdtrc

    root = 1 / np.sqrt(variances)
    ones, falls = root, root * inverse[:, None, None]
    aa, ab, bb = (ones**2).sum(0), (ones * falls).sum(0), (falls**2).sum(0)
    ya, yb, yy = (root * means * ones).sum(0), (root * means * falls).sum(0), ((root * means) ** 2).sum(0)
    explained = (bb * ya**2 - 2 * ab * ya * yb + aa * yb**2) / (aa * bb - ab**2)
    return np.asarray(fdtrc(degrees, (sizes - 1).sum(), np.maximum(yy - explained, 0.0) / degrees))
