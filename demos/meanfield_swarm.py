"""Claim: a swarm with an interaction given by a Python file follows its limit, and comes to rest where that says.

    dX_i = -(1/N) sum_j grad W(X_i - X_j) dt - grad U(X_i) dt + sigma dB_i,

with Morse's W = A exp(-r / a) - B exp(-r / b), short repulsion and long attraction (D'Orsogna, Chuang, Bertozzi and
Chayes, Phys. Rev. Lett. 96, 2006), r = (|x|^2 + 0.1^2)^(1/2) so that grad W is smooth at 0, and a weak U. The limit is
d_t rho = D Lap rho + div(rho grad (W * rho + U)); its free energy falls, and at rest D log rho + W * rho + U is
constant.

    run       verdict not "refuted" (full size: "confirmed"); W of the particles a martingale with Ito's variance
    wrong     particles that only repel each other are refuted
    rest      D log rho + W * rho + U, summed directly over all nodes, is constant to 1e-6 where rho > 1e-6 max rho

Run: python demos/meanfield_swarm.py      -> results/meanfield_swarm/{swarm,wrong}/report.md
"""

import sys
from pathlib import Path

import numpy as np

import limitpde
from limitpde import meanfield
from limitpde.fem.mesh import Box

QUICK = "--quick" in sys.argv
FOLDER = Path("results/meanfield_swarm_quick" if QUICK else "results/meanfield_swarm")
COUNTS, REPLICAS, END = ([32, 96], 60, 0.5) if QUICK else ([64, 256], 180, 1.0)
CELL = 0.2 if QUICK else 0.08


def morse(x, attraction=4.0):
    """W and its gradient."""
    r = np.sqrt((x**2).sum(axis=1) + 0.1**2)
    near, far = 2.0 * np.exp(-r / 0.5), attraction * np.exp(-r / 1.5)
    return near - far, ((far / 1.5 - near / 0.5) / r)[:, None] * x


def repulsion(x):
    """W of particles that only repel each other."""
    return morse(x, attraction=0.0)


CASE = {
    "system": "meanfield",
    "seed": 2,
    "model": {
        "sigma": 0.8,
        "interaction": {"python": f"{__file__}:morse"},
        "exterior": {"kind": "harmonic", "strength": 0.1},
    },
    "initial": {
        "species": [
            [
                {"shape": "gaussian", "mass": 0.5, "center": (-1.0, 0.0), "width": 0.4},
                {"shape": "gaussian", "mass": 0.5, "center": (1.0, 0.3), "width": 0.4},
            ]
        ]
    },
    "time": {"end": END},
    "pde": {"mesh": {"shape": "box", "size": 8.0, "origin": -4.0, "cell_size": CELL}, "step": 0.02},
    "particles": {"counts": COUNTS, "replicas": REPLICAS, "step": 0.02},
    "compare": {
        "precision": 0.05,
        "test_functions": [
            {"shape": "gaussian", "center": (0.0, 0.0), "width": 0.7},
            {"shape": "wave", "k": (1.5, 0.0)},
        ],
    },
}


def at_rest(case):
    """How far D log rho + V is from a constant, by sums over all nodes, and the second moment."""
    mesh = Box(size=8.0, origin=-4.0, cell_size=0.25 if QUICK else 0.1)
    solver = meanfield.Solver(case.model, case.initial, mesh=mesh, step=0.5)
    energies = []
    solver.solve(240.0, observers=[lambda step: energies.append(step.figures["free_energy"])])
    assert np.all(np.diff(energies) < 1e-12), "the free energy rises"
    held = (solver.nodes.points, solver.densities[0], solver.masses[0])
    x, rho, masses = (np.concatenate(solver.nodes.comm.allgather(values)) for values in held)
    felt = np.array([morse(point - x)[0] @ masses for point in x]) + 0.05 * (x**2).sum(axis=1)
    level = (case.model.D * np.log(rho) + felt)[rho > 1e-6 * rho.max()]
    return float(np.ptp(level)), solver.figures()["second_moment"]


def main():
    """Both runs and the state at rest; print, assert."""
    right = limitpde.run(meanfield.Case(**CASE), out=FOLDER / "swarm", name="swarm")
    other = CASE["particles"] | {"interaction": {"python": f"{__file__}:repulsion"}}
    wrong = limitpde.run(meanfield.Case(**CASE | {"particles": other}), out=FOLDER / "wrong", name="wrong")
    for name, run in (("swarm", right), ("wrong", wrong)):
        print(f"{name}: {run['verdict']['sentence']}")
    assert right["verdict"]["status"] in (("undecided", "confirmed") if QUICK else ("confirmed",))
    assert wrong["verdict"]["status"] == "refuted", "particles with another W"
    for entry in right["compare"]["residual"]:
        assert abs(entry["mean_deviation"]) < 4.5, f"W does not vanish in the mean: {entry}"
        assert abs(entry["variance_deviation"]) < 4.5, f"the variance of W is not that of Ito's isometry: {entry}"
    case = meanfield.Case(**CASE)
    spread, moment = at_rest(case)
    print(f"at rest D log rho + W * rho + U is constant to {spread:.2g}; second moment {moment:.5f}")
    assert spread < 1e-6, f"not at rest, or not in balance: {spread}"
    print("The swarm follows its limit, and rests where the equation says.")


if __name__ == "__main__":
    main()
