"""What a run of the Vlasov system says about itself in summary.json."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from limitpde.cautions import Caution
from limitpde.compare.statistics import mean_figures
from limitpde.compare.test_functions import waves_off_torus
from limitpde.compare.user_functions import UserFunction
from limitpde.errors import RunError
from limitpde.fem.stepping import StepReport
from limitpde.fem.tally import Tally, vector
from limitpde.vlasov import trust
from limitpde.vlasov.case import Case
from limitpde.vlasov.growth import Growth, fit_growth
from limitpde.vlasov.model import Model
from limitpde.vlasov.particles import Ensemble
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.residual import off_torus

LOST_WARNING = 1e-6
"""Share of the mass that left the domain from which the domain is called into question."""
BOUND_WARNING = 1e-6
"""Part by which the norm of alpha may exceed the bound of Corollary 3.6 before that is pointed out."""
OUTSIDE_WARNING = 1e-3
"""Share of the particles outside the domain of the equation from which the comparison is called into question."""
COMMON = (
    *("mass_total", "mass_lost", "energy", "energy_kinetic", "energy_potential", "field_energy", "second_moment"),
    *(f"{name}_{axis}" for name in ("momentum", "centre") for axis in "xyz"),
    *("l2", "minimum"),
)
"""Figures of every form of the equation."""


class PDESummary(Tally[Solver]):
    """Takes in the steps of a solver, and gives the part `pde` of summary.json. Collective where it is made.

    Args:
        solver: at time 0.
        case: whose `pde.fit` says where growth rate and frequency are fitted.

    Attributes:
        field: t and field energy, within the interval of the fit.
    """

    STATE = "vlasov.PDESummary 1"
    OWN = ("field",)
    ENDS = ("second_moment",)

    def __init__(self, solver: Solver, case: Case | None = None) -> None:
        super().__init__(solver, case)
        self._case = case
        self._fit = case.pde.fit if case is not None and case.pde is not None else None
        self._end = case.time.end if case is not None else math.inf
        self.largest |= dict.fromkeys(("mass", "energy", "momentum", "l2", "above_bound", *self._own), 0.0)
        self.field: list[tuple[float, float]] = []
        self._keep_field(solver.t, self.first)

    @property
    def _own(self) -> list[str]:
        """Names of the figures of the form alone."""
        return [name for name in self.first if name not in COMMON]

    def add(self, step: StepReport) -> None:
        """Take in one step.

        Raises:
            RunError: also where alpha of (HHt) has come round through the ends of the velocities.
        """
        super().add(step)
        if step.figures.get("alpha_edge", 0.0) > trust.WRAPPED:
            raise RunError(
                f"at t = {step.t:.6g}, |alpha|^2 at the ends of model.domain.v is {step.figures['alpha_edge']:.2g} of "
                "its maximum: what leaves at one end comes in at the other; enlarge model.domain.v, or end earlier"
            )
        self._keep_field(step.t, step.figures)

    def extremes(self, step: StepReport) -> dict[str, float]:
        """Numbers of a step of which the largest is kept."""
        first, now = self.first, step.figures
        mass, momenta = first["mass_total"] + first["mass_lost"], (vector(first, "momentum"), vector(now, "momentum"))
        found = {
            "mass": abs((now["mass_total"] + now["mass_lost"]) / mass - 1),
            "energy": abs(now["energy"] - first["energy"]),
            "momentum": max(abs(b - a) for a, b in zip(*momenta, strict=True)),
            "l2": now["l2"] - first["l2"],
        }
        if "norm_w12_bound" in now:
            found["above_bound"] = now["norm_w12"] / now["norm_w12_bound"] - 1
        return found | {name: abs(now[name] - first[name]) for name in self._own}

    def _keep_field(self, t: float, figures: dict[str, float]) -> None:
        if self._fit is not None and self._fit[0] <= t * (1 + 1e-9) and t <= self._fit[1] * (1 + 1e-9):
            self.field.append((t, figures["field_energy"]))

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        found = super().warnings()
        lost = self._lost
        if lost > LOST_WARNING:
            found.append(
                f"{lost:.2g} of the mass left the domain, as too fast or through its ends; unless that is wanted, take "
                "larger intervals of v (or x)"
            )
        if self.largest["mass"] > LOST_WARNING and self.solver.model.form == "density":
            found.append(
                f"the mass, with what left, has grown by {self.largest['mass']:.2g} of itself: undershoots below zero "
                "left the domain; take more cells, or pde.positivity = true"
            )
        above = self.largest["above_bound"]
        if above > BOUND_WARNING:
            found.append(
                f"the norm of alpha in W^{{1,2}} exceeds the bound of Corollary 3.6 by {above:.2g} of it, "
                "which a solution cannot: take more cells"
            )
        if self._fit is not None and self._end < self._fit[1] * (1 - 1e-9):
            found.append(f"pde.fit = {list(self._fit)} goes beyond time.end = {self._end:g}: fitted up to that")
        if self._fit is not None and self._growth() is None:
            found.append(
                f"pde.fit = {list(self._fit)}: fewer than two steps with a field lie in it, so nothing was fitted"
            )
        return found

    def astray(self) -> float:
        """What is not in the domain, as it left it or was not in it from the start."""
        gone = self.last["mass_lost"] - self.first["mass_lost"] + self.solver.outside * self.first["mass_total"]
        return float(gone + abs(self.last["mass_total"] + self.last["mass_lost"] - self.first["mass_total"]))

    @property
    def _lost(self) -> float:
        """Share of the mass that has left the domain."""
        return (self.last["mass_lost"] - self.first["mass_lost"]) / self.first["mass_total"]

    def cautions(self) -> list[Caution]:
        """Figures that say whether the solution is one of the problem that was posed."""
        case, first = self._case, self.first
        pde = None if case is None else case.pde
        walls = pde is not None and pde.mesh is not None  # through which mass may leave, as there are no particles
        found = [trust.missing(self.solver.outside + (0.0 if walls else self._lost))]
        if self._lost < trust.ENERGY / 10:  # what leaves takes energy along
            size = first["energy_kinetic"] + abs(first["energy_potential"])
            change = self.largest["energy"] / size if size > 0 else 0.0
            found.append(trust.energy(change, positivity=pde is not None and pde.positivity))
        if self.solver.model.form != "density":
            found.append(trust.alpha_loss(self.largest["mass"]))
        if "alpha_edge" in self.largest:
            found.append(trust.alpha_edge(first["alpha_edge"] + self.largest["alpha_edge"]))
        if case is not None:
            found += trust.equation(case)
            if not walls:
                found += trust.initial_temperature(case, first["energy_kinetic"])
        return found

    def _growth(self) -> Growth | None:
        """The fit to the field energy, where the case asks for one."""
        if self._fit is None:
            return None
        t, energy = np.array(self.field, dtype=float).reshape(-1, 2).T
        return fit_growth(t, energy, self._fit)

    def _relative(self, name: str) -> float | None:
        """Largest change of a figure in units of its modulus at the start; None where that is zero."""
        size = abs(self.first[name])
        return self.largest[name] / size if size > 0 else None

    def figures(self) -> dict[str, Any]:
        """The part `pde` of summary.json."""
        mass = self.ends("mass_total") | {"max_relative_drift": self.largest["mass"]}
        found: dict[str, Any] = {
            **super().figures(),
            "mass": {"total": mass, "lost": self.ends("mass_lost")},
            "centre": self.vectors("centre"),
            "energy": self.ends("energy") | {"max_relative_drift": self._relative("energy")},
            "momentum": self.vectors("momentum") | {"largest_change": self.largest["momentum"]},
            "l2": self.ends("l2") | {"max_relative_increase": self._relative("l2")},
        }
        found |= {name: self.ends(name) | {"largest_change": self.largest[name]} for name in self._own}
        growth = self._growth()
        if growth is not None and self._fit is not None:
            found["field_growth_rate"], found["field_frequency"] = growth.rate, growth.frequency
            ends_of_fit = {"start": self._fit[0], "end": min(self._fit[1], self._end)}
            found["field_fit"] = ends_of_fit | {"peaks": growth.peaks, "intercept": growth.intercept}
        return found


def particle_figures(model: Model, ensemble: Ensemble) -> dict[str, Any]:
    """One entry of the list `particles` of summary.json."""
    energy, momentum = ensemble.energy, ensemble.momentum
    size = np.abs(energy[:, :1])
    drift = float((np.abs(energy - energy[:, :1]) / size).max()) if (size > 0).all() else None
    return {
        "N": ensemble.count,
        "replicas": len(ensemble.replicas),
        "steps": ensemble.steps,
        "second_moment": {name: mean_figures(ensemble.second_moment[:, k]) for name, k in (("start", 0), ("end", -1))},
        "energy": {name: mean_figures(energy[:, k]) for name, k in (("start", 0), ("end", -1))}
        | {"max_relative_drift": drift},
        "momentum": {"largest_change": float(np.abs(momentum - momentum[:, :1]).max())},
    }


def particle_warnings(case: Case, ensemble: Ensemble) -> list[str]:
    """What a user must know before comparing the particles with the equation."""
    found, model = [], case.model
    if ensemble.count == 1:
        found.append("N = 1: a single particle has nothing to interact with; its force is that of U alone")
    alone = case.pde is None and case.compare is not None  # with an equation its residual says so, once
    if alone and case.particles is not None and ensemble.count == case.particles.counts[0]:
        functions = [function for function in case.test_functions if not isinstance(function, UserFunction)]
        found += [off_torus(number) for number in waves_off_torus(functions, model.torus[1])]
    if case.pde is None or not len(ensemble.points):
        return found
    d = model.dimension
    boxes = [("v", ensemble.points[..., d:], model.v_box)]
    if not model.domain.periodic:
        boxes.append(("x", ensemble.points[..., :d], model.x_box))
    for name, coordinates, box in boxes:
        outside = float(((coordinates < box[:, 0]) | (coordinates > box[:, 1])).any(axis=-1).mean(axis=(0, 2)).max())
        if outside > OUTSIDE_WARNING:
            found.append(
                f"N = {ensemble.count}: {outside:.2g} of the particles have left the intervals of {name} "
                "(model.domain), within which the equation is solved"
            )
    return found
