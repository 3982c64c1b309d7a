"""How many of N particles are not in the state alpha (Neiss-Pickl, Definition 4.1), from values on a grid.

    p_j alpha_N = alpha(z_j) int conj(alpha)(z) alpha_N(..., z, ...) dz,    q_j = 1 - p_j,
    P_k = the sum over all ways to choose k particles of q for these and p for the others,
    n(k) = sqrt(k / N),    m_lambda(k) = min(k / N^lambda, 1),    beta_N = sum_k m_lambda(k) <P_k>.

<P_k> is a law of the number k of excited particles; in a symmetric state its mean is N <q_1>. Theorem 4.8 says

    beta_N(t) <= (N^-lambda + N^{-(1 - lambda)/4}) C(t)    for beta_N(0) = 0.

Where <P_0>, ..., <P_L>, E k = N <q_1> and E k(k - 1) = N (N - 1) <q_1 q_2> are measured, beta_N is known for N^lambda
<= L + 1, as 1 - m_lambda vanishes for k > L, and for lambda = 1, where it is <q_1>; otherwise it is enclosed
(`enclosure`) by k / N <= m_lambda(k) <= min(k / N^lambda, 1) and, for integers, (k - K)^+ <= k (k - 1) / (4 K - 2) with
K = floor(N^lambda).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limitpde.errors import InputError


def share(k: np.ndarray, particles: int) -> np.ndarray:
    """n(k) of N particles."""
    return np.asarray(np.sqrt(k / particles))


def cut_share(k: np.ndarray, particles: int, exponent: float) -> np.ndarray:
    """m_lambda(k) of N particles, lambda = exponent in [0, 1].

    Raises:
        InputError: the exponent is out of range.
    """
    if not 0 <= exponent <= 1:
        raise InputError(f"lambda = {exponent}: must lie between 0 and 1")
    return np.asarray(np.minimum(k / particles**exponent, 1.0))


def theorem_rate(exponent: float) -> float:
    """The power of N of Theorem 4.8: beta_N = O(N^-rate); at most 1/5, for lambda = 1/5."""
    return min(exponent, (1 - exponent) / 4)


def occupation(alpha_N: np.ndarray, alpha: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """<P_k>, k = 0, ..., N, in one space dimension.

    <P_k> is the coefficient of s^k in <prod_j (p_j + s q_j)> = sum_S s^{N - |S|} (1 - s)^{|S|} <prod_S p_j>, where S
    goes over all sets of particles.

    Args:
        alpha_N: values at (x_1, ..., x_N, v_1, ..., v_N), complex; the same nodes for each particle.
        alpha: values at (x, v).
        weights: quadrature weights of the x and of the v nodes.

    Returns:
        (N + 1,), divided by the squared norm of alpha_N; alpha is normalised too.
    """
    N = alpha_N.ndim // 2
    cell = np.multiply.outer(*weights)
    dual = alpha.conj() * cell / math.sqrt(float((np.abs(alpha) ** 2 * cell).sum()))
    projected = np.zeros(N + 1)  # sum over all S of m particles of <prod_S p_j>
    for chosen in itertools.chain.from_iterable(itertools.combinations(range(N), m) for m in range(N + 1)):
        rest = alpha_N
        for taken, j in enumerate(reversed(chosen)):
            rest = np.tensordot(rest, dual, axes=((j, j + N - taken), (0, 1)))
        projected[len(chosen)] += _square(rest, weights)
    found = np.zeros(N + 1)
    for m, total in enumerate(projected):
        for k in range(N - m, N + 1):
            power = k - (N - m)
            found[k] += (-1) ** power * math.comb(m, power) * total
    return found / projected[0]


def _square(values: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> float:
    """int |values|^2 over (x_1, ..., x_m, v_1, ..., v_m)."""
    squares = np.abs(values) ** 2
    for weight in reversed([*[weights[0]] * (values.ndim // 2), *[weights[1]] * (values.ndim // 2)]):
        squares = squares @ weight
    return float(squares)


def expectation(function: Sequence[float] | np.ndarray, probabilities: np.ndarray) -> float:
    """<alpha_N, f^ alpha_N> of the operator f^ = sum_k f(k) P_k."""
    return float(np.asarray(function) @ probabilities)


def beta(probabilities: np.ndarray, exponent: float) -> float:
    """beta_N, from <P_k> (N + 1,)."""
    N = len(probabilities) - 1
    return expectation(cut_share(np.arange(N + 1.0), N, exponent), probabilities)


@dataclass(frozen=True, slots=True)
class Enclosure:
    """What lies below and above beta_N, each a mean of independent samples."""

    low: np.ndarray
    """(R,) samples whose mean is at most beta_N."""
    high: np.ndarray
    """(R,) samples whose mean is at least beta_N; both are the same where beta_N itself is measured best."""

    @property
    def ends(self) -> tuple[float, float]:
        """Both means, between 0 and 1."""
        low, high = (min(max(float(end.mean()), 0.0), 1.0) for end in (self.low, self.high))
        return low, high

    @property
    def errors(self) -> tuple[float, float]:
        """Their standard errors."""
        low, high = (float(end.std(ddof=1)) / math.sqrt(len(end)) for end in (self.low, self.high))
        return low, high


def enclosure(
    occupied: np.ndarray, excited: np.ndarray, pairs: np.ndarray, particles: int, exponent: float
) -> Enclosure:
    """Enclose beta_N as closely as these samples allow: the ends are those whose 95 % intervals reach least far.

    Args:
        occupied: (R, L + 1) samples of <P_0>, ..., <P_L>.
        excited: (R,) samples of E k.
        pairs: (R,) samples of E k (k - 1).
        particles: N.
        exponent: lambda.
    """
    k = np.arange(occupied.shape[1])
    m, size = cut_share(k, particles, exponent), particles**exponent
    body, kept = occupied @ m, math.floor(size * (1 + 1e-12))
    rest = 1 - occupied.sum(axis=1), excited - occupied @ k, pairs - occupied @ (k * (k - 1.0))
    below = [(excited - pairs / (4 * kept - 2)) / size, body + (rest[1] - rest[2] / (4 * kept - 2)) / size]
    above = [excited / size, body + rest[0], body + rest[1] / size]
    if exponent == 1:
        below = above = [excited / particles]
    elif size <= len(k) * (1 + 1e-12) or len(k) > particles:
        below, above = [*below, body + rest[0]], above
    else:
        below.append(body + rest[0] * len(k) / size)
    return Enclosure(max(below, key=lambda line: _reach(line, -1)), min(above, key=lambda line: _reach(line, 1)))


def _reach(samples: np.ndarray, sign: int) -> float:
    """The mean, moved by two standard errors."""
    return float(samples.mean() + sign * 2 * samples.std(ddof=1) / math.sqrt(len(samples)))
