"""Speed and accuracy of the finite elements for the signed system against what else solves it. Writes nothing.

Problem S2 of `limitpde.signed.exact`: a neutral dipole of two Gaussian clouds, D = 0.5, gamma_bar = 0.4, up to t = 1.
Error: of rho_+ at the end, relative, in the nodal L2 norm with Voronoi areas, against a Fourier solution with 192 points
per direction. Peers, in the same run:

    Galerkin   what a FEniCS user writes in UFL: first-order elements on the same mesh, steps of the same size by SBDF2
               (diffusion implicit, drift extrapolated), constant matrices factorised once by MUMPS. Most users write
               psi = 0 on the circle; here it gets the same multipole data of the plane as our solver
    Fourier    `limitpde.signed.plane_reference`, made for smooth data in the plane and for nothing else

The second table says where our seconds go. Below it, the assembly against the least that this machine can do it in: the
calls of expm1 that the fluxes need, or moving the arrays of the edge loops and matrices at the bandwidth of a copy.

Run: OPENBLAS_NUM_THREADS=1 python demos/benchmarks/signed_pde.py      (about a minute, one core; best of three runs)
"""

import limitpde  # isort: skip  # first: it loads MPI and HDF5 in the order that DOLFINx needs

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import dolfinx.fem.petsc
import numba
import numpy as np
import ufl
from petsc4py import PETSc
from scipy.sparse import csr_matrix

from limitpde.densities import Gaussian
from limitpde.fem.mesh import Disk
from limitpde.signed import Initial, Model, Solver, pde
from limitpde.signed.exact import S2
from limitpde.signed.plane_reference import PlaneReference

RADIUS, MULTIPOLES, REPEATS = 8.0, 12, 3
BAR = 2.5  # seconds for 100 steps on 80 rings


def our_solver(rings: int, steps: int) -> Solver:
    """The solver of this package at time 0."""
    species = [
        tuple(Gaussian(mass=g.mass, center=g.centre, width=math.sqrt(g.variance)) for g in parts)
        for parts in (S2.positive, S2.negative)
    ]
    model, initial = Model(sigma=S2.sigma, gamma_bar=S2.gamma_bar), Initial(positive=species[0], negative=species[1])
    mesh = Disk(radius=RADIUS, cell_size=RADIUS / rings)
    return Solver(model, initial, mesh=mesh, step=S2.t_end / steps, multipoles=MULTIPOLES)


class Galerkin:
    """First-order elements with consistent mass and SBDF2, as a FEniCS user writes them; on one rank."""

    def __init__(self, mesh: dolfinx.mesh.Mesh, steps: int) -> None:
        self.space, self.dt, self.steps = dolfinx.fem.functionspace(mesh, ("Lagrange", 1)), S2.t_end / steps, steps
        u, v = ufl.TrialFunction(self.space), ufl.TestFunction(self.space)
        mass, stiffness = self._matrix(u * v * ufl.dx), self._matrix(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx)
        self.rho, self.psi = [dolfinx.fem.Function(self.space) for _ in range(2)], dolfinx.fem.Function(self.space)
        for rho, initial in zip(self.rho, (S2.initial_positive, S2.initial_negative), strict=True):
            rho.interpolate(lambda x, initial=initial: initial(x[0], x[1]))
        force = -S2.gamma_bar * ufl.inner(ufl.grad(self.psi), ufl.grad(v)) * ufl.dx
        self.drift = [dolfinx.fem.form(self.rho[0] * force), dolfinx.fem.form(-self.rho[1] * force)]
        self.solvers = [self._factorised(c * mass + self.dt * S2.diffusivity * stiffness) for c in (1.0, 1.5)]
        self.M, self.K = (csr_matrix(matrix.getValuesCSR()[::-1]) for matrix in (mass, stiffness))
        self.minimum, self.start = math.inf, self.masses()
        self._prepare_poisson(mesh, stiffness)

    def _prepare_poisson(self, mesh: dolfinx.mesh.Mesh, stiffness: PETSc.Mat) -> None:
        """The matrix without the circle, the moments of the charge, and the values on the circle that they give."""
        mesh.topology.create_connectivity(1, 2)
        facets = dolfinx.mesh.exterior_facet_indices(mesh.topology)
        self.circle = dolfinx.fem.locate_dofs_topological(self.space, 1, facets)
        stiffness.zeroRowsColumns(self.circle, 1.0)
        self.poisson = self._factorised(stiffness)
        z = (self.space.tabulate_dof_coordinates()[:, :2] / RADIUS) @ np.array([1.0, 1.0j])
        powers = np.array([z.real**0, *(f(z**k) for k in range(1, MULTIPOLES + 1) for f in (np.real, np.imag))])
        factors = np.array([-math.log(RADIUS), *(1 / k for k in range(1, MULTIPOLES + 1) for _ in range(2))])
        self.moments, self.data = powers @ self.M, (factors[:, None] * powers[:, self.circle]).T

    @staticmethod
    def _matrix(form: ufl.Form) -> PETSc.Mat:
        matrix = dolfinx.fem.petsc.assemble_matrix(dolfinx.fem.form(form))
        matrix.assemble()
        return matrix

    @staticmethod
    def _factorised(matrix: PETSc.Mat) -> Callable[[np.ndarray], np.ndarray]:
        ksp = PETSc.KSP().create(matrix.comm)
        ksp.setOperators(matrix)
        ksp.setType("preonly")
        ksp.getPC().setType("cholesky")
        ksp.getPC().setFactorSolverType("mumps")
        ksp.setUp()
        solution, right_side = matrix.createVecs()

        def solve(values: np.ndarray) -> np.ndarray:
            right_side.array[:] = values
            ksp.solve(right_side, solution)
            return solution.array.copy()

        return solve

    def potential(self) -> np.ndarray:
        """The potential of the present charge."""
        charge = self.rho[0].x.array - self.rho[1].x.array
        lift = np.zeros_like(charge)
        lift[self.circle] = self.data @ (self.moments @ charge)
        right_side = 2 * np.pi * (self.M @ charge) - self.K @ lift
        right_side[self.circle] = 0.0
        return self.poisson(right_side) + lift

    def masses(self) -> np.ndarray:
        """Integrals of both densities."""
        return np.array([(self.M @ rho.x.array).sum() for rho in self.rho])

    def run(self) -> None:
        """All steps; the first one by Euler's formulas."""
        for step in range(self.steps):
            self.psi.x.array[:] = self.potential()
            drift = [dolfinx.fem.petsc.assemble_vector(form).array for form in self.drift]
            now = [rho.x.array.copy() for rho in self.rho]
            if step == 0:
                histories, sources = now, drift
            else:
                histories = [2 * a - 0.5 * b for a, b in zip(now, before, strict=True)]
                sources = [2 * a - b for a, b in zip(drift, drift_before, strict=True)]
            for rho, history, source in zip(self.rho, histories, sources, strict=True):
                rho.x.array[:] = self.solvers[min(step, 1)](self.M @ history + self.dt * source)
                self.minimum = min(self.minimum, rho.x.array.min())
            before, drift_before = now, drift


def best(prepare: Callable[[], Any], run: Callable[[Any], Any]) -> tuple[float, Any]:
    """Shortest time of a run out of several, each newly prepared, and what the last one returned."""
    times = []
    for _ in range(REPEATS):
        subject, start = prepare(), time.perf_counter()
        result = run(subject)
        times.append(time.perf_counter() - start)
    return min(times), result


@contextmanager
def split(solver: Solver) -> Iterator[dict[str, float]]:
    """Seconds that the parts of this solver take while the context lasts; what one part spends in another counts once."""
    edge_loops = [(pde, name) for name in ("fill_transport", "add_mean_density", "add_gradient_flux")]
    matrices = [(solver._predictor, "assemble"), (solver._transport, "assemble")]
    parts = {
        "assembly": [*edge_loops, *matrices],
        "transport": [(solver._solve_transport, "solve")],
        "predictor": [(solver._predict, "solve")],
        "Poisson": [(solver.poisson, "solve")],
    }
    seconds = dict.fromkeys(parts, 0.0)

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            result = function(*args)
            seconds[part] += time.perf_counter() - start
            return result

        return call

    with ExitStack() as stack:
        for part, places in parts.items():
            for owner, name in places:
                stack.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name), part)))
        yield seconds


@numba.njit
def expm1_calls(drops, out):
    """What is left of one edge loop when all but expm1 costs nothing."""
    for e in range(len(drops)):
        out[e] = math.expm1(drops[e])


def assembly_limit(solver: Solver) -> tuple[float, float]:
    """Seconds of one step's assembly if only expm1 cost anything, and if only moving its arrays did."""
    graph, factor = solver.graph, S2.gamma_bar / S2.diffusivity
    drops = factor * (solver.potential[graph.head] - solver.potential[graph.tail])
    calls = [drops[np.abs(drops) >= smallest] for smallest in (1e-3, 1e-2)]  # matrix, mean density: series below these
    out = np.empty_like(drops)
    expm1_calls(drops, out)
    expm1 = sum(2 * min(clock(lambda c=c: expm1_calls(c, out)) for _ in range(50)) for c in calls)  # two signs
    entries, nonzeros = 4 * len(drops) + graph.owned, 2 * len(drops) + graph.owned
    loops = 2 * (16 + 32) + 2 * (8 + 16) + 2 * (16 + 8)  # bytes per edge: matrices, mean densities, gradient fluxes
    moved = loops * len(drops) + 3 * (8 * entries + 8 * entries + 8 * nonzeros)  # values, their places, the matrix
    source = np.ones(entries)
    target = source.copy()
    copy = min(clock(lambda: np.copyto(target, source)) for _ in range(50))
    return expm1, moved / (2 * source.nbytes / copy)


def clock(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measures and prints."""
    ...


if __name__ == "__main__":
    main()
