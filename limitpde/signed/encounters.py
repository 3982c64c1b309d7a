"""What has become of the particles of some replicas: who is bound to whom, who is still there, who has collided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(slots=True)
class Encounters:
    """Who is bound to whom, who is still there, and where charges have collided, in a batch of R replicas."""

    bond: np.ndarray
    """(R, N) int64, the particle to which each one is bound; -1 where it is free."""
    alive: np.ndarray
    """(R, N) bool, particles that have not been annihilated."""
    collided: np.ndarray
    """(R,) bool, replicas in which two charges have hit each other."""
    since: np.ndarray
    """(R, N), end of the step in which each particle was bound, or annihilated; NaN where it was not."""

    @classmethod
    def none(cls, replicas: int, count: int) -> Encounters:
        """At the start."""
        shape = (replicas, count)
        return cls(
            np.full(shape, -1), np.ones(shape, dtype=bool), np.zeros(replicas, dtype=bool), np.full(shape, np.nan)
        )

    def note(self, t: np.ndarray) -> None:
        """Note the time t (R,) for those that have been bound since the last time."""
        np.copyto(self.since, t[:, None], where=(self.bond >= 0) & np.isnan(self.since))
