"""What a run of the signed system says about itself in summary.json."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from limitpde.compare.statistics import deviation, mean_and_stderr
from limitpde.fem.plane import PlanePoisson
from limitpde.fem.stepping import TOO_LONG, StepReport
from limitpde.signed.blow_up import latest_time, levels_reached
from limitpde.signed.case import Case
from limitpde.signed.confinement import HarmonicTrap
from limitpde.signed.estimates import estimates
from limitpde.signed.galerkin import GalerkinSolver
from limitpde.signed.model import Model
from limitpde.signed.particles import Ensemble
from limitpde.signed.pde import Solver

OUTSIDE_WARNING = 1e-6
"""Share of the mass beyond 0.9 of the radius from which the boundary data of the plane are called into question."""


MOST_REASONS = 20
"""Refusals of the gate that are kept word for word."""


class PDESummary:
    """Takes in the steps of a solver, and gives the part `pde` of summary.json. Collective where it is made.

    Args:
        solver: at time 0.
        case: which asks for no figures of its own.

    Attributes:
        first: the figures at time 0.
        steps: steps taken in.
    """

    def __init__(self, solver: Solver | GalerkinSolver, case: object = None) -> None:
        self._solver = solver
        self.first = self._last = solver.figures()
        self._names = list(solver.densities)
        self.steps, self._refused, self._shortened, self._smallest_step = 0, 0, 0, float("inf")
        self._reasons: list[str] = []
        self._minimum, self._largest_increase = self.first["minimum"], float("-inf")
        self._drift = dict.fromkeys(self._names, 0.0)
        self._outside = self.first["mass_outside"]
        self._most_nodes = self.first.get("nodes", 0.0)
        self._amplified: dict[str, float] = {}
        self._highest = self._last_peak = [solver.t, self.first["maximum"]]

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here; numbers, strings, lists and dictionaries only."""
        return {name: value for name, value in vars(self).items() if name != "_solver"}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        vars(self).update(state)

    @property
    def columns(self) -> list[str]:
        """Names of the figures of a step."""
        return list(self.start_row())

    def start_row(self) -> dict[str, float]:
        """The row of diagnostics.csv for time 0, with the columns that a step has."""
        return self.first | dict.fromkeys(self._solver.step_figures, 0.0)

    def add(self, step: StepReport) -> None:
        """Take in one step."""
        self.steps += 1
        by_gate = [reason for reason in step.refused if TOO_LONG not in reason]
        self._refused += len(by_gate)
        self._shortened += len(step.refused) - len(by_gate)
        room = MOST_REASONS - len(self._reasons)
        self._reasons += [f"t = {step.t:.6g}: {reason}" for reason in by_gate[: max(room, 0)]]
        self._smallest_step = min(self._smallest_step, step.dt)
        self._last = step.figures
        peak = [step.t, step.figures["maximum"]]
        self._amplified |= levels_reached(self._last_peak, peak, self.first["maximum"])
        self._last_peak = peak
        self._highest = max(self._highest, peak, key=lambda pair: pair[1])
        self._minimum = min(self._minimum, step.figures["minimum"])
        self._largest_increase = max(self._largest_increase, step.figures["free_energy_increase"])
        self._outside = max(self._outside, step.figures["mass_outside"])
        self._most_nodes = max(self._most_nodes, step.figures.get("nodes", 0.0))
        for name in self._names:
            change = step.figures[f"mass_{name}"] / self.first[f"mass_{name}"] - 1
            self._drift[name] = max(self._drift[name], abs(change))

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        found = list(self._solver.warnings)
        share = self._outside / sum(self.first[f"mass_{name}"] for name in self._names)
        if share > OUTSIDE_WARNING:
            found.append(
                f"{share:.1e} of the mass came beyond 0.9 of the radius of the mesh: there the solution is that of a "
                "wall, not of the plane; take a larger radius"
            )
        if self._refused:
            attempts = "one attempt" if self._refused == 1 else f"{self._refused} attempts"
            found.append(f"the gate refused {attempts} at a step; the first at {self._reasons[0]}")
        return found

    def figures(self) -> dict[str, Any]:
        """The part `pde` of summary.json."""
        first, last = self.first, self._last
        return {
            "dofs": self._solver.dofs,
            "steps": self.steps,
            "end_time": self._solver.t,
            "mass": {
                name: {
                    "start": first[f"mass_{name}"],
                    "end": last[f"mass_{name}"],
                    "max_relative_drift": self._drift[name],
                }
                for name in self._names
            },
            "minimum": self._minimum,
            "second_moment": {
                "start": first["second_moment"],
                "end": last["second_moment"],
                **self._moment_theory(),
            },
            "centre": {
                "start": [first["centre_x"], first["centre_y"]],
                "end": [last["centre_x"], last["centre_y"]],
            },
            "free_energy": {
                "start": first["free_energy"],
                "end": last["free_energy"],
                "largest_increase": self._largest_increase,
            },
            "gate": {
                "refused": self._refused,
                "shortened": self._shortened,
                "smallest_step": self._smallest_step,
                "reasons": self._reasons,
            },
            "mass_outside": self._outside,
            **({"mesh": self._mesh()} if "nodes" in first else {}),
            **({"blow_up": self._blow_up()} if self._solver.model.sense < 0 else {}),
        }

    def _mesh(self) -> dict[str, Any]:
        """How the mesh followed the densities."""
        nodes = {"start": self.first["nodes"], "end": self._last["nodes"], "largest": self._most_nodes}
        return {
            "nodes": {name: int(count) for name, count in nodes.items()},
            "changes": int(self._last["mesh_changes"]),
            "free_energy_moved": self._last["free_energy_moved"],
        }

    def _moment_theory(self) -> dict[str, float]:
        """What the virial law says of the second moment in the plane: its rate, or with a harmonic U its end."""
        solver, model, first = self._solver, self._solver.model, self.first
        if not isinstance(solver.poisson, PlanePoisson):
            return {}
        mass = sum(solver.mass)
        net = sum(b * m for b, m in zip(solver.charges, solver.mass, strict=True))
        rate = 4 * model.D * mass + model.coupling * net**2
        if model.interaction == "rotated" and len(solver.mass) > 1:
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

    def _blow_up(self) -> dict[str, Any]:
        """What an attractive density did: whether it must collapse, and how far it has."""
        solver, first, mass = self._solver, self.first, sum(self._solver.mass)
        gamma_bar = float(solver.model.gamma_bar or 0.0)
        moment = first["second_moment"] - (first["centre_x"] ** 2 + first["centre_y"] ** 2) / mass
        plane = isinstance(solver.poisson, PlanePoisson) and solver.model.confinement is None
        return {
            "critical_mass": 4 * solver.model.D / gamma_bar if gamma_bar > 0 else None,
            "mass": mass,
            "latest_time_theory": latest_time(mass, moment, diffusivity=solver.model.D, gamma_bar=gamma_bar)
            if plane
            else None,
            "peak": {"start": first["maximum"], "largest": self._highest[1], "time": self._highest[0]},
            "amplification_times": self._amplified,
            "largest_cell_share": self._last.get("cell_share"),
        }


def particle_summary(model: Model, ensemble: Ensemble) -> dict[str, Any]:
    """One entry of the list `particles` of summary.json."""
    mean, error = mean_and_stderr(ensemble.second_moment)
    moment: dict[str, Any] = {
        name: {"mean": float(mean[k]), "stderr": None if error is None else float(error[k])}
        for name, k in (("start", 0), ("end", -1))
    }
    positive, negative = (int(np.count_nonzero(ensemble.signs == sign)) for sign in (1.0, -1.0))
    charge = float(np.where(ensemble.signs > 0, *model.charges).sum())
    gamma, count = model.pair_strength(ensemble.count), ensemble.count
    free = ensemble.collision == "through" and gamma < model.sigma**2  # pairs that stick break the law
    vortices = model.interaction == "rotated"  # of one sign, they turn about each other at their distances
    lawful = min(positive, negative) == 0 if vortices else free or not ensemble.sees_collisions
    if model.confinement is None and lawful:
        drift = 0.0 if vortices else model.sense * gamma * (charge**2 - count) / count
        moment["rate_theory"] = 2 * model.sigma**2 + drift
        growth = ensemble.second_moment[:, -1] - ensemble.second_moment[:, 0]
        rate = moment["rate_theory"] + 4 * ensemble.mean_extra_diffusivity
        moment["deviation"] = deviation(growth - rate * ensemble.times[-1])
    return {
        "N": count,
        "positive": positive,
        "negative": negative,
        "replicas": len(ensemble.replicas),
        "steps": ensemble.steps,
        "eps": ensemble.eps,
        "second_moment": moment,
        "regime": model.regime(positive, negative),
        **_stepping_figures(ensemble),
        **_collision_figures(model, ensemble),
        **({"estimates": estimates(model, ensemble)} if ensemble.estimates else {}),
    }


def _stepping_figures(ensemble: Ensemble) -> dict[str, Any]:
    """What random batches add to the diffusivity, and into how many parts steps were cut, where they were."""
    found: dict[str, Any] = {}
    if ensemble.batch_size is not None:
        mean, error = mean_and_stderr(ensemble.mean_extra_diffusivity)
        found["random_batches"] = {
            "batch_size": ensemble.batch_size,
            "extra_diffusivity": float(mean),
            "extra_diffusivity_stderr": None if error is None else float(error),
        }
    if ensemble.substeps > 1:
        found["substeps"] = {"most": ensemble.substeps, "mean": float(ensemble.parts.mean() / ensemble.steps)}
    return found


def _collision_figures(model: Model, ensemble: Ensemble) -> dict[str, Any]:
    """What the steps saw of collisions: the fraction of replicas with one, for a pair; who has survived."""
    found: dict[str, Any] = {}
    if ensemble.sees_collisions and ensemble.count == 2:
        fraction, error = mean_and_stderr(ensemble.collided.astype(float))
        found["collisions"] = float(fraction)
        found["collisions_stderr"] = None if error is None else float(error)
    if ensemble.collision == "annihilate":
        mean, errors = mean_and_stderr(ensemble.survivors.astype(float))
        found["survivors"] = {
            "times": ensemble.times.tolist(),
            "mean": mean.tolist(),
            "stderr": None if errors is None else errors.tolist(),
        }
        found["annihilated_fraction"] = float(1 - mean[-1] / ensemble.count)
    return found


def particle_warnings(case: Case, ensemble: Ensemble) -> list[str]:
    """What a user must know before comparing the particles with the equation."""
    initial = case.initial
    if initial.points is not None:
        return []
    share = float(np.mean(ensemble.signs > 0))
    if math.isclose(share, initial.mass(0), abs_tol=1e-9):
        return []
    masses = f"{share:.6g} and {1 - share:.6g} instead of {initial.mass(0):.6g} and {initial.mass(1):.6g}"
    return [f"N = {ensemble.count}: whole particles give the masses {masses}, which biases charged observables"]


def observable_series(ensemble: Ensemble) -> dict[str, np.ndarray]:
    """What observables.csv holds besides the test functions: name -> (R, T)."""
    centre = {f"centre_{axis}": ensemble.centre[:, :, k] for k, axis in enumerate("xy")}
    return {"second_moment": ensemble.second_moment, **centre}


def comparison_figures(case: object, ensembles: list[Ensemble], solution: object, comm: object) -> dict[str, Any]:
    """What the part `compare` of summary.json has for this system alone: nothing."""
    return {}
