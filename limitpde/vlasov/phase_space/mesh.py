"""Phase space over an unstructured mesh: f in DG_k(simplices in x) times DG_k(tensor grid in v).

f has one value for each x node (cell after cell) and each v node; the velocities of an x node lie together. Cells of x
are shared out by DOLFINx. Ranks that follow each other may join their cells and share the velocities instead.

*Transport in x* is upwind discontinuous Galerkin with explicit Runge-Kutta substeps (`mesh_drift`); *in v* it is exact
translation and L2 projection (`translation`), for each x node with the force there.

*Walls* absorb, or mirror the velocity, v - 2 (v . n) n. Mirrored velocities are nodes of the grid where the wall is
perpendicular to an axis and the interval of that velocity symmetric about 0; others can only be absorbing.

*What is exact.* Mass is conserved up to what leaves, to rounding. int f^2 does not grow in x, and in v wherever the
mass matrix in x is diagonal (`simplex`: d = 1; d = 2, k = 1, 2; d = 3, k = 1). Integrals over x use the integrals of
the nodal functions as weights: they are exact for int g dx with g in DG_k, for products of two such where the mass
matrix is diagonal, and of order k + 1 for other smooth functions given at the nodes; `square_integral` is always exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import basix
import dolfinx.mesh
import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.vlasov.parts import check_parts
from limitpde.vlasov.phase_space import mesh_kernels
from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.grid import ProcessGrid, mesh_parts
from limitpde.vlasov.phase_space.mesh_cells import MeshCells, Walls, make_mesh
from limitpde.vlasov.phase_space.mesh_drift import Drift
from limitpde.vlasov.phase_space.mesh_kick import kick, measure
from limitpde.vlasov.phase_space.simplex import CELLS, simplex

__all__ = ["MeshSpace", "make_mesh"]

FILL_BLOCK = 1 << 16
"""Points of phase space at which a function is evaluated at a time, roughly."""

EXTRA = 12
"""Degree of the quadrature of initial data beyond that of the squares of polynomials."""


class MeshSpace:
    """Where f lives, with its transports and integrals. Every method is collective; a rank may own nothing.

    X is the number of x nodes of all ranks, n nodes in each of C cells. Natural order: that of the input mesh's cells.

    Args:
        mesh: first-order simplices in d dimensions.
        v_axes: d axes of the velocities.

    Keyword Args:
        degree: k, 1 to 5.
        walls: what happens at the boundary of the mesh.
        order: of the splitting in time that the transport in x is to keep up with, 2 or 4.
        positivity: must be False.
        parts: of the ranks, of the cells of x and then along each v axis; by default what `mesh_parts` says, and with
            walls that mirror, of the cells alone.

    Attributes:
        mesh, comm, d, degree: as they are.
        grid: the ranks.
        cells: geometry and neighbours of the cells.
        element: the reference simplex.
        v_axes: the axes.
        x_shape, v_shape: (owned * n,) and d numbers of nodes, of this rank.
        x_points: (*x_shape, d); x_weights: (*x_shape,).
        v_nodes, v_weights: d arrays, in the order of storage, of this rank.
        dofs: nodes of phase space on all ranks.
        whole_shape: (X, *V); place: natural number of each x node (*x_shape,), and d slices of V.

    Raises:
        InputError: an argument is out of range, or mesh, walls and velocities do not fit.
    """

    def __init__(
        self,
        mesh: dolfinx.mesh.Mesh,
        v_axes: Sequence[Any],
        *,
        degree: int,
        walls: Walls = "absorbing",
        order: int = 4,
        positivity: bool = False,
        parts: Sequence[int] | None = None,
    ) -> None:
        if positivity:
            raise InputError("pde.positivity = true: there is no limiter on a mesh; leave it out, or use a tensor grid")
        if not 1 <= degree <= 5:
            raise InputError(f"pde.degree = {degree}: must lie between 1 and 5")
        if len(v_axes) != mesh.topology.dim:
            raise InputError(f"pde.mesh: has {mesh.topology.dim} dimensions, but there are {len(v_axes)} velocities")
        self.mesh, self.comm, self.d, self.degree = mesh, mesh.comm, mesh.topology.dim, degree
        self.v_axes = list(v_axes)
        self.grid = self._ranks(walls, parts)
        self.cells = MeshCells(mesh, self.grid, walls=walls)
        self._check_mirrors()
        self.element = simplex(self.d, degree)
        mine = self.grid.nodes(self.comm.rank)[1:]
        everywhere = [axis.nodes for axis in v_axes], [axis.weights for axis in v_axes]
        self.v_nodes, self.v_weights = (
            [row[part] for row, part in zip(rows, mine, strict=True)] for rows in everywhere
        )
        self.v_shape = tuple(len(v) for v in self.v_nodes)
        n = self.element.n
        self.x_shape = (self.cells.owned * n,)
        self._total = self.cells.total * n
        self.whole_shape = (self._total, *(axis.n for axis in v_axes))
        self.dofs = math.prod(self.whole_shape)
        self.x_points = self._nodes(self.cells.corners)
        self.x_weights = np.outer(self.cells.volume, self.element.weights).ravel()
        self._measure = measure(self.v_weights)
        self._drift = Drift(self.cells, self.element, *everywhere, mine, stages=3 if order == 2 else 4)
        self._x_place = (self.cells.original[:, None] * n + np.arange(n)).ravel()
        self.place: tuple[Any, ...] = (self._x_place, *mine)

    def _ranks(self, walls: Walls, parts: Sequence[int] | None) -> ProcessGrid:
        """The ranks as a grid over the cells of x, taken as one axis, and the v axes. Collective."""
        cells = self.mesh.topology.index_map(self.d).size_global
        if parts is not None:
            check_parts(parts, [cells, *(axis.cells for axis in self.v_axes)], self.comm.size)
        elif walls == "specular":
            parts = (self.comm.size, *(1,) * self.d)
        else:
            parts = mesh_parts(cells, self.v_axes, self.comm.size)
        x = Axis(low=0.0, high=1.0, cells=parts[0], degree=1, periodic=False)
        return ProcessGrid([x, *self.v_axes], 1, self.comm, parts)

    def _check_mirrors(self) -> None:
        """Check that velocities are not cut where walls mirror them.

        Raises:
            InputError: they are.
        """
        for j in self.cells.mirrors:
            if self.grid.parts[1 + j] > 1:
                raise InputError(
                    f"pde.parts = {list(self.grid.parts)}: walls mirror v_{j + 1}, so it must be in one part; make "
                    f"number {j + 2} of them 1"
                )

    def _nodes(self, corners: np.ndarray) -> np.ndarray:
        """Nodes of cells with corners (c, d + 1, d), (c * n, d)."""
        inner = self.element.nodes
        barycentric = np.concatenate([1 - inner.sum(axis=1, keepdims=True), inner], axis=1)
        return np.asarray(np.einsum("ia,cad->cid", barycentric, corners).reshape(-1, self.d))

    @property
    def all_points(self) -> np.ndarray:
        """The x nodes of all ranks in natural order, (X, d)."""
        return self._nodes(self.cells.points[self.cells.vertices])

    @property
    def substeps(self) -> list[int]:
        """Runge-Kutta steps of the groups of velocities in the last transport in x, fastest first."""
        return self._drift.substeps

    # --- f ------------------------------------------------------------------------------------------------------------

    def array(self, components: int = 1) -> np.ndarray:
        """Zeros, (components, *x_shape, *v_shape)."""
        return np.zeros((components, *self.x_shape, *self.v_shape))

    def fill(self, f: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> None:
        """Set f (components, *x_shape, *v_shape) to function(z (m, 2d)) -> (m,) or (components, m) at the nodes."""
        velocities = np.stack([axis.ravel() for axis in np.meshgrid(*self.v_nodes, indexing="ij")], axis=1)
        flat = f.reshape(len(f), self.x_shape[0], len(velocities))
        step = max(1, FILL_BLOCK // len(velocities))
        for first in range(0, self.x_shape[0], step):
            points = self.x_points[first : first + step]
            z = np.concatenate(
                [np.repeat(points, len(velocities), axis=0), np.tile(velocities, (len(points), 1))], axis=1
            )
            flat[:, first : first + step] = np.reshape(function(z), (-1, len(points), len(velocities)))

    def project(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The L2 projection of a function of x (n, d) -> (n,), at the x nodes of this rank, (*x_shape)."""
        points, weights = basix.make_quadrature(CELLS[self.d], 2 * self.degree + EXTRA)
        table = np.linalg.solve(self.element.mass, self.element.tabulate(points).T * weights * math.factorial(self.d))
        barycentric = np.concatenate([1 - points.sum(axis=1, keepdims=True), points], axis=1)
        places = np.einsum("ia,cad->cid", barycentric, self.cells.corners)
        values = function(places.reshape(-1, self.d)).reshape(len(places), len(points))
        return np.asarray((values @ table.T).ravel())

    def drift(self, f: np.ndarray, dt: float) -> tuple[np.ndarray, float]:
        """Transport in x over dt, which may be negative. Collective.

        Returns:
            f, the same array, and the mass that left through the walls of this rank (0 for 2 components).
        """
        lost = [self._drift(part.reshape(self.cells.owned, self.element.n, len(self._measure)), dt) for part in f]
        return f, lost[0] if len(f) == 1 else 0.0

    def kick(self, f: np.ndarray, force: np.ndarray, dt: float) -> tuple[np.ndarray, float]:
        """Transport in v by force (d, *x_shape) over dt: v -> v + force dt. Collective.

        Returns:
            f, the same array, and the mass that left the intervals of v on this rank (0 for 2 components).
        """
        force = np.array(force, dtype=float, order="C")
        if self.grid.v_comm.size > 1:  # the same bits for all velocities of a node
            self.grid.v_comm.Bcast(force)
        lost = [kick(part, self.v_axes, self.v_weights, force * dt, self.x_weights, self.grid) for part in f]
        return f, lost[0] if len(f) == 1 else 0.0

    # --- integrals ----------------------------------------------------------------------------------------------------

    def velocity_integrals(self, f: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Int f prod_j factors[j][q](v_j) dv at the x nodes, (Q, *x_shape); factors: d arrays (Q, n_j). Collective."""
        *outer, last = [factor * weights for factor, weights in zip(factors, self.v_weights, strict=True)]
        found = f.reshape(-1, self.v_shape[-1]) @ last.T
        for factor in reversed(outer):
            found = np.einsum("rvq,qv->rq", found.reshape(-1, factor.shape[1], len(factor)), factor)
        found = np.ascontiguousarray(found.T)
        if self.grid.v_comm.size > 1:
            self.grid.v_comm.Allreduce(MPI.IN_PLACE, found)
        return found

    def integrate_x(self, values: np.ndarray) -> np.ndarray:
        """Integrals over x of values (..., *x_shape) at the nodes, (...), on every rank. Collective."""
        found = np.asarray(values @ self.x_weights)
        result = np.empty_like(found)
        self.grid.x_comm.Allreduce(found, result, op=MPI.SUM)
        return result

    def square_integral(self, f: np.ndarray) -> float:
        """Int f^2 of one component, exactly, on every rank. Collective."""
        rows = f.reshape(self.cells.owned, self.element.n, len(self._measure))
        local = float(self.cells.volume @ mesh_kernels.squares(rows, self.element.mass, self._measure))
        return float(self.comm.allreduce(local))

    def minimum(self, f: np.ndarray) -> float:
        """Smallest nodal value of one component, on every rank. Collective."""
        return float(self.comm.allreduce(float(f.min(initial=np.inf)), op=MPI.MIN))

    def square_and_minimum(self, f: np.ndarray) -> tuple[float, float]:
        """Both of these. Collective."""
        return self.square_integral(f), self.minimum(f)

    # --- natural order ------------------------------------------------------------------------------------------------

    def gather_x(self, values: np.ndarray) -> np.ndarray:
        """Values (..., *x_shape) of all ranks in natural order, (..., X), on every rank. Collective."""
        parts = self.grid.x_comm.allgather((self._x_place, values))
        found = np.empty((*values.shape[:-1], self._total), dtype=values.dtype)
        for rows, part in parts:
            found[..., rows] = part
        return found

    def local_x(self, values: np.ndarray) -> np.ndarray:
        """Values of this rank, (..., *x_shape), of (..., X) in natural order."""
        return values[..., self._x_place]

    def gather(self, f: np.ndarray) -> np.ndarray:
        """One component in natural order, (X, *V), on rank 0, nothing elsewhere. Collective."""
        places = self.comm.gather(self.place, root=0)
        if places is None:
            self.comm.Send(np.ascontiguousarray(f), dest=0, tag=TAG)
            return np.empty((0, *self.whole_shape[1:]))
        found = np.empty(self.whole_shape)
        found[self.place] = f
        for rank, place in enumerate(places[1:], 1):
            part = np.empty((len(place[0]), *(v.stop - v.start for v in place[1:])))
            self.comm.Recv(part, source=rank, tag=TAG)
            found[place] = part
        return found

    # --- pictures -----------------------------------------------------------------------------------------------------

    def cell_means(self, values: np.ndarray) -> np.ndarray:
        """Means over the cells that the mesh has on this rank, (..., cells), of values (..., *x_shape) at the nodes."""
        means = values.reshape(*values.shape[:-1], self.cells.owned, self.element.n) @ self.element.weights
        return np.asarray(means[..., self.cells.drawn])


TAG = 7302
"""Of the messages that carry f to and from rank 0."""
