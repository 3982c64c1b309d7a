"""Interactions in closed form: none, by moments (harmonic), and by one matrix for each coordinate (gaussian)."""

from __future__ import annotations

import numpy as np

from limitpde.vlasov.fields.products import Products
from limitpde.vlasov.fields.share import FieldShare


class NoInteraction:
    """Gamma = 0 in d dimensions."""

    def __init__(self, dimension: int) -> None:
        self._d = dimension

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """0, (*X) -> (*X)."""
        return np.zeros(rho.shape)

    def force(self, rho: np.ndarray) -> np.ndarray:
        """0, (*X) -> (d, *X)."""
        return np.zeros((self._d, *rho.shape))

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """0, (d, *X) -> (*X)."""
        return np.zeros(current.shape[1:])


class HarmonicMoments:
    """Gamma = strength |x|^2 / 2: -grad Gamma * rho = strength (int y rho dy - x int rho dy). Collective.

    Args:
        strength: of Gamma.
        share: the positions of this rank.
    """

    def __init__(self, strength: float, share: FieldShare) -> None:
        self._strength, self._share = strength, share
        self._x = np.stack(np.meshgrid(*share.nodes, indexing="ij"))
        self._square = (self._x**2).sum(axis=0)

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """strength / 2 (|x|^2 int rho - 2 x . int y rho + int |y|^2 rho)."""
        mass, square, *first = self._share.integrals(np.stack([rho, rho * self._square, *(rho * self._x)]))
        middle = np.tensordot(first, self._x, axes=1)
        return np.asarray(self._strength * (self._square * mass / 2 - middle + square / 2))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """(*X) -> (d, *X)."""
        mass, *first = self._share.integrals(np.stack([rho, *(rho * self._x)]))
        return np.asarray(self._strength * (np.reshape(first, (-1, *(1,) * rho.ndim)) - self._x * mass))

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """strength sum_j (x_j int J_j - int y_j J_j)."""
        *total, first = self._share.integrals(np.stack([*current, (current * self._x).sum(axis=0)]))
        return np.asarray(self._strength * (np.tensordot(total, self._x, axes=1) - first))


class Separable:
    """Gamma = strength exp(-|x|^2 / (2 width^2)), a product over the coordinates, in the whole space. Collective.

    Args:
        strength: of Gamma.
        width: of Gamma.
        share: the positions of this rank; work and memory are those of matrices (n_j, n_j) along each axis.
    """

    def __init__(self, strength: float, width: float, share: FieldShare) -> None:
        self._strength = strength
        distances = [np.subtract.outer(axis.nodes, axis.nodes) for axis in share.axes]
        values = [
            np.exp(-(r**2) / (2 * width**2)) * axis.weights for r, axis in zip(distances, share.axes, strict=True)
        ]
        slopes = [-r / width**2 * table for r, table in zip(distances, values, strict=True)]
        self._products = Products(share, values, slopes)

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (*X) -> (*X)."""
        return self._strength * self._products.values(rho)

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, (*X) -> (d, *X)."""
        return -self._strength * self._products.gradient(rho)[1:]

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """sum_j d_j Gamma * J_j, (d, *X) -> (*X)."""
        return self._strength * self._products.divergence(current)[0]
