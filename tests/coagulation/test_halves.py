"""Steps made as two halves along the same Brownian paths (`Controls.halved`).

The load is carried by free particles, which must end where they do in whole steps, bit by bit, and whose time integrals
must differ by what the trapezoidal rule makes of the step; and by pairs of runs of reacting particles, which differ by
far less than two independent ones while each keeps its own martingale.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dataclasses
import math

import numpy as np
import pytest
from mpi4py import MPI
from particle_cases import BALL, MIXED, ONES, SE, SQUARE, TORUS, wave

from limitpde.coagulation import particles
from limitpde.coagulation.model import Fragmentation, Initial, Model, Part, PowerLaw
from limitpde.coagulation.particles import Ensemble, simulate
from limitpde.coagulation.simulator import brownian_replicas
from limitpde.coagulation.simulator.events import ReplicaState
from limitpde.coagulation.simulator.halves import middles
from limitpde.coagulation.simulator.physics import physics_of
from limitpde.densities import Uniform
from limitpde.domains import Domain
from limitpde.nbody.replicas import Controls

HALVED = Controls(halved=True)
FREE = Model(diffusion=[1.0, 0.3], interaction={"shape": "ball", "alpha": 0.0}, n_max=4)
BOX = Domain.box(np.ones(3))


def both(model, initial, **options) -> tuple[Ensemble, Ensemble]:
    return simulate(model, initial, **options), simulate(model, initial, controls=HALVED, **options)


@pytest.mark.parametrize("domain", [TORUS, BOX, Domain.ball(0.5, np.full(3, 0.5))])
def test_increments_of_halves_add_to_that_of_the_whole(domain):
    options = {"count": 50, "replicas": 3, "end": 0.05, "domain": domain, "stops": [0.02], "seed": 3}
    whole, halved = both(FREE, MIXED, test_functions=[wave(1, 0, 2)], **options)
    np.testing.assert_array_equal(halved.steps, 2 * whole.steps)
    for name in ("centre", "second_moment", "observables"):
        np.testing.assert_array_equal(getattr(halved, name), getattr(whole, name))
    assert not np.isclose(halved.time_integral, whole.time_integral, rtol=1e-9).any()  # the middles are seen


def test_the_difference_of_the_means_is_the_error_of_the_step():
    """int cos(k x) dt of free particles that start even: 0, but of each it is a trapezoidal sum along its path.

    E (sum)^2 tells the step: with q = exp(-d k^2 h), a sum of step h over [0, T] has the variance (1/2) h^2 times a
    double sum of q^|i-j|.
    """

    def expected(steps: int) -> float:
        weight = np.full(steps + 1, end / steps)
        weight[[0, -1]] /= 2
        place = np.arange(steps + 1)
        return float(weight @ math.exp(-(k**2) * end / steps) ** np.abs(place[:, None] - place) @ weight / 2)

    k, end, count = 16 * math.pi, 0.1, 5
    options = {"count": count, "replicas": 1500, "end": end, "domain": SQUARE, "seed": 1}
    model = Model(dimension=2, diffusion=[1.0], interaction={"shape": "ball", "alpha": 0.0}, n_max=4)
    whole, halved = both(model, ONES, test_functions=[wave(8, 0)], **options)
    assert (whole.steps, halved.steps) == (100, 200)
    first, second = (count * run.time_integral[:, 0] ** 2 for run in (whole, halved))
    error = (second - first).std(ddof=1) / math.sqrt(len(first))
    step_error = expected(200) - expected(100)
    assert abs(step_error) > 10 * error
    assert (second - first).mean() == pytest.approx(step_error, abs=SE * error)
    assert error < 0.7 * first.std() * math.sqrt(2 / len(first))  # what independent runs would have


def blank_state(x: np.ndarray, mass: np.ndarray) -> ReplicaState:
    """Particles of these positions (n, 3) and masses (n,), of which nothing was measured."""
    n = len(x)
    reals, none = np.zeros(3), np.zeros((3, n, 0))
    numbers = np.array([n, 0, n, 0, 0, 0])
    sums, pairs, reacted = np.zeros((6, 0)), np.zeros((2, 4, 4)), np.zeros((4, 4))
    alone, still, clock = np.full(n, -1), np.zeros((n, 3)), np.zeros(n)
    return ReplicaState(
        x, mass, np.arange(n), alone, alone.copy(), still, clock, none, numbers, reals, sums, pairs, reacted
    )


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_middles_of_a_pair_given_when_it_meets(share):
    """A bridge through 0 at the time of the meeting; the weighted mean of both is as free as without it."""
    physics = physics_of(FREE, 100, 1.0, Domain.space(3), method="micro", heaviest=100)
    n, dt, d = 40_000, 0.01, np.array([1.0, 0.3])
    x, by = np.zeros((n, 3)), np.zeros((3, n))
    x[1::2, 0], by[1, 1::2] = 0.1, 0.2  # from (0.1, 0, 0) to (0.1, 0.2, 0) of each other
    pairs = blank_state(x, np.tile([1, 2], n // 2))
    records = np.zeros((n // 2, 5))
    records[:, 0], records[:, 1:3] = share, 1.0
    records[:, 3], records[:, 4] = np.arange(0, n, 2), np.arange(1, n, 2)
    found = middles(physics, pairs, by, records, np.uint64(1), 0, dt)
    first, second = found[:, ::2], found[:, 1::2]
    r = x[1] - x[0]
    difference, mean = r[:, None] + second - first, (d[1] * first + d[0] * second) / d.sum()
    ends = r + by[:, 1] if share < 0.5 else r
    part = (0.5 - share) / (1 - share) if share < 0.5 else (share - 0.5) / share
    variance = 2 * d.sum() * dt * part / 2  # of the bridge from the meeting to the other end
    bound = SE * math.sqrt(1 / (n // 2))
    np.testing.assert_allclose(difference.mean(axis=1), part * ends, atol=bound * math.sqrt(variance))
    np.testing.assert_allclose(difference.var(axis=1), variance, rtol=2 * bound)
    np.testing.assert_allclose(mean.var(axis=1), d.prod() / d.sum() * dt / 2, rtol=2 * bound)
    assert np.abs(np.mean(difference * (mean - mean.mean(axis=1)[:, None]), axis=1)).max() < bound * dt
    free = middles(physics, pairs, by, records[:0], np.uint64(1), 0, dt)
    np.testing.assert_allclose((d[1] * free[:, ::2] + d[0] * free[:, 1::2]) / d.sum(), mean, atol=1e-14)
    np.testing.assert_allclose(free[:, ::2].var(axis=1), d[0] * dt / 2, rtol=2 * bound)


MERGING = Model(diffusion=PowerLaw(power=-1 / 3, scale=0.5), interaction=BALL, n_max=16)
FULL = Model(
    diffusion=PowerLaw(power=-1 / 3),
    interaction=BALL,
    ranges=PowerLaw(power=1 / 3, scale=0.5),
    fragmentation=Fragmentation(rate=20.0, power=0.5),
    n_max=8,
)


@pytest.mark.parametrize(
    ("model", "domain", "end", "closeness"),
    [
        (MERGING, TORUS, 0.1, 0.5),
        (MERGING, BOX, 0.1, 0.5),
        (FULL, TORUS, 0.02, 0.7),
        (dataclasses.replace(MERGING, dimension=2, reaction="annihilation"), SQUARE, 0.4, 0.5),
    ],
)
def test_runs_of_reacting_particles_stay_together(model, domain, end, closeness):
    """Halved runs obey their own laws, and differ from those in whole steps far less than independent runs do."""
    flat = model.dimension == 2
    functions = [wave(*(0,) * model.dimension), wave(*(1,) + (0,) * (model.dimension - 1), n=1)]
    count, replicas = (9, 400) if flat else (100, 60)
    options = {"count": count, "replicas": replicas, "end": end, "domain": domain, "seed": 4}
    whole, halved = both(model, MIXED if not flat else ONES, test_functions=functions, **options)
    if model.reaction == "coagulation":
        np.testing.assert_array_equal(halved.mass, np.repeat(halved.mass[:, :1], halved.mass.shape[1], axis=1))
    assert halved.events.mean() > 3
    for run in (whole, halved):
        m, variation = run.martingale, run.martingale_variation
        error = math.sqrt(1 / replicas)
        assert (np.abs(m.mean(axis=0)) < SE * m.std(axis=0) * error).all()
        excess = m**2 - variation
        assert (np.abs(excess.mean(axis=0)) < SE * excess.std(axis=0) * error).all()
    for first, second in (
        (whole.martingale, halved.martingale),
        (whole.observables[:, :, -1], halved.observables[:, :, -1]),
    ):
        paired, independent = (second - first).std(axis=0), math.sqrt(2) * first.std(axis=0)
        assert (paired < closeness * independent).all()
        assert (np.abs((second - first).mean(axis=0)) <= SE * paired / math.sqrt(replicas)).all()


@pytest.mark.ranks
def test_halved_runs_do_not_depend_on_ranks_or_on_how_much_is_done_at_once(comm, monkeypatch):
    options = {"count": 100, "replicas": 4, "end": 0.01, "domain": TORUS, "seed": 5, "deltas": [0.2]}
    options |= {"test_functions": [wave(1, 0, 0)]}
    plain = simulate(FULL, MIXED, controls=Controls(comm=comm, halved=True), **options)
    monkeypatch.setattr(particles, "BATCH_PARTICLES", 100)
    monkeypatch.setattr(brownian_replicas, "BUDGET", 300)
    alone = simulate(FULL, MIXED, controls=Controls(comm=MPI.COMM_SELF, halved=True), **options)
    for field in dataclasses.fields(Ensemble):
        if field.name not in ("work_per_second", "method"):
            np.testing.assert_array_equal(getattr(alone, field.name), getattr(plain, field.name), err_msg=field.name)


def test_particles_that_split_find_room():
    """From 10 particles to hundreds: rows are added on the way, and no mass is lost."""
    model = Model(diffusion=[1.0], interaction={"shape": "ball", "alpha": 0.0}, fragmentation=Fragmentation(rate=50.0))
    heavy = Initial(masses=(Part(n=64, density=Uniform(mass=1.0)),))
    options = {"count": 10, "replicas": 4, "end": 0.6, "domain": TORUS}
    whole, halved = both(model, heavy, **options)
    assert halved.survivors[:, -1].min() > 500
    np.testing.assert_array_equal(halved.mass, 64.0)
    np.testing.assert_array_equal(halved.survivors[:, 0], whole.survivors[:, 0])
