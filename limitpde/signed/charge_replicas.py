"""Some replicas of the signed particle system on their way from 0 to the end, all steps and measurements of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from limitpde.compare.cloud_functions import PointCloud, observed_clouds
from limitpde.compare.test_functions import Wave
from limitpde.compiled import compiled
from limitpde.errors import RunError
from limitpde.nbody.block_sums import block_sums
from limitpde.nbody.pairs import closest_equal_signs, own_particles, softness
from limitpde.nbody.random import Stream, generator, two_normals
from limitpde.nbody.random_batches import batch_pair_sum, batch_variance
from limitpde.nbody.replicas import Measurements, Snapshot, Stopped
from limitpde.signed.charge_setup import ChargeSetup
from limitpde.signed.collisions import advance, mutual_neighbours, uncapped
from limitpde.signed.configuration import Configuration
from limitpde.signed.encounters import Encounters
from limitpde.signed.estimate_integrals import EstimateIntegrals
from limitpde.signed.halves import INSIDE, WHOLE, Path, halves
from limitpde.signed.meetings import Past, bound, meet, within_reach
from limitpde.signed.model import Model
from limitpde.signed.residual import ParticleResidual
from limitpde.signed.step_bias import step_bias
from limitpde.signed.substeps import part_number, part_sizes

SAMPLE = 64
"""Particles among which the variance of the forces of random batches is measured."""


class ChargeReplicas:
    """Some replicas on their way from 0 to the end."""

    def __init__(self, run: ChargeSetup, replicas: np.ndarray) -> None:
        self._run, self._replicas = run, replicas
        self._mine = run.mine
        self._state = Configuration.at(
            replicas,
            lambda number: run.start.draw(generator(run.seed, Stream.INITIAL, number)),
            run.count,
            charges=run.model.charges,
            own=self._mine.stop - self._mine.start,
            apart=run.apart,
            binding=run.exact_pairs,
        )
        self._t = np.zeros(len(replicas))
        self._positive = (self._state.signs > 0).sum(axis=1)
        self._balance = run.residual.start(len(replicas))
        self._estimates = None
        if run.estimate_eps is not None:
            self._estimates = EstimateIntegrals(run.model, run.residual, run.estimate_eps, len(replicas))
        self._parts = np.zeros(len(replicas), dtype=np.int64)
        self._rows: list[dict[str, np.ndarray]] = []
        self._past: Past | None = None

    def run(self, snapshot: Snapshot | None, step_done: Callable[[], object], stop: Callable[[], bool]) -> Measurements:
        """Step to the end; the measurements of these replicas, time last."""
        t, number = 0.0, 0
        self._measure(self._state, np.arange(len(self._replicas)), number)
        end, steps = self._run.grid[0]
        self._record(0.0, end / steps, snapshot)
        for end, steps in self._run.grid:
            dt = (end - t) / steps
            for _ in range(steps):
                self._step(dt, number, stop)
                number += 1
                step_done()
            t = self._t[:] = end
            self._record(t, dt, snapshot)
        stacked = {name: np.stack([row[name] for row in self._rows], axis=-1) for name in self._rows[0]}
        totals = self._balance.totals() | {"positive": self._positive, "parts": self._parts} | self._encounters()
        if self._estimates is not None:
            totals |= self._estimates.totals()
        totals["ends"] = self._ends()
        return {"replicas": self._replicas, **stacked, **totals}

    def _ends(self) -> np.ndarray:
        """x, y and the sign, 0 of those that were annihilated, of the replicas that are kept, (K, N, 3)."""
        state, kept = self._state, np.flatnonzero(self._replicas < self._run.kept)
        if self._run.team.rank > 0:  # nobody asks for them
            kept = kept[:0]
        found = np.empty((len(kept), self._run.count, 3))
        for cloud, r in zip(found, kept, strict=True):
            cloud[:, 0], cloud[:, 1], cloud[:, 2] = state.x[r], state.y[r], state.signs[r]
            cloud[~state.encounters.alive[r], 2] = 0.0
        return found

    def _encounters(self) -> dict[str, np.ndarray]:
        """Who has met whom, and when, where charges that meet stay together or vanish."""
        found = self._state.encounters
        run = self._run
        bound = run.collision != "through" or run.pull[0] >= run.model.sigma**2
        return {
            "collided": found.collided,
            "partners": found.bond if bound else found.bond[:, :0],
            "since": found.since if bound else found.since[:, :0],
        }

    def _step(self, dt: float, number: int, stop: Callable[[], bool]) -> None:
        """One step of all replicas, each in as many parts as its close pairs ask for."""
        most, place = self._run.substeps, np.zeros(len(self._replicas), dtype=np.int64)
        while len(rows := np.flatnonzero(place < most)):
            if stop():
                raise Stopped
            some = self._state.some(rows)
            partner = self._partners(some)
            size = self._part_sizes(some, partner, dt, place[rows])
            part, numbers = dt * (size / most), part_number(number, place[rows])
            for path in self._paths(some.replicas, numbers):
                length = part if path.half == 0 else 0.5 * part
                self._t[rows] += length
                partner = self._partners(some) if path.half == 2 else partner
                self._add(0.5 * length, rows)
                self._advance(some, partner, length, numbers, rows, path)
                self._measure(some, rows, number + (INSIDE if path.half == 1 else 1))
                self._add(0.5 * length, rows)
                self._parts[rows] += 1
            some.encounters.note(self._t[rows])
            self._state.put(rows, some)
            place[rows] += size

    def _paths(self, replicas: np.ndarray, number: np.ndarray) -> Sequence[Path]:
        """What drives replicas through steps of these numbers (r,), in one or in two."""
        run = self._run
        return (
            halves((len(replicas), run.count), seed=run.seed, replicas=replicas, number=number) if run.halved else WHOLE
        )

    def _partners(self, some: Configuration) -> np.ndarray:
        """With whom each particle moves by an exact law, (r, N); -1 where with none; (r, 0) where nobody asks."""
        if self._run.exact_pairs:
            return mutual_neighbours(some.x, some.y, some.encounters.bond)
        return np.full((len(some.x), self._run.count if self._run.substeps > 1 else 0), -1)

    def _part_sizes(self, some: Configuration, partner: np.ndarray, dt: float, place: np.ndarray) -> np.ndarray:
        """The next part of the step, (r,), in units of the smallest."""
        run, encounters = self._run, some.encounters
        counted = encounters.alive
        if run.exact_pairs and run.model.interaction == "signed":  # the charges of a bound pair cancel
            counted = counted & (encounters.bond < 0)
        gamma = abs(run.pull[0])
        return part_sizes(some.x, some.y, partner, counted, gamma=gamma, dt=dt, most=run.substeps, place=place)

    def _measure(self, some: Configuration, rows: np.ndarray, number: int) -> None:
        """Drifts of the step of this number, and integrands, at the present positions of the replicas in these rows."""
        run, x, y, b, felt, own = self._run, some.x, some.y, some.charges, some.felt, self._run.parted
        if run.batch_size is None:
            run.pair_sum(x, y, b, *felt, eps=run.eps, kernel=run.kernel, own=own)
        else:
            batch_pair_sum(
                x, y, b, *felt, eps=run.eps, kernel=run.kernel, size=run.batch_size, seed=run.seed,
                replicas=some.replicas, step=number, team=run.team, own=own,
            )  # fmt: skip
        if run.apart and (run.bare or run.batch_size is not None):
            run.pair_sum(x, y, b, *some.limit, eps=0.0 if run.bare else run.eps, kernel="capped", own=own)
        elif run.apart:
            some.limit[:] = felt
        if run.cutoff is not None:
            some.share[:] = np.clip(2 * run.cutoff * closest_equal_signs(x, y, b, run.team) - 1, 0.0, 1.0)
        self._make_drifts(some)
        signs, encounters = some.signs, some.encounters
        limit = some.limit
        if run.exact_pairs and len(run.residual.table.kinds) > 0:  # they feel K itself: so does W
            same, partners, kernel = limit is felt, self._partners(some), softness(run.eps, run.kernel)
            felt = felt + uncapped(x, y, some.strength(run.pull[0]), b, partners, encounters, kernel=kernel)
            if same:
                limit = felt
            else:
                strength = np.full(len(x), run.pull[1])
                limit = limit + uncapped(x, y, strength, b, partners, encounters, kernel=kernel)
        mine, times = self._mine, self._t[rows]
        clouds = x[:, mine], y[:, mine], limit, felt, signs[:, mine]
        if own:
            self._balance.measure(*clouds, encounters.own(mine), rows, times, run.team)
        else:
            self._balance.measure(*clouds, encounters, rows, times)
        if self._estimates is not None:
            drift_of = self._regularised_drift(some)
            self._estimates.measure(x, y, some.limit, signs, encounters, drift_of, rows)

    def _add(self, weights: np.ndarray, rows: np.ndarray) -> None:
        """Let the present integrands of the replicas in these rows enter the time integrals with these weights."""
        self._balance.add(weights, rows)
        if self._estimates is not None:
            self._estimates.add(weights, rows)

    def _regularised_drift(self, some: Configuration) -> Callable[[float], np.ndarray]:
        """eps -> the drift of the equation with K_eps, (2, r, N); for signed and repulsive charges."""

        def drift(eps: float) -> np.ndarray:
            force = np.empty_like(some.felt)
            self._run.pair_sum(some.x, some.y, some.charges, *force, eps=eps, kernel="regularised")
            return force * self._run.limit.pair_strength(self._run.count)

        return drift

    def _make_drifts(self, some: Configuration) -> None:
        """Turn the forces into drifts: those of the equation, and those that the particles feel."""
        model, mine = self._run.model, self._mine
        several = [some.felt] if some.limit is some.felt else [some.felt, some.limit]
        slope = None
        if model.confinement is not None:
            points = np.stack([some.x[:, mine].ravel(), some.y[:, mine].ravel()], axis=1)
            slope = model.confinement.gradient(points).T.reshape(some.felt.shape)
        for force in several:
            share = some.share[:, None] if force is some.felt and self._run.cutoff is not None else 1.0
            pull = self._run.pull[0 if force is some.felt else 1]
            if model.interaction == "rotated":  # b_i (b_i K) turned by a right angle
                b = some.charges[:, mine]
                force[:] = np.stack([-b * force[1], b * force[0]])
            force *= pull * share
            if slope is not None:
                force -= slope

    def _advance(
        self,
        some: Configuration,
        partner: np.ndarray,
        dt: np.ndarray,
        number: np.ndarray,
        rows: np.ndarray,
        path: Path,
    ) -> None:
        """Move the replicas in these rows by dt (r,), with the noise of their steps' numbers (r,) or of the path."""
        run, x, y, encounters = self._run, some.x, some.y, some.encounters
        if not run.exact_pairs:
            noise = run.model.sigma, np.uint64(run.seed), some.replicas, number, path.half, *path.normals
            cuts = own_particles(run.count, run.team)
            own = run.team.mine(cuts)
            _euler_maruyama(x, y, *some.felt, dt, *noise, own.start, own.stop, self._mine.start)
            run.team.complete([x, y], cuts)
            return
        alive, places = encounters.alive.copy(), (x.copy(), y.copy())
        strength, sigma = some.strength(run.pull[0]), run.model.sigma
        advance(
            x,
            y,
            some.felt,
            strength,
            some.charges,
            partner,
            encounters,
            sigma=sigma,
            dt=dt,
            kernel=softness(run.eps, run.kernel),
            collision=run.collision,
            seed=run.seed,
            replicas=some.replicas,
            number=number,
            path=path,
        )
        self._remove(some, alive, rows)
        if not run.meeting:
            return
        alive = encounters.alive.copy()
        if sigma == 0:
            pairs = within_reach(places, some.charges, partner, encounters, reach=4 * strength * dt)
        else:
            pairs = meet(
                places, (x, y), some.charges, partner, encounters, ratio=strength / sigma**2, spread=2 * sigma**2 * dt,
                seed=run.seed, replicas=some.replicas, number=number, past=self._past if path.half == 2 else None,
            )  # fmt: skip
        self._past = Past(*places, partner)
        if run.collision == "through":
            encounters.collided[pairs[:, 0]] = True
            return
        row, i, j = bound(pairs, encounters, vanish=run.collision == "annihilate").T
        self._remove(some, alive, rows)
        for z in (x, y):  # at one place, where their forces cancel
            z[row, i] = z[row, j] = 0.5 * (z[row, i] + z[row, j])

    def _remove(self, some: Configuration, alive: np.ndarray, rows: np.ndarray) -> None:
        """Take those into account that were alive, (r, N) bool, and are no more."""
        fallen = alive & ~some.encounters.alive
        if fallen.any():
            self._balance.remove(some.x, some.y, some.signs, fallen, rows, self._t[rows])

    def _record(self, t: float, dt: float, snapshot: Snapshot | None) -> None:
        x, y, alive = self._state.x, self._state.y, self._state.encounters.alive
        run, count = self._run, self._run.count

        def moments(some: slice) -> np.ndarray:
            u, v = x[:, some], y[:, some]
            return np.where(alive[:, some], np.stack([u**2 + v**2, u, v]), 0.0)

        second_moment, *centre = block_sums(moments, 0, count) / count
        if not np.all(np.isfinite(second_moment)):
            raise RunError(f"a particle left for infinity before t = {t:.6g} (N = {count})")
        measured = {"second_moment": second_moment, "centre": np.stack(centre, axis=1), "survivors": alive.sum(axis=1)}
        measured["extra_diffusivity"] = self._extra_diffusivity(dt)
        measured["step_bias"] = step_bias(run, self._state, self._whole, self._partners, 0.5 * dt if run.halved else dt)
        if self._estimates is not None:
            measured |= self._estimates.present(x, y, self._state.signs)
        if run.observables:
            measured["own_observables"] = observed_clouds(run.observables, list(map(self._cloud, range(len(x)))), t)
        self._rows.append(measured | self._balance.present())
        if snapshot is not None:
            there = alive[0]
            snapshot(t, np.stack([x[0], y[0]], axis=1)[there], sign=self._state.signs[0, there])

    def _cloud(self, row: int) -> PointCloud:
        """The charges of one replica that are there."""
        state, there = self._state, self._state.encounters.alive[row]
        x = np.stack([state.x[row, there], state.y[row, there]], axis=1)
        return PointCloud(x, state.signs[row, there], np.full(len(x), 1 / self._run.count))

    def _whole(self, drift: np.ndarray) -> np.ndarray:
        """Drifts (2, R, N) of all particles, from those of each rank's own (2, R, own). Collective in the team."""
        if not self._run.parted:
            return drift
        found = np.empty((2, *self._state.x.shape))
        found[..., self._mine] = drift
        self._run.team.complete(list(found), own_particles(self._run.count, self._run.team))
        return found

    def _extra_diffusivity(self, dt: float) -> np.ndarray:
        """By how much the particles of each replica diffuse more in a step of dt because of random batches, (R,)."""
        run, state = self._run, self._state
        if run.batch_size is None:
            return np.zeros(len(self._replicas))
        dt = 0.5 * dt if run.halved else dt
        variance = batch_variance(
            state.x, state.y, state.charges, eps=run.eps, kernel=run.kernel, size=run.batch_size, sample=SAMPLE,
            seed=run.seed, replicas=self._replicas, step=len(self._rows),
        )  # fmt: skip
        return 0.25 * dt * run.model.pair_strength(run.count) ** 2 * variance


@compiled(parallel=True)
def _euler_maruyama(
    x: np.ndarray,
    y: np.ndarray,
    vx: np.ndarray,
    vy: np.ndarray,
    sizes: np.ndarray,
    sigma: float,
    seed: Any,
    replicas: np.ndarray,
    numbers: np.ndarray,
    half: int,
    given_x: np.ndarray,
    given_y: np.ndarray,
    first: int,
    last: int,
    offset: int,
) -> None:
    """X += dt v + sigma sqrt(dt) xi for particles `first` to `last` of all replicas, (R, N) each.

    With a dt and a number of the step for each replica; velocities (R, n) are those of the particles from `offset` on.
    """
    some = last - first
    for task in numba.prange(len(x) * some):
        r, i = task // some, first + task % some
        dt, noise = sizes[r], sigma * math.sqrt(sizes[r])
        if half == 0:
            a, b = two_normals(seed, 0, replicas[r], i, numbers[r])  # stream 0: NOISE
        else:
            a, b = given_x[r, i], given_y[r, i]
        x[r, i] += dt * vx[r, i - offset] + noise * a
        y[r, i] += dt * vy[r, i - offset] + noise * b


def compile_kernels(run: ChargeSetup) -> None:
    """Have the kernels of a run compiled (or loaded). Collective in the team."""
    x, y, *forces = np.zeros((4, 1, 2))
    signs, one, felt, alone = np.ones((1, 2)), np.ones(1), np.stack(forces), np.full((1, 2), -1)
    run.pair_sum(x, y, signs, *felt, eps=1.0, kernel="capped")
    residual = ParticleResidual(Model(sigma=1.0, gamma=0.0), 2, [Wave(k=(0.0, 0.0))], 1.0)
    zero, nobody = np.zeros(1, dtype=np.int64), Encounters.none(1, 2)
    residual.start(1).measure(x, y, felt, felt, signs, nobody, zero, one)
    _euler_maruyama(x, y, *felt, 0.0 * one, 0.0, np.uint64(0), zero, zero, 0, *WHOLE[0].normals, 0, 2, 0)
    if run.batch_size is not None:
        batch_pair_sum(x, y, signs, *felt, eps=1.0, kernel="capped", size=2, seed=0, replicas=zero, step=0)
    advance(
        x, y + 1.0, felt, one, signs, alone, nobody, sigma=1.0, dt=one, kernel=(0.0, 1.0), collision="through", seed=0,
        replicas=zero, number=zero, path=WHOLE[0],
    )  # fmt: skip
