"""Where the particles of some replicas are, what drives them, and which replicas take a step together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limitpde.signed.encounters import Encounters


@dataclass(slots=True)
class Configuration:
    """R replicas of N particles at one moment each; all arrays are written to in place."""

    replicas: np.ndarray
    """(R,) int64, their numbers."""
    x: np.ndarray
    """(R, N) float64."""
    y: np.ndarray
    """(R, N) float64."""
    signs: np.ndarray
    """(R, N) of +1.0 and -1.0."""
    charges: np.ndarray
    """(R, N), b_i as the interaction sees it."""
    felt: np.ndarray
    """(2, R, N), drifts that the particles have."""
    limit: np.ndarray
    """(2, R, N), drifts with the forces of the equation; `felt` itself where these are the same."""
    share: np.ndarray
    """(R,), the cut-off Phi_l."""
    encounters: Encounters

    @classmethod
    def at(
        cls,
        replicas: np.ndarray,
        drawn: list[tuple[np.ndarray, np.ndarray]],
        *,
        charges: tuple[float, float],
        apart: bool,
    ) -> Configuration:
        """At the start.

        Args:
            replicas: (R,) their numbers.
            drawn: positions (N, 2) and signs (N,) of each.

        Keyword Args:
            charges: b of the positive and of the negative particles, as the interaction sees it.
            apart: the drifts of the equation differ from those that are felt.
        """
        x, y = (np.ascontiguousarray(np.stack([p[:, k] for p, _ in drawn])) for k in range(2))
        signs = np.stack([s for _, s in drawn])
        felt = np.empty((2, *x.shape))
        limit = np.empty_like(felt) if apart else felt
        b, one = np.where(signs > 0, *charges), np.ones(len(x))
        return cls(replicas, x, y, signs, b, felt, limit, one, Encounters.none(*x.shape))

    def some(self, rows: np.ndarray) -> Configuration:
        """A copy of the replicas in these rows; this state itself where they are all rows."""
        if len(rows) == len(self.replicas):
            return self
        felt = self.felt.take(rows, axis=1)
        limit = felt if self.limit is self.felt else self.limit.take(rows, axis=1)
        e = self.encounters
        encounters = Encounters(e.bond[rows], e.alive[rows], e.collided[rows], e.since[rows])
        where = self.replicas[rows], self.x[rows], self.y[rows]
        who = self.signs[rows], self.charges[rows]
        return Configuration(*where, *who, felt, limit, self.share[rows], encounters)

    def put(self, rows: np.ndarray, some: Configuration) -> None:
        """Take over what has become of `some(rows)`."""
        if some is self:
            return
        self.x[rows], self.y[rows], self.share[rows] = some.x, some.y, some.share
        self.felt[:, rows] = some.felt
        if self.limit is not self.felt:
            self.limit[:, rows] = some.limit
        for name in ("bond", "alive", "collided", "since"):
            getattr(self.encounters, name)[rows] = getattr(some.encounters, name)
