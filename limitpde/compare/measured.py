"""What a comparison needs of the particles and of the solution, as types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from limitpde.errors import RunError


class MeasuredEnsemble(Protocol):
    """Replicas of one particle number, R replicas, P test functions, T times."""

    @property
    def count(self) -> int:
        """N."""

    @property
    def steps(self) -> float:
        """Time steps of one replica, in the mean."""

    @property
    def times(self) -> np.ndarray:
        """Output times, (T,)."""

    @property
    def replicas(self) -> np.ndarray:
        """Numbers of the replicas, (R,)."""

    @property
    def observables(self) -> np.ndarray:
        """Int phi dL^N_t, (R, P, T)."""

    @property
    def own_observables(self) -> np.ndarray:
        """Numbers that functions of the user's own make of the particles, (R, Q, T)."""

    @property
    def residual(self) -> np.ndarray:
        """W[t, phi], (R, P, T)."""

    @property
    def compensator(self) -> np.ndarray:
        """A, what W should be at the end but for the noise, (R, P)."""

    @property
    def noise(self) -> np.ndarray:
        """M at the end, (R, P), of mean zero for every N; NaN where too little has happened to test that."""

    @property
    def quadratic_variation(self) -> np.ndarray | None:
        """Q of the noise in W at the end, (R, P); None where the theory knows none."""

    @property
    def in_theory(self) -> bool:
        """Whether the particles are those of the theorem, so that its rate applies."""


class MeasuredSolution(Protocol):
    """The residual of a PDE solution at each of its steps."""

    @property
    def times(self) -> list[float]:
        """Times of the steps, from 0 on."""

    @property
    def values(self) -> list[np.ndarray]:
        """W[t, phi] at these times, (P,) each."""

    @property
    def observables(self) -> list[np.ndarray]:
        """Int phi rho_t at these times, (P,) each."""

    @property
    def rates(self) -> list[np.ndarray]:
        """At which the terms of the equation move them, (terms, P) each."""


def at_times(seen: Sequence[float], values: Sequence[np.ndarray], times: np.ndarray) -> np.ndarray:
    """What was measured at some of the times seen, (P, T); NaN at those that were not.

    Args:
        seen: times, rising.
        values: what was measured at each of them, (P,).
        times: (T,).
    """
    known = np.array(seen)
    nearest = np.abs(known[:, None] - times).argmin(axis=0)
    found = np.array(values)[nearest].T.copy()
    found[:, np.abs(known[nearest] - times) > 1e-9 * np.maximum(np.abs(times), abs(known[-1]))] = math.nan
    return found


def check_finite(ensemble: MeasuredEnsemble) -> None:
    """Check that what was observed of particles are numbers; the same on every rank, as the ensemble is.

    Raises:
        RunError: one is not a number, or infinite.
    """
    for name, values in (("an observable", ensemble.observables), ("W", ensemble.residual)):
        wrong = ~np.isfinite(values).all(axis=(1, 2))
        if wrong.any():
            replica, k = ensemble.replicas[wrong][0], np.argmin(np.isfinite(values[wrong][0]).all(axis=0))
            raise RunError(
                f"N = {ensemble.count}: {name} of replica {replica} is no finite number at t = "
                f"{ensemble.times[k]:.6g}; take a shorter step"
            )
