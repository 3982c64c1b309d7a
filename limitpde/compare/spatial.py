"""Values, gradients and Laplacians of test functions: one compiled function, `spatial`, for all shapes.

numpy callers use `evaluate`, compiled kernels call `spatial` on a `FunctionTable`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from limitpde.compare.test_functions import REACH, FunctionTable, SpatialFunction
from limitpde.compiled import compiled


@compiled
def spatial(kind: int, parameters: np.ndarray, point: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
    """g and its Laplacian at a point (d,); its gradient is written to `gradient`, (d,)."""
    d = len(point)
    square = 0.0
    if kind == 0:
        inverse = parameters[d]
        for c in range(d):
            gradient[c] = point[c] - parameters[c]
            square += gradient[c] * gradient[c]
        value = math.exp(-0.5 * inverse * square)
        for c in range(d):
            gradient[c] *= -inverse * value
        return value, inverse * (inverse * square - d) * value
    if kind == 2:
        return _periodic(parameters, point, gradient)
    phase = parameters[d]
    for c in range(d):
        phase += parameters[c] * point[c]
        square += parameters[c] * parameters[c]
    value, slope = math.cos(phase), -math.sin(phase)
    for c in range(d):
        gradient[c] = slope * parameters[c]
    return value, -square * value


@compiled
def _periodic(parameters: np.ndarray, point: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
    """As `spatial`, of a Gaussian with its images: the product over the axes of sums of Gaussians."""
    d = len(point)
    inverse, value, laplacian = parameters[d], 1.0, 0.0
    for c in range(d):
        size = parameters[d + 1 + c]
        place = point[c] - parameters[c]
        place -= size * math.floor(place / size + 0.5)
        turns = math.ceil(REACH / (math.sqrt(inverse) * size) - 0.5)
        total = slope = curve = 0.0
        for turn in range(-turns, turns + 1):
            x = place + turn * size
            one = math.exp(-0.5 * inverse * x * x)
            total += one
            slope -= inverse * x * one
            curve += inverse * (inverse * x * x - 1.0) * one
        for b in range(c):
            gradient[b] *= total
        gradient[c] = value * slope
        laplacian = laplacian * total + value * curve
        value *= total
    return value, laplacian


@compiled
def _evaluate(
    kind: int,
    parameters: np.ndarray,
    points: np.ndarray,
    value: np.ndarray,
    gradient: np.ndarray,
    laplacian: np.ndarray,
) -> None:
    for i in range(len(points)):
        value[i], laplacian[i] = spatial(kind, parameters, points[i], gradient[i])


def evaluate(function: SpatialFunction, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """g, grad g and Lap g at points (n, d): arrays (n,), (n, d), (n,)."""
    points = np.ascontiguousarray(points, dtype=float)
    table = FunctionTable.of([function], points.shape[1])
    value, laplacian, gradient = np.empty(len(points)), np.empty(len(points)), np.empty_like(points)
    _evaluate(table.kinds[0], table.parameters[0], points, value, gradient, laplacian)
    return value, gradient, laplacian


def evaluate_all(functions: Sequence[SpatialFunction], points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for P functions: arrays (P, n), (P, n, d), (P, n)."""
    n, d = points.shape
    value, laplacian = np.empty((2, len(functions), n))
    gradient = np.empty((len(functions), n, d))
    for p, function in enumerate(functions):
        value[p], gradient[p], laplacian[p] = evaluate(function, points)
    return value, gradient, laplacian
