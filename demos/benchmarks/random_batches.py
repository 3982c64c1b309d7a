"""Random batches against the fast pair sum: seconds of a force and of a step, and what batches add to the diffusivity.

The charges of a dipole, N / 2 of each sign: Gaussians of width 0.55 at (-1, 0) and (1, 0), sigma = 1, gamma_bar = 0.4,
steps of 0.005, the default cap. Seconds of a force: the best of three. Of a step: without test functions (with them the
sum of all pairs is made beside that of the batches), from runs of 2 and of 12 steps. The extra diffusivity is that of
`limitpde.nbody.random_batches`, relative to sigma^2 / 2.

Run: python demos/benchmarks/random_batches.py      (a minute; 0.5 GB)
"""

import os
import time

import numpy as np
from fast_sum import seconds
from mpi4py import MPI

from limitpde.nbody.fast_sum import fast_pair_sum
from limitpde.nbody.random_batches import batch_pair_sum, batch_variance, strongest
from limitpde.nbody.replicas import Controls
from limitpde.signed import Initial, Model, simulate

COUNTS = (10_000, 100_000, 1_000_000)
SIZES = (2, 8, 32, 128)
ACCURACIES = (1e-3, 1e-6)
MODEL, STEP = Model(sigma=1.0, gamma_bar=0.4), 0.005
WIDTH = 0.55
INITIAL = Initial(
    positive=[{"mass": 0.5, "center": (-1.0, 0.0), "width": WIDTH}],
    negative=[{"mass": 0.5, "center": (1.0, 0.0), "width": WIDTH}],
)
ONE = np.zeros(1, dtype=np.int64)


def dipole(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (2, 1, N) and charges (N,)."""
    b = np.repeat([1.0, -1.0], count // 2)
    points = np.random.default_rng(0).normal(0.0, WIDTH, (2, 1, count))
    points[0] -= b
    return points, b


def cap(count: int, size: int) -> float:
    """The default eps of `simulate`."""
    return float(np.sqrt(2 * strongest(count, size) * MODEL.pair_strength(count) * STEP))


def forces(count: int) -> list[float]:
    """Seconds of a force: batches of each size, then the fast sum to each accuracy."""
    (x, y), b = dipole(count)
    fx, fy = np.empty((2, 1, count))
    found = [
        seconds(
            lambda size=size: batch_pair_sum(
                x, y, b, fx, fy, eps=cap(count, size), kernel="capped", size=size, seed=0, replicas=ONE, step=0
            )
        )
        for size in SIZES
    ]
    for accuracy in ACCURACIES:
        eps = cap(count, count)
        found.append(
            seconds(lambda a=accuracy, eps=eps: fast_pair_sum(x, y, b, fx, fy, eps=eps, kernel="capped", accuracy=a))
        )
    return found


def seconds_of_a_step(count: int, **options: object) -> float:
    """From runs of 2 and of 12 steps, after one of 2."""
    times = []
    for steps in (2, 2, 12):
        start = time.perf_counter()
        simulate(
            MODEL,
            INITIAL,
            count=count,
            replicas=1,
            step=STEP,
            end=steps * STEP,
            controls=Controls(comm=MPI.COMM_SELF),
            **options,
        )
        times.append(time.perf_counter() - start)
    return (times[-1] - times[-2]) / 10


def extra_diffusivity(count: int, size: int) -> float:
    """dt / 4 times the mean variance of the drift, over sigma^2 / 2."""
    (x, y), b = dipole(count)
    variance = batch_variance(
        x, y, b, eps=cap(count, size), kernel="capped", size=size, sample=1000, seed=0, replicas=ONE, step=0
    )
    return float(STEP / 4 * MODEL.pair_strength(count) ** 2 * variance[0] / (MODEL.sigma**2 / 2))


def row(*cells: object) -> None:
    """Prints one."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    """Measures and prints."""
    print(f"load {os.getloadavg()[0]:.1f}, cores {len(os.sched_getaffinity(0))}\n")
    fast = [f"fast, {accuracy:g}" for accuracy in ACCURACIES]
    row("seconds of a force, N", *(f"p = {size}" for size in SIZES), *fast)
    print("|---" * (1 + len(SIZES) + len(ACCURACIES)) + "|")
    for count in COUNTS:
        row(f"{count:,}", *(f"{time:.4f}" for time in forces(count)))
    print()
    row("seconds of a step, N", "p = 2", "p = 32", *fast)
    print("|---" * 5 + "|")
    for count in COUNTS:
        some = [{"method": "batches", "batch_size": size} for size in (2, 32)]
        all_pairs = [{"method": "fast", "accuracy": accuracy, "pairs": "euler"} for accuracy in ACCURACIES]
        row(f"{count:,}", *(f"{seconds_of_a_step(count, **options):.4f}" for options in some + all_pairs))
    print()
    row("extra diffusivity, N", *(f"p = {size}" for size in SIZES))
    print("|---" * (1 + len(SIZES)) + "|")
    for count in COUNTS[:2]:
        row(f"{count:,}", *(f"{100 * extra_diffusivity(count, size):.3g} %" for size in SIZES))


if __name__ == "__main__":
    main()
