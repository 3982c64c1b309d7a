"""What a change of a mesh that refines itself costs, and its part of a run. Prints.

Run: OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 mpiexec -n P python demos/benchmarks/mesh_changes.py [--quick]

Three densities on a disk, of which one, a Gaussian that moves, is watched: processor seconds of a change, the middle
one of those after the first, of the rank that has most, and the most memory of a rank so far; for three sizes. Then the
first collapse of demos/signed_blow_up.py: changes of the mesh, and their part of the processor time of all steps.
"""

import argparse
import math
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from mpi4py import MPI

import limitpde  # noqa: F401
from limitpde.densities import Gaussian
from limitpde.errors import RunError
from limitpde.fem import mesh as meshes
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.mesh import Disk, Refinement
from limitpde.fem.original import original_nodes
from limitpde.fem.patches import first_patch
from limitpde.fem.refinement import AdaptiveMesh
from limitpde.signed import Initial, Model, Solver

COMM = MPI.COMM_WORLD
TURNS = 8


def peak(points: np.ndarray, turn: int) -> np.ndarray:
    """A Gaussian over a background, farther away each time."""
    return np.asarray(np.exp(-((points - [0.5 + 0.06 * turn, 0.09 * turn]) ** 2).sum(axis=1) / 0.08) + 0.05)


def seconds_of(work: Callable[[], object]) -> float:
    """Processor seconds of some work, of the rank that has most. Collective."""
    COMM.barrier()
    began = time.process_time()
    work()
    return COMM.allreduce(time.process_time() - began, op=MPI.MAX)


def change(tolerance: float) -> tuple[int, float]:
    """Nodes, and seconds of a change."""
    refinement, spent = Refinement(tolerance=tolerance, smallest_cell=1e-4), []
    patch = first_patch(COMM, *meshes.parts(Disk(radius=4.0, cell_size=1 / 3), COMM), None)
    mesh = AdaptiveMesh(patch.rounded(), refinement)
    mesh.resolve(lambda points: peak(points, 0)[:, None])
    for turn in range(TURNS):
        graph = EdgeGraph(meshes.put_together(COMM, *mesh.arrays()))
        numbers, values = original_nodes(graph.space), peak(graph.points, turn)
        others = [1 + graph.points[:, 0] ** 2, values]
        before = mesh.changes
        seconds = seconds_of(lambda: mesh.follow(graph, numbers, [values], others))  # noqa: B023
        if mesh.changes > before:
            spent.append(seconds)
    return mesh.patch.total, float(np.median(spent[1:]))


def collapse() -> tuple[int, float, float]:
    """Changes, processor seconds of all of them, and of all steps with them."""
    model = Model(sigma=1.0, gamma_bar=4.0, interaction="attractive")
    initial = Initial(positive=(Gaussian(mass=1.0, center=(0.0, 0.0), width=math.sqrt(0.5)),))
    refinement = Refinement(tolerance=1e-3, smallest_cell=1e-4)
    mesh = Disk(radius=6.0, cell_size=0.6)
    solver = Solver(model, initial, mesh=mesh, step=0.02, tolerance=1e-4, refinement=refinement, comm=COMM)
    assert solver.adaptive is not None
    follow, spent = solver.adaptive.follow, [0.0]

    def timed(*given: Any) -> Any:
        began, found = time.process_time(), follow(*given)
        spent[0] += time.process_time() - began
        return found

    solver.adaptive.follow = timed  # type: ignore[method-assign]

    def run() -> None:
        with suppress(RunError):
            solver.solve(4.0)

    whole = seconds_of(run)
    return solver.adaptive.changes, COMM.allreduce(spent[0], op=MPI.MAX), whole


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="the smallest mesh alone")
    quick = parser.parse_args().quick
    for tolerance in (6e-4,) if quick else (6e-4, 2e-4, 5e-5):
        nodes, seconds = change(tolerance)
        memory = COMM.allreduce(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, op=MPI.MAX)
        if COMM.rank == 0:
            print(f"{nodes:7,} nodes  a change {seconds:.3f} s  largest rank {memory:.0f} MiB", flush=True)
    if not quick:
        changes, seconds, whole = collapse()
        if COMM.rank == 0:
            print(f"collapse: {changes} changes, {seconds:.2f} of {whole:.2f} s, {seconds / whole:.0%}")


if __name__ == "__main__":
    main()
