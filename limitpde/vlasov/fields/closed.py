"""Interactions in closed form: none, by moments (harmonic), and by one matrix for each coordinate (gaussian)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from limitpde.vlasov.fields.along import along, weights_of


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
    """Gamma = strength |x|^2 / 2: -grad Gamma * rho = strength (int y rho dy - x int rho dy).

    Args:
        strength: of Gamma.
        axes: of x.
    """

    def __init__(self, strength: float, axes: Sequence[Any]) -> None:
        self._strength = strength
        self._x = np.stack(np.meshgrid(*(axis.nodes for axis in axes), indexing="ij"))
        self._square = (self._x**2).sum(axis=0)
        self._weights = weights_of(axes)

    def _integrals(self, values: np.ndarray) -> np.ndarray:
        """Integrals over x of (..., *X) -> (...)."""
        return np.asarray((values * self._weights).sum(axis=tuple(range(-self._weights.ndim, 0))))

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """strength / 2 (|x|^2 int rho - 2 x . int y rho + int |y|^2 rho)."""
        mass, square = self._integrals(rho), self._integrals(rho * self._square)
        first = np.tensordot(self._integrals(rho * self._x), self._x, axes=1)
        return np.asarray(self._strength * (self._square * mass / 2 - first + square / 2))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """(*X) -> (d, *X)."""
        first = self._integrals(rho * self._x).reshape(-1, *(1,) * rho.ndim)
        return np.asarray(self._strength * (first - self._x * self._integrals(rho)))

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """strength sum_j (x_j int J_j - int y_j J_j)."""
        total, first = self._integrals(current), self._integrals(current * self._x).sum()
        return np.asarray(self._strength * (np.tensordot(total, self._x, axes=1) - first))


class Separable:
    """Gamma = strength exp(-|x|^2 / (2 width^2)), a product over the coordinates, in the whole space.

    Args:
        strength: of Gamma.
        width: of Gamma.
        axes: of x, with n_j nodes; work and memory are those of matrices (n_j, n_j) along each axis.
    """

    def __init__(self, strength: float, width: float, axes: Sequence[Any]) -> None:
        self._strength = strength
        distances = [np.subtract.outer(axis.nodes, axis.nodes) for axis in axes]
        self._values = [
            np.exp(-(r**2) / (2 * width**2)) * axis.weights for r, axis in zip(distances, axes, strict=True)
        ]
        self._slopes = [-r / width**2 * values for r, values in zip(distances, self._values, strict=True)]

    def _derivative(self, j: int, values: np.ndarray) -> np.ndarray:
        """d_j Gamma * values."""
        return self._strength * along([*self._values[:j], self._slopes[j], *self._values[j + 1 :]], values)

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (*X) -> (*X)."""
        return self._strength * along(self._values, rho)

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, (*X) -> (d, *X)."""
        return -np.stack([self._derivative(j, rho) for j in range(rho.ndim)])

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """sum_j d_j Gamma * J_j, (d, *X) -> (*X)."""
        return np.asarray(sum(self._derivative(j, part) for j, part in enumerate(current)))
