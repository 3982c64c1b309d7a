"""Poisson on the whole line, Gamma = -strength |x| / 2: sheets of charge, or of mass, by antiderivatives.

With R(x) = int_{-inf}^x rho, S(x) = int_{-inf}^x R, and M, M_1 the integrals of rho and x rho,

    -Gamma' * rho = strength (R - M / 2),    Gamma * rho = -strength (S + (M_1 - x M) / 2),

where rho is the polynomial of degree k that it is in each cell, so both are exact at the nodes. The Gauss points
integrate rho R, of degree 2 k + 1, exactly: int rho F = strength int (R' R - R' M / 2) = 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import legendre


class Sheets:
    """Convolutions with -strength |x| / 2 and its derivative.

    Args:
        strength: of Gamma.
        axis: of x.
    """

    def __init__(self, strength: float, axis: Any) -> None:
        self._strength, self._axis = strength, axis
        points = 2 * (axis.nodes[: axis.P] - axis.low) / axis.h - 1
        self._offsets = (points + 1) / 2 * axis.h
        basis = np.linalg.inv(legendre.legvander(points, axis.P - 1))  # Lagrange functions, Legendre coefficients
        once = legendre.legint(basis, lbnd=-1) * axis.h / 2
        twice = legendre.legint(once, lbnd=-1) * axis.h / 2
        self._once = legendre.legval(points, once).T
        self._twice = legendre.legval(points, twice).T
        self._ends = np.stack([legendre.legval(1.0, once), legendre.legval(1.0, twice)])

    def _antiderivatives(self, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """R and S at the nodes, (n,) each."""
        axis = self._axis
        values = rho.reshape(axis.cells, axis.P)
        masses, lifts = values @ self._ends[0], values @ self._ends[1]
        R = np.concatenate([[0.0], np.cumsum(masses)])[:-1]
        S = np.concatenate([[0.0], np.cumsum(lifts + axis.h * R)])[:-1]
        inside = values @ self._once.T
        return (
            (R[:, None] + inside).ravel(),
            (S[:, None] + R[:, None] * self._offsets + values @ self._twice.T).ravel(),
        )

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (n,) -> (n,)."""
        axis = self._axis
        _, S = self._antiderivatives(rho)
        first = axis.weights @ (axis.nodes * rho) - axis.nodes * (axis.weights @ rho)
        return np.asarray(-self._strength * (S + first / 2))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-Gamma' * rho, (n,) -> (1, n)."""
        R, _ = self._antiderivatives(rho)
        return np.asarray(self._strength * (R - self._axis.weights @ rho / 2))[None]

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """Gamma' * J, (1, n) -> (n,)."""
        return -self.force(current[0])[0]
