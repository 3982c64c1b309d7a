"""A limiter that keeps f >= 0 at all nodes, and the mass in every cell of every line.

A line of cells moves along one axis. A cell sends the integrals of its polynomial p over [0, 1 - alpha] and [1 - alpha,
1] to two cells. *Before* a sweep p is scaled towards its mean, m + theta (p - m), just so much that both integrals are
>= 0 (nothing happens to a polynomial that is >= 0); so the new means are >= 0. *After* it each cell of a line is scaled
towards its mean just so much that its nodal values are >= 0 (Zhang and Shu 2010; Rossmanith and Seal 2011). Means stay
as they are, up to rounding, and where f is smooth and positive so does the order of the scheme.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space.axes import gauss
from limitpde.vlasov.phase_space.lines import Lines

ROUNDING = 1e-14
"""Of the mean of a cell: an integral that is negative by no more is zero, as one over an empty piece should be."""


def before(f: np.ndarray, lines: Lines, P: int) -> None:
    """Make what each cell of each line sends to either side >= 0, in place; f is one component, flat."""
    w = gauss(P)[1]
    near, far = (np.einsum("q,mqr->mr", w, table) for table in (lines.moves.near, lines.moves.far))
    _sending(f, lines.layout, lines.base, lines.width, lines.first, lines.varying, near, far, w)


def after(f: np.ndarray, lines: Lines, P: int) -> None:
    """Make the nodal values >= 0, in place; f is one component, flat."""
    _values(f, lines.layout, lines.base, lines.width, gauss(P)[1])


@compiled
def _scale(f, at, step, mean, theta, P):  # type: ignore[no-untyped-def]
    """Scale a cell towards its mean."""
    for p in range(P):
        f[at + p * step] = mean + theta * (f[at + p * step] - mean)


@compiled(parallel=True)
def _sending(f, layout, base, width, first, varying, near, far, w):  # type: ignore[no-untyped-def]
    outer, outer_stride, count, stride, mid, mid_stride = layout
    P, runs = len(w), len(base)
    for number in prange(outer * runs * mid):
        m, r, o = number % mid, (number // mid) % runs, number // (runs * mid)
        start = base[r] + o * outer_stride + m * mid_stride
        for cell in range(count):
            for k in range(width[r]):
                at, move = start + cell * P * stride + k, first[r] + k if varying else first[r]
                here = there = share = 0.0
                for p in range(P):
                    here += near[move, p] * f[at + p * stride]
                    there += far[move, p] * f[at + p * stride]
                    share += near[move, p]
                mean, theta = here + there, 1.0
                if min(here, there) >= -ROUNDING * max(mean, 0.0):
                    continue
                share = min(max(share, 0.0), 1.0)
                if mean <= 0.0:
                    theta = 0.0
                elif here < 0.0:
                    theta = mean * share / (mean * share - here)
                else:
                    theta = mean * (1.0 - share) / (mean * (1.0 - share) - there)
                _scale(f, at, stride, mean, theta, P)


@compiled(parallel=True)
def _values(f, layout, base, width, w):  # type: ignore[no-untyped-def]
    outer, outer_stride, count, stride, mid, mid_stride = layout
    P, runs = len(w), len(base)
    for number in prange(outer * runs * mid):
        m, r, o = number % mid, (number // mid) % runs, number // (runs * mid)
        start = base[r] + o * outer_stride + m * mid_stride
        for cell in range(count):
            for k in range(width[r]):
                at = start + cell * P * stride + k
                mean, least = 0.0, f[at]
                for p in range(P):
                    value = f[at + p * stride]
                    mean += w[p] * value
                    least = min(least, value)
                if least < 0.0:
                    _scale(f, at, stride, mean, mean / (mean - least) if mean > 0.0 else 0.0, P)
                    for p in range(P):
                        f[at + p * stride] = max(f[at + p * stride], 0.0)
