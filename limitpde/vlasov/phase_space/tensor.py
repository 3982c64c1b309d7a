"""f on a tensor grid of phase space: where its values lie, and how they are moved, summed and gathered.

The values are those at the Gauss points of uniform cells, an array (components, *x_shape, *v_shape) on each rank, which
has a block of whole cells (`grid`). Transport along a coordinate is exact translation with L2 projection
(`translation`), for any step: it conserves mass to rounding and does not increase int f^2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numba
import numpy as np
from mpi4py import MPI

from limitpde.compiled import compiled
from limitpde.errors import InputError
from limitpde.vlasov.parts import check_parts
from limitpde.vlasov.phase_space import kernels, limiter
from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.grid import ProcessGrid, gathered_x
from limitpde.vlasov.phase_space.kicks import kick
from limitpde.vlasov.phase_space.lines import Lines, drift_lines, kick_lines
from limitpde.vlasov.phase_space.outflow import outflow
from limitpde.vlasov.phase_space.registers import LANES
from limitpde.vlasov.phase_space.translation import moves

BLOCK = 1 << 16
"""Points at which a function is evaluated together."""
KEPT = 6
"""Times of drifts whose moves are kept: those of a step of order 4, and its seams."""
WIDEST = 128
"""Longest run whose numbers have moves of their own."""


class TensorSpace:
    """Piecewise polynomials on the product of x axes and v axes. Collective.

    Args:
        x_axes: d axes, periodic or with ends.
        v_axes: d axes with ends.
        positivity: keep what is >= 0 so.
        parts: of the ranks along each axis, x then v; by default what is fastest.
        sweeps: for each axis (S, M) whole cells by which its lines are moved in a step, if that is known.
        comm: the ranks.

    Attributes:
        d: number of positions.
        degree: of the polynomials.
        whole_shape: (*X, *V) nodes of all ranks; place: the slices of those of this rank.
        x_shape: nodes of this rank along the x axes; v_shape: along the v axes.
        x_points: (*x_shape, d); x_weights: (*x_shape) quadrature weights.
        v_nodes: d arrays of the nodes of this rank along the v axes; v_weights: their weights.

    Raises:
        InputError: the axes do not fit together.
    """

    def __init__(
        self,
        x_axes: Sequence[Axis],
        v_axes: Sequence[Axis],
        *,
        positivity: bool = False,
        parts: Sequence[int] | None = None,
        sweeps: Sequence[np.ndarray] | None = None,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        axes = [*x_axes, *v_axes]
        if len(x_axes) != len(v_axes) or not 1 <= len(x_axes) <= 3:
            raise InputError(f"{len(x_axes)} x axes, {len(v_axes)} v axes: 1 to 3 are needed, as many of v as of x")
        if any(axis.periodic for axis in v_axes):
            raise InputError("a v axis is periodic: velocities have ends")
        if len({axis.degree for axis in axes}) > 1:
            raise InputError(f"degrees {[axis.degree for axis in axes]}: must be the same for all axes")
        self.x_axes, self.v_axes, self.positivity, self.comm = (tuple(x_axes), tuple(v_axes), positivity, comm)
        self.d, self.degree = len(x_axes), axes[0].degree
        if parts is not None:
            check_parts(parts, [axis.cells for axis in axes], comm.size)
        self.grid = ProcessGrid(axes, self.d, comm, parts, sweeps)
        self.place, self.whole_shape = self.grid.nodes(comm.rank), tuple(axis.n for axis in axes)
        nodes = [axis.nodes[part] for axis, part in zip(axes, self.place, strict=True)]
        weights = [axis.weights[part] for axis, part in zip(axes, self.place, strict=True)]
        self._weights, d = weights, self.d
        self.x_shape = tuple(len(part) for part in nodes[:d])
        self.v_shape = tuple(len(part) for part in nodes[d:])
        self.x_points = np.stack(np.meshgrid(*nodes[:d], indexing="ij"), axis=-1)
        self.x_weights = product(weights[:d])
        self.v_nodes, self.v_weights = nodes[d:], weights[d:]
        self._drifts: dict[float, list[Lines]] = {}

    @property
    def dofs(self) -> int:
        """Values of one component on all ranks."""
        return int(np.prod([axis.n for axis in (*self.x_axes, *self.v_axes)], dtype=np.int64))

    @property
    def shape(self) -> tuple[int, ...]:
        """Nodes of this rank, (*x_shape, *v_shape)."""
        return self.x_shape + self.v_shape

    def array(self, components: int = 1) -> np.ndarray:
        """Zeros, (components, *x_shape, *v_shape)."""
        return np.zeros((components, *self.shape))

    def fill(self, f: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> None:
        """Set f (components, *x_shape, *v_shape) to a function of points z (n, 2 d): (n,) or (components, n)."""
        if not f[0].size:
            return
        v = np.stack(np.meshgrid(*self.v_nodes, indexing="ij"), axis=-1).reshape(-1, self.d)
        x = self.x_points.reshape(-1, self.d)
        rows = f.reshape(len(f), len(x), len(v))
        some = max(1, BLOCK // len(v))
        for first, start in itertools.product(range(0, len(x), some), range(0, len(v), BLOCK)):
            part, speeds = x[first : first + some], v[start : start + BLOCK]
            z = np.concatenate([np.repeat(part, len(speeds), axis=0), np.tile(speeds, (len(part), 1))], axis=1)
            found = np.reshape(np.asarray(function(z), dtype=float), (-1, len(part), len(speeds)))
            rows[:, first : first + some, start : start + BLOCK] = found

    # --- transport ------------------------------------------------------------------------------------------------

    def drift(self, f: np.ndarray, dt: float) -> tuple[np.ndarray, float]:
        """f(x, v) -> f(x - v dt, v), in place. Collective.

        Returns:
            f, and what left over the ends of the x axes on this rank (0 for several components).
        """
        lost, lines = 0.0, self._drift_lines(dt)
        for j in range(self.d):
            lost += self._sweep(f, lines[j], j)
        return f, lost

    def kick(self, f: np.ndarray, force: np.ndarray, dt: float) -> tuple[np.ndarray, float]:
        """f(x, v) -> f(x, v - force(x) dt), in place. Collective.

        Args:
            f: (components, *x_shape, *v_shape).
            force: (d, *x_shape), the same on the ranks that have the same part of x.
            dt: time.

        Returns:
            f, and what left over the ends of the v axes on this rank (0 for several components).
        """
        d, w = self.d, self._weights
        lines = [
            kick_lines(self.shape, j, axis.P, moves(axis, force[j].ravel() * dt)) for j, axis in enumerate(self.v_axes)
        ]
        if self.positivity or self.grid.v_comm.size > 1:
            return f, sum((self._sweep(f, along, d + j) for j, along in enumerate(lines)), 0.0)
        outer = [product(w[d : d + j]).ravel() for j in range(d)]
        inner = [product(w[d + j + 1 :]).ravel() for j in range(d)]
        lost = [kick(component.reshape(-1), lines, self.v_axes, outer, inner) for component in f]
        return f, float(lost[0] @ self.x_weights.ravel()) if len(f) == 1 else 0.0

    def _drift_lines(self, dt: float) -> list[Lines]:
        """The lines along the x axes and their moves; those of the latest few dt are kept."""
        if dt not in self._drifts:
            while len(self._drifts) >= KEPT:
                del self._drifts[next(iter(self._drifts))]
            self._drifts[dt] = [
                drift_lines(self.shape, j, axis.P, moves(axis, self.v_nodes[j] * dt), WIDEST)
                for j, axis in enumerate(self.x_axes)
            ]
        return self._drifts[dt]

    def _sweep(self, f: np.ndarray, lines: Lines, which: int) -> float:
        """Move all components along one axis."""
        axis = (*self.x_axes, *self.v_axes)[which]
        begin, end = self.grid.cells(self.comm.rank)[which]
        lost = 0.0
        for component in f:
            flat = component.reshape(-1)
            if self.positivity:
                limiter.before(flat, lines, axis.P)
            if len(f) == 1 and not axis.periodic:
                lost = outflow(flat, lines, axis, begin, end, self._across(lines, which))
            kernels.move(flat, lines, which, axis, self.grid)
            if self.positivity:
                limiter.after(flat, lines, axis.P)
        return lost

    def _across(self, lines: Lines, which: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights of the other axes: of the numbers of each run, of outer and of mid indices of its lines."""
        d, w = self.d, self._weights
        if which >= d:
            inner = product(w[which + 1 :]).ravel()
            return (self.x_weights.reshape(-1, 1) * inner, product(w[d:which]).ravel(), np.ones(1))
        inner = product(w[d + which :]).ravel()
        index = lines.base[:, None] + np.arange(int(lines.width.max(initial=0)))
        return (
            inner[np.minimum(index, len(inner) - 1)],
            product(w[:which]).ravel(),
            product(w[which + 1 : d + which]).ravel(),
        )

    # --- sums -----------------------------------------------------------------------------------------------------

    def velocity_integrals(self, f: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
        """int f prod_j factors[j][q](v_j) dv at the x nodes. Collective.

        Args:
            f: one component, (*x_shape, *v_shape).
            factors: d arrays (Q, nodes of this rank along v_j).

        Returns:
            (Q, *x_shape)
        """
        rows = [int(np.prod(self.shape[: self.d + j], dtype=np.int64)) for j in range(self.d)]
        last, which = np.unique(factors[-1], axis=0, return_inverse=True)  # the more, the longer
        sums = row_sums(f.reshape(rows[-1], self.v_shape[-1]), last * self.v_weights[-1])
        found = [sums[at] for at in which.ravel()]
        for j in range(self.d - 2, -1, -1):
            weighted = factors[j] * self.v_weights[j]
            found = [part.reshape(rows[j], self.v_shape[j]) @ row for part, row in zip(found, weighted, strict=True)]
        stacked = np.stack(found).reshape(len(found), *self.x_shape)
        return self._total(self.grid.v_comm, stacked)

    def integrate_x(self, values: np.ndarray) -> np.ndarray:
        """Integrals over all x of values (..., *x_shape): (...), on every rank. Collective."""
        sums = np.tensordot(values, self.x_weights, axes=self.d)
        return self._total(self.grid.x_comm, np.asarray(sums, dtype=float))

    def square_and_minimum(self, f: np.ndarray) -> tuple[float, float]:
        """int f^2 of one component and its smallest value, by one pass over f. Collective."""
        weights = np.multiply.outer(self.x_weights, product(self.v_weights[:-1])).ravel()
        sums, least = squares(f.reshape(len(weights), self.v_shape[-1]), self.v_weights[-1])
        return total_and_least(self.comm, float(sums @ weights), float(least.min(initial=np.inf)))

    def square_integral(self, f: np.ndarray) -> float:
        """int f^2 of one component. Collective."""
        return self.square_and_minimum(f)[0]

    def minimum(self, f: np.ndarray) -> float:
        """Smallest value of one component on all ranks. Collective."""
        return self.square_and_minimum(f)[1]

    @staticmethod
    def _total(comm: MPI.Comm, local: np.ndarray) -> np.ndarray:
        """Sum over some ranks, the same on all of them. Collective on these."""
        if comm.size == 1:
            return local
        total = np.empty_like(local)
        comm.Allreduce(local, total)
        return total

    # --- other layouts --------------------------------------------------------------------------------------------

    def gather_x(self, values: np.ndarray) -> np.ndarray:
        """Values (..., *x_shape) of all x nodes, (..., *X), on every rank. Collective."""
        return gathered_x(self.grid, self.d, self.whole_shape[: self.d], values)

    def gather(self, f: np.ndarray) -> np.ndarray:
        """One component at all nodes, (*X, *V), on rank 0; nothing elsewhere. Collective."""
        comm = self.comm
        if comm.rank > 0:
            comm.Send(np.ascontiguousarray(f), 0)
            return np.empty((0,) * (2 * self.d))
        whole = np.empty(self.whole_shape)
        whole[self.place] = f
        for rank in range(1, comm.size):
            nodes = self.grid.nodes(rank)
            part = np.empty([s.stop - s.start for s in nodes])
            comm.Recv(part, rank)
            whole[nodes] = part
        return whole


def total_and_least(comm: MPI.Comm, summand: float, value: float) -> tuple[float, float]:
    """Sum over the ranks of one number, and the least of another. Collective."""
    found = np.empty((comm.size, 2))
    comm.Allgather(np.array([summand, value]), found)
    return math.fsum(found[:, 0]), float(found[:, 1].min())


@compiled(parallel=True, fastmath=kernels.FAST)
def row_sums(f: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """sum_n factors_qn f_in of each row of f (rows, n), for factors (Q, n): (Q, rows)."""
    sums = np.empty((len(factors), len(f)))
    for i in numba.prange(len(f)):
        row = f[i]
        for q in range(len(factors)):
            factor, total = factors[q], 0.0
            for k in range(len(factor)):
                total += factor[k] * row[k]
            sums[q, i] = total
    return sums


@compiled(parallel=True, fastmath=kernels.FAST)
def squares(f: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum_n weights_n f_n^2 of each row of f (rows, n), (rows,), and the least of each."""
    sums, least = np.empty(len(f)), np.empty(len(f))
    whole = len(weights) // LANES * LANES
    for i in numba.prange(len(f)):
        row, total, smallest = f[i], 0.0, np.full(LANES, np.inf)
        for k in range(len(weights)):
            total += weights[k] * row[k] * row[k]
        for first in range(0, whole, LANES):  # side by side, or they are compared one after the other
            for k in range(LANES):
                smallest[k] = row[first + k] if row[first + k] < smallest[k] else smallest[k]
        for k in range(whole, len(weights)):
            smallest[0] = row[k] if row[k] < smallest[0] else smallest[0]
        sums[i], least[i] = total, smallest.min()
    return sums, least


def product(factors: Sequence[np.ndarray]) -> np.ndarray:
    """Outer product of vectors; one of none."""
    result = np.ones(())
    for factor in factors:
        result = np.multiply.outer(result, factor)
    return np.asarray(result)
