"""The simulator of coagulating particles: start, reproducibility, errors of the user, requests to stop.

The load is carried by equality bit by bit over ranks, threads and batches.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dataclasses
import math

import numba
import numpy as np
import pytest
from mpi4py import MPI
from particle_cases import ARRAYS, BALL, MIXED, ONES, SE, SQUARE, TORUS, assert_same, wave

from limitpde.coagulation import particles
from limitpde.coagulation.model import Fragmentation, Initial, Model, Part, PowerLaw
from limitpde.coagulation.particles import simulate
from limitpde.coagulation.simulator import brownian_replicas
from limitpde.coagulation.simulator.start import InitialParticles
from limitpde.compare.test_functions import GaussianBump
from limitpde.densities import Gaussian, Uniform, UniformDisk
from limitpde.domains import Domain
from limitpde.errors import InputError, Interrupted, RunError
from limitpde.nbody.random import Stream, generator
from limitpde.nbody.replicas import Controls

# Start


def test_masses_and_positions_are_drawn_independently():
    initial = Initial(
        masses=(
            Part(n=1, density=Uniform(mass=0.5)),
            Part(n=7, density=Gaussian(mass=0.3, center=(0.9, 0.5), width=0.2)),
            Part(n=1, density=UniformDisk(mass=0.2, center=(0.0, 0.0), radius=0.5)),
        )
    )
    for domain in (SQUARE, Domain.box(np.ones(2)), Domain.ball(0.8, np.array([0.5, 0.5]))):
        start = InitialParticles(initial, 20_000, domain)
        x, mass = start.draw(generator(1, Stream.INITIAL), slice(0, 20_000))
        assert domain.contains(x).all()
        assert np.all(domain.wrap(x) == x)
        heavy = mass == 7
        assert abs(heavy.mean() - 0.3) < SE * math.sqrt(0.21 / 20_000)
        assert set(mass) == {1, 7}
        if domain.kind != "torus":  # the Gaussian, cut off at the wall, not wrapped around
            assert np.median(x[heavy, 0]) > 0.7
        y, other = start.draw(generator(1, Stream.INITIAL, 1), slice(0, 20_000))
        assert not np.array_equal(mass, other)
        assert not np.array_equal(x, y)


def test_start_refuses_what_does_not_fit():
    away = Initial(masses=(Part(n=1, density=Gaussian(mass=1.0, center=(9.0, 0.0), width=0.1)),))
    with pytest.raises(InputError, match=r"initial.masses\[0\].*lies in the box"):
        InitialParticles(away, 100, Domain.box(np.ones(2))).draw(generator(0, Stream.INITIAL), slice(0, 100))
    with pytest.raises(InputError, match="uniform"):
        InitialParticles(ONES, 100, Domain.space(2))
    with pytest.raises(InputError, match="2\\^62"):
        InitialParticles(Initial(masses=(Part(n=2**31 - 1, density=Uniform(mass=1.0)),)), 2**40, SQUARE)


# Reproducible


FULL = Model(
    diffusion=PowerLaw(power=-1 / 3),
    interaction=BALL,
    ranges=PowerLaw(power=1 / 3, scale=0.5),
    fragmentation=Fragmentation(rate=5.0, power=0.5),
    n_max=4,
)
SMALL = {
    "count": 150, "replicas": 5, "end": 0.02, "domain": TORUS, "seed": 5, "stops": [0.01], "deltas": [0.2, None],
    "test_functions": [wave(1, 0, 0), wave(0, 1, 0, n=2)],
}  # fmt: skip


@pytest.mark.ranks
@pytest.mark.parametrize("method", ["micro", "closed"])
def test_results_do_not_depend_on_ranks_threads_or_batches(comm, monkeypatch, method):
    options = SMALL | {"method": method}
    plain = simulate(FULL, MIXED, **options)
    assert plain.complete
    assert (plain.replicas.tolist(), plain.method) == (list(range(5)), method)
    assert plain.survivors.shape == (5, 3)
    assert plain.events.min() > 0
    assert_same(simulate(FULL, MIXED, controls=Controls(comm=MPI.COMM_SELF), **options), plain)
    for name in ARRAYS:  # and every rank has it
        assert all(np.array_equal(other, getattr(plain, name)) for other in comm.allgather(getattr(plain, name)))
    before = numba.get_num_threads()
    most = int(numba.config.NUMBA_NUM_THREADS)

    def threads(wanted):
        return lambda comm: numba.set_num_threads(wanted) or wanted

    for wanted in {1, most}:
        monkeypatch.setattr(particles, "use_threads", threads(wanted))
        assert_same(simulate(FULL, MIXED, **options), plain)
    monkeypatch.setattr(particles, "BATCH_PARTICLES", 300)
    monkeypatch.setattr(brownian_replicas, "BUDGET", 1000)
    assert_same(simulate(FULL, MIXED, **options), plain)
    numba.set_num_threads(before)


TEAMS = [
    (3, SMALL | {"count": 3200, "replicas": 1, "end": 0.0004, "stops": [0.0002]}),
    (3, SMALL | {"count": 200, "replicas": 2, "end": 0.005, "stops": [0.003], "domain": Domain.box(np.ones(3))}),
    (2, {"count": 60, "replicas": 1, "end": 0.01, "domain": Domain.ball(0.5, np.full(2, 0.5)), "stops": [0.005]}),
]


@pytest.mark.ranks
@pytest.mark.parametrize(("dimension", "options"), TEAMS)
@pytest.mark.parametrize("halved", [False, True])
def test_results_do_not_depend_on_the_team(comm, monkeypatch, dimension, options, halved):
    """Nor on the threads of its ranks; in halves rows run out."""
    model = FULL if dimension == 3 else dataclasses.replace(FULL, dimension=2)
    monkeypatch.setattr(particles, "MEASUREMENTS", 8)  # and with them steps
    alone = simulate(model, MIXED, controls=Controls(comm=MPI.COMM_SELF, halved=halved), **options)
    assert alone.events.sum() > 2
    for ranks in {1, comm.size} if halved else range(1, comm.size + 1):
        controls = Controls(comm=comm, ranks_per_replica=ranks, halved=halved)
        assert_same(simulate(model, MIXED, controls=controls, **options), alone)
    monkeypatch.setattr(brownian_replicas, "SHARED", 1)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 3)
    controls = Controls(comm=comm, ranks_per_replica=comm.size, halved=halved)
    assert_same(simulate(model, MIXED, controls=controls, **options), alone)


@pytest.mark.ranks
def test_a_team_stops_together_and_others_go_on(comm, monkeypatch):
    monkeypatch.setattr(particles, "BATCH_PARTICLES", 1)
    monkeypatch.setattr(particles, "MEASUREMENTS", 8)
    options, kept = SMALL | {"replicas": 3, "end": 0.01, "stops": [0.005]}, []

    def asked() -> bool:  # of the last rank, and of it alone
        return comm.rank == comm.size - 1 and stopping

    def keep(part):
        kept.append(part)

    stopping, whole = False, simulate(FULL, MIXED, **options)
    controls = Controls(ranks_per_replica=comm.size, keep=keep, stop_asked=asked)
    assert_same(simulate(FULL, MIXED, controls=controls, **options), whole)
    parts = [part for some in comm.allgather(kept) for part in some]
    assert sorted(n for part in parts for n in part["replicas"]) == [0, 1, 2]
    for ranks in (1, None):  # goes on
        controls = Controls(ranks_per_replica=ranks, finished=parts[:1])
        assert_same(simulate(FULL, MIXED, controls=controls, **options), whole)
    stopping = True
    with pytest.raises(Interrupted, match="before any of the 3 replicas"):
        simulate(FULL, MIXED, controls=Controls(ranks_per_replica=comm.size, stop_asked=asked), **options)


def test_seed_and_replicas_have_draws_of_their_own(comm):
    plain = simulate(FULL, MIXED, **SMALL)
    assert len(np.unique(plain.centre[:, -1, 0])) == 5
    more = simulate(FULL, MIXED, **(SMALL | {"replicas": 6}))
    np.testing.assert_array_equal(more.centre[:5], plain.centre)
    assert not np.isclose(simulate(FULL, MIXED, **(SMALL | {"seed": 6})).centre, plain.centre).any()


# Errors of the user, requests to stop


@pytest.mark.ranks
def test_wrong_arguments(comm):
    model = Model(diffusion=[1.0], interaction=BALL, n_max=4)
    good = {"count": 100, "replicas": 2, "end": 0.01, "domain": TORUS}
    for bad, match in (
        ({"count": 0}, "counts = 0"),
        ({"replicas": 0}, "replicas = 0"),
        ({"end": math.inf}, "end = inf"),
        ({"step": 0.0}, "step = 0"),
        ({"method": "exact"}, "method = 'exact'"),
        ({"count": 1}, "must exceed Z"),
        ({"count": 4}, "act at distances"),
        ({"domain": SQUARE}, "dimension"),
        ({"deltas": [-1.0]}, r"deltas\[0\]"),
        ({"test_functions": [GaussianBump(center=(0, 0), width=1.0)]}, r"test_functions\[0\]"),
        ({"test_functions": [wave(1, 0, 0, charge=True)]}, "charge"),
    ):
        with pytest.raises(InputError, match=match):
            simulate(model, ONES, **(good | bad))
    with pytest.raises(InputError, match="interaction"):
        simulate(Model(diffusion=[1.0], beta={"kernel": "constant"}), ONES, **good)


@pytest.mark.ranks
def test_requests_to_stop(comm):
    model = Model(diffusion=[1.0], interaction=BALL, n_max=4)
    good = {"count": 300, "replicas": 4 * comm.size, "end": 0.02, "domain": TORUS}
    with pytest.raises(Interrupted, match="before any"):
        simulate(model, ONES, controls=Controls(stop_asked=lambda: True), **good)
    done = []
    e = simulate(model, ONES, controls=Controls(progress=done.append), **good)
    assert sum(done) == pytest.approx(1.0)
    assert e.complete
    particles_per_batch = particles.BATCH_PARTICLES
    particles.BATCH_PARTICLES = 300
    try:
        calls: list[int] = []
        simulate(model, ONES, controls=Controls(stop_asked=lambda: bool(calls.append(0))), **good)
        asked, many = [], len(calls) // 2
        part = simulate(
            model, ONES, controls=Controls(stop_asked=lambda: bool(asked.append(0)) or len(asked) > many), **good
        )
    finally:
        particles.BATCH_PARTICLES = particles_per_batch
    assert not part.complete
    np.testing.assert_array_equal(part.survivors, e.survivors[part.replicas])


@pytest.mark.ranks
def test_errors_of_one_rank_reach_all(comm):
    def fail(t, x, mass):
        raise OSError("disk full")

    model = Model(diffusion=[1.0], interaction=BALL, n_max=4)
    with pytest.raises(RunError, match="disk full"):
        simulate(
            model, ONES, count=100, replicas=2, end=0.01, domain=TORUS, controls=Controls(comm=comm, snapshot=fail)
        )
