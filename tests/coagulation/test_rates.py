"""The macroscopic rates of Hammond (1.8)-(1.9), (2.4) and section 2.4.2, against closed forms and other methods.

The load is carried by: the closed form of the ball; the radial solver against the ball with an unannounced jump and
against Calogero's phase equation by scipy; the FFT solver against the radial one and the multipole solution of a
spheroid (methods, section C); and the logarithmic matching in two dimensions, against scipy. Nothing here knows of
ranks.
"""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

import numpy as np
import pytest
import scipy.integrate

from limitpde.coagulation import Model
from limitpde.coagulation.interaction import Bump, Ellipsoid, InteractionFromFile
from limitpde.coagulation.rates import (
    beta,
    capacity,
    microscopic,
    naive,
    propensity,
    rate_error,
    scattering_length,
    upper_bound,
)
from limitpde.coagulation.rates.capacity import ball_log_derivative, conductance, solve_radial
from limitpde.coagulation.rates.lippmann import GridScattering
from limitpde.coagulation.rates.scattering import RadialScattering, integral, scattering
from limitpde.errors import InputError, RunError

SETS = ((1.0, (0.5, 0.5)), (20.0, (1.0, 1.0)), (100.0, (1.0, 0.25)))
BALL = (2.9958961929, 17.2135003584, 13.9517596450)
BUMP = (0.8863354124, 8.8708382714, 9.7685720435)
SPHEROID = (0.877797980, 8.485148683, 9.132215224)
PLANE = {  # (2.4), and L (beta_eps / limit - 1) for large L
    0: (0.86269744, -0.0796),
    1: (7.71739090, -0.356),
    2: (7.28205071, -0.537),
}


def model_of(case: int = 1, **interaction) -> Model:
    alpha, diffusion = SETS[case]
    options = {name: interaction.pop(name) for name in ("ranges", "dimension", "n_max") if name in interaction}
    return Model(diffusion=diffusion, interaction={"alpha": alpha, **interaction}, **options)


@pytest.fixture
def functions(tmp_path: Path) -> str:
    """A file of functions V."""
    path = tmp_path / "interactions.py"
    text = """
        import numpy as np

        def bump(x):
            q = (x**2).sum(axis=1)
            norm = 0.441088887276604 if x.shape[1] == 3 else 0.466512393178
            return np.exp(-1 / np.maximum(1 - q, 1e-300)) / norm

        def ball(x):
            return np.where(np.linalg.norm(x, axis=1) < 0.731, 1.0, 0.0)

        def shell(x):
            r = np.linalg.norm(x, axis=1)
            return np.where((r > 0.5) & (r < 0.9), 2.0, 0.0)

        def lopsided(x):
            return bump(x) * (1 + 0.9 * np.tanh(3 * x[:, 0]))

        def noise(x):
            return np.modf(np.abs(np.sin(1e6 * x).sum(axis=1)) * 1e4)[0]

        def negative(x):
            return -bump(x)

        def nothing(x):
            return np.zeros(len(x))

        def kernel(n, m):
            return np.sqrt(n * m)

        def skewed(n, m):
            return n + 2 * m
    """
    path.write_text(textwrap.dedent(text))
    return str(path)


@pytest.mark.parametrize("case", range(3))
def test_ball_and_bump_have_the_reference_rates(case):
    for shape, expected in (("ball", BALL[case]), ("bump", BUMP[case])):
        assert propensity(model_of(case, shape=shape))(1, 2) == pytest.approx(expected, rel=1e-10)


def test_ball_in_higher_dimension():
    k = math.sqrt(20 / 2)
    for d, expected in ((3, 17.2135003584), (4, 37.9437680366), (5, 54.9398980513)):
        assert 2 * conductance(ball_log_derivative(k, d), 1.0, d) == pytest.approx(expected, rel=1e-11)


def test_closed_form_of_the_ball_from_weak_to_strong():
    """d = 3: p = k coth k - 1, whose series is k^2 / 3 - k^4 / 45; nothing is lost where the branches meet."""
    k = np.array([1e-8, 1e-3, 0.009999, 0.010001, 0.5, 3.0, 40.0, 1e4, 1e6, 1e30])
    expected = np.where(k < 0.1, k**2 / 3 - k**4 / 45 + 2 * k**6 / 945, k / np.tanh(k) - 1)
    np.testing.assert_allclose(ball_log_derivative(k, 3), expected, rtol=1e-13)
    below, above = ball_log_derivative(np.array([99_999.0, 100_001.0]), 2)
    assert above - below == pytest.approx(2.0, abs=1e-9)


@pytest.mark.parametrize("d", [2, 3, 4])
@pytest.mark.parametrize("s", [1e-12, 1.0, 1e3, 1e8])
def test_radial_solver_finds_a_jump_by_itself(d, s):
    solution = solve_radial(lambda r: np.where(r < 0.731, 1.0, 0.0), 1.0, d, s)
    inner = ball_log_derivative(math.sqrt(s) * 0.731, d)
    outer = inner / (1 + inner * math.log(1 / 0.731)) if d == 2 else None
    if outer is None:  # w = 1 - c r^(2-d)
        c = 0.731 ** (d - 2) * inner / (d - 2 + inner)
        outer = (d - 2) * c / (1 - c)
    assert solution.p == pytest.approx(float(outer), rel=1e-12)


@pytest.mark.parametrize("s", [1.0, 10.0, 80.0, 3000.0])
def test_radial_solver_against_the_phase_equation(s):
    """a' = s V (r - a)^2, a(0) = 0: the scattering length of V cut off at r (Calogero)."""
    bump = Bump(alpha=1.0)
    phase = scipy.integrate.solve_ivp(
        lambda r, a: s * bump.profile(r, 3) * (r - a) ** 2, (0, 1), [0.0], rtol=1e-12, atol=1e-14, method="DOP853"
    )
    assert scattering(bump, 3).conductance(np.array(s)) == pytest.approx(4 * math.pi * phase.y[0, -1], rel=1e-10)


def test_strong_bump_is_seen_as_a_ball_of_nearly_its_radius():
    """For s -> infinity g -> Cap = 4 pi R from below; a march that starts deep inside meets the one from the centre."""
    g = RadialScattering(Bump(alpha=1.0), 3).conductance(np.array([1e2, 1e4, 1e6, 1e10, 1e14]))
    assert (np.diff(g) > 0).all()
    assert g[-1] < 4 * math.pi
    assert g[-1] > 0.96 * 4 * math.pi
    deep = solve_radial(lambda r: np.full(np.shape(r), 1.0), 1.0, 3, 39.9**2)  # from the centre
    deeper = solve_radial(lambda r: np.full(np.shape(r), 1.0), 1.0, 3, 40.1**2)  # from within
    assert deep.intervals[0].low == 0.0
    assert deeper.intervals[0].low > 0.0
    for solution, k in ((deep, 39.9), (deeper, 40.1)):
        assert solution.p == pytest.approx(k / math.tanh(k) - 1, rel=1e-13)


def test_user_function_with_jumps_in_dimension_three(functions):
    shell = model_of(python=f"{functions}:shell", radius=1.0, radial=True)
    volume = 2 * 4 * math.pi / 3 * (0.9**3 - 0.5**3)
    assert naive(shell, 1, 1) == pytest.approx(20 * volume, rel=1e-12)
    k = math.sqrt(2 * 20 / 2)  # within the shell r w ~ sinh(k (r - 1/2)) + k/2 cosh(k (r - 1/2))
    x = 0.4 * k
    y, slope = math.sinh(x) + k / 2 * math.cosh(x), k * math.cosh(x) + k * k / 2 * math.sinh(x)
    assert propensity(shell)(1, 1) == pytest.approx(4 * math.pi * 2 * (0.9 - y / slope), rel=1e-12)


def test_spheroid_by_fft_against_its_multipole_solution():
    fine = GridScattering(Ellipsoid(axes=(0.7, 0.7, 1.4), alpha=1.0), 3).on(64, 80.0)
    for (alpha, d), expected in zip(SETS, SPHEROID, strict=True):
        assert sum(d) * fine.conductance(np.array(alpha / sum(d))) == pytest.approx(expected, rel=1e-8)


def test_rates_of_a_spheroid_and_the_error_that_is_told():
    model = model_of(0, shape="ellipsoid", axes=(0.7, 0.7, 1.4))
    assert propensity(model)(1, 2) == pytest.approx(SPHEROID[0], rel=1e-8)
    turned = model_of(0, shape="ellipsoid", axes=(1.4, 0.7, 0.7))
    assert propensity(turned)(1, 2) == pytest.approx(SPHEROID[0], rel=1e-8)
    told = rate_error(model, 1, 2)
    assert abs(propensity(model)(1, 2) / SPHEROID[0] - 1) < told + 1e-9 < 1e-7


def test_fft_against_the_radial_solver(functions):
    """The bump as a function that is not known to be radial, and the even part of one that is not even."""
    for name in ("bump", "lopsided"):
        source = InteractionFromFile(python=f"{functions}:{name}", radius=1.0, alpha=1.0)
        for d, cells in ((3, 64), (2, 128)):
            found, exact = GridScattering(source, d).on(cells, 20.0), RadialScattering(Bump(alpha=1.0), d)
            s = np.array([1e-3, 0.3, 10.0, 20.0])
            if d == 3:
                np.testing.assert_allclose(found.conductance(s), exact.conductance(s), rtol=2e-8)
            else:
                np.testing.assert_allclose(found.log_length(s), exact.log_length(s), rtol=1e-8, atol=1e-8)


def test_rough_function_on_a_grid_warns_and_is_as_good_as_it_says(functions):
    model = model_of(python=f"{functions}:shell", radius=1.0, dimension=2)
    radial = model_of(python=f"{functions}:shell", radius=1.0, dimension=2, radial=True)
    with pytest.warns(RuntimeWarning, match=r"estimated relative error of .*e-0[45]"):
        found = propensity(model, log_eps=-5.0)(1, 1)
    told = rate_error(model, 1, 1, log_eps=-5.0)
    assert abs(found / propensity(radial, log_eps=-5.0)(1, 1) - 1) < told < 1e-3
    assert naive(model, 1, 1) == pytest.approx(float(naive(radial, 1, 1)), rel=2e-4)


def test_means_over_cells_in_space_halve_the_error_from_grid_to_grid(functions):
    rough = InteractionFromFile(python=f"{functions}:shell", radius=1.0, alpha=1.0)
    smooth = RadialScattering(InteractionFromFile(python=f"{functions}:shell", radius=1.0, alpha=1.0, radial=True), 3)
    s = np.array([0.1, 10.0])
    coarse, fine = (GridScattering(rough, 3).on(cells, 10.0, averaged=True).conductance(s) for cells in (24, 40))
    exact = smooth.conductance(s)
    assert (np.abs(fine / exact - 1) < np.abs(coarse / fine - 1)).all()
    assert (np.abs(fine / exact - 1) < 1e-3).all()


def test_bounds_monotone_concave_and_the_two_limits():
    s = np.geomspace(1e-6, 1e6, 121)
    for interaction in (Bump(alpha=1.0, radius=1.3), Bump(alpha=1.0, radius=0.2)):
        g = scattering(interaction, 3).conductance(s)
        assert (g < s).all()  # int V = 1
        assert (g < 4 * math.pi * interaction.radius).all()
        assert (np.diff(g) > 0).all()
        assert (np.diff(np.diff(g) / np.diff(s)) < 0).all()
        assert g[0] / s[0] == pytest.approx(1.0, abs=1e-6 / interaction.radius)
    spheroid = model_of(shape="ellipsoid", axes=(0.7, 0.7, 1.4))
    e = math.sqrt(1 - 0.25)  # a prolate spheroid: 4 pi c e / artanh e
    assert capacity(spheroid) == pytest.approx(4 * math.pi * 1.4 * e / math.atanh(e), rel=1e-12)
    for shape in ({"shape": "ball"}, {"shape": "bump"}):
        for case in range(3):
            for d in (2, 3):
                model = model_of(case, **shape, dimension=d)
                assert propensity(model)(1, 2) <= upper_bound(model, 1, 2)


def test_interpolated_rates_are_those_of_single_pairs():
    """64^2 pairs of d(n) = n^(-1/3) with ranges n^(1/3) take one interpolant; single pairs are solved for."""
    for shape in ("ball", "bump"):
        model = Model(
            diffusion={"power": -1 / 3}, ranges={"power": 1 / 3}, interaction={"shape": shape, "alpha": 20.0}, n_max=96
        )
        matrix = beta(model)
        assert matrix.shape == (96, 96)
        np.testing.assert_array_equal(matrix, matrix.T)
        for n, m in ((1, 1), (2, 7), (96, 1), (95, 96), (31, 64)):
            D, r = n ** (-1 / 3) + m ** (-1 / 3), n ** (1 / 3) + m ** (1 / 3)
            single = propensity(model)(n, m)
            assert matrix[n - 1, m - 1] == pytest.approx(float(single), rel=2e-12)
            if shape == "ball":
                k = math.sqrt(20 / D)
                assert single == pytest.approx(4 * math.pi * D * r * (1 - math.tanh(k) / k), rel=1e-12)


def test_rates_for_all_pairs_of_a_matrix_of_alphas():
    table = ((1.0, 4.0), (4.0, 0.0))
    model = Model(diffusion=(1.0, 0.5), interaction={"shape": "ball", "alpha": table}, n_max=70)
    matrix = beta(model)
    for n, m, alpha, D in ((1, 1, 1.0, 2.0), (1, 2, 4.0, 1.5), (70, 1, 4.0, 1.5)):
        k = math.sqrt(alpha / D)
        assert matrix[n - 1, m - 1] == pytest.approx(4 * math.pi * D * (1 - math.tanh(k) / k), rel=1e-11)
    assert (matrix[1:, 1:] == 0).all()
    assert scattering_length(model, 2, 2) == 0.0


TABLE = ((1.0, 2.0), (2.0, 5.0))


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"kernel": "constant", "scale": 3.0}, [[3, 3], [3, 3]]),
        ({"kernel": "additive", "scale": 2.0}, [[4, 6], [6, 8]]),
        ({"kernel": "multiplicative"}, [[1, 2], [2, 4]]),
        ({"kernel": "matrix", "matrix": TABLE, "scale": 2.0}, [[2, 4], [4, 10]]),
    ],
)
def test_kernels_that_are_given(rates, expected):
    model = Model(diffusion=(1.0,), beta=rates, n_max=2, dimension=1)
    np.testing.assert_array_equal(beta(model), expected)
    np.testing.assert_array_equal(propensity(model)(np.arange(1, 3), np.array(2)), np.array(expected)[:, 1])


def test_kernel_of_a_function(functions):
    n = np.array([1.0, 2.5, 40.0])
    good = Model(diffusion=(1.0,), beta={"kernel": "python", "python": f"{functions}:kernel", "scale": 2.0})
    np.testing.assert_allclose(propensity(good)(n[:, None], n), 2 * np.sqrt(n[:, None] * n))
    skewed = Model(diffusion=(1.0,), beta={"kernel": "python", "python": f"{functions}:skewed"})
    with pytest.raises(InputError, match="must be symmetric"):
        beta(skewed)


def test_scale_ranges_and_length():
    """Here beta = 4 pi D a; section 2.4.2: twice the ranges, twice the rate; the scale multiplies beta only."""
    ranges = (0.5, 1.5)
    plain, wide = model_of(shape="bump"), model_of(shape="bump", ranges=ranges)
    assert propensity(wide)(1, 2) == pytest.approx(2 * float(propensity(plain)(1, 2)), rel=1e-14)
    assert naive(wide, 1, 2) == pytest.approx(2 * 20.0, rel=1e-12)
    assert scattering_length(wide, 1, 2) == pytest.approx(2 * BUMP[1] / (4 * math.pi * 2), rel=1e-10)
    scaled = Model(
        diffusion=(1.0,), interaction={"shape": "bump", "alpha": 20.0}, beta={"kernel": "from_micro", "scale": 0.5}
    )
    assert propensity(scaled)(1, 1) == pytest.approx(BUMP[1] / 2, rel=1e-10)
    assert microscopic(scaled, np.array(1), np.array(1)) == pytest.approx(BUMP[1], rel=1e-10)


@pytest.mark.parametrize("case", range(3))
def test_plane_limit_and_how_it_is_reached(case):
    model = model_of(case, shape="bump", dimension=2)
    limit, correction = PLANE[case]
    assert propensity(model)(1, 2) == pytest.approx(limit, abs=5e-9)
    L = 192 * math.log(10)
    exact = float(propensity(model)(1, 2))
    assert L * (propensity(model, log_eps=-L)(1, 2) / exact - 1) == pytest.approx(correction, rel=0.02)


def test_plane_at_finite_eps():
    model = model_of(shape="bump", dimension=2)
    for power, expected in ((3, 7.34391314), (6, 7.52476126), (12, 7.61952832), (24, 7.66806272)):
        assert propensity(model, log_eps=-power * math.log(10))(1, 1) == pytest.approx(expected, abs=6e-9)
    far = propensity(model, log_eps=-1000.0)(1, 1)  # eps = 0 as a double
    assert 1000 * (far / 7.71739090190 - 1) == pytest.approx(-0.356, abs=2e-3)
    again = scipy.integrate.solve_ivp(  # (r w')' = s V r w, in t = log r, then w = 1 at 1 / eps
        lambda t, y: [y[1], 10 / 1000 * Bump(alpha=1.0).profile(math.exp(t), 2) * math.exp(2 * t) * y[0]],
        (-18, 0),
        [1.0, 0.0],
        rtol=1e-12,
        atol=1e-14,
        method="DOP853",
    ).y[:, -1]
    assert far == pytest.approx(2 * math.pi * 2 * 1000 * again[1] / (again[0] + 1000 * again[1]), rel=1e-10)


def test_plane_range_acts_by_its_logarithm_and_not_in_the_limit():
    """alpha int V takes the part of alpha in (2.4): a ball of radius R has int V = pi R^2; ranges leave int V alone."""
    ball = model_of(shape="ball", radius=0.5, dimension=2)
    A, front = 20 * math.pi / 4, 4 * math.pi
    assert propensity(ball)(1, 1) == pytest.approx(front * A / (front + A), rel=1e-14)
    wide = model_of(shape="ball", radius=0.5, dimension=2, ranges=(1.5,))
    assert propensity(wide)(1, 1) == propensity(ball)(1, 1)
    L = 30.0
    shift = scattering_length(wide, 1, 1, log_eps=-L) - scattering_length(ball, 1, 1, log_eps=-L)
    assert shift == pytest.approx(math.log(3.0), rel=1e-12)
    length = scattering_length(wide, 1, 1, log_eps=-L)
    assert propensity(wide, log_eps=-L)(1, 1) == pytest.approx(front * L / (L - length), rel=1e-14)


def test_plane_ellipse_by_fft(functions):
    """To first order in s, log a averages log |x - y| over V V; log |A e| averages to log (a+b)/2 over directions e."""
    ellipse, disk = (model_of(shape="ellipsoid", axes=axes, dimension=2) for axes in ((0.5, 1.2), (1.0, 1.0)))
    assert propensity(ellipse)(1, 1) == pytest.approx(7.71739090, abs=5e-9)
    for L, correction in ((1e2, 1e-2), (1e4, 1e-4), (1e6, 1e-6)):
        found, round_one = (float(scattering_length(model, 1, 1, log_eps=-L)) for model in (ellipse, disk))
        assert found - round_one == pytest.approx(math.log(1.7 / 2), abs=0.5 * correction + 2e-15 * L)


def test_integral_of_a_function(functions):
    for d in (2, 3):
        smooth = InteractionFromFile(python=f"{functions}:bump", radius=1.0, alpha=1.0)
        assert integral(smooth, d) == pytest.approx(1.0, abs=1e-9)


def test_what_makes_no_sense_is_refused(functions):
    with pytest.raises(InputError, match=r"model.interaction is missing"):
        naive(Model(diffusion=(1.0,), beta={"kernel": "constant"}), 1, 1)
    with pytest.raises(InputError, match=r"model.dimension = 1: .* needs dimension 2 or 3"):
        propensity(Model(diffusion=(1.0,), dimension=1, interaction={"shape": "ball", "alpha": 1.0}))
    with pytest.raises(InputError, match="mass = 0: must be at least 1"):
        propensity(model_of())(np.array([1, 0]), 1)
    matrix = Model(diffusion=(1.0,), n_max=1, beta={"kernel": "matrix", "matrix": ((1.0,),)})
    with pytest.raises(InputError, match=r"mass = 2: beta.matrix has whole masses up to 1"):
        propensity(matrix)(1, 2)
    with pytest.raises(InputError, match=r"mass = 1.5: beta.matrix has whole masses"):
        propensity(matrix)(1, np.array(1.5))
    with pytest.raises(InputError, match=r"model.n_max = 1000000"):
        beta(model_of(n_max=1_000_000))
    flat = model_of(shape="bump", dimension=2)
    for log_eps in (None, 1.0, 0.0):
        with pytest.raises(InputError, match=r"log_eps = .* must be given for dimension 2"):
            scattering_length(flat, 1, 1, log_eps=log_eps)
    with pytest.raises(InputError, match="needs dimension 3"):
        capacity(flat)
    with pytest.raises(InputError, match="V is zero at all points"):
        propensity(model_of(python=f"{functions}:nothing", radius=1.0))(1, 1)
    with pytest.raises(InputError, match="V is zero at all points"):
        propensity(model_of(python=f"{functions}:nothing", radius=1.0, radial=True))(1, 1)
    with pytest.raises(InputError, match="finite real values >= 0"):
        propensity(model_of(python=f"{functions}:negative", radius=1.0))(1, 1)
    with pytest.raises(InputError, match="too flat for a grid"):
        propensity(model_of(shape="ellipsoid", axes=(1.0, 1.0, 1e-4)))(1, 1)
    with pytest.raises(RunError, match="too rough near r ="):
        propensity(model_of(python=f"{functions}:noise", radius=1.0, radial=True))(1, 1)
