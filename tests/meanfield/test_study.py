"""A study of the mean-field system: a key that is varied, and numbers that follow an exact law."""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)

import pytest
from mpi4py import MPI

CASE = """
system = "meanfield"
[model]
dimension = 1
sigma = 1.0
interaction = { kind = "harmonic", strength = 1.0 }
[initial]
species = [[{ shape = "gaussian", mass = 1.0, center = [0.0], width = 0.5 }]]
[time]
end = 0.3
[pde]
mesh = { shape = "box", size = 8.0, origin = -4.0, cell_size = 0.1 }
step = 0.03
[particles]
counts = [8]
replicas = 4
step = 0.03
[compare]
test_functions = [{ shape = "gaussian", center = [0.0], width = 1.0 }]
budget = false
fluctuations = false
[output]
pictures = false
"""


def test_a_study_over_sigma(tmp_path):
    (tmp_path / "case.toml").write_text(CASE)
    found = limitpde.study(
        tmp_path / "case.toml", over={"model.sigma": [0.5, 1.0]}, out=tmp_path / "s", comm=MPI.COMM_SELF
    )
    assert found["status"] == "done"
    for sigma, variance in zip((0.5, 1.0), found.table["pde.second_moment.end"], strict=True):
        rest = sigma**2 / 2  # d s^2 / dt = sigma^2 - 2 s^2
        assert variance == pytest.approx(rest + (0.25 - rest) * 2.718281828459045 ** (-0.6), rel=5e-3)
