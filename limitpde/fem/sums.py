"""Sums over the nodes of all ranks: the one place where the PDE solvers add up."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI


class GlobalSums:
    """Sums and extrema of nodal values, each node counted once.

    Args:
        comm: the communicator of the mesh.
        owned: number of nodes that this rank owns (they come first in its arrays); may be zero.
    """

    def __init__(self, comm: MPI.Comm, owned: int) -> None:
        self.comm, self.owned = comm, owned

    def total(self, *values: np.ndarray) -> np.ndarray:
        """Sums of nodal arrays (each (n_local,), ghosts ignored) over all ranks, in one reduction. Collective."""
        local = np.array([value[: self.owned].sum() for value in values])
        return self.add(local)

    def add(self, local: np.ndarray) -> np.ndarray:
        """Sum an array of any shape over the ranks. Collective."""
        result = np.empty_like(local)
        self.comm.Allreduce(local, result, op=MPI.SUM)
        return result

    def minimum(self, *values: np.ndarray) -> float:
        """Smallest entry of all arrays on all ranks; infinity of nothing, NaN if there is one. Collective."""
        return self.extremes(*values)[0]

    def maximum(self, *values: np.ndarray) -> float:
        """Largest entry of all arrays on all ranks; minus infinity of nothing, NaN if there is one. Collective."""
        return self.extremes(*values)[1]

    def extremes(self, *values: np.ndarray) -> tuple[float, float]:
        """Smallest and largest entry, as `minimum` and `maximum` give them, in one reduction. Collective."""
        owned = [value[: self.owned] for value in values]
        ends = [(-value.min(initial=np.inf), value.max(initial=-np.inf)) for value in owned]
        local = np.array(ends).max(axis=0, initial=-np.inf)
        wrong = np.isnan(local)
        flags = np.array([float(wrong.any()), *np.where(wrong, -np.inf, local)])
        result = np.empty_like(flags)
        self.comm.Allreduce(flags, result, op=MPI.MAX)
        return (float("nan"), float("nan")) if result[0] else (-float(result[1]), float(result[2]))
