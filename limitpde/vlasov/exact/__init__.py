"""Laws and reference solutions of the Vlasov system, to check solvers and particles against.

`dispersion` and `linear_response` have the linear theory, `equilibria` that of the HMF model, `spectral` a Fourier
method for smooth data on a torus.
"""

from limitpde.vlasov.exact.symbol import torus_symbol

__all__ = ["torus_symbol"]
