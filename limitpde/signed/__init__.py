"""Signed Coulomb charges and the signed Keller-Segel system (van Meurs, Peletier, Slangen).

`Model` and `Initial` say what is computed, `Solver` solves the limit equation, `simulate` the particles; `residual`
holds the weak form (5.8) on either, `exact` and `plane_reference` the laws and reference solutions to check against.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # what __init__.pyi lists, when it is used
