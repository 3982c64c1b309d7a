"""Claim: particles whose rate grows like n m gel as a random graph does: a heaviest one takes off at t = 1.

Particles of P_{N,beta} (Hammond, section 3.4) with beta = 1/4 on a torus that they cross quickly: alpha(n, m) = n m /
|ball| gives the naive rate n m. Well mixed, they are the Marcus-Lushnikov process with this kernel, the clusters of
Erdos and Renyi's random graph G(N, t / N): before t = 1 sum n^2 f_n is 1 / (1 - t), as in Smoluchowski's equation, and
the heaviest one has a vanishing share of the mass; after it that share is g(t) = 1 - exp(-t g).

    mean of sum n^2 / N at t = 0.3, 0.5         1 / (1 - t), within 4.5 standard errors and 10 / N of finite N
    number of clusters at t = 0.5                N (1 - t / 2), likewise
    heaviest share at t = 0.5, at t = 1.4 (2)    under 0.1; over 0.15, under g(t) and its error (full size: at 2)

The gel eats what is near it faster than others come, so that its share stays a little below g.

Run: python demos/coagulation_gel_of_particles.py
"""

import sys

import numpy as np

from limitpde import coagulation
from limitpde.domains import Domain

QUICK = "--quick" in sys.argv
COUNT, REPLICAS, END, DIFFUSIVITY = (512, 3, 1.4, 0.2) if QUICK else (512, 12, 2.0, 1.0)
STOPS = (0.3, 0.5, 0.8, 1.0, 1.2, 1.4)

model = coagulation.Model(
    diffusion={"power": 0.0, "scale": DIFFUSIVITY},
    interaction={"shape": "ball", "alpha": {"power": 1.0, "scale": 3 / (4 * np.pi)}},
    range_exponent=0.25,
    n_max=4,
)
initial = coagulation.Initial(masses=[{"n": 1, "shape": "uniform", "mass": 1.0}])
found = coagulation.simulate(
    model, initial, count=COUNT, replicas=REPLICAS, end=END, stops=[t for t in STOPS if t < END], seed=3,
    domain=Domain.torus(np.ones(3)),
)  # fmt: skip


def share(t):
    """g(t) = 1 - exp(-t g), 0 until t = 1."""
    g = 1.0
    for _ in range(2000):
        g = 1 - np.exp(-t * g)
    return g


def mean(samples):
    """Mean and standard error."""
    return samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(len(samples))


(squares, squares_error), (heaviest, heaviest_error) = mean(found.mass_squares), mean(found.largest_mass)
clusters, clusters_error = mean(found.survivors / COUNT)
for k, t in enumerate(found.times):
    equation = f"{1 / (1 - t):.3f}" if t < 1 else "infinite"
    print(
        f"t = {t:.1f}: sum n^2 / N = {squares[k]:.3f} +- {squares_error[k]:.3f} (equation {equation}), "
        f"heaviest {heaviest[k]:.3f} +- {heaviest_error[k]:.3f} of the mass (random graph {share(t):.3f})"
    )

at = {round(t, 6): k for k, t in enumerate(found.times)}
for t in (0.3, 0.5):
    k = at[t]
    assert abs(squares[k] - 1 / (1 - t)) < 4.5 * squares_error[k] + 10 / COUNT, f"sum n^2 at t = {t}"
k, last = at[0.5], len(found.times) - 1
assert abs(clusters[k] - 0.75) < 4.5 * clusters_error[k] + 10 / COUNT, "number of clusters"
assert heaviest[k] < 0.1, "a gel before its time"
assert heaviest[last] > 0.15, "no gel"
assert heaviest[last] < share(END) + 4.5 * heaviest_error[last], "more gel than there can be"
