"""Fluctuations of empirical measures about their limit: N Var int phi dL^N_T, predicted and measured; its power of N.

And N Cov(int phi dL^N_s, int psi dL^N_T) at earlier times s.

sqrt(N) (L^N - rho) tends to a Gaussian field where the starts are independent and the forces those of a mean field: its
variances follow from the equation linearised at rho (each system says how). So L^N is deterministic in the limit (van
Meurs-Peletier-Slangen, Remark 5.5): Var int phi dL^N falls like 1/N.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from limitpde.compare.companions import LEAST_ORDER, SAFETY
from limitpde.compare.measured import MeasuredEnsemble
from limitpde.compare.rates import fit_rate, mean_square
from limitpde.compare.statistics import covariance_and_stderr, student, variance_and_stderr

RATE = -1.0
"""Power of N of the variance of a mean over particles that are nearly independent."""
QUANTITY = "observable_variance"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What N Cov(int phi_p dL^N_s, int phi_q dL^N_T) tends to, for P test functions and K times s, the last one T."""

    covariances: np.ndarray
    """(K, P, P)"""
    errors: np.ndarray
    """(K, P, P) of the equation's discretisation, estimated; NaN where not known."""

    @property
    def variances(self) -> np.ndarray:
        """At the end, (P,)."""
        return np.diagonal(self.covariances[-1])

    @classmethod
    def of(cls, levels: Sequence[np.ndarray], order: float) -> Prediction | None:
        """Of a scheme of this order; None of no solution.

        The value is extrapolated; its error is what a scheme of half the order, but at least one, would leave.

        Args:
            levels: from one solution, (K, P, P), or from two, the second one with cells and steps twice as large.
            order: of the scheme.
        """
        if not levels:
            return None
        if len(levels) == 1:
            return cls(levels[0], np.full_like(levels[0], math.nan))
        difference = levels[0] - levels[1]
        seen = max(LEAST_ORDER * order, 1.0)
        return cls(levels[0] + difference / (2**order - 1), SAFETY * np.abs(difference) / (2**seen - 1))


def fluctuation_rows(
    labels: Sequence[str], ensembles: Sequence[MeasuredEnsemble], prediction: Prediction
) -> Iterator[dict[str, Any]]:
    """Rows over N and the test functions: N Var int phi dL^N_T over the replicas, and what it tends to.

    `deviation` is in standard errors of the predicted variance of Gaussian replicas. Ensembles that are not those of
    the theorem, or have one replica, are left out.

    Args:
        labels: names of the P test functions.
        ensembles: what was simulated.
        prediction: of the equation.
    """
    for ensemble in ensembles:
        replicas = len(ensemble.replicas)
        if not ensemble.in_theory or replicas < 2:
            continue
        for p, label in enumerate(labels):
            variance, stderr = variance_and_stderr(ensemble.observables[:, p, -1])
            theory = float(prediction.variances[p])
            expected = theory * math.sqrt(2 / (replicas - 1))
            difference = ensemble.count * variance - theory
            yield {
                "N": ensemble.count,
                "test_function": p,
                "label": label,
                "replicas": replicas,
                "variance_theory": theory,
                "variance_theory_error": float(prediction.errors[-1, p, p]),
                "variance": ensemble.count * variance,
                "stderr": ensemble.count * stderr,
                "deviation": difference / expected if expected > 0 else math.nan,
            }


def covariance_rows(
    labels: Sequence[str], times: Sequence[float], ensembles: Sequence[MeasuredEnsemble], prediction: Prediction | None
) -> Iterator[dict[str, Any]]:
    """Rows over N, earlier times and pairs of test functions: N Cov(int phi_p dL^N_s, int phi_q dL^N_T).

    `low` and `high` are a 95 % interval, `deviation` is in standard errors as the replicas show them. Ensembles with
    one replica are left out.

    Args:
        labels: names of the P test functions.
        times: s, K of them; the last one is the end.
        ensembles: what was simulated, with these among their output times.
        prediction: of the equation, if there is one.
    """
    for ensemble in ensembles:
        replicas = len(ensemble.replicas)
        if replicas < 2:
            continue
        known = prediction if ensemble.in_theory else None
        quantile = float(student(0.975, replicas - 1))
        for k, s in enumerate(times):
            now = int(np.abs(ensemble.times - s).argmin())
            for p, q in itertools.product(range(len(labels)), repeat=2):
                values = ensemble.observables[:, p, now], ensemble.observables[:, q, -1]
                covariance, stderr = (ensemble.count * number for number in covariance_and_stderr(*values))
                row: dict[str, Any] = {"N": ensemble.count, "t": s, "lag": times[-1] - s}
                row |= {"test_function": p, "test_function_at_end": q, "label": labels[p], "label_at_end": labels[q]}
                row |= {"replicas": replicas, "covariance": covariance, "stderr": stderr}
                row |= {"low": covariance - quantile * stderr, "high": covariance + quantile * stderr}
                if known is not None:
                    theory = float(known.covariances[k, p, q])
                    row |= {"covariance_theory": theory, "covariance_theory_error": float(known.errors[k, p, q])}
                    row["deviation"] = (covariance - theory) / stderr if stderr > 0 else math.nan
                yield row


def variance_rates(ensembles: Sequence[MeasuredEnsemble], prediction: Prediction | None) -> Iterator[dict[str, Any]]:
    """Fitted powers of N of Var int phi dL^N_T, one for each test function; with theory where there is a prediction."""
    known = prediction is not None and all(ensemble.in_theory for ensemble in ensembles)
    counts = [ensemble.count for ensemble in ensembles]
    for p in range(ensembles[0].observables.shape[1] if ensembles else 0):
        ends = [ensemble.observables[:, p, -1] for ensemble in ensembles]
        rate = fit_rate(counts, [values - values.mean() for values in ends], mean_square)
        if rate is not None:
            found = {"quantity": QUANTITY, "test_function": p, **asdict(rate)}
            yield found | {"theory": RATE if known else None}
