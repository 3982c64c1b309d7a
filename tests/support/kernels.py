"""Kernels with closed forms, and the steps that tests of the reaction take."""

from __future__ import annotations

import numpy as np

from limitpde.coagulation.model import Model, Rates
from limitpde.coagulation.reaction.bins import MassGrid
from limitpde.coagulation.reaction.operator import Reaction


def constant(n: np.ndarray, m: np.ndarray) -> np.ndarray:
    return np.ones(np.broadcast_shapes(np.shape(n), np.shape(m)))


def additive(n: np.ndarray, m: np.ndarray) -> np.ndarray:
    return n + m


def multiplicative(n: np.ndarray, m: np.ndarray) -> np.ndarray:
    return n * m


def doi(n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """The propensity (1.9) of a ball, d(n) = n^(-1/3), alpha = 20."""
    D = n ** (-1 / 3) + m ** (-1 / 3)
    k = np.sqrt(20.0 / D)
    return 4 * np.pi * D * (1 - np.tanh(k) / k)


KERNELS = {"constant": constant, "additive": additive, "multiplicative": multiplicative}


def make(n_max: int = 32, kernel: str = "constant", **others) -> Model:
    """A model of the kernels above; a kernel without a name counts as a Python function of the test."""
    return Model(dimension=3, diffusion=[1.0], beta=Rates(kernel=kernel), n_max=n_max, **others)


def monomers(grid: MassGrid, P: int = 1) -> np.ndarray:
    f = np.zeros((P, grid.M))
    f[:, 0] = 1.0
    return f


def run(reaction: Reaction, f: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Steps from time to time, in place; returns what was lost."""
    lost = np.zeros(len(f))
    for dt in np.diff(times):
        lost += reaction.advance(f, dt)
    return lost
