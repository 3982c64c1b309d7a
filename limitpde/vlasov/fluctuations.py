"""Fluctuations of Newton's particles: what N Var int phi dmu^N_T tends to, by the linearised Vlasov equation.

sqrt(N) (mu^N - f) tends to a Gaussian field (Braun and Hepp 1977). Let psi solve the adjoint of (Vl) linearised at f,
backwards from psi(T) = phi,

    -d_t psi = v . grad_x psi + F . grad_v psi + c,   c(x, t) = sum_j d_j Gamma * J_j,   J = int f grad_v psi dv,

where c is what a particle does to int phi f_T through the forces on the others. Newton's particles have no noise but
that of their starts: for independent draws from f_0 / M,

    N Var int phi dmu^N_T  ->  M int psi_0^2 f_0 - (int psi_0 f_0)^2.

The scheme is the adjoint of the splitting of `limitpde.vlasov.pde`, stage by stage, so it has its order in time. A
drift goes back by psi(x + v dt, v). A kick leaves rho as it is, and moves a perturbation h by -dt F[h] . grad_v f too:
so it goes back by psi(x, v + F dt) + dt c, f being that after the kick. States of f at some steps are kept; between
them f goes back with psi, by the reversed flows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import GaussianBump, Wave, on_torus
from limitpde.fem.kept_states import before_the_end, over_time
from limitpde.vlasov.forms import DensityForm
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.phase_space import TensorSpace
from limitpde.vlasov.phase_space.axes import derivatives
from limitpde.vlasov.splitting import composition

MOST_KEPT = 2**25
"""Values of f, of all its states, that a rank keeps to go back over."""


class NewtonAdjoint:
    """psi of P test functions, backwards along f. Collective.

    Args:
        solver: of f itself, on a tensor grid.
        functions: phi(x, v), P of them; on a torus a Gaussian stands for the sum of its images.

    Attributes:
        psi: (P, *x_shape, *v_shape) at the present time.
    """

    def __init__(self, solver: Solver, functions: Sequence[GaussianBump | Wave]) -> None:
        assert isinstance(solver.space, TensorSpace)
        self._field, self._space, self._order = solver.field, solver.space, solver.order
        self._functions, self._torus = functions, solver.model.torus
        self.psi = self._values()

    def _values(self) -> np.ndarray:
        """phi at the nodes, (P, *x_shape, *v_shape)."""
        images, sums = on_torus(self._functions, *self._torus)
        found = self._space.array(len(self._functions))
        self._space.fill(found, lambda z: sums @ np.stack([evaluate(image, z)[0] for image in images]))
        return found

    def join(self) -> None:
        """Take phi itself along from the present time on, after the others."""
        self.psi = np.concatenate([self.psi, self._values()])

    def step(self, f: np.ndarray, dt: float) -> np.ndarray:
        """Go back by dt, with f at the end, (1, *x_shape, *v_shape); returns f at the start. Collective."""
        space = self._space
        for kind, share in reversed(composition(self._order)):
            back = -share * dt
            if kind == "drift":
                f, self.psi = space.drift(f, back)[0], space.drift(self.psi, back)[0]
                continue
            ones = [np.ones((1, len(v))) for v in space.v_nodes]
            force = self._field.force(space.velocity_integrals(f[0], ones)[0]) + self._field.exterior_force
            pulls = [-back * self._field.coupling(self._current(f[0], psi)) for psi in self.psi]
            f, self.psi = space.kick(f, force, back)[0], space.kick(self.psi, force, back)[0]
            for psi, pull in zip(self.psi, pulls, strict=True):
                psi += pull.reshape(*space.x_shape, *(1,) * space.d)
        return f

    def _current(self, f: np.ndarray, psi: np.ndarray) -> np.ndarray:
        """J = int f grad_v psi dv = -int psi grad_v f dv, (d, *x_shape). Collective."""
        space, found = self._space, []
        ones = [np.ones((1, len(v))) for v in space.v_nodes]
        for j, axis in enumerate(space.v_axes):
            along = space.d + j
            cells = np.moveaxis(f, along, -1)
            slope = (cells.reshape(*cells.shape[:-1], -1, axis.P) @ (derivatives(axis.P).T / axis.h)).reshape(
                cells.shape
            )
            found.append(-space.velocity_integrals(psi * np.moveaxis(slope, -1, along), ones)[0])
        return np.stack(found)

    def start(self, f: np.ndarray) -> np.ndarray:
        """M int psi_p psi_q f - int psi_p f int psi_q f, (P, P), of f (*x_shape, *v_shape), M = int f. Collective."""
        space, count = self._space, len(self.psi)
        ones = [np.ones((1, len(v))) for v in space.v_nodes]

        def integral(values: np.ndarray) -> float:
            return float(space.integrate_x(space.velocity_integrals(values, ones)[0]))

        means = [integral(psi * f) for psi in self.psi]
        products = np.array([[integral(self.psi[p] * self.psi[q] * f) for q in range(count)] for p in range(count)])
        return np.asarray(integral(f) * products - np.multiply.outer(means, means))


def covariance_of_newton(
    solver: Solver,
    functions: Sequence[GaussianBump | Wave],
    end: float,
    *,
    earlier: Sequence[float] | None = None,
    stepped: Callable[[], object] = bool,
) -> np.ndarray:
    """What N Cov(int phi_p dmu^N, int phi_q dmu^N) tends to at a time, (P, P), or with earlier times. Collective.

    Args:
        solver: of f itself, on a tensor grid without a limiter, at time 0; it is stepped to that time.
        functions: phi(x, v), P of them.
        end: the time.

    Keyword Args:
        earlier: K times s: then (K, P, P), of int phi_p dmu^N_s and int phi_q dmu^N at the end.
        stepped: called after each step forward or backward; what it raises ends all.

    Raises:
        InputError: the earlier times do not rise between 0 and the end.
    """
    before = before_the_end(earlier, end)
    form = solver.form
    assert isinstance(form, DensityForm)
    lengths: list[float] = []
    joints: list[int] = []
    for a, b in itertools.pairwise((0.0, *before, end)):
        lengths += _steps(b - a, solver.requested_step)
        joints.append(len(lengths))
    values = solver.space.dofs / solver.comm.size
    every = max(1, math.ceil((len(lengths) + 1) * values / MOST_KEPT))
    kept = {0: form.values.copy()}
    for k, dt in enumerate(lengths, start=1):
        solver.advance(dt)
        if k % every == 0 or k == len(lengths):
            kept[k] = form.values.copy()
        stepped()
    adjoint, f = NewtonAdjoint(solver, functions), form.values[None].copy()
    for k in range(len(lengths), -1, -1):
        for _ in range(joints[:-1].count(k)):
            adjoint.join()
        if k > 0:
            f = adjoint.step(kept.pop(k)[None] if k in kept else f, lengths[k - 1])
            stepped()
    covariance = adjoint.start(kept[0])
    return covariance if earlier is None else over_time(covariance, len(functions))[: len(earlier)]


def _steps(duration: float, longest: float) -> list[float]:
    """Equal steps."""
    number = math.ceil(duration / longest * (1 - 1e-9))
    return [duration / number] * number if number else []
