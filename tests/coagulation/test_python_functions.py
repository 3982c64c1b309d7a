"""W of coagulating particles and of their equation for test functions phi(x, n, t) by Python.

The load is carried by functions with a shape, written again in Python, which must have the same W, martingale and
brackets as in compiled code; and by functions of mass and time, of which M has mean zero and the mean of [M] as its
variance, and W of the solution vanishes to second order.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import math

import numba
import numpy as np
import pytest
from mpi4py import MPI
from particle_cases import BALL, MIXED, ONES, SE, SQUARE, TORUS, assert_same

from limitpde import case as cases
from limitpde.coagulation import particles
from limitpde.coagulation.model import Fragmentation, Initial, Model, Part, PowerLaw, Rates
from limitpde.coagulation.needs import loads
from limitpde.coagulation.particles import simulate
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.reaction.bins import Bins
from limitpde.coagulation.residual import PDEResidual
from limitpde.coagulation.simulator import brownian_replicas
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import Gaussian, Uniform
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.nbody.replicas import Controls

SOURCE = """
import numpy as np
from mpi4py import MPI

def wave(x, n, t):
    k = 2 * np.pi * np.array([1.0, 2.0, 0.0])[: x.shape[1]]
    phase, seen = x @ k + 0.3, (n == 2.0)
    return seen * np.cos(phase), -(seen * np.sin(phase))[:, None] * k, -(k @ k) * seen * np.cos(phase)

def bump(x, n, t):
    return np.exp(-((x - 0.6) ** 2).sum(axis=1) / (2 * 0.4**2))

def moving(x, n, t):
    return n / (1 + n) * np.cos(2 * np.pi * (x[:, 0] - 3 * t)) + np.exp(-n / 3 - 20 * t)

def sloping(x, n, t):
    return n / (1 + n) * np.sin(3 * x[:, 0] - 1.5 + 4 * t) * np.exp(-x[:, 1] / n)

def standing(x, n, t):
    return sloping(x, n, 0.0)

def threes(x, n, t):
    return (n == 3.0) * 1.0

def failing(x, n, t):
    if t > 0.004 and MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:
        raise ValueError("no value here")
    return decaying(x, n, t)

def decaying(x, n, t):
    return np.exp(-n / 3 - t)
"""
CASE = """
system = "coagulation"
model = { dimension = 3, diffusion = [0.5], n_max = 8, interaction = { shape = "ball", alpha = 20.0 } }
initial.masses = [{ n = 1, shape = "uniform", mass = 1.0 }]
time.end = 0.05
pde = { mesh = { shape = "point" }, step = 0.01 }
output = { every = 0.025, pictures = false }
particles = { counts = [16, 24], replicas = 3 }
compare.test_functions = [{ python = "phi.py:moving", size = 2.0, length = 0.3, duration = 0.1 }]
"""
FULL = Model(
    diffusion=PowerLaw(power=-1 / 3, scale=0.5),
    interaction=BALL,
    fragmentation=Fragmentation(rate=2.0, power=1.0),
    n_max=16,
)
BOX = Domain.box(np.ones(3))
PLANE = Model(dimension=2, diffusion=[1.0], interaction=BALL, reaction="annihilation", n_max=4)
CLOUD = Initial(masses=tuple(Part(n=n, density=Gaussian(mass=0.5, center=(0.5,) * 3, width=0.3)) for n in (1, 2)))
SUMS = ("observables", "time_integral", "martingale", "martingale_variation", "residual", "residual_by_delta")


def twins(mine, domain):
    """Functions with a shape, and the same by Python: of a torus only the wave."""
    shaped = [Wave(k=tuple(2 * math.pi * np.array([1.0, 2.0, 0.0])[: domain.dimension]), phase=0.3, n=2)]
    if domain.kind == "torus":
        return shaped, [mine("wave")]
    return [*shaped, GaussianBump(center=(0.6,) * domain.dimension, width=0.4)], [
        mine("wave"),
        mine("bump", length=0.5),
    ]


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("model", "initial", "domain", "method", "halved"),
    [
        (FULL, MIXED, TORUS, "micro", False),
        (FULL, MIXED, BOX, "closed", False),
        (FULL, MIXED, BOX, "closed", True),
        (FULL, MIXED, Domain.ball(0.5, np.full(3, 0.5)), "closed", False),
        (FULL, CLOUD, Domain.space(3), "closed", True),
        (PLANE, MIXED, SQUARE, "micro", True),
    ],
)
def test_a_shape_by_python_is_the_compiled_one(mine, comm, monkeypatch, model, initial, domain, method, halved):
    monkeypatch.setattr(brownian_replicas, "SHARED", 50)  # whole steps on all threads
    monkeypatch.setattr(particles, "MEASUREMENTS", 25)
    shaped, own = twins(mine, domain)
    options = {"count": 60, "replicas": 3, "end": 0.05, "domain": domain, "stops": [0.02], "seed": 3, "method": method}
    options |= {"deltas": [0.3], "controls": Controls(comm=comm, halved=halved)}
    compiled = simulate(model, initial, test_functions=shaped, **options)
    both = simulate(model, initial, test_functions=[*shaped, *own], **options)
    for name in ("survivors", "steps", "events", "ends", "pair_rates"):
        np.testing.assert_array_equal(getattr(both, name), getattr(compiled, name))
    assert compiled.events.min() > 3
    first = slice(0, len(shaped))
    np.testing.assert_array_equal(both.martingale_jumps[:, 0, first], compiled.martingale_jumps[:, 0])
    np.testing.assert_allclose(both.pair_products, compiled.pair_products, rtol=1e-12)
    for name in SUMS:
        expected, found = getattr(compiled, name), getattr(both, name)
        np.testing.assert_allclose(found[:, first], expected, rtol=1e-10, atol=1e-13, err_msg=name)
        exact = slice(len(shaped), len(shaped) + 1)
        np.testing.assert_allclose(found[:, exact], expected[:, :1], rtol=1e-10, atol=1e-13, err_msg=name)
        if len(own) > 1:
            np.testing.assert_allclose(found[:, -1], expected[:, 1], rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.ranks
@pytest.mark.parametrize("halved", [False, True])
def test_a_team_and_its_threads_change_no_bit(mine, comm, monkeypatch, halved):
    """Of reactions, splittings and walls that are summed from Python; and all of a team learn that one has failed."""
    monkeypatch.setattr(particles, "MEASUREMENTS", 8)
    options = {"count": 60, "replicas": 1, "end": 0.02, "domain": BOX, "seed": 3, "method": "closed"}
    alone = Controls(comm=MPI.COMM_SELF, halved=halved)
    shared = Controls(comm=comm, ranks_per_replica=comm.size, halved=halved)
    functions = [Wave(k=(0.0, 1.0, 0.0), n=2), mine("sloping", length=0.3, duration=0.3)]
    expected = simulate(FULL, MIXED, test_functions=functions, controls=alone, **options)
    assert expected.events.sum() > 2
    assert np.all(expected.martingale[:, -1] != 0)
    monkeypatch.setattr(brownian_replicas, "SHARED", 1)
    for threads in (1, 3):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        assert_same(simulate(FULL, MIXED, test_functions=functions, controls=shared, **options), expected)
    with pytest.raises(InputError, match="no value here"):
        simulate(FULL, MIXED, test_functions=[mine("failing")], controls=shared, **options)


def test_m_of_a_function_of_mass_and_time(mine, monkeypatch):
    """Merging, splitting particles at a wall: M has mean zero and the variance E [M], but not without d phi / dt."""
    monkeypatch.setattr(particles, "MEASUREMENTS", 25)
    functions, replicas = [mine(name, length=0.3, duration=0.3) for name in ("sloping", "standing")], 50
    options = {"count": 60, "replicas": replicas, "end": 0.05, "domain": BOX, "seed": 4}
    e = simulate(FULL, MIXED, test_functions=functions, **options)
    assert e.events.mean() > 5
    m = e.martingale[:, 0]
    error = m.std(ddof=1) / math.sqrt(replicas)
    assert abs(m.mean()) < SE * error
    excess = m**2 - e.martingale_variation[:, 0]
    assert abs(excess.mean()) < SE * excess.std(ddof=1) / math.sqrt(replicas)
    assert e.observables[:, 0, 0] == pytest.approx(e.observables[:, 1, 0])
    moved = (e.observables[:, 0] - e.observables[:, 1])[:, -1].mean()
    assert abs(moved) > 10 * error


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["torus", "box"])
def test_w_of_the_solution_vanishes_to_second_order(mine, kind):
    """With mass, time, splitting, and slopes at the walls."""
    model = Model(
        dimension=2,
        diffusion=PowerLaw(power=-0.5, scale=0.1),
        beta=Rates(kernel="additive"),
        fragmentation=Fragmentation(rate=0.5),
        n_max=6,
    )
    cloud = (Part(n=1, density=Gaussian(mass=1.0, center=(0.4, 0.5), width=0.15)), Part(n=2, density=Uniform(mass=0.3)))
    function, found = mine("moving" if kind == "torus" else "sloping", length=0.3, duration=0.3), []
    for cells in (12, 24):
        mesh = (
            meshes.Torus(size=1.0, cell_size=1 / cells)
            if kind == "torus"
            else meshes.Box(cell_size=1 / cells, size=1.0)
        )
        solver = Solver(model, Initial(masses=cloud), mesh=mesh, step=0.1 / cells)
        residual = PDEResidual(solver, [function, Wave(k=(0.0, 0.0))])
        solver.solve(0.1, observers=[residual])
        found.append(np.abs(residual.values[-1]))
    assert found[1][0] < 0.3 * found[0][0] < 0.03 * abs(residual.change()[0]), found
    plain = PDEResidual(Solver(model, Initial(masses=cloud), mesh=mesh, step=0.1), [Wave(k=(0.0, 0.0))])
    np.testing.assert_allclose(np.sum(residual.rates[0], axis=0)[1], np.sum(plain.rates[0]), rtol=1e-10)


def test_a_point_and_bins(mine):
    """phi = exp(-n / 3 - t) at one point: sum_n of it, with bins of masses as well."""
    model = Model(dimension=3, diffusion=[0.1], beta=Rates(kernel="constant"), n_max=40)
    for bins in (None, Bins(per_decade=20, largest=100.0)):
        found = []
        for step in (0.02, 0.01):
            solver = Solver(model, ONES, mesh=meshes.Point(), step=step, bins=bins)
            residual = PDEResidual(solver, [mine("decaying")])
            solver.solve(0.4, observers=[residual])
            found.append(abs(residual.values[-1][0]))
            f, n = solver.densities[0], solver.masses
            assert residual.observables[-1][0] == pytest.approx(f @ np.exp(-n / 3 - 0.4), rel=1e-6)
        assert found[1] < 0.3 * found[0] + 1e-12, found
        assert found[1] < 1e-4


def test_candidates_that_are_constant(mine, monkeypatch):
    """The whole domain as the mollifier: the balance of numbers, of the same function of mass alone."""
    monkeypatch.setattr(particles, "MEASUREMENTS", 10)
    options = {"count": 40, "replicas": 2, "end": 0.05, "domain": TORUS, "deltas": [None], "seed": 2}
    both = simulate(FULL, MIXED, test_functions=[Wave(k=(0.0,) * 3, n=3), mine("threes")], **options)
    compiled = simulate(FULL, MIXED, test_functions=[Wave(k=(0.0,) * 3, n=3)], **options)
    for found in np.moveaxis(both.residual_by_delta, 1, 0):
        np.testing.assert_allclose(found, compiled.residual_by_delta[:, 0], rtol=1e-9)
    np.testing.assert_allclose(both.pair_products, compiled.pair_products, rtol=1e-12)


def test_of_a_case(tmp_path, monkeypatch):
    """From a file: all parts of the comparison, the verdict, and a function that does not fit the torus."""
    monkeypatch.setattr(particles, "MEASUREMENTS", 8)
    (tmp_path / "phi.py").write_text(SOURCE)
    (tmp_path / "case.toml").write_text(CASE)
    found = limitpde.run(tmp_path / "case.toml", out=tmp_path / "out", comm=MPI.COMM_SELF)
    assert found["status"] == "done"
    assert found["compare"]["limits"][0]["label"] == "phi.py:moving"
    assert {"martingale", "candidate", "corollary_1_3", "residual", "pde_residual"} <= set(found["compare"])
    assert (tmp_path / "out" / "inputs" / "phi.py").exists()
    plain = cases.read(tmp_path / "case.toml", ["compare.test_functions=[{ shape = 'wave', k = [0.0, 0.0, 0.0] }]"])
    slow, fast = (loads(case)[-1] for case in (cases.read(tmp_path / "case.toml"), plain))
    assert slow.work == fast.work
    assert slow.kind != fast.kind  # speeds are learnt apart
    with pytest.raises(InputError, match="is not periodic"):
        cases.read(tmp_path / "case.toml", ["compare.test_functions.0.python=phi.py:sloping"])
    with pytest.raises(InputError, match="does not converge"):
        cases.read(tmp_path / "case.toml", ["compare.test_functions.0.length=30.0"])
