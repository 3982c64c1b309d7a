"""Steps that are cut where charges come close.

The load is carried by tiny runs redone in numpy, part by part, and by exact laws that a fixed coarse step misses and a
cut one meets (methods: E |D|^2 of two charges, the squared Bessel law of all). Seeds are fixed; means are allowed 4.5
standard errors.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
import scipy.stats
from casefiles import BASE
from ensembles import DIPOLE, FUNCTIONS, SE, by_hand, forces, normals, path_of, points_file
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.nbody.replicas import Controls
from limitpde.signed import particles
from limitpde.signed.exact import squared_bessel_law
from limitpde.signed.model import Model
from limitpde.signed.options import MOST_STEPS, check_substeps
from limitpde.signed.particles import Ensemble, simulate
from limitpde.signed.substeps import CLOSING, closest_pairs, part_number, part_sizes
from limitpde.signed.summary import particle_figures

MANY = 20_000
NAMES = ("second_moment", "centre", "residual", "compensator", "quadratic_variation", "collided", "survivors")
TRIANGLE = [(-0.1, 0.0), (0.1, 0.0), (0.0, 0.1)]


# The rule


def by_all_pairs(x, y, partner, counted):
    """The smallest distance of counted particles that are not partners, one after the other."""
    best = math.inf
    for i in range(len(x)):
        for j in range(i):
            if counted[i] and counted[j] and partner[i] != j:
                best = min(best, math.hypot(x[i] - x[j], y[i] - y[j]))
    return best


@pytest.mark.parametrize("brute_force", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3, 9, 40])
def test_closest_pairs(monkeypatch, n, brute_force):
    if not brute_force:
        monkeypatch.setattr("limitpde.signed.substeps.BRUTE_FORCE", 0)
    rng = np.random.default_rng(n)
    x, y = rng.random((2, 30, n))
    counted = rng.random((30, n)) < 0.8
    partner = np.full((30, n), -1)
    for r in range(30):
        order = rng.permutation(n)[: n // 4 * 2].reshape(-1, 2)  # half of them are paired
        partner[r, order[:, 0]], partner[r, order[:, 1]] = order[:, 1], order[:, 0]
        close = order[: len(order) // 2]  # and half of the pairs are close, as partners are
        x[r, close[:, 0]], y[r, close[:, 0]] = x[r, close[:, 1]] + 1e-5, y[r, close[:, 1]]
    expected = np.array([by_all_pairs(*rows) for rows in zip(x, y, partner, counted, strict=True)])
    for reach in (0.05, 10.0):
        found = closest_pairs(x, y, partner, counted, reach)
        near = expected < reach
        np.testing.assert_allclose(found[near], expected[near], rtol=1e-12)
        assert (found[~near] >= reach).all()
    x[:], y[:] = 0.5, 0.5
    if n > 3:
        assert not closest_pairs(x, y, np.full((30, n), -1), np.ones((30, n), dtype=bool), 1.0).any()


def test_parts_are_the_largest_that_are_small_enough():
    gamma, dt, most = 0.3, 0.1, 16
    distances = np.geomspace(1e-3, 1.0, 50)
    x, y = np.stack([np.zeros(50), distances], axis=1), np.zeros((50, 2))
    alone, counted = np.full((50, 2), -1), np.ones((50, 2), dtype=bool)
    for place in range(most):
        size = part_sizes(x, y, alone, counted, gamma=gamma, dt=dt, most=most, place=np.full(50, place))
        aligned = place & -place or most  # the largest power of two that divides the place
        wanted = np.array([max([s for s in (1, 2, 4, 8, 16) if s * dt / most <= CLOSING * r**2 / gamma] or [1])
                           for r in distances])  # fmt: skip
        np.testing.assert_array_equal(size, np.minimum(wanted, aligned))
    for change in ({"gamma": 0.0}, {"most": 1}, {"x": x[:, :1], "y": y[:, :1], "partner": alone[:, :1]}):
        options = {"x": x, "y": y, "partner": alone, "counted": counted, "gamma": gamma, "dt": dt, "most": most}
        options |= {"place": np.zeros(50, dtype=int)} | change
        options["counted"] = counted[:, : options["x"].shape[1]]
        assert (part_sizes(**options) == options["most"]).all()
    partners = np.tile([1, 0], (50, 1))
    size = part_sizes(x, y, partners, counted, gamma=gamma, dt=dt, most=most, place=np.zeros(50, dtype=int))
    assert (size == most).all()


# The steps


def test_a_tiny_run_redone_in_numpy(comm, shared_folder):
    """Positions, parts, W and the rest of one replica, part by part."""
    signs = np.array([1.0, -1.0, 1.0, 1.0])
    points = np.array([(0.0, 0.0), (0.3, 0.0), (0.1, 0.5), (-0.6, -0.2)])
    initial = points_file(comm, shared_folder, points, signs)
    model, dt, steps, most, n = Model(sigma=0.7, gamma_bar=1.6), 0.05, 6, 8, 4
    eps = math.sqrt(2 * 0.4 * dt / most)
    ensemble, path, _ = path_of(
        comm, model, initial, n, [dt * k for k in range(1, steps)], dt * steps, step=dt, seed=3, substeps=most,
        test_functions=FUNCTIONS, pairs="euler",
    )  # fmt: skip
    assert ensemble.eps == pytest.approx(eps, rel=1e-14)
    seed, x, cuts = np.uint64(particles.ensemble_seed(3, n)), points, []

    def integrands(x):
        drift = 0.4 * forces(x, signs, eps, "capped")
        found = []
        for function in FUNCTIONS:
            _, gradient, laplacian = by_hand(function, x, signs)
            found.append([(drift * gradient).sum(), 0.5 * 0.49 * laplacian.sum(), (gradient**2).sum()])
        return drift, np.array(found) / n

    totals, start = np.zeros((len(FUNCTIONS), 3)), [by_hand(f, x, signs)[0].mean() for f in FUNCTIONS]
    drift, now = integrands(x)
    for step in range(steps):
        place = 0
        while place < most:
            shift = x[:, None] - x
            closest = ((shift**2).sum(axis=2) + 1e9 * np.eye(n)).min()
            size = most
            while size > 1 and (size * dt / most * 0.4 > CLOSING * closest or place % size):
                size //= 2
            h = size * dt / most
            noise = 0.7 * math.sqrt(h) * normals(seed, 0, n, step + place * MOST_STEPS)
            totals += 0.5 * h * now
            x = x + h * drift + noise
            drift, now = integrands(x)
            totals += 0.5 * h * now
            cuts.append(size)
            place += size
        np.testing.assert_allclose(path[step + 1], x, rtol=0, atol=1e-12)
        end = np.array([by_hand(f, x, signs)[0].mean() for f in FUNCTIONS])
        np.testing.assert_allclose(
            ensemble.residual[0, :, step + 1], end - start - totals[:, :2].sum(axis=1), atol=1e-12
        )
    assert len(set(cuts)) >= 3  # parts of many sizes were seen
    assert ensemble.parts.tolist() == [len(cuts)]
    np.testing.assert_allclose(ensemble.quadratic_variation[0], 0.49 / n * totals[:, 2], rtol=1e-10)
    assert not ensemble.compensator.any()


def assert_same(a: Ensemble, b: Ensemble) -> None:
    for name in (*NAMES, "parts"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.ranks
@pytest.mark.parametrize(
    "options",
    [
        {"pairs": "euler"},
        {"pairs": "exact", "collision": "annihilate"},
        {"pairs": "exact", "collision": "stick"},
        {"cutoff": 4, "estimate_eps": (0.2, 0.1)},
        {"method": "fast", "kernel": "regularised", "eps": 0.05},
    ],
)
def test_the_same_on_any_ranks_and_batches_of_replicas(comm, monkeypatch, options):
    model = Model(sigma=0.8, gamma_bar=1.6)
    options |= {"count": 31, "replicas": 5, "step": 0.02, "end": 0.1, "seed": 5, "test_functions": FUNCTIONS}
    options["substeps"] = 16
    plain = simulate(model, DIPOLE, **options)
    assert (plain.parts >= 5).all()
    assert len(set(plain.parts.tolist())) > 1
    assert_same(simulate(model, DIPOLE, controls=Controls(comm=MPI.COMM_SELF), **options), plain)
    monkeypatch.setattr(particles, "BATCH_PARTICLES", 70)
    split = simulate(model, DIPOLE, **options)
    assert_same(split, plain)
    for name, values in plain.estimates.items():
        np.testing.assert_allclose(split.estimates[name], values, rtol=1e-13)


def test_steps_that_need_not_be_cut_are_not(comm, shared_folder):
    """Then all numbers are those of fixed steps."""
    initial = points_file(comm, shared_folder, [(-3.0, 0.0), (3.0, 0.0), (0.0, 4.0)], [1, -1, 1])
    options = {"count": 3, "replicas": 20, "step": 0.05, "end": 0.5, "eps": 1e-3, "test_functions": FUNCTIONS}
    model = Model(sigma=0.5, gamma_bar=0.6)
    fixed, cut = (simulate(model, initial, substeps=m, **options) for m in (1, 64))
    assert (cut.parts == 10).all()
    assert_same(fixed, cut)
    assert "substeps" not in particle_figures(model, fixed)
    assert particle_figures(model, cut)["substeps"] == {"most": 64, "mean": 1.0}


def test_bound_charges_do_not_count(comm, shared_folder):
    """A pair of opposite charges that is stuck asks for no parts; one of equal charges does, beside a third."""
    third = [(0.0, 0.0), (1e-6, 0.0), (0.05, 0.0)]
    options = {"count": 3, "replicas": 50, "step": 0.01, "end": 0.1, "seed": 3, "substeps": 32, "pairs": "exact"}
    found = {}
    for interaction, signs in (("signed", [1, -1, 1]), ("attractive", [1, 1, 1])):
        initial = points_file(comm, shared_folder, third, signs)
        model = Model(sigma=0.1, gamma=0.012, interaction=interaction)
        ensemble = simulate(model, initial, collision="stick", **options)
        assert ensemble.collided.all()
        found[interaction] = ensemble.parts.mean() / ensemble.steps
    assert found["signed"] < 1.5 < found["attractive"]


# What it is for


def spread(ensemble: Ensemble) -> np.ndarray:
    """sum |X_i - mean|^2 at the output times, (R, T)."""
    return ensemble.count * (ensemble.second_moment - (ensemble.centre**2).sum(axis=2))


@pytest.mark.parametrize(
    ("points", "signs", "interaction", "pairs", "whole"),
    [
        (TRIANGLE[:2], [1, -1], "signed", "euler", False),
        (TRIANGLE, [1, 1, 1], "repulsive", "euler", True),
        (TRIANGLE, [1, -1, 1], "signed", "exact", True),
        (TRIANGLE, [1, 1, 1], "attractive", "exact", False),
    ],
)
def test_laws_that_a_coarse_step_misses(comm, shared_folder, points, signs, interaction, pairs, whole):
    """sum E |X_i - mean|^2 grows by 2 (N - 1) sigma^2 + gamma ((sum b)^2 - N), for two charges 2 (sigma^2 - gamma).

    Where nothing but Euler's steps attracts strongly (gamma / sigma^2 = 0.3 here), its whole law is met too.
    """
    initial = points_file(comm, shared_folder, points, signs)
    gamma, end = 0.3, 0.4
    model = Model(sigma=1.0, gamma=gamma, interaction=interaction)
    charges = np.array(signs) if interaction == "signed" else np.ones(len(signs))
    law = squared_bessel_law(sigma=1.0, gamma=gamma * model.sense, positions=np.array(points), signs=charges, time=end)
    missed = {}
    for substeps in (1, 256):
        options = {"count": len(signs), "replicas": MANY, "step": 0.05, "end": end, "seed": 4, "pairs": pairs}
        ensemble = simulate(model, initial, substeps=substeps, **options)
        found = spread(ensemble)[:, -1]
        missed[substeps] = abs(found.mean() - law.mean()) / (found.std() / math.sqrt(MANY))
        if whole:
            assert (scipy.stats.kstest(found, law.cdf).pvalue > 1e-3) == (substeps > 1)
    assert missed[256] < SE < missed[1]
    assert 1.5 < ensemble.parts.mean() / ensemble.steps < 12


def test_mean_of_w(shared_folder):
    """W - A has mean zero and the variance of Ito's isometry, where many steps are cut."""
    initial = points_file(MPI.COMM_SELF, shared_folder, TRIANGLE, [1, -1, 1])
    model = Model(sigma=1.0, gamma=0.3, confinement={"kind": "harmonic", "strength": 1.0})
    options = {
        "count": 3,
        "replicas": MANY,
        "step": 0.01,
        "end": 0.1,
        "seed": 4,
        "controls": Controls(comm=MPI.COMM_SELF),
    }
    ensemble = simulate(model, initial, substeps=64, test_functions=FUNCTIONS, pairs="euler", **options)
    assert ensemble.parts.mean() > 2 * ensemble.steps
    martingale = ensemble.residual[:, :, -1] - ensemble.compensator
    assert (np.abs(martingale.mean(axis=0)) < SE * martingale.std(axis=0) / math.sqrt(MANY)).all()
    excess = martingale**2 - ensemble.quadratic_variation
    assert (np.abs(excess.mean(axis=0)) < SE * excess.std(axis=0) / math.sqrt(MANY)).all()


# Through a case


def test_a_case(tmp_path):
    case = tmp_path / "case.toml"
    case.write_text(BASE)
    changes = ["particles.substeps=32", "time.end=0.1", "estimates.check=true", "output.pictures=false"]
    summary = limitpde.run(case, overrides=changes, out=tmp_path / "out", comm=MPI.COMM_SELF)
    for entry in summary["particles"]:
        assert entry["steps"] == 5
        assert entry["substeps"]["most"] == 32
        assert entry["substeps"]["mean"] >= 1
        assert "random_batches" not in entry
    assert "parts on average, at most 32" in (tmp_path / "out" / "report.md").read_text()


def test_bad_input():
    options = {"count": 4, "replicas": 1, "step": 0.1, "end": 0.1, "controls": Controls(comm=MPI.COMM_SELF)}
    for substeps in (0, 3, -2, 2048):
        with pytest.raises(
            InputError, match=rf"particles\.substeps = {substeps}: must be a power of two from 1 to 1024"
        ):
            simulate(Model(sigma=1.0, gamma_bar=0.4), DIPOLE, substeps=substeps, **options)
    with pytest.raises(InputError, match="must be 1 with 4194305 steps"):
        check_substeps(2, MOST_STEPS + 1)
    check_substeps(1, MOST_STEPS + 1)
    assert part_number(MOST_STEPS - 1, np.array([1023])) < 1 << 32
