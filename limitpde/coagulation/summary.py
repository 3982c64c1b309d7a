"""What a run of the coagulating system says about itself in summary.json."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from limitpde.cautions import Caution
from limitpde.coagulation.case import Case
from limitpde.coagulation.model import Model
from limitpde.coagulation.particles import Ensemble
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.rates import beta, share_at
from limitpde.coagulation.reaction.bins import Bins
from limitpde.compare.statistics import mean_figures
from limitpde.fem.tally import Tally

LARGEST_BETA = 64
"""Largest n_max for which the matrix of rates is part of the summary."""
OVERFLOW_WARNING = 1e-3
"""Share of the mass beyond n_max from which the truncation is called into question."""
OVERFLOW = 0.01
"""The same from which the equation is not that of the particles any more, which have no largest mass."""
REACTION_ERROR = 0.01
"""Estimated error of the number or second moment by the steps of the reaction, as a part of it, from which on the step
is too long: 0.92 in a case whose number is 6 % off and whose f_1 is an eighth of what it should be, 0.05 where f_1 is
9 % off, 1e-3 in the case of `limitpde new`."""
BINS_ERROR = 0.02
"""Estimated error of the second moment by the bins, as a part of it: 0.08 in a case that is 7.5 % off."""
FAR_FROM_LIMIT = 0.1
"""Part of its limit by which the rate of P_{N,beta} at eps may differ: beyond, it has no simple law in N yet."""
SAME_EPS = 0.01
"""The same where the equation has the rate at an eps: particles of another one are not its own."""
SPLIT_IN_STEP = 0.01
"""Part of the particles that split within a step: these count as two until its end, also where both merge again at
once. At 0.02 the number of monomers is 3 % too large where as many are dimers."""
CLOSE = 0.2
"""Reach of V over the distance of particles where they are densest: at 0.2 one particle in thirty is within the range
of another one from the start, at 0.44 W was 27 standard errors off."""


class PDESummary(Tally[Solver]):
    """Takes in the steps of a solver, and gives the part `pde` of summary.json. Collective where it is made."""

    STATE = "coagulation.PDESummary 1"
    MASSES = {"total": "ledger"}

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        found = super().warnings()
        if OVERFLOW_WARNING < self._overflow <= OVERFLOW:
            found.append(self._beyond)
        return found

    @property
    def _overflow(self) -> float:
        return self.last["mass_overflow"] / self.first["ledger"]

    @property
    def _beyond(self) -> str:
        largest, key = self.solver.masses[-1], "model.n_max" if self.solver.bins is None else "pde.bins.largest"
        return (
            f"{self._overflow:.3g} of the mass grew beyond the largest mass {largest:.6g} and is counted as overflow: "
            f"a gel, or a range of masses that is too small; if it is not a gel take {key} = {2 * largest:.6g} or more"
        )

    def cautions(self) -> list[Caution]:
        """Whether the steps of the reaction and the bins are fine enough."""
        solver = self.solver
        error, bins = solver.reaction_error, solver.bins_error
        shorter = 0.7 * solver.requested_step * math.sqrt(REACTION_ERROR / max(error, REACTION_ERROR))
        found = [
            Caution("overflow", self._overflow, OVERFLOW, self._beyond),
            Caution(
                "reaction_step",
                error,
                REACTION_ERROR,
                f"the step is long against the reaction: it puts the number of particles or the second moment off by "
                f"up to {error:.2g} of it, as halved steps show; take pde.step = {shorter:.2g}",
            ),
        ]
        if isinstance(solver.bins, Bins):
            finer = math.ceil(solver.bins.per_decade * math.sqrt(max(bins / BINS_ERROR, 1.0)))
            found.append(
                Caution(
                    "bins",
                    bins,
                    BINS_ERROR,
                    f"the bins put the second moment off by {bins:.2g} of it, as half as many show; take "
                    f"pde.bins.per_decade = {finer}",
                )
            )
        return super().cautions() + found

    def figures(self) -> dict[str, Any]:
        """The part `pde` of summary.json."""
        first, solver = self.first, self.solver
        mass: dict[str, Any] = {"total": self.ends("mass_total") | {"max_relative_drift": self.largest["ledger"]}}
        for name in ("overflow", "annihilated"):
            if f"mass_{name}" in first:
                mass[name] = self.ends(f"mass_{name}")
        where = {}
        if solver.mesh is not None:
            where = {"second_moment": self.ends("second_moment"), "centre": self.vectors("centre")}
        return {
            **super().figures(),
            "mass": mass,
            **where,
            "moments": {str(k): self.ends(f"moment_{k}") for k in range(3)},
            "masses": solver.masses.tolist(),
            "density_end": solver.integrated.tolist(),
            "beta": beta(solver.model).tolist() if solver.model.n_max <= LARGEST_BETA else None,
        }


def particle_figures(model: Model, ensemble: Ensemble) -> dict[str, Any]:
    """One entry of the list `particles` of summary.json."""
    share = ensemble.Z / ensemble.count
    return {
        "N": ensemble.count,
        "Z": ensemble.Z,
        "replicas": len(ensemble.replicas),
        "steps": ensemble.steps,
        "log_eps": ensemble.log_eps,
        "correction": -1 / ensemble.log_eps if model.dimension == 2 else None,
        "events": mean_figures(ensemble.events),
        "second_moment": {name: mean_figures(ensemble.second_moment[:, k]) for name, k in (("start", 0), ("end", -1))},
        "survivors": {"times": ensemble.times.tolist(), **mean_figures(ensemble.survivors)},
        "largest_mass": mean_figures(ensemble.largest_mass),
        "mass_squares": mean_figures(ensemble.mass_squares),
        "mass": {"max_change": _largest_change(ensemble)} if model.reaction == "coagulation" else None,
        "density_end": mean_figures(share * ensemble.counts_by_mass[:, -1]),
    }


def _largest_change(ensemble: Ensemble) -> float:
    """Largest change of the total mass of a replica, which coagulation and splitting keep exactly."""
    return float(np.abs(ensemble.mass - ensemble.mass[:, :1]).max())


def particle_cautions(case: Case, ensemble: Ensemble) -> list[Caution]:
    """Whether eps is small enough: for the distance of particles, or for the rate of P_{N,beta}."""
    found = [] if case.model.fragmentation is None else [_splitting_caution(case, ensemble)]
    if case.model.range_exponent < 1:  # ranges may overlap: that is the limit of mean fields
        return found + ([_rate_caution(case, ensemble)] if case.model.beta.kernel == "from_micro" else [])
    return [*found, _range_caution(case, ensemble)]


def _splitting_caution(case: Case, ensemble: Ensemble) -> Caution:
    """Whether few particles split within a step, of those masses that are there at the end."""
    assert case.model.fragmentation is not None
    present = ensemble.counts_by_mass[:, -1].mean(axis=0)
    rates = case.model.fragmentation.at(1.0 + np.arange(len(present)))
    mean = float(rates @ present) / max(float(present[1:].sum()), 1.0)
    step = case.time.end / ensemble.steps
    return Caution(
        "splitting_step",
        mean * step,
        SPLIT_IN_STEP,
        f"N = {ensemble.count}: {mean * step:.2g} of the particles that can split do so within a step, and count as "
        f"two until its end: their number is too large by that part; take particles.step = "
        f"{SPLIT_IN_STEP / 2 / max(mean, 1e-300):.2g}",
    )


def _rate_caution(case: Case, ensemble: Ensemble) -> Caution:
    """Whether the rate at eps, which is known, is near that of the limit."""
    model, masses = case.model, sorted({part.n for part in case.initial.masses})
    pairs = itertools.combinations_with_replacement(masses, 2)
    share = max((share_at(model, n, m, ensemble.log_eps) for n, m in pairs), key=lambda found: abs(1 - found))
    more = ensemble.count * (abs(1 - share) / FAR_FROM_LIMIT) ** (1 / (1 - model.range_exponent))
    return Caution(
        "rate_at_eps",
        abs(1 - share),
        FAR_FROM_LIMIT if model.beta.log_eps is None else SAME_EPS,
        f"N = {ensemble.count}: pairs meet at {share:.2g} of the rate of the equation; take N = {more:.2g} or more, a "
        f"smaller model.range_exponent, or the equation at this eps, model.beta.log_eps = {ensemble.log_eps:.4g}",
    )


def _range_caution(case: Case, ensemble: Ensemble) -> Caution:
    """Whether particles are within each other's range from the start."""
    model, initial, d = case.model, case.initial, case.model.dimension
    assert model.interaction is not None
    masses = np.array([part.n for part in initial.masses])
    reach = math.exp(ensemble.log_eps) * model.interaction.reach(d) * float(model.range_sum(masses, masses).max())
    distance = (initial.highest(case.domain) * ensemble.count / ensemble.Z) ** (-1 / d)
    ratio = reach / distance
    more = math.ceil(ensemble.count * (ratio / CLOSE) ** 1.5)  # d = 3: it falls as N^(-2/3)
    return Caution(
        "range",
        ratio,
        CLOSE,
        f"N = {ensemble.count}: V reaches over {ratio:.2g} of the distance of particles where they are densest, "
        f"{distance:.2g}; the limit needs it to be small: take N = {more:,} or more, or wider clouds",
    )
