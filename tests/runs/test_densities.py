"""Initial densities and points: where particles start.

The load is carried by `test_densities_are_normalised_and_sampled_from` (each shape against the quadrature of its own
density, Kolmogorov-Smirnov, level 1e-3) and `test_density_from_a_python_file` (against a law in closed form).
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from ensembles import POINTS, SE, UNEQUAL, path_of, points_file

from limitpde import case as cases
from limitpde import densities
from limitpde.compare.statistics import mean_and_stderr
from limitpde.densities import DensityFromFile, Gaussian, Ring, UniformDisk
from limitpde.errors import InputError
from limitpde.experiment import run
from limitpde.files import evaluate
from limitpde.parallel import on_root
from limitpde.potentials.user import torus_mean
from limitpde.signed.model import Initial, Model
from limitpde.signed.particles import simulate


def radial_law(density, center, outer):
    """Distribution function of |x - center| under a radial density, by quadrature of its own `density`."""
    r = np.linspace(0.0, outer, 20001)
    x = np.column_stack([center[0] + r, np.full(len(r), center[1])])
    mass = scipy.integrate.cumulative_trapezoid(2 * np.pi * r * density.density(x), r, initial=0.0)
    return lambda s: np.interp(s, r, mass / mass[-1]), mass[-1]


SHAPES = [
    (Gaussian(mass=0.7, center=(1.0, -2.0), width=0.4), 4.0),
    (UniformDisk(mass=1.3, center=(1.0, -2.0), radius=0.8), 0.81),
    (Ring(mass=0.4, center=(1.0, -2.0), radius=1.0, width=0.2), 3.5),
    (Ring(mass=0.4, center=(1.0, -2.0), radius=0.3, width=0.5), 6.0),  # much of the normal law lies below r = 0
]


@pytest.mark.parametrize(("density", "outer"), SHAPES)
def test_densities_are_normalised_and_sampled_from(density, outer):
    cdf, mass = radial_law(density, density.center, outer)
    assert mass == pytest.approx(density.mass, rel=2e-4)
    n = 20000
    x = density.sample(n, np.random.default_rng(1)) - np.array(density.center)
    assert x.shape == (n, 2)
    assert scipy.stats.kstest(np.hypot(*x.T), cdf).pvalue > 1e-3
    angle = np.arctan2(x[:, 1], x[:, 0])
    assert scipy.stats.kstest(angle, scipy.stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    r = np.linspace(0, outer, 20001)
    variance = np.trapezoid(r**2 * np.gradient(cdf(r), r), r) / 2
    assert np.abs(x.mean(axis=0)).max() < SE * math.sqrt(variance / n)
    assert x.var(axis=0) == pytest.approx(variance, rel=SE * 2 / math.sqrt(n))


@pytest.mark.ranks
def test_density_from_a_python_file(comm, shared_folder):
    """f = |x|^2 e^(-|x|^2) about the origin; the ball is elsewhere and cuts part of it off."""
    if comm.rank == 0:
        (shared_folder / "mine.py").write_text(
            "import numpy as np\n\ndef ring(x):\n    r2 = (x**2).sum(axis=1)\n    return 7.0 * r2 * np.exp(-r2)\n\n"
            "def negative(x):\n    return x[:, 0] - 10.0\n\ndef nan(x):\n    return x[:, 0] * np.nan\n"
        )
    comm.barrier()
    source = f"{shared_folder / 'mine.py'}:"
    density = DensityFromFile(python=source + "ring", mass=1.0, center=(0.0, 0.0), radius=4.0)
    cdf, mass = radial_law(density, (0.0, 0.0), 4.0)
    assert mass == pytest.approx(1.0, rel=1e-4)
    x = density.sample(10000, np.random.default_rng(2))
    assert scipy.stats.kstest(np.hypot(*x.T), cdf).pvalue > 1e-3
    assert scipy.stats.kstest(np.hypot(*x.T), lambda r: 1 - (1 + r**2) * np.exp(-(r**2))).pvalue > 1e-3
    cut = DensityFromFile(python=source + "ring", mass=1.0, center=(1.0, 0.0), radius=0.5)
    y = cut.sample(1000, np.random.default_rng(3))
    assert np.hypot(y[:, 0] - 1.0, y[:, 1]).max() <= 0.5
    assert cut.density(np.array([[2.0, 0.0]]))[0] == 0.0
    for name in ("negative", "nan", "absent"):
        with pytest.raises(InputError, match="absent" if name == "absent" else "must return"):
            DensityFromFile(python=source + name, mass=1.0, radius=1.0)
    e = simulate(
        Model(sigma=1.0, gamma_bar=0.1), Initial(positive=(density,)), count=50, replicas=200, step=0.1, end=0.1,

    )  # fmt: skip
    mean, error = mean_and_stderr(e.second_moment[:, 0])
    assert abs(mean - 2.0) < SE * error  # int r^4 e^(-r^2) r / int r^2 e^(-r^2) r
    densities._kept_grid.cache_clear()


@pytest.mark.ranks
def test_numbers_of_both_signs(comm):
    for count, positive in ((10, 6), (7, 4), (1, 1), (64, 38)):
        _, x, signs = path_of(comm, Model(sigma=1.0, gamma_bar=0.1), UNEQUAL, count, [], 0.1, step=0.1)
        assert x.shape == (2, count, 2)
        assert signs.tolist() == [1.0] * positive + [-1.0] * (count - positive)
    partial = Initial(negative=(Gaussian(mass=0.3, center=(0, 0), width=1.0),))
    with pytest.raises(InputError, match=r"masses add to 0\.3"):
        path_of(comm, Model(sigma=1.0, gamma_bar=0.1), partial, 5, [], 0.1, step=0.1)
    alone = Initial(negative=(Gaussian(mass=1.0, center=(0, 0), width=1.0),))
    signs = path_of(comm, Model(sigma=1.0, gamma_bar=0.1), alone, 5, [], 0.1, step=0.1)[2]
    assert signs.tolist() == [-1.0] * 5


@pytest.mark.ranks
def test_points_file_is_where_they_start(comm, shared_folder):
    signs = [1, -1, -1]
    initial = points_file(comm, shared_folder, POINTS[:3], signs)
    _, x, b = path_of(comm, Model(sigma=1.0, gamma=0.1), initial, 3, [], 0.1, step=0.1)
    np.testing.assert_array_equal(x[0], POINTS[:3])
    assert b.tolist() == signs
    run = {"replicas": 1, "step": 0.1, "end": 0.1}
    with pytest.raises(InputError, match="holds 3 particles, not 4"):
        simulate(Model(sigma=1.0, gamma=0.1), initial, count=4, **run)
    for positions, charges in (
        (np.zeros((2, 3)), [1, 1]),
        (np.zeros((2, 2)), [1, 2]),
        (np.full((2, 2), np.nan), [1, 1]),
        (np.zeros((3, 2)), [1, 1]),
    ):
        with pytest.raises(InputError, match=r"initial\.points"):
            simulate(Model(sigma=1.0, gamma=0.1), points_file(comm, shared_folder, positions, charges), count=2, **run)
    with pytest.raises(InputError, match="needs the arrays"):
        simulate(Model(sigma=1.0, gamma=0.1), Initial(points=str(shared_folder / "no.npz")), count=2, **run)


FUNCTIONS = """
import numpy as np
from mpi4py import MPI

CALLS = []


def real(x):
    return np.exp(-(x**2).sum(axis=1)) + 0j


def complex_(x):
    return np.exp(-(x**2).sum(axis=1)) * (1 + 1e-3j)


def random(x):
    return np.exp(-(x**2).sum(axis=1)) * (1 + 1e-3 * np.random.default_rng().random(len(x)))


def counts(x):
    CALLS.append(1)
    return np.full(len(x), float(len(CALLS)))


def by_rank(x):
    return np.full(len(x), 1.0 + MPI.COMM_WORLD.rank)


def spoils(x):
    x *= 0
    return 1.0 + x[:, 0]
"""


@pytest.fixture
def functions(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return f"{tmp_path / 'functions.py'}:"


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("complex_", "must return finite real values >= 0"),
        ("random", "the same values whenever"),
        ("counts", "the same values whenever"),
    ],
)
def test_a_function_that_is_none_is_noticed(functions, name, fragment):
    with pytest.raises(InputError, match=fragment):
        DensityFromFile(python=functions + name, mass=1.0, radius=1.0)


def test_a_function_has_points_of_its_own(functions):
    """Complex numbers that are real are values; points that the function spoils are not those of the caller."""
    x = np.random.default_rng(0).random((100, 2))
    given = x.copy()
    evaluate(functions + "spoils", x, shapes=[(100,)])
    assert np.array_equal(x, given)
    (values,) = evaluate(functions + "real", x, shapes=[(100,)])
    assert values.dtype == float
    assert np.array_equal(values, np.exp(-(x**2).sum(axis=1)))


@pytest.mark.ranks
def test_a_function_that_differs_between_ranks_is_noticed(comm, shared_folder):
    """On every rank, before anything has been run; on one rank there is nothing to differ from."""
    on_root(comm, lambda: (shared_folder / "functions.py").write_text(FUNCTIONS))
    mine = f"{shared_folder / 'functions.py'}:"
    case = on_root(
        comm,
        lambda: cases.check(
            {
                "system": "signed",
                "model": {"sigma": 1.0, "gamma_bar": 0.1},
                "initial": {"positive": [{"python": mine + "by_rank", "mass": 1.0, "radius": 1.0}]},
                "time": {"end": 0.01},
                "pde": {"mesh": {"shape": "disk", "radius": 2.0, "cell_size": 0.1}, "step": 0.01},
            }
        ),
    )
    if comm.size == 1:
        assert run(case, out=shared_folder / "out", comm=comm)["status"] == "done"
        return
    with pytest.raises(InputError, match="returns other values on rank 1 than on rank 0"):
        run(case, out=shared_folder / "out", comm=comm)
    comm.barrier()  # rank 0 gives the folder back
    assert not (shared_folder / "out").exists()


def test_what_is_kept_of_a_function_is_forgotten_when_its_file_changes(tmp_path):
    """Its integral and the cells that points are drawn from; and the mean of a potential."""
    (tmp_path / "f.py").write_text("import numpy as np\n\n\ndef f(x):\n    return np.exp(-(x**2).sum(axis=1))\n")
    source = DensityFromFile(python=f"{tmp_path / 'f.py'}:f", mass=1.0, radius=3.0)
    before = source.density(np.zeros((1, 2)))[0], np.mean(source.sample(2000, np.random.default_rng(0)) ** 2)
    (tmp_path / "f.py").write_text("import numpy as np\n\n\ndef f(x):\n    return np.exp(-9 * (x**2).sum(axis=1))\n")
    after = source.density(np.zeros((1, 2)))[0], np.mean(source.sample(2000, np.random.default_rng(0)) ** 2)
    assert after[0] == pytest.approx(9 * before[0], rel=1e-3)
    assert after[1] == pytest.approx(before[1] / 9, rel=0.1)

    (tmp_path / "g.py").write_text("def g(x):\n    return 1 + 0 * x[:, 0], 0 * x\n")
    assert torus_mean(f"{tmp_path / 'g.py'}:g", (1.0,)) == pytest.approx(1.0)
    (tmp_path / "g.py").write_text("def g(x):\n    return 2 + 0 * x[:, 0], 0 * x\n")
    assert torus_mean(f"{tmp_path / 'g.py'}:g", (1.0,)) == pytest.approx(2.0)
