"""The Stosszahlansatz (Hammond, Proposition 4.1): the rate at which pairs react, over beta(n, m) int int f_n f_m.

The ratio is not one at finite eps: particles at a distance r << sqrt(D t) from each other have the pair density
f_n f_m (1 - a eps / r) (d = 3, a the scattering length), which the product of candidate densities, a mean over pairs
within 2 delta, sees as f_n f_m (1 - kappa a eps / delta), kappa = int int eta eta / |x - y|. So the ratio exceeds one
by about kappa a eps / delta (`excess`), and tends to one as eps -> 0 before delta -> 0.

Kin, a particle and one that was split off it, are left out: they start within the range of each other, and are no part
of f_n f_m, whatever eps; the limit has them in its rate of splitting. Their share of all rates is `kin_share`.

How sure a ratio is follows from the reactions that have happened, K: replicas without one say nothing, and a rate that
comes of one encounter is that of this encounter in all of its parts. Their number is a Poisson variable but for what
replicas differ by, so that [chi2(2.5 %, 2K), chi2(97.5 %, 2K + 2)] / 2 holds its mean (Garwood 1936).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from limitpde.coagulation.interaction import Bump
from limitpde.coagulation.model import Model
from limitpde.coagulation.particles import Ensemble
from limitpde.coagulation.rates import naive, propensity, scattering_length, share_at
from limitpde.compare.comparison import Row
from limitpde.compare.statistics import mean_and_stderr

LEAST_EVENTS = 20
"""Reactions below which there is no ratio, only an interval: of 20 it is from 0.6 to 1.5 of what is measured."""
MANY_EVENTS, MANY_REPLICAS = 100, 8
"""Reactions, and replicas with one, from which the spread over the replicas alone tells the error."""


def pair_ratios(model: Model, ensembles: Sequence[Ensemble], deltas: Sequence[float | None]) -> Iterator[Row]:
    """Both sides of Proposition 4.1 with J = 1, for all pairs n <= m of which there were any."""
    if model.interaction is None:
        return
    beta = propensity(model)
    for ensemble in ensembles:
        few = ensemble.pair_rates.shape[1]
        for n, m in itertools.combinations_with_replacement(range(1, few + 1), 2):
            pair = np.array([n]), np.array([m])
            rate, bound = float(beta(*pair)[0]), float(naive(model, *pair)[0])
            for k, delta in enumerate(deltas):
                product = ensemble.pair_products[:, k, n - 1, m - 1]
                if product.mean() > 0 and rate > 0:
                    names = {"N": ensemble.count, "n": n, "m": m, "delta": delta, "replicas": len(ensemble.replicas)}
                    found = _row(ensemble, n, m, rate * product)
                    ratio = found["ratio"]
                    naive_ratio = None if ratio is None else ratio * rate / bound
                    excess = _excess(model, n, m, ensemble.log_eps, delta)
                    yield {**names, **found, "excess": excess, "naive_ratio": naive_ratio}


def _row(ensemble: Ensemble, n: int, m: int, predicted: np.ndarray) -> Row:
    """The ratio of one pair of masses, and how sure it is; predicted: (R,)."""
    measured, kin = (rates[:, n - 1, m - 1] for rates in (ensemble.pair_rates, ensemble.kin_rates))
    events = ensemble.pair_events[:, n - 1, m - 1]
    count, error = int(events.sum()), mean_and_stderr(measured)[1]
    both = float(measured.mean() + kin.mean())
    expected = predicted.sum() * ensemble.count / ensemble.Z / (2 if n == m else 1)  # reactions, if the ratio is one
    low, high = (bound / float(expected) for bound in poisson_interval(count))
    found: Row = {
        "events": count,
        "measured": float(measured.mean()),
        "measured_stderr": None if error is None else float(error),
        "predicted": float(predicted.mean()),
        "kin_share": float(kin.mean()) / both if both > 0 else 0.0,
    }
    if count < LEAST_EVENTS:
        return found | {"ratio": None, "ratio_stderr": None, "low": low, "high": high}
    ratio = float(measured.mean() / predicted.mean())
    stderr, half = _spread(measured, predicted, ratio)
    low, high = (ratio * bound / count for bound in poisson_interval(count))
    many = np.count_nonzero(events) >= MANY_REPLICAS
    if many and count >= MANY_EVENTS:
        low, high = ratio - half, ratio + half
    else:
        stderr = max(ratio / math.sqrt(count), stderr if many else 0.0)
        low, high = (min(low, ratio - half), max(high, ratio + half)) if many else (low, high)
    return found | {"ratio": ratio, "ratio_stderr": stderr, "low": low, "high": high}


def poisson_interval(count: int) -> tuple[float, float]:
    """The 95 % interval of the mean of a Poisson variable of which `count` was seen."""
    from scipy.stats import chi2

    low = float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    return low, float(chi2.ppf(0.975, 2 * count + 2)) / 2


def _spread(above: np.ndarray, below: np.ndarray, ratio: float) -> tuple[float, float]:
    """Standard error to first order of the ratio of the means of values (R,), and half its 95 % interval."""
    error = mean_and_stderr(above - ratio * below)[1]
    if error is None:
        return math.inf, math.inf
    from scipy.stats import t as student

    stderr = float(error) / float(below.mean())
    return stderr, stderr * float(student.ppf(0.975, len(above) - 1))


@functools.cache
def inverse_distance() -> float:
    """kappa = int int eta(x) eta(y) / |x - y| in three dimensions, by Newton's theorem for shells."""
    nodes, weights = np.polynomial.legendre.leggauss(120)
    r, weights = (nodes + 1) / 2, weights / 2
    eta = Bump(alpha=1.0).profile
    within = np.array([weights @ (a * 4 * math.pi * (a * r) ** 2 * eta(a * r, 3)) for a in r])
    return float(2 * weights @ (4 * math.pi * r * eta(r, 3) * within))


def _excess(model: Model, n: int, m: int, log_eps: float, delta: float | None) -> float | None:
    """By how much the ratio of the Stosszahlansatz should exceed one to first order in eps / delta, d = 3.

    That of P_{N,beta} is below one as far as its rate at eps is below that of the limit.
    """
    if model.dimension != 3 or delta is None:
        return None
    pair = np.array([n]), np.array([m])
    length = float(scattering_length(model, *pair, log_eps=log_eps)[0])
    return share_at(model, n, m, log_eps) * (1 + inverse_distance() * length * math.exp(log_eps) / delta) - 1
