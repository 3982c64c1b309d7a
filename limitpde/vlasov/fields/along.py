"""Matrices applied along the axes of an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def along(matrices: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Apply matrix j (m_j, n_j) to axis j of the last d axes, (..., n_1, ..., n_d) -> (..., m_1, ..., m_d)."""
    d = len(matrices)
    for j, matrix in enumerate(matrices):
        axis = values.ndim - d + j
        values = np.moveaxis(np.moveaxis(values, axis, -1) @ matrix.T, -1, axis)
    return values


def weights_of(axes: Sequence[Any]) -> np.ndarray:
    """Quadrature weights of all nodes, (*X)."""
    total = np.ones(())
    for axis in axes:
        total = np.multiply.outer(total, axis.weights)
    return total
