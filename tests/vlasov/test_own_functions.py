"""Test functions by Python on phase space: those with shapes written in Python give the same figures; time enters W."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest

from limitpde import case as cases
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.errors import InputError
from limitpde.nbody.replicas import Controls
from limitpde.potentials import Cosine
from limitpde.vlasov import Landau, Model, Solver, simulate
from limitpde.vlasov.residual import PDEResidual

SOURCE = """
import numpy as np

def wave(x, v, t):
    return np.cos(x[:, 0] + 0.5 * v[:, 0] + 0.3)

def whole(x, v, t):
    z = x[:, 0] + 0.5 * v[:, 0] + 0.3
    return np.cos(z), -np.sin(z)[:, None] * [1.0, 0.5], -1.25 * np.cos(z)

def moving(x, v, t):
    return np.cos(x[:, 0] - t) * np.exp(-0.5 * v[:, 0] ** 2)

def seam(x, v, t):
    return np.exp(-0.5 * (x[:, 0] - 3.0) ** 2)
"""
CIRCLE = {"x": [0.0, 2 * math.pi], "v": [-6.0, 6.0], "periodic": True}
MODEL = Model(dimension=1, potential=Cosine(strength=1.0), domain=CIRCLE)
INITIAL = Landau(k=1.0, amplitude=0.5, thermal=0.7)
WAVE, BUMP = Wave(k=(1.0, 0.5), phase=0.3), GaussianBump(center=(3.0, 0.0), width=0.5)


@pytest.mark.ranks
def test_a_wave_by_python_is_the_built_in_one(mine, comm):
    functions = [mine("wave"), WAVE, mine("whole"), BUMP]
    found = simulate(
        MODEL, INITIAL, count=200, replicas=3, step=0.1, end=0.5, stops=[0.2], seed=1, test_functions=functions,
        controls=Controls(comm=comm),
    )  # fmt: skip
    for name in ("observables", "residual", "compensator"):
        by_differences, built_in, own, bump = np.moveaxis(getattr(found, name), 1, 0)
        np.testing.assert_allclose(own, built_in, rtol=1e-8, atol=1e-13)
        np.testing.assert_allclose(by_differences, built_in, rtol=1e-6, atol=1e-11)
        assert not np.allclose(bump, built_in)
    np.testing.assert_allclose(found.residual[:, :, -1], found.compensator, atol=1e-12)
    solver = Solver(MODEL, INITIAL, cells=(12, 24), step=0.1, comm=comm)
    residual = PDEResidual(solver, functions)
    solver.solve(0.4, observers=[residual])
    for values in (residual.observables[-1], residual.rates[-1][0], residual.values[-1]):
        assert values[2] == pytest.approx(values[1], rel=1e-9, abs=1e-13)
        assert values[0] == pytest.approx(values[1], rel=1e-6, abs=1e-9)
        assert values[3] != pytest.approx(values[1], rel=1e-3)


def test_time_enters_w(mine):
    """W of particles is A to rounding, whatever the function; that of a solution falls with mesh and step."""
    moving = mine("moving")
    found = simulate(MODEL, INITIAL, count=300, replicas=4, step=0.1, end=1.0, seed=2, test_functions=[moving])
    np.testing.assert_allclose(found.residual[:, 0, -1], found.compensator[:, 0], atol=1e-12)
    assert 1e-5 < np.abs(found.compensator).max() < 0.01
    residuals = []
    for cells, step in (((8, 16), 0.1), ((16, 32), 0.05)):
        solver = Solver(MODEL, INITIAL, cells=cells, step=step)
        residual = PDEResidual(solver, [moving])
        solver.solve(1.0, observers=[residual])
        residuals.append(abs(residual.values[-1][0]))
        assert residual.observables[-1][0] == pytest.approx(found.observables[:, 0, -1].mean(), abs=0.1)
    assert residuals[1] < 0.4 * residuals[0] < 1e-3


def test_of_a_case(tmp_path):
    (tmp_path / "phi.py").write_text(SOURCE)
    assert cases.check(case_of(tmp_path, "moving")).test_functions[0].label == "phi.py:moving"
    with pytest.raises(InputError, match="is not periodic: it changes by"):
        cases.check(case_of(tmp_path, "seam"))
    with pytest.raises(InputError, match=r"with \[pde\] they are for model.dimension = 1"):
        cases.check(case_of(tmp_path, "wave", dimension=2, pde={"cells": [8, 8], "step": 0.1}))


def case_of(folder, name, dimension=1, **sections):
    return {
        "system": "vlasov",
        "model": {"dimension": dimension, "potential": {"kind": "cosine", "strength": 1.0}, "domain": CIRCLE},
        "initial": {"shape": "landau", "k": [1.0] + [0.0] * (dimension - 1), "amplitude": 0.5, "thermal": 0.7},
        "time": {"end": 1.0},
        "particles": {"counts": [100], "step": 0.1},
        "compare": {"test_functions": [{"python": f"{folder}/phi.py:{name}"}]},
        **sections,
    }
