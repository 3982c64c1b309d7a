"""What the steps of a solver add up to: figures at both ends of a run, and extremes in between."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from limitpde.cautions import Caution
from limitpde.errors import RunError
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
    def warnings(self) -> Sequence[str]:
        """What to know before trusting the solution."""

    @property
    def step_figures(self) -> tuple[str, ...]:
        """Names of figures of a step that a state alone does not have."""

    def figures(self) -> dict[str, float]:
        """Invariants and extrema of the present state. Collective."""


MOST_DRIFT = 0.5
"""Relative change of a mass that no step should change, from which the solution is none."""


class Tally[S: Observed]:
    """Takes in the steps of a solver, and gives the part `pde` of summary.json. Collective where it is made.

    A system says what else is measured (`extremes`), and how more is told (`figures`).

    Args:
        solver: at time 0.
        case: which may ask for figures of its own.

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

    MASSES: ClassVar[Mapping[str, str]] = {}
    """Name in summary.json -> figure of a mass that no step should change."""
    ENDS: ClassVar[tuple[str, ...]] = ()
    """Figures that are told at both ends of the run."""

    def __init__(self, solver: S, case: object = None) -> None:
        self.solver = solver
        self.first = self.last = solver.figures()
        self.steps = 0
        self.largest = self._extremes(self.first)

    def _extremes(self, figures: dict[str, float]) -> dict[str, float]:
        drifts = {name: abs(figures[name] / self.first[name] - 1) for name in self.masses.values()}
        return drifts | ({"minus_minimum": -figures["minimum"]} if "minimum" in figures else {})

    @property
    def masses(self) -> Mapping[str, str]:
        """MASSES, or those that this solver has."""
        return self.MASSES

    def extremes(self, step: StepReport) -> dict[str, float]:
        """More numbers of a step of which the largest is kept."""
        return {}

    def figures(self) -> dict[str, Any]:
        """The part `pde` of summary.json."""
        found: dict[str, Any] = {"dofs": self.solver.dofs, "steps": self.steps, "end_time": self.solver.t}
        if self.masses:
            drifts = {name: {"max_relative_drift": self.largest[mass]} for name, mass in self.masses.items()}
            found["mass"] = {name: self.ends(mass) | drifts[name] for name, mass in self.masses.items()}
        if "minus_minimum" in self.largest:
            found["minimum"] = -self.largest["minus_minimum"]
        return found | {name: self.ends(name) for name in self.ENDS}

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        return list(self.solver.warnings)

    def astray(self) -> float:
        """Mass that the solution has lost or gained, or that came where it is not that of the limit."""
        return sum(abs(self.last[name] - self.first[name]) for name in self.masses.values())

    def cautions(self) -> list[Caution]:
        """Figures that say whether the scheme is in the range in which its order holds."""
        return []

    @property
    def columns(self) -> list[str]:
        """Names of the figures of a step."""
        return list(self.start_row())

    def start_row(self) -> dict[str, float]:
        """The row of diagnostics.csv for time 0, with the columns that a step has."""
        return self.first | dict.fromkeys(self.solver.step_figures, 0.0)

    def add(self, step: StepReport) -> None:
        """Take in one step.

        Raises:
            RunError: one of its figures is not a number, or of a mass that no step should change most is lost or new.
        """
        self._check(step)
        self.steps += step.steps
        self.last = step.figures
        for name, value in (self._extremes(step.figures) | self.extremes(step)).items():
            self.largest[name] = max(self.largest.get(name, value), value)

    def _check(self, step: StepReport) -> None:
        for name, value in step.figures.items():
            if math.isnan(value):
                raise RunError(f"{name} is not a number at t = {step.t:.6g}: take a shorter step, or a finer mesh")
        for name, figure in self.masses.items():
            start, now = self.first[figure], step.figures[figure]
            if not abs(now - start) <= MOST_DRIFT * abs(start):
                raise RunError(
                    f"the mass ({name}) has gone from {start:.6g} to {now:.6g} by t = {step.t:.6g}, which no step "
                    "should change: take a larger domain, a shorter step, or a finer mesh"
                )

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


def vector(figures: dict[str, float], name: str) -> list[float]:
    """The entries of a figure with one for each axis."""
    return [figures[f"{name}_{axis}"] for axis in "xyz" if f"{name}_{axis}" in figures]
