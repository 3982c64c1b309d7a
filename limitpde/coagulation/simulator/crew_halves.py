"""Steps in halves of one replica by a team of ranks: as `halves.advance_halved`, with the parts of `crew`.

Pairs that react are few, so all ranks learn of both and draw where they meet alike. What a particle keeps from the
first half for the second goes with it where it changes its rank. Those that were changed in the first half are known to
all; each rank tests its own particles against them.
"""

from __future__ import annotations

import numpy as np

from limitpde.coagulation.simulator.bridge import FIRST_MASS
from limitpde.coagulation.simulator.crew import Changed, Crew
from limitpde.coagulation.simulator.events import ALL_IN_TIME, COUNT, FULL, GOING, STATUS, STEP, TIME
from limitpde.coagulation.simulator.halves import (
    ANEW,
    ROOM,
    first_half,
    line_up,
    middles,
    plan_halves,
    still_true,
    tested_anew,
    to_the_end,
    to_the_middle,
)
from limitpde.coagulation.simulator.rows import most_rows
from limitpde.coagulation.simulator.steps import Plan, land, make_sorted, plan_of, room_to_move


class HalvedCrew:
    """A replica that goes in halves beside one in whole steps, and the ranks and threads that advance both.

    Args:
        own: the replica in halves.
        pilot: the same in whole steps, with nothing that looks on.
    """

    def __init__(self, own: Crew, pilot: Crew) -> None:
        self._own, self._pilot = own, pilot
        self._middle = room_to_move(own.physics, own.functions, own.state)
        self._pilot.moved = own.moved  # each is done with it before the other begins

    def step(self, until: float, step: float) -> bool:
        """Take one step on the way to a time; whether there is more to do. Collective in the team.

        Raises:
            InputError: a test function by Python fails on this rank.
            TeamFailure: a rank has failed.
        """
        A = self._own.state
        A.numbers[STATUS] = GOING
        if not A.reals[TIME] < until:
            return False
        A.numbers[STATUS] = self._both(until, step)
        return bool(A.numbers[STATUS] == GOING and A.reals[TIME] < until)

    def _both(self, until: float, step: float) -> int:
        """A step in halves, beside the whole one of the pilot; the status then."""
        own, pilot = self._own, self._pilot
        P, n, m, blocked = own.physics, own.rows.all, pilot.rows.all, len(own.functions.kinds) > 0
        if len(P.splitting.values) and most_rows(own.team, blocked, ROOM * max(n, m)) > len(own.state.mass):
            return FULL
        bounds = own.bounds(), pilot.bounds()
        planned = np.array(plan_halves(P, own.state, pilot.state, m, bounds, until, step))
        own.team.align(planned)
        status, dt, growth = int(planned[0]), float(planned[1]), float(planned[2])
        if status != GOING:
            return status
        if m > 0:
            ahead = own.as_on_the_first(GOING, plan_of(P, m, bounds[1], dt, growth))[1]
            pilot.finish(pilot.moved, pilot.candidates(ahead), dt)
        land(pilot.state, until, pilot.state.reals)
        if n > 0:
            self._two_halves(own.as_on_the_first(GOING, plan_of(P, n, bounds[0], dt, growth))[1])
        else:
            own.state.reals[TIME] += dt
        land(own.state, until, own.state.reals)
        return GOING

    def _two_halves(self, ahead: Plan) -> None:
        """One step as two halves, given how long the whole is."""
        own, middle = self._own, self._middle
        P, T, A, whole, half = own.physics, own.functions, own.state, own.moved, ahead.dt / 2
        records = own.candidates(ahead)
        self._find_middles(records, ahead.dt)
        n, rest = int(A.numbers[COUNT]), np.zeros_like(whole.by)
        rest[:n] = whole.by[:n] - middle.by[:n]
        before = rest, whole.x.copy(), A.mass.copy(), A.lag.copy()
        changed = own.finish(middle, first_half(records), half, along=[array for array in before if len(array)])
        if changed is None:
            raise RuntimeError("rows for all that can split in a step, and yet too few")
        n, number = int(A.numbers[COUNT]), own.rows.mine
        came = np.where(np.arange(number.start, number.stop) < own.rows.all - changed.born, np.arange(n), -1)
        late = (came < 0) | (before[2][:n] != A.mass[:n])
        to_the_end(P, T, A, whole, own.one, ahead.dt, came, late, before)
        anew = self._tested_anew(late, ahead)
        own.finish(whole, np.concatenate([_still_true(records, changed), anew]), half, late, ANEW)

    def _find_middles(self, records: np.ndarray, dt: float) -> None:
        """Where the first half ends, in `_middle`: `middles`, with those that are to react alike on all ranks."""
        own, middle, (seed, _, replica) = self._own, self._middle, self._own.one
        P, A, rows, n = own.physics, own.state, own.rows, int(own.state.numbers[COUNT])
        by = np.ascontiguousarray(own.moved.by[:n].T)
        middle.by[:n] = middles(P, A, by, records[:0], seed, replica, dt).T
        tied = records[records[:, 2] > 0]
        few = rows.few(A, own.moved, rows.own(np.unique(tied[:, 3:5].astype(np.int64))), ALL_IN_TIME)
        tied[:, 3:5] = np.searchsorted(few.rows, tied[:, 3:5])
        by = np.ascontiguousarray(few.moved.by[: len(few.rows)].T)
        middle.by[rows.own(few.rows)] = middles(P, few.state, by, tied, seed, replica, dt).T[rows.part(few.rows)]
        to_the_middle(P, own.functions, A, middle, own.one, dt)

    def _tested_anew(self, late: np.ndarray, ahead: Plan) -> np.ndarray:
        """`tested_anew` of the particles of all ranks. Collective in the team."""
        own, dt = self._own, ahead.dt / 2
        P, A, rows, whole, n = own.physics, own.state, own.rows, own.moved, len(late)
        few = rows.few(A, whole, np.flatnonzero(late), ALL_IN_TIME)
        k, mine = len(few.rows), rows.mine
        S = make_sorted(n + k)
        line_up(P, A, whole.by, np.arange(n), np.arange(mine.start, mine.stop), 0, S)
        line_up(P, few.state, few.moved.by, np.arange(k), few.rows, n, S)
        reach = plan_of(P, rows.all, own.bounds(), dt, 1.0).reach
        found = tested_anew(P, S, late, reach, own.one[1], int(A.numbers[STEP]), dt, ahead.depth)
        found = own.team.joined(found)
        return found[np.argsort(found[:, FIRST_MASS], kind="stable")]


def _still_true(records: np.ndarray, changed: Changed) -> np.ndarray:
    """`still_true`, with candidates that name particles by their numbers among all rows."""
    asked = np.unique(records[:, 3:5].astype(np.int64))
    row = asked - np.searchsorted(changed.dead, asked)
    row[np.isin(asked, changed.dead) | np.isin(asked, changed.other)] = -1
    marked = records.copy()
    marked[:, 3:5] = np.searchsorted(asked, records[:, 3:5])
    return np.asarray(still_true(marked, row))
