"""Functions of x and v that are piecewise polynomials in x and trigonometric polynomials in v.

In v there are equally spaced points, the middles of n parts of each interval; in x the Gauss points of the cells of
`TensorSpace`, in blocks of whole cells over the ranks. The velocities are on every rank, so that the Fourier transform
in v needs no messages. By construction functions are periodic in v.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import scipy.fft
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.vlasov.parts import check_parts
from limitpde.vlasov.phase_space import kernels
from limitpde.vlasov.phase_space.axes import Axis, CellAxis
from limitpde.vlasov.phase_space.grid import ProcessGrid, gathered_x, parts_of
from limitpde.vlasov.phase_space.lines import drift_lines
from limitpde.vlasov.phase_space.tensor import WIDEST, product
from limitpde.vlasov.phase_space.translation import moves

BLOCK = 1 << 16
"""Numbers that are transformed, or at which a function is evaluated, together."""


@dataclass(frozen=True)
class UniformAxis(CellAxis):
    """A velocity coordinate with equally spaced points: the middles of n equal parts; cells are for pictures."""

    @property
    def periodic(self) -> bool:
        """False: functions are periodic by construction, velocities are not."""
        return False

    @property
    def parts(self) -> UniformAxis:
        """The same points, each in a cell of its own."""
        return UniformAxis(self.low, self.high, self.n, 0)

    @property
    def spacing(self) -> float:
        """Distance of two points."""
        return (self.high - self.low) / self.n

    @property
    def nodes(self) -> np.ndarray:
        """The points, (n,)."""
        return np.asarray(self.low + (np.arange(self.n) + 0.5) * self.spacing)

    @property
    def weights(self) -> np.ndarray:
        """Quadrature weights, all the same, (n,)."""
        return np.full(self.n, self.spacing)

    @property
    def waves(self) -> np.ndarray:
        """xi, in the order of the fast Fourier transform, (n,); zero for the shortest wave, whose sign is not known."""
        xi = 2 * math.pi * scipy.fft.fftfreq(self.n, self.spacing)
        if self.n % 2 == 0:
            xi[self.n // 2] = 0.0
        return np.asarray(xi)


class FourierSpace:
    """Complex functions on the product of x axes and uniform velocities. Collective.

    Args:
        x_axes: d axes, periodic or with ends.
        v_axes: d axes, whose intervals and numbers of points are taken.
        parts: of the ranks along each axis, one along those of v; by default what is fastest.
        sweeps: as for `TensorSpace`.
        comm: the ranks, each with a block of cells of x and all velocities.

    Attributes:
        d, degree, x_axes, x_shape, x_points, x_weights, v_shape, v_nodes, v_weights, whole_shape, place: as those of
            `TensorSpace`.
        v_axes: d uniform axes.

    Raises:
        InputError: the axes do not fit together.
    """

    def __init__(
        self,
        x_axes: Sequence[Axis],
        v_axes: Sequence[Axis],
        *,
        parts: Sequence[int] | None = None,
        sweeps: Sequence[np.ndarray] | None = None,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        if len(x_axes) != len(v_axes) or not 1 <= len(x_axes) <= 3:
            raise InputError(f"{len(x_axes)} x axes, {len(v_axes)} v axes: 1 to 3 are needed, as many of v as of x")
        if len({axis.degree for axis in x_axes}) > 1:
            raise InputError(f"degrees {[axis.degree for axis in x_axes]}: must be the same for all x axes")
        self.x_axes, self.comm, self.d, self.degree = tuple(x_axes), comm, len(x_axes), x_axes[0].degree
        self.v_axes = tuple(UniformAxis(axis.low, axis.high, axis.cells, axis.degree) for axis in v_axes)
        d = self.d
        if parts is not None:  # velocities are on every rank, as if each of their axes had one cell
            check_parts(parts, [*(axis.cells for axis in x_axes), *(1,) * d], comm.size)
        else:
            cells = [axis.cells for axis in x_axes]
            parts = [*parts_of(cells, comm.size, d, sweeps and sweeps[:d]), *(1,) * d]
        self.grid = ProcessGrid([*x_axes, *v_axes], d, comm, parts)
        self.place = self.grid.nodes(comm.rank)[:d] + tuple(slice(0, axis.n) for axis in self.v_axes)
        self.whole_shape = tuple(axis.n for axis in self.axes)
        nodes = [axis.nodes[part] for axis, part in zip(x_axes, self.place[:d], strict=True)]
        self.x_shape = tuple(len(part) for part in nodes)
        self.x_points = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)
        self.x_weights = product([axis.weights[part] for axis, part in zip(x_axes, self.place[:d], strict=True)])
        self.v_nodes, self.v_weights = [axis.nodes for axis in self.v_axes], [axis.weights for axis in self.v_axes]
        self.v_shape = tuple(axis.n for axis in self.v_axes)
        self.waves = [axis.waves for axis in self.v_axes]

    @property
    def axes(self) -> list[Axis | UniformAxis]:
        """Those of x and of v."""
        return [*self.x_axes, *self.v_axes]

    @property
    def dofs(self) -> int:
        """Complex values on all ranks."""
        return math.prod(axis.n for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of this rank, (*x_shape, *v_shape)."""
        return self.x_shape + self.v_shape

    def blocks(self) -> list[slice]:
        """The x nodes of this rank, in one row, in parts."""
        count = math.prod(self.x_shape)
        some = max(1, BLOCK // math.prod(self.v_shape))
        return [slice(first, min(first + some, count)) for first in range(0, count, some)]

    def fill(self, u: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> None:
        """Set u (*x_shape, *v_shape) to a function of points z (n, 2 d) -> (n,)."""
        x, rows = self.x_points.reshape(-1, self.d), u.reshape(-1, math.prod(self.v_shape))
        v = np.stack(np.meshgrid(*self.v_nodes, indexing="ij"), axis=-1).reshape(-1, self.d)
        for part in self.blocks():
            points = x[part]
            z = np.concatenate([np.repeat(points, len(v), axis=0), np.tile(v, (len(points), 1))], axis=1)
            rows[part] = function(z).reshape(len(points), len(v))

    def transform(self, u: np.ndarray, *, inverse: bool = False) -> None:
        """The unitary discrete Fourier transform in v, or its inverse, in place."""
        rows = u.reshape(-1, *self.v_shape)
        run = scipy.fft.ifftn if inverse else scipy.fft.fftn
        axes = range(1, self.d + 1)
        for part in self.blocks():
            rows[part] = run(rows[part], axes=axes, norm="ortho", overwrite_x=True, workers=numba.get_num_threads())

    def drift(self, u: np.ndarray, dt: float) -> None:
        """u(x, v) -> u(x - v dt, v), in place, by the sweeps of `TensorSpace`. Collective.

        Real and imaginary parts lie side by side, as if there were twice as many velocities v_d, each two times.
        """
        shape = (*self.x_shape, *self.v_shape[:-1], 2 * self.v_shape[-1])
        flat = u.reshape(-1).view(float)
        for j, axis in enumerate(self.x_axes):
            v = self.v_nodes[j] if j < self.d - 1 else np.repeat(self.v_nodes[j], 2)
            lines = drift_lines(shape, j, axis.P, moves(axis, v * dt), WIDEST)
            kernels.move(flat, lines, j, axis, self.grid)

    def integrate_x(self, values: np.ndarray) -> np.ndarray:
        """Integrals over all x of values (..., *x_shape): (...), on every rank. Collective."""
        total = np.array(np.tensordot(values, self.x_weights, axes=self.d))
        self.comm.Allreduce(MPI.IN_PLACE, total)
        return total

    def gather_x(self, values: np.ndarray) -> np.ndarray:
        """Values (..., *x_shape) of all x nodes, (..., *X), on every rank. Collective."""
        return gathered_x(self.grid, self.d, self.whole_shape[: self.d], values)

    def gather(self, u: np.ndarray) -> np.ndarray:
        """Values (*X, *V) on rank 0; nothing elsewhere. Collective."""
        comm = self.comm
        if comm.rank > 0:
            comm.Send(np.ascontiguousarray(u), 0)
            return np.empty((0,) * (2 * self.d), dtype=u.dtype)
        whole = np.empty([axis.n for axis in self.axes], dtype=u.dtype)
        whole[self.place] = u
        for rank in range(1, comm.size):
            nodes = self.grid.nodes(rank)[: self.d]
            part = np.empty((*(s.stop - s.start for s in nodes), *self.v_shape), dtype=u.dtype)
            comm.Recv(part, rank)
            whole[nodes] = part
        return whole
