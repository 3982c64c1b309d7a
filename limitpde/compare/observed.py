"""W[t, phi] of a solution as its steps go by: how far int phi rho has come, less the time integrals of the rates.

The integrals over time are those of the cubic spline through the steps, of order four: so W shows the errors of the
scheme, of whatever order, and none of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
from scipy.interpolate import CubicSpline

from limitpde.compare.marked import Evaluated, evaluate_marked, time_dependent
from limitpde.compare.test_functions import TestFunction
from limitpde.fem.nodes import NodeSpace
from limitpde.fem.stepping import StepReport
from limitpde.parallel import on_all


def time_integrals(times: Sequence[float], rates: np.ndarray) -> np.ndarray:
    """int_0^t of rates (T, ...) at each of the times (T,), by the cubic spline through them."""
    if len(times) == 1:
        return np.zeros_like(rates)
    return np.asarray(CubicSpline(times, rates).antiderivative()(times))


class ObservedIntegrals(ABC):
    """An observer of a solver, with what it measures at each step. Collective; all is the same on every rank.

    Args:
        t: time of the solver, which `measure` can look at already.

    Attributes:
        times: times seen so far.
        observables: int phi rho at these times, (P,) each.
        rates: at which the terms of the equation move them, (terms, P) each.
        warnings: what to know before trusting W.
    """

    STATE: ClassVar[str]
    """Name and version of what `state` gives."""

    def __init__(self, t: float) -> None:
        observables, rates = self.measure()
        self.times, self.observables, self.rates = [t], [observables], [rates]
        self.warnings: list[str] = []

    @abstractmethod
    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """int phi rho, (P,), and the rates whose time integrals move it, (terms, P), of the present state."""

    def __call__(self, report: StepReport) -> None:
        """Take in one step."""
        observables, rates = self.measure()
        self.times.append(report.t)
        self.observables.append(observables)
        self.rates.append(rates)

    def change(self) -> np.ndarray:
        """int phi (rho_T - rho_0), (P,)."""
        return np.asarray(self.observables[-1] - self.observables[0])

    @property
    def values(self) -> list[np.ndarray]:
        """W[t, phi] at each of the times, (P,) each: what the terms of the equation do not account for."""
        moved = time_integrals(self.times, np.array(self.rates)).sum(axis=1)
        return list(np.array(self.observables) - self.observables[0] - moved)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on from here, the same on every rank."""
        return {name: np.array(getattr(self, name)) for name in ("times", "observables", "rates")}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`, with a solver that is at its time."""
        self.times, self.observables, self.rates = (list(state[name]) for name in ("times", "observables", "rates"))


class DriftDiffusionResidual(ObservedIntegrals):
    """W of S densities that drift and diffuse, and of their sum.

        int phi (rho_T - rho_0) - int_0^T int (F . grad phi + D Lap phi + d phi / dt) rho dt.

    Args:
        nodes: where the densities have values.
        functions: P test functions phi(x, s, t), s = 1, ..., S.

    Keyword Args:
        now: the time of the solver.
        diffusivity: D.
        masses: int rho_s lambda_i at the owned nodes now, (S, owned).
        force: F there, (S, owned, d).
    """

    def __init__(
        self,
        nodes: NodeSpace,
        functions: Sequence[TestFunction],
        *,
        now: Callable[[], float],
        diffusivity: float,
        masses: Callable[[], np.ndarray],
        force: Callable[[], np.ndarray],
    ) -> None:
        self._nodes, self._functions, self._now = nodes, functions, now
        self._diffusivity, self._masses, self._force = diffusivity, masses, force
        self._still: Evaluated | None = None
        super().__init__(now())

    def _tested(self, species: int) -> Evaluated:
        """The functions now, where they depend on time, at the nodes of all species one after another. Collective."""
        if self._still is None or time_dependent(self._functions):
            x = np.tile(self._nodes.points, (species, 1))
            mark = np.repeat(np.arange(1.0, species + 1), self._nodes.owned)
            self._still = on_all(self._nodes.comm, partial(evaluate_marked, self._functions, x, mark, self._now()))
        return self._still

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """int phi rho, and the rates at which drift, noise and time move it, (3, P)."""
        masses, force = self._masses(), self._force()
        phi, held = self._tested(len(masses)), masses.ravel()
        drift = (phi.gradient * force.reshape(-1, force.shape[-1])).sum(axis=2) @ held
        parts = [phi.value @ held, drift, self._diffusivity * (phi.laplacian @ held), phi.rate @ held]
        found = self._nodes.sums.add(np.stack(parts))
        return found[0], found[1:]
