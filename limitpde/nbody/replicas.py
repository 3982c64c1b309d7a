"""Independent copies of a simulation: spread over the ranks and gathered again, on any number of ranks alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from limitpde.errors import LimitPDEError, RunError

Part = dict[str, np.ndarray]
"""Measurements of some replicas: `replicas`, their numbers, and arrays with a row for each."""


def ensemble_seed(seed: int, count: int) -> int:
    """A seed of its own for each particle number, so that ensembles of different N are independent."""
    return int(np.random.SeedSequence([seed, count]).generate_state(1, np.uint64)[0])


def share_of(comm: MPI.Comm, replicas: int, finished: Sequence[Part]) -> np.ndarray:
    """Numbers of the replicas that this rank is to simulate: its share of those that are not finished."""
    done = [number for part in finished for number in part["replicas"]]
    return np.asarray(np.setdiff1d(np.arange(replicas), done)[comm.rank :: comm.size])


def gathered_parts(comm: MPI.Comm, mine: list[Part], failure: Exception | None) -> list[Part]:
    """The parts of all ranks, on every rank; or the failure of one, raised on every rank. Collective."""
    outcomes = comm.allgather((mine, failure))
    for _, failed in outcomes:
        if isinstance(failed, LimitPDEError):
            raise failed
        if failed is not None:
            raise RunError(f"{type(failed).__name__}: {failed}") from failed
    return [part for parts, _ in outcomes for part in parts]


def in_order(parts: Sequence[Part]) -> Part:
    """All parts as one, in the order of the replicas."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(joined["replicas"])
    return {name: values[order] for name, values in joined.items()}
