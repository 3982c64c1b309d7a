"""Phase space against dense references: projections, moves, ledger and limiter.

The references know nothing of the package but the axes: Lagrange polynomials from numpy, integrals by dense quadrature,
and a translation as one matrix for a whole line. Sums, layouts and the comparison of ranks are in
`test_phase_space_ranks.py`.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from numpy.polynomial.legendre import leggauss
from phase_spaces import SMALL, everywhere, force_at, given, mass, noise, space

from limitpde.vlasov.phase_space import Axis, limiter, tensor
from limitpde.vlasov.phase_space.lines import drift_lines, kick_lines
from limitpde.vlasov.phase_space.translation import moves, projections

DEGREES = range(1, 6)
FINE, FINE_WEIGHTS = (leggauss(40)[0] + 1) / 2, leggauss(40)[1] / 2


def basis(P):
    """Lagrange polynomials at the Gauss points of [0, 1]."""
    points = (leggauss(P)[0] + 1) / 2
    found = []
    for j in range(P):
        others = np.delete(points, j)
        found.append(Polynomial.fromroots(others) / np.prod(points[j] - others))
    return found


def projection(P, alpha):
    """A, B by dense quadrature of phi_q(x) phi_r(x - alpha) over [alpha, 1], phi_q(x) phi_r(x - alpha + 1) before."""
    phi, mass_weights = basis(P), leggauss(P)[1] / 2
    tables = []
    for low, high, shift in ((alpha, 1.0, -alpha), (0.0, alpha, 1.0 - alpha)):
        x, w = low + (high - low) * FINE, (high - low) * FINE_WEIGHTS
        tables.append(
            [[(w * phi[q](x) * phi[r](x + shift)).sum() / mass_weights[q] for r in range(P)] for q in range(P)]
        )
    return np.array(tables)


def line_matrix(axis, displacement):
    """Translation of a whole line with L2 projection, (n, n)."""
    cells, P = axis.cells, axis.P
    whole = math.floor(displacement / axis.h)
    near, far = projection(P, displacement / axis.h - whole)
    found = np.zeros((cells, P, cells, P))
    for i in range(cells):
        for source, table in ((i - whole, near), (i - whole - 1, far)):
            if axis.periodic or 0 <= source < cells:
                found[i, :, source % cells] += table
    return found.reshape(axis.n, axis.n)


def reference_drift(here, f, dt):
    """Drift of f (*X, *V) by matrices."""
    for j, (x_axis, v_axis) in enumerate(zip(here.x_axes, here.v_axes, strict=True)):
        table = np.stack([line_matrix(x_axis, v * dt) for v in v_axis.nodes])
        lines = np.moveaxis(f, (here.d + j, j), (0, 1))
        f = np.moveaxis(np.einsum("vab,vb...->va...", table, lines), (0, 1), (here.d + j, j))
    return f


def reference_kick(here, f, dt):
    """Kick of f (*X, *V) by matrices."""
    d, shape = here.d, f.shape
    x = np.stack(np.meshgrid(*(axis.nodes for axis in here.x_axes), indexing="ij"), axis=-1)
    for j, axis in enumerate(here.v_axes):
        table = np.stack([line_matrix(axis, push * dt) for push in force_at(x)[j].ravel()])
        lines = np.moveaxis(f, d + j, d).reshape(len(table), axis.n, -1)
        moved = np.einsum("xab,xbc->xac", table, lines)
        f = np.moveaxis(moved.reshape(np.moveaxis(np.empty(shape), d + j, d).shape), d, d + j)
    return f


@pytest.mark.parametrize("degree", DEGREES)
def test_the_matrices_are_l2_projections(degree):
    P = degree + 1
    alphas = np.array([0.0, 1e-12, 0.13, 0.5, 0.97, 1 - 1e-12, 1.0])
    A, B = projections(P, alphas)
    for n, alpha in enumerate(alphas):
        near, far = projection(P, alpha)
        np.testing.assert_allclose(A[n], near, rtol=0, atol=1e-13)
        np.testing.assert_allclose(B[n], far, rtol=0, atol=1e-13)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("dt", [0.04, -0.3, 2.7, -11.0])
@pytest.mark.parametrize("d", SMALL)
def test_sweeps_are_the_products_with_dense_matrices(d, dt, periodic, comm):
    here = space(SMALL[d], {1: 4, 2: 1, 3: 1}[d], comm, periodic=periodic)
    values = noise(here)
    f = given(here, values)
    f, _ = here.drift(f, dt)
    expected = reference_drift(here, values[0], dt)
    np.testing.assert_allclose(everywhere(here, f[0]), expected, rtol=0, atol=1e-13)
    f, _ = here.kick(f, force_at(here.x_points), dt)
    np.testing.assert_allclose(everywhere(here, f[0]), reference_kick(here, expected, dt), rtol=0, atol=2e-13)


@pytest.mark.parametrize("degree", DEGREES)
def test_sweeps_of_every_degree(degree, comm):
    here = space((3, 4), degree, comm)
    values = noise(here)
    f, _ = here.drift(given(here, values), 0.7)
    f, _ = here.kick(f, force_at(here.x_points), 0.7)
    expected = reference_kick(here, reference_drift(here, values[0], 0.7), 0.7)
    np.testing.assert_allclose(everywhere(here, f[0]), expected, rtol=0, atol=2e-13)


@pytest.mark.parametrize("widest", [1, 3, 128])
def test_runs_may_be_cut_anywhere(widest, comm, monkeypatch):
    monkeypatch.setattr(tensor, "WIDEST", widest)
    here = space((3, 50), 2, comm)
    values = noise(here)
    f, _ = here.drift(given(here, values), 0.3)
    np.testing.assert_allclose(everywhere(here, f[0]), reference_drift(here, values[0], 0.3), rtol=0, atol=1e-13)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("d", [1, 2])
def test_polynomials_move_exactly(d, degree, comm):
    here = space((4,) * (2 * d), min(degree, 3) if d == 2 else degree, comm, periodic=False)
    k = here.degree

    def polynomial(z):
        return ((z - 0.3) ** k).sum(axis=1) + (0.5 + z).prod(axis=1)

    f, exact = here.array(), here.array()
    here.fill(f, polynomial)
    dt = 0.1  # at most 0.3, less than a cell of 0.5
    here.fill(exact, lambda z: polynomial(np.concatenate([z[:, :d] - dt * z[:, d:], z[:, d:]], axis=1)))
    f, _ = here.drift(f, dt)
    within = (*(slice(here.x_axes[0].P, -here.x_axes[0].P),) * d, ...)  # nothing has come in from the ends there
    found, wanted = everywhere(here, f[0])[within], everywhere(here, exact[0])[within]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
    here.fill(f, polynomial)
    here.fill(exact, lambda z: polynomial(np.concatenate([z[:, :d], z[:, d:] + 1.7], axis=1)))
    f, _ = here.kick(f, np.full((d, *here.x_shape), -1.7), 1.0)  # by a cell and a part: two cells change at the end
    within = (..., *(slice(0, -2 * here.x_axes[0].P),) * d)
    found, wanted = everywhere(here, f[0])[within], everywhere(here, exact[0])[within]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("positivity", [False, True])
@pytest.mark.parametrize("degree", DEGREES)
def test_whole_cells_move_exactly(degree, positivity, comm):
    here = space((4, 6), degree, comm, positivity=positivity)
    values, P = np.abs(noise(here)), degree + 1
    for n in (0, 1, -2, 5, -6, 7):
        f, lost = here.kick(given(here, values), np.full((1, *here.x_shape), float(n)), 1.0)  # cells of length 1
        expected = np.roll(values[0], n * P, axis=1)
        gone = slice(0, n * P) if n > 0 else slice(expected.shape[1] + n * P, None) if n > -6 else slice(None)
        if n:
            expected[:, gone] = 0.0
        np.testing.assert_allclose(everywhere(here, f[0]), expected, rtol=0, atol=3e-14)
        assert comm.allreduce(lost) == pytest.approx(mass(here, given(here, values)) - mass(here, f), abs=1e-13)
    nodes = here.v_axes[0].nodes
    for q, n in ((0, 1), (1, -1), (-1, 3), (2, 10)):
        f, _ = here.drift(given(here, values), n * here.x_axes[0].h / nodes[q])
        found = everywhere(here, f[0])[:, q]
        np.testing.assert_allclose(found, np.roll(values[0][:, q], n * P), rtol=0, atol=3e-14)


@pytest.mark.parametrize("d", SMALL)
def test_mass_is_kept_and_squares_do_not_grow(d, comm):
    here = space(SMALL[d], {1: 3, 2: 2, 3: 1}[d], comm)
    values = noise(here, components=2)
    inner = np.zeros(values.shape[-d:], dtype=bool)
    inner[tuple(slice(n // 3, n - n // 3) for n in inner.shape)] = True
    f = given(here, values * inner)
    squares = [sum(here.square_integral(part) for part in f)]
    before = mass(here, f)
    for dt in (0.3, -4.1, 1e3):
        f, lost = here.drift(f, dt)
        assert lost == 0.0
        assert mass(here, f) == pytest.approx(before, rel=1e-13)
        squares.append(sum(here.square_integral(part) for part in f))
    f, _ = here.kick(f, force_at(here.x_points), 0.1)
    squares.append(sum(here.square_integral(part) for part in f))
    assert np.diff(squares).max() <= 1e-14 * squares[0]
    assert squares[-1] < 0.99 * squares[0]


def test_components_move_like_single_ones(comm):
    here = space((3, 2, 2, 3), 2, comm, periodic=False)
    values = noise(here, components=2)
    force = force_at(here.x_points)
    both, lost = here.kick(here.drift(given(here, values), 0.3)[0], force, -0.4)
    assert lost == 0.0
    for part, alone in zip(both, values, strict=True):
        single, _ = here.kick(here.drift(given(here, alone[None]), 0.3)[0], force, -0.4)
        np.testing.assert_array_equal(part, single[0])


@pytest.mark.parametrize("positivity", [False, True])
@pytest.mark.parametrize("degree", DEGREES)
def test_free_streaming_is_of_its_order(degree, positivity, comm):
    T, counts, errors = 0.9, (5, 7, 10), []

    def smooth(z):
        return (1.3 + np.cos(np.pi * z[:, 0])) * np.exp(-(z[:, 1] ** 2))

    for cells in counts:
        here = space((cells, 2 * cells), degree, comm, positivity=positivity)
        f, exact = here.array(), here.array()
        here.fill(f, smooth)
        here.fill(exact, lambda z: smooth(np.column_stack([z[:, 0] - T * z[:, 1], z[:, 1]])))
        for _ in range(3):
            f, _ = here.drift(f, T / 3)
        errors.append(math.sqrt(here.square_integral(f[0] - exact[0])))
        assert not positivity or here.minimum(f[0]) >= 0.0
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert degree + 0.6 < slope < degree + 2.2


@pytest.mark.parametrize("far", [0.0, 3.0, 1e6, 2.0**60, 1e17, 1e300])
def test_moves_around_the_torus_many_times(far):
    axis = Axis(low=0.0, high=7.0, cells=7, degree=2, periodic=True)
    D = np.array([0.3, -2.3, 3.4999, -6.7]) + far * np.array([1.0, -1.0, 1.1, 1.3])
    found, expected = moves(axis, D), moves(axis, np.array([math.remainder(s, 7.0) for s in D]))
    assert found.cells.max() <= 3
    for name in ("cells", "forward", "near", "far"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.ranks
@pytest.mark.parametrize("cells", [(1, 1), (5, 3), (3, 1, 2, 2)])
def test_far_beyond_the_domain(cells, comm):
    here = space(cells, 2, comm)
    values, d = np.abs(noise(here)), len(cells) // 2
    start = mass(here, given(here, values))
    for dt in (1e3, -1e9, 1e20):
        f, _ = here.drift(given(here, values), dt)
        assert mass(here, f) == pytest.approx(start, rel=1e-13)
        assert here.square_integral(f[0]) <= here.square_integral(given(here, values)[0]) * (1 + 1e-14)
        f, lost = here.kick(f, np.full((d, *here.x_shape), dt), 1.0)
        assert here.square_integral(f[0]) == 0.0
        assert comm.allreduce(lost) == pytest.approx(start, rel=1e-13)


@pytest.mark.ranks
@pytest.mark.parametrize("positivity", [False, True])
@pytest.mark.parametrize("d", SMALL)
def test_the_ledger_of_what_leaves(d, positivity, comm):
    here = space(SMALL[d], {1: 4, 2: 2, 3: 1}[d], comm, periodic=False, positivity=positivity)
    f = given(here, np.abs(noise(here)))
    start, lost = mass(here, f), 0.0
    for n, dt in enumerate((0.05, 0.4, -0.2, 0.7)):
        f, gone = here.drift(f, dt)
        lost += comm.allreduce(gone)
        assert mass(here, f) + lost == pytest.approx(start, rel=1e-13)
        f, gone = here.kick(f, force_at(here.x_points + n), dt)
        lost += comm.allreduce(gone)
        assert mass(here, f) + lost == pytest.approx(start, rel=1e-13)
    assert 0.05 * start < lost < start


@pytest.mark.parametrize("d", SMALL)
def test_rough_data_stay_above_zero(d, comm):
    least = {}
    for positivity in (False, True):
        here = space({1: (7, 6), 2: (3, 4, 4, 3), 3: (2, 2, 2, 2, 2, 2)}[d], {1: 5, 2: 2, 3: 1}[d], comm,
                     positivity=positivity)  # fmt: skip
        f = here.array()
        here.fill(f, lambda z: 1.0 * ((np.abs(z[:, :d] - 1) < 0.6) & (np.abs(z[:, d:]) < 1.3)).all(axis=1))
        start, lost, least[positivity] = mass(here, f), 0.0, math.inf
        for dt in (0.37, 0.21, -0.5, 0.6):
            for f, gone in (here.drift(f, dt), here.kick(f, force_at(here.x_points), dt)):  # noqa: B020
                lost += comm.allreduce(gone)
                least[positivity] = min(least[positivity], here.minimum(f[0]))
        assert mass(here, f) + lost == pytest.approx(start, rel=1e-12)
    assert least[False] < -1e-2
    assert least[True] >= 0.0


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("kick", [False, True])
def test_the_limiter_scales_cells_of_lines_about_their_means(degree, kick):
    x = Axis(low=0.0, high=1.0, cells=3, degree=degree, periodic=True)
    v = Axis(low=-1.0, high=1.0, cells=4, degree=degree, periodic=False)
    P, rng, shape = degree + 1, np.random.default_rng(5), (x.n, v.n)
    shifts = rng.normal(size=x.n if kick else v.n)
    how = moves(v if kick else x, shifts)
    lines = kick_lines(shape, 0, P, how) if kick else drift_lines(shape, 0, P, how, 128)
    f = np.abs(rng.normal(size=shape)) ** 4
    weights = leggauss(P)[1] / 2

    def cells(values):
        return values.reshape(x.n, v.cells, P) if kick else np.moveaxis(values.reshape(x.cells, P, v.n), 1, 2)

    sent = [np.einsum("q,mqr->mr", weights, table) for table in (how.near, how.far)]
    index = "lr,lcr->lc" if kick else "lr,clr->cl"
    assert min(np.einsum(index, part, cells(f)).min() for part in sent) < 0.0
    limited = f.copy()
    limiter.before(limited.reshape(-1), lines, P)
    assert min(np.einsum(index, part, cells(limited)).min() for part in sent) > -1e-13
    np.testing.assert_allclose(cells(limited) @ weights, cells(f) @ weights, rtol=1e-13)
    theta = (cells(limited) - (cells(f) @ weights)[..., None]) / (cells(f) - (cells(f) @ weights)[..., None])
    np.testing.assert_allclose(theta - theta[..., :1], 0.0, atol=1e-9)
    assert -1e-9 < theta.min() < 0.99 < theta.max() < 1 + 1e-9
    rough = f - 0.3 * np.repeat(cells(f) @ weights, P, axis=1 if kick else 0).reshape(shape)
    limited = rough.copy()
    limiter.after(limited.reshape(-1), lines, P)
    assert rough.min() < 0.0 <= limited.min()
    np.testing.assert_allclose(cells(limited) @ weights, cells(rough) @ weights, rtol=1e-12)
