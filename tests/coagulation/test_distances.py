"""Distances of particles to f in whole runs: at the floor while they hardly react, above it for a wrong diffusion."""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import math

import pytest

from limitpde import case as cases

CASE = {
    "system": "coagulation",
    "seed": 4,
    "model": {
        "dimension": 2,
        "diffusion": [0.1, 0.05],
        "interaction": {"shape": "ball", "alpha": 0.001},
        "n_max": 4,
    },
    "initial": {
        "masses": [
            {"n": 1, "shape": "gaussian", "mass": 0.7, "center": [0.3, 0.5], "width": 0.15},
            {"n": 2, "shape": "gaussian", "mass": 0.3, "center": [0.6, 0.5], "width": 0.1},
        ]
    },
    "time": {"end": 0.1},
    "pde": {"mesh": {"shape": "torus", "size": 1.0, "cell_size": 0.05}, "step": 0.01},
    "particles": {"counts": [100], "replicas": 12},
    "compare": {
        "test_functions": [{"shape": "wave", "k": [0.0, 0.0], "n": 1}],
        "budget": False,
        "deltas": [0.2],
    },
    "output": {"pictures": False},
}


@pytest.mark.parametrize("shape", [pytest.param("torus", marks=pytest.mark.ranks), "box"])
def test_particles_lie_at_the_floor_by_mass(shared_folder, comm, shape):
    case = CASE | {"pde": CASE["pde"] | {"mesh": CASE["pde"]["mesh"] | {"shape": shape}}}
    summary = limitpde.run(cases.check(case), out=shared_folder, comm=comm, check=False).summary
    assert summary["status"] == "done", summary.get("reason")
    rows = summary["compare"]["distances"]
    names = ["x1", "x2", "sliced", "energy"]
    assert [(row.get("n"), row["distance"]) for row in rows] == [(n, name) for n in (None, 1, 2) for name in names]
    for row in rows:
        assert row["replicas"] == 12
        assert abs(row["mean"] - row["floor"]) < 4.5 * math.hypot(row["stderr"], row["floor_stderr"]), row
    if comm.rank == 0:
        assert "independent draws" in (shared_folder / "report.md").read_text()


def test_particles_of_another_diffusion_lie_above_it(shared_folder, comm):
    from limitpde.coagulation import Solver, simulate
    from limitpde.coagulation.distances import distance_figures

    case = cases.check(CASE)
    other = cases.check(CASE | {"model": CASE["model"] | {"diffusion": [0.4, 0.2]}})
    solver = Solver(case.model, case.initial, mesh=case.pde.mesh, step=0.02, comm=comm)
    solver.solve(0.1)
    ensemble = simulate(other.model, other.initial, count=100, replicas=12, end=0.1, domain=case.domain)
    rows = {(row["n"], row["distance"]): row for row in distance_figures(solver, [ensemble], 0)["distances"]}
    for n in (None, 1, 2):
        row = rows[n, "energy"]
        assert row["mean"] > row["floor"] + 6 * math.hypot(row["stderr"], row["floor_stderr"]), row
    assert distance_figures(solver, [], 0) == {}
