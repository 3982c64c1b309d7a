"""States of a solution at some of its times, to go back over them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from limitpde.errors import InputError
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


class Joined[F](CarriedBack[F], Protocol):
    """One that takes more functions along on the way."""

    psi: np.ndarray
    """(P, ...)"""

    def join(self, functions: Sequence[Any], t: float) -> None:
        """Take functions along from the present time t on, after the others. Collective."""

    def start(self, densities: np.ndarray) -> np.ndarray:
        """The covariance of psi_p and psi_q at independent starts from these densities, (P, P). Collective."""


def covariance_over_time(
    solver: GatedSolver[Any],
    adjoint: Callable[[], Joined[Any]],
    functions: Sequence[Any],
    end: float,
    earlier: Sequence[float] | None,
    stepped: Callable[[], object],
) -> np.ndarray:
    """N times covariances by an adjoint equation, (P, P) at the end, or (K, P, P) with earlier times. Collective.

    The noise after s has mean zero, so functions at s go back together with those at the end from s on.

    Args:
        solver: at time 0, stepped to the end.
        adjoint: makes the equation of P functions at the end, when the solver is there.
        functions: those P.
        end: the time.
        earlier: s, K times, the end if it is the last: entry (k, p, q) is of int phi_p at s_k and int phi_q at the end.
        stepped: called after each step forward or backward; what it raises ends all.

    Raises:
        InputError: the earlier times do not rise between 0 and the end.
        RunError: a step, or a linear system, could not be solved.
    """
    before = before_the_end(earlier, end)
    legs: list[KeptStates] = []

    def observe(step: StepReport) -> None:
        legs[-1](step)
        stepped()

    for t in (*before, end):
        legs.append(KeptStates(solver))
        solver.solve(t, observers=[observe])
        legs[-1].finish()
    back = adjoint()
    found = legs[-1].carry_back(back, stepped)
    for leg, s in zip(legs[-2::-1], reversed(before), strict=True):
        back.join(functions, s)
        found = np.pad(found, (0, len(functions))) + leg.carry_back(back, stepped)
    found = found + back.start(legs[0].densities[0])
    return found if earlier is None else over_time(found, len(functions))[: len(earlier)]


def before_the_end(earlier: Sequence[float] | None, end: float) -> tuple[float, ...]:
    """The earlier times, without the end if it is among them.

    Raises:
        InputError: they do not rise between 0 and the end.
    """
    times = tuple(earlier or ())
    if any(not a < b for a, b in itertools.pairwise(times)) or not all(0 <= s <= end for s in times):
        raise InputError(f"earlier = {list(times)}: must rise, between 0 and {end}")
    return times[:-1] if times[-1:] == (end,) else times


def over_time(covariance: np.ndarray, functions: int) -> np.ndarray:
    """Of P functions at the end, and at K earlier times, the last one first, (P + K P, P + K P).

    Returns:
        (K + 1, P, P): of int phi_p at each of the times and int phi_q at the end; the end is the last of them.
    """
    return np.asarray(covariance[:, :functions].reshape(-1, functions, functions)[::-1])
