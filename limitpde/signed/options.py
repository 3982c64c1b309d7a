"""Which options of the signed particles go together: one message for what makes no sense."""

from __future__ import annotations

from limitpde.errors import InputError
from limitpde.nbody.random_batches import groups_of
from limitpde.signed.collisions import Collision, PairMotion

METHODS = ("direct", "fast", "batches", "auto")
BATCH_SIZE = 32
"""Particles of a random batch by default: no slower than pairs, as the noise and the order of the memory take more time
than so many forces (demos/benchmarks/random_batches.py)."""


def batch_size_of(
    count: int,
    method: str,
    batch_size: int | None,
    *,
    pairs: PairMotion,
    collision: Collision,
    cutoff: int | None,
    substeps: int,
    estimates: bool,
) -> int | None:
    """The size p of random batches, BATCH_SIZE or N by default; None for another force sum.

    Args:
        count: N.
        method: of the force sum.
        batch_size: what was asked for.

    Keyword Args:
        pairs: how close pairs move: never by their exact law, as a pair is seldom in one batch.
        collision: what charges do that hit each other, which only the exact law sees.
        cutoff: l of the cut-off; it looks at all pairs at each step.
        substeps: the most parts of a step. What a batch says of the closest pair must not decide on the step.
        estimates: whether the paper's estimates are checked; they are for the particles' own drift.

    Raises:
        InputError: there is no such method, the size is out of range, or an option does not go with it.
    """
    if method not in METHODS:
        raise InputError(f"particles.method = {method!r}: must be one of {', '.join(METHODS)}")
    if method != "batches":
        if batch_size is not None:
            raise InputError(f"particles.batch_size = {batch_size}: is for method = 'batches' only; leave it out")
        return None
    against = {
        f"particles.pairs = {pairs!r}": pairs == "exact",
        f"particles.collision = {collision!r}": collision != "through",
        f"particles.cutoff = {cutoff}": cutoff is not None,
        f"particles.substeps = {substeps}": substeps > 1,
        "estimates.check = true": estimates,
    }
    for what, present in against.items():
        if present:
            raise InputError(f"{what}: does not go with particles.method = 'batches'; leave it out")
    if count < 2:
        raise InputError(f"particles.counts = {count}: particles.method = 'batches' needs at least two particles")
    size = min(BATCH_SIZE, count) if batch_size is None else batch_size
    groups_of(count, size)
    return size
