"""What a run that is undecided should change, by the parts of its error budget: N, replicas, steps, cells."""

from __future__ import annotations

import math
import re
from typing import Any

from limitpde.compare.companions import Orders
from limitpde.compare.verdict import reduction, rounded_up
from limitpde.results.figures import Record
from limitpde.sections import BaseCase

Values = dict[str, Any]
"""Key of a case -> its value."""
MORE_REPLICAS, SHORTER, FINER = 16.0, 4.0, 2.0
"""Most by which one refinement changes replicas, steps and cells: the next one knows the errors better."""
SPARE = 1.2
"""By how much more than is asked for a part becomes smaller, as it is an estimate."""
SEVERAL = 8
"""Replicas that are taken at least, to see how much they differ."""


def refinements(case: BaseCase, summary: Record, orders: Orders) -> list[Values]:
    """Keys and values for a run after one that is undecided; the second of them, if there is one, costs less.

    Args:
        case: of that run.
        summary: its figures.
        orders: of what is computed.

    Returns:
        The change for all parts of the budget that are to blame, and that for the largest alone; nothing where none is
        known, as where a method has left its range.
    """
    verdict = summary.get("verdict", {})
    if verdict.get("status") != "undecided" or case.particles is None:
        return []
    wanted = _wanted(verdict)
    changes = [(_change(case, name, factor, orders)) for name, factor in wanted]
    every: Values = {}
    for change in changes:
        every |= {key: value for key, value in change.items() if key not in every}
    first = next((change for change in changes if change), {})
    return [every, first] if every and first != every else [every] if every else []


def _wanted(verdict: Record) -> list[tuple[str, float]]:
    """The parts that are to become smaller, by which factor, the largest first."""
    sizes: dict[str, float] = verdict.get("parts", {})
    if verdict["causes"] and not _has_size(verdict["causes"][0]):  # keeps every verdict away
        unknown = [cause.partition(":")[0] for cause in verdict["causes"] if not _has_size(cause)]
        alone = 0.0 if sizes else verdict.get("detectable", 0.0) / verdict["precision"]  # of particles without equation
        return [(part, max(alone, 2.0)) for name in unknown for part in _UNKNOWN.get(name, ())]
    over = sum(sizes.values()) - verdict["precision"]
    ranked = sorted(sizes, key=lambda name: -sizes[name])
    found = [(name, reduction(sizes[name], over, verdict["precision"])) for name in ranked]
    wanted = [(name, SPARE * factor) for name, factor in found if factor is not None]
    return wanted or [("statistics", 2.0)]  # it would see what matters, and what it sees could be chance


def _has_size(cause: str) -> bool:
    """Whether a cause is a part of the budget with its size, and no reason why there is no verdict at all."""
    return re.match(r"[\d.e+-]+ %", cause.partition(": ")[2]) is not None


_UNKNOWN = {
    "the particles' step": ("statistics",),
    "mesh": ("mesh",),
    "step": ("step",),
    "mesh and step": ("mesh", "step"),
    "statistics": ("statistics",),
    "finite N": ("finite N",),
}
"""What a cause begins with that says that a part is not known -> the parts to refine."""


def _change(case: BaseCase, part: str, factor: float, orders: Orders) -> Values:
    """Keys and values that make a part of the budget smaller by a factor; nothing where no key does."""
    particles, pde = case.particles, case.pde
    assert particles is not None
    step = getattr(particles, "step", None)
    if part == "statistics":
        more = min(factor**2, MORE_REPLICAS) * particles.replicas
        return {"particles.replicas": max(rounded_up(more), SEVERAL)}
    if part == "finite N":
        counts = sorted(particles.counts)
        larger = [2 * count for count in counts] if len(counts) > 1 else [*counts, 2 * counts[0]]
        return {"particles.counts": larger}
    if part == "the particles' step" and step is not None:
        return {"particles.step": _rounded(step / min(factor ** (1 / orders.particles), SHORTER))}
    if part == "step" and pde is not None:
        return {"pde.step": _rounded(pde.step / min(factor ** (1 / orders.time), SHORTER))}
    if part in ("mesh", "initial") and pde is not None:
        finer = pde.finer(min(factor ** (1 / orders.space), FINER))
        return {f"pde.{key}": _rounded(value) for key, value in finer.items()}
    return {}


def _rounded(value: Any) -> Any:
    """A number to three digits, downwards; others as they are."""
    if not isinstance(value, float):
        return value
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / unit * (1 + 1e-12)) * unit:.3g}")
