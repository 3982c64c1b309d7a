"""What the simulators can count, for checks before anything is compiled: replicas, and the groups of random batches."""

from __future__ import annotations

from limitpde.errors import InputError

REPLICA_LIMIT = 1 << 32
"""Above all numbers of replicas and particles (`limitpde.nbody.random`)."""


def groups_of(count: int, size: int) -> int:
    """The number of groups of N = count particles that hold at least p = size each, or InputError."""
    if not 2 <= size <= count:
        raise InputError(f"particles.batch_size = {size}: must be from 2 to N = {count}")
    return count // size
