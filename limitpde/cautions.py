"""Figures that say whether a method is still in the range in which its order holds, each with its threshold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from limitpde.results.figures import Record


@dataclass(frozen=True, slots=True)
class Caution:
    """A figure of a run, the value above which its results are not to be trusted, and what to do then."""

    name: str
    """Key in `cautions` of summary.json, such as "cell_peclet"."""
    value: float
    threshold: float
    text: str
    """A sentence for the report where the threshold is exceeded: what is wrong, and what to change, in numbers."""

    @property
    def exceeded(self) -> bool:
        """Whether the method has left its range. Then no verdict may blame, or confirm, the theorem."""
        return not self.value <= self.threshold


def worst(cautions: Iterable[Caution]) -> list[Caution]:
    """Of the cautions of each name the one that is furthest above its threshold, or nearest to it."""
    found: dict[str, Caution] = {}
    for caution in cautions:
        other = found.setdefault(caution.name, caution)
        if caution.value / caution.threshold > other.value / other.threshold:
            found[caution.name] = caution
    return list(found.values())


def figures(cautions: Iterable[Caution]) -> Record:
    """The part `cautions` of summary.json."""
    return {caution.name: {"value": caution.value, "threshold": caution.threshold} for caution in cautions}
