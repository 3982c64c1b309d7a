"""rho and J of alpha = a + i b on a tensor space, in one pass for each velocity: what a kick needs.

J_j = int Im(conj(alpha) D_j alpha) dv, with D the discontinuous Galerkin derivative with central fluxes of `slopes`,
is a bilinear form that changes sign with a and b, so that most of it cancels: along a line of cells

    sum_c sum_{p < r} s_pr (a_p b_r - a_r b_p) + sum over faces of a(-) b(+) - a(+) b(-)

with s_pr = w_p l_r'(xi_p) - w_r l_p'(xi_r), and - and + the cells before and after the face; beyond the ends of the
axis alpha = 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from mpi4py import MPI

from limitpde.compiled import compiled
from limitpde.vlasov.hamiltonian.slopes import FAST, TILE, faces, flat
from limitpde.vlasov.phase_space.axes import derivatives, gauss, lagrange


def currents(space: Any, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """rho = int |alpha|^2 dv (*x_shape) and J (d, *x_shape) at the x nodes. Collective.

    Args:
        space: a tensor space; its v axes have ends.
        alpha: (2, *x_shape, *v_shape), real and imaginary part.
    """
    d, nodes = space.d, space.x_weights.size
    found = np.zeros((d + 1, nodes))
    for j, axis in enumerate(space.v_axes):
        P, after = axis.P, flat(space.v_weights[j + 1 :])
        before = nodes * int(np.prod(space.v_shape[:j]))
        lines = alpha.reshape(2, before, space.v_shape[j] // P, P, len(after))
        ends = faces(lines[..., None, :], d + j, axis, space.grid)[0, :, :, 0]  # collective: before any rank turns back
        if not lines.size:
            continue
        w, out = gauss(P)[1], np.zeros((before, 2))
        slope = w[:, None] * derivatives(P)
        face = lagrange(P, np.array([0.0, 1.0]))
        tasks = 8 * numba.get_num_threads()
        _kernel(P, len(after) == 1)(lines, ends, slope - slope.T, face, w * axis.h, after, tasks, out)
        sums = flat(space.v_weights[:j]) @ out.reshape(nodes, -1, 2)
        found[j] = sums[:, 0]
        found[d] = sums[:, 1]
    if space.grid.v_comm.size > 1:
        space.grid.v_comm.Allreduce(MPI.IN_PLACE, found)
    shaped = found.reshape(d + 1, *space.x_shape)
    return shaped[d], shaped[:d]


def _line(P: int) -> Callable[..., Any]:
    """J and rho of a line of cells, (cells, P, 1) each of a and b."""

    @compiled(fastmath=FAST, error_model="numpy")
    def line(a, b, u, v, s, face, weights):  # type: ignore[no-untyped-def]
        flow, density = 0.0, 0.0
        for c in range(len(a)):
            left_a, left_b, right_a, right_b = 0.0, 0.0, 0.0, 0.0
            for p in range(P):
                left_a += face[0, p] * a[c, p, 0]
                left_b += face[0, p] * b[c, p, 0]
                right_a += face[1, p] * a[c, p, 0]
                right_b += face[1, p] * b[c, p, 0]
                density += weights[p] * (a[c, p, 0] * a[c, p, 0] + b[c, p, 0] * b[c, p, 0])
                for r in range(p + 1, P):
                    flow += s[p, r] * (a[c, p, 0] * b[c, r, 0] - a[c, r, 0] * b[c, p, 0])
            flow += u * left_b - left_a * v
            u, v = right_a, right_b
        return flow, density

    return line


def _cell(P: int) -> Callable[..., Any]:
    """J and rho of a cell of `width` lines beside each other, (P, after) each of a and b; u and v go on to the next."""

    @compiled(fastmath=FAST, error_model="numpy")
    def cell(a, b, at, u, v, s, face, weights, after, width):  # type: ignore[no-untyped-def]
        flows, densities = 0.0, 0.0
        for k in range(width):
            flow, density = 0.0, 0.0
            left_a, left_b, right_a, right_b = 0.0, 0.0, 0.0, 0.0
            for p in range(P):
                x, y = a[p, at + k], b[p, at + k]
                left_a += face[0, p] * x
                left_b += face[0, p] * y
                right_a += face[1, p] * x
                right_b += face[1, p] * y
                density += weights[p] * (x * x + y * y)
                for r in range(p + 1, P):
                    flow += s[p, r] * (x * b[r, at + k] - a[r, at + k] * y)
            flows += after[at + k] * (flow + u[k] * left_b - left_a * v[k])
            densities += after[at + k] * density
            u[k], v[k] = right_a, right_b
        return flows, densities

    return cell


@functools.cache
def _kernel(P: int, single: bool) -> Callable[..., Any]:
    """For lines (2, before, cells, P, after): J and rho of each index before; `single`: after = 1."""
    line, cell = _line(P), _cell(P)

    @compiled(parallel=True)
    def run(lines, ends, s, face, weights, after, tasks, out):  # type: ignore[no-untyped-def]
        before, cells, inner = lines.shape[1], lines.shape[2], lines.shape[4]
        pieces = min(before, tasks)
        for piece in numba.prange(pieces):
            beside = np.empty((2, TILE))
            for o in range(piece * before // pieces, (piece + 1) * before // pieces):
                if single:
                    flow, density = line(lines[0, o], lines[1, o], ends[0, o, 0], ends[1, o, 0], s, face, weights)
                    out[o, 0], out[o, 1] = flow * after[0], density * after[0]
                    continue
                for start in range(0, inner, TILE):
                    width = min(TILE, inner - start)
                    beside[:, :width] = ends[:, o, start : start + width]
                    for c in range(cells):
                        flow, density = cell(
                            lines[0, o, c], lines[1, o, c], start, beside[0], beside[1], s, face, weights, after, width
                        )
                        out[o, 0] += flow
                        out[o, 1] += density

    return run
