"""W of test functions by Python, phi(x, v, t), of Newton's particles and of the solution of (Vl).

Along a drift phi changes by what v . grad_x phi + d phi / dt integrate to, along a kick by the integral of a . grad_v
phi. So of the particles only A is to be computed, int_0^t int (a - F_mu) . grad_v phi dmu ds, by Gauss's quadrature
with four points on each kick, and W is A to rounding, as for functions with shapes (`particle_residual`). Time goes on
with the drifts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from limitpde.compare.user_functions import UserFunction
from limitpde.errors import InputError
from limitpde.parallel import on_all
from limitpde.vlasov.pde import Solver

POINTS, WEIGHTS = ((np.polynomial.legendre.leggauss(4)[0] + 1) / 2, np.polynomial.legendre.leggauss(4)[1] / 2)


def wrapped(z: np.ndarray, low: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Points (n, 2 d) of phase space on the torus, where it is one."""
    around = np.isfinite(size)
    found = z.copy()
    found[:, around] -= size[around] * np.floor((z[:, around] - low[around]) / size[around])
    return found


class OwnTrajectories:
    """W and A of functions by Python for a batch of R replicas.

    Args:
        functions: P of them.
        mass: M.
        replicas: R.
        low: (d,) lower corner of the torus.
        size: (d,) its edges; infinite along coordinates that are not periodic, for phase space (2 d,).
    """

    def __init__(
        self, functions: Sequence[UserFunction], mass: float, replicas: int, low: np.ndarray, size: np.ndarray
    ) -> None:
        self._functions, self._mass, self._low, self._size = functions, mass, low, size
        self._t = 0.0
        self.compensator = np.zeros((replicas, len(functions)))
        """A at present, (R, P)."""
        self._moved = np.zeros((replicas, len(functions)))
        self._initial: np.ndarray | None = None

    def _phase(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Points of phase space, (n, 2 d), where the torus has them."""
        return wrapped(np.concatenate([x, v], axis=-1).reshape(-1, 2 * x.shape[-1]), self._low, self._size)

    def _means(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """M times the mean over the particles, (R,)."""
        return np.asarray(self._mass * values.reshape(shape[:2]).mean(axis=1))

    def _values(self, x: np.ndarray, v: np.ndarray, t: float) -> np.ndarray:
        """int phi dmu, (R, P)."""
        z = self._phase(x, v)
        return np.stack([self._means(function.values(z, None, t), x.shape) for function in self._functions], axis=1)

    def drift(self, x: np.ndarray, v: np.ndarray, dt: float) -> None:
        """Take in the pieces x -> x + v dt, before the move; x and v are (R, N, d)."""
        if self._functions:
            self._moved += self._values(x + dt * v, v, self._t + dt) - self._values(x, v, self._t)
        self._t += dt

    def kick(self, x: np.ndarray, v: np.ndarray, felt: np.ndarray, limit: np.ndarray, dt: float) -> None:
        """Take in the pieces v -> v + felt dt, before the move, where the equation has the force `limit`."""
        if not self._functions:
            return
        d, surplus = x.shape[2], (felt - limit).reshape(-1, x.shape[2])
        self._moved += self._values(x, v + dt * felt, self._t) - self._values(x, v, self._t)
        for point, weight in zip(POINTS, WEIGHTS, strict=True):
            z = self._phase(x, v + point * dt * felt)
            for p, function in enumerate(self._functions):
                slope = function.derivatives(z, None, self._t).gradient[:, d:]
                self.compensator[:, p] += weight * dt * self._means((surplus * slope).sum(axis=1), x.shape)

    def observe(self, x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int phi dmu and W at present, (R, P) each."""
        if not self._functions:
            return self.compensator, self.compensator
        values = self._values(x, v, self._t)
        if self._initial is None:
            self._initial = values
        return values, values - self._initial - (self._moved - self.compensator)


class OwnIntegrals:
    """int phi f of functions by Python and how transport and force move it, for one position and one velocity.

    Args:
        functions: P of them.
        solver: whose f it is.
    """

    def __init__(self, functions: Sequence[UserFunction], solver: Solver) -> None:
        self._functions, self._solver = functions, solver
        if not functions:
            return
        if solver.model.dimension != 1:
            raise InputError(
                "compare.test_functions.python: the equation of vlasov takes functions by Python for "
                "model.dimension = 1 only; leave out [pde], or give a shape"
            )
        mine = np.asarray(solver.space.v_nodes[0])
        self._v = np.unique(np.concatenate(solver.comm.allgather(mine)))
        self._each = np.equal.outer(self._v, mine).astype(float)
        points = np.asarray(solver.space.x_points).reshape(-1)
        self._z = np.stack([np.repeat(points, len(self._v)), np.tile(self._v, len(points))], axis=1)

    def measure(self, force: np.ndarray) -> np.ndarray:
        """int phi f and its rate for each function, (P, 2); force is (1, *x_shape). Collective."""
        if not self._functions:
            return np.zeros((0, 2))
        solver, z = self._solver, self._z
        f = solver.form.velocity_integrals([self._each])  # f dv at each velocity, (velocities, *x_shape)
        f, shape = f.reshape(len(self._v), -1).T, force.shape[1:]
        push, found = np.repeat(force.reshape(-1), len(self._v)), []
        for function in self._functions:
            at = on_all(solver.comm, partial(function.derivatives, z, None, solver.t))
            rate = z[:, 1] * at.gradient[:, 0] + push * at.gradient[:, 1] + at.rate
            found += [(part.reshape(f.shape) * f).sum(axis=1).reshape(shape) for part in (at.value, rate)]
        return np.asarray(solver.space.integrate_x(np.stack(found)).reshape(-1, 2))
