"""The mean-field system against exact laws.

The load is carried by Gaussians under quadratic potentials, whose mean and variance are known at every time, for the
equation and, to the step, for N particles; by self-consistent stationary states; and by runs whose particles have
another W or another noise than the equation, which the verdict must refute.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import copy
import math

import numpy as np
import pytest
from mpi4py import MPI

from limitpde import case as cases
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.compare.user_functions import UserFunction
from limitpde.densities import Gaussian
from limitpde.errors import InputError
from limitpde.fem.mesh import Box
from limitpde.fem.nodes import NodeSpace
from limitpde.meanfield import Initial, Model, PDEResidual, Solver, simulate
from limitpde.meanfield.convolution import GridConvolution
from limitpde.meanfield.exact import SelfConsistency, gaussian_law
from limitpde.meanfield.system import SYSTEM
from limitpde.nbody.replicas import Controls
from limitpde.potentials import Free, GaussianPotential, Harmonic, PotentialFromFile
from limitpde.potentials.exterior import Centred, ExteriorFromFile

WELLS = """
import numpy as np

def double_well(x):
    return (x**4).sum(axis=1) / 4 - (x**2).sum(axis=1) / 2, x**3 - x

def bell(x):
    value = -np.exp(-(x**2).sum(axis=1) / 2)
    return value, -x * value[:, None]

def lopsided(x):
    return x[:, 0] ** 3, 3 * x**2

def wrong_slope(x):
    return (x**2).sum(axis=1), x

def moving(x, s, t):
    return s * np.exp(-((x[:, 0] - t) ** 2))
"""


@pytest.fixture
def wells(shared_folder, comm):
    """The folder of a file with potentials and a test function."""
    if comm.rank == 0:
        (shared_folder / "wells.py").write_text(WELLS)
    comm.barrier()
    return shared_folder / "wells.py"


def cloud(mass=1.0, center=(0.3,), width=0.5):
    return (Gaussian(mass=mass, center=center, width=width),)


def moments(solver):
    """Mean (d,) and variance in the first coordinate of all species."""
    masses, x = solver.masses.sum(axis=0), solver.nodes.points
    mass, *first = solver.nodes.sums.total(masses, *(masses * x.T))
    mean = np.array(first) / mass
    return mean, float(solver.nodes.sums.total(masses * (x[:, 0] - mean[0]) ** 2)[0] / mass)


QUADRATIC = {
    "heat": ({"interaction": Free()}, {}),
    "interaction": ({"interaction": Harmonic(strength=0.8)}, {"attraction": 0.8}),
    "both": (
        {"interaction": Harmonic(strength=-0.3), "exterior": Centred(kind="harmonic", strength=1.0)},
        {"attraction": -0.3, "trap": 1.0},
    ),
}


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("name", QUADRATIC)
def test_gaussians_stay_gaussian(name, dimension, comm):
    options, law = QUADRATIC[name]
    center = (0.3, -0.2)[:dimension]
    model = Model(dimension=dimension, sigma=0.8, **options)
    mesh = Box(size=8.0, origin=-4.0, cell_size=0.1 if dimension == 1 else 0.2)
    solver = Solver(model, Initial(species=[cloud(center=center, width=0.6)]), mesh=mesh, step=0.02, comm=comm)
    solver.solve(1.0)
    mean, variance = gaussian_law(np.array(center), 0.36, 1.0, diffusivity=model.D, **law)
    found = moments(solver)
    assert found[0] == pytest.approx(mean, abs=2e-3)
    assert found[1] == pytest.approx(variance, rel=5e-3 if dimension == 1 else 2e-2)


def test_second_order_in_cells_and_step(comm):
    model = Model(dimension=1, sigma=0.8, interaction=Harmonic(strength=0.8))
    exact = gaussian_law(np.array([0.3]), 0.25, 0.5, diffusivity=model.D, attraction=0.8)[1]

    def variance(cell, step):
        solver = Solver(
            model, Initial(species=[cloud()]), mesh=Box(size=8.0, origin=-4.0, cell_size=cell), step=step, comm=comm
        )
        solver.solve(0.5)
        return moments(solver)[1]

    in_space = np.array([variance(cell, 1e-3) for cell in (0.2, 0.1, 0.05)]) - exact
    fine = variance(0.1, 1e-3)
    in_time = np.array([variance(0.1, step) for step in (0.1, 0.05, 0.025)]) - fine
    for errors in (in_space, in_time):
        assert np.log2(errors[:-1] / errors[1:]) == pytest.approx(2.0, abs=0.3)
    assert abs(in_space[-1]) < 1e-3
    assert abs(in_time[-1]) < 1e-3


@pytest.mark.ranks
def test_convolution_is_the_sum_over_all_nodes(comm):
    mesh = Box(size=(2.0, 1.5), origin=(-1.0, 0.0), cell_size=0.25)
    nodes = NodeSpace(mesh, comm, dimension=2)
    potential = GaussianPotential(strength=1.3, width=0.6)
    sums = GridConvolution(nodes, mesh, lambda x: np.column_stack([potential.value(x), potential.gradient(x)]))
    masses = np.stack([np.cos(nodes.points[:, 0]), nodes.points[:, 1] ** 2])
    whole, points = sums.everywhere(masses), sums.everywhere(nodes.points.T).T
    found = sums(whole, slice(None))
    apart = (points[:, None] - points).reshape(-1, 2)
    direct = np.concatenate([potential.value(apart)[None], potential.gradient(apart).T]).reshape(3, len(points), -1)
    assert np.abs(found - np.einsum("kij,sj->ksi", direct, whole)).max() < 1e-12


@pytest.mark.parametrize("D", [0.15, 0.6])
def test_stationary_states_are_self_consistent(D, wells, comm):
    model = Model(
        dimension=1,
        sigma=math.sqrt(2 * D),
        interaction=Harmonic(strength=0.5),
        exterior=ExteriorFromFile(python=f"{wells}:double_well"),
    )
    law = SelfConsistency(model.exterior.value, attraction=0.5, diffusivity=D, reach=4.0)
    solver = Solver(
        model,
        Initial(species=[cloud(center=(0.4,))]),
        mesh=Box(size=8.0, origin=-4.0, cell_size=0.1),
        step=0.1,
        comm=comm,
    )
    solver.solve(60.0)
    found = law.solutions()
    assert len(found) == (3 if D < 0.3 else 1)
    stable = found[-1]
    assert law.response(stable) < 1
    assert law.response(0.0) > 1 or D > 0.3
    assert moments(solver)[0][0] == pytest.approx(stable, abs=1e-7)


def test_masses_energy_and_sign(comm):
    """Two species that avoid each other: each keeps its mass, the free energy falls, densities stay positive."""
    model = Model(
        sigma=0.3, interaction=GaussianPotential(strength=-1.0, width=0.8), strengths=((1.0, -0.5), (-0.5, 0.7))
    )
    initial = Initial(species=[cloud(0.7, (0.2, 0.0)), cloud(0.3, (-0.2, 0.1), 0.3)])
    solver = Solver(model, initial, mesh=Box(size=6.0, origin=-3.0, cell_size=0.2), step=0.05, comm=comm)
    rows = []
    solver.solve(2.0, observers=[lambda step: rows.append((step.order, step.figures))])
    for name, mass in (("mass_1", 0.7), ("mass_2", 0.3)):
        assert max(abs(row[name] - mass) for _, row in rows) < 1e-13
    assert max(row["free_energy_increase"] for _, row in rows) < 1e-12
    assert min(row["minimum"] for _, row in rows) >= 0
    assert [order for order, _ in rows[1:]] == [2] * (len(rows) - 1)


def test_means_of_species_that_chase_each_other(comm):
    """A strength that is not symmetric: the first runs after the second, which runs away."""
    strengths = ((0.0, 1.0), (-0.8, 0.0))
    model = Model(dimension=1, sigma=0.5, interaction=Harmonic(strength=1.0), strengths=strengths)
    assert not model.symmetric
    initial = Initial(species=[cloud(0.6, (-0.5,), 0.4), cloud(0.4, (0.5,), 0.4)])
    apart = -1.0 * math.exp(-(1.0 * 0.4 - 0.8 * 0.6) * 1.0)  # m_1 - m_2
    errors = []
    for cell in (0.1, 0.05):
        mesh = Box(size=10.0, origin=-5.0, cell_size=cell)
        solver = Solver(model, initial, mesh=mesh, step=0.01, comm=comm)
        assert "free_energy" not in solver.figures()
        solver.solve(1.0)
        masses, x = solver.masses, solver.nodes.points[:, 0]
        means = solver.nodes.sums.total(*(masses * x)) / [0.6, 0.4]
        errors.append(means[0] - means[1] - apart)
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1)
    assert abs(errors[1]) < 2e-3
    run = {"replicas": 100, "step": 0.02, "end": 1.0, "test_functions": [Wave(k=(0.1,), phase=-math.pi / 2, n=2)]}
    ensemble = simulate(model, initial, count=100, controls=Controls(comm=comm), **run)
    seen = ensemble.observables[:, 0, -1]  # sin(0.1 x) of the second species
    law = float(solver.nodes.sums.total(masses[1] * np.sin(0.1 * x))[0])
    assert abs(seen.mean() - law) < 4.5 * seen.std(ddof=1) / 10 + 1e-3


@pytest.mark.parametrize("by", ["closed form", "python"])
def test_particles_have_the_exact_variance(by, wells, comm):
    """W = k |x|^2 / 2: that of Euler's steps about their centre is known for every N and step."""
    k, sigma, count, step, steps = 0.7, 0.6, 40, 0.1, 10
    if by == "python" and comm.rank == 0:
        text = f"def square(x):\n    return {k} * (x**2).sum(axis=1) / 2, {k} * x\n"
        (wells.parent / "square.py").write_text(text)
    comm.barrier()
    potential = (
        Harmonic(strength=k) if by == "closed form" else PotentialFromFile(python=f"{wells.parent}/square.py:square")
    )
    model = Model(dimension=2, sigma=sigma, interaction=potential)
    initial = Initial(species=[cloud(center=(0.3, 0.0))])
    run = {"count": count, "replicas": 500, "step": step, "end": step * steps, "controls": Controls(comm=comm)}
    ensemble = simulate(model, initial, **run)
    spread = ensemble.second_moment[:, -1] - (ensemble.centre[:, -1] ** 2).sum(axis=1)
    exact, fresh = 2 * 0.25 * (1 - 1 / count), 2 * sigma**2 * step * (1 - 1 / count)
    for _ in range(steps):
        exact = (1 - k * step) ** 2 * exact + fresh
    assert abs(spread.mean() - exact) < 4.5 * spread.std(ddof=1) / math.sqrt(500)


def test_w_of_functions_by_python(wells, comm):
    """phi(x, s, t) that moves: W of the solution falls with the step, that of particles is a martingale."""
    moving = UserFunction(python=f"{wells}:moving", length=0.5, size=2.0)
    model = Model(
        dimension=1, sigma=0.5, interaction=PotentialFromFile(python=f"{wells}:bell"), strengths=((1, 1), (1, 1))
    )
    initial = Initial(species=[cloud(0.5), cloud(0.5, (-0.5,))])
    left = []
    for cell, step in ((0.2, 0.1), (0.1, 0.05)):
        solver = Solver(model, initial, mesh=Box(size=8.0, origin=-4.0, cell_size=cell), step=step, comm=comm)
        watched = PDEResidual(solver, [moving])
        solver.solve(1.0, observers=[watched])
        left.append(abs(watched.values[-1][0]))
    assert left[1] < 4e-3
    assert math.log2(left[0] / left[1]) > 1.5
    run = {"count": 50, "replicas": 150, "step": 0.04, "end": 1.0, "test_functions": [moving]}
    ensemble = simulate(model, initial, controls=Controls(comm=comm), **run)
    w = ensemble.residual[:, 0, -1]
    assert abs(w.mean()) < 4.5 * w.std(ddof=1) / math.sqrt(150)
    assert w.var(ddof=1) == pytest.approx(ensemble.quadratic_variation.mean(), rel=4.5 * math.sqrt(2 / 150))
    seen = ensemble.observables[:, 0, -1]
    assert abs(seen.mean() - watched.observables[-1][0]) < 4.5 * seen.std(ddof=1) / math.sqrt(150) + 0.01


def test_other_particles_are_known_by_their_compensator(comm):
    """W of particles with another W and another noise is A and a martingale."""
    model = Model(dimension=1, sigma=0.5, interaction=Harmonic(strength=0.5))
    run = {
        "count": 100,
        "replicas": 300,
        "step": 0.02,
        "end": 1.0,
        "test_functions": [GaussianBump(center=(0.0,), width=0.5)],
    }
    other = {"interaction": Harmonic(strength=1.5), "sigma": 0.3}
    ensemble = simulate(model, Initial(species=[cloud()]), controls=Controls(comm=comm), **run, **other)
    w, noise = ensemble.residual[:, 0, -1], ensemble.noise[:, 0]
    assert not ensemble.in_theory
    assert abs(w.mean()) > 20 * w.std(ddof=1) / math.sqrt(300)
    assert abs(noise.mean()) < 4.5 * noise.std(ddof=1) / math.sqrt(300)


@pytest.mark.ranks
def test_the_same_on_all_ranks(comm):
    model = Model(sigma=0.4, interaction=GaussianPotential(strength=-1.0, width=0.7), strengths=((1, -1), (0.5, 1)))
    initial = Initial(species=[cloud(0.5, (0.5, 0.0)), cloud(0.5, (-0.5, 0.0))])
    phi = [GaussianBump(center=(0.0, 0.2), width=0.7, n=1)]
    found = []
    for ranks in (comm, MPI.COMM_SELF):
        solver = Solver(model, initial, mesh=Box(size=6.0, origin=-3.0, cell_size=0.25), step=0.05, comm=ranks)
        watched = PDEResidual(solver, phi)
        solver.solve(0.3, observers=[watched])
        run = {"count": 20, "replicas": 7, "step": 0.05, "end": 0.3, "test_functions": phi}
        ensemble = simulate(model, initial, controls=Controls(comm=ranks), **run)
        found.append([watched.observables[-1], watched.values[-1], ensemble.residual, ensemble.centre])
    for mine, alone in zip(*found, strict=True):
        assert mine == pytest.approx(alone, abs=1e-12)


BASE = {
    "system": "meanfield",
    "model": {"dimension": 1, "sigma": 0.5, "interaction": {"kind": "harmonic", "strength": 0.5}},
    "initial": {"species": [[{"mass": 1.0, "center": [0.3], "width": 0.5}]]},
    "time": {"end": 0.5},
    "pde": {"mesh": {"shape": "box", "size": 8.0, "origin": -4.0, "cell_size": 0.1}, "step": 0.05},
    "particles": {"counts": [20], "replicas": 4, "step": 0.05},
    "compare": {"test_functions": [{"shape": "gaussian", "center": [0.0], "width": 1.0}]},
}

WRONG = {
    "lopsided": ({"model.interaction": {"python": "wells.py:lopsided"}}, "Gamma must be even"),
    "slope": ({"model.interaction": {"python": "wells.py:wrong_slope"}}, "the gradient is not that of the values"),
    "none": ({"model.interaction": {"python": "wells.py:nothing"}}, "has no function nothing"),
    "exterior": ({"model.exterior": {"python": "wells.py:wrong_slope"}}, "the gradient is not that of the values"),
    "particles": ({"particles.interaction": {"python": "wells.py:lopsided"}}, "particles.interaction: python"),
    "species": ({"model.strengths": [[1.0, 0.0], [0.0, 1.0]]}, "model.strengths is for 2 species"),
    "rows": ({"model.strengths": [[1.0, 0.0]]}, "1 rows must have as many entries each"),
    "n": ({"compare.test_functions.0.n": 2}, "n = 2: there are 1 species"),
    "charge": ({"compare.test_functions.0.charge": True}, "there are no charges"),
    "dimension": ({"model.dimension": 2}, "must have 2"),
    "mass": ({"initial.species.0.0.mass": 0.5}, "must add to 1"),
    "size": (
        {"compare.test_functions": [{"python": "wells.py:moving", "length": 0.5, "size": 0.5}]},
        "give at least that",
    ),
}


def checked(changes, folder):
    data = copy.deepcopy(BASE)
    for key, value in changes.items():
        cases.assign(data, key, value, where="test")
    return cases.check(data, folder=folder)


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told(name, wells):
    changes, message = WRONG[name]
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        checked(changes, wells.parent)


def test_a_narrow_box_is_a_caution(comm):
    case = checked({"pde.mesh.size": 2.0, "pde.mesh.origin": -1.0}, None)
    solver = SYSTEM.solver(case, comm)
    summary = SYSTEM.summary(solver, case)
    solver.solve(0.5, observers=[summary.add])
    assert [caution.name for caution in summary.cautions() if caution.exceeded] == ["mass_outside"]


def test_other_particles_are_never_confirmed():
    assert SYSTEM.departs(checked({}, None)) == ""
    assert SYSTEM.departs(checked({"particles.sigma": 0.5}, None)) == ""
    assert SYSTEM.departs(checked({"particles.sigma": 0.501}, None)).endswith("that of the equation is 0.5")
    other = {"particles.interaction": {"kind": "harmonic", "strength": 0.51}}
    assert SYSTEM.departs(checked(other, None)) == "particles.interaction: is not that of the equation"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "confirmed"),
        ({"particles.interaction": {"kind": "harmonic", "strength": 1.5}}, "refuted"),
    ],
    ids=["right", "another W"],
)
def test_verdicts(changes, status, tmp_path):
    size = {"particles.counts": [50, 200], "particles.replicas": 64, "compare.precision": 0.04}
    case = checked({**size, "output.pictures": False, **changes}, None)
    result = limitpde.run(case, out=tmp_path, quiet=True)
    assert result.summary["verdict"]["status"] == status
