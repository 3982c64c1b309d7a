"""One large replica of the coagulating particles, whose steps are shared by several threads.

The same steps as `steps.advance`, with the moves cut by particles and the search for pairs by cells. The compiled parts
run without Python's lock. What they find is put together in the order in which one thread would find it, so the result
is the same bit by bit.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np

from limitpde.coagulation.simulator.bridge import FIELDS
from limitpde.coagulation.simulator.events import (
    ALL_IN_TIME,
    COUNT,
    GOING,
    STATUS,
    STEP,
    TIME,
    Functions,
    ReplicaState,
    finish,
)
from limitpde.coagulation.simulator.pairs import Physics, scan
from limitpde.coagulation.simulator.steps import Plan, land, look, make_sorted, move, plan, room_to_move
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
    ) -> None:
        self._physics, self._functions, self._state = physics, functions, state
        self._seed, self._replica, self._pool, self._parts = np.uint64(seed), replica, pool, parts
        self._key = np.uint64(pair_key(self._seed, replica))
        rows = len(state.mass)
        self._sorted, self._slot = make_sorted(rows), np.empty(rows, dtype=np.int64)
        self._moved = room_to_move(physics, functions, state)
        self._records = [np.empty((rows // parts + 64, FIELDS)) for _ in range(parts)]

    def step(self, until: float, step: float) -> bool:
        """Take one step on the way to a time; whether there is more to do."""
        P, T, A = self._physics, self._functions, self._state
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
        A.numbers[STATUS] = finish(
            P, T, A, self._moved, records, self._seed, self._key, self._replica, ahead.dt, ALL_IN_TIME
        )
        land(A, until, kept)
        return bool(A.numbers[STATUS] == GOING and A.reals[TIME] < until)

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

        list(self._pool.map(part, range(self._parts)))

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

        return np.concatenate(list(self._pool.map(part, range(self._parts))))
