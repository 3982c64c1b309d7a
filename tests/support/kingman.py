"""The law of Kingman's coalescent, of which `limitpde.coagulation.lattice` has the mean."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from limitpde.errors import InputError

FROM_INFINITY = 400
"""Blocks from which on the coalescent is followed when it begins with infinitely many."""


def kingman_law(t: float, start: int | None = None) -> np.ndarray:
    """P(k blocks at time t) for k = 0, 1, ..., if there were `start` at time 0, or infinitely many where it is None.

    From infinity, the time until FROM_INFINITY are left is replaced by its mean 2 / FROM_INFINITY, which is off by
    1e-4 at random: right to 1e-6 for t > 0.05.

    Raises:
        InputError: t is negative, or with infinitely many blocks not above 0.05; or start < 1.
    """
    if start is None:
        if not t > 0.05:
            raise InputError(f"t = {t}: must be greater than 0.05 when infinitely many blocks begin")
        return kingman_law(t - 2 / FROM_INFINITY, FROM_INFINITY)
    if start < 1 or not t >= 0:
        raise InputError(f"start = {start}, t = {t}: must be at least 1 and 0")
    rates = np.arange(start + 1) * (np.arange(start + 1) - 1) / 2.0
    generator = np.diag(-rates) + np.diag(rates[1:], -1)
    return np.asarray(scipy.linalg.expm(t * generator.T)[:, start])
