"""Lagrange elements of any order on triangles: nodes, matrices, integrals by quadrature."""

from __future__ import annotations

import basix
import basix.ufl
import dolfinx.fem
import dolfinx.fem.petsc
import dolfinx.la
import dolfinx.mesh
import numpy as np
import ufl
from petsc4py import PETSc

from limitpde.dolfinx_versions import cell_nodes, coordinate_map
from limitpde.errors import InputError
from limitpde.fem import jit
from limitpde.fem.linear import LinearSolver, symmetric_options
from limitpde.fem.sums import GlobalSums


class LagrangeSpace:
    """Continuous elements of one degree, with their mass and stiffness matrices. Collective; a rank may own nothing.

    Nodal values are arrays (n_local,), the nodes that this rank owns first, then its ghosts.

    Args:
        mesh: triangles in the plane, straight or curved.
        degree: polynomial degree, at least 1.

    Attributes:
        space: the DOLFINx function space.
        points: (n_local, 2) coordinates of the nodes.
        cells: (n_cells, 3) nodes at the corners of each cell.
        boundary: (n_local,) bool, nodes on the boundary.
        owned, local, size: numbers of nodes of this rank, of those that it sees, of all.
        sums: global sums over the nodes.
        quadrature: points and weights that integrate products of densities, for `values` and `gradient`.
    """

    def __init__(self, mesh: dolfinx.mesh.Mesh, degree: int) -> None:
        if mesh.topology.cell_type != dolfinx.mesh.CellType.triangle or mesh.geometry.dim != 2:
            raise InputError("the mesh must consist of triangles in the plane")
        self.mesh, self.comm, self.degree = mesh, mesh.comm, degree
        equispaced = basix.LagrangeVariant.equispaced  # like the nodes of a mesh of the same degree
        element = basix.ufl.element("Lagrange", "triangle", degree, lagrange_variant=equispaced)
        self.space = dolfinx.fem.functionspace(mesh, element)
        index_map = self.space.dofmap.index_map
        self.owned, self.size = index_map.size_local, index_map.size_global
        self.local = self.owned + index_map.num_ghosts
        self.sums = GlobalSums(self.comm, self.owned)
        self.points = self.space.tabulate_dof_coordinates()[:, :2].copy()
        self.cells = self.space.dofmap.list[:, :3].copy()  # Lagrange elements number their corners first
        self._vector = dolfinx.la.vector(index_map)
        self._set_boundary()
        u, v = ufl.TrialFunction(self.space), ufl.TestFunction(self.space)
        self._mass = _assembled(u * v * ufl.dx)
        self._stiffness = _assembled(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx)
        self._from, self._to = self._mass.createVecs()
        self.quadrature = Quadrature(self)

    def _set_boundary(self) -> None:
        topology = self.mesh.topology
        topology.create_connectivity(1, 2)
        facets = dolfinx.mesh.exterior_facet_indices(topology)
        self._vector.array[:] = 0.0
        self._vector.array[dolfinx.fem.locate_dofs_topological(self.space, 1, facets)] = 1.0
        self._vector.scatter_reverse(dolfinx.la.InsertMode.add)
        self._vector.scatter_forward()
        self.boundary = self._vector.array > 0.0

    def share(self, values: np.ndarray) -> np.ndarray:
        """Copy of nodal values (n_local,), or of the owned ones, with the ghosts set by their owners. Collective."""
        self._vector.array[: self.owned] = values[: self.owned]
        self._vector.scatter_forward()
        return self._vector.array.copy()

    def gather(self, contributions: np.ndarray) -> np.ndarray:
        """Contributions (n_local,) of all ranks, summed where they are owned. Collective."""
        self._vector.array[:] = contributions
        self._vector.scatter_reverse(dolfinx.la.InsertMode.add)
        return self._vector.array.copy()

    def tested(self, values: np.ndarray) -> np.ndarray:
        """int u v_i for the basis functions v_i, right where owned, (n_local,) of nodal values of u. Collective."""
        return self._times(self._mass, values)

    def laplacian(self, values: np.ndarray) -> np.ndarray:
        """int grad u . grad v_i, right where owned, (n_local,). Collective."""
        return self._times(self._stiffness, values)

    def _times(self, matrix: PETSc.Mat, values: np.ndarray) -> np.ndarray:
        self._from.array[:] = values[: self.owned]
        matrix.mult(self._from, self._to)
        product = np.zeros(self.local)
        product[: self.owned] = self._to.array_r
        return product

    def dirichlet_laplacian(self) -> PETSc.Mat:
        """The stiffness matrix with identity rows and columns at boundary nodes. Collective."""
        matrix = self._stiffness.copy()
        own = np.flatnonzero(self.boundary[: self.owned]).astype(np.int32)
        matrix.zeroRowsColumns(self.space.dofmap.index_map.local_to_global(own).astype(PETSc.IntType))
        return matrix

    def helmholtz(self, factor: float, *, relative_tolerance: float = 1e-13) -> LinearSolver:
        """Solver with M + factor K, M the mass and K the stiffness matrix. Collective."""
        matrix = self._mass.copy()
        matrix.axpy(factor, self._stiffness, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        options = symmetric_options(matrix, constant=True, relative_tolerance=relative_tolerance)
        return LinearSolver(matrix, prefix="helmholtz", options=options)

    def function(self, name: str, values: np.ndarray) -> dolfinx.fem.Function:
        """Nodal values (n_local,) as a function."""
        function = dolfinx.fem.Function(self.space, name=name)
        function.x.array[:] = values
        return function


class Quadrature:
    """Points of this rank's triangles, and functions of a space at them.

    Attributes:
        points: (n, 2).
        weights: (n,), their sum over the ranks is the area of the mesh.
    """

    def __init__(self, space: LagrangeSpace) -> None:
        degree, mesh = space.degree, space.mesh
        reference, weights = basix.make_quadrature(basix.CellType.triangle, 3 * degree)
        cells = mesh.topology.index_map(2).size_local
        geometry = coordinate_map(mesh)
        shape = basix.create_element(
            basix.ElementFamily.P, basix.CellType.triangle, geometry.degree, basix.LagrangeVariant(geometry.variant)
        ).tabulate(1, reference)[..., 0]
        corners = mesh.geometry.x[cell_nodes(mesh)[:cells], :2]
        jacobian = np.einsum("jqn,cnd->cqdj", shape[1:], corners)
        self.points = np.einsum("qn,cnd->cqd", shape[0], corners).reshape(-1, 2)
        self.weights = (np.abs(np.linalg.det(jacobian)) * weights).ravel()
        basis = space.space.element.basix_element.tabulate(1, reference)[..., 0]
        self._values, self._slopes = basis[0], basis[1:]
        self._inverse = np.linalg.inv(jacobian)
        self._dofs, self._local = space.space.dofmap.list[:cells], space.local

    def values(self, nodal: np.ndarray) -> np.ndarray:
        """A function at the points, (n,), of its nodal values (n_local,), ghosts up to date."""
        return np.asarray((nodal[self._dofs] @ self._values.T).ravel())

    def tested(self, values: np.ndarray) -> np.ndarray:
        """int f v_i of this rank's triangles, (n_local,), of f at the points, (n,)."""
        integrand = (self.weights * values).reshape(len(self._dofs), -1) @ self._values
        return np.bincount(self._dofs.ravel(), integrand.ravel(), self._local)

    def gradient(self, nodal: np.ndarray) -> np.ndarray:
        """Its gradient, (n, 2)."""
        slopes = np.einsum("cn,jqn->cqj", nodal[self._dofs], self._slopes, optimize=True)
        return np.einsum("cqj,cqjd->cqd", slopes, self._inverse).reshape(-1, 2)

    def along_gradient(self, nodal: np.ndarray, vectors: np.ndarray) -> float:
        """int grad u . v over this rank's triangles, of u (n_local,) at the nodes and v (n, 2) at the points."""
        return float(self.weights @ (self.gradient(nodal) * vectors).sum(axis=1))


def _assembled(form: ufl.Form) -> PETSc.Mat:
    matrix = dolfinx.fem.petsc.assemble_matrix(jit.form(form))
    matrix.assemble()
    return matrix
