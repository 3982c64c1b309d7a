"""Poisson in d = 1 by antiderivatives: on the whole line, where Gamma = -strength |x| / 2, and on a circle.

*Line.* With R(x) = int_{-inf}^x rho, S(x) = int_{-inf}^x R, and M, M_1 the integrals of rho and x rho,

    -Gamma' * rho = strength (R - M / 2),    Gamma * rho = -strength (S + (M_1 - x M) / 2),

where rho is the polynomial of degree k that it is in each cell, so both are exact at the nodes. The Gauss points
integrate rho R, of degree 2 k + 1, exactly: int rho F = strength int (R' R - R' M / 2) = 0.

*Circle.* With R the antiderivative of mean zero of rho - mean, and P that of the polynomials of degree k which R is at
the Gauss points,

    -Gamma' * rho = strength R,    Gamma * rho = -strength P.

These are the finite elements of `poisson`: phi' of V_h is the L2 projection of the exact derivative, of degree k + 1,
on polynomials of degree k, hence equal to it at the Gauss points; and so is the other part of the force, whose right
side is rho itself. So int rho F = strength int R' R = 0.

Each rank has its share of the cells, and learns what those before it amount to.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre

from limitpde.vlasov.fields.share import FieldShare


class Antiderivatives:
    """Integrals from the left end of the axis on. Collective, like all methods.

    Args:
        share: the positions of this rank, on one axis.
    """

    def __init__(self, share: FieldShare) -> None:
        self._share, axis = share, share.axes[0]
        points = 2 * (axis.nodes[: axis.P] - axis.low) / axis.h - 1
        self._offsets, self._h, self._P = (points + 1) / 2 * axis.h, axis.h, axis.P
        basis = np.linalg.inv(legendre.legvander(points, axis.P - 1))  # Lagrange functions, Legendre coefficients
        once = legendre.legint(basis, lbnd=-1) * axis.h / 2
        twice = legendre.legint(once, lbnd=-1) * axis.h / 2
        self._once, self._twice = legendre.legval(points, once), legendre.legval(points, twice)
        self._ends = legendre.legval(1.0, once), legendre.legval(1.0, twice)

    def _first(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int of rows (cells, P) from the left end, at the left ends of the cells (cells,) and at the nodes."""
        left = self._left(values @ self._ends[0])
        return left, left[:, None] + values @ self._once

    def _left(self, parts: np.ndarray) -> np.ndarray:
        """Sums of the parts (cells,) of all cells before each of this rank."""
        sums = np.cumsum(parts)
        return self._share.before(float(parts.sum())) + sums - parts

    def once(self, rho: np.ndarray) -> np.ndarray:
        """R, (n,) -> (n,)."""
        return np.asarray(self._first(rho.reshape(-1, self._P))[1].ravel())

    def twice(self, rho: np.ndarray) -> np.ndarray:
        """S, (n,) -> (n,)."""
        values = rho.reshape(-1, self._P)
        R = self._first(values)[0]
        S = self._left(values @ self._ends[1] + self._h * R)
        return np.asarray((S[:, None] + R[:, None] * self._offsets + values @ self._twice).ravel())


class Sheets:
    """Convolutions with -strength |x| / 2 and its derivative on the whole line. Collective.

    Args:
        strength: of Gamma.
        share: the positions of this rank.
    """

    def __init__(self, strength: float, share: FieldShare) -> None:
        self._strength, self._share, self._integral = strength, share, Antiderivatives(share)

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (n,) -> (n,)."""
        x = self._share.nodes[0]
        mass, first = self._share.integrals(np.stack([rho, x * rho]))
        return np.asarray(-self._strength * (self._integral.twice(rho) + (first - x * mass) / 2))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-Gamma' * rho, (n,) -> (1, n)."""
        mass = self._share.integrals(rho)
        return np.asarray(self._strength * (self._integral.once(rho) - mass / 2))[None]

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """Gamma' * J, (1, n) -> (n,)."""
        return -self.force(current[0])[0]


class CirclePoisson:
    """Convolutions with the periodic Gamma, -Gamma'' = strength (delta - mean). Collective.

    Args:
        strength: of Gamma.
        share: the positions of this rank.
    """

    def __init__(self, strength: float, share: FieldShare) -> None:
        self._strength, self._share, self._integral = strength, share, Antiderivatives(share)
        self._length = share.axes[0].high - share.axes[0].low

    def _without_mean(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values - self._share.integrals(values) / self._length)

    def _antiderivative(self, rho: np.ndarray) -> np.ndarray:
        """That of mean zero of rho - mean."""
        return self._without_mean(self._integral.once(self._without_mean(rho)))

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (n,) -> (n,)."""
        return -self._strength * self._antiderivative(self._antiderivative(rho))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-Gamma' * rho, (n,) -> (1, n)."""
        return self._strength * self._antiderivative(rho)[None]

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """Gamma' * J, (1, n) -> (n,)."""
        return -self.force(current[0])[0]
