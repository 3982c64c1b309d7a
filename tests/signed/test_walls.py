"""Walls and exterior potentials: equilibria with closed forms, reached in time, to second order in the mesh size.

The load is carried by the Liouville disk (repulsive and attractive), the Gouy-Chapman layers between plates, the
counter-ions between plates, Boltzmann's law in an exterior potential, and by the electrochemical potential
D log rho + b g psi + U, which must be the same at all nodes.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import itertools
import math

import numpy as np
import pytest
from mpi4py import MPI
from scipy.optimize import brentq
from solvers import difference, everywhere
from strips import HEIGHT, spread_of_mu, write_strip

from limitpde.compare.test_functions import GaussianBump
from limitpde.densities import DensityFromFile as FromPython
from limitpde.densities import Gaussian, Uniform, UniformDisk
from limitpde.errors import InputError
from limitpde.experiment import run
from limitpde.fem.mesh import Box, Disk
from limitpde.signed.case import PDE, Case
from limitpde.signed.confinement import ConfinementFromFile, HarmonicTrap
from limitpde.signed.model import Initial, Model
from limitpde.signed.particles import simulate
from limitpde.signed.pde import Solver
from limitpde.signed.residual import PDEResidual
from limitpde.signed.summary import PDESummary

FUNCTIONS = """
import numpy as np


def wave(x):
    inside = (np.abs(x - 0.5) < 0.501).all(axis=1)
    return inside * (1 + 0.01 * np.cos(np.pi * x[:, 0]))


def strip(x):
    return 1.0 * (np.abs(x[:, 1] - 0.2) < 0.201)


def well(x):
    return x[:, 0] ** 4 + 0.5 * x[:, 1] ** 2 + 0.3 * x[:, 0]


def slope(x):
    return np.stack([4 * x[:, 0] ** 3 + 0.3, x[:, 1]], axis=1)


def steep(x):
    return 1.2 * slope(x)


def nan(x):
    return np.full(len(x), np.nan)
"""


def orders(errors):
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


@pytest.fixture
def files(shared_folder, comm):
    """A folder with the functions above, and strips -1 < x < 1 whose plates are marked, of two mesh sizes."""
    if comm.rank == 0:
        (shared_folder / "functions.py").write_text(FUNCTIONS)
        for cells in (40, 80):
            write_strip(shared_folder / f"strip{cells}.msh", cells)
    comm.barrier()
    return shared_folder


# Equilibria


@pytest.mark.parametrize("boundary", ["plane", "grounded"])
@pytest.mark.parametrize(
    ("interaction", "gamma_bar", "centre"), [("repulsive", 2.0, 0.1591549), ("attractive", 1.5, 1.2732395)]
)
def test_liouville_disk(interaction, gamma_bar, centre, boundary):
    model, sense = (
        Model(sigma=1.0, gamma_bar=gamma_bar, interaction=interaction),
        1 if interaction == "repulsive" else -1,
    )
    a = gamma_bar / (2.0 + sense * gamma_bar)
    errors = []
    for rings in (10, 20):
        initial = Initial(positive=(UniformDisk(mass=1.0, center=(0.0, 0.0), radius=1.0 + 1e-9),))
        solver = Solver(model, initial, mesh=Disk(radius=1.0, cell_size=1.0 / rings), step=0.2, boundary=boundary)
        solver.solve(6.0)
        r2 = (solver.graph.points**2).sum(axis=1)
        exact = 2.0 * a / (np.pi * gamma_bar) / (1 - sense * a * r2) ** 2
        assert exact[r2 < 1e-18] == pytest.approx(centre, rel=1e-6)
        errors.append(difference(solver.graph, solver.densities["positive"], exact))
        assert spread_of_mu(solver) < 1e-7
    assert errors[1] < 6e-3
    assert orders(errors)[0] > 1.9


def test_gouy_chapman_layers_at_plates_of_opposite_potential(files):
    """tanh(phi / 4) = tanh(phi_0 / 4) e^(-kappa x), phi = gamma_bar psi / D, kappa^2 = 4 pi gamma_bar c / D."""
    model = Model(sigma=1.0, gamma_bar=2.0)
    errors = []
    for cells in (40, 80):
        solver = Solver(
            model,
            Initial(positive=(uniform_part(files),), negative=(uniform_part(files),)),
            mesh=files / f"strip{cells}.msh",
            boundary={"left": 0.25, "right": -0.25},
            step=0.1,
        )
        solver.solve(15.0)
        assert spread_of_mu(solver) < 1e-9
        plus, minus = solver.densities.values()
        background = math.sqrt(float(solver.sums.maximum(plus * minus)))  # rho+ rho- is the same everywhere
        kappa = math.sqrt(4 * np.pi * model.gamma_bar / model.D * background)
        assert np.exp(-2 * kappa) < 1e-6  # the two layers overlap only where they are weak, and add
        x, tangent = solver.graph.points[:, 0], math.tanh(0.25 * model.gamma_bar / model.D / 4)
        phi = 4 * np.arctanh(tangent * np.exp(-kappa * (1 + x))) - 4 * np.arctanh(tangent * np.exp(-kappa * (1 - x)))
        errors.append(difference(solver.graph, plus, background * np.exp(-phi)))
    assert errors[1] < 1e-3
    assert orders(errors)[0] > 1.9


def uniform_part(folder):
    return FromPython(python=f"{folder / 'functions.py'}:strip", mass=1.0, center=(0.0, 0.2), radius=1.05)


def test_counter_ions_between_plates(files):
    """rho = rho_m / cos^2(k x), k^2 = pi gamma_bar rho_m / D."""
    model = Model(sigma=1.0, gamma_bar=0.5)
    rate = np.pi * model.gamma_bar / model.D
    k = brentq(lambda k: 2 * k / rate * math.tan(k) - 1.0 / HEIGHT, 1e-3, math.pi / 2 - 1e-6)
    errors = []
    for cells in (40, 80):
        solver = Solver(
            model,
            Initial(positive=(uniform_part(files),)),
            mesh=files / f"strip{cells}.msh",
            boundary={"left": 0.0, "2": 0.0},
            step=0.1,
        )
        solver.solve(20.0)
        assert spread_of_mu(solver) < 1e-10
        exact = k**2 / rate / np.cos(k * solver.graph.points[:, 0]) ** 2
        errors.append(difference(solver.graph, solver.densities["positive"], exact))
    assert errors[1] < 2e-2
    assert orders(errors)[0] > 1.8


def test_boltzmann_law_in_an_exterior_potential(files):
    confinement = ConfinementFromFile(python=f"{files / 'functions.py'}:well")
    model = Model(sigma=1.0, gamma_bar=0.0, confinement=confinement)
    errors = []
    for cells in (10, 20):
        box = Box(size=(3.0, 3.0), origin=(-1.5, -1.5), cell_size=3.0 / cells)
        solver = Solver(
            model,
            Initial(positive=(Gaussian(mass=1.0, center=(0.2, 0.0), width=0.6),)),
            mesh=box,
            boundary="insulated",
            step=0.2,
        )
        solver.solve(30.0)
        assert spread_of_mu(solver) < 1e-6
        weight = np.exp(-confinement.potential(solver.graph.points) / model.D)
        line = np.linspace(-1.5, 1.5, 3001)
        first = np.trapezoid(np.exp(-(line**4 + 0.3 * line) / model.D), line)
        second = np.trapezoid(np.exp(-0.5 * line**2 / model.D), line)
        errors.append(difference(solver.graph, solver.densities["positive"], weight / (first * second)))
    assert errors[1] < 1e-2
    assert orders(errors)[0] > 1.9


# Dynamics


@pytest.mark.parametrize(("charges", "factor"), [(1, 2.0), (2, 4.0)])
def test_a_wave_between_insulated_walls_relaxes_at_its_rate(files, charges, factor):
    """u ~ e^(-(D k^2 + 2 pi gamma_bar v) t), v all particles; one sign needs the neutralising background."""
    model = Model(sigma=1.0, gamma_bar=0.5)
    part = FromPython(python=f"{files / 'functions.py'}:wave", mass=1.0, center=(0.5, 0.5), radius=0.75)
    flat = Gaussian(mass=1.0, center=(0.5, 0.5), width=50.0)
    initial = Initial(positive=(part,), negative=(flat,) if charges == 2 else ())
    box = Box(size=(1.0, 1.0), cell_size=0.05)
    if charges == 2:
        with pytest.raises(InputError, match=r"initial.negative\[0\]"):
            Solver(model, initial, mesh=box, boundary="insulated", step=0.005)
        initial = Initial(positive=(part,), negative=(Uniform(mass=1.0),))
    solver = Solver(model, initial, mesh=box, boundary="insulated", step=0.005)

    def amplitude():
        u = sum(b * rho for b, rho in zip(solver.charges, solver.densities.values(), strict=True))
        return float(solver.sums.total(solver.graph.area * u * np.cos(np.pi * solver.graph.points[:, 0]))[0])

    start = amplitude()
    solver.solve(0.2)
    rate = model.D * np.pi**2 + factor * np.pi * model.gamma_bar
    assert math.log(start / amplitude()) / 0.2 == pytest.approx(rate, rel=1e-2)


def test_free_energy_and_residual_between_walls(files):
    found = []
    for cells in (40, 80):
        solver = Solver(
            Model(sigma=1.0, gamma_bar=2.0),
            Initial(positive=(uniform_part(files),), negative=(uniform_part(files),)),
            mesh=files / f"strip{cells}.msh",
            boundary={"left": 0.5, "right": -0.5},
            step=0.4 / cells,
        )
        residual = PDEResidual(solver, [GaussianBump(center=(-0.7, 0.2), width=0.4, charge=True)])
        reports = []
        solver.solve(0.2, observers=[residual, reports.append])
        assert all(report.refused == () for report in reports)
        assert all(report.figures["free_energy_increase"] <= 0.0 for report in reports)
        assert abs(reports[-1].figures["mass_positive"] - 1.0) < 1e-12
        found.append(abs(residual.values[-1][0]))
    assert found[1] < 2e-3
    assert orders(found)[0] > 1.6


@pytest.mark.parametrize("interaction", ["repulsive", "attractive"])
def test_second_moment_in_a_harmonic_potential(interaction):
    """I' = 4 D M + g (net charge)^2 - 2 k I about the centre of the potential, and the residual, to second order."""
    model = Model(
        sigma=1.0, gamma_bar=1.2, interaction=interaction, confinement=HarmonicTrap(strength=1.5, center=(0.4, 0.0))
    )
    defects, residuals = [], []
    for rings in (40, 80):
        initial = Initial(positive=(Gaussian(mass=1.0, center=(-0.3, 0.2), width=0.7),))
        solver = Solver(model, initial, mesh=Disk(radius=5.0, cell_size=5.0 / rings), step=0.8 / rings)
        summary = PDESummary(solver)
        residual = PDEResidual(solver, [GaussianBump(center=(0.2, 0.1), width=0.8)])
        solver.solve(0.4, observers=[residual, summary.add])
        moment = summary.figures()["second_moment"]
        defects.append(abs(moment["end"] - moment["end_theory"]))
        residuals.append(abs(residual.values[-1][0]))
    assert defects[1] < 2e-3
    assert residuals[1] < 1e-3
    assert orders(defects)[0] > 1.9
    assert orders(residuals)[0] > 1.9


def test_gradients_of_exterior_potentials(files):
    x = np.random.default_rng(2).normal(size=(50, 2))
    reference = f"{files / 'functions.py'}:well"
    differences = ConfinementFromFile(python=reference).gradient(x)
    given = ConfinementFromFile(python=reference, gradient_python=f"{files / 'functions.py'}:slope").gradient(x)
    assert np.abs(differences - given).max() < 1e-8
    wrong = ConfinementFromFile(python=reference, gradient_python=f"{files / 'functions.py'}:steep")
    model = Model(sigma=1.0, gamma_bar=0.5, confinement=wrong)
    initial = Initial(positive=(Gaussian(mass=1.0, center=(0.2, 0.0), width=0.5),))
    for refused in (
        lambda: wrong.check(x),
        lambda: Solver(model, initial, mesh=Disk(radius=3.0, cell_size=0.3), step=0.1),
        lambda: simulate(model, initial, count=40, replicas=1, step=0.1, end=0.2),
    ):
        with pytest.raises(InputError, match=r"is not the gradient of confinement\.python: at x = .*differences of U"):
            refused()
    with pytest.raises(InputError, match="finite real values, not nan"):
        ConfinementFromFile(python=f"{files / 'functions.py'}:nan")


# Input and ranks


@pytest.mark.ranks
@pytest.mark.parametrize("boundary", [{"left": 0.5}, "grounded", "insulated"])
def test_fields_do_not_depend_on_the_number_of_ranks(files, comm, boundary):
    def solver_on(c):
        solver = Solver(
            Model(sigma=1.0, gamma_bar=2.0, confinement=HarmonicTrap(strength=1.0)),
            Initial(positive=(Gaussian(mass=1.0, center=(0.3, 0.2), width=0.07),), negative=(uniform_part(files),)),
            mesh=files / "strip40.msh",
            boundary=boundary,
            step=0.02,
            comm=c,
        )
        solver.solve(0.2)
        return everywhere(solver)

    assert np.abs(solver_on(comm) - solver_on(MPI.COMM_SELF)).max() < 1e-9


@pytest.mark.ranks
@pytest.mark.parametrize("boundary", ["grounded", "insulated"])
def test_a_step_leaves_the_state_before_it_as_it_was(comm, boundary):
    parts = [(Gaussian(mass=1.0, center=(x, 0.5), width=0.1),) for x in (0.3, 0.7)]
    initial, box = Initial(positive=parts[0], negative=parts[1]), Box(size=(1.0, 1.0), cell_size=0.1)
    solver = Solver(Model(sigma=1.0, gamma_bar=2.0), initial, mesh=box, boundary=boundary, step=0.01, comm=comm)
    for _ in range(2):  # backward Euler, BDF2
        before = [solver.potential, *solver.densities.values()]
        copies = [values.copy() for values in before]
        solver.step(0.01)
        assert all(np.array_equal(a, b) for a, b in zip(before, copies, strict=True))


@pytest.mark.ranks
def test_a_case_with_walls_runs(files, comm):
    case = Case(
        system="signed",
        model=Model(sigma=1.0, gamma_bar=2.0, confinement={"kind": "harmonic", "strength": 2.0}),
        initial=Initial(positive=(Gaussian(mass=1.0, center=(0.0, 0.2), width=0.07),)),
        time={"end": 0.2},
        pde=PDE(mesh=str(files / "strip40.msh"), boundary={"left": 1.0, "right": 0.0}, step=0.02),
        compare={"test_functions": [{"shape": "gaussian", "center": [0.0, 0.2], "width": 0.5}]},
    )
    summary = run(case, out=files / "result", comm=comm)
    assert summary["status"] == "done", summary["reason"]
    assert summary["cautions"]["cell_peclet"]["value"] > 1  # potentials of 1 and 0 at plates, in cells of 0.05
    assert summary["warnings"] == [w for w in summary["warnings"] if "nodes see" in w or "drift is strong" in w]
    assert "rate_theory" not in summary["pde"]["second_moment"]


@pytest.mark.ranks
def test_wrong_walls_are_told(files):
    initial, model = (
        Initial(positive=(Gaussian(mass=1.0, center=(0.0, 0.2), width=0.2),)),
        Model(sigma=1.0, gamma_bar=1.0),
    )
    with pytest.raises(InputError, match=r"no lines of a physical group 'top' \(it has 'left', 'right', '1', '2'\)"):
        Solver(model, initial, mesh=files / "strip40.msh", boundary={"top": 1.0}, step=0.1)
    with pytest.raises(InputError, match=r"must be a circle.*pde.boundary"):
        Solver(model, initial, mesh=files / "strip40.msh", step=0.1)
    with pytest.raises(InputError, match="only a gmsh file has"):
        PDE(mesh=Disk(radius=1.0, cell_size=0.5), boundary={"left": 1.0}, step=0.1)
    with pytest.raises(InputError, match=r"boundary = 'open': must be 'plane', 'grounded' or 'insulated'"):
        PDE(mesh=Disk(radius=1.0, cell_size=0.5), boundary="open", step=0.1)
    with pytest.raises(InputError, match="degree = 2"):
        PDE(mesh=Disk(radius=1.0, cell_size=0.5), boundary="grounded", degree=2, step=0.1)
