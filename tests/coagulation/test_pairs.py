"""One pair of coagulating particles over one step: bisected bridges, closed forms, V for compiled code.

The load is carried by independent means: a finite-volume solution of the killed heat equation for a pair over a step of
any length, cut or not; many short steps along one bridge, for V that is not radial; exact hitting probabilities for the
closed forms. Means are allowed 4.5 standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from numba import njit
from pair_laws import bridges, disk_capture, fine_bridges, over_all_ends, reaction_chance, walks

from limitpde.coagulation.interaction import Bump, DoiBall, Ellipsoid, InteractionFromFile
from limitpde.coagulation.model import Model
from limitpde.coagulation.rates.scattering import scattering
from limitpde.coagulation.simulator.bridge import CANDIDATES, FIELDS, FIRST_MASS, bisect, stack_size
from limitpde.coagulation.simulator.capture import _scaled_k0, capture_time, disk_chance, sphere_chance
from limitpde.coagulation.simulator.physics import physics_of
from limitpde.coagulation.simulator.potential import CELLS, potential_of, value
from limitpde.coagulation.simulator.scan import scan
from limitpde.coagulation.simulator.steps import make_sorted
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.nbody.cells import corners, make_grid, sort_into_cells
from limitpde.nbody.random import pair_key

SE = 4.5

FUNCTIONS = """
import numpy as np
def shell(x):
    r = np.linalg.norm(x, axis=1)
    return np.where((r > 0.5) & (r < 1), 1.0, 0.1)
def lopsided(x):
    return np.exp(-((x - 0.2) ** 2).sum(axis=1)) * (1 - np.minimum((x**2).sum(axis=1) / 2.25, 1)) ** 2
def nothing(x):
    return np.zeros(len(x))
"""


@pytest.fixture
def functions(tmp_path):
    path = tmp_path / "v.py"
    path.write_text(FUNCTIONS)
    return lambda name, **keys: InteractionFromFile(python=f"{path}:{name}", alpha=20.0, **keys)


@njit
def _values(V, points):
    return np.array([value(V, p[0], p[1], p[2]) for p in points])


def padded(x):
    return np.pad(x, ((0, 0), (0, 3 - x.shape[1])))


# V


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("make", [DoiBall, Bump])
def test_named_shapes_are_evaluated_as_they_are_written(make, dimension):
    V = make(alpha=1.0, radius=1.7)
    x = np.random.default_rng(0).uniform(-1.8, 1.8, (4000, dimension))
    compiled = potential_of(V, dimension)
    np.testing.assert_allclose(_values(compiled, padded(x)), V.values(x), rtol=1e-10, atol=1e-200)
    assert compiled.highest == pytest.approx(V.profile(np.zeros(1), dimension)[0], rel=1e-14)


@pytest.mark.parametrize("dimension", [2, 3])
def test_ellipsoid_is_evaluated_as_it_is_written(dimension):
    V = Ellipsoid(alpha=1.0, axes=(0.5, 1.5, 0.9)[:dimension])
    x = np.random.default_rng(0).uniform(-1.6, 1.6, (4000, dimension))
    np.testing.assert_allclose(_values(potential_of(V, dimension), padded(x)), V.values(x), rtol=1e-10, atol=1e-200)


@pytest.mark.parametrize("dimension", [2, 3])
def test_functions_from_a_file_are_tabulated(functions, dimension):
    x = np.random.default_rng(0).uniform(-1.6, 1.6, (4000, dimension))
    V = functions("lopsided", radius=1.5)
    even = (V.values(x) + V.values(-x)) / 2
    error = abs(_values(potential_of(V, dimension), padded(x)) - even).max()
    assert error < 2 * dimension * (1.5 / CELLS[dimension]) ** 2 / 8 * 4  # second derivatives of V are below 4
    shell = functions("shell", radius=1.0, radial=True)
    r = np.linalg.norm(x, axis=1)
    away = (abs(r - 0.5) > 1e-4) & (abs(r - 1) > 1e-4)
    np.testing.assert_allclose(
        _values(potential_of(shell, dimension), padded(x))[away], shell.values(x)[away], rtol=1e-12
    )
    with pytest.raises(InputError, match="zero everywhere"):
        potential_of(functions("nothing", radius=1.0), dimension)


# Bridges


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("make", [DoiBall, Bump])
@pytest.mark.parametrize(("start", "time"), [(0.5, 0.3), (3.0, 10.0), (12.0, 100.0)])
def test_pair_over_a_step_of_any_length(make, dimension, start, time):
    """P(reaction before t) solves the killed heat equation, whether the time is one step or cut into five."""
    V, pairs = make(alpha=20.0), 40_000
    exact = reaction_chance(lambda r: V.profile(r, dimension), 1.0, dimension, 20.0, start, time)
    for cuts in (1, 5):
        share, error = walks(potential_of(V, dimension), dimension, 20.0, start, time, cuts, pairs)
        assert abs(share - exact) < SE * error + 2e-4


@pytest.mark.parametrize("dimension", [2, 3])
def test_jumps_of_a_tabulated_profile(functions, dimension):
    V = functions("shell", radius=1.0, radial=True)
    exact = reaction_chance(lambda r: V.profile(r, dimension), 1.0, dimension, 20.0, 0.2, 0.2)
    share, error = walks(potential_of(V, dimension), dimension, 20.0, 0.2, 0.2, 1, 40_000)
    assert abs(share - exact) < SE * error + 5e-4


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("shape", ["ellipsoid", "lopsided"])
def test_bridges_through_any_potential(functions, shape, dimension):
    axes = (0.7, 0.9, 1.4)[:dimension]
    V = Ellipsoid(alpha=20.0, axes=axes) if shape == "ellipsoid" else functions("lopsided", radius=1.5)
    compiled = potential_of(V, dimension)
    a, b = (0.9, 0.2, 0.1)[:dimension], (-0.4, 0.8, 1.0)[:dimension]
    hits, error, chance, square = bridges(compiled, dimension, 20.0, 0.7, a, b, 60_000)
    fine = fine_bridges(compiled, dimension, 20.0, 0.7, a, b, 300, 8000)
    assert abs(hits - fine) < SE * math.hypot(error, 0.45 / math.sqrt(8000)) + 1e-3
    # accepted - p are the increments of a martingale
    assert abs(hits - chance) < SE * math.sqrt(square / 60_000)
    assert square == pytest.approx(hits, rel=0.2)


def test_range_far_below_any_number():
    """d = 2, |log eps| = 300: far pairs are killed as by a disk of radius a, and those that start within the range too.

    These count as if they began where the solution log(r / a) has the value that it has at their start.
    """
    L, alpha, y = 300.0, 20.0, (0.3, 0.1)
    V, s = DoiBall(alpha=alpha), np.array([alpha / L])
    log_a = -L + float(scattering(V, 2).log_length(s)[0])
    kappa = math.sqrt(alpha / L)
    within = (-L - log_a) * scipy.special.i0(0.5 * kappa) / scipy.special.i0(kappa)  # at half the radius
    for x, close, distance, pairs in (
        ((0.05, 0.0), False, 0.05, 1000),
        ((0.5, 0.0), True, math.exp(log_a + within), 200),
    ):
        dot = x[0] * y[0] if not close else 0.0
        exact = disk_chance(distance, math.hypot(*y), dot, 1.0, log_a)
        share = _deep(potential_of(V, 2), -L, alpha / L, x, y, pairs, close) / pairs
        assert abs(share - exact) < SE * math.sqrt(exact * (1 - exact) / pairs)
        assert 0.01 < exact < 0.99


@njit
def _deep(V, log_eps, alpha, a, b, pairs, close=False):
    log_rate = math.log(CANDIDATES * alpha * V.highest) - 2 * log_eps
    stack, records, hits = np.empty((stack_size(log_rate), 8)), np.empty((1000, FIELDS)), 0
    for k in range(pairs):
        pair = (pair_key(np.uint64(7), 0), k, k + 1, 0)
        count = bisect(
            V, True, log_eps, log_rate, (a[0], a[1], 0.0), (b[0], b[1], 0.0), close, pair, 0, stack, records, 0, 0, 0
        )
        hits += 1 if count > 0 and records[count - 1, 2] > 0 else 0
    return hits


# Closed forms


def test_scaled_bessel_function():
    rng = np.random.default_rng(0)
    z = rng.uniform(1e-3, 12, 2000) * np.exp(1j * rng.uniform(-1.56, 1.56, 2000))
    found = np.array([_scaled_k0(w) for w in z])
    np.testing.assert_allclose(found, scipy.special.kve(0, z), rtol=3e-8)


@pytest.mark.parametrize(("x", "time"), [(1.0, 0.3), (0.3, 1.0), (1.0, 0.05)])
def test_closed_forms_add_up_to_the_chance_of_being_hit(x, time):
    """Over all ends, only angular momentum zero is left, so the mean is the exact hitting probability."""
    sphere = over_all_ends(lambda rx, ry, dot: sphere_chance(rx, ry, dot, time, 0.01), x, time, 3)
    assert sphere == pytest.approx(0.01 / x * math.erfc((x - 0.01) / math.sqrt(4 * time)), rel=1e-5)
    disk = over_all_ends(lambda rx, ry, dot: disk_chance(rx, ry, dot, time, -30.0), x, time, 2)
    assert disk == pytest.approx(disk_capture(x, -30.0, time), rel=1e-5)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("make", [DoiBall, Bump])
def test_closed_forms_are_what_bridges_do(make, dimension):
    """Far pairs, given both ends: the closed form with the scattering length against the bisected bridge."""
    V, D, time, pairs = make(alpha=20.0), 2.0, 2500.0, 60_000
    compiled, s = potential_of(V, dimension), np.array([10.0])
    if dimension == 3:
        a = float(scattering(V, 3).conductance(s)[0]) / (4 * math.pi)
    else:
        a = float(scattering(V, 2).log_length(s)[0])
    chance = sphere_chance if dimension == 3 else disk_chance
    for x, y in (((30.0, 0.0), (10.0, 25.0)), ((60.0, 0.0), (-5.0, 30.0))):
        exact = chance(math.hypot(*x), math.hypot(*y), float(np.dot(x, y)), D * time / D, a)
        hits, error, _, _ = bridges(compiled, dimension, 20.0 / D, time, x, y, pairs)
        assert abs(hits - exact) < SE * error + 0.003 * exact


@njit
def _times(flat, rx, ry, tau, n):
    return np.array([capture_time(flat, rx, ry, tau, (pair_key(np.uint64(1), 0), k, k + 1, 0), 1) for k in range(n)])


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(("rx", "ry"), [(1.0, 1.0), (0.1, 0.5), (3.0, 0.02)])
def test_capture_times(flat, rx, ry):
    tau, power = 0.4, 1.0 if flat else 1.5
    density = lambda s: (s * (1 - s)) ** -power * np.exp(-(rx**2) / (4 * tau * s) - ry**2 / (4 * tau * (1 - s)))  # noqa: E731
    v = np.linspace(-25, 25, 200_001)  # s = 1 / (1 + exp(-v))
    s = scipy.special.expit(v)
    weight = density(np.clip(s, 1e-12, 1 - 1e-12)) * s * scipy.special.expit(-v)
    law = scipy.integrate.cumulative_trapezoid(weight, v, initial=0)
    sample = scipy.special.logit(_times(flat, rx, ry, tau, 4000))
    assert scipy.stats.kstest(sample, lambda u: np.interp(u, v, law / law[-1])).pvalue > 1e-3


def test_the_early_draw_spares_work_and_nothing_else():
    """The same candidates in a grid of few cells and with a bound above one, so that all pairs are asked in full."""
    n, dt, key, step = 1200, 1e-3, np.uint64(5), 7
    model = Model(diffusion=(1.0,), interaction=DoiBall(alpha=20.0), n_max=1, reaction="annihilation")
    physics = physics_of(model, n, 1.0, Domain.torus(np.ones(3)), method="closed", heaviest=1)
    unbounded = physics._replace(lengths=np.append(physics.lengths[:-1], 20.0))  # the last one is for larger alpha
    reach, rng = 4 * math.sqrt(4 * dt) + 1 / n, np.random.default_rng(3)
    x, by, ident = rng.random((n, 3)), math.sqrt(2 * dt) * rng.standard_normal((3, n)), rng.permutation(n)
    x[1] = x[0] + 1e-3  # just split
    stack, results = np.empty((64, 8)), []
    for asked, least in ((physics, reach), (unbounded, 0.3)):
        grid = make_grid(corners(x, n, False), n, np.zeros(3), np.ones(3), True, False, least)
        slot, start = np.empty(n, dtype=np.int64), np.empty(np.prod(grid.cells) + 1, dtype=np.int64)
        sort_into_cells(x, n, grid, slot, start)
        S = make_sorted(n)
        S.at[:, slot], S.by[:, slot], S.ident[slot], S.place[slot] = x.T, by, ident, np.arange(n)
        S.diffusion[:], S.ranges[:], S.strength[:], S.kind[:], S.mate[:], S.offset[:] = 1.0, 0.5, 1.0, 0, -1, 0.3
        young, old = (0, 1) if ident[0] > ident[1] else (1, 0)
        S.mate[slot[young]] = ident[old]
        records = np.empty((10_000, FIELDS))
        count = scan(asked, S, grid, start, 0, len(start) - 1, key, step, dt, reach, stack, records)
        found = records[:count, :FIRST_MASS]  # what is noted later is not there yet
        results.append(found[np.lexsort(found.T)])
    assert len(results[0]) > 50
    np.testing.assert_allclose(*results, rtol=1e-9)  # images are reached by shifts of other roundings
