"""The noiseless system (1.5), sigma = 0: corrected fluxes, the disk law, and what they cost in accuracy; particles too.

The load is carried by the exact law of a uniform disk, r(t)^2 = r_0^2 + 2 gamma_bar M t, which holds for the mass
within any circle of radial data, and by mass and sign at rounding level.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import itertools
import math

import numpy as np
import pytest
from mpi4py import MPI
from signed_laws import uniform_disk_radius
from solvers import everywhere

from limitpde.densities import Gaussian, UniformDisk
from limitpde.experiment import run
from limitpde.fem.edge_flux import add_mean_density, fill_transport
from limitpde.fem.mesh import Disk
from limitpde.signed.case import Case
from limitpde.signed.model import Initial, Model
from limitpde.signed.pde import Solver

MODEL = Model(sigma=0.0, gamma_bar=1.0, interaction="repulsive")
END = 0.5


def solver_of(part, rings, *, step=None, **options):
    mesh = Disk(radius=4.0, cell_size=4.0 / rings)
    return Solver(MODEL, Initial(positive=(part,)), mesh=mesh, step=step or 1.0 / rings, **options)


def spread_disk(rings):
    """Error in L1 of the unit disk of mass 1 at the end; its middle keeps the law rho_0 / (1 + 2 pi rho_0 t)."""
    solver = solver_of(UniformDisk(mass=1.0, center=(0.0, 0.0), radius=1.0), rings)
    density = solver.figures()["maximum"]  # 1 / pi, but for the scaling to the mass 1
    solver.solve(END)
    radius = uniform_disk_radius(initial_radius=1.0, gamma_bar=1.0, mass=1.0, time=END)
    r = np.hypot(*solver.graph.points.T)
    exact = (r < radius) / (np.pi * radius**2)
    (error,) = solver.graph.sums.total(solver.graph.area * np.abs(solver.densities["positive"] - exact))
    middle = np.where(r < 1e-9, solver.densities["positive"], 0.0)
    assert solver.sums.maximum(middle) == pytest.approx(density / (1 + 2 * np.pi * density * END), rel=2.0 / rings**2)
    return float(error)


def test_disk_spreads_by_its_law_at_order_one():
    coarse, fine = spread_disk(23), spread_disk(83)  # three quarters of a cell to the rim: no node lies on it
    rate = math.log(coarse / fine) / math.log(83 / 23)
    assert 0.85 < rate < 1.1
    assert fine < 0.07


def mass_within(solver, radius):
    """int_{|x| < radius} rho by a smooth cut, which the mass near the circle enters with its share."""
    r = np.hypot(*solver.graph.points.T)
    return float(solver.sums.total(solver.graph.area * solver.densities["positive"] * np.exp(-((r / radius) ** 4)))[0])


def characteristic_mass(radius):
    """The same of the exact solution: radii move by r^2 -> r^2 + 2 gamma_bar m(r) t, m the mass within."""
    y = (np.arange(200_000) + 0.5) * (16.0 / 200_000)  # r^2 at time 0
    mass = -np.expm1(-y / (2 * 0.5))
    share = np.exp(-y / (2 * 0.5)) / (2 * 0.5) * (16.0 / 200_000)
    return float(share @ np.exp(-(((y + 2 * mass * END) / radius**2) ** 2)))


def test_smooth_data_at_order_two():
    errors = []
    for rings in (20, 40, 80):
        solver = solver_of(Gaussian(mass=1.0, center=(0.0, 0.0), width=math.sqrt(0.5)), rings)
        solver.solve(END)
        errors.append(abs(mass_within(solver, 1.2) - characteristic_mass(1.2)))
    rates = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert min(rates) > 1.9
    assert errors[-1] < 2e-4


def test_mass_sign_and_energy():
    solver = solver_of(UniformDisk(mass=1.0, center=(0.3, 0.1), radius=1.0), 30)
    before = solver.figures()
    reports = []
    solver.solve(END, observers=[reports.append])
    for report in reports:
        now = report.figures
        assert now["minimum"] >= 0.0
        assert abs(now["mass_positive"] - 1.0) < 1e-12
        assert now["free_energy"] <= before["free_energy"]
        before = now
    assert before["mass_outside"] < 1e-3


@pytest.mark.ranks
def test_both_signs_without_noise(comm):
    initial = Initial(
        positive=(Gaussian(mass=0.5, center=(-0.6, 0.0), width=0.5),),
        negative=(Gaussian(mass=0.5, center=(0.6, 0.0), width=0.5),),
    )
    model = Model(sigma=0.0, gamma_bar=1.0)
    mesh = Disk(radius=5.0, cell_size=0.25)
    together, alone = (Solver(model, initial, mesh=mesh, step=0.02, comm=c) for c in (comm, MPI.COMM_SELF))
    for solver in (together, alone):
        solver.solve(0.2)
    assert np.abs(everywhere(together) - everywhere(alone)).max() < 1e-9
    now = alone.figures()
    assert (now["mass_positive"], now["mass_negative"]) == pytest.approx((0.5, 0.5), rel=1e-12)


def test_upwind_flux_is_the_limit_of_the_fitted_one():
    rng = np.random.default_rng(1)
    tail, head = np.array([0, 1, 0], dtype=np.int32), np.array([1, 2, 2], dtype=np.int32)
    weight, psi, rho = rng.random(3), rng.normal(size=3), rng.random(3)
    psi[2] = psi[1]  # one edge without a drift
    limit, near = np.empty((4, 3)), np.empty((4, 3))
    means = np.zeros((2, 3))
    for entries, mean, diffusivity in ((limit, means[0], 0.0), (near, means[1], 1e-5)):
        fill_transport(entries, weight, 0.7 * weight * (psi[head] - psi[tail]), diffusivity)
        add_mean_density(mean, tail, head, psi, rho, diffusivity, 0.7)
    assert np.abs(limit - near).max() < 2e-5
    assert np.abs(means[0] - means[1]).max() < 1e-4
    assert np.all(limit[0] * limit[3] == 0.0)
    drop = 0.7 * (psi[tail] - psi[head])
    flux = limit[0] * rho[tail] + limit[1] * rho[head]
    assert flux == pytest.approx(weight * means[0] * drop, rel=1e-14, abs=1e-300)


def test_particles_without_noise_run_from_a_case(shared_folder, comm):
    """The variance of W is zero in theory; what is left is the bias of the time step."""
    case = Case(
        system="signed",
        model=MODEL,
        initial=Initial(positive=(Gaussian(mass=1.0, center=(0.0, 0.0), width=0.7),)),
        time={"end": 0.2},
        pde={"mesh": {"radius": 4.0, "cell_size": 0.4}, "step": 0.02},
        particles={"counts": [32, 64], "replicas": 4, "step": 0.01},
        compare={"test_functions": [{"shape": "gaussian", "center": [0.2, 0.0], "width": 1.0}]},
        output={"pictures": False},
    )
    summary = run(case, out=shared_folder, comm=comm)
    assert summary["status"] == "done", summary["reason"]
    assert all("theory" not in rate for rate in summary["compare"]["rates"])  # Lemma 5.10 is about the noise
    for entry in summary["compare"]["residual"]:
        assert not entry["in_theory"]
        assert entry["theory_variance"] == 0.0
        assert abs(entry["mean"]) < 1e-3
    for entry in summary["particles"]:
        growth = entry["second_moment"]["end"]["mean"] - entry["second_moment"]["start"]["mean"]
        assert growth == pytest.approx(0.2 * entry["second_moment"]["rate_theory"], rel=2e-2)
