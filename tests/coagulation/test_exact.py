"""Closed forms of Smoluchowski's equations against the equations themselves, solved by other means."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
from periodic_reference import periodic
from smoluchowski import annihilation_of_particles, gelation_time, sol_mass

from limitpde.coagulation import exact
from limitpde.errors import InputError

n = np.arange(1.0, 41.0)


def solve(kernel, loss, t: float) -> np.ndarray:
    """f_1 ... f_40 by an ODE solver; loss(t) is the hazard of each mass to all masses, so nothing is cut off."""
    table = kernel(n[:, None], n[None, :])

    def change(s: float, f: np.ndarray) -> np.ndarray:
        pairs = table * np.outer(f, f)
        gain = np.array([0.5 * np.trace(np.fliplr(pairs[:k, :k])) for k in range(len(n))])
        return gain - f * loss(s)

    start = np.zeros(len(n))
    start[0] = 1.0
    return scipy.integrate.solve_ivp(change, (0, t), start, method="DOP853", rtol=1e-12, atol=1e-16).y[:, -1]


@pytest.mark.parametrize(
    ("kernel", "loss", "solution", "t"),
    [
        (lambda x, y: 0.7 + 0 * x * y, lambda s: 0.7 / (1 + 0.35 * s), lambda t: exact.constant(n, t, 0.7), 3.0),
        (
            lambda x, y: 0.7 * (x + y),
            lambda s: 0.7 * (n * np.exp(-0.7 * s) + 1),
            lambda t: exact.additive(n, t, 0.7),
            1.5,
        ),
        (lambda x, y: 0.7 * x * y, lambda s: 0.7 * n, lambda t: exact.multiplicative(n, t, 0.7), 1.2),
        (  # the gel takes part: the hazard of all mass, for all times
            lambda x, y: 0.7 * x * y,
            lambda s: 0.7 * n,
            lambda t: exact.multiplicative(n, t, 0.7, gel="flory"),
            3.0,
        ),
        (  # it does not: the hazard of the sol
            lambda x, y: 0.7 * x * y,
            lambda s: 0.7 * n * sol_mass(s, 0.7),
            lambda t: exact.multiplicative(n, t, 0.7),
            3.0,
        ),
    ],
    ids=["constant", "additive", "multiplicative", "flory", "stockmayer"],
)
def test_densities_solve_the_equations(kernel, loss, solution, t: float) -> None:
    assert solve(kernel, loss, t) == pytest.approx(solution(t), abs=2e-11)


@pytest.mark.parametrize(
    ("kernel", "solution", "t"),
    [
        ("constant", exact.constant, 6.0),
        ("additive", exact.additive, 1.5),
        ("multiplicative", exact.multiplicative, 0.7),
    ],
)
def test_moments_are_sums_of_the_densities(kernel: str, solution, t: float) -> None:
    k = np.arange(1.0, 4001.0)
    f = solution(k, t)
    assert [f.sum(), k @ f, k**2 @ f] == pytest.approx(
        [exact.number(kernel, t), 1.0, exact.second_moment(kernel, t)], rel=1e-11
    )


def test_values_of_the_literature() -> None:
    assert exact.constant(np.arange(1, 4), 1.0) == pytest.approx([0.4444444444, 0.1481481481, 0.0493827160], abs=1e-10)
    assert exact.additive(np.arange(1, 4), 1.0) == pytest.approx([0.19551453, 0.06568293, 0.03309918], abs=1e-8)
    assert exact.multiplicative(np.arange(1, 4), 0.9) == pytest.approx([0.40656966, 0.0743845, 0.02721823], abs=1e-8)
    flory = [sol_mass(s, gel="flory") for s in (1.5, 2.0, 3.0)]
    assert flory == pytest.approx([0.4171883561, 0.2031878700, 0.0595202093], abs=1e-10)
    assert sol_mass(2.0) == 0.5


@pytest.mark.parametrize("gel", ["stockmayer", "flory"])
def test_mass_of_the_sol_is_the_sum_of_its_masses(gel: str) -> None:
    k = np.arange(1.0, 200_001.0)
    found = float(k @ exact.multiplicative(k, 2.0, gel=gel))
    tail = 0.5 * np.sqrt(2 / np.pi / len(k)) if gel == "stockmayer" else 0.0  # of n^(-3/2) / sqrt(2 pi) / 2
    assert found + tail == pytest.approx(sol_mass(2.0, gel=gel), rel=1e-5)


def test_gelation_time() -> None:
    assert gelation_time(np.array([1, 2]), np.array([1.0, 0.5]), 2.0) == pytest.approx(1 / 6)
    assert gelation_time(np.array([1]), np.array([0.0])) == np.inf


def test_annihilation_with_and_without_the_transient() -> None:
    beta, D, a, t = 17.2135, 2.0, 0.00068, np.linspace(0.0, 0.2, 5)

    def rate(s: float, h: np.ndarray) -> np.ndarray:
        return -2 * beta * (s + a / np.sqrt(np.pi * D)) * h**2

    # in s = sqrt(t) the right side is smooth: dh/ds = -2 s beta (1 + a/(s sqrt(pi D))) h^2
    solved = scipy.integrate.solve_ivp(rate, (0, t[-1] ** 0.5), [1.5], t_eval=np.sqrt(t), rtol=1e-11, atol=1e-13)
    assert annihilation_of_particles(t, beta, D, a, 1.5) == pytest.approx(solved.y[0], rel=1e-9)
    assert exact.annihilation(t, beta, 1.5) == pytest.approx(annihilation_of_particles(t, beta, D, 0.0, 1.5))
    assert exact.annihilation(0.1, 17.2135003584) == pytest.approx(0.36746, abs=5e-6)


def test_equilibrium_balances_every_pair() -> None:
    k, rate, b, power = np.arange(1.0, 400.0), 0.8, 2.5, 0.5
    f = exact.equilibrium(k, 3.0, rate, b)
    assert k @ f == pytest.approx(3.0, rel=1e-12)
    i, j = np.meshgrid(np.arange(1, 30), np.arange(1, 30))
    merge = b * (i + j) ** power / (i + j - 1.0) * f[i - 1] * f[j - 1]
    assert merge == pytest.approx(2 * rate * (i + j) ** power / (i + j - 1.0) * f[i + j - 1], rel=1e-12)


def test_periodic_solution_agrees_with_a_spectral_method() -> None:
    """All numbers of methods/coagulation.md B, of an independent program (tolerance 1e-10)."""
    x = np.arange(64) / 64
    h = np.stack([1 + 0.5 * np.cos(2 * np.pi * x), 0.3 * (1 + np.sin(2 * np.pi * x))])
    found = periodic(h, D=0.05, b=2.0, time=0.5, steps=20, largest=8)
    values = [found.number[0], found.number[32], *found.densities[:3, 0], found.number.mean()]
    wanted = [0.8470085596, 0.7084445248, 0.3880388719, 0.2290562202, 0.1096184315, 0.7781958228]
    assert values == pytest.approx(wanted, abs=3e-10)
    finer = periodic(h, D=0.05, b=2.0, time=0.5, steps=40, largest=8, circle=128)
    assert np.abs(found.densities - finer.densities).max() < 1e-12


def test_periodic_solution_without_space_is_the_closed_form() -> None:
    found = periodic(np.ones((1, 4)), D=0.3, b=1.4, time=2.0, steps=10, largest=12)
    assert found.densities == pytest.approx(np.tile(exact.constant(np.arange(1, 13), 2.0, 1.4)[:, None], 4), abs=1e-13)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: exact.constant(n, -1.0), "t = -1"),
        (lambda: exact.multiplicative(n, 1.0, gel="x"), "gel = 'x'"),
        (lambda: exact.number("multiplicative", 2.0), "kernel = 'multiplicative'"),
        (lambda: exact.second_moment("none", 2.0), "kernel = 'none'"),
        (lambda: periodic(-np.ones((1, 4)), D=1, b=1, time=1, steps=1, largest=1), "h of shape"),
        (lambda: periodic(np.ones((1, 4)), D=1, b=1, time=1, steps=0, largest=1), "steps"),
        (lambda: periodic(np.ones((1, 4)), D=1, b=1, time=1, steps=1, largest=64), "largest = 64"),
    ],
)
def test_wrong_arguments_are_named(call, named: str) -> None:
    with pytest.raises(InputError, match=named):
        call()
