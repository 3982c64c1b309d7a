"""Particles that drift in potentials of the user's own, and their McKean-Vlasov equation, on a line or in the plane.

`Model` and `Initial` say what is computed, `Solver` solves the limit equation, `simulate` the particles; `exact` holds
laws and self-consistency equations to check against.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # what __init__.pyi lists, when it is used
