"""Models and initial data of the coagulating system that several tests solve, and their fields on every rank."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
from nodal import everywhere

from limitpde.coagulation.model import Initial, Model
from limitpde.coagulation.pde import Solver

CONSTANT = {"kernel": "constant", "scale": 2.0}


def model_of(dimension: int = 2, **changes) -> Model:
    return Model(**{"dimension": dimension, "diffusion": [0.1], "beta": CONSTANT, "n_max": 8} | changes)


def clouds(dimension: int, width: float = 0.15) -> Initial:
    """Two clouds of masses 1 and 2, and homogeneous particles of mass 3."""
    first, second = ((x, *[0.5] * (dimension - 1)) for x in (0.3, 0.75))
    return Initial(
        masses=[
            {"n": 1, "shape": "gaussian", "mass": 0.7, "center": first, "width": width},
            {"n": 2, "shape": "gaussian", "mass": 0.2, "center": second, "width": width},
            {"n": 3, "shape": "uniform", "mass": 0.1},
        ]
    )


CLOUDS_MASS = 0.7 + 2 * 0.2 + 3 * 0.1


def homogeneous(*pairs: tuple[int, float]) -> Initial:
    return Initial(masses=[{"n": n, "shape": "uniform", "mass": mass} for n, mass in pairs])


def fields_of(solver: Solver) -> np.ndarray:
    """f_n and what was lost by node, on every rank, (size, M + 1)."""
    return everywhere(solver.nodes, np.column_stack([solver.densities, solver.lost]))
