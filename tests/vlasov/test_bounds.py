"""Growth bounds of (HVl) and (HLv^N): the formulas of the proofs, and solutions that stay below them.

The tests that carry the load: solutions stay below the bounds, one exceeds the bound that the paper prints; the
formulas are those of (11) and of Lemma 3.4, which bounds that are far away would not show.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from vlasov_alpha import CIRCLE, CURVED, HMF, landau, model, solved

from limitpde.compare.test_functions import Wave
from limitpde.vlasov.hamiltonian import bounds
from limitpde.vlasov.hamiltonian.counting import beta
from limitpde.vlasov.hamiltonian.grid_state import GridState
from limitpde.vlasov.hamiltonian.liouville import Liouville
from limitpde.vlasov.hamiltonian.many_body_starts import PRODUCT, ManyBodyStart, TiltedState
from limitpde.vlasov.hamiltonian.mean_field_bound import CUTOFFS, Norms, a_priori, gronwall, rates
from limitpde.vlasov.hamiltonian.trajectories import excitations
from limitpde.vlasov.initial import Start
from limitpde.vlasov.model import Model
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.phase_space import Axis


def test_the_growth_bound_is_the_fixed_point_of_the_papers_integral_equation():
    M, constant = 1.3, 0.4
    C, a = constant * M**2, 1 + constant * M**2
    for t in (0.0, 0.3, 1.0):
        s, w = np.polynomial.legendre.leggauss(40)
        s, w = (s + 1) * t / 2, w * t / 2
        integral = sum(
            weight * bounds.growth_bound(M, constant, time) * math.exp(a * (t - time))
            for time, weight in zip(s, w, strict=True)
        )
        assert bounds.growth_bound(M, constant, t) == pytest.approx(M * (1 + math.exp(a * t)) + C * integral, rel=1e-12)
    assert bounds.growth_bound(M, constant, 1e3) == math.inf


def test_the_lipschitz_factor_is_the_exponential_of_the_integral():
    M, constant, t = 0.6, 0.3, 0.8
    s, w = np.polynomial.legendre.leggauss(40)
    squares = np.array([bounds.growth_bound(M, constant, (p + 1) * t / 2) ** 2 for p in s])
    expected = math.exp(t + 4 * constant**2 * M**2 * float(squares @ w) * t / 2)
    assert bounds.lipschitz_factor(M, constant, t) == pytest.approx(expected, rel=1e-12)
    assert bounds.lipschitz_factor(M, 0.0, t) == pytest.approx(math.exp(t))


@pytest.mark.parametrize("form", ["hamiltonian", "hartree"])
@pytest.mark.parametrize("strength", [-1.0, 0.05])
def test_the_norm_stays_below_the_bound_of_corollary_3_6(comm, form, strength):
    setting = model(form, potential={"kind": "cosine", "strength": strength}, v=5.5)
    rows = []
    solver = Solver(setting, landau(CURVED), cells=(8, 24), step=0.2, comm=comm)
    solver.solve(2.0, observers=[lambda report: rows.append(report.figures)])
    assert all(row["norm_w12"] < row["norm_w12_bound"] for row in rows)
    assert rows[-1]["norm_w12"] > 1.04 * rows[0]["norm_w12"]
    assert bounds.potential_bound(setting) == pytest.approx(abs(strength))


def test_free_streaming_exceeds_the_printed_bound(comm):
    """Gamma = 0: (8) as printed is constant, while ||grad_v alpha|| grows with t ||grad_x alpha||."""
    solver = solved(model(potential={"kind": "none"}, v=5.5), landau(), 4.0, comm)
    first = Solver(solver.model, landau(), cells=(8, 20), degree=4, step=0.1, comm=comm).figures()["norm_w12"]
    reached = solver.figures()["norm_w12"]
    assert reached > 1.1 * bounds.printed_growth_bound(first, 0.0, 4.0)
    assert reached < bounds.growth_bound(first, 0.0, 4.0) == solver.figures()["norm_w12_bound"]


def test_no_bound_is_claimed_where_there_is_none(comm):
    poisson = model(potential={"kind": "poisson"})
    assert bounds.potential_bound(poisson) == math.inf
    solver = Solver(poisson, landau(), cells=(4, 8), step=0.1, comm=comm)
    assert "norm_w12_bound" not in solver.figures()
    trap = Model(exterior=HMF, form="hamiltonian", domain={"x": (0.0, CIRCLE), "v": (-4.0, 4.0)})
    assert bounds.potential_bound(trap) == math.inf
    whole = Model(potential={"kind": "gaussian"}, domain={"x": (-4.0, 4.0), "v": (-4.0, 4.0), "periodic": False})
    assert bounds.potential_bound(whole) == whole.potential.bound(1)


def test_two_solutions_part_no_faster_than_corollary_3_7_allows(comm):
    setting, end = model(potential={"kind": "cosine", "strength": 0.3}), 1.0
    pair = [landau(CURVED), landau(CURVED, amplitude=0.55)]
    first = [Solver(setting, initial, cells=(8, 20), degree=4, step=0.1, comm=comm) for initial in pair]
    last = [solved(setting, initial, end, comm) for initial in pair]
    M = max(solver.figures()["norm_w12"] for solver in first)
    distances = []
    for one, two in (first, last):
        difference = one.form.alpha - two.form.alpha
        distances.append(math.sqrt(sum(one.space.square_integral(part) for part in difference)))
    factor = bounds.lipschitz_factor(M, bounds.potential_bound(setting), end)
    assert 0 < distances[1] <= factor * distances[0]
    assert distances[1] != pytest.approx(distances[0], rel=1e-6)


def hessian(alpha: np.ndarray, lengths: tuple[float, ...]) -> tuple[float, float, float]:
    """||alpha||, ||grad alpha||, ||D^2 alpha|| of values on equally spaced points of a torus, by Fourier series."""
    waves = np.fft.fftn(alpha, norm="forward")
    k = np.meshgrid(
        *(2 * math.pi * np.fft.fftfreq(n, length / n) for n, length in zip(alpha.shape, lengths, strict=True)),
        indexing="ij",
    )
    squares, volume = sum(wave**2 for wave in k), math.prod(lengths)
    return tuple(math.sqrt(volume * float((squares**p * np.abs(waves) ** 2).sum())) for p in (0, 1, 2))


@pytest.mark.parametrize("strength", [-1.0, 0.2])
def test_second_derivatives_stay_below_the_bound_of_corollary_3_8(strength):
    setting = model("hamiltonian", potential={"kind": "cosine", "strength": strength}, v=5.5)
    solver = Solver(setting, landau(CURVED), cells=(12, 32), degree=4, step=0.1, order=4)
    x, v = np.arange(48) * CIRCLE / 48, -5.5 + np.arange(160) * 11 / 160
    z = np.stack(np.meshgrid(x, v, indexing="ij"), axis=-1).reshape(-1, 2)
    norms = []
    for end in (0.0, 0.5, 1.0, 2.0):
        solver.solve(end)
        state = GridState([*solver.space.x_axes, *solver.space.v_axes], solver.form.alpha_values())
        norms.append(hessian(state.evaluate(z).reshape(48, 160), (CIRCLE, 11.0)))
        bound = bounds.second_derivative_bound(*norms[0], bounds.potential_bound(setting), end, dimension=1)
        assert norms[-1][2] <= bound * (1 + 1e-12)
    assert norms[-1][2] > 1.2 * norms[0][2]


@pytest.mark.parametrize("strength", [-1.0, 0.3])
def test_derivatives_of_two_particles_stay_below_those_of_lemma_3_4(strength):
    setting = model("hartree", potential={"kind": "cosine", "strength": strength}, v=5.0)
    two = Liouville(setting, landau(CURVED), particles=2, form="hartree", cells=(5, 7), degree=4)
    constants = bounds.consistency_constants(bounds.potential_bound(setting), particles=2, dimension=1)
    found = []
    for end in (0.0, 0.5, 1.0):
        two.advance(end - two.t, 3) if end else None
        space, alpha = two.form.space, two.form.alpha
        change = fourier_matrix(space.x_axes[0], 24)
        alpha = np.einsum("xa,yb,abcd->xycd", change, change, alpha, optimize=True)
        found.append(particle_norms(alpha, (CIRCLE, 10.0)))
        slope, curvature = found[0]
        assert found[-1][0] <= bounds.many_body_slope_bound(slope, constants, end) * (1 + 1e-12)
        assert found[-1][1] <= bounds.many_body_curvature_bound(slope, curvature, constants, end) * (1 + 1e-12)
    assert found[-1][0] > found[0][0]


def fourier_matrix(axis: Axis, points: int) -> np.ndarray:
    """Values at the nodes of a periodic axis -> values at equally spaced points, by polynomials."""
    from limitpde.vlasov.phase_space.axes import lagrange

    s = np.arange(points) * axis.cells / points
    cell = np.floor(s).astype(int)
    matrix = np.zeros((points, axis.n))
    for row, (c, basis) in enumerate(zip(cell, lagrange(axis.P, s - cell), strict=True)):
        matrix[row, c * axis.P : (c + 1) * axis.P] = basis
    return matrix


def particle_norms(alpha: np.ndarray, lengths: tuple[float, float]) -> tuple[float, float]:
    """||D_{z_1} alpha_2|| and ||D^2_{(z_1, z_2)} alpha_2|| of values at (x_1, x_2, v_1, v_2)."""
    edges = (lengths[0], lengths[0], lengths[1], lengths[1])
    waves = np.abs(np.fft.fftn(alpha, norm="forward")) ** 2 * math.prod(edges)
    k = np.meshgrid(
        *(2 * math.pi * np.fft.fftfreq(n, edge / n) for n, edge in zip(alpha.shape, edges, strict=True)), indexing="ij"
    )
    first, all_four = k[0] ** 2 + k[2] ** 2, sum(wave**2 for wave in k)
    return math.sqrt(float((first * waves).sum())), math.sqrt(float((all_four**2 * waves).sum()))


def test_constants_of_mean_field_consistency():
    assert bounds.consistency_constants(0.1, particles=2, dimension=1) == pytest.approx((1.0, 0.4, 1.0))
    assert bounds.consistency_constants(2.0, particles=3, dimension=2) == pytest.approx(
        (4.0, math.sqrt(20) * 2, math.sqrt(5) * 2)
    )


# --- formulas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 3])
def test_the_bound_of_second_derivatives_is_the_sum_of_the_terms_of_11(d):
    norm, slope, curvature, constant, t = 0.8, 0.6, 1.7, 0.4, 0.9
    C, M = constant * norm**2, math.hypot(norm, slope)
    a = 1 + C

    def force(s: float) -> float:
        return constant * norm * bounds.growth_bound(M, constant, s)

    def first(s: float) -> float:
        return math.exp(a * s)

    def second(s: float) -> float:  # the solution of y' = a y + C e^{2as}, y(0) = 0: (10) before it is estimated
        return C / a * (math.exp(2 * a * s) - math.exp(a * s))

    turn, square, bend = (
        quad(lambda s, g=g: force(s) * g(t - s), 0, t, epsabs=1e-13)[0]
        for g in (first, lambda s: first(s) ** 2, second)
    )
    expected = curvature * first(t) ** 2 + math.sqrt(2 * d) * slope * second(t) + 2 * slope * first(t) * turn
    expected += norm * (math.sqrt(d) * square + math.sqrt(2 * d) * bend + turn**2)
    found = bounds.second_derivative_bound(norm, slope, curvature, constant, t, dimension=d)
    assert found == pytest.approx(expected, rel=1e-10)


def test_free_second_derivatives_grow_like_the_square_of_the_flow():
    assert bounds.second_derivative_bound(0.8, 0.6, 1.7, 0.0, 0.9, dimension=2) == pytest.approx(1.7 * math.exp(1.8))


def test_bounds_of_lemma_3_4_solve_their_differential_inequalities():
    """u' = (1 + C_1^2) / 2 u, and w = (curvature bound)^2: w' = (3 + 2 C_3^2) w + (C_2 u)^2 e^{(3 + 2 C_3^2) t}."""
    constants, slope, curvature, h = (1.2, 0.7, 1.1), 0.9, 1.6, 1e-4
    for t in (0.0, 0.5, 1.3):
        u, w = (
            lambda s: bounds.many_body_slope_bound(slope, constants, s),
            lambda s: bounds.many_body_curvature_bound(slope, curvature, constants, s) ** 2,
        )
        rate = 3 + 2 * constants[2] ** 2
        assert (u(t + h) - u(t - h)) / (2 * h) == pytest.approx((1 + constants[0] ** 2) / 2 * u(t), rel=1e-6)
        expected = rate * w(t) + (constants[1] * u(t)) ** 2 * math.exp(rate * t)
        assert (w(t + h) - w(t - h)) / (2 * h) == pytest.approx(expected, rel=1e-6)
    assert bounds.many_body_slope_bound(slope, constants, 0.0) == slope
    assert bounds.many_body_curvature_bound(slope, curvature, constants, 0.0) == pytest.approx(curvature)


# --- Theorem 4.8 --------------------------------------------------------------------------------------------------


def test_gronwall_of_constant_norms_and_the_powers_of_theorem_4_8():
    """Against the closed form with one cutoff; N^-rate for R = N^((1 - lambda) / 4), and at least that for the best."""
    norms, C, t = Norms(0.7, 1.1, 1.3), 0.4, 0.8
    common = {"constant": C, "start": 0.03, "particles": 50, "exponent": 0.3}
    found = gronwall([0.0, t / 3, t], [norms] * 3, **common)
    best = min(
        math.log10(0.03 + second * t) + first * t / math.log(10)
        for first, second in (rates(norms, C, particles=50, exponent=0.3, cutoff=R) for R in CUTOFFS)
    )
    assert found == pytest.approx(best, rel=1e-12)
    few, many = 10**8, 10**12
    seconds, firsts = [], []
    for N in (few, many):
        first, second = rates(norms, C, particles=N, exponent=0.2, cutoff=N**0.2)
        seconds.append(second)
        firsts.append(first)
    assert math.log(seconds[1] / seconds[0]) / math.log(many / few) == pytest.approx(-0.2, abs=2e-3)
    assert firsts[1] == pytest.approx(2 * math.sqrt(2) * C * norms.slope, rel=0.02)
    late = [
        gronwall([0.0, t], [norms] * 2, **common | {"start": 0.0, "particles": N, "exponent": 0.2}) for N in (few, many)
    ]
    assert (late[1] - late[0]) / math.log10(many / few) <= -0.2 + 0.01


def test_beta_stays_below_the_bound_of_theorem_4_8():
    """A weak potential and a short time, for which the bound says something; from a state with beta_N(0) > 0 too."""
    setting = model("hamiltonian", potential={"kind": "cosine", "strength": 0.05})
    initial, end, N = landau(CURVED), 0.4, 32
    solver = Solver(setting, initial, cells=(8, 20), degree=4, step=0.1)
    first = GridState([*solver.space.x_axes, *solver.space.v_axes], solver.form.alpha_values())
    solver.solve(end)
    state = GridState(first.axes, solver.form.alpha_values())
    for shape, start in ((PRODUCT, 0.0), (TiltedState(number=0.3, function=Wave(k=(1.0, 0.0))), None)):
        many = ManyBodyStart(Start(initial, setting), setting, shape, first)
        law = many.law(N)
        common = {"constant": 0.05, "start": beta(law, 0.2), "particles": N, "exponent": 0.2}
        assert start is None or common["start"] == start
        known = a_priori(0.05, 1, N, (first.slope(), first.curvature()), many.norms(N))
        times = np.linspace(0, end, 20).tolist()
        bound = 10 ** gronwall(times, [known(t) for t in times], **common)
        found = excitations(setting, many, state, time=end, particles=N, replicas=1000, step=0.2).beta(0.2)
        assert found.ends[0] - 4.5 * found.errors[0] < bound < 0.8
