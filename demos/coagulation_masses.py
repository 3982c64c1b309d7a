"""Claim: coagulating Brownian particles follow Smoluchowski's equation with the rates (1.9), mass by mass.

N = Z / eps particles of mass one start evenly on the unit torus; mass n moves with d(n) = n^(-1/3), pairs coagulate at
the rate alpha eps^-2 V((x_i - x_j) / eps), and the survivor stays where it is with a probability proportional to its
mass. The limit is (1.2) with beta(n, m) = 4 pi S (1 - tanh(k) / k), S = d(n) + d(m), k^2 = alpha / S. The simulation
knows no beta.

Run: mpiexec -n 2 python -m mpi4py demos/coagulation_masses.py   -> results/coagulation_masses/report.md
"""

import sys
from pathlib import Path

from mpi4py import MPI

import limitpde

QUICK = "--quick" in sys.argv

summary = limitpde.run(Path(__file__).with_suffix(".toml"), quick=QUICK, quiet=False)

largest = max(entry["N"] for entry in summary["compare"]["observables"])
last = max(entry["t"] for entry in summary["compare"]["observables"])
for entry in summary["compare"]["observables"]:
    if entry["N"] == largest and entry["t"] == last:
        if MPI.COMM_WORLD.rank == 0:
            name = f"f_{entry['test_function'] + 1}" if entry["test_function"] < 5 else "sum"
            print("{0}: particles {mean:.5f} +- {stderr:.5f}, equation {pde:.5f}".format(name, **entry))
        assert abs(entry["deviation"]) < 3, f"the particles differ from the solution of the limit equation: {entry}"
for entry in summary["particles"]:
    assert entry["mass"]["max_change"] == 0, f"mass was lost: {entry}"
