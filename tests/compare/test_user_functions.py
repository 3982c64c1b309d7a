"""Test functions by Python: a Gaussian written in Python is the built-in one, time enters W, and what is refused.

The load is carried by W: of a function of time it is still a martingale, whose mean and variance are known.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from ensembles import DIPOLE, FUNCTIONS, SE
from mpi4py import MPI

import limitpde
from limitpde import case as cases
from limitpde.errors import InputError
from limitpde.fem.mesh import Disk
from limitpde.nbody.replicas import Controls
from limitpde.signed.model import Model
from limitpde.signed.particles import simulate
from limitpde.signed.pde import Solver
from limitpde.signed.residual import PDEResidual

SOURCE = """
import numpy as np

rng = np.random.default_rng()

def bump(x, b, t):
    return b * np.exp(-((x - [-0.5, 0.2]) ** 2).sum(axis=1) / (2 * 0.8**2))

def whole(x, b, t):
    g = bump(x, b, t)
    y = (x - [-0.5, 0.2]) / 0.8**2
    return g, -g[:, None] * y, g * ((y**2).sum(axis=1) - 2 / 0.8**2)

def moving(x, b, t):
    return np.cos(1.3 * t) * np.exp(-((x - [t, 0.0]) ** 2).sum(axis=1) / 2) + 0.3 * b * np.sin(x[:, 0] + t)

def wrong(x, b, t):
    g, slope, laplacian = whole(x, b, t)
    return g, 1.1 * slope, laplacian

def kink(x, b, t):
    return np.abs(np.sin(40.0 * x[:, 0]))

def imaginary(x, b, t):
    return np.exp(1j * x[:, 0])

def random(x, b, t):
    return rng.random(len(x))

def nan(x, b, t):
    return 0.0 * x[:, 0] / (b + 1.0 - t * 0.0 - b - 1.0)

def scalar(x, b, t):
    return 1.0

def two(x, b, t):
    return x[:, 0], x

def large(x, b, t):
    return 7.0 * bump(x, b, t)

def broken(x, b, t):
    raise KeyError("none")
"""
BUMP = FUNCTIONS[1]
MODEL = Model(sigma=1.0, gamma_bar=0.4)


@pytest.mark.ranks
def test_a_gaussian_by_python_is_the_built_in_one(mine, comm):
    functions = [BUMP, mine("bump", length=0.8), mine("whole")]
    found = simulate(
        MODEL, DIPOLE, count=20, replicas=6, step=0.02, end=0.2, seed=1, collision="stick", pairs="exact",
        test_functions=functions, controls=Controls(comm=comm),
    )  # fmt: skip
    for name in ("observables", "residual", "compensator", "quadratic_variation"):
        built_in, by_differences, own = np.moveaxis(getattr(found, name), 1, 0)
        np.testing.assert_allclose(own, built_in, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(by_differences, built_in, rtol=1e-6, atol=1e-8)
    assert found.scattered.all()  # that they depend on the charge is seen
    solver = Solver(MODEL, DIPOLE, mesh=Disk(radius=5.0, cell_size=0.5), step=0.05, comm=comm)
    residual = PDEResidual(solver, functions)
    solver.solve(0.2, observers=[residual])
    for values in (residual.observables[-1], residual.values[-1]):
        assert values[2] == pytest.approx(values[0], rel=1e-12, abs=1e-14)
        assert values[1] == pytest.approx(values[0], rel=1e-6, abs=1e-9)


def test_time_enters_w(mine):
    """W of a function of time has mean zero and Ito's variance, as it would not without d phi / dt."""
    moving, replicas = mine("moving", size=1.4), 300
    found = simulate(
        MODEL, DIPOLE, count=30, replicas=replicas, step=0.004, end=0.4, seed=2, pairs="euler", test_functions=[moving]
    )
    w = found.residual[:, 0, -1]
    assert abs(w.mean()) < SE * w.std() / math.sqrt(replicas)
    squares = w**2 - found.quadratic_variation[:, 0]
    assert abs(squares.mean()) < SE * squares.std() / math.sqrt(replicas)
    residuals = []
    for rings, steps in ((20, 10), (40, 20)):
        solver = Solver(MODEL, DIPOLE, mesh=Disk(radius=6.0, cell_size=6.0 / rings), step=0.4 / steps)
        residual = PDEResidual(solver, [moving])
        solver.solve(0.4, observers=[residual])
        residuals.append(abs(residual.values[-1][0]))
        dropped = float(np.trapezoid(np.array(residual.rates)[:, -1, 0], residual.times))
    assert abs(dropped) > 0.05
    assert residuals[1] < 0.4 * residuals[0] < 0.04 * abs(dropped), residuals


def test_derivatives_in_the_plane(mine):
    x = np.random.default_rng(0).normal(size=(200, 2))
    b = np.sign(x[:, 0])
    found = mine("moving").derivatives(x, b, 0.3)
    g = np.exp(-((x - [0.3, 0.0]) ** 2).sum(axis=1) / 2)
    rate = -1.3 * math.sin(0.39) * g + math.cos(0.39) * g * (x[:, 0] - 0.3) + 0.3 * b * np.cos(x[:, 0] + 0.3)
    np.testing.assert_allclose(found.rate, rate, atol=1e-7)
    y = x - [0.3, 0.0]
    laplacian = math.cos(0.39) * g * ((y**2).sum(axis=1) - 2) - 0.3 * b * np.sin(x[:, 0] + 0.3)
    np.testing.assert_allclose(found.laplacian, laplacian, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wrong", {}, "its gradient is not that of its values"),
        ("kink", {}, "its gradient by differences does not converge.* take a smaller length"),
        ("imaginary", {}, "must return finite real values"),
        ("random", {}, "must return the same values whenever"),
        ("nan", {}, "must return finite real values"),
        ("scalar", {}, "must map points"),
        ("two", {}, "must return values, or"),
        ("large", {}, r"size = 1: \|phi\| is "),
        ("broken", {}, "it raised KeyError"),
        ("bump", {"length": 30.0}, "take a smaller length"),
        ("moving", {"duration": 60.0, "size": 2.0}, "d phi / dt by differences does not converge.* smaller duration"),
    ],
)
def test_what_is_refused(mine, name, options, message):
    x = np.random.default_rng(0).normal(size=(32, 2))
    with np.errstate(all="ignore"), pytest.raises(InputError, match=message):
        mine(name, **options).check(x, np.ones(32), 1.0, "compare.test_functions[0]")


def test_of_a_case(tmp_path):
    """It needs no shape; its file is kept with the result."""
    (tmp_path / "phi.py").write_text(SOURCE)
    (tmp_path / "case.toml").write_text("""
system = "signed"
model = { sigma = 1.0, gamma_bar = 0.4 }
initial.positive = [{ shape = "gaussian", mass = 0.5, center = [-1.0, 0.0], width = 0.6 }]
initial.negative = [{ shape = "gaussian", mass = 0.5, center = [1.0, 0.0], width = 0.6 }]
time.end = 0.2
pde = { mesh = { shape = "disk", radius = 5.0, cell_size = 0.4 }, step = 0.05 }
particles = { counts = [16, 32], replicas = 8, step = 0.05 }
compare.test_functions = [{ python = "phi.py:moving", size = 1.4 }]
output.pictures = false
""")
    found = limitpde.run(tmp_path / "case.toml", out=tmp_path / "out", comm=MPI.COMM_SELF)
    assert found["status"] == "done"
    assert found["inputs"][0]["copy"] == "inputs/phi.py"
    row = found["compare"]["limits"][0]
    assert row["label"] == "phi.py:moving"
    assert abs(row["difference"]) < row["detectable"]
    with pytest.raises(InputError, match="does not converge"):
        cases.read(tmp_path / "case.toml", ["compare.test_functions.0.length=30.0"])
