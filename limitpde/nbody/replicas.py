"""Independent copies of a simulation: spread over the ranks and gathered again, on any number of ranks alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError, LimitPDEError, RunError

Measurements = dict[str, np.ndarray]
"""Measurements of some replicas: `replicas`, their numbers, and arrays with a row for each."""
Snapshot = Callable[..., None]
"""Called with t, the positions (n, d) of a replica, and arrays by name with a row for each particle."""


def ensemble_seed(seed: int, count: int) -> int:
    """A seed of its own for each particle number, so that ensembles of different N are independent."""
    return int(np.random.SeedSequence([seed, count]).generate_state(1, np.uint64)[0])


def share_of(comm: MPI.Comm, replicas: int, finished: Sequence[Measurements]) -> np.ndarray:
    """Numbers of the replicas that this rank is to simulate: its share of those that are not finished."""
    done = [number for part in finished for number in part["replicas"]]
    return np.asarray(np.setdiff1d(np.arange(replicas), done)[comm.rank :: comm.size])


def gathered_parts(comm: MPI.Comm, mine: list[Measurements], failure: Exception | None) -> list[Measurements]:
    """The parts of all ranks, on every rank; or the failure of one, raised on every rank. Collective."""
    outcomes = comm.allgather((mine, failure))
    for _, failed in outcomes:
        if isinstance(failed, LimitPDEError):
            raise failed
        if failed is not None:
            raise RunError(f"{type(failed).__name__}: {failed}") from failed
    return [part for parts, _ in outcomes for part in parts]


def in_order(parts: Sequence[Measurements]) -> Measurements:
    """All parts as one, in the order of the replicas."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(joined["replicas"])
    return {name: values[order] for name, values in joined.items()}


class Stopped(Exception):  # noqa: N818 - not an error
    """The user asked to stop: the batch under way is given up."""


def run_batches(
    mine: np.ndarray,
    size: int,
    run: Callable[[np.ndarray, Callable[[], object]], Measurements],
    *,
    steps: int,
    keep: Callable[[Measurements], object],
    progress: Callable[[float], object],
) -> tuple[list[Measurements], Exception | None]:
    """Simulate this rank's replicas, some at a time.

    Args:
        mine: their numbers.
        size: how many are advanced together.
        run: simulates some; called with their numbers and with what to call after each step. May raise `Stopped`.

    Keyword Args:
        steps: of one replica.
        keep: called with the measurements of each batch.
        progress: called with the share of the work that a step was.

    Returns:
        The measurements of the batches that were finished, and why a later one failed, if it did.
    """
    finished: list[Measurements] = []
    try:
        for first in range(0, len(mine), size):
            replicas = mine[first : first + size]
            step_done = partial(progress, len(replicas) / (len(mine) * steps))
            finished.append(run(replicas, step_done))
            keep(finished[-1])
    except Stopped:
        pass
    except Exception as error:  # every rank must learn of it before any raises
        return finished, error
    return finished, None


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


def time_grid(step: float, end: float, stops: Iterable[float]) -> list[tuple[float, int]]:
    """Output times after 0, and the number of equal steps of at most `step` from each one to the next."""
    times = sorted({*(t for t in stops if 0 < t < end * (1 - 1e-12)), end})
    return [(b, math.ceil((b - a) / step * (1 - 1e-9))) for a, b in zip([0.0, *times], times, strict=False)]
