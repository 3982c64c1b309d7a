"""Which particles of one large replica each rank of a team has, and those few that all must know of.

The particles are rows in an order that is that of one rank. Of n of them a rank has those between two cuts, whole
blocks where there are test functions, so that sums by blocks have the same bits on any number of ranks. As particles
vanish or split, the cuts move, and with them the rows near them.

What happens in a step concerns few: candidates for reactions, and those that split. All ranks learn of these, and carry
out all that happens alike, in the order of time (`events.happen`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from limitpde.coagulation.simulator.events import COUNT, Functions, Happened, Moved, ReplicaState, evaluate
from limitpde.coagulation.simulator.integrals import BLOCK, blocks
from limitpde.nbody.teams import Team


class Few(NamedTuple):
    """Some particles of all ranks, by themselves."""

    rows: np.ndarray
    """(k,) int64, their numbers among all rows, rising."""
    state: ReplicaState
    """They, with as many rows again for those that are split off; its sums are those of the replica."""
    moved: Moved
    """Where they end the step."""
    late: np.ndarray
    """(k,) bool, whose clocks of splitting are drawn anew, see `halves`."""


class OwnRows:
    """The rows of a replica that a rank has: the first numbers[COUNT] of its state. Collective in the team.

    Args:
        team: the ranks.
        blocked: whether ranks have whole blocks.
        count: the rows of this rank.

    Attributes:
        cuts: (size + 1,) where the rows of all are cut.

    Raises:
        TeamFailure: a rank of the team has failed.
    """

    def __init__(self, team: Team, blocked: bool, count: int) -> None:
        self._team, self._blocked = team, blocked
        self.cuts = np.append(0, np.cumsum(team.joined(np.array([count]))))

    @property
    def all(self) -> int:
        """Particles of all ranks."""
        return int(self.cuts[-1])

    @property
    def mine(self) -> slice:
        """The rows of this rank among all."""
        return self._team.mine(self.cuts)

    def own(self, rows: np.ndarray) -> np.ndarray:
        """Which of some rows of all, rising, this rank has, by its own numbers."""
        return rows[self.part(rows)] - self.mine.start

    def part(self, rows: np.ndarray) -> slice:
        """Which part of some rows of all, rising, this rank has."""
        mine = self.mine
        return slice(*np.searchsorted(rows, (mine.start, mine.stop)))

    def few(self, A: ReplicaState, B: Moved, rows: np.ndarray, late: np.ndarray) -> Few:
        """Some particles, on all ranks. Collective in the team.

        Args:
            A: the rows of this rank.
            B: where they end the step.
            rows: (m,) which of this rank, by its own numbers, rising.
            late: (n,) bool, see `Few`, or none.

        Raises:
            TeamFailure: a rank of the team has failed.
        """
        born = [A.mate, A.kin, A.offset, A.lag] if len(A.kin) else []
        anew = late[rows] if len(late) else np.zeros(len(rows), dtype=bool)  # a rank without rows has none, either
        numbers = _packed([A.x, A.mass, A.ident, *born, B.by, B.x], rows)
        packed = self._team.joined(np.column_stack([rows + self.mine.start, anew, numbers]))
        k, functions, numbers = len(packed), A.phi.shape[2], A.numbers.copy()
        numbers[COUNT], some = k, 2 * k if born else 0
        state = ReplicaState(
            x=np.zeros((2 * k, 3)),
            mass=np.zeros(2 * k, dtype=np.int64),
            ident=np.zeros(2 * k, dtype=np.int64),
            mate=np.full(some, -1),
            kin=np.full(some, -1),
            offset=np.zeros((some, 3)),
            lag=np.zeros(some),
            phi=np.zeros((3, 2 * k, functions)),
            numbers=numbers,
            reals=A.reals.copy(),
            sums=A.sums,
            pairs=A.pairs,
            reacted=A.reacted,
        )
        moved = Moved(np.zeros((2 * k, 3)), np.zeros((2 * k, 3)), np.zeros_like(state.phi), np.zeros((0, functions)))
        born = [state.mate, state.kin, state.offset, state.lag] if len(A.kin) else []
        _unpack(packed[:, 2:], [state.x, state.mass, state.ident, *born, moved.by, moved.x], slice(0, k))
        return Few(packed[:, 0].copy(), state, moved, packed[:, 1] > 0)

    def happened(self, few: Few, what: Happened, A: ReplicaState) -> Happened:
        """What happened to the rows of this rank, after what happened to few."""
        n = int(A.numbers[COUNT])
        after, when = A.mass[:n].copy(), np.full(n, -1.0)
        own, some = self.own(few.rows), self.part(few.rows)
        after[own], when[own] = what.after[some], what.when[some]
        return Happened(n, after, when)

    def even_out(
        self,
        T: Functions,
        A: ReplicaState,
        flat: bool,
        dead: np.ndarray,
        few: Few,
        born: int,
        along: Sequence[np.ndarray],
    ) -> None:
        """Take in particles that were split off, and move rows to the ranks that have them then. Collective.

        Args:
            T: the test functions.
            A: the rows of this rank, without those that are gone.
            flat: whether d = 2.
            dead: numbers of these among all rows, rising.
            few: of which the last were split off.
            born: how many.
            along: more arrays by rows, which are moved, too; where particles are new they stay as they are.

        Raises:
            TeamFailure: a rank of the team has failed.
        """
        team = self._team
        gone = np.bincount(np.searchsorted(self.cuts, dead, side="right") - 1, minlength=team.size)
        have = np.append(0, np.cumsum(np.diff(self.cuts) - gone))
        left = int(have[-1])
        self.cuts = self.cuts_of(left + born)
        arrays = [array for array in (A.x, A.mass, A.ident, A.mate, A.kin, A.offset, A.lag, *along) if len(array)]
        stay = _moved(team, have, np.minimum(self.cuts, left), arrays, A.phi)
        mine = self.mine
        some = slice(max(mine.start - left, 0), max(mine.stop - left, 0))
        count, last = mine.stop - mine.start, int(few.state.numbers[COUNT])
        for array, new in zip(A[:7], few.state[:7], strict=True):
            if len(array):
                array[count - (some.stop - some.start) : count] = new[last - born :][some]
        A.numbers[COUNT] = count
        for begin, end in ((0, stay.start), (stay.stop, count)):
            if end > begin:
                evaluate(T, A.x, begin, end, flat, A.phi)

    def cuts_of(self, n: int) -> np.ndarray:
        """Where the rows of n particles are cut."""
        return cuts_of(self._team, self._blocked, n)


def cuts_of(team: Team, blocked: bool, n: int) -> np.ndarray:
    """Where the rows of n particles are cut for the ranks of a team, (size + 1,); `blocked`: into whole blocks."""
    return np.minimum(team.cuts(blocks(n)) * BLOCK, n) if blocked else team.cuts(n)


def most_rows(team: Team, blocked: bool, n: int) -> int:
    """The most rows that a rank may have of n particles, or of fewer."""
    each = -(-blocks(n) // team.size) * BLOCK if blocked else -(-n // team.size)
    return min(each, n)


def _moved(team: Team, have: np.ndarray, want: np.ndarray, arrays: Sequence[np.ndarray], phi: np.ndarray) -> slice:
    """Move rows from where they are cut to where they should be, in place; which of this rank stayed. Collective.

    Args:
        team: the ranks.
        have: (size + 1,) where they are cut.
        want: (size + 1,) where they should be.
        arrays: (rows, ...) each, of which this rank has the first.
        phi: (3, rows, F), where those that stay are moved, and others are not.

    Raises:
        TeamFailure: a rank of the team has failed.
    """
    own, wanted = team.mine(have), team.mine(want)
    if np.array_equal(have, want):
        return slice(0, wanted.stop - wanted.start)
    first, last = max(own.start, wanted.start), min(own.stop, wanted.stop)
    if last <= first:
        first = last = min(max(own.start, wanted.start), own.stop)
    to = np.maximum(np.minimum(own.stop, want[1:]) - np.maximum(own.start, want[:-1]), 0)
    come = np.maximum(np.minimum(have[1:], wanted.stop) - np.maximum(have[:-1], wanted.start), 0)
    to[team.rank] = come[team.rank] = 0
    leaving = np.append(np.arange(own.start, first), np.arange(last, own.stop)) - own.start
    found = team.exchange(_packed(arrays, leaving), to, come)
    before, many = int(come[: team.rank].sum()), last - first
    stay, old = slice(before, before + many), slice(first - own.start, last - own.start)
    if stay != old:
        for array in arrays:
            array[stay] = array[old]
        phi[:, stay] = phi[:, old]
    _unpack(found[:before], arrays, slice(0, before))
    _unpack(found[before:], arrays, slice(stay.stop, stay.stop + len(found) - before))
    return stay


def _packed(arrays: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Some rows of arrays of numbers of 8 bytes side by side, (k, .) int64."""
    parts = [array[rows].reshape(len(rows), int(np.prod(array.shape[1:]))).view(np.int64) for array in arrays]
    return np.concatenate(parts, axis=1)


def _unpack(packed: np.ndarray, arrays: Sequence[np.ndarray], rows: slice) -> None:
    """Put them back into rows of arrays."""
    at = 0
    for array in arrays:
        width = int(np.prod(array.shape[1:]))
        part = np.ascontiguousarray(packed[:, at : at + width]).view(array.dtype)
        array[rows] = part.reshape(len(packed), *array.shape[1:])
        at += width
