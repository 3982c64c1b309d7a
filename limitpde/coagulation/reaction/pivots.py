"""Compiled kernel of the collision operator on pivots x_1 < ... < x_M: forward substitution at each node, O(M^2).

A pair of masses x_i, x_j makes v = x_i + x_j, which `MassGrid.split` divides between two pivots, number and mass kept.
Seen as a flow of mass, what leaves i at the rate beta(i, j) f_j goes to pivot k and to k + 1 in the proportion of the
masses that arrive there. As v > x_i, nothing flows down; what returns to i itself (k = i, a small partner) never left.
So the step is lower triangular as on the integers, and the scheme, its order and its properties are those of
`limitpde.coagulation.reaction.substitution`.

LANES nodes go through the kernel together, densities being stored with the node as the fast index.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from limitpde.arrays import Floats
from limitpde.coagulation.reaction.bins import MassGrid
from limitpde.coagulation.reaction.substitution import TINY, updated
from limitpde.compiled import compiled

LANES = 16  # nodes that go through the kernel together
_FAST = {"contract", "nsz"}


class PivotCoagulation:
    """Coagulation on the pivots of a grid."""

    def __init__(self, grid: MassGrid, beta: Floats) -> None:
        """Tables of all pairs.

        Args:
            grid: the pivots.
            beta: propensities (M, M) of pairs of pivots, symmetric.
        """
        x, M = grid.masses, grid.M
        v = x[:, np.newaxis] + x
        k, share = grid.split(v)
        kept, itself = k < M, k == np.arange(M)[:, np.newaxis]
        low = np.where(kept, share * x[np.minimum(k, M - 1)] / v, 0.0)  # of the mass v, the part that goes to x_k
        stays, high = np.where(itself, 0.0, beta * low), np.where(kept & (share < 1.0), beta * (1.0 - low), 0.0)
        outer = np.where(kept, 0.0, beta)
        leave, first = stays + high + outer, np.count_nonzero(kept, axis=1)
        self._tables = (np.where(kept, k, M), stays, high, outer, leave, first, x)

    def step(self, f: Floats, dt: float) -> Floats:
        """Advance f (P, M) by dt in place; returns the mass (P,) that grew beyond x_M."""
        lost = np.zeros(len(f))
        _advance(*self._tables, f, dt, lost)
        return lost


@compiled(fastmath=_FAST, error_model="numpy")
def _hazards(rates, first, f, out):  # type: ignore[no-untyped-def]
    """out[i] = sum_j rates[i, j] f[j], each of them for all lanes; rates are zero before index first[i]."""
    out[:] = 0.0
    for i in range(len(rates)):
        mine = out[i]
        for j in range(first[i], len(rates)):
            b, one = rates[i, j], f[j]
            for q in range(LANES):
                mine[q] += b * one[q]


@compiled(fastmath=_FAST, error_model="numpy")
def _flow(i, target, low, high, c, f, d, e, gain):  # type: ignore[no-untyped-def]
    """Adds to gain what flows from pivot i: its mass meets f with weight c and e with weight d."""
    M = len(target)
    for j in range(M):
        k = target[i, j]
        if k == M:
            break  # heavier partners take it out of the range, too
        one, two, into, above = f[j], e[j], gain[k], gain[k + 1]
        a, b = low[i, j], high[i, j]
        for q in range(LANES):
            u = c[q] * one[q] + d[q] * two[q]
            into[q] += a * u
            above[q] += b * u


@compiled(error_model="numpy")
def _densities(g, masses, f):  # type: ignore[no-untyped-def]
    """f = g / mass, after putting to zero what is below TINY of a node's mass."""
    M = masses.size
    for q in range(LANES):
        mass = 0.0
        for i in range(M):
            mass += g[i, q]
        for i in range(M):
            if abs(g[i, q]) <= TINY * mass:
                g[i, q] = 0.0
    for i in range(M):
        for q in range(LANES):
            f[i, q] = g[i, q] / masses[i]


@compiled(error_model="numpy")
def _group(target, low, high, outer, leave, first, masses, dt, state):  # type: ignore[no-untyped-def]
    """One step for LANES nodes; state[0] holds densities before and after, the last row of state[1] the lost mass."""
    f, gain, g0, g1 = state[0], state[1], state[2], state[3]
    f0, f1, all0, all1, out0, out1 = state[4], state[5], state[6], state[7], state[8], state[9]
    M, h = masses.size, 0.5 * dt
    c, d, nothing = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    for i in range(M):
        for q in range(LANES):
            g0[i, q] = masses[i] * f[i, q]
    _densities(g0, masses, f0)
    _hazards(leave, np.zeros_like(first), f0, all0)
    _hazards(outer, first, f0, out0)
    gain[:] = 0.0
    for i in range(M):
        for q in range(LANES):
            g1[i, q] = updated(g0[i, q], gain[i, q], dt * all0[i, q])
            c[q] = dt * g1[i, q]
        _flow(i, target, low, high, c, f0, nothing, f0, gain)
    _densities(g1, masses, f1)
    _hazards(leave, np.zeros_like(first), f1, all1)
    _hazards(outer, first, f1, out1)
    gain[:] = 0.0
    lost = np.zeros(LANES)
    for i in range(M):
        for q in range(LANES):
            r = g0[i, q] / g1[i, q] if g1[i, q] != 0.0 else 0.0
            g = updated(g0[i, q], gain[i, q], h * (r * all0[i, q] + all1[i, q]))
            f[i, q] = g / masses[i]
            c[q], d[q] = h * r * g, h * g
            lost[q] += c[q] * out0[i, q] + d[q] * out1[i, q]
        _flow(i, target, low, high, c, f0, d, f1, gain)
    return lost


@compiled(parallel=True, error_model="numpy")
def _advance(target, low, high, outer, leave, first, masses, f, dt, lost):  # type: ignore[no-untyped-def]
    P, M = f.shape
    for block in prange((P + LANES - 1) // LANES):
        start, count = block * LANES, min(LANES, P - block * LANES)
        state = np.zeros((10, M + 1, LANES))
        for q in range(count):
            for i in range(M):
                state[0, i, q] = f[start + q, i]
        gone = _group(target, low, high, outer, leave, first, masses, dt, state)
        for q in range(count):
            lost[start + q] = gone[q]
            for i in range(M):
                f[start + q, i] = state[0, i, q]
