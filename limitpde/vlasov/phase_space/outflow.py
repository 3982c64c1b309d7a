"""What a translation carries over the end of an axis, counted from the cells that it leaves."""

from __future__ import annotations

import numba
import numpy as np

from limitpde.vlasov.phase_space.axes import Axis, gauss
from limitpde.vlasov.phase_space.lines import Lines


def outflow(
    f: np.ndarray, lines: Lines, axis: Axis, begin: int, end: int, weights: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> float:
    """Integral of what the translation of f, not made yet, carries beyond the ends of an axis.

    Args:
        f: one component of this rank's block, flat.
        lines: its lines along the axis.
        axis: the axis.
        begin: first cell of the block.
        end: its end.
        weights: quadrature weights of the runs' numbers (R, widest), of outer (outer,) and of mid (mid,) indices.
    """
    reach = np.where(lines.forward, axis.cells - begin, end) - lines.cells - 1
    crossing = np.flatnonzero(reach < end - begin)
    parts = np.zeros(len(crossing))
    w = gauss(axis.P)[1]
    far = np.einsum("q,mqr->mr", w, lines.moves.far) * axis.h
    _lost(
        f, lines.layout, lines.base, lines.width, lines.first, lines.varying, lines.forward, crossing, reach,
        far, w * axis.h, *weights, parts,
    )  # fmt: skip
    return float(parts.sum())


@numba.njit(cache=True, parallel=True)
def _lost(
    f: np.ndarray,
    layout: np.ndarray,
    base: np.ndarray,
    width: np.ndarray,
    first: np.ndarray,
    varying: bool,
    forward: np.ndarray,
    crossing: np.ndarray,
    reach: np.ndarray,
    far: np.ndarray,
    whole: np.ndarray,
    run_weights: np.ndarray,
    outer_weights: np.ndarray,
    mid_weights: np.ndarray,
    parts: np.ndarray,
) -> None:
    """From cell `reach` of a block on, counted along the direction: its far image is lost, and all of those beyond."""
    outer, outer_stride, count, stride, mid, mid_stride = layout
    P = len(whole)
    for n in numba.prange(len(crossing)):
        r = crossing[n]
        for o in range(outer):
            for m in range(mid):
                start = base[r] + o * outer_stride + m * mid_stride
                total = 0.0
                for j in range(max(0, reach[r]), count):
                    cell = j if forward[r] else count - 1 - j
                    for p in range(P):
                        at = start + (cell * P + p) * stride
                        for k in range(width[r]):
                            move = first[r] + k if varying else first[r]
                            share = far[move, p] if j == reach[r] else whole[p]
                            total += share * run_weights[r, k] * f[at + k]
                parts[n] += outer_weights[o] * mid_weights[m] * total
