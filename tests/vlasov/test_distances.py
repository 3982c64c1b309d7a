"""Wasserstein-1 distances between particles and a density in phase space, and Dobrushin's estimate.

The load is carried by `test_atoms_against_the_linear_programme` (line and circle against POT's exact solver),
`test_mean_distance_of_independent_draws` (against the exact expectation of int |F_N - F|, at 4.5 standard errors),
`test_discretisation_of_f_does_not_matter` and `test_dobrushin_holds_for_newtons_particles` (exact W_1 at both times).
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.stats
from transport import exact_distance

from limitpde import potentials
from limitpde.compare.distances import LineMeasure, Slices, circle_distance, directions
from limitpde.errors import RunError
from limitpde.vlasov import distances
from limitpde.vlasov.distances import (
    Reference,
    curvature,
    distance_figures,
    dobrushin_factor,
    dobrushin_rate,
    nodal_values,
)
from limitpde.vlasov.initial import Landau, PhaseGaussian, Start
from limitpde.vlasov.model import Model, PhaseDomain
from limitpde.vlasov.phase_space import Axis

SE = 4.5
L = 4 * math.pi


@dataclass(frozen=True)
class Cloud:
    """An ensemble, as far as distances see it."""

    count: int
    points: np.ndarray
    times: tuple[float, ...] = (0.0, 1.0, 2.0)


TORUS = Model(potential=potentials.GaussianPotential(), domain=PhaseDomain(x=(0.0, L), v=(-6.0, 6.0)))
TORUS_AXES = [Axis(0.0, L, 24, 3, True), Axis(-6.0, 6.0, 48, 3, False)]
SPACE = Model(potential=potentials.Harmonic(), domain=PhaseDomain(x=(-6.0, 6.0), v=(-6.0, 6.0), periodic=False))
SPACE_AXES = [Axis(-6.0, 6.0, 32, 3, False), Axis(-6.0, 6.0, 32, 3, False)]


def gauss_nodes(low, high, cells, degree):
    x = scipy.special.roots_legendre(degree + 1)[0]
    return (low + (high - low) / cells * (np.arange(cells)[:, None] + (x + 1) / 2)).ravel()


@pytest.mark.parametrize("period", [None, 3.0])
def test_atoms_against_the_linear_programme(period):
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, m = rng.integers(1, 8, 2)
        a, b, wa, wb = 1 + rng.random(n), 3 * rng.random(m), rng.random(n), rng.random(m)
        found = LineMeasure(b, wb, period).distance(a, wa)
        periods = () if period is None else (period,)
        exact = exact_distance(a[:, None], b[:, None], a_masses=wa, b_masses=wb, periods=periods)
        assert found == pytest.approx(exact, rel=1e-10, abs=1e-13)


def test_negative_parts_change_sides():
    """Masses that are negative in places: int |F - G|, of the distribution functions themselves."""
    rng = np.random.default_rng(1)
    points, samples = np.sort(rng.random(50)), rng.random(30)
    masses = rng.random(50) - 0.2
    masses /= masses.sum()
    x = np.sort(np.concatenate([points, samples]))
    f = np.concatenate([[0.0], np.cumsum(masses)])[np.searchsorted(points, x[:-1], side="right")]
    g = np.searchsorted(np.sort(samples), x[:-1], side="right") / 30
    assert masses.min() < 0
    assert LineMeasure(points, masses).distance(samples) == pytest.approx(np.diff(x) @ np.abs(f - g), rel=1e-12)


@pytest.mark.parametrize("masses", [[-1.0, 0.5], [0.0, 0.0], [np.nan, 1.0]])
def test_no_distance_from_a_density_without_mass(masses):
    with pytest.raises(RunError, match="mass of the density"):
        LineMeasure(np.array([0.0, 1.0]), np.array(masses))


def test_discretisation_of_a_marginal_does_not_matter():
    """A normal density on 48 cells of degree 3 against int |F_N - F| with the exact F."""
    nodes = gauss_nodes(-8.0, 8.0, 48, 3)
    measure = LineMeasure.of_polynomial(np.exp(-(nodes**2) / 2), -8.0, 8.0, 3, periodic=False)
    x = np.linspace(-8, 8, 2_000_001)
    cdf = scipy.stats.norm.cdf(x)
    for n in (100, 10_000):
        samples = np.sort(np.random.default_rng(n).standard_normal(n))
        exact = np.trapezoid(np.abs(np.searchsorted(samples, x) / n - cdf), x)
        assert measure.distance(samples) == pytest.approx(exact, abs=1e-5)


def test_mean_distance_of_independent_draws():
    """E int |F_N - F| = int E |B(N, F) / N - F|, from the binomial law."""
    n, replicas = 200, 200
    nodes = gauss_nodes(-8.0, 8.0, 48, 3)
    measure = LineMeasure.of_polynomial(np.exp(-(nodes**2) / 2), -8.0, 8.0, 3, periodic=False)
    rng = np.random.default_rng(2)
    found = np.array([measure.distance(rng.standard_normal(n)) for _ in range(replicas)])
    x = np.linspace(-7, 7, 1401)
    F, k = scipy.stats.norm.cdf(x)[:, None], np.arange(n + 1)
    expected = np.trapezoid((scipy.stats.binom.pmf(k, n, F) * np.abs(k / n - F)).sum(axis=1), x)
    assert abs(found.mean() - expected) < SE * found.std() / math.sqrt(replicas) + 1e-4


def test_a_shift_is_its_length_also_around_the_circle():
    """Quantiles of a narrow wrapped normal law next to the end of the circle, moved across it."""
    nodes = gauss_nodes(0.0, 10.0, 200, 3)
    width, center = 0.1, 9.9
    offset = np.remainder(nodes - center + 5, 10) - 5
    measure = LineMeasure.of_polynomial(np.exp(-((offset / width) ** 2) / 2), 0.0, 10.0, 3, periodic=True)
    quantiles = center + width * scipy.stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    for shift in (0.7, -3.0, 4.0, 9.5, 10.0):
        expected = min(abs(shift), 10 - abs(shift))
        assert measure.distance(np.remainder(quantiles + shift, 10)) == pytest.approx(expected, abs=2e-4)


def test_directions_are_unit_and_even():
    for dimension in (2, 3, 6):
        theta = directions(dimension, 1024)
        assert np.linalg.norm(theta, axis=1) == pytest.approx(1)
        assert theta.T @ theta / 1024 == pytest.approx(np.eye(dimension) / dimension, abs=0.02)
        assert np.array_equal(theta, directions(dimension, 1024))


def test_slices_of_a_lattice():
    """Projections of the atoms themselves, by SciPy; the atoms of the slices move them by less than their spacing."""
    rng = np.random.default_rng(3)
    x, y, masses = np.sort(rng.random(20)), np.sort(rng.random(30)), rng.random((20, 30))
    theta = directions(2, 5)
    slices = Slices(masses, [theta[:, :1] * x, theta[:, 1:] * y])
    cloud = rng.random((100, 2))
    found = slices.gaps(theta @ cloud.T)[0]
    grid = np.stack([g.ravel() for g in np.meshgrid(x, y, indexing="ij")], axis=1)
    for s in range(5):
        exact = scipy.stats.wasserstein_distance(cloud @ theta[s], grid @ theta[s], None, masses.ravel())
        assert found[s] == pytest.approx(exact, abs=2e-5)


@pytest.mark.parametrize(("model", "axes"), [(TORUS, TORUS_AXES), (SPACE, SPACE_AXES)])
def test_discretisation_of_f_does_not_matter(model, axes, monkeypatch):
    """Many fewer atoms of f, and slices change by less than a hundredth of the distance of 4000 particles."""
    initial = Landau(k=0.5, amplitude=0.5) if model is TORUS else PhaseGaussian(width=[1.0, 0.8])
    start = Start(initial, model)
    f = nodal_values(start, axes)
    cloud = start.sample(4000, np.random.default_rng(4))[None]
    fine = Reference(f, axes).distances(cloud)
    monkeypatch.setitem(distances.ATOMS, 1, 1 << 18)
    coarse = Reference(f, axes).distances(cloud)
    assert fine["x"] == coarse["x"]
    assert 0 < abs(fine["sliced"][0] - coarse["sliced"][0]) < 1e-4 < 0.01 * fine["sliced"][0]


@pytest.mark.parametrize(("model", "axes"), [(TORUS, TORUS_AXES), (SPACE, SPACE_AXES)])
def test_marginals_and_slices_are_at_most_the_distance(model, axes):
    """Two clouds, one of them large in the place of f: exact W_1 in phase space by the linear programme."""
    start, periods = Start(PhaseGaussian(center=[0.5, 0.3], width=[1.5, 0.8]), model), (L,) if model is TORUS else ()
    rng = np.random.default_rng(5)
    reference = Reference(nodal_values(start, axes), axes)
    stand_in, cloud = start.sample(3000, rng), start.sample(300, rng) + np.array([0.5, 0.0])
    exact = exact_distance(cloud, stand_in, periods=periods)
    error = {name: values[0] for name, values in reference.distances(stand_in[None]).items()}
    found = {name: values[0] for name, values in reference.distances(cloud[None]).items()}
    assert list(found) == [*reference.names, "sliced_error"] == ["x", "v", "sliced", "energy", "sliced_error"]
    for name in reference.names[:-1]:
        assert 0 < found[name] <= exact + error[name]
    assert found["x"] > 0.4 - error["x"]


def test_names_and_marginals_in_the_plane(monkeypatch):
    """2D2V: a cloud in one point against a product of normal laws: E |X_j - c| in each coordinate."""
    model = Model(dimension=2, domain=PhaseDomain(x=(-5.0, 5.0), v=(-5.0, 5.0), periodic=False))
    monkeypatch.setitem(distances.ATOMS, 2, 1 << 20)
    axes = [Axis(-5.0, 5.0, 8, 3, False)] * 4
    widths = np.array([0.9, 0.7, 0.8, 1.0])
    f = nodal_values(Start(PhaseGaussian(width=tuple(widths)), model), axes)
    reference = Reference(f, axes)
    found = reference.distances(np.zeros((1, 5, 4)))
    assert reference.names == ["x1", "x2", "v1", "v2", "sliced", "energy"]
    mean = widths * math.sqrt(2 / math.pi)
    assert [found[name][0] for name in reference.names[:4]] == pytest.approx(mean, rel=1e-4)
    theta = directions(4, distances.SLICES)
    sliced = (np.sqrt((theta**2) @ widths**2) * math.sqrt(2 / math.pi)).mean()
    assert found["sliced"][0] == pytest.approx(sliced, rel=1e-4)


@pytest.mark.parametrize(("model", "axes"), [(TORUS, TORUS_AXES), (SPACE, SPACE_AXES)])
def test_the_error_of_the_directions(model, axes):
    """Against 2048 directions: the mean over 64 is right within its error, and closer than 16 are."""
    start = Start(PhaseGaussian(center=[0.5, 0.3], width=[1.5, 0.3]), model)
    f, cloud = nodal_values(start, axes), start.sample(500, np.random.default_rng(8))[None] + np.array([0.4, 0.1])
    exact = Reference(f, axes, slices=2048).distances(cloud)["sliced"][0]
    found = {s: Reference(f, axes, slices=s).distances(cloud) for s in (16, 64)}
    miss = {s: abs(found[s]["sliced"][0] - exact) for s in found}
    assert miss[64] < min(found[64]["sliced_error"][0], 0.02 * exact)
    assert miss[64] < miss[16]
    assert found[64]["sliced_error"][0] < 0.6 * found[16]["sliced_error"][0]


def test_figures_and_rates_of_independent_draws():
    start = Start(Landau(k=0.5, amplitude=0.5, mass=2.0), TORUS)
    rng = np.random.default_rng(6)
    counts = [64, 512, 2048]
    clouds = [Cloud(n, np.array([[start.sample(n, rng) for _ in range(2)] for _ in range(12)])) for n in counts]
    f = nodal_values(start, TORUS_AXES)
    found = distance_figures(TORUS, clouds, start=start, f=3.0 * f, axes=TORUS_AXES)
    assert [rate["quantity"] for rate in found["rates"]] == [
        "wasserstein_x",
        "wasserstein_v",
        "wasserstein_sliced",
        "energy",
    ]
    for rate in found["rates"]:
        assert rate["theory"] == -0.5
        width = (rate["high"] - rate["low"]) / (2 * 1.96)
        assert abs(rate["slope"] + 0.5) < SE * width < 0.25
    rows = [row for row in found["distances"] if (row["N"], row["distance"]) == (512, "v")]
    first, last = rows
    assert (first["t"], last["t"], last["replicas"]) == (0.0, 2.0, 12)
    assert last["start_mean"] == first["mean"]
    assert last["growth"] == pytest.approx(last["mean"] / first["mean"])
    assert found["dobrushin"]["factor"] == pytest.approx(dobrushin_factor(TORUS, 2.0, 2.0))
    assert last["dobrushin_bound"] == pytest.approx(found["dobrushin"]["factor"] * first["mean"])
    for row in (row for row in found["distances"] if "floor" in row):
        assert abs(row["mean"] - row["floor"]) < SE * math.hypot(row["stderr"], row["floor_stderr"]), row
    assert distance_figures(TORUS, [], start=start, f=f, axes=TORUS_AXES) == {}


def test_energy_distance_of_independent_draws_and_of_a_shift(monkeypatch):
    """E of its square is E|Z - Z'| / N, for a normal law in the plane sqrt(pi) / N; a shift by a adds an exact part."""
    monkeypatch.setitem(distances.ATOMS, 1, 1 << 17)
    start = Start(PhaseGaussian(), SPACE)
    reference, rng, n = Reference(nodal_values(start, SPACE_AXES), SPACE_AXES), np.random.default_rng(9), 100
    clouds = np.array([start.sample(n, rng) for _ in range(50)])
    shift = np.array([0.3, -0.4])
    apart = np.sqrt(np.pi) * scipy.special.hyp1f1(-0.5, 1.0, -(shift @ shift) / 4)  # E|Z - Z' + a|, a law of Rice
    for moved, exact in ((0.0, 0.0), (shift, 2 * (apart - np.sqrt(np.pi)))):
        squares = reference.distances(clouds + moved)["energy"] ** 2
        error = squares.std(ddof=1) / math.sqrt(len(squares))
        assert abs(squares.mean() - exact - np.sqrt(np.pi) / n) < SE * error, (squares.mean(), exact)
    drawn = np.array([reference.draw(n, rng) for _ in range(50)])
    squares = reference.distances(drawn)["energy"] ** 2
    assert abs(squares.mean() - np.sqrt(np.pi) / n) < SE * squares.std(ddof=1) / math.sqrt(len(squares))


@pytest.mark.parametrize(
    "potential",
    [
        potentials.GaussianPotential(strength=-0.7, width=0.8),
        potentials.Softened(strength=0.6, width=0.9),
        potentials.Cosine(strength=-1.3),
        potentials.Harmonic(strength=2.0),
    ],
)
@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("periodic", [False, True])
def test_curvature_is_the_largest_second_derivative(potential, dimension, periodic):
    if periodic and potential.kind == "harmonic":
        return
    box = np.tile([0.0, 2 * math.pi], (dimension, 1))
    torus = box if periodic else None
    bound = curvature(potential, dimension, torus, box)

    def gradient(x):
        return potentials.on_torus(potential, x, torus)[1] if periodic else potential.gradient(x)

    centred = np.tile([-math.pi, math.pi], (dimension, 1))
    odd = {1: 1001, 2: 31}[dimension]  # with the point 0
    lines = [np.linspace(*interval, odd) for interval in centred]
    x = np.stack([g.ravel() for g in np.meshgrid(*lines, indexing="ij")], axis=1)
    h = 1e-5
    columns = [(gradient(x + h * e) - gradient(x - h * e)) / (2 * h) for e in np.eye(dimension)]
    seen = np.linalg.norm(np.stack(columns, axis=2), ord=2, axis=(1, 2)).max()
    assert bound == pytest.approx(seen, rel=1e-6)


def test_curvature_of_python_functions_and_exterior_potentials(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("import numpy as np\ndef own(x):\n    return 0.5 * np.cos(2 * x).sum(axis=1), -np.sin(2 * x)\n")
    domain = PhaseDomain(x=(0.0, 2 * math.pi), v=(-1.0, 1.0))
    model = Model(potential=potentials.PotentialFromFile(python=f"{path}:own"), domain=domain)
    assert dobrushin_rate(model, 3.0) == pytest.approx(2 * 6.0, rel=1e-4)
    plane = Model(
        dimension=2,
        exterior=potentials.Pairs(potential=potentials.Cosine(strength=-4.0)),
        domain=domain,
    )
    assert dobrushin_rate(plane, 1.0) == pytest.approx(2 * 8.0)
    line = Model(
        potential=potentials.GaussianPotential(strength=2.0),
        exterior=potentials.Centred(kind="harmonic", strength=3.0),
        domain=PhaseDomain(x=(-1.0, 1.0), v=(-1.0, 1.0), periodic=False),
    )
    assert dobrushin_rate(line, 0.5) == pytest.approx(2 * 4.0)
    outer = Model(exterior=potentials.ExteriorFromFile(python=f"{path}:own"), domain=domain)
    assert dobrushin_rate(outer, 1.0) == pytest.approx(2 * 2.0, rel=1e-4)


def test_no_factor_where_the_force_jumps():
    model = Model(potential=potentials.Poisson(), domain=PhaseDomain(x=(0.0, L), v=(-6.0, 6.0)))
    assert dobrushin_factor(model, 1.0, 1.0) == math.inf
    assert dobrushin_factor(model, 1.0, 0.0) == 1.0
    start = Start(Landau(k=0.5), model)
    cloud = Cloud(8, np.zeros((1, 2, 8, 2)))
    found = distance_figures(model, [cloud], start=start, f=nodal_values(start, TORUS_AXES), axes=TORUS_AXES)
    assert "dobrushin" not in found
    assert all("dobrushin_bound" not in row and "stderr" not in row for row in found["distances"])


def newton(potential, torus, z, end, steps=400):
    """Newton's particles (N, 2d) with masses 1 / N, by the leapfrog of Verlet."""
    z, n, d, dt = z.copy(), len(z), z.shape[1] // 2, end / steps

    def force(x):
        r = (x[:, None] - x[None]).reshape(-1, d)
        slope = potential.gradient(r) if torus is None else potentials.on_torus(potential, r, torus)[1]
        return -slope.reshape(n, n, d).sum(axis=1) / (n - 1)

    acceleration = force(z[:, :d])
    for _ in range(steps):
        z[:, d:] += dt / 2 * acceleration
        z[:, :d] += dt * z[:, d:]
        acceleration = force(z[:, :d])
        z[:, d:] += dt / 2 * acceleration
    return z


@pytest.mark.parametrize(
    ("potential", "periodic"),
    [
        (potentials.Harmonic(strength=-1.0), False),
        (potentials.GaussianPotential(strength=3.0), False),
        (potentials.Cosine(strength=-2.0), True),
    ],
)
def test_dobrushin_holds_for_newtons_particles(potential, periodic):
    """mu^N solves (Vl) for N / (N - 1) Gamma: exact W_1 of two clouds at time 0, and later, against the factor.

    The clouds differ by a small displacement, and come apart by much more than that.
    """
    n, end, d = 40, 1.0, 1
    x = (0.0, 2 * math.pi) if periodic else (-9.0, 9.0)
    model = Model(potential=potential, domain=PhaseDomain(x=x, v=(-9.0, 9.0), periodic=periodic))
    rng = np.random.default_rng(7)
    a = 0.7 * rng.standard_normal((n, 2 * d)) + (3.0 if periodic else 0.0)
    b = a + 1e-3 * rng.standard_normal((n, 2 * d)) + np.array([0.01, 0.01])
    torus, periods = (model.x_box, (2 * math.pi,)) if periodic else (None, ())
    before = exact_distance(a, b, periods=periods)
    after = exact_distance(*(newton(potential, torus, z, end) for z in (a, b)), periods=periods)
    factor = dobrushin_factor(model, n / (n - 1), end)
    assert 1.3 < after / before < factor


def test_exact_distance_of_a_shift():
    rng = np.random.default_rng(8)
    a = rng.random((60, 4))
    shift = np.array([0.3, -0.4, 1.2, 0.0])
    assert exact_distance(a, a + shift) == pytest.approx(1.3, rel=1e-12)
    wrapped = np.remainder(a + np.array([0.9, 0.0, 0.0, 0.0]), 1.0)
    assert exact_distance(a, wrapped, periods=(1.0,)) <= 0.1 + 1e-12
    assert circle_distance(a[:, 0], wrapped[:, 0], np.full(60, 1 / 60), np.full(60, 1 / 60), 1.0) <= 0.1 + 1e-12
