"""Coagulating Brownian particles and the Smoluchowski coagulation-diffusion equations (Hammond).

`Model` and `Initial` say what is computed, `beta` and `collision_probability` give the rates of the limit, `Solver`
solves the limit equation, `simulate` the particles; `residual` and `candidate` hold the weak form (1.10) on either,
`exact` and `reference` the laws and reference solutions to check against, `lattice` the walkers of section 2.2.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # what __init__.pyi lists, when it is used
