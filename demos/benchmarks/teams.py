"""What a step of one large replica costs where several ranks share it (`particles.ranks_per_replica`). Prints.

Run: OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 mpiexec -n P python demos/benchmarks/teams.py [--quick] [--million [METHOD]]

Signed charges: all pairs for N = 20,000, the multipole method and random batches for N = 100,000; coagulating particles
that annihilate on the unit torus (d = 3), N = 100,000, by both methods; one rank alone, then all P. Processor
seconds a step are those outside of calls of MPI, of the rank that has most, so that they count on a machine that does
something else, too, where ranks mostly wait for each other; in the calls they copy and wait. Bytes are what a rank
receives in a step; memory is by how much the largest rank has grown in the shared run, after a small one that reads
the code: ask for a million particles (charges by multipoles or batches, coagulating ones) to see what a particle takes.
"""

import argparse
import resource
import time
from typing import Any

import numpy as np
from mpi4py import MPI

import limitpde  # noqa: F401
from limitpde import coagulation
from limitpde.densities import Gaussian
from limitpde.domains import Domain
from limitpde.nbody.replicas import Controls
from limitpde.signed import Initial, Model, simulate

PART = Gaussian(mass=0.5, center=(0.0, 0.0), width=1.0)
CHARGES = Initial(positive=(PART,), negative=(PART,))


class Watched:
    """A communicator that knows how long its calls took, and what they brought."""

    seconds = 0.0
    received = 0

    def __init__(self, comm: MPI.Comm) -> None:
        self._comm = comm

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._comm, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            answer = found(*arguments, **options)
            Watched.seconds += time.process_time() - began
            if name in ("Allgatherv", "Alltoallv"):
                Watched.received += arguments[1][0].nbytes
            elif name == "Bcast":
                Watched.received += arguments[0].nbytes
            return Watched(answer) if isinstance(answer, MPI.Intracomm) else answer

        return call


def measured(comm: MPI.Comm, method: str, count: int, steps: int) -> tuple[float, float]:
    """Processor seconds a step outside of MPI, of the rank that has most, and bytes received in a step."""
    seen: list[tuple[float, int]] = []
    watch = Controls(
        comm=Watched(comm),  # type: ignore[arg-type]
        ranks_per_replica=comm.size,
        stop_asked=lambda: seen.append((time.process_time() - Watched.seconds, Watched.received)) is not None,
    )
    if method in ("closed", "micro"):
        ball = {"shape": "ball", "alpha": 20.0}
        pairs = coagulation.Model(diffusion=[1.0], interaction=ball, n_max=1, reaction="annihilation")
        ones = coagulation.Initial(masses=[{"n": 1, "shape": "uniform", "mass": 1.0}])
        end, torus = steps * 0.0143 * count ** (-2 / 3), Domain.torus(np.ones(3))  # the longest step for this density
        coagulation.simulate(pairs, ones, count=count, replicas=1, end=end, domain=torus, method=method, controls=watch)
    else:
        model = Model(sigma=1.0, gamma_bar=1.0)
        options: dict[str, Any] = {"method": method, "pairs": "euler", "step": 1e-3, "end": steps * 1e-3}
        simulate(model, CHARGES, count=count, replicas=1, controls=watch, **options)
    (first, before), (last, after), made = seen[1], seen[-1], len(seen) - 2  # without the first, which loads code
    return comm.allreduce(last - first, op=MPI.MAX) / made, (after - before) / made


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer particles, two steps")
    parser.add_argument(
        "--million", nargs="?", const="fast", choices=["fast", "batches", "closed"], help="a million particles"
    )
    asked, world = parser.parse_args(), MPI.COMM_WORLD
    quick, runs = asked.quick, [("direct", 20_000, 12), ("fast", 100_000, 12), ("batches", 100_000, 40)]
    runs += [("closed", 100_000, 100), ("micro", 100_000, 100)]
    for method, count, steps in [(asked.million, 1_000_000, 3)] if asked.million else runs:
        count, steps = (2000, 3) if quick else (count, steps)
        measured(world, method, 2000 * world.size, 3)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        shared, received = measured(world, method, count, steps)
        grown = world.allreduce(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, op=MPI.MAX) / 1024
        alone = measured(MPI.COMM_SELF, method, count, steps)[0] if world.rank == 0 else 0.0
        world.barrier()
        if world.rank == 0:
            print(
                f"{method:8} N = {count:7,}  1 rank {alone:.4f} s  {world.size} ranks {shared:.4f} s  speed-up "
                f"{alone / shared:.2f}  received {received / 1e6:.2f} MB a step  grown by {grown:.0f} MiB, "
                f"{grown * 2**20 / count:.0f} bytes a particle",
                flush=True,
            )


if __name__ == "__main__":
    main()
