"""Claim: a limit is found to be right although the particles are few, and no single N agrees with it.

Charges of both signs attract strongly (gamma_bar = 8, D = 1/8; outside what the paper proves). With N = 20, 40 and 80
particles the mean of int phi dL^N is many standard errors off int phi rho. The fit a + b/N, its error budget and the
verdict on top of it say that a = int phi rho to within 5 % of max |phi|, and that a difference of that size would have
been seen. The reference is an independent discretisation: elements of degree 4, not finite volumes of degree 1.

Run: mpiexec -n 2 python -m mpi4py demos/signed_strong.py    (a minute and a half)    -> results/signed_strong/report.md
"""

import sys
from pathlib import Path

from mpi4py import MPI

import limitpde

QUICK = "--quick" in sys.argv
ENDING = "_quick" if QUICK else ""
CASE = Path(__file__).with_suffix(".toml")


def reference() -> float:
    """Int phi rho at the end by elements of degree 4. Collective."""
    summary = limitpde.run(
        CASE,
        out=f"results/signed_strong_reference{ENDING}",
        overrides=[
            "pde.degree=4",
            "pde.mesh.cell_size=0.5",
            "particles.counts=[20]",
            "particles.replicas=2",
            "compare.budget=false",
            *(["pde.step=0.02"] if QUICK else []),
        ],
        quiet=True,
    )
    return summary["compare"]["observables"][-1]["pde"]


def main() -> None:
    """Runs the case and its reference, prints a table, asserts the claim."""
    exact = reference()
    summary = limitpde.run(CASE, out=f"results/signed_strong{ENDING}", quick=QUICK, quiet=False)
    limit, verdict = summary["compare"]["limits"][0], summary["verdict"]
    ends = [row for row in summary["compare"]["observables"] if row["t"] == 0.5]
    if MPI.COMM_WORLD.rank == 0:
        for row in ends:
            off = (row["mean"] - exact) / row["stderr"]
            print(f"N = {row['N']:3d}: {row['mean']:.4f} +- {row['stderr']:.4f}, {off:+6.1f} standard errors from it")
        print(f"N = infinity: {limit['particles']:.4f} in [{limit['low']:.4f}, {limit['high']:.4f}]")
        print(f"the equation: {limit['solution']:.4f} by degree 1, {exact:.4f} by degree 4")
        print(verdict["sentence"])
    if not QUICK:
        assert verdict["status"] == "confirmed", verdict["sentence"]
        assert limit["low"] < exact < limit["high"], "the limit of the particles is not that of the equation"
        assert all(abs(row["mean"] - exact) > 4.5 * row["stderr"] for row in ends), "the numbers N are not small"


if __name__ == "__main__":
    main()
