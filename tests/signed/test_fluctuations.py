"""Fluctuations of the charges: N Var int phi dL^N by the adjoint equation.

The load is carried by `test_independent_particles` (closed form), `test_fourier` (an independent solver),
`test_linear_response` (the nonlinear solver) and `test_replicas`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from processes import CASE

from limitpde import case as cases
from limitpde import error_budget, signed
from limitpde.case import read
from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import Gaussian
from limitpde.errors import InputError
from limitpde.fem.kept_states import KeptStates
from limitpde.fem.mesh import Disk
from limitpde.signed.confinement import HarmonicTrap
from limitpde.signed.fluctuations import Adjoint, covariance_of_charges
from limitpde.signed.model import Initial, Model
from limitpde.signed.system import SYSTEM

BUMP, CHARGED = GaussianBump(center=(0.4, 0.0), width=0.9), Wave(k=(1.0, 0.5), phase=0.3, charge=True)
WAVE = Wave(k=(1.0, 0.5), phase=0.3)
ONE = Initial(positive=(Gaussian(mass=1.0, center=(0.0, 0.0), width=0.7),))


def pair(shift: float = 0.0) -> Initial:
    """A cloud of each sign; `shift` moves the positive one."""
    return Initial(
        positive=(Gaussian(mass=0.6, center=(-0.8 + shift, 0.1), width=0.6),),
        negative=(Gaussian(mass=0.4, center=(0.7, 0.0), width=0.5),),
    )


def solver(model: Model, initial: Initial, cell: float, step: float, radius: float = 6.0) -> signed.Solver:
    return signed.Solver(model, initial, mesh=Disk(radius=radius, cell_size=cell), step=step)


def gaussian_mean(distance: np.ndarray, spread: float, width: float) -> float:
    """int exp(-|x - c|^2 / (2 w^2)) of a Gaussian of variance s^2, c at this distance from its centre."""
    total = spread**2 + width**2
    return float(width**2 / total * np.exp(-(distance @ distance) / (2 * total)))


def test_independent_particles() -> None:
    """gamma_bar = 0: both terms add to the variance of phi under rho_T, to second order."""
    spread, distance = np.sqrt(0.7**2 + 0.5), np.array([0.4, 0.0])
    exact = gaussian_mean(distance, spread, 0.9 / np.sqrt(2)) - gaussian_mean(distance, spread, 0.9) ** 2
    model = Model(sigma=1.0, gamma_bar=0.0, interaction="repulsive")
    errors = []
    for cell, step in ((0.4, 0.04), (0.2, 0.02)):
        found = covariance_of_charges(solver(model, ONE, cell, step), [BUMP], 0.5)
        errors.append(abs(float(found[0, 0]) / exact - 1))
    assert errors[0] > 3.2 * errors[1]
    assert errors[1] < 5e-3


def test_noise_is_that_of_the_scheme() -> None:
    """gamma_bar = 0: what is left is the error of the steps, as the noise is that of a jump process on the nodes."""
    model, errors = Model(sigma=1.0, gamma_bar=0.0), []
    for step in (0.05, 0.025):
        made = solver(model, pair(), 0.4, step)
        found = covariance_of_charges(made, [CHARGED], 0.5)[0, 0]
        mass = made.graph.area * np.array(made.now.densities)
        phi = evaluate(CHARGED, made.graph.points)[0] * np.array([[1.0], [-1.0]])
        expected = (mass * phi**2).sum() - ((mass * phi).sum(axis=1) ** 2 / mass.sum(axis=1)).sum()
        errors.append(abs(found / expected - 1))
    assert errors[1] < 2e-3
    assert errors[0] > 3.0 * errors[1]


def test_independent_particles_at_two_times() -> None:
    """gamma_bar = 0: the covariance of phi and of the heat flow of phi under rho_s, in closed form."""
    model, s, end = Model(sigma=1.0, gamma_bar=0.0, interaction="repulsive"), 0.2, 0.5
    errors = []
    for cell, step in ((0.4, 0.04), (0.2, 0.02)):
        times = covariance_of_charges(solver(model, ONE, cell, step), [BUMP, WAVE], end, earlier=[0.0, s, end])
        found = times[1]
        spread, k, width = 0.7**2 + s, np.array([1.0, 0.5]), 0.9**2 + end - s
        c = np.array([0.4, 0.0])
        phi, later = gaussian_mean(c, np.sqrt(spread), 0.9), gaussian_mean(c, np.sqrt(0.7**2 + end), 0.9)
        # phi and its heat flow, Gaussians about c: so is their product
        both = 0.9**2 / width * gaussian_mean(c, np.sqrt(spread), np.sqrt(0.9**2 * width / (0.9**2 + width)))
        decay = np.exp(-(k @ k) * (end - s) / 2)
        means = np.cos(0.3) * np.exp(-(k @ k) * np.array([spread, 0.7**2 + end]) / 2)
        waves = decay * (1 + np.cos(0.6) * np.exp(-2 * (k @ k) * spread)) / 2 - means[0] * means[1]
        errors.append(np.abs(found.diagonal() / [both - phi * later, waves] - 1))
    assert np.all(errors[0] > 3.0 * errors[1])
    assert errors[1].max() < 1e-2
    alone = covariance_of_charges(solver(model, ONE, 0.2, 0.02), [BUMP, WAVE], end)
    np.testing.assert_allclose(times[2], alone, rtol=2e-2)  # with a step of order one less at s
    for wrong in ([0.6], [0.2, 0.2]):
        with pytest.raises(InputError, match="earlier"):
            covariance_of_charges(solver(model, ONE, 0.4, 0.04), [BUMP], end, earlier=wrong)


def test_fourier() -> None:
    """An independent solver (Fourier, RK4, free-space convolutions) gives 0.0512931; independent particles 0.0831."""
    model = Model(sigma=1.0, gamma_bar=2.0, interaction="repulsive")
    coarse, fine = (
        covariance_of_charges(solver(model, ONE, cell, cell / 10), [BUMP], 0.5)[0, 0] for cell in (0.4, 0.2)
    )
    assert abs(fine / 0.0512931 - 1) < 4e-3
    assert abs(fine + (fine - coarse) / 3 - 0.0512931) < 1e-3 * 0.0512931


@pytest.mark.parametrize(
    ("interaction", "gamma_bar"),
    [pytest.param("signed", 1.5, marks=pytest.mark.ranks), ("repulsive", 2.0), ("attractive", 1.0)],
)
def test_linear_response(interaction: str, gamma_bar: float) -> None:
    """What a shift of the data does to int phi rho_T, by the nonlinear solver, is int psi_0 times their change."""
    model = Model(sigma=1.0, gamma_bar=gamma_bar, interaction=interaction)
    functions, end, errors = [BUMP, CHARGED], 0.5, []
    for cell in (0.4, 0.2):
        starts, ends = [], []
        for shift in (-0.02, 0.02):
            moved = solver(model, pair(shift), cell, cell / 10)
            starts.append(np.array(moved.now.densities))
            moved.solve(end)
            values = [evaluate(function, moved.graph.points)[0] for function in functions]
            tested = moved.graph.area * np.array(moved.now.densities)
            signs = np.array([[1.0, 1.0], [1.0, -1.0]])
            ends.append(
                [
                    sum(moved.sums.total(*(v * b * tested).reshape(2, -1)))
                    for v, b in zip(values, signs[:, :, None], strict=True)
                ]
            )
        middle = solver(model, pair(), cell, cell / 10)
        kept = KeptStates(middle)
        middle.solve(end, observers=[kept])
        adjoint, last = Adjoint(middle, functions), end
        for t, densities in kept.backwards(adjoint.longest):
            if t < end:
                adjoint.step(adjoint.frozen(densities), last - t)
            last = t
        change = middle.graph.area * (starts[1] - starts[0])
        expected = np.array([sum(middle.sums.total(*(row * change))) for row in adjoint.psi])
        errors.append(np.abs(expected / np.subtract(ends[1], ends[0]) - 1).max())
    assert errors[1] < 6e-3
    assert errors[0] > 2.8 * errors[1]


def test_replicas() -> None:
    """Charges of both signs, against the replicas of the simulator."""
    model, functions, count, replicas = Model(sigma=1.0, gamma_bar=1.5), [BUMP, CHARGED], 60, 800
    ensemble = signed.simulate(
        model, pair(), count=count, replicas=replicas, step=0.01, end=0.5, seed=7, test_functions=functions
    )
    measured = count * ensemble.observables[:, :, -1].var(axis=0, ddof=1)
    predicted = np.diag(covariance_of_charges(solver(model, pair(), 0.2, 0.02), functions, 0.5))
    noise = predicted * np.sqrt(2 / (replicas - 1))
    assert np.abs(measured - predicted).max() < 4.5 * noise.max()
    assert (np.abs(measured - predicted) < 4.5 * noise).all()


def test_random_signs() -> None:
    """With signs that are drawn as well, the variance is that of all starts together."""
    model = Model(sigma=1.0, gamma_bar=0.0)
    fixed, drawn = (
        covariance_of_charges(solver(model, pair(), 0.4, 0.05), [CHARGED], 0.5, numbers_fixed=numbers)[0, 0]
        for numbers in (True, False)
    )
    decay = np.exp(-0.5 * (1.0**2 + 0.5**2) * (np.array([0.6, 0.5]) ** 2 + 0.5))
    means = decay * np.cos([-0.8 + 0.05 + 0.3, 0.7 + 0.3]) * [1.0, -1.0]
    assert drawn - fixed == pytest.approx(0.6 * 0.4 * (means[0] - means[1]) ** 2, rel=2e-2)


def test_confinement() -> None:
    """Independent particles in a harmonic trap: Ornstein-Uhlenbeck processes, in closed form."""
    model = Model(sigma=1.0, gamma_bar=0.0, interaction="repulsive", confinement=HarmonicTrap(strength=1.0))
    found = covariance_of_charges(solver(model, ONE, 0.2, 0.01, radius=5.0), [BUMP], 0.5)[0, 0]
    spread, distance = np.sqrt(0.49 * np.exp(-1.0) + 0.5 * (1 - np.exp(-1.0))), np.array([0.4, 0.0])
    exact = gaussian_mean(distance, spread, 0.9 / np.sqrt(2)) - gaussian_mean(distance, spread, 0.9) ** 2
    assert found == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ((), True),
        (("model.interaction=attractive",), True),
        (("pde.degree=2",), True),
        (("model.diffusivity=paper",), False),
        (("particles.collision=annihilate",), False),
        (("model.interaction=rotated",), False),
        (("model.sigma=0.0", "pde.step=0.01"), False),
        (("pde.refinement={tolerance=0.01, smallest_cell=0.1}",), False),
    ],
)
def test_where_it_is_known(changes: tuple[str, ...], known: bool, tmp_path: Path) -> None:
    """A prediction, or none: not for other noise, for charges that vanish, for vortices, on a mesh that changes."""
    path = tmp_path / "case.toml"
    path.write_text(CASE)
    case = read(path, changes)
    found = SYSTEM.limiting_covariance(case, MPI.COMM_WORLD, bool)
    assert (found is not None) == known
    if found is not None:
        assert (found[-1].diagonal() > 0).all()


def test_few_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many steps some states are kept; where charges screen each other at once, steps back are cut."""
    model = Model(sigma=1.0, gamma_bar=2.0)
    many = covariance_of_charges(solver(model, pair(), 0.4, 0.01), [CHARGED], 0.5)[0, 0]
    made = solver(model, pair(), 0.4, 0.01)
    kept = KeptStates(made, most=16)
    made.solve(0.5, observers=[kept])
    kept.finish()
    assert len(kept.times) <= 17
    assert kept.times[0] == 0.0
    assert kept.times[-1] == made.t
    visited = [t for t, _ in kept.backwards(lambda densities: 0.5 / 64)]
    assert visited[0] == made.t
    assert visited[-1] == 0.0
    assert np.diff(visited).min() >= -0.5 / 64 * (1 + 1e-9)
    monkeypatch.setattr(KeptStates.__init__, "__defaults__", (16,))
    few = covariance_of_charges(solver(model, pair(), 0.4, 0.01), [CHARGED], 0.5)[0, 0]
    assert few == pytest.approx(many, rel=1e-2)
    assert few != many


def test_cells_that_cannot_grow_twice_show_no_error(comm) -> None:
    """Both companions have cells of a quarter of the radius: that they agree does not say that there is no error."""
    ends = [[{"shape": "gaussian", "mass": 0.5, "center": [x, 0.0], "width": 0.7}] for x in (-0.5, 0.5)]
    case = cases.check(
        {
            "system": "signed",
            "model": {"sigma": 1.0, "gamma_bar": 0.4},
            "initial": {"positive": ends[0], "negative": ends[1]},
            "time": {"end": 0.1},
            "pde": {"mesh": {"shape": "disk", "radius": 4.0, "cell_size": 0.5}, "step": 0.02},
            "particles": {"counts": [8], "replicas": 2, "step": 0.02},
            "compare": {"test_functions": [{"shape": "wave", "k": [1.0, 0.5]}]},
        }
    )
    found = error_budget.fluctuations(SYSTEM, case, comm, bool)
    assert found is not None
    assert found.variances[0] > 0
    assert np.isnan(found.errors).all()
