"""The collision operator: seconds a node against numpy, and logarithmic bins against the exact solution.

The first table times one step of the reaction at a node, additive kernel, M masses (two stages of the modified Patankar
scheme), and two evaluations of the collision operator (1.3)-(1.4) written with numpy, which an explicit scheme of order
two needs. The second takes the constant kernel until the mean mass is 10^6 (the test that DustPy comes with): errors of
the number of particles and of the second moment on so many bins per decade.

Run: python demos/benchmarks/coagulation_reaction.py
"""

import os
import time

import numpy as np

from limitpde.coagulation import Model, exact
from limitpde.coagulation.rates import propensity
from limitpde.coagulation.reaction.bins import Bins, MassGrid
from limitpde.coagulation.reaction.operator import Reaction


def numpy_operator(beta: np.ndarray, f: np.ndarray) -> np.ndarray:
    """(1.3)-(1.4) at nodes (P, M), one product of a mass with all others at a time."""
    gain = np.zeros_like(f)
    for m in range(f.shape[1] - 1):
        others = f.shape[1] - 1 - m
        gain[:, m + 1 :] += 0.5 * beta[m, :others] * f[:, m : m + 1] * f[:, :others]
    return gain - f * (f @ beta)


def seconds(work: object, *arguments: object) -> float:
    """Best of three."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        work(*arguments)  # type: ignore[operator]
        found.append(time.perf_counter() - began)
    return min(found)


def main() -> None:
    """Print both tables."""
    print(f"load {os.getloadavg()[0]:.1f}, threads {os.environ.get('OMP_NUM_THREADS', os.cpu_count())}\n")
    print("| M | nodes | microseconds a step and node | numpy, two evaluations | numpy / limitpde |")
    print("|---|---|---|---|---|")
    for M in (16, 64, 256, 1024):
        nodes = max(64, 2_000_000 // M**2)
        model = Model(diffusion=[1.0], beta={"kernel": "additive"}, n_max=M)
        reaction = Reaction(model, MassGrid(M), propensity(model))
        n = np.arange(1, M + 1)
        f, beta = np.tile(exact.additive(n, 1.0), (nodes, 1)), n[:, None] + n[None, :].astype(float)
        reaction.advance(f.copy(), 1e-3)
        own = seconds(reaction.advance, f.copy(), 1e-3) / nodes * 1e6
        other = 2 * seconds(numpy_operator, beta, f) / nodes * 1e6
        print(f"| {M} | {nodes} | {own:.2f} | {other:.2f} | {other / own:.1f} |", flush=True)
    print("\n| bins per decade | bins | error of the number, % | of the second moment, % |\n|---|---|---|---|")
    end = 2e6
    for per_decade in (7, 14, 28):
        model = Model(diffusion=[1.0], beta={"kernel": "constant"}, n_max=1)
        grid = MassGrid(1, Bins(largest=1e4 * end, per_decade=per_decade, exact_up_to=8))
        reaction = Reaction(model, grid, propensity(model))
        f = np.zeros((1, grid.M))
        f[0, 0] = 1.0
        for begin, stop in zip(np.append(0, np.geomspace(1e-3, end, 600)), np.geomspace(1e-3, end, 600), strict=False):
            reaction.advance(f, stop - begin)
        number, second = f.sum() / (1 / (1 + end / 2)) - 1, (f @ grid.masses**2)[0] / (1 + end) - 1
        print(f"| {per_decade} | {grid.M} | {100 * number:+.3f} | {100 * second:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
