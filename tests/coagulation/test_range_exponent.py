"""P_{N,beta} of section 3.4: particles that meet without correlations, whose limit has the naive rate.

What carries the load: beta fitted to simulated particles is the naive one, with the shift of finite N that the recipe
knows, where that of the theorem's particles is a fifth of it.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dataclasses
import math

import numpy as np
import pytest

from limitpde.coagulation.case import Case, Particles
from limitpde.coagulation.interaction import DoiBall
from limitpde.coagulation.model import Initial, Model, Part, Rates
from limitpde.coagulation.particles import simulate
from limitpde.coagulation.proof import fitted_beta
from limitpde.coagulation.rates import beta, microscopic, naive, scattering_length, share_at
from limitpde.coagulation.summary import particle_cautions
from limitpde.densities import Uniform
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.sections import Time

SE = 4.5
ONE = np.array([1])
TORUS = Domain.torus(np.ones(3))
EVEN = Initial(masses=(Part(n=1, density=Uniform(mass=1.0)),))


def model_of(exponent, alpha=2.0, **options):
    return Model(
        diffusion=(0.1,), interaction=DoiBall(alpha=alpha), reaction="annihilation", n_max=1,
        range_exponent=exponent, **options,
    )  # fmt: skip


def simulated(model, method="micro", count=300):
    return simulate(model, EVEN, count=count, replicas=24, end=0.1, domain=TORUS, method=method, seed=5)


def test_the_limit_has_the_naive_rate():
    assert beta(model_of(0.5))[0, 0] == pytest.approx(2.0 * 4 * math.pi / 3)
    assert beta(model_of(1.0))[0, 0] == pytest.approx(1.7213500358, rel=1e-9)


def test_the_rate_at_eps_is_that_of_the_weaker_pair():
    """At eps^beta of the range, alpha eps^-2 V F is alpha' eps^-2 V with alpha' = alpha F."""
    model = model_of(0.5)
    log_eps = model.log_eps(400, 1.0)
    assert math.exp(log_eps) == pytest.approx(400**-0.5)
    front = 400**-0.5
    kappa = math.sqrt(2.0 * front / 0.2)
    exact = 4 * math.pi * 0.2 * (1 - math.tanh(kappa) / kappa) / front
    assert microscopic(model, ONE, ONE, log_eps=log_eps)[0] == pytest.approx(exact, rel=1e-8)
    assert scattering_length(model, ONE, ONE, log_eps=log_eps)[0] == pytest.approx(1 - math.tanh(kappa) / kappa)
    assert share_at(model, 1, 1, log_eps) == pytest.approx(exact / naive(model, ONE, ONE)[0])
    fixed = dataclasses.replace(model, beta=Rates(log_eps=log_eps))
    assert beta(fixed)[0, 0] == pytest.approx(exact, rel=1e-8)
    assert share_at(fixed, 1, 1, log_eps) == 1.0


def test_particles_meet_at_the_naive_rate():
    """The theorem's particles, with as many replicas, are far from it (fitted_beta in docs/coagulation.md)."""
    for exponent, method in ((0.5, "micro"), (0.5, "closed"), (0.75, "micro")):
        model = model_of(exponent)
        found = fitted_beta.fit(model, simulated(model, method), 1, TORUS)
        assert found.theory == pytest.approx(found.naive)
        assert abs(found.deviation) < SE, (exponent, method)
        assert found.stderr < 0.05 * found.beta
    known = fitted_beta.fit(model_of(1.0), simulated(model_of(1.0)), 1, TORUS)
    assert abs(known.deviation) < SE
    assert known.naive_deviation < -20


def test_means_come_to_their_limit_like_the_rate():
    assert model_of(1.0).means_powers == (-1.0,)
    assert model_of(0.5).means_powers == (-0.5, -1.0)
    assert model_of(0.25).means_powers == (-0.5, -0.75, -1.0)
    assert model_of(0.5, beta=Rates(log_eps=-3.0)).means_powers == ()
    assert (model_of(1.0).residual_rate, model_of(0.75).residual_rate) == (-0.5, -0.25)


def test_far_from_the_limit_is_said():
    model = model_of(0.75)
    case = Case(system="coagulation", model=model, initial=EVEN, time=Time(end=0.1), particles=Particles(counts=(300,)))
    ensemble = simulate(model, EVEN, count=300, replicas=2, end=0.01, domain=TORUS)
    (caution,) = particle_cautions(case, ensemble)
    assert caution.exceeded
    assert caution.value == pytest.approx(1 - share_at(model, 1, 1, ensemble.log_eps))
    assert "model.beta.log_eps = -4.278" in caution.text
    here = dataclasses.replace(model, beta=Rates(log_eps=ensemble.log_eps))
    (caution,) = particle_cautions(dataclasses.replace(case, model=here), ensemble)
    assert not caution.exceeded


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 2, "range_exponent": 0.5}, "range_exponent = 0.5: is for dimension = 3"),
        ({"range_exponent": 1.5}, "less than or equal to 1"),
        ({"beta": Rates(log_eps=-3.0)}, "beta.log_eps = -3: for dimension = 3 the rate does not depend on eps"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises((InputError, ValueError), match=message):
        Model(diffusion=(0.1,), interaction=DoiBall(alpha=2.0), **options)
