"""Random batches: an unbiased force, its variance, what that does to the particles.

The load is carried by the mean and the variance of the force over 20,000 permutations against a sum of all pairs in
numpy, for sizes that divide N and sizes that do not, and by the growth of the second moment against that of particles
with the same noise and the forces of all pairs. Seeds are fixed; means are allowed 4.5 standard errors.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import json
import math

import numpy as np
import pytest
from casefiles import BASE
from ensembles import DIPOLE, FUNCTIONS, SE, UNEQUAL, path_of
from mpi4py import MPI

from limitpde.compare.test_functions import GaussianBump
from limitpde.errors import InputError
from limitpde.nbody.limits import groups_of
from limitpde.nbody.random_batches import batch_pair_sum, batch_variance
from limitpde.nbody.replicas import Controls
from limitpde.signed import particles
from limitpde.signed.model import Model
from limitpde.signed.particles import Ensemble, simulate
from limitpde.signed.summary import particle_figures

EPS, MANY = 0.15, 20_000
SMALL = {"count": 37, "replicas": 7, "step": 0.02, "end": 0.1, "seed": 5, "stops": [0.05], "test_functions": FUNCTIONS}


def cloud(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (2, n) and charges, with a close pair of equal and one of opposite sign."""
    rng = np.random.default_rng(n)
    points, b = rng.normal(size=(2, n)), np.where(np.arange(n) % 3, 1.0, -1.0)
    points[:, 1] = points[:, 0] + 0.1
    points[:, 3] = points[:, 2] - [0.2, 0.0]
    return points, b


def pair_forces(points: np.ndarray, b: np.ndarray, kernel: str, eps: float = EPS) -> np.ndarray:
    """b_i b_j k(X_i - X_j), (2, n, n)."""
    shift = points[:, :, None] - points[:, None]
    square = (shift**2).sum(axis=0)
    return b[:, None] * b * shift / (np.maximum(square, eps**2) if kernel == "capped" else square + eps**2)


def samples(points: np.ndarray, b: np.ndarray, size: int, *, kernel: str = "capped", step: int = 0) -> np.ndarray:
    """Forces (2, R, n) over MANY permutations."""
    x, y = (np.tile(p, (MANY, 1)) for p in points)
    found = np.empty((2, *x.shape))
    batch_pair_sum(x, y, b, *found, eps=EPS, kernel=kernel, size=size, seed=3, replicas=np.arange(MANY), step=step)
    return found


# The force


@pytest.mark.parametrize("kernel", ["capped", "regularised"])
@pytest.mark.parametrize(("n", "size"), [(24, 4), (12, 2), (11, 4), (7, 2), (10, 3), (5, 3), (2, 2), (3, 2), (9, 9)])
def test_mean_and_variance_of_the_force(n, size, kernel):
    points, b = cloud(max(n, 4))
    points, b = points[:, :n].copy(), b[:n].copy()
    each = pair_forces(points, b, kernel)
    full = each.sum(axis=2)
    found = samples(points, b, size, kernel=kernel)
    assert np.abs(found.sum(axis=2)).max() < 1e-10  # in each batch the forces add to zero
    if n < 2 * size:  # one batch of all
        np.testing.assert_allclose(found, np.broadcast_to(full[:, None], found.shape), rtol=1e-12, atol=1e-12)
        spread = 0.0
    else:
        noise = found.std(axis=1) / math.sqrt(MANY)
        assert (noise > 0).all()
        assert (np.abs(found.mean(axis=1) - full) < SE * noise).all()
        groups = n // size
        sizes = np.array([n // groups] * (groups - n % groups) + [n // groups + 1] * (n % groups))
        assert sizes.sum() == n
        assert sizes.min() >= size
        share = (sizes / n) @ (1 / (sizes - 1) - 1 / (n - 1))
        others = [(n - 1) * np.delete(each[:, i], i, axis=1) for i in range(n)]
        spread = share * np.mean([g.var(axis=1, ddof=1).sum() for g in others])
    x, y = (p[None].copy() for p in points)
    options = {"eps": EPS, "kernel": kernel, "size": size, "seed": 0, "replicas": np.zeros(1, dtype=int), "step": 0}
    formula = batch_variance(x, y, b, sample=n, **options)
    assert formula[0] == pytest.approx(spread, rel=1e-12)
    squares = ((found - full[:, None]) ** 2).sum(axis=0).mean(axis=1)
    assert abs(squares.mean() - spread) <= SE * squares.std() / math.sqrt(MANY) + 1e-20


def test_the_variance_is_measured_without_bias():
    """From samples of the particles, against all of them."""
    n, many = 200, 2000
    points, b = cloud(n)
    x, y = (np.tile(p, (many, 1)) for p in points)
    options = {"eps": EPS, "kernel": "capped", "size": 5, "seed": 1, "replicas": np.arange(many), "step": 4}
    exact = batch_variance(x[:1].copy(), y[:1].copy(), b, sample=n, **(options | {"replicas": np.zeros(1, dtype=int)}))
    found = batch_variance(x, y, b, sample=16, **options)
    assert abs(found.mean() - exact[0]) < SE * found.std() / math.sqrt(many)
    assert abs(found.mean() / exact[0] - 1) < 0.01  # 4.5 standard errors are less than that


def test_permutations_differ_between_steps_and_replicas():
    points, b = cloud(24)
    first, second = samples(points, b, 2), samples(points, b, 2, step=1)
    np.testing.assert_array_equal(samples(points, b, 2), first)
    for other in (second, np.roll(first, 1, axis=1)):
        pairs = np.corrcoef(first[0, :, 5], other[0, :, 5])[0, 1]
        assert abs(pairs) < SE / math.sqrt(MANY)
    partners = len(np.unique(first[0, :, 5].round(12)))
    assert partners == 23  # each of the others


# The particles


@pytest.mark.ranks
def test_the_same_on_any_ranks_and_batches_of_replicas(comm, monkeypatch):
    model = Model(sigma=1.0, gamma_bar=0.8)
    options = SMALL | {"method": "batches", "batch_size": 5}
    plain = simulate(model, UNEQUAL, **options)
    alone = simulate(model, UNEQUAL, controls=Controls(comm=MPI.COMM_SELF), **options)
    monkeypatch.setattr(particles, "BATCH_PARTICLES", 80)
    split = simulate(model, UNEQUAL, **options)
    for other in (alone, split):
        for name in ("second_moment", "residual", "compensator", "extra_diffusivity", "centre"):
            np.testing.assert_array_equal(getattr(other, name), getattr(plain, name), err_msg=name)
    without = simulate(model, UNEQUAL, **(options | {"test_functions": ()}))
    np.testing.assert_array_equal(without.second_moment, plain.second_moment)  # what looks on changes nothing
    full = simulate(model, UNEQUAL, **(options | {"method": "direct", "batch_size": None, "pairs": "euler"}))
    assert (full.second_moment[:, -1] != plain.second_moment[:, -1]).all()
    assert full.in_theory
    assert not plain.in_theory
    assert not without.in_theory


def test_one_batch_of_all_is_the_full_sum(comm):
    model = Model(sigma=1.0, gamma_bar=0.8)
    options = dict(SMALL)
    full = simulate(model, UNEQUAL, method="direct", pairs="euler", **options)
    for size in (37, 19):
        one = simulate(model, UNEQUAL, method="batches", batch_size=size, **options)
        assert one.eps == pytest.approx(full.eps, rel=1e-14)
        for name in ("second_moment", "residual", "centre", "compensator"):
            np.testing.assert_allclose(getattr(one, name), getattr(full, name), rtol=1e-10, atol=1e-12)
        assert not one.extra_diffusivity.any()
    assert simulate(model, UNEQUAL, method="batches", **options).batch_size == 32
    few = simulate(model, UNEQUAL, method="batches", **(options | {"count": 6}))
    assert few.batch_size == 6
    capped = simulate(model, UNEQUAL, method="batches", batch_size=4, **options)  # 9 groups, of 4 and of 5
    assert capped.eps == pytest.approx(math.sqrt(2 * 36 / 3 * 0.8 / 37 * 0.02))


def growth(ensemble: Ensemble) -> np.ndarray:
    return ensemble.second_moment[:, -1] - ensemble.second_moment[:, 0]


@pytest.mark.parametrize("interaction", ["signed", "attractive"])
def test_growth_of_the_second_moment_is_the_predicted_one(comm, interaction):
    """What batches add to that of particles with the same noise, at a large step, and at a quarter of it."""
    model = Model(sigma=1.0, gamma_bar=2.0 if interaction == "signed" else 0.5, interaction=interaction)
    found = []
    for step, size in ((0.1, 2), (0.025, 2), (0.1, 8)):
        options = {"count": 33, "replicas": 3000, "step": step, "end": 0.2, "seed": 5, "eps": 0.1}
        options["stops"] = np.arange(step, 0.2 - step / 2, step)
        full = simulate(model, DIPOLE, method="direct", pairs="euler", **options)
        some = simulate(model, DIPOLE, method="batches", batch_size=size, **options)
        extra = growth(some) - growth(full)
        predicted = 4 * step * some.extra_diffusivity[:, :-1].sum(axis=1)  # step by step
        error = (extra - predicted).std() / math.sqrt(len(extra))
        assert abs((extra - predicted).mean()) < SE * error
        assert extra.mean() > 10 * error
        found.append(predicted.mean())
        figures = particle_figures(model, some)["random_batches"]
        assert figures["batch_size"] == size
        assert figures["extra_diffusivity"] * 4 * 0.2 == pytest.approx(predicted.mean(), rel=0.15)
        assert figures["extra_diffusivity_stderr"] < 0.05 * figures["extra_diffusivity"]
        assert "random_batches" not in particle_figures(model, full)
    assert found[0] / found[1] == pytest.approx(4.0, rel=0.15)
    sizes = [1 / (s - 1) - 1 / 32 for s in (2, 8)]
    assert found[0] / found[2] == pytest.approx(sizes[0] / sizes[1], rel=0.15)


def test_w_has_the_forces_of_all_pairs(comm):
    """Its interaction term, redone in numpy; A is what the force on average along the steps differs by."""
    model, n, step, steps = Model(sigma=0.7, gamma_bar=1.5), 9, 0.05, 4
    phi = GaussianBump(center=(0.2, 0.1), width=0.8)
    ensemble, x, signs = path_of(
        comm, model, UNEQUAL, n, [step * k for k in range(1, steps)], step * steps, step=step, seed=3,
        test_functions=[phi], method="batches", batch_size=2,
    )  # fmt: skip
    weights = np.full(steps + 1, step)
    weights[[0, -1]] = step / 2
    rate, value = np.empty(steps + 1), np.empty(steps + 1)
    for k, points in enumerate(x):
        y = points - [0.2, 0.1]
        each = np.exp(-(y**2).sum(axis=1) / 1.28)
        slope, laplacian = -each[:, None] * y / 0.64, each * ((y**2).sum(axis=1) / 0.64 - 2) / 0.64
        force = pair_forces(points.T, signs, "capped", ensemble.eps).sum(axis=2).T
        rate[k] = 1.5 / n * (force * slope).sum(axis=1).mean() + model.D * laplacian.mean()
        value[k] = each.mean()
    assert ensemble.residual[0, 0, -1] == pytest.approx(value[-1] - value[0] - weights @ rate, abs=1e-12)
    assert abs(ensemble.compensator[0, 0]) > 1e-3


def test_w_has_the_mean_and_the_variance_of_its_martingale(comm):
    """W - A has mean zero and the variance of Ito's isometry."""
    model, many = Model(sigma=1.0, gamma_bar=0.4), 2000
    options = {"count": 40, "replicas": many, "step": 0.01, "end": 0.2, "seed": 7, "test_functions": FUNCTIONS}
    ensemble = simulate(model, DIPOLE, method="batches", batch_size=2, **options)
    martingale = ensemble.residual[:, :, -1] - ensemble.compensator
    assert (np.abs(martingale.mean(axis=0)) < SE * martingale.std(axis=0) / math.sqrt(many)).all()
    excess = martingale**2 - ensemble.quadratic_variation
    assert (np.abs(excess.mean(axis=0)) < SE * excess.std(axis=0) / math.sqrt(many)).all()
    a = ensemble.compensator
    assert a.all()
    assert (np.abs(a.mean(axis=0)) < SE * a.std(axis=0) / math.sqrt(many)).all()
    assert abs(particle_figures(model, ensemble)["second_moment"]["deviation"]) < SE


# Through a case


def test_a_case(tmp_path):
    case = tmp_path / "case.toml"
    case.write_text(BASE)
    changes = ["particles.method='batches'", "particles.batch_size=3", "particles.counts=[16,31]", "time.end=0.1"]
    changes += ["output.pictures=false"]
    summary = limitpde.run(case, overrides=changes, out=tmp_path / "out", comm=MPI.COMM_SELF)
    for entry in summary["particles"]:
        assert entry["random_batches"]["batch_size"] == 3
        assert entry["random_batches"]["extra_diffusivity"] > 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["particles"] == summary["particles"]
    assert "random batches of 3" in (tmp_path / "out" / "report.md").read_text()


def test_bad_input():
    options = {
        "count": 9,
        "replicas": 1,
        "step": 0.1,
        "end": 0.1,
        "controls": Controls(comm=MPI.COMM_SELF),
        "method": "batches",
    }
    model = Model(sigma=1.0, gamma_bar=0.4)
    for more, message in (
        ({"batch_size": 1}, r"particles\.batch_size = 1: must be from 2 to N = 9"),
        ({"batch_size": 10}, r"particles\.batch_size = 10: must be from 2 to N = 9"),
        ({"count": 1}, r"particles\.counts = 1: .* needs at least two particles"),
        ({"batch_size": 4, "method": "auto"}, "is for method = 'batches' only"),
        ({"pairs": "exact"}, r"particles\.pairs = 'exact': does not go with particles\.method = 'batches'"),
        ({"collision": "stick"}, r"particles\.collision = 'stick': does not go with"),
        ({"cutoff": 3}, r"particles\.cutoff = 3: does not go with"),
        ({"substeps": 4}, r"particles\.substeps = 4: does not go with"),
        ({"estimate_eps": (0.1, 0.2)}, r"estimates\.check = true: does not go with"),
        ({"method": "batch"}, "must be one of direct, fast, batches, auto"),
    ):
        with pytest.raises(InputError, match=message):
            simulate(model, DIPOLE, **(options | more))
    with pytest.raises(InputError, match="must be from 2"):
        groups_of(5, 6)
