"""A state that goes from one solver to another, by way of a checkpoint."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
from limitpde.results.checkpoint import Checkpoint, PartState


def hand_over(solver, other, folder, comm, ranks=None):
    """Have another solver, on the same ranks or on others, go on from the state of one. Collective."""
    Checkpoint(folder, comm).save_solution({"solver": PartState("test 1", solver.state())})
    parts, damaged = Checkpoint(folder, ranks or comm).solution({"solver": "test 1"})
    assert not damaged
    other.restore(parts["solver"])
    comm.barrier()
