"""One replica of the coagulating particles, stepped from Python by a team of ranks and the threads of each.

The same steps as those of `steps.advance` and `halves.advance_halved`. All ranks hold positions, masses and numbers.
Each draws where its share of the particles goes, and all learn of it. Test functions it has for these alone: it sums
their part of the time integrals, and what reactions ask of any particle follows from its positions. Then each looks for
pairs in its share of the cells, of about as many particles, for which it sorts those of the layers of cells around
them, and all learn of the candidates. These are few, and react in the order of time, chains of reactions within a step
among them, so each rank carries out all of them.
Between what happens in a step and its end a balance for test functions by Python looks on, on each rank, at all of it.

The compiled parts run without Python's lock. What is found is put together in the order in which one thread would find
it, and the length of a step is that of the team's first rank, so the result is the same bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    evaluate,
    happen,
)
from limitpde.coagulation.simulator.halves import ANEW, as_it_is, plan_halves, to_the_end, to_the_middle
from limitpde.coagulation.simulator.integrals import BLOCK, blocks, integrate, room_for_sums, settle_down
from limitpde.coagulation.simulator.local_times import all_contacts
from limitpde.coagulation.simulator.pairs import BOX, Physics
from limitpde.coagulation.simulator.python_balance import PythonBalance
from limitpde.coagulation.simulator.scan import scan
from limitpde.coagulation.simulator.steps import (
    Plan,
    arrange,
    arrive,
    draw,
    land,
    look,
    make_sorted,
    plan,
    plan_of,
    room_to_move,
)
from limitpde.nbody.cells import CellGrid
from limitpde.nbody.random import pair_key
from limitpde.nbody.teams import Team


class Crew:
    """A replica, and the ranks and threads that advance it.

    Args:
        physics: the model.
        functions: the test functions.
        state: the replica, advanced in place.
        pilot: the same in whole steps where it goes in halves, see `halves`; else None.
        seed: of the run.
        replica: its number.
        pool: the threads.
        parts: pieces of work of a rank per step.
        team: the ranks.
        balance: what looks on, if anything does.
    """

    def __init__(
        self,
        physics: Physics,
        functions: Functions,
        state: ReplicaState,
        pilot: ReplicaState | None,
        seed: int,
        replica: int,
        pool: Executor,
        parts: int,
        team: Team,
        balance: PythonBalance | None = None,
    ) -> None:
        self._physics, self._functions, self._state, self._pilot = physics, functions, state, pilot
        self._pool, self._parts, self._team, self._balance = pool, parts, team, balance
        self._one = (np.uint64(seed), np.uint64(pair_key(np.uint64(seed), replica)), replica)
        rows = len(state.mass)
        self._sorted, self._slot = make_sorted(0), np.empty(rows, dtype=np.int64)
        self._moved = room_to_move(physics, functions, state)
        self._middle = self._moved if pilot is None else room_to_move(physics, functions, state)
        self._seen = [(0, int(state.numbers[COUNT]) if team.size == 1 else 0)] * 2  # of the replica, of the pilot
        self._records = [np.empty((rows // (parts * team.size) + 64, FIELDS)) for _ in range(parts)]

    def step(self, until: float, step: float) -> bool:
        """Take one step on the way to a time; whether there is more to do. Collective in the team.

        Raises:
            InputError: a test function by Python fails on this rank.
            TeamFailure: a rank has failed.
        """
        A, pilot = self._state, self._pilot
        A.numbers[STATUS] = GOING
        if pilot is None and A.numbers[COUNT] == 0:
            A.reals[TIME] = until
        if not A.reals[TIME] < until:
            return False
        A.numbers[STATUS] = self._whole(A, until, step) if pilot is None else self._halves(A, pilot, until, step)
        return bool(A.numbers[STATUS] == GOING and A.reals[TIME] < until)

    def _whole(self, A: ReplicaState, until: float, step: float) -> int:
        """A whole step; the status then."""
        status, ahead = _as_on_the_first_rank(self._team, *plan(self._physics, A, until, step))
        if status == GOING:
            kept = A.reals.copy()
            status = self._finish(A, self._moved, self._candidates(A, ahead), ahead.dt, self._balance)
            A.numbers[STATUS] = status
            land(A, until, kept)
        return status

    def _halves(self, A: ReplicaState, pilot: ReplicaState, until: float, step: float) -> int:
        """A step in halves, beside the whole one of the pilot; the status then."""
        P, T, planned = self._physics, self._functions, np.array(plan_halves(self._physics, A, pilot, until, step))
        self._team.align(planned)
        status, dt, growth = int(planned[0]), float(planned[1]), float(planned[2])
        if status != GOING:
            return status
        if pilot.numbers[COUNT] > 0:
            ahead = _as_on_the_first_rank(self._team, GOING, plan_of(P, pilot, dt, growth))[1]
            self._finish(pilot, self._moved, self._candidates(pilot, ahead), dt)
        land(pilot, until, pilot.reals)
        if A.numbers[COUNT] > 0:
            ahead = _as_on_the_first_rank(self._team, GOING, plan_of(P, A, dt, growth))[1]
            whole, middle, one, own = self._moved, self._middle, self._one, self._balance
            records, before = self._candidates(A, ahead), as_it_is(A)
            early = to_the_middle(P, T, A, whole, middle, one, ahead, records)
            self._finish(A, middle, early, dt / 2, own)
            late, later = to_the_end(P, T, A, whole, middle, one, ahead, records, before)
            self._finish(A, whole, later, dt / 2, own, late, ANEW)
        else:
            A.reals[TIME] += dt
        land(A, until, A.reals)
        return GOING

    def _finish(
        self,
        A: ReplicaState,
        B: Moved,
        records: np.ndarray,
        dt: float,
        balance: PythonBalance | None = None,
        late: np.ndarray = ALL_IN_TIME,
        anew: int = 0,
    ) -> int:
        """`integrals.finish`, with the integrals shared and a balance looking on; the status then."""
        P, T, team, (seed, key, replica) = self._physics, self._functions, self._team, self._one
        happened = happen(P, T, A, B, records, seed, key, replica, dt, late)
        if happened.total < 0:
            return FULL
        if balance is not None:
            contacts, n = np.empty((0, 9)), len(happened.after)
            if P.domain >= BOX:
                variances = 2 * balance.diffusion(A.mass[:n]) * dt
                step = int(A.numbers[STEP]) + anew
                contacts = all_contacts(P, A.x, B.by, variances, seed, replica, A.ident, step)
            balance.take(A, B, happened, records, contacts, dt)
        (begin, end), sums, last = self._own(A), room_for_sums(T, happened), team.rank == team.size - 1
        if len(sums):
            cuts = team.cuts(blocks(int(A.numbers[COUNT])))
            cuts[-1] = len(sums)
            between = int(cuts[team.rank]), int(cuts[team.rank + 1])
            self._each(*between, lambda a, b: integrate(P, T, A, B, dt, happened, a, b, sums))
            team.fill([sums], cuts)
        kept = settle_down(T, A, B, dt, happened, sums, begin, happened.total if last else end)
        self._seen[A is self._pilot] = kept
        return GOING

    def _own(self, A: ReplicaState) -> tuple[int, int]:
        """This rank's rows of a replica, whole blocks where there are test functions, which it then has there."""
        P, T, team, n, which = self._physics, self._functions, self._team, int(A.numbers[COUNT]), A is self._pilot
        cuts = self._cuts(n)
        (begin, end), (low, high) = (int(cuts[team.rank]), int(cuts[team.rank + 1])), self._seen[which]
        evaluate(T, A.x, begin, min(low, end), P.flat, A.phi)
        evaluate(T, A.x, max(high, begin), end, P.flat, A.phi)
        self._seen[which] = begin, end
        return begin, end

    def _cuts(self, n: int) -> np.ndarray:
        """Where the rows of n particles are cut, (ranks + 1,)."""
        team = self._team
        return np.minimum(team.cuts(blocks(n)) * BLOCK, n) if len(self._functions.kinds) else team.cuts(n)

    def _candidates(self, A: ReplicaState, ahead: Plan) -> np.ndarray:
        """Where the particles go, in `_moved`, and the candidates in the order in which one thread would find them."""
        P, B, team, (seed, key, replica) = self._physics, self._moved, self._team, self._one
        n, start = int(A.numbers[COUNT]), np.empty(np.prod(ahead.grid.cells) + 1, dtype=np.int64)
        look(P, A, ahead.grid, self._slot, start, 0.8, ahead.growth)
        begin, end = self._own(A)
        self._each(begin, end, lambda a, b: draw(P, self._functions, A, B, a, b, seed, replica, ahead.dt))
        if team.size > 1:
            team.fill([B.by[:n]], self._cuts(n))
            arrive(P, A, B, 0, begin)
            arrive(P, A, B, end, n)
        if not P.contact[0] > 0.0:
            return np.empty((0, FIELDS))
        cells = np.searchsorted(start, np.linspace(0, n, self._parts * team.size + 1).astype(np.int64))
        cells[0], cells[-1] = 0, len(start) - 1
        cells = cells[self._parts * team.rank :][: self._parts + 1]
        first, many, start = part_near(ahead.grid, start, int(cells[0]), int(cells[-1]))
        if many > len(self._sorted.ident):
            self._sorted = make_sorted(min(many + many // 8, len(A.mass)))
        S = self._sorted
        self._each(0, n, lambda a, b: arrange(P, A, B, S, self._slot, a, b, first, many))
        way = (key, int(A.numbers[STEP]), ahead.dt, ahead.reach)

        def part(k: int) -> np.ndarray:
            stack = np.empty((ahead.depth, 8))
            while True:
                records, between = self._records[k], (int(cells[k]), int(cells[k + 1]))
                count = scan(P, S, ahead.grid, start, *between, *way, stack, records)
                if count <= len(records):
                    return records[:count]
                self._records[k] = np.empty((2 * count, FIELDS))

        return team.joined(np.concatenate(self._on_threads(part, range(self._parts))))

    def _each(self, begin: int, end: int, work: Callable[[int, int], object]) -> None:
        """Do some work for the particles begin, ..., end - 1, a part on each thread."""
        cuts = np.linspace(begin, end, self._parts + 1).astype(np.int64).tolist()
        self._on_threads(work, cuts[:-1], cuts[1:])

    def _on_threads[R](self, work: Callable[..., R], *what: Sequence[int]) -> list[R]:
        """The pieces of some work, on all threads; one alone here."""
        return list((map if self._parts == 1 else self._pool.map)(work, *what))


def part_near(grid: CellGrid, start: np.ndarray, begin: int, end: int) -> tuple[int, int, np.ndarray]:
    """The sorted particles of the cells begin, ..., end - 1 and of those that `scan` meets from there, by themselves.

    Args:
        grid: the cells.
        start: (cells + 1,) where the particles of each cell begin.
        begin: first cell.
        end: one after the last.

    Returns:
        The first of them, how many from there on, in a circle, and where those of each cell begin among them.
    """
    if begin == end:
        return 0, 0, start
    m0, m1, m2 = grid.cells.tolist()
    layer, layers = (m0 * m1, m2) if m2 > 1 else (m0, m1)
    low, high = begin // layer, (end - 1) // layer + 2  # cells meet those of their layer and of the next
    if high - low >= layers:
        return 0, int(start[-1]), start
    first, n = int(start[low * layer]), int(start[-1])
    own = start - first
    own[: low * layer] += n
    return first, int(own[high * layer] if high <= layers else own[(high - layers) * layer]), own


def _as_on_the_first_rank(team: Team, status: int, ahead: Plan) -> tuple[int, Plan]:
    """Status and plan of the team's first rank, as processors of other kinds may round in other ways. Collective."""
    if team.size == 1:
        return status, ahead
    numbers: Sequence[float] = (status, ahead.dt, ahead.reach, ahead.depth, ahead.growth)
    same = np.concatenate([numbers, *ahead.grid])
    team.align(same)
    cells, low, inverse, period = same[5:].reshape(4, 3)
    grid = CellGrid(cells.astype(np.int64), low, inverse, period)
    return int(same[0]), Plan(float(same[1]), float(same[2]), grid, int(same[3]), float(same[4]))
