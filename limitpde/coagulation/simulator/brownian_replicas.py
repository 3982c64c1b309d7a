"""Replicas of the coagulating particles on their way from 0 to the end, and what is measured there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from limitpde.coagulation.proof.candidate import MacroBalance, MacroResidual
from limitpde.coagulation.simulator.crew import Crew
from limitpde.coagulation.simulator.crew_halves import HalvedCrew
from limitpde.coagulation.simulator.events import (
    COMPENSATOR,
    COUNT,
    DIFFUSION,
    EVENTS,
    FULL,
    GOING,
    INTEGRAL,
    JUMP_VARIATION,
    JUMPS,
    NEXT,
    STATUS,
    STEP,
    STUCK,
    TIME,
    TOO_LARGE,
    VARIATION,
    WORK,
    Functions,
    ReplicaState,
    evaluate,
    values_at,
)
from limitpde.coagulation.simulator.halves import ROOM, advance_halved
from limitpde.coagulation.simulator.layers import settle_with
from limitpde.coagulation.simulator.pairs import Physics
from limitpde.coagulation.simulator.python_balance import PythonBalance
from limitpde.coagulation.simulator.rows import cuts_of, most_rows
from limitpde.coagulation.simulator.start import InitialParticles
from limitpde.coagulation.simulator.steps import advance
from limitpde.compare.cloud_functions import CloudFunction, PointCloud, observed_clouds
from limitpde.domains import Domain
from limitpde.errors import RunError
from limitpde.nbody.random import Stream, generator
from limitpde.nbody.replicas import Snapshot, Stopped
from limitpde.nbody.teams import SINGLE, Team

BUDGET = 100_000
"""Particle steps between two looks at whether to stop: a fraction of a second."""
SHARED = 4000
"""From this many particles on, a replica that has the threads to itself spreads over them, and keeps its room."""
LARGEST_NUMBER = 2**32
"""Steps, and particles that ever lived, in one replica."""


@dataclass(frozen=True, slots=True)
class BrownianSetup:
    """All that the replicas of one particle number have in common."""

    physics: Physics
    functions: Functions
    start: InitialParticles
    share: float
    """Z / N."""
    seed: int
    step: float
    """Longest time step."""
    grid: list[tuple[float, bool]]
    """Times after 0 at which is measured, and whether they are output times."""
    shape: tuple[int, int]
    """K masses counted, L masses of which the pairs are."""
    residual: MacroResidual | None
    domain: Domain
    kept: int
    """Replicas whose particles at the end are kept."""
    observables: tuple[CloudFunction, ...] = ()
    """Whose numbers are measured besides."""
    halved: bool = False
    """Whether each step is made as two halves, see `halves`."""
    balance: Callable[[], PythonBalance] | None = None
    """Of one replica, where test functions are by Python; `functions` is then empty."""
    team: Team = SINGLE
    """The ranks that share a replica."""


class BrownianReplicas:
    """Some replicas, advanced together. All of it is collective in the team.

    Args:
        run: what they have in common.
        replicas: their numbers.
    """

    def __init__(self, run: BrownianSetup, replicas: np.ndarray) -> None:
        self._run, self._replicas = run, replicas
        count, d, functions, team = run.start.count, run.domain.dimension, len(run.functions.kinds), run.team
        splits, blocked = len(run.physics.splitting.values) > 0, functions > 0
        own, most = team.mine(cuts_of(team, blocked, count)), most_rows(team, blocked, count)
        rows = most + (most // 4 + 64 if splits else 0)
        if run.halved and splits:
            rows = most_rows(team, blocked, ROOM * count)
        lead = (len(replicas), rows)
        born = (len(replicas), rows if splits else 0)
        self._state = ReplicaState(
            x=np.zeros((*lead, 3)),
            mass=np.zeros(lead, dtype=np.int64),
            ident=np.broadcast_to(own.start + np.arange(rows), lead).copy(),
            mate=np.full(born, -1),
            kin=np.full(born, -1),
            offset=np.zeros((*born, 3)),
            lag=np.zeros(born),
            phi=np.zeros((lead[0], 3, rows, functions)),
            numbers=np.zeros((lead[0], 6), dtype=np.int64),
            reals=np.zeros((lead[0], 3)),
            sums=np.zeros((lead[0], 6, functions)),
            pairs=np.zeros((lead[0], 2, run.shape[1], run.shape[1])),
            reacted=np.zeros((lead[0], run.shape[1], run.shape[1]), dtype=np.int64),
        )
        self._state.numbers[:, COUNT], self._state.numbers[:, NEXT] = own.stop - own.start, count
        self._balances: list[MacroBalance] = [run.residual.start() for _ in replicas] if run.residual else []
        self._watched = [] if run.balance is None else [run.balance() for _ in replicas]
        self._rows: list[dict[str, np.ndarray]] = []
        for r, number in enumerate(replicas):
            A, mine = self._replica(r), slice(0, own.stop - own.start)
            A.x[mine, :d], A.mass[mine] = run.start.draw(generator(run.seed, Stream.INITIAL, int(number)), own)
            settle_with(team, run.physics, A, blocked)
            evaluate(run.functions, A.x, 0, own.stop - own.start, run.physics.flat, A.phi)
        self._pilot = ReplicaState(*(array.copy() for array in self._state)) if run.halved else None

    def run(
        self, snapshot: Snapshot | None, part_done: Callable[[], object], stop: Callable[[], bool]
    ) -> dict[str, np.ndarray]:
        """Go to the end; the measurements of these replicas, with the output times last."""
        self._shown = self._run.team.total(0 if snapshot is None else 1) > 0
        self._measure(0.0, True, snapshot)
        threads = numba.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:
            ahead: list[float] = []
            for end, output in self._run.grid:
                ahead.append(end)
                if output or self._balances:
                    self._reach(np.array(ahead), stop, pool, threads)
                    self._measure(end, output, snapshot)
                    for _ in ahead:
                        part_done()
                    ahead = []
        return {"replicas": self._replicas, **self._series(), **self._totals(), "ends": self._ends()}

    def _replica(self, r: int) -> ReplicaState:
        return ReplicaState(*(array[r] for array in self._state))

    def _pilot_of(self, r: int) -> ReplicaState | None:
        return None if self._pilot is None else ReplicaState(*(array[r] for array in self._pilot))

    def _reach(self, stops: np.ndarray, stop: Callable[[], bool], pool: Executor, threads: int) -> None:
        """Advance all replicas through some times to the last of them."""
        end = float(stops[-1])
        few = len(self._replicas) < max(threads, 2) and self._state.x.shape[1] >= SHARED
        while True:
            if stop():
                raise Stopped
            behind = np.flatnonzero(self._state.reals[:, TIME] < end)
            if len(behind) == 0:
                return
            if few or self._run.team.size > 1 or self._watched:
                self._together(int(behind[0]), stops, stop, pool, threads)
            else:
                list(pool.map(lambda r: self._advance(int(r), stops), behind))
            self._heed(end)

    def _advance(self, r: int, stops: np.ndarray) -> None:
        """Advance one replica on one thread."""
        run, state, pilot = self._run, self._replica(r), self._pilot_of(r)
        way = (np.uint64(run.seed), int(self._replicas[r]), stops, run.step, BUDGET)
        if pilot is None:
            advance(run.physics, run.functions, state, *way)
        else:
            advance_halved(run.physics, run.functions, state, pilot, *way)

    def _together(self, r: int, stops: np.ndarray, stop: Callable[[], bool], pool: Executor, threads: int) -> None:
        """Advance one replica from Python, on the team's ranks, and if it is large on all their threads."""
        run, replica, state = self._run, int(self._replicas[r]), self._replica(r)
        parts = 4 * threads if threads > 1 and len(state.mass) >= SHARED else 1
        own = self._watched[r] if self._watched else None
        setup, pilot = (run.seed, replica, pool, parts, run.team), self._pilot_of(r)
        whole = Crew(run.physics, run.functions, state, *setup, own)
        crew: Crew | HalvedCrew = whole
        if pilot is not None:
            crew = HalvedCrew(whole, Crew(run.physics, run.functions, pilot, *setup))
        for end in stops:
            going = True
            while going:
                going = crew.step(float(end), run.step)
                if stop():
                    raise Stopped
            if self._state.numbers[r, STATUS] != GOING:
                return

    def _heed(self, end: float) -> None:
        """Give replicas more rows where they asked for them, and raise where they cannot go on."""
        state = self._state
        status, n, at = state.numbers[:, STATUS], self._run.start.count, state.reals[:, TIME].min()
        if np.any(status == TOO_LARGE):
            raise RunError(f"N = {n}, t = {at:.6g}: particles grew so large that their range reaches across the domain")
        if np.any(status == STUCK) or state.numbers[:, [STEP, NEXT]].max() >= LARGEST_NUMBER // 2:
            raise RunError(
                f"N = {n}, t = {at:.6g}: the steps became too short or too many on the way to t = {end:.6g}; "
                "particles are too crowded somewhere, or split too often"
            )
        if np.any(status == FULL):
            self._state = _with_twice_the_rows(state)
            self._pilot = None if self._pilot is None else _with_twice_the_rows(self._pilot)

    def _measure(self, t: float, output: bool, snapshot: Snapshot | None) -> None:
        run = self._run
        for r, balance in enumerate(self._balances):
            balance.measure(t, *self._all(r))
        if not output:
            return
        rows = [self._present(r, t) | self._own(r, t) for r in range(len(self._replicas))]
        self._rows.append({name: np.stack([row[name] for row in rows]) for name in rows[0]})
        if self._shown:
            x, mass = self._all(0)
            if snapshot is not None:
                snapshot(t, x, mass=mass)
        if not np.all(np.isfinite(self._rows[-1]["second_moment"])):
            raise RunError(f"a particle left for infinity before t = {t:.6g} (N = {run.start.count})")

    def _all(self, r: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions (n, d) and masses (n,) of all particles of a replica, from all ranks. Collective in the team."""
        one, team = self._replica(r), self._run.team
        n = one.numbers[COUNT]
        x = np.ascontiguousarray(one.x[:n, : self._run.domain.dimension])
        return team.joined(x if team.size > 1 else x.copy()), team.joined(one.mass[:n].copy())

    def _present(self, r: int, t: float) -> dict[str, np.ndarray]:
        """What one replica shows now; sums over particles have one number of each on every rank for a moment."""
        run, one, team = self._run, self._replica(r), self._run.team
        n = one.numbers[COUNT]
        x, mass = one.x[:n, : run.domain.dimension], one.mass[:n]
        weight, N = mass.astype(float), run.start.count
        kept = [mass == only if only else np.ones(n, dtype=bool) for only in run.functions.masses]
        T, flat = run.functions, run.physics.flat

        def total(values: np.ndarray) -> np.ndarray:  # in one order on any number of ranks
            return np.asarray(team.joined(values).sum())

        observed = [total(values_at(T, f, one.x[:n], flat)[which]) for f, which in enumerate(kept)]
        if self._watched:
            observed = self._watched[r].observed(*self._all(r), t).tolist()
        few = np.bincount(mass[mass <= run.shape[0]], minlength=run.shape[0] + 1)[1:]
        whole = np.array([n, mass.sum(), *few])
        team.add(whole)
        heaviest = np.array([-weight.max(initial=0.0)])
        team.lower(heaviest)
        found = {
            "survivors": whole[0],
            "mass": np.array(whole[1] / N),
            "largest_mass": np.array(-heaviest[0] / N),
            "mass_squares": run.share * total(weight**2),
            "second_moment": total(weight * (x**2).sum(axis=1)) / N,
            "centre": np.array([total(weight * along) for along in x.T]) / N,
            "counts_by_mass": whole[2:],
            "observables": run.share * np.array(observed, dtype=float),
        }
        values = self._balances[r].values()[:, 0] if self._balances else np.full(len(observed), np.nan)
        return found | {"residual": values}

    def _own(self, r: int, t: float) -> dict[str, np.ndarray]:
        """What the user's own functions say of the particles of one replica."""
        run = self._run
        if not run.observables:
            return {}
        x, mass = self._all(r)
        cloud = PointCloud(x, mass.astype(float), np.full(len(mass), run.share))
        return {"own_observables": observed_clouds(run.observables, [cloud], t)[0]}

    def _ends(self) -> np.ndarray:
        """Positions and masses of the replicas that are kept, (K, n, d + 1), zero where there are no more particles."""
        d, kept = self._run.domain.dimension, np.flatnonzero(self._replicas < self._run.kept)
        ends = [self._all(int(r)) for r in kept]
        found = np.zeros((len(kept), max((len(mass) for _, mass in ends), default=0), d + 1))
        for row, (x, mass) in zip(found, ends, strict=True):
            row[: len(mass), :d], row[: len(mass), d] = x, mass
        return found

    def _series(self) -> dict[str, np.ndarray]:
        """What depends on time, with time last."""
        return {name: np.stack([row[name] for row in self._rows], axis=-1) for name in self._rows[0]}

    def _totals(self) -> dict[str, np.ndarray]:
        """What holds for the whole time, (R, ...)."""
        state, share, observed = self._state, self._run.share, [row["observables"] for row in self._rows]
        sums = np.stack([own.sums for own in self._watched]) if self._watched else state.sums
        change = observed[-1] - observed[0]
        found: dict[str, Any] = {
            "time_integral": share * sums[:, INTEGRAL],
            "martingale": change - share * (sums[:, DIFFUSION] + sums[:, COMPENSATOR]),
            "martingale_variation": share**2 * sums[:, VARIATION],
            "martingale_jumps": np.stack([sums[:, JUMPS], share**2 * sums[:, JUMP_VARIATION]], axis=1),
            "pair_rates": share * state.pairs[:, 0],
            "kin_rates": share * state.pairs[:, 1],
            "pair_events": state.reacted.copy(),
            "events": state.numbers[:, EVENTS].copy(),
            "steps": state.numbers[:, STEP] * (2 if self._run.halved else 1),
            "work": state.numbers[:, WORK].copy(),
        }
        functions, few = change.shape[1], self._run.shape[1]
        empty = (np.zeros((len(self._replicas), functions, 0)), np.zeros((len(self._replicas), 0, few, few)))
        found["residual_by_delta"] = np.stack([b.values() for b in self._balances]) if self._balances else empty[0]
        found["pair_products"] = np.stack([b.products() for b in self._balances]) if self._balances else empty[1]
        return found


def _with_twice_the_rows(state: ReplicaState) -> ReplicaState:
    rows, grown = state.x.shape[1], []
    for name, array in zip(ReplicaState._fields, state, strict=True):
        axis = {"numbers": None, "reals": None, "sums": None, "pairs": None, "reacted": None, "phi": 2}.get(name, 1)
        grown.append(np.pad(array, [(0, rows if k == axis else 0) for k in range(array.ndim)]))
    return ReplicaState(*grown)
