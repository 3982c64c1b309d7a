"""How many of N particles are not in the mean-field state, by Monte Carlo along Newton's trajectories, for d = 1.

alpha_N(t, z_1, ..., z_N) = prod_j alpha_0(Z_j(0)) with Newton's trajectories through z at time t, traced back; it
starts as a product, so that beta_N(0) = 0. For fixed other particles, Lagrange's identity turns the part of alpha_N
that is orthogonal to a normalised alpha in z_1 into a square,

    <q_1> = 1/2 int |alpha(z_1') alpha_N(z_1, z_2, ...) - alpha(z_1) alpha_N(z_1', z_2, ...)|^2 d(z_1', z_1, z_2, ...),

and for two particles, with A, B, C, D the products alpha alpha alpha_N in which neither, the first, the second, both of
z_1, z_2 have changed places with z_1', z_2',

    <q_1> = 1/4 int |A - B|^2 + |C - D|^2,    <q_1 q_2> = 1/4 int |A - B - C + D|^2.

Points z ~ |alpha_N(t)|^2 are where Newton's particles from independent points of f_0 arrive, and z_1', z_2' ~
|alpha(t)|^2 are drawn from the grid of (HVl): the density |A|^2. As the squares are symmetric in those exchanges, S / 4
with S = |A|^2 + |B|^2 + |C|^2 + |D|^2 may stand for it. So the estimators

    (|A - B|^2 + |C - D|^2 + |A - C|^2 + |B - D|^2) / (2 S)    and    |A - B - C + D|^2 / S

are unbiased, bounded by 2 and by 4, and as small as what they measure: the relative error does not grow with N, while
that of the ratio whose mean is <p_1> = 1 - <q_1> does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from limitpde.errors import InputError
from limitpde.nbody.sums import Sums, make_sums
from limitpde.vlasov.hamiltonian.counting import beta_bounds
from limitpde.vlasov.initial import Initial, Start
from limitpde.vlasov.model import Model
from limitpde.vlasov.phase_space import Axis
from limitpde.vlasov.phase_space.axes import gauss, lagrange
from limitpde.vlasov.splitting import merged

BATCH = 1 << 17
"""Particles that move together."""


@dataclass(frozen=True, slots=True, eq=False)
class Excitations:
    """What was measured of the number k of particles that are not in the state alpha."""

    particles: int
    """N."""
    single: np.ndarray
    """(R,) independent samples whose mean is <q_1>, between 0 and 2."""
    pair: np.ndarray
    """(R,) independent samples whose mean is <q_1 q_2>, between 0 and 4."""

    @property
    def excited(self) -> float:
        """E k = N <q_1>."""
        return float(self.particles * self.single.mean())

    @property
    def excited_error(self) -> float:
        """Its standard error."""
        return float(self.particles * self.single.std(ddof=1)) / math.sqrt(len(self.single))

    @property
    def pairs(self) -> float:
        """E k (k - 1) = N (N - 1) <q_1 q_2>."""
        return float(self.particles * (self.particles - 1) * self.pair.mean())

    @property
    def pairs_error(self) -> float:
        """Its standard error."""
        return float(self.particles * (self.particles - 1) * self.pair.std(ddof=1)) / math.sqrt(len(self.pair))

    def beta_bounds(self, exponent: float) -> tuple[float, float]:
        """What lies below and above beta_N for lambda = exponent, apart from the standard errors."""
        return beta_bounds(self.excited, self.pairs, self.particles, exponent)


class GridState:
    """A normalised alpha on a tensor grid of (x, v): its values anywhere, and draws from |alpha|^2.

    Args:
        x_axis: of x.
        v_axis: of v.
        alpha: values at the nodes in natural order, (nx, nv), complex; only its multiples of modulus one matter.
    """

    def __init__(self, x_axis: Axis, v_axis: Axis, alpha: np.ndarray) -> None:
        self._axes, P = (x_axis, v_axis), x_axis.P
        norm = float(x_axis.weights @ np.abs(alpha) ** 2 @ v_axis.weights)
        cells = (alpha / math.sqrt(norm)).reshape(x_axis.cells, P, v_axis.cells, P)
        self._cells = np.ascontiguousarray(cells.transpose(0, 2, 1, 3))
        s = gauss(P)[0][:, None]
        k = np.arange(P)
        bernstein = np.array([math.comb(P - 1, m) for m in k]) * s**k * (1 - s) ** (P - 1 - k)
        change = np.linalg.inv(bernstein)
        control = np.einsum("mp,abpq,nq->abmn", change, self._cells, change)
        self._tops = np.abs(control).max(axis=(2, 3)) ** 2  # a polynomial is a mean of its Bernstein coefficients

    def evaluate(self, z: np.ndarray) -> np.ndarray:
        """alpha at points (n, 2), complex (n,); 0 outside the grid."""
        places, inside = [], np.ones(len(z), dtype=bool)
        for axis, column in zip(self._axes, z.T, strict=True):
            s = (column - axis.low) / axis.h
            if axis.periodic:
                s = np.mod(s, axis.cells)
            inside &= (s >= 0) & (s <= axis.cells)
            cell = np.clip(np.floor(s), 0, axis.cells - 1).astype(np.int64)
            places.append((cell, s - cell))
        (i, s), (j, r) = places
        return np.where(inside, self._in_cells(i, j, s, r), 0.0)

    def _in_cells(self, i: np.ndarray, j: np.ndarray, s: np.ndarray, r: np.ndarray) -> np.ndarray:
        """alpha in cells (i, j) at (s, r) in [0, 1]^2."""
        P = self._axes[0].P
        return np.asarray(np.einsum("npq,np,nq->n", self._cells[i, j], lagrange(P, s), lagrange(P, r)))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n independent points from |alpha|^2, (n, 2), by rejection within the cells."""
        sums = np.cumsum(self._tops.ravel())
        low, h = np.array([axis.low for axis in self._axes]), np.array([axis.h for axis in self._axes])
        found, missing = [], n
        while missing > 0:
            size = 2 * missing + 16
            chosen = np.minimum(np.searchsorted(sums, rng.random(size) * sums[-1], side="right"), len(sums) - 1)
            i, j = np.divmod(chosen, self._tops.shape[1])
            local = rng.random((size, 2))
            density = np.abs(self._in_cells(i, j, local[:, 0], local[:, 1])) ** 2
            kept = rng.random(size) * self._tops[i, j] < density
            found.append((low + (np.stack([i, j], axis=1) + local) * h)[kept][:missing])
            missing -= len(found[-1])
        return np.concatenate(found)


def excitations(
    model: Model,
    initial: Initial,
    state: GridState,
    *,
    time: float,
    particles: int,
    replicas: int,
    step: float,
    order: int = 4,
    seed: int = 0,
) -> Excitations:
    """Measure E k and E k (k - 1) at a time. Not collective.

    Args:
        model: in one dimension, without exterior potential.
        initial: f_0, of mass one, and the phase of alpha_0.
        state: alpha at that time, by (HVl).

    Keyword Args:
        time: t > 0.
        particles: N >= 2.
        replicas: independent samples, at least 2.
        step: largest time step of Newton's equations.
        order: of their integrator, 2 or 4.
        seed: all randomness follows from it and N.

    Raises:
        InputError: an argument is out of range.
    """
    if model.dimension != 1 or model.exterior is not None:
        raise InputError("model: excitations are counted for dimension = 1 and no exterior potential")
    if not math.isclose(initial.mass, 1.0, rel_tol=1e-12):
        raise InputError(f"initial.mass = {initial.mass:g}: must be 1, alpha is normalised")
    if particles < 2 or replicas < 2:
        raise InputError(f"particles = {particles}, replicas = {replicas}: both must be at least 2")
    if not (time > 0 and step > 0 and math.isfinite(time / step)):
        raise InputError(f"time = {time}, step = {step}: both must be greater than 0")
    newton = _Newton(model, time, math.ceil(time / step * (1 - 1e-9)), order, particles)
    start, rng = Start(initial, model), np.random.default_rng([seed, particles])
    rows, size = [], max(1, BATCH // particles)
    for first in range(0, replicas, size):
        rows.append(_estimates(newton, start, state, min(size, replicas - first), rng))
    single, pair = np.concatenate(rows, axis=1)
    return Excitations(particles, single, pair)


class _Newton:
    """The flow of N particles over a time, forwards and backwards, of many replicas together."""

    def __init__(self, model: Model, time: float, steps: int, order: int, particles: int) -> None:
        self._sums: Sums = make_sums(model.potential, model.x_box, periodic=model.domain.periodic)
        self._stages = [stage for step in merged(order, steps) for stage in step]
        self._dt, self.particles, self._torus = time / steps, particles, model.positions

    def flow(self, z: np.ndarray, direction: int) -> np.ndarray:
        """Points (R, N, 2) after the time, or (direction -1) before it; the stages are symmetric in time."""
        x, v = np.ascontiguousarray(z[..., :1]), np.ascontiguousarray(z[..., 1:])
        dt = direction * self._dt
        for kind, share in self._stages:
            if kind == "drift":
                x = self._torus.wrap((x + share * dt * v).reshape(-1, 1)).reshape(x.shape)
            else:
                v = v - share * dt / (self.particles - 1) * self._sums.gradients(x)
        return np.concatenate([x, v], axis=2)


def _log_product(start: Start, z: np.ndarray) -> np.ndarray:
    """log prod_j alpha_0(z_j) of points (R, N, 2), (R,); the real part may be minus infinity."""
    points = z.reshape(-1, 2)
    with np.errstate(divide="ignore"):
        size = np.log(start.density(points)) / 2
    shape = z.shape[:2]
    return np.asarray(size.reshape(shape).sum(axis=1) + 1j * start.phase(points).reshape(shape).sum(axis=1))


def _log(values: np.ndarray) -> np.ndarray:
    """Complex logarithm; minus infinity, without a phase, for zero."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.abs(values)) + 1j * np.angle(values))


def _estimates(newton: _Newton, start: Start, state: GridState, count: int, rng: np.random.Generator) -> np.ndarray:
    """The two estimators for each of some replicas, (2, count)."""
    first = start.sample(count * newton.particles, rng).reshape(count, newton.particles, 2)
    z = newton.flow(first, 1)
    other = state.sample(2 * count, rng).reshape(count, 2, 2)
    changed = []
    for which in ([0], [1], [0, 1]):
        moved = z.copy()
        moved[:, which] = other[:, which]
        changed.append(moved)
    back = newton.flow(np.concatenate(changed), -1)
    many = np.concatenate([_log_product(start, first), _log_product(start, back)]).reshape(4, count)
    own = _log(state.evaluate(z[:, :2].reshape(-1, 2))).reshape(count, 2).T
    new = _log(state.evaluate(other.reshape(-1, 2))).reshape(count, 2).T
    logs = many + np.stack([new[0] + new[1], own[0] + new[1], new[0] + own[1], own[0] + own[1]])
    A, B, C, D = np.exp(logs - logs.real.max(axis=0))
    total = sum(np.abs(product) ** 2 for product in (A, B, C, D))
    differences = sum(np.abs(difference) ** 2 for difference in (A - B, C - D, A - C, B - D))
    return np.stack([differences / (2 * total), np.abs(A - B - C + D) ** 2 / total])
