"""Newtonian particles and the Vlasov equation, also in its Hamiltonian forms (Neiss and Pickl).

`Model` and the initial densities (`Landau`, `TwoStream`, `Maxwellian`, `PhaseGaussian`, `PhaseDensityFromFile`) say
what is computed, `Solver` solves the limit equation, `simulate` the particles; `residual` and `particle_residual` hold
the weak form on either, `exact` and its neighbours the laws and reference solutions to check against, `hamiltonian` the
complex forms.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # what __init__.pyi lists, when it is used
