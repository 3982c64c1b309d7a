"""The part of a tensor space that fields need, for tests of fields alone: positions, in blocks over the ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from limitpde.vlasov.phase_space.grid import ProcessGrid


@dataclass(frozen=True)
class Axis:
    """Gauss points on the uniform cells of an interval."""

    low: float
    high: float
    cells: int
    degree: int
    periodic: bool

    @property
    def h(self) -> float:
        """Length of a cell."""
        return (self.high - self.low) / self.cells

    @property
    def P(self) -> int:  # noqa: N802 - as the space calls it
        """Points of a cell."""
        return self.degree + 1

    @property
    def n(self) -> int:
        """Points."""
        return self.cells * self.P

    @property
    def nodes(self) -> np.ndarray:
        """Positions, (n,)."""
        points = (np.polynomial.legendre.leggauss(self.P)[0] + 1) / 2
        return (self.low + self.h * (np.arange(self.cells)[:, None] + points)).ravel()

    @property
    def weights(self) -> np.ndarray:
        """Quadrature weights, (n,)."""
        return np.tile(np.polynomial.legendre.leggauss(self.P)[1] * self.h / 2, self.cells)


class Positions:
    """A rank has some of the cells of the first axis; with fewer cells than ranks, some have none."""

    def __init__(
        self, box: np.ndarray, cells: list[int], degree: int, *, periodic: bool, comm: MPI.Comm = MPI.COMM_SELF
    ) -> None:
        self.comm = comm
        self.x_axes = [Axis(*map(float, row), n, degree, periodic) for row, n in zip(box, cells, strict=True)]
        d = len(cells)
        self.grid = ProcessGrid(self.x_axes * 2, d, comm, parts=(comm.size, *(1,) * (2 * d - 1)))
        ends = [cells[0] * rank // comm.size * (degree + 1) for rank in range(comm.size + 1)]
        self._own = slice(ends[comm.rank], ends[comm.rank + 1])
        grids = np.meshgrid(*(axis.nodes for axis in self.x_axes), indexing="ij")
        weights = np.prod(np.meshgrid(*(axis.weights for axis in self.x_axes), indexing="ij"), axis=0)
        self.x_points, self.x_weights = np.stack(grids, axis=-1)[self._own], weights[self._own]
        self.x_shape = self.x_weights.shape
        self.d = d

    def gather_x(self, values: np.ndarray) -> np.ndarray:
        """All nodes, on every rank."""
        return np.concatenate(self.comm.allgather(values), axis=-self.d)

    def local_x(self, values: np.ndarray) -> np.ndarray:
        """Those of this rank."""
        return values[(..., self._own, *(slice(None),) * (self.d - 1))]

    def integrate_x(self, values: np.ndarray) -> np.ndarray:
        """Integrals over x of (..., *x_shape)."""
        return self.comm.allreduce((values * self.x_weights).sum(axis=tuple(range(-self.d, 0))))
