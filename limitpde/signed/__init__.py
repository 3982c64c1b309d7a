"""Signed Coulomb charges and the signed Keller-Segel system (van Meurs, Peletier, Slangen).

`Model` and `Initial` say what is computed, `Solver` solves the limit equation (`GalerkinSolver` with elements of higher
degree), `simulate` the particles; `residual` holds the weak form (5.8) on either, `exact` and `plane_reference` the
laws and reference solutions to check against.
"""

from typing import Any

from limitpde.signed import residual
from limitpde.signed.case import Case
from limitpde.signed.galerkin import GalerkinSolver
from limitpde.signed.model import Initial, Model
from limitpde.signed.particles import WORK_UNIT, Ensemble, simulate
from limitpde.signed.pde import Solver
from limitpde.signed.pictures import PAINTERS
from limitpde.signed.report import comparison_section, mean_note, particles_section, pde_section, residual_note
from limitpde.signed.residual import PDEResidual
from limitpde.signed.summary import (
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
    "GalerkinSolver",
    "Initial",
    "Model",
    "PDEResidual",
    "PDESummary",
    "Solver",
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


def solver(model: Model, initial: Initial, *, degree: int = 1, **options: Any) -> Solver | GalerkinSolver:
    """The solver of the limit equation for elements of a degree, with the keyword arguments of its class."""
    if degree == 1:
        return Solver(model, initial, **options)
    return GalerkinSolver(model, initial, degree=degree, **options)
