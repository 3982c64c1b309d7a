"""What the particles say about the steps of the proof, as entries of summary.json.

- `candidate`: W on the candidate densities, (1.10) with (4.2), over N and delta;
- `martingale`: M_T of (4.1) against its quadratic variation, and the power of N with which E M_T^2 falls, in theory at
  least as fast as eps^(d-2) = Z/N (Proposition 4.2);
- `stosszahlansatz`: the rate at which pairs of masses n, m react, against beta(n, m) int int f_n f_m (Proposition 4.1),
  see `pair_ratios`;
- `corollary_1_3`: E |int_0^T int J (mu_N - f)|;
- `fitted_beta`: see that module.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from limitpde.coagulation.model import Initial, Model
from limitpde.coagulation.particles import Ensemble
from limitpde.coagulation.proof import fitted_beta
from limitpde.coagulation.proof.pair_ratios import pair_ratios
from limitpde.coagulation.residual import PDEResidual
from limitpde.compare.comparison import Row
from limitpde.compare.rates import fit_rate, mean_abs, mean_square
from limitpde.compare.statistics import deviation, mean_and_stderr
from limitpde.domains import Domain
from limitpde.errors import InputError


def comparison_figures(
    model: Model,
    ensembles: Sequence[Ensemble],
    solution: PDEResidual | None,
    *,
    deltas: Sequence[float | None] = (),
    initial: Initial | None = None,
    domain: Domain | None = None,
) -> Row:
    """What this system adds to the part `compare` of summary.json. Not collective.

    Args:
        model: the parameters.
        ensembles: what was simulated, one for each N; may be empty.
        solution: the residual of the equation's solution, if it was solved up to the same time.

    Keyword Args:
        deltas: with which the ensembles were simulated.
        initial: the initial densities, for `fitted_beta`.
        domain: where the particles are, for `fitted_beta`.

    Raises:
        InputError: the ensembles were simulated with another number of deltas.
    """
    if not ensembles:
        return {}
    for ensemble in ensembles:
        if ensemble.residual_by_delta.shape[2] != len(deltas):
            found = ensemble.residual_by_delta.shape[2]
            raise InputError(f"deltas = {list(deltas)}: N = {ensemble.count} was simulated with {found} of them")
    return {
        "candidate": list(_candidates(ensembles, deltas)),
        "martingale": list(_martingales(ensembles)),
        "stosszahlansatz": list(pair_ratios(model, ensembles, deltas)),
        "corollary_1_3": list(_distances(ensembles, solution)),
        "rates": list(_rates(ensembles, solution)),
        "fitted_beta": fitted_beta.rows(model, ensembles, initial, domain),
    }


def _named(ensemble: Ensemble, **names: Any) -> Row:
    return {"N": ensemble.count, **names, "replicas": len(ensemble.replicas)}


def _error(values: np.ndarray) -> float | None:
    """Standard error of the mean of values (R,); none from fewer than two."""
    error = mean_and_stderr(values)[1]
    return None if error is None else float(error)


def _candidates(ensembles: Sequence[Ensemble], deltas: Sequence[float | None]) -> Iterator[Row]:
    """W at the end on the candidate densities of each delta; delta = None is the constant mollifier."""
    for ensemble in ensembles:
        for p in range(ensemble.residual_by_delta.shape[1]):
            for k, delta in enumerate(deltas):
                values = ensemble.residual_by_delta[:, p, k]
                yield {
                    **_named(ensemble, test_function=p, delta=delta),
                    "mean": float(values.mean()),
                    "stderr": _error(values),
                    "mean_abs": float(np.abs(values).mean()),
                }


def _martingales(ensembles: Sequence[Ensemble]) -> Iterator[Row]:
    """M_T and [M]_T: E M_T = 0 and E M_T^2 = E [M]_T."""
    for ensemble in ensembles:
        for p in range(ensemble.martingale.shape[1]):
            values, variation = ensemble.martingale[:, p], ensemble.martingale_variation[:, p]
            tested = not np.isnan(ensemble.noise[:, p]).any()
            yield {
                **_named(ensemble, test_function=p),
                "mean": float(values.mean()),
                "stderr": _error(values),
                "mean_deviation": deviation(values) if tested else None,
                "mean_square": float((values**2).mean()),
                "mean_square_stderr": _error(values**2),
                "quadratic_variation": float(variation.mean()),
                "deviation": deviation(values**2 - variation) if tested else None,
            }


def _end_integral(ensemble: Ensemble, solution: PDEResidual | None) -> np.ndarray | None:
    """int_0^T int phi f of the solution (F,), if it went as far as the particles."""
    if solution is None or not math.isclose(solution.times[-1], ensemble.times[-1], rel_tol=1e-9):
        return None
    return solution.time_integral[-1]


def _distances(ensembles: Sequence[Ensemble], solution: PDEResidual | None) -> Iterator[Row]:
    """int_0^T int phi (mu_N - f), Corollary 1.3."""
    for ensemble in ensembles:
        integral = _end_integral(ensemble, solution)
        if integral is None:
            continue
        for p in range(ensemble.time_integral.shape[1]):
            values = ensemble.time_integral[:, p] - integral[p]
            yield {
                **_named(ensemble, test_function=p),
                "mean_abs": float(np.abs(values).mean()),
                "stderr": _error(np.abs(values)),
                "mean": float(values.mean()),
                "mean_stderr": _error(values),
                "solution": float(integral[p]),
            }


def _rates(ensembles: Sequence[Ensemble], solution: PDEResidual | None) -> Iterator[Row]:
    """Powers of N: E M_T^2 falls as N^-1, the distance of Corollary 1.3 as its noise, N^(-1/2)."""
    counts = [ensemble.count for ensemble in ensembles]
    integrals = [_end_integral(ensemble, solution) for ensemble in ensembles]
    for p in range(ensembles[0].martingale.shape[1]):
        martingales = [ensemble.martingale[:, p] for ensemble in ensembles]
        found = [("martingale_mean_square", fit_rate(counts, martingales, mean_square), -1.0)]
        distances = [e.time_integral[:, p] - i[p] for e, i in zip(ensembles, integrals, strict=True) if i is not None]
        if len(distances) == len(ensembles):
            found.append(("corollary_1_3", fit_rate(counts, distances, mean_abs), -0.5))
        for quantity, rate, theory in found:
            if rate is not None:
                yield {"quantity": quantity, "test_function": p, **asdict(rate), "theory": theory}
