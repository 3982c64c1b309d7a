"""The particle systems of van Meurs-Peletier-Slangen: (1.1), its regularised form (4.7), (1.2), point vortices.

    dX_i = sigma dB_i + gamma_N Phi_l(X) sum_j b_i b_j k(X_i - X_j) dt - grad U(X_i) dt,    gamma_N = gamma_bar / N

(or a fixed gamma) with k(x) = x / max(|x|^2, eps^2) ("capped") or K_eps(x) = x / (|x|^2 + eps^2) ("regularised",
(4.5)), and the cut-off Phi_l(X) = 1 where equal signs are at least 1/l apart, 0 below 1/(2l), linear between ((4.6);
off by default). Where the model says so, all b_i b_j are -1 ((1.2), attraction), or the sum is sum_j b_j K_perp.

Euler-Maruyama moves the particles, of weak order one: means carry a bias proportional to the step, which halving the
step shows. With the bare K its second moment is infinite after two steps: a pair of opposite signs at a distance r
below sqrt(2 gamma dt) is thrown across itself, to about 2 gamma dt / r. So eps is sqrt(2 gamma_N dt) by default, and
the drift of one step only contracts a closer pair. Where gamma is not small beside sigma^2, close pairs move by their
exact joint law instead (`limitpde.signed.collisions`), which also sees them collide.

Replicas are spread over the ranks and the pairs of a batch of replicas over the threads. The noise is a function of
(seed, N, replica, particle, step), so trajectories do not depend on how many ranks or threads there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numba
import numpy as np
from mpi4py import MPI

from limitpde.compare.test_functions import GaussianBump, Table, Wave
from limitpde.errors import InputError, Interrupted, RunError
from limitpde.nbody.fast_sum import check_accuracy, fast_pair_sum
from limitpde.nbody.pairs import closest_equal_signs, pair_interactions, pair_sum, softness
from limitpde.nbody.random import Stream, generator, two_normals
from limitpde.nbody.replicas import Part, ensemble_seed, gathered_parts, in_order, share_of
from limitpde.nbody.threads import use_threads
from limitpde.signed.collisions import Collision, Pairs, advance, takes_exact_pairs
from limitpde.signed.encounters import Encounters
from limitpde.signed.estimates import EstimateIntegrals, largest_gradient
from limitpde.signed.model import Initial, Model
from limitpde.signed.residual import ParticleResidual
from limitpde.signed.start import InitialPositions

BATCH_PARTICLES = 32_768
"""Particles advanced together: enough for all threads, few enough that a stopped run loses seconds."""

METHODS = ("direct", "fast", "auto")
FAST_FROM = 10_000
"""N from which "auto" takes the fast sum: measured, with some room (demos/benchmarks/fast_sum.py). A choice by a
measurement in the run would make results depend on the machine."""
WORK_UNIT = "pair_interactions"
"""What `work_per_second` counts."""
Snapshot = Callable[..., None]
PairSum = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Replicas of one particle number: what they were measured to do. The same on every rank."""

    count: int
    """N."""
    signs: np.ndarray
    """(N,) of +1.0 and -1.0, the same in every replica."""
    steps: int
    """Time steps of one replica."""
    times: np.ndarray
    """(T,) output times, from 0 to the end."""
    replicas: np.ndarray
    """(R,) numbers of the replicas that were finished."""
    second_moment: np.ndarray
    """(R, T) of (1/N) sum |X_i|^2."""
    centre: np.ndarray
    """(R, T, 2) of (1/N) sum X_i."""
    observables: np.ndarray
    """(R, P, T) of int phi dL^N_t."""
    residual: np.ndarray
    """(R, P, T) of W[t, phi](L^N)."""
    quadratic_variation: np.ndarray
    """(R, P) of (sigma^2 / N) int_0^T int |grad phi|^2 dL^N_t dt; its mean is the variance of W - A (Ito isometry)."""
    compensator: np.ndarray
    """(R, P) of A, what W should be but for the noise: zero for particles of the limit's own drift and noise."""
    eps: float
    """Length of the cap or of the regularisation."""
    work_per_second: float
    """Pair interactions per second of all ranks, over the whole simulation; the fast sum too counts all pairs."""
    survivors: np.ndarray
    """(R, T) number of particles that have not been annihilated."""
    collided: np.ndarray
    """(R,) whether two charges have hit each other; False throughout where the steps do not see that."""
    sees_collisions: bool
    """Whether pairs moved by their exact law, so that `collided` means something."""
    collision: Collision
    """What became of charges that hit each other."""
    estimates: dict[str, np.ndarray]
    """What `limitpde.signed.estimates` needs, a row for each replica; empty where it was not asked for."""
    estimate_eps: tuple[float, ...]
    """Lengths of the regularisation in Lemma 5.9."""
    estimate_gradients: tuple[float, ...]
    """max |grad phi| of each test function."""
    complete: bool
    """False where the run was asked to stop: then only the finished replicas are here."""

    @property
    def in_theory(self) -> bool:
        """Whether the particles have the drift and the noise of the theorem, so that its rate applies."""
        return not self.compensator.any() and bool((self.survivors == self.count).all())


def simulate(
    model: Model,
    initial: Initial,
    *,
    count: int,
    replicas: int,
    step: float,
    end: float,
    seed: int = 0,
    stops: Iterable[float] = (),
    test_functions: Sequence[GaussianBump | Wave] = (),
    method: str = "auto",
    accuracy: float = 1e-6,
    kernel: str = "capped",
    eps: float | None = None,
    cutoff: int | None = None,
    pairs: Pairs = "auto",
    collision: Collision = "through",
    estimate_eps: Sequence[float] | None = None,
    snapshot: Snapshot | None = None,
    finished: Sequence[Part] = (),
    keep: Callable[[Part], object] = lambda part: None,
    progress: Callable[[float], object] = lambda share: None,
    stop_asked: Callable[[], bool] = lambda: False,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Ensemble:
    """Simulate replicas of N particles and measure them. Collective.

    Args:
        model: the parameters.
        initial: where the particles start: drawn independently from the densities, with N times the mass of each sign
            rounded to whole particles; or points.

    Keyword Args:
        count: N.
        replicas: number of independent copies.
        step: largest time step; each interval between output times is cut into equal steps.
        end: final time.
        seed: all randomness follows from it and N.
        stops: output times between 0 and the end.
        test_functions: phi(x, b) whose observables and residuals are measured.
        method: force sum: "direct", "fast" (an adaptive multipole method, `limitpde.nbody.fast_sum`), or "auto": the
            fast one from N = 10,000 on.
        accuracy: of the fast sum, relative to the sum of the sizes of all forces on a particle.
        kernel: "capped" or "regularised".
        eps: length of the cap or of the regularisation; sqrt(2 gamma_N step) by default.
        cutoff: l of the cut-off Phi_l; none by default.
        pairs: how nearest neighbours move: like all others ("euler"), by their exact joint law ("exact"), or that where
            gamma_N >= 0.05 sigma^2 or collisions matter ("auto").
        collision: what charges do that hit each other: go "through", "stick" together, "annihilate"; with
            gamma_N >= sigma^2 they stick. All but the first need the exact law.
        estimate_eps: measure what the paper's estimates are about, with these eps in Lemma 5.9; by default not.
        snapshot: called with (t, positions (n, 2), sign=(n,)) of replica 0 at the output times, on rank 0.
        finished: measurements of replicas that an earlier run has kept, the same on every rank.
        keep: called with the measurements of each batch of replicas when it is finished, on the rank that simulated it.
        progress: called with the share of this rank's work done since the last call.
        stop_asked: asked at each step, on each rank; where true, the replicas under way are given up.
        comm: the ranks over which the replicas are spread.

    Raises:
        InputError: an argument is out of range.
        RunError: a position is not finite.
        Interrupted: asked to stop before any replica was finished.
    """
    _check_arguments(count, replicas, step, end)
    if method not in METHODS:
        raise InputError(f"particles.method = {method!r}: must be one of {', '.join(METHODS)}")
    check_accuracy(accuracy)
    use_threads(comm)
    fast = method == "fast" or (method == "auto" and count >= FAST_FROM)
    run = _Run(
        model=model,
        start=InitialPositions(initial, count, comm),
        seed=ensemble_seed(seed, count),
        grid=_time_grid(step, end, stops),
        residual=ParticleResidual(model, count, Table.of(test_functions, 2)),
        kernel=kernel,
        eps=math.sqrt(2 * model.pair_strength(count) * step) if eps is None else eps,
        bare=kernel != "capped" or eps is not None,
        cutoff=cutoff,
        exact_pairs=takes_exact_pairs(
            model, count, pairs, collision, plain=kernel == "capped" and eps is None and cutoff is None
        ),
        collision=collision,
        pair_sum=partial(fast_pair_sum, accuracy=accuracy) if fast else pair_sum,
        estimate_eps=None if estimate_eps is None else tuple(estimate_eps),
        gradients=tuple(map(largest_gradient, test_functions)),
    )
    _compile_kernels(run.pair_sum)
    began = time.perf_counter()
    share = share_of(comm, replicas, finished)
    mine, failure = _run_replicas(run, share, snapshot, keep, progress, stop_asked)
    parts = gathered_parts(comm, mine, failure)
    done = sum(len(part["replicas"]) for part in parts)
    speed = pair_interactions(done, count) * (run.steps + 1) / (time.perf_counter() - began)
    return _ensemble(run, [*finished, *parts], replicas, speed)


def _check_arguments(count: int, replicas: int, step: float, end: float) -> None:
    for name, value in (("counts", count), ("replicas", replicas)):
        if value < 1:
            raise InputError(f"particles.{name} = {value}: must be at least 1")
    for name, number in (("particles.step", step), ("time.end", end)):
        if not (number > 0 and math.isfinite(number)):
            raise InputError(f"{name} = {number}: must be greater than 0")


def _time_grid(step: float, end: float, stops: Iterable[float]) -> list[tuple[float, int]]:
    """Output times after 0, and the number of equal steps from each one to the next."""
    times = sorted({*(t for t in stops if 0 < t < end * (1 - 1e-12)), end})
    return [(b, math.ceil((b - a) / step * (1 - 1e-9))) for a, b in zip([0.0, *times], times, strict=False)]


def _compile_kernels(pair_sum: PairSum) -> None:
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


@dataclass(frozen=True, slots=True)
class _Run:
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
        return len(self.start.signs)

    @property
    def steps(self) -> int:
        return sum(steps for _, steps in self.grid)

    @property
    def charges(self) -> np.ndarray:
        """b_i as the interaction sees it, (N,)."""
        positive, negative = self.model.charges
        return np.where(self.start.signs > 0, positive, negative)


class _Stopped(Exception):  # noqa: N818 - not an error
    """The user asked to stop: the batch under way is given up."""


def _run_replicas(
    run: _Run,
    mine: np.ndarray,
    snapshot: Snapshot | None,
    keep: Callable[[Part], object],
    progress: Callable[[float], object],
    stop: Callable[[], bool],
) -> tuple[list[Part], Exception | None]:
    """Batches of this rank's replicas that were finished, and why it failed, if it did."""
    size = max(1, BATCH_PARTICLES // run.count)
    finished: list[Part] = []
    try:
        for first in range(0, len(mine), size):
            replicas = mine[first : first + size]
            step_done = partial(progress, len(replicas) / (len(mine) * run.steps))
            finished.append(_Batch(run, replicas).run(snapshot, step_done, stop))
            keep(finished[-1])
    except _Stopped:
        pass
    except Exception as error:  # every rank must learn of it before any raises
        return finished, error
    return finished, None


class _Batch:
    """Some replicas on their way from 0 to the end."""

    def __init__(self, run: _Run, replicas: np.ndarray) -> None:
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
                    raise _Stopped
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


def _ensemble(run: _Run, parts: Sequence[Part], replicas: int, speed: float) -> Ensemble:
    if not parts:
        raise Interrupted(f"stopped before any of the {replicas} replicas of N = {run.count} was finished")
    found = in_order(parts)
    return Ensemble(
        count=run.count,
        signs=run.start.signs,
        steps=run.steps,
        times=np.array([0.0, *(t for t, _ in run.grid)]),
        replicas=found["replicas"],
        second_moment=found["second_moment"],
        centre=np.moveaxis(found["centre"], 1, 2),
        observables=found["observables"],
        residual=found["residual"],
        quadratic_variation=found["quadratic_variation"],
        compensator=found["compensator"],
        eps=run.eps,
        work_per_second=speed,
        survivors=found["survivors"],
        collided=found["collided"],
        sees_collisions=run.exact_pairs,
        collision=run.collision,
        estimates={
            name: found[name]
            for name in ("phi", "distance", "pair_integrals", "regularisation_gaps")
            if run.estimate_eps is not None
        },
        estimate_eps=run.estimate_eps or (),
        estimate_gradients=run.gradients,
        complete=len(found["replicas"]) == replicas,
    )
