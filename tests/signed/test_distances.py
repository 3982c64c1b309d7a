"""Distances of L^N to rho in whole runs: at the floor without interaction, below it where charges repel each other."""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import math

import pytest

from limitpde import case as cases

CASE = {
    "system": "signed",
    "seed": 3,
    "model": {"sigma": 1.0, "gamma_bar": 1e-9, "interaction": "repulsive"},
    "initial": {"positive": [{"shape": "gaussian", "mass": 1.0, "center": [0.2, 0.0], "width": 0.5}]},
    "time": {"end": 0.3},
    "pde": {"mesh": {"shape": "disk", "radius": 5.0, "cell_size": 0.2}, "step": 0.03},
    "particles": {"counts": [64], "replicas": 40, "step": 0.03, "pairs": "euler"},
    "compare": {
        "test_functions": [{"shape": "gaussian", "center": [0.0, 0.0], "width": 1.0}],
        "budget": False,
        "fluctuations": False,
    },
    "output": {"pictures": False},
}


@pytest.mark.ranks
def test_particles_lie_at_the_floor_and_below_it(shared_folder, comm):
    found = {}
    for strength in (1e-9, 8.0):
        case = CASE | {"model": CASE["model"] | {"gamma_bar": strength}}
        summary = limitpde.run(cases.check(case), out=shared_folder / f"{strength:g}", comm=comm, check=False).summary
        assert summary["status"] == "done", summary.get("reason")
        found[strength] = {row["distance"]: row for row in summary["compare"]["distances"]}
    for name in ("x1", "x2", "sliced", "energy"):
        free, repelled = found[1e-9][name], found[8.0][name]
        assert free["replicas"] == 32
        error = math.hypot(free["stderr"], free["floor_stderr"])
        assert abs(free["mean"] - free["floor"]) < 4.5 * error, free
        if name in ("sliced", "energy"):
            error = math.hypot(repelled["stderr"], repelled["floor_stderr"])
            assert repelled["mean"] < repelled["floor"] - 4.5 * error, repelled
    if comm.rank == 0:
        assert "independent draws" in (shared_folder / "8" / "report.md").read_text()
