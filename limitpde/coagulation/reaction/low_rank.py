"""beta as a sum of few products, beta(m, l) = sum_r U_r(m) W_r(l) for masses 1 ... M, without a matrix M x M.

The constant, additive and multiplicative kernels have rank 1, 2 and 1 as they stand. Others are approximated in two
steps. Let w_n = sqrt(beta(n, n)); the matrix beta(m, l) / (w_m w_l), of entries about one, is known on a few hundred
sample masses (all small ones, then in geometric progression), where pivots J are picked by cross approximation with
complete pivoting. The skeleton is X^T beta(J, J) X, X = beta(J, J)^-1 beta(J, .) on all masses, of entries about one;
it interpolates in the pivots. With the eigenvectors of beta(J, J) it becomes a symmetric sum of products, of which
those below rounding are dropped.

The result is compared with beta on random pairs, and where it fails the sample is refined there. What passes has a
relative error below TOLERANCE in all pairs compared. `limitpde.coagulation.reaction.relaxed` makes use of the factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from limitpde.arrays import Floats
from limitpde.errors import InputError

type PropensityFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]


TOLERANCE = 1e-11
"""Largest relative error of beta on the pairs compared."""
LARGEST_RANK = 64
"""Rank from which on the approximation is given up."""
COMPARED = 20_000
"""Random pairs on which beta and its approximation are compared, and again as many on a logarithmic scale."""
_REFINEMENTS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """beta(m, l) = sum_r U_r(m) W_r(l)."""

    U: Floats  # (R, M)
    W: Floats  # (R, M)
    error: float  # largest relative error found

    @property
    def rank(self) -> int:
        """Number R of products."""
        return len(self.U)

    def at(self, m: np.ndarray, l: np.ndarray) -> Floats:
        """Values at pairs of masses (integers >= 1), arrays of one shape."""
        return np.asarray(np.einsum("r...,r...->...", self.U[:, m - 1], self.W[:, l - 1]))


def factorise(beta: PropensityFunction, M: int, *, kernel: str = "") -> Factors | None:
    """Factors of beta on the masses 1 ... M, or None if there are none of a rank up to LARGEST_RANK.

    Args:
        beta: propensities of float arrays of masses that broadcast, symmetric.
        M: number of masses.

    Keyword Args:
        kernel: "constant", "additive" or "multiplicative" where beta is likely to be a multiple of it.

    Raises:
        InputError: beta is not finite and >= 0, or not symmetric.
    """
    n = np.arange(1.0, M + 1.0)
    one, scale = np.ones(M), float(np.asarray(beta(np.ones(1), np.ones(1)))[0])
    given: Factors | None = None
    match kernel:
        case "constant":
            given = Factors(scale * one[np.newaxis], one[np.newaxis], np.inf)
        case "additive":
            given = Factors(scale / 2 * np.stack([n, one]), np.stack([one, n]), np.inf)
        case "multiplicative":
            given = Factors(scale * n[np.newaxis], n[np.newaxis], np.inf)
    if given is not None:
        _, error = _compare(beta, M, given, seed=0)
        if error <= TOLERANCE:
            return Factors(given.U, given.W, error)
    sample = _sample(M)
    for attempt in range(_REFINEMENTS):
        found = _approximate(beta, n, sample)
        if found is None:
            return None
        worst, error = _compare(beta, M, found, seed=attempt)
        if error <= TOLERANCE:
            return Factors(found.U, found.W, error)
        sample = np.unique(np.concatenate([sample, worst]))
    return None


def _sample(M: int) -> NDArray[np.int64]:
    """All masses up to 48, and some 160 more in geometric progression."""
    found = np.concatenate(
        [np.arange(1, min(M, 48) + 1), np.rint(np.geomspace(1, M, 160)).astype(np.int64), [M - 1, M]]
    )
    return np.unique(found[found >= 1])


def _values(beta: PropensityFunction, m: np.ndarray, l: np.ndarray) -> Floats:
    found = np.asarray(beta(m, l), dtype=float)
    if not np.all(np.isfinite(found) & (found >= 0)):
        raise InputError("beta: must be finite and >= 0 for all pairs of masses")
    return found


def _approximate(beta: PropensityFunction, n: Floats, sample: NDArray[np.int64]) -> Factors | None:
    """The symmetric skeleton approximation on pivots taken from the sample; None if its rank is too large."""
    diagonal = _values(beta, n, n)
    weight = np.sqrt(np.where(diagonal > 0, diagonal, max(float(diagonal.max()), 1e-300)))
    s = n[sample - 1]
    table = _values(beta, s[:, np.newaxis], s) / np.outer(weight[sample - 1], weight[sample - 1])
    if not np.allclose(table, table.T, rtol=1e-9, atol=1e-300):
        raise InputError("beta: must be symmetric, beta(n, m) = beta(m, n)")
    chosen = _pivots(table)
    if len(chosen) > 2 * LARGEST_RANK:
        return None
    if not chosen:  # beta = 0
        return Factors(np.zeros((1, len(n))), np.zeros((1, len(n))), 0.0)
    J = sample[chosen]
    columns = np.stack([_values(beta, n, np.full(len(n), float(j))) for j in J], axis=1)
    columns /= weight[:, np.newaxis] * weight[J - 1]
    block = (columns[J - 1] + columns[J - 1].T) / 2
    cardinal = scipy.linalg.lstsq(block, columns.T, cond=1e-15)[0]  # (J, M), of entries about one
    eigenvalues, vectors = np.linalg.eigh(block)
    products = vectors.T @ cardinal
    largest = np.abs(eigenvalues) * (products**2).max(axis=1)  # of each product, in any scaled entry
    keep = np.flatnonzero(largest > 1e-14 * largest.max())
    if len(keep) > LARGEST_RANK:
        return None
    W = products[keep] * weight
    return Factors(eigenvalues[keep, np.newaxis] * W, W, np.inf)


def _pivots(table: Floats) -> list[int]:
    """Indices of the rows and columns of a cross approximation with complete pivoting, of a symmetric matrix."""
    rest, chosen, scale = table.copy(), dict[int, None](), float(np.abs(table).max())
    while len(chosen) <= 2 * LARGEST_RANK:
        i, j = np.unravel_index(np.argmax(np.abs(rest)), rest.shape)
        if abs(rest[i, j]) <= 2e-15 * scale:
            break
        chosen |= {int(i): None, int(j): None}
        pair = [int(i)] if i == j else [int(i), int(j)]
        block = rest[np.ix_(pair, pair)]
        rest = rest - rest[:, pair] @ np.linalg.solve(block, rest[pair])  # i, j both: the rest stays symmetric
        rest = (rest + rest.T) / 2
    return list(chosen)


def _compare(beta: PropensityFunction, M: int, found: Factors, *, seed: int) -> tuple[NDArray[np.int64], float]:
    """The masses of the worst pairs, and the largest error relative to beta."""
    random = np.random.default_rng(seed)
    even = random.integers(1, M + 1, (2, COMPARED))
    logarithmic = np.floor(np.exp(random.uniform(0, np.log(M + 1.0), (2, COMPARED)))).astype(np.int64)
    m, l = np.concatenate([even, np.minimum(logarithmic, M)], axis=1)
    exact = _values(beta, m.astype(float), l.astype(float))
    error = np.abs(found.at(m, l) - exact) / np.where(exact > 0, exact, max(float(exact.max()), 1e-300))
    order = np.argsort(error)[-8:]
    return np.unique(np.concatenate([m[order], l[order]])), float(error.max())
