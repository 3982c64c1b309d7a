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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from limitpde.cautions import Caution
from limitpde.compare.budget import CONFIDENCE, Budget, StepErrors
from limitpde.compare.companions import Orders
from limitpde.compare.extrapolation import fit_weights
from limitpde.compare.measured import MeasuredEnsemble
from limitpde.compare.statistics import NEGLIGIBLE, student
from limitpde.nbody.limits import REPLICA_LIMIT
from limitpde.results.report import SIGNIFICANT

NAMES = {"initial": "initial data"}
"""What a part of the budget is called, where its key does not say it."""
POWER = 0.8
"""Probability with which the smallest detectable difference is found."""
MISFIT = 1e-4
"""Probability of the means below which they do not follow their law in N, a + b / N."""
MOST_FACTOR = 10.0
"""By how much an error may be over its goal for a larger N to be advised: that grows with its square."""
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

    def figures(self) -> dict[str, Any]:
        """The part `verdict` of summary.json."""
        return {
            "status": self.status,
            "sentence": self.sentence,
            "causes": self.causes,
            "precision": self.precision,
            "detectable": self.detectable,
        }


@dataclass(frozen=True, slots=True)
class Effort:
    """What the run has spent, to say what more would do."""

    counts: tuple[int, ...]
    replicas: int
    step: float | None
    """Of the particles."""
    pde_step: float | None
    orders: Orders
    variances: np.ndarray | None = None
    """What N Var of the observables tends to at the end, (P,), where it is predicted: few replicas know less of it."""


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
    told = causes(budget, precision, effort)
    stops += unknown(budget, precision)
    largest = float(found.max())
    refuting = far > student(1 - level(far.size), budget.particles.degrees)
    if stops:
        text = f"Undecided: {stops[0].rstrip('.')}."
        return Verdict("undecided", text, [*stops, *told], precision, largest)
    if refuting.any():
        return Verdict("refuted", _refuted(budget, far), told, precision, largest)
    if broken:
        return Verdict("refuted", _broken(broken), told, precision, largest)
    joint = student(1 - (1 - CONFIDENCE) / (2 * far.size), budget.particles.degrees)
    if not (far <= joint).all():
        p, k = np.unravel_index(int(np.argmax(far - joint)), far.shape)
        text = (
            f"Undecided: for test function {p} at t = {budget.times[k]:.4g} particles and solution differ by "
            f"{_percent(abs(budget.difference[p, k]))}, which is beyond the joint 95 % interval but could be chance; "
            "more replicas decide it"
        )
        return Verdict("undecided", text, told, precision, largest)
    if largest > precision:
        return Verdict("undecided", _blind(largest, precision, told), told, precision, largest)
    if departs:
        text = f"Undecided: no difference above {_percent(largest)} was found, but there is one: {departs}."
        return Verdict("undecided", text, [departs, *told], precision, largest)
    return Verdict("confirmed", _confirmed(budget, largest, precision, told), told, precision, largest)


def unknown(budget: Budget, precision: float) -> list[str]:
    """What of the budget is not known, and so keeps any verdict away."""
    reasons = {
        "the particles' step": "its error was not estimated: it takes two replicas, and compare.budget = true",
        "mesh": "no coarser companion could be computed: take smaller cells (half as large), which leave room for one",
        "step": "no companion with longer steps could be computed: take a shorter pde.step",
    }
    found = [f"{name}: {reasons[name]}" for name in reasons if np.isnan(budget.bounds[name]).any()]
    if np.isnan(budget.stderr).any():
        found.append("statistics: one replica alone does not show how much replicas differ; take more of them")
    errors = budget.errors
    solved = np.nan_to_num(budget.bounds["mesh"] + budget.bounds["step"]).max(axis=1)
    rough = ~errors.trusted & (solved > precision / 4)
    if rough.any():
        p = int(np.argmax(rough))
        found.append(
            f"mesh and step: the solution does not converge at its order yet (order {errors.order[p]:.2g} for test "
            f"function {p}): take smaller cells and a shorter pde.step, half of each"
        )
    if (budget.particles.misfit < MISFIT / budget.particles.misfit.size).any():
        found.append("finite N: the means do not follow their law in N yet: take larger N")
    return found


def parts(budget: Budget) -> dict[str, float]:
    """The parts of the smallest detectable difference where that is largest; NaN where one is not known."""
    found, at = _largest(budget)
    sizes = {name: float(part[at]) for name, part in budget.bounds.items()}
    return sizes | {"statistics": float(found[at]) - sum(sizes.values())}


def _largest(budget: Budget) -> tuple[np.ndarray, tuple[int, int]]:
    """The smallest detectable differences, (P, T), and which of them is largest."""
    found = detectable(budget)
    p, k = np.unravel_index(int(np.nanargmax(found)) if not np.isnan(found).all() else 0, found.shape)
    return found, (int(p), int(k))


def causes(budget: Budget, precision: float, effort: Effort) -> list[str]:
    """These parts in words, the largest first."""
    sizes, (found, at) = parts(budget), _largest(budget)
    spread = _spread(budget, effort, *at)
    ranked = sorted((name for name in sizes if sizes[name] > 0), key=lambda name: -sizes[name])
    over = sum(sizes.values()) - precision
    return [
        f"{NAMES.get(name, name)}: {_percent(sizes[name])}"
        + _remedy(name, sizes[name], over, precision, effort, lambda goal: _replicas(goal, spread, effort, found.size))
        for name in ranked
    ]


def reduction(size: float, over: float, precision: float) -> float | None:
    """By which factor a part of the budget should become smaller; None where it is not to blame.

    Args:
        size: of the part.
        over: by how much the budget is over the precision.
        precision: what was asked for.
    """
    if not over > 0 or size < over / 10:
        return None
    factor = size / (size - over if size - over > precision / 10 else precision / 4)
    return factor if factor > 1 else None


def _spread(budget: Budget, effort: Effort, p: int, k: int) -> float:
    """Standard error of the particles' limit from one replica of each N, in units of the scale."""
    if effort.variances is None or k < len(budget.times) - 1:
        return float(budget.stderr[p, k]) * math.sqrt(effort.replicas)
    counts = np.array(effort.counts, dtype=float)
    weights = fit_weights(counts, np.ones_like(counts), 1 / counts)[0]
    return math.sqrt(float(effort.variances[p]) * float(weights**2 @ (1 / counts))) / float(budget.scale[p, 0])


def _replicas(goal: float, spread: float, effort: Effort, pairs: int) -> int:
    """The fewest replicas that detect a difference of this size, in one of so many pairs of a test function and a time.

    More of them have a smaller error, and need fewer of it to be sure.
    """

    def few(number: int) -> bool:
        degrees = len(effort.counts) * (number - 1)
        reach = student(1 - level(pairs), degrees) + student(POWER, degrees)
        return bool(reach * spread / math.sqrt(number) > goal)

    low, high = 1, 2
    while few(high) and high < REPLICA_LIMIT:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if few(middle) else (low, middle)
    return high


def _remedy(
    name: str, size: float, over: float, precision: float, effort: Effort, replicas_for: Callable[[float], int]
) -> str:
    """What to change for this part, in numbers, where the budget is over the precision."""
    factor = reduction(size, over, precision)
    if factor is None:
        return ""
    space, time, particles = effort.orders
    if name == "statistics":
        needed = max(replicas_for(size / factor), 1.1 * effort.replicas)  # more than those that have not been enough
        replicas, largest = rounded_up(needed), rounded_up(max(effort.counts) * factor**2)
        larger = f", or N = {largest:,}" if factor <= MOST_FACTOR else ""
        return f" (particles.replicas = {replicas:,}{larger})"
    if name == "finite N":
        return " (a second N in particles.counts, or larger ones)"
    if name == "the particles' step" and effort.step is not None:
        return f" (particles.step = {effort.step * factor ** (-1 / particles):.2g})"
    if name == "step" and effort.pde_step is not None:
        return f" (pde.step = {effort.pde_step * factor ** (-1 / time):.2g})"
    if name == "mesh":
        return f" (cells smaller by a factor {factor ** (1 / space):.2g})"
    if name == "domain":
        return " (a larger domain)"
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 1 else f"{100 * share:.2g} %"


def rounded_up(number: float) -> int:
    """To two digits, upwards."""
    unit = 10 ** max(math.floor(math.log10(number)) - 1, 0)
    return math.ceil(number / unit) * unit


def _where(parts: Sequence[str]) -> str:
    return f" The largest part of the error budget is {parts[0]}." if parts else ""


def _confirmed(budget: Budget, largest: float, precision: float, parts: Sequence[str]) -> str:
    worst = float(np.abs(budget.difference).max())
    return (
        f"Confirmed to {_percent(precision)}: particles and solution differ by {_percent(worst)} of max |phi| times "
        f"the mass at most, and one of {100 * largest:.3g} % would have been found.{_where(parts)}"
    )


def _blind(largest: float, precision: float, parts: Sequence[str]) -> str:
    return (
        f"Undecided: no difference was found, but one below {100 * largest:.3g} % of max |phi| times the mass would "
        f"not have been, and {_percent(precision)} was asked for.{_where(parts)}"
    )


def _refuted(budget: Budget, far: np.ndarray) -> str:
    p, k = np.unravel_index(int(np.argmax(far)), far.shape)
    more = "more" if math.isinf(far[p, k]) else f"{far[p, k]:.1f} standard errors more"
    return (
        f"Refuted: for test function {p} at t = {budget.times[k]:.4g} particles and solution differ by "
        f"{_percent(abs(budget.difference[p, k]))} of max |phi| times the mass, {more} than all known errors "
        f"({_percent(budget.total[p, k])}) account for."
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
        return Verdict("undecided", text, ["statistics: more replicas, or a larger N"], precision, largest)
    text = f"Confirmed to {_percent(precision)}: the particles keep their own balance, W = A in the mean; {found}."
    return Verdict("confirmed", text, [], precision, largest)
