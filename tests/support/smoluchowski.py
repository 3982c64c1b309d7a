"""Closed forms of Smoluchowski's equations beside those of `limitpde.coagulation.exact`."""

from __future__ import annotations

import numpy as np
import scipy.special


def sol_mass(t: float, b: float = 1.0, *, gel: str = "stockmayer") -> float:
    """Mass of all finite particles for beta = b n m: 1 up to t = 1/b, then falling.

    Args:
        t: time.
        b: factor of the kernel.

    Keyword Args:
        gel: "stockmayer": 1/(b t); "flory": x/s with x e^-x = s e^-s, x < 1, s = b t.
    """
    s = b * t
    if s <= 1.0:
        return 1.0
    return 1.0 / s if gel == "stockmayer" else float(-scipy.special.lambertw(-s * np.exp(-s)).real / s)


def gelation_time(n: np.ndarray, f: np.ndarray, b: float = 1.0) -> float:
    """Gelation time 1/(b sum n^2 f_n(0)) of beta = b n m for any homogeneous data, f the densities of masses n."""
    moment = float((np.asarray(n, dtype=float) ** 2 * f).sum())
    return np.inf if moment == 0.0 else 1.0 / (b * moment)


def annihilation_of_particles(t: np.ndarray, beta: float, D: float, radius: float, h0: float = 1.0) -> np.ndarray:
    """The density of annihilating particles in three dimensions with the transient of their first collisions.

    Particles that start independently meet at first more often than beta says: with the absorbing radius a eps (beta =
    4 pi D a, `rates.scattering_length`) the rate at time t is beta (1 + a eps/sqrt(pi D t)) (Smoluchowski), so that

        h' = -beta (1 + a eps/sqrt(pi D t)) h^2,     1/h = 1/h0 + beta (t + 2 a eps sqrt(t/(pi D))).

    Args:
        t: times, of any shape.
        beta: the propensity.
        D: d(n) + d(m), of the relative displacement.
        radius: a eps, a length.
        h0: density at time 0.

    Returns:
        h(t), correct up to (a eps)^2.
    """
    t = np.asarray(t, dtype=float)
    return np.asarray(1.0 / (1.0 / h0 + beta * (t + 2.0 * radius * np.sqrt(t / (np.pi * D)))))
