"""Exact laws of McKean-Vlasov equations: Gaussians under quadratic potentials, and self-consistent stationary states.

W = k |x|^2 / 2 and U = c |x - center|^2 / 2 keep a Gaussian one, of mass one: its mean falls towards the center like
exp(-c t), its variance s^2 in each coordinate obeys d s^2 / dt = 2 D - 2 (k + c) s^2.

For W = k x^2 / 2 on the line and any U, stationary densities are rho_m ~ exp(-(U(x) + k (x - m)^2 / 2) / D) with m the
mean of rho_m (Dawson, J. Stat. Phys. 31, 1983): one for strong noise; for an even double well below a critical D the
symmetric one and two more, which are stable.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

POINTS = 4001
"""Of the trapezoidal rule, whose error is rounding for what vanishes with all derivatives at both ends."""


def gaussian_law(
    mean: np.ndarray,
    variance: float,
    t: float,
    *,
    diffusivity: float,
    attraction: float = 0.0,
    trap: float = 0.0,
    center: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, float]:
    """Mean (d,) and variance in each coordinate of a Gaussian of mass one at time t.

    Args:
        mean: at time 0, (d,).
        variance: at time 0, in each coordinate.
        t: the time.

    Keyword Args:
        diffusivity: D.
        attraction: k of W.
        trap: c of U.
        center: of U.
    """
    rate = attraction + trap
    found = center + (mean - center) * math.exp(-trap * t)
    if rate == 0:
        return np.asarray(found), variance + 2 * diffusivity * t
    return np.asarray(found), diffusivity / rate + (variance - diffusivity / rate) * math.exp(-2 * rate * t)


class SelfConsistency:
    """Stationary states of W = k x^2 / 2 and U on the line.

    Args:
        exterior: U at points (n, 1), (n,).

    Keyword Args:
        attraction: k > 0.
        diffusivity: D.
        reach: densities vanish outside of [-reach, reach].
    """

    def __init__(
        self,
        exterior: Callable[[np.ndarray], np.ndarray],
        *,
        attraction: float,
        diffusivity: float,
        reach: float,
    ) -> None:
        self._x = np.linspace(-reach, reach, POINTS)
        self._exterior, self._attraction, self._diffusivity = exterior(self._x[:, None]), attraction, diffusivity

    def density(self, m: float) -> tuple[np.ndarray, np.ndarray]:
        """Points (n,) and rho_m there, (n,)."""
        energy = (self._exterior + self._attraction * (self._x - m) ** 2 / 2) / self._diffusivity
        weight = np.exp(energy.min() - energy)
        return self._x, weight / (weight.sum() * (self._x[1] - self._x[0]))

    def mean(self, m: float) -> float:
        """int x rho_m."""
        x, rho = self.density(m)
        return float(x @ rho / rho.sum())

    def response(self, m: float) -> float:
        """d int x rho_m / dm = k Var(rho_m) / D; above one at a self-consistent m, that state is unstable."""
        x, rho = self.density(m)
        return self._attraction * float((x - self.mean(m)) ** 2 @ rho / rho.sum()) / self._diffusivity

    def solutions(self, *, samples: int = 200) -> list[float]:
        """All m = int x rho_m, as far as so many samples between the ends tell them apart."""
        tried = np.linspace(self._x[0], self._x[-1], samples) + 1e-3 / samples  # not at a solution by symmetry
        off = [self.mean(m) - m for m in tried]
        pairs = [(a, b) for a, b, u, v in zip(tried, tried[1:], off, off[1:], strict=False) if u * v < 0]
        return [float(brentq(lambda m: self.mean(m) - m, a, b, xtol=1e-13)) for a, b in pairs]
