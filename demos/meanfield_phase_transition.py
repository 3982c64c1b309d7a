"""Claim: in a double well, particles that attract each other choose a side below a critical noise; where, is known.

    dX_i = -(X_i^3 - X_i) dt - (theta / N) sum_j (X_i - X_j) dt + sigma dB_i,    D = sigma^2 / 2, theta = 1

has the limit d_t rho = D rho'' + (rho (x^3 - x + theta (x - m)))', m = int x rho (Desai and Zwanzig 1978, Dawson 1983).
Its stationary densities solve m = int x rho_m, rho_m ~ exp(-(U + theta (x - m)^2 / 2) / D): m = 0 alone above the
critical D_c at which theta Var(rho_0) = D, and besides m = +-m(D) below, which then are the stable ones
(limitpde/meanfield/exact.py). U is a Python function below.

For each D, from m = 0.5: the solution goes to the stable m within 1e-6; N particles have the mean of the solution
within 4.5 standard errors and 4 / N.

Run: python demos/meanfield_phase_transition.py      -> results/meanfield_phase_transition/phase_transition.png
"""

import math
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

from limitpde import meanfield
from limitpde.densities import Gaussian
from limitpde.fem.mesh import Box
from limitpde.meanfield.exact import SelfConsistency
from limitpde.potentials import ExteriorFromFile, Harmonic
from limitpde.results import pictures, style
from limitpde.results.canvas import Canvas

QUICK = "--quick" in sys.argv
FOLDER = Path("results/meanfield_phase_transition_quick" if QUICK else "results/meanfield_phase_transition")
NOISES = (0.2, 0.8) if QUICK else (0.1, 0.2, 0.3, 0.4, 0.55, 0.8)  # D
COUNT, REPLICAS, END, LONG = (200, 60, 3.0, 100.0) if QUICK else (1000, 200, 6.0, 400.0)
THETA, REACH = 1.0, 4.0
FINITE = 4.0  # what finite N may leave, in units of 1 / N
START = meanfield.Initial(species=[[Gaussian(mass=1.0, center=(0.5,), width=0.5)]])


def double_well(x):
    """U and its gradient."""
    return (x**4 / 4 - x**2 / 2)[:, 0], x**3 - x


def law(D):
    """The self-consistency equation."""
    return SelfConsistency(lambda x: double_well(x)[0], attraction=THETA, diffusivity=D, reach=REACH)


def mean(solver):
    """int x rho."""
    return float(solver.nodes.sums.total(solver.masses[0] * solver.nodes.points[:, 0])[0])


def followed(D):
    """The stable m, m of the solution at the end of the particles and in the long run, and that of the particles."""
    model = meanfield.Model(
        dimension=1,
        sigma=math.sqrt(2 * D),
        interaction=Harmonic(strength=THETA),
        exterior=ExteriorFromFile(python=f"{__file__}:double_well"),
    )
    mesh = Box(size=2 * REACH, origin=-REACH, cell_size=0.05)
    means = []
    for end, step in ((END, 0.02), (LONG, 0.25)):
        solver = meanfield.Solver(model, START, mesh=mesh, step=step)
        solver.solve(end)
        means.append(mean(solver))
    particles = meanfield.simulate(model, START, count=COUNT, replicas=REPLICAS, step=0.01, end=END, seed=3)
    return max(law(D).solutions()), *means, particles.centre[:, -1, 0]


def main():
    """Follow all noises, print, assert, draw."""
    critical = brentq(lambda D: law(D).response(0.0) - 1, 0.05, 2.0)
    print(f"critical D = {critical:.6f}: below, m = 0 is unstable")
    print(f"    D  self-consistent m     equation  at t = {END:3g}  particles   stderr")
    found = []
    for D in NOISES:
        stable, then, late, cloud = followed(D)
        error = cloud.std(ddof=1) / math.sqrt(len(cloud))
        found.append((D, late, then, cloud.mean(), error))
        print(f"{D:5.2f} {stable:18.8f} {abs(late):12.8f} {then:10.5f} {cloud.mean():10.5f} {error:8.5f}")
        assert abs(late - stable) < 1e-6, f"D = {D}: the solution goes to {late}, not to {stable}"
        assert (stable > 0.1) == (critical > D), f"D = {D}: on the wrong side of the transition"
        room = 4.5 * error + FINITE / COUNT
        assert abs(cloud.mean() - then) < room, f"D = {D}: {cloud.mean()} of the particles, {then} of the equation"
    draw(found, critical)
    print("Where the solution goes is what self-consistency says, and the particles go with it.")


def draw(found, critical):
    """All self-consistent m over D, and where the solution and the particles went."""
    below = critical - (critical - 0.06) * np.linspace(1.0, 0.02, 60) ** 2
    side = np.array([max(law(D).solutions()) for D in below])
    D, late, then, cloud, error = np.array(found).T
    with style.styled():
        figure, axis = Canvas().subplots(figsize=(5.6, 3.8))
        axis.plot([*below, critical, 1.0], [*side, 0.0, 0.0], "k", label="self-consistent, stable")
        axis.plot([*below, critical], [*-side, 0.0], "k")
        axis.plot([below[0], critical], [0.0, 0.0], "k--", label="self-consistent, unstable")
        axis.axvline(critical, color="0.6", ls=":", label=f"critical $D$ = {critical:.4f}")
        axis.plot(D, late, "o", color="C0", mfc="none", ms=9, label=f"equation, $t$ = {LONG:g}")
        axis.plot(D, then, "s", color="C1", mfc="none", ms=8, label=f"equation, $t$ = {END:g}")
        label = rf"$N$ = {COUNT}, $t$ = {END:g}, $\pm$ 2 standard errors"
        pictures.means(axis, D, cloud, error, color="C1", ms=3, label=label)
        axis.set(
            xlabel=r"$D = \sigma^2 / 2$", ylabel=r"$m = \int x \, \rho$", title=rf"double well, $\theta$ = {THETA:g}"
        )
        axis.legend(loc="lower right")
        FOLDER.mkdir(parents=True, exist_ok=True)
        figure.savefig(FOLDER / "phase_transition.png")


if __name__ == "__main__":
    main()
