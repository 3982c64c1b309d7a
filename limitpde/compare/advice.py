"""What the parts of the error budget of a verdict are, and what would make those smaller that are to blame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from limitpde.compare.budget import POWER, Budget, detectable, level
from limitpde.compare.companions import Orders
from limitpde.compare.extrapolation import fit_weights
from limitpde.compare.statistics import student
from limitpde.nbody.limits import REPLICA_LIMIT

NAMES = {"initial": "initial data"}
"""What a part of the budget is called, where its key does not say it."""
MOST_FACTOR = 10.0
"""By how much an error may be over its goal for a larger N to be advised: that grows with its square."""


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


def parts(budget: Budget) -> dict[str, float]:
    """The parts of the smallest detectable difference where that is largest; NaN where one is not known."""
    found, at = _largest(budget)
    sizes = {name: float(part[at]) for name, part in budget.bounds.items()}
    return sizes | {"statistics": float(found[at] - budget.total[at])}


def _largest(budget: Budget) -> tuple[np.ndarray, tuple[int, int]]:
    """The smallest detectable differences, (P, T), and which of them is largest."""
    found = detectable(budget)
    p, k = np.unravel_index(int(np.nanargmax(found)) if not np.isnan(found).all() else 0, found.shape)
    return found, (int(p), int(k))


def reductions(sizes: dict[str, float], precision: float) -> dict[str, float]:
    """The `parts` that are to become smaller for their sum to be within the precision -> by which factor."""
    over = sum(sizes.values()) - precision
    factors = {name: _reduction(sizes[name], over, precision) for name in _ranked(sizes)}
    return {name: factor for name, factor in factors.items() if factor is not None}


def _ranked(sizes: dict[str, float]) -> list[str]:
    return sorted((name for name in sizes if sizes[name] > 0), key=lambda name: -sizes[name])


def causes(sizes: dict[str, float], needed: dict[str, float], replicas: int | None, effort: Effort) -> list[str]:
    """The `parts` in words, the largest first, with what to change for those that are to become smaller."""
    return [
        f"{NAMES.get(name, name)}: {percent(sizes[name])}"
        + (_remedy(name, needed[name], replicas, effort) if name in needed else "")
        for name in _ranked(sizes)
    ]


def _reduction(size: float, over: float, precision: float) -> float | None:
    """By which factor a part should become smaller where the budget is over the precision by so much, if it is to."""
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


def replicas_for(goal: float, budget: Budget, effort: Effort) -> int:
    """The fewest replicas with which the statistics are this part of the budget, to two digits; more than there were.

    More of them have a smaller error, and need fewer of it to be sure.
    """
    found, at = _largest(budget)
    spread = _spread(budget, effort, *at)

    def few(number: int) -> bool:
        degrees = len(effort.counts) * (number - 1)
        reach = student(1 - level(found.size), degrees) + student(POWER, degrees)
        return bool(reach * spread / math.sqrt(number) > goal)

    low, high = 1, 2
    while few(high) and high < REPLICA_LIMIT:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if few(middle) else (low, middle)
    return rounded_up(max(high, 1.1 * effort.replicas))  # as many as there were have not been enough


def _remedy(name: str, factor: float, replicas: int | None, effort: Effort) -> str:
    """What to change, in numbers, for this part to become smaller by a factor."""
    space, time, particles = effort.orders
    if name == "statistics":
        larger = f", or N = {rounded_up(max(effort.counts) * factor**2):,}" if factor <= MOST_FACTOR else ""
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


def percent(share: float) -> str:
    """A share in percent, to two digits."""
    return f"{100 * share:.0f} %" if share >= 1 else f"{100 * share:.2g} %"


def rounded_up(number: float) -> int:
    """To two digits, upwards."""
    unit = 10 ** max(math.floor(math.log10(number)) - 1, 0)
    return math.ceil(number / unit) * unit
