"""Newtonian particles and the Vlasov equation, also in its Hamiltonian forms (Neiss and Pickl).

`Model` and the initial densities (`Landau`, `TwoStream`, `Maxwellian`, `PhaseGaussian`, `PhaseDensityFromFile`) say
what is computed, `Solver` solves the limit equation, `simulate` the particles; `residual` and `particle_residual` hold
the weak form on either, `exact` and its neighbours the laws and reference solutions to check against, `hamiltonian` the
complex forms.
"""

from limitpde.vlasov import residual
from limitpde.vlasov.case import Case
from limitpde.vlasov.convergence import comparison_figures
from limitpde.vlasov.initial import Initial, Landau, Maxwellian, PhaseDensityFromFile, PhaseGaussian, TwoStream
from limitpde.vlasov.model import Model
from limitpde.vlasov.particles import WORK_UNIT, Ensemble, simulate
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.pictures import PAINTERS
from limitpde.vlasov.report import comparison_section, mean_note, particles_section, pde_section, residual_note
from limitpde.vlasov.residual import PDEResidual
from limitpde.vlasov.summary import PDESummary, observable_series, particle_summary, particle_warnings

__all__ = [
    "PAINTERS",
    "WORK_UNIT",
    "Case",
    "Ensemble",
    "Initial",
    "Landau",
    "Maxwellian",
    "Model",
    "PDEResidual",
    "PDESummary",
    "PhaseDensityFromFile",
    "PhaseGaussian",
    "Solver",
    "TwoStream",
    "comparison_figures",
    "comparison_section",
    "mean_note",
    "observable_series",
    "particle_summary",
    "particle_warnings",
    "particles_section",
    "pde_section",
    "residual",
    "residual_note",
    "simulate",
    "solver",
]

solver = Solver
"""What makes the solver of a case."""
