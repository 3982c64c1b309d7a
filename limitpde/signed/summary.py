"""What a run of the signed system says about itself in summary.json."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from limitpde.cautions import Caution
from limitpde.compare.statistics import deviation, mean_figures
from limitpde.fem.plane import PlanePoisson
from limitpde.fem.stepping import TOO_LONG, StepReport
from limitpde.fem.tally import Tally
from limitpde.signed.blow_up import RESOLVED, levels_reached
from limitpde.signed.case import Case
from limitpde.signed.confinement import HarmonicTrap
from limitpde.signed.estimates import estimates
from limitpde.signed.model import Model
from limitpde.signed.particles import Ensemble
from limitpde.signed.pde import Solver
from limitpde.signed.setting import OUTSIDE

OUTSIDE_WARNING = 1e-6
"""Share of the mass beyond 0.9 of the radius from which the boundary data of the plane are called into question."""


STEP_BIAS = 0.02
"""Part of the rate of the second moment that the particles' steps may add: the virial law then shows as much."""
PECLET_FITTED, PECLET_CORRECTED = 1.0, 20.0
"""max |v| h / (2 D) from which fitted fluxes diffuse by a third too much, and from which corrected ones err by more
than two per cent: int phi of two vortices by 1.7 % at 17, 6 % at 34 (tests/signed/test_transport.py)."""
MOST_REASONS = 20
"""Refusals of the gate that are kept word for word."""


class PDESummary(Tally[Solver]):
    """Takes in the steps of a solver, and gives the part `pde` of summary.json. Collective where it is made.

    Attributes:
        refused: attempts that the gate refused.
        reasons: why, for the first of them.
        shortened: attempts that the tolerance refused.
        amplified: "10", "100", ... -> time at which the largest density was so many times that of the start.
        highest: time and value of the largest density so far.
    """

    STATE = "signed.PDESummary 1"
    OWN = ("refused", "reasons", "shortened", "amplified", "highest", "last_peak")

    def __init__(self, solver: Solver, case: object = None) -> None:
        super().__init__(solver, case)
        self.refused, self.shortened = 0, 0
        self.reasons: list[str] = []
        self.amplified: dict[str, float] = {}
        self.highest = self.last_peak = [solver.t, self.first["maximum"]]
        self.largest |= self._more(self.first)

    @property
    def present(self) -> dict[str, str]:
        """Masses of the species that are there."""
        return {name: f"mass_{name}" for name in self.solver.densities}

    @property
    def masses(self) -> dict[str, str]:
        """Those that no step should change: none where charges annihilate."""
        return {} if self.solver.model.reaction else self.present

    def add(self, step: StepReport) -> None:
        """Take in one step."""
        super().add(step)
        by_gate = [reason for reason in step.refused if TOO_LONG not in reason]
        self.refused += len(by_gate)
        self.shortened += len(step.refused) - len(by_gate)
        room = max(MOST_REASONS - len(self.reasons), 0)
        self.reasons += [f"t = {step.t:.6g}: {reason}" for reason in by_gate[:room]]
        peak = [step.t, step.figures["maximum"]]
        self.amplified |= levels_reached(self.last_peak, peak, self.first["maximum"])
        self.last_peak, self.highest = peak, max(self.highest, peak, key=lambda pair: pair[1])

    def extremes(self, step: StepReport) -> dict[str, float]:
        """Numbers of a step of which the largest is kept."""
        increase = {"free_energy_increase": step.figures["free_energy_increase"]}
        found = self._more(step.figures) | increase | {"minus_step": -step.dt}
        peclet = step.figures.get("cell_peclet", math.inf)  # without noise there is none
        return found | {"cell_peclet": peclet} if math.isfinite(peclet) else found

    def _more(self, figures: dict[str, float]) -> dict[str, float]:
        return {"mass_outside": figures["mass_outside"], "nodes": figures.get("nodes", 0.0)}

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        found = super().warnings()
        share = self.largest["mass_outside"] / sum(self.first[mass] for mass in self.present.values())
        if OUTSIDE_WARNING < share <= OUTSIDE:  # above, it is a caution
            found.append(
                f"{share:.1e} of the mass came beyond 0.9 of the radius of the mesh: there the solution is that of a "
                "wall, not of the plane; take a larger radius"
            )
        if self.refused:
            attempts = "one attempt" if self.refused == 1 else f"{self.refused} attempts"
            found.append(f"the gate refused {attempts} at a step; the first at {self.reasons[0]}")
        return found

    def astray(self) -> float:
        """What has changed of the masses, and what came near the edge of the mesh."""
        return super().astray() + self.largest["mass_outside"]

    def cautions(self) -> list[Caution]:
        """Whether the scheme is in the range in which its order holds."""
        peclet = None if self.solver.degree > 1 else self.largest.get("cell_peclet")  # else undershoots tell
        found = [*super().cautions(), *self._edge_caution()]
        return found + ([self._peclet_caution(peclet)] if peclet is not None else [])

    def _edge_caution(self) -> list[Caution]:
        """Of mass that feels the edge of a disk which stands for the plane."""
        if not isinstance(self.solver.poisson, PlanePoisson):
            return []
        share = self.largest["mass_outside"] / sum(self.first[mass] for mass in self.present.values())
        text = (
            f"{share:.2g} of the mass came beyond 0.9 of the radius of the mesh, where it meets a wall that the plane "
            f"does not have: take a radius (pde.mesh) above {1.5 * self.solver.poisson.radius:.3g}"
        )
        return [Caution("mass_outside", share, OUTSIDE, text)]

    def _peclet_caution(self, peclet: float) -> Caution:
        """Of strong drifts on large cells."""
        solver = self.solver
        fitted = solver.transport == "fitted" or (solver.transport == "auto" and peclet <= solver.corrected_from)
        most = PECLET_FITTED if fitted else PECLET_CORRECTED
        remedy = ", or pde.transport = 'corrected'" if fitted else ""
        text = (
            f"the drift is strong for the cells: |v| h / (2 D) = {peclet:.3g} somewhere, which spreads densities; take "
            f"cells (pde.mesh) {peclet / most:.2g} times smaller{remedy}"
        )
        return Caution("cell_peclet", peclet, most, text)

    def figures(self) -> dict[str, Any]:
        """The part `pde` of summary.json."""
        largest = self.largest
        return {
            **super().figures(),
            **({"mass": {name: self.ends(mass) for name, mass in self.present.items()}} if not self.masses else {}),
            "second_moment": self.ends("second_moment") | self._moment_theory(),
            "centre": self.vectors("centre"),
            "free_energy": self.ends("free_energy") | {"largest_increase": largest.get("free_energy_increase")},
            "gate": {
                "refused": self.refused,
                "shortened": self.shortened,
                "smallest_step": -largest["minus_step"] if self.steps else None,
                "reasons": self.reasons,
            },
            **({"cell_peclet": largest["cell_peclet"]} if "cell_peclet" in largest else {}),
            "mass_outside": largest["mass_outside"],
            **({"mesh": self._mesh()} if "nodes" in self.first else {}),
            **({"blow_up": self._blow_up()} if self.solver.model.sense < 0 else {}),
        }

    def _mesh(self) -> dict[str, Any]:
        """How the mesh followed the densities."""
        nodes = self.ends("nodes") | {"largest": self.largest["nodes"]}
        return {
            "nodes": {name: int(count) for name, count in nodes.items()},
            "changes": int(self.last["mesh_changes"]),
            "free_energy_moved": self.last["free_energy_moved"],
        }

    def _moment_theory(self) -> dict[str, float]:
        """What the virial law says of the second moment in the plane: its rate, or with a harmonic U its end."""
        solver, model, first = self.solver, self.solver.model, self.first
        if not isinstance(solver.poisson, PlanePoisson):
            return {}
        mass = sum(solver.mass)
        net = sum(b * m for b, m in zip(solver.charges, solver.mass, strict=True))
        rate = 4 * model.D * mass + model.coupling * net**2
        if model.reaction or (model.interaction == "rotated" and len(solver.mass) > 1):
            return {}  # the law is that of the net charge
        if model.confinement is None:
            return {"rate_theory": rate}
        if not isinstance(model.confinement, HarmonicTrap):
            return {}
        centre = np.array([first["centre_x"], first["centre_y"]])
        end = model.confinement.second_moment(
            solver.t, mass=mass, centre=centre, moment=first["second_moment"], rate=rate
        )
        return {"end_theory": end}

    def _blow_up_time(self) -> dict[str, float]:
        """When it comes, where this mesh no longer resolves the density."""
        solver = self.solver
        if self.last.get("cell_share", 0.0) < RESOLVED:
            return {}
        times = {"not_before": solver.resolved, "expected": solver.expected_time}
        return {name: time for name, time in times.items() if time is not None}

    def _blow_up(self) -> dict[str, Any]:
        """What an attractive density did: whether it must collapse, and how far it has."""
        solver, first, mass = self.solver, self.first, sum(self.solver.mass)
        gamma_bar = float(solver.model.gamma_bar or 0.0)
        return {
            "critical_mass": 4 * solver.model.D / gamma_bar if gamma_bar > 0 else None,
            "mass": mass,
            "latest_time_theory": solver.latest_time,
            **self._blow_up_time(),
            "peak": {"start": first["maximum"], "largest": self.highest[1], "time": self.highest[0]},
            "amplification_times": self.amplified,
            "largest_cell_share": self.last.get("cell_share"),
        }


def particle_figures(model: Model, ensemble: Ensemble) -> dict[str, Any]:
    """One entry of the list `particles` of summary.json."""
    found = mean_figures(ensemble.second_moment)
    moment: dict[str, Any] = {
        name: {key: value and value[k] for key, value in found.items()} for name, k in (("start", 0), ("end", -1))
    }
    gamma, count = model.pair_strength(ensemble.count), ensemble.count
    positive, negative = ensemble.positive, count - ensemble.positive
    charge = positive * model.charges[0] + negative * model.charges[1]
    fewest = int(np.minimum(positive, negative).max())
    attracted = model.interaction == "attractive" or (model.interaction == "signed" and fewest > 0)
    stuck = attracted and (ensemble.collision != "through" or gamma >= model.sigma**2)  # that breaks the law
    vortices = model.interaction == "rotated"  # of one sign, they turn about each other at their distances
    lawful = fewest == 0 if vortices else not (stuck or ensemble.collapsed)
    if model.confinement is None and lawful:
        drift = 0.0 if vortices else model.sense * gamma * (charge**2 - count) / count
        law = 2 * model.sigma**2 + drift * np.ones(len(ensemble.replicas))  # given the signs
        moment["rate_theory"] = float(law.mean())
        growth = ensemble.second_moment[:, -1] - ensemble.second_moment[:, 0]
        rate = law + 4 * ensemble.mean_extra_diffusivity
        if model.sigma > 0:  # else there is no noise that a deviation could be held against
            moment["deviation"] = deviation(growth - rate * ensemble.times[-1])
    return {
        "N": count,
        **_sign_figures(positive, count),
        "gamma": gamma,
        "sigma": model.sigma,
        "replicas": len(ensemble.replicas),
        "steps": ensemble.steps,
        "eps": ensemble.eps,
        "second_moment": moment,
        "regime": model.regime(int(positive[0]), int(negative[0])),
        **_stepping_figures(ensemble),
        **_collision_figures(model, ensemble),
        **({"estimates": estimates(model, ensemble)} if ensemble.estimates else {}),
    }


def _sign_figures(positive: np.ndarray, count: int) -> dict[str, Any]:
    """Numbers of both signs; of random ones their means, and beta_0 of (5.4), the smallest share of a sign."""
    if (positive == positive[0]).all():
        return {"positive": int(positive[0]), "negative": count - int(positive[0])}
    found = mean_figures(positive.astype(float))
    least = float(np.minimum(positive, count - positive).min() / count)
    more = {"positive_stderr": found["stderr"], "beta_0": least}
    return {"positive": found["mean"], "negative": count - found["mean"], **more}


def _stepping_figures(ensemble: Ensemble) -> dict[str, Any]:
    """What random batches add to the diffusivity, and into how many parts steps were cut, where they were."""
    found: dict[str, Any] = {}
    if ensemble.batch_size is not None:
        extra = mean_figures(ensemble.mean_extra_diffusivity)
        found["random_batches"] = {
            "batch_size": ensemble.batch_size,
            "extra_diffusivity": extra["mean"],
            "extra_diffusivity_stderr": extra["stderr"],
        }
    if ensemble.substeps > 1:
        found["substeps"] = {"most": ensemble.substeps, "mean": float(ensemble.parts.mean() / ensemble.steps)}
    return found


def _collision_figures(model: Model, ensemble: Ensemble) -> dict[str, Any]:
    """What the steps saw of collisions: the fraction of replicas with one, how many there were, who has survived."""
    found: dict[str, Any] = {}
    if ensemble.sees_collisions:
        fraction = mean_figures(ensemble.collided.astype(float))
        found |= {"collisions": fraction["mean"], "collisions_stderr": fraction["stderr"]}
    if ensemble.partners.size:
        found["meetings"] = mean_figures((ensemble.partners >= 0).sum(axis=1) / 2)
    if ensemble.collision == "annihilate":
        survivors = mean_figures(ensemble.survivors.astype(float))
        found["survivors"] = {"times": ensemble.times.tolist(), **survivors}
        found["annihilated_fraction"] = 1 - survivors["mean"][-1] / ensemble.count
    return found


def particle_cautions(case: Case, ensemble: Ensemble) -> list[Caution]:
    """Whether the particles are simulated in the range of their steps."""
    model = case.scaling.particles(ensemble.count)
    scale = 2 * model.sigma**2 + ensemble.pull
    rate = float(np.trapezoid(ensemble.mean_step_bias, ensemble.times)) / ensemble.times[-1]
    share = abs(rate) / scale if scale > 0 else 0.0
    if ensemble.collapsed:
        remedy = "the particles have collapsed, and nothing is expected of them from there on; end before (time.end)"
    else:
        remedy = (
            f"take a step (particles.step) {STEP_BIAS / max(share, 1e-300):.1g} times as long, or particles.substeps"
        )
    text = f"N = {ensemble.count}: the steps change the rate of the second moment by {rate:.2g}: {remedy}"
    return [Caution("step_bias", share, STEP_BIAS, text), *_cluster_caution(model, ensemble)]


def _cluster_caution(model: Model, ensemble: Ensemble) -> list[Caution]:
    """Of few charges that come together: R of k of them has the dimension (k - 1) (2 - k gamma / sigma^2) ((4.26))."""
    if model.interaction != "attractive" or model.sigma == 0 or ensemble.count < 3:
        return []
    k = np.arange(3, ensemble.count + 1)
    dimensions = (k - 1) * (2 - k * model.pair_strength(ensemble.count) / model.sigma**2)
    if not (dimensions > 0).any():
        return []
    least = float(dimensions[dimensions > 0].min())
    text = (
        f"N = {ensemble.count}: {k[dimensions == least][0]} charges come together like a squared Bessel process of "
        f"dimension {least:.2g}, so the error of the steps falls like step^{least / 2:.2g} only; take a weaker gamma"
    )
    return [Caution("cluster_dimension", 1 / least, 1.0, text)]


def particle_warnings(case: Case, ensemble: Ensemble) -> list[str]:
    """What a user must know before comparing the particles with the equation."""
    found, initial = [], case.initial
    if ensemble.scattered.any():
        numbers = ", ".join(map(str, np.flatnonzero(ensemble.scattered)))
        found.append(
            f"N = {ensemble.count}: W of the charged test functions ({numbers}) does not converge, as it holds terms "
            "like 1/r of pairs of opposite charges, whose square is not integrable in time: its mean and variance say "
            "nothing; take functions without charge"
        )
    if initial.points is not None:
        return found
    share = float(ensemble.positive[0]) / ensemble.count
    if initial.signs == "random" or math.isclose(share, initial.mass(0), abs_tol=1e-9):
        return found
    masses = f"{share:.6g} and {1 - share:.6g} instead of {initial.mass(0):.6g} and {initial.mass(1):.6g}"
    return [*found, f"N = {ensemble.count}: whole particles give the masses {masses}, which biases charged observables"]
