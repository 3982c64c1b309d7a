"""What a run of the coagulating system says about itself in summary.json."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from limitpde.coagulation.case import Case
from limitpde.coagulation.model import Model
from limitpde.coagulation.particles import Ensemble
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.rates import beta
from limitpde.compare.statistics import mean_figures
from limitpde.fem.tally import Tally, vector

LARGEST_BETA = 64
"""Largest n_max for which the matrix of rates is part of the summary."""
OVERFLOW_WARNING = 1e-3
"""Share of the mass beyond n_max from which the truncation is called into question."""
CLOSE = 0.1
"""Interaction range over mean distance of particles from which the limit is far."""


class PDESummary(Tally[Solver]):
    """Takes in the steps of a solver, and gives the part `pde` of summary.json. Collective where it is made."""

    STATE = "coagulation.PDESummary 1"
    MASSES = {"total": "ledger"}

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        found = super().warnings()
        share = self.last["mass_overflow"] / self.first["ledger"]
        if share > OVERFLOW_WARNING:
            found.append(
                f"{share:.3g} of the mass grew beyond the largest mass {self.solver.masses[-1]:.6g} and is counted as "
                "overflow: a gel, or a range of masses that is too small"
            )
        return found

    def figures(self) -> dict[str, Any]:
        """The part `pde` of summary.json."""
        first, solver = self.first, self.solver
        mass: dict[str, Any] = {"total": self.ends("mass_total") | {"max_relative_drift": self.largest["ledger"]}}
        for name in ("overflow", "annihilated"):
            if f"mass_{name}" in first:
                mass[name] = self.ends(f"mass_{name}")
        centre = {"start": _centre(first), "end": _centre(self.last)}
        where = {} if solver.mesh is None else {"second_moment": self.ends("second_moment"), "centre": centre}
        return {
            **super().figures(),
            "mass": mass,
            **where,
            "moments": {str(k): self.ends(f"moment_{k}") for k in range(3)},
            "masses": solver.masses.tolist(),
            "density_end": solver.integrated.tolist(),
            "beta": beta(solver.model).tolist() if solver.model.n_max <= LARGEST_BETA else None,
        }


def _centre(figures: dict[str, float]) -> list[float] | None:
    """Centre of the mass in the range; none where there is no mass."""
    mass = figures["mass_total"]
    return [value / mass for value in vector(figures, "centre")] if mass > 0 else None


def particle_figures(model: Model, ensemble: Ensemble) -> dict[str, Any]:
    """One entry of the list `particles` of summary.json."""
    share = ensemble.Z / ensemble.count
    return {
        "N": ensemble.count,
        "Z": ensemble.Z,
        "replicas": len(ensemble.replicas),
        "steps": ensemble.steps,
        "log_eps": ensemble.log_eps,
        "events": mean_figures(ensemble.events),
        "second_moment": {name: mean_figures(ensemble.second_moment[:, k]) for name, k in (("start", 0), ("end", -1))},
        "survivors": {"times": ensemble.times.tolist(), **mean_figures(ensemble.survivors)},
        "mass": {"max_change": _largest_change(ensemble)} if model.reaction == "coagulation" else None,
        "density_end": mean_figures(share * ensemble.counts_by_mass[:, -1]),
    }


def _largest_change(ensemble: Ensemble) -> float:
    """Largest change of the total mass of a replica, which coagulation and splitting keep exactly."""
    return float(np.abs(ensemble.mass - ensemble.mass[:, :1]).max())


def particle_warnings(case: Case, ensemble: Ensemble) -> list[str]:
    """What a user must know before comparing the particles with the equation."""
    found = []
    dimension = ensemble.centre.shape[2]
    ratio = math.exp(ensemble.log_eps) * ensemble.count ** (1 / dimension)
    if ratio >= CLOSE:
        distance = f"N^(-1/{dimension}), the distance of particles in a unit volume"
        found.append(f"N = {ensemble.count}: the range is {ratio:.2g} of {distance}; the limit needs it to be small")
    return found
