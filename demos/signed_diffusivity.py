"""Claim: the diffusivity of the limit equation is D = sigma^2 / 2, not the sigma that the paper prints.

Van Meurs-Peletier-Slangen's particles (1.1), dX_i = sigma dB_i + (gamma_bar / N) sum_j b_i b_j K(X_i - X_j) dt, satisfy
by Ito's formula, with the empirical measure L^N_t and the residual W[T, phi] of the weak form (5.8),

    W[T, phi](L^N) = (sigma / N) sum_i int_0^T grad phi . dB_i + (sigma^2 / 2 - D) int_0^T int Lap phi dL^N_t dt,

a martingale of variance O(1 / N) and a drift that does not depend on N. The paper prints D = sigma in (1.3), (5.6) and
(5.8), which is right for sigma = 2 only. Here sigma = 1, and the same particles (same seed) are measured with both:

    D = sigma^2 / 2 (model.diffusivity = "ito")     the mean of W is zero for every N,
    D = sigma       (model.diffusivity = "paper")   it is (sigma^2 / 2 - sigma) E int int Lap phi dL dt for every N.

Run: mpiexec -n 2 python -m mpi4py demos/signed_diffusivity.py      -> results/signed_diffusivity/{ito,paper}/report.md
"""

import sys
from pathlib import Path
from typing import Any

from mpi4py import MPI

import limitpde

QUICK = "--quick" in sys.argv
CHANCE = 4.5  # standard errors that a mean may be off by chance
PROOF = 6.0  # standard errors from zero that refute a formula


def residuals(diffusivity: str) -> list[dict[str, Any]]:
    """Statistics of W at the end, one record for each N and phi. Collective."""
    summary = limitpde.run(
        Path(__file__).with_suffix(".toml"),
        out=Path("results/signed_diffusivity_quick" if QUICK else "results/signed_diffusivity") / diffusivity,
        overrides=[f"model.diffusivity={diffusivity}"],
        quick=QUICK,
        quiet=False,
    )
    return summary["compare"]["residual"]


def main() -> None:
    """Runs both cases, prints a table, asserts the claim."""
    ito, paper = residuals("ito"), residuals("paper")
    if MPI.COMM_WORLD.rank == 0:
        print("mean of W over the replicas, in brackets in units of its standard error")
        print(f"{'N':>6} {'phi':>4} {'D = sigma^2/2':>20} {'D = sigma':>20} {'predicted':>10} {'off by':>8}")
    for right, wrong in zip(ito, paper, strict=True):
        from_zero, still_there = right["mean"] / right["stderr"], wrong["mean"] / wrong["stderr"]
        off = (wrong["mean"] - wrong["theory_mean"]) / wrong["stderr"]
        if MPI.COMM_WORLD.rank == 0:
            print(
                f"{right['N']:6d} {right['test_function']:4d} {right['mean']:+11.5f} ({from_zero:+6.2f}) "
                f"{wrong['mean']:+11.5f} ({still_there:+6.1f}) {wrong['theory_mean']:+10.5f} {off:+8.2f}"
            )
        assert abs(from_zero) < CHANCE, (
            f"D = sigma^2 / 2: the mean of W is {from_zero:.1f} standard errors off 0: {right}"
        )
        assert abs(still_there) > PROOF, f"D = sigma: the mean of W is {still_there:.1f} standard errors only: {wrong}"
        assert abs(off) < CHANCE, f"D = sigma: the mean of W is {off:.1f} standard errors off its prediction: {wrong}"
    if MPI.COMM_WORLD.rank == 0:
        print("D = sigma^2 / 2: the residual vanishes. D = sigma: it does not, for no N.")


if __name__ == "__main__":
    main()
