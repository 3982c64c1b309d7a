"""Steps made as two halves, along the same Brownian paths (`Controls.halved`).

The increments of the halves add to that of the whole step, with the normals of `Stream.BRIDGE` between them. What
happens to a pair within a step cannot be split like that: a reaction is drawn given both ends of the step, and a path
through the middle of both particles would be another path. But its law is exact for a step of any length; what is not
is what follows from a reaction, since the survivor goes on with its old diffusivity and its old candidates, and the
paths of three particles that meet are drawn independently. So the whole step's numbers are kept as far as they hold:

- the candidates of all pairs are those of the whole step, drawn in advance; those of the first half are carried out;
- the middles of a pair that is to react are drawn given when it meets, those of all others freely;
- a particle that reacted, or split, in the first half has its own diffusivity in the second, along the same path, and
  is tested with all others anew, from their middles to their ends; the clock of its splitting is drawn anew.

Then two runs differ only where the length of the step matters, until a particle is another one. For their steps to stay
the same, the run in whole steps is made beside that in halves, and says how long each is.
"""

from __future__ import annotations

import math

import numpy as np

from limitpde.coagulation.simulator.bridge import FIELDS, FIRST_MASS
from limitpde.coagulation.simulator.events import (
    ALL_IN_TIME,
    BRIDGE,
    COUNT,
    FULL,
    GOING,
    STATUS,
    STEP,
    TIME,
    TOO_LARGE,
    WORK,
    Functions,
    Moved,
    ReplicaState,
    evaluate,
)
from limitpde.coagulation.simulator.integrals import finish
from limitpde.coagulation.simulator.local_times import MOST_CONTACTS, touch
from limitpde.coagulation.simulator.pairs import TORUS, Physics, Sorted, law, meet_one
from limitpde.coagulation.simulator.steps import (
    Plan,
    arrange,
    arrive,
    bounds_of,
    draw,
    fits,
    land,
    look,
    make_sorted,
    meet,
    plan,
    plan_of,
    room_to_move,
    write_laws,
)
from limitpde.coagulation.simulator.walls import fold
from limitpde.compiled import compiled, hot
from limitpde.nbody.random import four_normals, pair_key

ANEW = 1 << 31
"""Added to the number of a step for pairs that are tested anew in its second half."""
ROOM = 4
"""Rows for each particle: in a step all may split twice."""


@compiled(nogil=True)
def advance_halved(
    P: Physics,
    T: Functions,
    A: ReplicaState,
    pilot: ReplicaState,
    seed: np.uint64,
    replica: int,
    stops: np.ndarray,
    step: float,
    budget: int,
) -> None:
    """As `steps.advance`, in halves; `pilot` is the same replica in whole steps, and sets their length."""
    rows = len(A.mass)
    S, slot = make_sorted(rows), np.empty(rows, dtype=np.int64)
    whole, middle = room_to_move(P, T, A), room_to_move(P, T, A)
    key, spent = pair_key(seed, replica), A.numbers[WORK] + budget
    records = np.empty((rows + 256, FIELDS))
    A.numbers[STATUS] = GOING
    for until in stops:
        while A.reals[TIME] < until and A.numbers[WORK] < spent and A.numbers[STATUS] == GOING:
            n, m = A.numbers[COUNT], pilot.numbers[COUNT]
            if len(P.splitting.values) and ROOM * max(n, m) > rows:
                A.numbers[STATUS] = FULL
                break
            bounds = bounds_of(P, A), bounds_of(P, pilot)
            A.numbers[STATUS], dt, growth = plan_halves(P, A, pilot, m, bounds, until, step)
            if A.numbers[STATUS] != GOING:
                break
            one = (seed, key, replica)
            if m > 0:
                ahead = plan_of(P, m, bounds[1], dt, growth)
                records, count = _candidates(P, T, pilot, whole, S, slot, one, ahead, records)
                finish(P, T, pilot, whole, records[:count], seed, key, replica, dt, ALL_IN_TIME)
            land(pilot, until, pilot.reals)
            if n > 0:
                ahead = plan_of(P, n, bounds[0], dt, growth)
                records, count = _candidates(P, T, A, whole, S, slot, one, ahead, records)
                _two_halves(P, T, A, whole, middle, one, ahead, records[:count])
            else:
                A.reals[TIME] += dt
            land(A, until, A.reals)


@compiled
def plan_halves(
    P: Physics,
    A: ReplicaState,
    pilot: ReplicaState,
    m: int,
    bounds: tuple[np.ndarray, np.ndarray],
    until: float,
    step: float,
) -> tuple[int, float, float]:
    """Status, length and growth (`Plan`) of the next step on the way to a time, as `steps.plan` has them.

    Args:
        P: the model.
        A: the replica in halves, or a rank's rows of it.
        pilot: the same in whole steps.
        m: particles of the pilot.
        bounds: `bounds_of` those of the replica in halves, and of the pilot.
        until: the time.
        step: the longest step.
    """
    status, dt, growth = GOING, until - A.reals[TIME], 1.0
    if m > 0:
        status, ahead = plan(P, pilot, m, bounds[1], until, step)
        dt, growth = ahead.dt, ahead.growth
    if status == GOING and not fits(P, bounds[0]):
        status = TOO_LARGE
    return status, dt, growth


@compiled
def _candidates(P, T, A, B, S, slot, one, ahead, records):  # type: ignore[no-untyped-def]
    """Where the particles go in a whole step, and the candidates for reactions: as in `steps.advance`."""
    seed, key, replica = one
    start = np.empty(np.prod(ahead.grid.cells) + 1, dtype=np.int64)
    look(P, A, ahead.grid, slot, start, 0.8, ahead.growth)
    n = A.numbers[COUNT]
    draw(P, T, A, B, 0, n, seed, replica, ahead.dt)
    arrange(P, A, B, S, slot, 0, n)
    return meet(P, S, ahead, start, key, A.numbers[STEP], records)


@compiled
def _two_halves(
    P: Physics,
    T: Functions,
    A: ReplicaState,
    whole: Moved,
    middle: Moved,
    one: tuple[np.uint64, np.uint64, int],
    ahead: Plan,
    records: np.ndarray,
) -> None:
    """One step as two halves, given the ends and candidates of the whole; `whole` becomes the ends of the second."""
    seed, key, replica = one
    n = A.numbers[COUNT]
    ident, mass = A.ident[:n].copy(), A.mass[:n].copy()
    by = np.ascontiguousarray(whole.by[:n].T)
    middle.by[:n] = middles(P, A, by, records, seed, replica, ahead.dt).T
    to_the_middle(P, T, A, middle, one, ahead.dt)
    before = whole.by[:n] - middle.by[:n], whole.x[:n].copy(), mass, A.lag[:n].copy()
    finish(P, T, A, middle, first_half(records), seed, key, replica, ahead.dt / 2.0, ALL_IN_TIME)
    came, row, late = _who_is_left(A, ident, mass)
    to_the_end(P, T, A, whole, one, ahead.dt, came, late, before)
    n = A.numbers[COUNT]
    bounds, changed = bounds_of(P, A), np.flatnonzero(late)
    S = make_sorted(n + len(changed))
    line_up(P, A, whole.by, np.arange(n), np.arange(n), 0, S)
    line_up(P, A, whole.by, changed, changed, n, S)
    reach = plan_of(P, n, bounds, ahead.dt / 2.0, 1.0).reach
    anew = tested_anew(P, S, late, reach, key, A.numbers[STEP], ahead.dt / 2.0, ahead.depth)
    later = np.concatenate((still_true(records, row), anew))
    finish(P, T, A, whole, later, seed, key, replica, ahead.dt / 2.0, late)


@compiled
def first_half(records: np.ndarray) -> np.ndarray:
    """The candidates of the first half, in its time."""
    early = records[records[:, 0] < 0.5]
    early[:, 0] *= 2.0
    return early


@compiled
def to_the_middle(P, T, A, middle, one, dt):  # type: ignore[no-untyped-def]
    """Fill in where the first half of a step of the length dt ends, in `middle`, from the displacements there."""
    n = A.numbers[COUNT]
    arrive(P, A, middle, 0, n)
    evaluate(T, middle.x, 0, n, P.flat, middle.phi)
    _touch(P, T, A, middle, dt, one, 0)


@compiled
def to_the_end(P, T, A, whole, one, dt, came, late, before):  # type: ignore[no-untyped-def]
    """Fill in where the second half of a step of the length dt ends, in `whole`; A has counted one step, and must not.

    Args:
        P: the model.
        T: the test functions.
        A: the state in the middle.
        whole: where the step ends, overwritten.
        one: seed, key and number of the replica.
        dt: length of the whole step.
        came: (n,) which row of `before` each particle was; -1 for those that are new.
        late: (n,) bool, who is new or has another mass than before.
        before: displacements from the middle to the end, places at the end, masses and lags before the step, by rows.
    """
    seed, _, replica = one
    rest, end, mass, lag = before
    A.numbers[STEP] -= 1
    n = len(came)
    for k in range(n):
        i, d = came[k], law(P.diffusion, A.mass[k])
        if i < 0:
            z, size = four_normals(seed, BRIDGE, replica, A.ident[k], A.numbers[STEP]), math.sqrt(d * dt)
            whole.by[k, 0], whole.by[k, 1], whole.by[k, 2] = size * z[0], size * z[1], 0.0 if P.flat else size * z[2]
        else:
            factor = math.sqrt(d / law(P.diffusion, mass[i])) if late[k] else 1.0
            for c in range(3):
                whole.by[k, c] = factor * rest[i, c]
        if late[k]:
            by = whole.by[k]
            there = fold(P, A.x[k, 0] + by[0], A.x[k, 1] + by[1], A.x[k, 2] + by[2])
            whole.x[k, 0], whole.x[k, 1], whole.x[k, 2] = there
        else:
            if len(lag):
                A.lag[k] = lag[i] + dt / 2.0
            whole.x[k] = end[i]
    evaluate(T, whole.x, 0, n, P.flat, whole.phi)
    _touch(P, T, A, whole, dt, one, ANEW)


@compiled
def _touch(P, T, A, B, dt, one, anew):  # type: ignore[no-untyped-def]
    """What walls add over half a step; `anew` tells the second half from the first."""
    seed, _, replica = one
    met = np.empty((MOST_CONTACTS, 8))
    for i in range(min(A.numbers[COUNT], len(B.walls)) if len(T.kinds) else 0):
        clock = (seed, replica, A.ident[i], A.numbers[STEP] + anew)
        variance = law(P.diffusion, A.mass[i]) * dt
        touch(P, T.kinds, T.parameters, A.x[i], B.by[i].copy(), variance, clock, met, B.walls[i])


@compiled
def _who_is_left(A: ReplicaState, ident: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of before, -1 for none, rows of now of those that are as before, and who is new or has another mass."""
    came, row = np.full(A.numbers[COUNT], -1), np.full(len(ident), -1)
    late, k = np.ones(len(came), dtype=np.bool_), 0
    for i in range(len(ident)):
        if k < len(came) and A.ident[k] == ident[i]:
            came[k], late[k] = i, A.mass[k] != mass[i]
            row[i] = -1 if late[k] else k
            k += 1
    return came, row, late


@compiled
def middles(
    P: Physics, A: ReplicaState, by: np.ndarray, records: np.ndarray, seed: np.uint64, replica: int, dt: float
) -> np.ndarray:
    """Displacements (3, n) up to the middle of a step of the displacements `by` (3, n), before walls fold them.

    With z of `Stream.BRIDGE` they are by / 2 + sqrt(d dt / 2) z. The middles of a pair that is to react at the share s
    of the step are drawn given that: their mean, weighted so that it is independent of their difference, stays, and
    that difference is a bridge that is 0 at s.
    """
    n = by.shape[1]
    found = np.empty_like(by)
    for i in range(n):
        z = four_normals(seed, BRIDGE, replica, A.ident[i], A.numbers[STEP])
        size = math.sqrt(law(P.diffusion, A.mass[i]) * dt / 2.0)
        for c in range(3):
            found[c, i] = by[c, i] / 2.0 + (0.0 if c == 2 and P.flat else size * z[c])
    tied = np.zeros(n, dtype=np.bool_)
    for event in np.argsort(records[:, 0], kind="mergesort"):
        s, i, j = records[event, 0], int(records[event, 3]), int(records[event, 4])
        if not records[event, 2] > 0.0 or tied[i] or tied[j]:
            continue
        tied[i] = tied[j] = True
        share = law(P.diffusion, A.mass[i])
        share /= share + law(P.diffusion, A.mass[j])
        for c in range(3):
            r = _nearest(P, A.x[j, c] - A.x[i, c], c)
            y = r + by[c, j] - by[c, i]
            free = r + found[c, j] - found[c, i]
            noise = free - (r + y) / 2.0  # of variance D dt / 2, D the sum of both d
            if s < 0.5:
                met = y * (0.5 - s) / (1.0 - s) + noise * math.sqrt(2.0 * (0.5 - s) / (1.0 - s))
            else:
                met = r * (s - 0.5) / s + noise * math.sqrt(2.0 * (s - 0.5) / s)
            found[c, i] -= share * (met - free)
            found[c, j] += (1.0 - share) * (met - free)
    return found


@hot
def _between(P: Physics, S: Sorted, i: int, j: int, c: int) -> float:
    """A coordinate of the displacement from i to j, on a torus to the nearest image."""
    return _nearest(P, S.at[c, j] - S.at[c, i], c)


@hot
def _nearest(P: Physics, r: float, c: int) -> float:
    """A coordinate of a displacement, on a torus to the nearest image."""
    if P.domain == TORUS and P.size[c] > 0.0:
        r -= P.size[c] * math.floor(r / P.size[c] + 0.5)
    return r


@compiled
def still_true(records: np.ndarray, row: np.ndarray) -> np.ndarray:
    """The candidates of the second half of pairs of which neither was changed in the first, in its time and rows.

    Args:
        records: those of the whole step.
        row: where each particle is now that they name; -1 for those that are gone or changed.
    """
    found, count = np.empty_like(records), 0
    for k in range(len(records)):
        i, j = row[int(records[k, 3])], row[int(records[k, 4])]
        if records[k, 0] < 0.5 or i < 0 or j < 0:
            continue
        found[count] = records[k]
        found[count, 0], found[count, 3], found[count, 4] = 2.0 * records[k, 0] - 1.0, i, j
        count += 1
    return found[:count]


@compiled
def line_up(
    P: Physics, A: ReplicaState, by: np.ndarray, which: np.ndarray, places: np.ndarray, at: int, S: Sorted
) -> None:
    """Write down some particles (m,) of A from S[at] on; `places` are their numbers among all rows."""
    for k in range(len(which)):
        i, to = which[k], at + k
        for c in range(3):
            S.at[c, to], S.by[c, to] = A.x[i, c], by[i, c]
            S.offset[c, to] = A.offset[i, c] if len(A.mate) else 0.0
        write_laws(P, S, to, A.mass[i])
        S.ident[to], S.place[to], S.mate[to] = A.ident[i], places[k], A.mate[i] if len(A.mate) else -1


@compiled
def tested_anew(
    P: Physics, S: Sorted, late: np.ndarray, reach: float, key: np.uint64, step: int, dt: float, depth: int
) -> np.ndarray:
    """Candidates over a second half of the length dt of the pairs with a particle that was changed in the first.

    Args:
        P: the model.
        S: n particles of any rank, and after them all that were changed.
        late: (n,) bool, which of the n these are.
        reach: largest distance of a pair that can react.
        key: from `pair_key`.
        step: number of the step.
        dt: length of the half.
        depth: rows of the stack for `bisect` in the whole step.

    Returns:
        (k, FIELDS), in the order of those that were changed, which is in the column FIRST_MASS.
    """
    n, records = len(late), np.empty((64, FIELDS))
    stack = np.empty((depth + 2, 8))
    while P.contact[0] > 0.0:
        count = 0
        for i in range(n, len(S.ident)):
            for j in range(n):
                if S.place[j] == S.place[i] or (late[j] and S.place[j] < S.place[i]):
                    continue
                r = (_between(P, S, i, j, 0), _between(P, S, i, j, 1), _between(P, S, i, j, 2))
                if r[0] * r[0] + r[1] * r[1] + r[2] * r[2] <= reach * reach:
                    before = count
                    count = meet_one(P, S, i, j, r, key, step + ANEW, dt, reach * reach, stack, records, count)
                    records[before:count, FIRST_MASS] = i - n
        if count <= len(records):
            return records[:count]
        records = np.empty((2 * count, FIELDS))
    return records[:0]
