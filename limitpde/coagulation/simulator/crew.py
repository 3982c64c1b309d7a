"""One replica of the coagulating particles, stepped from Python: by several threads, or watched by a `PythonBalance`.

The same steps as `steps.advance`, with the moves cut by particles and the search for pairs by cells. The compiled parts
run without Python's lock. What they find is put together in the order in which one thread would find it, so the result
is the same bit by bit. Between what happens in a step and its end a balance for test functions by Python looks on.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from limitpde.coagulation.simulator.bridge import FIELDS
from limitpde.coagulation.simulator.events import (
    ALL_IN_TIME,
    COUNT,
    FULL,
    GOING,
    STATUS,
    STEP,
    TIME,
    Functions,
    Moved,
    ReplicaState,
    happen,
    settle_down,
)
from limitpde.coagulation.simulator.halves import ANEW, as_it_is, candidates, lead, to_the_end, to_the_middle
from limitpde.coagulation.simulator.local_times import all_contacts
from limitpde.coagulation.simulator.pairs import BOX, Physics, scan
from limitpde.coagulation.simulator.python_balance import PythonBalance
from limitpde.coagulation.simulator.steps import Plan, land, look, make_sorted, move, plan, plan_of, room_to_move
from limitpde.nbody.random import pair_key


class Crew:
    """A replica and the threads that advance it.

    Args:
        physics: the model.
        functions: the test functions.
        state: the replica, advanced in place.
        seed: of the run.
        replica: its number.
        pool: the threads.
        parts: pieces of work per step.
        balance: what looks on, if anything does.
        pilot: the same replica in whole steps, where steps are made in halves (`step_in_halves`).
    """

    def __init__(
        self,
        physics: Physics,
        functions: Functions,
        state: ReplicaState,
        seed: int,
        replica: int,
        pool: Executor,
        parts: int,
        balance: PythonBalance | None = None,
        pilot: ReplicaState | None = None,
    ) -> None:
        self._physics, self._functions, self._state = physics, functions, state
        self._seed, self._replica, self._pool, self._parts = np.uint64(seed), replica, pool, parts
        self._balance, self._pilot = balance, pilot
        self._key = np.uint64(pair_key(self._seed, replica))
        rows = len(state.mass)
        self._sorted, self._slot = make_sorted(rows), np.empty(rows, dtype=np.int64)
        self._moved, self._middle = (room_to_move(physics, functions, state) for _ in range(2))
        self._records = [np.empty((rows // parts + 64, FIELDS)) for _ in range(parts)]

    def step(self, until: float, step: float) -> bool:
        """Take one step on the way to a time; whether there is more to do."""
        P, A = self._physics, self._state
        n = int(A.numbers[COUNT])
        A.numbers[STATUS] = GOING
        if n == 0:
            A.reals[TIME] = until
        if not A.reals[TIME] < until:
            return False
        status, ahead = plan(P, A, until, step)
        A.numbers[STATUS] = status
        if status != GOING:
            return False
        kept = A.reals.copy()
        start = np.empty(np.prod(ahead.grid.cells) + 1, dtype=np.int64)
        look(P, A, ahead.grid, self._slot, start, 0.8, ahead.growth)
        cuts = np.linspace(0, n, self._parts + 1).astype(np.int64)
        self._move(ahead, cuts)
        records = self._meet(ahead, start, cuts)
        self._finish(self._moved, records, self._sorted.by[:, self._slot[:n]], ahead.dt, ALL_IN_TIME, 0)
        land(A, until, kept)
        return bool(A.numbers[STATUS] == GOING and A.reals[TIME] < until)

    def step_in_halves(self, until: float, step: float) -> bool:
        """As `step`, as two halves on one thread; see `halves.advance_halved`, whose steps these are."""
        P, T, A = self._physics, self._functions, self._state
        whole, S, slot = self._moved, self._sorted, self._slot
        assert self._pilot is not None
        A.numbers[STATUS] = GOING
        if not A.reals[TIME] < until:
            return False
        one, records = (self._seed, self._key, self._replica), self._records[0]
        dt, growth, records = lead(P, T, A, self._pilot, whole, S, slot, one, until, step, records)
        if A.numbers[STATUS] != GOING:
            return False
        if A.numbers[COUNT] > 0:
            ahead, before = plan_of(P, A, dt, growth), as_it_is(A)
            records, count = candidates(P, T, A, whole, S, slot, one, ahead, records)
            by, first, early = to_the_middle(P, T, A, self._middle, S, slot, one, dt, records[:count])
            self._finish(self._middle, early, first, dt / 2, ALL_IN_TIME, 0)
            rest, late, later = to_the_end(P, T, A, whole, one, ahead, records[:count], before, by, first)
            self._finish(whole, later, rest, dt / 2, late, ANEW)
        else:
            A.reals[TIME] += dt
        self._records[0] = records
        land(A, until, A.reals)
        return bool(A.reals[TIME] < until)

    def _finish(
        self, moved: Moved, records: np.ndarray, by: np.ndarray, dt: float, late: np.ndarray, anew: int
    ) -> None:
        """Carry out what happens in a step of the displacements `by` (3, n), and let the balance look on."""
        P, T, A = self._physics, self._functions, self._state
        seed, replica = self._seed, self._replica
        happened = happen(P, T, A, moved, records, seed, self._key, replica, dt, late)
        total, after, when = happened
        if total < 0:
            A.numbers[STATUS] = FULL
            return
        if self._balance is not None:
            contacts = np.empty((0, 9))
            if P.domain >= BOX:
                n, step = len(after), int(A.numbers[STEP]) + anew
                variances = 2 * self._balance.diffusion(A.mass[:n]) * dt
                contacts = all_contacts(P, A.x, np.ascontiguousarray(by), variances, seed, replica, A.ident, step)
            self._balance.take(A, moved, happened, records, contacts, dt)
        settle_down(P, T, A, moved, dt, after, when, total)

    def _move(self, ahead: Plan, cuts: np.ndarray) -> None:
        def part(k: int) -> None:
            move(
                self._physics,
                self._functions,
                self._state,
                self._moved,
                self._sorted,
                self._slot,
                int(cuts[k]),
                int(cuts[k + 1]),
                self._seed,
                self._replica,
                ahead.dt,
            )

        self._each(part)

    def _meet(self, ahead: Plan, start: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        """The candidates of the step, in the order in which one thread would find them."""
        if not self._physics.contact[0] > 0.0:
            return np.empty((0, FIELDS))
        cells, step = np.searchsorted(start, cuts), int(self._state.numbers[STEP])
        cells[0], cells[-1] = 0, len(start) - 1

        def part(k: int) -> np.ndarray:
            while True:
                records, stack = self._records[k], np.empty((ahead.depth, 8))
                count = scan(
                    self._physics,
                    self._sorted,
                    ahead.grid,
                    start,
                    int(cells[k]),
                    int(cells[k + 1]),
                    self._key,
                    step,
                    ahead.dt,
                    ahead.reach,
                    stack,
                    records,
                )
                if count <= len(records):
                    return records[:count]
                self._records[k] = np.empty((2 * count, FIELDS))

        return np.concatenate(self._each(part))

    def _each[R](self, part: Callable[[int], R]) -> list[R]:
        """The pieces of work of a step, on all threads; one alone here."""
        return [part(0)] if self._parts == 1 else list(self._pool.map(part, range(self._parts)))
