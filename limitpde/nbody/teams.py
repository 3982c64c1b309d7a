"""Teams of ranks that simulate a replica together: they share the sums over its pairs, or all of it.

Coagulating particles are spread over the ranks (`limitpde.coagulation.simulator.rows`). Of others each rank of a team
makes all steps of its replicas, with the same noise from counters, and so holds all positions. Of a
sum over pairs it does a part: for some of the particles, or for some of the pairs; then all have the whole sum, by
buffers of 8 bytes for each number (16 N for the forces in the plane). What a rank adds, and in which order, depends on
N alone, so that sums have the same bits in a team of any size. Before a sum the positions of the team's first rank
become those of all: processors of other kinds may round in other ways, and the first rank's replica is what counts.

Ranks agree on how things stand before they send anything, by the largest of one number of each (`Team.agree`). So a
rank that fails on its own, whenever it does, meets the others there (`Team.guarded`), and all of them learn why; and
all give up at the same step where one is asked to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from mpi4py import MPI

FEWEST_EACH = 512
"""Particles for each rank of a team, at least, where nobody has asked for its size."""
_GOING, _STOPPING, _FAILED = range(3)


class TeamFailure(Exception):  # noqa: N818 - carries an error
    """A rank of the team has failed; every rank has learned of it.

    Args:
        cause: its error.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Team:
    """Ranks that share the sums of a replica.

    Args:
        comm: these ranks; none for a rank by itself, which needs no agreement.
        number: which of the teams it is.
        teams: how many there are.
    """

    def __init__(self, comm: MPI.Comm | None = None, number: int = 0, teams: int = 1) -> None:
        self._comm, self.number, self.teams = comm, number, teams
        self.rank, self.size = (0, 1) if comm is None else (comm.rank, comm.size)

    def cuts(self, n: int) -> np.ndarray:
        """Where n things are cut into parts of about the same size, one for each rank, (size + 1,)."""
        return np.arange(self.size + 1) * n // self.size

    def mine(self, cuts: np.ndarray) -> slice:
        """The part of this rank, where things are cut so, (size + 1,)."""
        return slice(int(cuts[self.rank]), int(cuts[self.rank + 1]))

    def stops(self, asked: bool) -> bool:
        """Whether any rank was asked to stop. Collective in the team.

        Raises:
            TeamFailure: a rank has failed.
        """
        return self.agree(_STOPPING if asked else _GOING) == _STOPPING

    def agree(self, state: int = _GOING, error: Exception | None = None) -> int:
        """The worst state of all ranks. Collective in the team.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is None:
            if error is not None:
                raise TeamFailure(error) from error
            return state
        worst = np.array([state])
        self._comm.Allreduce(MPI.IN_PLACE, worst, op=MPI.MAX)
        if worst[0] == _FAILED:
            cause = next(found for found in self._comm.allgather(error) if found is not None)
            raise TeamFailure(cause) from error
        return int(worst[0])

    def guarded(self, work: Callable[[], object]) -> Exception | None:
        """Do what may fail on one rank while others are at it; why it failed, on every rank. Collective in the team."""
        try:
            try:
                work()
            except TeamFailure:
                raise
            except Exception as error:
                self.agree(_FAILED, error)
            self.agree()
        except TeamFailure as failure:
            return failure.cause
        return None

    def align(self, *positions: np.ndarray) -> None:
        """Give all ranks the positions of the first, in place. Collective in the team.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is None:
            return
        self.agree()
        for places in positions:
            same = np.ascontiguousarray(places)
            self._comm.Bcast(same, root=0)
            if same is not places:
                places[...] = same

    def complete(self, arrays: Sequence[np.ndarray], cuts: np.ndarray) -> None:
        """Give all ranks the columns of each: rank p has filled cuts[p] to cuts[p + 1]. Collective in the team.

        Args:
            arrays: (..., n) each, of the same shape; filled in place.
            cuts: (size + 1,), as of `cuts`, the same on every rank.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is None:
            return
        if all(array.size == array.shape[-1] and array.flags.c_contiguous for array in arrays):
            self.fill([array.reshape(-1) for array in arrays], cuts)  # in place: one row each
            return
        found = np.empty((int(cuts[-1]), len(arrays), *arrays[0].shape[:-1]), dtype=arrays[0].dtype)
        mine = self.mine(cuts)
        for k, array in enumerate(arrays):
            found[mine, k] = np.moveaxis(array[..., mine], -1, 0)
        self.fill([found], cuts)
        for k, array in enumerate(arrays):
            array[...] = np.moveaxis(found[:, k], 0, -1)

    def fill(self, arrays: Sequence[np.ndarray], cuts: np.ndarray) -> None:
        """Give all ranks the rows of each: rank p has filled cuts[p] to cuts[p + 1]. Collective in the team.

        Args:
            arrays: (n, ...) each, in C order, or empty; filled in place.
            cuts: (size + 1,), as of `cuts`, the same on every rank.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is None:
            return
        self.agree()
        for array in arrays:
            if array.size:
                self._comm.Allgatherv(MPI.IN_PLACE, (array, (np.diff(cuts) * array[0].size).tolist()))

    def joined(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all ranks, (all, ...), in the order of ranks. Collective in the team.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is None:
            return rows
        self.agree()
        many = np.zeros(self.size + 1, dtype=np.int64)
        self._comm.Allgather(np.array([len(rows)]), many[1:])
        cuts = np.cumsum(many)
        found = np.empty((int(cuts[-1]), *rows.shape[1:]), dtype=rows.dtype)
        found[self.mine(cuts)] = rows
        self.fill([found], cuts)
        return found

    def lower(self, values: np.ndarray) -> None:
        """Give all ranks the least of their values, in place. Collective in the team.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is not None:
            self.agree()
            self._comm.Allreduce(MPI.IN_PLACE, values, op=MPI.MIN)

    def add(self, values: np.ndarray) -> None:
        """Give all ranks the sums of their values, whole numbers, in place. Collective in the team.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is not None:
            self.agree()
            self._comm.Allreduce(MPI.IN_PLACE, values, op=MPI.SUM)

    def total(self, number: int) -> int:
        """The sum of a number of each rank. Collective in the team.

        Raises:
            TeamFailure: a rank has failed.
        """
        found = np.array([number])
        self.add(found)
        return int(found[0])

    def coming(self, counts: np.ndarray) -> np.ndarray:
        """How many rows each rank has for this one, (size,), which has so many for each. Collective in the team.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is None:
            return counts
        self.agree()
        found = np.empty(self.size, dtype=np.int64)
        self._comm.Alltoall(counts.astype(np.int64), found)
        return found

    def in_turn(self, rows: np.ndarray, add: Callable[[slice], object]) -> None:
        """Have each rank add what it has to rows, after the rank before it; then all have them. Collective in the team.

        Ranks are at different rows at a time. So sums have the bits of one loop over what all ranks have.

        Args:
            rows: (n, ...) in C order.
            add: to rows; it must not fail.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is None:
            add(slice(0, len(rows)))
            return
        self.agree()
        for k in range(len(rows)):
            if self.rank > 0:
                self._comm.Recv(rows[k], source=self.rank - 1)
            add(slice(k, k + 1))
            if self.rank + 1 < self.size:
                self._comm.Send(rows[k], dest=self.rank + 1)
        self._comm.Bcast(rows, root=self.size - 1)

    def exchange(self, sent: np.ndarray, counts: np.ndarray, coming: np.ndarray) -> np.ndarray:
        """Rows for each rank, and those of each for this one, in the order of ranks. Collective in the team.

        Args:
            sent: (rows, ...), those for the first rank first.
            counts: (size,) rows for each rank.
            coming: (size,) rows from each, as of `coming`.

        Raises:
            TeamFailure: a rank has failed.
        """
        if self._comm is None:
            return sent
        self.agree()
        found = np.empty((int(coming.sum()), *sent.shape[1:]), dtype=sent.dtype)
        width = int(np.prod(sent.shape[1:]))
        self._comm.Alltoallv((sent, (counts * width).tolist()), (found, (coming * width).tolist()))
        return found


SINGLE = Team()
"""A rank by itself."""


@contextmanager
def teams_of(comm: MPI.Comm, *, count: int, replicas: int, ranks: int | None) -> Iterator[Team]:
    """Within, this rank's team, one of teams whose sizes differ by one at most. Collective.

    Args:
        comm: all ranks.

    Keyword Args:
        count: N.
        replicas: how many are to be simulated; perhaps none.
        ranks: of each team, at least, or all there are; by default as many as there are for each replica, as long as
            each has FEWEST_EACH particles.
    """
    replicas = max(replicas, 1)
    most = max(1, comm.size // replicas)
    each = min(most, max(1, count // FEWEST_EACH)) if ranks is None else min(ranks, comm.size)
    teams = replicas if ranks is None and 1 < each == most else comm.size // each
    number = comm.rank * teams // comm.size
    if teams == comm.size:
        yield Team(number=number, teams=teams)
        return
    found = comm.Split(number, comm.rank)
    try:
        yield Team(found, number, teams)
    finally:
        found.Free()
