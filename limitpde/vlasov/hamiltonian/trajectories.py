"""How many of N particles are not in the mean-field state, by Monte Carlo along Newton's trajectories.

alpha_N(t, z_1, ..., z_N) is the state at time 0 (`many_body_starts`) at Newton's trajectories through z at time t,
traced back. For fixed other particles, Lagrange's identity turns the part of alpha_N that is orthogonal to a normalised
alpha in z_1 into a square,

    <q_1> = 1/2 int |alpha(z_1') alpha_N(z_1, z_2, ...) - alpha(z_1) alpha_N(z_1', z_2, ...)|^2 d(z_1', z_1, z_2, ...),

and for two particles, with A, B, C, D the products alpha alpha alpha_N in which neither, the first, the second, both of
z_1, z_2 have changed places with z_1', z_2',

    <q_1> = 1/4 int |A - B|^2 + |C - D|^2,    <q_1 q_2> = 1/4 int |A - B - C + D|^2.

*E k and E k(k - 1).* Points z are where Newton's particles from independent points of f_0 arrive, and z_1', z_2' ~
|alpha(t)|^2 are drawn from the grid of (HVl). The density is |A_0|^2, A_0 that of A for the product state. As the
squares are symmetric in those exchanges, S / 4 with S = |A_0|^2 + |B_0|^2 + |C_0|^2 + |D_0|^2 may stand for it. So the
estimators

    (|A - B|^2 + |C - D|^2 + |A - C|^2 + |B - D|^2) / (2 S)    and    |A - B - C + D|^2 / S

are unbiased, for a product bounded by 2 and by 4, and as small as what they measure: the relative error does not grow
with N, while that of the ratio whose mean is <p_1> = 1 - <q_1> does.

*<P_l>, l <= L.* In a symmetric state <P_l> = binom(N, l) ||q_1 ... q_l phi||^2, with phi(z_1, ..., z_l) what is left
when alpha_N is projected on alpha in the other particles: the mean of r = alpha_N / (alpha x ... x alpha) over these ~
|alpha|^2. With two independent draws of the others, y and y', and Delta the alternating sum over the exchanges of z_i
with z_i', i <= l,

    ||q_1 ... q_l phi||^2 = 2^-l E Re conj(Delta r(y)) Delta r(y'),

the mean of independent factors: E |r|^2 = 1 whatever N is, and a difference is of order N^(-1/2), so that the variance
of binom(N, l) times this product stays bounded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from limitpde.compare.spatial import evaluate_all
from limitpde.compare.test_functions import GaussianBump, Wave, on_torus
from limitpde.errors import InputError
from limitpde.nbody.sums import Sums, make_sums
from limitpde.parallel import gathered
from limitpde.vlasov.hamiltonian.counting import Enclosure, enclosure
from limitpde.vlasov.hamiltonian.grid_state import GridState
from limitpde.vlasov.hamiltonian.many_body_starts import ManyBodyStart
from limitpde.vlasov.model import Model
from limitpde.vlasov.splitting import merged

BATCH = 1 << 18
"""Particles that move together at most."""
DIFFERENCE = 1e-3
"""Step of the differences by v, in units of the interval of v."""


@dataclass(frozen=True, slots=True, eq=False)
class Excitations:
    """What was measured of the number k of particles that are not in the state alpha, in independent samples."""

    particles: int
    """N."""
    single: np.ndarray
    """(R,) whose mean is <q_1>."""
    pair: np.ndarray
    """(R,) whose mean is <q_1 q_2>."""
    occupied: np.ndarray
    """(R, L + 1) whose means are <P_0>, ..., <P_L>."""
    curvature: np.ndarray
    """(R,) whose mean is ||Lap_{v_1} alpha_N||^2."""
    observed: np.ndarray
    """(R, P) whose means are those of test functions of one particle."""

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

    def beta(self, exponent: float) -> Enclosure:
        """beta_N for lambda = exponent."""
        N = self.particles
        return enclosure(self.occupied, N * self.single, N * (N - 1) * self.pair, N, exponent)


def excitations(
    model: Model,
    start: ManyBodyStart,
    state: GridState,
    *,
    time: float,
    particles: int,
    replicas: int,
    step: float,
    order: int = 4,
    levels: int = 2,
    test_functions: Sequence[GaussianBump | Wave] = (),
    seed: int = 0,
    comm: MPI.Comm = MPI.COMM_SELF,
) -> Excitations:
    """Measure the law of k at a time. Collective; the result is the same on every rank, and for any number of them.

    Args:
        model: in one or two dimensions, without exterior potential.
        start: alpha_N at time 0.
        state: alpha at that time, by (HVl).

    Keyword Args:
        time: t >= 0.
        particles: N >= 2.
        replicas: independent samples, at least 2.
        step: largest time step of Newton's equations.
        order: of their integrator, 2 or 4.
        levels: L, at most N: the cost is about 4 + 2^(L + 1) flows of N particles.
        test_functions: phi of one particle, P of them.
        seed: all randomness follows from it and N.
        comm: the ranks that share the work.

    Raises:
        InputError: an argument is out of range.
    """
    if model.exterior is not None:
        raise InputError("model: excitations are counted without an exterior potential")
    if particles < 2 or replicas < 2:
        raise InputError(f"particles = {particles}, replicas = {replicas}: both must be at least 2")
    if not (time >= 0 and step > 0 and math.isfinite(time / step)):
        raise InputError(f"time = {time}, step = {step}: must not be negative, the step greater than 0")
    counter = _Counter(model, start, state, (time, step, order), particles, min(levels, particles), test_functions)
    size = max(1, BATCH // (particles << min(levels, particles) + 1))
    batches = range(-(-replicas // size))
    mine = [number for number in batches if number % comm.size == comm.rank]
    rows = np.zeros((len(mine), size, counter.columns))
    for row, number in zip(rows, mine, strict=True):
        row[:] = counter.samples(size, np.random.default_rng([seed, particles, number]))
    found = comm.bcast(gathered(comm, np.array(mine, dtype=np.int64), rows)).reshape(-1, counter.columns)[:replicas]
    ends = np.cumsum([1, 1, 1 + min(levels, particles), 1])
    single, pair, occupied, curvature, observed = np.split(found, ends, axis=1)
    return Excitations(particles, single[:, 0], pair[:, 0], occupied, curvature[:, 0], observed)


class _Newton:
    """The flow of N particles over a time, forwards and backwards, of many replicas together."""

    def __init__(self, model: Model, time: float, steps: int, order: int, particles: int) -> None:
        self._sums: Sums = make_sums(model.potential, model.x_box, periodic=model.domain.periodic)
        self._stages = [stage for step in merged(order, steps) for stage in step] if time > 0 else []
        self._dt, self.particles, self._torus = time / steps, particles, model.positions
        self._d = model.dimension

    def flow(self, z: np.ndarray, direction: int) -> np.ndarray:
        """Points (R, N, 2d) after the time, or (direction -1) before it; the stages are symmetric in time."""
        x, v = np.ascontiguousarray(z[..., : self._d]), np.ascontiguousarray(z[..., self._d :])
        dt = direction * self._dt
        for kind, share in self._stages:
            if kind == "drift":
                x = self._torus.wrap((x + share * dt * v).reshape(-1, self._d)).reshape(x.shape)
            else:
                v = v - share * dt / (self.particles - 1) * self._sums.gradients(x)
        return np.concatenate([x, v], axis=2)


def _log(values: np.ndarray) -> np.ndarray:
    """Complex logarithm; minus infinity, without a phase, for zero."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.abs(values)) + 1j * np.angle(values))


class _Counter:
    """The estimators for some replicas."""

    def __init__(
        self,
        model: Model,
        start: ManyBodyStart,
        state: GridState,
        clock: tuple[float, float, int],
        particles: int,
        levels: int,
        functions: Sequence[GaussianBump | Wave],
    ) -> None:
        time, step, order = clock
        self._newton = _Newton(model, time, max(1, math.ceil(time / step * (1 - 1e-9))), order, particles)
        self._start, self._state, self._N, self._L = start, state, particles, levels
        self._images, self._sums = on_torus(functions, *model.torus)
        self._h = DIFFERENCE * np.diff(model.v_box, axis=1)[:, 0]
        self.columns = 4 + levels + len(functions)

    def samples(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """The columns single, pair, occupied, curvature, observed for each of some replicas, (count, columns)."""
        first = self._start.sample(count, self._N, rng)
        z = self._newton.flow(first, 1)
        logs, factor = self._start.log_product(first), self._start.factor(first)
        return np.concatenate(
            [
                self._moments(z, logs, factor, rng),
                self._occupied(count, rng),
                self._curvature(z, logs, factor)[:, None],
                factor[:, None] ** 2 * self._observed(z),
            ],
            axis=1,
        )

    def _before(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log of the product state, and the factor of alpha_N, where points (R, N, 2d) come from, (R,) each."""
        back = self._newton.flow(z, -1)
        return self._start.log_product(back), self._start.factor(back)

    def _alpha(self, z: np.ndarray) -> np.ndarray:
        """log alpha at points (..., 2d)."""
        return _log(self._state.evaluate(z.reshape(-1, z.shape[-1]))).reshape(z.shape[:-1])

    def _moments(self, z: np.ndarray, logs: np.ndarray, factor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Of <q_1> and <q_1 q_2>, (count, 2)."""
        count = len(z)
        other = self._state.sample(2 * count, rng).reshape(count, 2, -1)
        changed = []
        for which in ([0], [1], [0, 1]):
            moved = z.copy()
            moved[:, which] = other[:, which]
            changed.append(moved)
        back = self._before(np.concatenate(changed))
        many = np.concatenate([logs, back[0]]).reshape(4, count)
        own, new = self._alpha(z[:, :2]).T, self._alpha(other).T
        many = many + np.stack([new[0] + new[1], own[0] + new[1], new[0] + own[1], own[0] + own[1]])
        products = np.exp(many - many.real.max(axis=0))
        A, B, C, D = products * np.concatenate([factor, back[1]]).reshape(4, count)
        total = (np.abs(products) ** 2).sum(axis=0)
        differences = sum(np.abs(difference) ** 2 for difference in (A - B, C - D, A - C, B - D))
        return np.stack([differences / (2 * total), np.abs(A - B - C + D) ** 2 / total], axis=1)

    def _occupied(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Of <P_0>, ..., <P_L>, (count, L + 1)."""
        N, L = self._N, self._L
        drawn = self._state.sample(2 * count * N, rng).reshape(2, count, N, -1)  # z and y, z' and y'
        logs = self._alpha(drawn)
        every = itertools.product((0, 1), repeat=L + 1)
        picked = [np.array([*chosen, *[y] * (N - L)]) for y, *chosen in every]
        many, factor = self._before(np.concatenate([drawn[which, :, np.arange(N)].swapaxes(0, 1) for which in picked]))
        own = np.concatenate([logs[which, :, np.arange(N)].sum(axis=0) for which in picked])
        ratios = (np.exp(many - own) * factor).reshape(2, *(2,) * L, count)
        found = np.zeros((count, L + 1))
        for size in range(L + 1):
            for differenced in itertools.combinations(range(L), size):
                one, two = ratios
                for axis in differenced:
                    one, two = (np.diff(values, axis=axis) for values in (one, two))
                other = np.flip(two, axis=tuple(axis for axis in range(L) if axis not in differenced))
                product = (one.conj() * other).real.reshape(-1, count).mean(axis=0)
                found[:, size] += product / math.comb(L, size) * math.comb(N, size) / 2**size
        return found

    def _curvature(self, z: np.ndarray, logs: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Of ||Lap_{v_1} alpha_N||^2, by differences, (count,)."""
        d, moved = len(self._h), []
        for j, h in enumerate(self._h):
            for sign in (-1, 1):
                moved.append(z.copy())
                moved[-1][:, 0, d + j] += sign * h
        many, other = (values.reshape(d, 2, len(z)) for values in self._before(np.concatenate(moved)))
        changes = (np.exp(many - logs) * other - factor).sum(axis=1)
        return np.asarray(np.abs((changes / self._h[:, None] ** 2).sum(axis=0)) ** 2)

    def _observed(self, z: np.ndarray) -> np.ndarray:
        """Means over the particles of the test functions, (count, P)."""
        if not self._images:
            return np.empty((len(z), 0))
        values = self._sums @ evaluate_all(self._images, z.reshape(-1, z.shape[-1]))[0]
        return values.reshape(len(values), *z.shape[:2]).mean(axis=2).T
