"""Bytes of memory a node that each rank holds at most, of a mesh, of the signed and of the coagulating system.

Run: OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 mpiexec -n 4 python demos/benchmarks/node_memory.py

Peaks above what a rank holds after a small problem of the same kind (Linux only). Each line is what one part adds up
to: making the mesh (a disk, a box in 2 and 3 dimensions, a square of an XDMF file, with its nodes and matrices), the
solver, three steps, fields for the first time; and besides what the solver holds, a checkpoint, and going on from it.
The signed system takes multigrid, as on many ranks.
"""

import ctypes
import gc
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import meshio
from mpi4py import MPI
from petsc4py import PETSc

from limitpde import coagulation, signed
from limitpde.fem import mesh as meshes
from limitpde.fem.mesh import Box, Disk
from limitpde.fem.nodes import NodeSpace
from limitpde.results.checkpoint import Checkpoint, PartState
from limitpde.results.fields import FieldSeries

COMM, SMALL = MPI.COMM_WORLD, 3_000
MASSES = 32
STEP = 0.005


def resident(key: str) -> int:
    """Bytes of this process: VmRSS, or VmHWM, the most since `Peaks` looked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


class Peaks:
    """Prints the most that each rank held in a part, above what it held at first."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self._begin()
        self._base = resident("VmRSS")

    def _begin(self) -> None:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        COMM.barrier()

    def seen(self, part: str, nodes: int) -> None:
        """Collective."""
        COMM.barrier()
        most = COMM.gather((resident("VmHWM") - self._base) / nodes)
        if most is not None and not self.silent:
            told = " ".join(f"{value:6.0f}" for value in most)
            print(f"  {part:21s} {told}   most, times ranks: {max(most) * COMM.size:6.0f}", flush=True)
        self._begin()


def mesh_alone(shape: Callable[[int], Disk | Box | str], dimension: int, nodes: int, peaks: Peaks) -> None:
    """A mesh, and its nodes with their matrices."""
    mesh = meshes.build(shape(nodes), COMM, dimension=dimension)
    peaks.seen("mesh", mesh.geometry.index_map().size_global)
    space = NodeSpace(mesh, dimension=dimension)
    peaks.seen("and nodes", space.size)


def mesh_of_a_file(nodes: int, peaks: Peaks) -> None:
    """A square, from an XDMF file that rank 0 writes first."""
    with tempfile.TemporaryDirectory() as own:
        path = COMM.bcast(f"{own}/square.xdmf")
        if COMM.rank == 0:
            points, triangles = Box(size=1.0, cell_size=nodes**-0.5).cells(2)
            meshio.xdmf.write(path, meshio.Mesh(points, {"triangle": triangles}))
            del points, triangles
        mesh_alone(lambda _: path, 2, nodes, Peaks(silent=peaks.silent))


def run(make: Callable[[int], signed.Solver | coagulation.Solver], nodes: int, peaks: Peaks) -> None:
    """Three steps of a solver, its checkpoint and its fields."""
    solver = make(nodes)
    size = solver.nodes.size
    peaks.seen("solver", size)
    for _ in range(3):  # as many states as it remembers
        solver.step(STEP)
    peaks.seen("steps", size)
    with tempfile.TemporaryDirectory() as own:
        folder = Path(COMM.bcast(own))
        kind, besides = solver.STATE, Peaks(silent=peaks.silent)
        Checkpoint(folder, COMM).save_solution({"solver": PartState(kind, solver.state())})
        besides.seen("checkpoint, besides", size)
        parts, _ = Checkpoint(folder, COMM).solution({"solver": kind})
        solver.restore((parts or {})["solver"])
        besides.seen("resume, besides", size)
        for stem, (mesh, functions) in solver.outputs().items():
            FieldSeries(folder / f"{stem}.vtkhdf", mesh).write(0.0, functions)
        peaks.seen("fields", size)
        COMM.barrier()


def charges(nodes: int) -> signed.Solver:
    """Two clouds of charges in the plane."""
    one, other = ([{"center": (x, 0.0), "mass": 0.5, "width": 0.6}] for x in (-1.0, 1.0))
    initial = signed.Initial(positive=one, negative=other)
    disk = Disk(radius=8.0, cell_size=8 * (3 / nodes) ** 0.5)
    return signed.Solver(signed.Model(sigma=1.0, gamma_bar=0.4), initial, mesh=disk, step=STEP)


def particles(nodes: int) -> coagulation.Solver:
    """A cloud of coagulating particles in a square."""
    model = coagulation.Model(dimension=2, diffusion={"power": -1 / 3}, beta={"kernel": "additive"}, n_max=MASSES)
    cloud = {"n": 1, "shape": "gaussian", "mass": 1.0, "center": (0.5, 0.5), "width": 0.15}
    box = Box(size=1.0, cell_size=nodes**-0.5)
    return coagulation.Solver(model, coagulation.Initial(masses=[cloud]), mesh=box, step=STEP)


def main() -> None:
    """Prints bytes a node, rank by rank."""
    options = PETSc.Options()
    for name, value in {"poisson_ksp_type": "cg", "poisson_pc_type": "gamg", "predictor_pc_type": "gamg"}.items():
        options.setValue(f"limitpde_{name}", value)
    disk, square, cube = (
        lambda n: Disk(radius=1.0, cell_size=(3 / n) ** 0.5),
        lambda n: Box(size=1.0, cell_size=n**-0.5),
        lambda n: Box(size=1.0, cell_size=n ** (-1 / 3)),
    )
    cases: dict[str, tuple[Callable[[int, Peaks], None], int]] = {
        "a disk": (partial(mesh_alone, disk, 2), 250_000),
        "a square": (partial(mesh_alone, square, 2), 250_000),
        "a square of a file": (mesh_of_a_file, 500_000),
        "a cube": (partial(mesh_alone, cube, 3), 120_000),
        "signed charges": (partial(run, charges), 250_000),
        f"coagulation, {MASSES} masses": (partial(run, particles), 150_000),
    }
    for name, (part, nodes) in cases.items():
        part(SMALL, Peaks(silent=True))
        if COMM.rank == 0:
            print(f"{name}, {nodes:,} nodes: bytes a node of each of {COMM.size} ranks")
        part(nodes, Peaks())


if __name__ == "__main__":
    main()
