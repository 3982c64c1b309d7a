"""The signed particle system: trajectories and exact laws.

The load is carried by the redo of a tiny run in numpy (trajectory, W and its quadratic variation to rounding), equality
bit by bit over ranks, threads and batches, and the squared Bessel law of the whole configuration (Kolmogorov-Smirnov,
level 1e-3). Seeds are fixed; means are allowed 4.5 standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numba
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from ensembles import DIPOLE, FUNCTIONS, POINTS, SE, UNEQUAL, by_hand, forces, normals, path_of, points_file
from mpi4py import MPI
from signed_laws import particle_second_moment_rate

from limitpde.compare.statistics import mean_and_stderr
from limitpde.compare.test_functions import GaussianBump
from limitpde.errors import InputError, Interrupted, RunError
from limitpde.nbody.replicas import Controls
from limitpde.signed import particles
from limitpde.signed.exact import squared_bessel_law
from limitpde.signed.model import Model
from limitpde.signed.particles import Ensemble, simulate

ARRAYS = (
    "times",
    "replicas",
    "second_moment",
    "centre",
    "observables",
    "residual",
    "quadratic_variation",
    "compensator",
)


def assert_same(a: Ensemble, b: Ensemble) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


# Reproducible


SMALL = {"count": 37, "replicas": 7, "step": 0.02, "end": 0.1, "seed": 5, "stops": [0.05], "test_functions": FUNCTIONS}


@pytest.mark.ranks
def test_trajectories_do_not_depend_on_ranks_threads_or_batches(comm, monkeypatch):
    model = Model(sigma=1.0, gamma_bar=0.8)
    plain = simulate(model, UNEQUAL, **SMALL)
    assert plain.complete
    assert plain.replicas.tolist() == list(range(7))
    assert plain.second_moment.shape == (7, 3)
    assert (plain.steps, plain.times.tolist()) == (6, [0.0, 0.05, 0.1])
    assert_same(simulate(model, UNEQUAL, controls=Controls(comm=MPI.COMM_SELF), **SMALL), plain)
    for name in ARRAYS:  # and every rank has it
        assert all(np.array_equal(other, getattr(plain, name)) for other in comm.allgather(getattr(plain, name)))
    threads = numba.get_num_threads()
    for wanted in range(1, int(numba.config.NUMBA_NUM_THREADS) + 1):
        monkeypatch.setattr(particles, "use_threads", lambda comm, wanted=wanted: numba.set_num_threads(wanted))
        assert_same(simulate(model, UNEQUAL, **SMALL), plain)
    monkeypatch.setattr(particles, "BATCH_PARTICLES", 40)
    assert_same(simulate(model, UNEQUAL, **SMALL), plain)
    numba.set_num_threads(threads)


def test_seed_count_and_replica_have_noise_of_their_own(comm):
    model = Model(sigma=1.0, gamma_bar=0.8)
    plain = simulate(model, UNEQUAL, **SMALL)
    assert len(np.unique(plain.centre[:, -1, 0])) == 7
    more = simulate(model, UNEQUAL, **(SMALL | {"replicas": 9}))
    np.testing.assert_array_equal(more.residual[:7], plain.residual)
    other = simulate(model, UNEQUAL, **(SMALL | {"seed": 6}))
    assert not np.isclose(other.centre, plain.centre, rtol=1e-6).any()


# By hand


def drift_by_hand(interaction: str, x: np.ndarray, signs: np.ndarray, eps: float, kernel: str) -> np.ndarray:
    """What stands behind gamma in the four systems of the paper, (N, 2)."""
    ones = np.ones(len(signs))
    if interaction == "rotated":
        fx, fy = (signs[:, None] * forces(x, signs, eps, kernel)).T
        return np.column_stack([-fy, fx])
    return {"signed": 1, "repulsive": 1, "attractive": -1}[interaction] * forces(
        x, signs if interaction == "signed" else ones, eps, kernel
    )


@pytest.mark.parametrize("interaction", ["signed", "repulsive", "attractive", "rotated"])
@pytest.mark.parametrize("kernel", ["capped", "regularised"])
def test_a_tiny_run_redone_in_numpy(comm, kernel, interaction):
    diffusivity = "ito" if kernel == "capped" else "paper"
    confinement = {"kind": "harmonic", "strength": 0.7, "center": (0.2, 0.0)} if kernel == "capped" else None
    model = Model(sigma=0.9, gamma_bar=1.3, interaction=interaction, diffusivity=diffusivity, confinement=confinement)
    dt, steps, n = 0.05, 6, 5
    ensemble, x, signs = path_of(
        comm, model, UNEQUAL, n, [dt * k for k in range(1, steps)], dt * steps,
        step=dt, seed=3, test_functions=FUNCTIONS, kernel=kernel, eps=0.4,
    )  # fmt: skip
    assert signs.tolist() == [1, 1, 1, -1, -1]
    pull = [-0.7 * (p - [0.2, 0.0]) if confinement else np.zeros_like(p) for p in x]
    drift = [drift_by_hand(interaction, p, signs, 0.4, kernel) * 1.3 / n + q for p, q in zip(x, pull, strict=True)]
    limit = [drift_by_hand(interaction, p, signs, 1e-30, "capped") * 1.3 / n for p in x]  # W takes K itself
    limit = np.array(limit) + np.array(pull)
    seed = np.uint64(particles.ensemble_seed(3, n))
    for k in range(steps):
        noise = 0.9 * math.sqrt(dt) * normals(seed, 0, n, k)
        np.testing.assert_allclose(x[k + 1], x[k] + dt * drift[k] + noise, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ensemble.second_moment[0], (x**2).sum(axis=2).mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(ensemble.centre[0], x.mean(axis=1), atol=1e-14)

    weights = np.full(steps + 1, dt)
    weights[[0, -1]] = dt / 2
    for p, function in enumerate(FUNCTIONS):
        value, gradient, laplacian = (np.array(v) for v in zip(*(by_hand(function, q, signs) for q in x), strict=True))
        observable = value.mean(axis=1)
        np.testing.assert_allclose(ensemble.observables[0, p], observable, rtol=0, atol=1e-14)
        interaction_rate = np.einsum("tnd,tnd->t", limit, gradient) / n
        excess = np.einsum("tnd,tnd->t", np.array(drift) - limit, gradient) / n
        rate = interaction_rate + model.D * laplacian.mean(axis=1)
        for k in range(steps + 1):
            trapezoid = dt * (rate[: k + 1].sum() - (rate[0] + rate[k]) / 2)
            w = observable[k] - observable[0] - trapezoid
            assert ensemble.residual[0, p, k] == pytest.approx(w, rel=0, abs=1e-12)
        square = (gradient**2).sum(axis=2).mean(axis=1)
        assert ensemble.quadratic_variation[0, p] == pytest.approx(0.81 / n * weights @ square, abs=1e-13)
        expected = weights @ (excess + (0.81 / 2 - model.D) * laplacian.mean(axis=1))
        assert ensemble.compensator[0, p] == pytest.approx(expected, abs=1e-12)


def one_step(comm, initial, **options):
    """Displacements (2, 2) of two particles in one step of 0.01 with gamma = 0.2, less their noise."""
    both = [
        path_of(comm, Model(sigma=0.5, gamma=gamma), initial, 2, [], 0.01, step=0.01, **options)[1][-1]
        for gamma in (0.2, 0.0)
    ]
    return both[0] - both[1]


def test_kernels_near_and_far(comm, shared_folder):
    for d in (0.02, 0.3):
        initial = points_file(comm, shared_folder, [(0.0, 0.0), (d, 0.0)], [1, -1])
        for kernel, k in (("capped", d / max(d, 0.1) ** 2), ("regularised", d / (d**2 + 0.01))):
            moved = one_step(comm, initial, eps=0.1, kernel=kernel)
            # opposite signs attract: the left one moves right
            np.testing.assert_allclose(moved, [[0.002 * k, 0.0], [-0.002 * k, 0.0]], rtol=0, atol=1e-15)
    moved = one_step(comm, points_file(comm, shared_folder, [(0.0, 0.0), (0.02, 0.0)], [1, -1]), pairs="euler")
    cap = 2 * 0.2 * 0.01  # eps^2 = 2 gamma dt by default ...
    eps = math.sqrt(cap)
    assert eps > 0.02
    np.testing.assert_allclose(moved[0, 0] - moved[1, 0], 0.02, rtol=1e-12)  # ... so a close pair just meets


def test_cutoff_switches_the_drift_off_where_equal_signs_are_close(comm, shared_folder):
    for d, factor in ((0.04, 0.0), (0.05, 0.0), (0.075, 0.5), (0.1, 1.0), (0.3, 1.0)):  # l = 10
        initial = points_file(comm, shared_folder, [(0.0, 0.0), (0.0, d)], [1, 1])
        moved = one_step(comm, initial, cutoff=10, eps=1e-3)
        np.testing.assert_allclose(moved[1], [0.0, 0.002 * factor / d], rtol=1e-9, atol=1e-15)
    initial = points_file(comm, shared_folder, [(0.0, 0.0), (0.0, 0.04)], [1, -1])
    assert one_step(comm, initial, cutoff=10, eps=1e-3)[1, 1] == pytest.approx(-0.05, rel=1e-9)  # opposite signs


# Exact laws


def test_brownian_motion_alone(comm):
    """gamma_bar = 0: the centre is normal with variance sigma^2 t / N, its increments and the replicas independent."""
    n, replicas, sigma = 3, 2000, 0.8
    e = simulate(
        Model(sigma=sigma, gamma_bar=0.0), UNEQUAL, count=n, replicas=replicas, step=0.125, end=1.0, stops=[0.5],
        seed=1,
    )  # fmt: skip
    increments = np.diff(e.centre, axis=1) / (sigma * math.sqrt(0.5 / n))  # (R, 2, 2): times, coordinates
    for sample in increments.reshape(replicas, 4).T:
        assert scipy.stats.kstest(sample, "norm").pvalue > 1e-3
    correlation = np.corrcoef(increments.reshape(replicas, 4).T) - np.eye(4)
    assert np.abs(correlation).max() < SE / math.sqrt(replicas)
    neighbours = np.corrcoef(increments[:-1, 0, 0], increments[1:, 0, 0])[0, 1]
    assert abs(neighbours) < SE / math.sqrt(replicas)


@pytest.mark.parametrize("interaction", ["signed", "repulsive"])
def test_virial_law(comm, interaction):
    n, replicas, end = 32, 600, 0.5
    model = Model(sigma=1.0, gamma_bar=2.0, interaction=interaction)
    e = simulate(model, UNEQUAL, count=n, replicas=replicas, step=0.0025, end=end, seed=2)
    signs = np.repeat([1.0, -1.0], [19, 13])
    charges = signs if interaction == "signed" else np.ones(n)
    growth = e.second_moment[:, -1] - e.second_moment[:, 0]
    mean, error = mean_and_stderr(growth)
    expected = particle_second_moment_rate(1.0, 2.0 / n, charges) * end
    assert abs(mean - expected) < SE * error
    assert abs(mean - 2 * end) > SE * error or interaction == "signed"  # the drift's part is seen


@pytest.mark.parametrize("interaction", ["signed", "repulsive"])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_squared_bessel_law(comm, shared_folder, n, interaction):
    """R = sum |X_i - centroid|^2 / sigma^2 has an exact law for every N, whatever the configuration does."""
    signs = np.where(np.arange(n) % 2, -1.0, 1.0)
    initial = points_file(comm, shared_folder, POINTS[:n], signs)
    sigma, gamma, end = 0.9, 0.08, 0.5
    model = Model(sigma=sigma, gamma=gamma, interaction=interaction)
    e = simulate(model, initial, count=n, replicas=3000, step=0.005, end=end, seed=n)
    R = n * (e.second_moment - (e.centre**2).sum(axis=2)) / sigma**2
    charges = signs if interaction == "signed" else np.ones(n)
    law = squared_bessel_law(sigma=sigma, gamma=gamma, positions=POINTS[:n], signs=charges, time=end)
    assert scipy.stats.kstest(R[:, -1], law.cdf).pvalue > 1e-3
    assert abs(R[:, -1].mean() - law.mean()) < SE * law.std() / math.sqrt(3000)


# Errors of the user


@pytest.mark.ranks
def test_wrong_arguments_and_requests_to_stop(comm):
    good = {"count": 4, "replicas": 2, "step": 0.1, "end": 0.1}
    model = Model(sigma=1.0, gamma_bar=0.4)
    for bad in ({"count": 0}, {"replicas": 0}, {"step": 0.0}, {"end": math.inf}, {"step": math.nan}):
        with pytest.raises(InputError, match="must be"):
            simulate(model, DIPOLE, **(good | bad))
    with pytest.raises(InputError, match=r"test_functions\[0\]"):
        simulate(model, DIPOLE, test_functions=[GaussianBump(center=(0, 0, 0), width=1.0)], **good)
    with pytest.raises((InputError, RunError), match="kernel"):
        simulate(model, DIPOLE, kernel="bare", **good)
    with pytest.raises(Interrupted):
        simulate(model, DIPOLE, controls=Controls(stop_asked=lambda: True), **good)


# The fast sum


def test_the_fast_sum_gives_the_trajectories_of_the_direct_one(comm):
    model = Model(sigma=1.0, gamma_bar=0.8)
    options = {"count": 700, "replicas": 2, "step": 0.02, "end": 0.1, "seed": 3, "test_functions": FUNCTIONS}
    options |= {"kernel": "regularised", "eps": 1e-4}
    direct = simulate(model, UNEQUAL, method="direct", **options)
    fast = simulate(model, UNEQUAL, method="fast", accuracy=1e-9, **options)
    coarse = simulate(model, UNEQUAL, method="fast", accuracy=1e-1, **options)
    for name in ("second_moment", "centre", "observables", "residual"):
        np.testing.assert_allclose(getattr(fast, name), getattr(direct, name), rtol=1e-7, atol=1e-9)
    assert not np.array_equal(coarse.second_moment, direct.second_moment)
    assert_same(simulate(model, UNEQUAL, method="auto", **options), direct)  # few charges
    with pytest.raises(InputError, match=r"accuracy = 1\.0"):
        simulate(model, UNEQUAL, **(options | {"accuracy": 1.0}))
