"""Convolutions with any Gamma at the Gauss points of uniform cells, by FFT over the cells.

Between point p of a cell a and point q of a cell b the displacement is (a - b) h + xi_p - xi_q: for each pair (p, q)
the sum over the cells b is a discrete convolution, cyclic on a torus, padded with zeros in the whole space. So for each
frequency of the cells the work is a product with a matrix over the pairs of points, (P^d, P^d): the result is that of
the direct sum up to rounding, for O(P^{2d} n + P^d n log n) with n cells.
Each rank has its share of the frequencies along each axis, with their matrices, and its share of the cells: transforms
along an axis are those of whole lines, which the ranks along it gather.

These matrices are Hermitian for Gamma and antihermitian for its gradient, as Gamma is even; what rounding, or a user's
function, leaves of the other part is dropped, so that int rho F = 0. On a torus an even density exerts no force, and
no function has a mean; the sum over the points does not find that for a Gamma that varies within a cell, or has a kink,
so means are taken out on both sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import scipy.fft

from limitpde.vlasov.fields.share import FieldShare

Kernel = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Convolution:
    """Convolutions with Gamma and its gradient. Collective, like all methods.

    Args:
        kernel: displacements (n, d) -> Gamma (n,), grad Gamma (n, d).
        share: the positions of this rank, all axes periodic or none.
    """

    def __init__(self, kernel: Kernel, share: FieldShare) -> None:
        self._share, axes = share, share.axes
        self._d, self._cells, self._points = len(axes), [axis.cells for axis in axes], [axis.P for axis in axes]
        self._periodic = axes[0].periodic
        if self._periodic:
            self._size = tuple(self._cells)
        else:
            self._size = tuple(scipy.fft.next_fast_len(2 * n - 1, real=True) for n in self._cells)
        inner = [axis.nodes[: axis.P] for axis in axes]
        local = np.stack([grid.ravel() for grid in np.meshgrid(*inner, indexing="ij")], axis=1)  # (P^d, d)
        weights = [axis.weights[: axis.P] for axis in axes]
        self._weights = np.array([np.prod(row) for row in itertools.product(*weights)])
        shifts = self._shifts()
        mine = tuple(share.part(j, size) for j, size in enumerate((*self._size[:-1], self._size[-1] // 2 + 1)))
        shape = [part.stop - part.start for part in mine]
        matrices = np.empty((1 + self._d, len(local), len(local), *shape), dtype=complex)
        for p, q in np.ndindex(len(local), len(local)):
            value, gradient = kernel(shifts + (local[p] - local[q]))
            columns = np.concatenate([value[None], gradient.T]).reshape(-1, *self._size)
            found = scipy.fft.rfftn(columns, axes=range(1, 1 + self._d))
            matrices[:, p, q] = found[(slice(None), *mine)]
        matrices = np.ascontiguousarray(np.moveaxis(matrices, (1, 2), (-2, -1)))
        mirrored = matrices.conj().swapaxes(-1, -2)
        self._value = (matrices[0] + mirrored[0]) / 2 * self._weights  # (*frequencies, P^d, P^d)
        self._slopes = (matrices[1:] - mirrored[1:]) / 2 * self._weights

    def _shifts(self) -> np.ndarray:
        """Displacements of the cells in the order of the transform, (cells, d): negative ones at the end."""
        lines = []
        for axis, size in zip(self._share.axes, self._size, strict=True):
            numbers = np.arange(size)
            lines.append(np.where(numbers < (size + 1) // 2, numbers, numbers - size) * axis.h)
        return np.stack([grid.ravel() for grid in np.meshgrid(*lines, indexing="ij")], axis=1)

    def _without_mean(self, values: np.ndarray) -> np.ndarray:
        """Values (*X) less their mean over a torus, by the quadrature of the cells; as they are in the whole space."""
        if not self._periodic:
            return values
        return np.asarray(values - self._share.integrals(values) / (self._weights.sum() * np.prod(self._cells)))

    def _transform(self, values: np.ndarray) -> np.ndarray:
        """Transforms over the cells of (*X) -> (*frequencies of this rank, P^d, 1)."""
        d, share = self._d, self._share
        cells = [n // P for n, P in zip(share.shape, self._points, strict=True)]
        sizes = [size for pair in zip(cells, self._points, strict=True) for size in pair]
        found = self._without_mean(values).reshape(sizes)
        found = found.transpose([*range(1, 2 * d, 2), *range(0, 2 * d, 2)])
        for j in reversed(range(d)):
            run = scipy.fft.rfft if j == d - 1 else scipy.fft.fft
            whole = run(share.lines(found, j, self._cells[j]), n=self._size[j], axis=d + j)
            found = share.own(whole, j)
        return np.ascontiguousarray(np.moveaxis(found.reshape(len(self._weights), *found.shape[d:]), 0, -1))[..., None]

    def _back(self, values: np.ndarray) -> np.ndarray:
        """(*frequencies of this rank, P^d, 1) -> (*X). Collective."""
        d, share = self._d, self._share
        found = np.moveaxis(values[..., 0], -1, 0)
        found = found.reshape(*self._points, *found.shape[1:])
        for j, (cells, size) in enumerate(zip(self._cells, self._size, strict=True)):
            last = j == d - 1
            lines = share.lines(found, j, size // 2 + 1 if last else size)
            whole = (scipy.fft.irfft if last else scipy.fft.ifft)(lines, n=size, axis=d + j)
            found = share.own(whole.take(range(cells), axis=d + j), j)
        joined = found.transpose([axis for j in range(d) for axis in (d + j, j)])
        return self._without_mean(joined.reshape(share.shape))

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
