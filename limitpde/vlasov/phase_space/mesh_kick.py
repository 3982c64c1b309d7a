"""Transport in v at the x nodes of a mesh: the translations of a tensor grid, along lines of velocities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limitpde.vlasov.phase_space import kernels
from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.grid import ProcessGrid
from limitpde.vlasov.phase_space.lines import kick_lines
from limitpde.vlasov.phase_space.outflow import outflow
from limitpde.vlasov.phase_space.translation import moves


def kick(
    f: np.ndarray,
    v_axes: Sequence[Axis],
    v_weights: Sequence[np.ndarray],
    displacements: np.ndarray,
    x_weights: np.ndarray,
    grid: ProcessGrid,
) -> float:
    """Translate the velocities of each x node, in place. Collective on the ranks that have the same nodes.

    Args:
        f: (nodes, *v_shape).
        v_axes: d axes.
        v_weights: d arrays, weights of the nodes of this rank along them.
        displacements: (d, nodes).
        x_weights: (nodes,).
        grid: the ranks, whose axes 1, ..., d are those of v.

    Returns:
        Mass that left the intervals of v on this rank.
    """
    d, flat = len(v_axes), f.reshape(-1)
    shape = (len(f), *[1] * (d - 1), *f.shape[1:])
    lost = 0.0
    for j, axis in enumerate(v_axes):
        lines = kick_lines(shape, j, axis.P, moves(axis, displacements[j]))
        weights = x_weights[:, None] * measure(v_weights[j + 1 :]), measure(v_weights[:j]), np.ones(1)
        lost += outflow(flat, lines, axis, *grid.cells(grid.comm.rank)[1 + j], weights)
        kernels.move(flat, lines, 1 + j, axis, grid)
    return lost


def measure(v_weights: Sequence[np.ndarray]) -> np.ndarray:
    """Weights of the nodes of a tensor grid from those of each axis, flat; (1,) of none."""
    product = np.ones(1)
    for weights in v_weights:
        product = np.multiply.outer(product, weights).ravel()
    return product
