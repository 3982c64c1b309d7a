"""The HMF model with an alpha of its own phase, for tests of the Hamiltonian forms."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from pathlib import Path

import numpy as np
from mpi4py import MPI

from limitpde.vlasov.initial import Landau
from limitpde.vlasov.model import Model
from limitpde.vlasov.pde import Solver

CIRCLE = 2 * math.pi
HMF = {"kind": "cosine", "strength": -1.0}


def curved(z: np.ndarray) -> np.ndarray:
    """A phase that Newton's flow does not carry along trivially."""
    return 0.2 * z[:, 1] ** 2 + 0.3 * np.sin(z[:, 0]) * z[:, 1]


CURVED = {"python": f"{Path(__file__)}:curved"}


def model(form: str = "hamiltonian", *, potential=HMF, v: float = 4.5) -> Model:
    return Model(potential=potential, form=form, domain={"x": (0.0, CIRCLE), "v": (-v, v)})


def landau(phase=None, **more) -> Landau:
    return Landau(**{"k": 1.0, "amplitude": 0.5, "thermal": 0.7, "phase": phase} | more)


def solved(setting: Model, initial: Landau, end: float, comm: MPI.Comm, *, cells=(8, 20), degree=4) -> Solver:
    solver = Solver(setting, initial, cells=cells, degree=degree, step=0.1, order=4, comm=comm)
    solver.solve(end)
    return solver
