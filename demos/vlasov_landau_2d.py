"""Claim: Landau damping in two dimensions, 64^2 x 64^2 points, takes minutes and one copy of f in memory.

f_0 = M(v) (1 + 0.05 (cos(x/2) + cos(y/2))): both plane waves have k = 0.5, so the field energy decays at twice -0.1534
and oscillates at twice 1.4157 (the root of the dispersion relation; at this amplitude the nonlinear shift of the rate
is below four per cent). The two axes are treated by different sweeps of the code, and must agree to rounding.

Run: mpiexec -n 2 python -m mpi4py demos/vlasov_landau_2d.py   -> results/vlasov_landau_2d/report.md (some minutes)
"""

import resource
import sys
from pathlib import Path

from mpi4py import MPI

import limitpde
from limitpde.results import tables
from limitpde.vlasov.exact.dispersion import Beam, dominant_root

QUICK = "--quick" in sys.argv
RESULTS = Path("results/vlasov_landau_2d_quick" if QUICK else "results/vlasov_landau_2d")
comm = MPI.COMM_WORLD
smaller = ["pde.cells=[8, 16]", "time.end=12.0", "pde.fit=[2.0, 12.0]"] if QUICK else []
summary = limitpde.run(Path(__file__).with_suffix(".toml"), out=RESULTS, overrides=smaller, quiet=False)

root = dominant_root(0.5, 4.0, [Beam(density=1.0)])
memory = comm.allreduce(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 2**20
pde = summary["pde"]
if comm.rank == 0:
    found = f"growth rate {pde['field_growth_rate']:.4f}, frequency {pde['field_frequency']:.4f}"
    print(f"{found}; linear theory {root:.4f}")
    seconds = summary["wall_seconds"]["pde"]
    print(f"{pde['dofs']:.3g} unknowns, {pde['steps']} steps in {seconds:.0f} s; {memory:.2f} GiB on all ranks")
    table = tables.read_columns(RESULTS / "pde/diagnostics.csv")
    assert abs(table["momentum_x"] - table["momentum_y"]).max() < 1e-9, "the axes differ"
first, second = (entry["residual"] for entry in summary["compare"]["pde_residual"])
assert abs(first - second) < 1e-9, f"the axes differ: W = {first} and {second}"
assert abs(pde["field_growth_rate"] / root.imag - 1) < 0.04, "not the rate of Landau damping"
assert abs(pde["field_frequency"] / root.real - 1) < 0.02, "not the frequency of plasma waves"
assert pde["mass"]["total"]["max_relative_drift"] < 1e-12
assert memory < 6, f"{memory:.2f} GiB of memory"
