"""Poisson's equation in the whole plane, solved on a disk.

-Lap psi = 2 pi u in R^2, psi = -log|.| * u. Outside the disk of radius R around c that holds u, psi is its multipole
series; on the circle, with z = (x - c) / R,

    psi = -log R <1, u> + sum_{k >= 1} (1/k) Re( conj(z^k) <z^k, u> ),    <a, u> = int a u.

The moments are taken against the discrete harmonic extensions e_k of the boundary values of Re z^k, Im z^k, and the
same e_k lift the data. So psi = G (2 pi m u) + sum_k c_k e_k <e_k, u> with G the Green operator of the disk: the map
u -> psi is symmetric, which the discrete energy law needs (methods: van Meurs-Peletier-Slangen (1.3), free energy).
The error of stopping the series at k is (a / R)^(k + 1) / (k + 1) for charges within the distance a of the centre.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from limitpde.compiled import compiled
from limitpde.errors import InputError, RunError
from limitpde.fem.linear import LinearSolver, symmetric_options
from limitpde.fem.shared_factor import row_products
from limitpde.fem.sums import GlobalSums


class PlaneNodes(Protocol):
    """What the potential needs of a finite-element space: `limitpde.fem.edges.EdgeGraph`, or one of higher order."""

    comm: MPI.Comm
    points: np.ndarray
    """(n_local, 2) coordinates of the nodes."""
    boundary: np.ndarray
    """(n_local,) bool, nodes on the boundary."""
    owned: int
    sums: GlobalSums

    @property
    def local(self) -> int:
        """Nodes that this rank owns or sees."""

    def share(self, values: np.ndarray) -> np.ndarray:
        """Nodal values (n_local,) with the ghosts set by their owners. Collective."""

    def tested(self, values: np.ndarray) -> np.ndarray:
        """int u v_i for the basis functions v_i, right where owned, (n_local,) of nodal values of u."""

    def laplacian(self, values: np.ndarray) -> np.ndarray:
        """int grad u . grad v_i, right where owned, (n_local,). Collective."""

    def dirichlet_laplacian(self) -> PETSc.Mat:
        """The matrix of `laplacian`, with identity rows and columns at boundary nodes. Collective."""


class PlanePoisson:
    """Solver of -Lap psi = 2 pi u in the plane for u on a disk. Collective.

    Args:
        graph: a disk: its nodes, with their integrals and their Laplacian.

    Keyword Args:
        multipoles: highest moment k of the boundary data.

    Attributes:
        center: (2,) centre of the disk.
        radius: its radius R.
        fixed: (n_local,) bool, nodes at which psi is given: the circle.
        external: the part of psi that does not come from u: none.

    Raises:
        InputError: the boundary of the mesh is not a circle.
    """

    def __init__(self, graph: PlaneNodes, *, multipoles: int = 12) -> None:
        self._graph = graph
        self.center, self.radius = _circle(graph)
        self.fixed, self.external = graph.boundary, 0.0
        self._matrix = graph.dirichlet_laplacian()
        options = symmetric_options(self._matrix, constant=True, relative_tolerance=1e-13)
        self.solver = LinearSolver(self._matrix, prefix="poisson", options=options)
        self._modes, self._factors = self._harmonic_modes(multipoles)
        self._on_circle = np.ascontiguousarray(self._modes[:, self.fixed])

    def _harmonic_modes(self, multipoles: int) -> tuple[np.ndarray, np.ndarray]:
        """Discrete harmonic extensions e_k (2 k + 1, n_local) of the circle's modes, and their factors c_k."""
        graph = self._graph
        z = ((graph.points - self.center) / self.radius) @ np.array([1.0, 1.0j])
        powers = [z**k for k in range(1, multipoles + 1)]
        data = [np.ones(graph.local), *(part for power in powers for part in (power.real, power.imag))]
        factors = [-np.log(self.radius), *(1.0 / k for k in range(1, multipoles + 1) for _ in range(2))]
        modes = np.empty((len(data), graph.local))
        for row, values in zip(modes, data, strict=True):
            lift = np.where(graph.boundary, values, 0.0)
            row[:] = lift + self._inside(-graph.laplacian(lift))
        return modes, np.array(factors)

    def _inside(self, right_side: np.ndarray) -> np.ndarray:
        """Solution with zero on the circle, (n_local,)."""
        owned = self._graph.owned
        right_side = np.where(self._graph.boundary, 0.0, right_side)[:owned]
        solution, _, reason = self.solver.solve(right_side)
        if reason < 0:
            raise RunError(f"Poisson's equation could not be solved (PETSc reason {reason})")
        return self._graph.share(solution)

    def boundary_data(self, charge: np.ndarray) -> np.ndarray:
        """The harmonic part of psi, which holds its values on the circle: (n_local,). Collective.

        Args:
            charge: u at the nodes, (n_local,).
        """
        return _series(self._modes, self._coefficients(charge))

    def _coefficients(self, charge: np.ndarray) -> np.ndarray:
        """c_k <e_k, u>, (2 k + 1,)."""
        moments = self._graph.sums.add(row_products(self._modes, self._graph.tested(charge)[: self._graph.owned]))
        return self._factors * moments

    def lifted(self, charge: np.ndarray, guess: np.ndarray) -> np.ndarray:
        """A guess of psi, (n_local,), with the values on the circle that u, (n_local,), makes there. Collective."""
        lifted = guess.copy()
        lifted[self.fixed] = _series(self._on_circle, self._coefficients(charge))
        return lifted

    def source(self, charge: np.ndarray) -> np.ndarray:
        """2 pi int u v_i, (n_local,)."""
        return 2 * np.pi * self._graph.tested(charge)

    def solve(self, charge: np.ndarray) -> np.ndarray:
        """psi at the nodes, (n_local,), ghosts up to date, of u at the nodes, (n_local,). Collective."""
        return self.boundary_data(charge) + self._inside(self.source(charge))

    def outer(self) -> np.ndarray:
        """(n_local,) bool, nodes beyond 0.9 R: mass there feels the wall, which the plane does not have.

        R is known up to rounding, which must not decide on a ring of nodes at 0.9 R.
        """
        return np.asarray(np.hypot(*(self._graph.points - self.center).T) > 0.9 * (1 + 1e-9) * self.radius)


@compiled
def _series(modes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """sum_k coefficients_k e_k, (n_local,)."""
    result = np.zeros(modes.shape[1])
    for k in range(len(modes)):
        for i in range(modes.shape[1]):
            result[i] += coefficients[k] * modes[k, i]
    return result


def _circle(graph: PlaneNodes) -> tuple[np.ndarray, float]:
    """Centre and radius of the boundary."""
    owned = graph.boundary[: graph.owned]
    points = np.concatenate(graph.comm.allgather(graph.points[: graph.owned][owned]))
    return fitted_circle(points)


def fitted_circle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the circle through the points (n, 2) of a boundary, by least squares.

    Raises:
        InputError: they do not lie on a circle.
    """
    middle = points.mean(axis=0)
    shifted = points - middle
    system = np.column_stack([2 * shifted, np.ones(len(points))])
    solution = np.linalg.lstsq(system, (shifted**2).sum(axis=1), rcond=None)[0]
    center = middle + solution[:2]
    distance = np.hypot(*(points - center).T)
    radius = float(distance.mean())
    if np.ptp(distance) > 1e-6 * radius:
        middle_text = ", ".join(f"{c:.6g}" for c in center)
        raise InputError(
            "the boundary of the mesh must be a circle, because the potential of the whole plane is given there: "
            f"its nodes lie between {distance.min():.6g} and {distance.max():.6g} from ({middle_text}). For walls "
            'instead, set pde.boundary = "grounded", "insulated" or the potential by groups of the mesh'
        )
    return center, radius
