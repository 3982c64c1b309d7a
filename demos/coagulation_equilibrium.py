"""Claim: in equilibrium, particles that merge and split fluctuate like an Ornstein-Uhlenbeck process.

Masses 1 and 2 on a torus, 1 + 1 <-> 2, started in balance (limitpde/coagulation/fluctuations.py; [24, Conjecture 2.1]
of Hammond's paper). The covariances over a lag t of the Fourier modes of both densities tend to those of

    dY = (d(n) Lap + R'(f)) Y dt + noise,      N Cov(Y_n(s), Y_m(s + t)) = Z / 2 (exp(t (R'(f) - |k|^2 d)) diag(f))_mn.

Replicas: six waves of the smallest k, every pair of masses and every lag, within 4.5 standard errors. What Brownian
motion alone would do, exp(-d |k|^2 t), is refuted, and so is an equilibrium without exchange between the masses: a wave
of mass 1 becomes one of mass 2.

Run: python demos/coagulation_equilibrium.py     -> results/coagulation_equilibrium/covariances.png   (three minutes)
"""

import math
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from limitpde.coagulation import Initial, Model, simulate
from limitpde.coagulation.fluctuations import dimer_equilibrium, equilibrium_covariance
from limitpde.compare.test_functions import Wave
from limitpde.domains import Domain

QUICK = "--quick" in sys.argv
FOLDER = Path("results/coagulation_equilibrium_quick" if QUICK else "results/coagulation_equilibrium")
COUNT, REPLICAS = (100, 150) if QUICK else (400, 600)
CHANCE, PROOF = 4.5, 3.0 if QUICK else 6.0  # standard errors by chance; those that refute
LAGS = np.linspace(0.0, 1.0, 6)
K = 2 * math.pi
MODEL = Model(
    dimension=3,
    diffusion=(0.02, 0.01),
    interaction={"shape": "ball", "alpha": ((1.0, 0.0), (0.0, 0.0))},
    fragmentation={"rate": 2.0},
    n_max=2,
)

f = dimer_equilibrium(MODEL, 2.0)
theory = equilibrium_covariance(MODEL, f, (K, 0.0, 0.0), LAGS)
alone = f.sum() / 2 * f * np.exp(-np.outer(LAGS, MODEL.d(np.array([1, 2]))) * K**2)
waves = [Wave(k=tuple(k), phase=phase, n=n) for n in (1, 2) for k in K * np.eye(3) for phase in (0.0, -math.pi / 2)]
initial = Initial(masses=[{"n": n, "shape": "uniform", "mass": float(f[n - 1])} for n in (1, 2)])
ensemble = simulate(
    MODEL,
    initial,
    count=COUNT,
    replicas=REPLICAS,
    end=float(LAGS[-1]),
    stops=LAGS[1:-1],
    domain=Domain.torus(np.ones(3)),
    test_functions=waves,
    seed=5,
)
modes = ensemble.observables.reshape(REPLICAS, 2, len(waves) // 2, len(LAGS))

# products over all pairs of times with a lag: means over waves and starts, then over replicas
products = np.stack(
    [
        COUNT
        * np.einsum("rnws,rmws->rnm", modes[..., : len(LAGS) - k], modes[..., k:])
        / (len(waves) // 2)
        / (len(LAGS) - k)
        for k in range(len(LAGS))
    ]
)
measured, errors = products.mean(axis=1), products.std(axis=1, ddof=1) / math.sqrt(REPLICAS)

print(f"f = {f[0]:.4f}, {f[1]:.4f}; {ensemble.events.mean():.0f} reactions of each of {REPLICAS} replicas, N = {COUNT}")
print("lag  masses  predicted  measured    stderr  off by   Brownian motion alone")
for k, lag in enumerate(LAGS):
    for n, m in ((0, 0), (0, 1), (1, 0), (1, 1)):
        off = (measured[k, n, m] - theory[k, n, m]) / errors[k, n, m]
        free = alone[k, n] if n == m else 0.0
        print(
            f"{lag:3.1f}  {n + 1} -> {m + 1}  {theory[k, n, m]:9.4f} {measured[k, n, m]:9.4f} {errors[k, n, m]:9.4f}"
            f"  {off:+6.1f}   {free:9.4f}"
        )
deviations = (measured - theory) / errors
assert np.abs(deviations).max() < CHANCE, f"the covariances are off by {np.abs(deviations).max():.1f} standard errors"
refuted = (alone[-1, 0] - measured[-1, 0, 0]) / errors[-1, 0, 0]
assert refuted > PROOF, f"Brownian motion alone is not refuted: {refuted:.1f} standard errors"
crossed = (products[-2:, :, 0, 1] + products[-2:, :, 1, 0]).mean(axis=0)
exchanged = crossed.mean() / (crossed.std(ddof=1) / math.sqrt(REPLICAS))
assert exchanged > PROOF, f"no exchange between the masses is seen: {exchanged:.1f} standard errors"

canvas = Figure(figsize=(10, 3.2), layout="constrained")
panels = canvas.subplots(1, 3)
for axes, (n, m) in zip(panels, ((0, 0), (0, 1), (1, 1)), strict=True):
    axes.errorbar(LAGS, measured[:, n, m], 2 * errors[:, n, m], fmt="o", label="replicas, 2 standard errors")
    axes.plot(LAGS, theory[:, n, m], label="linearised equation")
    axes.plot(LAGS, alone[:, n] if n == m else 0 * LAGS, "--", color="gray", label="Brownian motion alone")
    axes.set(
        xlabel="lag $t$", title=f"mass {n + 1}, then mass {m + 1}", ylim=(min(-0.02, measured[:, n, m].min()), None)
    )
panels[0].set_ylabel("N Cov")
panels[0].legend(fontsize="small")
FOLDER.mkdir(parents=True, exist_ok=True)
canvas.savefig(FOLDER / "covariances.png", dpi=80)
print(f"The linearised equation predicts the covariances in time; Brownian motion alone is {refuted:.0f} errors off.")
