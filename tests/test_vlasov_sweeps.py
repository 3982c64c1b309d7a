"""Sweeps through phase space: exact on polynomials, conservative, dissipative, of their order, alike on all ranks.

Load: ledger of mass to rounding, observed orders, positivity with mass, and the comparison with a space on one rank.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
import pytest
from mpi4py import MPI

from limitpde.vlasov.phase_space import Axis, TensorSpace
from limitpde.vlasov.phase_space.axes import gauss, lagrange
from limitpde.vlasov.phase_space.translation import projections

TORUS = {"low": 0.0, "high": 2 * np.pi, "periodic": True}


def space(cells, degree, comm, *, periodic=True, v=5.0, **options):
    """A tensor space with cells[j] in each of 2 d coordinates."""
    d = len(cells) // 2
    low, high = (0.0, 2 * np.pi) if periodic else (-5.0, 5.0)
    x_axes = [Axis(low=low, high=high, cells=n, degree=degree, periodic=periodic) for n in cells[:d]]
    v_axes = [Axis(low=-v, high=v, cells=n, degree=degree, periodic=False) for n in cells[d:]]
    return TensorSpace(x_axes, v_axes, comm=comm, **options)


def smooth(z):
    d = z.shape[1] // 2
    x, v = z[:, :d], z[:, d:]
    return (1.5 + np.cos(x).prod(axis=1) + 0.3 * np.sin(x.sum(axis=1))) * np.exp(-(v**2).sum(axis=1))


def cloud(z):
    return np.exp(-2 * (z**2).sum(axis=1))


def mass(here, f):
    ones = [np.ones((1, n)) for n in here.v_shape]
    return float(here.integrate_x(here.velocity_integrals(f[0], ones))[0])


@pytest.mark.serial
@pytest.mark.parametrize("degree", range(1, 6))
def test_the_matrices_are_those_of_the_projection(degree):
    P = degree + 1
    points, weights = gauss(P)
    fine, fine_weights = gauss(40)
    for alpha in (0.0, 0.13, 0.5, 0.97):
        A, B = (part[0] for part in projections(P, np.array([alpha])))
        for source, shift, low, high, matrix in ((A, -alpha, alpha, 1.0, A), (B, 1 - alpha, 0.0, alpha, B)):
            x = low + (high - low) * fine
            basis, moved = lagrange(P, x), lagrange(P, x + shift)
            exact = (basis * ((high - low) * fine_weights)[:, None]).T @ moved / weights[:, None]
            np.testing.assert_allclose(matrix, exact, atol=1e-13)
            assert source is matrix
        polynomial = points**degree
        np.testing.assert_allclose(A @ polynomial + B @ (points - 1) ** degree, (points - alpha) ** degree, atol=1e-13)


@pytest.mark.parametrize("cells", [(5, 4), (3, 2, 3, 4), (2, 1, 2, 2, 2, 3)], ids=["1D", "2D", "3D"])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("dt", [0.07, -0.9, 40.0])
def test_any_number_of_ranks_gives_the_same(cells, periodic, dt, comm):
    degree = 2 if len(cells) == 2 else 1
    found = []
    for ranks in (comm, MPI.COMM_SELF):
        here = space(cells, degree, ranks, periodic=periodic, v=3.0)
        f = here.array(1)
        here.fill(f, smooth)
        force = np.stack([0.8 * np.sin(here.x_points[..., 0] + j) for j in range(here.d)])
        before, lost = mass(here, f), 0.0
        for move in (lambda f: here.drift(f, dt), lambda f: here.kick(f, force, dt), lambda f: here.drift(f, dt / 2)):  # noqa: B023
            f, gone = move(f)
            lost += gone
        lost = ranks.allreduce(lost)
        assert mass(here, f) + lost == pytest.approx(before, rel=1e-13)
        factors = [np.stack([np.ones_like(v), v]) for v in here.v_nodes]
        moments = here.gather_x(here.velocity_integrals(f[0], factors))
        figures = here.square_integral(f[0]), here.minimum(f[0]), lost
        found.append((ranks.bcast(here.gather(f[0]), root=0), moments, figures))
    for mine, alone in zip(*found, strict=True):
        np.testing.assert_allclose(mine, alone, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("cells", [(7, 6), (2, 3, 2, 3)], ids=["1D", "2D"])
def test_mass_and_squares(cells, comm):
    here = space(cells, 3, comm)
    f = here.array(2)
    here.fill(f, lambda z: np.stack([smooth(z), np.sin(z[:, 0]) * smooth(z)]))
    force = np.stack([np.cos(here.x_points[..., j]) for j in range(here.d)])
    squares = [here.square_integral(f[0]) + here.square_integral(f[1])]
    for _ in range(5):
        f, _ = here.drift(f, 0.3)
        f, _ = here.kick(f, force, 0.2)
        squares.append(here.square_integral(f[0]) + here.square_integral(f[1]))
    assert np.diff(squares).max() <= 1e-14 * squares[0]
    assert squares[-1] > 0.5 * squares[0]


@pytest.mark.parametrize("degree", range(1, 6))
def test_free_streaming_is_of_order_one_more_than_the_degree(degree, comm):
    errors, T = [], 1.3
    for cells in (6, 12):
        here = space((cells, 2 * cells), degree, comm)
        f, exact = here.array(1), here.array(1)
        here.fill(f, smooth)
        here.fill(exact, lambda z: smooth(np.column_stack([z[:, 0] - z[:, 1] * T, z[:, 1]])))
        for _ in range(4):
            f, _ = here.drift(f, T / 4)
        errors.append(np.sqrt(here.square_integral(f[0] - exact[0])))
    assert np.log2(errors[0] / errors[1]) > degree + 0.7


@pytest.mark.parametrize("periodic", [True, False])
def test_the_limiter_keeps_f_above_zero_and_its_mass(periodic, comm):
    found = {}
    for positivity in (False, True):
        here = space((8, 8), 3, comm, periodic=periodic, positivity=positivity)
        f = here.array(1)
        here.fill(f, lambda z: 1.0 * ((np.abs(z[:, 0] - 1) < 0.9) & (np.abs(z[:, 1]) < 1.1)))
        before, lost = mass(here, f), 0.0
        force = 0.9 * np.sin(here.x_points[None, ..., 0])
        for _ in range(6):
            f, gone = here.drift(f, 0.37)
            f, more = here.kick(f, force, 0.41)
            lost += gone + more
        found[positivity] = here.minimum(f[0])
        assert mass(here, f) + comm.allreduce(lost) == pytest.approx(before, rel=1e-12)
    assert found[False] < -1e-2
    assert found[True] >= 0.0


def test_the_limiter_keeps_the_order_on_smooth_data(comm):
    errors, T = [], 1.3
    for cells in (6, 12):
        here = space((cells, 2 * cells), 3, comm, positivity=True)
        f, exact = here.array(1), here.array(1)
        here.fill(f, smooth)
        here.fill(exact, lambda z: smooth(np.column_stack([z[:, 0] - z[:, 1] * T, z[:, 1]])))
        for _ in range(4):
            f, _ = here.drift(f, T / 4)
        assert here.minimum(f[0]) >= 0.0
        errors.append(np.sqrt(here.square_integral(f[0] - exact[0])))
    assert np.log2(errors[0] / errors[1]) > 3.7


def test_what_leaves_is_counted(comm):
    here = space((6, 6), 2, comm, periodic=False)
    f = here.array(1)
    here.fill(f, cloud)
    before = mass(here, f)
    f, lost = here.drift(f, 8.0)
    lost = comm.allreduce(lost)
    assert 0.01 * before < lost < before
    assert mass(here, f) + lost == pytest.approx(before, rel=1e-14)
    f, rest = here.drift(f, 1e6)
    assert lost + comm.allreduce(rest) + mass(here, f) == pytest.approx(before, rel=1e-14)
    assert mass(here, f) < 0.2 * before


@pytest.mark.parametrize("axis", [0, 1])
def test_derivatives_are_skew_symmetric_and_of_their_order(axis, comm):
    errors = []
    for cells in (12, 24):
        here = space((cells, 2 * cells), 3, comm)
        f, slope = here.array(1), here.array(1)
        here.fill(f, smooth)
        here.fill(
            slope,
            lambda z: (
                (-np.sin(z[:, 0]) + 0.3 * np.cos(z[:, 0])) * np.exp(-(z[:, 1] ** 2))
                if axis == 0
                else -2 * z[:, 1] * smooth(z)
            ),
        )
        derived = here.derivative(f[0], axis)
        errors.append(np.sqrt(here.square_integral(derived - slope[0])))
        product = mass(here, (f * derived)[:1])
        assert abs(product) < 1e-12
    assert np.log2(errors[0] / errors[1]) > 2.7


def test_gather_and_scatter_are_inverse(comm):
    here = space((3, 5), 2, comm)
    f = here.array(1)
    here.fill(f, smooth)
    whole = here.gather(f[0])
    np.testing.assert_array_equal(here.scatter(comm.bcast(whole, root=0)), f[0])
    np.testing.assert_array_equal(here.scatter(whole if comm.rank == 0 else None), f[0])
