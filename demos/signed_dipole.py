"""Claim: signed Coulomb charges converge to the signed Keller-Segel system like 1 / sqrt(N).

Particles (van Meurs-Peletier-Slangen (1.1)) dX_i = sigma dB_i + (gamma_bar / N) sum_j b_i b_j K(X_i - X_j) dt and their
limit (1.3) start from the same dipole of two Gaussian clouds. The weak-form residual W[T, phi] of the particles in the
limit equation (5.8) is a martingale: E|W| ~ N^(-1/2), N Var W = sigma^2 E int int |grad phi|^2 dL dt (Lemma 5.10).

Run: mpiexec -n 2 python -m mpi4py demos/signed_dipole.py      -> results/signed_dipole/report.md
"""

import sys
from math import nan
from pathlib import Path

from mpi4py import MPI

import limitpde
from limitpde.results.report import rate_line

QUICK = "--quick" in sys.argv

summary = limitpde.run(Path(__file__).with_suffix(".toml"), quick=QUICK, quiet=False)
verdict = summary["verdict"]
assert verdict["status"] == ("undecided" if QUICK else "confirmed"), verdict  # 16 replicas do not see 2 %

for entry in summary["compare"]["residual"]:
    assert abs(entry["mean_deviation"]) < 4.5, f"W does not vanish in the mean: {entry}"
    assert abs(entry["variance_deviation"]) < 4.5, f"the variance of W is not that of Ito's isometry: {entry}"
for entry in summary["compare"]["observables"]:
    assert abs(entry["deviation"]) < 4.5, f"the particles differ from the solution of the limit equation: {entry}"
for rate in summary["compare"]["rates"]:
    assert rate.get("low", nan) < -0.5 < rate.get("high", nan), f"the slope -1/2 is outside the 95 % interval: {rate}"
    if MPI.COMM_WORLD.rank == 0:
        print(rate_line(rate, "{quantity}, phi {test_function}".format(**rate)))

pde = summary["pde"]
assert max(mass["max_relative_drift"] for mass in pde["mass"].values()) < 1e-12
assert pde["minimum"] >= 0
assert pde["free_energy"]["largest_increase"] <= 0
if MPI.COMM_WORLD.rank == 0:
    print(verdict["sentence"])
    print("mass exact, density >= 0, free energy falling")
