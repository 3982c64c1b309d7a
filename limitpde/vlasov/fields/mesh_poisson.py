"""Poisson in the domain of a mesh, -Lap phi = strength rho, by continuous finite elements with DOLFINx and PETSc.

phi in V_h, continuous and of degree k + 1 on the cells on which f has degree k:

    int grad phi . grad psi dx = strength int rho psi dx    for all psi in V_h.

*Grounded walls:* phi = 0 at the boundary, and so are the psi. No mean is subtracted from rho: all of the charge counts,
and a neutral domain needs a background of its own (an exterior potential). This Gamma is Green's function of the
domain. *Natural walls:* no flux, d phi / dn = 0. There is a solution only for a charge of mean zero, so the mean of rho
over the domain is subtracted, and phi is the solution of mean zero.

The force is -grad phi at the nodes of f, of the cell of the node. rho psi is integrated exactly. The energy is
int |grad phi|^2 / (2 strength) = int rho phi / 2. The mesh is small against phase space: every rank has all of it,
factorises the same matrix once and solves the same system, and nothing is sent but rho.
"""

from __future__ import annotations

from typing import Any, Literal

import basix
import basix.ufl
import dolfinx.fem
import dolfinx.fem.petsc
import dolfinx.mesh
import numpy as np
import scipy.sparse
import ufl
from mpi4py import MPI

from limitpde.dolfinx_versions import cell_nodes
from limitpde.errors import RunError
from limitpde.fem import jit
from limitpde.fem.linear import LinearSolver, symmetric_options
from limitpde.fem.simplices import CELLS
from limitpde.vlasov.phase_space.mesh_cells import barycentric
from limitpde.vlasov.phase_space.simplex import Simplex

TOLERANCE = 1e-12
"""Of the solver where the matrix is too large to be factorised."""


class MeshPoisson:
    """Gamma * rho by finite elements. The same on every rank, without communication.

    Args:
        strength: of the charge.
        space: where f lives, a `MeshSpace`.

    Keyword Args:
        boundary: "grounded" or "natural".
    """

    def __init__(self, strength: float, space: Any, *, boundary: Literal["grounded", "natural"]) -> None:
        self._strength, self._local = strength, space.local_x
        self._natural = boundary == "natural"
        vertices, points = space.cells.vertices, space.cells.points
        d, total = space.d, len(vertices)
        geometry = basix.ufl.element("Lagrange", CELLS[d], 1, shape=(d,))
        mesh = dolfinx.mesh.create_mesh(MPI.COMM_SELF, vertices, e=geometry, x=points)
        functions = dolfinx.fem.functionspace(mesh, ("Lagrange", space.degree + 1))
        self._fixed = _boundary_dofs(functions)
        if self._natural:
            self._fixed = self._fixed[:1]
        self._solver = _factorised(functions, self._fixed)
        values, slopes, integrals = _tables(functions, space.element)
        order = np.argsort(mesh.topology.original_cell_index)  # the cell of this mesh for each of the input mesh
        dofs = functions.dofmap.list[order].astype(np.int64)
        gradients, volume = barycentric(mesh.geometry.x[cell_nodes(mesh)[order], :d])
        size = functions.dofmap.index_map.size_local
        self._load = _assembled(volume[:, None, None] * integrals, dofs, size).T.tocsr()
        self._values = _assembled(np.broadcast_to(values, (total, *values.shape)), dofs, size)
        physical = np.einsum("crj,rip->cjip", gradients[:, 1:], slopes)
        self._slopes = [_assembled(physical[:, j], dofs, size) for j in range(d)]
        self._share = self._load @ np.ones(self._load.shape[1]) / volume.sum()  # int psi / volume

    def _solve(self, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of phi, and the right side int (rho - mean) psi, for strength 1."""
        right_side = self._load @ rho
        if self._natural:
            right_side -= right_side.sum() * self._share
        given = right_side.copy()
        given[self._fixed] = 0.0
        found, _, reason = self._solver.solve(given)
        if reason < 0:
            raise RunError(f"the Poisson solver failed: PETSc gives reason {reason}")
        phi = found.copy()
        return (phi - self._share @ phi if self._natural else phi), right_side

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """phi, (X,) -> (*x_shape)."""
        return np.asarray(self._local(self._strength * (self._values @ self._solve(rho)[0])))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad phi, (X,) -> (d, *x_shape)."""
        phi = self._solve(rho)[0]
        return np.asarray(self._local(np.stack([-self._strength * (slope @ phi) for slope in self._slopes])))

    def energy(self, rho: np.ndarray) -> float:
        """int |grad phi|^2 / (2 strength), (X,) -> a number."""
        phi, right_side = self._solve(rho)
        return float(self._strength * (phi @ right_side) / 2)


def _boundary_dofs(functions: dolfinx.fem.FunctionSpace) -> np.ndarray:
    mesh = functions.mesh
    mesh.topology.create_connectivity(mesh.topology.dim - 1, mesh.topology.dim)
    facets = dolfinx.mesh.exterior_facet_indices(mesh.topology)
    return np.asarray(dolfinx.fem.locate_dofs_topological(functions, mesh.topology.dim - 1, facets))


def _factorised(functions: dolfinx.fem.FunctionSpace, fixed: np.ndarray) -> LinearSolver:
    """The stiffness matrix, with rows and columns of `fixed` those of the identity."""
    phi, psi = ufl.TrialFunction(functions), ufl.TestFunction(functions)
    form = jit.form(ufl.inner(ufl.grad(phi), ufl.grad(psi)) * ufl.dx)
    walls = dolfinx.fem.dirichletbc(0.0, fixed, functions)
    matrix = dolfinx.fem.petsc.assemble_matrix(form, bcs=[walls])
    matrix.assemble()
    options = symmetric_options(matrix, constant=True, relative_tolerance=TOLERANCE)
    return LinearSolver(matrix, prefix="vlasov_mesh_poisson", options=options)


def _tables(functions: dolfinx.fem.FunctionSpace, element: Simplex) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The basis psi of V_h on the reference cell: values, derivatives, and means with l_i.

    Values (n, p) and derivatives (d, n, p) are those at the nodes of f, means are of l_i psi_p (n, p).
    """
    basis = functions.element.basix_element
    at_nodes = basis.tabulate(1, element.nodes)[..., 0]
    points, weights = basix.make_quadrature(basis.cell_type, 2 * element.degree + 1)
    weighted = element.tabulate(points).T * (weights / weights.sum())
    return at_nodes[0], at_nodes[1:], weighted @ basis.tabulate(0, points)[0, :, :, 0]


def _assembled(blocks: np.ndarray, dofs: np.ndarray, size: int) -> scipy.sparse.csr_array:
    """The (C n, size) matrix of blocks (C, n, p) at the dofs (C, p)."""
    cells, n = blocks.shape[:2]
    rows = np.broadcast_to(np.arange(cells * n).reshape(cells, n, 1), blocks.shape)
    columns = np.broadcast_to(dofs[:, None], blocks.shape)
    return scipy.sparse.csr_array((blocks.ravel(), (rows.ravel(), columns.ravel())), shape=(cells * n, size))
