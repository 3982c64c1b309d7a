"""Claim: strong Landau damping has the energies of a spectral reference, and Newton's particles follow it.

Electrons of unit density with f_0 = M(v) (1 + 0.5 cos(x/2)) (k = 0.5): the field energy W(t) = 1/2 int E^2 dx falls by
three orders of magnitude and rises again when the particles trapped in the wave come round. The particles interact as
charged sheets (sorted, exact); their residual in the equation is of order 1/N, their observables differ from it by
order N^-1/2.

Run: mpiexec -n 2 python -m mpi4py demos/vlasov_landau.py   -> results/vlasov_landau/report.md
"""

import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

import limitpde
from limitpde.results import tables
from limitpde.results.report import rate_line

QUICK = "--quick" in sys.argv
RESULTS = Path("results/vlasov_landau_quick" if QUICK else "results/vlasov_landau")
REFERENCE = {1: 0.66409480, 2: 0.37606951, 5: 0.114314746, 10: 5.7187983e-3, 15: 2.8685525e-3, 20: 2.7630172e-3}
"""W(t) of a Fourier method on 128 x 2048 points of fourth order with step 0.0125
(limitpde.vlasov.exact.spectral)."""

summary = limitpde.run(Path(__file__).with_suffix(".toml"), quick=QUICK, quiet=False)

if MPI.COMM_WORLD.rank == 0:
    table = tables.read_columns(RESULTS / "pde/diagnostics.csv")
    for t, expected in REFERENCE.items():
        found = table["field_energy"][np.abs(table["t"] - t).argmin()]
        print(f"W({t}) = {found:.7g}; reference {expected:.7g}; relative error {found / expected - 1:+.1e}")
        assert abs(found / expected - 1) < 1e-3, f"W({t}) is off"
    rate = summary["pde"]["field_growth_rate"]
    print(f"the first four peaks decay at {rate:.4f}; of the reference: -0.2871")
    assert abs(rate + 0.28711) < 1e-3
    for entry in summary["compare"]["rates"]:
        name = f"{entry['quantity']} of test function {entry['test_function']}"
        print(rate_line(entry, name))

for entry in summary["compare"]["observables"]:
    assert abs(entry["deviation"]) < 4.5 or entry["t"] == 0 or entry["N"] < 4000, f"the particles leave f: {entry}"
