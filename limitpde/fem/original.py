"""Nodal values in the order of the input mesh: on one rank, and back on any number of ranks."""

from __future__ import annotations

import dolfinx.fem
import numpy as np
from mpi4py import MPI


def original_nodes(space: dolfinx.fem.FunctionSpace) -> np.ndarray:
    """Number in the input mesh of each local degree of freedom of a first-order Lagrange space, (n_local,)."""
    mesh = space.mesh
    numbers = np.asarray(mesh.geometry.input_global_indices)
    found = np.empty(space.dofmap.index_map.size_local + space.dofmap.index_map.num_ghosts, dtype=np.int64)
    found[space.dofmap.list] = numbers[mesh.geometry.dofmaps[0][: len(space.dofmap.list)]]
    return found


def gathered(comm: MPI.Comm, numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows of all ranks in the order of their numbers, on rank 0; nothing elsewhere. Collective.

    Args:
        comm: the ranks.
        numbers: (owned,) number of each row, each number on one rank only.
        values: (owned, ...) rows.
    """
    parts = comm.gather((numbers, values), root=0)
    if parts is None:
        return values[:0]
    rows, all_values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return np.asarray(all_values[np.argsort(rows)])
