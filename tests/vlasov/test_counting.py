"""Liouville's equation of a few particles, and how many leave the mean field (Theorem 4.8).

The tests that carry the load: alpha_N is alpha_0 carried by Newton's flow; both of its forms agree; Monte Carlo sums
agree with the grid of R^4.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from mpi4py import MPI
from vlasov_alpha import CIRCLE, CURVED, HMF, landau, model, solved

from limitpde.compare.test_functions import Wave
from limitpde.errors import InputError
from limitpde.vlasov.hamiltonian.counting import (
    beta,
    cut_share,
    enclosure,
    expectation,
    occupation,
    share,
    theorem_rate,
)
from limitpde.vlasov.hamiltonian.grid_state import GridState
from limitpde.vlasov.hamiltonian.liouville import Liouville, many_body_model
from limitpde.vlasov.hamiltonian.many_body_starts import PRODUCT, ExcitedState, ManyBodyStart, TiltedState
from limitpde.vlasov.hamiltonian.trajectories import excitations
from limitpde.vlasov.initial import PhaseGaussian, Start
from limitpde.vlasov.model import Model
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.phase_space import Axis

# --- Liouville's equation -----------------------------------------------------------------------------------------


def newton_back(z: np.ndarray, time: float, *, strength: float) -> np.ndarray:
    """Points (n, N, 2) traced back by Newton's equations of the HMF model, by Runge and Kutta."""

    def rate(y: np.ndarray) -> np.ndarray:
        x, N = y[..., 0], y.shape[1]
        force = strength / (N - 1) * np.sin(x[:, :, None] - x[:, None, :]).sum(axis=2)
        return np.stack([y[..., 1], force], axis=-1)

    h = -time / 100
    for _ in range(100):
        a = rate(z)
        b = rate(z + h / 2 * a)
        c = rate(z + h / 2 * b)
        z = z + h / 6 * (a + 2 * b + 2 * c + rate(z + h * c))
    return z


@pytest.mark.parametrize(("particles", "cells", "level"), [(2, (5, 9), 4e-3), (3, (2, 3), 0.3)])
@pytest.mark.parametrize("form", ["hamiltonian", "hartree"])
def test_alpha_n_is_carried_by_newtons_flow(comm, particles, cells, level, form):
    """At all nodes, relative to the largest value; exchanged particles give the same value."""
    setting, initial, end = model(form, v=3.5), landau(CURVED, thermal=0.6), 0.5 if particles == 2 else 0.2
    many = Liouville(setting, initial, particles=particles, form=form, cells=cells, degree=3, comm=comm)
    many.advance(end, 2)
    found = many.form.alpha_values()
    if comm.rank == 0:
        swapped = np.swapaxes(np.swapaxes(found, 0, 1), particles, particles + 1)
        assert np.abs(found - swapped).max() < 1e-13 * np.abs(found).max()
        space, rng = many.form.space, np.random.default_rng(2)
        index = [rng.integers(0, n, 2000) for n in found.shape]
        axes = [*space.x_axes, *space.v_axes]
        places = np.stack([axis.nodes[i] for axis, i in zip(axes, index, strict=True)])
        z = newton_back(np.stack([places[:particles], places[particles:]]).T, end, strength=-1.0)
        start = Start(initial, setting)
        exact = math.prod(start.alpha(np.ascontiguousarray(z[:, j])) for j in range(particles))
        assert np.abs(found[tuple(index)] - exact).max() < level * np.abs(exact).max()


def test_the_square_of_alpha_n_solves_liouvilles_equation(comm):
    initial, common = landau(CURVED), {"particles": 2, "cells": (6, 10), "degree": 4, "comm": comm}
    alpha = Liouville(model(), initial, form="hamiltonian", **common)
    f = Liouville(model(), initial, form="density", **common)
    for many in (alpha, f):
        many.advance(0.8, 4)
    difference = float(np.abs(alpha.form.values - f.form.values).max(initial=0.0))
    largest = comm.allreduce(float(f.form.values.max(initial=0.0)), op=MPI.MAX)
    assert comm.allreduce(difference, op=MPI.MAX) < 2e-3 * largest


@pytest.mark.ranks
@pytest.mark.parametrize("form", ["hamiltonian", "hartree"])
def test_the_hamiltonian_of_two_particles_is_kept(comm, form):
    key = {"hamiltonian": "h_vl", "hartree": "h_ht"}[form]
    many = Liouville(
        model(form, v=5.5), landau(CURVED, thermal=0.9), particles=2, form=form, cells=(5, 10), degree=4, comm=comm
    )
    first = many.form.figures(0.0)
    many.advance(1.0, 5)
    last = many.form.figures(1.0)
    assert abs(first[key]) > 0.01
    assert last[key] == pytest.approx(first[key], abs=1e-4)
    assert last["norm"] == pytest.approx(1.0, abs=1e-4)
    assert "norm_w12_bound" not in last


def test_models_of_many_particles_are_checked():
    with pytest.raises(InputError, match="particles = 4"):
        many_body_model(model(), 4, "hamiltonian")
    plane = Model(dimension=2, domain={"x": (0.0, 1.0), "v": (-1.0, 1.0)})
    with pytest.raises(InputError, match="dimension = 1"):
        many_body_model(plane, 2, "hamiltonian")
    assert many_body_model(model(), 3, "density").x_box.shape == (3, 2)


# --- counting -----------------------------------------------------------------------------------------------------


def random_state(
    N: int, n: int = 3, m: int = 2, seed: int = 5
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """A symmetric alpha_N, alpha, weights."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(*(n,) * N, *(m,) * N)) + 1j * rng.normal(size=(*(n,) * N, *(m,) * N))
    total = np.zeros_like(raw)
    for order in itertools.permutations(range(N)):
        total += raw.transpose([*order, *(N + j for j in order)])
    alpha = rng.normal(size=(n, m)) + 1j * rng.normal(size=(n, m))
    return total, alpha, (rng.uniform(0.5, 1.5, n), rng.uniform(0.5, 1.5, m))


@pytest.mark.parametrize("N", [2, 3])
def test_occupations_are_those_of_the_projections(N):
    """Against p and q as matrices, Definition 4.1 (i), and Lemma 4.3 (ii)."""
    alpha_N, alpha, (wx, wv) = random_state(N)
    P = occupation(alpha_N, alpha, (wx, wv))
    root = np.sqrt(np.multiply.outer(wx, wv)).ravel()
    one = (alpha.ravel() * root) / np.linalg.norm(alpha.ravel() * root)
    size, axes = len(one), [a for j in range(N) for a in (j, N + j)]
    state = alpha_N.transpose(axes).reshape((size,) * N)
    for j in range(N):
        state = np.moveaxis(np.moveaxis(state, j, -1) * root, -1, j)
    state = state / np.linalg.norm(state)
    p = np.outer(one, one.conj())
    q = np.eye(size) - p
    expected, excited = np.zeros(N + 1), 0.0
    for choice in itertools.product((0, 1), repeat=N):
        moved = state
        for j, a in enumerate(choice):
            moved = np.moveaxis(np.tensordot(q if a else p, moved, (1, j)), 0, j)
        expected[sum(choice)] += float(np.vdot(state, moved).real)
    for j in range(N):
        excited += float(np.vdot(state, np.moveaxis(np.tensordot(q, state, (1, j)), 0, j)).real) / N
    np.testing.assert_allclose(P, expected, atol=1e-13)
    assert P.sum() == pytest.approx(1.0, abs=1e-13)
    assert expectation(share(np.arange(N + 1.0), N) ** 2, P) == pytest.approx(excited, rel=1e-12)


def test_product_states_have_no_excitations():
    alpha = random_state(2)[1]
    weights = random_state(2)[2]
    product = np.einsum("ac,bd->abcd", alpha, alpha)
    np.testing.assert_allclose(occupation(3 * product, 1j * alpha, weights), [1.0, 0.0, 0.0], atol=1e-14)


def test_counting_functions_and_rates():
    np.testing.assert_allclose(cut_share(np.arange(5.0), 4, 0.5), [0.0, 0.5, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(cut_share(np.arange(3.0), 2, 1.0), share(np.arange(3.0), 2) ** 2)
    assert [theorem_rate(power) for power in (0.0, 0.2, 0.5, 1.0)] == pytest.approx([0.0, 0.2, 0.125, 0.0])
    assert max(theorem_rate(power) for power in np.linspace(0, 1, 101)) == pytest.approx(0.2)
    with pytest.raises(InputError, match="lambda"):
        cut_share(np.arange(3.0), 2, 1.5)


def test_what_is_measured_of_the_number_encloses_beta():
    """Samples that are all the same; beta itself where N^lambda <= L + 1 and where all probabilities are there."""
    rng = np.random.default_rng(8)
    for N, L, power in itertools.product((2, 3, 10, 64), (0, 1, 3), (0.0, 0.2, 0.5, 0.9, 1.0)):
        for _ in range(20):
            P, k = rng.dirichlet(np.full(N + 1, 0.2)), np.arange(N + 1.0)
            rows = np.tile([*P[: L + 1], P @ k, P @ (k * (k - 1))], (2, 1))
            found = enclosure(rows[:, :-2], rows[:, -2], rows[:, -1], N, power)
            (low, high), exact = found.ends, beta(P, power)
            assert low - 1e-12 <= exact <= high + 1e-12
            if N**power <= min(L, N) + 1 or power == 1 or L >= N:
                assert low == pytest.approx(exact, abs=1e-12)
                assert found.low.mean() == pytest.approx(exact, abs=1e-12)


# --- Monte Carlo --------------------------------------------------------------------------------------------------


def grid_state(solver) -> GridState:
    return GridState([*solver.space.x_axes, *solver.space.v_axes], solver.form.alpha_values())


def product(initial, setting) -> ManyBodyStart:
    return ManyBodyStart(Start(initial, setting), setting)


def test_states_on_a_grid_are_evaluated_and_drawn_from():
    x, v = Axis(0.0, CIRCLE, 7, 3, True), Axis(-3.0, 3.0, 8, 3, False)
    nodes = np.stack(np.meshgrid(x.nodes, v.nodes, indexing="ij"), axis=-1)
    state = GridState([x, v], 5j * (1.5 + np.cos(nodes[..., 0])) ** 0.5 * np.exp(-(nodes[..., 1] ** 2) / 4))
    rng = np.random.default_rng(1)
    found = state.evaluate(nodes.reshape(-1, 2))
    weights = np.outer(x.weights, v.weights).ravel()
    assert float(np.abs(found) ** 2 @ weights) == pytest.approx(1.0, rel=1e-12)
    z = np.stack([rng.uniform(0, CIRCLE, 100), rng.uniform(-3, 3, 100)], axis=1)
    np.testing.assert_allclose(state.evaluate(z + np.array([3 * CIRCLE, 0.0])), state.evaluate(z), atol=1e-12)
    assert not state.evaluate(z + np.array([0.0, 6.1])).any()
    drawn = state.sample(20_000, rng)
    observed = np.stack(
        [np.cos(drawn[:, 0]), drawn[:, 1], drawn[:, 1] ** 2, np.cos(drawn[:, 0]) ** 2 * drawn[:, 1] ** 2]
    )
    c, s = np.cos(nodes[..., 0]).ravel(), nodes[..., 1].ravel()
    expected = np.stack([c, s, s**2, c**2 * s**2]) @ (np.abs(found) ** 2 * weights)
    error = observed.std(axis=1) / math.sqrt(observed.shape[1])
    assert np.all(np.abs(observed.mean(axis=1) - expected) < 4.5 * error)


WAVY = Wave(k=(1.0, 0.0), phase=0.3)
SHAPES = [PRODUCT, TiltedState(number=0.7, function=WAVY), ExcitedState(number=1, function=WAVY)]


@pytest.mark.parametrize(("phase", "shape"), [(None, PRODUCT), *((CURVED, shape) for shape in SHAPES)])
def test_monte_carlo_sums_agree_with_the_grid_of_two_particles(phase, shape):
    """Also for states that are no products; on the grid their norms, too."""
    initial, end, setting = landau(phase), 1.0, model()
    solver = Solver(setting, initial, cells=(8, 24), degree=4, step=0.1, comm=MPI.COMM_SELF)
    start = ManyBodyStart(Start(initial, setting), setting, shape, grid_state(solver))
    solver.solve(end)
    found = excitations(setting, start, grid_state(solver), time=end, particles=2, replicas=4000, step=0.25, seed=3)
    two = Liouville(setting, initial, particles=2, cells=(5, 8), degree=4, factor=start.factor, comm=MPI.COMM_SELF)
    axes = [two.form.space.x_axes[0]] * 2 + [two.form.space.v_axes[0]] * 2
    slope, curvature = start.norms(2)
    at_start = GridState(axes, two.form.alpha_values())
    assert at_start.slope() / math.sqrt(2) == pytest.approx(slope, rel=0.01)
    assert at_start.curvature() <= 1.02 * curvature
    if shape.shape != "excited":  # there it is a bound
        assert at_start.curvature() == pytest.approx(curvature, rel=0.05)
    two.advance(end, 4)
    one = solved(setting, initial, end, MPI.COMM_SELF, cells=(5, 8))
    weights = one.space.x_axes[0].weights, one.space.v_axes[0].weights
    P = occupation(two.form.alpha_values(), one.form.alpha_values(), weights)
    assert abs(P[1] + 2 * P[2] - found.excited) < 4.5 * found.excited_error + 2e-3
    assert abs(2 * P[2] - found.pairs) < 4.5 * found.pairs_error + 2e-3
    errors = found.occupied.std(axis=0) / math.sqrt(4000)
    assert (np.abs(found.occupied.mean(axis=0) - P) < 4.5 * errors + 2e-3).all()
    for power in (0.2, 0.5, 1.0):
        enclosed = found.beta(power)
        (low, high), errors = enclosed.ends, enclosed.errors
        assert low - 4.5 * errors[0] - 2e-3 < beta(P, power) < high + 4.5 * errors[1] + 2e-3
    assert found.excited > 0.3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_number_has_its_law_at_time_zero(shape):
    setting, initial = model(), landau(CURVED)
    state = grid_state(Solver(setting, initial, cells=(8, 24), degree=4, step=0.1, comm=MPI.COMM_SELF))
    start = ManyBodyStart(Start(initial, setting), setting, shape, state)
    found = excitations(setting, start, state, time=0.0, particles=6, replicas=3000, step=0.1, levels=3)
    law = start.law(6)
    assert law.sum() == pytest.approx(1.0)
    errors = found.occupied.std(axis=0) / math.sqrt(3000)
    assert (np.abs(found.occupied.mean(axis=0) - law[:4]) < 4.5 * errors + 1e-5).all()
    assert abs(found.excited - law @ np.arange(7)) < 4.5 * found.excited_error + 1e-4
    squares = start.factor(start.sample(20_000, 6, np.random.default_rng(2))) ** 2
    assert abs(squares.mean() - 1) <= 4.5 * squares.std() / math.sqrt(20_000)


def test_two_dimensions_without_coupling_are_two_lines():
    """A sum of cosines and normal laws: alpha and alpha_N are products over the axes, so <p_1> is a square."""
    cosine, found = {"kind": "cosine", "strength": -1.0}, []
    for d, cells in ((1, (10, 16)), (2, (4, 6))):
        domain = {"x": (0.0, CIRCLE), "v": (-3.6, 3.6)}
        setting = Model(dimension=d, potential=cosine, form="hamiltonian", domain=domain)
        initial = PhaseGaussian(center=(3.0,) * d + (0.3,) * d, width=(0.9, 0.7))
        solver = Solver(setting, initial, cells=cells, degree=3, step=0.4, comm=MPI.COMM_SELF)
        solver.solve(0.8)
        kept = {"time": 0.8, "particles": 4, "replicas": 1500, "step": 0.4, "levels": 0}
        found.append(excitations(setting, product(initial, setting), grid_state(solver), **kept).single)
    line, plane = (1 - values.mean() for values in found)
    error = math.hypot(2 * line * found[0].std(), found[1].std()) / math.sqrt(1500)
    assert line < 1 - 9 * error
    assert abs(plane - line**2) < 4.5 * error + 2e-3


@pytest.mark.ranks
def test_excitations_do_not_depend_on_the_ranks(comm):
    setting, initial = model(), landau(CURVED)
    solver = Solver(setting, initial, cells=(5, 10), degree=2, step=0.1, comm=MPI.COMM_SELF)
    common = {"time": 0.2, "particles": 64, "replicas": 1500, "step": 0.2, "seed": 7, "levels": 1}
    state, start = grid_state(solver), product(initial, setting)
    here, alone = (excitations(setting, start, state, comm=ranks, **common) for ranks in (comm, MPI.COMM_SELF))
    np.testing.assert_array_equal(here.single, alone.single)
    np.testing.assert_array_equal(here.occupied, alone.occupied)


def test_three_particles_on_trajectories_and_on_a_coarse_grid():
    """A grid of R^6 with few cells, for a wide alpha."""
    initial, end = landau(CURVED, thermal=0.9, amplitude=0.3), 0.6
    solver = solved(model(v=5.0), initial, end, MPI.COMM_SELF, cells=(8, 24))
    state = grid_state(solver)
    found = excitations(
        solver.model, product(initial, solver.model), state, time=end, particles=3, replicas=4000, step=0.2, seed=4
    )
    setting = model("hartree", v=5.0)
    three = Liouville(setting, initial, particles=3, form="hartree", cells=(2, 3), degree=4, order=2)
    three.advance(end, 3)
    one = solved(setting, initial, end, MPI.COMM_SELF, cells=(2, 3))
    weights = one.space.x_axes[0].weights, one.space.v_axes[0].weights
    P = occupation(three.form.alpha_values(), one.form.alpha_values(), weights)
    k = np.arange(4)
    assert abs(float(P @ k) - found.excited) < 4.5 * found.excited_error + 0.1 * found.excited
    assert abs(float(P @ (k * (k - 1))) - found.pairs) < 4.5 * found.pairs_error + 0.1 * found.pairs


def test_free_particles_and_linear_phases_have_no_excitations_of_their_own():
    """Without interaction alpha_N stays a product; a phase linear in x and v changes nothing."""
    free = model(potential={"kind": "none"})
    solver = solved(free, landau(CURVED), 1.0, MPI.COMM_SELF, cells=(12, 30))
    state = grid_state(solver)
    found = excitations(free, product(landau(CURVED), free), state, time=1.0, particles=5, replicas=200, step=0.5)
    assert found.excited < 1e-6
    sums = []
    for phase in (None, (2.0, -0.7)):
        solver = solved(model(), landau(phase), 1.0, MPI.COMM_SELF, cells=(8, 24))
        state = grid_state(solver)
        sums.append(
            excitations(model(), product(landau(phase), model()), state, time=1.0, particles=4, replicas=500, step=0.2)
        )
    assert sums[0].excited == pytest.approx(sums[1].excited, abs=5 * math.hypot(*(s.excited_error for s in sums)))


def test_the_number_of_excitations_stays_bounded_as_n_grows():
    initial = landau(CURVED)
    solver = solved(model(), initial, 1.0, MPI.COMM_SELF, cells=(8, 24))
    state = grid_state(solver)
    few, many = (
        excitations(solver.model, product(initial, solver.model), state, time=1.0, particles=N, replicas=600, step=0.25)
        for N in (4, 16)
    )
    assert many.excited < few.excited + 4.5 * math.hypot(few.excited_error, many.excited_error)
    assert many.excited_error < 0.1 * many.excited


def test_arguments_of_the_monte_carlo_sums_are_checked():
    axes = [Axis(0.0, CIRCLE, 2, 1, True), Axis(-4.5, 4.5, 2, 1, False)]
    state = GridState(axes, np.ones((4, 4), dtype=complex))
    start = ManyBodyStart(Start(landau(), model()), model())
    good = {"time": 1.0, "particles": 2, "replicas": 4, "step": 0.1}
    for wrong, message in (
        ({"particles": 1}, "particles = 1"),
        ({"replicas": 1}, "replicas = 1"),
        ({"time": -1.0}, "time = -1"),
        ({"step": -1.0}, "step = -1"),
    ):
        with pytest.raises(InputError, match=message):
            excitations(model(), start, state, **good | wrong)
    trap = Model(exterior=HMF, domain={"x": (0.0, CIRCLE), "v": (-4.0, 4.0)})
    with pytest.raises(InputError, match="exterior"):
        excitations(trap, start, state, **good)
