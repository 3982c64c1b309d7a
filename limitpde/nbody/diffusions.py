"""Particles that drift and diffuse, dX_i = F_i(X) dt + sigma dB_i, by Euler-Maruyama, with W and its martingale.

W[T, phi](mu) = int phi d(mu_T - mu_0) - int_0^T int (F . grad phi + (sigma^2 / 2) Lap phi) dmu dt is a martingale of
variance E Q (Ito), up to the error of the steps, of weak order one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from limitpde.nbody.random import Stream, generator
from limitpde.nbody.replicas import (
    Controls,
    Measurements,
    ReplicaEnsemble,
    Snapshot,
    check_arguments,
    ensemble_seed,
    in_order,
    simulate_replicas,
    time_grid,
    walk,
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DiffusionEnsemble(ReplicaEnsemble):
    """Replicas of one particle number: what they were measured to do. The same on every rank."""

    quadratic_variation: np.ndarray
    """(R, P) of Q = (sigma^2 / N) int_0^T int |grad phi|^2 dmu dt."""
    in_theory: bool = True
    """The particles are always those of the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffusions:
    """What is simulated."""

    count: int
    """N."""
    sigma: float
    start: Callable[[np.random.Generator], np.ndarray]
    """Draws the positions at time 0, (N, d)."""
    force: Callable[[np.ndarray], np.ndarray]
    """F at positions (N, d), (N, d)."""
    tested: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
    """phi, grad phi and Lap phi at positions, (P, N), (P, N, d) and (P, N)."""
    places: Callable[[np.ndarray], np.ndarray] = lambda x: x
    """Positions as they are measured and shown, of particles that live on a torus or a circle, say."""

    def simulate(
        self, controls: Controls, *, replicas: int, step: float, end: float, seed: int, stops: Any
    ) -> DiffusionEnsemble:
        """Simulate replicas and measure them; the arguments are those of every system's `simulate`. Collective."""
        check_arguments(self.count, replicas, step, end)
        grid, seed = time_grid(step, end, stops, halved=controls.halved), ensemble_seed(seed, self.count)
        steps = sum(steps for _, steps in grid)
        simulated = simulate_replicas(
            partial(_Replica, self, grid, seed, controls.halved),
            controls,
            count=self.count,
            replicas=replicas,
            together=1,
            steps=steps,
            work=lambda part: len(part["replicas"]) * self.count * steps,
        )
        found = in_order(simulated.parts)
        common = simulated.common(found, count=self.count, steps=steps, times=(t for t, _ in grid))
        return DiffusionEnsemble(**common, quadratic_variation=found["quadratic_variation"])


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


class _Replica:
    """One replica on its way, with the integrals of W."""

    def __init__(
        self, run: Diffusions, grid: list[tuple[float, int]], seed: int, halved: bool, numbers: np.ndarray
    ) -> None:
        self._run, self._grid, self._numbers = run, grid, numbers
        self._x = run.start(generator(seed, Stream.INITIAL, int(numbers[0])))
        self._normals = _normals(seed, int(numbers[0]), self._x.shape, halved=halved)
        self._tested = run.tested(self._x)
        self._start = self._tested[0].mean(axis=1)
        self._moved, self._variation = np.zeros((2, len(self._start)))

    def run(self, snapshot: Snapshot | None, step_done: Callable[[], object], stop: Callable[[], bool]) -> Measurements:
        """Go to the end."""

        def record(t: float) -> Measurements:
            places, observed = self._run.places(self._x), self._tested[0].mean(axis=1)
            if snapshot is not None:
                snapshot(t, places)
            found = {"centre": places.mean(axis=0), "second_moment": (places**2).sum(axis=1).mean()}
            found |= {"observables": observed, "residual": observed - self._start - self._moved}
            return {name: np.asarray(values)[None] for name, values in found.items()}

        found = walk(self._grid, self._advance, record, step_done=step_done, stop=stop)
        ends = {"quadratic_variation": self._variation[None], "compensator": np.zeros_like(self._variation)[None]}
        return found | ends | {"replicas": self._numbers}

    def _advance(self, dt: float) -> None:
        run, x, (_, gradient, laplacian) = self._run, self._x, self._tested
        force = run.force(x)
        self._moved += dt * ((gradient * force).sum(axis=2) + run.sigma**2 / 2 * laplacian).mean(axis=1)
        self._variation += dt * run.sigma**2 / len(x) * (gradient**2).sum(axis=2).mean(axis=1)
        self._x = x + dt * force + run.sigma * np.sqrt(dt) * next(self._normals)
        self._tested = run.tested(self._x)
