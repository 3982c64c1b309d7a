"""The signed system by NGSolve, as one of its users writes it: what `signed_accuracy.py` runs with another interpreter.

Galerkin elements of a degree on a curved disk, IMEX steps of SBDF2 with constant factorised matrices, multipole data of
the plane on the circle. Reads the problem and a degree, mesh size and number of steps as JSON from standard input;
writes the seconds of the steps, the unknowns of a density and rho_+ at the points asked for, as JSON.
"""

import json
import math
import sys
import time

import ngsolve as ng
import numpy as np
from netgen.geom2d import SplineGeometry


def main() -> None:
    """Solves one case."""
    case = json.load(sys.stdin)
    radius, degree, steps = case["radius"], case["degree"], case["steps"]
    D, gamma_bar, dt = case["diffusivity"], case["gamma_bar"], case["end"] / case["steps"]
    ng.SetNumThreads(1)
    geometry = SplineGeometry()
    geometry.AddCircle((0, 0), radius, bc="circle")
    mesh = ng.Mesh(geometry.GenerateMesh(maxh=case["cell_size"]))
    mesh.Curve(degree)
    V, V0 = ng.H1(mesh, order=degree), ng.H1(mesh, order=degree, dirichlet="circle")
    u, v = V.TnT()
    mass, stiffness = (
        ng.BilinearForm(form * ng.dx, symmetric=True).Assemble().mat for form in (u * v, ng.grad(u) * ng.grad(v))
    )
    poisson, from_load = stiffness.Inverse(V0.FreeDofs(), "sparsecholesky"), mass.Inverse(inverse="sparsecholesky")
    steppers = []
    for c in (1.0, 1.5):
        matrix = mass.CreateMatrix()
        matrix.AsVector().data = c * mass.AsVector() + dt * D * stiffness.AsVector()
        steppers.append(matrix.Inverse(inverse="sparsecholesky"))
    rho, psi = [ng.GridFunction(V), ng.GridFunction(V)], ng.GridFunction(V)
    for density, clouds in zip(rho, case["clouds"], strict=True):
        start = sum(
            m / (2 * math.pi * s) * ng.exp(-((ng.x - a) ** 2 + (ng.y - b) ** 2) / (2 * s)) for m, (a, b), s in clouds
        )
        density.vec.data = from_load * ng.LinearForm(start * v * ng.dx(bonus_intorder=4)).Assemble().vec
    moments, lifts = multipoles(V, v, radius)
    drifts = [
        ng.LinearForm(-b * gamma_bar * f * ng.grad(psi) * ng.grad(v) * ng.dx) for b, f in zip((1, -1), rho, strict=True)
    ]
    before, drift_before = [], []
    began = time.perf_counter()
    for step in range(steps):
        net = rho[0].vec.CreateVector()
        net.data = rho[0].vec - rho[1].vec
        psi.vec[:] = 0
        for moment, lift in zip(moments, lifts, strict=True):
            psi.vec.data += ng.InnerProduct(moment, net) * lift
        rest = net.CreateVector()
        rest.data = 2 * math.pi * mass * net - stiffness * psi.vec
        psi.vec.data += poisson * rest
        drift = []
        for form in drifts:
            form.Assemble()
            drift.append(form.vec.CreateVector(copy=True))
        now = [density.vec.CreateVector(copy=True) for density in rho]
        for s, density in enumerate(rho):
            if step == 0:
                rest.data = mass * now[s] + dt * drift[s]
            else:
                net.data = 2 * now[s] - 0.5 * before[s]
                rest.data = mass * net + 2 * dt * drift[s] - dt * drift_before[s]
            density.vec.data = steppers[min(step, 1)] * rest
        before, drift_before = now, drift
    seconds = time.perf_counter() - began
    points = np.array(case["points"])
    values = rho[0](mesh(points[:, 0], points[:, 1])).ravel()
    print(json.dumps({"seconds": seconds, "unknowns": V.ndof, "values": values.tolist()}))


def multipoles(V, v, radius: float) -> tuple[list, list]:
    """Functionals of the moments, and the boundary data that go with them."""
    moments, lifts = [], []
    for k in range(13):
        real, imaginary = ng.CoefficientFunction(1.0), ng.CoefficientFunction(0.0)
        for _ in range(k):
            real, imaginary = real * ng.x - imaginary * ng.y, real * ng.y + imaginary * ng.x
        for part in (real, imaginary) if k else (real,):
            moments.append(ng.LinearForm(part * v * ng.dx(bonus_intorder=k)).Assemble().vec)
            lift = ng.GridFunction(V)
            data = part / (k * radius ** (2 * k)) if k else -math.log(radius)
            lift.Set(data, definedon=V.mesh.Boundaries("circle"))
            lifts.append(lift.vec)
    return moments, lifts


if __name__ == "__main__":
    main()
