"""W of the solution of the limit equation, (1.10): zero but for the second-order errors of mesh and step.

What carries the load: order two on a torus, in a box and in a ball, also for test functions whose normal derivative
does not vanish at the walls; exact sums of (1.3)-(1.4) for every mass; and that a wrong beta is seen.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import functools
import itertools
import math

import numpy as np
import pytest
from states import hand_over

from limitpde.coagulation import residual
from limitpde.coagulation.model import Fragmentation, Initial, Model, Part, PowerLaw, Rates
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.reaction.bins import Bins, MassGrid
from limitpde.coagulation.residual import PDEResidual
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import Gaussian, Uniform
from limitpde.errors import InputError
from limitpde.fem import mesh as meshes

TWO_PI = 2 * math.pi
MODEL = Model(dimension=2, diffusion=PowerLaw(power=-0.5, scale=0.1), beta=Rates(kernel="additive"), n_max=10)
INITIAL = Initial(
    masses=(
        Part(n=1, density=Gaussian(mass=1.0, center=(0.4, 0.5), width=0.15)),
        Part(n=2, density=Uniform(mass=0.3)),
    )
)
PERIODIC = (
    Wave(k=(TWO_PI, 0.0)),
    Wave(k=(TWO_PI, -TWO_PI), phase=0.3, n=2),
    GaussianBump(center=(0.5, 0.5), width=0.1, n=3),
)
ANY = (Wave(k=(1.0, 2.0), n=1), GaussianBump(center=(0.5, 0.3), width=0.5), Wave(k=(3.0, 0.5), phase=1.0, n=3))
EVEN = Wave(k=(0.0, 0.0))


def solved(mesh, functions, *, step, model=MODEL, initial=INITIAL, end=0.1, **options):
    solver = Solver(model, initial, mesh=mesh, step=step, **options)
    found = PDEResidual(solver, functions)
    solver.solve(end, observers=[found])
    return found


@functools.cache
def on(kind, cells):
    """W of a solution on a mesh of this many cells a side, with steps in proportion."""
    size = 1 / cells
    mesh, functions = {
        "torus": (meshes.Torus(size=1.0, cell_size=size), PERIODIC),
        "box": (meshes.Box(size=1.0, cell_size=size), ANY),
        "ball": (meshes.Ball(radius=0.5, center=(0.5, 0.5), cell_size=size), ANY),
    }[kind]
    return solved(mesh, functions, step=size / 6)


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["torus", "box", "ball"])
def test_w_of_the_solution_vanishes_to_second_order(kind):
    coarse, fine = on(kind, 12), on(kind, 24)
    change = np.abs(fine.change())
    assert np.all(np.abs(fine.values[-1]) < 0.025 * change + 1e-5)
    assert np.abs(fine.values[-1]).max() < 0.3 * np.abs(coarse.values[-1]).max()
    assert len(fine.values) == len(fine.times) == len(fine.observables) == len(fine.time_integral)


def test_without_the_flux_through_the_walls_w_would_not_vanish(monkeypatch):
    with_walls = on("box", 24)
    monkeypatch.setattr(residual, "_wall_normals", lambda nodes: np.zeros_like(nodes.points))
    mesh = meshes.Box(size=1.0, cell_size=1 / 24)
    without = solved(mesh, ANY, step=1 / 144)
    assert np.all(np.abs(without.values[-1]) > 2 * np.abs(with_walls.values[-1]))


@pytest.mark.ranks
def test_the_flux_of_the_walls_is_that_of_a_closed_surface(comm):
    for mesh in (meshes.Box(size=1.0, cell_size=0.25), meshes.Ball(radius=0.5, center=(0.4, 0.5), cell_size=0.1)):
        solver = Solver(MODEL, INITIAL, mesh=mesh, step=0.1)
        nodes = solver.nodes
        normal = residual._wall_normals(nodes)
        assert np.abs(nodes.sums.add(normal.sum(axis=0))).max() < 1e-12  # int_wall n = 0
        outward = nodes.sums.add((normal * nodes.points).sum())  # int_wall x . n = d volume
        assert outward == pytest.approx(2 * nodes.sums.total(nodes.volume)[0], rel=1e-12)


def test_w_of_a_solution_with_another_beta_is_far_from_zero():
    class Other:
        """The solver of one model, said to be of another."""

        def __init__(self, solver, model):
            self._solver, self.model = solver, model

        def __getattr__(self, name):
            return getattr(self._solver, name)

    solver = Solver(MODEL, INITIAL, mesh=meshes.Torus(size=1.0, cell_size=1 / 12), step=1 / 72)
    stronger = Rates(kernel="additive", scale=1.2)
    planted = Model(dimension=2, diffusion=MODEL.diffusion, beta=stronger, n_max=MODEL.n_max)
    right, wrong = PDEResidual(solver, [EVEN]), PDEResidual(Other(solver, planted), [EVEN])
    solver.solve(0.1, observers=[right, wrong])
    assert abs(right.values[-1][0]) < 5e-3 * abs(right.change()[0])
    assert wrong.values[-1][0] == pytest.approx(-0.2 * right.change()[0], rel=0.03)


@pytest.mark.ranks
def test_w_goes_on_from_where_it_was(shared_folder):
    mesh = meshes.Torus(size=1.0, cell_size=0.125)
    whole = solved(mesh, PERIODIC, step=0.01)
    half = Solver(MODEL, INITIAL, mesh=mesh, step=0.01)
    before = PDEResidual(half, PERIODIC)
    half.solve(0.05, observers=[before])
    other = Solver(MODEL, INITIAL, mesh=mesh, step=0.01)
    after = PDEResidual(other, PERIODIC)
    hand_over(half, other, shared_folder, half.nodes.comm)
    after.restore(before.state())
    other.solve(0.1, observers=[after])
    for name in ("times", "values", "observables", "rates"):
        assert np.allclose(getattr(after, name), getattr(whole, name), rtol=1e-9, atol=1e-12)


def test_a_point_follows_the_exact_solution_of_the_constant_kernel():
    """M0 = 1 / (1 + beta t / 2), f_n = M0^2 (1 - M0)^(n-1); int_0^t M0 = (2 / beta) log(1 + beta t / 2)."""
    beta, n_max = 3.0, 40
    model = Model(diffusion=(1.0,), beta=Rates(kernel="constant", scale=beta), n_max=n_max)
    initial = Initial(masses=(Part(n=1, density=Uniform(mass=1.0)),))
    functions = [Wave(k=(0.0,) * 3), Wave(k=(0.0,) * 3, n=2), Wave(k=(TWO_PI, 0.0, 0.0))]
    found = [solved(meshes.Point(), functions, model=model, initial=initial, end=1.0, step=h) for h in (0.02, 0.01)]
    left = 1 / (1 + beta / 2)
    assert np.allclose(found[1].observables[-1], [left, left**2 * (1 - left), 0], atol=1e-4)
    assert found[1].time_integral[-1][0] == pytest.approx(2 / beta * math.log(1 + beta / 2), rel=1e-4)
    worst = [np.abs(r.values[-1]).max() for r in found]
    assert worst[1] < 0.3 * worst[0] < 1e-3
    assert not found[1].warnings


def test_annihilation_loses_two_particles_a_pair():
    """h' = -beta h^2."""
    model = Model(diffusion=(1.0,), beta=Rates(kernel="constant", scale=2.0), n_max=2, reaction="annihilation")
    initial = Initial(masses=(Part(n=1, density=Uniform(mass=1.0)),))
    found = solved(meshes.Point(), [Wave(k=(0.0,) * 3)], model=model, initial=initial, end=1.0, step=0.01)
    assert found.observables[-1][0] == pytest.approx(1 / 3, rel=1e-4)
    assert abs(found.values[-1][0]) < 1e-4


@pytest.mark.parametrize("kernel", ["constant", "additive"])
def test_w_sees_splitting(kernel):
    model = Model(
        diffusion=(1.0,), beta=Rates(kernel=kernel), n_max=30, fragmentation=Fragmentation(rate=0.5, power=0.5)
    )
    initial = Initial(masses=(Part(n=1, density=Uniform(mass=0.5)), Part(n=6, density=Uniform(mass=0.2))))
    functions = [Wave(k=(0.0,) * 3), *(Wave(k=(0.0,) * 3, n=n) for n in (1, 2, 6))]
    found = [solved(meshes.Point(), functions, model=model, initial=initial, end=0.5, step=h) for h in (0.02, 0.01)]
    worst = [np.abs(r.values[-1]).max() for r in found]
    assert worst[1] < 0.3 * worst[0] < 1e-3
    assert np.abs(found[1].change()).min() > 0.01


def test_bins_of_masses_keep_number_and_mass_in_the_balance():
    model = Model(diffusion=(1.0,), beta=Rates(kernel="constant", scale=2.0), n_max=2)
    initial = Initial(masses=(Part(n=1, density=Uniform(mass=1.0)),))
    functions = [Wave(k=(0.0,) * 3), Wave(k=(0.0,) * 3, n=1), Wave(k=(0.0,) * 3, n=8)]
    bins = Bins(largest=400.0, per_decade=10, exact_up_to=8)
    found = [
        solved(meshes.Point(), functions, model=model, initial=initial, end=2.0, step=h, bins=bins)
        for h in (0.04, 0.02)
    ]
    assert found[1].observables[-1][0] == pytest.approx(1 / 3, rel=2e-3)
    worst = [np.abs(r.values[-1]).max() for r in found]
    assert worst[1] < 0.3 * worst[0] < 1e-2


def test_sums_over_pairs_are_those_of_the_equation():
    rng = np.random.default_rng(4)
    model = Model(diffusion=(1.0,), beta=Rates(kernel="multiplicative", scale=0.3), n_max=9)
    f, tracked = rng.random((5, 9)), np.array([0, 1, 4, 9])
    terms = residual._Terms(model, MassGrid(9, None), tracked, every=True)
    change = np.zeros((5, 19))
    for m, n in itertools.product(range(1, 10), repeat=2):
        rate = 0.3 * m * n * f[:, m - 1] * f[:, n - 1]
        change[:, m] -= rate
        change[:, m + n] += rate / 2
    expected = np.stack([change[:, :10].sum(axis=1), *(change[:, n] for n in tracked[1:])], axis=1)
    assert np.allclose(terms.reaction(f), expected, rtol=1e-13)


def test_many_masses_are_summed_by_factors_of_beta(monkeypatch):
    rng = np.random.default_rng(4)
    model = Model(diffusion=(1.0,), beta=Rates(kernel="additive", scale=0.3), n_max=60)
    f, grid = rng.random((4, 60)), MassGrid(60, None)
    one_by_one = residual._Terms(model, grid, np.array([0]), every=True).reaction(f)
    monkeypatch.setattr(residual, "LARGEST_MATRIX", 10)
    assert np.allclose(residual._Terms(model, grid, np.array([0]), every=True).reaction(f), one_by_one, rtol=1e-12)


def test_functions_that_do_not_fit_are_refused():
    solver = Solver(MODEL, INITIAL, mesh=meshes.Torus(size=1.0, cell_size=0.25), step=0.1)
    with pytest.raises(InputError, match=r"test_functions\[1\].n = 11: the equation has no such mass"):
        PDEResidual(solver, [EVEN, Wave(k=(0.0, 0.0), n=11)])
    with pytest.raises(InputError, match="2 entries"):
        PDEResidual(solver, [Wave(k=(0.0,))])
    with pytest.raises(InputError, match="charge"):
        PDEResidual(solver, [Wave(k=(0.0, 0.0), charge=True)])
    with pytest.raises(InputError, match=r"test_functions\[0\]\.k: must be a multiple of 2 pi / size"):
        PDEResidual(solver, ANY)
    none = PDEResidual(solver, [])
    solver.solve(0.1, observers=[none])
    assert none.values[-1].shape == (0,)
