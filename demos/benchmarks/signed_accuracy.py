"""Error against seconds on smooth data in the plane: both modes of limitpde, NGSolve, Fourier. Writes nothing.

Problems S1, S2 and S3 of `limitpde.signed.exact` up to t = 1 on the disk of radius 8. Error: of rho_+ at the end,
relative, in the root mean square over a grid of points that is the same for all, against 256^2 Fourier modes. One
core; the best of three runs; meshes and compilation are not counted, nor NGSolve's factorisations.

    structure   `limitpde.signed.Solver`: first-order elements, positive, exact mass, falling free energy
    accuracy    the same with degrees 2 to 4: Galerkin elements, additive Runge-Kutta of order four
    NGSolve     what one of its users writes (`signed_accuracy_ngsolve.py`): degrees 2 and 4, SBDF2
    Fourier     `limitpde.signed.plane_reference`, made for smooth data in the plane and for nothing else

Run: python demos/benchmarks/signed_accuracy.py [--peers-python PYTHON]   (PYTHON: one that has ngsolve; 3 min)
"""

import limitpde  # noqa: F401  isort: skip  # first: it loads MPI and HDF5 in the order that DOLFINx needs

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import dolfinx.geometry
import numpy as np

from limitpde.densities import Gaussian
from limitpde.fem.mesh import Disk
from limitpde.signed import Initial, Model, Solver
from limitpde.signed.exact import PROBLEMS, ReferenceProblem
from limitpde.signed.plane_reference import PlaneReference, PlaneSolution

RADIUS, REPEATS = 8.0, 3
AXIS = np.linspace(-3.9, 3.9, 79)
POINTS = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)
OURS = {1: ((40, 50), (80, 100)), 2: ((30, 10),), 3: ((20, 10),), 4: ((10, 8), (15, 10), (20, 20))}
"""Degree -> rings and steps."""
NGSOLVE = {2: ((0.27, 100),), 4: ((0.72, 100), (0.72, 200))}
"""Degree -> mesh size and steps."""
LINE = "| {} | {} | {} | {} | {:.1e} | {:.3f} |"


def rho_plus(solved: Solver) -> np.ndarray:
    """rho_+ at the points; on one rank."""
    (function,) = (f for _, fields in solved.outputs().values() for name, f in fields.items() if name == "rho_positive")
    mesh, points = solved.mesh, np.column_stack([POINTS, np.zeros(len(POINTS))])
    tree = dolfinx.geometry.bb_tree(mesh, 2)
    found = dolfinx.geometry.compute_colliding_cells(
        mesh, dolfinx.geometry.compute_collisions_points(tree, points), points
    )
    return function.eval(points, np.array([found.links(i)[0] for i in range(len(points))])).ravel()


def best(run: Callable[[], float]) -> float:
    """The least of some timings."""
    return min(run() for _ in range(REPEATS))


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers-python", help="interpreter that has ngsolve")
    peers = parser.parse_args().peers_python
    print(f"load {os.getloadavg()[0]:.1f}\n\n| problem | method | unknowns a density | steps | error | seconds |")
    print("|---|---|---|---|---|---|")
    for name in ("S1", "S2", "S3"):
        problem = PROBLEMS[name]
        reference = fourier(problem, 256, 100)
        exact = reference.evaluate(POINTS)[0]

        def error(values: np.ndarray, exact: np.ndarray = exact) -> float:
            return float(np.linalg.norm(values - exact) / np.linalg.norm(exact))

        for degree, cases in OURS.items():
            for rings, steps in cases:
                run_ours(name, problem, degree, rings, steps, error)
        for degree, sizes in (NGSOLVE if peers else {}).items():
            for size, steps in sizes:
                found = run_ngsolve(peers, problem, degree, size, steps)
                error_found, seconds = error(np.array(found["values"])), found["seconds"]
                print(LINE.format(name, f"NGSolve, degree {degree}", found["unknowns"], steps, error_found, seconds))
        for points in (64, 128):
            began = time.perf_counter()
            solution = fourier(problem, points, 20)
            seconds = time.perf_counter() - began
            print(LINE.format(name, "Fourier", f"{points}^2", 20, error(solution.evaluate(POINTS)[0]), seconds))


def run_ours(
    name: str, problem: ReferenceProblem, degree: int, rings: int, steps: int, error: Callable[[np.ndarray], float]
) -> None:
    """Solve with elements of one degree, and print a line."""
    sides = (problem.positive, problem.negative)
    parts = (tuple(Gaussian(mass=g.mass, center=g.centre, width=g.variance**0.5) for g in side) for side in sides)
    initial = Initial(**dict(zip(("positive", "negative"), parts, strict=True)))
    model = Model(sigma=problem.sigma, gamma_bar=problem.gamma_bar)
    mesh = Disk(radius=RADIUS, cell_size=RADIUS / rings)
    solved = []

    def run() -> float:
        solved[:] = [Solver(model, initial, mesh=mesh, step=problem.t_end / steps, degree=degree)]
        began = time.perf_counter()
        solved[0].solve(problem.t_end)
        return time.perf_counter() - began

    seconds = best(run)
    mode = "limitpde, structure" if degree == 1 else f"limitpde, accuracy, degree {degree}"
    print(
        LINE.format(
            name, mode, solved[0].dofs // (len(solved[0].species) + 1), steps, error(rho_plus(solved[0])), seconds
        ),
        flush=True,
    )


def run_ngsolve(python: str, problem: ReferenceProblem, degree: int, size: float, steps: int) -> dict:
    """What NGSolve finds, in an interpreter that has it."""
    sides = (problem.positive, problem.negative)
    case = {
        "radius": RADIUS,
        "degree": degree,
        "steps": steps,
        "cell_size": size,
        "diffusivity": problem.diffusivity,
        "gamma_bar": problem.gamma_bar,
        "end": problem.t_end,
        "clouds": [[[g.mass, list(g.centre), g.variance] for g in side] for side in sides],
        "points": POINTS.tolist(),
    }
    command = [python, str(Path(__file__).with_name("signed_accuracy_ngsolve.py"))]
    runs = [
        json.loads(
            subprocess.run(command, input=json.dumps(case), check=True, stdout=subprocess.PIPE, text=True).stdout
        )
        for _ in range(REPEATS)
    ]
    return min(runs, key=lambda run: run["seconds"])


def fourier(problem: ReferenceProblem, points: int, steps: int) -> PlaneSolution:
    """The Fourier solution at the end."""
    plane = PlaneReference(
        diffusivity=problem.diffusivity, gamma_bar=problem.gamma_bar, half_width=1.25 * RADIUS, points=points
    )
    return plane.solve(problem.initial_positive, problem.initial_negative, problem.t_end, problem.t_end / steps)


if __name__ == "__main__":
    main()
