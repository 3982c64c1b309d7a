"""Test functions by Python on the phase space of a torus."""

from __future__ import annotations

import numpy as np

from limitpde.compare.user_functions import UserFunction
from limitpde.errors import InputError

SEAM = 1e-9
"""Part of its size by which a function may jump where the torus closes."""


def wrapped(z: np.ndarray, low: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Points (n, 2 d) on the torus, where it is one."""
    around = np.isfinite(size)
    found = z.copy()
    found[:, around] -= size[around] * np.floor((z[:, around] - low[around]) / size[around])
    return found


def check_on_torus(function: UserFunction, z: np.ndarray, size: np.ndarray, end: float, key: str) -> None:
    """Try a function at points (n, 2 d) of phase space, and whether it closes around the torus.

    Raises:
        InputError: see `UserFunction.check`; or it jumps.
    """
    function.check(z, None, end, key)
    for axis in np.flatnonzero(np.isfinite(size)):
        around = z.copy()
        around[:, axis] += size[axis]
        for t in (0.0, end):
            jump = np.abs(function.values(z, None, t) - function.values(around, None, t)).max()
            if jump > SEAM * function.size:
                raise InputError(
                    f"{key}.python = {str(function.python)!r}: is not periodic: it changes by {jump:.3g} around the "
                    f"torus, an edge of {size[axis]:g}"
                )
