"""The fast pair sum against the direct one: error, crossover, cost. Prints two tables, writes nothing.

Signed charges, the capped kernel with a tiny eps. Error: of all forces against the direct sum, relative in l2. Seconds:
the best of three runs on all threads. The direct sum itself is measured against the machine in `pairs.py`.

Run: python demos/benchmarks/fast_sum.py      (half a minute; 0.4 GB)
"""

import os
import time
from collections.abc import Callable

import numpy as np

from limitpde.nbody.fast_sum import fast_pair_sum
from limitpde.nbody.pairs import pair_sum

ACCURACIES = (1e-3, 1e-6, 1e-12)
COUNTS = (2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000)
LARGEST_DIRECT = 100_000
EPS = 1e-9
RANDOM = np.random.default_rng(0)


def seconds(run: Callable[[], object]) -> float:
    """The best of three runs after a first one."""
    run()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def clouds(n: int) -> dict[str, np.ndarray]:
    """Positions (2, 1, n) and what they are called."""
    i, side = np.arange(n), int(np.sqrt(n)) + 1
    blobs = np.concatenate([RANDOM.normal(0, 1e-4, (n // 2, 2)), RANDOM.normal(5, 1e-3, (n - n // 2, 2))])
    return {
        "uniform": RANDOM.random((2, 1, n)),
        "two tight clusters": blobs.T[:, None].copy(),
        "lattice, alternating": np.array([[i % side], [i // side]]).astype(float),
    }


def main() -> None:
    """Measures and prints."""
    print(f"load {os.getloadavg()[0]:.1f}, cores {len(os.sched_getaffinity(0))}\n")
    print("| 50,000 charges | " + " | ".join(f"error at {accuracy:g}" for accuracy in ACCURACIES) + " |")
    print("|---" * (1 + len(ACCURACIES)) + "|")
    n = 50_000
    for name, points in clouds(n).items():
        b = np.where((np.arange(n) + np.arange(n) // (int(np.sqrt(n)) + 1)) % 2, 1.0, -1.0)
        exact, found = np.empty((2, *points.shape))
        pair_sum(*points, b, *exact, eps=EPS, kernel="capped")
        errors = []
        for accuracy in ACCURACIES:
            fast_pair_sum(*points, b, *found, eps=EPS, kernel="capped", accuracy=accuracy)
            errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
        print(f"| {name} | " + " | ".join(f"{error:.1e}" for error in errors) + " |")
    print("\n| N, uniform | direct | " + " | ".join(f"fast, {accuracy:g}" for accuracy in ACCURACIES) + " |")
    print("|---" * (2 + len(ACCURACIES)) + "|")
    fast: dict[int, list[float]] = {}
    for n in COUNTS:
        points, b = RANDOM.random((2, 1, n)), np.where(RANDOM.random(n) < 0.5, 1.0, -1.0)
        found = np.empty_like(points)
        direct = ""
        if n <= LARGEST_DIRECT:
            direct = f"{seconds(lambda p=points, f=found, b=b: pair_sum(*p, b, *f, eps=EPS, kernel='capped')):.4f}"
        fast[n] = [
            seconds(
                lambda p=points, f=found, b=b, a=accuracy: fast_pair_sum(
                    *p, b, *f, eps=EPS, kernel="capped", accuracy=a
                )
            )
            for accuracy in ACCURACIES
        ]
        print(f"| {n} | {direct} | " + " | ".join(f"{time:.4f}" for time in fast[n]) + " |", flush=True)
    slope = np.log(fast[1_000_000][1] / fast[10_000][1]) / np.log(100)
    print(f"\nseconds at {ACCURACIES[1]:g} from 1e4 to 1e6: N^{slope:.2f}")


if __name__ == "__main__":
    main()
