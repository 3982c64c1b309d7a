"""What the steps of a solver add up to: figures at both ends of a run, and extremes in between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

from limitpde.fem.stepping import StepReport


class Observed(Protocol):
    """What is observed of a solver."""

    @property
    def t(self) -> float:
        """Time reached."""

    @property
    def dofs(self) -> int:
        """Unknowns."""

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the solution."""

    def figures(self) -> dict[str, float]:
        """Invariants and extrema of the present state. Collective."""


class Tally[S: Observed](ABC):
    """Takes in the steps of a solver, and gives the part `pde` of summary.json. Collective where it is made.

    A system says what is measured (`extremes`) and how it is told (`figures`).

    Args:
        solver: at time 0.

    Attributes:
        solver: the same.
        first: the figures at time 0.
        last: those of the last step.
        steps: steps taken in.
        largest: the largest value of each extreme so far.
    """

    STATE: ClassVar[str]
    """Name and version of what `state` gives."""
    OWN: ClassVar[tuple[str, ...]] = ()
    """Attributes of a system's own that belong to the state."""

    def __init__(self, solver: S) -> None:
        self.solver = solver
        self.first = self.last = solver.figures()
        self.steps = 0
        self.largest: dict[str, float] = {}

    @abstractmethod
    def extremes(self, step: StepReport) -> dict[str, float]:
        """Numbers of a step of which the largest is kept."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """The part `pde` of summary.json."""

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        return list(self.solver.warnings)

    @property
    def columns(self) -> list[str]:
        """Names of the figures of a step."""
        return list(self.start_row())

    def start_row(self) -> dict[str, float]:
        """The row of diagnostics.csv for time 0, with the columns that a step has."""
        return self.first

    def add(self, step: StepReport) -> None:
        """Take in one step."""
        self.steps += 1
        self.last = step.figures
        for name, value in self.extremes(step).items():
            self.largest[name] = max(self.largest.get(name, value), value)

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here; numbers, strings, lists and dictionaries only."""
        names = ("first", "last", "steps", "largest", *self.OWN)
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        for name, value in state.items():
            setattr(self, name, value)

    def ends(self, name: str) -> dict[str, float]:
        """A figure at both ends of the run."""
        return {"start": self.first[name], "end": self.last[name]}

    def vectors(self, name: str) -> dict[str, list[float]]:
        """A figure with one entry for each axis, at both ends of the run."""
        return {"start": vector(self.first, name), "end": vector(self.last, name)}

    def common(self) -> dict[str, Any]:
        """The figures that every system has."""
        return {"dofs": self.solver.dofs, "steps": self.steps, "end_time": self.solver.t}


def vector(figures: dict[str, float], name: str) -> list[float]:
    """The entries of a figure with one for each axis."""
    return [figures[f"{name}_{axis}"] for axis in "xyz" if f"{name}_{axis}" in figures]
