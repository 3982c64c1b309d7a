"""How each solver speeds up with ranks, what a rank holds and sends, and a model of more ranks. Prints, writes nothing.

Run: OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 mpiexec -n P python demos/benchmarks/scaling.py
     [--quick] [--part NAME]... [--speed S]

One thread a rank. All numbers of ranks 1, 2, 4, ... up to P, and P itself, are measured in turns, several times, and
the shortest step counts: on a machine that does something else, too, the seconds say little, the counts all the same.

*Strong*: the same problem on more ranks. *Weak* (Vlasov): cells of the first coordinate in proportion to the ranks.
Memory: what the solver adds to a rank, the largest one; the programme itself takes 250 MB. Bytes and messages: what a
rank receives in a step of Vlasov from its neighbours, and for the field, counted in the calls, and by the model.

*Model* of a Vlasov step of V values a rank, all in `Model`: V at the speed of one rank, measured here in 2D2V of degree
3 and then as the number of sweeps and the size of matrices have it, received bytes at
a bandwidth, messages at a latency each, and the field of Poisson, of which each rank computes its share of the
positions, at a rate of flops. It knows nothing of contention, of other jobs, or of where ranks are.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import limitpde
from limitpde import coagulation, signed, vlasov
from limitpde.fem.mesh import Box, Disk
from limitpde.vlasov.pde import cells_moved
from limitpde.vlasov.phase_space import Axis
from limitpde.vlasov.phase_space.grid import cuts_of, parts_of, received

LENGTH, SPEED, STEP = 4 * math.pi, 6.0, 0.1
BANDWIDTH, LATENCY, FLOPS = 1e9, 2e-6, 2e10
"""Of a rank: bytes a second and seconds a message between nodes, and flops of products of matrices. Assumed."""


class Counting:
    """A communicator that counts what it is asked to receive."""

    def __init__(self, comm: MPI.Comm) -> None:
        self._comm, self.bytes, self.messages = comm, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def Irecv(self, values: np.ndarray, source: int) -> MPI.Request:  # noqa: N802 - as mpi4py calls it
        """Count, and receive."""
        self.bytes += values.nbytes
        self.messages += 1
        return self._comm.Irecv(values, source)

    def Allgatherv(self, mine: np.ndarray, whole: Any) -> None:  # noqa: N802 - as mpi4py calls it
        """Count what comes from others, and gather."""
        self.bytes += whole[0].nbytes - mine.nbytes
        self.messages += 1
        self._comm.Allgatherv(mine, whole)

    def Allreduce(self, mine: np.ndarray, total: np.ndarray) -> None:  # noqa: N802 - as mpi4py calls it
        """Count the result, and sum."""
        self.bytes += total.nbytes
        self.messages += 1
        self._comm.Allreduce(mine, total)


def axes_of(cells: Sequence[int], degree: int) -> tuple[list[Axis], list[Axis]]:
    """x axes and v axes of Landau damping."""
    d = len(cells) // 2
    return (
        [Axis(low=0.0, high=LENGTH, cells=n, degree=degree, periodic=True) for n in cells[:d]],
        [Axis(low=-SPEED, high=SPEED, cells=n, degree=degree, periodic=False) for n in cells[d:]],
    )


@dataclass(frozen=True)
class Model:
    """What a Vlasov step of order 2 should take on so many ranks."""

    cells: tuple[int, ...]
    degree: int
    ranks: int
    speed: float
    """Values a second of one rank."""

    @property
    def parts(self) -> tuple[int, ...]:
        """Of each axis, as the solver chooses them."""
        return parts_of(self.cells, self.ranks, len(self.cells) // 2, self.sweeps)

    @property
    def sweeps(self) -> list[np.ndarray]:
        """Cells by which lines are moved."""
        return cells_moved(*axes_of(self.cells, self.degree), STEP, 2)

    @property
    def values(self) -> int:
        """Of the largest part."""
        P = self.degree + 1
        return math.prod(-(-n // p) * P for n, p in zip(self.cells, self.parts, strict=True))

    @property
    def bytes(self) -> float:
        """That a rank receives in a step, sums over v of parts of v not counted."""
        rows = zip(self.cells, self.parts, self.sweeps, strict=True)
        return 8 * self.values * sum(received(n, p, sweeps) for n, p, sweeps in rows)

    @property
    def messages(self) -> int:
        """From all parts that are in reach in both directions, in each sweep along an axis that is cut."""
        rows = zip(self.cells, self.parts, self.sweeps, strict=True)
        return sum(
            min(p - 1, 2 * math.ceil((min(sweep.max(), n // p) + 1) / -(-n // p)))
            for n, p, sweeps in rows
            for sweep in sweeps
        )

    @property
    def memory(self) -> float:
        """Bytes of a rank: f, what a sweep needs besides, fields and moves of its nodes of x, matrices of the field."""
        d, P = len(self.cells) // 2, self.degree + 1
        matrices = sum(16 * (n * P) ** 2 for n in self.cells[:d]) if d > 1 else 0
        return 8 * 1.2 * self.values + (8 * 20 + 32 * d * P**2) * math.prod(self.block) + matrices

    @property
    def block(self) -> tuple[int, ...]:
        """Nodes of x of the largest part, along each axis."""
        d = len(self.cells) // 2
        return tuple(-(-n // p) * (self.degree + 1) for n, p in zip(self.cells[:d], self.parts[:d], strict=True))

    @property
    def cuts(self) -> tuple[int, ...]:
        """Of such a block for the field, along each axis, by the ranks that have it."""
        return cuts_of([n // (self.degree + 1) for n in self.block], math.prod(self.parts[len(self.block) :]))

    @property
    def share(self) -> tuple[int, ...]:
        """Nodes of x for which a rank computes the field, along each axis."""
        P = self.degree + 1
        return tuple(-(-n // P // cut) * P for n, cut in zip(self.block, self.cuts, strict=True))

    @property
    def field(self) -> tuple[float, float, float]:
        """Of Poisson in d = 2, 3: multiplications and additions of a rank, bytes that it receives, messages."""
        d, mine, blocks = len(self.block), math.prod(self.share), math.prod(self.cuts)
        lines = [n * (self.degree + 1) for n in self.cells[:d]]
        rows = [j + 1 + 1 + d for j in range(d)]  # functions gathered along axis j, on the way to the modes and back
        flops = sum((row + 2) * 2 * n * mine for row, n in zip(rows, lines, strict=True))
        ranks = [p * cut for p, cut in zip(self.parts, self.cuts, strict=False)]
        least = [n // number * (self.degree + 1) for n, number in zip(self.cells, ranks, strict=False)]
        places = zip(rows, self.share, lines, least, strict=True)
        gathered = sum(row * mine // own * (n - few) for row, own, n, few in places)
        messages = sum(2 * math.log2(number) for number in ranks) + 3 * math.log2(blocks)
        if blocks > 1:
            gathered += math.prod(self.block) + d * (math.prod(self.block) - mine)  # rho, and the force
        return flops, 8 * gathered, messages

    @property
    def seconds(self) -> dict[str, float]:
        """Of a step, part by part."""
        flops, gathered, messages = self.field
        return {
            "sweeps": self.values / self.speed,
            "halo": self.bytes / BANDWIDTH + self.messages * LATENCY,
            "field": flops / FLOPS + gathered / BANDWIDTH + messages * LATENCY,
        }


def vlasov_solver(comm: MPI.Comm, cells: Sequence[int], degree: int = 3) -> Any:
    """Linear Landau damping."""
    d = len(cells) // 2
    domain = {"x": (0.0, LENGTH), "v": (-SPEED, SPEED)}
    model = vlasov.Model(dimension=d, potential={"kind": "poisson"}, domain=domain)
    initial = vlasov.Landau(k=0.5, amplitude=0.05, mass=LENGTH**d)
    return vlasov.Solver(model, initial, cells=cells, degree=degree, step=STEP, order=2, comm=comm)


def signed_solver(comm: MPI.Comm, cell_size: float) -> Any:
    """Two clouds of opposite sign."""
    clouds = [{"center": (x, 0), "mass": 0.5, "width": 0.6} for x in (-1, 1)]
    initial = signed.Initial(positive=clouds[:1], negative=clouds[1:])
    mesh, model = Disk(radius=8.0, cell_size=cell_size), signed.Model(sigma=1.0, gamma_bar=0.4)
    return signed.Solver(model, initial, mesh=mesh, step=0.005, degree=1, comm=comm)


def coagulation_solver(comm: MPI.Comm, cell_size: float) -> Any:
    """A cloud in a box, 32 masses."""
    model = coagulation.Model(dimension=2, diffusion={"power": -1 / 3}, beta={"kernel": "additive"}, n_max=32)
    cloud = {"n": 1, "shape": "gaussian", "mass": 1.0, "center": (0.5, 0.5), "width": 0.15}
    mesh = Box(size=1.0, cell_size=cell_size)
    return coagulation.Solver(model, coagulation.Initial(masses=[cloud]), mesh=mesh, step=0.005, comm=comm)


def resident() -> float:
    """MB of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024
    return math.nan


def measured(world: MPI.Comm, title: str, make: Callable[[MPI.Comm], Any], dt: float, rounds: int) -> dict[int, float]:
    """Print seconds a step, memory and traffic of a problem on 1, 2, 4, ... ranks; the seconds. Collective."""
    numbers = sorted({2**k for k in range(world.size.bit_length()) if 2**k <= world.size} | {world.size})
    comms = {n: world.Split(0 if world.rank < n else MPI.UNDEFINED, world.rank) for n in numbers}
    solvers, memory, shortest = {}, {}, dict.fromkeys(numbers, math.inf)
    for n, comm in comms.items():
        if comm != MPI.COMM_NULL:
            before = resident()
            solvers[n] = make(comm)
            solvers[n].step(dt)
            memory[n] = comm.allreduce(resident() - before, op=MPI.MAX)
        world.barrier()
    for _ in range(rounds):
        for n, comm in comms.items():
            if comm != MPI.COMM_NULL:
                comm.barrier()
                began = time.perf_counter()
                solvers[n].step(dt)
                comm.barrier()
                shortest[n] = min(shortest[n], time.perf_counter() - began)
            world.barrier()
    for n, comm in comms.items():
        if world.rank == 0:
            speedup = shortest[numbers[0]] / shortest[n]
            print(
                f"  {title}: {n} ranks, {solvers[n].dofs} unknowns: {shortest[n]:.4f} s a step, speed-up "
                f"{speedup:.2f}, {memory[n]:.0f} MB a rank",
                flush=True,
            )
        if comm != MPI.COMM_NULL:
            traffic(comm, solvers[n])
            del solvers[n]
            comm.Free()
    return shortest


def traffic(comm: MPI.Comm, solver: Any) -> None:
    """Print what ranks receive in a Vlasov step, counted and by the model. Collective."""
    if not hasattr(solver.space if hasattr(solver, "space") else None, "grid") or comm.size == 1:
        return
    space, share = solver.space, solver.field.share
    grid, rows, beside = space.grid, list(share.rows), space.grid.v_comm
    counted = np.zeros((2, 4))
    for row, steps in enumerate((2, 3)):
        halo, *field = [Counting(part) for part in (comm, beside, *rows)]
        grid.comm, grid.v_comm, share.rows[:] = halo, field[0], field[1:]
        solver.advance(STEP, steps)
        counted[row] = (
            halo.bytes,
            halo.messages,
            *(sum(getattr(c, name) for c in field) for name in ("bytes", "messages")),
        )
    grid.comm, grid.v_comm, share.rows[:] = comm, beside, rows
    most = np.empty(4)
    comm.Allreduce(counted[1] - counted[0], most, op=MPI.MAX)
    model = Model(tuple(axis.cells for axis in (*space.x_axes, *space.v_axes)), space.degree, comm.size, 1.0)
    if comm.rank == 0:
        print(
            f"    parts {grid.parts}: received {most[0] / 1e6:.2f} MB in {most[1]:.0f} messages a step; by the model "
            f"{model.bytes / 1e6:.2f} MB in {model.messages}\n    field: {most[2] / 1e6:.4f} MB in {most[3]:.0f} "
            f"calls; by the model {model.field[1] / 1e6:.4f} MB"
        )


def predict(speed: float) -> None:
    """Print the model for 128 and 4,096 ranks."""
    assumed = f"{BANDWIDTH / 1e9:g} GB/s, {LATENCY * 1e6:g} us, {FLOPS / 1e9:g} Gflop/s"
    print(f"\nModel: {speed / 1e6:.0f} Mvalues/s in 2D2V of degree 3 on one rank; {assumed} assumed")
    print("| cells, degree | ranks | parts | values | GiB a rank | MB received | messages | s a step | efficiency |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cells, degree in (((64,) * 4, 3), ((128,) * 4, 3), ((32,) * 6, 2)):
        for ranks in (128, 4096):
            model = Model(cells, degree, ranks, speed * 16 / (len(cells) * (degree + 1)))
            seconds, ideal = (
                sum(model.seconds.values()),
                math.prod(n * (degree + 1) for n in cells) / ranks / model.speed,
            )
            print(
                f"| {cells[0]}^{len(cells)}, {degree} | {ranks} | {model.parts} | {model.values:.3g} | "
                f"{model.memory / 2**30:.3g} | {model.bytes / 1e6:.3g} | {model.messages} | {seconds:.3g} | "
                f"{ideal / seconds:.0%} |"
            )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small problems")
    parser.add_argument("--part", choices=("vlasov", "signed", "coagulation", "model"), action="append")
    parser.add_argument("--speed", type=float, help="of one rank, values a second in 2D2V of degree 3, for the model")
    given, world = parser.parse_args(), MPI.COMM_WORLD
    wanted, rounds = given.part or ["vlasov", "signed", "coagulation", "model"], 3 if given.quick else 10
    if world.rank == 0:
        print(f"limitpde {limitpde.__version__}, {world.size} ranks, one thread each")
    speed = given.speed or 80e6
    if "vlasov" in wanted:
        c = 4 if given.quick else 12
        found = measured(world, "Vlasov 2D2V", lambda comm: vlasov_solver(comm, (c,) * 4), STEP, rounds)
        measured(world, "Vlasov 2D2V, weak", lambda comm: vlasov_solver(comm, (c * comm.size, c, c, c)), STEP, rounds)
        speed = given.speed or (4 * c) ** 4 / found[1]
    if "signed" in wanted:
        size = 0.5 if given.quick else 0.11
        measured(world, "signed", lambda comm: signed_solver(comm, size), 0.005, rounds)
    if "coagulation" in wanted:
        size = 0.1 if given.quick else 0.01
        measured(world, "coagulation", lambda comm: coagulation_solver(comm, size), 0.005, rounds)
    if "model" in wanted and world.rank == 0:
        predict(speed)


if __name__ == "__main__":
    main()
