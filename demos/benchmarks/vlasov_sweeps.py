"""Sweeps through phase space against the machine's copy bandwidth, and whole steps. Prints a table, writes nothing.

Run: python demos/benchmarks/vlasov_sweeps.py      (half a minute)

One thread, then all; best of several timings.

A sweep moves f along one coordinate, in place: it reads and writes each value once, 16 bytes, as does a copy from one
array to another. So the limit of each case is the speed of such a copy of as many numbers by as many threads, measured
in the same run. (A copy that does not pass by the caches reads its target too, which a sweep need not: then a sweep
could be faster than the limit.) The four kinds of sweep differ in what lies side by side in memory:

    x_1  of 2D2V: velocities v_2 of one v_1, all moved alike;      x_d: velocities v_d, each moved by itself;
    v_1  of 2D2V: velocities v_2 at one x, all moved alike;        v_d: the line itself.

A Strang step through `Solver.advance` has 2 d sweeps, as the ends of adjoining drifts are merged, and d more in the
first; its limit counts these alone, not the sum over velocities and the field that the force needs.
"""

import os
import time
from collections.abc import Callable

import numba
import numpy as np
from mpi4py import MPI

from limitpde.nbody.threads import use_threads
from limitpde.vlasov import Landau, Model, Solver
from limitpde.vlasov.phase_space import TensorSpace, kernels
from limitpde.vlasov.phase_space.lines import drift_lines, kick_lines
from limitpde.vlasov.phase_space.tensor import WIDEST
from limitpde.vlasov.phase_space.translation import moves

CASES = {"1D1V, 256 x 512 cells": (1, (256, 512)), "2D2V, 16^4 cells": (2, (16, 16))}
DEGREE, STEP, STEPS = 3, 0.05, 5
BYTES = 16
"""Of a number that is read and written."""


def best(run: Callable[[], object], seconds: float = 1.0) -> float:
    """Shortest of the timings that fit into `seconds` (at least three, after a first one that does not count)."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@numba.njit(parallel=True)
def copy(source: np.ndarray, target: np.ndarray) -> None:
    """Copy an array with all threads."""
    for i in numba.prange(len(source)):
        target[i] = source[i]


def sweep(space: TensorSpace, f: np.ndarray, which: int) -> None:
    """Move f (*x_shape, *v_shape) along one of the 2 d coordinates, by a STEP of free flight or of a smooth force."""
    d, axis, flat = space.d, (*space.x_axes, *space.v_axes)[which], f.reshape(-1)
    if which < d:
        lines = drift_lines(f.shape, which, axis.P, moves(axis, space.v_nodes[which] * STEP), WIDEST)
    else:
        force = np.sin(space.x_points[..., which - d]).ravel()
        lines = kick_lines(f.shape, which - d, axis.P, moves(axis, force * STEP))
    kernels.move(flat, lines, which, axis, space.grid)


def measure(case: str, solver: Solver, threads: int) -> None:
    """Print the speeds of one case."""
    numba.set_num_threads(threads)
    space, d = solver.space, solver.space.d
    f, other = np.random.default_rng(1).random(space.shape), np.empty(space.shape)
    million = f.size / 1e6
    limit = million / best(lambda: copy(f.reshape(-1), other.reshape(-1)))
    print(
        f"{case}, degree {DEGREE}: {million:.1f} Mdof; threads {threads}, load {os.getloadavg()[0]:.1f}: "
        f"copy {limit * BYTES / 1e3:.1f} GB/s, limit {limit:.0f} Mdof/s"
    )
    for which in range(2 * d):
        rate = million / best(lambda which=which: sweep(space, f, which))
        name = f"{'xv'[which // d]}_{which % d + 1}"
        print(f"  sweep along {name:14} {rate:8.0f} Mdof/s       {rate / limit:5.0%} of the limit")
    rate = STEPS * million / best(lambda: solver.advance(STEP, STEPS))
    sweeps = 2 * d + d / STEPS
    print(f"  Strang steps, {STEPS} at a time {rate:5.0f} Mdof.steps/s {rate * sweeps / limit:5.0%} of the limit")


def main() -> None:
    """Measures and prints."""
    most, length = use_threads(MPI.COMM_WORLD), 4 * np.pi
    print(f"cores {len(os.sched_getaffinity(0))}, threads at most {most}")
    for case, (d, cells) in CASES.items():
        model = Model(dimension=d, domain={"x": (0.0, length), "v": (-6.0, 6.0)})
        initial = Landau(k=0.5, amplitude=0.1, mass=length**d)
        solver = Solver(model, initial, cells=cells, degree=DEGREE, step=STEP, order=2)
        for threads in sorted({1, most}):
            measure(case, solver, threads)


if __name__ == "__main__":
    main()
