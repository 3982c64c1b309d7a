"""What a translation carries over the end of an axis, counted from the cells that it leaves."""

from __future__ import annotations

import numba
import numpy as np

from limitpde.compiled import compiled
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


@compiled(fastmath={"contract", "reassoc", "nsz"}, _nrt=False)
def crossing_mass(f, layout, base, forward, reach, far, whole, outer_weights, inner_weights):  # type: ignore[no-untyped-def]
    """The same for one run of lines that are moved alike, with no mid indices: see `_lost`."""
    outer, outer_stride, count, stride = layout[0], layout[1], layout[2], layout[3]
    P, width, total = len(whole), len(inner_weights), 0.0
    for o in range(outer):
        line = 0.0
        for j in range(max(0, reach), count):
            at = base + o * outer_stride + (j if forward else count - 1 - j) * P * stride
            for p in range(P):
                here, share = (f[at + p * stride] * inner_weights[0], far[p] if j == reach else whole[p])
                if width > 1:
                    here, numbers = 0.0, f[at + p * stride : at + p * stride + width]
                    for k in range(width):
                        here += inner_weights[k] * numbers[k]
                line += share * here
        total += outer_weights[o] * line
    return total


@compiled(parallel=True)
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
