"""Coagulation on many masses 1 ... M by factors of beta: forward substitution as relaxed convolutions, O(R M log^2 M).

With beta(m, l) = sum_r U_r(m) W_r(l) (`low_rank`) the gain of a mass is a sum of convolutions,

    sum_{m+l=n} beta(m, l) z_m f_l = sum_r sum_{m+l=n} (U_r z)_m (W_r f)_l,

f known and z_m = c_m g_m known only once g_m is solved. So the masses are taken in leaves of LEAF: a leaf is solved
directly; once leaves up to e are solved, e = odd 2^k, the last 2^k of them send to the next 2^k all they have to give,
by one Fourier transform each of U_r z (of twice that length) and one back (van der Hoeven, J. Symb. Comput. 34, 2002).
The scheme is that of `limitpde.coagulation.reaction.substitution`, and so are its properties, in spite of rounding:

- Conservation: what mass m loses to a block of masses is max(0, sum_r U_r(m) [difference of sums of W_r f from above]),
  and it loses no more than the sum of these. The gains of a block are scaled so that their sum is what was sent.
- Positivity: gains below zero are noise and are set to zero before that scaling.
- Tails: a Fourier transform errs by 1e-16 of the largest term everywhere. Before it the factors are multiplied by
  exp(theta l), where theta is the steepest decay that f_l <= 4 max(f) exp(-theta l) allows: exponential tails come out
  with small relative errors. What is sent is summed up without cancellation, so that noise cannot outgrow a tail.
"""

from __future__ import annotations

import numba
import numpy as np
import scipy.fft
from numba import prange
from numpy.typing import NDArray

from limitpde.arrays import Floats
from limitpde.coagulation.reaction.low_rank import Factors
from limitpde.coagulation.reaction.substitution import TINY, updated
from limitpde.compiled import compiled

LEAF = 128  # masses that are solved directly
MEMORY = 2**26  # bytes that a batch of nodes may take, unless it is a single node
STEEPEST = 300.0  # theta times the length of a transform: exp of it must not overflow
_FAST = {"reassoc", "contract", "nsz"}


def pays(rank: int, M: int) -> bool:
    """Whether this is faster than the direct sum: as measured on one core, from M = 860 on for rank 1, 2000 for 8."""
    return 700 + 160 * rank <= M


class RelaxedCoagulation:
    """Coagulation on the masses 1 ... M with factors of beta."""

    def __init__(self, masses: Floats, factors: Factors) -> None:
        """Keep the factors.

        Args:
            masses: 1 ... M.
            factors: those of beta.
        """
        self._masses, self._rank = masses, factors.rank
        self._U, self._W = np.ascontiguousarray(factors.U.T), np.ascontiguousarray(factors.W.T)  # (M, R)
        self._levels = max(0, (-(-len(masses) // LEAF) - 1).bit_length())

    def step(self, f: Floats, dt: float) -> Floats:
        """Advance f (P, M) by dt in place; returns the mass (P,) that grew beyond M."""
        lost = np.zeros(len(f))
        batch = max(1, int(MEMORY / (100.0 * self._rank * f.shape[1])))
        threads = numba.get_num_threads()
        numba.set_num_threads(threads if len(f) >= 8 * threads else 1)  # for a few nodes, starting threads costs more
        try:
            for start in range(0, len(f), batch):
                nodes = slice(start, start + batch)
                self._advance(f[nodes], dt, lost[nodes])
        finally:
            numba.set_num_threads(threads)
        return lost

    def _advance(self, f: Floats, dt: float, lost: Floats) -> None:
        g0 = f * self._masses
        _cut(g0)
        partners = np.zeros((1, *f.shape))
        partners[0] = g0 / self._masses
        g1 = np.zeros_like(g0)
        self._solve(partners, np.full((1, *f.shape), dt), g0, g1, np.zeros(len(f)))
        _cut(g1)
        ratio = np.divide(g0, g1, out=np.zeros_like(g0), where=g1 > 0)
        partners = np.stack([partners[0], g1 / self._masses])
        self._solve(partners, dt / 2 * np.stack([ratio, np.ones_like(ratio)]), g0, g1, lost)
        np.divide(g1, self._masses, out=f)

    def _solve(self, f: Floats, c: Floats, g0: Floats, g: Floats, lost: Floats) -> None:
        """Solves (1 + loss) g = g0 + gain with partners f and weights c, both (K, B, M); lost (B,) is overwritten."""
        K, B, M = f.shape
        above = np.empty((K, B, M + 1, self._rank))  # sums of W_r f from each mass up
        theta, loss, gain = np.zeros((B, self._levels)), np.empty((B, M)), np.zeros((B, M))
        theta[:], lost[:] = STEEPEST, 0.0
        _prepare(f, c, self._U, self._W, above, theta, loss)
        known: dict[int, NDArray[np.complex128]] = {}
        for leaf in range(-(-M // LEAF)):
            low, high = leaf * LEAF, min((leaf + 1) * LEAF, M)
            near = np.maximum(self._U[low:high] @ self._W[: high - low].T, 0.0)
            _leaf(near, low, high, f, c, g0, loss, gain, g, lost, above, self._U)
            if high == M:
                break
            level = ((leaf + 1) & -(leaf + 1)).bit_length() - 1
            half = LEAF << level
            slope = np.ascontiguousarray(theta[:, level])
            if level not in known:
                known[level] = self._transform(f, self._W, slope, 0, 2 * half - 1, 2 * half)
            sent = self._transform(c * g, self._U, slope, high - half, high, 2 * half)
            total = np.empty((B, half + 1), dtype=complex)
            _multiply(sent, known[level], total)
            back = scipy.fft.irfft(total, 2 * half, axis=1, overwrite_x=True, workers=numba.get_num_threads())
            _receive(back, slope, high - half, high, min(high + half, M), c, g, above, self._U, gain)

    def _transform(
        self, values: Floats, factor: Floats, slope: Floats, start: int, end: int, length: int
    ) -> NDArray[np.complex128]:
        """Fourier transforms (B, K R, length/2 + 1) of factor_r values exp(slope l), l counted from start to end."""
        K, B, M = values.shape
        padded = np.zeros((B, K * self._rank, length))
        _tilt(values, factor, slope, start, min(end, M), padded)
        return np.asarray(scipy.fft.rfft(padded, axis=2, overwrite_x=True, workers=numba.get_num_threads()))


@compiled(parallel=True, error_model="numpy")
def _cut(g):  # type: ignore[no-untyped-def]
    """Puts to zero what is below TINY of the mass at a node."""
    B, M = g.shape
    for p in prange(B):
        floor = TINY * g[p].sum()
        for n in range(M):
            if abs(g[p, n]) <= floor:
                g[p, n] = 0.0


@compiled(error_model="numpy")
def _share(u, above, a, b):  # type: ignore[no-untyped-def]
    """Hazard of a mass to meet partners with indices a <= l < b; u is its row of U."""
    total = 0.0
    for r in range(u.size):
        total += u[r] * (above[a, r] - above[b, r])
    return max(total, 0.0)


@compiled(error_model="numpy")
def _later(U, above, m):  # type: ignore[no-untyped-def]
    """Hazard of mass index m to get beyond its leaf: the sum over the blocks to which it is sent, and beyond M."""
    M = len(U)
    total, leaf = _share(U[m], above, M - m - 1, M), m // LEAF + 1
    while leaf * LEAF < M:
        width = leaf & -leaf
        total += _share(U[m], above, leaf * LEAF - m - 1, min((leaf + width) * LEAF, M) - m - 1)
        leaf += width
    return total


@compiled(error_model="numpy")
def _slopes(f, theta):  # type: ignore[no-untyped-def]
    """theta[level] becomes at most the steepest decay of f over the length of that level's transforms."""
    largest, steepest, level = 4.0 * f.max(), STEEPEST, 0
    for l in range(1, f.size):
        if f[l] > 0.0:
            steepest = min(steepest, np.log(largest / f[l]) / l)
        if level < theta.size and (l + 1 == 2 * LEAF << level or l + 1 == f.size):
            theta[level] = min(theta[level], steepest)
            level += 1
    for last in range(level, theta.size):
        theta[last] = min(theta[last], steepest)


@compiled(parallel=True, error_model="numpy")
def _prepare(f, c, U, W, above, theta, loss):  # type: ignore[no-untyped-def]
    """Sums from above, slopes, and what every mass loses to the masses beyond its own leaf."""
    K, B, M = f.shape
    for p in prange(B):
        for k in range(K):
            above[k, p, M] = 0.0
            for l in range(M - 1, -1, -1):
                for r in range(W.shape[1]):
                    above[k, p, l, r] = above[k, p, l + 1, r] + W[l, r] * f[k, p, l]
            _slopes(f[k, p], theta[p])
        for level in range(theta.shape[1]):
            length = 2.0 * (LEAF << level)
            theta[p, level] = min(theta[p, level], STEEPEST / length) if theta[p, level] * length > 1.0 else 0.0
        for m in range(M):
            loss[p, m] = 0.0
            for k in range(K):
                loss[p, m] += c[k, p, m] * _later(U, above[k, p], m)


@compiled(fastmath=_FAST, error_model="numpy")
def _meet(near, f):  # type: ignore[no-untyped-def]
    total = 0.0
    for l in range(f.size):
        total += near[l] * f[l]
    return total


@compiled(fastmath=_FAST, error_model="numpy")
def _flow(near, f, z, gain):  # type: ignore[no-untyped-def]
    for l in range(gain.size):
        gain[l] += near[l] * (z * f[l])


@compiled(parallel=True, error_model="numpy")
def _leaf(near, low, high, f, c, g0, loss, gain, g, lost, above, U):  # type: ignore[no-untyped-def]
    """Solves for the indices low ... high-1; near[m - low, l] = beta of the indices m and l."""
    K, B, M = f.shape
    for p in prange(B):
        for m in range(low, high):
            for k in range(K):
                loss[p, m] += c[k, p, m] * _meet(near[m - low], f[k, p, : high - m - 1])
            g[p, m] = updated(g0[p, m], gain[p, m], loss[p, m])
            for k in range(K):
                z = c[k, p, m] * g[p, m]
                if z != 0.0:
                    _flow(near[m - low], f[k, p], z, gain[p, m + 1 : high])
                    lost[p] += z * _share(U[m], above[k, p], M - m - 1, M)


@compiled(parallel=True, error_model="numpy")
def _tilt(values, factor, slope, start, end, out):  # type: ignore[no-untyped-def]
    """out[p, k R + r, l] = factor[start + l, r] values[k, p, start + l] exp(slope l), l < end - start."""
    K, B, _ = values.shape
    R = factor.shape[1]
    for p in prange(B):
        for k in range(K):
            weight, growth = 1.0, np.exp(slope[p])
            for l in range(end - start):
                value = weight * values[k, p, start + l]
                for r in range(R):
                    out[p, k * R + r, l] = factor[start + l, r] * value
                weight *= growth


@compiled(parallel=True, error_model="numpy")
def _multiply(a, b, out):  # type: ignore[no-untyped-def]
    """out[p] = sum over r of a[p, r] b[p, r]."""
    for p in prange(len(a)):
        out[p] = 0.0
        for r in range(a.shape[1]):
            for i in range(a.shape[2]):
                out[p, i] += a[p, r, i] * b[p, r, i]


@compiled(parallel=True, error_model="numpy")
def _receive(back, slope, low, mid, high, c, g, above, U, gain):  # type: ignore[no-untyped-def]
    """Adds to the gain of mid ... high-1 what low ... mid-1 sent: back without its tilt, scaled to the right sum."""
    K, B, _ = c.shape
    for p in prange(B):
        sent = 0.0
        for m in range(low, mid):
            for k in range(K):
                z = c[k, p, m] * g[p, m]
                if z != 0.0:
                    sent += z * _share(U[m], above[k, p], mid - m - 1, high - m - 1)
        arrived, decay = 0.0, np.exp(-slope[p])
        first, count = mid - low - 1, high - mid  # indices m - low and l add up to n - low - 1
        weight = np.exp(-slope[p] * first)
        for i in range(count):
            back[p, first + i] = max(back[p, first + i] * weight, 0.0)
            arrived += back[p, first + i]
            weight *= decay
        for i in range(count):
            part = back[p, first + i] / arrived if arrived > 0.0 else 1.0 / count
            gain[p, mid + i] += sent * part
