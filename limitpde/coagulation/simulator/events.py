"""What happens during one step: reactions and splittings in the order of time, and what they add to the micro identity.

For phi(x, n) and particles i = 1 ... n(t), Hammond (4.1), with the 1/2 that it drops put back (each unordered pair
reacts at the rate alpha V_eps):

    sum phi(x_i, m_i) |_0^t = int_0^t sum d(m_i) Lap phi dt + int_0^t sum_{i<j} alpha V_eps C_ij phi dt
                              + int_0^t sum dphi/dn_in dL_i + M_t,

L_i the local time at walls that reflect (`local_times`), C_ij phi the mean change when i and j react; splittings add
their own rate times their mean change. M is a martingale with

    [M]_t = int_0^t sum 2 d(m_i) |grad phi|^2 dt + sum over the jumps of (jump)^2.

The hazards are those of the candidates of `bridge`: int alpha V_eps dt is estimated by the sum of their chances p,
without bias, and then a candidate is a jump of M of (accepted) (change) - p C phi. The time integrals are those of
`integrals`.

A particle that was hit twice keeps the earlier hit only. Within its step a survivor goes on as it was before: with its
old diffusivity, and with the candidates found for its old mass. That, and the two paths of three particles that meet
within one step being drawn independently, leave errors of the order of the chance of a reaction per step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from limitpde.coagulation.simulator.bridge import FIRST_MASS, FIRST_STAYS, SECOND_MASS
from limitpde.coagulation.simulator.pairs import DRAWS, Physics, law
from limitpde.coagulation.simulator.potential import draw_offset
from limitpde.coagulation.simulator.walls import fold
from limitpde.compare.spatial import spatial
from limitpde.compiled import compiled, hot
from limitpde.nbody.random import pair_uniforms, two_uniforms

COUNT, STEP, NEXT, EVENTS, WORK, STATUS = range(6)
"""Entries of `ReplicaState.numbers`."""
TIME, EDGE, DENSITY = range(3)
"""Entries of `ReplicaState.reals`."""
GOING, FULL, STUCK, TOO_LARGE = range(4)
"""Values of the status: all is well; more particles than rows; steps too short; ranges too long for the domain."""
DIFFUSION, INTEGRAL, VARIATION, COMPENSATOR, JUMPS, JUMP_VARIATION = range(6)
"""Rows of `ReplicaState.sums`."""
EVENT, BRIDGE = 3, 5  # Stream.EVENT, Stream.BRIDGE
LATE = 1 << 33
"""Added to the number of a step for clocks that are drawn anew in its second half."""
ALL_IN_TIME = np.zeros(0, dtype=np.bool_)
"""No clocks are drawn anew."""


class ReplicaState(NamedTuple):
    """One replica: particles are rows, of which the first numbers[COUNT] count."""

    x: np.ndarray
    """(rows, 3) positions; 0 beyond d."""
    mass: np.ndarray
    """(rows,) int64."""
    ident: np.ndarray
    """(rows,) int64, numbers that particles keep for life."""
    mate: np.ndarray
    """(rows,) int64, number of the particle from which it was split off in the last step; -1 for none. No rows of this
    and of the next three where nothing splits."""
    kin: np.ndarray
    """(rows,) int64, number of the particle from which it was split off, as long as it keeps its mass; -1 for none."""
    offset: np.ndarray
    """(rows, 3) displacement from that one, in units of the range."""
    lag: np.ndarray
    """(rows,) time in the past for which its clock of splitting has yet to run."""
    phi: np.ndarray
    """(3, rows, F): g, Lap g and |grad g|^2 at its position."""
    numbers: np.ndarray
    """(6,) int64: particles, steps, number of the next new particle, events, particle steps, status."""
    reals: np.ndarray
    """(3,): time, edge of the cells wanted, particles per volume around a particle."""
    sums: np.ndarray
    """(6, F): int sum d Lap phi dt with what walls add, int sum phi dt, [M], int sum (hazard) (mean change) dt; number
    of reactions and splittings that change sum phi; their part of [M]."""
    pairs: np.ndarray
    """(2, L, L): int sum over ordered pairs of masses n, m of alpha V_eps dt, of pairs at large and of kin."""
    reacted: np.ndarray
    """(L, L): reactions of pairs at large of masses n, m."""


class Happened(NamedTuple):
    """What happened to particles in a step."""

    total: int
    """Rows with those that were split off, which are the last; -1 with nothing changed where there are too few."""
    after: np.ndarray
    """(n,) int64, masses at its end of those there were; 0 for those that are gone."""
    when: np.ndarray
    """(n,) share of the step at which they changed first; -1 for those that did not."""


class Functions(NamedTuple):
    """Test functions phi(x, m) = g(x), or g(x) 1{m = n}."""

    kinds: np.ndarray
    """(F,) int64, see `FunctionTable`."""
    masses: np.ndarray
    """(F,) int64: n, or 0."""
    parameters: np.ndarray
    """(F, d + 1)."""


class Moved(NamedTuple):
    """Where the particles of one replica end the step."""

    by: np.ndarray
    """(rows, 3) displacements, before walls fold them."""
    x: np.ndarray
    """(rows, 3)."""
    phi: np.ndarray
    """(3, rows, F), as in `ReplicaState`."""
    walls: np.ndarray
    """(rows, F): what walls add to each test function on the way, see `local_times`; no rows without walls."""


@compiled
def evaluate(T: Functions, x: np.ndarray, begin: int, end: int, flat: bool, phi: np.ndarray) -> None:
    """Fill phi[:, i] with g, Lap g and |grad g|^2 at the points x[i], begin <= i < end."""
    if len(T.kinds) == 0:
        return
    d = 2 if flat else 3
    gradient = np.empty(d)
    for i in range(begin, end):
        for f in range(len(T.kinds)):
            phi[0, i, f], phi[1, i, f] = spatial(T.kinds[f], T.parameters[f], x[i, :d], gradient)
            square = 0.0
            for c in range(d):
                square += gradient[c] * gradient[c]
            phi[2, i, f] = square


@hot
def counts_in(only, mass):  # type: ignore[no-untyped-def]
    """1 where a test function sees this mass, else 0."""
    return 1.0 if only == 0 or only == mass else 0.0


@compiled
def values_at(T: Functions, f: int, x: np.ndarray, flat: bool) -> np.ndarray:
    """g of one test function at the points x (n, 3), (n,)."""
    d = 2 if flat else 3
    found, gradient = np.empty(len(x)), np.empty(d)
    for i in range(len(x)):
        found[i] = spatial(T.kinds[f], T.parameters[f], x[i, :d], gradient)[0]
    return found


@compiled
def _on_the_way(P, T, A, B, i, f, time):  # type: ignore[no-untyped-def]
    """g of one test function between both ends of a particle's step; from the positions, as any rank may ask."""
    before, after = values_at(T, f, A.x[i : i + 1], P.flat)[0], values_at(T, f, B.x[i : i + 1], P.flat)[0]
    return before + time * (after - before)


@hot
def _clock(seed: np.uint64, replica: int, ident: int, step: int, late: bool) -> tuple[float, float]:
    """Two uniforms for the splitting of a particle: when, and into what. Drawn anew in the second half of a step."""
    if late:
        return two_uniforms(seed, BRIDGE, replica, ident, step + LATE)
    return two_uniforms(seed, EVENT, replica, ident, step)


@compiled
def rings(P: Physics, A: ReplicaState, seed: np.uint64, replica: int, dt: float, late: np.ndarray) -> np.ndarray:
    """Shares of the step at which the clocks of splitting ring, (n,); 2 where they do not."""
    n = A.numbers[COUNT]
    found = np.full(n if len(P.splitting.values) else 0, 2.0)
    for i in range(len(found)):
        rate = law(P.splitting, A.mass[i])
        if rate > 0.0:
            u, _ = _clock(seed, replica, A.ident[i], A.numbers[STEP], i < len(late) and late[i])
            time = (-math.log(u) / rate - A.lag[i]) / dt
            if time < 1.0:
                found[i] = max(time, 0.0)
    return found


@compiled
def happen(
    P: Physics,
    T: Functions,
    A: ReplicaState,
    B: Moved,
    records: np.ndarray,
    seed: np.uint64,
    key: np.uint64,
    replica: int,
    dt: float,
    late: np.ndarray,
) -> Happened:
    """Carry out what happens in a step, in the order of time, with all particles still where they were at its start.

    Args:
        P: the model.
        T: the test functions.
        A: the state at the start of the step; particles that are split off take the rows from n on.
        B: where the particles would end it.
        records: (k, bridge.FIELDS) candidates; what became of them is noted in the columns from FIRST_MASS on.
        seed: of the run.
        key: from `pair_key`.
        replica: number of the replica.
        dt: length of the step.
        late: (n,) bool, whose clocks of splitting are drawn anew, see `halves`; empty for none.

    Returns:
        What happened.
    """
    n = A.numbers[COUNT]
    after, when = A.mass[:n].copy(), np.full(n, -1.0)
    times = rings(P, A, seed, replica, dt, late)
    ringing = np.flatnonzero(times < 1.0)
    if n + len(ringing) > len(A.mass):
        return Happened(-1, after, when)
    total = n
    times = np.concatenate((records[:, 0], times[ringing]))
    for event in np.argsort(times, kind="mergesort"):
        if event < len(records):
            _react(P, T, A, B, records[event], key, after, when)
        else:
            i = ringing[event - len(records)]
            if after[i] == A.mass[i]:
                chosen = _clock(seed, replica, A.ident[i], A.numbers[STEP], i < len(late) and late[i])[1]
                total = _split(P, T, A, B, i, times[event], key, chosen, after, when, total)
    return Happened(total, after, when)


@compiled
def _react(P, T, A, B, record, key, after, when):  # type: ignore[no-untyped-def]
    """One candidate: its share of the compensator, and the reaction if it was accepted."""
    time, chance, accepted = record[0], record[1], record[2] > 0.0
    i, j = int(record[3]), int(record[4])
    n, m = after[i], after[j]
    record[FIRST_MASS], record[SECOND_MASS] = n, m
    if n == 0 or m == 0:
        return
    if max(n, m) <= len(A.reacted):
        kin = 1 if len(A.kin) and (A.kin[i] == A.ident[j] or A.kin[j] == A.ident[i]) else 0
        A.pairs[kin, n - 1, m - 1] += chance
        A.pairs[kin, m - 1, n - 1] += chance
        if accepted and kin == 0:
            A.reacted[n - 1, m - 1] += 1
            A.reacted[m - 1, n - 1] += 1 if n != m else 0
    first = True
    if accepted and P.merge:
        u, _ = pair_uniforms(key, A.ident[i], A.ident[j], A.numbers[STEP], 8 * DRAWS)
        first = u * float(n + m) <= float(n)
    record[FIRST_STAYS] = 1.0 if first else 0.0
    for f in range(len(T.masses)):
        gi, gj = _on_the_way(P, T, A, B, i, f, time), _on_the_way(P, T, A, B, j, f, time)
        loss = counts_in(T.masses[f], n) * gi + counts_in(T.masses[f], m) * gj
        gain = counts_in(T.masses[f], n + m) if P.merge else 0.0
        mean = gain * (float(n) * gi + float(m) * gj) / float(n + m) - loss
        jump = gain * (gi if first else gj) - loss if accepted else 0.0
        A.sums[COMPENSATOR, f] += chance * mean
        _jump(A, f, jump - chance * mean, accepted and (gain > 0.0 or loss != 0.0))
    if not accepted:
        return
    A.numbers[EVENTS] += 1
    for k in (i, j):
        if when[k] < 0.0:
            when[k] = time
    after[i] = n + m if P.merge and first else 0
    after[j] = n + m if P.merge and not first else 0


@hot
def _jump(A, f, size, counts):  # type: ignore[no-untyped-def]
    """A jump of M; whether it counts as something that happened."""
    A.sums[VARIATION, f] += size * size
    A.sums[JUMP_VARIATION, f] += size * size
    A.sums[JUMPS, f] += 1.0 if counts else 0.0


@compiled
def _split(P, T, A, B, i, time, key, v, after, when, total):  # type: ignore[no-untyped-def]
    """One splitting, v telling into what: the new particle takes the row `total`; the number of rows now."""
    n, step = after[i], A.numbers[STEP]
    part = 1 + min(int((1.0 - v) * float(n - 1)), n - 2)
    for f in range(len(T.masses)):
        g = _on_the_way(P, T, A, B, i, f, time)
        only = T.masses[f]
        change = counts_in(only, part) + counts_in(only, n - part) - counts_in(only, n)
        _jump(A, f, g * change, change != 0.0)
    A.numbers[EVENTS] += 1
    after[i], A.mass[total] = part, n - part
    if when[i] < 0.0:
        when[i] = time
    A.ident[total], A.mate[total], A.kin[total] = A.numbers[NEXT], A.ident[i], A.ident[i]
    A.numbers[NEXT] += 1
    draw_offset(P.V, P.flat, (key, A.ident[i], A.ident[total], step), 8 * DRAWS + 1, A.offset[total])
    width = math.exp(P.log_eps) * (law(P.ranges, part) + law(P.ranges, n - part))
    for c in range(3):
        B.x[total, c] = B.x[i, c] + width * A.offset[total, c]
    B.x[total, 0], B.x[total, 1], B.x[total, 2] = fold(P, B.x[total, 0], B.x[total, 1], B.x[total, 2])
    A.lag[total] = 1.0 - time
    return total + 1
