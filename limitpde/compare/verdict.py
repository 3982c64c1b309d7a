"""The verdict on a limit: confirmed, refuted or undecided, from a difference and its error budget.

With d = a - s, its standard error e and the sum B of all bounds of numerical errors, for each of m pairs of a test
function and a time after 0:

    refuted      |d| - B is above 4.5 standard errors of many replicas (Student's quantile for few) for some pair,
                 by Holm's correction for m pairs; or the mean of the particles' own balance M is, for some N
    confirmed    |d| - B is within the joint 95 % interval for all pairs, and a difference of the margin
                 precision * max |phi| * mass would have been refuted with a probability of 80 %
    undecided    otherwise, or where a part of the budget is not known, or a method has left its range (`cautions`)

So "confirmed" is a test of equivalence at the margin (Schuirmann 1987), with the numerical errors as bounds, and
`detectable` is the smallest difference that would have been refuted with that probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from limitpde.cautions import Caution
from limitpde.compare.advice import Effort, causes, parts, percent, reductions, replicas_for
from limitpde.compare.budget import CONFIDENCE, POWER, Budget, StepErrors, detectable, excess, level
from limitpde.compare.measured import MeasuredEnsemble
from limitpde.compare.statistics import NEGLIGIBLE, student

MISFIT = 1e-4
"""Probability of the means below which they do not follow their law in N, a + b / N."""
UNKNOWN = 2.0
"""By which factor a part is to become smaller whose size is not known."""
Status = Literal["confirmed", "refuted", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run says about the limit."""

    status: Status
    sentence: str
    causes: list[str]
    """The parts of the error budget, or what stands in the way of a verdict; the largest first."""
    precision: float
    """Of max |phi| times the mass: what was asked for."""
    detectable: float
    """The same of the smallest difference that would have been found for every test function; NaN where not known."""
    reductions: dict[str, float] = field(default_factory=dict)
    """Parts that would have to become smaller for a verdict -> by which factor, the largest first."""
    replicas: int | None = None
    """How many would do for the statistics among these; None where that is not known."""

    def figures(self) -> dict[str, Any]:
        """The part `verdict` of summary.json."""
        return {
            "status": self.status,
            "sentence": self.sentence,
            "causes": self.causes,
            "precision": self.precision,
            "detectable": self.detectable,
            "reductions": self.reductions or None,
            "replicas": self.replicas,
        }


@dataclass(frozen=True, slots=True)
class Balance:
    """The particles' own balance at the end: M = W - A has mean zero for every N."""

    N: int
    test_function: int
    mean: float
    """Of M, here and below in units of max |phi| times the mass."""
    stderr: float
    """Standard error of the mean."""
    bound: float
    """Of the error of the mean by the particles' step."""
    degrees: float
    """Of freedom of the standard error."""

    @property
    def deviation(self) -> float:
        """How far the mean is from zero beyond the error of the step, in standard errors."""
        return max(abs(self.mean) - self.bound, 0.0) / self.stderr

    def detectable(self, pairs: int) -> float:
        """The smallest mean that would be found in one of so many pairs."""
        reach = student(1 - level(pairs), self.degrees) + student(POWER, self.degrees)
        return self.bound + float(reach) * self.stderr


def balances(ensembles: Sequence[MeasuredEnsemble], steps: StepErrors, scale: float | np.ndarray) -> Iterator[Balance]:
    """The mean of M of each ensemble and test function, unless it is zero to rounding or nothing has happened.

    Args:
        ensembles: what was simulated.
        steps: errors of the particles' step.
        scale: max |phi| times the mass, (P,) or one for all.
    """
    for ensemble in ensembles:
        noise, size = ensemble.noise, len(ensemble.replicas)
        for p in range(noise.shape[1]):
            values, unit = noise[:, p], float(np.broadcast_to(scale, noise.shape[1])[p])
            observed = float(np.abs(ensemble.observables[:, p]).max())
            if size < 2 or not np.abs(values).max() > NEGLIGIBLE * observed:  # so also where M is not a number
                continue
            mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(size)
            if error > 0:
                bound = float(steps.noise[p])
                yield Balance(ensemble.count, p, mean / unit, error / unit, bound / unit, size - 1.0)


def judge(
    budget: Budget | None,
    own: Sequence[Balance],
    *,
    precision: float,
    cautions: Sequence[Caution],
    effort: Effort,
    failure: str = "",
    departs: str = "",
) -> Verdict:
    """The verdict.

    Args:
        budget: of the comparison of particles and solution; None where one of them is not there.
        own: the particles' balances.

    Keyword Args:
        precision: of max |phi| times the mass, what matters to the user.
        cautions: those that are exceeded.
        effort: what was spent.
        failure: why the run did not come to its end, if it did not.
        departs: why the particles cannot tend to the equation, where that is known of their strengths: then nothing
            is confirmed.
    """
    broken = [b for b in own if b.deviation > student(1 - level(len(own)), b.degrees)]
    stops = [failure] if failure else []
    stops += [caution.text for caution in cautions]
    if budget is None:
        return _of_particles(own, broken, stops, precision)
    found, far = detectable(budget), excess(budget)
    sizes = parts(budget)
    needed, replicas = reductions(sizes, precision), None
    if "statistics" in needed:
        replicas = replicas_for(sizes["statistics"] / needed["statistics"], budget, effort)
    told = causes(sizes, needed, replicas, effort)
    missing = unknown(budget, precision, effort)
    stops += [reason for _, reason in missing]
    largest = float(found.max())
    refuting = far > student(1 - level(far.size), budget.particles.degrees)
    if stops:
        text, halved = f"Undecided: {stops[0].rstrip('.')}.", {name: UNKNOWN for names, _ in missing for name in names}
        return Verdict("undecided", text, [*stops, *told], precision, largest, halved)
    if refuting.any():
        return Verdict("refuted", _refuted(budget, far), told, precision, largest)
    if broken:
        return Verdict("refuted", _broken(broken), told, precision, largest)
    joint = student(1 - (1 - CONFIDENCE) / (2 * far.size), budget.particles.degrees)
    undecided = Verdict("undecided", "", told, precision, largest, needed, replicas)
    if not (far <= joint).all():
        p, k = np.unravel_index(int(np.argmax(far - joint)), far.shape)
        text = (
            f"Undecided: for test function {p} at t = {budget.times[k]:.4g} particles and solution differ by "
            f"{percent(abs(budget.difference[p, k]))}, which is beyond the joint 95 % interval but could be chance; "
            "more replicas decide it"
        )
        return replace(undecided, sentence=text, reductions=needed or {"statistics": UNKNOWN})
    if largest > precision:
        return replace(undecided, sentence=_blind(largest, precision, told))
    if departs:
        text = f"Undecided: no difference above {percent(largest)} was found, but there is one: {departs}."
        return Verdict("undecided", text, [departs, *told], precision, largest)
    return Verdict("confirmed", _confirmed(budget, largest, precision, told), told, precision, largest)


def unknown(budget: Budget, precision: float, effort: Effort) -> list[tuple[tuple[str, ...], str]]:
    """What of the budget is not known, and so keeps any verdict away: which parts are to become smaller, and why."""
    reasons = {
        "the particles' step": "its error was not estimated: it takes two replicas, and compare.budget = true",
        "mesh": "no coarser companion could be computed: take smaller cells (half as large), which leave room for one",
        "step": "no companion with longer steps could be computed: take a shorter pde.step",
    }
    end = float(budget.times[-1])
    if effort.pde_step is not None and 2 * effort.pde_step > end:
        reasons["step"] = f"two steps do not fit into the time, as a companion needs: take a pde.step of {end / 8:.3g}"
        del reasons["mesh"]
    instead = {"the particles' step": "statistics"}  # more replicas
    found: list[tuple[tuple[str, ...], str]] = [
        ((instead.get(name, name),), f"{name}: {reasons[name]}")
        for name in reasons
        if np.isnan(budget.bounds[name]).any()
    ]
    if np.isnan(budget.stderr).any():
        reason = "statistics: one replica alone does not show how much replicas differ; take more of them"
        found.append((("statistics",), reason))
    errors = budget.errors
    solved = np.nan_to_num(budget.bounds["mesh"] + budget.bounds["step"]).max(axis=1)
    rough = ~errors.trusted & (solved > precision / 4)
    if rough.any():
        p = int(np.argmax(rough))
        reason = (
            f"mesh and step: the solution does not converge at its order yet (order {errors.order[p]:.2g} for test "
            f"function {p}): take smaller cells and a shorter pde.step, half of each"
        )
        found.append((("mesh", "step"), reason))
    if (budget.particles.misfit < MISFIT / budget.particles.misfit.size).any():
        found.append((("finite N",), "finite N: the means do not follow their law in N yet: take larger N"))
    return found


def _where(parts: Sequence[str]) -> str:
    return f" The largest part of the error budget is {parts[0]}." if parts else ""


def _confirmed(budget: Budget, largest: float, precision: float, parts: Sequence[str]) -> str:
    worst = float(np.abs(budget.difference).max())
    return (
        f"Confirmed to {percent(precision)}: particles and solution differ by {percent(worst)} of max |phi| times "
        f"the mass at most, and one of {100 * largest:.3g} % would have been found.{_where(parts)}"
    )


def _blind(largest: float, precision: float, parts: Sequence[str]) -> str:
    return (
        f"Undecided: no difference was found, but one below {100 * largest:.3g} % of max |phi| times the mass would "
        f"not have been, and {percent(precision)} was asked for.{_where(parts)}"
    )


def _refuted(budget: Budget, far: np.ndarray) -> str:
    p, k = np.unravel_index(int(np.argmax(far)), far.shape)
    more = "more" if math.isinf(far[p, k]) else f"{far[p, k]:.1f} standard errors more"
    return (
        f"Refuted: for test function {p} at t = {budget.times[k]:.4g} particles and solution differ by "
        f"{percent(abs(budget.difference[p, k]))} of max |phi| times the mass, {more} than all known errors "
        f"({percent(budget.total[p, k])}) account for."
    )


def _broken(broken: Sequence[Balance]) -> str:
    worst = max(broken, key=lambda b: b.deviation)
    return (
        f"Refuted: the particles do not keep their own balance: the mean of W - A of test function "
        f"{worst.test_function} for N = {worst.N} is {worst.deviation:.1f} standard errors beyond that of the step."
    )


def _of_particles(own: Sequence[Balance], broken: Sequence[Balance], stops: list[str], precision: float) -> Verdict:
    """The verdict on particles alone, or on a solution that did not come as far: their balance holds, or not."""
    largest = max((balance.detectable(len(own)) for balance in own), default=0.0)
    if stops:
        return Verdict("undecided", f"Undecided: {stops[0].rstrip('.')}.", stops, precision, largest)
    if broken:
        return Verdict("refuted", _broken(broken), [], precision, largest)
    found = f"a mean of {100 * largest:.3g} % of max |phi| times the mass would have been found"
    if largest > precision:
        text = f"Undecided: the particles keep their own balance, W = A in the mean, but only {found}."
        more = {"statistics": max(largest / precision, UNKNOWN)}
        return Verdict("undecided", text, ["statistics: more replicas, or a larger N"], precision, largest, more)
    text = f"Confirmed to {percent(precision)}: the particles keep their own balance, W = A in the mean; {found}."
    return Verdict("confirmed", text, [], precision, largest)
