"""Signed Coulomb charges and the signed Keller-Segel system (van Meurs, Peletier, Slangen).

`Model` and `Initial` say what is computed, `Solver` solves the limit equation, `simulate` the particles; `residual`
holds the weak form (5.8) on either, `exact` and `plane_reference` the laws and reference solutions to check against.
"""

from limitpde.signed import residual
from limitpde.signed.model import Initial, Model
from limitpde.signed.particles import Ensemble, simulate
from limitpde.signed.pde import Solver
from limitpde.signed.residual import PDEResidual
from limitpde.signed.summary import PDESummary, particle_summary, particle_warnings

__all__ = [
    "Ensemble",
    "Initial",
    "Model",
    "PDEResidual",
    "PDESummary",
    "Solver",
    "particle_summary",
    "particle_warnings",
    "residual",
    "simulate",
]
