"""What a run of the coagulating system says about itself in summary.json."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from mpi4py import MPI

from limitpde.coagulation.case import Case
from limitpde.coagulation.model import Model
from limitpde.coagulation.particles import Ensemble
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.proof import evidence
from limitpde.coagulation.rates import beta
from limitpde.coagulation.residual import PDEResidual
from limitpde.compare.statistics import mean_and_stderr
from limitpde.fem.stepping import StepReport
from limitpde.parallel import on_root

WORK_UNIT = "particle_steps"
"""What `work_per_second` of an ensemble counts."""
LARGEST_BETA = 64
"""Largest n_max for which the matrix of rates is part of the summary."""
OVERFLOW_WARNING = 1e-3
"""Share of the mass beyond n_max from which the truncation is called into question."""
CLOSE = 0.1
"""Interaction range over mean distance of particles from which the limit is far."""


class PDESummary:
    """Takes in the steps of a solver, and gives the part `pde` of summary.json. Collective where it is made.

    Args:
        solver: at time 0.
        case: which asks for no figures of its own.

    Attributes:
        first: the figures at time 0.
        steps: steps taken in.
    """

    def __init__(self, solver: Solver, case: object = None) -> None:
        self._solver = solver
        self.first = self._last = solver.figures()
        self.steps = 0
        self._minimum, self._drift = self.first["minimum"], 0.0

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here; numbers, strings, lists and dictionaries only."""
        return {name: value for name, value in vars(self).items() if name != "_solver"}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        vars(self).update(state)

    @property
    def columns(self) -> list[str]:
        """Names of the figures of a step."""
        return list(self.first)

    def start_row(self) -> dict[str, float]:
        """The row of diagnostics.csv for time 0."""
        return self.first

    def add(self, step: StepReport) -> None:
        """Take in one step."""
        self.steps += 1
        self._last = step.figures
        self._minimum = min(self._minimum, step.figures["minimum"])
        self._drift = max(self._drift, abs(step.figures["ledger"] / self.first["ledger"] - 1))

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        found = list(self._solver.warnings)
        share = self._last["mass_overflow"] / self.first["ledger"]
        if share > OVERFLOW_WARNING:
            found.append(
                f"{share:.3g} of the mass grew beyond the largest mass {self._solver.masses[-1]:.6g} and is counted as "
                "overflow: a gel, or a range of masses that is too small"
            )
        return found

    def _where(self) -> dict[str, Any]:
        """Second moment and centre; a point has none."""
        if self._solver.mesh is None:
            return {}
        first, last = self.first, self._last
        moment = {"start": first["second_moment"], "end": last["second_moment"]}
        return {"second_moment": moment, "centre": {"start": _centre(first), "end": _centre(last)}}

    def figures(self) -> dict[str, Any]:
        """The part `pde` of summary.json."""
        first, last, model = self.first, self._last, self._solver.model
        total = {"start": first["mass_total"], "end": last["mass_total"], "max_relative_drift": self._drift}
        mass: dict[str, Any] = {"total": total}
        for name in ("overflow", "annihilated"):
            if f"mass_{name}" in first:
                mass[name] = {"start": first[f"mass_{name}"], "end": last[f"mass_{name}"]}
        return {
            "dofs": self._solver.dofs,
            "steps": self.steps,
            "end_time": self._solver.t,
            "mass": mass,
            "minimum": self._minimum,
            **self._where(),
            "moments": {str(k): {"start": first[f"moment_{k}"], "end": last[f"moment_{k}"]} for k in range(3)},
            "masses": self._solver.masses.tolist(),
            "density_end": self._solver.integrated.tolist(),
            "beta": beta(model).tolist() if model.n_max <= LARGEST_BETA else None,
        }


def _centre(figures: dict[str, float]) -> list[float] | None:
    """Centre of the mass in the range; none where there is no mass."""
    sums = [figures[f"centre_{axis}"] for axis in "xyz" if f"centre_{axis}" in figures]
    mass = figures["mass_total"]
    return [value / mass for value in sums] if mass > 0 else None


def _mean(values: np.ndarray) -> dict[str, Any]:
    """Mean and standard error over the replicas, as lists."""
    mean, error = mean_and_stderr(values)
    return {"mean": mean.tolist(), "stderr": None if error is None else error.tolist()}


def particle_summary(model: Model, ensemble: Ensemble) -> dict[str, Any]:
    """One entry of the list `particles` of summary.json."""
    share = ensemble.Z / ensemble.count
    return {
        "N": ensemble.count,
        "Z": ensemble.Z,
        "replicas": len(ensemble.replicas),
        "steps": ensemble.steps,
        "log_eps": ensemble.log_eps,
        "events": _mean(ensemble.events),
        "second_moment": {name: _mean(ensemble.second_moment[:, k]) for name, k in (("start", 0), ("end", -1))},
        "survivors": {"times": ensemble.times.tolist(), **_mean(ensemble.survivors)},
        "mass": {"max_change": _largest_change(ensemble)} if model.reaction == "coagulation" else None,
        "density_end": _mean(share * ensemble.counts_by_mass[:, -1]),
    }


def _largest_change(ensemble: Ensemble) -> float:
    """Largest change of the total mass of a replica, which coagulation and splitting keep exactly."""
    return float(np.abs(ensemble.mass - ensemble.mass[:, :1]).max())


def observable_series(ensemble: Ensemble) -> dict[str, np.ndarray]:
    """What observables.csv holds besides the test functions: name -> (R, T)."""
    found = {"survivors": ensemble.survivors, "mass": ensemble.mass, "second_moment": ensemble.second_moment}
    found |= {f"centre_{axis}": ensemble.centre[:, :, k] for k, axis in enumerate("xyz"[: ensemble.centre.shape[2]])}
    share = ensemble.Z / ensemble.count
    shown = range(min(8, ensemble.counts_by_mass.shape[2]))
    return found | {f"density_{n + 1}": share * ensemble.counts_by_mass[:, :, n] for n in shown}


def comparison_figures(
    case: Case, ensembles: list[Ensemble], solution: PDEResidual | None, comm: MPI.Comm
) -> dict[str, Any]:
    """What `compare` of summary.json has for this system alone; `rates` go with those of all systems. Collective."""

    def compare() -> dict[str, Any]:
        return evidence.comparison_figures(
            case.model,
            ensembles,
            solution,
            case.seed,
            deltas=case.deltas,
            initial=case.initial,
            domain=case.domain,
        )

    return on_root(comm, compare)


def particle_warnings(case: Case, ensemble: Ensemble) -> list[str]:
    """What a user must know before comparing the particles with the equation."""
    found = []
    if case.pde is not None and isinstance(case.pde.mesh, str) and not case.domain.bounded:
        found.append(
            f"N = {ensemble.count}: the particles live in the whole space, the equation within the walls of "
            f"{case.pde.mesh}: the two can agree only as long as hardly anything comes near these"
        )
    dimension = ensemble.centre.shape[2]
    ratio = math.exp(ensemble.log_eps) * ensemble.count ** (1 / dimension)
    if ratio >= CLOSE:
        distance = f"N^(-1/{dimension}), the distance of particles in a unit volume"
        found.append(f"N = {ensemble.count}: the range is {ratio:.2g} of {distance}; the limit needs it to be small")
    return found
