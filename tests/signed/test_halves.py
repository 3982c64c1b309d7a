"""Steps of charges made as two halves along the same paths (`Controls.halved`).

The load is carried by free particles, whose halves add to their steps to rounding; by differences of means that halve
with the step and have far less noise than the means; and by exact laws, which halved runs must meet as whole ones do.
Seeds are fixed; means are allowed 4.5 standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from ensembles import DIPOLE, FUNCTIONS, SE, points_file
from signed_laws import particle_second_moment_rate

from limitpde.nbody.replicas import Controls
from limitpde.signed.exact import pair_collision_probability
from limitpde.signed.halves import halves
from limitpde.signed.model import Model
from limitpde.signed.particles import simulate

HALVED = Controls(halved=True)


def difference(model, step, replicas=300, **options):
    """Of the means of halved and whole steps at the end, (5,), with its standard error and that of the means."""
    arguments = {"step": step, "end": 0.4, "seed": 3, "replicas": replicas, "test_functions": FUNCTIONS, **options}
    found = []
    for controls in (HALVED, Controls()):
        ensemble = simulate(model, DIPOLE, controls=controls, **arguments)
        found.append(np.column_stack([ensemble.second_moment[:, -1], ensemble.observables[:, :, -1]]))
    halved, whole = found
    gap = halved - whole
    root = math.sqrt(replicas)
    return gap.mean(axis=0), gap.std(axis=0) / root, whole.std(axis=0) / root


def test_halves_are_independent_and_add_to_the_step():
    replicas = np.arange(200)
    first, second = (path.normals for path in halves((200, 50), seed=7, replicas=replicas, number=replicas % 3))
    whole = (first + second) / math.sqrt(2)
    alone = simulate(
        Model(sigma=1.0, gamma=0.0), DIPOLE, count=50, replicas=2, step=0.1, end=0.1, controls=HALVED, seed=1
    )
    assert alone.steps == 2
    for sample in (first, second, whole):
        assert abs((sample**2).mean() - 1) < SE * math.sqrt(2 / sample.size)
    for a, b in ((first, second), (first, first[::-1]), (whole, first - second)):
        assert abs((a * b).mean()) < SE / math.sqrt(a.size)


@pytest.mark.ranks
@pytest.mark.parametrize("pairs", ["euler", "exact"])
def test_free_particles_have_the_same_positions(pairs):
    """Also where pairs move by their exact law: that of a Brownian motion, in which one angle is taken from another."""
    options = {"count": 30, "replicas": 4, "step": 0.05, "end": 0.4, "stops": [0.2], "pairs": pairs}
    whole, halved = (simulate(Model(sigma=1.0, gamma=0.0), DIPOLE, controls=c, **options) for c in (Controls(), HALVED))
    np.testing.assert_allclose(halved.centre, whole.centre, atol=1e-12)
    np.testing.assert_allclose(halved.second_moment, whole.second_moment, rtol=1e-12 if pairs == "euler" else 1e-5)


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({"count": 100, "pairs": "euler"}, 0.05),
        ({"count": 100, "pairs": "exact"}, 0.15),
        ({"count": 100, "method": "batches", "batch_size": 8}, 0.15),
    ],
)
def test_the_difference_is_of_order_one_with_little_noise(options, share):
    """`share`: of the noise of the means. The second moment is what the cap and the batches change most."""
    model = Model(sigma=1.0, gamma_bar=2.0)
    coarse, fine = (difference(model, step, **options) for step in (0.04, 0.02))
    for _, error, of_means in (coarse, fine):
        assert (error < share * of_means).all()
    gap, error = coarse[0][0], math.hypot(coarse[1][0], 2 * fine[1][0])
    assert gap < -4 * coarse[1][0]
    assert abs(gap - 2 * fine[0][0]) < SE * error


def test_halved_runs_are_runs_at_half_the_step():
    """The squared Bessel law's mean with close charges, and collisions of two, at steps where a half matters."""
    model = Model(sigma=1.0, gamma_bar=2.0)
    for pairs, substeps in (("exact", 1), ("exact", 4), ("euler", 8)):
        ensemble = simulate(
            model, DIPOLE, count=10, replicas=600, step=0.01, end=0.3, seed=2, pairs=pairs, substeps=substeps,
            controls=HALVED,
        )  # fmt: skip
        gained = ensemble.second_moment[:, -1] - ensemble.second_moment[:, 0]
        rate = particle_second_moment_rate(1.0, 0.2, np.repeat([1.0, -1.0], 5))
        assert abs(gained.mean() - 0.3 * rate) < SE * gained.std() / math.sqrt(600)
        assert ensemble.steps == 60
        assert ensemble.parts.min() >= 60


@pytest.mark.parametrize("collision", ["through", "stick"])
def test_collisions_of_two_in_halves(comm, shared_folder, collision):
    initial = points_file(comm, shared_folder, [(-0.35, 0.0), (0.35, 0.0)], [1, -1])
    ensemble = simulate(
        Model(sigma=1.0, gamma=0.8), initial, count=2, replicas=20_000, step=0.1, end=0.2, seed=2, collision=collision,
        controls=HALVED,
    )  # fmt: skip
    chance = pair_collision_probability(sigma=1.0, gamma=0.8, separation=0.7, time=0.2)
    assert abs(ensemble.collided.mean() - chance) < SE * math.sqrt(chance * (1 - chance) / 20_000)
