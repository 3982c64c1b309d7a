"""What a run that is undecided should change, by the parts of its error budget: N, replicas, steps, cells."""

from __future__ import annotations

import math
from typing import Any

from limitpde.compare.advice import rounded_up
from limitpde.compare.companions import Orders
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
    replicas = verdict.get("replicas")
    wanted = {part: SPARE * factor for part, factor in verdict.get("reductions", {}).items()}
    changes = [_change(case, part, factor, replicas, orders) for part, factor in wanted.items()]
    every: Values = {}
    for change in changes:
        every |= {key: value for key, value in change.items() if key not in every}
    first = next((change for change in changes if change), {})
    return [every, first] if every and first != every else [every] if every else []


def _change(case: BaseCase, part: str, factor: float, replicas: int | None, orders: Orders) -> Values:
    """Keys and values that make a part of the budget smaller by a factor; nothing where no key does.

    Replicas are those that the verdict advises, if it does.
    """
    particles, pde = case.particles, case.pde
    assert particles is not None
    step = getattr(particles, "step", None)
    if part == "statistics":
        more = factor**2 * particles.replicas if replicas is None else SPARE * replicas
        return {"particles.replicas": max(rounded_up(min(more, MORE_REPLICAS * particles.replicas)), SEVERAL)}
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
