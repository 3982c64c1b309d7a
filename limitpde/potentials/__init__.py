"""The potentials that a model can name: of two bodies (`two_body`), and exterior ones (`exterior`)."""

from limitpde.potentials.exterior import AnyExterior, Centred, Exterior, ExteriorFromFile, Pairs
from limitpde.potentials.modes import Modes, wave_numbers
from limitpde.potentials.two_body import (
    AnyPotential,
    Cosine,
    Free,
    GaussianPotential,
    Harmonic,
    Poisson,
    Potential,
    Softened,
    on_torus,
)
from limitpde.potentials.user import PotentialFromFile

__all__ = [
    "AnyExterior",
    "AnyPotential",
    "Centred",
    "Cosine",
    "Exterior",
    "ExteriorFromFile",
    "Free",
    "GaussianPotential",
    "Harmonic",
    "Modes",
    "Pairs",
    "Poisson",
    "Potential",
    "PotentialFromFile",
    "Softened",
    "on_torus",
    "wave_numbers",
]
