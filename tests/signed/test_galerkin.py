"""Elements of degree two to four for the signed system: orders, invariants, the gate, steps that follow a tolerance.

The load is carried by the errors against the Fourier reference with their orders in space and in time apart, and by the
second moment, which the equation knows exactly.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import functools
import math
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from radial import radial_reference

from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.errors import InputError, RunError
from limitpde.fem.mesh import Disk
from limitpde.signed import Initial, Model, PDEResidual, Solver
from limitpde.signed.exact import PROBLEMS, Blob, second_moment_rate
from limitpde.signed.plane_reference import PlaneReference

MESHES = Path(__file__).parents[2] / "meshes"
S1 = PROBLEMS["S1"]
MODEL = Model(sigma=math.sqrt(2 * S1.diffusivity), gamma_bar=S1.gamma_bar)
INITIAL = Initial(
    positive=[{"mass": 0.6, "center": (0.0, 0.0), "width": math.sqrt(0.5)}],
    negative=[{"mass": 0.4, "center": (0.0, 0.0), "width": math.sqrt(1.5)}],
)
DIPOLE = Initial(
    positive=[{"mass": 0.5, "center": (-1.0, 0.2), "width": 0.6}],
    negative=[{"mass": 0.5, "center": (1.0, -0.2), "width": 0.6}],
)


def solver_of(degree: int, rings: int, step: float, initial: Initial = INITIAL, **options) -> Solver:
    model = options.pop("model", MODEL)
    mesh = Disk(radius=8.0, cell_size=8.0 / rings)
    return Solver(model, initial, mesh=mesh, step=step, degree=degree, **options)


@functools.cache
def reference(t: float):
    plane = PlaneReference(diffusivity=S1.diffusivity, gamma_bar=S1.gamma_bar, half_width=12.0, points=128)
    return plane.solve(S1.initial_positive, S1.initial_negative, t, t / 50)


@functools.cache
def error_of(degree: int, rings: int, step: float, t: float = 1.0) -> float:
    """Relative error in L2 of rho_+ against the nodal values of the reference."""
    solver = solver_of(degree, rings, step)
    solver.solve(t)
    exact = reference(t).evaluate(solver.nodes.points)[0]
    error, norm = solver.densities["positive"] - exact, exact
    squares = solver.sums.total(error * solver.nodes.tested(error), norm * solver.nodes.tested(norm))
    return float(np.sqrt(squares[0] / squares[1]))


@pytest.mark.parametrize(("degree", "level"), [(2, 3e-4), (3, 1.3e-4), (4, 1.2e-4)])
def test_order_in_space(degree, level):
    """Errors at nodes: of order degree + 1 at least; levels at about 2,700 unknowns a density."""
    rings = {2: 15, 3: 10, 4: 8}[degree]
    coarse, fine = error_of(degree, rings, 0.1), error_of(degree, round(1.5 * rings), 0.1)
    assert coarse < level
    assert math.log(coarse / fine) / math.log(round(1.5 * rings) / rings) > degree + 0.8


def test_ten_thousand_unknowns_reach_two_parts_in_a_hundred_thousand():
    """The bar of the accuracy mode on S1; ten steps of order four do not add to it."""
    assert error_of(4, 15, 0.1) < 3e-6
    assert error_of(3, 20, 0.1) < 1e-5


def test_order_in_time():
    """On one mesh, against much smaller steps."""

    def end(step: float) -> np.ndarray:
        solver = solver_of(3, 10, step, DIPOLE, model=Model(sigma=1.0, gamma_bar=3.0))
        solver.solve(0.8)
        return solver

    exact = end(0.0125)
    errors = []
    for step in (0.2, 0.1):
        difference = end(step).densities["positive"] - exact.densities["positive"]
        errors.append(float(np.sqrt(exact.sums.total(difference * exact.nodes.tested(difference))[0])))
    assert math.log2(errors[0] / errors[1]) > 3.5


@pytest.mark.ranks
def test_exact_laws():
    reports = []
    solver = solver_of(4, 8, 0.1, DIPOLE)
    start = solver.figures()
    solver.solve(0.5, stops=[0.33], observers=[reports.append])
    end = solver.figures()
    for name in ("mass_positive", "mass_negative"):
        assert end[name] == pytest.approx(0.5, rel=1e-12)
    rate = second_moment_rate(MODEL.D, MODEL.gamma_bar, 0.5, 0.5)
    assert end["second_moment"] - start["second_moment"] == pytest.approx(0.5 * rate, rel=1e-4)
    assert abs(end["centre_x"]) < 1e-4
    assert all(report.figures["free_energy_increase"] < 0 for report in reports)
    assert all(report.order == 4 and not report.refused for report in reports)


def test_residual_of_the_solution():
    """W of the solution falls with the fourth power of the step, and sees another equation."""
    functions = [GaussianBump(center=(0.3, 0.0), width=1.0), Wave(k=(1.0, 0.5), phase=0.3, charge=True)]

    def residual(step: float, model: Model = MODEL) -> np.ndarray:
        """Of the solution for one model, in the equation of `MODEL`."""
        solver = solver_of(3, 20, step, DIPOLE, model=model)
        observer = PDEResidual(solver, functions, model=MODEL)
        solver.solve(0.4, observers=[observer])
        return np.abs(observer.values[-1])

    coarse, fine = residual(0.1), residual(0.05)
    assert (fine < 1e-7).all()
    assert (coarse / fine > 8.0).all()
    assert residual(0.1, Model(sigma=1.0, gamma_bar=0.4, diffusivity="paper")).min() > 1e-2


def test_steps_follow_the_tolerance():
    found = {}
    for tolerance in (1e-4, 1e-6):
        reports = []
        solver = solver_of(3, 10, 0.5, DIPOLE, tolerance=tolerance, model=Model(sigma=1.0, gamma_bar=2.0))
        solver.solve(1.0, observers=[reports.append])
        assert all(report.figures["error_estimate"] <= tolerance for report in reports)
        found[tolerance] = len(reports)
    assert 2 * found[1e-4] < found[1e-6] < 8 * found[1e-4]  # like tolerance^(-1/4), but for the ends


@functools.cache
def spreading_charge():
    """One sign that repels itself, (4.2) of radial data: sigma = 0.5, gamma_bar = 0.8, t = 0.5."""
    blob = Blob(1.0, (0.0, 0.0), 0.36)
    return radial_reference(blob.mass_within, np.zeros_like, diffusivity=0.125, gamma_bar=0.8, t_end=0.5)


@pytest.mark.ranks
@pytest.mark.parametrize(("degree", "level"), [(2, 2e-3), (3, 2e-4), (4, 4e-5)])
def test_gmsh_disks_are_rounded(degree, level):
    """The shipped disk, off its centre, with straight edges at the rim: errors at nodes, relative to the peak."""
    initial = Initial(positive=[{"mass": 1.0, "center": (0.3, 0.2), "width": 0.6}], negative=[])
    model, mesh = Model(sigma=0.5, gamma_bar=0.8), str(MESHES / "disk.msh")
    solver = Solver(model, initial, mesh=mesh, step=0.05, degree=degree)
    solver.solve(0.5)
    own = solver.nodes.points[: solver.nodes.owned]
    exact = spreading_charge().densities(np.hypot(*(own - (0.3, 0.2)).T))[0]
    error = np.abs(solver.densities["positive"][: len(own)] - exact).max(initial=0.0)
    assert solver.nodes.comm.allreduce(error, op=MPI.MAX) < level * 0.18664
    rate = second_moment_rate(0.125, 0.8, 1.0, 0.0)
    moment = 0.3**2 + 0.2**2 + 2 * 0.6**2 + 0.5 * rate
    assert solver.figures()["second_moment"] == pytest.approx(moment, rel=level)


def test_the_gate_refuses_what_the_equation_forbids():
    strong = Model(sigma=0.6, gamma_bar=5.0)
    reports = []
    solver = solver_of(3, 20, 1.0, DIPOLE, model=strong)
    solver.solve(1.0, observers=[reports.append])
    assert sum(len(report.refused) for report in reports) > 0
    assert reports[-1].t == pytest.approx(1.0)
    assert all(report.figures["free_energy_increase"] < 1e-8 for report in reports)
    assert min(report.figures["minimum"] for report in reports) > -1e-3 * reports[0].figures["maximum"]
    with pytest.raises(RunError, match="below -1e-05 of the largest"):  # layers that the elements do not resolve
        solver_of(2, 24, 0.05, DIPOLE, undershoot=1e-5, model=Model(sigma=0.1, gamma_bar=2.0)).solve(0.5)


@pytest.mark.parametrize("interaction", ["repulsive", "attractive"])
def test_second_moment_in_a_harmonic_potential(interaction):
    """I' = 4 D M +- gamma_bar M^2 - 2 k I for one species, and a free energy that falls."""
    k, gamma_bar = 1.5, 1.0
    model = Model(
        sigma=1.0, gamma_bar=gamma_bar, interaction=interaction, confinement={"kind": "harmonic", "strength": k}
    )
    cloud = Initial(positive=[{"mass": 1.0, "center": (0.0, 0.0), "width": 0.8}])
    reports = []
    solver = solver_of(3, 14, 0.05, cloud, model=model)
    start = solver.figures()["second_moment"]
    solver.solve(0.5, observers=[reports.append])
    settled = (4 * model.D + model.sense * gamma_bar) / (2 * k)
    expected = settled + (start - settled) * math.exp(-2 * k * 0.5)
    assert solver.figures()["second_moment"] == pytest.approx(expected, rel=1e-4)
    assert all(report.figures["free_energy_increase"] < 0 for report in reports)


@pytest.mark.ranks
def test_bad_input():
    with pytest.raises(InputError, match=r"pde\.degree = 5: must be 1, 2, 3 or 4"):
        solver_of(5, 4, 0.1)
    with pytest.raises(InputError, match=r"model\.gamma_bar is missing"):
        solver_of(2, 4, 0.1, model=Model(sigma=1.0, gamma=0.1))
    with pytest.raises(InputError, match=r"pde\.step = 0"):
        solver_of(2, 4, 0.0)
    far = Initial(positive=[{"mass": 1.0, "center": (20.0, 0.0), "width": 0.5}])
    with pytest.raises(InputError, match=r"initial\.positive\[0\]: the mesh sees .* of its mass; it lies outside"):
        solver_of(2, 4, 0.1, far)
    with pytest.raises(InputError, match=r"pde\.mesh: at time 0 a density falls to .*finer mesh"):
        solver_of(2, 5, 0.1, DIPOLE)
