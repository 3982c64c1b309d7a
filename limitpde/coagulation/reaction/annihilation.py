"""Annihilation (Hammond section 3) at the nodes: f_n' = -f_n sum_m beta(n, m) f_m, pairs that meet vanish.

MPRK22 as in `operator`: with the hazards s(f)_n = sum_m beta(n, m) f_m,

    f1 = f0 / (1 + dt s(f0)),     f = f0 / (1 + dt/2 [s(f0) f0/f1 + s(f1)]),

of order two, and positive for any step. beta = sum_r U_r(n) W_r(m), a matrix being the case U = identity.
"""

import numpy as np
from numba import prange

from limitpde.arrays import Floats
from limitpde.compiled import compiled


class Annihilation:
    """Annihilation on any masses."""

    def __init__(self, masses: Floats, U: Floats | None, W: Floats) -> None:
        """Factors of the propensities.

        Args:
            masses: (M,).
            U: (R, M); None where W is the matrix beta itself.
            W: (R, M).
        """
        self._masses, self._U, self._W = masses, np.zeros((0, 0)) if U is None else U, W

    def step(self, f: Floats, dt: float) -> Floats:
        """Advance f (P, M) by dt in place; returns the mass (P,) of what vanished."""
        lost = np.zeros(len(f))
        _advance(self._masses, self._U, self._W, f, dt, lost)
        return lost


@compiled(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for m in range(a.size):
        total += a[m] * b[m]
    return total


@compiled(error_model="numpy")
def _hazards(U, W, f, out):  # type: ignore[no-untyped-def]
    if U.size == 0:
        for n in range(f.size):
            out[n] = _dot(W[n], f)
        return
    out[:] = 0.0
    for r in range(len(W)):
        moment = _dot(W[r], f)
        for n in range(f.size):
            out[n] += U[r, n] * moment
    for n in range(f.size):
        out[n] = max(out[n], 0.0)


@compiled(parallel=True, error_model="numpy")
def _advance(masses, U, W, f, dt, lost):  # type: ignore[no-untyped-def]
    P, M = f.shape
    for p in prange(P):
        first, second, f1 = np.empty(M), np.empty(M), np.empty(M)
        _hazards(U, W, f[p], first)
        for n in range(M):
            f1[n] = f[p, n] / (1.0 + dt * first[n])
        _hazards(U, W, f1, second)
        for n in range(M):
            loss = 0.5 * dt * (first[n] * (1.0 + dt * first[n]) + second[n])
            change = f[p, n] * (loss / (1.0 + loss))
            f[p, n] = f[p, n] - change if loss < 0.5 else f[p, n] / (1.0 + loss)
            lost[p] += masses[n] * change
