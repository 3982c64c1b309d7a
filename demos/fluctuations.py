"""Claim: how N particles fluctuate about their limit follows from the equation alone, linearised and solved backwards.

sqrt(N) int phi d(L^N_T - rho_T) tends to a Gaussian variable whose variance the adjoint of the linearised equation
gives (limitpde/signed/fluctuations.py, limitpde/vlasov/fluctuations.py; docs/fluctuations.md), before any particle
moves. It is not that of independent particles with the same law, int phi^2 rho_T - (int phi rho_T)^2: repulsion damps
fluctuations, attraction feeds them. Four cases:

    repulsive charges   gamma_bar = 2 from a Gaussian cloud (another solver: 0.0512931)
    signed charges      two clouds, gamma_bar = 1.5, phi(x, b) = b cos(k . x + 0.3)
    plasma (Vlasov)     repulsive Poisson forces, a wave of amplitude 0.3
    HMF (Vlasov)        the attractive cosine

Replicas: N Var within 4.5 standard errors of the prediction for the largest N; the variance of independent particles is
refuted; Var falls like 1/N, so that L^N is deterministic in the limit (van Meurs-Peletier-Slangen, Remark 5.5).

Run: python demos/fluctuations.py      -> results/fluctuations/fluctuations.png   (two minutes)
"""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from limitpde import signed, vlasov
from limitpde.compare.fluctuations import Prediction, variance_rates
from limitpde.compare.spatial import evaluate
from limitpde.compare.statistics import variance_and_stderr
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import Gaussian
from limitpde.fem.mesh import Disk
from limitpde.potentials import Cosine, Poisson
from limitpde.results import pictures, style
from limitpde.results.canvas import Canvas
from limitpde.signed.fluctuations import covariance_of_charges
from limitpde.vlasov.fluctuations import covariance_of_newton

QUICK = "--quick" in sys.argv
FOLDER = Path("results/fluctuations_quick" if QUICK else "results/fluctuations")
COUNTS, REPLICAS = ((16, 64), 600) if QUICK else ((16, 64, 256), 4000)
CHANCE, PROOF = 4.5, 6.0  # standard errors by chance; those that refute
CIRCLE = {"x": (0.0, 2 * math.pi), "v": (-6.0, 6.0)}
BUMP, CHARGED, WAVE = (
    GaussianBump(center=(0.4, 0.0), width=0.9),
    Wave(k=(1.0, 0.5), phase=0.3, charge=True),
    Wave(k=(1.0, 0.0), phase=0.3),
)
CLOUD = signed.Initial(positive=[Gaussian(mass=1.0, center=(0.0, 0.0), width=0.7)])
PAIR = signed.Initial(
    positive=[Gaussian(mass=0.6, center=(-0.8, 0.1), width=0.6)],
    negative=[Gaussian(mass=0.4, center=(0.7, 0.0), width=0.5)],
)
LANDAU = vlasov.Landau(k=1.0, amplitude=0.3, thermal=0.8)
SIGNED = {  # name: (model, initial density, phi)
    "repulsive charges": (signed.Model(sigma=1.0, gamma_bar=2.0, interaction="repulsive"), CLOUD, BUMP),
    "signed charges": (signed.Model(sigma=1.0, gamma_bar=1.5), PAIR, CHARGED),
}
VLASOV = {
    "plasma": (vlasov.Model(potential=Poisson(strength=1.0), domain=CIRCLE), replace(LANDAU, mass=2 * math.pi), WAVE),
    "HMF": (vlasov.Model(potential=Cosine(strength=-1.0), domain=CIRCLE), LANDAU, WAVE),
}


def of_charges(model, initial, phi, end=0.5):
    """The prediction, its error, what independent particles would have, and the ensembles."""

    def solver(cell):
        return signed.Solver(model, initial, mesh=Disk(radius=6.0, cell_size=cell), step=cell / 10)

    fine, levels = solver(0.1), []
    levels.append(covariance_of_charges(fine, [phi], end)[None])
    levels.append(covariance_of_charges(solver(0.2), [phi], end)[None])
    value = evaluate(phi, fine.graph.points)[0]
    alone = 0.0
    for charge, density in zip(fine.charges, fine.now.densities, strict=True):
        mass, seen = fine.graph.area * density, value * (charge if phi.charge else 1.0)
        square, mean, whole = fine.sums.total(mass * seen**2, mass * seen, mass)
        alone += square - mean**2 / whole
    options = {"replicas": REPLICAS, "step": 0.01, "end": end, "seed": 11, "test_functions": [phi]}
    return Prediction.of(levels, 2.0), alone, [signed.simulate(model, initial, count=n, **options) for n in COUNTS]


def of_newton(model, initial, phi, end=2.0):
    """The same of Newton's particles."""

    def solver(n):
        return vlasov.Solver(model, initial, cells=[16 * n, 24 * n], step=0.2 / n)

    fine = solver(2)
    levels = [covariance_of_newton(made, [phi], end)[None] for made in (fine, solver(1))]
    x, ones = fine.space.x_points[..., 0], [np.ones((1, len(fine.space.v_nodes[0])))]
    rho, value = fine.form.velocity_integrals(ones)[0], np.cos(x + phi.phase)
    mass, mean, square = fine.space.integrate_x(np.stack([rho, rho * value, rho * value**2]))
    options = {"replicas": REPLICAS, "step": 0.05, "end": end, "seed": 12, "test_functions": [phi]}
    return (
        Prediction.of(levels, 4.0),
        float(mass * square - mean**2),
        [vlasov.simulate(model, initial, count=n, **options) for n in COUNTS],
    )


def check(name, found):
    """Print what was found, assert the claim; returns what is drawn."""
    prediction, alone, ensembles = found
    theory, measured = float(prediction.variances[0]), []
    for ensemble in ensembles:
        variance, stderr = variance_and_stderr(ensemble.observables[:, 0, -1])
        count, value, error = ensemble.count, ensemble.count * variance, ensemble.count * stderr
        measured.append((count, value, error))
        off = (value - theory) / error
        print(f"{name:18} {count:5d} {theory:10.5f} {value:10.5f} {error:9.5f} {off:+6.1f} {alone:12.5f}")
    rate = next(variance_rates(ensembles, prediction))
    power = f"N^{rate['slope']:.3f} (95 %: {rate['low']:.3f} to {rate['high']:.3f})"
    print(f"{name:18} predicted to {prediction.errors[-1, 0, 0]:.2g}; Var is like {power}")
    count, value, error = measured[-1]
    assert abs(value - theory) < CHANCE * error, f"{name}: N Var is {value} +- {error}, not {theory}"
    assert abs(value - alone) > PROOF * error, f"{name}: {alone}, of independent particles, is not refuted"
    assert rate["low"] - 0.05 < -1 < rate["high"] + 0.05, f"{name}: the variance is like N^{rate['slope']}"
    return name, theory, alone, np.array(measured)


def draw(cases):
    """N Var over N: replicas, the prediction, and independent particles."""
    with style.styled():
        figure, panels = Canvas().subplots(2, 2, figsize=(5.6, 4.6), sharex=True)
        for axes, (name, theory, alone, measured) in zip(panels.flat, cases, strict=True):
            axes.axhline(theory, color="k", label="linearised equation")
            axes.axhline(alone, color="0.6", ls="--", label="independent particles")
            label = r"replicas, $\pm$ 2 standard errors"
            pictures.means(axes, measured[:, 0], measured[:, 1], measured[:, 2], label=label)
            top = max(theory, alone, *(measured[:, 1] + 2 * measured[:, 2]))
            axes.set(xscale="log", title=name, ylim=(0, 1.1 * top))
            axes.set_xticks(COUNTS, map(str, COUNTS))
            axes.set_xticks([], minor=True)
        for axes in panels[1]:
            axes.set_xlabel("$N$")
        for axes in panels[:, 0]:
            axes.set_ylabel(r"$N \, \mathrm{Var} \int \varphi \, dL^N$")
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        FOLDER.mkdir(parents=True, exist_ok=True)
        figure.savefig(FOLDER / "fluctuations.png")


print(f"{'':18} {'N':>5} {'predicted':>10} {'N Var':>10} {'stderr':>9} {'off by':>6} {'independent':>12}")
found = [check(name, of_charges(*case)) for name, case in SIGNED.items()]
draw([*found, *(check(name, of_newton(*case)) for name, case in VLASOV.items())])
print("The linearised equation predicts the fluctuations of the particles; independence does not.")
