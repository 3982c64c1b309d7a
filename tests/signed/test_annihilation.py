"""Charges that annihilate when they meet: the reaction 4 pi gamma_bar rho_+ rho_- of the limit, and particles.

The load is carried by the share that is left of two equal Gaussians, 0.81341 by the radial equation without a
potential, on both sides and at steps a factor of five apart. Seeds are fixed; means are allowed 4.5 standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from ensembles import DIPOLE, SE
from mpi4py import MPI
from scipy.special import k0
from solvers import everywhere, recorded

from limitpde.compare.test_functions import GaussianBump
from limitpde.densities import Gaussian
from limitpde.fem.mesh import Disk
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
