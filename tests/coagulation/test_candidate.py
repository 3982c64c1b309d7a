"""The candidate densities (4.2) and W on them: against sums written out, and on particles of a known law.

What carries the load: the compiled sums agree with numpy's on every kind of domain; independent particles give the
products their exact means (pairs i = i left out); W of particles drawn from the exact solution is zero but for 1/N,
and a wrong beta is seen.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import itertools
import math

import numba
import numpy as np
import pytest
import scipy.integrate

from limitpde.coagulation.interaction import Bump
from limitpde.coagulation.model import Fragmentation, Initial, Model, Part, PowerLaw, Rates
from limitpde.coagulation.proof.candidate import MacroResidual, means
from limitpde.coagulation.proof.mass_rates import MassRates
from limitpde.coagulation.proof.mollifier import NodeGrid
from limitpde.coagulation.proof.walls import at_grid
from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import GaussianBump, Wave, fitted
from limitpde.densities import Gaussian, Uniform, UniformDisk
from limitpde.domains import Domain
from limitpde.errors import InputError

SE = 4.5
ONE = Rates(kernel="constant")
DOMAINS = {
    "torus": lambda d: Domain.torus(np.array([1.0, 0.7, 0.9])[:d], np.array([0.1, 0.0, -0.2])[:d]),
    "box": lambda d: Domain.box(np.array([1.0, 0.7, 0.9])[:d], np.array([0.1, 0.0, -0.2])[:d]),
    "ball": lambda d: Domain.ball(0.5, np.array([0.3, 0.2, 0.1])[:d]),
    "space": Domain.space,
}


TORUS = Domain.torus(np.ones(3))


def additive(n, m):
    return 0.7 * (n + m)


def constant(b):
    return lambda n, m: np.full(np.broadcast_shapes(np.shape(n), np.shape(m)), b)


def functions_of(d, domain=None):
    wave, center = (3.0, -2.0, 1.0)[:d], (0.4, 0.3, 0.1)[:d]
    if domain is not None and domain.kind == "torus":
        wave = tuple(np.rint(wave) * 2 * np.pi / domain.size)
    return [
        Wave(k=wave, phase=0.4, n=3),
        GaussianBump(center=center, width=0.2),
        Wave(k=(0.0,) * d, n=1),
        GaussianBump(center=center, width=0.3, n=2),
    ]


def images(x, domain):
    """All copies of points (n, d) that a torus or a box has within one period, (copies, n, d)."""
    if domain.kind in ("space", "ball"):
        return x[None]
    copies = []
    for shift in itertools.product((-1, 0, 1), repeat=x.shape[1]):
        moved = x + np.array(shift) * domain.size
        if domain.kind == "box":  # each odd shift is a reflection at the wall between
            mirrored = 2 * domain.low + (1 + np.array(shift)) * domain.size - x
            moved = np.where(np.array(shift) == 0, x, mirrored)
        copies.append(moved)
    return np.stack(copies)


def written_out(model, beta, domain, x, mass, functions, delta, share):
    """The integrands of W and the products by plain sums over all nodes, particles and masses."""
    d, functions = x.shape[1], fitted(functions, domain)
    grid = NodeGrid.of(domain, delta) if domain.bounded else NodeGrid.around(x, delta)
    if domain.bounded:
        nodes, weight, cut = grid.points(d), np.broadcast_to(grid.weight, math.prod(grid.nodes)), grid.share
        values = at_grid(functions, domain, grid)
    else:
        lines = [grid.low[c] + grid.edge[c] * (grid.kept[c] + 0.5) for c in range(d)]
        nodes = np.stack([axis.ravel() for axis in np.meshgrid(*lines, indexing="ij")], axis=1)
        weight, cut = np.full(len(nodes), grid.weight[0]), np.ones(1)
        values = np.stack([np.stack(evaluate(f, nodes)[::2], axis=1) for f in functions], axis=1)
    eta = np.zeros((len(nodes), len(x)))
    for copy in images(x, domain):
        distance = np.linalg.norm(nodes[:, None] - copy[None], axis=2) / delta
        eta += Bump(alpha=1.0).profile(distance, d) / delta**d
    eta /= np.broadcast_to(cut, len(nodes))[:, None]
    top = 2 * int(mass.max())
    f = share * np.stack([eta[:, mass == n].sum(axis=1) for n in range(top + 1)])
    square = share**2 * np.stack([(eta[:, mass == n] ** 2).sum(axis=1) for n in range(top + 1)])
    product = f[:, None] * f[None] - np.eye(top + 1)[:, :, None] * square[:, None]
    n = np.arange(1, top + 1)
    rate = np.zeros_like(product)
    rate[1:, 1:] = beta(n[:, None], n[None, :])[:, :, None] * product[1:, 1:]
    change = -rate.sum(axis=1)
    if model.reaction == "coagulation":
        for m, k in itertools.product(n, n):
            if m + k <= top:
                change[m + k] += rate[m, k] / 2
    found = np.zeros((3, len(functions)))
    diffusivity = np.append(0.0, model.d(n))
    for p, function in enumerate(functions):
        kept = slice(None) if function.n is None else slice(function.n, function.n + 1)
        g, laplacian = weight * values[:, p, 0], weight * values[:, p, 1]
        found[0, p] = (f[kept] @ g).sum()
        found[1, p] = (diffusivity[kept] @ (f[kept] @ laplacian)).sum()
        pairs = -rate.sum(axis=(0, 1)) if model.reaction == "annihilation" else -rate.sum(axis=(0, 1)) / 2
        found[2, p] = (change[kept] @ g).sum() if function.n is not None else pairs @ g
    return found, product[1:, 1:] @ weight


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("kind", DOMAINS)
@pytest.mark.parametrize("reaction", ["coagulation", "annihilation"])
def test_the_compiled_sums_are_those_of_the_definition(kind, dimension, reaction):
    rng = np.random.default_rng(5)
    domain = DOMAINS[kind](dimension)
    model = Model(dimension=dimension, diffusion=PowerLaw(power=-0.5), beta=ONE, n_max=6, reaction=reaction)
    x = domain.sample(40, rng) if domain.bounded else 0.2 * rng.standard_normal((40, dimension))
    mass = rng.integers(1, 4, 40)
    functions = functions_of(dimension, domain)
    delta = 0.3 if dimension == 3 else 0.21
    macro = MacroResidual(model, 40, 1.6, domain, functions, [delta], additive)
    sums, products = macro.integrands(x, mass)
    expected, pairs = written_out(model, additive, domain, x, mass, functions, delta, 1.6 / 40)
    scale = np.abs(expected).max()
    assert np.abs(sums[0, :, 0] - expected[0]).max() < 1e-6 * scale  # the table of eta is right to 1e-7
    assert np.abs(sums[1, :, 0] - expected[1]).max() < 1e-6 * scale
    assert np.abs(sums[3, :, 0] - expected[2]).max() < 1e-6 * scale
    assert np.abs(products[0] - pairs[:6, :6]).max() < 1e-6 * np.abs(pairs).max()


def test_a_mollifier_wider_than_the_torus_or_box_meets_itself_without_reacting():
    model = Model(dimension=2, diffusion=(1.0,), beta=ONE)
    for domain in (Domain.torus(np.ones(2)), Domain.box(np.ones(2))):
        macro = MacroResidual(model, 1, 1.0, domain, [Wave(k=(0.0, 0.0))], [0.8], constant(1.0))
        sums, products = macro.integrands(np.array([[0.1, 0.9]]), np.array([1]))
        assert sums[3, 0, 0] == 0.0
        assert not products.any()
        assert sums[0, 0, 0] == pytest.approx(1.0, abs=0.02)  # the mass of one mollifier on its grid


@pytest.mark.parametrize("kind", ["torus", "box", "ball"])
def test_a_constant_density_stays_constant_up_to_the_edge(kind):
    domain = DOMAINS[kind](3)
    model = Model(diffusion=(1.0,), beta=ONE)
    lines = [low + size * (np.arange(40) + 0.5) / 40 for low, size in zip(domain.low, domain.size, strict=True)]
    x = np.stack([axis.ravel() for axis in np.meshgrid(*lines, indexing="ij")], axis=1)
    x = x[domain.contains(x)]
    mass = np.append(np.ones(len(x), dtype=int), np.full(len(x), 2))
    number, even = 2 * len(x), Wave(k=(0.0,) * 3, n=1)
    macro = MacroResidual(model, number, 2 * domain.volume, domain, [even], [0.15], constant(1.0))
    sums, products = macro.integrands(np.concatenate([x, x]), mass)
    assert sums[0, 0, 0] == pytest.approx(domain.volume, rel=3e-3)
    assert products[0, 0, 1] == pytest.approx(domain.volume, rel=6e-3)  # int f_1 f_2: equal to 1 only if f_1 = f_2 = 1


@pytest.mark.parametrize("kind", ["box", "ball"])
def test_walls_close_the_balance_of_a_constant_density(kind):
    domain, functions = DOMAINS[kind](3), functions_of(3)
    worst = []
    for delta in (0.2, 0.1):
        grid = NodeGrid.of(domain, delta)
        values = at_grid(functions, domain, grid)
        weight = np.broadcast_to(grid.weight, len(values))
        assert weight.sum() == pytest.approx(domain.volume, rel=1e-12)
        worst.append(np.abs(weight @ values[:, :, 1]).max())  # int Lap g - int_wall dg/dn = 0
    assert worst[1] < 0.35 * worst[0] < 0.02


def eta_hat(k, d):
    """Fourier transform of eta at wave number k, by a line through it."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r = (nodes + 1) / 2
    eta = Bump(alpha=1.0).profile(r, d)
    kernel = 4 * math.pi * r**2 * np.sinc(k * r / math.pi)
    return float(weights / 2 @ (kernel * eta))


def draw(rng, count, t, scale=1.0):
    """Each of count particles alone: dead, or of mass n with the chance f_n(t), evenly or 1 + cos / 2 along x.

    f_n = M0^2 (1 - M0)^(n-1), M0 = 1 / (1 + b t / 2) solves the equation with beta = b = 2.
    """
    left = 1 / (1 + t)
    alive = rng.random(count) < left
    n = rng.geometric(left, count)[alive]
    x = rng.random((len(n), 3))
    if scale:
        keep = rng.random(len(n)) < (1 + 0.5 * np.cos(2 * np.pi * x[:, 0])) / 1.5
        while not keep.all():
            x[~keep] = rng.random((np.count_nonzero(~keep), 3))
            again = rng.random(np.count_nonzero(~keep)) < (1 + 0.5 * np.cos(2 * np.pi * x[~keep, 0])) / 1.5
            keep[~keep] = again
    return x, n


def test_products_of_independent_particles_have_the_mean_of_the_mollified_density_squared():
    """U-statistic: E int g f_n f_m is that of f^delta times 1 - 1/N, with no trace of the pairs i = i."""
    rng, count, delta = np.random.default_rng(11), 200, 0.15
    model = Model(diffusion=(1.0,), beta=ONE)
    functions = [Wave(k=(0.0,) * 3), Wave(k=(2 * np.pi, 0, 0), n=1)]
    macro = MacroResidual(model, count, 1.0, Domain.torus(np.ones(3)), functions, [delta, None], constant(1.0))
    found = [macro.integrands(*draw(rng, count, 0.0)) for _ in range(300)]
    rates, products = np.array([s[3] for s, _ in found]), np.array([p[:, 0, 0] for _, p in found])
    smear = eta_hat(2 * math.pi * delta, 3)
    square, mean = 1 + 0.125 * smear**2, 1 - 1 / count  # int (f^delta)^2, and f^2's component at the wave: smear / 2

    def off(values, expected):
        return abs(values.mean() - expected) / (values.std(ddof=1) / math.sqrt(len(values)))

    assert off(products[:, 0], mean * square) < SE
    assert off(rates[:, 0, 0], -0.5 * mean * square) < SE
    assert off(rates[:, 1, 0], -mean * 0.5 * smear) < SE
    assert np.allclose(products[:, 1], mean, rtol=1e-12)  # a constant mollifier counts pairs
    literal = count * (1 / count) ** 2 * 0.4939 / delta**3  # what pairs i = i would add: more than all the rest
    assert literal > 0.7 * mean


def test_w_of_particles_drawn_from_the_exact_solution_vanishes_and_a_wrong_beta_is_seen():
    rng, count = np.random.default_rng(12), 400
    functions = [Wave(k=(0.0,) * 3), Wave(k=(0.0,) * 3, n=1), Wave(k=(0.0,) * 3, n=3)]
    times = np.linspace(0, 1, 13)
    model = Model(diffusion=(1.0,), beta=ONE)
    args = (model, count, 1.0, Domain.torus(np.ones(3)), functions, [0.2, None])
    right, wrong = MacroResidual(*args, constant(2.0)), MacroResidual(*args, constant(2.4))
    values = []
    for _ in range(40):
        balances = right.start(), wrong.start()
        for t in times:
            state = draw(rng, count, t, scale=0.0)
            for balance in balances:
                balance.measure(float(t), *state)
        values.append([balance.values() for balance in balances])
    values = np.array(values)  # (R, 2, F, D)
    left = 1 / (1 + times)
    density = np.stack([left, left**2, left**2 * (1 - left) ** 2])
    rate = np.stack([-(left**2), -2 * left**3, 2 * left**4 * (1 - left) - 2 * left**3 * (1 - left) ** 2])
    pairs = (1 - 1 / count) * np.array([scipy.integrate.trapezoid(r, times) for r in rate])
    expected = density[:, -1] - density[:, 0] - pairs
    error = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    off = (values.mean(axis=0) - expected[None, :, None]) / error
    assert np.abs(off[0]).max() < SE
    assert np.abs(expected).max() < 4e-3  # 1/N and the trapezium rule, no more
    assert np.abs(off[1, :2]).min() > 8


def test_splitting_and_merging_keep_the_mass_and_splitting_adds_one_particle():
    rng = np.random.default_rng(3)
    model = Model(
        diffusion=(1.0,), beta=ONE, n_max=4, fragmentation=Fragmentation(rate=0.8, power=1.0),
    )  # fmt: skip
    domain, mass = Domain.torus(np.ones(3)), rng.integers(1, 7, 60)
    functions = [Wave(k=(0.0,) * 3, n=n) for n in range(1, 13)] + [Wave(k=(0.0,) * 3)]
    macro = MacroResidual(model, 60, 1.0, domain, functions, [0.2, None], additive)
    sums, _ = macro.integrands(rng.random((60, 3)), mass)
    n = np.arange(1, 13)
    for k in range(2):
        assert abs(n @ sums[3, :12, k]) < 1e-12 * np.abs(n * sums[3, :12, k]).sum()
        assert abs(n @ sums[2, :12, k]) < 1e-12 * np.abs(n * sums[2, :12, k]).sum()
        assert sums[3, :12, k].sum() == pytest.approx(sums[3, 12, k])
        assert sums[2, :12, k].sum() == pytest.approx(sums[2, 12, k])
    assert sums[2, 12, 1] == pytest.approx(0.8 * mass[mass >= 2].sum() / 60)  # rate k(n) = 0.8 n, no recapture


def test_parts_of_a_splitting_escape_as_seldom_as_beta_says():
    model = Model(diffusion=(1.0,), interaction=Bump(alpha=20.0), fragmentation=Fragmentation(rate=1.0), n_max=4)
    rates = MassRates(model, constant(5.0), np.array([0, 1]))
    assert rates.escape(np.array([1]), np.array([2])) == pytest.approx(5.0 / 20.0)
    found = rates.splittings(np.array([1, 2, 3]))
    assert np.allclose(found, [[0, 0], [0.25, 2 * 0.25], [0.25, 0.25]])


def test_heavy_masses_take_the_same_sums():
    rng = np.random.default_rng(8)
    model, domain = Model(diffusion=PowerLaw(power=-1.0), beta=ONE, n_max=4), Domain.torus(np.ones(3))
    x, mass = rng.random((50, 3)), rng.choice([1, 2, 1000, 70_000], 50)
    functions = [Wave(k=(0.0,) * 3), Wave(k=(2 * np.pi, 0, 0), n=71_000), Wave(k=(0.0,) * 3, n=1)]
    macro = MacroResidual(model, 50, 1.0, domain, functions, [0.25], constant(1.5))
    sums, products = macro.integrands(x, mass)
    light = np.select([mass == 1, mass == 2, mass == 1000], [1, 2, 3], 5)  # 3 + 5 = 8 stands for 71000
    renamed = [Wave(k=(0.0,) * 3), Wave(k=(2 * np.pi, 0, 0), n=8), Wave(k=(0.0,) * 3, n=1)]
    other = MacroResidual(Model(diffusion=(1.0,), beta=ONE, n_max=4), 50, 1.0, domain, renamed, [0.25], constant(1.5))
    expected, pairs = other.integrands(x, light)
    assert np.allclose(sums[3], expected[3], rtol=1e-12, atol=0)
    assert np.allclose(products[0, :2, :2], pairs[0, :2, :2], rtol=1e-12, atol=0)
    assert products[0, 2:].max() == 0.0


def test_masses_beyond_a_matrix_of_rates_do_not_react():
    model = Model(diffusion=(1.0,), beta=Rates(kernel="matrix", matrix=((1.0, 2.0), (2.0, 3.0))), n_max=2)

    def beta(n, m):
        assert max(np.max(n), np.max(m)) <= 2
        return np.array([[1.0, 2.0], [2.0, 3.0]])[n - 1, m - 1]

    macro = MacroResidual(model, 9, 1.0, Domain.torus(np.ones(3)), [Wave(k=(0.0,) * 3)], [None], beta)
    x = np.random.default_rng(0).random((9, 3))
    assert macro.integrands(x, np.full(9, 3))[0][3, 0, 0] == 0.0
    assert macro.integrands(x, np.full(9, 2))[0][3, 0, 0] == pytest.approx(-3.0 * 36 / 81)


def test_two_far_clouds_in_the_whole_space_cost_no_more_than_they_are():
    rng = np.random.default_rng(1)
    model, function = Model(diffusion=(1.0,), beta=ONE), GaussianBump(center=(0.0,) * 3, width=0.5)
    near = 0.1 * rng.standard_normal((30, 3))
    x = np.concatenate([near, near + np.array([1e4, -2e4, 0.0])])
    macro = MacroResidual(model, 60, 1.0, Domain.space(3), [function], [0.1], constant(1.0))
    both, products = macro.integrands(x, np.ones(60, dtype=int))
    one, pairs = macro.integrands(near, np.ones(30, dtype=int))
    assert both[:, 0, 0] == pytest.approx(one[:, 0, 0])
    assert products[0, 0, 0] == pytest.approx(2 * pairs[0, 0, 0], rel=0.02)  # the nodes lie otherwise around it
    with pytest.raises(InputError, match="apart"):
        macro.integrands(np.array([[0.0, 0, 0], [1e9, 0, 0]]), np.array([1, 1]))


def test_results_are_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(2)
    model = Model(diffusion=(1.0,), beta=ONE)
    x, mass = rng.random((500, 3)), rng.integers(1, 9, 500)
    macro = MacroResidual(model, 500, 1.0, DOMAINS["ball"](3), functions_of(3), [0.1], additive)
    before = numba.get_num_threads()
    try:
        found = []
        for threads in (1, before):
            numba.set_num_threads(threads)
            found.append(macro.integrands(x * 0.5, mass))
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


def test_no_particles_are_no_density():
    macro = MacroResidual(
        Model(diffusion=(1.0,), beta=ONE), 5, 1.0, TORUS, functions_of(3, TORUS), [0.1, None], additive
    )
    balance = macro.start()
    assert not balance.values().any()
    balance.measure(0.0, np.full((2, 3), 0.3), np.array([1, 1]))
    balance.measure(1.0, np.empty((0, 3)), np.empty(0, dtype=int))
    change = balance.change()
    assert change[2, 1] == pytest.approx(-2 / 5)
    assert np.isfinite(balance.values()).all()
    assert balance.products().shape == (2, 8, 8)


def test_what_does_not_fit_is_refused():
    model, torus, wave = Model(diffusion=(1.0,), beta=ONE), TORUS, Wave(k=(0.0,) * 3)
    for delta in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=r"compare.deltas\[1\]"):
            MacroResidual(model, 5, 1.0, torus, [wave], [0.1, delta], additive)
    with pytest.raises(InputError, match="too small"):
        MacroResidual(model, 5, 1.0, torus, [wave], [1e-3], additive)
    with pytest.raises(InputError, match="bounded"):
        MacroResidual(model, 5, 1.0, Domain.space(3), [wave], [None], additive)
    with pytest.raises(InputError, match="charge"):
        MacroResidual(model, 5, 1.0, torus, [Wave(k=(0.0,) * 3, charge=True)], [0.1], additive)
    with pytest.raises(InputError, match=r"test_functions\[1\]\.k: must be a multiple of 2 pi / size"):
        MacroResidual(model, 5, 1.0, torus, [wave, Wave(k=(1.0, 0.0, 0.0))], [0.1], additive)
    with pytest.raises(InputError, match="3 entries"):
        MacroResidual(model, 5, 1.0, torus, [Wave(k=(0.0,) * 2)], [0.1], additive)


def test_default_delta_is_a_fraction_of_the_smallest_feature():
    bump = Part(n=1, density=Gaussian(mass=1.0, center=(0.0,) * 3, width=0.3))
    disk = Part(n=2, density=UniformDisk(mass=1.0, center=(0.0,) * 3, radius=0.4))
    even = Part(n=2, density=Uniform(mass=1.0))
    assert Initial(masses=(bump, disk)).default_delta(Domain.space(3)) == pytest.approx(0.1)
    assert Initial(masses=(bump,)).default_delta(Domain.space(3)) == pytest.approx(0.15)
    assert Initial(masses=(even,)).default_delta(Domain.torus(np.full(3, 2.0))) == pytest.approx(0.2)


def test_means_over_a_domain_are_integrals():
    bump = GaussianBump(center=(0.5,) * 3, width=0.1)
    found = means([Wave(k=(2 * np.pi, 0, 0), phase=0.2), Wave(k=(0.0,) * 3), bump], Domain.torus(np.ones(3)))
    assert np.allclose(found, [0, 1, (2 * np.pi) ** 1.5 * 1e-3], atol=1e-6)
