"""What a run of the mean-field system says about itself in summary.json."""

from __future__ import annotations

from typing import Any

from limitpde.cautions import Caution
from limitpde.compare.statistics import mean_figures
from limitpde.fem.stepping import StepReport
from limitpde.fem.tally import Tally
from limitpde.meanfield.pde import Solver
from limitpde.nbody.diffusions import DiffusionEnsemble
from limitpde.results.figures import Record

OUTSIDE = 0.01
"""Share of the mass near the walls from which they, which the particles do not have, decide."""
OUTSIDE_WARNING = 1e-6
"""... and from which they are spoken of."""
PECLET = 1.0
"""max |v| h / (2 D) from which fitted fluxes diffuse by a third too much."""


class PDESummary(Tally[Solver]):
    """The part `pde` of summary.json."""

    STATE = "meanfield.PDESummary 1"

    @property
    def masses(self) -> dict[str, str]:
        """Of each species."""
        return {name.removeprefix("mass_"): name for name in self.solver.mass_names}

    def extremes(self, step: StepReport) -> dict[str, float]:
        """Numbers of a step of which the largest is kept."""
        names = ["cell_peclet", "mass_outside"]
        if "free_energy" in step.figures:
            names.append("free_energy_increase")
        return {name: step.figures[name] for name in names}

    def figures(self) -> dict[str, Any]:
        """The part `pde` of summary.json."""
        found = super().figures() | {"second_moment": self.ends("second_moment"), "centre": self.vectors("centre")}
        if "free_energy" in self.first:
            rise = self.largest.get("free_energy_increase")
            found["free_energy"] = self.ends("free_energy") | {"largest_increase": rise}
        return found | {"cell_peclet": self.largest.get("cell_peclet"), "mass_outside": self._outside}

    @property
    def _outside(self) -> float:
        """The largest share of the mass that came near the walls."""
        total = sum(self.first[name] for name in self.masses.values())
        return max(self.largest.get("mass_outside", 0.0), self.first["mass_outside"]) / total

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        found, share = super().warnings(), self._outside
        if OUTSIDE_WARNING < share <= OUTSIDE:
            found.append(f"{share:.1e} of the mass came near the walls, which the particles do not have")
        return found

    def astray(self) -> float:
        """What has changed of the masses, and what came near the walls."""
        return super().astray() + self._outside * sum(self.first[name] for name in self.masses.values())

    def cautions(self) -> list[Caution]:
        """Whether the scheme is in the range in which its order holds."""
        share, peclet = self._outside, self.largest.get("cell_peclet", 0.0)
        return [
            Caution(
                "mass_outside",
                share,
                OUTSIDE,
                f"{share:.2g} of the mass came near the walls of the box, which the particles do not have: take a "
                "larger box (pde.mesh.size, origin)",
            ),
            Caution(
                "cell_peclet",
                peclet,
                PECLET,
                f"the drift is strong for the cells: |v| h / (2 D) = {peclet:.3g} somewhere, which spreads densities; "
                f"take cells (pde.mesh.cell_size) {peclet / PECLET:.2g} times smaller",
            ),
        ]


def particle_figures(ensemble: DiffusionEnsemble) -> Record:
    """One entry of the list `particles` of summary.json."""
    moment = ensemble.second_moment
    ends = {"start": mean_figures(moment[:, 0]), "end": mean_figures(moment[:, -1])}
    return {
        "N": ensemble.count,
        "replicas": len(ensemble.replicas),
        "steps": ensemble.steps,
        "second_moment": ends,
        "centre": mean_figures(ensemble.centre[:, -1]),
    }
