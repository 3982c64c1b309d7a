"""Models, domains and statistics for the tests of the coagulating particles."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dataclasses
import math

import numpy as np

from limitpde.coagulation.interaction import DoiBall
from limitpde.coagulation.model import Initial, Part
from limitpde.coagulation.particles import Ensemble
from limitpde.compare.test_functions import Wave
from limitpde.densities import Uniform
from limitpde.domains import Domain

SE = 4.5
BALL = DoiBall(alpha=20.0)
TORUS, SQUARE = Domain.torus(np.ones(3)), Domain.torus(np.ones(2))
ONES = Initial(masses=(Part(n=1, density=Uniform(mass=1.0)),))
MIXED = Initial(masses=(Part(n=1, density=Uniform(mass=0.6)), Part(n=3, density=Uniform(mass=0.4))))
ARRAYS = [field.name for field in dataclasses.fields(Ensemble) if field.name not in ("work_per_second", "method")]


def assert_same(a: Ensemble, b: Ensemble) -> None:
    """Bit by bit."""
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def close(values: np.ndarray, expected: float, systematic: float = 0.0) -> bool:
    """Whether a sample's mean is the expected one within SE standard errors and a systematic error."""
    return abs(values.mean() - expected) < SE * values.std(ddof=1) / math.sqrt(len(values)) + systematic


def wave(*k: float, **keys: object) -> Wave:
    return Wave(k=tuple(2 * math.pi * c for c in k), **keys)  # type: ignore[arg-type]
