"""Fluctuations: what is said of a predicted variance and of the measured one, and the power of N."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from limitpde.compare.fluctuations import Prediction, covariance_rows, fluctuation_rows, variance_rates
from limitpde.compare.statistics import variance_and_stderr

KNOWN = Prediction(np.array([np.diag([4.0, 1.0])]), np.array([[[0.01, np.nan], [np.nan, np.nan]]]))


def ensemble(count: int, replicas: int, variances: tuple[float, ...], seed: int, *, in_theory: bool = True) -> Any:
    """Gaussian observables (R, P, 2), zero at the start, with N times these variances at the end."""
    rng = np.random.default_rng(seed)
    ends = rng.normal(size=(replicas, len(variances))) * np.sqrt(np.array(variances) / count) + 3.0
    observables = np.stack([np.zeros_like(ends), ends], axis=2)
    return SimpleNamespace(count=count, replicas=np.arange(replicas), observables=observables, in_theory=in_theory)


def test_prediction_from_two_solutions() -> None:
    """Second order: the error is a third of the difference to twice the cells; the estimate is above it."""
    exact, error = np.array([np.diag([2.0, 5.0])]), np.array([np.diag([0.01, -0.02])])
    found = Prediction.of([exact + error, exact + 4 * error], 2.0)
    assert found is not None
    np.testing.assert_allclose(found.covariances, exact, rtol=1e-12)
    np.testing.assert_allclose(found.variances, [2.0, 5.0], rtol=1e-12)
    assert (found.errors >= np.abs(error)).all()
    alone = Prediction.of([exact], 2.0)
    assert alone is not None
    assert np.isnan(alone.errors).all()
    assert Prediction.of([], 2.0) is None


def test_rows_hold_the_variance_and_its_spread() -> None:
    """The right variance deviates like a normal variable; a wrong one is seen."""
    right = [next(fluctuation_rows(["f", "g"], [ensemble(50, 400, (4.0, 1.0), seed)], KNOWN)) for seed in range(200)]
    deviations = np.array([row["deviation"] for row in right])
    assert abs(deviations.mean()) < 4.5 / np.sqrt(200)
    assert 0.8 < deviations.std() < 1.2
    assert np.mean([row["stderr"] for row in right]) == pytest.approx(4.0 * np.sqrt(2 / 399), rel=0.05)
    rows = list(fluctuation_rows(["f", "g"], [ensemble(50, 400, (6.0, 1.0), 1)], KNOWN))
    assert rows[0]["deviation"] > 4.5
    assert rows[0]["variance"] == pytest.approx(6.0, rel=0.3)
    assert [row["label"] for row in rows] == ["f", "g"]


def test_covariances_in_time() -> None:
    """Of Gaussian pairs with a known covariance: intervals hold it as often as they say, and another one is seen."""
    matrix = np.array([[2.0, 0.5, 0.8, 0.3], [0.5, 1.0, -0.4, 0.6], [0.8, -0.4, 1.5, 0.0], [0.3, 0.6, 0.0, 1.0]])
    known, inside = Prediction(np.array([matrix[:2, 2:], matrix[2:, 2:]]), np.zeros((2, 2, 2))), []
    rng = np.random.default_rng(3)
    for _ in range(200):
        values = rng.multivariate_normal(np.ones(4), matrix / 50, size=200).reshape(200, 2, 2)
        one = SimpleNamespace(count=50, replicas=np.arange(200), observables=values.transpose(0, 2, 1), in_theory=True)
        one.times = np.array([0.1, 0.4])
        rows = list(covariance_rows(["f", "g"], (0.1, 0.4), [one], known))
        inside += [row["low"] < row["covariance_theory"] < row["high"] for row in rows]
    assert [(row["t"], row["test_function"], row["test_function_at_end"]) for row in rows[:4]] == [
        (0.1, 0, 0), (0.1, 0, 1), (0.1, 1, 0), (0.1, 1, 1)
    ]  # fmt: skip
    assert [row["covariance_theory"] for row in rows[:4]] == [0.8, 0.3, -0.4, 0.6]
    assert rows[0]["lag"] == pytest.approx(0.3)
    assert 0.92 < np.mean(inside) < 0.97
    wrong = Prediction(known.covariances + 1.0, known.errors)
    assert all(row["deviation"] < -4.5 for row in covariance_rows(["f", "g"], (0.1, 0.4), [one], wrong))
    assert "deviation" not in next(covariance_rows(["f", "g"], (0.1, 0.4), [one], None))


def test_what_has_no_theory_has_no_row() -> None:
    """Other particles, or a single replica."""
    others = [ensemble(50, 400, (4.0, 1.0), 1, in_theory=False), ensemble(60, 1, (4.0, 1.0), 2)]
    assert list(fluctuation_rows(["f", "g"], others, KNOWN)) == []
    assert list(covariance_rows(["f", "g"], (0.4,), others[1:], KNOWN)) == []


def test_power_of_n() -> None:
    """Slope -1 for independent particles, with a theory where there is a prediction."""
    ensembles = [ensemble(count, 400, (4.0, 1.0), count) for count in (16, 64, 256)]
    rates = list(variance_rates(ensembles, KNOWN))
    assert all(rate["low"] < -1.0 < rate["high"] for rate in rates)
    assert {rate["theory"] for rate in rates} == {-1.0}
    assert {rate["theory"] for rate in variance_rates(ensembles, None)} == {None}
    assert list(variance_rates([], None)) == []


def test_standard_error_of_a_variance() -> None:
    """From the fourth moment: of Gaussian and of other values."""
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=(2000, 300)), rng.exponential(size=(2000, 300))):
        found = np.array([variance_and_stderr(row) for row in values])
        assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.15)
