"""Claim: with beta(n, m) = n m, a gel forms at t = 1: sum n^2 f_n is 1 / (1 - t) before, the mass left 1 / t after.

Monomers of unit mass, no space, Smoluchowski's equations truncated at n_max (Hammond (2.1)); what grows beyond n_max is
counted as overflow and reacts no more. Before t = 1 the overflow vanishes as n_max grows. After it the overflow is the
gel, and the mass left tends to Stockmayer's 1 / t: at t = 2 one half is gone for every n_max. Mass left and overflow
are the initial mass, to rounding.

Run: python demos/coagulation_gelation.py
"""

import itertools
import sys

from limitpde.coagulation import Initial, Model, Solver, exact
from limitpde.fem.mesh import Point

QUICK = "--quick" in sys.argv
BEFORE, AFTER = 0.8, 2.0
sizes = (64, 128, 256, 512) if QUICK else (64, 128, 256, 512, 1024, 2048)
errors, overflows = [], []  # of the mass left at AFTER; at BEFORE
for n_max in sizes:
    model = Model(diffusion=[1.0] * n_max, beta={"kernel": "multiplicative"}, n_max=n_max)
    solver = Solver(model, Initial(masses=[{"n": 1, "shape": "uniform", "mass": 1.0}]), mesh=Point(), step=0.002)
    solver.solve(BEFORE)
    moment, overflow = solver.masses**2 @ solver.integrated, solver.figures()["mass_overflow"]
    solver.solve(AFTER)
    mass, gel = solver.masses @ solver.integrated, solver.figures()["mass_overflow"]
    print(
        f"n_max = {n_max:4d}: at t = {BEFORE} sum n^2 f_n = {moment:.4f}, overflow {overflow:.1e}; "
        f"at t = {AFTER:g} mass {mass:.4f}, gel {gel:.4f}"
    )
    assert abs(mass + gel - 1) < 1e-12, "mass and gel are not what there was"
    errors.append(abs(mass - 1 / AFTER))
    overflows.append(overflow)

print(f"exact: sum n^2 f_n = {exact.second_moment('multiplicative', BEFORE):.4f}; mass {1 / AFTER:.4f}")
assert abs(moment * (1 - BEFORE) - 1) < 1e-3, "the second moment is not 1 / (1 - t)"
assert overflows[-1] < 1e-6, "mass is lost before gelation"
assert all(fine < 0.8 * coarse for coarse, fine in itertools.pairwise(errors)), f"no limit: {errors}"
assert errors[-1] < 1e-4, "the mass left after gelation is not 1 / t"
