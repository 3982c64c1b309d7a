"""The comparison of a run: what its ensembles and its PDE solution say about each other, as figures and table rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np

from limitpde.compare import rates
from limitpde.compare.cloud_functions import ObservedCloud
from limitpde.compare.measured import MeasuredEnsemble, MeasuredSolution, at_times
from limitpde.compare.rates import Statistic
from limitpde.compare.statistics import ResidualStatistics, deviation, mean_and_stderr

Row = dict[str, Any]


class Labelled(Protocol):
    """A test function, as far as its name goes."""

    @property
    def label(self) -> str:
        """Name for tables and pictures."""


ROUNDING = 1e-12
"""Share of the observables up to which W is rounding, and has no rate."""
FAR_ABOVE = 3.0
"""How many times the error of the particles' step W must be for its rate to be held against the theory."""
NOISE = -0.5
"""Power of N with which independent noise falls."""
OUTWEIGHS = {rates.mean_abs: 0.5, rates.rms: 0.25}
"""Spread of W over its mean up to which a statistic has the power of the mean: to 0.006 for |W|, to 0.016 for squares,
for Gaussian W and numbers N that differ by four."""
SURE = 2.0
"""Standard errors by which the mean is taken smaller than it was seen, as seeds with a large one would be chosen."""
TREND = 0.1
"""By how much the power of N that bias and noise of W have together may differ from that of the theory."""
RATES = {"residual_mean_abs": rates.mean_abs, "residual_rms": rates.rms}


class Comparison:
    """Ensembles against each other and against a solution.

    Args:
        functions: the P test functions.
        ensembles: what was simulated, one for each N; may be empty.
        solution: the residual of the PDE's solution, if it was solved.

    Keyword Args:
        rate_theory: power of N that the theory predicts for the residual of the particles of the theorem; None where
            it predicts none.
        in_theory: whether the case meets the assumptions of the theorem, whatever the particles.
        floors: (P,) errors of W - A by the particles' step, which do not fall with N; zero by default.
        unjudged: why rates are not to be held against the theory, if that is so.
    """

    def __init__(
        self,
        functions: Sequence[Labelled],
        ensembles: Sequence[MeasuredEnsemble],
        solution: MeasuredSolution | None,
        *,
        rate_theory: float | None,
        in_theory: bool = True,
        floors: np.ndarray | None = None,
        unjudged: str = "",
    ) -> None:
        self._functions, self._ensembles, self._solution = functions, ensembles, solution
        self._rate_theory, self._in_theory, self._unjudged = rate_theory, in_theory, unjudged
        self._floors = np.zeros(len(functions)) if floors is None else floors

    def figures(self) -> Row:
        """The part `compare` of summary.json; None stands for a figure that does not apply."""
        found: Row = {}
        if self._ensembles:
            found["residual"] = list(self._residuals())
            found["observables"] = list(self._observables())
        if self._solution is not None:
            last = self._solution.values[-1]
            found["pde_residual"] = [{**self._names(p), "residual": float(last[p])} for p in self._numbers]
        return found

    @property
    def _numbers(self) -> range:
        return range(len(self._functions))

    def _names(self, p: int) -> Row:
        return {"test_function": p, "label": self._functions[p].label}

    def _residuals(self) -> Iterator[Row]:
        for ensemble in self._ensembles:
            variation = ensemble.quadratic_variation
            for p in self._numbers:
                statistics = ResidualStatistics.of(
                    ensemble.residual[:, p, -1],
                    compensator=ensemble.compensator[:, p],
                    quadratic_variation=None if variation is None else variation[:, p],
                    scale=float(np.abs(ensemble.observables[:, p]).max()),
                )
                if statistics is not None:
                    if np.isnan(ensemble.noise[:, p]).all():  # nothing to test
                        statistics = replace(statistics, mean_deviation=math.nan, variance_deviation=None)
                    names = {"N": ensemble.count, **self._names(p), "replicas": len(ensemble.replicas)}
                    yield {**names, "in_theory": ensemble.in_theory and self._in_theory, **asdict(statistics)}

    def _observables(self) -> Iterator[Row]:
        for ensemble in self._ensembles:
            names, known = [{"test_function": p} for p in self._numbers], self._solution
            seen = None if known is None else at_times(known.times, known.observables, ensemble.times)
            yield from _side_by_side(ensemble, ensemble.observables, names, seen)

    def rates(self) -> Iterator[Row]:
        """Fitted powers of N, with what the theory predicts."""
        counts = [ensemble.count for ensemble in self._ensembles]
        as_in_theory = all(ensemble.in_theory for ensemble in self._ensembles)
        for quantity, statistic in RATES.items():
            for p in self._numbers:
                samples = [ensemble.residual[:, p, -1] for ensemble in self._ensembles]
                if any(self._is_rounding(ensemble, p) for ensemble in self._ensembles):
                    continue
                rate = rates.fit_rate(counts, samples, statistic)
                if rate is None:
                    continue
                doubt, found = self._doubt(p), {"quantity": quantity, "test_function": p, **asdict(rate)}
                theory = self._rate_theory if as_in_theory and not doubt else None
                early = "" if theory is None else self._early(p, statistic)
                yield found | {"theory": theory, "unjudged": doubt or early or None}

    def _doubt(self, p: int) -> str:
        """Why the rate of W of a test function says nothing of the theory, if that is so."""
        largest = max(self._ensembles, key=lambda ensemble: ensemble.count)
        size, floor = float(np.abs(largest.residual[:, p, -1]).mean()), float(self._floors[p])
        if not floor * FAR_ABOVE > size:
            return self._unjudged or self._mixed(p)
        return f"W of N = {largest.count}, {size:.2g}, is near the error of the particles' step, up to {floor:.2g}"

    def _early(self, p: int, statistic: Statistic) -> str:
        """Why the numbers N are too small for the theory's power, if that is one of a mean, below the noise's."""
        if self._rate_theory is None or self._rate_theory >= NOISE:
            return ""
        smallest = min(self._ensembles, key=lambda ensemble: ensemble.count)
        sample, most = smallest.residual[:, p, -1], OUTWEIGHS[statistic]
        mean, spread = abs(float(sample.mean())), float(sample.std(ddof=1))
        if spread <= most * (mean - SURE * spread / math.sqrt(len(sample))):
            return ""
        return (
            f"it is the power of the mean of W, and at N = {smallest.count} the spread, {spread:.2g}, is over {most:g} "
            f"of the mean, {mean:.2g}: take larger N"
        )

    def _mixed(self, p: int) -> str:
        """Of particles of a theorem that allows a bias A: why W does not fall like the largest of its terms yet."""
        theory, terms = self._rate_theory, []
        if theory is None:
            return ""
        for ensemble in self._ensembles:
            variation, bias = ensemble.quadratic_variation, ensemble.compensator[:, p]
            if variation is None or not bias.any():
                return ""
            terms.append(float((bias**2 + variation[:, p]).mean()))
        slope = 0.5 * float(np.polyfit(np.log([ensemble.count for ensemble in self._ensembles]), np.log(terms), 1)[0])
        if abs(slope - theory) <= TREND:
            return ""
        return f"at these N the terms of W together go like N^{slope:.2g}, not yet like N^{theory:g}"

    @staticmethod
    def _is_rounding(ensemble: MeasuredEnsemble, p: int) -> bool:
        """Whether W is zero up to rounding, as for a test function whose balance the particles keep exactly."""
        size = float(np.abs(ensemble.observables[:, p]).max(initial=0.0))
        return float(np.abs(ensemble.residual[:, p]).max(initial=0.0)) <= ROUNDING * size

    def residual_rows(self) -> Iterator[Row]:
        """Rows of residuals.csv: W[t, phi] of each replica at the output times, and of the solution at its steps."""
        for e in self._ensembles:
            for i, replica in enumerate(e.replicas):
                for p in self._numbers:
                    for k, t in enumerate(e.times):
                        names = {"system": "particles", "N": e.count, "replica": int(replica), "test_function": p}
                        yield {**names, "t": float(t), "residual": float(e.residual[i, p, k])}
        if self._solution is not None:
            for t, values in zip(self._solution.times, self._solution.values, strict=True):
                for p, value in enumerate(values):
                    names = {"system": "pde", "N": "", "replica": "", "test_function": p}
                    yield {**names, "t": float(t), "residual": float(value)}


def _side_by_side(
    ensemble: MeasuredEnsemble, values: np.ndarray, names: Sequence[Row], solution: np.ndarray | None
) -> Iterator[Row]:
    """Rows of values (R, P, T) of the particles beside those of the solution, (P, T), if it was solved."""
    mean, error = mean_and_stderr(values)
    seen = np.full_like(mean, math.nan) if solution is None else solution
    for p, name in enumerate(names):
        for k, t in enumerate(ensemble.times):
            row: Row = {"N": ensemble.count, **name, "t": float(t), "mean": float(mean[p, k])}
            row["replicas"] = len(ensemble.replicas)
            row["stderr"] = None if error is None else float(error[p, k])
            row["pde"] = None if math.isnan(seen[p, k]) else float(seen[p, k])
            if row["pde"] is not None:
                row["deviation"] = deviation(values[:, p, k] - row["pde"])
            yield row


def own_rows(
    labels: Sequence[str], ensembles: Sequence[MeasuredEnsemble], solution: ObservedCloud | None
) -> Iterator[Row]:
    """Rows of the user's own observables, (Q,) names: of both sides, or of the solution where that is all there is."""
    names = [{"observable": label} for label in labels]
    for e in ensembles:
        seen = None if solution is None else at_times(solution.times, solution.values, e.times)
        yield from _side_by_side(e, e.own_observables, names, seen)
    if solution is not None and not ensembles:
        for t, values in zip(solution.times, solution.values, strict=True):
            for name, value in zip(names, values, strict=True):
                yield {**name, "t": t, "pde": float(value)}


def rate_row(rate: Row) -> Row:
    """The row of rates.csv of a fitted rate."""
    names = {"quantity": rate["quantity"], "test_function": rate["test_function"], "slope": rate["slope"]}
    theory = "" if rate["theory"] is None else rate["theory"]
    interval = {f"slope_{end}": "" if math.isnan(rate[end]) else rate[end] for end in ("low", "high")}
    return {**names, **interval, "theory": theory}
