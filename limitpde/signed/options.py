"""Which options of a signed case go together: one message for what makes no sense. Nothing is compiled here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from limitpde.errors import InputError
from limitpde.nbody.limits import groups_of
from limitpde.signed.model import Model

type BoundaryKind = Literal["plane", "grounded", "insulated"] | Mapping[str, float]
TransportBy = Literal["auto", "fitted", "corrected"]
Collision = Literal["through", "stick", "annihilate"]
PairMotion = Literal["euler", "exact", "auto"]
METHODS = ("direct", "fast", "batches", "auto")
BATCH_SIZE = 32
"""Particles of a random batch by default: no slower than pairs, as the noise and the order of the memory take more time
than so many forces (demos/benchmarks/random_batches.py)."""
STRONG = 0.05
"""gamma_N / sigma^2 from which "auto" takes the exact step of pairs: below it, collisions are rare and harmless."""
LARGEST = 12.0
"""Largest gamma / sigma^2: up to it the series of I(z) in `pair_step` stay within floating point for z <= 4 mu^2."""
MOST_SUBSTEPS = 1024
"""Parts into which a step may be cut (`limitpde.signed.substeps`)."""
MOST_STEPS = 1 << 22
"""Steps of a run in which steps may be cut: with the place in a step, a number below 2^32 (`limitpde.nbody.random`)."""
NEEDS_WALLS = (
    "initial: shape = 'uniform' fills a bounded domain: it needs [pde] with walls (pde.boundary), no particles"
)


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


def takes_exact_pairs(model: Model, count: int, pairs: PairMotion, collision: Collision, *, plain: bool) -> bool:
    """Whether pairs move by their exact law.

    Args:
        model: the parameters.
        count: N.
        pairs: what was asked for.
        collision: what happens where two charges collide.

    Keyword Args:
        plain: the kernel is K with the default cap, without a cut-off: the law is that of K.

    Raises:
        InputError: they cannot, or what was asked for needs it.
    """
    quiet = model.sigma**2 == 0
    ratio = 0.0 if quiet else model.pair_strength(count) / model.sigma**2
    possible = plain and model.interaction != "rotated" and ratio <= LARGEST
    if pairs == "exact" and not possible:
        raise InputError(
            "particles.pairs = 'exact': needs K itself (no eps, no cutoff, not 'regularised', not 'rotated') and "
            f"gamma / sigma^2 <= {LARGEST:g}; it is {ratio:.3g} for N = {count}"
        )
    if collision == "annihilate" and model.interaction != "signed":
        raise InputError("particles.collision = 'annihilate': needs model.interaction = 'signed'")
    exact = pairs == "exact" or (pairs == "auto" and possible and (ratio >= STRONG or collision != "through"))
    if collision != "through" and not exact:
        raise InputError(
            f"particles.collision = {collision!r}: needs particles.pairs = 'exact', which sees the collisions"
        )
    return exact


def check_substeps(substeps: int, steps: int = 0) -> None:
    """Raises InputError unless each of so many steps may be cut into so many parts."""
    if not (1 <= substeps <= MOST_SUBSTEPS and substeps & (substeps - 1) == 0):
        raise InputError(f"particles.substeps = {substeps}: must be a power of two from 1 to {MOST_SUBSTEPS}")
    if substeps > 1 and steps > MOST_STEPS:
        raise InputError(
            f"particles.substeps = {substeps}: must be 1 with {steps} steps; there are {MOST_STEPS} at most"
        )


def check_vortices(model: Model, boundary: BoundaryKind) -> None:
    """Check that a limit equation with the rotated kernel, if it is one, can be solved.

    Raises:
        InputError: there is an exterior potential, or a wall that is no stream line.
    """
    if model.interaction != "rotated":
        return
    if model.confinement is not None:
        raise InputError("model.confinement: the limit equation of vortices takes no exterior potential")
    if boundary not in ("plane", "grounded"):
        raise InputError(
            f"pde.boundary = {boundary!r}: with model.interaction = 'rotated' it must be 'plane', or 'grounded', a "
            "wall that the velocities follow"
        )
