"""Fluctuations of mean-field particles: N Var int phi dL^N by the adjoint equation.

The load is carried by `test_quadratic_interaction` (closed form), `test_linear_response` (the nonlinear solver, species
with a matrix that is not symmetric) and `test_a_case` (replicas).
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)

import numpy as np
import pytest

from limitpde import case as cases
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import Gaussian
from limitpde.fem.kept_states import KeptStates
from limitpde.fem.mesh import Box
from limitpde.meanfield import Initial, Model, Solver
from limitpde.meanfield.fluctuations import McKeanVlasovAdjoint, covariance_of_particles
from limitpde.potentials import GaussianPotential, Harmonic

WAVE, BUMP = Wave(k=(0.9,), phase=0.4), GaussianBump(center=(0.3,), width=0.8)


def solver(model: Model, initial: Initial, cell: float) -> Solver:
    return Solver(model, initial, mesh=Box(size=12.0, origin=-6.0, cell_size=cell), step=cell / 10)


@pytest.mark.parametrize("strength", [1.5, -0.4])
def test_quadratic_interaction(strength: float) -> None:
    """W = k x^2 / 2: Var phi(Z) + (E phi')^2 (Var X - Var Z), X of a free particle, Z of one that is pulled to a point.

    With the same noise, X_i - mean = Z_i - mean of Z, and the mean of X is that of free particles.
    """
    model, end, variance = Model(dimension=1, sigma=1.0, interaction=Harmonic(strength=strength)), 0.6, 0.36
    initial = Initial(species=[[Gaussian(mass=1.0, center=(0.2,), width=0.6)]])
    kept = 1 / (2 * strength) + (variance - 1 / (2 * strength)) * np.exp(-2 * strength * end)
    angle, square = 0.9 * 0.2 + 0.4, 0.81 * kept
    mean, slope = np.exp(-square / 2) * np.array([np.cos(angle), 0.9 * np.sin(angle)])
    exact = (1 + np.exp(-2 * square) * np.cos(2 * angle)) / 2 - mean**2 + slope**2 * (variance + end - kept)
    # at s and at the end: Cov(phi(Z_s), phi(Z_T)) + E phi'(Z_s) E phi'(Z_T) (Var X_s - Cov(Z_s, Z_T))
    s = 0.25
    early = 1 / (2 * strength) + (variance - 1 / (2 * strength)) * np.exp(-2 * strength * s)
    both = early * np.exp(-strength * (end - s))
    before, steep = np.exp(-0.405 * early) * np.array([np.cos(angle), 0.9 * np.sin(angle)])
    waves = np.exp(-0.405 * (early + kept - 2 * both)) + np.cos(2 * angle) * np.exp(-0.405 * (early + kept + 2 * both))
    later = waves / 2 - before * mean + steep * slope * (variance + s - both)
    found = [covariance_of_particles(solver(model, initial, h), [WAVE], end, earlier=[s, end]) for h in (0.2, 0.1)]
    for k, expected in enumerate((later, exact)):
        errors = [over_time[k, 0, 0] / expected - 1 for over_time in found]
        assert abs(errors[1]) < 2e-3
        assert abs(errors[0]) > 3 * abs(errors[1])


@pytest.mark.ranks
def test_linear_response() -> None:
    """What a shift of one species does to int phi rho_T of all is int psi_0 times the change."""
    matrix = ((1.0, 0.8), (-1.5, 0.3))
    model = Model(dimension=1, sigma=0.8, interaction=GaussianPotential(strength=1.2, width=0.7), strengths=matrix)
    errors = []
    for cell in (0.2, 0.1):
        starts, ends = [], []
        for shift in (-0.02, 0.02, 0.0):
            parts = [
                [Gaussian(mass=0.6, center=(-0.5 + shift,), width=0.6)],
                [Gaussian(mass=0.4, center=(0.6,), width=0.5)],
            ]
            made = solver(model, Initial(species=parts), cell)
            starts.append(made.masses)
            kept = KeptStates(made)
            made.solve(0.6, observers=[kept])
            kept.finish()
            phi = np.exp(-((made.nodes.points[:, 0] - 0.3) ** 2) / 1.28)
            ends.append(float(made.nodes.sums.total(phi * made.masses.sum(axis=0))[0]))
        adjoint, last = McKeanVlasovAdjoint(made, [BUMP]), 0.6
        for t, densities in kept.backwards(lambda densities: np.inf):
            if t < last:
                adjoint.step(densities, last - t)
            last = t
        change = (adjoint.psi[0][:, : made.nodes.owned] * (starts[1] - starts[0])).sum(axis=0)
        errors.append(float(made.nodes.sums.total(change)[0]) / (ends[1] - ends[0]) - 1)
    assert abs(errors[1]) < 5e-3
    assert abs(errors[0]) > 3 * abs(errors[1])


def test_a_case(shared_folder, comm) -> None:
    """The variance of replicas is the predicted one; attraction puts distances above the floor."""
    case = {
        "system": "meanfield",
        "model": {"dimension": 1, "sigma": 0.7, "interaction": {"kind": "gaussian", "strength": -3.0, "width": 1.0}},
        "initial": {"species": [[{"shape": "gaussian", "mass": 1.0, "center": [0.2], "width": 0.6}]]},
        "time": {"end": 0.5},
        "pde": {"mesh": {"shape": "box", "size": 8.0, "origin": -4.0, "cell_size": 0.05}, "step": 0.01},
        "particles": {"counts": [64], "replicas": 400, "step": 0.02},
        "compare": {"test_functions": [{"shape": "wave", "k": [0.9], "phase": 1.2}], "budget": False, "earlier": [0.1]},
        "output": {"pictures": False},
    }
    summary = limitpde.run(cases.check(case), out=shared_folder, comm=comm, check=False).summary
    found = summary["compare"]["fluctuations"][0]
    assert abs(found["deviation"]) < 4.5, found
    early, last = summary["compare"]["covariances"]
    assert (early["t"], last["lag"]) == (0.1, 0.0)
    assert abs(early["deviation"]) < 4.5, early
    assert last["covariance"] == pytest.approx(found["variance"])
    assert abs(early["covariance"] - last["covariance"]) > 4.5 * early["stderr"]  # they are told apart
    rows = {row["distance"]: row for row in summary["compare"]["distances"]}
    assert list(rows) == ["x1", "sliced", "energy"]
    assert rows["sliced"]["mean"] == pytest.approx(rows["x1"]["mean"])
    energy = rows["energy"]
    assert energy["mean"] > energy["floor"] + 3 * energy["stderr"], energy
    assert found["variance_theory_error"] < 0.02 * found["variance_theory"]
