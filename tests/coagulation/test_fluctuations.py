"""Equilibrium fluctuations: the linearised equation against the nonlinear solver, and against particles.

Load: `test_a_small_wave_decays_as_the_solver_says` (A_k) and `test_replicas` (the covariance in time).
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import itertools
import math

import numpy as np
import pytest
import scipy.linalg
from mpi4py import MPI

from limitpde import case as cases
from limitpde.coagulation import Initial, Model, Solver
from limitpde.coagulation.fluctuations import dimer_equilibrium, equilibrium_covariance, linearised_reaction
from limitpde.errors import InputError
from limitpde.fem.mesh import Torus

K = 2 * math.pi
RATES = ((1.2, 0.7, 0.0), (0.7, 0.0, 0.0), (0.0, 0.0, 0.0))


def chain(masses=3):
    """1 + 1 <-> 2, 1 + 2 <-> 3 on a line, in balance."""
    matrix = tuple(row[:masses] for row in RATES[:masses])
    model = Model(
        dimension=1,
        diffusion=(0.05, 0.03, 0.02),
        beta={"kernel": "matrix", "matrix": matrix if masses == 3 else ((1.2, 0.0), (0.0, 0.0))},
        fragmentation={"rate": 0.5, "power": 1.0},
        n_max=masses,
    )
    f = np.array([0.8, 1.2 * 0.8**2 / 2 / (0.5 * 2), 0.0])
    f[2] = 0.7 * f[0] * f[1] / (0.5 * 3)
    return model, f[:masses]


def test_mass_is_kept_and_the_flow_is_symmetric():
    model, f = chain()
    derivative = linearised_reaction(model, f)
    assert np.arange(1, 4) @ derivative == pytest.approx(np.zeros(3), abs=1e-14)
    assert derivative * f == pytest.approx((derivative * f).T, abs=1e-14)
    assert np.linalg.eigvals(derivative).real.max() < 1e-12


def test_a_small_wave_decays_as_the_solver_says():
    model, f = chain()
    initial = Initial(masses=[{"n": n, "shape": "uniform", "mass": 1.0} for n in (1, 2, 3)])
    solver = Solver(model, initial, mesh=Torus(size=1.0, cell_size=0.01), step=0.01, comm=MPI.COMM_SELF)
    cosine, small = np.cos(K * solver.nodes.points[:, 0]), np.array([2e-4, -1e-4, 1e-4])
    solver.densities = f + np.outer(cosine, small)
    solver.solve(0.5)
    found = 2 * (solver.nodes.volume * cosine) @ solver.densities
    expected = scipy.linalg.expm(0.5 * (linearised_reaction(model, f) - K**2 * np.diag([0.05, 0.03, 0.02]))) @ small
    assert found == pytest.approx(expected, abs=1e-3 * np.abs(small).max())
    assert solver.nodes.volume @ solver.densities == pytest.approx(f, abs=5e-6)  # that of the steps, of order two


def test_covariances_of_a_dimer():
    """Closed form without diffusion of the total mass: equal d. Its modes are f_1 + 2 f_2 and the reaction."""
    model, f = chain(2)
    assert dimer_equilibrium(model, f[0] + 2 * f[1]) == pytest.approx(f, rel=1e-12)
    equal = Model(
        **{**{k: getattr(model, k) for k in ("dimension", "beta", "fragmentation", "n_max")}, "diffusion": (0.05,)}
    )
    lags = np.array([0.0, 0.3])
    start, later = equilibrium_covariance(equal, f, (K,), lags, volume=2.0)
    scale, mass = 4.0 * f.sum() / 2, np.array([1.0, 2.0])
    assert start == pytest.approx(scale * np.diag(f))
    decay = np.exp(-0.05 * K**2 * 0.3)
    assert mass @ later @ mass == pytest.approx(scale * (mass**2 @ f) * decay, rel=1e-12)
    rate = 2 * 1.2 * f[0] + 0.5 * 2  # of the reaction, by which (1, -1/2) decays on top
    vector = np.array([f[1] * 2, -f[0]])  # uncorrelated with the mass: vector . (f * mass) = 0
    assert vector @ later @ vector == pytest.approx(scale * (vector**2 @ f) * decay * np.exp(-rate * 0.3), rel=1e-12)


@pytest.mark.parametrize(
    ("f", "wave", "message"),
    [((0.8, 0.3, 0.1), (K,), "no equilibrium"), ((0.8, 0.5), (K,), "above 2"), (None, (0.0,), "must not be zero")],
)
def test_what_is_refused(f, wave, message):
    model, balanced = chain()
    with pytest.raises(InputError, match=message):
        equilibrium_covariance(model, balanced if f is None else np.array(f), wave, np.zeros(1))
    with pytest.raises(InputError, match="n_max = 2"):
        dimer_equilibrium(model, 1.0)


def test_replicas(tmp_path):
    """N = 60 in a box: what a mode of mass 1 and one of mass 2 have in common, now and later."""
    options = {
        "dimension": 3,
        "diffusion": (0.02, 0.01),
        "interaction": {"shape": "ball", "alpha": ((1.0, 0.0), (0.0, 0.0))},
        "fragmentation": {"rate": 2.0},
        "n_max": 2,
    }
    model, count = Model(**options), 60
    f = dimer_equilibrium(model, 2.0)
    theory = equilibrium_covariance(model, f, (K, 0.0, 0.0), np.array([0.5, 0.0]))
    waves = [{"k": list(k), "phase": p, "n": n} for n in (1, 2) for k in K * np.eye(3) for p in (0.0, -math.pi / 2)]
    case = {
        "system": "coagulation",
        "model": options,
        "initial": {"masses": [{"n": n, "shape": "uniform", "mass": float(f[n - 1])} for n in (1, 2)]},
        "time": {"end": 0.5},
        "pde": {"mesh": {"shape": "point"}, "step": 0.1},
        "particles": {"counts": [count], "replicas": 100},
        "compare": {"test_functions": [{"shape": "wave", **wave} for wave in waves], "earlier": [0.0], "budget": False},
        "output": {"pictures": False},
        "seed": 8,
    }
    rows = limitpde.run(cases.check(case), out=tmp_path, comm=MPI.COMM_SELF)["compare"]["covariances"]
    found = {(row["lag"], row["test_function"], row["test_function_at_end"]): row for row in rows}
    assert len(found) == 2 * 12 * 12
    for lag, expected in zip((0.5, 0.0), theory, strict=True):
        for (n, w), (m, v) in itertools.product(itertools.product((0, 1), range(6)), repeat=2):
            row = found[lag, 6 * n + w, 6 * m + v]
            assert row["covariance_theory"] == pytest.approx(expected[n, m] if w == v else 0.0, abs=1e-12)
            assert abs(row["deviation"]) < 4.5, row
    for n, m in itertools.product((0, 1), repeat=2):  # six waves together
        rows = [found[0.5, 6 * n + w, 6 * m + w] for w in range(6)]
        mean, error = np.mean([row["covariance"] for row in rows]), np.linalg.norm([row["stderr"] for row in rows]) / 6
        assert abs(mean - theory[0][n, m]) < 4.5 * error
        assert n != m or mean > 4.5 * error  # demos/coagulation_equilibrium.py also sees that mass 1 becomes mass 2
