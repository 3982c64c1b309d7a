"""The weak-form residual of the solution of (Vl).

    W[T, phi](f) = int phi (f_T - f_0) dz                            (change)
                 - int_0^T int v . grad_x phi f dz dt                (transport)
                 - int_0^T int F . grad_v phi f dz dt                (force)

with F = -grad Gamma * rho - grad U. It vanishes for a weak solution; here it shows the errors of space and time. The
integrals over phase space are those of the Gauss quadrature: a test function is a sum of products of functions of one
coordinate each, so that one pass over f serves all of them. On a torus a Gaussian stands for the sum of its images.
`particle_residual` has W of the particles.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from limitpde.compare.observed import ObservedIntegrals
from limitpde.compare.test_functions import (
    FunctionTable,
    GaussianBump,
    TestFunction,
    Wave,
    by_kind,
    on_torus,
    waves_off_torus,
)
from limitpde.vlasov.own_functions import OwnIntegrals
from limitpde.vlasov.pde import Solver


def off_torus(number: int) -> str:
    """What to say of a test function that jumps at the edge of the torus."""
    return f"test function {number} is not periodic on the torus: what crosses its edge enters W"


class PDEResidual(ObservedIntegrals):
    """W[t, phi] of a solution, an observer of its `Solver`. Collective; all is the same on every rank.

    Args:
        solver: at time 0.
        test_functions: P functions on phase space, of 2 d coordinates.

    Attributes:
        solver: whose solution it is.
    """

    STATE = "vlasov.PDEResidual 2"

    def __init__(self, solver: Solver, test_functions: Sequence[TestFunction]) -> None:
        d = solver.model.dimension
        shaped, own, self._order = by_kind(test_functions)
        FunctionTable.of(shaped, 2 * d)  # checks the dimension
        self._own = OwnIntegrals(own, solver)
        self.solver = solver
        points = np.moveaxis(np.asarray(solver.space.x_points), -1, 0)
        kinds = {"gaussian": _GaussianProducts, "wave": _WaveProducts}
        low, size = solver.model.torus
        images, self._sums = on_torus(shaped, low, size)
        self._products = [kinds[phi.shape](phi, points, solver.space.v_nodes) for phi in images]
        super().__init__(solver.t)
        self.warnings = [off_torus(number) for number in waves_off_torus(shaped, size)]

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """int phi f, (P,), and the rate at which transport and force move it, (1, P)."""
        space, form, field = self.solver.space, self.solver.form, self.solver.field
        count = len(self._products)
        ones = [np.ones((1, len(v))) for v in space.v_nodes]
        rows = [ones, *(product.factors for product in self._products)]
        factors = [np.concatenate([row[j] for row in rows]) for j in range(len(ones))]
        found = form.velocity_integrals(factors)
        force = field.force(found[0]) + field.exterior_force
        densities, first = [], 1
        for product in self._products:
            last = first + len(product.factors[0])
            densities += product.densities(found[first:last], force)
            first = last
        values = np.zeros((0, 2))
        if count:
            values = self._sums @ space.integrate_x(np.stack(densities)).reshape(count, 2)
        values = np.concatenate([values, self._own.measure(force)])[self._order]
        return values[:, 0], values[None, :, 1]


class _GaussianProducts:
    """phi = prod of Gaussians; rows: g; v_j g for each j; d g / d v_j for each j.

    Args:
        phi: the test function.
        points: (d, *x_shape) x nodes.
        v_nodes: d arrays of v nodes.
    """

    def __init__(self, phi: GaussianBump, points: np.ndarray, v_nodes: Sequence[np.ndarray]) -> None:
        d = len(v_nodes)
        center = np.array(phi.center)
        away = points - center[:d].reshape(d, *(1,) * (points.ndim - 1))
        self._x = np.exp(-(away**2).sum(axis=0) / (2 * phi.width**2))
        self._x_gradient = -away / phi.width**2 * self._x
        self.factors = []
        for j, v in enumerate(v_nodes):
            g = np.exp(-((v - center[d + j]) ** 2) / (2 * phi.width**2))
            rows = np.tile(g, (1 + 2 * d, 1))
            rows[1 + j] = v * g
            rows[1 + d + j] = -(v - center[d + j]) / phi.width**2 * g
            self.factors.append(rows)

    def densities(self, found: np.ndarray, force: np.ndarray) -> list[np.ndarray]:
        """Int phi f dv and int (v . grad_x phi + F . grad_v phi) f dv, (*x_shape) each."""
        d = len(force)
        transport = (self._x_gradient * found[1 : 1 + d]).sum(axis=0)
        return [self._x * found[0], transport + self._x * (force * found[1 + d :]).sum(axis=0)]


class _WaveProducts:
    """phi = Re e^(i k.x + i phase) e^(i k.v); rows: the 2^d products of cosines and sines, then v_j times these.

    Args:
        phi: the test function.
        points: (d, *x_shape) x nodes.
        v_nodes: d arrays of v nodes.
    """

    def __init__(self, phi: Wave, points: np.ndarray, v_nodes: Sequence[np.ndarray]) -> None:
        d = len(v_nodes)
        self._k = np.array(phi.k)
        self._x = np.exp(1j * (np.tensordot(self._k[:d], points, 1) + phi.phase))
        choices = list(itertools.product((0, 1), repeat=d))  # 0: cosine, 1: sine
        self._powers = np.array([1j ** sum(choice) for choice in choices])
        self.factors = []
        for j, v in enumerate(v_nodes):
            waves = np.stack([np.cos(self._k[d + j] * v), np.sin(self._k[d + j] * v)])
            rows = waves[[choice[j] for choice in choices]]
            self.factors.append(np.concatenate([rows * v if i == j else rows for i in (-1, *range(d))]))

    def densities(self, found: np.ndarray, force: np.ndarray) -> list[np.ndarray]:
        """Int phi f dv and int (v . grad_x phi + F . grad_v phi) f dv, (*x_shape) each."""
        d = len(force)
        parts = found.reshape(1 + d, len(self._powers), *found.shape[1:])
        wave = self._x * np.tensordot(self._powers, parts, (0, 1))  # e^(i k.z) and v_j e^(i k.z), integrated over v
        along = np.tensordot(self._k[:d], wave[1:], 1) + np.tensordot(self._k[d:], force, 1) * wave[0]
        return [wave[0].real, (1j * along).real]
