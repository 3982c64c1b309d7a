"""Closed forms of Smoluchowski's equations, for tests and demos: numbers and arrays.

Convention (1.3)-(1.4): gain 1/2 sum beta f f, loss in full. Without space, that is (2.1); the three kernels with
f_1(0) = 1.
"""

from __future__ import annotations

import numpy as np
import scipy.special

from limitpde.arrays import Floats
from limitpde.errors import InputError


def constant(n: np.ndarray, t: float, b: float = 1.0) -> Floats:
    """f_n(t) of beta = b: M0^2 (1 - M0)^(n-1), M0 = 1/(1 + b t/2) (Smoluchowski); n >= 1 of any shape."""
    _check_time(t)
    number = 1.0 / (1.0 + b * t / 2.0)
    return np.asarray(number**2 * (1.0 - number) ** (np.asarray(n, dtype=float) - 1.0))


def additive(n: np.ndarray, t: float, b: float = 1.0) -> Floats:
    """f_n(t) of beta = b (n + m): M0 (n theta)^(n-1) exp(-n theta)/n!, theta = 1 - M0, M0 = exp(-b t) (Golovin)."""
    _check_time(t)
    n = np.asarray(n, dtype=float)
    theta = -np.expm1(-b * t)
    powers = scipy.special.xlogy(n - 1.0, n * theta)
    return np.asarray(np.exp(powers - n * theta - scipy.special.gammaln(n + 1.0) - b * t))


def multiplicative(n: np.ndarray, t: float, b: float = 1.0, *, gel: str = "stockmayer") -> Floats:
    """f_n(t) of beta = b n m: n^(n-2)/n! s^(n-1) exp(-n s), s = b t, up to the gelation time 1/b.

    Args:
        n: masses, of any shape.
        t: time.
        b: factor of the kernel.

    Keyword Args:
        gel: what the gel does after gelation. "stockmayer": nothing, f_n = f_n(1/b)/(b t), the limit of a truncation
            whose overflow is counted apart. "flory": it takes up particles, and the formula stays as it is.

    Raises:
        InputError: t < 0, or gel is none of the two.
    """
    _check_time(t)
    if gel not in ("stockmayer", "flory"):
        raise InputError(f"gel = {gel!r}: must be 'stockmayer' or 'flory'")
    n, s = np.asarray(n, dtype=float), b * t
    inert = gel == "stockmayer" and s > 1.0
    past, s = (s, 1.0) if inert else (1.0, s)
    logarithm = (n - 2.0) * np.log(n) + scipy.special.xlogy(n - 1.0, s) - n * s - scipy.special.gammaln(n + 1.0)
    return np.asarray(np.exp(logarithm) / past)


def number(kernel: str, t: float, b: float = 1.0) -> float:
    """M0(t) = sum f_n: 1/(1 + b t/2), exp(-b t), or 1 - b t/2 up to gelation, for the three kernels.

    Raises:
        InputError: an unknown kernel, t < 0, or the multiplicative kernel after gelation.
    """
    _check_time(t)
    match kernel:
        case "constant":
            return 1.0 / (1.0 + b * t / 2.0)
        case "additive":
            return float(np.exp(-b * t))
        case "multiplicative" if b * t <= 1.0:
            return 1.0 - b * t / 2.0
    raise InputError(f"kernel = {kernel!r}, t = {t}: must be 'constant', 'additive', or 'multiplicative' with b t <= 1")


def second_moment(kernel: str, t: float, b: float = 1.0) -> float:
    """M2(t) = sum n^2 f_n: 1 + b t, exp(2 b t), or 1/(1 - b t) before gelation, for the three kernels.

    Raises:
        InputError: an unknown kernel, t < 0, or the multiplicative kernel from gelation on.
    """
    _check_time(t)
    match kernel:
        case "constant":
            return 1.0 + b * t
        case "additive":
            return float(np.exp(2.0 * b * t))
        case "multiplicative" if b * t < 1.0:
            return 1.0 / (1.0 - b * t)
    raise InputError(f"kernel = {kernel!r}, t = {t}: must be 'constant', 'additive', or 'multiplicative' with b t < 1")


def annihilation(t: np.ndarray, beta: float, h0: float = 1.0) -> Floats:
    """h(t) = h0/(1 + beta h0 t), the solution of h' = -beta h^2 (3.2); t of any shape."""
    return np.asarray(h0 / (1.0 + beta * h0 * np.asarray(t, dtype=float)))


def _check_time(t: float) -> None:
    if not t >= 0:
        raise InputError(f"t = {t}: must be at least 0")


def equilibrium(n: np.ndarray, mass: float, rate: float, b: float = 1.0) -> Floats:
    """Equilibrium under fragmentation at the rate `rate` n^p into even parts, and beta = b (n+m)^p / (n+m-1).

    Two parts n, m of k = n + m are made at the rate 2 rate k^p/(k-1) f_k (they are taken in both orders), and merge at
    the rate beta f_n f_m; both are equal for all pairs if f_n = (2 rate/b) q^n: detailed balance.

    Args:
        n: masses, of any shape.
        mass: sum n f_n > 0, which fixes q by (2 rate/b) q/(1-q)^2 = mass.
        rate: c in the rate c n^p at which mass n splits.
        b: factor of beta.
    """
    A = 2.0 * rate / b
    q = 1.0 + A / (2.0 * mass) - np.sqrt((A / mass) * (1.0 + A / (4.0 * mass)))
    return np.asarray(A * q ** np.asarray(n, dtype=float))
