"""What the replicas of one number of signed particles have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from limitpde.compare.cloud_functions import CloudFunction
from limitpde.compare.clouds import clouds_kept
from limitpde.nbody.pairs import own_particles
from limitpde.nbody.teams import SINGLE, Team
from limitpde.signed.model import Model
from limitpde.signed.options import Collision
from limitpde.signed.residual import ParticleResidual
from limitpde.signed.start import InitialPositions

PairSum = Callable[..., None]


@dataclass(frozen=True, slots=True)
class ChargeSetup:
    """All that the replicas of one particle number have in common."""

    limit: Model
    """Of the equation, and of W."""
    model: Model
    """Of the particles."""
    start: InitialPositions
    seed: int
    grid: list[tuple[float, int]]
    residual: ParticleResidual
    kernel: str
    eps: float
    bare: bool
    """W takes K itself; with the default cap, below what a step resolves, the capped K stands for it."""
    cutoff: int | None
    exact_pairs: bool
    collision: Collision
    pair_sum: PairSum
    """What sums up the forces of all pairs."""
    batch_size: int | None
    """p where the particles feel the forces of random batches."""
    substeps: int
    """m, the most parts of a step."""
    halved: bool
    """Whether each step, or part of one, is made as two halves along the same paths (`limitpde.signed.halves`)."""
    estimate_eps: tuple[float, ...] | None
    observables: tuple[CloudFunction, ...]
    """Whose numbers are measured besides."""
    team: Team = SINGLE
    """The ranks that share the forces of a replica."""

    @property
    def count(self) -> int:
        """N."""
        return self.start.count

    @property
    def parted(self) -> bool:
        """Whether each rank of the team has the drifts of its own particles alone."""
        return self.team.size > 1 and not self.exact_pairs and self.estimate_eps is None

    @property
    def mine(self) -> slice:
        """The particles whose drifts this rank has."""
        if not self.parted:
            return slice(0, self.count)
        return self.team.mine(own_particles(self.count, self.team))

    @property
    def meeting(self) -> bool:
        """Whether any pair of opposite charges may be found to meet in a step (`limitpde.signed.meetings`)."""
        asked = self.collision != "through" or self.estimate_eps is not None
        return self.exact_pairs and self.model.interaction == "signed" and asked

    @property
    def kept(self) -> int:
        """Replicas whose charges at the end are kept."""
        return clouds_kept(3 * self.count)

    @property
    def steps(self) -> int:
        """Time steps of one replica."""
        return sum(steps for _, steps in self.grid) * (2 if self.halved else 1)

    @property
    def pull(self) -> tuple[float, float]:
        """What stands before b_i b_j k in the velocities, and in those of the equation."""
        sense, count = self.model.sense, self.count
        return sense * self.model.pair_strength(count), sense * self.limit.pair_strength(count)

    @property
    def apart(self) -> bool:
        """Whether drifts of the equation are asked for which are not those that the particles feel."""
        asked = len(self.residual.table.kinds) > 0 or self.estimate_eps is not None
        other = self.pull[0] != self.pull[1]
        return asked and (other or self.bare or self.cutoff is not None or self.batch_size is not None)
