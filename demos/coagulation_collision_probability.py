"""Claim: the rate beta follows from the chance u(x) that a pair ever reacts; finite elements find both.

-Lap u = alpha / (d(n) + d(m)) V (1 - u), u -> 0 (Hammond (1.8)); beta = alpha int V (1 - u) (1.9). For an ellipsoidal V
the recipe solves an integral equation by FFT; here (1.8) is solved by finite elements on a ball, with the condition of
Robin that stands for the space outside. u is written as a field for ParaView.

Run: mpiexec -n 2 python -m mpi4py demos/coagulation_collision_probability.py   -> results/collision_probability.vtkhdf
"""

import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

from limitpde.coagulation import Model, beta, collision_probability, naive
from limitpde.coagulation.rates.finite_elements import beta_fem
from limitpde.fem.mesh import Ball, build
from limitpde.results.fields import FieldSeries

QUICK = "--quick" in sys.argv
model = Model(diffusion=[1.0], interaction={"shape": "ellipsoid", "axes": [0.7, 0.7, 1.4], "alpha": 20.0}, n_max=1)
recipe, unhindered = float(beta(model)[0, 0]), float(naive(model, np.array(1), np.array(1)))
elements = beta_fem(model, 1, 1)

mesh = build(Ball(radius=3.0, cell_size=0.5 if QUICK else 0.25), MPI.COMM_WORLD, dimension=3)
u = collision_probability(model, 1, 1).field(mesh)
path = Path(f"results/collision_probability{'_quick' if QUICK else ''}.vtkhdf")
path.parent.mkdir(exist_ok=True)
FieldSeries(path, mesh).write(0.0, {"collision_probability": u})
lowest, highest = u.x.array.min(initial=1.0), u.x.array.max(initial=0.0)
lowest, highest = MPI.COMM_WORLD.allreduce(lowest, op=MPI.MIN), MPI.COMM_WORLD.allreduce(highest, op=MPI.MAX)

if MPI.COMM_WORLD.rank == 0:
    print(f"beta = {recipe:.8f} by the integral equation, {elements.beta:.6f} on {elements.dofs} unknowns")
    print(f"u from {lowest:.4f} to {highest:.4f}; the naive rate is {unhindered:g}; the field is in {path}")
assert abs(elements.beta / recipe - 1) < 1e-4, "the two solutions of (1.8) give different rates"
assert 0 < lowest < highest < 1, "u is no probability"
