"""Coagulating Brownian particles and the Smoluchowski coagulation-diffusion equations (Hammond).

`Model` and `Initial` say what is computed, `beta` and `collision_probability` give the rates of the limit, `Solver`
solves the limit equation, `simulate` the particles; `residual` and `candidate` hold the weak form (1.10) on either,
`exact` and `reference` the laws and reference solutions to check against, `lattice` the walkers of section 2.2.
"""

from limitpde.coagulation import exact, residual
from limitpde.coagulation.case import Case
from limitpde.coagulation.model import Initial, Model
from limitpde.coagulation.particles import Ensemble, simulate
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.pictures import PAINTERS
from limitpde.coagulation.rates import beta, naive, propensity
from limitpde.coagulation.rates.collision import collision_probability
from limitpde.coagulation.report import comparison_section, mean_note, particles_section, pde_section, residual_note
from limitpde.coagulation.residual import PDEResidual
from limitpde.coagulation.summary import (
    WORK_UNIT,
    PDESummary,
    comparison_figures,
    observable_series,
    particle_summary,
    particle_warnings,
)

__all__ = [
    "PAINTERS",
    "WORK_UNIT",
    "Case",
    "Ensemble",
    "Initial",
    "Model",
    "PDEResidual",
    "PDESummary",
    "Solver",
    "beta",
    "collision_probability",
    "comparison_figures",
    "comparison_section",
    "exact",
    "mean_note",
    "naive",
    "observable_series",
    "particle_summary",
    "particle_warnings",
    "particles_section",
    "pde_section",
    "propensity",
    "residual",
    "residual_note",
    "simulate",
    "solver",
]

solver = Solver
"""What makes the solver of a case."""
