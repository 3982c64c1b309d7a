"""W * rho and grad W * rho at the nodes of a grid of boxes, by zero-padded Fourier transforms.

(W * rho)(x_i) = sum_j W(x_i - x_j) m_j with the masses m_j of the nodes: the trapezoidal rule, whose error is that of
the mesh, and far less for a smooth density that has not met the walls. Every rank transforms the whole grid, so that
results do not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft

from limitpde.fem.mesh import Box
from limitpde.fem.nodes import NodeSpace


class GridConvolution:
    """Sums over the masses at the nodes of a grid. Collective.

    Args:
        nodes: of the grid.
        mesh: which it was made of.
        kernel: displacements (n, d) -> values (n, K) of K functions.

    Raises:
        InputError: what `kernel` raises.
    """

    def __init__(self, nodes: NodeSpace, mesh: Box, kernel: Callable[[np.ndarray], np.ndarray]) -> None:
        d = nodes.dimension
        boxes = mesh.boxes(d)
        self._comm, self._grid = nodes.comm, tuple((boxes + 1).tolist())
        self._axes = tuple(range(-d, 0))
        self._padded = tuple(scipy.fft.next_fast_len(2 * n - 1, real=True) for n in self._grid)
        spacing = mesh.domain(d).size / boxes
        steps = [_signed(np.arange(m), n, m) for n, m in zip(self._grid, self._padded, strict=True)]
        displacements = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, d) * spacing
        values = kernel(displacements).T.reshape(-1, *self._padded)
        self._symbols = scipy.fft.rfftn(values, axes=self._axes)
        numbers = self._comm.allgather(nodes.original)
        self._order = np.argsort(np.concatenate(numbers))
        self._counts = [len(part) for part in numbers]

    def everywhere(self, values: np.ndarray) -> np.ndarray:
        """Values of this rank's nodes, (S, owned), as those of the whole grid in its own order, (S, nodes)."""
        species = len(values)
        found = np.empty((sum(self._counts), species))
        self._comm.Allgatherv(np.ascontiguousarray(values.T), (found, [species * n for n in self._counts]))
        return np.ascontiguousarray(found[self._order].T)

    def __call__(self, masses: np.ndarray, functions: slice) -> np.ndarray:
        """Some of the functions convolved with masses (S, nodes) of the whole grid, (K, S, nodes)."""
        spectrum = scipy.fft.rfftn(masses.reshape(-1, *self._grid), self._padded, axes=self._axes)
        full = scipy.fft.irfftn(self._symbols[functions, None] * spectrum, self._padded, axes=self._axes)
        inside = (slice(None), slice(None), *map(slice, self._grid))
        return np.asarray(full[inside].reshape(*full.shape[:2], -1))


def _signed(index: np.ndarray, nodes: int, length: int) -> np.ndarray:
    """Displacements in cells that the places of a padded axis stand for: up to the last node, then below zero."""
    return np.where(index < nodes, index, index - length)
