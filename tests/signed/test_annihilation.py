"""Charges that annihilate when they meet: the reaction 4 pi gamma_bar rho_+ rho_- of the limit, and particles.

The load is carried by the share that is left of two equal Gaussians, 0.81341 by the radial equation without a
potential, on both sides and at steps a factor of five apart. Seeds are fixed; means are allowed 4.5 standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import csv
import math

import numpy as np
import pytest
from ensembles import DIPOLE, SE, points_file
from mpi4py import MPI
from scipy.special import k0
from solvers import everywhere, recorded

from limitpde.compare.test_functions import GaussianBump
from limitpde.densities import Gaussian, Uniform
from limitpde.experiment import run
from limitpde.fem.mesh import Box, Disk, Refinement
from limitpde.nbody.replicas import Controls
from limitpde.parallel import on_root
from limitpde.signed import meetings
from limitpde.signed.case import Case
from limitpde.signed.encounters import Encounters
from limitpde.signed.model import Initial, Model
from limitpde.signed.particles import simulate
from limitpde.signed.pde import Solver
from limitpde.signed.residual import PDEResidual
from limitpde.signed.summary import PDESummary

HALF = Gaussian(mass=0.5, center=(0.0, 0.0), width=1.0)
EQUAL = Initial(positive=(HALF,), negative=(HALF,))
MODEL = Model(sigma=1.0, gamma_bar=1.2, annihilation=True)
LEFT = 0.81341


@pytest.mark.parametrize(("degree", "step", "error"), [(1, 0.02, 1e-3), (2, 0.05, 5e-4)])
def test_what_is_left_by_the_equation(degree, step, error):
    solver = Solver(MODEL, EQUAL, mesh=Disk(radius=7.0, cell_size=0.4), step=step, degree=degree)
    summary = PDESummary(solver)
    residual = PDEResidual(solver, [GaussianBump(center=(0.5, 0.0), width=1.0)])
    solver.solve(0.5, observers=[summary.add, residual])
    masses = summary.figures()["mass"]
    assert masses["positive"]["end"] + masses["negative"]["end"] == pytest.approx(LEFT, abs=error)
    assert summary.refused == 0
    assert abs(residual.values[-1][0]) < 2e-3


@pytest.mark.ranks
def test_the_net_charge_keeps_its_integral(comm):
    more = Gaussian(mass=0.7, center=(0.4, 0.0), width=0.8)
    initial = Initial(positive=(more,), negative=(Gaussian(mass=0.3, center=(-0.2, 0.0), width=0.7),))
    options = {"mesh": Disk(radius=6.0, cell_size=0.4), "step": 0.02}
    together, alone = (Solver(MODEL, initial, **options, comm=c) for c in (comm, MPI.COMM_SELF))
    for report in recorded(together, 0.2):
        figures = report.figures
        assert figures["mass_positive"] - figures["mass_negative"] == pytest.approx(0.4, abs=1e-13)
        assert figures["minimum"] >= 0.0
    assert together.figures()["mass_negative"] < 0.25
    alone.solve(0.2)
    np.testing.assert_allclose(everywhere(together), everywhere(alone), atol=1e-10)


def test_a_step_in_which_too_much_would_vanish_is_shortened():
    solver = Solver(
        Model(sigma=1.0, gamma_bar=20.0, annihilation=True), EQUAL, mesh=Disk(radius=6.0, cell_size=0.5), step=0.1
    )
    report = solver.step(0.1)
    assert report.dt < 0.1
    assert "the annihilation is too fast for the step" in report.refused[0]


@pytest.mark.parametrize("step", [0.1, 0.02])
def test_what_is_left_of_particles_whatever_the_step(step):
    replicas = 300
    ensemble = simulate(
        MODEL, EQUAL, count=64, replicas=replicas, step=step, end=0.5, seed=1, collision="annihilate",
        test_functions=[GaussianBump(center=(0.0, 0.0), width=1.0)],
    )  # fmt: skip
    share = ensemble.survivors[:, -1] / 64
    assert abs(share.mean() - LEFT) < SE * share.std() / math.sqrt(replicas)
    assert share.std() / math.sqrt(replicas) < 0.005  # nearest neighbours alone leave 0.88 and more
    w = ensemble.residual[:, 0, -1]
    assert abs(w.mean()) < SE * w.std() / math.sqrt(replicas)
    assert w.var() == pytest.approx(ensemble.quadratic_variation[:, 0].mean(), rel=0.3)
    assert (ensemble.survivors % 2 == 0).all()


@pytest.mark.parametrize("brute_force", [True, False])
def test_who_meets(monkeypatch, brute_force):
    """A pair that stays near meets as often as its hazard says; partners, equal signs, and who is gone, never."""
    if not brute_force:
        monkeypatch.setattr(meetings, "BRUTE_FORCE", 0)
    replicas, charges = 20_000, np.tile([1.0, -1.0, 1.0, -1.0], (20_000, 1))
    x = np.tile([0.0, 0.1, 0.05, -0.05], (replicas, 1))
    before, after = (x, np.zeros_like(x)), (x + np.array([0.0, 0.02, 0.0, 0.0]), np.zeros_like(x))
    encounters = Encounters.none(replicas, 4)
    encounters.alive[:, 3] = False
    partner = np.tile([-1, 2, 1, -1], (replicas, 1))
    options = {"ratio": np.full(replicas, 0.02), "spread": np.full(replicas, 0.02), "seed": 3}
    options |= {"replicas": np.arange(replicas), "number": np.zeros(replicas, dtype=np.int64)}
    pairs = meetings.meet(before, after, charges, partner, encounters, **options)
    assert meetings.bound(pairs, encounters, vanish=True).shape == pairs.shape
    z = 0.1 * 0.12 / 0.02
    chance = -math.expm1(-2 * 0.02 * k0(z) * math.exp(-z))
    assert set(map(tuple, pairs[:, 1:].tolist())) == {(0, 1)}
    assert abs(len(pairs) / replicas - chance) < SE * math.sqrt(chance / replicas)
    assert not encounters.alive[pairs[:, 0], 0].any()
    assert (encounters.bond[pairs[:, 0], 1] == 0).all()


def test_a_case_gives_its_equation_the_reaction():
    sections = {
        "system": "signed",
        "initial": EQUAL,
        "time": {"end": 0.5},
        "pde": {"mesh": Disk(radius=6.0, cell_size=0.5), "step": 0.1},
        "particles": {"counts": [8], "step": 0.1, "collision": "annihilate"},
    }
    for given, reacts in ((None, True), (True, True), (False, False)):
        case = Case(model={"sigma": 1.0, "gamma_bar": 1.2, "annihilation": given}, **sections)
        assert (case.limit.reaction > 0) == reacts
    through = Case(model={"sigma": 1.0, "gamma_bar": 1.2}, **sections | {"particles": {"counts": [8], "step": 0.1}})
    assert through.limit.reaction == 0
    with pytest.raises(ValueError, match="annihilation = true: is for interaction = 'signed'"):
        Model(sigma=1.0, gamma_bar=1.0, annihilation=True, interaction="attractive")


def test_dipoles_keep_their_difference_between_the_signs():
    ensemble = simulate(
        Model(sigma=1.0, gamma_bar=4.0), DIPOLE, count=50, replicas=20, step=0.02, end=0.2, collision="annihilate"
    )
    assert (ensemble.survivors % 2 == 0).all()
    assert ensemble.survivors[:, -1].mean() < 50


# The equation: walls, meshes that follow, no noise, the law of the free energy


def test_uniform_charges_between_walls_follow_their_rate():
    """h' = -4 pi gamma_bar h^2 at each node, whatever the noise."""
    uniform = Uniform(mass=0.5)
    model, box = (
        Model(sigma=0.3, gamma_bar=0.4, annihilation=True),
        Box(size=(1.0, 2.0), cell_size=0.25),
    )
    initial = Initial(positive=(uniform,), negative=(uniform,))
    errors = []
    for step in (0.02, 0.01):
        solver = Solver(model, initial, mesh=box, step=step, boundary="insulated")
        solver.solve(0.5)
        start = 0.25
        exact = start / (1 + 4 * math.pi * 0.4 * start * 0.5)
        for density in solver.densities.values():
            np.testing.assert_allclose(density, density[0], rtol=1e-10)
            errors.append(abs(density[0] - exact))
    assert errors[2] < 0.3 * errors[0]
    assert errors[2] < 1e-4


@pytest.mark.parametrize(
    "options", [{"refinement": Refinement(tolerance=2e-3, smallest_cell=0.1)}, {"tolerance": 1e-4}, {"degree": 3}]
)
def test_both_signs_lose_the_same(options):
    """To rounding, on meshes that follow, in steps that follow, and with elements for smooth data; as much on each."""
    more, fewer = Gaussian(mass=0.6, center=(-0.5, 0.0), width=0.7), Gaussian(mass=0.4, center=(0.5, 0.0), width=0.8)
    initial = Initial(positive=(more,), negative=(fewer,))
    solver = Solver(MODEL, initial, mesh=Disk(radius=6.0, cell_size=0.3), step=0.02, **options)
    for report in recorded(solver, 0.3):
        lost = [mass - report.figures[f"mass_{name}"] for name, mass in zip(solver.densities, solver.mass, strict=True)]
        assert lost[0] == pytest.approx(lost[1], abs=2e-13)
        assert lost[0] > 0
        assert "degree" in options or report.figures["minimum"] >= 0.0
    assert solver.figures()["mass_negative"] == pytest.approx(0.33073, abs=1e-4)  # what the three schemes agree on


def energy_rate(solver):
    """-int rho_s |grad mu_s|^2 - k int rho_+ rho_- (mu_+ + mu_- + 2 D), mu_s = D log rho_s + b_s gamma_bar psi."""
    graph, model, rate = solver.graph, solver.model, 0.0
    logs = [np.log(np.maximum(density, 1e-280)) for density in solver.densities.values()]
    for density, log, charge in zip(solver.densities.values(), logs, solver.charges, strict=True):
        mu = model.D * log + charge * model.gamma_bar * solver.potential
        mean = 0.5 * (density[graph.tail] + density[graph.head])
        rate -= float((graph.weight * mean * (mu[graph.tail] - mu[graph.head]) ** 2).sum())
    plus, minus = solver.densities.values()
    lifted = plus * minus * model.D * (logs[0] + logs[1] + 2)
    return rate - model.reaction * float((graph.area * lifted).sum())


def test_the_free_energy_falls_by_fluxes_and_changes_by_what_vanishes():
    more, fewer = Gaussian(mass=0.6, center=(-0.4, 0.0), width=0.7), Gaussian(mass=0.4, center=(0.4, 0.0), width=0.8)
    initial, off = Initial(positive=(more,), negative=(fewer,)), []
    for cell, step in ((0.4, 0.02), (0.2, 0.01)):
        solver = Solver(MODEL, initial, mesh=Disk(radius=6.0, cell_size=cell), step=step, comm=MPI.COMM_SELF)
        times, rates, energies = [0.0], [energy_rate(solver)], [solver.figures()["free_energy"]]

        def note(report, solver=solver, times=times, rates=rates, energies=energies):
            times.append(report.t)
            rates.append(energy_rate(solver))
            energies.append(report.figures["free_energy"])

        solver.solve(0.3, observers=[note])
        off.append(abs(energies[-1] - energies[0] - np.trapezoid(rates, times)) / abs(energies[-1] - energies[0]))
    assert off[1] < 0.3 * off[0] < 0.3 * 0.2, off


# Without noise: by the equation Langevin's rate still, of particles 2 % more, as neighbours are not independent

QUIET = Model(sigma=0.0, gamma_bar=1.2, annihilation=True)
QUIET_LEFT = math.log1p(0.6) / 0.6


def test_without_noise_by_the_equation():
    solver = Solver(QUIET, EQUAL, mesh=Disk(radius=6.0, cell_size=0.2), step=0.02)
    residual = PDEResidual(solver, [GaussianBump(center=(0.5, 0.0), width=1.0)])
    solver.solve(0.5, observers=[residual])
    figures = solver.figures()
    assert figures["mass_positive"] + figures["mass_negative"] == pytest.approx(QUIET_LEFT, abs=1e-3)
    assert abs(residual.values[-1][0]) < 1e-3


@pytest.mark.parametrize("step", [0.05, 0.01])
def test_without_noise_by_particles(step):
    replicas = 60
    ensemble = simulate(QUIET, EQUAL, count=256, replicas=replicas, step=step, end=0.5, seed=2, collision="annihilate")
    share = ensemble.survivors[:, -1] / 256
    assert abs(share.mean() - 0.7787) < SE * share.std() / math.sqrt(
        replicas
    )  # of N = 64 to 4096 (docs/annihilation.md)
    assert share.std() / math.sqrt(replicas) < 0.005


def test_two_charges_without_noise_meet_when_they_must(comm, shared_folder):
    """|x|^2 falls by 4 gamma t: at a distance of 1 and gamma = 0.5 they meet at t = 1 / 2; equal ones move apart."""
    for signs, met in (((1, -1), True), ((1, 1), False)):
        initial = points_file(comm, shared_folder, [(-0.5, 0.0), (0.5, 0.0)], signs)
        options = {"count": 2, "replicas": 1, "pairs": "exact", "collision": "stick", "step": 0.03}
        model = Model(sigma=0.0, gamma=0.5)
        before = simulate(model, initial, end=0.49, **options)
        assert not before.collided.any()
        assert before.second_moment[0, -1] == pytest.approx(0.25 + (-1 if met else 1) * 0.49 * 0.5, rel=1e-12)
        after = simulate(model, initial, end=0.53, **options)
        assert after.collided.all() == met
        if met:
            assert after.second_moment[0, -1] == pytest.approx(0.0, abs=1e-25)
            assert 0.5 <= after.since[0, 0] == after.since[0, 1] <= 0.53


# What a run tells of collisions


def test_first_collisions_do_not_depend_on_the_step_or_on_what_follows():
    """Theorem 3.1 for N > 2."""
    model, replicas, found = Model(sigma=1.0, gamma_bar=0.6), 2000, []
    for collision, step in (("annihilate", 0.05), ("annihilate", 0.01), ("stick", 0.03), ("through", 0.03)):
        ensemble = simulate(
            model, EQUAL, count=6, replicas=replicas, step=step, end=0.5, seed=len(found), pairs="exact",
            collision=collision, estimate_eps=(0.2, 0.1),
        )  # fmt: skip
        assert ensemble.sees_collisions
        share = float(ensemble.collided.mean())
        found.append((share, math.sqrt(share * (1 - share) / replicas)))
        if collision != "through":
            assert ((ensemble.partners >= 0).any(axis=1) == ensemble.collided).all()
    for share, error in found[1:]:
        assert abs(share - found[0][0]) < SE * math.hypot(error, found[0][1]), found


@pytest.mark.ranks
def test_a_run_keeps_who_met_whom_and_when(comm, shared_folder):
    case = Case(
        system="signed", model={"sigma": 1.0, "gamma_bar": 2.0}, initial=EQUAL, time={"end": 0.3},
        particles={"counts": [16], "step": 0.05, "replicas": 5, "collision": "annihilate"}, output={"pictures": False},
    )  # fmt: skip
    summary = run(case, out=shared_folder, comm=comm)
    entry = summary["particles"][0]
    left = np.array(entry["survivors"]["mean"])[-1]
    assert entry["meetings"]["mean"] == pytest.approx((16 - left) / 2)
    assert 0 < entry["collisions"] <= 1
    path = shared_folder / "particles/N16/collisions.csv"
    rows = on_root(comm, lambda: list(csv.DictReader(path.read_text().splitlines())))
    assert len(rows) == 5 * entry["meetings"]["mean"]
    for row in rows:
        assert 0 < float(row["t"]) <= 0.3
        assert int(row["first"]) < 8 <= int(row["second"])  # the positive ones come first
    again = simulate(case.limit, EQUAL, count=16, controls=Controls(comm=comm), **case.simulation())
    assert [row["t"] for row in rows] == [str(row["t"]) for row in again.meetings()]
