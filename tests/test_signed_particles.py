"""The signed particle system: trajectories, exact laws, initial densities, and the weak-form residual that compares.

The load is carried by the redo of a tiny run in numpy (trajectory, W and its quadratic variation to rounding), equality
bit by bit over ranks, threads and batches, the squared Bessel law of the whole configuration (Kolmogorov-Smirnov, level
1e-3), Ito's isometry for the variance of W, the bias of W with the paper's diffusivity, and the order with which W of
the PDE's solution vanishes. Seeds are fixed; means are allowed 4.5 standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dataclasses
import functools
import math

import numba
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from mpi4py import MPI

from limitpde import densities
from limitpde.compare.rates import fit_rate, mean_abs, rms
from limitpde.compare.statistics import ResidualStatistics, mean_and_stderr
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import FromFile, Gaussian, Ring, UniformDisk
from limitpde.errors import InputError, Interrupted, RunError
from limitpde.fem.mesh import Disk
from limitpde.nbody.random import two_normals
from limitpde.signed import particles
from limitpde.signed.exact import particle_second_moment_rate, squared_bessel_law
from limitpde.signed.model import Initial, Model
from limitpde.signed.particles import Ensemble, simulate
from limitpde.signed.pde import Solver
from limitpde.signed.residual import PDEResidual

SE = 4.5  # standard errors
DIPOLE = Initial(
    positive=(Gaussian(mass=0.5, center=(-1.0, 0.0), width=0.55),),
    negative=(Gaussian(mass=0.5, center=(1.0, 0.0), width=0.55),),
)
UNEQUAL = Initial(
    positive=(Gaussian(mass=0.4, center=(0.0, 0.5), width=0.7), Ring(mass=0.2, center=(0, 0), radius=1.0, width=0.1)),
    negative=(UniformDisk(mass=0.4, center=(0.5, 0.0), radius=1.0),),
)
FUNCTIONS = (
    GaussianBump(center=(0.5, 0.3), width=0.9),
    GaussianBump(center=(-0.5, 0.2), width=0.8, charge=True),
    Wave(k=(0.7, -0.4), phase=0.3),
    Wave(k=(0.5, 0.9), charge=True),
)
ARRAYS = ("times", "replicas", "second_moment", "centre", "observables", "residual", "quadratic_variation", "laplacian")


def assert_same(a: Ensemble, b: Ensemble) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def points_file(comm, folder, positions, signs) -> Initial:
    path = folder / f"points{len(signs)}.npz"
    comm.barrier()
    if comm.rank == 0:
        np.savez(path, positions=np.array(positions, dtype=float), signs=np.array(signs, dtype=float))
    comm.barrier()
    return Initial(points=str(path))


def path_of(comm, model, initial, count, stops, end, **options):
    """Ensemble of one replica, and its positions (T, N, 2) and signs, on every rank."""
    seen = []
    snapshot = lambda t, x, b: seen.append((t, x, b))  # noqa: E731
    ensemble = simulate(
        model, initial, count=count, replicas=1, end=end, stops=stops, snapshot=snapshot, comm=comm, **options
    )
    seen = comm.bcast(seen, root=0)
    np.testing.assert_allclose([t for t, _, _ in seen], ensemble.times, rtol=1e-12)
    return ensemble, np.array([x for _, x, _ in seen]), seen[0][2]


# Reproducible


SMALL = {"count": 37, "replicas": 7, "step": 0.02, "end": 0.1, "seed": 5, "stops": [0.05], "test_functions": FUNCTIONS}


def test_trajectories_do_not_depend_on_ranks_threads_or_batches(comm, monkeypatch):
    model = Model(sigma=1.0, gamma_bar=0.8)
    plain = simulate(model, UNEQUAL, comm=comm, **SMALL)
    assert plain.complete
    assert plain.replicas.tolist() == list(range(7))
    assert plain.second_moment.shape == (7, 3)
    assert (plain.steps, plain.times.tolist()) == (6, [0.0, 0.05, 0.1])
    assert_same(simulate(model, UNEQUAL, comm=MPI.COMM_SELF, **SMALL), plain)
    for name in ARRAYS:  # and every rank has it
        assert all(np.array_equal(other, getattr(plain, name)) for other in comm.allgather(getattr(plain, name)))
    threads = numba.get_num_threads()
    for wanted in range(1, int(numba.config.NUMBA_NUM_THREADS) + 1):
        monkeypatch.setattr(particles, "use_threads", lambda comm, wanted=wanted: numba.set_num_threads(wanted))
        assert_same(simulate(model, UNEQUAL, comm=comm, **SMALL), plain)
    monkeypatch.setattr(particles, "BATCH_PARTICLES", 40)
    assert_same(simulate(model, UNEQUAL, comm=comm, **SMALL), plain)
    numba.set_num_threads(threads)


def test_seed_count_and_replica_have_noise_of_their_own(comm):
    model = Model(sigma=1.0, gamma_bar=0.8)
    plain = simulate(model, UNEQUAL, comm=comm, **SMALL)
    assert len(np.unique(plain.centre[:, -1, 0])) == 7
    more = simulate(model, UNEQUAL, comm=comm, **(SMALL | {"replicas": 9}))
    np.testing.assert_array_equal(more.residual[:7], plain.residual)
    other = simulate(model, UNEQUAL, comm=comm, **(SMALL | {"seed": 6}))
    assert not np.isclose(other.centre, plain.centre, rtol=1e-6).any()


# By hand


@numba.njit
def normals(seed, replica, count, number):
    out = np.empty((count, 2))
    for i in range(count):
        out[i] = two_normals(seed, 0, replica, i, number)
    return out


def forces(x: np.ndarray, b: np.ndarray, eps: float, kernel: str) -> np.ndarray:
    shift = x[:, None] - x[None]
    square = (shift**2).sum(axis=-1)
    scale = np.maximum(square, eps**2) if kernel == "capped" else square + eps**2
    np.fill_diagonal(scale, 1.0)
    return b[:, None] * (b[None, :, None] * shift / scale[..., None]).sum(axis=1)


def by_hand(function, x, signs):
    """phi, grad phi, Lap phi at (x_i, b_i)."""
    b = signs if function.charge else np.ones(len(signs))
    if isinstance(function, Wave):
        k = np.array(function.k)
        phase = x @ k + function.phase
        return b * np.cos(phase), -(b * np.sin(phase))[:, None] * k, -b * (k @ k) * np.cos(phase)
    y, w2 = x - np.array(function.center), function.width**2
    value = b * np.exp(-(y**2).sum(axis=1) / (2 * w2))
    return value, -value[:, None] * y / w2, value * ((y**2).sum(axis=1) / w2 - 2) / w2


@pytest.mark.parametrize("interaction", ["signed", "repulsive"])
@pytest.mark.parametrize("kernel", ["capped", "regularised"])
def test_a_tiny_run_redone_in_numpy(comm, kernel, interaction):
    model = Model(sigma=0.9, gamma_bar=1.3, interaction=interaction)
    dt, steps, n = 0.05, 6, 5
    ensemble, x, signs = path_of(
        comm, model, UNEQUAL, n, [dt * k for k in range(1, steps)], dt * steps,
        step=dt, seed=3, test_functions=FUNCTIONS, kernel=kernel, eps=0.4,
    )  # fmt: skip
    assert signs.tolist() == [1, 1, 1, -1, -1]
    charges = signs if interaction == "signed" else np.ones(n)
    drift = [forces(p, charges, 0.4, kernel) * 1.3 / n for p in x]
    seed = np.uint64(particles._ensemble_seed(3, n))
    for k in range(steps):
        noise = 0.9 * math.sqrt(dt) * normals(seed, 0, n, k)
        np.testing.assert_allclose(x[k + 1], x[k] + dt * drift[k] + noise, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ensemble.second_moment[0], (x**2).sum(axis=2).mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(ensemble.centre[0], x.mean(axis=1), atol=1e-14)

    weights = np.full(steps + 1, dt)
    weights[[0, -1]] = dt / 2
    for p, function in enumerate(FUNCTIONS):
        value, gradient, laplacian = (np.array(v) for v in zip(*(by_hand(function, q, signs) for q in x), strict=True))
        observable = value.mean(axis=1)
        np.testing.assert_allclose(ensemble.observables[0, p], observable, rtol=0, atol=1e-14)
        interaction_rate = np.einsum("tnd,tnd->t", np.array(drift), gradient) / n
        rate = interaction_rate + model.D * laplacian.mean(axis=1)
        for k in range(steps + 1):
            trapezoid = dt * (rate[: k + 1].sum() - (rate[0] + rate[k]) / 2)
            w = observable[k] - observable[0] - trapezoid
            assert ensemble.residual[0, p, k] == pytest.approx(w, rel=0, abs=1e-12)
        square = (gradient**2).sum(axis=2).mean(axis=1)
        assert ensemble.quadratic_variation[0, p] == pytest.approx(0.81 / n * weights @ square, abs=1e-13)
        assert ensemble.laplacian[0, p] == pytest.approx(weights @ laplacian.mean(axis=1), abs=1e-13)


def one_step(comm, initial, **options):
    """Displacements (2, 2) of two particles in one step of 0.01 with gamma = 0.2, less their noise."""
    both = [
        path_of(comm, Model(sigma=0.5, gamma=gamma), initial, 2, [], 0.01, step=0.01, **options)[1][-1]
        for gamma in (0.2, 0.0)
    ]
    return both[0] - both[1]


def test_kernels_near_and_far(comm, shared_folder):
    for d in (0.02, 0.3):
        initial = points_file(comm, shared_folder, [(0.0, 0.0), (d, 0.0)], [1, -1])
        for kernel, k in (("capped", d / max(d, 0.1) ** 2), ("regularised", d / (d**2 + 0.01))):
            moved = one_step(comm, initial, eps=0.1, kernel=kernel)
            # opposite signs attract: the left one moves right
            np.testing.assert_allclose(moved, [[0.002 * k, 0.0], [-0.002 * k, 0.0]], rtol=0, atol=1e-15)
    moved = one_step(comm, points_file(comm, shared_folder, [(0.0, 0.0), (0.02, 0.0)], [1, -1]))
    cap = 2 * 0.2 * 0.01  # eps^2 = 2 gamma dt by default ...
    eps = math.sqrt(cap)
    assert eps > 0.02
    np.testing.assert_allclose(moved[0, 0] - moved[1, 0], 0.02, rtol=1e-12)  # ... so a close pair just meets


def test_cutoff_switches_the_drift_off_where_equal_signs_are_close(comm, shared_folder):
    for d, factor in ((0.04, 0.0), (0.05, 0.0), (0.075, 0.5), (0.1, 1.0), (0.3, 1.0)):  # l = 10
        initial = points_file(comm, shared_folder, [(0.0, 0.0), (0.0, d)], [1, 1])
        moved = one_step(comm, initial, cutoff=10, eps=1e-3)
        np.testing.assert_allclose(moved[1], [0.0, 0.002 * factor / d], rtol=1e-9, atol=1e-15)
    initial = points_file(comm, shared_folder, [(0.0, 0.0), (0.0, 0.04)], [1, -1])
    assert one_step(comm, initial, cutoff=10, eps=1e-3)[1, 1] == pytest.approx(-0.05, rel=1e-9)  # opposite signs


# Exact laws


def test_brownian_motion_alone(comm):
    """gamma_bar = 0: the centre is normal with variance sigma^2 t / N, its increments and the replicas independent."""
    n, replicas, sigma = 3, 2000, 0.8
    e = simulate(
        Model(sigma=sigma, gamma_bar=0.0), UNEQUAL, count=n, replicas=replicas, step=0.125, end=1.0, stops=[0.5],
        seed=1, comm=comm,
    )  # fmt: skip
    increments = np.diff(e.centre, axis=1) / (sigma * math.sqrt(0.5 / n))  # (R, 2, 2): times, coordinates
    for sample in increments.reshape(replicas, 4).T:
        assert scipy.stats.kstest(sample, "norm").pvalue > 1e-3
    correlation = np.corrcoef(increments.reshape(replicas, 4).T) - np.eye(4)
    assert np.abs(correlation).max() < SE / math.sqrt(replicas)
    neighbours = np.corrcoef(increments[:-1, 0, 0], increments[1:, 0, 0])[0, 1]
    assert abs(neighbours) < SE / math.sqrt(replicas)


@pytest.mark.parametrize("interaction", ["signed", "repulsive"])
def test_virial_law(comm, interaction):
    n, replicas, end = 32, 600, 0.5
    model = Model(sigma=1.0, gamma_bar=2.0, interaction=interaction)
    e = simulate(model, UNEQUAL, count=n, replicas=replicas, step=0.0025, end=end, seed=2, comm=comm)
    signs = np.repeat([1.0, -1.0], [19, 13])
    charges = signs if interaction == "signed" else np.ones(n)
    growth = e.second_moment[:, -1] - e.second_moment[:, 0]
    mean, error = mean_and_stderr(growth)
    expected = particle_second_moment_rate(1.0, 2.0 / n, charges) * end
    assert abs(mean - expected) < SE * error
    assert abs(mean - 2 * end) > SE * error or interaction == "signed"  # the drift's part is seen


POINTS = np.array(
    [(0, 0), (1, 0), (0, 1.2), (-1, 0.3), (0.4, -1), (2, 1), (-1.5, -1), (1.2, -1.7), (-0.3, 2.2), (2.5, 0)]
)


@pytest.mark.parametrize("interaction", ["signed", "repulsive"])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_squared_bessel_law(comm, shared_folder, n, interaction):
    """R = sum |X_i - centroid|^2 / sigma^2 has an exact law for every N, whatever the configuration does."""
    signs = np.where(np.arange(n) % 2, -1.0, 1.0)
    initial = points_file(comm, shared_folder, POINTS[:n], signs)
    sigma, gamma, end = 0.9, 0.08, 0.5
    model = Model(sigma=sigma, gamma=gamma, interaction=interaction)
    e = simulate(model, initial, count=n, replicas=3000, step=0.005, end=end, seed=n, comm=comm)
    R = n * (e.second_moment - (e.centre**2).sum(axis=2)) / sigma**2
    charges = signs if interaction == "signed" else np.ones(n)
    law = squared_bessel_law(sigma=sigma, gamma=gamma, positions=POINTS[:n], signs=charges, time=end)
    assert scipy.stats.kstest(R[:, -1], law.cdf).pvalue > 1e-3
    assert abs(R[:, -1].mean() - law.mean()) < SE * law.std() / math.sqrt(3000)


# The residual of the particles


@functools.cache
def dipole(diffusivity: str) -> Ensemble:
    return simulate(
        Model(sigma=1.0, gamma_bar=0.4, diffusivity=diffusivity), DIPOLE, count=64, replicas=1200, step=0.01, end=0.5,
        seed=4, test_functions=FUNCTIONS, comm=MPI.COMM_WORLD,
    )  # fmt: skip


@pytest.mark.parametrize("p", range(len(FUNCTIONS)))
def test_residual_is_a_martingale_with_the_variance_of_ito(p):
    e = dipole("ito")
    s = ResidualStatistics.of(
        e.residual[:, p, -1], theory_mean=0.0, theory_variance=float(e.quadratic_variation[:, p].mean())
    )
    assert abs(s.mean) < SE * s.stderr
    assert abs(s.variance - s.theory_variance) < SE * s.variance_stderr
    assert s.variance_stderr < 0.06 * s.variance  # so a factor of 2 would be far off
    assert e.theory_mean[p] == 0.0
    assert e.theory_variance[p] == pytest.approx(s.theory_variance)


@pytest.mark.parametrize("p", [0, 2])
def test_diffusivity_of_the_paper_leaves_a_bias(p):
    """Slip 1: with D = sigma = 1, W has the mean (sigma^2/2 - sigma) E int int Lap phi, far from 0."""
    e, right = dipole("paper"), dipole("ito")
    s = ResidualStatistics.of(e.residual[:, p, -1], theory_mean=float(e.theory_mean[p]), theory_variance=1.0)
    assert abs(s.mean) > 6 * s.stderr
    assert s.theory_mean == pytest.approx(-0.5 * e.laplacian[:, p].mean())
    assert abs(s.mean - s.theory_mean) < SE * s.stderr
    np.testing.assert_allclose(e.residual[:, p, -1], right.residual[:, p, -1] - 0.5 * e.laplacian[:, p], atol=1e-12)


# Where particles start


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


def test_density_from_a_python_file(comm, shared_folder):
    """f = |x|^2 e^(-|x|^2) about the origin; the ball is elsewhere and cuts part of it off."""
    if comm.rank == 0:
        (shared_folder / "mine.py").write_text(
            "import numpy as np\n\ndef ring(x):\n    r2 = (x**2).sum(axis=1)\n    return 7.0 * r2 * np.exp(-r2)\n\n"
            "def negative(x):\n    return x[:, 0] - 10.0\n\ndef nan(x):\n    return x[:, 0] * np.nan\n"
        )
    comm.barrier()
    source = f"{shared_folder / 'mine.py'}:"
    density = FromFile(python=source + "ring", mass=0.6, center=(0.0, 0.0), radius=4.0)
    cdf, mass = radial_law(density, (0.0, 0.0), 4.0)
    assert mass == pytest.approx(0.6, rel=1e-4)
    x = density.sample(10000, np.random.default_rng(2))
    assert scipy.stats.kstest(np.hypot(*x.T), cdf).pvalue > 1e-3
    assert scipy.stats.kstest(np.hypot(*x.T), lambda r: 1 - (1 + r**2) * np.exp(-(r**2))).pvalue > 1e-3
    cut = FromFile(python=source + "ring", mass=1.0, center=(1.0, 0.0), radius=0.5)
    y = cut.sample(1000, np.random.default_rng(3))
    assert np.hypot(y[:, 0] - 1.0, y[:, 1]).max() <= 0.5
    assert cut.density(np.array([[2.0, 0.0]]))[0] == 0.0
    for name in ("negative", "nan", "absent"):
        with pytest.raises(InputError, match="absent" if name == "absent" else "must return"):
            FromFile(python=source + name, mass=1.0, radius=1.0)
    e = simulate(
        Model(sigma=1.0, gamma_bar=0.1), Initial(positive=(density,)), count=50, replicas=200, step=0.1, end=0.1,
        comm=comm,
    )  # fmt: skip
    mean, error = mean_and_stderr(e.second_moment[:, 0])
    assert abs(mean - 2.0) < SE * error  # int r^4 e^(-r^2) r / int r^2 e^(-r^2) r
    densities._grid_of.cache_clear()


def test_numbers_of_both_signs(comm):
    for count, positive in ((10, 6), (7, 4), (1, 1), (64, 38)):
        _, x, signs = path_of(comm, Model(sigma=1.0, gamma_bar=0.1), UNEQUAL, count, [], 0.1, step=0.1)
        assert x.shape == (2, count, 2)
        assert signs.tolist() == [1.0] * positive + [-1.0] * (count - positive)
    third = Initial(negative=(Gaussian(mass=0.3, center=(0, 0), width=1.0),))
    assert path_of(comm, Model(sigma=1.0, gamma_bar=0.1), third, 5, [], 0.1, step=0.1)[2].tolist() == [-1.0] * 5


def test_points_file_is_where_they_start(comm, shared_folder):
    signs = [1, -1, -1]
    initial = points_file(comm, shared_folder, POINTS[:3], signs)
    _, x, b = path_of(comm, Model(sigma=1.0, gamma=0.1), initial, 3, [], 0.1, step=0.1)
    np.testing.assert_array_equal(x[0], POINTS[:3])
    assert b.tolist() == signs
    run = {"replicas": 1, "step": 0.1, "end": 0.1, "comm": comm}
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


def test_wrong_arguments_and_requests_to_stop(comm):
    good = {"count": 4, "replicas": 2, "step": 0.1, "end": 0.1, "comm": comm}
    model = Model(sigma=1.0, gamma_bar=0.4)
    for bad in ({"count": 0}, {"replicas": 0}, {"step": 0.0}, {"end": math.inf}, {"step": math.nan}):
        with pytest.raises(InputError, match="must be"):
            simulate(model, DIPOLE, **(good | bad))
    with pytest.raises(InputError, match=r"test_functions\[0\]"):
        simulate(model, DIPOLE, test_functions=[GaussianBump(center=(0, 0, 0), width=1.0)], **good)
    with pytest.raises((InputError, RunError), match="kernel"):
        simulate(model, DIPOLE, kernel="bare", **good)
    with pytest.raises(Interrupted):
        simulate(model, DIPOLE, stop_asked=lambda: True, **good)


# The residual of the PDE's solution


BUMPS = (FUNCTIONS[0], FUNCTIONS[1])


@functools.cache
def pde_residual(rings: int, gamma_bar: float) -> np.ndarray:
    mesh = Disk(radius=8.0, cell_size=8.0 / rings)
    solver = Solver(Model(sigma=1.0, gamma_bar=gamma_bar), DIPOLE, mesh=mesh, step=0.8 / rings)
    residual = PDEResidual(solver, BUMPS)
    solver.solve(0.5, observers=[residual])
    assert len(residual.times) == len(residual.values) == len(residual.observables)
    assert residual.times[-1] == pytest.approx(0.5)
    return residual.values[-1]


@pytest.mark.parametrize("gamma_bar", [0.0, 1.5])
def test_residual_of_the_solution_vanishes_with_order_two(gamma_bar):
    """In the norm over both test functions: with drift, the errors of one of them cancel on coarse meshes."""
    values = np.array([np.linalg.norm(pde_residual(rings, gamma_bar)) for rings in (16, 32, 64)])
    orders = np.log2(values[:-1] / values[1:])
    assert orders.min() >= 1.8, (values, orders)
    assert values[-1] < 1e-3


class Posing:
    """A solver that claims another model than the one it solves."""

    def __init__(self, solver: Solver, **changes: float) -> None:
        self.__dict__["_solver"] = solver
        self.model = Model(**{k: v for k, v in dataclasses.asdict(solver.model).items() if v is not None} | changes)

    def __getattr__(self, name: str):
        return getattr(self._solver, name)


def test_residual_tells_a_wrong_model():
    solver = Solver(Model(sigma=1.0, gamma_bar=1.5), DIPOLE, mesh=Disk(radius=8.0, cell_size=0.25), step=0.025)
    wrong = {
        "gamma_bar": PDEResidual(Posing(solver, gamma_bar=1.0), BUMPS),
        "D": PDEResidual(Posing(solver, diffusivity="paper"), BUMPS),
        "sign": PDEResidual(Posing(solver, gamma_bar=0.0), BUMPS),
    }
    right = PDEResidual(solver, BUMPS)
    solver.solve(0.5, observers=[*wrong.values(), right])
    small = np.abs(right.values[-1]).max()
    for name, residual in wrong.items():
        assert np.abs(residual.values[-1]).max() > 10 * small, name
    # W is affine in gamma_bar: what is missing shows in proportion
    part = wrong["gamma_bar"].values[-1] - right.values[-1]
    whole = wrong["sign"].values[-1] - right.values[-1]
    np.testing.assert_allclose(3 * part, whole, rtol=1e-9)


def test_observables_of_particles_are_those_of_the_solution(comm):
    """Both sides at once: E int phi dL^N_T -> int phi rho_T with an error of order 1/N."""
    solver = Solver(Model(sigma=1.0, gamma_bar=0.4), DIPOLE, mesh=Disk(radius=8.0, cell_size=0.2), step=0.02, comm=comm)
    residual = PDEResidual(solver, BUMPS)
    solver.solve(0.5, observers=[residual])
    mean, error = mean_and_stderr(dipole("ito").observables[:, :2, -1])
    assert (np.abs(mean - residual.observables[-1]) < SE * error + 1e-3).all()


# Statistics


def test_statistics_of_a_normal_sample():
    n = 4000
    sample = np.random.default_rng(0).normal(0.3, 2.0, n)
    s = ResidualStatistics.of(sample, theory_mean=0.3, theory_variance=4.0)
    assert s.mean == pytest.approx(sample.mean())
    assert s.stderr == pytest.approx(2.0 / math.sqrt(n), rel=SE / math.sqrt(2 * n))
    assert abs(s.mean - 0.3) < SE * s.stderr
    assert s.variance == pytest.approx(sample.var(ddof=1))
    assert s.variance_stderr == pytest.approx(4.0 * math.sqrt(2 / (n - 1)), rel=0.1)
    assert abs(s.variance - 4.0) < SE * s.variance_stderr
    assert s.mean_abs == pytest.approx(np.abs(sample).mean())
    assert s.rms**2 == pytest.approx(s.mean**2 + s.variance * (n - 1) / n)
    assert (s.theory_mean, s.theory_variance) == (0.3, 4.0)
    assert ResidualStatistics.of(sample[:1], theory_mean=0.0, theory_variance=1.0) is None
    assert mean_and_stderr(sample[:1])[1] is None


def test_standard_errors_of_the_variance_are_right():
    """Over many samples: (s^2 - 1) / stderr has standard deviation 1."""
    rng = np.random.default_rng(1)
    scores = []
    for _ in range(400):
        s = ResidualStatistics.of(rng.standard_normal(500), theory_mean=0.0, theory_variance=1.0)
        scores.append((s.variance - 1.0) / s.variance_stderr)
    assert np.std(scores) == pytest.approx(1.0, abs=SE / math.sqrt(2 * 400) + 0.03)


@pytest.mark.parametrize("statistic", [mean_abs, rms])
def test_rate_of_synthetic_residuals(statistic):
    counts = [64, 256, 1024]
    rng = np.random.default_rng(3)
    covered, slopes = 0, []
    for trial in range(40):
        rate = fit_rate(counts, [rng.standard_normal(80) / math.sqrt(n) for n in counts], statistic, seed=trial)
        slopes.append(rate.slope)
        assert rate.low < rate.slope < rate.high
        covered += rate.low <= -0.5 <= rate.high
    assert np.mean(slopes) == pytest.approx(-0.5, abs=SE * np.std(slopes) / math.sqrt(40))
    assert np.std(slopes) < 0.05
    assert covered >= 32  # 95 % of 40 are 38; fewer than 32 has probability 1e-4 at a coverage of 90 %


def test_rate_needs_two_numbers_and_two_replicas():
    sample = np.array([1.0, -2.0])
    assert fit_rate([8], [sample], rms, seed=0) is None
    assert fit_rate([8, 8], [sample, sample], rms, seed=0) is None
    assert fit_rate([8, 16], [sample, sample[:1]], rms, seed=0) is None
    assert fit_rate([8, 16], [sample, np.zeros(2)], rms, seed=0) is None
    assert fit_rate([8, 32], [sample, sample / 2], rms, seed=0).slope == pytest.approx(-0.5)
