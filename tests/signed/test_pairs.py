"""Pairs of charges by their exact law: collisions, sticking, annihilation, and the law of the whole configuration.

The load is carried by collision probabilities and angles against closed forms at steps a hundred times apart, and by
the squared Bessel law of N particles (Kolmogorov-Smirnov, level 1e-3), which the same test denies to a wrong gamma.
Seeds are fixed; means are allowed 4.5 standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
import scipy.stats
from ensembles import DIPOLE, FUNCTIONS, POINTS, SE, path_of, points_file
from mpi4py import MPI
from numba import njit
from scipy.special import ive

from limitpde.errors import InputError
from limitpde.nbody.random import pair_key, pair_normals
from limitpde.nbody.replicas import Controls
from limitpde.signed.case import Case
from limitpde.signed.exact import pair_collision_probability, squared_bessel_law
from limitpde.signed.model import Model
from limitpde.signed.pair_step import FAR, angle_moments, angle_of, normal_quantile, relative_step, von_mises
from limitpde.signed.particles import simulate
from limitpde.signed.start import InitialPositions
from limitpde.signed.summary import particle_figures, particle_warnings

APART = [(-0.35, 0.0), (0.35, 0.0)]
MANY = 20_000


# The law of two


@njit
def _sample(n, w, nu, time, sticky, half):
    out = np.empty((n, 3))
    for k in range(n):
        key = pair_key(np.uint64(7), np.uint64(k))
        normals = pair_normals(key, 0, 1, 0, 0)
        x, y, hit = relative_step(w, 0.0, nu, time, sticky, normals[0], normals[1], key, 0, 1, 0, half)
        out[k] = x, y, 1.0 if hit else 0.0
    return out


@pytest.mark.parametrize("half", [0, 1, 2])
@pytest.mark.parametrize("nu", [-0.4, -0.9, 0.4, 1.3, -1.3, -3.0])
@pytest.mark.parametrize("w", [0.3, 1.0, 6.0])
def test_radius_and_angle_of_one_step(nu, w, half):
    """P(hit) = Q(|nu|, R_0 / (2 t)), E R_t, and E cos(n theta) given no hit and the radii (methods/signed.md 4.3)."""
    time, mu, start = 0.5, abs(nu), w * w
    x, y, hit = _sample(MANY, w, nu, time, False, half).T
    if nu < 0:
        chance = scipy.special.gammaincc(mu, start / (2 * time))
        assert abs(hit.mean() - chance) < SE * math.sqrt(chance * (1 - chance) / MANY) + 1e-12
    else:
        assert not hit.any()
    end = x**2 + y**2
    if nu > -1:
        law = scipy.stats.ncx2(2 + 2 * nu, start / time, scale=time)
        assert scipy.stats.kstest(end, law.cdf).pvalue > 1e-3
    free = hit == 0
    if free.sum() < 100:  # too few for a standard error
        return
    z = np.sqrt(start * end[free]) / time
    angle = np.arctan2(y[free], x[free])
    for n in (1, 2):
        expected = ive(math.sqrt(mu * mu + n * n), z) / ive(mu, z)
        difference = np.cos(n * angle) - expected
        assert abs(difference.mean()) < SE * difference.std() / math.sqrt(len(difference))
        sine = np.sin(n * angle)
        assert abs(sine.mean()) < SE * sine.std() / math.sqrt(len(sine))


@pytest.mark.parametrize("ratio", [0.3, 0.8, 1.3])
@pytest.mark.parametrize("step", [0.002, 0.02, 0.2])
def test_collisions_of_two_whatever_the_step(comm, shared_folder, ratio, step):
    """Through `simulate`: 20,000 replicas; the smallest step on a shorter time."""
    end = 0.02 if step == 0.002 else 0.2
    initial = points_file(comm, shared_folder, [(-0.1, 0.0), (0.1, 0.0)] if end < 0.1 else APART, [1, -1])
    ensemble = simulate(Model(sigma=1.0, gamma=ratio), initial, count=2, replicas=MANY, step=step, end=end, seed=2)
    distance = 0.2 if end < 0.1 else 0.7
    chance = pair_collision_probability(sigma=1.0, gamma=ratio, separation=distance, time=end)
    assert abs(ensemble.collided.mean() - chance) < SE * math.sqrt(chance * (1 - chance) / MANY)
    wrong = pair_collision_probability(sigma=1.0, gamma=1.2 * ratio, separation=distance, time=end)
    assert abs(ensemble.collided.mean() - wrong) > SE * math.sqrt(chance * (1 - chance) / MANY)
    figures = particle_figures(Model(sigma=1.0, gamma=ratio), ensemble)
    assert figures["collisions"] == pytest.approx(ensemble.collided.mean())


@pytest.mark.parametrize("interaction", ["signed", "attractive"])
def test_pairs_stick_or_separate(comm, shared_folder, interaction):
    signs = [1, -1] if interaction == "signed" else [1, 1]
    initial = points_file(comm, shared_folder, [(-0.05, 0.0), (0.05, 0.0)], signs)
    options = {"count": 2, "replicas": 300, "step": 0.1, "end": 0.5, "seed": 4}
    for ratio, collision, stuck in ((0.4, "through", False), (0.4, "stick", True), (1.3, "through", True)):
        model = Model(sigma=1.0, gamma=ratio, interaction=interaction)
        ensemble = simulate(model, initial, collision=collision, **options)
        spread = ensemble.second_moment[:, -1] - (ensemble.centre[:, -1] ** 2).sum(axis=1)  # (distance / 2)^2
        hit = ensemble.collided
        assert hit.mean() > 0.5
        assert (spread[hit] < 1e-24).all() == stuck
        assert (spread[~hit] > 1e-12).all()
        variance = (ensemble.centre[:, -1] ** 2).sum(axis=1).mean()  # the centre: sigma^2 / 2 a coordinate
        assert variance == pytest.approx(0.5, abs=SE * 0.5 / math.sqrt(300))


@pytest.mark.parametrize("mu", [0.0, 0.3, 1.3, 2.74, 4.0, 12.0])
def test_far_angles(mu):
    """What the angle of a normal number neglects, and that of one in the plane, at the z from which they are used."""
    far = max(FAR, 4 * mu * mu)
    z = 1.0001 * far
    plane = (np.arange(100_000) + 0.5) * np.pi / 50_000 - np.pi
    for own in (1.0, 20.0, z):  # z of the motion in the plane
        weights = np.exp(own * (np.cos(plane) - 1))
        angles = np.array([angle_of(mu, z, own, theta) for theta in plane])
        for n in range(1, 40):
            expected = ive(math.sqrt(mu * mu + n * n), z) / ive(mu, z)
            assert abs((weights * np.cos(n * angles)).sum() / weights.sum() - expected) < 3e-6
            if own == z and len(angle_moments(mu, far)) >= n:
                near = ive(math.sqrt(mu * mu + n * n), far) / ive(mu, far)
                assert angle_moments(mu, far)[n - 1] == pytest.approx(near, rel=1e-10)


def test_distribution_functions():
    angles = np.linspace(-3.1, 3.1, 41)
    for z in (0.0, 0.01, 0.3, 1.0, 5.0, 20.0):  # from 50 on scipy's own is approximate
        law = scipy.stats.vonmises(z) if z > 0 else scipy.stats.uniform(-np.pi, 2 * np.pi)
        np.testing.assert_allclose([von_mises(z, theta) for theta in angles], law.cdf(angles), atol=1e-12)
    shares = [1e-12, 1e-3, 0.2, 0.5, 0.7, 1 - 1e-9]
    np.testing.assert_allclose([normal_quantile(u) for u in shares], scipy.stats.norm.ppf(shares), atol=1e-9)


# Many


def many_points(comm, folder, n: int, equal: bool):
    rng = np.random.default_rng(n)
    points = POINTS[:n] if n <= len(POINTS) else rng.normal(size=(n, 2)) * 1.5
    return points_file(comm, folder, points, np.ones(n) if equal else np.where(np.arange(n) % 2, -1.0, 1.0))


@pytest.mark.parametrize(
    ("n", "gamma", "interaction", "step"),
    [
        (2, 0.4, "signed", 0.4),
        (3, 0.4, "signed", 0.002),
        (10, 0.2, "signed", 0.004),
        (50, 0.1, "signed", 0.01),
        (2, 0.4, "attractive", 0.4),
        (10, 0.05, "attractive", 0.01),
    ],
)
def test_squared_bessel_law_of_all(comm, shared_folder, n, gamma, interaction, step):
    """R_t / t is noncentral chi-square with delta_N degrees of freedom (4.26), at a step that a user would take."""
    initial = many_points(comm, shared_folder, n, equal=interaction == "attractive")
    model = Model(sigma=1.0, gamma=gamma, interaction=interaction)
    end, replicas = 0.4, 600 if n > 20 else 1500
    ensemble = simulate(model, initial, count=n, replicas=replicas, step=step, end=end, seed=11, pairs="exact")
    spread = n * (ensemble.second_moment - (ensemble.centre**2).sum(axis=2))
    signs = InitialPositions(initial, n, comm).draw(np.random.default_rng(0))[1]

    def law(factor: float):
        charges = np.ones(n) if interaction == "attractive" else signs
        return squared_bessel_law(
            sigma=1.0,
            gamma=factor * gamma * model.sense,
            positions=many_positions(initial),
            signs=charges,
            time=end,
        )

    assert scipy.stats.kstest(spread[:, -1], law(1.0).cdf).pvalue > 1e-3
    wrong = 1.5 if n < 10 else 3.0  # where more particles move, less of it is due to gamma
    assert scipy.stats.kstest(spread[:, -1], law(wrong).cdf).pvalue < 1e-3


def many_positions(initial) -> np.ndarray:
    return np.load(initial.points)["positions"]


@pytest.mark.ranks
def test_the_same_on_any_ranks(comm):
    options = {"count": 40, "replicas": 5, "step": 0.02, "end": 0.1, "seed": 5, "test_functions": FUNCTIONS}
    options |= {"pairs": "exact", "collision": "annihilate"}
    model = Model(sigma=0.6, gamma_bar=4.0)
    together, alone = (simulate(model, DIPOLE, controls=Controls(comm=c), **options) for c in (comm, MPI.COMM_SELF))
    for name in ("second_moment", "residual", "survivors", "collided"):
        np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))
    assert not together.in_theory


@pytest.mark.parametrize("collision", ["stick", "annihilate"])
def test_mean_of_w_where_charges_stick_or_annihilate(comm, shared_folder, collision):
    """W - A has mean zero, the variance of Ito's isometry, and W alone has not."""
    apart = 0.02 if collision == "stick" else 0.5
    initial = points_file(comm, shared_folder, [(0.1, 0.0), (0.1 + apart, 0.0)], [1, -1])
    options = {"count": 2, "replicas": 20_000, "step": 0.01, "end": 0.3, "seed": 8}
    ensemble = simulate(
        Model(sigma=1.0, gamma=0.9 if collision == "annihilate" else 1.3),
        initial,
        collision=collision,
        test_functions=FUNCTIONS[:2],
        **options,
    )
    w, a = ensemble.residual[:, :, -1], ensemble.compensator
    noise = (w - a).std(axis=0) / math.sqrt(20_000)
    assert ensemble.scattered.tolist() == [False, True]
    assert np.isnan(ensemble.noise[:, 1]).all()
    assert abs((w - a)[:, 0].mean()) < SE * noise[0] + 1e-3
    assert abs(w[:, 0].mean()) > 20 * noise[0]
    assert not ensemble.in_theory
    if collision == "stick":
        ratio = (w - a).var(axis=0) / ensemble.quadratic_variation.mean(axis=0)
        assert ratio[0] == pytest.approx(1.0, abs=0.1)


def test_w_of_partners_has_k_itself(comm, shared_folder):
    """Unbiased at steps that are long beside the squared distance; with the capped kernel W is off by ten errors."""
    initial = points_file(comm, shared_folder, [(0.0, 0.0), (0.2, 0.0)], [1, -1])
    for step in (0.02, 0.1):
        ensemble = simulate(
            Model(sigma=1.0, gamma=0.8), initial, count=2, replicas=4000, step=step, end=0.5, seed=3,
            test_functions=FUNCTIONS[:2],
        )  # fmt: skip
        w = ensemble.noise[:, 0]
        assert abs(w.mean()) < SE * w.std() / math.sqrt(4000)
        assert w.var() == pytest.approx(ensemble.quadratic_variation[:, 0].mean(), rel=0.1)
        assert np.isnan(ensemble.noise[:, 1]).all()
    case = Case(
        system="signed", model=Model(sigma=1.0, gamma=0.8), initial=initial, time={"end": 0.5},
        particles={"counts": [2], "step": 0.1},
    )  # fmt: skip
    assert "W of the charged test functions (1) does not converge" in particle_warnings(case, ensemble)[0]


def test_annihilation(comm, shared_folder):
    """Who collides, leaves: the same chance as that of a collision, the rest stays, and no force of theirs is left."""
    initial = points_file(comm, shared_folder, [*APART, (40.0, 0.0)], [1, -1, 1])
    model = Model(sigma=1.0, gamma=0.8)
    options = {"count": 3, "replicas": 2000, "end": 0.4, "stops": [0.2], "seed": 3, "test_functions": FUNCTIONS[:1]}
    ensemble = simulate(model, initial, step=0.2, collision="annihilate", **options)
    chance = pair_collision_probability(sigma=1.0, gamma=0.8, separation=0.7, time=0.4)
    left = ensemble.survivors
    assert set(np.unique(left[:, -1])) == {1, 3}
    assert (np.diff(left, axis=1) <= 0).all()
    assert abs((left[:, -1] == 1).mean() - chance) < SE * math.sqrt(chance * (1 - chance) / 2000) + 2e-3  # far third
    assert ((left[:, -1] == 1) == ensemble.collided).all()
    gone = left[:, -1] == 1
    assert np.abs(ensemble.observables[gone, 0, -1]).max() < 1e-12  # the third one is far from the bump
    assert np.abs(ensemble.second_moment[gone, -1] - 1600 / 3).max() < 300.0
    figures = particle_figures(model, ensemble)
    assert figures["annihilated_fraction"] == pytest.approx(2 / 3 * gone.mean())
    assert figures["survivors"]["mean"][0] == 3.0
    assert figures["collisions"] == ensemble.collided.mean()
    assert figures["meetings"]["mean"] == pytest.approx(gone.mean())


@pytest.mark.ranks
def test_snapshots_show_who_is_left(comm, shared_folder):
    initial = points_file(comm, shared_folder, [(0.0, 0.0), (1e-6, 0.0), (3.0, 0.0)], [1, -1, 1])
    seen = []
    simulate(
        Model(sigma=1.0, gamma=0.9), initial, count=3, replicas=1, step=0.1, end=0.1, collision="annihilate",
        controls=Controls(snapshot=lambda t, x, sign: seen.append((len(x), sign.tolist()))),
    )  # fmt: skip
    if comm.rank == 0:
        assert seen == [(3, [1.0, -1.0, 1.0]), (1, [1.0])]


def test_vortices_without_noise_keep_what_they_must(shared_folder):
    """Hamiltonian, centre of vorticity and angular impulse, to order one in the step."""
    signs = np.array([1.0, -1.0, 1.0, 1.0])
    initial = points_file(MPI.COMM_SELF, shared_folder, [(0, 0), (1.5, 0.3), (0.2, 1.4), (-1.2, -0.8)], signs)
    model = Model(sigma=0.0, gamma=0.5, interaction="rotated")

    def drifts(step: float) -> np.ndarray:
        x = path_of(MPI.COMM_SELF, model, initial, 4, [], 1.0, step=step, eps=1e-9)[1]
        found = []
        for points in (x[0], x[-1]):
            apart = np.linalg.norm(points[:, None] - points, axis=-1) + np.eye(4)
            energy = (signs[:, None] * signs * np.log(apart)).sum()
            found.append([energy, *(signs @ points), signs @ (points**2).sum(axis=1)])
        return np.abs(np.subtract(*found))

    coarse, fine = drifts(0.01), drifts(0.005)
    assert coarse[1:3].max() < 1e-12
    assert fine[[0, 3]].max() < 0.02
    assert (coarse[[0, 3]] / fine[[0, 3]] > 1.7).all()


def test_bad_input(shared_folder):
    initial = points_file(MPI.COMM_SELF, shared_folder, APART, [1, -1])
    options = {"count": 2, "replicas": 1, "step": 0.1, "end": 0.1, "controls": Controls(comm=MPI.COMM_SELF)}
    for model, more, message in (
        (Model(sigma=1.0, gamma=20.0), {"pairs": "exact"}, r"gamma / sigma\^2 <= 12; it is 20"),
        (Model(sigma=1.0, gamma=0.2), {"pairs": "exact", "eps": 0.1}, "needs K itself"),
        (Model(sigma=1.0, gamma=0.2, interaction="rotated"), {"pairs": "exact"}, "not 'rotated'"),
        (Model(sigma=1.0, gamma=0.2), {"pairs": "euler", "collision": "stick"}, "which sees the collisions"),
        (Model(sigma=1.0, gamma=0.2, interaction="attractive"), {"collision": "annihilate"}, "'signed'"),
    ):
        with pytest.raises(InputError, match=message):
            simulate(model, initial, **options, **more)
