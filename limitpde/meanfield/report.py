"""What report.md says about the mean-field system."""

from __future__ import annotations

from limitpde.results import distances
from limitpde.results.figures import Record
from limitpde.results.report import Wording


class MeanfieldWording(Wording):
    """What report.md says about particles with an interaction of the user's own."""

    residual_note = (
        "Expected: zero in the mean, with the variance of Ito's isometry, or what the drift and the noise of the "
        "particles imply where they are not those of the equation."
    )
    EQUATION = {
        "unknowns": "dofs",
        "steps": "steps",
        "mass, largest relative drift": "mass.1.max_relative_drift",
        "smallest density": "minimum",
        "free energy": "free_energy",
        "largest increase of the free energy in a step": "free_energy.largest_increase",
        "second moment": "second_moment",
        "largest |v| h / (2 D)": "cell_peclet",
    }
    PARTICLES = {"N": "N", "replicas": "replicas", "steps": "steps", "second moment at the end": "second_moment.end"}

    def comparison_section(self, compare: Record) -> str:
        """Distances of L^N to rho, from `compare` of summary.json."""
        return distances.section(compare.get("distances", []), "n", "the particles of each species n and its density")
