"""The magnetised equilibrium of the HMF model (Gamma = -c cos x), in closed form.

f = rho(x) M_T(v) with Maxwell's law M_T of the temperature T and rho proportional to e^{c m M cos x / T}, m the mass;
M = I_1(b) / I_0(b), b = c m M / T (Bessel functions), is positive below T = c m / 2.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.optimize
import scipy.special

from limitpde.errors import InputError


def hmf_magnetisation(temperature: float) -> float:
    """M > 0 with M = I_1(M / T) / I_0(M / T); 0 from T = 1/2 on. Mass and strength are 1: T is in units of c m.

    Raises:
        InputError: the temperature is not positive.
    """
    T = temperature
    if not 0.0 < T < math.inf:
        raise InputError(f"temperature = {T!r}: must be finite and greater than 0")
    if T >= 0.5:
        return 0.0

    def excess(b: float) -> float:  # M = T b divides out: I_1(b) / (b I_0(b)) = T falls from 1/2 to 0
        return float(scipy.special.ive(1, b) / (b * scipy.special.ive(0, b)) - T)

    small = 2.0 * math.sqrt(max(1.0 - 2.0 * T, 1e-30))
    low = min(small, 1.0 / T) / 4.0
    return T * float(scipy.optimize.brentq(excess, low, 2.0 / T, xtol=1e-300, rtol=4.0 * np.finfo(float).eps))
