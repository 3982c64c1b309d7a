"""W[t, phi] of a solution as its steps go by: how far int phi rho has come, less the time integrals of the rates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from limitpde.fem.stepping import StepReport


class ObservedIntegrals(ABC):
    """An observer of a solver, with trapezoidal sums over its steps. Collective; all is the same on every rank.

    Args:
        t: time of the solver, which `measure` can look at already.

    Attributes:
        times: times seen so far.
        observables: int phi rho at these times, (P,) each.
        values: W[t, phi] at these times, (P,) each.
        integrals: of the rates up to the last time, (terms, P).
        warnings: what to know before trusting W.
    """

    STATE: ClassVar[str]
    """Name and version of what `state` gives."""

    def __init__(self, t: float) -> None:
        observables, self._rates = self.measure()
        self.times, self.observables = [t], [observables]
        self.values, self.integrals = [np.zeros_like(observables)], np.zeros_like(self._rates)
        self.warnings: list[str] = []

    @abstractmethod
    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """int phi rho, (P,), and the rates whose time integrals move it, (terms, P), of the present state."""

    def __call__(self, report: StepReport) -> None:
        """Extend the time integrals by one step."""
        observables, rates = self.measure()
        self.integrals += report.dt / 2 * (self._rates + rates)
        self._rates = rates
        self.times.append(report.t)
        self.observables.append(observables)
        self.values.append(self.change() - self.moved())

    def change(self) -> np.ndarray:
        """int phi (rho_t - rho_0), (P,)."""
        return np.asarray(self.observables[-1] - self.observables[0])

    def moved(self) -> np.ndarray:
        """What the terms of the equation account for, (P,)."""
        return np.asarray(self.integrals.sum(axis=0))

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on from here, the same on every rank."""
        series = {name: np.array(getattr(self, name)) for name in ("times", "values", "observables")}
        return series | {"integrals": self.integrals.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`, with a solver that is at its time. Collective."""
        self.times, self.integrals = state["times"].tolist(), state["integrals"].copy()
        self.values, self.observables = list(state["values"]), list(state["observables"])
        self._rates = self.measure()[1]
