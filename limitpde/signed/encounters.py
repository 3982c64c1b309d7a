"""What has become of the particles of some replicas: who is bound to whom, who is still there, who has collided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(slots=True)
class Encounters:
    """Who is bound to whom, who is still there, and where charges have collided, in a batch of R replicas."""

    bond: np.ndarray
    """(R, N) int64, the particle to which each one is bound; -1 where it is free; (R, 0) where none can be bound."""
    alive: np.ndarray
    """(R, N) bool, particles that have not been annihilated."""
    collided: np.ndarray
    """(R,) bool, replicas in which two charges have hit each other."""
    since: np.ndarray
    """(R, N), end of the step in which each particle was bound, or annihilated; NaN where it was not; or (R, 0)."""

    @classmethod
    def none(cls, replicas: int, count: int, *, binding: bool = True) -> Encounters:
        """At the start, of particles that can be bound to each other or not."""
        shape, pairs = (replicas, count), (replicas, count if binding else 0)
        return cls(
            np.full(pairs, -1), np.ones(shape, dtype=bool), np.zeros(replicas, dtype=bool), np.full(pairs, np.nan)
        )

    def own(self, mine: slice) -> Encounters:
        """Those of some particles, of which none can be bound."""
        return Encounters(self.bond, self.alive[:, mine], self.collided, self.since)

    def note(self, t: np.ndarray) -> None:
        """Note the time t (R,) for those that have been bound since the last time."""
        np.copyto(self.since, t[:, None], where=(self.bond >= 0) & np.isnan(self.since))
