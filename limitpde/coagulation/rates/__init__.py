"""From the microscopic parameters V, alpha and d to the rates beta of the limit (Hammond (1.8)-(1.9), (2.4))."""

from limitpde.coagulation.rates.recipe import (
    beta,
    capacity,
    microscopic,
    naive,
    propensity,
    rate_error,
    scattering_length,
    share_at,
    upper_bound,
)

__all__ = [
    "beta",
    "capacity",
    "microscopic",
    "naive",
    "propensity",
    "rate_error",
    "scattering_length",
    "share_at",
    "upper_bound",
]
