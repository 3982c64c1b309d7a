"""How many threads the compiled kernels of this process use, and how those wait.

`use_threads` also shortens the time for which an idle OpenMP thread spins (GNU's default: milliseconds) unless the
user's environment already says how to wait: on a machine that also ran something else, spinning made small pair sums a
hundred times slower. It counts only before libgomp is loaded, that is, before numba's first threaded call.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import threadpoolctl
from mpi4py import MPI

from limitpde.errors import InputError

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")

_alone: list[int] = []
"""Threads of this rank while it does runs of its own beside other ranks, the innermost last."""


@contextmanager
def dividing(comm: MPI.Comm) -> Iterator[None]:
    """Within, runs of fewer ranks leave to the others of these their share of the cores. Collective.

    Args:
        comm: all ranks at work.
    """
    _alone.append(use_threads(comm))
    try:
        yield
    finally:
        _alone.pop()


def use_threads(comm: MPI.Comm) -> int:
    """Gives every rank its share of the cores of its node, and sets numba's thread count to it. Collective.

    A number that the user put in NUMBA_NUM_THREADS, or else in OMP_NUM_THREADS, is taken as it is (but no more than
    numba can start). Otherwise the cores on which the ranks of the node may run are divided evenly, whether a launcher
    has pinned each rank to cores of its own or left all of them free to run on any. BLAS, whose products are small
    here and whose threads would stand in the way of numba's, gets one thread, unless a variable of its own, or
    OMP_NUM_THREADS, says otherwise.

    Args:
        comm: Communicator of the run.

    Returns:
        Threads set in this process, at least 1.

    Raises:
        InputError: The variable is no positive integer (on every rank of the node, if all see the same environment).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    mine = os.sched_getaffinity(0)
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    try:
        everyone = node.allgather(mine)
    finally:
        node.Free()
    asked = _asked()
    if asked is None:
        asked = _alone[-1] if _alone else min(len(mine), len(set().union(*everyone)) // len(everyone))
    threads = max(1, min(asked, int(numba.config.NUMBA_NUM_THREADS)))
    numba.set_num_threads(threads)
    if not any(os.environ.get(name) for name in BLAS_VARIABLES):
        threadpoolctl.threadpool_limits(1, user_api="blas")
    return threads


def _asked() -> int | None:
    """The number of threads that the user's environment asks for, or None."""
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "").split(",")[0].strip()
        if value:
            if not value.isdecimal() or int(value) < 1:
                raise InputError(f"{name} = {value!r} in the environment: a number of threads >= 1 is needed")
            return int(value)
    return None
