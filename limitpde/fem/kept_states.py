"""States of a solution at some of its times, to go back over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from limitpde.fem.gated import GatedSolver
from limitpde.fem.stepping import StepReport

MOST_STATES = 200
"""States of the solution that are kept; of more steps every second, every fourth, ... one."""


class CarriedBack[F](Protocol):
    """An equation that is carried back over the states of another."""

    def longest(self, densities: np.ndarray) -> float:
        """How long a step from these densities (S, n_local) may be. Collective."""

    def frozen(self, densities: np.ndarray) -> F:
        """Its coefficients for these densities. Collective."""

    def step(self, frozen: F, dt: float) -> None:
        """One step backwards. Collective."""

    def noise(self, frozen: F) -> np.ndarray:
        """What is integrated over time, (P, P). Collective."""


class KeptStates:
    """Densities of a solution at some of its times, evenly thinned; an observer of its steps.

    Args:
        solver: the solver, at time 0.
        most: how many are kept at most.

    Attributes:
        times: of those that are kept.
        densities: (S, n_local) at each of them.
    """

    def __init__(self, solver: GatedSolver[Any], most: int = MOST_STATES) -> None:
        self._solver, self._most, self._every, self._steps = solver, most, 1, 0
        self.times, self.densities = [solver.t], [np.array(solver.now.densities)]

    def __call__(self, report: StepReport) -> None:
        """Take in one step."""
        self._steps += 1
        if self._steps % self._every:
            return
        self._keep(report.t)
        if len(self.times) > self._most:
            self._every *= 2
            self.times, self.densities = self.times[::2], self.densities[::2]

    def finish(self) -> None:
        """Keep the last state."""
        if self._solver.t > self.times[-1]:
            self._keep(self._solver.t)

    def _keep(self, t: float) -> None:
        self.times.append(t)
        self.densities.append(np.array(self._solver.now.densities))

    def backwards(self, longest: Callable[[np.ndarray], float]) -> Iterator[tuple[float, np.ndarray]]:
        """Times and densities from the end to 0, with others between them where a step would be too long. Collective.

        Args:
            longest: densities (S, n_local) -> how long a step from them may be.
        """
        yield self.times[-1], self.densities[-1]
        for k in reversed(range(len(self.times) - 1)):
            length = self.times[k + 1] - self.times[k]
            limit = min(longest(self.densities[k]), longest(self.densities[k + 1]))
            parts = max(1, int(np.ceil(length / limit * (1 - 1e-9))))
            for part in reversed(range(parts)):
                share = part / parts
                between = (1 - share) * self.densities[k] + share * self.densities[k + 1]
                yield self.times[k] + share * length, between

    def carry_back[F](self, adjoint: CarriedBack[F], stepped: Callable[[], object]) -> np.ndarray:
        """Carry an adjoint from the end to 0; the integral of its noise on the way, (P, P). Collective.

        Args:
            adjoint: at the end.
            stepped: called after each step.
        """
        integral, last, rate = np.zeros(()), self.times[-1], None
        for t, densities in self.backwards(adjoint.longest):
            frozen = adjoint.frozen(densities)
            if rate is not None:
                adjoint.step(frozen, last - t)
                stepped()
            now = adjoint.noise(frozen)
            integral = integral + (np.zeros_like(now) if rate is None else 0.5 * (last - t) * (now + rate))
            last, rate = t, now
        return integral
