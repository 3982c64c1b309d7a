"""Coagulating Brownian particles (Hammond section 1.3, for d = 2 section 2.5), simulated on their own time scale.

A particle of mass n moves as B(2 d(n) t); a pair at a relative position x reacts at the rate alpha(n, m) eps^-2
(r_n + r_m)^-2 V(x / ((r_n + r_m) eps)), d = 2: over |log eps|. The two merge, the survivor being i with the chance
m_i / (m_i + m_j) and staying where it is, or both vanish (section 3). Splittings are those of `model.Fragmentation`.

All particles take a step together, whose length is set by their density (`steps`); the free paths are exact, and the
chance that a pair reacts is that of its relative path given both ends (`bridge`, `capture`); reactions happen in the
order of time (`events`); steps in halves along the same paths are those of `halves`: all this is in
`limitpde.coagulation.simulator`. The sum of the masses is conserved exactly:
masses are integers. Replicas are spread over ranks and threads; where there are fewer of them, teams of ranks and all
their threads share each (`crew`), a rank holding its part of the particles (`rows`). What is drawn depends on (seed, N,
replica, particles, step) only, so results are bitwise the same for any number of ranks and threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from limitpde.coagulation.model import Initial, Model
from limitpde.coagulation.proof.candidate import FEW, MacroResidual, check_functions
from limitpde.coagulation.rates import propensity
from limitpde.coagulation.simulator.brownian_replicas import BrownianReplicas, BrownianSetup
from limitpde.coagulation.simulator.events import Functions
from limitpde.coagulation.simulator.physics import chosen_method, physics_of
from limitpde.coagulation.simulator.python_balance import PythonBalance
from limitpde.coagulation.simulator.start import InitialParticles
from limitpde.compare.cloud_functions import CloudFunction
from limitpde.compare.clouds import clouds_kept
from limitpde.compare.marked import time_dependent
from limitpde.compare.test_functions import FunctionTable, TestFunction
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.nbody.replicas import (
    ALONE,
    Controls,
    Measurements,
    ReplicaEnsemble,
    ensemble_seed,
    in_order_kept,
    simulate_replicas,
    team_for,
)
from limitpde.nbody.threads import use_threads
from limitpde.parallel import on_all

BATCH_PARTICLES = 32_768
"""Particles advanced together: enough for all threads, few enough that a stopped run loses seconds."""
MEASUREMENTS, FEWEST_MEASUREMENTS = 100, 4
"""Times at which candidate densities are measured: in all, and from one output time to the next."""
MOST_COUNTED = 64
LEAST_JUMPS, RARE_PART = 200, 0.05
"""Jumps of M in all replicas from which its mean is tested: of 200, 4.5 estimated standard errors are still 3.9 of the
Poisson law; fewer do where they make up no more than this part of [M]."""
LARGEST_COUNT = 2**30


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ensemble(ReplicaEnsemble):
    """Replicas of one particle number: what they were measured to do. The same on every rank.

    The residual is the macroscopic W at the smallest delta, NaN without deltas; positions are those in the domain.
    """

    Z: float
    """Total mass of the initial densities, sum_n int h_n."""
    log_eps: float
    """log eps, eps the scale of the range."""
    method: str
    """micro or closed."""
    halved: bool
    """Whether each step was made as two halves."""
    survivors: np.ndarray
    """(R, T) particles alive."""
    mass: np.ndarray
    """(R, T) of (1/N) sum m_i."""
    largest_mass: np.ndarray
    """(R, T) of (1/N) max m_i."""
    mass_squares: np.ndarray
    """(R, T) of (Z/N) sum m_i^2, which tends to sum_n n^2 int f_n."""
    counts_by_mass: np.ndarray
    """(R, T, K) particles of mass 1, ..., K = min(n_max, 64)."""
    time_integral: np.ndarray
    """(R, F) of int_0^T of the observables dt, which are int phi dmu_N = (Z/N) sum_i phi(x_i, m_i)."""
    residual_by_delta: np.ndarray
    """(R, F, D) of the residual at the end, for all deltas."""
    martingale: np.ndarray
    """(R, F) of M_T of (4.1), see `events`; its mean is zero."""
    martingale_variation: np.ndarray
    """(R, F) of [M]_T; its mean is the variance of M_T."""
    martingale_jumps: np.ndarray
    """(R, 2, F): reactions and splittings that change sum phi, and their part of [M]_T."""
    pair_rates: np.ndarray
    """(R, L, L) left side of Proposition 4.1 with J = 1, masses n, m = 1, ..., L = min(n_max, 8): (Z/N) int_0^T of the
    sum over ordered pairs of alpha V_eps 1{m_i = n, m_j = m} dt, kin left out."""
    kin_rates: np.ndarray
    """(R, L, L) the same of kin: a pair of which one was split off the other and has not changed since. Close to each
    other from the start, kin react at once or hardly at all, and are no part of f_n f_m."""
    pair_events: np.ndarray
    """(R, L, L) reactions of pairs of masses n, m, kin left out."""
    ends: np.ndarray
    """(K, n, d + 1) positions and masses of the first K replicas at the end, rows of mass 0 where there are fewer."""
    pair_products: np.ndarray
    """(R, D, L, L) of int_0^T int f_n^{eps,delta} f_m^{eps,delta} dx dt without the pairs i = i."""
    events: np.ndarray
    """(R,) reactions and splittings."""

    @property
    def in_theory(self) -> bool:
        """True: the particles are always those of the theorem."""
        return True

    @property
    def noise(self) -> np.ndarray:
        """(R, F) of M_T; NaN where its mean rests on fewer jumps than `LEAST_JUMPS`, but for runs in halves."""
        if self.halved:  # they are held against the same replicas in whole steps, not against zero
            return self.martingale
        jumps, part = self.martingale_jumps.sum(axis=0)
        few = (jumps < LEAST_JUMPS) & (part > RARE_PART * self.martingale_variation.sum(axis=0))
        idle = self.pair_rates.sum() + self.kin_rates.sum() + jumps == 0
        return np.where(few & ~idle, np.nan, self.martingale)

    @property
    def quadratic_variation(self) -> None:
        """None: the theory bounds the variance of M_T, not that of the macroscopic W."""
        return


def simulate(
    model: Model,
    initial: Initial,
    *,
    count: int,
    replicas: int,
    end: float,
    domain: Domain,
    step: float | None = None,
    method: str = "auto",
    seed: int = 0,
    stops: Iterable[float] = (),
    test_functions: Sequence[TestFunction] = (),
    observables: Sequence[CloudFunction] = (),
    deltas: Sequence[float | None] = (),
    controls: Controls = ALONE,
) -> Ensemble:
    """Simulate replicas of N particles and measure them. Collective.

    Args:
        model: the parameters.
        initial: the densities from which masses and positions are drawn.

    Keyword Args:
        count: N.
        replicas: number of independent copies.
        end: final time.
        domain: where the particles live.
        step: largest time step; steps are set by the density and need no bound.
        method: how pairs are told to react: "micro" by their paths and V alone; "closed" by the scattering length where
            a pair is far apart, which is faster; "auto": micro where that takes seconds per replica.
        seed: all randomness follows from it and N.
        stops: output times between 0 and the end.
        test_functions: phi(x, m, t) whose observables and balances are measured; on a torus Gaussians with their
            images. With one by Python, steps are made from Python and replicas one after another on each rank.
        observables: numbers that functions of the user's own make of the particles.
        deltas: reaches of the mollifier of the candidate densities (4.2), None for a constant one; none, no macroscopic
            residual.
        controls: how it is watched and where it runs; snapshots have (t, positions (n, d), mass=(n,)).

    Raises:
        InputError: an argument is out of range.
        RunError: particles became too crowded, too large or too many.
        Interrupted: asked to stop before any replica was finished.
    """
    threads = use_threads(controls.comm)
    _check_arguments(count, replicas, end, step)
    Z = initial.Z
    start = InitialParticles(initial, count, domain)
    method = chosen_method(method, model, count, Z)
    heaviest = count * max(part.n for part in initial.masses)
    physics = on_all(controls.comm, lambda: physics_of(model, count, Z, domain, method=method, heaviest=heaviest))
    model.check_reach(count, np.array([part.n for part in initial.masses]), Z, domain)
    if domain.dimension != model.dimension:
        raise InputError(f"the domain has dimension {domain.dimension}, the model {model.dimension}")
    fit = check_functions(test_functions, domain)
    by_python = time_dependent(fit)
    table = FunctionTable.of([] if by_python else fit, model.dimension)
    residual = None
    if deltas:
        residual = MacroResidual(model, count, Z, domain, test_functions, deltas, propensity(model))
    with team_for(controls, count=count, replicas=replicas) as team:
        run = BrownianSetup(
            physics=physics,
            functions=Functions(table.kinds, table.masses, table.parameters),
            start=start,
            share=Z / count,
            seed=ensemble_seed(seed, count),
            step=math.inf if step is None else step,
            grid=_time_grid(end, stops),
            shape=(min(model.n_max, MOST_COUNTED), min(model.n_max, FEW)),
            residual=residual,
            domain=domain,
            kept=clouds_kept((domain.dimension + 1) * count),
            observables=tuple(observables),
            halved=controls.halved,
            team=team,
            balance=partial(PythonBalance, model, fit) if by_python else None,
        )
        simulated = simulate_replicas(
            partial(BrownianReplicas, run),
            controls,
            team=team,
            count=count,
            replicas=replicas,
            together=max(threads if team.size == 1 else 1, BATCH_PARTICLES // count),
            steps=len(run.grid),
            work=lambda part: float(part["work"].sum()),
        )
    found: dict[str, Any] = in_order_kept(_widened(simulated.parts), run.kept, "ends")
    del found["work"]
    found["compensator"] = np.zeros_like(found["martingale"])
    found["counts_by_mass"] = np.moveaxis(found["counts_by_mass"], -1, 1)
    steps, times = float(found.pop("steps").mean()), (t for t, output in run.grid if output)
    return Ensemble(
        **simulated.common(found, count=count, steps=steps, times=times),
        Z=Z,
        log_eps=run.physics.log_eps,
        method=method,
        halved=controls.halved,
        **found,
    )


def _widened(parts: Sequence[Measurements]) -> list[Measurements]:
    """The same with as many rows for the particles at the end in all parts."""
    rows = max(part["ends"].shape[1] for part in parts)
    return [
        part | {"ends": np.pad(part["ends"], [(0, 0), (0, rows - part["ends"].shape[1]), (0, 0)])} for part in parts
    ]


def _check_arguments(count: int, replicas: int, end: float, step: float | None) -> None:
    for name, value in (("counts", count), ("replicas", replicas)):
        if value < 1:
            raise InputError(f"particles.{name} = {value}: must be at least 1")
    if count > LARGEST_COUNT:
        raise InputError(f"particles.counts = {count}: must be at most {LARGEST_COUNT}")
    for name, number in (("particles.step", 1.0 if step is None else step), ("time.end", end)):
        if not (number > 0 and math.isfinite(number)):
            raise InputError(f"{name} = {number}: must be greater than 0")


def _time_grid(end: float, stops: Iterable[float]) -> list[tuple[float, bool]]:
    """Times after 0 at which is measured, about MEASUREMENTS in all, and whether each is an output time."""
    times = sorted({*(t for t in stops if 0 < t < end * (1 - 1e-12)), end})
    grid: list[tuple[float, bool]] = []
    for a, b in zip([0.0, *times], times, strict=False):
        parts = max(FEWEST_MEASUREMENTS, round(MEASUREMENTS * (b - a) / end))
        grid += [(a + (b - a) * k / parts, False) for k in range(1, parts)] + [(b, True)]
    return grid
