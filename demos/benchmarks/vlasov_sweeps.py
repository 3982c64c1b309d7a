"""Sweeps through phase space against the machine's copy bandwidth, and whole steps, in one run.

A sweep reads and writes each of the values of f once: it can be as fast as copying an array of 8-byte numbers. A Strang
step has 2 d sweeps, as the ends of adjoining drifts are merged, and one sum over velocities for the force.

Run: python demos/benchmarks/vlasov_sweeps.py   (half a minute; one thread, then all)
"""

import os
import time
from collections.abc import Callable

import numba
import numpy as np

from limitpde.vlasov import Landau, Model, Solver

CASES = {"1D1V, 256 x 512 cells": (1, (256, 512)), "2D2V, 12^4 cells": (2, (12, 12))}
REPEATS, STEPS = 7, 5


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls, after one that is not counted."""
    work()
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


@numba.njit(parallel=True)
def copy(source: np.ndarray, target: np.ndarray) -> None:
    """Copy an array with all threads."""
    for i in numba.prange(len(source)):
        target[i] = source[i]


def measure(name: str, dimension: int, cells: tuple[int, int], threads: int) -> None:
    """Print the speeds of one case with so many threads."""
    length = 4 * np.pi
    model = Model(dimension=dimension, domain={"x": (0.0, length), "v": (-6.0, 6.0)})
    initial = Landau(k=0.5, amplitude=0.1, mass=length**dimension)
    solver = Solver(model, initial, cells=cells, degree=3, step=0.05, order=2)
    numba.set_num_threads(threads)
    space, f = solver.space, solver.space.array(1)
    space.fill(f, lambda z: np.exp(-(z[:, dimension:] ** 2).sum(axis=1)))
    force = 0.1 * np.ones((dimension, *space.x_shape))
    other = np.empty_like(f)
    limit = f.size / best(lambda: copy(f.reshape(-1), other.reshape(-1))) / 1e6
    drift = dimension * f.size / best(lambda: space.drift(f, 0.05)) / 1e6
    kick = dimension * f.size / best(lambda: space.kick(f, force, 0.05)) / 1e6
    steps = STEPS * f.size / best(lambda: solver.advance(0.05, STEPS)) / 1e6
    row = f"copy {limit:.0f}, drift {drift:.0f} ({drift / limit:.0%}), kick {kick:.0f} ({kick / limit:.0%})"
    share = steps * 2 * dimension / limit
    print(f"{name}: {row} Mdof/s a sweep; Strang {steps:.0f} Mdof.steps/s, {share:.0%} of the limit of its sweeps")


if __name__ == "__main__":
    most = numba.get_num_threads()
    for threads in sorted({1, most}):
        print(f"{threads} threads, load {os.getloadavg()[0]:.1f}")
        for case, (dimension, cells) in CASES.items():
            measure(case, dimension, cells, threads)
