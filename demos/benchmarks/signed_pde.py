"""Speed and accuracy of the finite elements for the signed system against what else solves it. Writes nothing.

Problem S2 of `limitpde.signed.exact`: a neutral dipole of two Gaussian clouds in the plane, D = 0.5, gamma_bar = 0.4, up
to t = 1. Error: of rho_+ at t = 1, relative, in the nodal L2 norm with Voronoi areas, against a Fourier solution with 192
points per direction. Peers, in the same run:

    Galerkin   what a FEniCS user writes in UFL: first-order elements on the same mesh, steps of the same size by SBDF2
               (diffusion implicit, drift extrapolated), constant matrices factorised once by MUMPS; a little more than
               many write, because it gets the multipole boundary data of the plane that we use, not psi = 0
    Fourier    `limitpde.signed.plane_reference`, made for smooth data in the plane and for nothing else

The second table says where our seconds go. The line below it compares the assembly with the least that this machine can
do it in: the expm1 that the fluxes cannot do without, or moving the arrays of the edge loops and of the matrices at the
bandwidth of a copy of the same size.

Run: OPENBLAS_NUM_THREADS=1 python demos/benchmarks/signed_pde.py      (about a minute, one core; best of three runs)
"""

import limitpde  # isort: skip  - first: it loads MPI and HDF5 in the order that DOLFINx needs
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from unittest import mock

import dolfinx.fem.petsc
import numba
import numpy as np
import ufl
from limitpde.densities import Gaussian
from limitpde.fem.edges import EdgeMatrix
from limitpde.fem.mesh import Disk
from limitpde.signed import Initial, Model, Solver, pde
from limitpde.signed.exact import S2
from limitpde.signed.plane_reference import PlaneReference
from petsc4py import PETSc

RADIUS, MULTIPOLES, REPEATS = 8.0, 12, 3
BAR = 2.5  # seconds allowed for 100 steps on 80 rings; the prototype in numpy took 4.85


def our_solver(rings: int, steps: int) -> Solver:
    """The solver of this package at time 0."""
    parts = [
        tuple(Gaussian(mass=g.mass, center=g.centre, width=math.sqrt(g.variance)) for g in species)
        for species in (S2.positive, S2.negative)
    ]
    model, initial = Model(sigma=S2.sigma, gamma_bar=S2.gamma_bar), Initial(positive=parts[0], negative=parts[1])
    mesh = Disk(radius=RADIUS, cell_size=RADIUS / rings)
    return Solver(model, initial, mesh=mesh, step=S2.t_end / steps, multipoles=MULTIPOLES)


class Galerkin:
    """First-order elements with consistent mass and SBDF2, as a FEniCS user writes them; on one rank."""

    def __init__(self, mesh: dolfinx.mesh.Mesh, steps: int) -> None:
        self.space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1))
        self.dt, self.steps = S2.t_end / steps, steps
        u, v = ufl.TrialFunction(self.space), ufl.TestFunction(self.space)
        self.M = self._matrix(u * v * ufl.dx)
        self.K = self._matrix(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx)
        self.rho = [dolfinx.fem.Function(self.space) for _ in range(2)]
        for rho, initial in zip(self.rho, (S2.initial_positive, S2.initial_negative), strict=True):
            rho.interpolate(lambda x, initial=initial: initial(x[0], x[1]))
        self.psi = dolfinx.fem.Function(self.space)
        charge = S2.gamma_bar * np.array([1.0, -1.0])
        drift = [-q * r * ufl.inner(ufl.grad(self.psi), ufl.grad(v)) * ufl.dx for q, r in zip(charge, self.rho)]
        self.drift = [dolfinx.fem.form(form) for form in drift]
        self.solvers = [self._factorised(c * self.M + self.dt * S2.diffusivity * self.K) for c in (1.0, 1.5)]
        self.minimum, self.start = 0.0, self.masses()
        self._prepare_poisson()

    @staticmethod
    def _matrix(form: ufl.Form) -> PETSc.Mat:
        matrix = dolfinx.fem.petsc.assemble_matrix(dolfinx.fem.form(form))
        matrix.assemble()
        return matrix

    @staticmethod
    def _factorised(matrix: PETSc.Mat) -> PETSc.KSP:
        ksp = PETSc.KSP().create(matrix.comm)
        ksp.setOperators(matrix)
        ksp.setType("preonly")
        ksp.getPC().setType("cholesky")
        ksp.getPC().setFactorSolverType("mumps")
        ksp.setUp()
        return ksp

    def _prepare_poisson(self) -> None:
        """Stiffness matrix with the circle's rows and columns removed; moments of the charge and the data they give."""
        mesh = self.space.mesh
        mesh.topology.create_connectivity(1, 2)
        facets = dolfinx.mesh.exterior_facet_indices(mesh.topology)
        self.circle = dolfinx.fem.locate_dofs_topological(self.space, 1, facets)
        inner = self.K.copy()
        inner.zeroRowsColumns(self.circle, 1.0)
        self.poisson = self._factorised(inner)
        z = (self.space.tabulate_dof_coordinates()[:, :2] / RADIUS) @ np.array([1.0, 1.0j])
        powers = np.array([np.ones(len(z)), *(f(z**k) for k in range(1, MULTIPOLES + 1) for f in (np.real, np.imag))])
        factors = np.array([-math.log(RADIUS), *(1 / k for k in range(1, MULTIPOLES + 1) for _ in range(2))])
        self.moments = np.array([self.apply(self.M, power) for power in powers])
        self.data = (factors[:, None] * powers[:, self.circle]).T

    def apply(self, matrix: PETSc.Mat, values: np.ndarray) -> np.ndarray:
        """The product of a matrix with nodal values."""
        return (matrix * PETSc.Vec().createWithArray(values, comm=PETSc.COMM_SELF)).array

    def solved(self, ksp: PETSc.KSP, right_side: np.ndarray) -> np.ndarray:
        """The solution of a linear system."""
        solution = np.empty_like(right_side)
        vectors = [PETSc.Vec().createWithArray(array, comm=PETSc.COMM_SELF) for array in (right_side, solution)]
        ksp.solve(*vectors)
        return solution

    def potential(self) -> np.ndarray:
        """psi of the present charge."""
        charge = self.rho[0].x.array - self.rho[1].x.array
        lift = np.zeros_like(charge)
        lift[self.circle] = self.data @ (self.moments @ charge)
        right_side = 2 * np.pi * self.apply(self.M, charge) - self.apply(self.K, lift)
        right_side[self.circle] = 0.0
        return self.solved(self.poisson, right_side) + lift

    def masses(self) -> np.ndarray:
        """Integrals of both densities."""
        return np.array([self.apply(self.M, rho.x.array).sum() for rho in self.rho])

    def run(self) -> None:
        """All steps; the first one by implicit and explicit Euler."""
        before, drift_before = [], []
        for step in range(self.steps):
            self.psi.x.array[:] = self.potential()
            drift = [dolfinx.fem.petsc.assemble_vector(form).array for form in self.drift]
            now = [rho.x.array.copy() for rho in self.rho]
            for s, rho in enumerate(self.rho):
                if step == 0:
                    history, source = now[s], drift[s]
                else:
                    history, source = 2 * now[s] - 0.5 * before[s], 2 * drift[s] - drift_before[s]
                right_side = self.apply(self.M, history) + self.dt * source
                rho.x.array[:] = self.solved(self.solvers[min(step, 1)], right_side)
                self.minimum = min(self.minimum, rho.x.array.min())
            before, drift_before = now, drift
