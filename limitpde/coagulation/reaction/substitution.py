"""Compiled kernels of the collision operator on the masses 1 ... M: forward substitution at each node, O(M^2).

With g_n = n f_n the equations (1.3)-(1.4) say how mass flows,

    g_n' = sum_{m+l=n} beta(m, l) f_l g_m - g_n sum_l beta(n, l) f_l,

so that with f lagged and g implicit each step is a lower triangular system of an M-matrix, solved in one sweep. Masses
m + l > M leave the range; what they carry is summed up apart from the rest. `operator` says which
coefficients make the scheme one of order two.

Rounding: while the loss of a step is below half, the change of g_n is computed and added, so that its rounding error
is relative to the change and no bias builds up; beyond, the quotient is, which is positive whatever the step.
Values below TINY times the mass at the node count as zero: products of two of them would underflow.

Four nodes share each load of beta; the loops over masses are sums without a store, which compilers turn into vector
code. Fast-math allows no more than their re-association. Nodes do not depend on each other and are grouped in a fixed
way: the result is bitwise the same for any number of threads.
"""

import numpy as np
from numba import prange

from limitpde.arrays import Floats
from limitpde.compiled import compiled

TINY = 1e-150  # of a node's mass: below, a density is zero
GROUP = 4  # nodes that go through a kernel together
LANES = 16  # arrays are as wide as a multiple of this, so that sums have no ragged ends
_FAST = {"reassoc", "contract", "nsz"}


@compiled(error_model="numpy")
def updated(old, gain, loss):  # type: ignore[no-untyped-def]
    """The g with (1 + loss) g = old + gain."""
    if loss < 0.5:
        return old + (gain - loss * old) / (1.0 + loss)
    return (old + gain) / (1.0 + loss)


@compiled(error_model="numpy")
def cut(g):  # type: ignore[no-untyped-def]
    """Puts values below TINY of the sum to zero; returns the number of entries up to the last that is not zero."""
    mass = 0.0
    for n in range(g.size):
        mass += g[n]
    floor, last = TINY * mass, 0
    for n in range(g.size):
        if abs(g[n]) <= floor:
            g[n] = 0.0
        else:
            last = n + 1
    return last


@compiled(fastmath=_FAST, error_model="numpy")
def _row(row, f, first, last, out, n):  # type: ignore[no-untyped-def]
    """out[:, n] = sum of row_l f[:, l] over first <= l < last, for four nodes."""
    row = row[first:last]  # loops begin at 0: an index that might be negative would cost a test each time
    f0, f1, f2, f3 = f[0, first:], f[1, first:], f[2, first:], f[3, first:]
    s0 = s1 = s2 = s3 = 0.0
    for l in range(row.size):
        b = row[l]
        s0 += b * f0[l]
        s1 += b * f1[l]
        s2 += b * f2[l]
        s3 += b * f3[l]
    out[0, n], out[1, n], out[2, n], out[3, n] = s0, s1, s2, s3


@compiled(fastmath=_FAST, error_model="numpy")
def _two_rows(row, next_row, f, last, out, n):  # type: ignore[no-untyped-def]
    """As `_row` from index 0, for the rows n and n + 1 at once."""
    f0, f1, f2, f3 = f[0], f[1], f[2], f[3]
    s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = 0.0
    for l in range(last):
        b, c = row[l], next_row[l]
        s0 += b * f0[l]
        t0 += c * f0[l]
        s1 += b * f1[l]
        t1 += c * f1[l]
        s2 += b * f2[l]
        t2 += c * f2[l]
        s3 += b * f3[l]
        t3 += c * f3[l]
    out[0, n], out[1, n], out[2, n], out[3, n] = s0, s1, s2, s3
    out[0, n + 1], out[1, n + 1], out[2, n + 1], out[3, n + 1] = t0, t1, t2, t3


@compiled(error_model="numpy")
def hazards(beta, outer, M, f, last, total, beyond):  # type: ignore[no-untyped-def]
    """total[:, n] = sum_l beta f_l, beyond[:, n]: its part with n + l > M; f_l = 0 from index last on."""
    for n in range(0, len(beta), 2):
        _two_rows(beta[n], beta[n + 1], f, last, total, n)
    for n in range(M):
        _row(outer[n], f, (M - 1 - n) // LANES * LANES, last, beyond, n)


@compiled(fastmath=_FAST, error_model="numpy")
def _gain(row, c, f, first, n, out):  # type: ignore[no-untyped-def]
    """out[k] = sum_m row_m c[k, m] f_{n-1-m}, four nodes; f in reverse order, row_m = beta(m, n-1-m) or 0, m >= n."""
    at = f.shape[1] - LANES - n + first
    row = row[first : (n + LANES - 1) // LANES * LANES]
    c0, c1, c2, c3 = c[0, first:], c[1, first:], c[2, first:], c[3, first:]
    f0, f1, f2, f3 = f[0, at:], f[1, at:], f[2, at:], f[3, at:]
    s0 = s1 = s2 = s3 = 0.0
    for m in range(row.size):
        b = row[m]
        s0 += b * (c0[m] * f0[m])
        s1 += b * (c1[m] * f1[m])
        s2 += b * (c2[m] * f2[m])
        s3 += b * (c3[m] * f3[m])
    out[0], out[1], out[2], out[3] = s0, s1, s2, s3


@compiled(fastmath=_FAST, error_model="numpy")
def _gain_of_two(row, c, f, d, e, first, n, out):  # type: ignore[no-untyped-def]
    """out[k] = sum_m row_m (c[k, m] f_{n-1-m} + d[k, m] e_{n-1-m}), as `_gain`."""
    at = f.shape[1] - LANES - n + first
    row = row[first : (n + LANES - 1) // LANES * LANES]
    c0, c1, c2, c3 = c[0, first:], c[1, first:], c[2, first:], c[3, first:]
    d0, d1, d2, d3 = d[0, first:], d[1, first:], d[2, first:], d[3, first:]
    f0, f1, f2, f3 = f[0, at:], f[1, at:], f[2, at:], f[3, at:]
    e0, e1, e2, e3 = e[0, at:], e[1, at:], e[2, at:], e[3, at:]
    s0 = s1 = s2 = s3 = 0.0
    for m in range(row.size):
        b = row[m]
        s0 += b * (c0[m] * f0[m] + d0[m] * e0[m])
        s1 += b * (c1[m] * f1[m] + d1[m] * e1[m])
        s2 += b * (c2[m] * f2[m] + d2[m] * e2[m])
        s3 += b * (c3[m] * f3[m] + d3[m] * e3[m])
    out[0], out[1], out[2], out[3] = s0, s1, s2, s3


@compiled(error_model="numpy")
def _densities(g, masses, f, reverse):  # type: ignore[no-untyped-def]
    """f = g / mass after cutting g, and f in reverse order; returns the entries in use, a multiple of LANES."""
    K, M = len(g), masses.size
    W, last = f.shape[1], 0
    for k in range(K):
        last = max(last, cut(g[k]))
        for n in range(M):
            f[k, n] = g[k, n] / masses[n]
            reverse[k, W - 1 - n] = f[k, n]
    return (last + LANES - 1) // LANES * LANES


@compiled(error_model="numpy")
def _group(beta, outer, crossed, masses, f, dt, lost, work, reverse):  # type: ignore[no-untyped-def]
    """One step at GROUP nodes, f (GROUP, M) in place; lost (GROUP,) is what went beyond M."""
    g0, g1, now, c, d = work[0], work[1], work[2], work[3], work[4]  # unpacking would lose that they are contiguous
    all0, out0, all1, out1, back0, back1 = work[5], work[6], work[7], work[8], reverse[0], reverse[1]
    M, h, gain = f.shape[1], 0.5 * dt, np.empty(GROUP)
    c[:] = 0.0
    d[:] = 0.0
    for k in range(GROUP):
        lost[k] = 0.0
        for n in range(M):
            g0[k, n] = masses[n] * f[k, n]
    last = _densities(g0, masses, now, back0)
    hazards(beta, outer, M, now, last, all0, out0)
    for n in range(M):
        _gain(crossed[n], c, back0, max(0, n - last) // LANES * LANES, n, gain)
        for k in range(GROUP):
            g1[k, n] = updated(g0[k, n], gain[k], dt * all0[k, n])
            c[k, n] = dt * g1[k, n]
    last = max(last, _densities(g1, masses, now, back1))
    hazards(beta, outer, M, now, last, all1, out1)
    c[:] = 0.0
    for n in range(M):
        _gain_of_two(crossed[n], c, back0, d, back1, max(0, n - last) // LANES * LANES, n, gain)
        for k in range(GROUP):
            r = g0[k, n] / g1[k, n] if g1[k, n] != 0.0 else 0.0
            g = updated(g0[k, n], gain[k], h * (r * all0[k, n] + all1[k, n]))
            f[k, n] = g / masses[n]
            c[k, n], d[k, n] = h * r * g, h * g
            lost[k] += c[k, n] * out0[k, n] + d[k, n] * out1[k, n]


@compiled(parallel=True, error_model="numpy")
def _advance(beta, outer, crossed, masses, f, dt, lost):  # type: ignore[no-untyped-def]
    """One step of coagulation at every node: f (P, M) in place, lost (P,) the mass beyond M. Threaded.

    beta, outer, crossed: the tables of `DirectCoagulation`.
    """
    P, M = f.shape
    W, chunk = len(beta), 16 * GROUP
    for block in prange((P + chunk - 1) // chunk):
        work, reverse = np.zeros((9, GROUP, W)), np.zeros((2, GROUP, W + LANES))
        few, gone = np.zeros((GROUP, M)), np.zeros(GROUP)
        for p in range(block * chunk, min(P, (block + 1) * chunk), GROUP):
            count = min(GROUP, P - p)
            few[:] = 0.0
            few[:count] = f[p : p + count]
            _group(beta, outer, crossed, masses, few, dt, gone, work, reverse)
            f[p : p + count] = few[:count]
            lost[p : p + count] = gone[:count]


class DirectCoagulation:
    """Coagulation on the masses 1 ... M."""

    def __init__(self, masses: Floats, beta: Floats) -> None:
        """Three views of beta, filled up with zeros to a width W that is a multiple of LANES.

        These are beta; its part with n + l > M; and beta(m, n-m) in row n, so that all pairs which make one mass stand
        in a row.

        Args:
            masses: 1 ... M.
            beta: propensities (M, M), symmetric.
        """
        M = len(beta)
        full = np.zeros((-(-M // LANES) * LANES,) * 2)
        outer, crossed = np.zeros_like(full), np.zeros_like(full)
        full[:M, :M] = beta
        for n in range(M):
            outer[n, M - 1 - n : M] = beta[n, M - 1 - n :]
            crossed[n, :n] = beta[np.arange(n), n - 1 - np.arange(n)]
        self._tables = (full, outer, crossed, masses)

    def step(self, f: Floats, dt: float) -> Floats:
        """Advance f (P, M) by dt in place; returns the mass (P,) that grew beyond M."""
        lost = np.zeros(len(f))
        _advance(*self._tables, f, dt, lost)
        return lost
