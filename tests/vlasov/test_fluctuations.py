"""Fluctuations of Newton's particles: N Var int phi dmu^N by the adjoint of the linearised Vlasov equation.

The load is carried by `test_free_streaming` (exact), `test_linear_response` (the nonlinear solver), `test_replicas`.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from limitpde.case import example, read
from limitpde.compare.companions import COARSE, COARSEST, FINE, LONG
from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.errors import InputError
from limitpde.potentials import Cosine, Free, GaussianPotential, Harmonic, Poisson
from limitpde.vlasov import fluctuations
from limitpde.vlasov.fluctuations import NewtonAdjoint, covariance_of_newton
from limitpde.vlasov.initial import Landau, PhaseGaussian
from limitpde.vlasov.model import Model, PhaseDomain
from limitpde.vlasov.particles import simulate
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.system import SYSTEM

CIRCLE = PhaseDomain(x=(0.0, 2 * math.pi), v=(-6.0, 6.0))
WAVE, BUMP = Wave(k=(1.0, 0.0), phase=0.3), GaussianBump(center=(3.0, 0.5), width=1.0)
LANDAU = Landau(k=1.0, amplitude=0.3, thermal=0.8)


def points(solver: Solver) -> np.ndarray:
    """(x, v) at the nodes of this rank, d = 1: (n, 2)."""
    x, v = np.meshgrid(solver.space.x_points[..., 0], solver.space.v_nodes[0], indexing="ij")
    return np.stack([x.ravel(), v.ravel()], axis=1)


def integral(solver: Solver, values: np.ndarray) -> float:
    """Over phase space."""
    ones = [np.ones((1, len(v))) for v in solver.space.v_nodes]
    return float(solver.space.integrate_x(solver.space.velocity_integrals(values, ones)[0]))


def test_free_streaming() -> None:
    """Without forces psi_0 = phi(x + v T, v)."""
    model, end = Model(potential=Free(), domain=CIRCLE), 1.5
    solver = Solver(model, LANDAU, cells=[16, 32], degree=3, step=0.5)
    adjoint, f = NewtonAdjoint(solver, [WAVE]), solver.form.values.copy()
    for _ in range(3):
        adjoint.step(f[None].copy(), end / 3)
    z = points(solver)
    exact = np.cos(z[:, 0] + end * z[:, 1] + 0.3).reshape(f.shape)
    inside = np.abs(z[:, 1]).reshape(f.shape) < 5.5
    np.testing.assert_allclose(adjoint.psi[0][inside], exact[inside], atol=2e-4)
    found = covariance_of_newton(Solver(model, LANDAU, cells=[16, 32], degree=3, step=0.5), [WAVE], end)[0, 0]
    # cos^2 = (1 + cos(2 .)) / 2 under the density (1 + 0.3 cos x) M(v) / (2 pi)
    mean = 0.15 * math.cos(0.3) * math.exp(-((0.8 * end) ** 2) / 2)
    assert found == pytest.approx(0.5 - mean**2, abs=1e-6)
    solver, times = Solver(model, LANDAU, cells=[16, 32], degree=3, step=0.5), (0.0, 0.6, end)
    over_time = covariance_of_newton(solver, [WAVE], end, earlier=times)
    for s, found in zip(times, over_time[:, 0, 0], strict=True):  # cos(x + s v + .3) cos(x + T v + .3), without 2 x
        before = 0.15 * math.cos(0.3) * math.exp(-((0.8 * s) ** 2) / 2)
        assert found == pytest.approx(0.5 * math.exp(-((0.8 * (end - s)) ** 2) / 2) - before * mean, abs=1e-6)
    with pytest.raises(InputError, match="earlier"):
        covariance_of_newton(solver, [WAVE], end, earlier=[2.0])


@pytest.mark.ranks
@pytest.mark.parametrize("strength", [-1.0, 1.5])
def test_linear_response(strength: float) -> None:
    """What another amplitude of f_0 does to int phi f_T, by the nonlinear solver, is int psi_0 times its change."""
    model, end, errors = Model(potential=Cosine(strength=strength), domain=CIRCLE), 1.5, []
    for n in (1, 2):
        starts, ends = [], []
        for amplitude in (0.299, 0.301):
            solver = Solver(model, replace(LANDAU, amplitude=amplitude), cells=[8 * n, 16 * n], degree=3, step=0.25 / n)
            z, shape = points(solver), solver.form.values.shape
            starts.append(solver.form.values.copy())
            solver.solve(end)
            phis = [evaluate(WAVE, z)[0], sum(evaluate(replace(BUMP, center=(3.0 + s, 0.5)), z)[0] for s in TURNS)]
            ends.append([integral(solver, phi.reshape(shape) * solver.form.values) for phi in phis])
        solver = Solver(model, LANDAU, cells=[8 * n, 16 * n], degree=3, step=0.25 / n)
        kept = [solver.form.values.copy()]
        for _ in range(6 * n):
            solver.advance(0.25 / n)
            kept.append(solver.form.values.copy())
        adjoint = NewtonAdjoint(solver, [WAVE, BUMP])
        for f in reversed(kept[1:]):
            adjoint.step(f[None], 0.25 / n)
        expected = [integral(solver, psi * (starts[1] - starts[0])) for psi in adjoint.psi]
        errors.append(np.abs(np.array(expected) / np.subtract(ends[1], ends[0]) - 1).max())
    assert errors[1] < 3e-4
    assert errors[0] > 8 * errors[1]


TURNS = (-2 * math.pi, 0.0, 2 * math.pi)
"""Images of the bump on the circle that can be seen."""
PLANE = PhaseDomain(x=(-8.0, 8.0), v=(-8.0, 8.0), periodic=False)
CLOUD = PhaseGaussian(center=(0.5, 0.0), width=(0.8, 0.7))


@pytest.mark.parametrize(
    ("potential", "domain", "initial", "mass"),
    [
        (Cosine(strength=-1.0), CIRCLE, LANDAU, 1.0),
        (Poisson(strength=1.0), CIRCLE, LANDAU, 2 * math.pi),
        (GaussianPotential(strength=2.0, width=1.0), PLANE, CLOUD, 1.0),
        (Harmonic(strength=1.0), PLANE, CLOUD, 1.0),
    ],
)
def test_replicas(potential: object, domain: PhaseDomain, initial: object, mass: float) -> None:
    """Particles that start independently, of any mass, against the prediction."""
    model, initial = Model(potential=potential, domain=domain), replace(initial, mass=mass)
    functions = [WAVE, BUMP] if domain.periodic else [BUMP, GaussianBump(center=(0.0, 0.0), width=1.2)]
    count, replicas, end = 100, 1000, 1.5
    ensemble = simulate(
        model, initial, count=count, replicas=replicas, step=0.05, end=end, seed=4, test_functions=functions
    )
    measured = count * np.cov(ensemble.observables[:, :, -1].T)
    predicted = covariance_of_newton(Solver(model, initial, cells=[24, 32], step=0.1), functions, end)
    spread = np.sqrt((np.outer(predicted.diagonal(), predicted.diagonal()) + predicted**2) / (replicas - 1))
    assert (np.abs(measured - predicted) < 4.5 * spread).all()


def test_few_states_of_f_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the states that are kept f goes back with psi."""
    model = Model(potential=Cosine(strength=-1.0), domain=CIRCLE)

    def found() -> np.ndarray:
        return covariance_of_newton(Solver(model, LANDAU, cells=[16, 24], step=0.1), [WAVE, BUMP], 1.5)

    all_kept = found()
    monkeypatch.setattr(fluctuations, "MOST_KEPT", 4 * 16 * 24 * 16)
    few = found()
    np.testing.assert_allclose(few, all_kept, rtol=1e-4)
    assert (few != all_kept).any()


def test_levels_are_fine_where_that_costs_little(tmp_path: Path) -> None:
    """The cells of the solution on small grids of the line; else coarser ones."""
    path = tmp_path / "case.toml"
    path.write_text(example("vlasov"))
    assert SYSTEM.fluctuation_levels(read(path)) == (FINE, LONG)
    assert SYSTEM.fluctuation_levels(read(path, ["pde.cells=[128, 256]"])) == (COARSE, COARSEST)


def test_two_dimensions() -> None:
    """d = 2: a product of two independent systems (cos x_1 + cos x_2) has the variance of one of them."""
    one = Model(potential=Cosine(strength=-1.0), domain=CIRCLE)
    two = Model(dimension=2, potential=Cosine(strength=-1.0), domain=CIRCLE)
    line = covariance_of_newton(Solver(one, LANDAU, cells=[6, 8], degree=2, step=0.5), [WAVE], 1.0)
    phi = Wave(k=(1.0, 0.0, 0.0, 0.0), phase=0.3)
    plane = covariance_of_newton(
        Solver(two, replace(LANDAU, k=(1.0, 0.0)), cells=[6, 8], degree=2, step=0.5), [phi], 1.0
    )
    assert plane[0, 0] == pytest.approx(line[0, 0], rel=1e-8)
