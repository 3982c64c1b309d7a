"""Claim: charges that annihilate leave the share that the limit with the reaction -4 pi gamma_bar rho_+ rho_- leaves.

"How much of the density is annihilated" is left open by van Meurs, Peletier and Slangen (section 1.6). Two opposite
charges at a distance r meet before t with the probability Q(a, r^2 / (4 sigma^2 t)), a = gamma / sigma^2; summed over
the plane that is 4 pi gamma t, free of sigma: Langevin's rate of recombination. So with gamma = gamma_bar / N

    d_t rho_+- +- gamma_bar div(rho_+- K * (rho_+ - rho_-)) = D Lap rho_+- - 4 pi gamma_bar rho_+ rho_-.

Both signs are the same Gaussian of width 1 here, so that rho_+ = rho_- solves d_t h = D Lap h - 4 pi gamma_bar h^2.

1. The solver reaches the share of an independent radial computation, 0.8134 at t = 0.5 for gamma_bar = 1.2; both signs
   lose the same, to rounding.
2. Particles reach it for N = 64, 256, 1024, at steps of 0.02 and of 0.005.
3. Without noise they come near it only: the equation leaves ln(1 + gamma_bar t) / (gamma_bar t) = 0.7833, particles
   0.7787 for N = 64 to 4096, as neighbours, within whose distance charges meet, are not independent then.
4. The first collision (Theorem 3.1) among N charges is as probable whatever they do then, and whatever the step.

Run: python demos/signed_annihilation.py [--picture FILE]      (five minutes)
"""

import math
import sys

import numpy as np
from scipy.integrate import solve_ivp

import limitpde  # noqa: F401  (MPI first)
from limitpde.densities import Gaussian
from limitpde.fem.mesh import Disk
from limitpde.results import pictures, style
from limitpde.results.canvas import Canvas
from limitpde.signed import Initial, Model, Solver
from limitpde.signed.particles import Ensemble, simulate

QUICK = "--quick" in sys.argv
HALF = Gaussian(mass=0.5, center=(0.0, 0.0), width=1.0)
EQUAL = Initial(positive=(HALF,), negative=(HALF,))
GAMMA_BAR, END = 1.2, 0.5
TIMES = np.linspace(0.0, END, 6)
SURE = 4.0  # standard errors
QUIET = 0.7787  # share that is left without noise, of N = 64, 256, 1024, 4096 alike
COUNTS = {64: 200, 256: 60} if QUICK else {64: 1000, 256: 300, 1024: 100}  # N -> replicas
STEPS = (0.05, 0.02) if QUICK else (0.02, 0.005)


def radial_share(gamma_bar: float, diffusivity: float) -> np.ndarray:
    """Share of the charges that are left at TIMES, by finite volumes in the radius."""
    edges = np.linspace(0.0, 9.0, 1201)
    middle, h, area = (edges[1:] + edges[:-1]) / 2, edges[1], np.pi * np.diff(edges**2)

    def change(t: float, density: np.ndarray) -> np.ndarray:
        flux = np.concatenate([[0.0], 2 * np.pi * edges[1:-1] * np.diff(density) / h, [0.0]])
        return diffusivity * np.diff(flux) / area - 4 * np.pi * gamma_bar * density**2

    start = 0.5 / (2 * np.pi) * np.exp(-(middle**2) / 2)
    found = solve_ivp(change, (0.0, END), start, "LSODA", t_eval=TIMES, rtol=1e-9, atol=1e-13, lband=1, uband=1)
    return 2 * area @ found.y


def equation() -> None:
    """1: the solver against the radial computation."""
    radial = radial_share(GAMMA_BAR, 0.5)[-1]
    print(f"radial computation: {radial:.5f} left at t = {END}")
    assert abs(radial - 0.81341) < 2e-5
    model = Model(sigma=1.0, gamma_bar=GAMMA_BAR, annihilation=True)
    for degree, cell, step in ((1, 0.2, 0.01), (2, 0.4, 0.05)):
        solver = Solver(model, EQUAL, mesh=Disk(radius=8.0, cell_size=cell), step=step, degree=degree)
        solver.solve(END)
        masses = [solver.figures()[f"mass_{sign}"] for sign in ("positive", "negative")]
        print(f"degree {degree}: {sum(masses):.5f}, signs differ by {abs(masses[0] - masses[1]):.1e}")
        assert abs(sum(masses) - radial) < 4e-4, "the equation leaves another share"
        assert abs(masses[0] - masses[1]) < 1e-13, "the signs lose different masses"


def left(ensemble: Ensemble) -> tuple[np.ndarray, np.ndarray]:
    """Share that is left at TIMES, and its standard error."""
    share = ensemble.survivors / ensemble.count
    return share.mean(axis=0), share.std(axis=0, ddof=1) / math.sqrt(len(share))


def particles() -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """2: all N and steps; returns the shares of the shortest step."""
    model, expected, found = Model(sigma=1.0, gamma_bar=GAMMA_BAR), radial_share(GAMMA_BAR, 0.5)[-1], {}
    for count, replicas in COUNTS.items():
        for step in STEPS:
            run = simulate(
                model, EQUAL, count=count, replicas=replicas, step=step, end=END, stops=TIMES, seed=1,
                collision="annihilate",
            )  # fmt: skip
            found[count] = share, error = left(run)
            print(f"N = {count:4d}, step {step:5.3f}: {share[-1]:.4f} +- {error[-1]:.4f} left")
            assert abs(share[-1] - expected) < SURE * error[-1] + 0.5 / count, "the particles leave another share"
    return found


def noiseless() -> None:
    """3: sigma = 0."""
    model, law = Model(sigma=0.0, gamma_bar=GAMMA_BAR), math.log1p(GAMMA_BAR * END) / (GAMMA_BAR * END)
    for count, replicas in ({256: 40} if QUICK else {64: 6000, 256: 2000, 1024: 300, 4096: 60}).items():
        run = simulate(model, EQUAL, count=count, replicas=replicas, step=0.02, end=END, seed=7, collision="annihilate")
        share, error = left(run)
        print(f"without noise, N = {count}: {share[-1]:.4f} +- {error[-1]:.4f} left, by the equation {law:.4f}")
        assert abs(share[-1] - QUIET) < SURE * error[-1], "without noise another share is left"
        assert QUICK or law - share[-1] > 2 * error[-1], "without noise the mean field holds"


def first_collisions() -> None:
    """4: N = 6, whatever charges do, and whatever the step."""
    replicas, seen = 1000 if QUICK else 6000, []
    for collision, step in (("annihilate", 0.05), ("annihilate", 0.01), ("stick", 0.02), ("through", 0.02)):
        run = simulate(
            Model(sigma=1.0, gamma_bar=0.6), EQUAL, count=6, replicas=replicas, step=step, end=END, seed=len(seen),
            pairs="exact", collision=collision, estimate_eps=(0.2, 0.1),
        )  # fmt: skip
        share = float(run.collided.mean())
        seen.append((share, math.sqrt(share * (1 - share) / replicas)))
        print(f"N = 6, {collision:10}, step {step}: a collision with probability {share:.4f} +- {seen[-1][1]:.4f}")
    for share, error in seen[1:]:
        assert abs(share - seen[0][0]) < SURE * math.hypot(error, seen[0][1]), (
            "they depend on the step, or on what follows"
        )


def draw(path: str, shares: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    """What is left over time, of particles and of the limit."""
    with style.styled():
        figure, axes = Canvas().subplots(figsize=(5.6, 3.8))
        axes.plot(TIMES, radial_share(GAMMA_BAR, 0.5), "k", label="limit with the reaction")
        axes.axhline(1.0, color="0.6", ls=":", label="limit without it")
        for k, (count, (share, error)) in enumerate(shares.items()):
            label = rf"$N$ = {count}, $\pm$ 2 standard errors"
            places = pictures.beside(TIMES, k, len(shares))
            pictures.means(axes, places, share, error, label=label, **style.of_count(k, len(shares)))
        axes.set(xlabel="$t$", ylabel="share of the charges that is left")
        axes.legend()
        figure.savefig(path)


if __name__ == "__main__":
    equation()
    SHARES = particles()
    noiseless()
    first_collisions()
    if "--picture" in sys.argv:
        draw(sys.argv[sys.argv.index("--picture") + 1], SHARES)
