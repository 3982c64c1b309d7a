"""Distances of clouds to a measure of atoms: against scipy and sums over all pairs, and their floor."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance, wasserstein_distance

from limitpde.compare.clouds import Atoms, cloud_rows
from limitpde.errors import RunError


def measure(d: int, n: int = 200, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.random(n)


def test_marginals_are_those_of_scipy_and_so_is_the_energy_distance_of_a_line():
    points, masses = measure(1)
    cloud = np.random.default_rng(2).normal(size=(50, 1)) + 0.3
    found = dict(zip(Atoms(points, masses).names, Atoms(points, masses).distances(cloud), strict=True))
    weights = masses / masses.sum()
    assert found["x1"] == pytest.approx(wasserstein_distance(points[:, 0], cloud[:, 0], weights), rel=1e-12)
    assert found["sliced"] == pytest.approx(found["x1"], rel=1e-12)
    assert found["energy"] == pytest.approx(energy_distance(points[:, 0], cloud[:, 0], weights), rel=1e-12)


@pytest.mark.parametrize(("d", "tolerance"), [(2, 2e-3), (3, 0.1)])
def test_the_energy_distance_is_that_of_all_pairs(d, tolerance):
    points, masses = measure(d)
    cloud, weights = np.random.default_rng(3).normal(size=(40, d)) + 0.4, masses / masses.sum()
    square = 2 * weights @ cdist(points, cloud).mean(axis=1) - weights @ cdist(points, points) @ weights
    expected = math.sqrt(square - cdist(cloud, cloud).mean())
    assert Atoms(points, masses).distances(cloud)[-1] == pytest.approx(expected, rel=tolerance)


def test_independent_clouds_lie_at_their_floor_and_shifted_ones_do_not():
    points, masses = measure(2, n=3000)
    atoms, rng = Atoms(points, masses), np.random.default_rng(4)
    clouds = [atoms.draw(64, rng) for _ in range(24)]
    for row in cloud_rows(atoms, [*clouds, clouds[0][:0]], {"N": 64}, seed=5):
        assert row["replicas"] == 24
        error = math.hypot(row["stderr"], row["floor_stderr"])
        assert abs(row["mean"] - row["floor"]) < 4.5 * error, row
    shifted = [cloud + 0.6 for cloud in clouds]
    for row in cloud_rows(atoms, shifted, {"N": 64}, seed=5):
        assert row["mean"] > row["floor"] + 6 * math.hypot(row["stderr"], row["floor_stderr"]), row


def test_a_density_without_mass_is_refused():
    with pytest.raises(RunError, match="must be positive"):
        Atoms(np.zeros((2, 2)), np.array([1.0, -1.0]))
