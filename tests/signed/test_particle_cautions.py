"""What the particles' steps cost, and where nothing is to be expected of them.

The load is carried by the virial law, which the estimate of the steps' error must explain where it fails, and by cases
in which deviations in standard errors would be false alarms.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from ensembles import DIPOLE, FUNCTIONS, SE, points_file
from signed_laws import particle_second_moment_rate

from limitpde.densities import Gaussian
from limitpde.signed.case import Case
from limitpde.signed.model import Initial, Model
from limitpde.signed.particles import simulate
from limitpde.signed.summary import particle_cautions, particle_figures

CLUMPS = Initial(positive=tuple(Gaussian(mass=0.5, center=(x, 0.0), width=0.4) for x in (-1.0, 1.0)))
ATTRACTIVE = Model(sigma=1.0, gamma_bar=3.0, interaction="attractive")


def cautions(model, initial, ensemble):
    case = Case(
        system="signed", model=model, initial=initial, time={"end": 1.0},
        particles={"counts": [ensemble.count], "step": 0.1, "replicas": 2},
    )  # fmt: skip
    return {caution.name: caution for caution in particle_cautions(case, ensemble)}


def test_the_estimate_explains_what_long_steps_do_to_the_virial_law():
    model = Model(sigma=0.3, gamma_bar=2.0, interaction="repulsive")
    initial = Initial(positive=(Gaussian(mass=1.0, center=(0.0, 0.0), width=0.4),))
    ensemble = simulate(model, initial, count=50, replicas=200, step=0.05, end=0.4, stops=np.arange(1, 8) / 20, seed=1)
    gained = ensemble.second_moment[:, -1] - ensemble.second_moment[:, 0]
    error = gained.std() / math.sqrt(200)
    law = 0.4 * particle_second_moment_rate(0.3, 0.04, np.ones(50))
    found = float(np.trapezoid(ensemble.mean_step_bias, ensemble.times))
    assert gained.mean() - law > 10 * error
    assert abs(gained.mean() - law - found) < SE * error + 0.2 * found  # a sum over eight steps by the trapezoidal rule
    caution = cautions(model, initial, ensemble)["step_bias"]
    assert caution.exceeded
    assert "take a step (particles.step)" in caution.text


def test_sound_steps_are_not_called_into_question():
    for options in ({"pairs": "euler"}, {"pairs": "exact"}, {"method": "batches", "batch_size": 8}):
        model = Model(sigma=1.0, gamma_bar=0.4)
        ensemble = simulate(model, DIPOLE, count=64, replicas=20, step=0.005, end=0.1, seed=1, **options)
        assert not any(caution.exceeded for caution in cautions(model, DIPOLE, ensemble).values())


def test_nothing_is_expected_past_a_collapse():
    options = {"count": 100, "replicas": 10, "step": 0.01, "seed": 1, "test_functions": FUNCTIONS[:1]}
    early = simulate(ATTRACTIVE, CLUMPS, end=0.2, **options)
    late = simulate(ATTRACTIVE, CLUMPS, end=1.5, stops=[0.5, 1.0], **options)
    assert not early.collapsed
    assert np.isfinite(early.noise).all()
    assert "deviation" in particle_figures(ATTRACTIVE, early)["second_moment"]
    assert late.collapsed
    assert np.isnan(late.noise).all()
    assert "rate_theory" not in particle_figures(ATTRACTIVE, late)["second_moment"]
    assert not cautions(ATTRACTIVE, CLUMPS, early)["step_bias"].exceeded
    caution = cautions(ATTRACTIVE, CLUMPS, late)["step_bias"]
    assert caution.exceeded
    assert "have collapsed" in caution.text


def test_no_virial_law_where_charges_stick_or_noise_is_missing(comm, shared_folder):
    """Also where Euler's steps do not see that charges with gamma >= sigma^2 stick."""
    initial = points_file(comm, shared_folder, [(0.0, 0.0), (0.1, 0.0)], [1, -1])
    options = {"count": 2, "replicas": 50, "step": 0.01, "end": 0.2}
    for model, keywords in (
        (Model(sigma=1.0, gamma=1.3), {"pairs": "euler"}),
        (Model(sigma=1.0, gamma=0.6), {"collision": "stick"}),
    ):
        found = particle_figures(model, simulate(model, initial, **options, **keywords))["second_moment"]
        assert "rate_theory" not in found
    still = Model(sigma=0.0, gamma_bar=1.0, interaction="repulsive")
    found = particle_figures(still, simulate(still, DIPOLE, **options | {"count": 20}))["second_moment"]
    assert "rate_theory" in found
    assert "deviation" not in found


@pytest.mark.parametrize(("gamma", "exceeded"), [(0.6, True), (0.3, False)])
def test_three_that_attract_each_other(comm, shared_folder, gamma, exceeded):
    """R of the three has the dimension 2 (2 - 3 gamma): 0.4 for 0.6, where the error falls like step^0.2 only.

    The second moment then grows at 0.88, 0.84, 0.83 at steps of 0.05, 0.0125, 0.003 where the law has 0.8.
    """
    model = Model(sigma=1.0, gamma=gamma, interaction="attractive")
    initial = points_file(comm, shared_folder, [(0.0, 0.0), (1.0, 0.0), (0.4, 0.8)], [1, 1, 1])
    ensemble = simulate(model, initial, count=3, replicas=4, step=0.05, end=0.1)
    caution = cautions(model, initial, ensemble)["cluster_dimension"]
    assert caution.value == pytest.approx(1 / (2 * (2 - 3 * gamma)))
    assert caution.exceeded == exceeded
