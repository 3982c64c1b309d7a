"""Phase space over an unstructured mesh: f in DG_k(simplices in x) times DG_k(tensor grid in v).

f has one value for each x node (cell after cell) and each v node; all velocities of an x node lie together. Cells of x
are shared out by DOLFINx; velocities are not.

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
from limitpde.vlasov.phase_space import mesh_kernels
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

    Attributes:
        mesh, comm, d, degree: as they are.
        cells: geometry and neighbours of the cells.
        element: the reference simplex.
        v_axes: the axes.
        x_shape, v_shape: (owned * n,) and d numbers of nodes.
        x_points: (*x_shape, d); x_weights: (*x_shape,).
        v_nodes, v_weights: d arrays, in the order of storage.
        dofs: nodes of phase space on all ranks.
        whole_shape: (X, *V); place: (*x_shape,) natural number of each x node.

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
    ) -> None:
        if positivity:
            raise InputError("pde.positivity = true: there is no limiter on a mesh; leave it out, or use a tensor grid")
        if not 1 <= degree <= 5:
            raise InputError(f"pde.degree = {degree}: must lie between 1 and 5")
        if len(v_axes) != mesh.topology.dim:
            raise InputError(f"pde.mesh: has {mesh.topology.dim} dimensions, but there are {len(v_axes)} velocities")
        self.cells = MeshCells(mesh, walls=walls)
        self.mesh, self.comm, self.d, self.degree = mesh, self.cells.comm, mesh.topology.dim, degree
        self.element = simplex(self.d, degree)
        self.v_axes = list(v_axes)
        self.v_nodes = [axis.nodes for axis in v_axes]
        self.v_weights = [axis.weights for axis in v_axes]
        self.v_shape = tuple(len(v) for v in self.v_nodes)
        n = self.element.n
        self.x_shape = (self.cells.owned * n,)
        self._total = self.cells.total * n
        self.dofs = self._total * math.prod(self.v_shape)
        self.x_points = self._nodes(self.cells.corners)
        self.x_weights = np.outer(self.cells.volume, self.element.weights).ravel()
        self._measure = measure(v_axes)
        self._drift = Drift(self.cells, self.element, self.v_nodes, self.v_weights, stages=3 if order == 2 else 4)
        self.whole_shape = (self._total, *self.v_shape)
        self.place = (self.cells.original[:, None] * n + np.arange(n)).ravel()

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
        """Transport in v by force (d, *x_shape) over dt: v -> v + force dt.

        Returns:
            f, the same array, and the mass that left the intervals of v on this rank (0 for 2 components).
        """
        lost = [kick(part, self.v_axes, force * dt, self.x_weights) for part in f]
        return f, lost[0] if len(f) == 1 else 0.0

    # --- integrals ----------------------------------------------------------------------------------------------------

    def velocity_integrals(self, f: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Int f prod_j factors[j][q](v_j) dv at the x nodes, (Q, *x_shape); factors: d arrays (Q, n_j)."""
        *outer, last = [factor * weights for factor, weights in zip(factors, self.v_weights, strict=True)]
        found = f.reshape(-1, self.v_shape[-1]) @ last.T
        for factor in reversed(outer):
            found = np.einsum("rvq,qv->rq", found.reshape(-1, factor.shape[1], len(factor)), factor)
        return np.ascontiguousarray(found.T)

    def integrate_x(self, values: np.ndarray) -> np.ndarray:
        """Integrals over x of values (..., *x_shape) at the nodes, (...), on every rank. Collective."""
        found = np.asarray(values @ self.x_weights)
        result = np.empty_like(found)
        self.comm.Allreduce(found, result, op=MPI.SUM)
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
        parts = self.comm.allgather((self.place, values))
        found = np.empty((*values.shape[:-1], self._total), dtype=values.dtype)
        for rows, part in parts:
            found[..., rows] = part
        return found

    def local_x(self, values: np.ndarray) -> np.ndarray:
        """Values of this rank, (..., *x_shape), of (..., X) in natural order."""
        return values[..., self.place]

    def gather(self, f: np.ndarray) -> np.ndarray:
        """One component in natural order, (X, *V), on rank 0, nothing elsewhere. Collective."""
        counts = self.comm.gather(self.place, root=0)
        if counts is None:
            self.comm.Send(np.ascontiguousarray(f), dest=0, tag=TAG)
            return np.empty((0, *self.v_shape))
        found = np.empty((self._total, *self.v_shape))
        found[self.place] = f
        for rank, rows in enumerate(counts[1:], 1):
            part = np.empty((len(rows), *self.v_shape))
            self.comm.Recv(part, source=rank, tag=TAG)
            found[rows] = part
        return found

    # --- pictures -----------------------------------------------------------------------------------------------------

    def cell_means(self, values: np.ndarray) -> np.ndarray:
        """Means over the cells of this rank, (..., owned), of values (..., *x_shape) at the nodes."""
        return values.reshape(*values.shape[:-1], -1, self.element.n) @ self.element.weights


TAG = 7302
"""Of the messages that carry f to and from rank 0."""
