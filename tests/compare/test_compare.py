"""The weak-form residual W that compares both sides, its statistics and its rates.

The load is carried by Ito's isometry for the variance of W, the bias of W with the paper's diffusivity, the order with
which W of the PDE's solution vanishes, and the coverage of the rates fitted to synthetic residuals. Seeds are fixed;
means are allowed 4.5 standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dataclasses
import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from ensembles import DIPOLE, FUNCTIONS, SE

from limitpde.compare.comparison import Comparison, rate_row
from limitpde.compare.measured import check_finite
from limitpde.compare.rates import fit_rate, mean_abs, mean_square, rms
from limitpde.compare.spatial import evaluate
from limitpde.compare.statistics import ResidualStatistics, deviation, mean_and_stderr
from limitpde.compare.test_functions import GaussianBump, Wave, on_torus, waves_off_torus
from limitpde.errors import InputError, RunError
from limitpde.fem.mesh import Disk
from limitpde.results.figures import clean
from limitpde.results.report import rate_line
from limitpde.signed.model import Model
from limitpde.signed.particles import Ensemble, simulate
from limitpde.signed.pde import Solver
from limitpde.signed.residual import PDEResidual

# The residual of the particles


@functools.cache
def dipole(diffusivity: str, **options) -> Ensemble:
    return simulate(
        Model(sigma=1.0, gamma_bar=0.4, diffusivity=diffusivity), DIPOLE, count=64, replicas=1200, step=0.01, end=0.5,
        seed=4, test_functions=FUNCTIONS, **options,
    )  # fmt: skip


def statistics_of(e: Ensemble, p: int) -> ResidualStatistics:
    return ResidualStatistics.of(
        e.residual[:, p, -1], compensator=e.compensator[:, p], quadratic_variation=e.quadratic_variation[:, p]
    )


@pytest.mark.parametrize("p", range(len(FUNCTIONS)))
def test_residual_is_a_martingale_with_the_variance_of_ito(p):
    e = dipole("ito")
    s = statistics_of(e, p)
    assert abs(s.mean) < SE * s.stderr
    assert abs(s.variance - s.theory_variance) < SE * s.variance_stderr
    assert s.variance_stderr < 0.06 * s.variance  # so a factor of 2 would be far off
    assert abs(s.mean_deviation) < SE
    assert abs(s.variance_deviation) < SE
    assert not e.compensator.any()


@pytest.mark.parametrize("p", [0, 2])
def test_diffusivity_of_the_paper_leaves_a_bias(p):
    """Slip 1: with D = sigma = 1, W has the mean (sigma^2/2 - sigma) E int int Lap phi, far from 0."""
    e, right = dipole("paper"), dipole("ito")
    s = statistics_of(e, p)
    assert abs(s.mean) > 6 * s.stderr
    assert abs(s.mean_deviation) < SE
    assert abs(s.variance_deviation) < SE  # of W less its predictable part; the variance of W itself is larger
    assert s.variance > s.theory_variance
    np.testing.assert_allclose(e.residual[:, p, -1] - e.compensator[:, p], right.residual[:, p, -1], atol=1e-12)


@pytest.mark.parametrize("options", [{"eps": 5.0}, {"kernel": "regularised", "eps": 2.0}, {"cutoff": 5}])
def test_particles_with_another_drift_are_refuted_and_explained(options):
    e = dipole("ito", **options)
    found = [statistics_of(e, p) for p in range(len(FUNCTIONS))]
    assert max(abs(s.mean) / s.stderr for s in found) > 6
    assert max(abs(s.mean_deviation) for s in found) < SE
    assert max(abs(s.variance_deviation) for s in found) < SE


# The residual of the PDE's solution


BUMPS = (FUNCTIONS[0], FUNCTIONS[1])


@functools.cache
def pde_residual(rings: int, gamma_bar: float) -> np.ndarray:
    mesh = Disk(radius=8.0, cell_size=8.0 / rings)
    solver = Solver(Model(sigma=1.0, gamma_bar=gamma_bar), DIPOLE, mesh=mesh, step=0.8 / rings)
    residual = PDEResidual(solver, BUMPS)
    solver.solve(0.5, observers=[residual])
    assert len(residual.times) == len(residual.values) == len(residual.observables)
    assert residual.times[-1] == pytest.approx(0.5)
    return residual.values[-1]


@pytest.mark.parametrize("gamma_bar", [0.0, 1.5])
def test_residual_of_the_solution_vanishes_with_order_two(gamma_bar):
    """In the norm over both test functions: with drift, the errors of one of them cancel on coarse meshes."""
    values = np.array([np.linalg.norm(pde_residual(rings, gamma_bar)) for rings in (16, 32, 64)])
    orders = np.log2(values[:-1] / values[1:])
    assert orders.min() >= 1.8, (values, orders)
    assert values[-1] < 1e-3


class Posing:
    """A solver that claims another model than the one it solves."""

    def __init__(self, solver: Solver, **changes: float) -> None:
        self.__dict__["_solver"] = solver
        self.model = Model(**{k: v for k, v in dataclasses.asdict(solver.model).items() if v is not None} | changes)

    def __getattr__(self, name: str):
        return getattr(self._solver, name)


def test_residual_tells_a_wrong_model():
    solver = Solver(Model(sigma=1.0, gamma_bar=1.5), DIPOLE, mesh=Disk(radius=8.0, cell_size=0.25), step=0.025)
    wrong = {
        "gamma_bar": PDEResidual(Posing(solver, gamma_bar=1.0), BUMPS),
        "D": PDEResidual(Posing(solver, diffusivity="paper"), BUMPS),
        "sign": PDEResidual(Posing(solver, gamma_bar=0.0), BUMPS),
    }
    right = PDEResidual(solver, BUMPS)
    solver.solve(0.5, observers=[*wrong.values(), right])
    small = np.abs(right.values[-1]).max()
    for name, residual in wrong.items():
        assert np.abs(residual.values[-1]).max() > 10 * small, name
    # W is affine in gamma_bar: what is missing shows in proportion
    part = wrong["gamma_bar"].values[-1] - right.values[-1]
    whole = wrong["sign"].values[-1] - right.values[-1]
    np.testing.assert_allclose(3 * part, whole, rtol=1e-9)


@pytest.mark.ranks
def test_observables_of_particles_are_those_of_the_solution(comm):
    """Both sides at once: E int phi dL^N_T -> int phi rho_T with an error of order 1/N."""
    solver = Solver(Model(sigma=1.0, gamma_bar=0.4), DIPOLE, mesh=Disk(radius=8.0, cell_size=0.2), step=0.02, comm=comm)
    residual = PDEResidual(solver, BUMPS)
    solver.solve(0.5, observers=[residual])
    mean, error = mean_and_stderr(dipole("ito").observables[:, :2, -1])
    assert (np.abs(mean - residual.observables[-1]) < SE * error + 1e-3).all()


# Statistics


def test_statistics_of_a_normal_sample():
    n = 4000
    sample = np.random.default_rng(0).normal(0.3, 2.0, n)
    s = ResidualStatistics.of(sample, compensator=np.full(n, 0.3), quadratic_variation=np.full(n, 4.0))
    assert s.mean == pytest.approx(sample.mean())
    assert s.stderr == pytest.approx(2.0 / math.sqrt(n), rel=SE / math.sqrt(2 * n))
    assert abs(s.mean - 0.3) < SE * s.stderr
    assert s.variance == pytest.approx(sample.var(ddof=1))
    assert s.variance_stderr == pytest.approx(4.0 * math.sqrt(2 / (n - 1)), rel=0.1)
    assert abs(s.variance - 4.0) < SE * s.variance_stderr
    assert s.mean_abs == pytest.approx(np.abs(sample).mean())
    assert s.rms**2 == pytest.approx(s.mean**2 + s.variance * (n - 1) / n)
    assert (s.theory_mean, s.theory_variance) == (pytest.approx(0.3), 4.0)
    assert abs(s.mean_deviation) < SE
    assert abs(s.variance_deviation) < SE
    assert s.rms_stderr == pytest.approx((sample**2).std() / (2 * s.rms * math.sqrt(n)), rel=1e-3)
    assert ResidualStatistics.of(sample[:1], compensator=sample[:1], quadratic_variation=sample[:1]) is None
    assert math.isnan(deviation(np.ones(3)))
    assert mean_and_stderr(sample[:1])[1] is None


def test_rounding_is_no_deviation_but_what_is_more_than_that_is():
    """Particles without noise: W - A is rounding, of the same sign in all replicas; a wrong A must still show."""
    rng = np.random.default_rng(5)
    expected = rng.standard_normal(20) / 1000
    for error, scale, seen in ((1e-13, 0.0, False), (1e-9, 0.0, True), (1e-9, 1.0, False), (1e-6, 1.0, True)):
        residual = expected + error * (1 + 0.1 * rng.random(20))
        s = ResidualStatistics.of(residual, compensator=expected, quadratic_variation=None, scale=scale)
        assert math.isnan(s.mean_deviation) != seen
        assert not seen or s.mean_deviation > 10
    exact = ResidualStatistics.of(expected, compensator=expected, quadratic_variation=None)
    assert math.isnan(exact.mean_deviation)
    missing = ResidualStatistics.of(np.full(20, 1e-13), compensator=expected, quadratic_variation=None)
    assert missing.mean_deviation == pytest.approx(-deviation(expected), rel=1e-6)


def test_standard_errors_of_the_variance_are_right():
    """Over many samples: (s^2 - 1) / stderr has standard deviation 1."""
    rng = np.random.default_rng(1)
    scores = []
    for _ in range(400):
        s = ResidualStatistics.of(rng.standard_normal(500), compensator=np.zeros(500), quadratic_variation=np.ones(500))
        scores.append((s.variance - 1.0) / s.variance_stderr)
    assert np.std(scores) == pytest.approx(1.0, abs=SE / math.sqrt(2 * 400) + 0.03)


@pytest.mark.parametrize("statistic", [mean_abs, rms])
def test_rate_of_synthetic_residuals(statistic):
    counts = [64, 256, 1024]
    rng = np.random.default_rng(3)
    covered, slopes = 0, []
    for _ in range(40):
        rate = fit_rate(counts, [rng.standard_normal(80) / math.sqrt(n) for n in counts], statistic)
        slopes.append(rate.slope)
        assert rate.low < rate.slope < rate.high
        covered += rate.low <= -0.5 <= rate.high
    assert np.mean(slopes) == pytest.approx(-0.5, abs=SE * np.std(slopes) / math.sqrt(40))
    assert np.std(slopes) < 0.05
    assert covered >= 32  # 95 % of 40 are 38; fewer than 32 has probability 1e-4 at a coverage of 90 %


def test_rate_needs_two_numbers_and_two_replicas():
    sample = np.array([1.0, -2.0])
    assert fit_rate([8], [sample], rms) is None
    assert fit_rate([8, 8], [sample, sample], rms) is None
    assert fit_rate([8, 16], [sample, sample[:1]], rms) is None
    assert fit_rate([8, 16], [sample, np.zeros(2)], rms) is None
    assert fit_rate([8, 32], [sample, sample / 2], rms).slope == pytest.approx(-0.5)


def test_particles_that_are_no_numbers_are_an_error():
    e = dipole("ito")
    check_finite(e)
    broken = e.observables.copy()
    broken[7, 0, -1] = np.nan
    with pytest.raises(RunError, match=r"N = 64: an observable of replica 7 is no finite number at t = 0\.5"):
        check_finite(dataclasses.replace(e, observables=broken))


@pytest.mark.parametrize("statistic", [mean_abs, rms, mean_square])
@pytest.mark.parametrize("replicas", [3, 4, 8, 24, 64, 200])
def test_intervals_of_rates_cover(statistic, replicas):
    """95 % intervals of the slope hold 92 to 98 % of the time; 3,000 trials know the share to 0.4 %."""
    counts, trials = [64, 256, 1024], 3000
    rng = np.random.default_rng(replicas)
    power = -0.5 * statistic.power / statistic.root
    covered = 0
    for _ in range(trials):
        rate = fit_rate(counts, [rng.standard_normal(replicas) / math.sqrt(n) for n in counts], statistic)
        covered += rate.low <= power <= rate.high
    assert 0.92 - 0.012 < covered / trials < 0.98 + 0.012


@pytest.mark.parametrize("spread", [0.1, 5.0])
def test_the_power_of_a_mean_is_not_judged_below_its_noise(spread):
    """W = (1 + spread xi / sqrt N) / N is like 1/N only where 1 is more than the noise."""
    rng = np.random.default_rng(7)
    ensembles = [
        SimpleNamespace(
            count=n,
            replicas=np.arange(400),
            observables=np.ones((400, 1, 1)),
            residual=(1 + spread * rng.standard_normal((400, 1, 1)) / math.sqrt(n)) / n,
            compensator=np.zeros((400, 1)),
            quadratic_variation=None,
            in_theory=True,
        )
        for n in (16, 64)
    ]
    found = list(Comparison([SimpleNamespace(label="phi")], ensembles, None, rate_theory=-1.0).rates())
    assert [rate["theory"] for rate in found] == [-1.0, -1.0]
    for rate in found:
        line = rate_line(clean(rate), "W")
        if spread < 1:
            assert rate["unjudged"] is None
            assert rate["low"] <= -1.0 <= rate["high"]
            assert line.endswith("theory -1 is inside)")
        else:
            assert rate["high"] < -1.0
            assert "take larger N" in rate["unjudged"]
            assert "theory -1; not held against the theory" in line


def test_rare_events_have_a_rate_without_an_interval():
    """One replica of eight with an event: its share is not known to any precision."""
    event = np.array([1.0] + [0.0] * 7)
    rate = fit_rate([30, 60], [event, event / 2], rms)
    assert rate.slope == pytest.approx(-1.0)
    assert math.isnan(rate.low)
    assert math.isnan(rate.high)
    row = {"quantity": "W", "test_function": 0, **dataclasses.asdict(rate), "theory": -0.5}
    assert rate_row(row) == {
        "quantity": "W", "test_function": 0, "slope": rate.slope, "slope_low": "", "slope_high": "", "theory": -0.5
    }  # fmt: skip
    assert rate_line(clean(row), "W") == "- W is like N^-1.000 (95 %: not known; theory -0.5)"
    assert rate_line(clean(row | {"slope": math.nan}), "W") == "- W: the power of N is not known"


def test_a_gaussian_on_a_torus_is_the_sum_of_its_images():
    bump, wave = GaussianBump(center=(0.5, 0.2), width=1.0), Wave(k=(2.0, 0.4))
    low, size = np.array([0.0, 0.0]), np.array([np.pi, np.inf])
    images, sums = on_torus([bump, wave], low, size)
    assert sums.shape == (2, len(images))
    points = np.random.default_rng(1).uniform(0, np.pi, (50, 2))
    here = sums @ np.stack([evaluate(image, points)[0] for image in images])
    direct = sum(np.exp(-((points[:, 0] - 0.5 - n * np.pi) ** 2 + (points[:, 1] - 0.2) ** 2) / 2) for n in range(-5, 6))
    np.testing.assert_allclose(here[0], direct, rtol=1e-13)
    np.testing.assert_allclose(here[1], np.cos(points @ [2.0, 0.4]), rtol=1e-13)
    with pytest.raises(InputError, match=r"test_functions\[0\]\.width"):
        on_torus([GaussianBump(center=(0.5, 0.2), width=1e4)], low, size)


def test_waves_that_do_not_fit_a_torus_are_named():
    waves = [Wave(k=(2.0, 0.4)), Wave(k=(2.1, 0.4)), GaussianBump(center=(0.0, 0.0), width=1.0)]
    assert waves_off_torus(waves, np.array([np.pi, np.inf])) == [1]
