"""The potentials that a model can name: of two bodies (`two_body`), and exterior ones (`exterior`)."""

from limitpde.vlasov.potentials.exterior import AnyExterior, Centred, Exterior, ExteriorFromFile, Pairs
from limitpde.vlasov.potentials.modes import Modes, wave_numbers
from limitpde.vlasov.potentials.two_body import (
    AnyPotential,
    Cosine,
    Free,
    Gaussian,
    Harmonic,
    Poisson,
    Potential,
    Softened,
    on_torus,
)
from limitpde.vlasov.potentials.user import FromFile

__all__ = [
    "AnyExterior",
    "AnyPotential",
    "Centred",
    "Cosine",
    "Exterior",
    "ExteriorFromFile",
    "Free",
    "FromFile",
    "Gaussian",
    "Harmonic",
    "Modes",
    "Pairs",
    "Poisson",
    "Potential",
    "Softened",
    "on_torus",
    "wave_numbers",
]
