"""The end of a step: what it adds to the time integrals of the identity of `events`, and where it leaves particles.

Time integrals weigh both ends of a step by one half, or, for a particle that changes on the way, by the shares of the
step before and after. They are summed in blocks of particles, whose order is that of the particles, so that ranks and
threads may share them.
"""

from __future__ import annotations

import numpy as np

from limitpde.coagulation.simulator.events import (
    COMPENSATOR,
    COUNT,
    DIFFUSION,
    FULL,
    GOING,
    INTEGRAL,
    STEP,
    TIME,
    VARIATION,
    WORK,
    Functions,
    Happened,
    Moved,
    ReplicaState,
    counts_in,
    evaluate,
    happen,
)
from limitpde.coagulation.simulator.pairs import Physics, law
from limitpde.compiled import compiled, hot

INTEGRALS = 4
"""Rows of `ReplicaState.sums` that are time integrals, at least in part: the first."""
BLOCK = 1024
"""Particles whose part of the time integrals is summed by itself."""


@compiled
def finish(P, T, A, B, records, seed, key, replica, dt, late):  # type: ignore[no-untyped-def]
    """Carry out what happens in a step, and move all particles to its end: `happen`, `integrate` and `settle_down`.

    Returns:
        GOING, or FULL with nothing changed where there are too few rows for the particles that split.
    """
    happened = happen(P, T, A, B, records, seed, key, replica, dt, late)
    if happened.total < 0:
        return FULL
    sums = room_for_sums(T, happened)
    integrate(P, T, A, B, dt, happened, 0, len(sums), sums)
    integrate_born(P, T, A, B, dt, happened, len(happened.after), sums)
    settle_down(T, A, B, dt, happened, sums)
    return GOING


@compiled
def blocks(n: int) -> int:
    """Blocks of n particles."""
    return -(-n // BLOCK)


@compiled
def room_for_sums(T: Functions, happened: Happened) -> np.ndarray:
    """(blocks, INTEGRALS, F): room for what the blocks of particles add to the time integrals; no blocks without F."""
    return np.zeros((blocks(happened.total) if len(T.kinds) else 0, INTEGRALS, len(T.kinds)))


@compiled(nogil=True)
def integrate(
    P: Physics,
    T: Functions,
    A: ReplicaState,
    B: Moved,
    dt: float,
    happened: Happened,
    begin: int,
    end: int,
    sums: np.ndarray,
) -> None:
    """What the blocks begin, ..., end - 1 of the particles there were add to the time integrals, in their sums."""
    _integrate(P, T, A, B, dt, happened, begin, end, sums)


@hot
def _integrate(P, T, A, B, dt, happened, begin, end, sums):  # type: ignore[no-untyped-def]
    """`integrate`."""
    _, after, when = happened
    for i in range(begin * BLOCK, min(end * BLOCK, len(after))):
        share, block = 0.5 if when[i] < 0.0 else when[i], sums[i // BLOCK]
        if i < len(B.walls):
            for f in range(len(T.masses)):
                seen = share * counts_in(T.masses[f], A.mass[i])
                seen += (1.0 - share) * counts_in(T.masses[f], after[i]) if after[i] > 0 else 0.0
                block[DIFFUSION, f] += seen * B.walls[i, f]
        _add(P, T, block, A.phi, i, A.mass[i], share * dt)
        if after[i] > 0:
            _add(P, T, block, B.phi, i, after[i], (1.0 - share) * dt)


@compiled
def integrate_born(
    P: Physics, T: Functions, A: ReplicaState, B: Moved, dt: float, happened: Happened, n: int, sums: np.ndarray
) -> None:
    """What particles that were split off add after all others of their blocks; they are those after n of a replica."""
    first = len(happened.after)
    for i in range(first, happened.total if len(sums) else first):
        evaluate(T, B.x, i, i + 1, P.flat, B.phi)
        share = 1.0 - A.lag[i]
        _add(P, T, sums[(n + i - first) // BLOCK], B.phi, i, A.mass[i], (1.0 - share) * dt)


@hot
def _add(P, T, block, phi, i, mass, weight):  # type: ignore[no-untyped-def]
    """Add one particle's integrands, times a weight."""
    d = law(P.diffusion, mass)
    rate = law(P.splitting, mass) if len(P.splitting.values) else 0.0
    for f in range(len(T.masses)):
        only = T.masses[f]
        here = counts_in(only, mass) * weight
        block[INTEGRAL, f] += here * phi[0, i, f]
        block[DIFFUSION, f] += here * d * phi[1, i, f]
        block[VARIATION, f] += here * 2.0 * d * phi[2, i, f]
        if rate > 0.0:
            gain = 2.0 * weight if only == 0 else 2.0 * weight / float(mass - 1) if only < mass else 0.0
            block[COMPENSATOR, f] += rate * (gain - here) * phi[0, i, f]


@compiled
def settle_down(T: Functions, A: ReplicaState, B: Moved, dt: float, happened: Happened, sums: np.ndarray) -> None:
    """Add the sums of the blocks, and move the particles that are left to the end of the step, in their order."""
    for block in range(len(sums)):
        A.sums[:INTEGRALS] += sums[block]
    _settle_down(T, A, B, dt, happened)


@hot
def _settle_down(T, A, B, dt, happened):  # type: ignore[no-untyped-def]
    """`settle_down`."""
    total, after, when = happened
    n, kept = len(after), 0
    for i in range(total):
        mass = after[i] if i < n else A.mass[i]
        if mass == 0:
            continue
        for c in range(3):
            A.x[kept, c] = B.x[i, c]
        if len(A.mate):
            lag = A.lag[i] if i >= n else 1.0 - when[i] if when[i] >= 0.0 else 0.0
            for c in range(3):
                A.offset[kept, c] = A.offset[i, c]
            A.kin[kept] = A.kin[i] if i >= n or mass == A.mass[i] else -1
            A.lag[kept], A.mate[kept] = lag * dt, A.mate[i] if i >= n else -1
        A.mass[kept], A.ident[kept] = mass, A.ident[i]
        for f in range(len(T.masses)):
            for k in range(3):
                A.phi[k, kept, f] = B.phi[k, i, f]
        kept += 1
    A.numbers[WORK] += n
    A.numbers[STEP] += 1
    A.numbers[COUNT] = kept
    A.reals[TIME] += dt
