"""Exact laws and reference solutions of the Vlasov system, to check solvers and particles against.

`motions` has closed solutions and the pendulum, `dispersion` and `linear_response` the linear theory, `equilibria` the
HMF model's, `spectral` a Fourier method for smooth data on a torus.
"""

from limitpde.vlasov.exact.motions import (
    boosted,
    free_streaming,
    free_streaming_mode,
    hmf_pair_frequency,
    in_phase_space,
    pendulum,
    pendulum_period,
    product,
    rigid_rotation,
    torus_symbol,
)

__all__ = [
    "boosted",
    "free_streaming",
    "free_streaming_mode",
    "hmf_pair_frequency",
    "in_phase_space",
    "pendulum",
    "pendulum_period",
    "product",
    "rigid_rotation",
    "torus_symbol",
]
