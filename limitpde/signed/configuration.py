"""Where the particles of some replicas are, what drives them, and which replicas take a step together."""

from __future__ import annotations

from collections.abc import Callable
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
    """(R, N), b_i as the interaction sees it; `signs` itself where these are the same."""
    felt: np.ndarray
    """(2, R, own), drifts that the rank's own particles have."""
    limit: np.ndarray
    """(2, R, own), drifts with the forces of the equation; `felt` itself where these are the same."""
    share: np.ndarray
    """(R,), the cut-off Phi_l."""
    encounters: Encounters

    @classmethod
    def at(
        cls,
        replicas: np.ndarray,
        draw: Callable[[int], tuple[np.ndarray, np.ndarray]],
        count: int,
        *,
        charges: tuple[float, float],
        own: int,
        apart: bool,
        binding: bool,
    ) -> Configuration:
        """At the start.

        Args:
            replicas: (R,) their numbers.
            draw: positions (N, 2) and signs (N,) of the replica of a number.
            count: N.

        Keyword Args:
            charges: b of the positive and of the negative particles, as the interaction sees it.
            own: particles of this rank.
            apart: the drifts of the equation differ from those that are felt.
            binding: whether particles can be bound to each other.
        """
        x, y = (np.empty((len(replicas), count)) for _ in range(2))
        each = []
        for r, number in enumerate(replicas.tolist()):
            points, sign = draw(number)
            x[r], y[r] = points.T
            each.append(sign)
            del points
        signs = each[0][None] if len(each) == 1 else np.stack(each)
        felt = np.empty((2, len(x), own))
        limit = np.empty_like(felt) if apart else felt
        b = signs if charges == (1.0, -1.0) else np.where(signs > 0, *charges)
        none = Encounters.none(len(x), count, binding=binding)
        return cls(replicas, x, y, signs, b, felt, limit, np.ones(len(x)), none)

    def strength(self, pull: float) -> np.ndarray:
        """What stands before b_i b_j k in the velocities, (R,), for this one without the cut-off."""
        return pull * self.share

    def some(self, rows: np.ndarray) -> Configuration:
        """A copy of the replicas in these rows; this state itself where they are all rows."""
        if len(rows) == len(self.replicas):
            return self
        felt = self.felt.take(rows, axis=1)
        limit = felt if self.limit is self.felt else self.limit.take(rows, axis=1)
        e = self.encounters
        encounters = Encounters(e.bond[rows], e.alive[rows], e.collided[rows], e.since[rows])
        where = self.replicas[rows], self.x[rows], self.y[rows]
        signs = self.signs[rows]
        charges = signs if self.charges is self.signs else self.charges[rows]
        return Configuration(*where, signs, charges, felt, limit, self.share[rows], encounters)

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
