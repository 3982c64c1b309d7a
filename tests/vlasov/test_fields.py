"""Fields on a tensor grid: against the direct sum, exact solutions and each other.

The tests that carry the load: every convolution is the direct sum over the Gauss points to rounding, Poisson's fields
converge to exact ones at their orders, and in all of them int rho F dx = 0 to rounding.
"""

from __future__ import annotations

import functools
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vlasov_space import Positions

from limitpde.errors import InputError
from limitpde.potentials import on_torus
from limitpde.vlasov.fields import Field, make_field
from limitpde.vlasov.fields.convolution import Convolution
from limitpde.vlasov.fields.poisson import Line
from limitpde.vlasov.fields.share import FieldShare
from limitpde.vlasov.model import Model
from limitpde.vlasov.phase_space import Axis, TensorSpace

EDGES = (4 * math.pi, 2 * math.pi, 2 * math.pi)
LORENTZ = '''
def lorentz(x):
    """1 / (1 + |x|^2), and a part of the size of rounding that is not even."""
    value = 1 / (1 + (x**2).sum(axis=1))
    return value + 1e-14 * x[:, 0], -2 * x * value[:, None] ** 2 + 1e-13
'''
GAUSSIAN = {"kind": "gaussian", "strength": -1.3, "width": 0.8}
COSINE = {"kind": "cosine", "strength": -1.0}
SOFTENED = {"kind": "softened", "strength": 0.7, "width": 1.1}
POISSON = {"kind": "poisson", "strength": -1.5}
HARMONIC = {"kind": "harmonic", "strength": 0.9}
PYTHON = {"python": "lorentz"}
KINDS = [
    (potential, periodic, d)
    for potential in (GAUSSIAN, COSINE, SOFTENED, PYTHON, {"kind": "none"})
    for periodic in (True, False)
    for d in (1, 2, 3)
]
KINDS += [(HARMONIC, False, d) for d in (1, 2, 3)]
POISSONS = [(POISSON, True, 1), (POISSON, True, 2), (POISSON, True, 3), (POISSON, False, 1)]


def setting(
    potential: dict[str, Any], d: int, *, periodic: bool, cells: list[int], degree: int, **more: Any
) -> tuple[Model, Positions]:
    x = [[-length / 3, 2 * length / 3] for length in EDGES[:d]]
    comm = {"comm": more.pop("comm")} if "comm" in more else {}
    model = Model(dimension=d, potential=potential, domain={"x": x, "v": [-6.0, 6.0], "periodic": periodic}, **more)
    return model, Positions(model.x_box, cells, degree, periodic=periodic, **comm)


@pytest.fixture
def make(tmp_path: Path):
    """A field for a potential, with few cells, and what it lives on."""
    (tmp_path / "mine.py").write_text(LORENTZ)

    def build(potential: dict[str, Any], periodic: bool, d: int, degree: int = 2) -> tuple[Model, Positions, Field]:
        if "python" in potential:
            potential = {"python": f"{tmp_path / 'mine.py'}:{potential['python']}"}
        cells = {1: [7], 2: [4, 3], 3: [2, 3, 2]}[d]
        model, space = setting(potential, d, periodic=periodic, cells=cells, degree=degree)
        return model, space, make_field(model, space)

    return build


def direct(model: Model, space: Positions, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gamma and its gradient between some nodes and all, (targets, n) and (d, targets, n)."""
    d = model.dimension
    x = space.x_points.reshape(-1, d)
    r = (x[targets, None] - x).reshape(-1, d)
    if model.domain.periodic:
        value, gradient = on_torus(model.potential, r, model.x_box)
    else:
        value, gradient = model.potential.value(r), model.potential.gradient(r)
    return value.reshape(len(targets), -1), gradient.T.reshape(d, len(targets), -1)


@pytest.mark.parametrize(("potential", "periodic", "d"), KINDS)
def test_convolutions_are_direct_sums(make, potential, periodic, d):
    if potential is SOFTENED and periodic and d == 3:
        potential = {**SOFTENED, "width": 3.0}  # fewer modes
    model, space, field = make(potential, periodic, d)
    rng = np.random.default_rng(0)
    rho, current = rng.random(space.x_shape), rng.normal(size=(d, *space.x_shape))
    targets = rng.permutation(rho.size)[: 20 if d < 3 else 4]
    taken_out = "python" in potential and periodic
    value, gradient = direct(model, space, np.arange(rho.size) if taken_out else targets)
    weights = space.x_weights.ravel()

    def without_mean(values: np.ndarray) -> np.ndarray:
        """Values (..., n) less their mean, for a function on a torus."""
        return values - (values @ weights)[..., None] / weights.sum() if taken_out else values

    def summed(matrix: np.ndarray, density: np.ndarray) -> np.ndarray:
        found = without_mean(matrix @ (weights * without_mean(density.ravel())))
        return found[..., targets] if taken_out else found

    expected = summed(value, rho)
    close = 1e-12 * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(field.potential(rho).ravel()[targets], expected, atol=close)
    np.testing.assert_allclose(field.force(rho).reshape(d, -1)[:, targets], -summed(gradient, rho), atol=close)
    expected = sum(summed(part, J) for part, J in zip(gradient, current, strict=True))
    np.testing.assert_allclose(field.coupling(current).ravel()[targets], expected, atol=close)


@pytest.mark.parametrize(("potential", "periodic", "d"), KINDS + POISSONS)
def test_momentum_is_conserved(make, potential, periodic, d):
    """int rho F = 0, and int rho sum_j d_j Gamma * J_j = int J . F, for any rho and J."""
    _, space, field = make(potential, periodic, d, degree=3 if d < 3 else 2)
    rng = np.random.default_rng(1)
    rho, current = rng.random(space.x_shape) + 0.1, rng.normal(size=(d, *space.x_shape))
    force = field.force(rho)
    size = space.integrate_x(np.abs(rho * force)).sum()
    assert np.abs(space.integrate_x(rho * force)).max() <= 1e-14 * size
    work = space.integrate_x(rho * field.coupling(current)), space.integrate_x((current * force).sum(axis=0))
    assert work[0] == pytest.approx(work[1], abs=1e-11 * max(size, np.abs(work[1])))


def test_momentum_on_a_grid_of_fine_cells():
    for d, cells in ((1, [512]), (2, [24, 20])):
        model, space = setting(POISSON, d, periodic=True, cells=cells, degree=3)
        rho = np.random.default_rng(2).random(space.x_shape)
        force = make_field(model, space).force(rho)
        assert np.abs(space.integrate_x(rho * force)).max() <= 1e-14 * space.integrate_x(np.abs(rho * force)).sum()


@pytest.mark.parametrize(("potential", "d"), [(GAUSSIAN, 1), (GAUSSIAN, 2), (SOFTENED, 2)])
def test_energy_is_a_sum_over_modes(potential, d):
    """Parseval: int rho Gamma * rho / 2 = sum c_k |rho_k|^2 / 2, with rho of a few modes known in closed form."""
    model, space = setting(potential, d, periodic=True, cells=[12] * d, degree=4)
    low, high = model.x_box.T
    k = 2 * math.pi / (high - low)
    x = space.x_points
    rho = 1 + 0.5 * np.cos(k[0] * x[..., 0]) + 0.2 * np.cos((k * x).sum(axis=-1))
    vectors = np.stack([np.eye(d)[0] * k[0], k])
    amplitudes = np.array([0.5, 0.2]) if d > 1 else np.array([0.7, 0.0])
    symbol = model.potential.symbol(vectors)
    expected = np.prod(high - low) * (symbol * amplitudes**2).sum() / 4
    assert make_field(model, space).field_energy(rho) == pytest.approx(expected, rel=1e-8)


def fourier_density(x: np.ndarray, low: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A density prod_j g(x_j) - 1 of a few modes, phi and grad phi with -Lap phi = it."""
    d = x.shape[-1]
    coefficients = {0: 1.0, 1: 0.4, 2: 0.3, 3: 0.1}
    rho, phi, gradient = np.zeros(x.shape[:-1]), np.zeros(x.shape[:-1]), np.zeros((d, *x.shape[:-1]))
    for numbers in np.ndindex(*(4,) * d):
        if not any(numbers):
            continue
        k = 2 * math.pi * np.array(numbers) / lengths
        c = math.prod(coefficients[number] for number in numbers)
        angles = k * (x - low) + 0.5
        waves, slopes = np.cos(angles), -k * np.sin(angles)
        rho += c * waves.prod(axis=-1)
        phi += c / (k @ k) * waves.prod(axis=-1)
        for j in range(d):
            others = np.delete(waves, j, axis=-1).prod(axis=-1)
            gradient[j] += c / (k @ k) * slopes[..., j] * others
    return rho, phi, gradient


@pytest.mark.parametrize("strength", [1.0, -2.0])
@pytest.mark.parametrize(
    ("d", "degree", "cells"),
    [(1, 1, (16, 32, 64)), (1, 2, (16, 32, 64)), (1, 3, (12, 24, 48)), (2, 1, (12, 24, 48)), (2, 3, (6, 12, 24))],
)
def test_poisson_on_a_torus_converges_to_the_fourier_solution(d, degree, cells, strength):
    """Order k + 2 of the force and k + 2 of the potential, at the nodes; both signs."""
    errors = []
    for n in cells:
        model, space = setting(
            {"kind": "poisson", "strength": strength}, d, periodic=True, cells=[n] * d, degree=degree
        )
        low, high = model.x_box.T
        rho, phi, gradient = fourier_density(space.x_points, low, high - low)
        field = make_field(model, space)
        found, force = field.potential(3.0 + rho), field.force(3.0 + rho)  # the mean has no effect
        errors.append((np.abs(found - strength * phi).max(), np.abs(force + strength * gradient).max()))
        energy = abs(strength) * (gradient**2).sum(axis=0)
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert slopes[-1].min() > degree + 1.75
    assert max(errors[-1]) < 5e-3 * abs(strength)
    expected = math.copysign(space.integrate_x(energy) / 2, strength)
    assert field.field_energy(3.0 + rho) == pytest.approx(expected, rel=2e-3)


def test_poisson_in_three_dimensions_solves_a_plane_wave():
    model, space = setting(POISSON, 3, periodic=True, cells=[4, 3, 3], degree=3)
    x = space.x_points
    force = make_field(model, space).force(1 + np.cos(x[..., 0] / 2 + x[..., 2]))
    expected = -1.5 * np.sin(x[..., 0] / 2 + x[..., 2]) * np.array([0.5, 0.0, 1.0]).reshape(3, 1, 1, 1) / 1.25
    np.testing.assert_allclose(force, expected, atol=4e-3)


def test_gravity_of_sheets():
    """rho = rho0 sech^2(x / h): -Gamma' * rho = -rho0 h tanh(x / h) for Gamma = |x| / 2... of strength -1."""
    rho0, h = 0.8, 0.7
    errors = []
    for cells in (24, 48):
        model = Model(
            potential={"kind": "poisson", "strength": -1.0},
            domain={"x": [-14.0, 15.0], "v": [-6.0, 6.0], "periodic": False},
        )
        space = Positions(model.x_box, [cells], 3, periodic=False)
        x = space.x_points[:, 0]
        rho = rho0 / np.cosh(x / h) ** 2
        field = make_field(model, space)
        exact_force = -rho0 * h * np.tanh(x / h)
        exact_potential = rho0 * h**2 * (np.log(np.cosh(x / h)) + math.log(2))
        errors.append(
            (np.abs(field.force(rho)[0] - exact_force).max(), np.abs(field.potential(rho) - exact_potential).max())
        )
        energy = field.field_energy(rho)
    slopes = np.log2(np.array(errors[0]) / np.array(errors[1]))
    assert slopes.min() > 4
    assert max(errors[1]) < 2e-4
    # int rho Gamma * rho / 2 with int sech^2 log cosh = 2 (1 - log 2)
    assert energy == pytest.approx(rho0**2 * h**3 * (2 * (1 - math.log(2)) + 2 * math.log(2)) / 2, rel=1e-5)


def test_sheets_are_exact_for_polynomials():
    model, space = setting(POISSON, 1, periodic=False, cells=[3], degree=2)
    low, high = model.x_box[0]
    x = space.x_points[:, 0]
    field = make_field(model, space)
    rho = 1 + 0.5 * x + 0.3 * x**2

    def integral(a: np.ndarray | float, b: np.ndarray | float, power: int) -> np.ndarray:
        """int_a^b x^power rho dx."""
        terms = [(c, n + power + 1) for n, c in enumerate((1, 0.5, 0.3))]
        return sum(c * (np.asarray(b) ** n - np.asarray(a) ** n) / n for c, n in terms)

    force = POISSON["strength"] / 2 * (integral(low, x, 0) - integral(x, high, 0))
    np.testing.assert_allclose(field.force(rho)[0], force, rtol=1e-13, atol=1e-12)
    distances = x * (integral(low, x, 0) - integral(x, high, 0)) - integral(low, x, 1) + integral(x, high, 1)
    np.testing.assert_allclose(field.potential(rho), -POISSON["strength"] / 2 * distances, rtol=1e-13, atol=1e-12)


def test_harmonic_field_points_to_the_centre_of_mass():
    model, space = setting(HARMONIC, 2, periodic=False, cells=[3, 4], degree=2)
    x = np.moveaxis(space.x_points, -1, 0)
    rho = 1 + 0.1 * x[0] + 0.05 * x[0] * x[1]
    mass = space.integrate_x(rho)
    centre = space.integrate_x(rho * x) / mass
    expected = -0.9 * mass * (x - centre.reshape(2, 1, 1))
    np.testing.assert_allclose(make_field(model, space).force(rho), expected, rtol=1e-12, atol=1e-11)


def test_convolution_is_what_the_faster_ways_compute(monkeypatch):
    """Where matrices over the nodes would be too large, gaussian and long series go by FFT over the cells.

    There are so many that the mean over the torus, which FFT takes out, is that of the quadrature.
    """
    for periodic in (True, False):
        model, space = setting(GAUSSIAN, 1, periodic=periodic, cells=[18], degree=3)
        fast = make_field(model, space)
        with monkeypatch.context() as patch:
            patch.setattr("limitpde.vlasov.fields.field.LARGEST_MATRIX", 10)
            patch.setattr("limitpde.vlasov.fields.field.LARGEST_SERIES", 10)
            slow = make_field(model, space)
        assert isinstance(slow._interaction, Convolution)
        assert not isinstance(fast._interaction, Convolution)
        rho = np.random.default_rng(3).random(space.x_shape)
        np.testing.assert_allclose(slow.force(rho), fast.force(rho), atol=1e-12)
        np.testing.assert_allclose(slow.potential(rho), fast.potential(rho), atol=1e-12)


@pytest.mark.parametrize(
    ("exterior", "periodic", "d"),
    [
        ({"kind": "harmonic", "strength": 2.0, "center": [0.5, 0.0]}, False, 2),
        ({"kind": "cosine", "strength": 0.3, "center": [0.4]}, True, 1),
        ({"kind": "pairs", "potential": {"kind": "gaussian", "width": 0.7}}, False, 3),
        ({"kind": "pairs", "potential": POISSON}, True, 2),
    ],
)
def test_exterior_force_and_potential(exterior, periodic, d):
    domain = {"x": [0.0, 2 * math.pi], "v": [-6.0, 6.0], "periodic": periodic}
    model = Model(dimension=d, exterior=exterior, domain=domain)
    space = Positions(model.x_box, [3] * d, 2, periodic=periodic)
    field = make_field(model, space)
    torus = model.x_box if periodic else None
    for index in [(0,) * d, (4,) * d, tuple(range(d)), (8,) * d]:
        point = space.x_points[index][None]
        assert field.exterior_potential[index] == pytest.approx(model.exterior.value(point, torus)[0])
        np.testing.assert_allclose(
            field.exterior_force[(slice(None), *index)], -model.exterior.gradient(point, torus)[0]
        )
    assert np.abs(field.force(np.ones(space.x_shape))).max() == 0  # U is no part of it


def test_without_exterior_potential_there_is_none():
    model, space = setting(COSINE, 2, periodic=True, cells=[2, 2], degree=1)
    field = make_field(model, space)
    assert field.exterior_force.shape == (2, 4, 4)
    assert not field.exterior_force.any()
    assert not field.exterior_potential.any()


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("potential", "periodic", "d"),
    [
        (GAUSSIAN, True, 1),
        (GAUSSIAN, False, 2),
        (SOFTENED, False, 1),
        (COSINE, True, 2),
        *POISSONS,
        (HARMONIC, False, 1),
    ],
)
def test_field_is_the_same_on_any_number_of_ranks(comm, potential, periodic, d):
    """With two cells along the first axis, one of three ranks owns nothing."""
    model, space = setting(potential, d, periodic=periodic, cells=[2, 3, 2][:d], degree=2, comm=comm)
    whole_model, whole = setting(potential, d, periodic=periodic, cells=[2, 3, 2][:d], degree=2)
    rng = np.random.default_rng(4)
    rho, current = rng.random(whole.x_shape), rng.normal(size=(d, *whole.x_shape))
    field, reference = make_field(model, space), make_field(whole_model, whole)
    mine = space.local_x(rho)
    assert field.force(mine).shape == (d, *space.x_shape)
    for name, given in (("force", rho), ("potential", rho), ("coupling", current)):
        expected = getattr(reference, name)(given)
        found = getattr(field, name)(space.local_x(given))
        np.testing.assert_allclose(found, space.local_x(expected), rtol=0, atol=1e-14 * np.abs(expected).max())
    assert field.field_energy(mine) == pytest.approx(reference.field_energy(rho), rel=1e-13)


def in_blocks(model: Model, cells: list[int], parts: list[int], comm: Any) -> TensorSpace:
    x_axes = [Axis(*row, n, 2, model.domain.periodic) for row, n in zip(model.x_box, cells, strict=True)]
    return TensorSpace(x_axes, [Axis(*row, 8, 2, False) for row in model.v_box], parts=parts, comm=comm)


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("potential", "periodic", "d"),
    [(potential, periodic, 2) for potential in (GAUSSIAN, SOFTENED) for periodic in (True, False)]
    + [(POISSON, True, 1), (POISSON, False, 1), (POISSON, True, 2), (HARMONIC, False, 2)],
)
def test_field_on_a_phase_space_in_blocks(comm, potential, periodic, d):
    """However ranks are spread over x and v, the field is that of one rank, the same bits where x is the same."""
    cells = [5, 4][:d]
    model, whole = setting(potential, d, periodic=periodic, cells=cells, degree=2)
    reference, rng = make_field(model, whole), np.random.default_rng(6)
    rho, current = rng.random(whole.x_shape), rng.normal(size=(d, *whole.x_shape))
    n = comm.size
    for parts in ([1] * d + [n] + [1] * (d - 1), [n] + [1] * (2 * d - 1), None):
        space = in_blocks(model, cells, parts, comm)
        field, place = make_field(model, space), (..., *space.place[:d])
        for name, given in (("force", rho), ("potential", rho), ("coupling", current)):
            expected, found = getattr(reference, name)(given), getattr(field, name)(given[place])
            np.testing.assert_allclose(found, expected[place], rtol=0, atol=1e-14 * np.abs(expected).max())
            same = space.grid.v_comm.allgather(found.tobytes())
            assert same == [same[0]] * len(same)


@pytest.mark.ranks
def test_a_rank_has_its_share_of_the_positions(comm):
    """Each position is on one rank, and on none are many more than on others, also where only v is cut."""
    model, _ = setting(POISSON, 2, periodic=True, cells=[8, 6], degree=2)
    for parts in (None, [1, 1, comm.size, 1]):
        share = FieldShare(in_blocks(model, [8, 6], parts, comm).x_axes, in_blocks(model, [8, 6], parts, comm).grid)
        inside = np.stack(np.meshgrid(*share.nodes, indexing="ij"), axis=-1).reshape(-1, 2)
        everywhere = np.concatenate(comm.allgather(inside))
        assert len(np.unique(everywhere, axis=0)) == len(everywhere) == 24 * 18
        assert len(inside) <= -(-8 // comm.size) * 6 * 9


@pytest.mark.parametrize("d", [1, 2, 3])
def test_poisson_is_that_of_the_matrices_over_all_nodes(d):
    """Kronecker products, and K^+ by the singular values of K."""
    model, space = setting(POISSON, d, periodic=True, cells=[5, 3, 2][:d], degree=2 if d < 3 else 1)
    field, lines = make_field(model, space)._interaction, [Line(axis) for axis in space.x_axes]

    values, slopes, masses = (
        [getattr(line, name).toarray() for line in lines] for name in ("values", "slopes", "mass")
    )
    stiff = [slope.T * axis.weights @ slope for slope, axis in zip(slopes, space.x_axes, strict=True)]

    def over_all(factors, j=0, other=None):
        chosen = [other[i] if other is not None and i == j else factor for i, factor in enumerate(factors)]
        return functools.reduce(np.kron, chosen)

    E, D = over_all(values), [over_all(values, j, slopes) for j in range(d)]
    K, weights = sum(over_all(masses, j, stiff) for j in range(d)), space.x_weights.ravel()
    integrals = E.T @ weights
    without_mean = np.eye(len(K)) - np.outer(np.ones(len(K)), integrals) / weights.sum()
    inverse = without_mean @ np.linalg.pinv(K, rcond=1e-12, hermitian=True) @ without_mean.T
    strength = model.potential.strength
    forces = [-strength / 2 * (slope @ inverse @ E.T - E @ inverse @ slope.T) * weights for slope in D]
    rho, *current = np.random.default_rng(7).normal(size=(1 + d, *space.x_shape))
    expected = {
        "potential": strength * E @ (inverse @ (E.T @ (weights * rho.ravel()))),
        "force": np.stack([force @ rho.ravel() for force in forces]),
        "coupling": -sum(force @ part.ravel() for force, part in zip(forces, current, strict=True)),
    }
    for name, values in expected.items():
        found = getattr(field, name)(np.stack(current) if name == "coupling" else rho)
        np.testing.assert_allclose(found.ravel(), values.ravel(), rtol=0, atol=1e-12 * np.abs(values).max())


@pytest.mark.parametrize(("potential", "most"), [(POISSON, 600), (GAUSSIAN, 600)])
def test_what_a_field_stores_is_little_for_each_position(potential, most):
    """Bytes for each x node in d = 3, where the matrices over all nodes have thousands."""
    model, space = setting(potential, 3, periodic=True, cells=[6, 6, 6], degree=2)
    field = make_field(model, space)._interaction
    kept = len(pickle.dumps({name: value for name, value in vars(field).items() if not callable(value)}))
    assert kept < most * math.prod(space.x_shape)


@pytest.mark.ranks
def test_a_convolution_keeps_its_share_of_the_frequencies(comm):
    def kernel(x):
        return np.exp(-(x**2).sum(axis=1)), -2 * x * np.exp(-(x**2).sum(axis=1))[:, None]

    _, space = setting(GAUSSIAN, 2, periodic=False, cells=[4, 3], degree=1, comm=comm)
    _, whole = setting(GAUSSIAN, 2, periodic=False, cells=[4, 3], degree=1)
    shared, alone = (Convolution(kernel, FieldShare(at.x_axes, at.grid)) for at in (space, whole))
    rho = np.random.default_rng(3).random(whole.x_shape)
    for name, values in (("force", rho), ("potential", rho), ("coupling", np.stack([rho, rho**2]))):
        found, expected = getattr(shared, name)(space.local_x(values)), getattr(alone, name)(values)
        np.testing.assert_allclose(found, space.local_x(expected), rtol=0, atol=1e-13 * np.abs(expected).max())
    most = -(-4 // comm.size) / 4 * alone._slopes.size
    assert shared._slopes.size <= most


@pytest.mark.parametrize("potential", [{**GAUSSIAN, "strength": 0.0}, {**GAUSSIAN, "width": 1e4}])
def test_a_potential_without_modes_has_no_force(potential):
    model, space = setting(potential, 2, periodic=True, cells=[2, 2], degree=1)
    assert not make_field(model, space).force(np.random.default_rng(5).random(space.x_shape)).any()


def test_one_cell_on_a_torus():
    model, space = setting(POISSON, 2, periodic=True, cells=[1, 1], degree=5)
    x = space.x_points
    force = make_field(model, space).force(np.cos(x[..., 1] + 0.3))
    np.testing.assert_allclose(force[1], -1.5 * np.sin(x[..., 1] + 0.3), atol=1e-2)  # one cell
    np.testing.assert_allclose(force[0], 0, atol=1e-13)


@pytest.mark.ranks
def test_an_exterior_function_that_fails_on_one_rank_fails_on_all(comm, shared_folder):
    path = shared_folder / "mine.py"
    if comm.rank == 0:
        path.write_text(
            "def u(x):\n"
            "    if len(x) != 32 and x[-1, 0] > 0.9:\n"  # 32 points are tried when the model is made
            "        raise RuntimeError('beyond')\n"
            "    return x[:, 0], x * 0 + 1.0\n"
        )
    comm.barrier()
    domain = {"x": [0.0, 1.0], "v": [-1.0, 1.0], "periodic": False}
    model = Model(exterior={"python": f"{path}:u"}, domain=domain)
    with pytest.raises(InputError, match="beyond"):
        make_field(model, Positions(model.x_box, [5], 2, periodic=False, comm=comm))
    narrow = Positions(np.array([[0.0, 0.8]]), [1], 2, periodic=False, comm=comm)  # some ranks own nothing
    np.testing.assert_array_equal(make_field(model, narrow).exterior_force, -np.ones((1, *narrow.x_shape)))
