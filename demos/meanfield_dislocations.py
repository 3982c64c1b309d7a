"""Claim: parallel edge dislocations with noise follow their limit, and without noise gather on a wall, as is proven.

Edge dislocations of one Burgers vector along x_1 repel each other by W(x) = -log |x| + x_1^2 / |x|^2. Under the trap
U = |x|^2 / 2 and without noise the density of least energy is the semicircle law on the x_2-axis,
sqrt(2 - x_2^2) / pi on |x_2| < sqrt(2) (Mora, Rondi, Scardia, Comm. Pure Appl. Math. 72, 2019): no part of the plane.
W is singular, so both sides have it with |x|^2 + eps^2 for |x|^2, as in

    W_eps(x) = -log(|x|^2 + eps^2) / 2 + x_1^2 / (|x|^2 + eps^2),    eps = 0.15, cells of 0.1 and below,

a Python function below. Since x . grad W = -1, the second moment m obeys m' = 4 D + 1 - delta - 2 m, with delta the
integral of 1 + z . grad W_eps(z), z = x - y, over rho(x) rho(y), which vanishes with eps.

    run         the verdict refutes no particles but those with W without its second term (charges)
    particles   their second moment is that of the equation less (1 - exp(-2 t)) / (2 N), within 4.5 standard errors
    rest        2 m = 4 D + 1 - delta within 0.005, delta summed directly over all pairs of nodes
    walls       with D falling, int x_1^2 rho falls to 0; int x_2^2 rho is that of the semicircle, 1/2, within 0.1: eps
                takes delta / 2 from it

Run: python demos/meanfield_dislocations.py      -> results/meanfield_dislocations/{dislocations,charges}/report.md
"""

import math
import sys
from pathlib import Path

import numpy as np

import limitpde
from limitpde import meanfield
from limitpde.fem.mesh import Box

QUICK = "--quick" in sys.argv
FOLDER = Path("results/meanfield_dislocations_quick" if QUICK else "results/meanfield_dislocations")
EPS = 0.15
D = 0.1
COUNTS, REPLICAS = ([24, 72], 80) if QUICK else ([64, 256], 80)
CELL, END = (0.12, 0.4) if QUICK else (0.06, 1.0)
NOISES = (0.1, 0.03) if QUICK else (0.1, 0.03, 0.01)


def dislocations(x):
    """W_eps and its gradient."""
    value, slope = charges(x)
    square = (x**2).sum(axis=1) + EPS**2
    glide = x[:, 0] ** 2 / square
    slope = slope - 2 * x * (glide / square)[:, None]
    slope[:, 0] += 2 * x[:, 0] / square
    return value + glide, slope


def charges(x):
    """-log(|x|^2 + eps^2) / 2 alone, and its gradient."""
    square = (x**2).sum(axis=1) + EPS**2
    return -np.log(square) / 2, -x / square[:, None]


CASE = {
    "system": "meanfield",
    "seed": 5,
    "model": {
        "sigma": math.sqrt(2 * D),
        "interaction": {"python": f"{__file__}:dislocations"},
        "exterior": {"kind": "harmonic", "strength": 1.0},
    },
    "initial": {"species": [[{"shape": "gaussian", "mass": 1.0, "center": (0.0, 0.0), "width": 0.5}]]},
    "time": {"end": END},
    "pde": {"mesh": {"shape": "box", "size": 6.0, "origin": -3.0, "cell_size": CELL}, "step": 0.02},
    "particles": {"counts": COUNTS, "replicas": REPLICAS, "step": 0.02},
    "compare": {
        "precision": 0.05,
        "test_functions": [
            {"shape": "gaussian", "center": (0.0, 0.0), "width": 0.6},
            {"shape": "wave", "k": (2.0, 0.0)},
            {"shape": "wave", "k": (0.0, 2.0)},
        ],
    },
}


def main():
    """Run both cases, the moment, the walls; print, assert."""
    right = limitpde.run(meanfield.Case(**CASE), out=FOLDER / "dislocations", name="dislocations")
    other = {"particles": CASE["particles"] | {"interaction": {"python": f"{__file__}:charges"}}}
    wrong = limitpde.run(meanfield.Case(**CASE | other), out=FOLDER / "charges", name="charges")
    for name, run in (("dislocations", right), ("charges", wrong)):
        print(f"{name}: {run['verdict']['sentence']}")
    assert right["verdict"]["status"] != "refuted", "particles with the W of the equation"
    assert QUICK or right["verdict"]["status"] == "confirmed", "particles with the W of the equation"
    assert wrong["verdict"]["status"] == "refuted", "particles without the second term of W"

    moment = right["pde"]["second_moment"]["end"]
    for entry in right["particles"]:
        found, expected = entry["second_moment"]["end"], moment - (1 - math.exp(-2 * END)) / (2 * entry["N"])
        print(f"second moment, N = {entry['N']}: {found['mean']:.5f} +- {found['stderr']:.5f}, expected {expected:.5f}")
        assert abs(found["mean"] - expected) < 4.5 * found["stderr"], f"N = {entry['N']}: the second moment"
    walls()


def walls():
    """Stationary densities for falling noise."""
    found = []
    for noise in NOISES:
        case = meanfield.Case(**CASE | {"model": CASE["model"] | {"sigma": math.sqrt(2 * noise)}})
        mesh = Box(size=4.0, origin=-2.0, cell_size=0.1 if QUICK else 0.05)
        solver = meanfield.Solver(case.model, case.initial, mesh=mesh, step=0.05)
        solver.solve(5.0 if QUICK else 20.0)
        squares = solver.nodes.sums.total(*(solver.masses[0] * solver.nodes.points.T**2))
        found.append(squares)
        left = 4 * noise + 1 - deficit(solver) - 2 * squares.sum()
        print(
            f"D = {noise}: int x_1^2 rho = {squares[0]:.4f}, int x_2^2 rho = {squares[1]:.4f}, law off by {left:+.5f}"
        )
        assert abs(left) < 0.005, f"D = {noise}: the law of the second moment is off by {left}"
    glide, climb = np.array(found).T
    assert np.all(np.diff(glide) < 0), f"the wall does not become thinner: {glide}"
    assert abs(climb[-1] - 0.5) < 0.1, f"int x_2^2 rho = {climb[-1]}, of the semicircle 0.5"


def deficit(solver):
    """delta, over all pairs of nodes."""
    x, masses = (np.concatenate(solver.nodes.comm.allgather(held)) for held in (solver.nodes.points, solver.masses[0]))
    found = 0.0
    for point, mass in zip(x, masses, strict=True):
        apart = point - x
        found += mass * float(masses @ (1 + (apart * dislocations(apart)[1]).sum(axis=1)))
    return found


if __name__ == "__main__":
    main()
