"""Values and derivatives of test functions, by formulas and by Python, at points with marks: charges or species."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import SpatialFunction
from limitpde.compare.user_functions import UserFunction

AnyFunction = SpatialFunction | UserFunction
"""A test function that points with marks can be put into."""


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


def evaluate_marked(functions: Sequence[AnyFunction], x: np.ndarray, mark: np.ndarray, t: float) -> Evaluated:
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
        seen = _seen(function, mark)
        plain, slope, curve = evaluate(function, x)
        found.value[p], found.gradient[p], found.laplacian[p] = seen * plain, seen[:, None] * slope, seen * curve
    return found


def values_marked(functions: Sequence[AnyFunction], x: np.ndarray, mark: np.ndarray, t: float) -> np.ndarray:
    """Only the values, (P, n); see `evaluate_marked`."""
    found = np.empty((len(functions), len(x)))
    for row, function in zip(found, functions, strict=True):
        if isinstance(function, UserFunction):
            row[:] = function.values(np.ascontiguousarray(x), mark, t)
        else:
            row[:] = _seen(function, mark) * evaluate(function, x)[0]
    return found


def _seen(function: SpatialFunction, mark: np.ndarray) -> np.ndarray:
    """1 where a function with a shape sees a mark, else 0, (n,)."""
    return np.ones(len(mark)) if function.n is None else (mark == function.n).astype(float)


def time_dependent(functions: Sequence[AnyFunction]) -> bool:
    """Whether a function may depend on time."""
    return any(isinstance(function, UserFunction) for function in functions)
