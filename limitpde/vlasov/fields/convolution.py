"""Convolutions with any Gamma at the Gauss points of uniform cells, by FFT over the cells.

Between point p of a cell a and point q of a cell b the displacement is (a - b) h + xi_p - xi_q: for each pair (p, q)
the sum over the cells b is a discrete convolution, cyclic on a torus, padded with zeros in the whole space. So for each
frequency of the cells the work is a product with a matrix over the pairs of points, (P^d, P^d): the result is that of
the direct sum up to rounding, for O(P^{2d} n + P^d n log n) with n cells.
Each rank has the matrices of its share of the frequencies and multiplies with these; the products go to all.

These matrices are Hermitian for Gamma and antihermitian for its gradient, as Gamma is even; what rounding, or a user's
function, leaves of the other part is dropped, so that int rho F = 0. On a torus an even density exerts no force, and
no function has a mean; the sum over the points does not find that for a Gamma that varies within a cell, or has a kink,
so means are taken out on both sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.fft
from mpi4py import MPI

Kernel = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Convolution:
    """Convolutions with Gamma and its gradient. Collective, like all methods.

    Args:
        kernel: displacements (n, d) -> Gamma (n,), grad Gamma (n, d).
        axes: of x, all periodic or none.
        comm: the ranks that share the frequencies.
    """

    def __init__(self, kernel: Kernel, axes: Sequence[Any], comm: MPI.Comm = MPI.COMM_SELF) -> None:
        self._d, self._comm = len(axes), comm
        self._cells = tuple(axis.cells for axis in axes)
        self._points = tuple(axis.P for axis in axes)
        self._periodic = axes[0].periodic
        if self._periodic:
            self._size = self._cells
        else:
            self._size = tuple(scipy.fft.next_fast_len(2 * n - 1, real=True) for n in self._cells)
        inner = [axis.nodes[: axis.P] for axis in axes]
        local = np.stack([grid.ravel() for grid in np.meshgrid(*inner, indexing="ij")], axis=1)  # (P^d, d)
        weights = [axis.weights[: axis.P] for axis in axes]
        self._weights = np.array([np.prod(row) for row in itertools.product(*weights)])
        shifts = self._shifts(axes)
        frequencies = int(np.prod(self._size[:-1])) * (self._size[-1] // 2 + 1)
        self._ends = frequencies * np.arange(comm.size + 1) // comm.size
        self._mine = slice(*self._ends[comm.rank : comm.rank + 2])
        matrices = np.empty((1 + self._d, len(local), len(local), self._mine.stop - self._mine.start), dtype=complex)
        for p, q in np.ndindex(len(local), len(local)):
            value, gradient = kernel(shifts + (local[p] - local[q]))
            columns = np.concatenate([value[None], gradient.T]).reshape(-1, *self._size)
            found = scipy.fft.rfftn(columns, axes=range(1, 1 + self._d))
            matrices[:, p, q] = found.reshape(1 + self._d, -1)[:, self._mine]
        matrices = np.ascontiguousarray(matrices.transpose(0, 3, 1, 2))
        mirrored = matrices.conj().transpose(0, 1, 3, 2)
        self._value = (matrices[0] + mirrored[0]) / 2 * self._weights  # (frequencies, P^d, P^d)
        self._slopes = (matrices[1:] - mirrored[1:]) / 2 * self._weights  # (d, frequencies, P^d, P^d)

    def _shifts(self, axes: Sequence[Any]) -> np.ndarray:
        """Displacements of the cells in the order of the transform, (cells, d): negative ones at the end."""
        lines = []
        for axis, size in zip(axes, self._size, strict=True):
            numbers = np.arange(size)
            lines.append(np.where(numbers < (size + 1) // 2, numbers, numbers - size) * axis.h)
        return np.stack([grid.ravel() for grid in np.meshgrid(*lines, indexing="ij")], axis=1)

    def _without_mean(self, values: np.ndarray) -> np.ndarray:
        """Values (*X) less their mean over a torus, by the quadrature of the cells; as they are in the whole space."""
        if not self._periodic:
            return values
        weights = self._weights.reshape([size for points in self._points for size in (1, points)])
        split = values.reshape([size for pair in zip(self._cells, self._points, strict=True) for size in pair])
        return values - (split * weights).sum() / (self._weights.sum() * np.prod(self._cells))

    def _transform(self, values: np.ndarray) -> np.ndarray:
        """Transforms over the cells of (*X) -> (frequencies of this rank, P^d, 1)."""
        values = self._without_mean(values)
        split = values.reshape([size for pair in zip(self._cells, self._points, strict=True) for size in pair])
        split = split.transpose([*range(1, 2 * self._d, 2), *range(0, 2 * self._d, 2)])
        found = scipy.fft.rfftn(split, s=self._size, axes=range(self._d, 2 * self._d))
        return np.ascontiguousarray(found.reshape(len(self._weights), -1)[:, self._mine].T)[..., None]

    def _back(self, values: np.ndarray) -> np.ndarray:
        """(frequencies of this rank, P^d, 1) -> (*X). Collective."""
        d, comm = self._d, self._comm
        if comm.size > 1:
            whole = np.empty((int(self._ends[-1]), *values.shape[1:]), dtype=complex)
            counts, first = (len(self._weights) * numbers for numbers in (np.diff(self._ends), self._ends[:-1]))
            comm.Allgatherv(np.ascontiguousarray(values), [whole, counts, first, MPI.C_DOUBLE_COMPLEX])
            values = whole
        split = values[..., 0].T.reshape(*self._points, *self._size[:-1], self._size[-1] // 2 + 1)
        found = scipy.fft.irfftn(split, s=self._size, axes=range(d, 2 * d))
        found = found[(slice(None),) * d + tuple(slice(n) for n in self._cells)]
        order = [axis for j in range(d) for axis in (d + j, j)]
        joined = found.transpose(order).reshape([n * p for n, p in zip(self._cells, self._points, strict=True)])
        return self._without_mean(joined)

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (*X) -> (*X)."""
        return self._back(self._value @ self._transform(rho))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, (*X) -> (d, *X)."""
        transformed = self._transform(rho)
        return -np.stack([self._back(slope @ transformed) for slope in self._slopes])

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """sum_j d_j Gamma * J_j, (d, *X) -> (*X)."""
        return self._back(
            np.asarray(sum(slope @ self._transform(part) for slope, part in zip(self._slopes, current, strict=True)))
        )
