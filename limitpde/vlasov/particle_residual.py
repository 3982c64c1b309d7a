"""The weak-form residual of Newton's particles in (Vl), accumulated along their trajectories.

    W[t, phi](mu) = int phi d(mu_t - mu_0) - int_0^t int (v . grad_x phi + F_mu . grad_v phi) dmu ds,
    F_mu = -grad Gamma * mu - grad U,    mu = (M/N) sum_i delta_(x_i, v_i).

The particles feel a_i = -(M/(N-1)) sum_{j != i} grad Gamma(x_i - x_j) - grad U(x_i). As grad Gamma(0) = 0, the sums of
both are the same but for their factors, and W is exactly

    A[t] = int_0^t int (a - F_mu) . grad_v phi dmu ds  ( = -(1/(N-1)) int_0^t int (grad Gamma * mu) . grad_v phi dmu ds
    ),

of order 1/N, unless the particles have a Gamma of their own; then A says what W must be. The trajectories of a
splitting consist of straight pieces in x (drifts) and in v (kicks); the integrals over time are taken along these
pieces, of waves exactly, of Gaussians by Gauss's quadrature with four points, so that W = A holds to rounding for what
was simulated, whatever the step, as long as the pieces are short against the Gaussians.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import prange

from limitpde.compare.spatial import spatial
from limitpde.compare.test_functions import FunctionTable, GaussianBump, TestFunction, by_kind, on_torus
from limitpde.compiled import compiled
from limitpde.nbody.sums.arithmetic import exp_minus, mean_turn, sine
from limitpde.vlasov.model import Model
from limitpde.vlasov.own_functions import OwnTrajectories

BLOCK = 1024
"""Particles that one task sums over."""
GAUSSIAN = int(FunctionTable.of([GaussianBump(center=(0.0,), width=1.0)], 1).kinds[0])
"""The kind of a Gaussian; the others are waves."""
_FAST = {"reassoc", "contract", "nsz"}
_POINTS = tuple(float(point) for point in (np.polynomial.legendre.leggauss(4)[0] + 1) / 2)
_WEIGHTS = tuple(float(weight) for weight in np.polynomial.legendre.leggauss(4)[1] / 2)


class TrajectoryResidual:
    """W and A of a batch of R replicas for P test functions.

    Args:
        model: the parameters of the equation.
        mass: M.
        test_functions: P functions on phase space.
        replicas: R.
    """

    def __init__(self, model: Model, mass: float, test_functions: Sequence[TestFunction], replicas: int) -> None:
        low, size = model.torus
        shaped, own, self._order = by_kind(test_functions)
        images, sums = on_torus(shaped, low, size)
        self._own = OwnTrajectories(own, mass, replicas, low, size)
        self._functions, self._owners = len(sums), sums.T.nonzero()[1]
        self._table = FunctionTable.of(images, 2 * model.dimension)
        self._low, self._size, self._mass = low, size, mass
        shape = (replicas, len(images))
        self._expected, self._compensator = np.zeros(shape), np.zeros(shape)
        self._initial: np.ndarray | None = None

    def drift(self, x: np.ndarray, v: np.ndarray, dt: float) -> None:
        """Take in the pieces x -> x + v dt, before the move; x and v are (R, N, d)."""
        self._own.drift(x, v, dt)
        self._expected += self._along(x, v, v, v, dt, [*range(2 * x.shape[2])])[:, 0]

    def kick(self, x: np.ndarray, v: np.ndarray, felt: np.ndarray, limit: np.ndarray, dt: float) -> None:
        """Take in the pieces v -> v + felt dt, before the move, where the equation has the force `limit`."""
        d = x.shape[2]
        self._own.kick(x, v, felt, limit, dt)
        found = self._along(v, x, felt, limit, dt, [*range(d, 2 * d), *range(d)])
        self._expected += found[:, 0]
        self._compensator += found[:, 1]

    def _along(
        self, moving: np.ndarray, still: np.ndarray, step: np.ndarray, rate: np.ndarray, dt: float, axes: list[int]
    ) -> np.ndarray:
        """(M/N) sum_i int_0^dt g_i . grad phi ds with g = rate and g = step - rate, (R, 2, images).

        The coordinates that move and those that stay are, together, the coordinates `axes` of phase space.
        """
        _, n, d = moving.shape
        low, size, kinds = self._low[axes[:d]], self._size[axes[:d]], self._table.kinds
        parameters = np.ascontiguousarray(self._table.parameters[:, [*axes, 2 * d]])
        changes = parameters[:, :d].any(axis=1)
        if len(kinds) == 0:
            return np.zeros((len(moving), 2, 0))
        pieces = (moving, still, step, rate, dt, low, size)
        sums = _path_integrals(*pieces, parameters, changes, kinds, _POINTS, _WEIGHTS)
        return np.asarray(self._mass / n * sums)

    def observe(self, x: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
        """Observables int phi dmu and residuals W at present, (R, P) each."""
        z, table = np.concatenate([x, v], axis=2), self._table
        values = self._mass / x.shape[1] * np.asarray(_values(z, self._low, self._size, table.kinds, table.parameters))
        if self._initial is None:
            self._initial = values
        residual = values - self._initial - self._expected
        observables, own_residual = self._own.observe(x, v)
        return {
            "observables": self._all(self._joined(values), observables),
            "residual": self._all(self._joined(residual), own_residual),
        }

    def _all(self, shaped: np.ndarray, own: np.ndarray) -> np.ndarray:
        """What was found of functions with shapes and of those by Python, in the order in which they were given."""
        return np.concatenate([shaped, own], axis=1)[:, self._order]

    @property
    def compensator(self) -> np.ndarray:
        """A at present, (R, P)."""
        return self._all(self._joined(self._compensator), self._own.compensator)

    def _joined(self, values: np.ndarray) -> np.ndarray:
        """The sums over the images of each function, (R, images) -> (R, P), in an order that does not depend on R."""
        joined = np.zeros((self._functions, len(values)))
        np.add.at(joined, self._owners, values.T)
        return joined.T.copy()


@compiled(error_model="numpy")
def _wrapped(low: float, size: float, coordinate: float) -> Any:
    """A coordinate on the torus, where it has one."""
    return coordinate - size * np.floor((coordinate - low) / size) if np.isfinite(size) else coordinate


@compiled(error_model="numpy", fastmath=_FAST)
def _along_wave(moving, still, step, rate, dt, parameters, work):  # type: ignore[no-untyped-def]
    """Integrals of cos(k . z + phase), exactly: the mean gradient is -k sin(middle) sin(h) / h, 2 h = k . step dt.

    All but the last two are (n, d); parameters are k of the moving coordinates, of those that stay, and the phase.
    """
    n, d = moving.shape
    middle, half, ours = work[0, :n], work[1, :n], work[2, :n]
    for i in range(n):
        middle[i], half[i], ours[i] = parameters[2 * d], 0.0, 0.0
    for a in range(d):
        k, other = parameters[a], parameters[d + a]
        for i in range(n):
            turn = 0.5 * dt * k * step[i, a]
            middle[i] += k * moving[i, a] + turn + other * still[i, a]
            half[i] += turn
            ours[i] += dt * k * rate[i, a]
    first = second = 0.0
    for i in range(n):
        mean = sine(middle[i]) * mean_turn(half[i])
        first -= mean * ours[i]
        second -= mean * (2.0 * half[i] - ours[i])
    return first, second


@compiled(error_model="numpy", fastmath=_FAST)
def _along_bump(moving, still, step, rate, dt, low, size, parameters, points, weights, work):  # type: ignore[no-untyped-def]
    """The integrals of a Gaussian, by quadrature; parameters are the centre, moving coordinates first, and width^-2."""
    n, d = moving.shape
    inverse = parameters[2 * d]
    aside, power, ours, whole = work[0, :n], work[1, :n], work[2, :n], work[3, :n]
    for i in range(n):
        aside[i] = 0.0
    for a in range(d):
        center = parameters[d + a]
        for i in range(n):
            aside[i] += 0.5 * inverse * (still[i, a] - center) ** 2
    first = second = 0.0
    for s in range(len(points)):
        for i in range(n):
            power[i], ours[i], whole[i] = aside[i], 0.0, 0.0
        part, front = points[s] * dt, weights[s] * dt * inverse
        for a in range(d):
            periodic, center = np.isfinite(size[a]), parameters[a]
            if periodic:
                for i in range(n):
                    y = moving[i, a] + part * step[i, a]
                    u = y - size[a] * np.floor((y - low[a]) / size[a]) - center
                    power[i] += 0.5 * inverse * u * u
                    ours[i] += rate[i, a] * u
                    whole[i] += step[i, a] * u
            else:
                for i in range(n):
                    u = moving[i, a] + part * step[i, a] - center
                    power[i] += 0.5 * inverse * u * u
                    ours[i] += rate[i, a] * u
                    whole[i] += step[i, a] * u
        for i in range(n):
            g = front * exp_minus(power[i])
            first -= g * ours[i]
            second -= g * (whole[i] - ours[i])
    return first, second


@compiled(parallel=True, error_model="numpy")
def _path_integrals(  # type: ignore[no-untyped-def]
    moving, still, step, rate, dt, low, size, parameters, changes, kinds, points, weights
):
    """The integrals along the ways moving -> moving + dt step, (R, 2, images); changes: whether a function does so."""
    R, n = moving.shape[:2]
    blocks = (n + BLOCK - 1) // BLOCK
    parts = np.zeros((R, blocks, 2, len(kinds)))
    for task in prange(R * blocks):
        r, b = task // blocks, task % blocks
        rows = slice(b * BLOCK, min(n, (b + 1) * BLOCK))
        y, rest, go, g = moving[r, rows], still[r, rows], step[r, rows], rate[r, rows]
        work = np.empty((4, BLOCK))
        for p in range(len(kinds)):
            if kinds[p] == GAUSSIAN:
                found = _along_bump(y, rest, go, g, dt, low, size, parameters[p], points, weights, work)
            elif changes[p]:
                found = _along_wave(y, rest, go, g, dt, parameters[p], work)
            else:
                continue
            parts[r, b, 0, p], parts[r, b, 1, p] = found
    return _summed(parts)


@compiled(parallel=True, error_model="numpy")
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


@compiled
def _summed(parts):  # type: ignore[no-untyped-def]
    """Sums over the blocks, the second index, in their order."""
    total = np.zeros_like(parts[:, 0])
    for r in range(parts.shape[0]):
        for b in range(parts.shape[1]):
            total[r] += parts[r, b]
    return total
