"""Claim: a collapse is followed to 100,000 times its density, on a mesh that refines itself, to 2 % in time.

Where equal charges attract (van Meurs-Peletier-Slangen (1.2)), the limit is the Keller-Segel system

    d_t rho = div(D grad rho - gamma_bar rho grad c),   -Lap c = 2 pi rho,   critical mass 4 D / gamma_bar.

Above the critical mass it blows up; here D = 1/2, gamma_bar = 4, critical mass 1/2, and rho(0) is a Gaussian of mass M
and variance 1/2 in each coordinate. "Known" are the times at which the density at the centre is 10, 100, 1000 and
100,000 times that at the start, by an independent radial solver (implicit, 1600 logarithmic cells). The mesh starts
with cells of 0.6 and follows the density down to cells of 1e-4, the steps follow a tolerance; errors are the mesh's.
Well below the critical mass, M = 0.2, the density spreads, and its second moment grows with 4 D M - gamma_bar M^2, to
2 %: on one mesh the law holds to rounding, but each new mesh integrates |x|^2 a little differently.

Run: python demos/signed_blow_up.py      (a minute)
     mpiexec -n 2 python -m mpi4py demos/signed_blow_up.py
"""

import math
import sys

from mpi4py import MPI

from limitpde.densities import Gaussian
from limitpde.errors import RunError
from limitpde.fem.mesh import Disk, Refinement
from limitpde.signed import Initial, Model, PDESummary, Solver

QUICK = "--quick" in sys.argv
TOLERANCE = 4e-3 if QUICK else 1e-3  # of the mesh; that of the steps is a tenth
CLOSE = 0.03 if QUICK else 0.02  # largest relative error of a time
KNOWN = {  # mass -> radius of the disk, times
    1.0: (6.0, {"10": 0.2338, "100": 0.3034, "1000": 0.3197, "100000": 0.3239}),
    0.75: (6.0, {"10": 0.4613, "100": 0.6346, "1000": 0.6749, "100000": 0.6845}),
    0.6: (8.0, {"10": 1.107, "100": 1.672, "1000": 1.797, "100000": 1.824}),
}
MODEL = Model(sigma=1.0, gamma_bar=4.0, interaction="attractive")
SMALLEST = 1e-4


def solver_of(mass: float, radius: float) -> Solver:
    """A Gaussian of this mass on a coarse disk that follows it. Collective."""
    return Solver(
        MODEL,
        Initial(positive=(Gaussian(mass=mass, center=(0.0, 0.0), width=math.sqrt(0.5)),)),
        mesh=Disk(radius=radius, cell_size=0.6),
        step=0.02,
        tolerance=TOLERANCE / 10,
        refinement=Refinement(tolerance=TOLERANCE, smallest_cell=SMALLEST),
    )


def collapse(mass: float, radius: float, known: dict[str, float]) -> None:
    """Follows one collapse until a cell of the smallest size holds a tenth of the mass; prints a table, asserts."""
    solver = solver_of(mass, radius)
    summary = PDESummary(solver)
    try:
        solver.solve(4.0, observers=[summary.add])
    except RunError as error:
        end = str(error).split(",")[0]
    else:
        raise AssertionError(f"M = {mass}: no blow-up")
    figures = summary.figures()
    found, nodes = figures["blow_up"]["amplification_times"], figures["mesh"]["nodes"]
    errors = {level: found[level] / time - 1 for level, time in known.items()}
    if MPI.COMM_WORLD.rank == 0:
        print(f"M = {mass}: {end}; {figures['steps']} steps, {nodes['start']} to {nodes['end']} nodes")
        for level, time in known.items():
            print(f"  {level:>6}-fold density at t = {found[level]:.4f}, known {time:.4f}, off by {errors[level]:+.2%}")
    assert max(map(abs, errors.values())) < CLOSE, errors
    assert figures["mass"]["positive"]["max_relative_drift"] < 1e-12
    assert figures["minimum"] >= 0.0
    assert figures["free_energy"]["largest_increase"] <= 0.0


def spreading(mass: float = 0.2) -> None:
    """Below the critical mass the density falls, and the second moment follows the virial law."""
    solver = solver_of(mass, 8.0)
    first = solver.figures()
    solver.solve(1.0)
    last = solver.figures()
    law = 4 * MODEL.D * mass - MODEL.gamma_bar * mass**2
    growth = last["second_moment"] - first["second_moment"]
    if MPI.COMM_WORLD.rank == 0:
        print(
            f"M = {mass}: the largest density falls from {first['maximum']:.4f} to {last['maximum']:.4f}, "
            f"the second moment grows by {growth:.4f}, by the law {law:.4f}"
        )
    assert last["maximum"] < first["maximum"]
    assert abs(growth / law - 1) < 0.02


def main() -> None:
    """Runs all masses, or with --quick one above and one below the critical mass."""
    for mass, (radius, known) in KNOWN.items():
        if not QUICK or mass == 1.0:
            collapse(mass, radius, known)
    spreading()
    if MPI.COMM_WORLD.rank == 0:
        print("The collapse comes when it must, and is followed down to the smallest cells.")


if __name__ == "__main__":
    main()
