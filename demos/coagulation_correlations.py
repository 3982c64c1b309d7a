"""Claim: near contact pairs are as rare as the probability that they have not met says (claims 3.8 to 3.13).

In Hammond's particles the density of pairs at distance eps x is h^2 (1 - u(x)), u the collision probability (1.8) and
h^2 the density of far pairs: correlations on the scale eps lower the naive rate alpha int V to beta. In P_{N,beta} of
section 3.4, whose range is eps^beta, pairs meet so weakly that 1 - u tends to one, and the rate to the naive one.

Particles vanish in pairs on the unit torus, Z = 10, N = 1000. At t = 0.002 and 0.004 pairs in shells around contact are
counted, over those that independent particles would have there, beside the mean of 1 - u over the shell, and of the
heat equation of one pair that has begun independent (claim 3.8 before its limit).

Run: mpiexec -n 2 python -m mpi4py demos/coagulation_correlations.py          (a minute)
"""

import itertools
import math
import sys
from collections.abc import Callable

import numpy as np
import scipy.integrate
import scipy.interpolate
import scipy.sparse
from mpi4py import MPI
from scipy.spatial import cKDTree

from limitpde.coagulation import Initial, Model, collision_probability, simulate
from limitpde.domains import Domain
from limitpde.nbody.replicas import Controls

QUICK = "--quick" in sys.argv
SEEDS, COUNT, Z = (12 if QUICK else 400), 1000, 10.0
TIMES = [0.002, 0.004]
EDGES = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])  # of the shells, in units of the range
CHANCE = 4.5  # standard errors
OTHERS = 0.02  # what third particles may add: by then few have reacted
ONE = np.array([1])
WORLD = MPI.COMM_WORLD


def counted(model: Model, width: float) -> np.ndarray:
    """Pairs over expected ones in each shell, (seeds, shells), summed over the times. Collective."""
    initial = Initial(masses=[{"n": 1, "shape": "uniform", "mass": Z}])
    torus, rows = Domain.torus(np.ones(3)), []
    for seed in range(WORLD.rank, SEEDS, WORLD.size):
        seen, expected = np.zeros(len(EDGES) - 1), np.zeros(len(EDGES) - 1)

        def look(t: float, positions: np.ndarray, *, seen=seen, expected=expected, **_: np.ndarray) -> None:
            if t < TIMES[0]:
                return
            tree, n = cKDTree(positions % 1.0, boxsize=1.0), len(positions)
            within = (tree.count_neighbors(tree, EDGES * width) - n) / 2  # a particle is its own neighbour
            seen += np.diff(within)
            expected += n * (n - 1) / 2 * 4 * math.pi / 3 * width**3 * np.diff(EDGES**3)

        simulate(
            model, initial, count=COUNT, replicas=1, seed=seed, end=TIMES[-1], stops=TIMES, domain=torus,
            controls=Controls(comm=MPI.COMM_SELF, snapshot=look),
        )  # fmt: skip
        rows.append(np.stack([seen, expected]))
    gathered = WORLD.allgather(rows)
    return np.array([row for part in gathered for row in part])


def shell_means(values: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Means over each shell of a function of the distance, in units of the range."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    means = []
    for low, high in itertools.pairwise(EDGES):
        r = low + (high - low) * (nodes + 1) / 2
        weight = weights * r**2
        means.append(weight @ values(r) / weight.sum())
    return np.array(means)


def leading_order(model: Model, log_eps: float) -> np.ndarray:
    """The mean of 1 - u over each shell."""
    u = collision_probability(model, 1, 1, log_eps=log_eps if model.depends_on_eps else None)
    return shell_means(lambda r: 1 - u(np.column_stack([r, 0 * r, 0 * r])))


def one_pair(model: Model, log_eps: float, cells: int = 4000) -> np.ndarray:
    """The mean over each shell of the density g of a pair of which nobody else knows, averaged over the times.

    d_t g = D Lap g - alpha F eps^-2 V g, g = 1 at time 0, for r g by finite differences, lengths in units of the range.
    """
    D, alpha = 2 * float(model.d(ONE)[0]), float(model.alpha(ONE, ONE)[0]) * math.exp(model.log_front(log_eps))
    unit = math.exp(2 * log_eps)  # of time
    h = (EDGES[-1] + 8 * math.sqrt(D * TIMES[-1] / unit)) / cells
    r = h * np.arange(1, cells)
    inside = np.clip((1 - r) / h + 0.5, 0.0, 1.0)
    minus = scipy.sparse.diags_array(
        [D / h**2, -2 * D / h**2 - alpha * inside, D / h**2], offsets=[-1, 0, 1], shape=(len(r),) * 2
    )
    source = np.zeros(len(r))
    source[-1] = D / h**2 * cells * h  # g = 1 far away
    found = scipy.integrate.solve_ivp(
        lambda t, v: minus @ v + source, (0, TIMES[-1] / unit), r, "BDF", t_eval=np.array(TIMES) / unit,
        jac=lambda t, v: minus.tocsc(), rtol=1e-8, atol=1e-9,
    )  # fmt: skip
    density = found.y.mean(axis=1) / r
    return shell_means(scipy.interpolate.CubicSpline(r, density))


def main() -> None:
    """Counts pairs of both kinds of particles, prints a table, asserts the claim."""
    for exponent, name in ((1.0, "the theorem's particles"), (0.75, "P_{N,beta}, beta = 3/4")):
        interaction = {"shape": "ball", "radius": 1.0, "alpha": 4.0}
        model = Model(
            diffusion=[0.1], interaction=interaction, reaction="annihilation", n_max=1, range_exponent=exponent
        )
        log_eps = model.log_eps(COUNT, Z)
        pairs, simple, expected = (
            counted(model, math.exp(log_eps)),
            leading_order(model, log_eps),
            one_pair(model, log_eps),
        )
        ratio = pairs[:, 0].sum(axis=0) / pairs[:, 1].sum(axis=0)
        spread = pairs[:, 0] - ratio * pairs[:, 1]
        independent = pairs[:, 1].sum(axis=0)
        error = np.maximum(spread.std(axis=0, ddof=1) * math.sqrt(SEEDS), np.sqrt(expected * independent)) / independent
        if WORLD.rank == 0:
            print(f"{name}: range {math.exp(log_eps):.3g}")
            for k, (low, high) in enumerate(itertools.pairwise(EDGES)):
                alone = f"one pair alone {expected[k]:.4f}, 1 - u {simple[k]:.4f}"
                print(f"  {low:g} to {high:g} ranges: {ratio[k]:.4f} +- {error[k]:.4f}; {alone}")
        assert np.all(np.abs(ratio - expected) < CHANCE * error + OTHERS), f"{name}: pairs are not like 1 - u"


if __name__ == "__main__":
    main()
