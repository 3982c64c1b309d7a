"""Newton's particles of (Ham^N) (Neiss and Pickl), by symplectic splitting of order 2 or 4.

    x_i' = v_i,    v_i' = -(M / (N - 1)) sum_{j != i} grad Gamma(x_i - x_j) - grad U(x_i),

masses M / N. Drifts and kicks are those of the equation's solver (`splitting`); energy oscillates with O(step^order),
momentum is conserved to rounding (without U), and the map is symplectic and reversible. Particles live on the torus of
the model, or in the whole space; the sums over pairs are those of `forces`, which for most potentials cost O(N).

Particles are drawn independently from f_0 / M. Replicas are spread over the ranks, or over teams of ranks that share
the sums (`limitpde.nbody.teams`), the particles of a batch of replicas over the threads; what is drawn depends on
(seed, N, replica) alone, and all sums have an order that depends neither on threads nor on teams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from limitpde.compare.cloud_functions import CloudFunction, PointCloud, observed_clouds
from limitpde.compare.test_functions import FunctionTable, TestFunction
from limitpde.errors import RunError
from limitpde.nbody.random import Stream, generator
from limitpde.nbody.replicas import (
    ALONE,
    Controls,
    Measurements,
    ReplicaEnsemble,
    Simulated,
    Snapshot,
    Stopped,
    check_arguments,
    ensemble_seed,
    in_order_kept,
    simulate_replicas,
    team_for,
    time_grid,
)
from limitpde.nbody.sums import Sums, make_sums
from limitpde.nbody.threads import use_threads
from limitpde.potentials import AnyPotential
from limitpde.vlasov.initial import Initial, Start
from limitpde.vlasov.model import Model
from limitpde.vlasov.particle_residual import TrajectoryResidual
from limitpde.vlasov.splitting import composition, merged

BATCH_PARTICLES = 65_536
"""Particles advanced together: enough for all threads, few enough that a stopped run loses seconds."""
KEPT_NUMBERS = 4_000_000
"""Coordinates, at the start and at the end, that are kept to measure distances: those of the first replicas."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ensemble(ReplicaEnsemble):
    """Replicas of one particle number: what they were measured to do. The same on every rank."""

    momentum: np.ndarray
    """(R, T, d) of (M/N) sum v_i."""
    kinetic: np.ndarray
    """(R, T) of (M/N) sum |v_i|^2 / 2."""
    energy: np.ndarray
    """(R, T) of M/N times the Hamiltonian (Ham^N): kinetic + M^2/(N (N-1)) sum_{i<j} Gamma + (M/N) sum U."""
    points: np.ndarray
    """(K, 2, N, 2 d) points (x, v) of the first K replicas at time 0 and at the end."""
    in_theory: bool
    """Whether the particles have the potential of the equation, so that W is of order 1/N."""
    quadratic_variation: None = None
    """Newton's particles have no noise."""


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
    test_functions: Sequence[TestFunction] = (),
    observables: Sequence[CloudFunction] = (),
    order: int = 2,
    method: str = "auto",
    potential: AnyPotential | None = None,
    controls: Controls = ALONE,
) -> Ensemble:
    """Simulate replicas of N particles and measure them. Collective.

    Args:
        model: the parameters.
        initial: f_0, from which the particles are drawn independently.

    Keyword Args:
        count: N.
        replicas: number of independent copies.
        step: largest time step; each interval between output times is cut into equal steps.
        end: final time.
        seed: all randomness follows from it and N.
        stops: output times between 0 and the end.
        test_functions: phi(x, v), of 2 d coordinates, whose observables and residuals are measured; on a torus a
            Gaussian stands for the sum of its images.
        observables: numbers that functions of the user's own make of the particles.
        order: of the integrator, 2 or 4.
        method: sum over pairs: "direct" (all pairs), "fast" (less), or "auto".
        potential: Gamma of the particles, where it is not to be that of the model; W is then that of the model.
        controls: how it is watched and where it runs, and whether its steps are halved; snapshots have (t, positions,
            velocity=(N, d)), positions are (N, d), for d = 1 points (x, v) of the phase plane.

    Raises:
        InputError: an argument is out of range.
        RunError: a particle has left for infinity.
        Interrupted: asked to stop before any replica was finished.
    """
    check_arguments(count, replicas, step, end)
    composition(order)  # checks it
    FunctionTable.of(test_functions, 2 * model.dimension)
    use_threads(controls.comm)
    box, periodic = model.x_box, model.domain.periodic
    own = potential is not None and potential != model.potential
    with team_for(controls, count=count, replicas=replicas) as team:
        sums = partial(make_sums, x_box=box, periodic=periodic, method=method, team=team)
        run = _NewtonSetup(
            model=model,
            start=Start(initial, model),
            count=count,
            seed=ensemble_seed(seed, count),
            grid=time_grid(step, end, stops, halved=controls.halved),
            order=order,
            felt=sums(potential or model.potential),
            limit=sums(model.potential) if own else None,
            functions=tuple(test_functions),
            observables=tuple(observables),
        )
        simulated = simulate_replicas(
            partial(_NewtonReplicas, run),
            controls,
            team=team,
            count=count,
            replicas=replicas,
            together=max(1, BATCH_PARTICLES // count),
            steps=run.steps,
            work=lambda part: len(part["replicas"]) * count * run.steps,
        )
    return _ensemble(run, simulated)


@dataclass(frozen=True, slots=True)
class _NewtonSetup:
    """All that the replicas of one particle number have in common."""

    model: Model
    start: Start
    count: int
    seed: int
    grid: list[tuple[float, int]]
    order: int
    felt: Sums
    limit: Sums | None
    """The sums of the equation's potential, where the particles have another one."""
    functions: tuple[TestFunction, ...]
    observables: tuple[CloudFunction, ...]

    @property
    def steps(self) -> int:
        return sum(steps for _, steps in self.grid)

    @property
    def kept(self) -> int:
        """Replicas whose points are kept."""
        return max(1, KEPT_NUMBERS // (4 * self.count * self.model.dimension))


class _NewtonReplicas:
    """Some replicas on their way from 0 to the end."""

    def __init__(self, run: _NewtonSetup, replicas: np.ndarray) -> None:
        self._run, self._replicas = run, replicas
        d = run.model.dimension
        z = np.stack([run.start.sample(run.count, generator(run.seed, Stream.INITIAL, int(r))) for r in replicas])
        self._x, self._v = np.ascontiguousarray(z[..., :d]), np.ascontiguousarray(z[..., d:])
        self._balance = TrajectoryResidual(run.model, run.start.mass, run.functions, len(replicas))
        self._forces: tuple[np.ndarray, np.ndarray] | None = None
        self._rows: list[dict[str, np.ndarray]] = []

    def run(self, snapshot: Snapshot | None, step_done: Callable[[], object], stop: Callable[[], bool]) -> Measurements:
        """Step to the end; the measurements of these replicas, time last."""
        with np.errstate(over="ignore", invalid="ignore"):  # `_record` finds what has left for infinity
            return self._run_through(snapshot, step_done, stop)

    def _run_through(
        self, snapshot: Snapshot | None, step_done: Callable[[], object], stop: Callable[[], bool]
    ) -> Measurements:
        t = 0.0
        points = [self._points()]
        self._record(0.0, snapshot)
        for end, steps in self._run.grid:
            dt = (end - t) / steps
            for stages in merged(self._run.order, steps):
                if stop():
                    raise Stopped
                for kind, share in stages:
                    (self._drift if kind == "drift" else self._kick)(share * dt)
                step_done()
            t = end
            self._record(t, snapshot)
        points.append(self._points())
        stacked = {name: np.stack([row[name] for row in self._rows], axis=-1) for name in self._rows[0]}
        return {
            "replicas": self._replicas,
            "compensator": self._balance.compensator,
            "points": np.stack(points, axis=1),
            **stacked,
        }

    def _drift(self, dt: float) -> None:
        self._balance.drift(self._x, self._v, dt)
        d = self._run.model.dimension
        self._x = self._run.model.positions.wrap((self._x + dt * self._v).reshape(-1, d)).reshape(self._x.shape)
        self._forces = None

    def _kick(self, dt: float) -> None:
        if self._forces is None:
            self._forces = self._accelerations()
        felt, limit = self._forces
        self._balance.kick(self._x, self._v, felt, limit, dt)
        self._v = self._v + dt * felt

    def _accelerations(self) -> tuple[np.ndarray, np.ndarray]:
        """What the particles feel, and the force of the equation at their places, (R, N, d) each."""
        run, x, mass = self._run, self._x, self._run.start.mass
        felt = run.felt.gradients(x)
        limit = felt if run.limit is None else run.limit.gradients(x)
        outer = self._exterior("gradient") if run.model.exterior is not None else 0.0
        return -mass / max(run.count - 1, 1) * felt - outer, -mass / run.count * limit - outer

    def _exterior(self, what: str) -> np.ndarray:
        """U (R, N) or its gradient (R, N, d) at the particles, one replica at a time: none depends on the others."""
        model = self._run.model
        function = getattr(model.exterior, what)
        torus = model.x_box if model.domain.periodic else None
        return np.stack([function(cloud, torus=torus) for cloud in self._x])

    def _points(self) -> np.ndarray:
        """(x, v) of those of the replicas that are kept, (K, N, 2 d)."""
        kept = self._replicas < self._run.kept
        return np.concatenate([self._x[kept], self._v[kept]], axis=2)

    def _record(self, t: float, snapshot: Snapshot | None) -> None:
        x, v, run, mass = self._x, self._v, self._run, self._run.start.mass
        kinetic = mass * (v**2).sum(axis=2).mean(axis=1) / 2
        energy = kinetic + mass**2 / (run.count * max(run.count - 1, 1)) * run.felt.energies(x)
        if run.model.exterior is not None:
            energy = energy + mass * self._exterior("value").mean(axis=1)
        if not np.all(np.isfinite(energy)):
            raise RunError(f"a particle left for infinity before t = {t:.6g} (N = {run.count})")
        figures = {
            "second_moment": mass * (x**2).sum(axis=2).mean(axis=1),
            "centre": x.mean(axis=1),
            "momentum": mass * v.mean(axis=1),
            "kinetic": kinetic,
            "energy": energy,
        }
        if run.observables:
            weight = np.full(run.count, mass / run.count)
            clouds = [PointCloud(*cloud, weight) for cloud in zip(x, v, strict=True)]
            figures["own_observables"] = observed_clouds(run.observables, clouds, t)
        self._rows.append(figures | self._balance.observe(x, v))
        if snapshot is not None:
            places = np.concatenate([x[0], v[0]], axis=1) if x.shape[2] == 1 else x[0]
            snapshot(t, places, velocity=v[0])


def _ensemble(run: _NewtonSetup, simulated: Simulated) -> Ensemble:
    parts = simulated.parts
    found = in_order_kept(parts, run.kept, "points")
    return Ensemble(
        **simulated.common(found, count=run.count, steps=run.steps, times=(t for t, _ in run.grid)),
        momentum=np.moveaxis(found["momentum"], 1, 2),
        kinetic=found["kinetic"],
        energy=found["energy"],
        points=found["points"],
        in_theory=run.limit is None,
    )
