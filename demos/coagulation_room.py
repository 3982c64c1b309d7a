"""Claim: in a room with walls no mass is lost, and the particles' densities are those of the field beside them.

Two clouds in the unit box, masses one and two, with d(n) = 0.2 n^(-1/3), spread, reach the walls, which reflect the
particles and let no flux of f_n through, meet, and coagulate. Compared are the numbers of particles of masses one and
two, and their moments with cos(pi x), which says where in the room they are and has no slope at the walls. The energy
distance of all particles, and of each mass, from the field is that of as many independent draws from it.

Run: mpiexec -n 2 python -m mpi4py demos/coagulation_room.py   -> results/coagulation_room/report.md
"""

import math
import sys
from pathlib import Path

from mpi4py import MPI

import limitpde

QUICK = "--quick" in sys.argv

summary = limitpde.run(Path(__file__).with_suffix(".toml"), quick=QUICK, quiet=False)

observables = summary["compare"]["observables"]
largest, last = max(entry["N"] for entry in observables), max(entry["t"] for entry in observables)
for entry in observables:
    if entry["N"] == largest and entry["t"] == last and MPI.COMM_WORLD.rank == 0:
        print("phi {test_function}: particles {mean:.5f} +- {stderr:.5f}, equation {pde:.5f}".format(**entry))
    if entry["N"] == largest:
        assert abs(entry["deviation"]) < 4.5, f"the particles leave the field: {entry}"
for entry in summary["compare"]["distances"]:
    if entry["N"] == largest and entry["distance"] == "energy":
        above = (entry["mean"] - entry["floor"]) / math.hypot(entry["stderr"], entry["floor_stderr"])
        if MPI.COMM_WORLD.rank == 0:
            which = f"mass {entry['n']}" if "n" in entry else "all"
            print(
                f"{which}: energy distance {entry['mean']:.4f}, of independent draws {entry['floor']:.4f}: {above:+.1f}"
            )
        assert above < 4.5, f"the particles are farther from the field than independent draws: {entry}"
for entry in summary["particles"]:
    assert entry["mass"]["max_change"] == 0, f"mass was lost: {entry}"
