"""The example system of demos/kuramoto: noisy oscillators and their nonlinear Fokker-Planck equation.

The load is carried by the stationary order parameter r = I_1(K r / D) / I_0(K r / D), by the order in the step, and by
the oscillators against the solution.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
import sys

import numpy as np
import pytest
from example_system import SOURCE
from scipy.optimize import brentq
from scipy.special import i0e, i1e

sys.path.insert(0, str(SOURCE))

from kuramoto.case import Initial, Model
from kuramoto.equation import PDEResidual, Solver
from kuramoto.system import SYSTEM

from limitpde.compare.test_functions import Wave
from limitpde.nbody.replicas import Controls


def order_of(solver):
    return abs(solver.order(solver.masses))


def stationary(model):
    """The positive solution of r = I_1(K r / D) / I_0(K r / D), or zero."""
    K, D = model.coupling, model.D
    if K <= 2 * D:
        return 0.0
    return brentq(lambda r: i1e(K * r / D) / i0e(K * r / D) - r, 1e-6, 1.0, xtol=1e-14)


@pytest.mark.parametrize(("sigma", "coupling"), [(1.0, 2.0), (1.0, 1.2), (0.5, 1.0)])
def test_stationary_order_parameter(sigma, coupling, comm):
    model = Model(sigma=sigma, coupling=coupling)
    solver = Solver(model, Initial(concentration=2.0), cells=64, step=0.1, comm=comm)
    solver.solve(400.0 if coupling == 1.2 else 80.0)
    assert order_of(solver) == pytest.approx(stationary(model), rel=1e-9)
    shape = np.exp(coupling * order_of(solver) / model.D * np.cos(solver.nodes.points[:, 0]))
    rho = solver.masses / solver.nodes.volume
    assert np.ptp(rho / shape) < 1e-8 * (rho / shape).max(initial=1e-300)


def test_no_order_below_the_threshold(comm):
    """Coupling 0.5 < 2 D: the order parameter falls like exp(-(D - K/2) t)."""
    solver = Solver(Model(sigma=1.0, coupling=0.5), Initial(concentration=0.02), cells=64, step=0.02, comm=comm)
    solver.solve(4.0)
    first = order_of(solver)
    solver.solve(8.0)
    assert math.log(first / order_of(solver)) / 4 == pytest.approx(0.25, rel=2e-3)


def test_second_order_in_step_and_cells(comm):
    """Order parameters on the way to synchrony, against those of a step 32 times and of cells eight times as small."""

    def at_one(step, cells):
        solver = Solver(Model(sigma=1.0, coupling=3.0), Initial(concentration=0.5), cells=cells, step=step, comm=comm)
        solver.solve(1.0)
        return order_of(solver)

    exact = at_one(0.1 / 256, 16)
    in_time = np.array([at_one(0.1 / 2**k, 16) for k in (1, 2, 3)]) - exact
    in_space = np.array([at_one(0.1, cells) for cells in (16, 32, 64)]) - at_one(0.1, 512)
    for errors in (in_time, in_space):
        assert np.log2(errors[:-1] / errors[1:]) == pytest.approx(2.0, abs=0.15)
    assert abs(in_time[-1]) < 2e-4


def test_the_solution_has_no_residual(comm):
    phi = [Wave(k=(1.0,)), Wave(k=(2.0,), phase=0.5)]
    left = []
    for cells, step in ((32, 0.04), (64, 0.02)):
        solver = Solver(Model(sigma=1.0, coupling=2.0), Initial(concentration=1.0), cells=cells, step=step, comm=comm)
        watched = PDEResidual(solver, phi)
        solver.solve(1.0, observers=[watched])
        left.append(np.abs(watched.values[-1]))
    assert left[1].max() < 2e-3
    assert (np.log2(left[0] / left[1]) > 1.6).all()


def test_mass_and_energy(comm):
    solver = Solver(Model(sigma=0.7, coupling=2.0), Initial(concentration=1.0), cells=50, step=0.2, comm=comm)
    rows = []
    solver.solve(10.0, observers=[lambda step: rows.append(step.figures)])
    assert max(abs(row["mass"] - rows[0]["mass"]) for row in rows) < 1e-13
    assert max(row["free_energy_increase"] for row in rows) < 1e-12
    assert min(row["minimum"] for row in rows) > 0


def test_oscillators_follow_their_limit(comm):
    case = SYSTEM_CASE
    solver = SYSTEM.solver(case, comm)
    solver.solve(case.time.end)
    ensemble = SYSTEM.simulate(case, 2000, Controls(comm=comm))
    order = ensemble.centre[:, -1].mean(axis=0)
    error = ensemble.centre[:, -1].std(axis=0, ddof=1) / math.sqrt(len(ensemble.replicas))
    assert abs(order[0] - order_of(solver)) < 4.5 * error[0] + 1.0 / 2000 + 0.01 * 0.5  # noise, finite N, step
    z = ensemble.residual[:, 0, -1]
    assert abs(z.mean()) < 4.5 * z.std(ddof=1) / math.sqrt(len(z))
    variance = ensemble.quadratic_variation[:, 0].mean()
    assert z.var(ddof=1) == pytest.approx(variance, rel=4.5 * math.sqrt(2 / len(z)))


from kuramoto.case import Case  # noqa: E402

SYSTEM_CASE = Case(
    system="kuramoto",
    model={"sigma": 1.0, "coupling": 2.0},
    initial={"concentration": 1.0},
    time={"end": 1.0},
    pde={"cells": 128, "step": 0.01},
    particles={"counts": [2000], "replicas": 100, "step": 0.01},
    compare={"test_functions": [{"shape": "wave", "k": [1.0]}]},
)
