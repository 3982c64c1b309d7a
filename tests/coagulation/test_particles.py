"""The coagulating particles: free motion, walls, reactions, splittings, the micro identity.

The load is carried by exact laws (free motion, means of splittings, the martingale (4.1) and its variance), by the
limit with its known shift at finite N, and by steps of a quarter of the length giving the same answers. One pair alone
is tested in test_coagulation_pairs. Means are allowed SE standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.stats
from particle_cases import BALL, MIXED, ONES, SE, SQUARE, TORUS, close, wave

from limitpde.coagulation.interaction import Bump, DoiBall, Ellipsoid
from limitpde.coagulation.model import Fragmentation, Initial, Model, Part, PowerLaw
from limitpde.coagulation.particles import simulate
from limitpde.coagulation.rates import beta
from limitpde.compare.test_functions import Wave
from limitpde.densities import Gaussian, Uniform
from limitpde.domains import Domain
from limitpde.nbody.replicas import Controls

# Free motion and walls


def test_free_motion(comm):
    """alpha = 0: the centre of N particles of mass n in the whole space is normal with variance 2 d(n) t / N."""
    model = Model(diffusion=[1.0, 0.3], interaction=DoiBall(alpha=0.0), dimension=3, n_max=2)
    initial = Initial(masses=(Part(n=2, density=Gaussian(mass=1.0, center=(0.0, 0.0, 0.0), width=1e-9)),))
    e = simulate(model, initial, count=4, replicas=1000, end=1.0, stops=[0.4], domain=Domain.space(3), seed=2)
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
    model = Model(diffusion=[1.0], interaction=DoiBall(alpha=0.0), dimension=dimension, n_max=1)
    seen, k = [], math.pi if kind == "torus" else math.pi / 2
    e = simulate(
        model, ONES, count=3000, replicas=4, end=0.3, domain=domain, seed=3,
        controls=Controls(snapshot=lambda t, x, mass: seen.append(x)),
        test_functions=[Wave(k=(k,) + (0.0,) * (dimension - 1))],
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
        e = simulate(model, point, count=3000, replicas=4, end=0.3, domain=domain, test_functions=[g], seed=4)
        expected = math.cos(math.pi / 2 * 0.3) * math.exp(-(math.pi**2) / 4 * 0.3)
        assert abs(e.observables[:, 0, -1].mean() - expected) < SE * 0.71 / math.sqrt(12_000)


@pytest.mark.parametrize(
    ("kind", "method"), [("torus", "micro"), ("box", "closed"), ("ball", "micro"), ("space", "closed")]
)
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
    replicas = 200
    options = {"count": 60, "replicas": replicas, "end": 0.03, "domain": domain, "method": method}
    long = simulate(model, initial, seed=1, **options)
    short = simulate(model, initial, seed=2, step=long.times[-1] / long.steps / 4, **options)
    assert short.steps > 3.9 * long.steps
    a, b = long.survivors[:, -1], short.survivors[:, -1]
    assert abs(a.mean() - b.mean()) < SE * math.sqrt((a.var() + b.var()) / replicas)
    assert a.mean() < 50


# Reactions


def shifted(rate: float, D: float, t: float, count: int) -> float:
    """int_0^t beta (1 + a eps / sqrt(pi D s)) ds: the rate of Smoluchowski, while the depletion zones form."""
    return rate * (t + 2 * rate / (4 * math.pi * D * count) * math.sqrt(t / (math.pi * D)))


@pytest.mark.parametrize(
    ("shape", "method"), [("ball", "micro"), ("bump", "micro"), ("ball", "closed"), ("ellipsoid", "closed")]
)
def test_annihilation_rate_is_that_of_the_limit(comm, method, shape):
    interaction = {"ball": BALL, "bump": Bump(alpha=20.0), "ellipsoid": Ellipsoid(alpha=20.0, axes=(0.7, 0.7, 1.4))}[
        shape
    ]
    model = Model(diffusion=[1.0], interaction=interaction, reaction="annihilation", n_max=1)
    rate, N = beta(model)[0, 0], 500
    e = simulate(model, ONES, count=N, replicas=40, end=0.1, domain=TORUS, method=method, seed=1)
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
    first, N, end = np.zeros(60), 800, 0.05
    first[0] = 1
    expected = smoluchowski(model, end, first)
    e = simulate(model, ONES, count=N, replicas=40, end=end, domain=TORUS, method=method, seed=2)
    np.testing.assert_array_equal(e.mass, 1.0)
    np.testing.assert_array_equal(e.survivors[:, 0] - e.survivors[:, -1], e.events)
    np.testing.assert_array_equal((e.counts_by_mass * np.arange(1, 61)).sum(axis=2), N)
    for n in range(5):
        assert close(e.counts_by_mass[:, -1, n] / N, expected[n], 0.0015)
    assert close(e.survivors[:, -1] / N, expected.sum(), 0.003)


def test_survivor_stays_and_is_chosen_by_mass(comm):
    """Masses 1, 1 and 3 that react at once: the survivor sits where one was, chosen by mass."""
    model = Model(diffusion=[1e-8], interaction=DoiBall(alpha=1e4, radius=1.9), n_max=4)
    parts = tuple(
        Part(n=n, density=Gaussian(mass=1.0, center=(c, 0.0, 0.0), width=1e-9)) for n, c in ((1, -0.5), (3, 0.5))
    )
    e = simulate(model, Initial(masses=parts), count=3, replicas=3000, end=1.0, domain=Domain.space(3))
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
    e = simulate(model, initial, count=int(L * Z), replicas=100, end=0.04, domain=SQUARE, method=method, seed=1)
    fitted = ((Z / e.survivors[:, -1].mean() * L) - 1) / Z / 0.04
    assert rate == pytest.approx(7.7174, rel=1e-4)
    assert 0.97 * rate < fitted < 1.18 * rate
    assert close(e.pair_rates[:, 0, 0] * L * Z / Z - 2 * e.events, 0.0)


def test_methods_agree_in_the_plane(comm):
    model = Model(diffusion=[1.0, 0.5], dimension=2, interaction=BALL, n_max=4)
    initial = Initial(masses=(Part(n=1, density=Uniform(mass=3.0)),))
    a, b = (
        simulate(model, initial, count=100, replicas=80, end=0.03, domain=SQUARE, method=m, seed=k)
        for k, m in enumerate(("micro", "closed"))
    )
    a, b = a.survivors[:, -1], b.survivors[:, -1]
    assert abs(a.mean() - b.mean()) < SE * math.sqrt((a.var() + b.var()) / 80)


# Splittings


def test_splittings_alone(comm):
    """alpha = 0, masses 5 at first: the numbers of each mass solve linear equations, exactly in the mean."""
    model = Model(
        diffusion=[1.0], interaction=DoiBall(alpha=0.0), fragmentation=Fragmentation(rate=2.0, power=1.0), n_max=5
    )
    first = np.array([0, 0, 0, 0, 1.0])
    matrix = np.zeros((5, 5))
    for n in range(2, 6):
        rate = 2.0 * n
        matrix[n - 1, n - 1] -= rate
        matrix[: n - 1, n - 1] += 2 * rate / (n - 1)
    initial, N = Initial(masses=(Part(n=5, density=Uniform(mass=1.0)),)), 300
    e = simulate(model, initial, count=N, replicas=100, end=0.2, stops=[0.05], domain=TORUS, seed=1)
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
    e = simulate(model, initial, count=N, replicas=200, end=0.02, domain=TORUS, method=method, seed=1)
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
    few, more = (3, 3) if reaction == "annihilation" else (2, 4)
    functions = [wave(0, 0, 0), wave(1, 0, 0, phase=0.3), wave(0, 1, 0, n=1)]
    functions += [wave(0, 0, 0, n=few), wave(1, 1, 0, n=more)]
    R = 200
    e = simulate(
        model, MIXED, count=200, replicas=R, end=0.04, domain=TORUS, method=method, test_functions=functions,
        seed=3,
    )  # fmt: skip
    for f in range(len(functions)):
        martingale, variation = e.martingale[:, f], e.martingale_variation[:, f]
        assert close(martingale, 0.0)
        assert close(martingale**2 - variation, 0.0, 0.03 * variation.mean())
        assert variation.min() > 0
    np.testing.assert_array_equal(e.compensator, 0.0)
    np.testing.assert_allclose(e.observables[:, 0], e.survivors / 200, rtol=1e-12)
    assert np.allclose(e.time_integral[:, 0], e.survivors.mean(axis=1) / 200 * 0.04, rtol=0.2)
