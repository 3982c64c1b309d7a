"""Independent copies of a simulation: spread over the ranks and gathered again, on any number of ranks alike.

Each is simulated by one rank, or by a team of ranks (`limitpde.nbody.teams`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError, Interrupted, LimitPDEError, RunError
from limitpde.nbody.teams import Team, teams_of

Measurements = dict[str, np.ndarray]
"""Measurements of some replicas: `replicas`, their numbers, and arrays with a row for each."""
Snapshot = Callable[..., None]
"""Called with (t, positions (n, d), name=(n, ...), ...) of replica 0 at the output times."""
LARGE = 1 << 20
"""Bytes from which a measurement goes to the other ranks by a message of its own."""


@dataclass(frozen=True, slots=True)
class Controls:
    """How a simulation is watched, stopped and resumed, and where it runs."""

    snapshot: Snapshot | None = None
    """Called on rank 0 at the output times."""
    finished: Sequence[Measurements] = ()
    """Measurements of replicas that an earlier run has kept, the same on every rank."""
    keep: Callable[[Measurements], object] = lambda part: None
    """Called with the measurements of each batch of replicas when it is finished, on the rank that simulated it."""
    progress: Callable[[float], object] = lambda share: None
    """Called with the share of this rank's work done since the last call."""
    stop_asked: Callable[[], bool] = lambda: False
    """Asked several times a second, on each rank; where true, the replicas under way are given up."""
    comm: MPI.Comm = field(default_factory=lambda: MPI.COMM_WORLD)
    """The ranks over which the replicas are spread."""
    ranks_per_replica: int | None = None
    """Ranks that share the work on pairs of one replica; by default one, or more where there are more ranks than
    replicas. Results do not depend on it."""
    halved: bool = False
    """Whether each step is made as two of half its size, along the same Brownian paths: the increments of the halves
    add to that of the whole (`Stream.BRIDGE`). The difference is then the error of the steps, almost without noise."""


ALONE = Controls()
"""Nobody watches."""


class ReplicasUnderWay(Protocol):
    """Some replicas on their way."""

    def run(self, snapshot: Snapshot | None, step_done: Callable[[], object], stop: Callable[[], bool]) -> Measurements:
        """Go to the end; the measurements of these replicas, time last. May raise `Stopped`."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ReplicaEnsemble:
    """What replicas of one particle number were measured to do, as far as all systems measure it.

    R replicas, T output times, P test functions; the same on every rank.
    """

    count: int
    """N."""
    steps: float
    """Time steps of one replica, in the mean."""
    times: np.ndarray
    """(T,) output times, from 0 to the end."""
    replicas: np.ndarray
    """(R,) numbers of the replicas that were finished."""
    second_moment: np.ndarray
    """(R, T) of the sum of m_i |x_i|^2, where the masses m_i of the particles add to that of the measure."""
    centre: np.ndarray
    """(R, T, d) of the mean of x_i, weighted with the masses."""
    observables: np.ndarray
    """(R, P, T) of int phi dmu^N_t, mu^N the empirical measure."""
    residual: np.ndarray
    """(R, P, T) of W[t, phi](mu^N)."""
    own_observables: np.ndarray
    """(R, Q, T) of the numbers that functions of the user's own make of the particles."""
    compensator: np.ndarray
    """(R, P) of A, what W should be at the end but for the noise."""
    work_per_second: float
    """Units of work per second of all ranks, over the whole simulation."""
    complete: bool
    """False where the run was asked to stop: then only the finished replicas are here."""

    def __repr__(self) -> str:
        end = f"{len(self.times)} times to t = {self.times[-1]:g}"
        return f"{type(self).__name__}(N = {self.count}, {len(self.replicas)} replicas, {end}, {self.steps:g} steps)"

    @property
    def noise(self) -> np.ndarray:
        """(R, P) of M = W - A at the end: of mean zero, for every N."""
        return np.asarray(self.residual[:, :, -1] - self.compensator)


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of some replicas: the measurements of all that are finished, those of earlier runs among them."""

    parts: list[Measurements]
    work_per_second: float
    complete: bool

    def common(self, found: Measurements, *, count: int, steps: float, times: Iterable[float]) -> dict[str, Any]:
        """The fields of `ReplicaEnsemble`, taken out of what the replicas were measured to do.

        Args:
            found: all parts `in_order`.

        Keyword Args:
            count: N.
            steps: of one replica.
            times: output times after 0.
        """
        names = ("replicas", "second_moment", "observables", "residual", "compensator")
        none = np.zeros((len(found["replicas"]), 0, found["observables"].shape[-1]))
        return {
            "count": count,
            "steps": steps,
            "times": np.array([0.0, *times]),
            "centre": np.moveaxis(found.pop("centre"), 1, 2),
            "work_per_second": self.work_per_second,
            "complete": self.complete,
            "own_observables": found.pop("own_observables", none),
            **{name: found.pop(name) for name in names},
        }


def team_for(controls: Controls, *, count: int, replicas: int) -> AbstractContextManager[Team]:
    """The team of this rank, for the replicas that are not finished; within, it may be used. Collective.

    Args:
        controls: how the simulation is watched.

    Keyword Args:
        count: N.
        replicas: how many there are.

    Raises:
        InputError: that makes no sense.
    """
    ranks = controls.ranks_per_replica
    if ranks is not None and ranks < 1:
        raise InputError(f"particles.ranks_per_replica = {ranks}: must be at least 1")
    left = len(_unfinished(replicas, controls.finished))
    return teams_of(controls.comm, count=count, replicas=left, ranks=ranks)


def simulate_replicas(
    make: Callable[[np.ndarray], ReplicasUnderWay],
    controls: Controls,
    *,
    prepare: Callable[[], object] = lambda: None,
    team: Team | None = None,
    count: int,
    replicas: int,
    together: int,
    steps: int,
    work: Callable[[Measurements], float],
) -> Simulated:
    """Simulate those replicas that are not finished, spread over the ranks. Collective.

    Args:
        make: a batch of the replicas with these numbers, at the start.
        controls: how the simulation is watched.

    Keyword Args:
        prepare: done on each rank before the clock runs, as what compiles; it may be collective in the team.
        team: of this rank, from `team_for`, where `make` has the sums shared; by default each rank is by itself.
        count: N.
        replicas: how many there are.
        together: how many are advanced together.
        steps: of one replica, as often as a batch says that a step is done.
        work: units of work that the replicas of a part took.

    Raises:
        InputError: sums are to be shared by ranks that are not.
        Interrupted: asked to stop before any replica was finished.
        RunError: a replica, or `prepare`, failed on some rank.
    """
    comm = controls.comm
    if team is None:
        if (controls.ranks_per_replica or 1) > 1:
            ranks = controls.ranks_per_replica
            raise InputError(
                f"particles.ranks_per_replica = {ranks}: these replicas are on one rank each; leave it out"
            )
        team = Team(number=comm.rank, teams=comm.size)

    def advance(some: np.ndarray, step_done: Callable[[], object]) -> Measurements:
        shown = controls.snapshot if some[0] == 0 and team.rank == 0 else None
        return make(some).run(shown, step_done, lambda: team.stops(controls.stop_asked()))

    _gathered(comm, [], team.guarded(prepare))
    began = time.perf_counter()
    share = _unfinished(replicas, controls.finished)[team.number :: team.teams]
    mine, failure = _run_batches(
        share, together, advance, steps=steps, keep=controls.keep, progress=controls.progress, team=team
    )
    new = _gathered(comm, mine, failure)
    speed = sum(map(work, new)) / (time.perf_counter() - began)
    parts = [*controls.finished, *new]
    if not parts:
        raise Interrupted(f"stopped before any of the {replicas} replicas of N = {count} was finished")
    return Simulated(parts, speed, sum(len(part["replicas"]) for part in parts) == replicas)


def ensemble_seed(seed: int, count: int) -> int:
    """A seed of its own for each particle number, so that ensembles of different N are independent."""
    return int(np.random.SeedSequence([seed, count]).generate_state(1, np.uint64)[0])


def _unfinished(replicas: int, finished: Sequence[Measurements]) -> np.ndarray:
    """Numbers of the replicas that are still to be simulated."""
    return np.setdiff1d(np.arange(replicas), [number for part in finished for number in part["replicas"]])


def _gathered(comm: MPI.Comm, mine: list[Measurements], failure: Exception | None) -> list[Measurements]:
    """The parts of all ranks, on every rank; or the failure of one, raised on every rank. Collective.

    Large arrays go from where they are to where they stay, all others are pickled.
    """
    brief = [{name: _Rows(rows) if rows.nbytes > LARGE else rows for name, rows in part.items()} for part in mine]
    outcomes = comm.allgather((brief, failure))
    for _, failed in outcomes:
        if isinstance(failed, LimitPDEError):
            raise failed
        if failed is not None:
            raise RunError(f"{type(failed).__name__}: {failed}") from failed
    found: list[Measurements] = []
    for rank, (parts, _) in enumerate(outcomes):
        for k, part in enumerate(parts):
            whole = mine[k] if rank == comm.rank else {}
            found.append({name: _told(comm, rows, whole.get(name), rank) for name, rows in part.items()})
    return found


class _Rows:
    """The shape and kind of an array that is sent apart."""

    def __init__(self, rows: np.ndarray) -> None:
        self.shape, self.kind = rows.shape, rows.dtype.str


def _told(comm: MPI.Comm, rows: _Rows | np.ndarray, own: np.ndarray | None, root: int) -> np.ndarray:
    """An array of one rank, on every rank. Collective where it is sent apart."""
    if not isinstance(rows, _Rows):
        return rows
    array = np.empty(rows.shape, rows.kind) if own is None else np.ascontiguousarray(own)
    comm.Bcast(array, root=root)
    return array


def in_order(parts: Sequence[Measurements]) -> Measurements:
    """All parts as one, in the order of the replicas."""
    one = parts[0] if len(parts) == 1 else None  # which may be large
    joined = dict(one or {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    order = np.argsort(joined["replicas"])
    if (np.diff(order) == 1).all():
        return joined
    return {name: values[order] for name, values in joined.items()}


def in_order_kept(parts: Sequence[Measurements], kept: int, *names: str) -> Measurements:
    """The same, where parts have rows under these names for their replicas below `kept` only."""
    found = in_order([{name: rows for name, rows in part.items() if name not in names} for part in parts])
    some = [
        {"replicas": part["replicas"][part["replicas"] < kept]} | {name: part[name] for name in names} for part in parts
    ]
    return found | {name: rows for name, rows in in_order(some).items() if name in names}


class Stopped(Exception):  # noqa: N818 - not an error
    """The user asked to stop: the batch under way is given up."""


def _run_batches(
    mine: np.ndarray,
    size: int,
    run: Callable[[np.ndarray, Callable[[], object]], Measurements],
    *,
    steps: int,
    keep: Callable[[Measurements], object],
    progress: Callable[[float], object],
    team: Team,
) -> tuple[list[Measurements], Exception | None]:
    """Simulate the replicas of this rank's team, some at a time. Collective in the team.

    Args:
        mine: their numbers.
        size: how many are advanced together.
        run: simulates some; called with their numbers and with what to call after each step. May raise `Stopped`.

    Keyword Args:
        steps: of one replica.
        keep: called with the measurements of each batch.
        progress: called with the share of the work that a step was.
        team: of this rank.

    Returns:
        The measurements of the batches that were finished, on the first rank of the team, and why a later one failed,
        if it did.
    """
    finished: list[Measurements] = []

    def batches() -> None:
        with suppress(Stopped):
            for first in range(0, len(mine), size):
                replicas = mine[first : first + size]
                step_done = partial(progress, len(replicas) / (len(mine) * steps))
                found = run(replicas, step_done)
                if team.rank == 0:
                    finished.append(found)
                    keep(found)
                team.agree()

    return finished, team.guarded(batches)


def walk(
    grid: Sequence[tuple[float, int]],
    advance: Callable[[float], object],
    record: Callable[[float], Measurements],
    *,
    step_done: Callable[[], object],
    stop: Callable[[], bool],
) -> Measurements:
    """Step some replicas from 0 through the output times, and measure them there.

    Args:
        grid: output times and the number of steps to each (`time_grid`).
        advance: makes a step of this size.
        record: what is measured at a time, by name.

    Keyword Args:
        step_done: called after each step.
        stop: asked before each step; where true, the replicas are given up.

    Returns:
        All that was measured, time last.
    """
    rows, t = [record(0.0)], 0.0
    for end, steps in grid:
        for _ in range(steps):
            if stop():
                raise Stopped
            advance((end - t) / steps)
            step_done()
        t = end
        rows.append(record(t))
    return {name: np.stack([row[name] for row in rows], axis=-1) for name in rows[0]}


def check_arguments(count: int, replicas: int, step: float, end: float) -> None:
    """Check what every simulation is given.

    Raises:
        InputError: a number is not positive.
    """
    for name, value in (("counts", count), ("replicas", replicas)):
        if value < 1:
            raise InputError(f"particles.{name} = {value}: must be at least 1")
    for name, number in (("particles.step", step), ("time.end", end)):
        if not (number > 0 and math.isfinite(number)):
            raise InputError(f"{name} = {number}: must be greater than 0")


def time_grid(step: float, end: float, stops: Iterable[float], *, halved: bool = False) -> list[tuple[float, int]]:
    """Output times after 0, and the number of equal steps of at most `step`, or half of it, from each to the next."""
    times, parts = sorted({*(t for t in stops if 0 < t < end * (1 - 1e-12)), end}), 2 if halved else 1
    return [(b, parts * math.ceil((b - a) / step * (1 - 1e-9))) for a, b in zip([0.0, *times], times, strict=False)]
