"""Multipole and local expansions of sum_j b_j / (z - z_j) in the plane, z = x + i y (Greengard and Rokhlin, 1987).

For the charges of a box of centre c and radius r, and outside of its disc,

    sum_j b_j / (z - z_j) = sum_k A_k r^k / (z - c)^(k+1),        A_k = sum_j b_j ((z_j - c) / r)^k,

and inside the disc of a box far from them it is sum_l B_l ((z - c) / r)^l. Scaled by r in this way all coefficients are
of the size of the charges, whatever the lengths are. With D the centre of the sources minus that of the targets,

    B_l = (r / D)^l / D  sum_k C(k+l, k) (-1)^(k+1) (R / D)^k A_k,

a matrix of binomials, the same for all pairs of boxes, between two scalings. Coefficients are (boxes, 2, p), real and
imaginary parts, p of each. Cut off there, the error for one charge at a distance s <= R from its centre, seen at
t <= r from the other, is at most

    (q^p + q'^p) / (|D| - s - t),    q = s / (|D| - t), q' = t / (|D| - s),

which for boxes far from each other (`tree`) is (2 + 6 theta) / (1 - theta) theta^p of the force itself or less.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from limitpde.compiled import compiled, hot
from limitpde.nbody.tree import Boxes, Points, begin, is_far

_FAST = {"reassoc", "contract", "nsz"}
_LEAST = 1e-150
"""Radius by which boxes of coincident points are scaled."""
UNROLLED = 4
"""The number of coefficients is a multiple of this."""


def coefficients(accuracy: float, theta: float) -> int:
    """How many coefficients keep the error of each pair of particles below `accuracy` times its force."""
    needed = math.log((2 + 6 * theta) / (1 - theta) / accuracy) / -math.log(theta)
    return UNROLLED * math.ceil(needed / UNROLLED)


def binomials(p: int) -> np.ndarray:
    """C(k + l, k), (p, p)."""
    return np.array([[float(math.comb(k + l, k)) for l in range(p)] for k in range(p)])


@hot
def radius_of(boxes: Boxes, k: int) -> float:
    """The radius by which the coefficients of a box are scaled, > 0."""
    return max(boxes.radius[k], _LEAST)


@compiled(parallel=True, fastmath=_FAST)
def from_charges(leaves: Boxes, points: Points, b: np.ndarray, out: np.ndarray, low: int) -> None:
    """A of boxes of the last level from `low` on, written to out (own, 2, p). Threaded.

    Args:
        leaves: the level.
        points: those of these boxes.
        b: (m,) their charges.
        out: overwritten.
        low: first of these boxes.
    """
    x, y, n, offset, boxes, p = points.x, points.y, points.total, points.first, len(leaves.x), out.shape[2]
    for row in prange(len(out)):
        k = low + row
        first, last = begin(k, n, boxes) - offset, begin(k + 1, n, boxes) - offset
        inverse = 1 / radius_of(leaves, k)
        u, v = (x[first:last] - leaves.x[k]) * inverse, (y[first:last] - leaves.y[k]) * inverse
        re, im = b[first:last].copy(), np.zeros(last - first)
        for m in range(p):
            a = c = 0.0
            for i in range(len(u)):
                a += re[i]
                c += im[i]
                re[i], im[i] = re[i] * u[i] - im[i] * v[i], re[i] * v[i] + im[i] * u[i]
            out[row, 0, m], out[row, 1, m] = a, c


@compiled(parallel=True)
def from_halves(parents: Boxes, children: Boxes, inner: np.ndarray, out: np.ndarray, low: int) -> None:
    """A of boxes of a level from `low` on, from those of their halves. Threaded.

    A_k = sum_m C(k, m) (d / R)^(k-m) (r / R)^m A_m, summed over both halves.

    Args:
        parents: the level.
        children: the next one.
        inner: (2 own, 2, p), of the halves.
        out: (own, 2, p), overwritten.
        low: first of these boxes.
    """
    p = inner.shape[2]
    for row in prange(len(out)):
        k = low + row
        out[row] = 0.0
        inverse = 1 / radius_of(parents, k)
        for child in range(2 * k, 2 * k + 2):
            d = complex(children.x[child] - parents.x[k], children.y[child] - parents.y[k]) * inverse
            ratio, scale = radius_of(children, child) * inverse, 1.0
            a = np.empty(p, dtype=np.complex128)
            for m in range(p):
                a[m] = scale * complex(inner[child - 2 * low, 0, m], inner[child - 2 * low, 1, m])
                scale *= ratio
            for first in range(p - 1):  # Horner's scheme for the shift: p^2 / 2 multiplications, no binomials
                for m in range(p - 1, first, -1):
                    a[m] += d * a[m - 1]
            for m in range(p):
                out[row, 0, m] += a[m].real
                out[row, 1, m] += a[m].imag


@compiled(parallel=True)
def from_parents(parents: Boxes, children: Boxes, outer: np.ndarray, before: int, low: int, high: int) -> np.ndarray:
    """B of boxes `low` to `high` of a level, (own, 2, p), about the new centres. Threaded.

    Args:
        parents: the level before.
        children: the level.
        outer: B of its boxes from `before` on.
        before: the first of them.
        low: first of these boxes.
        high: the box after the last one.
    """
    p = outer.shape[2]
    out = np.empty((high - low, 2, p))
    for k in prange(low, high):
        inverse = 1 / radius_of(parents, k // 2)
        d = complex(children.x[k] - parents.x[k // 2], children.y[k] - parents.y[k // 2]) * inverse
        ratio, scale = radius_of(children, k) * inverse, 1.0
        a = np.empty(p, dtype=np.complex128)
        for m in range(p):
            a[m] = complex(outer[k // 2 - before, 0, m], outer[k // 2 - before, 1, m])
        for first in range(p - 1):
            for m in range(p - 2, first - 1, -1):
                a[m] += d * a[m + 1]
        for m in range(p):
            out[k - low, 0, m], out[k - low, 1, m] = scale * a[m].real, scale * a[m].imag
            scale *= ratio
    return out


@hot
def _scaled(a, out, ratio, factor):  # type: ignore[no-untyped-def]
    """out_k = factor ratio^k a_k."""
    for k in range(a.shape[1]):
        value = factor * complex(a[0, k], a[1, k])
        out[0, k], out[1, k] = value.real, value.imag
        factor *= ratio


@compiled(fastmath=_FAST, _nrt=False)
def _matrix(table, a, out):  # type: ignore[no-untyped-def]
    """out = table a, real and imaginary parts; UNROLLED columns at a time."""
    re, im, p = out[0], out[1], a.shape[1]
    for l in range(p):
        re[l] = im[l] = 0.0
    for k in range(0, p, 4):
        r0, r1, r2, r3 = a[0, k], a[0, k + 1], a[0, k + 2], a[0, k + 3]
        i0, i1, i2, i3 = a[1, k], a[1, k + 1], a[1, k + 2], a[1, k + 3]
        t0, t1, t2, t3 = table[k], table[k + 1], table[k + 2], table[k + 3]
        for l in range(p):
            re[l] += t0[l] * r0 + t1[l] * r1 + t2[l] * r2 + t3[l] * r3
            im[l] += t0[l] * i0 + t1[l] * i1 + t2[l] * i2 + t3[l] * i3


@compiled(parallel=True)
def add_far(
    parents: Boxes,
    level: Boxes,
    a: np.ndarray,
    at: np.ndarray,
    b: np.ndarray,
    table: np.ndarray,
    theta: float,
    reach: float,
    low: int,
) -> None:
    """Add to B of boxes from `low` on what A of those of its level gives that are far and whose parents are near.

    Args:
        parents: the level before.
        level: this level.
        a: (m, 2, p) multipole coefficients.
        at: (boxes,) the row in a of each box that is needed.
        b: (own, 2, p) local coefficients of these boxes, added to.
        table: from `binomials`.
        theta: as the tree was built.
        reach: likewise.
        low: first of these boxes.
    """
    p = a.shape[2]
    for k in prange(low, low + len(b)):
        inner, outer, total = np.empty((2, p)), np.empty((2, p)), np.zeros((2, p))
        r = radius_of(level, k)
        for q in range(parents.start[k // 2], parents.start[k // 2 + 1]):
            for source in range(2 * parents.near[q], 2 * parents.near[q] + 2):
                if is_far(level, k, source, theta, reach):
                    inverse = 1 / complex(level.x[source] - level.x[k], level.y[source] - level.y[k])
                    _scaled(a[at[source]], inner, -radius_of(level, source) * inverse, complex(-1.0))
                    _matrix(table, inner, outer)
                    _scaled(outer, outer, r * inverse, inverse)
                    for part in range(2):
                        for l in range(p):
                            total[part, l] += outer[part, l]
        for part in range(2):
            for l in range(p):
                b[k - low, part, l] += total[part, l]


@compiled(fastmath=_FAST, _nrt=False)
def evaluate(b: np.ndarray, u: np.ndarray, v: np.ndarray, re: np.ndarray, im: np.ndarray) -> None:
    """re + i im = sum_l B_l (u + i v)^l for (2, p) coefficients and (n,) points, scaled and about the centre."""
    p = b.shape[1]
    for i in range(len(u)):
        re[i], im[i] = b[0, p - 1], b[1, p - 1]
    for l in range(p - 2, -1, -1):
        a, c = b[0, l], b[1, l]
        for i in range(len(u)):
            re[i], im[i] = re[i] * u[i] - im[i] * v[i] + a, re[i] * v[i] + im[i] * u[i] + c
