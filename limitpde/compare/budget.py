"""The error budget of a comparison: what particles and solution may differ by for other reasons than the limit's.

For each test function and output time the difference is d = a - s, a the particles' mean at N = infinity, s that of the
solution. The statistical part of its error is a confidence interval; the others are estimates with a safety factor, and
count as bounds: they are added, not squared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from limitpde.compare.companions import ROUNDING, SAFETY, SolutionErrors
from limitpde.compare.extrapolation import Extrapolated, extrapolate
from limitpde.compare.measured import MeasuredEnsemble, MeasuredSolution, at_times
from limitpde.compare.statistics import mean_and_stderr, student
from limitpde.results.report import SIGNIFICANT

CONFIDENCE = 0.95
POWER = 0.8
"""Probability with which the smallest detectable difference is found."""


@dataclass(frozen=True, slots=True)
class StepErrors:
    """What the time step of the particles does to their means, with its uncertainty."""

    observables: np.ndarray
    """Bound of the error of the mean of int phi dL^N_t, (P, T)."""
    noise: np.ndarray
    """The same of W - A at the end, (P,)."""


def step_errors(whole: MeasuredEnsemble, halved: MeasuredEnsemble, order: float) -> StepErrors | None:
    """Estimate the error of the particles' step from replicas that made each step in two halves.

    Args:
        whole: an ensemble.
        halved: some of its replicas again, with `Controls.halved`.
        order: weak order of the steps.

    Returns:
        The errors; None where the simulation has not halved its steps.
    """
    if not halved.steps > 1.5 * whole.steps:
        return None
    mine = np.searchsorted(whole.replicas, halved.replicas)
    factor = SAFETY * 2**order / (2**order - 1)

    def bound(difference: np.ndarray) -> np.ndarray:
        mean, error = mean_and_stderr(difference)
        if error is None:
            return factor * np.abs(mean)
        return np.asarray(factor * (np.abs(mean) + student(CONFIDENCE, len(difference) - 1) * error))

    observables = bound(halved.observables - whole.observables[mine])
    return StepErrors(np.maximum.accumulate(observables, axis=1), bound(halved.noise - whole.noise[mine]))


@dataclass(frozen=True, slots=True)
class Budget:
    """The difference of particles and solution and its parts, for P test functions and T times.

    All in units of `scale`, max |phi| times the mass; arrays (P, T), NaN where not known.
    """

    times: np.ndarray
    """(T,)"""
    scale: np.ndarray
    """(P, 1)"""
    particles: Extrapolated
    solution: np.ndarray
    step_error: np.ndarray
    """Of the particles' step."""
    errors: SolutionErrors
    """Of the solution, at time 0 as well."""
    domain: float
    """Mass that left, or came where the solution is not that of the limit."""

    @property
    def difference(self) -> np.ndarray:
        """d."""
        return (self.particles.value - self.solution) / self.scale

    @property
    def stderr(self) -> np.ndarray:
        """Standard error of d."""
        return self.particles.stderr / self.scale

    @property
    def bounds(self) -> dict[str, np.ndarray]:
        """The parts that count as bounds, the particles' first."""
        return {
            "finite N": self.particles.bias / self.scale,
            "the particles' step": self.step_error / self.scale,
            **self.solution_parts,
        }

    @property
    def solution_parts(self) -> dict[str, np.ndarray]:
        """Those of the solution."""
        parts = {name: part[:, 1:] / self.scale for name, part in self.errors.parts.items()}
        return parts | {"domain": np.full_like(self.solution, self.domain / self.scale)}

    @property
    def total(self) -> np.ndarray:
        """Sum of the bounds, and rounding, which is all that what is conserved may differ by."""
        return np.asarray(sum(self.bounds.values())) + ROUNDING


def budget(
    ensembles: Sequence[MeasuredEnsemble],
    solution: MeasuredSolution,
    errors: SolutionErrors,
    steps: StepErrors | None,
    *,
    domain: float,
    scale: float | np.ndarray,
    powers: Sequence[float] = (-1.0,),
) -> Budget:
    """The budget at the output times after 0.

    Args:
        ensembles: what was simulated.
        solution: of the equation.
        errors: of the solution at the output times, that at 0 among them.
        steps: errors of the particles' step, where they were estimated.

    Keyword Args:
        domain: mass that is not where it belongs.
        scale: max |phi| times the mass, (P,) or one for all.
        powers: of N, with which the particles' means come to their limit (`extrapolate`).
    """
    times = ensembles[0].times
    known = at_times(solution.times, solution.observables, times)
    scales = np.broadcast_to(scale, len(known))[:, None]
    limit = extrapolate(ensembles, scales, powers)
    unknown = np.full_like(known, math.nan)
    after = slice(1, None)
    return Budget(
        times=times[after],
        scale=scales,
        particles=Extrapolated(*(getattr(limit, part.name)[:, after] for part in fields(limit))),
        solution=known[:, after],
        step_error=(unknown if steps is None else steps.observables)[:, after],
        errors=errors,
        domain=domain,
    )


def limit_rows(budget: Budget, found: np.ndarray, half: np.ndarray) -> Iterator[dict[str, float]]:
    """Rows of `compare.limits`, at the end, for each test function.

    Args:
        budget: the budget.
        found: smallest detectable differences, (P, T), in units of the scale.
        half: half the widths of the 95 % intervals, likewise.
    """
    solution_error = sum(budget.solution_parts.values())
    for p in range(len(budget.solution)):
        a, end, scale = float(budget.particles.value[p, -1]), (p, -1), float(budget.scale[p, 0])
        yield {
            "particles": a,
            "low": a - scale * float(half[end]),
            "high": a + scale * float(half[end]),
            "solution": float(budget.solution[end]),
            "difference": scale * float(budget.difference[end]),
            "solution_error": scale * float(np.asarray(solution_error)[end]),
            "step_error": float(budget.step_error[end]),
            "finite_n": float(budget.particles.correction[end]),
            "detectable": scale * float(found[end]),
        }


def error_rows(errors: SolutionErrors, domain: float) -> Iterator[dict[str, float]]:
    """Rows of `pde.error`: the parts of the error of int phi rho at the end, for each test function."""
    for p in range(len(errors.mesh)):
        row = {name: float(part[p, -1]) for name, part in errors.parts.items()} | {"domain": domain}
        yield {**row, "total": sum(row.values()), "order": float(errors.order[p])}


def level(pairs: int) -> float:
    """Probability, on one side, at which one of so many pairs is refuted."""
    from scipy.special import ndtr

    return float(ndtr(-SIGNIFICANT)) / pairs


def detectable(budget: Budget) -> np.ndarray:
    """The smallest difference that would be refuted with probability `POWER`, (P, T), in units of the scale."""
    degrees = budget.particles.degrees
    return budget.total + (student(1 - level(degrees.size), degrees) + student(POWER, degrees)) * budget.stderr


def interval(budget: Budget) -> np.ndarray:
    """Half the width of the 95 % interval of the particles' limit, (P, T), in units of the scale."""
    return student((1 + CONFIDENCE) / 2, budget.particles.degrees) * budget.stderr


def excess(budget: Budget) -> np.ndarray:
    """|d| - B in standard errors, (P, T); infinite where nothing spreads and it is positive."""
    beyond = np.abs(budget.difference) - budget.total
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(beyond > 0, beyond / budget.stderr, 0.0)
    return np.where(np.isnan(beyond) | np.isnan(budget.stderr), math.nan, found)
