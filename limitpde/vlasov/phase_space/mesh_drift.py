"""Transport in x over a mesh, d_t f + v . grad_x f = 0 for each velocity of a grid, by explicit Runge-Kutta steps.

A is upwind discontinuous Galerkin (`mesh_kernels`). It does not depend on time, so the Runge-Kutta method of order p
with p stages is Taylor's polynomial of exp(tau A), here in Horner's form,

    u <- f;    u <- f + tau/s A u    for s = p, ..., 1.

Its last stage says what leaves: the mass of f falls by tau times the flux of that stage's u through the walls, to
rounding. p = 3 with splittings of order 2, else p = 4. In the norm of L2 no step grows as long as tau times the largest
rate of inflow of a cell, sum_e d max(v . grad lambda_e, 0), stays below STABLE; velocities are sorted by that rate and
taken in groups, each with the substeps it needs and small enough for the cache. Mirrored velocities share a group.

Steps backwards in time (the composition of order 4 has some) are steps with the velocity reversed: what they carry
through an absorbing wall is lost as well, and nothing comes in. That is wrong by what the mesh has smeared towards such
a wall in front of which f of the entering velocities should be zero: where mass is there at the start, the composition
of order 4 loses too much, of the order of the cells' size and however short the step. Order 2 never steps backwards: it
is the better one with absorbing walls. Mirrors are reversible, but where a force acts across them no splitting has been
seen to be of more than order 2 in time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.vlasov.phase_space import mesh_kernels
from limitpde.vlasov.phase_space.mesh_cells import MeshCells
from limitpde.vlasov.phase_space.simplex import Simplex

STABLE = {
    3: ((0.40, 0.20, 0.125, 0.086, 0.063), (0.70, 0.40, 0.26, 0.185, 0.138)),
    4: ((0.46, 0.225, 0.14, 0.096, 0.069), (0.82, 0.46, 0.305, 0.209, 0.16)),
}
"""Stages -> for d = 1 and for d > 1: tau times the rate of inflow up to which four steps do not grow, k = 1 ... 5.

Measured as norms of the amplification matrix on intervals, on disks of a hundred triangles and on balls."""
SAFETY = 0.9
GROUP_BYTES = 1 << 21
"""Size of the array of one group of velocities, at most, of all ranks: three of them should fit in a cache."""
CALL_ENTRIES = 1 << 14
"""Entries of such an array, at least, roughly: fewer are done before the next call is made."""
GROUPS = 8
"""Groups to be made where both allow it."""
MOST_SUBSTEPS = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Velocities that are transported together."""

    columns: np.ndarray
    """(w,) which velocities of this rank, by direction."""
    velocity: np.ndarray
    """(d, W), W = w rounded up to whole blocks, zeros behind."""
    mirror: np.ndarray
    """(d, W) column in the group of the velocity with the opposite component j; zeros for axes without mirrors."""
    measure: np.ndarray
    """(W,) weights."""
    rate: float
    """Largest rate of inflow, the same on every rank."""


class Drift:
    """exp(-dt v . grad_x) on f. Collective.

    Args:
        cells: of the mesh.
        element: the functions on them.
        v_nodes: d arrays, of all velocities.
        v_weights: d arrays.
        mine: the slice of each that this rank has; where there are mirrors across an axis, all.

    Keyword Args:
        stages: of the Runge-Kutta method, its order: 3 or 4.

    Attributes:
        substeps: Runge-Kutta steps of the groups in the last call, one number each.

    Raises:
        InputError: a mirror needs velocities that the grid does not have.
    """

    def __init__(
        self,
        cells: MeshCells,
        element: Simplex,
        v_nodes: Sequence[np.ndarray],
        v_weights: Sequence[np.ndarray],
        mine: Sequence[slice],
        *,
        stages: int,
    ) -> None:
        self._cells, self._element, self._stages = cells, element, stages
        self._limit = SAFETY * STABLE[stages][min(cells.dimension, 2) - 1][element.degree - 1]
        self._means = np.einsum("m,emi->ei", element.facet_weights, element.traces)
        self._groups = self._sorted(v_nodes, v_weights, tuple(mine))
        widest = max(len(group.measure) for group in self._groups)
        self._rows = [np.empty((cells.owned + len(cells.halo.ghosts)) * element.n * widest) for _ in range(3)]
        self.substeps: list[int] = []

    def _sorted(
        self, v_nodes: Sequence[np.ndarray], v_weights: Sequence[np.ndarray], mine: tuple[slice, ...]
    ) -> list[Group]:
        """The velocities by decreasing rate, in groups that mirrors map to themselves, and mine of each. Collective."""
        cells, shape = self._cells, tuple(len(v) for v in v_nodes)
        velocity = np.stack([axis.ravel() for axis in np.meshgrid(*v_nodes, indexing="ij")])
        measure = np.ones(1)
        for weights in v_weights:
            measure = np.multiply.outer(measure, weights).ravel()
        index = np.arange(velocity.shape[1])
        mirror = np.zeros(velocity.shape, dtype=np.int64)
        for j in cells.mirrors:
            mirror[j] = np.moveaxis(np.moveaxis(index.reshape(shape), j, 0)[_mirrored(v_nodes[j], j)], 0, j).ravel()
        rate = np.maximum(*(mesh_kernels.inflow_rates(cells.gradients, sign * velocity) for sign in (1.0, -1.0)))
        cells.comm.Allreduce(MPI.IN_PLACE, rate, op=MPI.MAX)
        angle = np.round(np.arctan2(velocity[min(1, len(shape) - 1)], velocity[0]), 9)
        orbit = index
        for j in cells.mirrors:
            rate, orbit = np.maximum(rate, rate[mirror[j]]), np.minimum(orbit, orbit[mirror[j]])
        order = np.lexsort((index, orbit, -np.round(rate / max(rate.max(), 1e-300), 9)))
        place, here = np.empty(len(index), dtype=np.int64), np.full(shape, -1)
        here[mine] = np.arange(here[mine].size).reshape(here[mine].shape)
        here, found = here.ravel(), []
        for first, last in itertools.pairwise(self._cuts(orbit[order])):
            columns = order[first:last]
            largest = float(rate[columns].max())
            columns = columns[here[columns] >= 0]
            columns = columns[np.lexsort((columns, angle[columns]))]
            place[columns] = np.arange(len(columns))
            inside = np.zeros((len(shape), len(columns)), dtype=np.int64)
            for j in cells.mirrors:
                inside[j] = place[mirror[j, columns]]
            found.append(
                Group(
                    here[columns],
                    _padded(velocity[:, columns]),
                    _padded(inside),
                    _padded(measure[columns]),
                    largest,
                )
            )
        return found

    def _cuts(self, orbits: np.ndarray) -> list[int]:
        """Where groups begin and end among the sorted velocities: between two orbits."""
        cells, block = self._cells, mesh_kernels.BLOCK
        rows = cells.total * self._element.n  # of all ranks: groups, hence substeps, must not depend on their number
        most, least = GROUP_BYTES // (8 * block * rows), CALL_ENTRIES // (block * rows)
        width = block * max(1, min(most, max(least, len(orbits) // (GROUPS * block))))
        allowed = np.flatnonzero(np.diff(orbits, prepend=-1))
        cuts = [0]
        for place in [*allowed.tolist(), len(orbits)]:
            if place - cuts[-1] >= width:
                cuts.append(place)
        return cuts if cuts[-1] == len(orbits) else [*cuts[: max(1, len(cuts) - 1)], len(orbits)]

    def __call__(self, f: np.ndarray, dt: float) -> float:
        """Transport f (owned, n, velocities), in place. Collective.

        Returns:
            The mass that left through the walls of this rank.

        Raises:
            InputError: the step is far too long for the mesh.
        """
        cells, element = self._cells, self._element
        counts = [math.ceil(abs(dt) * group.rate / self._limit) for group in self._groups]
        if max(counts) > MOST_SUBSTEPS:
            raise InputError(
                f"pde.step: a transport over {abs(dt):.3g} needs {max(counts)} substeps on this mesh, more than "
                f"{MOST_SUBSTEPS}; make the step shorter or the cells larger"
            )
        self.substeps, lost = counts, 0.0
        for group, count in zip(self._groups, counts, strict=True):
            if not count or not len(group.columns):  # the same on all ranks that have these velocities
                continue
            block = mesh_kernels.BLOCK
            shape = (cells.owned + len(cells.halo.ghosts), len(group.measure) // block, element.n, block)
            rows = [array[: math.prod(shape)].reshape(shape) for array in self._rows]
            mesh_kernels.take_columns(f, group.columns, rows[0])
            for _ in range(count):
                lost += self._step(rows, group, dt / count)
            mesh_kernels.put_columns(f, group.columns, rows[0])
        return lost

    def _step(self, rows: list[np.ndarray], group: Group, dt: float) -> float:
        """One Runge-Kutta step of rows[0]; the mass that it loses. Collective."""
        cells, element = self._cells, self._element
        velocity, tau = math.copysign(1.0, dt) * group.velocity, abs(dt)
        parts = max(1, min(4 * numba.get_num_threads(), cells.owned))
        lost, now, spare = 0.0, rows[0], rows[1:]
        for s in range(self._stages, 0, -1):
            cells.halo.update(now)
            if s == 1 and len(cells.wall_cells):
                walls = cells.wall_cells, cells.wall_facets, cells.wall_normals
                lost = tau * mesh_kernels.outflow(now, velocity, group.measure, *walls, self._means)
            result = spare.pop(0)
            matrices = element.derivatives, element.traces, element.lifts
            surroundings = cells.gradients, cells.neighbours
            mesh_kernels.stage(rows[0], now, result, tau / s, velocity, group.mirror, *surroundings, *matrices, parts)
            if now is not rows[0]:
                spare.append(now)
            now = result
        rows[:] = [now, *(array for array in rows if array is not now)]
        return float(lost)


def _padded(columns: np.ndarray) -> np.ndarray:
    """(..., w) with zeros behind, up to whole blocks."""
    more = -columns.shape[-1] % mesh_kernels.BLOCK
    return np.pad(columns, [(0, 0)] * (columns.ndim - 1) + [(0, more)])


def _mirrored(v: np.ndarray, j: int) -> np.ndarray:
    """Number of the node -v of each node.

    Raises:
        InputError: there are none.
    """
    order = np.argsort(v)
    found = np.empty(len(v), dtype=np.int64)
    found[order] = order[::-1]
    if np.abs(v + v[found]).max() > 1e-12 * np.abs(v).max():
        raise InputError(
            f"model.domain.v: interval {j + 1} must be symmetric about 0, such as [-6, 6], for specular walls across "
            f"axis {j + 1}; it has its middle at {(v.max() + v.min()) / 2:g}"
        )
    return found
