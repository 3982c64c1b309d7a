"""Newton's particles of the Vlasov system: particle-steps per second, and the sums over all pairs against numpy.

Run: python demos/benchmarks/vlasov_particles.py        (half a minute; best of several timings)

First whole simulations, with and without two test functions whose residuals are measured on the way: the HMF model, a
Gaussian potential on a torus (both by trigonometric sums), and charged sheets (by sorting). Then the sums of forces
over all pairs in the whole space; N^2 ordered pairs are counted, numpy broadcasts a block of rows at a time.
"""

import math
import os

import numba
import numpy as np
from mpi4py import MPI
from pairs import best

from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.nbody.sums import make_sums
from limitpde.nbody.threads import use_threads
from limitpde.potentials import Cosine, GaussianPotential, Poisson, Softened
from limitpde.vlasov.initial import AnyShape, Maxwellian, TwoStream
from limitpde.vlasov.model import Model, PhaseDomain
from limitpde.vlasov.particles import simulate

L = 10 * math.pi
CIRCLE, LONG = PhaseDomain(x=(-math.pi, math.pi), v=(-6.0, 6.0)), PhaseDomain(x=(0.0, L), v=(-8.0, 8.0))
CASES: list[tuple[str, Model, AnyShape, float, int, int]] = [
    ("HMF", Model(potential=Cosine(strength=-1.0), domain=CIRCLE), Maxwellian(thermal=0.5), 1.0, 100_000, 1),
    ("sheets", Model(potential=Poisson(), domain=LONG), TwoStream(k=0.2, drift=2.4, mass=L), 0.2, 4_000, 8),
    (
        "Gaussian",
        Model(potential=GaussianPotential(width=0.5), domain=CIRCLE),
        Maxwellian(thermal=0.5),
        1.0,
        100_000,
        1,
    ),
]
STEPS = 20


def speed(model: Model, initial: AnyShape, functions: list[GaussianBump | Wave], count: int, replicas: int) -> float:
    """Particle-steps per second, best of three."""
    keys = {"count": count, "replicas": replicas, "step": 0.1, "end": 0.1 * STEPS, "test_functions": functions}
    return max(simulate(model, initial, **keys).work_per_second for _ in range(3))


def numpy_sum(potential: GaussianPotential | Softened, x: np.ndarray, rows: int = 256) -> None:
    """The same sum by numpy broadcasting, `rows` particles at a time: what one writes without a compiler."""
    square = potential.width**2
    for i in range(0, len(x), rows):
        away = x[i : i + rows, None] - x
        q = (away * away).sum(axis=2)
        g = np.exp(-q / (2 * square)) if isinstance(potential, GaussianPotential) else (q + square) ** -1.5
        (g[:, :, None] * away).sum(axis=1)


def main() -> None:
    """Measures and prints."""
    use_threads(MPI.COMM_WORLD)
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"cores {cores}, threads {numba.get_num_threads()}, load {load:.1f}; 1e6 particle-steps per second")
    print(f"{'':>10} {'N':>8} {'replicas':>9} {'motion':>8} {'with two W':>11}")
    for name, model, initial, k, count, replicas in CASES:
        functions = [Wave(k=(k, 0.0)), GaussianBump(center=(float(model.x_box.mean()), 0.0), width=0.7)]
        rates = [speed(model, initial, chosen, count, replicas) / 1e6 for chosen in ([], functions)]
        print(f"{name:>10} {count:8d} {replicas:9d} {rates[0]:8.2f} {rates[1]:11.2f}")
    print(f"{'Mpair/s':>10} {'d':>3} {'N':>6} {'limitpde':>9} {'numpy':>7} {'x numpy':>8}")
    n = 4096
    for potential in (GaussianPotential(width=0.5), Softened(width=0.1)):
        for d in (1, 2, 3):
            x = np.random.default_rng(1).normal(size=(1, n, d))
            sums = make_sums(potential, np.tile([-4.0, 4.0], (d, 1)), periodic=False)
            ours, theirs = (
                n**2 / t / 1e6
                for t in (
                    best(lambda sums=sums, x=x: sums.gradients(x)),
                    best(lambda potential=potential, x=x: numpy_sum(potential, x[0]), 0.0),
                )
            )
            print(f"{potential.kind:>10} {d:3d} {n:6d} {ours:9.0f} {theirs:7.1f} {ours / theirs:8.0f}")


if __name__ == "__main__":
    main()
