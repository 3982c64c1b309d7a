"""What the runs of a study need, each on one rank of this machine: room, memory and seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mpi4py import MPI

from limitpde import needs
from limitpde.sections import BaseCase
from limitpde.study_plan import StudyRun


def _alone() -> needs.Machine:
    return needs.Machine.of(MPI.COMM_SELF)


def check_each(cases: Sequence[BaseCase], directory: Path, *, hours: float) -> None:
    """Refuse cases of which one needs more than this machine has for one rank, or than so many hours.

    Raises:
        InputError: it does.
    """
    for case in cases:
        needs.check(case, directory, _alone(), hours=hours)


def estimated(case: BaseCase) -> float | None:
    """Seconds of what a case computes, without what is fixed; None where its system does not say."""
    found = needs.estimate(case, _alone())
    return None if found is None else sum(found.times)


def together(runs: Sequence[StudyRun], machine: needs.Machine) -> int:
    """How many of these runs fit into the memory at once."""
    found = [needs.estimate(one.case, _alone()) for one in runs]
    largest = max((need.node_memory for need in found if need is not None), default=1.0)
    return max(1, int(machine.memory / largest)) * math.ceil(machine.ranks / machine.neighbours)
