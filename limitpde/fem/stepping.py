"""Time stepping that the PDE solvers share: BDF coefficients, sizes of steps, their reports, the loop over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from limitpde.errors import InputError, RunError

LARGEST_RATIO = 2.0
"""By how much a step may exceed the one before it; variable BDF2 is zero-stable up to 1 + sqrt(2)."""
SAFETY, LEAST_CHANGE, LARGEST_CHANGE = 0.9, 0.2, 3.0
"""Of the size of a step that follows a tolerance: what is taken of the estimate, and the limits of its change."""
GROWTH = 1.2
"""By how much each step may exceed the one before it, after a gate has cut the steps below the requested one."""
FIRST_STEP = 0.01
"""Part of the requested step with which steps begin that follow an estimate which the first ones do not have, or the
root of their tolerance."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one accepted step did; the same on every rank."""

    t: float
    """Time reached."""
    dt: float
    """Size of the step, after whatever the gate did to it."""
    order: int
    """Order of the formula that was accepted."""
    steps: int = 1
    """Steps of this size that were made since the report before."""
    refused: tuple[str, ...] = ()
    """Why each attempt before it was refused; empty where the first one was accepted."""
    figures: dict[str, float] = field(default_factory=dict)
    """Invariants, extrema and iterations: one column each of diagnostics.csv."""


Observer = Callable[[StepReport], None]


class Steppable(Protocol):
    """What `march` needs of a solver."""

    @property
    def t(self) -> float:
        """Time reached."""

    @property
    def suggested_step(self) -> float:
        """Largest step to try next."""

    def step(self, dt: float) -> StepReport:
        """Advance by at most dt."""


@dataclass(frozen=True, slots=True)
class Bdf:
    """Coefficients of d_t f(t + dt) ~ (implicit f_new - history . (f_now, f_before)) / dt for steps of ratio omega.

    Order 2 with omega = dt / (step before); order 1 is backward Euler. `extrapolation` . (f_now, f_before) predicts
    f_new to the same order.
    """

    order: int
    implicit: float
    history: tuple[float, float]
    extrapolation: tuple[float, float]

    @classmethod
    def of(cls, order: int, ratio: float) -> Bdf:
        """The coefficients of order 1 or 2 for the given ratio of steps."""
        if order == 1:
            return cls(1, 1.0, (1.0, 0.0), (1.0, 0.0))
        return cls(2, (1 + 2 * ratio) / (1 + ratio), (1 + ratio, -(ratio**2) / (1 + ratio)), (1 + ratio, -ratio))


@lru_cache(maxsize=16)  # a step asks for each of its fields
def bdf_error_weights(order: int, steps: tuple[float, ...]) -> np.ndarray:
    """Weights of f_new, f_now, f_before, ... in the local error of a step: a divided difference, of order order + 1.

    They are not to be changed: the same array is given again.

    Args:
        order: 2 (BDF2) or 1 (backward Euler).
        steps: (order + 1,) sizes of the step and those before it, or fewer; then there are fewer weights.
    """
    times = -np.cumsum([0.0, *steps])
    apart = times[:, None] - times
    np.fill_diagonal(apart, 1.0)
    dt = steps[0]
    if order == 1:
        return np.asarray(dt**2 / apart.prod(axis=1))
    ratio = dt / steps[1]
    return np.asarray(dt**2 * (dt + steps[1]) * (1 + ratio) / (1 + 2 * ratio) / apart.prod(axis=1))


TOO_LONG = "exceeds the tolerance"
"""What the reason says where an attempt is refused only because a shorter step is more accurate."""


class StepSize:
    """How long steps are: as requested, or as long as a tolerance of their error allows; less where a gate has cut one.

    Args:
        requested: the size of steps without a tolerance; else that of the first one.
        tolerance: relative error that a step may make; None, then infinity, for steps of the requested size.

    Keyword Args:
        blind: the first steps have no estimate of their error, so they are shorter.
        regrowth: without a tolerance, by how much the step after a cut one may exceed it, and later ones the last one.

    Attributes:
        limit: what no step should exceed now.
    """

    def __init__(
        self,
        requested: float,
        tolerance: float | None,
        *,
        blind: bool = False,
        regrowth: tuple[float, float] = (GROWTH, GROWTH),
    ) -> None:
        self.tolerance, self.limit = math.inf, math.inf
        self._requested, self._regrowth = requested, regrowth
        if tolerance is not None:
            self.tolerance = tolerance
            self.limit = requested * min(FIRST_STEP, math.sqrt(tolerance)) if blind else requested

    @property
    def tolerant(self) -> bool:
        """Whether steps follow a tolerance."""
        return math.isfinite(self.tolerance)

    @property
    def suggested(self) -> float:
        """Size of the next step."""
        return self.limit if self.tolerant else min(self._requested, self.limit)

    def too_long(self, error: float) -> str | None:
        """Why a step with this estimate of its error must not be taken, or None."""
        if not error > self.tolerance:
            return None
        return f"the error estimate {error:.3g} {TOO_LONG} {self.tolerance:.3g}"

    def accept(self, dt: float, error: float, *, order: int, refused: bool) -> None:
        """Learn from a step that was taken.

        Args:
            dt: its size.
            error: the estimate of its error.

        Keyword Args:
            order: power of dt with which the error goes, less one.
            refused: longer ones were refused.
        """
        if self.tolerant:
            change = SAFETY * max(error / self.tolerance, 1e-300) ** (-1 / (order + 1))
            self.limit = dt * min(max(change, LEAST_CHANGE), 1.0 if refused else LARGEST_CHANGE)
        else:
            at_once, later = self._regrowth
            self.limit = at_once * dt if refused else later * self.limit


def check_step(dt: float) -> None:
    """Check the size of a step.

    Raises:
        InputError: it is not a positive number.
    """
    if not 0 < dt < math.inf:
        raise InputError(f"dt = {dt}: must be finite and greater than 0")


def march(
    solver: Steppable,
    end: float,
    *,
    stops: Iterable[float] = (),
    observers: Iterable[Observer] = (),
    several: Callable[[float, int], StepReport] | None = None,
) -> None:
    """Step a solver up to `end`, landing on every time in `stops` on the way, in equal steps between them.

    Each observer is called with the report of each step. Collective if the solver is.

    Args:
        solver: makes the steps.
        end: time.

    Keyword Args:
        stops: times on the way.
        observers: of the reports.
        several: makes some steps of a size, at most as many as given, with one report; one by `solver.step` by default.

    Raises:
        InputError: `end` lies before the time of the solver.
        RunError: the steps become so small that time no longer advances.
    """
    if end < solver.t and not math.isclose(solver.t, end, rel_tol=1e-12, abs_tol=1e-14):
        raise InputError(f"end = {end}: must not lie before the time reached, {solver.t}")
    for stop in sorted({*(s for s in stops if solver.t < s < end), end}):
        while not math.isclose(solver.t, stop, rel_tol=1e-12, abs_tol=1e-14 * min(1.0, end)):
            left = stop - solver.t
            count = math.ceil(left / solver.suggested_step * (1 - 1e-9))
            report = several(left / count, count) if several else solver.step(left / count)
            if report.dt < 1e-13 * max(abs(stop), report.dt):
                reason = f"; last refused: {report.refused[-1]}" if report.refused else ""
                raise RunError(f"the step has shrunk to {report.dt:.3g} at t = {report.t:.6g}{reason}")
            for observer in observers:
                observer(report)
