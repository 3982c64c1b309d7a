"""Throughput of the direct pair sum against numpy and against what this machine can do. Prints a table, writes nothing.

Run: python demos/benchmarks/pairs.py        (under a minute; best of several timings; ordered pairs R N^2 are counted)

The limit is measured in the same run, per thread count. Two registers full of unordered pairs (four of ordered ones)
need 17 multiplications or fused multiply-adds (4 for the squared distances; 5 for both reciprocals, with the targets'
charges, out of one quotient; 4 for the forces on the targets; 4 for those on the sources) and one division. The two
kinds run side by side, so that the time per ordered pair is at least

    max( 17 / 4 / P , 1 / 4 / D ),     P = fused multiply-adds per second,  D = divisions per second.

Subtractions, the maximum, loads and stores are not counted: the throughput cannot exceed the limit.
"""

import os
import time
from collections.abc import Callable

import numba
import numpy as np
from mpi4py import MPI
from numba import njit, prange

from limitpde.nbody.pairs import pair_interactions, pair_sum
from limitpde.nbody.threads import use_threads

FMA_PER_TWO, DIV_PER_TWO, ORDERED_PER_TWO = 17, 1, 4
EPS = 1e-3


@njit(parallel=True, fastmath={"contract"}, error_model="numpy")
def multiply_adds(tasks, turns, a, c, out):
    """16 chains of 8 lanes of v = v a + c per task: enough to hide the latency, few enough to stay in registers."""
    for task in prange(tasks):
        v = np.zeros(128)
        for _ in range(turns):
            for k in range(128):
                v[k] = v[k] * a + c
        out[task] = v.sum()


@njit(parallel=True, error_model="numpy")
def divisions(tasks, turns, a, out):
    """Divisions of vectors that lie in the first cache, none waiting for another."""
    for task in prange(tasks):
        v = np.full(512, 1.5)
        w = np.empty(512)
        for t in range(turns):
            s = a + t
            for k in range(512):
                w[k] = s / v[k]
        out[task] = w.sum()


def best(run: Callable[[], object], seconds: float = 0.5) -> float:
    """Shortest of the timings that fit into `seconds` (at least three, after a first one that does not count)."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def limits(threads: int) -> tuple[float, float]:
    """Fused multiply-adds and divisions per second on `threads` threads."""
    tasks, turns, out = 8 * threads, 20_000, np.empty(8 * threads)
    fma = 128 * tasks * turns / best(lambda: multiply_adds(tasks, turns, 0.5, 1.0, out))
    div = 512 * tasks * 2000 / best(lambda: divisions(tasks, 2000, 1.0, out))
    return fma, div


def numpy_sum(x: np.ndarray, y: np.ndarray, b: np.ndarray, rows: int = 256) -> None:
    """The same sum by numpy broadcasting, `rows` targets at a time: what one writes without a compiler."""
    for r in range(len(x)):
        for i in range(0, x.shape[1], rows):
            d, e = x[r, i : i + rows, None] - x[r], y[r, i : i + rows, None] - y[r]
            w = b[i : i + rows, None] * b / np.maximum(d * d + e * e, EPS**2)
            (w * d).sum(1)
            (w * e).sum(1)


def main() -> None:
    """Measures and prints."""
    most = min(2, use_threads(MPI.COMM_WORLD))
    print(
        f"cores {len(os.sched_getaffinity(0))}, load {os.getloadavg()[0]:.1f}; Gpair/s = 1e9 ordered pairs per second"
    )
    bound = {}
    for threads in range(1, most + 1):
        numba.set_num_threads(threads)
        fma, div = limits(threads)
        bound[threads] = min(ORDERED_PER_TWO / FMA_PER_TWO * fma, ORDERED_PER_TWO / DIV_PER_TWO * div)
        print(
            f"threads {threads}: {fma / 1e9:.1f} G fma/s, {div / 1e9:.2f} G div/s: "
            f"limit {bound[threads] / 1e9:.2f} Gpair/s"
        )
    print(f"{'R':>4} {'N':>6} {'threads':>8} {'ms':>9} {'Gpair/s':>8} {'of limit':>9} {'numpy':>7} {'x numpy':>8}")
    for R, N in ((200, 64), (16, 1024), (1, 4096), (1, 16384)):
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(2, R, N))
        b = np.where(rng.random(N) < 0.5, 1.0, -1.0)
        fx, fy = np.empty_like(x), np.empty_like(x)
        pairs = pair_interactions(R, N)
        peer = pairs / best(lambda x=x, y=y, b=b: numpy_sum(x, y, b), 0.0)
        for threads in bound:
            numba.set_num_threads(threads)
            t = best(lambda x=x, y=y, b=b, fx=fx, fy=fy: pair_sum(x, y, b, fx, fy, eps=EPS, kernel="capped"), 1.0)
            rate = pairs / t
            print(
                f"{R:4d} {N:6d} {threads:8d} {t * 1e3:9.3f} {rate / 1e9:8.2f} {rate / bound[threads]:9.0%} "
                f"{peer / 1e9:7.3f} {rate / peer:8.0f}"
            )


if __name__ == "__main__":
    main()
