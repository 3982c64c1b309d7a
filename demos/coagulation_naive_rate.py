"""Claim: the rate of the limit equation is beta of (3.3), and not the naive rate alpha int V.

Brownian particles on the unit torus that annihilate in pairs at the rate alpha eps^-2 V((x_i - x_j) / eps) converge to
h' = -beta h^2 with beta = alpha int V (1 - u) (Hammond section 3). The naive rate alpha int V (Claim 3.6 finds it at
t = 0) forgets that a pair that is close has often reacted already. The simulation knows no beta: it follows the path of
each pair and adds up its hazard.

Run: mpiexec -n 2 python -m mpi4py demos/coagulation_naive_rate.py   -> results/coagulation_naive_rate/report.md
"""

import sys
from pathlib import Path

from mpi4py import MPI

import limitpde

QUICK = "--quick" in sys.argv

summary = limitpde.run(Path(__file__).with_suffix(".toml"), quick=QUICK, quiet=False)

for entry in summary["compare"]["fitted_beta"]:
    if MPI.COMM_WORLD.rank == 0:
        print(
            "N = {N}: beta = {beta:.4f} +- {stderr:.4f}; (3.3): {theory:.4f}, {deviation:+.1f} standard errors away; "
            "naive: {naive:.4f}, {naive_deviation:+.0f} away".format(**entry)
        )
    assert abs(entry["deviation"]) < 4.5, f"the fitted rate is not beta of (3.3): {entry}"
    assert abs(entry["naive_deviation"]) > 50, f"the naive rate is not refuted: {entry}"
    assert abs(entry["beta"] / entry["theory"] - 1) < 0.01 or entry["N"] < 1000, f"over 1 % away: {entry}"
for entry in summary["compare"]["residual"]:
    assert abs(entry["mean_deviation"]) < 4.5, f"W does not vanish in the mean: {entry}"
