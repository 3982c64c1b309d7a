"""Node spaces on any number of ranks: their matrices and values on every rank, in an order without ranks."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np

from limitpde.fem.nodes import NodeSpace


def everywhere(nodes: NodeSpace, values: np.ndarray) -> np.ndarray:
    """Rows (owned, ...) of all ranks by the number of the node, on every rank."""
    rows = np.concatenate(nodes.comm.allgather(values))
    numbers = np.concatenate(nodes.comm.allgather(nodes.original))
    assert sorted(numbers) == list(range(nodes.size))
    found = np.empty_like(rows)
    found[numbers] = rows
    return found


def stiffness(nodes: NodeSpace) -> np.ndarray:
    """K, (size, size), by the numbers of the nodes, on every rank."""
    number = np.concatenate([nodes.original, np.full(len(nodes.halo.ghosts), -1)])
    nodes.halo.update(number)
    rows = np.zeros((nodes.owned, nodes.size))
    row = np.repeat(np.arange(nodes.owned), np.diff(nodes.indptr))
    np.add.at(rows, (row, number[nodes.columns]), nodes.values)
    return everywhere(nodes, rows)


def norm(nodes: NodeSpace, values: np.ndarray) -> float:
    """Root of int values^2, by the lumped volumes."""
    return float(np.sqrt(nodes.sums.total(nodes.volume * values**2)[0]))
