"""The initial density of the Vlasov equation: values, integrals, draws, phases, and what does not fit a model.

The load is carried by `test_integral_is_the_mass` (quadrature of each shape's own values) and
`test_draws_follow_the_density` (characteristic functions of the draws against quadrature, at 4.5 standard errors); the
bins of `test_draws_fill_bins_by_their_mass` see what a few waves might miss.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest

from limitpde.checked import record
from limitpde.errors import InputError
from limitpde.vlasov.initial import (
    Initial,
    Landau,
    Maxwellian,
    PhaseDensityFromFile,
    PhaseFunction,
    PhaseGaussian,
    Start,
    TwoStream,
)
from limitpde.vlasov.initial_laws import wrapped_normal_density
from limitpde.vlasov.model import Model, PhaseDomain

SE = 4.5
L = 4 * math.pi
ONCE_AROUND = np.array([L, 0.0])

FUNCTIONS = """
import numpy as np

def bag(z):          # an even ellipse: discontinuous
    return 3.0 * (((z[:, 0] - 5) / 2) ** 2 + z[:, 1] ** 2 < 1)

def tails(z):        # smooth, periodic with 4 pi
    return (2 + np.sin(z[:, 0] / 2)) * (1 + z[:, 1] ** 2) * np.exp(-z[:, 1] ** 2)

def bag4(z):
    return (z[:, 2] ** 2 + z[:, 3] ** 2 < 2.25) * (1 + 0.5 * np.cos(z[:, 0] / 2) * np.cos(z[:, 1] / 2))

def flat6(z):
    return np.exp(-(z[:, 3:] ** 2).sum(axis=1) / 2)

def spike(z):        # 1e-3 wide, next to the lattice point (0.6, 0)
    return np.exp(-z[:, 1] ** 2) * (1 + 1e4 * (np.abs(z[:, 0] - 0.6025) < 5e-4) * (np.abs(z[:, 1] - 0.003) < 2e-3))

def swirl(z):
    return 0.3 * np.sin(z[:, 0] / 2) * z[:, 1]

def negative(z):
    return z[:, 1]

def nothing(z):
    return np.zeros(len(z))

def column(z):
    return z

def narrow(z):
    return np.exp(-((z[:, 1] - 0.001) / 1e-3) ** 2)

def complex_values(z):
    return np.ones(len(z)) * (1 + 1j)

def changes_its_argument(z):
    z[:] = 0.0
    return np.ones(len(z))

def wrong(z):
    raise RuntimeError("boom")
"""


def model(d=1, x=(0.0, L), v=(-7.0, 7.0), periodic=True):
    return Model(dimension=d, domain=PhaseDomain(x=x, v=v, periodic=periodic))


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    path = tmp_path_factory.mktemp("densities") / "densities.py"
    path.write_text(FUNCTIONS)
    return path


def lattice(m, points):
    """Nodes and weights of the trapezoidal rule (x on a torus: rectangles) over the box, (n, 2d) and (n,)."""
    lines, weights = [], []
    for box, periodic in ((m.x_box, m.domain.periodic), (m.v_box, False)):
        for low, high in box:
            line = np.linspace(low, high, points, endpoint=not periodic)
            w = np.full(points, line[1] - line[0])
            if not periodic:
                w[[0, -1]] /= 2
            lines.append(line)
            weights.append(w)
    z = np.stack([g.ravel() for g in np.meshgrid(*lines, indexing="ij")], axis=1)
    return z, np.prod(np.stack([g.ravel() for g in np.meshgrid(*weights, indexing="ij")]), axis=0)


TORUS, PLANE = model(), model(2, v=(-6.0, 6.0))
LINE, SPACE = model(x=(-8.0, 8.0), periodic=False), model(2, x=(-6.0, 6.0), v=(-6.0, 6.0), periodic=False)
SHAPES = [
    (Landau(k=0.5, amplitude=0.5, mass=L), TORUS),
    (Landau(k=-1.0, amplitude=-1.0, thermal=0.7), TORUS),
    (Landau(k=0.5, amplitude=0.4), PLANE),
    (Landau(k=[0.5, -1.0], amplitude=0.9, thermal=0.8, mass=2.0), PLANE),
    (TwoStream(k=0.5, amplitude=0.1, drift=2.4, thermal=0.7), TORUS),
    (TwoStream(k=0.5, amplitude=0.1, drift=[1.0, 2.0], thermal=0.6), PLANE),
    (Maxwellian(thermal=1.2, drift=0.5, mass=0.3), TORUS),
    (Maxwellian(center=1.0, width=0.8, drift=-0.5, thermal=0.9), LINE),
    (Maxwellian(center=[1.0, -0.5], width=0.8, drift=[0.0, 0.5], thermal=0.7), SPACE),
    (Maxwellian(center=1.0, width=1.5), TORUS),
    (PhaseGaussian(center=[1.0, -0.5], width=[0.5, 0.8]), LINE),
    (PhaseGaussian(center=[0.1, 0.5], width=[2.0, 1.0], mass=3.0), TORUS),  # across the edge of the torus
    (PhaseGaussian(center=[3.0, 0.5], width=[5.0, 1.0]), TORUS),  # wide: by its Fourier series
    (PhaseGaussian(width=[0.7, 0.9]), SPACE),
    (PhaseGaussian(center=[0.5, -1.0, 0.3, 1.0], width=[0.7, 0.9, 0.6, 1.0]), SPACE),
]


@pytest.mark.parametrize(("initial", "m"), SHAPES)
def test_integral_is_the_mass(initial, m):
    z, w = lattice(m, 200 if m.dimension == 1 else 24)
    values = Start(initial, m).density(z)
    assert values.min() >= 0
    assert w @ values == pytest.approx(initial.mass, rel=1e-6)


@pytest.mark.parametrize(("initial", "m"), SHAPES)
def test_draws_follow_the_density(initial, m):
    """E cos and E sin of waves that the torus knows, those of the draws against quadrature."""
    start, n, d = Start(initial, m), 20000, m.dimension
    z = start.sample(n, np.random.default_rng(3))
    assert z.shape == (n, 2 * d)
    if m.domain.periodic:
        assert np.all((z[:, :d] >= m.x_box[:, 0]) & (z[:, :d] < m.x_box[:, 1]))
    nodes, w = lattice(m, 200 if d == 1 else 24)
    law = w * start.density(nodes) / initial.mass
    for waves in np.random.default_rng(4).integers(-2, 3, (12, 2 * d)):
        k = 0.5 * waves
        for wave in (np.cos, np.sin):
            expected = law @ wave(nodes @ k)
            variance = law @ wave(nodes @ k) ** 2 - expected**2
            assert abs(wave(z @ k).mean() - expected) <= SE * math.sqrt(max(variance, 0) / n) + 1e-7


def chi_square(start, m, n, bins, seed):
    """How far chi^2 of the bins of the box is from its mean, in its standard deviations; bins of f in closed cells."""
    z = start.sample(n, np.random.default_rng(seed))
    fine = 40
    edges = [np.linspace(low, high, bins + 1) for low, high in (*m.x_box, *m.v_box)]
    middles = [np.linspace(e[0], e[-1], bins * fine + 1)[:-1] + (e[1] - e[0]) / fine / 2 for e in edges]
    points = np.stack([g.ravel() for g in np.meshgrid(*middles, indexing="ij")], axis=1)
    expected = start.density(points).reshape(bins, fine, bins, fine).sum(axis=(1, 3))
    expected *= n / expected.sum()
    seen = np.histogramdd(z, bins=edges)[0]
    assert seen[expected == 0].sum() == 0
    full = expected > 5
    statistic = ((seen - expected)[full] ** 2 / expected[full]).sum()
    return (statistic - full.sum()) / math.sqrt(2 * full.sum())


@pytest.mark.parametrize(
    "initial",
    [
        TwoStream(k=0.5, drift=1.4, thermal=0.7),
        Maxwellian(drift=1.0),
        PhaseGaussian(center=[0.3, -0.4], width=[2.0, 0.8]),
    ],
)
def test_what_lies_outside_is_what_quadrature_misses(initial):
    m = model(v=(-1.5, 3.0))
    start = Start(initial, m)
    z, w = lattice(m, 1000)
    assert w @ start.density(z) == pytest.approx(1 - start.outside, rel=1e-5)
    assert 0.01 < start.outside < 0.5


@pytest.mark.parametrize(("initial", "m"), [SHAPES[0], SHAPES[4], SHAPES[11]])
def test_draws_fill_bins_by_their_mass(initial, m):
    assert abs(chi_square(Start(initial, m), m, 40000, 20, 5)) < SE


@pytest.mark.parametrize("name", ["bag", "tails"])
def test_python_density(functions, name):
    """Its integral over the box is the mass; draws fill the bins, also at a jump; nothing lies outside the box."""
    m = model(v=(-4.0, 4.0))
    start = Start(PhaseDensityFromFile(python=f"{functions}:{name}", mass=2.5), m)
    z, w = lattice(m, 1000)
    assert w @ start.density(z) == pytest.approx(2.5, rel=2e-3 if name == "bag" else 1e-6)
    assert abs(chi_square(start, m, 40000, 20, 6)) < SE
    assert np.all(start.density(np.array([[1.0, 4.1], [1.0, -9.0]])) == 0)
    shifted = np.array([[5.5, 0.2], [1.0, 0.1]]) + ONCE_AROUND
    assert start.density(shifted) == pytest.approx(start.density(shifted - ONCE_AROUND), rel=1e-12)


def test_python_density_in_the_plane(functions):
    m = model(2, v=(-2.0, 2.0))
    start = Start(PhaseDensityFromFile(python=f"{functions}:bag4"), m)
    n = 20000
    z = start.sample(n, np.random.default_rng(1))
    assert np.all((z[:, 2:] ** 2).sum(axis=1) < 2.25)
    both = np.cos(z[:, 0] / 2) * np.cos(z[:, 1] / 2)  # mean 0.5 / 4, mean square 1/4
    assert abs(both.mean() - 0.125) < SE * math.sqrt((0.25 - 0.125**2) / n)
    square = (z[:, 2:] ** 2).sum(axis=1)  # even on (0, 2.25)
    assert abs(square.mean() - 1.125) < SE * 2.25 / math.sqrt(12 * n)


def test_python_density_in_space_has_values_but_no_draws(functions):
    start = Start(PhaseDensityFromFile(python=f"{functions}:flat6"), model(3, x=(0.0, 1.0), v=(-6.0, 6.0)))
    assert start.density(np.zeros((1, 6)))[0] == pytest.approx((2 * math.pi) ** -1.5, rel=1e-5)
    with pytest.raises(InputError, match=r"initial\.python .* dimension 3"):
        start.sample(10, np.random.default_rng(0))


@pytest.mark.parametrize("width", [0.2, 2.9, 3.1, 3.2, 8.0, 40.0])
def test_wrapped_normal_law_is_the_sum_of_its_images(width):
    x = np.linspace(-3.0, 20.0, 57)
    images = np.arange(-200, 201)[:, None] * L
    exact = np.exp(-(((x + images - 1.0) / width) ** 2) / 2).sum(axis=0) / math.sqrt(2 * math.pi) / width
    assert wrapped_normal_density(x, 1.0, width, L) == pytest.approx(exact, rel=1e-13, abs=1e-15)


def test_rounded_wave_numbers_are_those_of_the_torus():
    """x = [0, 12.566], k = 0.5: f must be periodic to rounding, and the mean of cos over the torus zero."""
    start = Start(Landau(k=0.5, amplitude=0.5, phase=[0.5, 0.2]), model(x=(0.0, 12.566)))
    z, once_around = np.array([[3.0, 0.4]]), np.array([12.566, 0.0])
    assert start.density(z + once_around) == pytest.approx(start.density(z), rel=1e-13)
    assert start.alpha(z + once_around) == pytest.approx(start.alpha(z), rel=1e-12)
    peak = np.array([[0.0, 0.0]])
    assert start.density(peak)[0] == pytest.approx(1.5 / 12.566 / math.sqrt(2 * math.pi), rel=1e-14)


def test_alpha_is_the_root_with_the_phase(functions):
    z = np.random.default_rng(0).uniform([0, -3], [L, 3], (50, 2))
    plain = Start(Landau(k=0.5, amplitude=0.5), TORUS)
    assert np.array_equal(plain.alpha(z), np.sqrt(plain.density(z)).astype(complex))
    linear = Start(Landau(k=0.5, amplitude=0.5, phase=(1.5, -0.7)), TORUS)
    assert linear.alpha(z) == pytest.approx(np.sqrt(plain.density(z)) * np.exp(1j * (z @ [1.5, -0.7])), rel=1e-12)
    own = Start(Landau(k=0.5, amplitude=0.5, phase=PhaseFunction(python=f"{functions}:swirl")), TORUS)
    expected = np.sqrt(plain.density(z)) * np.exp(0.3j * np.sin(z[:, 0] / 2) * z[:, 1])
    assert own.alpha(z) == pytest.approx(expected, rel=1e-12)
    assert own.alpha(z + ONCE_AROUND) == pytest.approx(expected, rel=1e-12)


def test_same_generator_same_points():
    start = Start(TwoStream(k=0.5, drift=2.4), TORUS)
    first, second = (start.sample(100, np.random.default_rng(8)) for _ in range(2))
    assert np.array_equal(first, second)
    assert start.sample(0, np.random.default_rng(8)).shape == (0, 2)


MISFITS = [
    (Landau(k=0.45), TORUS, r"initial\.k: 0\.45 is no wave number"),
    (Landau(k=0.0), TORUS, r"initial\.k = 0"),
    (Landau(k=0.2), TORUS, r"initial\.k: 0\.2 is no wave number"),
    (Landau(k=[0.5, 0.5]), TORUS, r"initial\.k .* must have one entry"),
    (Landau(k=[0.0, 0.0]), PLANE, r"initial\.k .* must not be zero"),
    (Landau(k=0.5, amplitude=0.6), PLANE, r"initial\.amplitude = 0\.6"),
    (Landau(k=0.5), LINE, r"initial\.shape = 'landau': needs a torus"),
    (TwoStream(k=0.5, drift=2.4), LINE, r"initial\.shape = 'two_stream': needs a torus"),
    (TwoStream(k=0.5, drift=9.0), TORUS, r"initial\.drift: 9 lies outside"),
    (TwoStream(k=0.5, drift=[1.0, 2.0]), TORUS, r"initial\.drift .* must have one entry"),
    (Maxwellian(), LINE, r"initial\.shape = 'maxwellian' without width"),
    (Maxwellian(center=9.0, width=1.0), LINE, r"initial\.center: 9 lies outside"),
    (Maxwellian(center=[1.0, 0.0], width=1.0), LINE, r"initial\.center .* must have one entry"),
    (PhaseGaussian(center=[0.0, 0.0, 0.0, 0.0]), LINE, r"initial\.center .* must have 2 entries"),
    (PhaseGaussian(center=[0.0, 8.0]), LINE, r"initial\.center: 8 lies outside"),
    (PhaseGaussian(width=[1.0, 1.0, 1.0]), SPACE, r"initial\.width .* one number, or two \(x and v\), or 4"),
    (PhaseGaussian(width=[1.0, 100.0]), TORUS, r"94\.4 % of the density lies outside model\.domain"),
    (PhaseGaussian(phase=[0.3, 1.0]), TORUS, r"initial\.phase: 0\.3 is no wave number"),
    (PhaseGaussian(phase=[0.5, 1.0, 1.0, 1.0]), TORUS, r"initial\.phase .* must have 2 entries"),
]


@pytest.mark.parametrize(("initial", "m", "message"), MISFITS)
def test_misfits_name_their_key(initial, m, message):
    with pytest.raises(InputError, match=message):
        Start(initial, m)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("negative", "finite real values >= 0"),
        ("complex_values", r"finite real values >= 0, not 1\+1j"),
        ("nothing", "zero all over"),
        ("column", r"returned the shape \(\d+, 2\)"),
        ("narrow", "lattice of spacing"),
        ("wrong", "RuntimeError: boom"),
        ("absent", "no function absent"),
    ],
)
def test_python_densities_that_are_wrong(functions, name, message):
    with pytest.raises(InputError, match=message):
        Start(PhaseDensityFromFile(python=f"{functions}:{name}"), TORUS)


def test_points_are_the_callers_own(functions):
    start = Start(PhaseDensityFromFile(python=f"{functions}:changes_its_argument"), model(v=(-1.0, 1.0)))
    z = start.sample(1000, np.random.default_rng(0))
    assert np.ptp(z, axis=0) == pytest.approx([L, 2.0], rel=0.02)


def test_a_spike_that_the_lattice_does_not_see_is_found_when_drawing(functions):
    start = Start(PhaseDensityFromFile(python=f"{functions}:spike"), model(x=(0.0, 1.0), v=(-3.0, 3.0)))
    with pytest.raises(InputError, match="narrower than the cells"):
        start.sample(2_000_000, np.random.default_rng(2))


@record
class Holder:
    """As a case holds its section."""

    initial: Initial


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, r"initial\.shape is missing: one of 'landau'"),
        ({"shape": "landua", "k": 0.5}, r"did you mean landau\?"),
        ({"shape": "landau"}, r"initial\.k is missing"),
        ({"shape": "landau", "k": "a"}, r"initial\.k = 'a'"),
        ({"shape": "landau", "k": 0.5, "amplitude": 1.5}, r"initial\.amplitude = 1\.5: must be less"),
        ({"shape": "landau", "k": 0.5, "thermal": 0.0}, r"initial\.thermal = 0\.0"),
        ({"shape": "landau", "k": 0.5, "amplitud": 0.1}, r"did you mean amplitude\?"),
        ({"shape": "two_stream", "k": 0.5}, r"initial\.drift is missing"),
        ({"shape": "gaussian", "width": -1.0}, r"initial\.width = -1\.0"),
        ({"shape": "gaussian", "mass": 0.0}, r"initial\.mass = 0\.0"),
        ({"shape": "gaussian", "phase": 1.0}, r"initial\.phase = 1\.0: must be a list of 2d numbers, or a section"),
        ({"shape": "maxwellian", "center": 1.0}, r"initial: width is missing"),
        ({"python": "nowhere.py:f"}, r"file that exists"),
        ({"shape": "gaussian", "phase": {"python": "nowhere.py:f"}}, r"file that exists"),
        ({"shape": "gaussian", "python": "nowhere.py:f"}, r"initial\.python: unknown key"),
    ],
)
def test_sections_that_are_wrong(section, message):
    with pytest.raises(InputError, match=message):
        Holder(initial=section)


def test_sections_of_a_case(functions):
    assert Holder(initial={"shape": "landau", "k": 1}).initial == Landau(k=1.0, amplitude=0.01, thermal=1.0, mass=1.0)
    for shape in ({}, {"shape": "python"}):
        given = {"python": f"{functions}:bag"} | shape
        assert Holder(initial=given).initial == PhaseDensityFromFile(python=f"{functions}:bag")
    assert Holder(initial={"shape": "gaussian", "center": [0, 1], "width": 2}).initial.center == (0.0, 1.0)
