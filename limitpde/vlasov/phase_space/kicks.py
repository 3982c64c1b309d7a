"""All sweeps of a kick together: the velocities at one x node are moved along all their axes while they are in cache.

What leaves over the ends of the axes is counted on the way, before each sweep. For ranks that have all velocities at
their x nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space.axes import Axis, gauss
from limitpde.vlasov.phase_space.kernels import TASKS_PER_THREAD, fill_ring, line, move_rows
from limitpde.vlasov.phase_space.lines import Lines
from limitpde.vlasov.phase_space.outflow import crossing_mass
from limitpde.vlasov.phase_space.registers import LANES


def kick(
    f: np.ndarray,
    lines: Sequence[Lines],
    axes: Sequence[Axis],
    outer: Sequence[np.ndarray],
    inner: Sequence[np.ndarray],
) -> np.ndarray:
    """Move one component along all v axes, in place.

    Args:
        f: the component, flat.
        lines: those along each v axis, from end to end.
        axes: the v axes.
        outer: quadrature weights of the v axes before each, product by product, (lines.layout[0],) each.
        inner: those of the axes after each, (lines.layout[3],) each.

    Returns:
        What left over the ends of the v axes at each x node, integrated over v, (x nodes,).
    """
    P = axes[0].P
    far = [
        np.einsum("q,mqr->mr", gauss(P)[1], along.moves.far) * axis.h for along, axis in zip(lines, axes, strict=True)
    ]
    lost = np.zeros(len(lines[0].base))
    _kicks(
        f, np.stack([along.layout for along in lines]), lines[0].base, np.stack([along.cells for along in lines]),
        np.stack([along.forward for along in lines]), np.stack([along.moves.near for along in lines]),
        np.stack([along.moves.far for along in lines]), np.stack(far),
        np.stack([gauss(P)[1] * axis.h for axis in axes]), tuple(outer), tuple(inner),
        lost, TASKS_PER_THREAD * numba.get_num_threads(),
    )  # fmt: skip
    return lost


@compiled(parallel=True)
def _kicks(f, layouts, base, cells, forward, near, far, carried, whole, outer_weights, inner_weights, lost, tasks):  # type: ignore[no-untyped-def]
    P, runs = whole.shape[1], len(base)
    nowhere, nothing = np.empty(0, dtype=np.int64), np.empty(0)
    if runs == 0:
        return
    slots, pitch = 0, 0
    for j in range(len(layouts) - 1):
        slots, pitch = (max(slots, min(layouts[j, 2], np.max(cells[j])) + 2), max(pitch, layouts[j, 3]))
    last = len(layouts) - 1
    outer, count = layouts[last, 0], layouts[last, 2]
    flat_near, flat_far, block = near.reshape(-1), far.reshape(-1), layouts[0, 1]
    pieces = min(runs, tasks)
    for piece in numba.prange(pieces):
        ring = np.empty(slots * P * pitch)
        rows, out = np.zeros(P * (count + 1 + LANES)), np.empty(P * LANES)
        for r in range(piece * runs // pieces, (piece + 1) * runs // pieces):
            for j in range(last + 1):
                layout, t, towards = layouts[j], cells[j, r], forward[j, r]
                lost[r] += crossing_mass(
                    f, layout, base[r], towards, layout[2] - 1 - t, carried[j, r], whole[j],
                    outer_weights[j], inner_weights[j],
                )  # fmt: skip
                step = P * layout[3] if towards else -P * layout[3]
                begin = base[r] if towards else base[r] + (layout[2] - 1) * P * layout[3]
                if j < last:
                    w = layout[3]
                    for o in range(layout[0]):
                        start = begin + o * layout[1]
                        fill_ring(
                            f, start, step, w, layout[2], w, t, ring, pitch, P, nothing, nowhere, 0, 0, False
                        )  # fmt: skip
                        line(f, start, step, w, layout[2], w, t, near[j, r], far[j, r], ring, pitch, P)
                else:
                    move_rows(
                        f, base[r], layout[1], range(outer), count, min(t, count), towards, flat_near, flat_far,
                        (j * runs + r) * P * P, P, nothing, nowhere, rows, out, block,
                    )  # fmt: skip
