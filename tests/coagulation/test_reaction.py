"""The reaction at the nodes: order, conservation and positivity of every path, on the integers, by factors, on pivots.

The tests that carry the load: order two against the closed forms, mass + lost at rounding, no negative density after
one step of five gelation times, the path by factors against the direct sum, and the equilibrium of splitting.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest
from kernels import KERNELS, additive, constant, doi, make, monomers, multiplicative, run

from limitpde.coagulation import exact
from limitpde.coagulation.model import Fragmentation
from limitpde.coagulation.reaction.bins import Bins, MassGrid
from limitpde.coagulation.reaction.ledger import masses_at, settle
from limitpde.coagulation.reaction.low_rank import LARGEST_RANK, TOLERANCE, factorise
from limitpde.coagulation.reaction.operator import Reaction
from limitpde.coagulation.reaction.relaxed import RelaxedCoagulation, pays
from limitpde.coagulation.reaction.substitution import DirectCoagulation
from limitpde.errors import InputError

# --- integers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "end", "level", "fine"),
    [("constant", 4.0, 1.3e-4, 5000), ("additive", 1.0, 5e-5, 3000), ("multiplicative", 0.7, 2e-5, 2000)],
)
def test_second_order_and_a_fine_step(kernel: str, end: float, level: float, fine: int) -> None:
    grid = MassGrid(200)
    reaction = Reaction(make(200, kernel), grid, KERNELS[kernel])
    wanted = getattr(exact, kernel)(grid.masses, end)[:20]

    def error(steps: int) -> float:
        f = monomers(grid)
        lost = run(reaction, f, np.linspace(0, end, steps + 1))
        assert abs(f[0] @ grid.masses + lost[0] - 1) < 1e-14
        assert f.min() >= 0
        return float(np.abs(f[0, :20] - wanted).max())

    errors = [error(steps) for steps in (40, 80, 160)]
    assert errors[0] < level
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((orders > 1.9) & (orders < 2.15)), orders
    assert error(fine) < 1e-8


@pytest.mark.parametrize("M", [1, 2, 7, 16, 33, 100])
def test_one_step_agrees_with_the_equations_of_the_scheme(M: int) -> None:
    """Against matrices, solved by LAPACK: g1 = g0 + dt A(f0) g1, g = g0 + dt/2 [A(f0) g0/g1 + A(f1)] g."""
    grid, dt = MassGrid(M), 0.3
    random = np.random.default_rng(5)
    f = random.random((6, M)) / grid.masses**2
    n = np.arange(1, M + 1)
    beta = doi(n[:, None].astype(float), n[None, :])

    def flow(density: np.ndarray) -> np.ndarray:
        A = np.zeros((M + 1, M))  # the last row: what leaves the range
        for m in range(M):
            for l in range(M):
                A[min(m + l + 1, M), m] += beta[m, l] * density[l]
                A[m, m] -= beta[m, l] * density[l]
        return A

    found = f.copy()
    lost = Reaction(make(M), grid, doi).advance(found, dt)
    for p in range(len(f)):
        g0, A0 = f[p] * n, flow(f[p])
        g1 = np.linalg.solve(np.eye(M) - dt * A0[:M], g0)
        A = dt / 2 * (A0 * (g0 / g1) + flow(g1 / n))
        g = np.linalg.solve(np.eye(M) - A[:M], g0)
        assert found[p] == pytest.approx(g / n, rel=1e-11)
        assert lost[p] == pytest.approx(A[M] @ g, rel=1e-11)


@pytest.mark.parametrize("M", [200, 3000], ids=["direct", "factors"])
def test_one_step_over_five_gelation_times(M: int) -> None:
    grid = MassGrid(M)
    f = monomers(grid, 3)
    lost = Reaction(make(M, "multiplicative"), grid, multiplicative).advance(f, 5.0)
    assert f.min() >= 0
    assert f @ grid.masses + lost == pytest.approx(1.0, abs=1e-15)
    assert lost.min() > 0.1


def test_sol_mass_and_monomers_after_gelation() -> None:
    """The overflow tends to the inert gel of Stockmayer: sol mass 1/2 and f_1 = e^-1/2 at twice the gelation time."""
    grid = MassGrid(200)
    f = monomers(grid)
    lost = run(Reaction(make(200, "multiplicative"), grid, multiplicative), f, np.linspace(0, 2, 401))
    assert 1 - lost[0] == pytest.approx(0.5, abs=2e-4)
    assert f[0] @ grid.masses + lost[0] == pytest.approx(1.0, abs=1e-13)
    assert f[0, :3] == pytest.approx(exact.multiplicative(np.arange(1, 4), 2.0), rel=2e-2)


def test_mass_is_kept_over_many_steps_near_an_equilibrium() -> None:
    grid = MassGrid(12)
    model = make(12, fragmentation=Fragmentation(rate=1.0))
    f = np.random.default_rng(0).random((5, 12))
    before = f @ grid.masses
    lost = run(Reaction(model, grid, constant), f, np.linspace(0, 40, 8001))
    assert f @ grid.masses + lost == pytest.approx(before, rel=1e-13)


def test_number_of_threads_does_not_change_a_bit() -> None:
    grid = MassGrid(40)
    f = np.random.default_rng(3).random((1003, 40))
    alone, together = f.copy(), f.copy()
    reaction, threads = Reaction(make(40), grid, doi), numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        lost = reaction.advance(alone, 0.1)
    finally:
        numba.set_num_threads(threads)
    assert np.array_equal(lost, reaction.advance(together, 0.1))
    assert np.array_equal(alone, together)


def test_a_node_does_not_see_its_neighbours() -> None:
    grid = MassGrid(40)
    reaction = Reaction(make(40), grid, doi)
    f = np.random.default_rng(3).random((7, 40))
    f[2], f[4, 5:] = 0.0, 0.0
    together = f.copy()
    reaction.advance(together, 0.1)
    for p in range(7):
        single = f[p : p + 1].copy()
        reaction.advance(single, 0.1)
        assert single[0] == pytest.approx(together[p], rel=1e-13)
    assert not together[2].any()


def test_no_nodes_no_time_no_partners() -> None:
    grid = MassGrid(5)
    reaction = Reaction(make(5), grid, lambda n, m: 0.0 * n * m)
    assert reaction.advance(np.zeros((0, 5)), 1.0).shape == (0,)
    f = np.random.default_rng(1).random((3, 5))
    before = f.copy()
    assert not reaction.advance(f, 0.0).any()
    assert not reaction.advance(f, 10.0).any()
    assert f == pytest.approx(before, rel=1e-15)


# --- factors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["constant", "additive", "multiplicative", "doi"])
@pytest.mark.parametrize("M", [129, 1000])
def test_factors_agree_with_the_direct_sum(kernel: str, M: int) -> None:
    grid = MassGrid(M)
    beta = KERNELS.get(kernel, doi)
    factors = factorise(beta, M, kernel=kernel)
    assert factors is not None
    x = grid.masses
    fast, direct = RelaxedCoagulation(x, factors), DirectCoagulation(x, beta(x[:, None], x[None, :]) + np.zeros((M, M)))
    random = np.random.default_rng(1)
    f = np.stack([0.5**x, 0.99**x, random.random(M) / x**2, np.where(np.abs(x - 90) < 4, 0.1, 0.0), np.eye(1, M)[0]])
    for dt in (1e-3, 0.1, 1.0):
        a, b = f.copy(), f.copy()
        lost_a, lost_b = fast.step(a, dt), direct.step(b, dt)
        assert np.all(np.abs(a - b) <= 1e-12 * f.max(axis=1, keepdims=True))
        assert a.min() >= 0
        assert a @ x + lost_a == pytest.approx(f @ x, rel=1e-14)
        assert lost_a == pytest.approx(lost_b, abs=1e-13 * float((f @ x).max()))


def test_factors_keep_the_digits_of_an_exponential_tail() -> None:
    """Without its tilt the transform's error, 1e-16 of the largest density, would drown the tail below 1e-16."""
    M, x = 1000, np.arange(1.0, 1001.0)
    factors = factorise(constant, M, kernel="constant")
    assert factors is not None
    a, b = (exact.constant(x, 10.0)[None, :] for _ in range(2))
    RelaxedCoagulation(x, factors).step(a, 0.1)
    DirectCoagulation(x, np.ones((M, M))).step(b, 0.1)
    assert b[0, -1] < 1e-79
    assert a == pytest.approx(b, rel=1e-11)


def test_the_path_by_factors_is_of_second_order() -> None:
    M = 3000
    grid = MassGrid(M)
    reaction = Reaction(make(M, "additive"), grid, additive)
    wanted = exact.additive(grid.masses, 1.0)
    errors = []
    for steps in (20, 40):
        f = monomers(grid)
        lost = run(reaction, f, np.linspace(0, 1, steps + 1))
        assert f[0] @ grid.masses + lost[0] == pytest.approx(1.0, abs=1e-13)
        errors.append(np.abs(f[0] - wanted).max())
    assert errors[1] < 5e-5
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.12)


@pytest.mark.parametrize("M", [300, 20_000])
def test_factors_of_beta_are_symmetric_and_accurate(M: int) -> None:
    factors = factorise(doi, M)
    assert factors is not None
    assert 3 < factors.rank < 20
    assert factors.error <= TOLERANCE
    m, l = np.random.default_rng(9).integers(1, M + 1, (2, 5000))
    wanted = doi(m.astype(float), l.astype(float))
    assert factors.at(m, l) == pytest.approx(wanted, rel=1e-11)
    assert factors.at(m, l) == pytest.approx(factors.at(l, m), rel=1e-13)


def test_a_kernel_without_structure_has_no_factors() -> None:
    def rough(n: np.ndarray, m: np.ndarray) -> np.ndarray:
        return 1 + np.cos(n * m) ** 2

    assert factorise(rough, 2100) is None
    with pytest.raises(InputError, match="n_max = 2100"):
        Reaction(make(2100), MassGrid(2100), rough).advance(np.zeros((1, 2100)), 1.0)
    assert LARGEST_RANK < 100
    assert not pays(1, 256)


# --- ledger and errors ------------------------------------------------------------------------------------------------


def test_the_ledger_settles_rounding_and_nothing_else() -> None:
    masses = np.arange(1.0, 6.0)
    f = np.array([[1.0, 0.3, 0.1, 1e-3, 1e-4]] * 3)
    before = masses_at(f, masses)
    assert before.sum(axis=1) == pytest.approx(f @ masses, rel=1e-15)
    changed = f.copy()
    changed[0, 0] = np.nextafter(1.0, 2.0)
    changed[1] *= 1 + 1e-14
    changed[2] *= 1 + 1e-6
    settle(changed, masses, before, np.zeros(3))
    after = masses_at(changed, masses)
    defect = (before[:, 0] - after[:, 0]) + (before[:, 1] - after[:, 1])
    assert abs(defect[0]) < 2e-18
    assert abs(defect[1]) < 2e-16
    assert defect[2] == pytest.approx(-1e-6 * before[2, 0], rel=1e-6)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Reaction(make(4), MassGrid(4), constant).advance(np.zeros((3, 5)), 0.1), r"\(3, 5\)"),
        (lambda: Reaction(make(4), MassGrid(4), constant).advance(np.zeros((4, 3)).T, 0.1), "C-contiguous"),
        (lambda: Reaction(make(4), MassGrid(4), constant).advance(np.zeros((3, 4)), -1.0), "dt = -1"),
        (lambda: Reaction(make(4), MassGrid(4), lambda n, m: n + 0 * m), "symmetric"),
        (lambda: Reaction(make(4), MassGrid(4), lambda n, m: -n * m), "finite and >= 0"),
        (lambda: Reaction(make(3000), MassGrid(3000), lambda n, m: n + 0 * m), "symmetric"),
        (lambda: Reaction(make(1), MassGrid(1, Bins(largest=1e15, per_decade=200)), constant), "per decade"),
        (lambda: MassGrid(0), "n_max = 0"),
        (lambda: Bins(largest=10.0), "largest"),
    ],
)
def test_wrong_arguments_are_named(call, named: str) -> None:
    with pytest.raises(InputError, match=named):
        call()
