"""Fluctuations: what is said of a predicted variance and of the measured one, and the power of N."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from limitpde.compare.fluctuations import Prediction, fluctuation_rows, variance_rates
from limitpde.compare.statistics import variance_and_stderr

KNOWN = Prediction(np.array([4.0, 1.0]), np.array([0.01, np.nan]))


def ensemble(count: int, replicas: int, variances: tuple[float, ...], seed: int, *, in_theory: bool = True) -> Any:
    """Gaussian observables (R, P, 2), zero at the start, with N times these variances at the end."""
    rng = np.random.default_rng(seed)
    ends = rng.normal(size=(replicas, len(variances))) * np.sqrt(np.array(variances) / count) + 3.0
    observables = np.stack([np.zeros_like(ends), ends], axis=2)
    return SimpleNamespace(count=count, replicas=np.arange(replicas), observables=observables, in_theory=in_theory)


def test_prediction_from_two_solutions() -> None:
    """Second order: the error is a third of the difference to twice the cells; the estimate is above it."""
    exact, error = np.array([2.0, 5.0]), np.array([0.01, -0.02])
    found = Prediction.of([exact + error, exact + 4 * error], 2.0)
    assert found is not None
    np.testing.assert_allclose(found.variances, exact, rtol=1e-12)
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


def test_what_has_no_theory_has_no_row() -> None:
    """Other particles, or a single replica."""
    others = [ensemble(50, 400, (4.0, 1.0), 1, in_theory=False), ensemble(60, 1, (4.0, 1.0), 2)]
    assert list(fluctuation_rows(["f", "g"], others, KNOWN)) == []


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
