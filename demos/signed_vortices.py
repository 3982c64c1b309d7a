"""Claim: point vortices with noise converge to the vorticity equation like 1 / sqrt(N).

With the rotated kernel K_perp(x) = (-x_2, x_1) / |x|^2 (van Meurs-Peletier-Slangen, section 1.1) the particles dX_i =
sigma dB_i + (gamma_bar / N) sum_j b_j K_perp(X_i - X_j) dt are point vortices of strength b_j = +1, -1, and their limit

    d_t rho_s + div(v rho_s) = D Lap rho_s,   v = gamma_bar K_perp * (rho_+ - rho_-),   s = +, -,

makes u = rho_+ - rho_- the vorticity of a Navier-Stokes flow. Both start from two clouds of opposite sign. As for
charges, W of the particles is a martingale with E|W| ~ N^(-1/2); it vanishes in the mean at each N.

Run: mpiexec -n 2 python -m mpi4py demos/signed_vortices.py      -> results/signed_vortices/report.md
"""

import sys
from math import nan
from pathlib import Path

from mpi4py import MPI

import limitpde
from limitpde.results.report import rate_line

QUICK = "--quick" in sys.argv

summary = limitpde.run(Path(__file__).with_suffix(".toml"), quick=QUICK, quiet=False)

for entry in summary["compare"]["residual"]:
    assert abs(entry["mean_deviation"]) < 4.5, f"W does not vanish in the mean: {entry}"
    assert abs(entry["variance_deviation"]) < 4.5, f"the variance of W is not that of Ito's isometry: {entry}"
for entry in summary["compare"]["observables"]:
    assert abs(entry["deviation"]) < 4.5, f"the particles differ from the solution of the limit equation: {entry}"
for rate in summary["compare"]["rates"]:
    if not QUICK:  # two particle numbers of sixteen replicas say little of a slope
        assert rate.get("low", nan) < -0.5 < rate.get("high", nan), f"-1/2 is outside the 95 % interval: {rate}"
    if MPI.COMM_WORLD.rank == 0:
        print(rate_line(rate, "{quantity}, phi {test_function}".format(**rate)))

pde = summary["pde"]
assert max(mass["max_relative_drift"] for mass in pde["mass"].values()) < 1e-12
assert pde["minimum"] >= 0
assert pde["gate"]["refused"] == 0
if MPI.COMM_WORLD.rank == 0:
    print("mass exact, density >= 0, no largest density rising")
