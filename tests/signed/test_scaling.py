"""Strengths of the particles that are other powers of N than those of the equation, and signs that are drawn.

The load is carried by laws that hold for every N: the second moment, of rate 2 sigma_N^2 + gamma_N ((sum b)^2 - N) / N,
and W, of mean (N gamma_N - gamma_bar) times the integral of Lemma 5.10 and variance by Ito's isometry with sigma_N.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from ensembles import DIPOLE, FUNCTIONS, SE, UNEQUAL
from signed_laws import particle_second_moment_rate

from limitpde.compare.extrapolation import extrapolate
from limitpde.errors import InputError
from limitpde.nbody.replicas import Controls
from limitpde.signed.case import Case
from limitpde.signed.model import Initial, Model
from limitpde.signed.particles import simulate
from limitpde.signed.scaling import PowerOfN, Scaling
from limitpde.signed.start import signs_outside

MODEL = Model(sigma=1.0, gamma_bar=0.4)
RANDOM = Initial(positive=UNEQUAL.positive, negative=UNEQUAL.negative, signs="random")
OPTIONS = {"step": 0.02, "end": 0.2, "seed": 3, "test_functions": FUNCTIONS}


def test_the_equations_own_strengths_change_nothing():
    options = {**OPTIONS, "count": 24, "replicas": 3, "pairs": "exact"}
    plain = simulate(MODEL, UNEQUAL, **options)
    powers = {"gamma": PowerOfN(coefficient=0.4, power=-1), "sigma": PowerOfN(coefficient=1.0, power=0)}
    same = simulate(MODEL, UNEQUAL, **options, **powers)
    for name in ("second_moment", "observables", "residual", "compensator", "quadratic_variation"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(same, name))
    assert same.in_theory
    assert not same.own_strengths


@pytest.mark.parametrize("count", [16, 64])
@pytest.mark.parametrize(("p", "q"), [(1.5, 0.0), (0.5, 0.25)])
def test_second_moment_and_residual(count, p, q):
    """Of W: its mean is that of A, A is the drift's surplus times the interaction term, its variance that of M."""
    replicas, gamma, sigma = 400, 0.8 * count**-p, 1.2 * count**-q
    model = Model(sigma=1.2 if q == 0 else 0.5, gamma_bar=0.3)
    options = OPTIONS | {"step": 0.004, "stops": np.arange(1, 50) / 250}
    found = simulate(
        model, UNEQUAL, **options, count=count, replicas=replicas, pairs="euler",
        gamma=PowerOfN(coefficient=0.8, power=-p), sigma=PowerOfN(coefficient=1.2, power=-q),
    )  # fmt: skip
    assert found.positive[0] == round(0.6 * count)
    signs = np.repeat([1.0, -1.0], [found.positive[0], count - found.positive[0]])
    gained = found.second_moment[:, -1] - found.second_moment[:, 0]
    rate = particle_second_moment_rate(sigma, gamma, signs)
    assert abs(gained.mean() - 0.2 * rate) < SE * gained.std() / math.sqrt(replicas)
    noise = found.noise
    assert np.all(np.abs(noise.mean(axis=0)) < SE * noise.std(axis=0) / math.sqrt(replicas))
    squares = noise**2 - found.quadratic_variation
    assert np.all(np.abs(squares.mean(axis=0)) < SE * squares.std(axis=0) / math.sqrt(replicas))
    assert found.in_theory
    wave = FUNCTIONS[2]  # Lap phi = -|k|^2 phi, so that its part of A can be told at the times of the steps
    lap = -(math.hypot(*wave.k) ** 2) * np.trapezoid(found.observables[:, 2].mean(axis=0), found.times)
    a = found.compensator[:, 2].mean() - (sigma**2 / 2 - model.D) * lap
    w = found.residual[:, 2, -1].mean()
    interaction = found.observables[:, 2, -1].mean() - found.observables[:, 2, 0].mean() - w - model.D * lap
    assert a == pytest.approx((count * gamma / 0.3 - 1) * interaction, rel=1e-6)


def test_powers():
    """What the terms of Lemma 5.10 fall like, how means come to their limit, and which assumption does not hold."""

    def of(model=MODEL, gamma=None, sigma=None):
        laws = [law and PowerOfN(coefficient=law[0], power=law[1]) for law in (gamma, sigma)]
        scaling = Scaling(model, *laws)
        return scaling.residual_rate, scaling.means_powers, scaling.outside_theory

    free, quiet = Model(sigma=1.0, gamma_bar=0.0), Model(sigma=0.0, gamma_bar=1.0)
    assert of() == of(gamma=(0.4, -1)) == of(sigma=(1.0, 0)) == (-0.5, (-1.0,), "")
    assert of(free, gamma=(1.0, -1.25)) == (-0.25, (-0.25, -1.0), "")
    assert of(free, gamma=(1.0, -1.75)) == (-0.5, (-0.75, -1.0), "")
    rate, means, outside = of(gamma=(0.8, -1))
    assert (rate, means) == (0.0, (-1.0,))
    assert outside == "particles.gamma: N gamma_N tends to 0.8, not to model.gamma_bar = 0.4"
    rate, means, outside = of(gamma=(0.8, -0.5))
    assert (rate, means) == (0.5, ())
    assert "N gamma_N grows like N^0.5" in outside
    rate, means, outside = of(quiet, sigma=(1.0, -0.25))  # gamma = N^(-1/2) in another unit of time
    assert (rate, means) == (-0.5, (-0.5, -1.0))
    assert "(1.5)" in outside
    assert of(quiet, sigma=(1.0, -0.75))[0] == -1.25
    assert of(sigma=(1.0, -0.25))[0] == of(sigma=(1.1, 0))[0] == 0.0
    assert "the theorem has one sigma" in of(sigma=(1.1, 0))[2]
    with pytest.raises(InputError, match=r"particles\.gamma: goes with model\.gamma_bar"):
        Scaling(Model(sigma=1.0, gamma=0.1), PowerOfN(coefficient=1.0, power=-1))
    with pytest.raises(InputError, match="power"):
        PowerOfN(coefficient=1.0, power=0.5)


class Means:
    """An ensemble of which only means and their spread matter."""

    def __init__(self, count, mean, rng):
        self.count, self.replicas = count, np.arange(200)
        self.observables = mean + 0.5 / math.sqrt(count) * rng.normal(size=(200, 1, 2))


def test_slow_laws_are_extrapolated_as_they_are():
    """With a + b N^(-1/4) a fit of 1 / N misses a by what the fit of N^(-1/4) does not; without a law there is none."""
    rng = np.random.default_rng(1)
    ensembles = [Means(n, 0.3 + 0.4 * n**-0.25 - 0.5 / n, rng) for n in (64, 256, 1024, 4096)]
    slow, fast = extrapolate(ensembles, 1.0, (-0.25, -1.0)), extrapolate(ensembles, 1.0)
    off = np.abs(slow.value - 0.3) - slow.bias
    assert np.all(off < SE * slow.stderr)
    assert np.all(np.abs(fast.value - 0.3) - fast.bias > 10 * fast.stderr)
    none = extrapolate(ensembles, 1.0, ())
    np.testing.assert_array_equal(none.value, ensembles[-1].observables.mean(axis=0))
    assert none.bias == pytest.approx(np.full((1, 2), 4 / 4096))


@pytest.mark.ranks
def test_random_signs(comm):
    """Binomial numbers, the same on any number of ranks; the second moment given the signs, and in expectation."""
    count, replicas = 24, 600
    options = {"count": count, "replicas": replicas, "step": 0.02, "end": 0.2, "seed": 5, "pairs": "euler"}
    found = simulate(MODEL, RANDOM, **options, test_functions=FUNCTIONS[1:2], controls=Controls(comm=comm))
    spread = math.sqrt(count * 0.6 * 0.4)
    assert abs(found.positive.mean() - 0.6 * count) < SE * spread / math.sqrt(replicas)
    assert found.positive.var() == pytest.approx(spread**2, rel=0.3)
    assert found.positive.min() >= 0
    net = 2.0 * found.positive - count
    law = 2 + 0.4 / count * (net**2 - count) / count
    gained = found.second_moment[:, -1] - found.second_moment[:, 0]
    off = gained - 0.2 * law
    assert abs(off.mean()) < SE * off.std() / math.sqrt(replicas)
    expected = 0.2 * (2 + 0.4 / count * (count - 1) * 0.2**2)
    assert abs(gained.mean() - expected) < SE * gained.std() / math.sqrt(replicas)
    start = found.observables[:, 0, 0]  # of a charged function: independent pairs of place and sign, no rounding
    assert (
        start.var()
        > 1.2 * simulate(MODEL, UNEQUAL, **options, test_functions=FUNCTIONS[1:2]).observables[:, 0, 0].var()
    )
    if comm.size > 1:
        alone = simulate(MODEL, RANDOM, **options | {"replicas": 8}, test_functions=FUNCTIONS[1:2])
        np.testing.assert_array_equal(found.positive[:8], alone.positive)


def test_what_random_signs_do_not_keep():
    outside = signs_outside(RANDOM, [16, 64])
    assert "beta_0 = 0.2" in outside
    assert "N = 16" in outside
    assert signs_outside(RANDOM, [4000]) == signs_outside(UNEQUAL, [16]) == ""
    with pytest.raises(InputError, match="signs = 'random'"):
        Initial(points="some.npz", signs="random")


def case_of(**changes):
    base = {
        "system": "signed", "model": MODEL, "initial": DIPOLE, "time": {"end": 0.2},
        "particles": {"counts": [8], "step": 0.1, "gamma": {"coefficient": 1.0, "power": -1.25}},
    }  # fmt: skip
    return Case(**base | changes)


def test_a_case_keeps_the_equations_strengths():
    case = case_of()
    assert case.scaling.particles(16).pair_strength(16) == 16**-1.25
    assert case.limit.gamma_bar == 0.4
    with pytest.raises(InputError, match="one gamma_bar and sigma"):
        case_of(estimates={"check": True})
    with pytest.raises(InputError, match=r"goes with model\.gamma_bar"):
        case_of(model=Model(sigma=1.0, gamma=0.1))
