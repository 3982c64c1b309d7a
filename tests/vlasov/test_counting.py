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

from limitpde.errors import InputError
from limitpde.vlasov.hamiltonian.counting import (
    beta,
    beta_bounds,
    cut_share,
    expectation,
    occupation,
    share,
    theorem_rate,
)
from limitpde.vlasov.hamiltonian.liouville import Liouville, many_body_model
from limitpde.vlasov.hamiltonian.trajectories import GridState, excitations
from limitpde.vlasov.initial import Start
from limitpde.vlasov.model import Model
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


@pytest.mark.ranks
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


def test_moments_of_the_number_enclose_beta():
    rng = np.random.default_rng(8)
    for N, power in itertools.product((2, 3, 10, 64), (0.0, 0.2, 0.5, 0.9, 1.0)):
        for _ in range(50):
            P = rng.dirichlet(np.full(N + 1, 0.2))
            k = np.arange(N + 1.0)
            low, high = beta_bounds(float(P @ k), float(P @ (k * (k - 1))), N, power)
            assert low - 1e-12 <= beta(P, power) <= high + 1e-12


# --- Monte Carlo --------------------------------------------------------------------------------------------------


def test_states_on_a_grid_are_evaluated_and_drawn_from():
    x, v = Axis(0.0, CIRCLE, 7, 3, True), Axis(-3.0, 3.0, 8, 3, False)
    nodes = np.stack(np.meshgrid(x.nodes, v.nodes, indexing="ij"), axis=-1)
    state = GridState(x, v, 5j * (1.5 + np.cos(nodes[..., 0])) ** 0.5 * np.exp(-(nodes[..., 1] ** 2) / 4))
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


@pytest.mark.parametrize("phase", [None, CURVED])
def test_monte_carlo_sums_agree_with_the_grid_of_two_particles(phase):
    initial, end = landau(phase), 1.0
    solver = solved(model(), initial, end, MPI.COMM_SELF, cells=(8, 24))
    state = GridState(solver.space.x_axes[0], solver.space.v_axes[0], solver.form.alpha_values())
    found = excitations(solver.model, initial, state, time=end, particles=2, replicas=8000, step=0.25, seed=3)
    two = Liouville(model(), initial, particles=2, cells=(5, 8), degree=4, comm=MPI.COMM_SELF)
    two.advance(end, 4)
    one = solved(model(), initial, end, MPI.COMM_SELF, cells=(5, 8))
    axes = one.space.x_axes[0], one.space.v_axes[0]
    P = occupation(two.form.alpha_values(), one.form.alpha_values(), (axes[0].weights, axes[1].weights))
    assert abs(P[1] + 2 * P[2] - found.excited) < 4.5 * found.excited_error + 1e-3
    assert abs(2 * P[2] - found.pairs) < 4.5 * found.pairs_error + 1e-3
    for power in (0.2, 0.5, 1.0):
        low, high = found.beta_bounds(power)
        assert low - 0.02 < beta(P, power) < high + 0.02
    assert found.excited > 0.3


def test_three_particles_on_trajectories_and_on_a_coarse_grid():
    """A grid of R^6 with few cells, for a wide alpha."""
    initial, end = landau(CURVED, thermal=0.9, amplitude=0.3), 0.6
    solver = solved(model(v=5.0), initial, end, MPI.COMM_SELF, cells=(8, 24))
    state = GridState(solver.space.x_axes[0], solver.space.v_axes[0], solver.form.alpha_values())
    found = excitations(solver.model, initial, state, time=end, particles=3, replicas=4000, step=0.2, seed=4)
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
    state = GridState(solver.space.x_axes[0], solver.space.v_axes[0], solver.form.alpha_values())
    found = excitations(free, landau(CURVED), state, time=1.0, particles=5, replicas=200, step=0.5)
    assert found.excited < 1e-6
    sums = []
    for phase in (None, (2.0, -0.7)):
        solver = solved(model(), landau(phase), 1.0, MPI.COMM_SELF, cells=(8, 24))
        state = GridState(solver.space.x_axes[0], solver.space.v_axes[0], solver.form.alpha_values())
        sums.append(excitations(model(), landau(phase), state, time=1.0, particles=4, replicas=500, step=0.2))
    assert sums[0].excited == pytest.approx(sums[1].excited, abs=5 * math.hypot(*(s.excited_error for s in sums)))


def test_the_number_of_excitations_stays_bounded_as_n_grows():
    initial = landau(CURVED)
    solver = solved(model(), initial, 1.0, MPI.COMM_SELF, cells=(8, 24))
    state = GridState(solver.space.x_axes[0], solver.space.v_axes[0], solver.form.alpha_values())
    few, many = (
        excitations(solver.model, initial, state, time=1.0, particles=N, replicas=600, step=0.25) for N in (4, 16)
    )
    assert many.excited < few.excited + 4.5 * math.hypot(few.excited_error, many.excited_error)
    assert many.excited_error < 0.1 * many.excited


def test_arguments_of_the_monte_carlo_sums_are_checked():
    state = GridState(Axis(0.0, CIRCLE, 2, 1, True), Axis(-4.5, 4.5, 2, 1, False), np.ones((4, 4), dtype=complex))
    good = {"time": 1.0, "particles": 2, "replicas": 4, "step": 0.1}
    for wrong, message in (
        ({"particles": 1}, "particles = 1"),
        ({"replicas": 1}, "replicas = 1"),
        ({"time": 0.0}, "time = 0"),
        ({"step": -1.0}, "step = -1"),
    ):
        with pytest.raises(InputError, match=message):
            excitations(model(), landau(), state, **good | wrong)
    with pytest.raises(InputError, match="mass"):
        excitations(model(), landau(mass=2.0), state, **good)
    trap = Model(exterior=HMF, domain={"x": (0.0, CIRCLE), "v": (-4.0, 4.0)})
    with pytest.raises(InputError, match="exterior"):
        excitations(trap, landau(), state, **good)
