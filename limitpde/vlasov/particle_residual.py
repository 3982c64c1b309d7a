"""The weak-form residual of Newton's particles in (Vl), accumulated along their trajectories.

    W[t, phi](mu) = int phi d(mu_t - mu_0) - int_0^t int (v . grad_x phi + F_mu . grad_v phi) dmu ds,
    F_mu = -grad Gamma * mu - grad U,    mu = (M/N) sum_i delta_(x_i, v_i).

The particles feel a_i = -(M/(N-1)) sum_{j != i} grad Gamma(x_i - x_j) - grad U(x_i). As grad Gamma(0) = 0, the sums of
both are the same but for their factors, and W is exactly

    A[t] = int_0^t int (a - F_mu) . grad_v phi dmu ds  ( = -(1/(N-1)) int_0^t int (grad Gamma * mu) . grad_v phi dmu ds
    ),

of order 1/N, unless the particles have a Gamma of their own; then A says what W must be. The trajectories of a
splitting consist of straight pieces in x (drifts) and in v (kicks); the integrals over time are taken along these
pieces by Gauss's quadrature with three points, so that W = A holds to rounding for what was simulated, whatever the
step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, prange

from limitpde.compare.test_functions import GaussianBump, Table, Wave, on_torus, spatial
from limitpde.vlasov.model import Model

BLOCK = 1024
"""Particles that one task sums over."""
_POINTS = tuple(float(point) for point in (np.polynomial.legendre.leggauss(3)[0] + 1) / 2)
_WEIGHTS = tuple(float(weight) for weight in np.polynomial.legendre.leggauss(3)[1] / 2)


class Balance:
    """W and A of a batch of R replicas for P test functions.

    Args:
        model: the parameters of the equation.
        mass: M.
        test_functions: P functions on phase space.
        replicas: R.
    """

    def __init__(self, model: Model, mass: float, test_functions: Sequence[GaussianBump | Wave], replicas: int) -> None:
        low, size = model.torus
        images, self._sums = on_torus(test_functions, low, size)
        self._table = Table.of(images, 2 * model.dimension)
        self._low, self._size, self._mass = low, size, mass
        shape = (replicas, len(images))
        self._expected, self._compensator = np.zeros(shape), np.zeros(shape)
        self._initial: np.ndarray | None = None

    def drift(self, x: np.ndarray, v: np.ndarray, dt: float) -> None:
        """Take in the pieces x -> x + v dt, before the move; x and v are (R, N, d)."""
        if len(self._table.kinds):
            step = np.concatenate([v * dt, np.zeros_like(v)], axis=2)
            self._expected += self._along(x, v, step, step)[:, 0]

    def kick(self, x: np.ndarray, v: np.ndarray, felt: np.ndarray, limit: np.ndarray, dt: float) -> None:
        """Take in the pieces v -> v + felt dt, before the move, where the equation has the force `limit`."""
        if len(self._table.kinds):
            still = np.zeros_like(v)
            step, rate = (np.concatenate([still, force * dt], axis=2) for force in (felt, limit))
            found = self._along(x, v, step, rate)
            self._expected += found[:, 0]
            self._compensator += found[:, 1]

    def _along(self, x: np.ndarray, v: np.ndarray, step: np.ndarray, rate: np.ndarray) -> np.ndarray:
        """(M/N) sum_i int_0^1 g_i . grad phi(z_i + s step_i) ds with g = rate and g = step - rate, (R, 2, images)."""
        z, table = np.concatenate([x, v], axis=2), self._table
        sums = _path_integrals(z, step, rate, self._low, self._size, table.kinds, table.parameters, _POINTS, _WEIGHTS)
        return np.asarray(self._mass / x.shape[1] * sums)

    def observe(self, x: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
        """Observables int phi dmu and residuals W at present, (R, P) each."""
        z, table = np.concatenate([x, v], axis=2), self._table
        values = self._mass / x.shape[1] * np.asarray(_values(z, self._low, self._size, table.kinds, table.parameters))
        if self._initial is None:
            self._initial = values
        residual = values - self._initial - self._expected
        return {"observables": values @ self._sums.T, "residual": residual @ self._sums.T}

    @property
    def compensator(self) -> np.ndarray:
        """A at present, (R, P)."""
        return np.asarray(self._compensator @ self._sums.T)


@njit(cache=True, error_model="numpy")
def _wrapped(low: float, size: float, coordinate: float) -> Any:
    """A coordinate on the torus, where it has one."""
    return coordinate - size * np.floor((coordinate - low) / size) if np.isfinite(size) else coordinate


@njit(cache=True, parallel=True, error_model="numpy")
def _path_integrals(z, step, rate, low, size, kinds, parameters, points, weights):  # type: ignore[no-untyped-def]
    R, n, width = z.shape
    blocks = (n + BLOCK - 1) // BLOCK
    parts = np.zeros((R, blocks, 2, len(kinds)))
    for task in prange(R * blocks):
        r, b = task // blocks, task % blocks
        point, gradient = np.empty(width), np.empty(width)
        for i in range(b * BLOCK, min(n, (b + 1) * BLOCK)):
            for s in range(len(points)):
                for a in range(width):
                    point[a] = _wrapped(low[a], size[a], z[r, i, a] + points[s] * step[r, i, a])
                for p in range(len(kinds)):
                    spatial(kinds[p], parameters[p], point, gradient)
                    ours = whole = 0.0
                    for a in range(width):
                        ours += rate[r, i, a] * gradient[a]
                        whole += step[r, i, a] * gradient[a]
                    parts[r, b, 0, p] += weights[s] * ours
                    parts[r, b, 1, p] += weights[s] * (whole - ours)
    return _summed(parts)


@njit(cache=True, parallel=True, error_model="numpy")
def _values(z, low, size, kinds, parameters):  # type: ignore[no-untyped-def]
    """Sums of phi over the particles, (R, images)."""
    R, n, width = z.shape
    blocks = (n + BLOCK - 1) // BLOCK
    parts = np.zeros((R, blocks, len(kinds)))
    for task in prange(R * blocks):
        r, b = task // blocks, task % blocks
        point, gradient = np.empty(width), np.empty(width)
        for i in range(b * BLOCK, min(n, (b + 1) * BLOCK)):
            for a in range(width):
                point[a] = _wrapped(low[a], size[a], z[r, i, a])
            for p in range(len(kinds)):
                parts[r, b, p] += spatial(kinds[p], parameters[p], point, gradient)[0]
    return _summed(parts)


@njit(cache=True)
def _summed(parts):  # type: ignore[no-untyped-def]
    """Sums over the blocks, the second index, in their order."""
    total = np.zeros_like(parts[:, 0])
    for r in range(parts.shape[0]):
        for b in range(parts.shape[1]):
            total[r] += parts[r, b]
    return total
