"""Two-body and exterior potentials: their gradients, symbols, modes and bounds, and what a user is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.integrate

from limitpde.errors import InputError
from limitpde.potentials import (
    Centred,
    Cosine,
    ExteriorFromFile,
    Free,
    GaussianPotential,
    Harmonic,
    Modes,
    Pairs,
    Poisson,
    PotentialFromFile,
    Softened,
    on_torus,
)
from limitpde.vlasov.model import Model

WHOLE_SPACE = [
    (GaussianPotential(strength=-0.7, width=0.6), 1),
    (GaussianPotential(strength=1.3, width=0.8), 3),
    (Cosine(strength=-1.0), 2),
    (Softened(strength=0.9, width=0.5), 1),
    (Softened(strength=-0.9, width=0.7), 3),
    (Harmonic(strength=2.0), 2),
    (Poisson(strength=-1.0), 1),
    (Free(), 2),
    (Centred(kind="gaussian", strength=0.5, width=0.9, center=(0.3, -0.2)), 2),
    (Centred(kind="cosine", strength=0.5, center=(0.3,)), 1),
    (Centred(kind="softened", center=(0.3, 0.1, 0.2)), 3),
    (Centred(kind="harmonic", strength=-0.5), 2),
    (Pairs(potential=GaussianPotential(strength=0.5, width=0.9)), 3),
    (Pairs(potential=Softened(strength=0.5, width=0.9), normalisation=2.0), 2),
]
TORUS = np.array([[-1.0, 3.0], [0.0, 5.0], [2.0, 5.0]])
ROUND = np.array([[0.0, 2 * math.pi], [-1.0, -1.0 + 4.002 * math.pi]])
USERS = '''
import numpy as np

def lorentz(x):
    """1 / (1 + |x|^2)"""
    value = 1 / (1 + (x**2).sum(axis=1))
    return value, -2 * x * value[:, None] ** 2

def wave(x):
    return np.sin(x[:, 0]), np.stack([np.cos(x[:, 0]), *(0 * x.T[1:])], axis=1)

def wrong_gradient(x):
    value, gradient = lorentz(x)
    return value, 1.01 * gradient

def wrong_shape(x):
    return lorentz(x)[0]

def broken(x):
    raise RuntimeError("on purpose")

def poles(x):
    return np.full(len(x), np.inf), np.zeros(x.shape)
'''


@pytest.fixture
def users(tmp_path: Path) -> Callable[[str], str]:
    """The reference to a function of a user's file."""
    path = tmp_path / "mine.py"
    path.write_text(USERS)
    return lambda name: f"{path}:{name}"


def differences(value: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """The gradient of a function by differences of fourth order, (n, d)."""
    columns = []
    for j in range(x.shape[1]):
        shift = np.zeros(x.shape[1])
        shift[j] = step
        far = value(x + 2 * shift) - value(x - 2 * shift)
        columns.append((8 * (value(x + shift) - value(x - shift)) - far) / (12 * step))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("potential", "d"), WHOLE_SPACE)
def test_gradient_is_that_of_the_values(potential, d):
    x = np.random.default_rng(0).normal(size=(50, d))
    x = x[np.abs(x).min(axis=1) > 0.01]  # away from the kink of |x|
    np.testing.assert_allclose(potential.gradient(x), differences(potential.value, x), atol=2e-10)


def test_gradient_on_a_torus_is_that_of_the_values(users):
    rng = np.random.default_rng(1)
    for potential, box in [
        (GaussianPotential(width=0.9), TORUS),
        (Softened(width=0.9, strength=-1.0), TORUS[:2]),
        (Cosine(), ROUND),
        (Poisson(strength=-2.0), TORUS[:1]),
        (PotentialFromFile(python=users("lorentz")), TORUS),
    ]:
        x = rng.uniform(-1.4, 1.4, size=(40, len(box)))
        value = differences(lambda x, p=potential, b=box: on_torus(p, x, b)[0], x)
        np.testing.assert_allclose(on_torus(potential, x, box)[1], value, atol=1e-9)
        shifted = x + np.diff(box, axis=1)[:, 0] * rng.integers(-3, 4, size=x.shape)
        for one, other in zip(on_torus(potential, shifted, box), on_torus(potential, x, box), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_symbols_are_fourier_transforms(d):
    """Softened: 1 / sqrt(s) = 2 / sqrt(pi) int exp(-s t^2) dt turns the integral over R^d into one over t."""
    k = np.array([0.3, 1.0, 2.5])
    vectors = np.zeros((3, d))
    vectors[:, -1] = k

    def gaussian_transform(k, t):  # of exp(-t^2 |x|^2)
        return (math.sqrt(math.pi) / t) ** d * math.exp(-(k**2) / (4 * t**2))

    w = 0.7
    softened = [
        scipy.integrate.quad(
            lambda t, k=k: 2 / math.sqrt(math.pi) * math.exp(-((w * t) ** 2)) * gaussian_transform(k, t), 0, np.inf
        )[0]
        for k in k
    ]
    np.testing.assert_allclose(Softened(strength=-2.0, width=w).symbol(vectors), -2 * np.array(softened), rtol=1e-9)
    line = scipy.integrate.quad(lambda x: math.exp(-(x**2) / (2 * w**2)), -10, 10)[0]
    along = [
        scipy.integrate.quad(lambda x, k=k: math.exp(-(x**2) / (2 * w**2)) * math.cos(k * x), -10, 10)[0] for k in k
    ]
    expected = 3 * np.array(along) * line ** (d - 1)
    np.testing.assert_allclose(GaussianPotential(strength=3.0, width=w).symbol(vectors), expected, rtol=1e-9)
    np.testing.assert_allclose(Poisson(strength=-2.0).symbol(vectors), -2 / k**2)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_modes_of_gaussian_sum_its_images(d):
    potential, box = GaussianPotential(strength=-1.5, width=0.8), TORUS[:d]
    lengths = np.diff(box, axis=1)[:, 0]
    x = np.random.default_rng(2).uniform(-3, 3, size=(20, d))
    images = (
        np.stack(np.meshgrid(*(np.arange(-4, 5) for _ in range(d)), indexing="ij"), axis=-1).reshape(-1, d) * lengths
    )
    mean = float(potential.symbol(np.zeros((1, d)))[0] / np.prod(lengths))
    value = sum(potential.value(x + image) for image in images) - mean
    gradient = sum(potential.gradient(x + image) for image in images)
    modes = potential.modes(box)
    np.testing.assert_allclose(modes.value(x), value, atol=1e-13)
    np.testing.assert_allclose(modes.gradient(x), gradient, atol=1e-13)


def test_modes_of_softened_sum_the_forces_of_its_images():
    """d = 1; the images at +- m L cancel up to 1 / m^3."""
    potential, box = Softened(width=0.4), TORUS[:1]
    x = np.random.default_rng(3).uniform(-2, 2, size=(5, 1))
    images = 4.0 * np.arange(-50_000, 50_001)
    expected = [potential.gradient(at + images[:, None]).sum() for at in x]
    np.testing.assert_allclose(potential.modes(box).gradient(x)[:, 0], expected, atol=1e-9)


def test_modes_lie_in_a_half_space_and_are_cut_where_they_vanish():
    for d in (1, 2, 3):
        modes = GaussianPotential(width=0.8).modes(TORUS[:d])
        both = np.concatenate([modes.k, -modes.k])
        assert len(np.unique(np.round(both, 9), axis=0)) == len(both)
        size = np.linalg.norm(modes.k, axis=1) * modes.c
        assert size.min() >= 1e-16 * size.max()
        lengths = np.diff(TORUS[:d], axis=1)[:, 0]
        numbers = np.stack(np.meshgrid(*(np.arange(-20, 21) for _ in range(d)), indexing="ij"), axis=-1).reshape(-1, d)
        norms = np.linalg.norm(2 * math.pi * numbers / lengths, axis=1)
        every = norms * np.exp(-((0.8 * norms) ** 2) / 2)
        assert 2 * len(modes.c) == np.count_nonzero(every >= 1e-16 * every.max())
    assert len(GaussianPotential(width=1e3).modes(TORUS).c) == 0  # constant
    assert len(Free().modes(TORUS).c) == 0
    assert Poisson().modes(TORUS) is None


def test_cosine_takes_the_wave_numbers_of_the_torus():
    modes = Cosine(strength=-1.0).modes(ROUND)
    np.testing.assert_allclose(modes.k, np.diag([1.0, 2 * 2 * math.pi / (4.002 * math.pi)]))
    with pytest.raises(InputError, match=r"length 6.3.*multiple of 2 pi.*6\.28318530717959"):
        Cosine().check(np.array([[0.0, 6.3]]), periodic=True)
    Cosine().check(np.array([[0.0, 6.3]]), periodic=False)


def test_poisson_on_a_circle_is_its_fourier_series():
    x, L = np.linspace(-3, 3, 7)[:, None], 4.0
    value, gradient = on_torus(Poisson(strength=-1.7), x, TORUS[:1])
    k = 2 * math.pi / L * np.arange(1, 200_001)
    terms = -1.7 * 2 / (L * k**2)
    np.testing.assert_allclose(value, [terms @ np.cos(k * at) for at in x[:, 0]], atol=1e-5)
    assert gradient[3] == 0  # at the particle itself
    with pytest.raises(InputError, match="does not end for d = 2"):
        on_torus(Poisson(), np.zeros((1, 2)), TORUS[:2])


def directional(value: Callable[[np.ndarray], np.ndarray], x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """First, second and third derivatives along u at x, by differences, (3, n)."""
    h = 0.01
    f = {m: value(x + m * h * u) for m in (-3, -2, -1, 0, 1, 2, 3)}
    first = (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * h)
    second = (16 * (f[1] + f[-1]) - (f[2] + f[-2]) - 30 * f[0]) / (12 * h**2)
    third = (f[-3] - f[3] + 8 * (f[2] - f[-2]) - 13 * (f[1] - f[-1])) / (8 * h**3)
    return np.stack([first, second, third])


@pytest.mark.parametrize("make", [GaussianPotential, Softened, Cosine])
@pytest.mark.parametrize(("d", "width"), [(1, 3.0), (1, 1.0), (2, 3.0), (2, 1.0), (3, 0.6)])
def test_bound_is_the_largest_derivative(make, d, width):
    """With width 3 the first derivative decides, with 1 and 0.6 the third; sampled along the norming vectors too."""
    potential = make(strength=-2.0) if make is Cosine else make(strength=-2.0, width=width)
    rng = np.random.default_rng(4)
    line = np.zeros((4000, d))
    line[:, 0] = np.linspace(0, 4 * width, 4000)
    diagonal = np.linspace(0, 2 * math.pi, 4000)[:, None] * np.ones(d)
    x = np.concatenate([line, diagonal, rng.normal(scale=2 * width, size=(20_000, d))])
    u = rng.normal(size=x.shape)
    u[:4000] = np.eye(d)[0]
    u[4000:8000] = 1.0
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    found = np.abs(directional(potential.value, x, u)).max()
    assert found == pytest.approx(potential.bound(d), rel=2e-3)


def test_bounds_that_are_not_finite_and_bounds_on_a_torus(users):
    for potential in (Harmonic(), Poisson(), PotentialFromFile(python=users("lorentz"))):
        assert potential.bound(1) == math.inf
    assert Free().bound(3) == Harmonic(strength=0.0).bound(1) == Poisson(strength=0.0).bound(2) == 0.0
    potential = GaussianPotential(width=1.0)
    modes = potential.modes(np.array([[0.0, 3.076]]))  # the nearest image adds to the third derivative
    x = np.linspace(0, 3.076, 2000)[:, None]
    found = np.abs(directional(modes.value, x, np.ones(x.shape))).max()
    assert potential.bound(1) * 1.1 < found <= modes.bound()


def test_user_potential(users):
    box = TORUS[:2]
    potential = PotentialFromFile(python=users("lorentz"))
    for periodic in (True, False):
        potential.check(box, periodic=periodic)
    x = np.array([[3.9, 0.1]])
    lines = [low + (high - low) * (np.arange(500) + 0.5) / 500 for low, high in box - box.mean(axis=1, keepdims=True)]
    mean = (1 / (1 + lines[0][:, None] ** 2 + lines[1] ** 2)).mean()  # as for every other Gamma, it is left out
    np.testing.assert_allclose(on_torus(potential, x, box)[0], 1 / (1 + 0.02) - mean, rtol=1e-4)
    np.testing.assert_allclose(potential.value(x), 1 / (1 + 3.9**2 + 0.01))
    for name, message in [
        ("wave", "must be even"),
        ("wrong_gradient", "the gradient is not that of the values"),
        ("wrong_shape", "raised ValueError|must map points"),
        ("broken", "it raised RuntimeError: on purpose"),
        ("poles", "finite"),
        ("absent", "no function absent"),
    ]:
        with pytest.raises(InputError, match=message):
            PotentialFromFile(python=users(name)).check(box, periodic=True)
    exterior = ExteriorFromFile(python=users("wave"))
    exterior.check(box, periodic=True)  # need not be even
    np.testing.assert_allclose(exterior.value(x, box), np.sin(3.9 - 4.0))
    np.testing.assert_allclose(exterior.gradient(x), [[math.cos(3.9), 0.0]])


def test_pairs_are_the_energy_of_particles_on_a_line():
    x = np.random.default_rng(5).normal(size=(10, 3))
    for inner, torus in [
        (GaussianPotential(width=0.7), None),
        (Cosine(strength=-1.0), np.array([[0.0, 2 * math.pi]] * 3)),
    ]:
        exterior = Pairs(potential=inner)
        exterior.check(TORUS[:1].repeat(3, axis=0) if torus is None else torus, periodic=torus is not None)
        expected = sum(inner.value(x[:, m : m + 1] - x[:, n : n + 1]) for m in range(3) for n in range(m)) / 2
        np.testing.assert_allclose(exterior.value(x, torus), expected, atol=1e-13)
        gradient = exterior.gradient(x, torus)
        np.testing.assert_allclose(gradient, differences(lambda x, e=exterior, t=torus: e.value(x, t), x), atol=1e-10)
        np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-14)  # no force on all together
    on_circle = Pairs(potential=Poisson()).value(x[:, :2] + np.array([8.0, 0.0]), TORUS[[0, 0]])
    np.testing.assert_allclose(on_circle, Pairs(potential=Poisson()).value(x[:, :2], TORUS[[0, 0]]), atol=1e-13)


DOMAIN = {"x": [0.0, 4 * math.pi], "v": [-6.0, 6.0]}
LINE = {**DOMAIN, "periodic": False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"potential": {"kind": "gausian"}},
            "potential.kind = 'gausian': must be one of 'gaussian', .*; did you mean gaussian?",
        ),
        ({"potential": "gaussian"}, "potential = 'gaussian': must be a section with a kind, one of"),
        ({"potential": {"strength": 1.0}}, "potential.kind is missing: one of 'gaussian'"),
        ({"potential": {"kind": "gaussian", "width": 0.0}}, "potential.width = 0.0: must be greater than 0"),
        ({"potential": {"kind": "gaussian", "widht": 1.0}}, "potential.widht: unknown key; did you mean width"),
        ({"potential": {"kind": "gaussian", "width": 1e-7}}, "potential.width = 1e-07: too small for this torus"),
        ({"potential": {"kind": "harmonic"}}, "potential.kind = 'harmonic': not periodic"),
        ({"potential": {"kind": "python"}}, "potential.python is missing"),
        ({"exterior": {"kind": "gaussian"}}, "exterior.kind = 'gaussian': not periodic"),
        ({"exterior": {"kind": "harmonic", "width": 1.0}, "domain": LINE}, "width = 1: kind = 'harmonic' has none"),
        ({"exterior": {"kind": "cosine", "center": [1.0, 2.0]}}, "exterior.center = .1.0, 2.0.: must have 1 entries"),
        ({"exterior": {"kind": "pairs", "potential": {"kind": "none"}}}, "needs dimension = 2 or 3"),
        (
            {"exterior": {"kind": "pairs", "potential": {"kind": "harmonic"}}, "dimension": 2},
            "exterior.potential.kind = 'harmonic'",
        ),
        ({"exterior": {"kind": "poisson"}}, "exterior.kind = 'poisson': must be one of 'gaussian', .*'pairs'"),
    ],
)
def test_what_a_user_is_told(arguments, message):
    with pytest.raises(InputError, match=message):
        Model(**{"domain": DOMAIN, **arguments})


def test_intervals_of_a_torus_of_pairs_have_one_length():
    domain = {**DOMAIN, "x": [[0.0, 1.0], [0.0, 2.0]]}
    with pytest.raises(InputError, match="same length"):
        Model(dimension=2, domain=domain, exterior={"kind": "pairs", "potential": {"kind": "gaussian"}})


def test_modes_of_many_points_in_blocks(monkeypatch):
    modes = Modes(np.array([[1.0], [2.0]]), np.array([0.5, -0.25]))
    x = np.linspace(0, 7, 101)[:, None]
    value, gradient = modes.value(x), modes.gradient(x)
    np.testing.assert_allclose(value, (0.5 * np.cos(x) - 0.25 * np.cos(2 * x))[:, 0], atol=1e-15)
    monkeypatch.setattr("limitpde.potentials.modes.BLOCK", 20)
    np.testing.assert_array_equal(modes.value(x), value)
    np.testing.assert_array_equal(modes.gradient(x), gradient)
    assert modes.value(x[:0]).shape == (0,)
    assert modes.gradient(x[:0]).shape == (0, 1)
