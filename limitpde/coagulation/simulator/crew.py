"""One replica of the coagulating particles, stepped from Python by a team of ranks and the threads of each.

The same steps as those of `steps.advance`, and in `crew_halves` those of `halves.advance_halved`. Each rank has some of
the particles (`rows`), draws where they go and sums their part of the time integrals. For the search it is sent those
in its share of the cells and in the layer of cells ahead (`layers`). The candidates are few; with the particles that
take part in them they go to all ranks, which carry out alike all that happens, in the order of time, chains of
reactions within a step among them. Only a balance for test functions by Python looks at all particles, on each rank.

The compiled parts run without Python's lock. What is found is put together in the order in which one thread would find
it, and the length of a step is that of the team's first rank, so the result is the same bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from limitpde.coagulation.simulator.bridge import FIELDS, FIRST_MASS
from limitpde.coagulation.simulator.events import (
    ALL_IN_TIME,
    COUNT,
    EVENTS,
    FULL,
    GOING,
    NEXT,
    STATUS,
    STEP,
    TIME,
    WORK,
    Functions,
    Happened,
    Moved,
    ReplicaState,
    happen,
    rings,
)
from limitpde.coagulation.simulator.integrals import BLOCK, INTEGRALS, blocks, integrate, integrate_born, settle_down
from limitpde.coagulation.simulator.layers import Layers
from limitpde.coagulation.simulator.local_times import all_contacts
from limitpde.coagulation.simulator.pairs import BOX, Physics
from limitpde.coagulation.simulator.python_balance import PythonBalance
from limitpde.coagulation.simulator.rows import Few, OwnRows, most_rows
from limitpde.coagulation.simulator.scan import scan
from limitpde.coagulation.simulator.steps import (
    Plan,
    arrange,
    bounds_of,
    crowded,
    draw,
    land,
    look,
    make_sorted,
    plan,
    room_to_move,
)
from limitpde.nbody.cells import CellGrid
from limitpde.nbody.random import pair_key
from limitpde.nbody.teams import Team


class Changed(NamedTuple):
    """What a step or half a step changed, the same on every rank."""

    dead: np.ndarray
    """Numbers of those that are gone, among all rows before, rising."""
    other: np.ndarray
    """Numbers of those that have another mass, likewise."""
    born: int
    """How many were split off: the last of all rows."""


class Crew:
    """A replica, and the ranks and threads that advance it.

    Args:
        physics: the model.
        functions: the test functions.
        state: this rank's rows of the replica, advanced in place.
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
        seed: int,
        replica: int,
        pool: Executor,
        parts: int,
        team: Team,
        balance: PythonBalance | None = None,
    ) -> None:
        self.physics, self.functions, self.state, self.team = physics, functions, state, team
        self._pool, self._parts, self._balance = pool, parts, balance
        self.one = (np.uint64(seed), np.uint64(pair_key(np.uint64(seed), replica)), replica)
        self.rows = OwnRows(team, len(functions.kinds) > 0, int(state.numbers[COUNT]))
        self._sorted, self._slot = make_sorted(0), np.empty(len(state.mass) if team.size == 1 else 0, dtype=np.int64)
        self.moved = room_to_move(physics, functions, state)
        self._records = [np.empty((len(state.mass) // parts + 64, FIELDS)) for _ in range(parts)]

    def step(self, until: float, step: float) -> bool:
        """Take one step on the way to a time; whether there is more to do. Collective in the team.

        Raises:
            InputError: a test function by Python fails on this rank.
            TeamFailure: a rank has failed.
        """
        A = self.state
        A.numbers[STATUS] = GOING
        if self.rows.all == 0:
            A.reals[TIME] = until
        if not A.reals[TIME] < until:
            return False
        status, ahead = self.as_on_the_first(*plan(self.physics, A, self.rows.all, self.bounds(), until, step))
        if status == GOING:
            kept, records = A.reals.copy(), self.candidates(ahead)
            status = FULL if self.finish(self.moved, records, ahead.dt) is None else GOING
            A.numbers[STATUS] = status
            land(A, until, kept)
        A.numbers[STATUS] = status
        return bool(status == GOING and A.reals[TIME] < until)

    def bounds(self) -> np.ndarray:
        """`bounds_of` the particles of all ranks. Collective in the team."""
        found = np.asarray(bounds_of(self.physics, self.state))
        self.team.lower(found)
        return found

    def as_on_the_first(self, status: int, ahead: Plan) -> tuple[int, Plan]:
        """Status and plan of the team's first rank, as other processors may round in other ways. Collective."""
        if self.team.size == 1:
            return status, ahead
        numbers: Sequence[float] = (status, ahead.dt, ahead.reach, ahead.depth, ahead.growth)
        same = np.concatenate([numbers, *ahead.grid])
        self.team.align(same)
        cells, low, inverse, period = same[5:].reshape(4, 3)
        grid = CellGrid(cells.astype(np.int64), low, inverse, period)
        return int(same[0]), Plan(float(same[1]), float(same[2]), grid, int(same[3]), float(same[4]))

    def candidates(self, ahead: Plan) -> np.ndarray:
        """Where the particles go, in `moved`, and all candidates, in the order in which one thread would find them."""
        P, A, B, team, (seed, key, replica) = self.physics, self.state, self.moved, self.team, self.one
        n, functions = int(A.numbers[COUNT]), self.functions
        self._each(0, n, lambda a, b: draw(P, functions, A, B, a, b, seed, replica, ahead.dt))
        if not P.contact[0] > 0.0:
            return np.empty((0, FIELDS))
        if team.size == 1:
            grid, start = ahead.grid, np.empty(np.prod(ahead.grid.cells) + 1, dtype=np.int64)
            look(P, A, grid, self._slot, start, 0.8, ahead.growth)
            first, last = 0, len(start) - 1
            if n > len(self._sorted.ident):
                self._sorted = make_sorted(n)
            S = self._sorted
            self._each(0, n, lambda a, b: arrange(P, A, B, S, self._slot, a, b))
        else:
            layers = Layers(A, self.rows, ahead.grid, team)
            crowded(P, A, self.rows.all, ahead.grid, layers.shared, 0.8, ahead.growth)
            grid, start, (first, last) = layers.grid, layers.start, layers.cells
            S = self._sorted = layers.arrange(P, A, B, self._sorted)
        cells = np.searchsorted(start, np.linspace(start[first], start[last], self._parts + 1).astype(np.int64))
        cells[0], cells[-1] = first, last
        way = (key, int(A.numbers[STEP]), ahead.dt, ahead.reach)

        def part(k: int) -> np.ndarray:
            stack = np.empty((ahead.depth, 8))
            while True:
                records, between = self._records[k], (int(cells[k]), int(cells[k + 1]))
                count = scan(P, S, grid, start, *between, *way, stack, records)
                if count <= len(records):
                    return records[:count]
                self._records[k] = np.empty((2 * count, FIELDS))

        return team.joined(np.concatenate(self._on_threads(part, range(self._parts))))

    def finish(
        self,
        B: Moved,
        records: np.ndarray,
        dt: float,
        late: np.ndarray = ALL_IN_TIME,
        anew: int = 0,
        along: Sequence[np.ndarray] = (),
    ) -> Changed | None:
        """`integrals.finish` for the rows of all ranks. Collective in the team.

        Args:
            B: where the particles of this rank end the step.
            records: all candidates; what became of them is noted there.
            dt: length of the step.
            late: (n,) bool, see `happen`.
            anew: added to the number of the step for draws of a balance.
            along: more arrays by rows, which follow the particles.

        Returns:
            What changed; None with nothing changed where a rank has too few rows.

        Raises:
            InputError: a test function by Python fails on this rank.
            TeamFailure: a rank has failed.
        """
        P, T, A, rows, (seed, _, replica) = self.physics, self.functions, self.state, self.rows, self.one
        clock = (seed, replica, dt)
        asked = np.unique(records[:, 3:5].astype(np.int64))
        splits = len(P.splitting.values) > 0
        ringing = np.flatnonzero(rings(P, A, *clock, late) < 1.0) if splits else asked[:0]
        few = rows.few(A, B, np.union1d(rows.own(asked), ringing), late)
        splitting = int(np.count_nonzero(rings(P, few.state, *clock, few.late) < 1.0)) if splits else 0
        if most_rows(self.team, len(T.kinds) > 0, rows.all + splitting) > len(A.mass):
            return None
        some = self._happen(few, records, dt)
        n, k = rows.all, len(few.rows)
        changed = some.after != few.state.mass[:k]
        dead, other = few.rows[some.after == 0], few.rows[changed & (some.after > 0)]
        own = rows.happened(few, some, A)
        if self._balance is not None:
            self._look_on(self._balance, B, few, some, own, records, dt, anew)
        sums = self._integrals(B, few, some, own, dt)
        left = np.flatnonzero(own.after) if along else own.after[:0]
        settle_down(T, A, B, dt, own, sums)
        if some.total > k:
            settle_down(T, few.state, few.moved, dt, some, sums[:0])
        for array in along:
            array[: len(left)] = array[left]
        born = some.total - k
        rows.even_out(T, A, P.flat, dead, few, born, along)
        for number in (NEXT, EVENTS):
            A.numbers[number] = few.state.numbers[number]
        A.numbers[WORK] += n - len(own.after)
        return Changed(dead, other, born)

    def _happen(self, few: Few, records: np.ndarray, dt: float) -> Happened:
        """`events.happen` to few particles; the candidates name them by their numbers among all rows."""
        seed, key, replica = self.one
        marked = records.copy()
        marked[:, 3:5] = np.searchsorted(few.rows, records[:, 3:5])
        P, T = self.physics, self.functions
        found: Happened = happen(P, T, few.state, few.moved, marked, seed, key, replica, dt, few.late)
        records[:, FIRST_MASS:] = marked[:, FIRST_MASS:]
        return found

    def _integrals(self, B: Moved, few: Few, some: Happened, own: Happened, dt: float) -> np.ndarray:
        """What the blocks of all ranks add to the time integrals, (blocks, INTEGRALS, F). Collective in the team."""
        P, T, A, team, rows = self.physics, self.functions, self.state, self.team, self.rows
        n = rows.all
        many = blocks(n + some.total - len(some.after)) if len(T.kinds) else 0
        sums = np.zeros((many, INTEGRALS, len(T.kinds)))
        if not many:
            return sums
        cuts = -(-rows.cuts // BLOCK)
        cuts[-1] = many
        mine = sums[team.mine(cuts)]
        self._each(0, blocks(len(own.after)), lambda a, b: integrate(P, T, A, B, dt, own, a, b, mine))
        if team.rank == team.size - 1:
            integrate_born(P, T, few.state, few.moved, dt, some, n, sums)
        team.fill([sums], cuts)
        return sums

    def _look_on(
        self,
        balance: PythonBalance,
        B: Moved,
        few: Few,
        some: Happened,
        own: Happened,
        records: np.ndarray,
        dt: float,
        anew: int,
    ) -> None:
        """Have a balance take in the step, for which all ranks learn of all particles. Collective in the team."""
        P, A, team, (seed, _, replica) = self.physics, self.state, self.team, self.one
        n, k, total = len(own.after), len(few.rows), some.total
        new = total - k

        def all_of(name: str) -> np.ndarray:
            part = getattr(A, name)
            return np.concatenate([team.joined(part[:n]), getattr(few.state, name)[k:total]]) if len(part) else part

        whole = A._replace(**{name: all_of(name) for name in ("x", "mass", "ident", "mate", "lag")})
        x = np.concatenate([team.joined(B.x[:n]), few.moved.x[k:total]])
        moved = B._replace(x=x, by=team.joined(B.by[:n]))
        everywhere = self.rows.all
        happened = Happened(everywhere + new, team.joined(own.after), team.joined(own.when))
        contacts = np.empty((0, 9))
        if P.domain >= BOX:
            variances = 2 * balance.diffusion(whole.mass[:everywhere]) * dt
            step = int(A.numbers[STEP]) + anew
            contacts = all_contacts(P, whole.x, moved.by, variances, seed, replica, whole.ident, step)
        balance.take(whole, moved, happened, records, contacts, dt)

    def _each(self, begin: int, end: int, work: Callable[[int, int], object]) -> None:
        """Do some work for the particles begin, ..., end - 1, a part on each thread."""
        cuts = np.linspace(begin, end, self._parts + 1).astype(np.int64).tolist()
        self._on_threads(work, cuts[:-1], cuts[1:])

    def _on_threads[R](self, work: Callable[..., R], *what: Sequence[int]) -> list[R]:
        """The pieces of some work, on all threads; one alone here."""
        return list((map if self._parts == 1 else self._pool.map)(work, *what))
