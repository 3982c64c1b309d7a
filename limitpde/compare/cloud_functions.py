"""Observables of both sides by a Python function of weighted points: of particles, and of a solution at its nodes.

A measure is a cloud of points x with marks (charges, species, masses or velocities) and weights: those of N particles
are M / N with the mass M of the measure, those of a solution the integrals of its densities over the parts of the
nodes. The function makes numbers of a cloud, linear in the weights or not: a dipole moment squared, an energy of pairs,
a quantile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from mpi4py import MPI
from pydantic import Field

from limitpde.checked import Name, record
from limitpde.files import PythonFunction, numbers_of
from limitpde.parallel import gathered, on_root


class PointCloud(NamedTuple):
    """A measure on n points."""

    x: np.ndarray
    """(n, d)"""
    mark: np.ndarray
    """Charge, species or mass of each, (n,), or its velocity, (n, d)."""
    weight: np.ndarray
    """(n,)"""


@record
class CloudFunction:
    """Numbers that a Python function makes of a cloud."""

    python: PythonFunction
    """"file.py:function", function(x (n, d), mark, weight (n,), t) -> a number, or several, (values,)."""
    name: Name
    """What it is called in tables and pictures: letters, digits, blanks, _ and -."""
    values: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many numbers it returns."""

    @property
    def labels(self) -> list[str]:
        """A name for each of the numbers."""
        return [self.name] if self.values == 1 else [f"{self.name}[{k}]" for k in range(self.values)]

    def of(self, cloud: PointCloud, t: float) -> np.ndarray:
        """The numbers of a cloud, (values,); at time 0 it is asked twice.

        Raises:
            InputError: it fails, does not return as many finite real numbers, or others when it is asked again.
        """
        arguments, key = (*cloud, np.asarray(t)), "compare.observables.python"
        return numbers_of(self.python, *arguments, count=self.values, key=key, again=t == 0)


def labels_of(functions: Sequence[CloudFunction]) -> list[str]:
    """Names of the Q numbers of all functions."""
    return [label for function in functions for label in function.labels]


def observed_clouds(functions: Sequence[CloudFunction], clouds: Sequence[PointCloud], t: float) -> np.ndarray:
    """The numbers of all functions, of each of R clouds, (R, Q)."""
    rows = [np.concatenate([np.zeros(0), *(function.of(cloud, t) for function in functions)]) for cloud in clouds]
    return np.array(rows).reshape(len(clouds), len(labels_of(functions)))


def nodal_cloud(
    comm: MPI.Comm, numbers: np.ndarray, points: np.ndarray, marks: np.ndarray, weights: np.ndarray
) -> PointCloud:
    """Densities at nodes as a cloud, on rank 0; nothing elsewhere. Collective.

    Args:
        comm: the ranks.
        numbers: of the nodes of this one, (owned,).
        points: where they are, (owned, d).
        marks: of S densities, (S,).
        weights: their integrals over the parts of the nodes, (owned, S); where they are zero there is no point.
    """
    held, d = gathered(comm, numbers, np.column_stack([points, weights])), points.shape[1]
    weight = held[:, d:].ravel()
    there = weight != 0
    mark = np.tile(marks.astype(float), len(held))[there]
    return PointCloud(np.repeat(held[:, :d], len(marks), axis=0)[there], mark, weight[there])


class ObservedCloud:
    """The numbers of a solution at the times at which it is asked, from its present one on. Collective.

    Args:
        functions: of which numbers, Q in all.
        cloud: the solution at present, on rank 0. Collective.
        comm: the ranks.
        t: the present time.

    Attributes:
        times: so far.
        values: at these times, (Q,) each; the same on every rank.
    """

    STATE = "compare.ObservedCloud 1"

    def __init__(
        self, functions: Sequence[CloudFunction], cloud: Callable[[], PointCloud], comm: MPI.Comm, t: float
    ) -> None:
        self._functions, self._cloud, self._comm = functions, cloud, comm
        self.times: list[float] = []
        self.values: list[np.ndarray] = []
        self.take(t)

    def take(self, t: float) -> None:
        """Ask for the numbers at present, at time t."""
        cloud = self._cloud()
        self.values.append(on_root(self._comm, lambda: observed_clouds(self._functions, [cloud], t)[0]))
        self.times.append(t)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on from here, the same on every rank."""
        return {"times": np.array(self.times), "values": np.array(self.values)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`."""
        self.times, self.values = state["times"].tolist(), list(state["values"])
