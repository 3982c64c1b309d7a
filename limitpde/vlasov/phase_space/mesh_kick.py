"""Transport in v at the x nodes of a mesh: the translations of a tensor grid, along lines of velocities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limitpde.vlasov.phase_space import kernels
from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.halo import LineHalo
from limitpde.vlasov.phase_space.lines import kick_lines
from limitpde.vlasov.phase_space.outflow import outflow
from limitpde.vlasov.phase_space.translation import moves


def kick(f: np.ndarray, v_axes: Sequence[Axis], displacements: np.ndarray, x_weights: np.ndarray) -> float:
    """Translate the velocities of each x node, in place.

    Args:
        f: (nodes, *v_shape).
        v_axes: d axes.
        displacements: (d, nodes).
        x_weights: (nodes,).

    Returns:
        Mass that left the intervals of v.
    """
    d, flat = len(v_axes), f.reshape(-1)
    shape = (len(f), *[1] * (d - 1), *f.shape[1:])
    nothing = LineHalo(np.empty(0), np.empty((len(f), 0), dtype=np.int64), False)
    lost = 0.0
    for j, axis in enumerate(v_axes):
        lines = kick_lines(shape, j, axis.P, moves(axis, displacements[j]))
        weights = x_weights[:, None] * measure(v_axes[j + 1 :]), measure(v_axes[:j]), np.ones(1)
        lost += outflow(flat, lines, axis, 0, axis.cells, weights)
        kernels.sweep(flat, lines, nothing, axis.P)
    return lost


def measure(v_axes: Sequence[Axis]) -> np.ndarray:
    """Weights of the nodes of a tensor grid, flat; (1,) of none."""
    product = np.ones(1)
    for axis in v_axes:
        product = np.multiply.outer(product, axis.weights).ravel()
    return product
