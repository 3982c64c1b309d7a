"""Gamma = sum_k c_k cos(k . x): convolutions by Fourier sums over the Gauss points, one coordinate after the other.

With rho_k = sum_y w_y rho(y) e^{-i k . y} and C_k = c_k / 2 at k and -k,

    Gamma * rho = sum_k C_k rho_k e^{i k . x},    -grad Gamma * rho = -sum_k i k C_k rho_k e^{i k . x}.

sum_x w_x rho F = -sum_k i k C_k |rho_k|^2 = 0. The sums go over the box of wave numbers that holds all k, half of it
for the last coordinate, as all is real; a force costs two products with a matrix (nodes, wave numbers) for
each coordinate.
"""

from __future__ import annotations

import numpy as np

from limitpde.potentials.modes import Modes
from limitpde.vlasov.fields.share import FieldShare


class Trigonometric:
    """Convolutions with a finite sum of cosines. Collective; each rank has some of the wave numbers of each axis.

    Args:
        modes: of Gamma.
        share: the positions of this rank.
    """

    def __init__(self, modes: Modes, share: FieldShare) -> None:
        self._share, d = share, len(share.axes)
        both = np.concatenate([modes.k, -modes.k])
        numbers = [np.unique(np.append(np.abs(both[:, j]), 0.0)) for j in range(d)]
        numbers = [np.concatenate([-positive[:0:-1], positive]) for positive in numbers[:-1]] + [numbers[-1]]
        half = both[:, -1] >= 0
        both, coefficients = both[half], np.tile(modes.c / 2, 2)[half]
        whole = np.zeros(tuple(len(number) for number in numbers))
        places = tuple(np.searchsorted(number, column) for number, column in zip(numbers, both.T, strict=True))
        whole[places] = np.where(both[:, -1] > 0, 2.0, 1.0) * coefficients  # the other half is conjugate
        mine = tuple(share.part(j, len(number)) for j, number in enumerate(numbers))
        self._coefficients = whole[mine].copy()
        own = [number[part] for number, part in zip(numbers, mine, strict=True)]
        self._k = np.meshgrid(*own, indexing="ij", sparse=True)
        self._back = [
            np.exp(1j * np.outer(axis.nodes, number)) for axis, number in zip(share.axes, numbers, strict=True)
        ]
        self._forth = [matrix.conj().T for matrix in self._back]

    def _weighted(self, values: np.ndarray) -> np.ndarray:
        """C_k times the Fourier sums of (..., *X)."""
        return self._coefficients * self._share.along(self._forth, self._share.weighted(values))

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (*X) -> (*X)."""
        return self._share.along(self._back, self._weighted(rho)).real

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, (*X) -> (d, *X)."""
        weighted = self._weighted(rho)
        return self._share.along(self._back, np.stack([k * weighted for k in self._k])).imag

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """sum_j d_j Gamma * J_j, (d, *X) -> (*X)."""
        total = sum(k * part for k, part in zip(self._k, self._weighted(current), strict=True))
        return -self._share.along(self._back, np.asarray(total)).imag
