"""Values and derivatives of test functions, by formulas and by Python, at points with marks: charges or species."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import SpatialFunction
from limitpde.compare.user_functions import UserFunction


class Evaluated(NamedTuple):
    """P functions at n points."""

    value: np.ndarray
    """(P, n)"""
    gradient: np.ndarray
    """(P, n, d)"""
    laplacian: np.ndarray
    """(P, n)"""
    rate: np.ndarray
    """d phi / dt, (P, n)."""


def evaluate_marked(
    functions: Sequence[SpatialFunction | UserFunction], x: np.ndarray, mark: np.ndarray, t: float
) -> Evaluated:
    """P test functions phi(x, mark, t) at a time.

    Args:
        functions: those with a shape and an `n` are zero for other marks than n.
        x: points, (n, d).
        mark: of each point, (n,).
        t: the time.

    Raises:
        InputError: a function by Python fails.
    """
    n, d = x.shape
    value, laplacian, rate = np.zeros((3, len(functions), n))
    found = Evaluated(value, np.empty((len(functions), n, d)), laplacian, rate)
    for p, function in enumerate(functions):
        if isinstance(function, UserFunction):
            own = function.derivatives(x, mark, t)
            found.value[p], found.gradient[p], found.laplacian[p] = own.value, own.gradient, own.laplacian
            found.rate[p] = own.rate
            continue
        seen = np.ones(n) if function.n is None else (mark == function.n).astype(float)
        plain, slope, curve = evaluate(function, x)
        found.value[p], found.gradient[p], found.laplacian[p] = seen * plain, seen[:, None] * slope, seen * curve
    return found


def time_dependent(functions: Sequence[SpatialFunction | UserFunction]) -> bool:
    """Whether a function may depend on time."""
    return any(isinstance(function, UserFunction) for function in functions)
