"""Particles that drift and diffuse, dX_i = F_i(X) dt + sigma dB_i, by Euler-Maruyama, with W and its martingale.

W[T, phi](mu) = int phi d(mu_T - mu_0) - int_0^T int (F . grad phi + (sigma^2 / 2) Lap phi + d phi / dt) dmu dt is a
martingale of variance E Q (Ito), up to the error of the steps, of weak order one. Where the equation has another drift
or noise than the particles, W is that of the equation, and W - A is the martingale, with A what the difference moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from limitpde.nbody.random import Stream, generator
from limitpde.nbody.replicas import (
    Controls,
    Measurements,
    ReplicaEnsemble,
    Snapshot,
    check_arguments,
    ensemble_seed,
    in_order_kept,
    simulate_replicas,
    time_grid,
    walk,
)
from limitpde.nbody.teams import Team

BATCH_PARTICLES = 4096
"""Particles advanced together."""


class Tested(Protocol):
    """P test functions at n points."""

    @property
    def value(self) -> np.ndarray:
        """At the points, (P, n)."""

    @property
    def gradient(self) -> np.ndarray:
        """At the points, (P, n, d)."""

    @property
    def laplacian(self) -> np.ndarray:
        """At the points, (P, n)."""

    @property
    def rate(self) -> np.ndarray:
        """d phi / dt, (P, n)."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DiffusionEnsemble(ReplicaEnsemble):
    """Replicas of one particle number: what they were measured to do. The same on every rank."""

    quadratic_variation: np.ndarray
    """(R, P) of Q = (sigma^2 / N) int_0^T int |grad phi|^2 dmu dt."""
    ends: np.ndarray
    """(K, N, d) positions of the first K replicas at the end."""
    in_theory: bool = True
    """Whether the particles are those of the limit."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Drift and noise."""

    force: Callable[[np.ndarray], np.ndarray]
    """F at positions (R, N, d) of R replicas, (R, N, d)."""
    sigma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffusions:
    """What is simulated."""

    count: int
    """N."""
    motion: Motion
    """Of the particles."""
    start: Callable[[np.random.Generator], np.ndarray]
    """Draws the positions of a replica at time 0, (N, d)."""
    tested: Callable[[np.ndarray, float], Tested]
    """The test functions at positions (R N, d), replica after replica, at a time."""
    equation: Motion | None = None
    """That of the equation, where it is another one."""
    places: Callable[[np.ndarray], np.ndarray] = lambda x: x
    """Positions (R, N, d) as they are measured and shown, of particles that live on a torus or a circle, say."""
    marks: tuple[tuple[str, np.ndarray], ...] = ()
    """Name and values (N,) of what snapshots have besides."""
    observed: Callable[[np.ndarray, float], np.ndarray] | None = None
    """What else is measured of positions (R, N, d) at a time, (R, Q)."""
    kept: int = 0
    """Replicas whose positions at the end are kept."""
    team: Team | None = None
    """The ranks that share the force of a replica, from `team_for`; by default each rank has replicas of its own."""

    def simulate(
        self, controls: Controls, *, replicas: int, step: float, end: float, seed: int, stops: Any
    ) -> DiffusionEnsemble:
        """Simulate replicas and measure them; the arguments are those of every system's `simulate`. Collective."""
        check_arguments(self.count, replicas, step, end)
        grid, seed = time_grid(step, end, stops, halved=controls.halved), ensemble_seed(seed, self.count)
        steps = sum(steps for _, steps in grid)
        simulated = simulate_replicas(
            partial(_Replicas, self, grid, seed, controls.halved),
            controls,
            team=self.team,
            count=self.count,
            replicas=replicas,
            together=max(1, BATCH_PARTICLES // self.count),
            steps=steps,
            work=lambda part: len(part["replicas"]) * self.count * steps,
        )
        found = in_order_kept(simulated.parts, self.kept, "ends")
        common = simulated.common(found, count=self.count, steps=steps, times=(t for t, _ in grid))
        variation, in_theory = found["quadratic_variation"], self.equation is None
        return DiffusionEnsemble(**common, quadratic_variation=variation, ends=found["ends"], in_theory=in_theory)


def _normals(seed: int, replica: int, shape: tuple[int, ...], *, halved: bool) -> Iterator[np.ndarray]:
    """Standard normals of each step; those of two halves add to sqrt(2) times that of their whole step."""
    noise, bridge = (generator(seed, stream, replica) for stream in (Stream.NOISE, Stream.BRIDGE))
    while True:
        whole = noise.standard_normal(shape)
        if halved:
            inside = bridge.standard_normal(shape)
            yield (whole + inside) / np.sqrt(2)
            yield (whole - inside) / np.sqrt(2)
        else:
            yield whole


class _Replicas:
    """Some replicas on their way, with the integrals of W."""

    def __init__(
        self, run: Diffusions, grid: list[tuple[float, int]], seed: int, halved: bool, numbers: np.ndarray
    ) -> None:
        self._run, self._grid, self._numbers, self._t = run, grid, numbers, 0.0
        self._x = np.stack([run.start(generator(seed, Stream.INITIAL, int(number))) for number in numbers])
        shape = self._x.shape[1:]
        self._normals = [_normals(seed, int(number), shape, halved=halved) for number in numbers]
        self._tested = self._test()
        self._start = self._means(self._tested.value)
        self._moved, self._bias, self._variation = np.zeros((3, *self._start.shape))

    def _test(self) -> Tested:
        return self._run.tested(self._x.reshape(-1, self._x.shape[2]), self._t)

    def _means(self, values: np.ndarray) -> np.ndarray:
        """Means over the particles of values (P, R N), (R, P)."""
        return np.asarray(values.reshape(len(values), *self._x.shape[:2]).mean(axis=2).T)

    def run(self, snapshot: Snapshot | None, step_done: Callable[[], object], stop: Callable[[], bool]) -> Measurements:
        """Go to the end."""

        def record(t: float) -> Measurements:
            self._t = t
            places, observed = self._run.places(self._x), self._means(self._tested.value)
            if snapshot is not None:
                snapshot(t, places[0], **dict(self._run.marks))
            found = {"centre": places.mean(axis=1), "second_moment": (places**2).sum(axis=2).mean(axis=1)}
            if self._run.observed is not None:
                found["own_observables"] = self._run.observed(places, t)
            return found | {"observables": observed, "residual": observed - self._start - self._moved}

        found = walk(self._grid, self._advance, record, step_done=step_done, stop=stop)
        return found | {
            "quadratic_variation": self._variation,
            "compensator": self._bias,
            "replicas": self._numbers,
            "ends": self._run.places(self._x[self._numbers < self._run.kept]),
        }

    def _rates(self, force: np.ndarray, sigma: float) -> np.ndarray:
        """int (F . grad phi + (sigma^2 / 2) Lap phi) dmu, (R, P)."""
        phi = self._tested
        drift = (phi.gradient * force.reshape(-1, force.shape[2])).sum(axis=2)
        return self._means(drift + sigma**2 / 2 * phi.laplacian)

    def _advance(self, dt: float) -> None:
        run, x, phi, sigma = self._run, self._x, self._tested, self._run.motion.sigma
        force = run.motion.force(x)
        own = limit = self._rates(force, sigma)
        if run.equation is not None:
            limit = self._rates(run.equation.force(x), run.equation.sigma)
        self._moved += dt * (limit + self._means(phi.rate))
        self._bias += dt * (own - limit)
        self._variation += dt * sigma**2 / run.count * self._means((phi.gradient**2).sum(axis=2))
        self._x = x + dt * force + sigma * np.sqrt(dt) * np.stack([next(normals) for normals in self._normals])
        self._t += dt
        self._tested = self._test()
