"""Closed forms and reference solutions of the signed system, each against something independent of it.

What carries the load: the Fourier reference against the Gaussian field (closed form), the radial reference (another
equation, other methods) and the stored values; the radial reference against the stationary state of critical mass; the
particle laws against the generator of (1.1), applied by explicit pair sums.
"""

from functools import cache

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from radial import RadialSolution, radial_reference
from signed_laws import multipole_moments, particle_second_moment_rate, uniform_disk_radius

from limitpde.errors import InputError, RunError
from limitpde.signed import exact
from limitpde.signed.exact import PROBLEMS, R1, S1, S2, S3, Blob
from limitpde.signed.plane_reference import PlaneReference, PlaneSolution

GRIDS = {"S1": (128, 12.0), "S2": (128, 12.0), "S3": (192, 8.0), "R1": (128, 12.0)}  # points, half width
OFF_CENTRE = Blob(1.3, (0.3, -0.2), 0.5)


def plane(problem: exact.ReferenceProblem, points: int, half_width: float) -> PlaneReference:
    return PlaneReference(
        diffusivity=problem.diffusivity, gamma_bar=problem.gamma_bar, half_width=half_width, points=points
    )


def advance(problem: exact.ReferenceProblem, points: int, half_width: float, step: float) -> PlaneSolution:
    reference = plane(problem, points, half_width)
    return reference.solve(problem.initial_positive, problem.initial_negative, problem.t_end, step)


@cache
def solved(name: str) -> PlaneSolution:
    return advance(PROBLEMS[name], *GRIDS[name], 0.01)


def no_mass(y: np.ndarray) -> np.ndarray:
    return np.zeros_like(y)


@cache
def solved_radially(name: str) -> RadialSolution:
    problem = PROBLEMS[name]
    return radial_reference(
        problem.positive[0].mass_within,
        problem.negative[0].mass_within if problem.negative else no_mass,
        diffusivity=problem.diffusivity,
        gamma_bar=problem.gamma_bar,
        t_end=problem.t_end,
    )


# Gaussians


def test_truncated_kernel_gives_gaussian_field_and_potential():
    reference = PlaneReference(diffusivity=0.5, gamma_bar=1.0, half_width=10.0, points=64)
    x, y = np.meshgrid(reference.axis, reference.axis, indexing="ij")
    density = OFF_CENTRE.density(x, y)
    assert np.abs(reference.field(density) - OFF_CENTRE.field(x, y)).max() < 1e-12 * OFF_CENTRE.mass
    assert np.abs(reference.potential(density) - OFF_CENTRE.potential(x, y)).max() < 1e-12 * OFF_CENTRE.mass


def test_gaussian_field_is_minus_the_gradient_and_has_divergence_two_pi_density():
    x, y = np.array([0.3, 0.3001, 0.9, -2.0]), np.array([-0.2, -0.2, 0.4, 3.0])
    h = 1e-3
    slope = (OFF_CENTRE.potential(x + h, y) - OFF_CENTRE.potential(x - h, y)) / (2 * h)
    assert OFF_CENTRE.field(x, y)[0] == pytest.approx(-slope, abs=2e-6)
    divergence = (OFF_CENTRE.field(x + h, y) - OFF_CENTRE.field(x - h, y))[0]
    divergence += (OFF_CENTRE.field(x, y + h) - OFF_CENTRE.field(x, y - h))[1]
    assert divergence / (2 * h) == pytest.approx(2 * np.pi * OFF_CENTRE.density(x, y), abs=5e-6)


def test_gaussian_is_finite_at_its_centre():
    centre = np.array(OFF_CENTRE.centre)
    assert OFF_CENTRE.field(*centre) == pytest.approx(np.zeros(2), abs=1e-15)
    mean_log = 0.5 * (np.log(2 * OFF_CENTRE.variance) - np.euler_gamma)  # E log|X - c|: |X - c|^2/2v is exponential
    assert OFF_CENTRE.potential(*centre) == pytest.approx(-OFF_CENTRE.mass * mean_log, abs=1e-12)


def test_multipole_moments_are_integrals_and_give_the_far_potential():
    gaussians = [
        Blob(0.6, (-1.0, 0.2), 0.3),
        Blob(0.4, (1.0, -0.7), 0.2),
        Blob(0.1, (0.0, 0.0), 0.4),
    ]
    moments = multipole_moments(gaussians, 12)
    axis = np.linspace(-7.0, 7.0, 141)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    density = exact.total_density(gaussians, x, y)
    for order in range(6):
        assert moments[order] == pytest.approx(np.sum((x + 1j * y) ** order * density) * 0.1**2, abs=1e-10)
    far = 9.0 * np.exp(0.7j)
    orders = np.arange(1, 13)
    series = -moments[0].real * np.log(abs(far)) + np.sum(moments[1:] / (orders * far**orders)).real
    direct = sum(g.potential(np.array(far.real), np.array(far.imag)) for g in gaussians)
    assert series == pytest.approx(float(direct), abs=1e-11)


# The Fourier reference


@pytest.mark.parametrize("name", PROBLEMS)
def test_plane_reference_reproduces_the_stored_values(name):
    solution, values = solved(name), PROBLEMS[name].values
    origin_error = 2e-10 if name == "S3" else 2e-11
    assert solution.at_origin == pytest.approx(values.at_origin, abs=origin_error)
    assert solution.l2_norms == pytest.approx(values.l2_norms, abs=1e-11)


@pytest.mark.parametrize("name", PROBLEMS)
def test_mass_centre_and_second_moment_follow_their_laws(name):
    solution, problem = solved(name), PROBLEMS[name]
    gaussians = [*problem.positive, *problem.negative]
    assert solution.masses == pytest.approx(problem.masses, abs=1e-12)
    centre = multipole_moments(gaussians, 1)[1]
    assert solution.centre == pytest.approx([centre.real, centre.imag], abs=1e-10)
    rate = exact.second_moment_rate(problem.diffusivity, problem.gamma_bar, *problem.masses)
    moment = sum(g.second_moment for g in gaussians) + problem.t_end * rate
    assert moment == pytest.approx(problem.values.second_moment, abs=1e-14)
    assert solution.second_moment == pytest.approx(moment, abs=1e-9)


def test_neutral_coinciding_signs_diffuse():
    reference = PlaneReference(diffusivity=0.3, gamma_bar=5.0, half_width=11.0, points=96)
    solution = reference.solve(OFF_CENTRE.density, OFF_CENTRE.density, 0.7, 0.05)
    heat = OFF_CENTRE.spread(0.3, 0.7)
    x, y = np.meshgrid(solution.axis, solution.axis, indexing="ij")
    assert np.abs(solution.positive - heat.density(x, y)).max() < 1e-12
    assert np.abs(solution.negative - heat.density(x, y)).max() < 1e-12
    points = np.random.default_rng(4).uniform(-11.0, 11.0, (5000, 2))
    for values in solution.evaluate(points):
        assert np.abs(values - heat.density(*points.T)).max() < 1e-12


def test_time_integration_has_order_four():
    finest = advance(R1, 64, 9.0, 0.00625)
    errors = [np.abs(advance(R1, 64, 9.0, step).positive - finest.positive).max() for step in (0.1, 0.05, 0.025)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 4.0) < 0.3), orders
    assert errors[-1] < 2e-9


def test_shells_move_and_thin_out_without_diffusion():
    blob = Blob(1.0, (0.0, 0.0), 0.5)
    reference = PlaneReference(diffusivity=0.0, gamma_bar=0.5, half_width=6.5, points=96)
    solution = reference.solve(blob.density, lambda x, y: np.zeros_like(x), 0.5, 0.025)
    for start in (0.2, 0.7, 1.5, 2.2):
        radius = uniform_disk_radius(start, 0.5, float(blob.mass_within(start**2)), 0.5)
        initial = blob.density(np.array(start), np.array(0.0))
        expected = initial / (1.0 + 2.0 * np.pi * 0.5 * initial * 0.5)
        values, _ = solution.evaluate(radius * np.array([[1.0, 0.0], [0.6, -0.8]]))
        assert values == pytest.approx(np.full(2, expected), abs=1e-8)


def test_uniform_disk_radius():
    assert uniform_disk_radius(1.0, 1.0, 1.0, 2.0) == pytest.approx(5.0**0.5, rel=1e-15)
    with pytest.raises(InputError, match="collapse"):
        uniform_disk_radius(1.0, -1.0, 1.0, 0.6)


def test_limits_of_the_grid_are_reported():
    enough = plane(S1, 96, 1.0).needed_half_width(offset=0.0, variance=1.5, mass=0.6, t_end=1.0, tolerance=1e-10)
    assert 10.0 < enough < 12.0
    fitting, cramped = advance(S1, 96, enough, 0.05), advance(S1, 96, 0.5 * enough, 0.05)
    assert fitting.edge_density < 2e-10 * fitting.at_origin[1]  # at the edge the image counts as much as the density
    assert cramped.edge_density > 1e-5
    assert abs(cramped.second_moment - S1.values.second_moment) > 1e-4
    assert advance(S3, 48, 8.0, 0.05).spectral_tail > 1e-4 > 1e-6 > solved("S3").spectral_tail
    assert min(advance(S3, 48, 8.0, 0.05).minimum) < -1e-5 < -1e-8 < min(solved("S3").minimum)


@pytest.mark.parametrize(("gamma_bar", "word"), [(300.0, "grew"), (-300.0, "finite")])
def test_too_long_a_step_raises(gamma_bar, word):
    reference = PlaneReference(diffusivity=0.01, gamma_bar=gamma_bar, half_width=8.0, points=32)
    with pytest.raises(RunError, match=word):
        reference.solve(S2.initial_positive, S2.initial_negative, 20.0, 0.5)


# The radial reference


@pytest.mark.parametrize("name", ["S1", "R1"])
def test_radial_reference_agrees_with_stored_values_and_fourier(name):
    radial, fourier, values = solved_radially(name), solved(name), PROBLEMS[name].values
    assert radial.densities(np.array(0.0)) == pytest.approx(values.at_origin, abs=2e-13)
    assert radial.l2_norms == pytest.approx(values.l2_norms, abs=2e-13)
    assert radial.second_moment == pytest.approx(values.second_moment, abs=1e-11)
    radii = np.linspace(0.0, 7.0, 41)
    points = radii[:, np.newaxis] * np.array([0.6, 0.8])
    assert np.abs(radial.densities(radii) - fourier.evaluate(points)).max() < 2e-11
    assert radial.masses_within(np.array(12.0)) == pytest.approx(PROBLEMS[name].masses, abs=1e-11)


def test_radial_reference_keeps_the_stationary_state_of_critical_mass():
    """Under attraction with gamma_bar M = 4 D, m = M y/(y + 1) does not move; off that mass it does."""

    def state(y: np.ndarray) -> np.ndarray:
        return y / (y + 1.0)

    radii = np.array([0.3, 1.0, 2.0, 5.0])
    for gamma_bar, lowest, highest in ((-2.0, 0.0, 1e-8), (-1.9, 1e-3, 1.0)):
        solution = radial_reference(state, no_mass, diffusivity=0.5, gamma_bar=gamma_bar, t_end=1.0, nodes=96)
        change = np.abs(solution.masses_within(radii)[0] - state(radii**2)).max()
        assert lowest <= change < highest


def test_attraction_fourier_against_radial():
    blob = Blob(1.0, (0.0, 0.0), 0.5)
    radial = radial_reference(blob.mass_within, no_mass, diffusivity=0.5, gamma_bar=-1.0, t_end=1.0)
    reference = PlaneReference(diffusivity=0.5, gamma_bar=-1.0, half_width=9.0, points=160)
    fourier = reference.solve(blob.density, lambda x, y: np.zeros_like(x), 1.0, 0.01)
    assert fourier.at_origin[0] == pytest.approx(radial.densities(np.array(0.0))[0], abs=1e-9)
    assert fourier.second_moment == pytest.approx(1.0 + exact.second_moment_rate(0.5, -1.0, 1.0, 0.0), abs=1e-9)


# Particles


def random_particles(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((7, 2)), np.array([1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0])


def drift(positions: np.ndarray, signs: np.ndarray, gamma: float) -> np.ndarray:
    """The drift gamma sum_j b_i b_j K(X_i - X_j), as (1.1) writes it."""
    result = np.zeros_like(positions)
    for i, j in np.ndindex(len(signs), len(signs)):
        if i != j:
            difference = positions[i] - positions[j]
            result[i] += gamma * signs[i] * signs[j] * difference / (difference @ difference)
    return result


def test_particle_second_moment_rate_is_the_generator_applied_to_it():
    positions, signs = random_particles(1)
    sigma, gamma = 0.7, 0.2
    generator = np.mean(2.0 * np.sum(positions * drift(positions, signs, gamma), axis=1) + 2.0 * sigma**2)
    assert particle_second_moment_rate(sigma, gamma, signs) == pytest.approx(generator, rel=1e-12)


def test_particle_rate_tends_to_the_rate_of_the_equation():
    signs = np.repeat([1.0, -1.0], [600, 400])
    particles = particle_second_moment_rate(S1.sigma, S1.gamma_bar / 1000, signs)
    equation = exact.second_moment_rate(S1.diffusivity, S1.gamma_bar, *S1.masses)
    assert particles - equation == pytest.approx(-S1.gamma_bar / 1000, rel=1e-10)


def test_squared_bessel_dimension_is_the_generator_applied_to_the_spread():
    positions, signs = random_particles(2)
    sigma, gamma = 0.7, 0.2
    about_centroid = positions - positions.mean(axis=0)
    generator = 2.0 * np.sum(about_centroid * drift(positions, signs, gamma)) / sigma**2 + 2.0 * (len(signs) - 1)
    dimension = exact.squared_bessel_dimension(sigma=sigma, gamma=gamma, signs=signs)
    assert dimension == pytest.approx(generator, rel=1e-12)
    pair = exact.squared_bessel_dimension(sigma=sigma, gamma=gamma, signs=np.array([1.0, -1.0]))
    assert pair == pytest.approx(2.0 * (1.0 - gamma / sigma**2), rel=1e-14)


def test_squared_bessel_law_of_brownian_particles():
    positions, signs = random_particles(3)
    sigma, time, rng = 1.3, 0.4, np.random.default_rng(5)
    moved = positions + sigma * np.sqrt(time) * rng.standard_normal((20000, 7, 2))
    spreads = np.sum((moved - moved.mean(axis=1, keepdims=True)) ** 2, axis=(1, 2)) / sigma**2
    law = exact.squared_bessel_law(sigma=sigma, gamma=0.0, positions=positions, signs=signs, time=time)
    assert scipy.stats.kstest(spreads, law.cdf).pvalue > 0.01
    other = exact.squared_bessel_law(sigma=sigma, gamma=1.0, positions=positions, signs=signs, time=time)
    assert scipy.stats.kstest(spreads, other.cdf).pvalue < 1e-6


def test_squared_bessel_law_has_the_moments_of_its_equation():
    """From dR = dimension dt + 2 R^(1/2) dB: d E R = dimension dt, d E R^2 = (2 dimension + 4) E R dt."""
    positions, signs = random_particles(4)
    parameters = {"sigma": 0.7, "gamma": 0.2, "signs": signs}
    dimension = exact.squared_bessel_dimension(**parameters)
    initial = np.sum((positions - positions.mean(axis=0)) ** 2) / 0.7**2
    law = exact.squared_bessel_law(**parameters, positions=positions, time=0.3)
    assert law.mean() == pytest.approx(initial + dimension * 0.3, rel=1e-12)
    second = initial**2 + (2.0 * dimension + 4.0) * (initial * 0.3 + dimension * 0.3**2 / 2.0)
    assert law.var() + law.mean() ** 2 == pytest.approx(second, rel=1e-12)


def collision(gamma: float, separation: float, time: float = 0.8) -> float:
    return exact.pair_collision_probability(sigma=0.7, gamma=gamma, separation=separation, time=time)


def test_collision_probability_limits():
    assert collision(0.2, 0.0) == 1.0
    assert 0.99 < collision(0.2, 1.0, time=1e6) < 1.0
    assert 0.0 < collision(0.2, 8.0) < 1e-12
    assert collision(0.0, 1.0) == collision(-0.2, 1.0) == 0.0
    times = np.array([0.1, 0.4, 1.0, 5.0])
    rising = exact.pair_collision_probability(sigma=0.7, gamma=0.2, separation=1.0, time=times)
    assert rising.shape == (4,)
    assert np.all(np.diff(rising) > 0.01)


def test_collision_probability_of_known_processes():
    """Dimension 1: a Brownian motion (reflection principle). Dimension 0: Feller's branching diffusion, extinction."""
    separation, time, variance = 1.1, 0.8, 0.7**2
    reflected = scipy.special.erfc(separation / np.sqrt(4.0 * variance * time))
    assert collision(variance / 2.0, separation) == pytest.approx(reflected, rel=1e-12)
    extinct = np.exp(-(separation**2) / (4.0 * variance * time))
    assert collision(variance, separation) == pytest.approx(extinct, rel=1e-12)


def test_collision_probability_is_what_the_law_with_collisions_has_too_many():
    """Given R_0 and R_t, the pair has not met with probability I_nu(z)/I_-nu(z), where nu = gamma/sigma^2.

    Here z = (R_0 R_t)^(1/2)/t; the mean over R_t ties the law and the probability to each other.
    """
    separation, time, sigma, gamma = 1.1, 0.8, 0.7, 0.2
    positions = np.array([[0.5 * separation, 0.3], [-0.5 * separation, 0.3]])
    signs = np.array([1.0, -1.0])
    law = exact.squared_bessel_law(sigma=sigma, gamma=gamma, positions=positions, signs=signs, time=time)
    initial, index = separation**2 / (2.0 * sigma**2), gamma / sigma**2

    def never_met(root: float) -> float:
        z = np.sqrt(initial) * root / time
        return 2.0 * root * law.pdf(root**2) * scipy.special.ive(index, z) / scipy.special.ive(-index, z)

    survival, _ = scipy.integrate.quad(never_met, 0.0, 12.0, epsabs=1e-11, epsrel=1e-11, limit=200)
    assert collision(gamma, separation, time) == pytest.approx(1.0 - survival, abs=1e-8)


# Wrong arguments


PLANE = {"diffusivity": 0.5, "gamma_bar": 1.0, "half_width": 8.0, "points": 32}
RADIAL = {"diffusivity": 0.5, "gamma_bar": 1.0, "t_end": 1.0}
PAIR = {"sigma": 1.0, "gamma": 0.1, "separation": 1.0, "time": 1.0}


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: Blob(1.0, exact.ORIGIN, 0.0), "variance"),
        (lambda: Blob(-1.0, exact.ORIGIN, 1.0), "mass"),
        (lambda: Blob(1.0, (0.0, np.nan), 1.0), "centre"),
        (lambda: PlaneReference(**(PLANE | {"diffusivity": -0.1})), "diffusivity"),
        (lambda: PlaneReference(**(PLANE | {"gamma_bar": np.inf})), "gamma_bar"),
        (lambda: PlaneReference(**(PLANE | {"half_width": 0.0})), "half_width"),
        (lambda: PlaneReference(**(PLANE | {"points": 33})), "points"),
        (lambda: PlaneReference(**PLANE).solve(OFF_CENTRE.density, OFF_CENTRE.density, 1.0, 0.0), "step"),
        (lambda: PlaneReference(**PLANE).solve(OFF_CENTRE.density, lambda x, y: x * np.nan, 1.0, 0.1), "finite"),
        (lambda: solved("S1").evaluate(np.array([[12.5, 0.0]])), "half_width"),
        (lambda: solved("S1").evaluate(np.zeros(2)), "shape"),
        (lambda: radial_reference(no_mass, no_mass, **(RADIAL | {"t_end": 0.0})), "t_end"),
        (lambda: radial_reference(no_mass, no_mass, **RADIAL, nodes=4), "nodes"),
        (lambda: solved_radially("S1").densities(np.array([1.0, 12.1])), "radius"),
        (lambda: exact.pair_collision_probability(**(PAIR | {"time": 0.0})), "time"),
        (lambda: exact.pair_collision_probability(**(PAIR | {"sigma": 0.0})), "sigma"),
        (lambda: exact.squared_bessel_dimension(sigma=1.0, gamma=0.1, signs=np.array([1, 0, -1])), "signs"),
        (
            lambda: exact.squared_bessel_law(
                sigma=1.0, gamma=1.0, positions=np.eye(2), signs=np.array([1, -1]), time=1.0
            ),
            "dimension",
        ),
        (
            lambda: exact.squared_bessel_law(
                sigma=1.0, gamma=0.1, positions=np.zeros((3, 2)), signs=np.array([1, -1]), time=1.0
            ),
            "positions",
        ),
    ],
)
def test_wrong_arguments_are_refused_by_name(call, name):
    with pytest.raises(InputError, match=name):
        call()


def test_problems_are_consistent():
    for name, problem in PROBLEMS.items():
        assert problem.name == name
        assert sum(problem.masses) == pytest.approx(1.0, abs=1e-15)
        assert problem.sigma**2 / 2.0 == pytest.approx(problem.diffusivity, rel=1e-15)
