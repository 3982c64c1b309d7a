"""Laws of the signed system beside those of `limitpde.signed.exact`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limitpde.errors import InputError
from limitpde.signed.exact import Blob


def multipole_moments(gaussians: Sequence[Blob], highest: int) -> np.ndarray:
    """Integrals of (x_1 + i x_2)^k density, k = 0 ... highest, as (highest + 1,) complex numbers.

    They are sum_j mass_j c_j^k with the complex centres c_j, exactly (mean value property).
    """
    powers = np.arange(highest + 1)
    moments = (g.mass * complex(*g.centre) ** powers for g in gaussians)
    return sum(moments, np.zeros(highest + 1, dtype=complex))


def particle_second_moment_rate(sigma: float, gamma: float, signs: np.ndarray) -> float:
    """d/dt of (1/N) sum E|X_i|^2 under (1.1): 2 sigma^2 + gamma ((sum b)^2 - N)/N, exact for every N and gamma.

    Args:
        sigma: noise.
        gamma: strength per pair (gamma_bar/N in the mean-field scaling).
        signs: (N,) the b_i, each +1 or -1.
    """
    signs = np.asarray(signs, dtype=float)
    return 2.0 * sigma**2 + gamma * (float(signs.sum()) ** 2 - signs.size) / signs.size


def uniform_disk_radius(initial_radius: float, gamma_bar: float, mass: float, time: float) -> float:
    """Radius of a uniform disk of one sign under (1.3) with D = 0: (r_0^2 + 2 gamma_bar M t)^(1/2).

    The same formula moves the circle of radius r_0 that encloses the mass M of any radial density of one sign.
    """
    radius_squared = initial_radius**2 + 2.0 * gamma_bar * mass * time
    if radius_squared < 0.0:
        raise InputError(f"time = {time}: must be before the collapse of an attractive disk")
    return float(np.sqrt(radius_squared))
