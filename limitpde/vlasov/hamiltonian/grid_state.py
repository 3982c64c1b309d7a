"""A normalised alpha on a tensor grid of phase space: its values anywhere, draws from |alpha|^2, its norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from limitpde.vlasov.phase_space import Axis
from limitpde.vlasov.phase_space.axes import derivatives, gauss, lagrange

CHUNK = 1 << 22
"""Numbers that are worked on together."""


class GridState:
    """alpha / ||alpha||, a polynomial of one degree in each cell. Not collective.

    Args:
        axes: the 2d axes, those of x first, all of one degree.
        alpha: values at the nodes in natural order, (*X, *V), complex.

    Attributes:
        axes: as given.
        values: of the normalised alpha at the nodes, (*X, *V).
    """

    def __init__(self, axes: Sequence[Axis], alpha: np.ndarray) -> None:
        self.axes, self._P = tuple(axes), axes[0].P
        self.values = alpha
        self.values = alpha / math.sqrt(self.integral(np.abs(alpha) ** 2))
        D, P = len(self.axes), self._P
        parts = self.values.reshape([n for axis in self.axes for n in (axis.cells, P)])
        order = [*range(0, 2 * D, 2), *range(1, 2 * D, 2)]
        self._cells = np.ascontiguousarray(parts.transpose(order)).reshape(-1, *(P,) * D)
        s, k = gauss(P)[0][:, None], np.arange(P)
        change = np.linalg.inv(np.array([math.comb(P - 1, m) for m in k]) * s**k * (1 - s) ** (P - 1 - k))
        control = self._cells
        for j in range(1, D + 1):
            control = np.moveaxis(np.tensordot(control, change, axes=([j], [1])), -1, j)
        # a polynomial is a mean of its Bernstein coefficients
        self._tops = np.abs(control).reshape(len(control), -1).max(axis=1) ** 2

    @property
    def dimension(self) -> int:
        """d."""
        return len(self.axes) // 2

    def nodes(self) -> np.ndarray:
        """Points of phase space at which `values` stand, (n, 2d)."""
        grids = np.meshgrid(*[axis.nodes for axis in self.axes], indexing="ij")
        return np.stack([grid.ravel() for grid in grids], axis=1)

    def integral(self, values: np.ndarray) -> float:
        """Of a function given at the nodes, (*X, *V)."""
        for axis in reversed(self.axes):
            values = values @ axis.weights
        return float(values)

    def slope(self, *, velocities: bool = False) -> float:
        """||grad alpha||, within the cells, or ||grad_v alpha||."""
        return math.sqrt(sum(self._square(self._derivative(self.values, j)) for j in self._along(velocities)))

    def curvature(self, *, velocities: bool = False) -> float:
        """||D^2 alpha|| of Hilbert and Schmidt, within the cells, or that of the derivatives by v."""
        along = self._along(velocities)
        slopes = [self._derivative(self.values, j) for j in along]
        return math.sqrt(sum(self._square(self._derivative(slope, j)) for slope in slopes for j in along))

    def _along(self, velocities: bool) -> range:
        return range(self.dimension if velocities else 0, len(self.axes))

    def _square(self, values: np.ndarray) -> float:
        return self.integral(np.abs(values) ** 2)

    def _derivative(self, values: np.ndarray, j: int) -> np.ndarray:
        """By the coordinate j, in each cell, at the nodes."""
        axis, shape = self.axes[j], values.shape
        parts = values.reshape(*shape[:j], axis.cells, axis.P, *shape[j + 1 :])
        slopes = np.tensordot(parts, derivatives(axis.P) / axis.h, axes=([j + 1], [1]))
        return np.moveaxis(slopes, -1, j + 1).reshape(shape)

    def evaluate(self, z: np.ndarray) -> np.ndarray:
        """alpha at points (n, 2d), complex (n,); 0 outside the grid."""
        inside, local = np.ones(len(z), dtype=bool), np.empty(z.shape)
        flat = np.zeros(len(z), dtype=np.int64)
        for j, axis in enumerate(self.axes):
            s = (z[:, j] - axis.low) / axis.h
            if axis.periodic:
                s = np.mod(s, axis.cells)
            inside &= (s >= 0) & (s <= axis.cells)
            cell = np.clip(np.floor(s), 0, axis.cells - 1).astype(np.int64)
            flat, local[:, j] = flat * axis.cells + cell, s - cell
        return np.where(inside, self._in_cells(flat, local), 0.0)

    def _in_cells(self, flat: np.ndarray, local: np.ndarray) -> np.ndarray:
        """alpha in cells of these numbers (n,) at points of [0, 1]^2d, (n, 2d)."""
        found, D = np.empty(len(flat), dtype=complex), len(self.axes)
        some = max(1, CHUNK // self._P**D)
        for first in range(0, len(flat), some):
            part = slice(first, first + some)
            values = self._cells[flat[part]]
            for j in reversed(range(D)):
                values = np.einsum("n...p,np->n...", values, lagrange(self._P, local[part, j]))
            found[part] = values
        return found

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n independent points from |alpha|^2, (n, 2d), by rejection within the cells."""
        sums = np.cumsum(self._tops)
        low, h = np.array([axis.low for axis in self.axes]), np.array([axis.h for axis in self.axes])
        shape, found, missing = [axis.cells for axis in self.axes], [np.empty((0, len(low)))], n
        while missing > 0:
            size = 2 * missing + 16
            flat = np.minimum(np.searchsorted(sums, rng.random(size) * sums[-1], side="right"), len(sums) - 1)
            local = rng.random((size, len(low)))
            kept = rng.random(size) * self._tops[flat] < np.abs(self._in_cells(flat, local)) ** 2
            cells = np.stack(np.unravel_index(flat, shape), axis=1)
            found.append((low + (cells + local) * h)[kept][:missing])
            missing -= len(found[-1])
        return np.concatenate(found)
