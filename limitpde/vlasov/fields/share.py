"""The positions shared out among all ranks, also those that have the same part of x, for the field.

The ranks with the same block of x (they differ in v) cut it further, along all axes, into whole cells, so that the
ranks are a grid over x alone. What works along an axis gathers its lines from the ranks beside each other on it, and
each computes its part of the result: the work and the memory of a rank fall with the number of ranks, and what it
receives with that of the ranks across the axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from limitpde.vlasov.phase_space.axes import block_ends
from limitpde.vlasov.phase_space.grid import ProcessGrid, cuts_of, rows_of_ranks


class FieldShare:
    """Which cells of x a rank has for the field. Collective.

    Args:
        axes: of x.
        grid: the ranks.

    Attributes:
        axes: as given.
        shape: nodes of this rank along each axis; a rank may have none.
        nodes, weights: of this rank along each axis, d arrays.
        rows: for each axis, the ranks beside this one on it, in order.
    """

    def __init__(self, axes: Sequence[Any], grid: ProcessGrid) -> None:
        self.axes, self._grid, d = tuple(axes), grid, len(axes)
        self._cuts = cuts_of([int(np.diff(ends).max()) for ends in grid.ends[:d]], grid.v_comm.size)
        self._ends, self._place = [], []
        for ends, cut, k, s in zip(grid.ends, self._cuts, grid.place, self._inner(grid.v_comm.rank), strict=False):
            inside = [a + block_ends(b - a, cut)[:-1] for a, b in itertools.pairwise(ends)]
            self._ends.append(np.concatenate([*inside, ends[-1:]]))
            self._place.append(k * cut + s)
        ranks = [len(ends) - 1 for ends in self._ends]
        self.rows: list[Any] = rows_of_ranks(grid.comm, ranks, self._place, (grid.parts, self._cuts))
        parts = [self.part(j, axis.n) for j, axis in enumerate(axes)]
        self.nodes = [axis.nodes[part] for axis, part in zip(axes, parts, strict=True)]
        self.weights = [axis.weights[part] for axis, part in zip(axes, parts, strict=True)]
        self.shape = tuple(len(nodes) for nodes in self.nodes)

    def _inner(self, v_rank: int) -> tuple[int, ...]:
        """Which part of the block of x a rank with some part of v has, along each axis."""
        return tuple(int(s) for s in np.unravel_index(v_rank, self._cuts))

    def part(self, j: int, size: int) -> slice:
        """Those of `size` numbers along axis j (nodes, cells, wave numbers, ...) that belong to this rank."""
        ends = self._cut(j, size)
        return slice(int(ends[self._place[j]]), int(ends[self._place[j] + 1]))

    def _cut(self, j: int, size: int) -> np.ndarray:
        """The ends of the parts of all ranks, in proportion to their cells."""
        return np.asarray(self._ends[j] * size // self.axes[j].cells)

    def lines(self, values: np.ndarray, j: int, size: int) -> np.ndarray:
        """Values (..., n_1, ..., n_d) with all `size` numbers along axis j. Collective on the ranks along it."""
        comm = self.rows[j]
        if comm.size == 1:
            return values
        axis, ends = values.ndim - len(self.axes) + j, self._cut(j, size)
        mine = np.ascontiguousarray(np.moveaxis(values, axis, 0))
        whole = np.empty((size, *mine.shape[1:]), dtype=mine.dtype)
        row = math.prod(mine.shape[1:])
        comm.Allgatherv(mine, [whole, np.diff(ends) * row, ends[:-1] * row, _kind(mine)])
        return np.moveaxis(whole, 0, axis)

    def own(self, lines: np.ndarray, j: int) -> np.ndarray:
        """The part of this rank of lines (..., size, ...) along axis j."""
        axis = lines.ndim - len(self.axes) + j
        index: Any = (slice(None),) * axis + (self.part(j, lines.shape[axis]),)
        return np.asarray(lines[index])

    def apply(self, matrix: np.ndarray, lines: np.ndarray, j: int) -> np.ndarray:
        """The rows of this rank of a matrix (m, n) applied to lines (..., n, ...) along axis j."""
        rows, axis = matrix[self.part(j, len(matrix))], lines.ndim - len(self.axes) + j
        before, after = lines.shape[:axis], lines.shape[axis + 1 :]
        if not after:  # as one product
            found = lines.reshape(math.prod(before), lines.shape[axis]) @ rows.T
            return np.asarray(found.reshape(*before, len(rows)))
        found = rows @ lines.reshape(*before, lines.shape[axis], math.prod(after))
        return np.asarray(found.reshape(*before, len(rows), *after))

    def along(self, matrices: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
        """Apply matrix j (m_j, n_j) along axis j, (..., n_1, ..., n_d) -> (..., m_1, ..., m_d). Collective."""
        for j, matrix in enumerate(matrices):
            values = self.apply(matrix, self.lines(values, j, matrix.shape[1]), j)
        return values

    def weighted(self, values: np.ndarray) -> np.ndarray:
        """Values (..., *shape) at the nodes of this rank times their quadrature weights."""
        for j, weights in enumerate(self.weights):
            values = values * weights.reshape(-1, *(1,) * (len(self.axes) - 1 - j))
        return values

    def integrals(self, values: np.ndarray) -> np.ndarray:
        """Integrals over all x of values (..., *shape) at the nodes, (...), on every rank. Collective."""
        return self.total(self.weighted(values).sum(axis=tuple(range(-len(self.axes), 0))))

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sums over all ranks. Collective."""
        found = np.array(values, dtype=float)
        if self._grid.comm.size > 1:
            self._grid.comm.Allreduce(MPI.IN_PLACE, found)
        return found

    def before(self, value: float) -> float:
        """Sum of what the ranks before this one give, along the only axis. Collective."""
        mine, found = np.array([value]), np.zeros(1)
        if self._grid.comm.size > 1:
            self.rows[0].Exscan(mine, found)
        return float(found[0]) if self._grid.comm.rank else 0.0

    # --- to and from the blocks of x ------------------------------------------------------------------------------

    def mine(self, values: np.ndarray) -> np.ndarray:
        """The part of this rank, (..., *shape), of values (..., *x_shape) at the nodes of its block."""
        index: Any = (..., *self._within(self._grid.v_comm.rank))
        return np.asarray(values[index])

    def _within(self, v_rank: int) -> tuple[slice, ...]:
        """The nodes that a rank with the same block of x has, counted in the block."""
        found = []
        for axis, ends, cut, k, s in zip(
            self.axes, self._ends, self._cuts, self._grid.place, self._inner(v_rank), strict=False
        ):
            first, begin, end = (int(ends[k * cut + n]) * axis.P for n in (0, s, s + 1))
            found.append(slice(begin - first, end - first))
        return tuple(found)

    def back(self, values: np.ndarray) -> np.ndarray:
        """Values (..., *x_shape) of a block from those of its ranks, the same bits on all of these. Collective."""
        comm, d = self._grid.v_comm, len(self.axes)
        if comm.size == 1:
            return values
        lead = values.shape[: values.ndim - d]
        places = [self._within(rank) for rank in range(comm.size)]
        shapes = [(*lead, *(part.stop - part.start for part in place)) for place in places]
        ends = np.cumsum([0, *map(math.prod, shapes)])
        parts = np.empty(ends[-1])
        comm.Allgatherv(np.ascontiguousarray(values), [parts, np.diff(ends), ends[:-1], MPI.DOUBLE])
        block = np.empty((*lead, *(part.stop for part in places[-1])))
        for place, shape, first, end in zip(places, shapes, ends, ends[1:], strict=False):
            index: Any = (..., *place)
            block[index] = parts[first:end].reshape(shape)
        return block


def _kind(values: np.ndarray) -> MPI.Datatype:
    return MPI.C_DOUBLE_COMPLEX if np.iscomplexobj(values) else MPI.DOUBLE
