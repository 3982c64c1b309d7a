"""Distances of clouds to a measure of atoms: against scipy and sums over all pairs, and their floor."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance, wasserstein_distance

from limitpde.compare.clouds import Atoms, cloud_rows
from limitpde.domains import Domain
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


def test_the_floor_of_even_draws_around_a_circle():
    """E of the square of the energy distance is E|X - X'| / N, of chords 4 r / pi; W_1 = int |D - c|, c the median."""
    domain, n, rng = Domain.torus(np.array([3.0])), 40, np.random.default_rng(6)
    nodes = 3.0 * np.arange(30)[:, None] / 30
    atoms = Atoms(nodes, np.ones(30), volumes=np.full(30, 0.1), domain=domain)
    found = np.array([atoms.distances(domain.sample(n, rng)) for _ in range(60)])
    squares, exact = found[:, -1] ** 2, 4 * (3 / (2 * math.pi)) / math.pi / n
    assert abs(squares.mean() - exact) < 4.5 * squares.std() / math.sqrt(len(squares))
    seam = atoms.distances(np.array([[0.1], [2.9]]))[0]
    assert seam == pytest.approx(atoms.distances(np.array([[1.6], [1.4]]))[0], abs=1e-3)


@pytest.mark.parametrize(
    "domain", [Domain.box(np.array([1.0, 2.0]), np.array([0.3, -1.0])), Domain.ball(1.0, np.array([0.5, 0.0]))]
)
def test_many_even_points_are_at_the_floor_of_a_coarse_grid(domain):
    """Masses at nodes 0.25 apart have jumps of their marginals that 4000 points see; spread over cells they do not."""
    d, rng = 2, np.random.default_rng(7)
    middle = [
        low + 0.125 + 0.25 * np.arange(round(size / 0.25)) for low, size in zip(domain.low, domain.size, strict=True)
    ]
    nodes = np.stack(np.meshgrid(*middle, indexing="ij"), axis=-1).reshape(-1, d)
    nodes = nodes[domain.contains(nodes)]
    volumes = np.full(len(nodes), domain.volume / len(nodes))
    clouds = [domain.sample(4000, rng) for _ in range(8)]
    spread, points = Atoms(nodes, volumes, volumes=volumes, domain=domain), Atoms(nodes, volumes, domain=domain)
    assert domain.contains(spread.draw(1000, rng)).all()
    for row in cloud_rows(points, clouds, {}, seed=5):
        assert row["distance"] == "sliced" or row["mean"] > row["floor"] + 6 * row["stderr"]
    if domain.kind == "box":
        for row in cloud_rows(spread, clouds, {}, seed=5):
            assert abs(row["mean"] - row["floor"]) < 4.5 * math.hypot(row["stderr"], row["floor_stderr"]), row


def test_a_density_without_mass_is_refused():
    with pytest.raises(RunError, match="must be positive"):
        Atoms(np.zeros((2, 2)), np.array([1.0, -1.0]))
