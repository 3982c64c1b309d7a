"""Fluxes of nodal densities as vectors, one for each simplex: what arrows show.

In a cell c with corners x_i and first-order functions lambda_i,

    J_c = (1 / |c|) sum_{i < j} kappa_ij f_ij (x_j - x_i),   kappa_ij = -|c| grad lambda_i . grad lambda_j,

of fluxes f_ij from x_i to x_j, is the constant vector with int_c J_c . grad lambda_i = -sum_j kappa_ij f_ij. So with
the fluxes of a scheme (`limitpde.fem.edge_flux`), sum_i v_i d/dt(m_i rho_i) = int J . grad v to rounding for every v of
first order: J moves just the mass that the scheme moves. Of f_ij = rho_i - rho_j it is -grad rho.
"""

from __future__ import annotations

import itertools

import dolfinx.fem
import numpy as np

from limitpde.dolfinx_versions import cell_nodes
from limitpde.fem.edge_flux import fill_transport


class CellFluxes:
    """The vectors on the cells of a mesh of simplices; cells seen from other ranks too, so that nothing is sent.

    Args:
        space: first-order Lagrange; densities are arrays (n_dofs,) of its degrees of freedom, ghosts up to date.
    """

    def __init__(self, space: dolfinx.fem.FunctionSpace) -> None:
        mesh, d = space.mesh, space.mesh.geometry.dim
        self._space = dolfinx.fem.functionspace(mesh, ("DG", 0, (d,)))
        self._corners = space.dofmap.list
        x = mesh.geometry.x[cell_nodes(mesh), :d]
        inverse = np.linalg.inv(x[:, 1:] - x[:, :1])
        slopes = np.concatenate([-inverse.sum(axis=2, keepdims=True), inverse], axis=2)  # (cells, d, d + 1)
        self._ends = np.array(list(itertools.combinations(range(d + 1), 2))).T
        i, j = self._ends
        weight = -(slopes[:, :, i] * slopes[:, :, j]).sum(axis=1)
        self._along = weight[:, :, None] * (x[:, j] - x[:, i])  # (cells, edges, d)

    def diffusion(self, density: np.ndarray, diffusivity: float) -> np.ndarray:
        """-D grad rho, (cells, d)."""
        rho_i, rho_j = self._at_ends(density)
        return self._vectors(diffusivity * (rho_i - rho_j))

    def drift_diffusion(
        self, density: np.ndarray, potential: np.ndarray, diffusivity: float, *, fitted: bool = True
    ) -> np.ndarray:
        """-D grad rho - rho grad V, (cells, d), of a density that drifts down a potential V.

        Args:
            density: nodal values of rho.
            potential: nodal values of V.
            diffusivity: D.

        Keyword Args:
            fitted: by exponentially fitted fluxes, with rho from upstream for D = 0; else by those of second order.
        """
        (rho_i, rho_j), (start, end) = self._at_ends(density), self._at_ends(potential)
        climb = end - start
        if not fitted:
            return self._vectors(diffusivity * (rho_i - rho_j) - climb * (rho_i + rho_j) / 2)
        entries = np.empty((4, climb.size))
        fill_transport(entries, np.ones(climb.size), climb.ravel(), diffusivity)
        return self._vectors(entries[0].reshape(climb.shape) * rho_i + entries[1].reshape(climb.shape) * rho_j)

    def means(self, density: np.ndarray) -> np.ndarray:
        """Its mean over each cell, (cells,)."""
        return np.asarray(density[self._corners].mean(axis=1))

    def function(self, name: str, vectors: np.ndarray) -> dolfinx.fem.Function:
        """Vectors (cells, d) as a function that is constant on each cell."""
        function = dolfinx.fem.Function(self._space, name=name)
        function.x.array.reshape(vectors.shape)[self._space.dofmap.list[:, 0]] = vectors
        return function

    def _at_ends(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nodal values at the first and the second end of each edge of each cell, (cells, edges) each."""
        first, second = values[self._corners[:, self._ends]].transpose(1, 0, 2)
        return first, second

    def _vectors(self, fluxes: np.ndarray) -> np.ndarray:
        return np.asarray(np.einsum("ce,ced->cd", fluxes, self._along))
