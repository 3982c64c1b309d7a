"""Speed and accuracy of the finite elements for the signed system against what else solves it. Writes nothing.

Problem S2 of `limitpde.signed.exact`: a neutral dipole of two Gaussian clouds, D = 0.5, gamma_bar = 0.4, up to t = 1.
Error: of rho_+ at the end, relative, in the nodal L2 norm with Voronoi areas, against 192^2 Fourier modes. In one run:

    limitpde   `limitpde.signed.Solver`: positive, exact mass, falling free energy
    Galerkin   what a FEniCS user writes in UFL: first-order elements on the same mesh, SBDF2 steps of the same size
               (drift extrapolated), constant matrices factorised once by MUMPS. Most users write psi = 0 on the
               circle; here it gets our multipole data of the plane. Minimum over all steps, not the last one. Once on
               our mesh, and once on one so much finer that its error is not above ours
    Fourier    `limitpde.signed.plane_reference`, made for smooth data in the plane and for nothing else

Then: where our seconds go, and the assembly against the least that this machine can do it in: the calls of expm1 that
the fluxes need, or moving the arrays of the edge loops and of the matrices at the bandwidth of a copy.

Seconds are those of the processor, medians of runs in turns; ratios are medians of those of each turn.

Run: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python demos/benchmarks/signed_pde.py      (1 min, one core)
"""

import limitpde  # isort: skip  # first: it loads MPI and HDF5 in the order that DOLFINx needs

import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest import mock

import dolfinx.fem.petsc
import numba
import numpy as np
import ufl
from petsc4py import PETSc
from scipy.sparse import csr_matrix, diags

from limitpde.densities import Gaussian
from limitpde.fem.mesh import Disk
from limitpde.signed import Initial, Model, Solver, scheme
from limitpde.signed.exact import S2
from limitpde.signed.plane_reference import PlaneReference, PlaneSolution

RADIUS, REPEATS, LINE = 8.0, 7, "{:20}{:6d} {:8.1e} {:9.1e} {:8.0e} {:8.3f} {:7.3f}"
SIDES, STARTS = (S2.positive, S2.negative), (S2.initial_positive, S2.initial_negative)
fourier = partial(PlaneReference, diffusivity=S2.diffusivity, gamma_bar=S2.gamma_bar, half_width=10.0)


def our_solver(rings: int, steps: int) -> Solver:
    """The solver of this package at time 0."""
    parts = (tuple(Gaussian(mass=g.mass, center=g.centre, width=g.variance**0.5) for g in side) for side in SIDES)
    initial = Initial(**dict(zip(("positive", "negative"), parts, strict=True)))
    mesh = Disk(radius=RADIUS, cell_size=RADIUS / rings)
    return Solver(Model(sigma=S2.sigma, gamma_bar=S2.gamma_bar), initial, mesh=mesh, step=S2.t_end / steps)


def factorised(matrix: csr_matrix) -> PETSc.KSP:
    """The inverse of a symmetric matrix, by MUMPS."""
    ksp = PETSc.KSP().create(PETSc.COMM_SELF)
    ksp.setOperators(PETSc.Mat().createAIJ(matrix.shape, csr=(matrix.indptr, matrix.indices, matrix.data)))
    ksp.setType("preonly")
    ksp.getPC().setType("cholesky")
    ksp.getPC().setFactorSolverType("mumps")
    ksp.setUp()
    return ksp


class Galerkin:
    """First-order elements with consistent mass and SBDF2, as a FEniCS user writes them; on one rank."""

    def __init__(self, ours: Solver, steps: int) -> None:
        space, self.circle, self.boundary_data = ours.graph.space, ours.graph.boundary, ours.poisson.boundary_data
        self.dt, self.steps = S2.t_end / steps, steps
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        forms = [dolfinx.fem.form(form * ufl.dx) for form in (u * v, ufl.inner(ufl.grad(u), ufl.grad(v)))]
        self.M, K = (csr_matrix(dolfinx.fem.assemble_matrix(form).to_scipy()) for form in forms)
        self.solvers = [factorised(c * self.M + self.dt * S2.diffusivity * K) for c in (1.0, 1.5)]
        inner = diags(np.where(self.circle, 0.0, 1.0))
        self.poisson = factorised(csr_matrix(inner @ K @ inner + diags(np.where(self.circle, 1.0, 0.0))))
        self.solution, self.right_side = self.poisson.getOperators()[0].createVecs()
        self.psi, *self.rho = (dolfinx.fem.Function(space) for _ in range(3))
        for rho, start in zip(self.rho, STARTS, strict=True):
            rho.interpolate(lambda x, start=start: start(x[0], x[1]))
        force = -S2.gamma_bar * ufl.inner(ufl.grad(self.psi), ufl.grad(v))
        self.forms = [dolfinx.fem.form(b * rho * force * ufl.dx) for b, rho in zip((1, -1), self.rho, strict=True)]

    def solved(self, inverse: PETSc.KSP, right_side: np.ndarray) -> np.ndarray:
        """The solution, valid until the next one."""
        self.right_side.array[:] = right_side
        inverse.solve(self.right_side, self.solution)
        return self.solution.array_r

    def run(self) -> None:
        """All steps, the first one by Euler's formulas."""
        smallest, start = math.inf, (self.M @ self.rho[0].x.array).sum()
        before, drift_before = np.zeros((2, 2, len(self.circle)))
        for step in range(self.steps):
            now = np.array([rho.x.array for rho in self.rho])
            charge = np.where(self.circle, 0.0, 2 * np.pi * (self.M @ (now[0] - now[1])))
            self.psi.x.array[:] = self.boundary_data(now[0] - now[1]) + self.solved(self.poisson, charge)
            drift = np.array([dolfinx.fem.petsc.assemble_vector(form).array for form in self.forms])
            history, source = (2 * now - 0.5 * before, 2 * drift - drift_before) if step else (now, drift)
            before, drift_before = now, drift
            for s, rho in enumerate(self.rho):
                rho.x.array[:] = self.solved(self.solvers[min(step, 1)], self.M @ history[s] + self.dt * source[s])
                smallest = min(smallest, rho.x.array.min())
        self.run_figures = smallest, (self.M @ self.rho[0].x.array).sum() / start - 1


def seconds(run: Callable[[], object]) -> float:
    """Processor seconds that a call takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


def run_ours(solver: Solver) -> dict[str, float]:
    """Solve to the end; processor seconds of the parts of the solver, and of everything ("all")."""
    now = solver.stepping.scheme
    parts: dict[str, list[tuple[Any, str]]] = {
        "assembly": [(scheme, name) for name in ("fill_transport", "climb_along", "predictor_edges")],
        "transport solves": [(now._solve_transport, "solve")],
        "predictor": [(now._predict, "solve")],
        "Poisson": [(solver.poisson, "solve")],
    }
    parts["assembly"] += [(now._predictor, "assemble"), (now._transport, "assemble")]
    spent = dict.fromkeys(parts, 0.0)

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.process_time()
            result = function(*arguments)
            spent[part] += time.process_time() - start
            return result

        return call

    with ExitStack() as stack:
        for part, places in parts.items():
            for owner, name in places:
                stack.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name), part)))
        total = seconds(lambda: solver.solve(S2.t_end))
    return {**spent, "other": total - sum(spent.values()), "all": total}


@numba.njit
def expm1_calls(drops: np.ndarray, out: np.ndarray) -> None:
    """What is left of an edge loop when everything but expm1 is free."""
    for e in range(len(drops)):
        out[e] = math.expm1(drops[e])


def assembly_limits(solver: Solver) -> tuple[float, float]:
    """Seconds of one step's assembly if only expm1 took time, and if only moving its arrays did."""
    graph, (edges, nodes) = solver.graph, (len(solver.graph.tail), solver.graph.owned)
    drops = S2.gamma_bar / S2.diffusivity * (solver.potential[graph.head] - solver.potential[graph.tail])
    out, source, target = np.empty(edges), np.ones(4 * edges), np.zeros(4 * edges)
    needed = [drops[np.abs(drops) > series] for series in (1e-3, 1e-2)]  # of the matrix, of the mean density; two signs
    expm1 = sum(2 * min(seconds(lambda d=d: expm1_calls(d, out)) for _ in range(50)) for d in needed)
    loops = 2 * (16 + 32) + 2 * (8 + 16) + 2 * (16 + 8)  # bytes per edge: matrices, mean densities, gradients
    matrices = 3 * 8 * (2 * (4 * edges + nodes) + 2 * edges + nodes)  # entries, their places, what they add up to
    copy = min(seconds(lambda: np.copyto(target, source)) for _ in range(50))
    return expm1, (loops * edges + matrices) / (2 * source.nbytes / copy)


def error(truth: PlaneSolution, solver: Solver, rho: np.ndarray) -> float:
    """Of rho_+ at the nodes of a solver, at the end."""
    area, expected = solver.graph.area, truth.evaluate(solver.graph.points)[0]
    return math.sqrt((area * (rho - expected) ** 2).sum() / (area * expected**2).sum())


def main() -> None:
    """Measures and prints."""
    print(f"limitpde {limitpde.__version__}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':20}{'steps':>6} {'error':>8} {'minimum':>9} {'mass':>8} {'seconds':>8} {'/ ours':>7}")
    truth = fourier(points=192).solve(*STARTS, S2.t_end, 0.02)
    our_solver(10, 4).solve(S2.t_end)  # compiles
    for rings, steps, finer in ((40, 50, 44), (80, 100, 87)):
        fine, turns = our_solver(finer, steps), []
        for _ in range(REPEATS):
            solver = our_solver(rings, steps)
            peers = [Galerkin(mesh, steps) for mesh in (solver, fine)]
            turns.append([seconds(run) for run in (partial(solver.solve, S2.t_end), *(peer.run for peer in peers))])
        took, ratios = np.median(turns, axis=0), np.median([[t / turn[0] for t in turn] for turn in turns], axis=0)
        end, rho = solver.figures(), solver.densities["positive"]
        found = error(truth, solver, rho), end["minimum"], end["mass_positive"] / solver.mass[0] - 1
        print(LINE.format(f"limitpde {solver.graph.size:7d}", steps, *found, took[0], 1.0))
        for k, (mesh, peer) in enumerate(zip((solver, fine), peers, strict=True), 1):
            found = error(truth, mesh, peer.rho[0].x.array), *peer.run_figures
            print(LINE.format(f"Galerkin {mesh.graph.size:7d}", steps, *found, took[k], ratios[k]))
    for points in (64, 128):
        plane = fourier(points=points)
        best = np.median([seconds(lambda plane=plane: plane.solve(*STARTS, S2.t_end, 0.05)) for _ in range(REPEATS)])
        end = plane.solve(*STARTS, S2.t_end, 0.05)
        reached = error(truth, solver, end.evaluate(solver.graph.points)[0])
        found = reached, min(end.minimum), end.masses[0] / S2.masses[0] - 1
        print(LINE.format(f"Fourier  {points:4d}^2", 20, *found, best, best / took[0]))
    spent = min((run_ours(our_solver(rings, steps)) for _ in range(3)), key=lambda parts: parts["all"])
    print(
        f"\nseconds of the {solver.graph.size} nodes:",
        ", ".join(f"{part} {value:.3f}" for part, value in spent.items()),
    )
    expm1, moving = (steps * limit for limit in assembly_limits(solver))
    print(f"assembly: expm1 alone {expm1:.3f}, moving alone {moving:.3f}", end="")
    print(f": it takes {spent['assembly'] / max(expm1, moving):.1f} x the larger")


if __name__ == "__main__":
    main()
