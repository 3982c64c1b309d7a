"""Theorem 4.8 (Neiss and Pickl) from a case: beta_N(t) measured, beside the theorem's bound.

`compare.counting` of summary.json; `limitpde.vlasov.hamiltonian.trajectories` says how beta_N is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
from mpi4py import MPI

from limitpde.compare.comparison import Row
from limitpde.compare.rates import fit_rate, mean
from limitpde.compare.spatial import evaluate_all
from limitpde.compare.test_functions import GaussianBump, Wave, by_kind, on_torus
from limitpde.sections import keywords
from limitpde.vlasov.case import Case
from limitpde.vlasov.counting_section import Counting
from limitpde.vlasov.hamiltonian.bounds import potential_bound
from limitpde.vlasov.hamiltonian.counting import beta, theorem_rate
from limitpde.vlasov.hamiltonian.grid_state import GridState
from limitpde.vlasov.hamiltonian.hvl import Hvl
from limitpde.vlasov.hamiltonian.many_body_starts import ManyBodyStart
from limitpde.vlasov.hamiltonian.mean_field_bound import POINTS, Norms, a_priori, gronwall
from limitpde.vlasov.hamiltonian.trajectories import Excitations, excitations
from limitpde.vlasov.initial import Start
from limitpde.vlasov.model import Model
from limitpde.vlasov.pde import Solver

Z95 = 1.96
"""Standard errors on either side of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What was measured of one N."""

    start: ManyBodyStart
    times: tuple[float, ...]
    """Ascending, the first one 0."""
    states: Sequence[GridState]
    """alpha at these times."""
    found: Sequence[Excitations]
    """The law of k at these times."""

    @property
    def particles(self) -> int:
        """N."""
        return self.found[0].particles


def counting_figures(case: Case, comm: MPI.Comm) -> Row:
    """What a case asks for, for the part `compare` of summary.json. Collective.

    Returns:
        `counting`: a list over N, t and lambda; `counted`: over N and t; `marginals`: over N, t and the test functions;
        `counting_rates`: powers of N of beta_N at the last time. Nothing where the case does not ask for it.
    """
    counting = case.compare.counting if case.compare is not None else None
    if counting is None or case.pde is None:
        return {}
    model = replace(case.model, form="hamiltonian")
    solver = Solver(model, case.initial, **keywords(case.pde, leave_out=("fit",)), comm=comm)
    times = (0.0, *(counting.times or (case.time.end,)))
    states = list(_states(solver, times, comm))
    start = ManyBodyStart(Start(case.initial, model), model, counting.start, states[0])
    functions = by_kind(case.test_functions)[0]
    measure = partial(
        excitations, model, start, step=counting.step, order=counting.order, levels=counting.levels, comm=comm
    )
    counted = [
        Counted(
            start,
            times,
            states,
            [
                measure(
                    state, time=t, particles=N, replicas=counting.replicas, test_functions=functions, seed=case.seed
                )
                for t, state in zip(times, states, strict=True)
            ],
        )
        for N in counting.counts
    ]
    constant, limits = potential_bound(model), [_integrals(state, functions, model) for state in states]
    return {
        "counting": [row for one in counted for row in _beta_rows(one, counting, constant, model.dimension)],
        "counted": [row for one in counted for row in _law_rows(one)],
        "marginals": [row for one in counted for row in _marginal_rows(one, limits)],
        "counting_rates": list(_rates(counted, counting)),
    }


def _states(solver: Solver, times: Sequence[float], comm: MPI.Comm) -> Iterator[GridState]:
    """alpha at these times, ascending from 0, on every rank. Collective."""
    axes = [*solver.space.x_axes, *solver.space.v_axes]
    for t in times:
        if t > 0:
            solver.solve(t)
        assert isinstance(solver.form, Hvl)
        yield GridState(axes, comm.bcast(solver.form.alpha_values()))


def _integrals(state: GridState, functions: Sequence[GaussianBump | Wave], model: Model) -> np.ndarray:
    """int phi |alpha|^2, (P,)."""
    images, sums = on_torus(functions, *model.torus)
    values = sums @ evaluate_all(images, state.nodes())[0] if images else np.empty((0, state.values.size))
    density = np.abs(state.values) ** 2
    return np.array([state.integral(density * phi.reshape(density.shape)) for phi in values])


def _mean(samples: np.ndarray) -> tuple[float, float]:
    """Mean and standard error."""
    return float(samples.mean()), float(samples.std(ddof=1)) / math.sqrt(len(samples))


def _beta_rows(one: Counted, counting: Counting, constant: float, dimension: int) -> Iterator[Row]:
    """beta_N for each time and lambda, its 95 % interval, and the theorem's bounds where Gamma satisfies (Pot)."""
    N, law, first = one.particles, one.start.law(one.particles), one.states[0]
    measured = [
        Norms(state.slope(velocities=True), state.curvature(velocities=True), math.sqrt(found.curvature.mean()))
        for state, found in zip(one.states, one.found, strict=True)
    ]
    known = a_priori(constant, dimension, N, (first.slope(), first.curvature()), one.start.norms(N))
    for k, t in enumerate(one.times):
        for exponent in counting.exponents:
            beta_N, start = one.found[k].beta(exponent), beta(law, exponent)
            (low, high), errors = beta_N.ends, beta_N.errors
            row = {
                "N": N,
                "t": t,
                "lambda": exponent,
                "low": max(low - Z95 * errors[0], 0.0),
                "high": min(high + Z95 * errors[1], 1.0),
                "below": low,
                "above": high,
                "stderr": max(errors),
                "start": start,
                "replicas": len(beta_N.low),
            }
            if math.isfinite(constant) and t > 0:
                bound = partial(gronwall, constant=constant, start=start, particles=N, exponent=exponent)
                times = np.linspace(0.0, t, POINTS).tolist()
                row["log10_bound"] = bound(times, [known(time) for time in times])
                row["log10_bound_measured_norms"] = bound(one.times[: k + 1], measured[: k + 1])
            yield row


def _law_rows(one: Counted) -> Iterator[Row]:
    """The law of k for each time: its first probabilities, E k and E k(k - 1)."""
    for t, found in zip(one.times, one.found, strict=True):
        probabilities = [_mean(column) for column in found.occupied.T]
        yield {
            "N": one.particles,
            "t": t,
            "excited": found.excited,
            "excited_stderr": found.excited_error,
            "pairs": found.pairs,
            "pairs_stderr": found.pairs_error,
            "probabilities": [value for value, _ in probabilities],
            "probabilities_stderr": [error for _, error in probabilities],
        }


def _marginal_rows(one: Counted, limits: Sequence[np.ndarray]) -> Iterator[Row]:
    """Means of test functions of one particle beside int phi |alpha|^2, and by how much they may differ.

    f_N^(1) and |alpha|^2 differ by at most 2 <q_1>^(1/2) in L^1: the trace norm of the one-particle state less the
    projection on alpha is at most that.
    """
    for t, found, limit in zip(one.times, one.found, limits, strict=True):
        for p, value in enumerate(limit):
            average, error = _mean(found.observed[:, p])
            yield {
                "N": one.particles,
                "t": t,
                "test_function": p,
                "mean": average,
                "stderr": error,
                "limit": float(value),
                "bound": 2 * math.sqrt(max(found.excited, 0.0) / one.particles),
            }


def _rates(counted: Sequence[Counted], counting: Counting) -> Iterator[Row]:
    """Powers of N of what encloses beta_N at the last time from above; the theorem's is the slowest that may be."""
    for exponent in counting.exponents:
        samples = [one.found[-1].beta(exponent).high for one in counted]
        rate = fit_rate([one.particles for one in counted], samples, mean)
        if rate is not None:
            yield {"quantity": "beta", "lambda": exponent, **asdict(rate), "theorem": -theorem_rate(exponent)}
