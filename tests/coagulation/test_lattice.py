"""Coalescing walkers on the lattice (section 2.2), Kingman's coalescent, and the constants between them.

What carries the load: G to 12 digits; the mean time until a pair merges, which is exact on every torus, for pairs that
merge at once and at the paper's rate one; Kingman's law in the time scale that follows, and not in the paper's.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numba
import numpy as np
import pytest
from kingman import kingman_law
from scipy.special import gamma

from limitpde.coagulation.lattice import (
    cluster_walkers,
    cox_constant,
    kingman_mean,
    pair_rate,
    torus_constant,
    torus_walkers,
)
from limitpde.errors import InputError, RunError

SE = 4.5


def off(values, expected):
    """Distance of the mean of values (R, ...) from what is expected, in standard errors."""
    error = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return np.abs((values.mean(axis=0) - expected) / error).max()


def test_watsons_integral():
    """d = 3: G = sqrt(6) / (32 pi^3) Gamma(1/24) Gamma(5/24) Gamma(7/24) Gamma(11/24) (Watson; Glasser and Zucker)."""
    watson = math.sqrt(6) / (32 * math.pi**3) * math.prod(gamma(np.array([1, 5, 7, 11]) / 24))
    assert cox_constant(3) == pytest.approx(watson, rel=1e-13)
    assert cox_constant(3) == pytest.approx(1.5163860591519780, rel=1e-12)
    assert cox_constant(4) == pytest.approx(1.2394671218, rel=1e-9)
    assert cox_constant(12) == pytest.approx(1 + 1 / 24 + 3 * 11 / 24**2 / 12, rel=1e-2)
    with pytest.raises(InputError, match="at least 3"):
        cox_constant(2)


def test_the_constant_of_a_torus_tends_to_that_of_the_lattice():
    gaps = [cox_constant(3) - torus_constant(3, size) for size in (10, 20, 40)]
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.01)  # it falls as 1 / N
    assert 2 * gaps[2] - gaps[1] == pytest.approx(0, abs=1e-4)
    assert torus_constant(1, 5) == pytest.approx((5**2 - 1) / (6 * 5), rel=1e-12)  # time to hit 0 on a cycle: (N^2-1)/6


def test_kingmans_law():
    for t in (0.3, 1.0, 4.0):
        for start in (1, 2, 5, 30):
            law = kingman_law(t, start)
            assert law.sum() == pytest.approx(1, rel=1e-12)
            assert law.min() > -1e-15
            assert law @ np.arange(start + 1) == pytest.approx(kingman_mean(t, start), rel=1e-10)
        assert kingman_law(t, 2)[2] == pytest.approx(math.exp(-t), rel=1e-12)
        law = kingman_law(t)
        assert law @ np.arange(len(law)) == pytest.approx(kingman_mean(t), rel=2e-6)
    assert kingman_law(1.0, 3)[1] == pytest.approx(1 - 1.5 * math.exp(-1) + 0.5 * math.exp(-3), rel=1e-12)
    assert kingman_mean(0.01) == pytest.approx(200 + 1 / 3, rel=1e-3)  # 2/t + 1/3 + ...: down from infinity
    assert kingman_mean(1e-6, 7) == pytest.approx(7, rel=1e-4)


@pytest.mark.parametrize("merge_rate", [0.3, 1.0, math.inf])
def test_two_walkers_merge_after_the_mean_time_of_their_torus(merge_rate):
    """Exactly N^d (1 / kappa + G_N / 2), from independent uniform sites."""
    size, dimension, end = 5, 3, 12.0
    unit = size**dimension / pair_rate(dimension, merge_rate, size=size)
    times = np.linspace(0, end, 4801)
    left = torus_walkers(dimension, size, times * unit, walkers=2, replicas=6000, merge_rate=merge_rate, seed=3)
    apart = np.trapezoid(left - 1.0, times, axis=1)
    assert off(apart, 1.0) < SE
    if math.isinf(merge_rate):
        start = torus_walkers(dimension, size, [0.0], walkers=2, replicas=20_000, merge_rate=merge_rate, seed=5)
        assert off(start[:, 0], 2 - 1 / size**dimension) < SE


def test_walkers_in_two_dimensions_too():
    size, unit = 7, 49 / pair_rate(2, 1.0, size=7)
    times = np.linspace(0, 12, 1201)
    left = torus_walkers(2, size, times * unit, walkers=2, replicas=6000, seed=1)
    assert off(np.trapezoid(left - 1.0, times, axis=1), 1.0) < SE


@pytest.mark.parametrize("merge_rate", [1.0, math.inf])
def test_a_finite_population_is_kingmans_coalescent(merge_rate):
    size, times = 10, np.array([0.2, 0.6, 1.5])
    unit = size**3 / pair_rate(3, merge_rate, size=size)
    left = torus_walkers(3, size, times * unit, walkers=6, replicas=4000, merge_rate=merge_rate, seed=7)
    expected = np.array([kingman_mean(t, 6) for t in times])
    assert np.abs(left.mean(axis=0) - expected).max() < 0.05  # the correlations of close walkers are O(1/N)
    law = np.bincount(left[:, 1], minlength=7) / len(left)
    assert 0.5 * np.abs(law - kingman_law(0.6, 6)).sum() < 0.03
    paper = torus_walkers(
        3, size, times * 2 * size**3 / cox_constant(3), walkers=6, replicas=500, merge_rate=merge_rate
    )
    assert np.abs(paper.mean(axis=0) - expected).max() > 0.3


def test_walkers_from_every_site_come_down_to_kingmans_coalescent_from_infinity():
    times = np.array([0.5, 1.0, 2.0])
    gaps = []
    for size in (6, 12):
        unit = size**3 / pair_rate(3, 1.0)
        left = torus_walkers(3, size, times * unit, replicas=600, seed=size).mean(axis=0)
        gaps.append(np.abs(left / [kingman_mean(t) for t in times] - 1).max())
    assert gaps[0] < 0.12
    assert gaps[1] < 0.065  # it falls as 1 / N


def test_the_share_of_survivors_falls_as_smoluchowskis_equation_says():
    """beta t s(t) / 2 -> 1, from below as t^(-1/2): walkers that began as neighbours have merged."""
    times = np.array([20.0, 80.0])
    for merge_rate in (1.0, math.inf):
        left = torus_walkers(3, 32, times, replicas=2, merge_rate=merge_rate, seed=2).mean(axis=0)
        gap = 1 - pair_rate(3, merge_rate) * times * left / 32**3 / 2
        assert 0 < gap[1] < gap[0] < 0.35
        assert gap[1] == pytest.approx(gap[0] / 2, abs=0.05)


def test_many_walkers_at_one_site_begin_as_kingmans_coalescent_and_never_come_down_from_infinity():
    early = cluster_walkers(3, 40, [0.01], replicas=2000, seed=1)[:, 0]  # hardly any has jumped
    assert early.mean() == pytest.approx(kingman_mean(0.01, 40), rel=0.01)  # 1 % have jumped, and merge less
    left = [cluster_walkers(3, count, [1.0], replicas=100, seed=2).mean() for count in (10, 100, 1000, 10_000)]
    assert np.all(np.diff(left) > 0.5)
    assert left[-1] < 20


def test_walkers_are_the_same_for_any_number_of_threads_and_more_replicas():
    before = numba.get_num_threads()
    try:
        found = []
        for threads, replicas in ((1, 4), (before, 6)):
            numba.set_num_threads(threads)
            found.append(torus_walkers(3, 5, [1.0, 5.0, 50.0], replicas=replicas, seed=9)[:4])
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(*found)
    assert not np.array_equal(found[0], torus_walkers(3, 5, [1.0, 5.0, 50.0], replicas=4, seed=10))
    assert np.all(np.diff(found[0], axis=1) <= 0)


def test_what_is_out_of_range_is_refused(monkeypatch):
    for call in (
        lambda: torus_walkers(3, 2, [1.0]),
        lambda: torus_walkers(3, 5, []),
        lambda: torus_walkers(3, 5, [2.0, 1.0]),
        lambda: torus_walkers(3, 5, [-1.0]),
        lambda: torus_walkers(3, 5, [math.inf]),
        lambda: torus_walkers(3, 5, [1.0], merge_rate=0.0),
        lambda: torus_walkers(3, 5, [1.0], walkers=0),
        lambda: torus_walkers(3, 5, [1.0], replicas=0),
        lambda: torus_walkers(0, 5, [1.0]),
        lambda: torus_walkers(3, 5, [1.0], seed=-1),
        lambda: torus_walkers(9, 50, [1.0]),
        lambda: cluster_walkers(3, 0, [1.0]),
        lambda: cluster_walkers(3, 5, [1.0], merge_rate=math.inf),
        lambda: kingman_law(0.01),
        lambda: kingman_law(1.0, 0),
        lambda: kingman_law(math.nan, 3),
        lambda: kingman_mean(0.0),
        lambda: pair_rate(3, -1.0),
        lambda: pair_rate(2),
    ):
        with pytest.raises(InputError):
            call()
    monkeypatch.setattr("limitpde.coagulation.lattice.math.ceil", lambda value: -18)  # a lattice of 5 x 5 x 5 sites
    with pytest.raises(RunError, match="further than 2 sites"):
        cluster_walkers(3, 50, [20.0])
