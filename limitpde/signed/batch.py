"""Some replicas of the signed particle system on their way from 0 to the end, all steps and measurements of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from limitpde.compare.test_functions import Table, Wave
from limitpde.errors import RunError
from limitpde.nbody.pairs import closest_equal_signs, softness
from limitpde.nbody.random import Stream, generator, two_normals
from limitpde.nbody.replicas import Part, Stopped
from limitpde.signed.collisions import Collision, advance
from limitpde.signed.encounters import Encounters
from limitpde.signed.estimates import EstimateIntegrals
from limitpde.signed.model import Model
from limitpde.signed.residual import ParticleResidual
from limitpde.signed.start import InitialPositions

Snapshot = Callable[..., None]
PairSum = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Run:
    """All that the replicas of one particle number have in common."""

    model: Model
    start: InitialPositions
    seed: int
    grid: list[tuple[float, int]]
    residual: ParticleResidual
    kernel: str
    eps: float
    bare: bool
    """W takes K itself; with the default cap, below what a step resolves, the capped K stands for it."""
    cutoff: int | None
    exact_pairs: bool
    collision: Collision
    pair_sum: PairSum
    """What sums up the forces."""
    estimate_eps: tuple[float, ...] | None
    gradients: tuple[float, ...]

    @property
    def count(self) -> int:
        """N."""
        return len(self.start.signs)

    @property
    def steps(self) -> int:
        """Time steps of one replica."""
        return sum(steps for _, steps in self.grid)

    @property
    def charges(self) -> np.ndarray:
        """b_i as the interaction sees it, (N,)."""
        positive, negative = self.model.charges
        return np.where(self.start.signs > 0, positive, negative)


class Batch:
    """Some replicas on their way from 0 to the end."""

    def __init__(self, run: Run, replicas: np.ndarray) -> None:
        self._run, self._replicas = run, replicas
        start = [run.start.positions(generator(run.seed, Stream.INITIAL, int(r))) for r in replicas]
        self._x = np.ascontiguousarray(np.stack([p[:, 0] for p in start]))
        self._y = np.ascontiguousarray(np.stack([p[:, 1] for p in start]))
        self._felt = np.empty((2, *self._x.shape))
        self._limit = np.empty_like(self._felt) if run.bare or run.cutoff is not None else self._felt
        self._encounters = Encounters.none(*self._x.shape)
        self._share = np.ones(len(replicas))
        self._charges = np.ascontiguousarray(run.charges)
        self._balance = run.residual.start(len(replicas))
        self._estimates = None
        if run.estimate_eps is not None:
            self._estimates = EstimateIntegrals(run.model, run.residual, run.estimate_eps, len(replicas))
        self._rows: list[dict[str, np.ndarray]] = []

    def run(self, snapshot: Snapshot | None, step_done: Callable[[], object], stop: Callable[[], bool]) -> Part:
        """Step to the end; the measurements of these replicas, time last."""
        snapshot = snapshot if self._replicas[0] == 0 else None
        t, number = 0.0, 0
        self._measure(0.0)
        self._record(0.0, snapshot)
        for end, steps in self._run.grid:
            dt = (end - t) / steps
            for _ in range(steps):
                if stop():
                    raise Stopped
                self._add(0.5 * dt)
                self._advance(dt, number)
                self._measure(0.5 * dt)
                number += 1
                step_done()
            t = end
            self._record(t, snapshot)
        stacked = {name: np.stack([row[name] for row in self._rows], axis=-1) for name in self._rows[0]}
        totals = self._balance.totals() | {"collided": self._encounters.collided}
        if self._estimates is not None:
            totals |= self._estimates.totals()
        return {"replicas": self._replicas, **stacked, **totals}

    def _measure(self, weight: float) -> None:
        """Drifts and integrands at the present positions, which enter the time integrals with this weight."""
        run, x, y, b = self._run, self._x, self._y, self._charges
        run.pair_sum(x, y, b, *self._felt, eps=run.eps, kernel=run.kernel)
        if run.bare:
            run.pair_sum(x, y, b, *self._limit, eps=0.0, kernel="capped")
        elif self._limit is not self._felt:
            self._limit[:] = self._felt
        if run.cutoff is not None:
            self._share = np.clip(2 * run.cutoff * closest_equal_signs(x, y, b) - 1, 0.0, 1.0)
        self._make_drifts()
        signs, encounters = run.start.signs, self._encounters
        self._balance.measure(x, y, self._limit, self._felt, signs, encounters)
        if self._estimates is not None:
            self._estimates.measure(x, y, self._limit, signs, encounters, self._regularised_drift)
        self._add(weight)

    def _add(self, weight: float) -> None:
        """Let the present integrands enter the time integrals with this weight."""
        self._balance.add(weight)
        if self._estimates is not None:
            self._estimates.add(weight)

    def _regularised_drift(self, eps: float) -> np.ndarray:
        """The drift of the equation with K_eps, (2, R, N); for signed and repulsive charges."""
        force = np.empty_like(self._felt)
        self._run.pair_sum(self._x, self._y, self._charges, *force, eps=eps, kernel="regularised")
        return force * self._run.model.pair_strength(self._run.count)

    def _make_drifts(self) -> None:
        """Turn the forces into drifts: those of the equation, and those that the particles feel."""
        model, gamma = self._run.model, self._run.model.pair_strength(self._run.count)
        several = [self._felt] if self._limit is self._felt else [self._felt, self._limit]
        slope = None
        if model.confinement is not None:
            points = np.stack([self._x.ravel(), self._y.ravel()], axis=1)
            slope = model.confinement.gradient(points).T.reshape(self._felt.shape)
        for force in several:
            share = self._share[:, None] if force is self._felt and self._run.cutoff is not None else 1.0
            if model.interaction == "rotated":  # b_i (b_i K) turned by a right angle
                force[:] = np.stack([-self._charges * force[1], self._charges * force[0]])
            force *= model.sense * gamma * share
            if slope is not None:
                force -= slope

    def _advance(self, dt: float, number: int) -> None:
        run, seed = self._run, np.uint64(self._run.seed)
        if not run.exact_pairs:
            noise = run.model.sigma * math.sqrt(dt)
            _euler_maruyama(self._x, self._y, *self._felt, dt, noise, seed, self._replicas, np.int64(number))
            return
        before = self._encounters.alive.copy()
        advance(
            self._x,
            self._y,
            self._felt,
            run.model.sense * run.model.pair_strength(run.count) * self._share,
            self._charges,
            self._encounters,
            sigma=run.model.sigma,
            dt=dt,
            kernel=softness(run.eps, run.kernel),
            collision=run.collision,
            seed=run.seed,
            replicas=self._replicas,
            number=number,
        )
        fallen = before & ~self._encounters.alive
        if fallen.any():
            self._balance.remove(self._x, self._y, run.start.signs, fallen)

    def _record(self, t: float, snapshot: Snapshot | None) -> None:
        x, y, alive = self._x, self._y, self._encounters.alive
        count = self._run.count
        second_moment = np.where(alive, x**2 + y**2, 0.0).sum(axis=1) / count
        if not np.all(np.isfinite(second_moment)):
            raise RunError(f"a particle left for infinity before t = {t:.6g} (N = {count})")
        centre = np.stack([np.where(alive, z, 0.0).sum(axis=1) / count for z in (x, y)], axis=1)
        measured = {"second_moment": second_moment, "centre": centre, "survivors": alive.sum(axis=1)}
        if self._estimates is not None:
            measured |= self._estimates.present(x, y, self._run.start.signs)
        self._rows.append(measured | self._balance.present())
        if snapshot is not None:
            there = alive[0]
            snapshot(t, np.stack([x[0], y[0]], axis=1)[there], sign=self._run.start.signs[there])


@numba.njit(cache=True, parallel=True)
def _euler_maruyama(
    x: np.ndarray,
    y: np.ndarray,
    vx: np.ndarray,
    vy: np.ndarray,
    dt: float,
    noise: float,
    seed: Any,
    replicas: np.ndarray,
    number: int,
) -> None:
    """X += dt v + noise xi for all replicas, (R, N) each."""
    count = x.shape[1]
    for task in numba.prange(x.size):
        r, i = task // count, task % count
        a, b = two_normals(seed, 0, replicas[r], i, number)  # stream 0: NOISE
        x[r, i] += dt * vx[r, i] + noise * a
        y[r, i] += dt * vy[r, i] + noise * b


def compile_kernels(pair_sum: PairSum) -> None:
    """Have the kernels compiled (or loaded) before the clock runs."""
    x, y, *forces = np.zeros((4, 1, 2))
    signs, one, felt = np.ones(2), np.ones(1), np.stack(forces)
    pair_sum(x, y, signs, *felt, eps=1.0, kernel="capped")
    residual = ParticleResidual(Model(sigma=1.0, gamma=0.0), 2, Table.of([Wave(k=(0.0, 0.0))], 2))
    replicas, nobody = np.zeros(1, dtype=np.int64), Encounters.none(1, 2)
    residual.start(1).measure(x, y, felt, felt, signs, nobody)
    _euler_maruyama(x, y, *felt, 0.0, 0.0, np.uint64(0), replicas, np.int64(0))
    advance(
        x, y + 1.0, felt, one, signs, nobody, sigma=1.0, dt=1.0, kernel=(0.0, 1.0), collision="through", seed=0,
        replicas=replicas, number=0,
    )  # fmt: skip
