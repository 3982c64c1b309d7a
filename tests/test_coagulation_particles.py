"""The coagulating particles: start, free motion, walls, reactions, splittings, the micro identity, reproducibility.

The load is carried by exact laws (free motion, means of splittings, the martingale (4.1) and its variance), by the limit
with its known shift at finite N, by steps of a quarter of the length giving the same answers, and by equality bit by bit
over ranks, threads and batches. One pair alone is tested in test_coagulation_pairs. Means are allowed SE standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dataclasses
import math

import numba
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.stats
from mpi4py import MPI

from limitpde.coagulation import batches, particles
from limitpde.coagulation.interaction import Ball, Bump, Ellipsoid
from limitpde.coagulation.model import Fragmentation, Initial, Model, Part, PowerLaw
from limitpde.coagulation.particles import Ensemble, simulate
from limitpde.coagulation.rates import beta
from limitpde.coagulation.start import InitialParticles
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import Gaussian, Uniform, UniformDisk
from limitpde.domains import Domain
from limitpde.errors import InputError, Interrupted, RunError
from limitpde.nbody.random import Stream, generator

SE = 4.5
BALL = Ball(alpha=20.0)
TORUS, SQUARE = Domain.torus(np.ones(3)), Domain.torus(np.ones(2))
ONES = Initial(masses=(Part(n=1, density=Uniform(mass=1.0)),))
ARRAYS = [field.name for field in dataclasses.fields(Ensemble) if field.name not in ("work_per_second", "method")]


def assert_same(a: Ensemble, b: Ensemble) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def close(values: np.ndarray, expected: float, systematic: float = 0.0) -> bool:
    """Whether a sample's mean is the expected one within SE standard errors and a systematic error."""
    return abs(values.mean() - expected) < SE * values.std(ddof=1) / math.sqrt(len(values)) + systematic


def wave(*k: float, **keys: object) -> Wave:
    return Wave(k=tuple(2 * math.pi * c for c in k), **keys)  # type: ignore[arg-type]


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
        x, mass = start.draw(generator(1, Stream.INITIAL))
        assert domain.contains(x).all()
        assert np.all(domain.wrap(x) == x)
        heavy = mass == 7
        assert abs(heavy.mean() - 0.3) < SE * math.sqrt(0.21 / 20_000)
        assert set(mass) == {1, 7}
        if domain.kind != "torus":  # the Gaussian, cut off at the wall, not wrapped around
            assert np.median(x[heavy, 0]) > 0.7
        y, other = start.draw(generator(1, Stream.INITIAL, 1))
        assert not np.array_equal(mass, other)
        assert not np.array_equal(x, y)


def test_start_refuses_what_does_not_fit():
    away = Initial(masses=(Part(n=1, density=Gaussian(mass=1.0, center=(9.0, 0.0), width=0.1)),))
    with pytest.raises(InputError, match=r"initial.masses\[0\].*lies in the box"):
        InitialParticles(away, 100, Domain.box(np.ones(2))).draw(generator(0, Stream.INITIAL))
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
MIXED = Initial(masses=(Part(n=1, density=Uniform(mass=0.6)), Part(n=3, density=Uniform(mass=0.4))))
SMALL = {
    "count": 150, "replicas": 5, "end": 0.02, "domain": TORUS, "seed": 5, "stops": [0.01], "deltas": [0.2, None],
    "test_functions": [wave(1, 0, 0), wave(0, 1, 0, n=2)],
}  # fmt: skip


@pytest.mark.parametrize("method", ["micro", "closed"])
def test_results_do_not_depend_on_ranks_threads_or_batches(comm, monkeypatch, method):
    options = SMALL | {"method": method}
    plain = simulate(FULL, MIXED, comm=comm, **options)
    assert plain.complete
    assert (plain.replicas.tolist(), plain.method) == (list(range(5)), method)
    assert plain.survivors.shape == (5, 3)
    assert plain.events.min() > 0
    assert_same(simulate(FULL, MIXED, comm=MPI.COMM_SELF, **options), plain)
    for name in ARRAYS:  # and every rank has it
        assert all(np.array_equal(other, getattr(plain, name)) for other in comm.allgather(getattr(plain, name)))
    before = numba.get_num_threads()
    most = int(numba.config.NUMBA_NUM_THREADS)

    def threads(wanted):
        return lambda comm: numba.set_num_threads(wanted) or wanted

    for wanted in {1, most}:
        monkeypatch.setattr(particles, "use_threads", threads(wanted))
        assert_same(simulate(FULL, MIXED, comm=comm, **options), plain)
    monkeypatch.setattr(particles, "BATCH_PARTICLES", 300)
    monkeypatch.setattr(batches, "BUDGET", 1000)
    assert_same(simulate(FULL, MIXED, comm=comm, **options), plain)
    numba.set_num_threads(before)


@pytest.mark.serial
def test_one_replica_on_all_threads(monkeypatch):
    """A crew of threads on one replica does what one thread does, with room for new particles running out as well."""
    options = SMALL | {"replicas": 1, "count": 400}
    plain = simulate(FULL, MIXED, comm=MPI.COMM_SELF, **options)
    before = numba.get_num_threads()
    monkeypatch.setattr(batches, "SHARED", 1)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 7)
    shared = simulate(FULL, MIXED, comm=MPI.COMM_SELF, **options)
    monkeypatch.undo()
    numba.set_num_threads(before)
    assert_same(shared, plain)


def test_seed_and_replicas_have_draws_of_their_own(comm):
    plain = simulate(FULL, MIXED, comm=comm, **SMALL)
    assert len(np.unique(plain.centre[:, -1, 0])) == 5
    more = simulate(FULL, MIXED, comm=comm, **(SMALL | {"replicas": 6}))
    np.testing.assert_array_equal(more.centre[:5], plain.centre)
    assert not np.isclose(simulate(FULL, MIXED, comm=comm, **(SMALL | {"seed": 6})).centre, plain.centre).any()


# Free motion and walls


def test_free_motion(comm):
    """alpha = 0: the centre of N particles of mass n in the whole space is normal with variance 2 d(n) t / N."""
    model = Model(diffusion=[1.0, 0.3], interaction=Ball(alpha=0.0), dimension=3, n_max=2)
    initial = Initial(masses=(Part(n=2, density=Gaussian(mass=1.0, center=(0.0, 0.0, 0.0), width=1e-9)),))
    e = simulate(
        model, initial, count=4, replicas=1000, end=1.0, stops=[0.4], domain=Domain.space(3), seed=2, comm=comm
    )
    assert e.events.max() == 0
    steps = np.diff(e.centre, axis=1) / 2 / np.sqrt(2 * 0.3 * np.array([0.4, 0.6]) / 4)[:, None]
    for sample in steps.reshape(1000, 6).T:
        assert scipy.stats.kstest(sample, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(steps.reshape(1000, 6).T) - np.eye(6)).max() < SE / math.sqrt(1000)
    assert close(e.second_moment[:, -1], 2 * 6 * 0.3)


@pytest.mark.parametrize("kind", ["box", "ball", "torus"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_particles_stay_in_the_domain_and_spread_evenly(comm, kind, dimension):
    """An even density stays even: moments after a while, and the first eigenfunction decays at its own rate."""
    center = np.full(dimension, 0.5)
    domain = {
        "box": Domain.box(np.full(dimension, 2.0), center - 1),
        "ball": Domain.ball(1.0, center),
        "torus": Domain.torus(np.full(dimension, 2.0), center - 1),
    }[kind]
    model = Model(diffusion=[1.0], interaction=Ball(alpha=0.0), dimension=dimension, n_max=1)
    seen = []
    e = simulate(
        model, ONES, count=3000, replicas=4, end=0.3, domain=domain, seed=3, comm=comm,
        snapshot=lambda t, x, mass: seen.append(x), test_functions=[Wave(k=(math.pi / 2,) + (0.0,) * (dimension - 1))],
    )  # fmt: skip
    if comm.rank == 0:
        assert all(domain.contains(x).all() for x in seen)
        np.testing.assert_allclose(domain.wrap(seen[-1]), seen[-1], atol=1e-15)
    square = {"box": dimension / 3, "torus": dimension / 3, "ball": dimension / (dimension + 2)}[kind]
    spread = e.second_moment[:, -1] - 2 * e.centre[:, -1] @ center + dimension / 4
    sigma = 0.35 / math.sqrt(12_000)
    assert abs(spread.mean() - square) < SE * sigma * math.sqrt(dimension)
    # all at one point: cos(pi (x - low) / 2), even about the walls, decays as exp(-pi^2 t / 4)
    if kind == "box":
        point = Initial(masses=(Part(n=1, density=Gaussian(mass=1.0, center=tuple(center - 0.7), width=1e-9)),))
        g = Wave(k=(math.pi / 2,) + (0.0,) * (dimension - 1), phase=math.pi / 4)
        e = simulate(
            model, point, count=3000, replicas=4, end=0.3, domain=domain, test_functions=[g], seed=4, comm=comm
        )
        expected = math.cos(math.pi / 2 * 0.3) * math.exp(-(math.pi**2) / 4 * 0.3)
        assert abs(e.observables[:, 0, -1].mean() - expected) < SE * 0.71 / math.sqrt(12_000)


@pytest.mark.parametrize("kind", ["torus", "box", "ball", "space"])
@pytest.mark.parametrize("method", ["micro", "closed"])
def test_length_of_the_step_does_not_matter(comm, kind, method):
    """Long steps and a quarter of them: the same survivors, also at walls and in a cloud with a dense core."""
    domain = {
        "torus": Domain.torus(np.ones(3)),
        "box": Domain.box(np.ones(3)),
        "ball": Domain.ball(0.6, np.zeros(3)),
        "space": Domain.space(3),
    }[kind]
    cloud = tuple(
        Part(n=1, density=Gaussian(mass=0.5, center=(c, 0.0, 0.0), width=w)) for c, w in ((-3.0, 0.15), (3.0, 0.6))
    )
    initial = Initial(masses=cloud) if kind == "space" else ONES
    model = Model(diffusion=[1.0], interaction=BALL, reaction="annihilation", n_max=1)
    options = {"count": 60, "replicas": 400, "end": 0.03, "domain": domain, "method": method, "comm": comm}
    long = simulate(model, initial, seed=1, **options)
    short = simulate(model, initial, seed=2, step=long.times[-1] / long.steps / 4, **options)
    assert short.steps > 3.9 * long.steps
    a, b = long.survivors[:, -1], short.survivors[:, -1]
    assert abs(a.mean() - b.mean()) < SE * math.sqrt((a.var() + b.var()) / 400)
    assert a.mean() < 50


# Reactions


def shifted(rate: float, D: float, t: float, count: int) -> float:
    """int_0^t beta (1 + a eps / sqrt(pi D s)) ds: the rate of Smoluchowski, while the depletion zones form."""
    return rate * (t + 2 * rate / (4 * math.pi * D * count) * math.sqrt(t / (math.pi * D)))


@pytest.mark.parametrize("method", ["micro", "closed"])
@pytest.mark.parametrize("shape", ["ball", "bump", "ellipsoid"])
def test_annihilation_rate_is_that_of_the_limit(comm, method, shape):
    interaction = {"ball": BALL, "bump": Bump(alpha=20.0), "ellipsoid": Ellipsoid(alpha=20.0, axes=(0.7, 0.7, 1.4))}[
        shape
    ]
    model = Model(diffusion=[1.0], interaction=interaction, reaction="annihilation", n_max=1)
    rate, N = beta(model)[0, 0], 500
    e = simulate(model, ONES, count=N, replicas=60, end=0.1, domain=TORUS, method=method, seed=1, comm=comm)
    h = e.survivors[:, -1] / N
    assert close(h, 1 / (1 + shifted(rate, 2.0, 0.1, N)), 0.002)
    assert not close(h, 1 / (1 + 20 * interaction.integral(3) * 0.1), 0.02)  # the naive rate
    assert not close(h, 1 / (1 + 2 * rate * 0.1), 0.05)  # the factors of (4.4)
    # the left side of Proposition 4.1 counts every reaction twice, in the mean
    assert close(e.pair_rates[:, 0, 0] - 2 * e.events / N, 0.0)
    np.testing.assert_array_equal(e.survivors[:, 0] - e.survivors[:, -1], 2 * e.events)


def smoluchowski(model: Model, end: float, first: np.ndarray) -> np.ndarray:
    """f_n at the end, homogeneous, by (1.3)-(1.4)."""
    rates, M = beta(model), model.n_max

    def change(t, f):
        flow = rates * np.outer(f, f)
        gain = np.array([0.5 * np.trace(flow[::-1], offset=k - M) for k in range(M)])
        return gain - flow.sum(axis=1)

    return scipy.integrate.solve_ivp(change, (0, end), first, rtol=1e-8, atol=1e-10).y[:, -1]


@pytest.mark.parametrize("method", ["micro", "closed"])
def test_coagulation_of_all_masses(comm, method):
    """d(n) = n^(-1/3), masses 1 at first: f_1, ..., f_5 are those of the limit; the mass is conserved exactly."""
    model = Model(diffusion=PowerLaw(power=-1 / 3), interaction=BALL, n_max=60)
    first, N, end = np.zeros(60), 800, 0.1
    first[0] = 1
    expected = smoluchowski(model, end, first)
    e = simulate(model, ONES, count=N, replicas=60, end=end, domain=TORUS, method=method, seed=2, comm=comm)
    np.testing.assert_array_equal(e.mass, 1.0)
    np.testing.assert_array_equal(e.survivors[:, 0] - e.survivors[:, -1], e.events)
    np.testing.assert_array_equal((e.counts_by_mass * np.arange(1, 61)).sum(axis=2), N)
    for n in range(5):
        assert close(e.counts_by_mass[:, -1, n] / N, expected[n], 0.0015)
    assert close(e.survivors[:, -1] / N, expected.sum(), 0.003)


def test_survivor_stays_and_is_chosen_by_mass(comm):
    """Masses 1 and 3 that react at once: the one of mass 4 sits where one of the two was, three times in four the heavy."""
    model = Model(diffusion=[1e-8], interaction=Ball(alpha=1e4, radius=1.9), n_max=4)
    parts = tuple(
        Part(n=n, density=Gaussian(mass=1.0, center=(c, 0.0, 0.0), width=1e-9)) for n, c in ((1, -0.5), (3, 0.5))
    )
    e = simulate(model, Initial(masses=parts), count=3, replicas=3000, end=1.0, domain=Domain.space(3), comm=comm)
    one = (e.mass[:, 0] * 3 == 5) & (e.survivors[:, -1] == 1)  # masses 1, 1, 3 at first
    place = e.centre[one, -1, 0] * 3 / 5
    assert one.sum() > 800
    assert np.isclose(abs(place), 0.5, atol=1e-2).all()
    right = place > 0
    assert abs(right.mean() - 0.6) < SE * math.sqrt(0.24 / one.sum())


@pytest.mark.parametrize("method", ["micro", "closed"])
def test_annihilation_in_the_plane(comm, method):
    """|log eps| = 20: the limit (2.4) is approached like 1 / |log eps|."""
    L, Z = 20.0, 6.0
    model = Model(diffusion=[1.0], dimension=2, interaction=Bump(alpha=20.0), reaction="annihilation", n_max=1)
    initial = Initial(masses=(Part(n=1, density=Uniform(mass=Z)),))
    rate = beta(model)[0, 0]
    e = simulate(
        model, initial, count=int(L * Z), replicas=200, end=0.04, domain=SQUARE, method=method, seed=1, comm=comm
    )
    fitted = ((Z / e.survivors[:, -1].mean() * L) - 1) / Z / 0.04
    assert rate == pytest.approx(7.7174, rel=1e-4)
    assert 0.97 * rate < fitted < 1.18 * rate
    assert close(e.pair_rates[:, 0, 0] * L * Z / Z - 2 * e.events, 0.0)


def test_methods_agree_in_the_plane(comm):
    model = Model(diffusion=[1.0, 0.5], dimension=2, interaction=BALL, n_max=4)
    initial = Initial(masses=(Part(n=1, density=Uniform(mass=3.0)),))
    a, b = (
        simulate(model, initial, count=100, replicas=100, end=0.05, domain=SQUARE, method=m, seed=k, comm=comm)
        for k, m in enumerate(("micro", "closed"))
    )
    a, b = a.survivors[:, -1], b.survivors[:, -1]
    assert abs(a.mean() - b.mean()) < SE * math.sqrt((a.var() + b.var()) / 100)


# Splittings


def test_splittings_alone(comm):
    """alpha = 0, masses 5 at first: the numbers of each mass solve linear equations, exactly in the mean."""
    model = Model(
        diffusion=[1.0], interaction=Ball(alpha=0.0), fragmentation=Fragmentation(rate=2.0, power=1.0), n_max=5
    )
    first = np.array([0, 0, 0, 0, 1.0])
    matrix = np.zeros((5, 5))
    for n in range(2, 6):
        rate = 2.0 * n
        matrix[n - 1, n - 1] -= rate
        matrix[: n - 1, n - 1] += 2 * rate / (n - 1)
    initial, N = Initial(masses=(Part(n=5, density=Uniform(mass=1.0)),)), 300
    e = simulate(model, initial, count=N, replicas=100, end=0.2, stops=[0.05], domain=TORUS, seed=1, comm=comm)
    for k, t in ((1, 0.05), (2, 0.2)):
        expected = scipy.linalg.expm(matrix * t) @ first
        for n in range(5):
            assert close(e.counts_by_mass[:, k, n] / N, expected[n], 1e-3)
    np.testing.assert_array_equal(e.mass, 5.0)
    np.testing.assert_array_equal(e.survivors[:, -1] - e.survivors[:, 0], e.events)


@pytest.mark.parametrize("method", ["micro", "closed"])
def test_parts_merge_again_at_once_as_often_as_the_limit_says(comm, method):
    """Dimers that split at a rate k: they come apart at the rate k beta / (alpha int V) only."""
    model = Model(diffusion=[1.0], interaction=BALL, fragmentation=Fragmentation(rate=30.0), n_max=2)
    initial, N = Initial(masses=(Part(n=2, density=Uniform(mass=0.02)),)), 100
    e = simulate(model, initial, count=N, replicas=200, end=0.02, domain=TORUS, method=method, seed=1, comm=comm)
    apart = 30.0 * beta(model)[0, 0] / (20 * BALL.integral(3))
    assert close(e.counts_by_mass[:, -1, 0] / 2 / N, 1 - math.exp(-apart * 0.02), 0.01)
    assert not close(e.counts_by_mass[:, -1, 0] / 2 / N, 1 - math.exp(-30.0 * 0.02), 0.1)


# The micro identity


@pytest.mark.parametrize("method", ["micro", "closed"])
@pytest.mark.parametrize("reaction", ["coagulation", "annihilation", "splitting"])
def test_micro_identity(comm, method, reaction):
    """M of (4.1) has mean zero, and the variance of its quadratic variation."""
    model = Model(
        diffusion=PowerLaw(power=-0.5),
        interaction=BALL,
        reaction="annihilation" if reaction == "annihilation" else "coagulation",
        fragmentation=Fragmentation(rate=10.0, power=0.5) if reaction == "splitting" else None,
        n_max=4,
    )
    functions = [wave(0, 0, 0), wave(1, 0, 0, phase=0.3), wave(0, 1, 0, n=1), wave(0, 0, 0, n=2), wave(1, 1, 0, n=4)]
    R = 300
    e = simulate(
        model, MIXED, count=200, replicas=R, end=0.04, domain=TORUS, method=method, test_functions=functions,
        seed=3, comm=comm,
    )  # fmt: skip
    for f in range(len(functions)):
        martingale, variation = e.martingale[:, f], e.martingale_variation[:, f]
        assert close(martingale, 0.0)
        assert close(martingale**2 - variation, 0.0, 0.03 * variation.mean())
        assert variation.min() > 0
    np.testing.assert_array_equal(e.compensator, 0.0)
    np.testing.assert_allclose(e.observables[:, 0], e.survivors / 200, rtol=1e-12)
    assert np.allclose(e.time_integral[:, 0], e.survivors.mean(axis=1) / 200 * 0.04, rtol=0.2)


# Errors of the user, requests to stop


def test_wrong_arguments(comm):
    model = Model(diffusion=[1.0], interaction=BALL, n_max=4)
    good = {"count": 100, "replicas": 2, "end": 0.01, "domain": TORUS, "comm": comm}
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


def test_requests_to_stop(comm):
    model = Model(diffusion=[1.0], interaction=BALL, n_max=4)
    good = {"count": 300, "replicas": 4 * comm.size, "end": 0.02, "domain": TORUS, "comm": comm}
    with pytest.raises(Interrupted, match="before any"):
        simulate(model, ONES, stop_asked=lambda: True, **good)
    done = []
    e = simulate(model, ONES, progress=done.append, **good)
    assert sum(done) == pytest.approx(1.0)
    assert e.complete
    particles_per_batch = particles.BATCH_PARTICLES
    particles.BATCH_PARTICLES = 300
    try:
        calls: list[int] = []
        simulate(model, ONES, stop_asked=lambda: bool(calls.append(0)), **good)
        asked, many = [], len(calls) // 2
        part = simulate(model, ONES, stop_asked=lambda: bool(asked.append(0)) or len(asked) > many, **good)
    finally:
        particles.BATCH_PARTICLES = particles_per_batch
    assert not part.complete
    np.testing.assert_array_equal(part.survivors, e.survivors[part.replicas])


def test_errors_of_one_rank_reach_all(comm):
    def fail(t, x, mass):
        raise OSError("disk full")

    model = Model(diffusion=[1.0], interaction=BALL, n_max=4)
    with pytest.raises(RunError, match="disk full"):
        simulate(model, ONES, count=100, replicas=2, end=0.01, domain=TORUS, comm=comm, snapshot=fail)
