"""Integrals of alpha = a + i b with its derivatives, on a tensor space, by discontinuous Galerkin with central fluxes.

The derivative of a piecewise polynomial along an axis of cells of length h is, in its nodal values at the Gauss points
xi_p with weights w_p on [0, 1],

    h (D u)_p = sum_r l_r'(xi_p) u_r + l_p(1) [u]_right / (2 w_p) + l_p(0) [u]_left / (2 w_p),

with the jumps [u] = u(+) - u(-) at the ends of the cell; beyond an end of the axis u = 0. It is antisymmetric in the
scalar product of L2, as the derivative is, hence int conj(alpha) D alpha is purely imaginary to rounding, and

    J = int Im(conj(alpha) D_v alpha) dv,    int v . Im(conj(alpha) D_x alpha) dx dv,    int |D alpha|^2

need no array of the size of alpha: every cell adds its part at once.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from mpi4py import MPI

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space.axes import Axis, derivatives, gauss, lagrange

FAST = {"contract", "reassoc", "nsz"}
TILE = 512
"""Numbers of a cell that are worked on together."""
_TO_NEXT, _TO_PREVIOUS = 1, 2


class Slopes:
    """Integrals with derivatives of alpha in a space.

    Args:
        space: a tensor space, or what has its axes, weights and process grid.
    """

    def __init__(self, space: Any) -> None:
        self._space = space
        d = space.d
        x_weights = [
            axis.weights[part] for axis, part in zip(space.x_axes, space.grid.nodes(space.comm.rank)[:d], strict=True)
        ]
        self._weights = [*x_weights, *space.v_weights]
        self._v = flat([*space.v_weights])
        self._speeds = []
        for j in range(d):
            factors = [
                w * v if m == j else w for m, (w, v) in enumerate(zip(space.v_weights, space.v_nodes, strict=True))
            ]
            self._speeds.append(flat(factors))

    def velocity(self, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the derivatives in v give, at the x nodes. Collective.

        Args:
            alpha: (2, *x_shape, *v_shape), real and imaginary part.

        Returns:
            rho = int |alpha|^2 dv (*x_shape), J = int Im(conj(alpha) grad_v alpha) dv (d, *x_shape), and
            int |grad_v alpha|^2 dv (*x_shape).
        """
        space, d = self._space, self._space.d
        found = np.zeros((d + 2, space.x_weights.size))
        for j in range(d):
            after = flat(self._weights[d + j + 1 :])
            sums = self._along(alpha, d + j, np.ones(1), after, after)
            before = flat(self._weights[d : d + j])
            flow, square, density = before @ sums.reshape(len(found[0]), len(before), 3).transpose(2, 1, 0)
            found[j] = flow
            found[d] += square
            found[d + 1] = density
        if space.grid.v_comm.size > 1:
            space.grid.v_comm.Allreduce(MPI.IN_PLACE, found)
        found = found.reshape(d + 2, *space.x_shape)
        return found[d + 1], found[:d], found[d]

    def position(self, alpha: np.ndarray) -> tuple[float, float]:
        """int v . Im(conj(alpha) grad_x alpha) and int |grad_x alpha|^2 over all of phase space. Collective."""
        space = self._space
        total = np.zeros(2)
        for j in range(space.d):
            after = flat(self._weights[j + 1 : space.d])
            sums = self._along(alpha, j, after, self._speeds[j], self._v)
            total += (flat(self._weights[:j]) @ sums)[:2]
        space.comm.Allreduce(MPI.IN_PLACE, total)
        return float(total[0]), float(total[1])

    def _along(
        self, alpha: np.ndarray, which: int, mid: np.ndarray, flow: np.ndarray, square: np.ndarray
    ) -> np.ndarray:
        """For each index of the axes before: int flow Im(conj(a) D a), int square |D a|^2, int square |a|^2, (A, 3).

        Args:
            alpha: (2, *shape).
            which: the axis.
            mid: weights of the next indices.
            flow: weights of the last indices, for the first integral.
            square: the same for the other two.
        """
        space = self._space
        axis = (*space.x_axes, *space.v_axes)[which]
        lines = alpha.reshape(2, *_split(alpha.shape[1:], which, axis.P, len(mid), len(flow)))
        out = np.zeros((lines.shape[1], lines.shape[2], 3))
        ends = faces(lines, which, axis, space.grid)  # collective: before any rank turns back
        if lines.size:
            w = gauss(axis.P)[1]
            first, last = lagrange(axis.P, np.array([0.0, 1.0]))
            own = (derivatives(axis.P) + (np.outer(first, first) - np.outer(last, last)) / (2 * w[:, None])) / axis.h
            sides = np.stack([-first, last]) / (2 * w * axis.h)
            run = _lines if lines.shape[4] * lines.shape[5] == 1 else _slabs
            tasks = 8 * numba.get_num_threads()
            run(lines, ends, own, sides, np.stack([first, last]), w * axis.h, mid, flow, square, tasks, out)
        return out.sum(axis=1)


def flat(factors: list[np.ndarray]) -> np.ndarray:
    """Outer product of vectors, flattened; one of none."""
    result = np.ones(1)
    for factor in factors:
        result = np.multiply.outer(result, factor).ravel()
    return result


def _split(shape: tuple[int, ...], which: int, P: int, mid: int, inner: int) -> tuple[int, int, int, int, int]:
    """(before, cells, P, mid, inner) of an array whose axis `which` has cells of P nodes."""
    before = int(np.prod(shape[:which], dtype=np.int64))
    return before, shape[which] // P, P, mid, inner


def faces(lines: np.ndarray, which: int, axis: Axis, grid: Any) -> np.ndarray:
    """Values beyond the first and after the last cell of this rank, at the faces, (2, 2, before, mid, inner).

    Collective on the ranks along the axis. First index: before, after; second: real, imaginary part.
    """
    values = np.zeros((2, *lines.shape[:2], *lines.shape[4:]))
    cuts, mine = grid.ends[which], grid.place[which]
    begin, end = int(cuts[mine]), int(cuts[mine + 1])
    if begin == end:
        return values
    first, last = lagrange(axis.P, np.array([0.0, 1.0]))
    requests, held = [], []
    for cell, side, face, tags in (
        (begin - 1, 0, np.einsum("p,capmi->cami", first, lines[:, :, 0]), (_TO_PREVIOUS, _TO_NEXT)),
        (end, 1, np.einsum("p,capmi->cami", last, lines[:, :, -1]), (_TO_NEXT, _TO_PREVIOUS)),
    ):
        if not axis.periodic and not 0 <= cell < axis.cells:
            continue
        part = int(np.searchsorted(cuts[1:], cell % axis.cells, side="right"))
        if part == mine:  # the axis is a circle, and all of it is here
            values[1 - side] = face
            continue
        held.append(np.ascontiguousarray(face))
        requests.append(grid.comm.Irecv(values[side], grid.rank_at(which, part), tags[1]))
        requests.append(grid.comm.Isend(held[-1], grid.rank_at(which, part), tags[0]))
    MPI.Request.Waitall(requests)
    return values


@compiled(fastmath=FAST, error_model="numpy")
def _tile(a, b, beside, own, sides, weights, flow, square, width, da, db, total):  # type: ignore[no-untyped-def]
    """Add the integrals over one cell of `width` lines to total (3,); a, b: (P, width), beside: (side, part, width)."""
    P = len(own)
    flows, squares, density = 0.0, 0.0, 0.0
    for p in range(P):
        left, right = sides[0, p], sides[1, p]
        for k in range(width):
            da[k] = left * beside[0, 0, k] + right * beside[1, 0, k]
            db[k] = left * beside[0, 1, k] + right * beside[1, 1, k]
        for r in range(P):
            m = own[p, r]
            for k in range(width):
                da[k] += m * a[r, k]
                db[k] += m * b[r, k]
        s, q, n = 0.0, 0.0, 0.0
        for k in range(width):
            q += flow[k] * (a[p, k] * db[k] - b[p, k] * da[k])
            s += square[k] * (da[k] * da[k] + db[k] * db[k])
            n += square[k] * (a[p, k] * a[p, k] + b[p, k] * b[p, k])
        flows += weights[p] * q
        squares += weights[p] * s
        density += weights[p] * n
    total[0] += flows
    total[1] += squares
    total[2] += density


@compiled(parallel=True)
def _slabs(lines, ends, own, sides, face, weights, mid, flow, square, tasks, out):  # type: ignore[no-untyped-def]
    """Cells (before, cells, P, mid, inner) whose inner indices are many."""
    before, cells, P = lines.shape[1:4]
    inner = lines.shape[5]
    pieces = min(before * cells, tasks)
    for piece in numba.prange(pieces):
        cell, beside, slope = np.empty((2, P, TILE)), np.empty((2, 2, TILE)), np.empty((2, TILE))
        part = np.empty(3)
        for number in range(piece * before * cells // pieces, (piece + 1) * before * cells // pieces):
            o, c = number // cells, number % cells
            for m in range(len(mid)):
                part[:] = 0.0
                for start in range(0, inner, TILE):
                    width = min(TILE, inner - start)
                    for z in range(2):
                        for p in range(P):
                            for k in range(width):
                                cell[z, p, k] = lines[z, o, c, p, m, start + k]
                        for side in range(2):
                            near = c - 1 if side == 0 else c + 1
                            if near < 0 or near >= cells:
                                beside[side, z, :width] = ends[side, z, o, m, start : start + width]
                            else:
                                beside[side, z, :width] = 0.0
                                for p in range(P):
                                    value = face[1 - side, p]
                                    for k in range(width):
                                        beside[side, z, k] += value * lines[z, o, near, p, m, start + k]
                    _tile(
                        cell[0], cell[1], beside, own, sides, weights, flow[start : start + width],
                        square[start : start + width], width, slope[0], slope[1], part,
                    )  # fmt: skip
                for i in range(3):
                    out[o, c, i] += mid[m] * part[i]


@compiled(parallel=True)
def _lines(lines, ends, own, sides, face, weights, mid, flow, square, tasks, out):  # type: ignore[no-untyped-def]
    """Cells (before, cells, P, 1, 1): those of a line are worked on together."""
    before, cells, P = lines.shape[1:4]
    pieces = min(before, tasks)
    for piece in numba.prange(pieces):
        cell, beside, slope = np.empty((2, P, cells)), np.empty((2, 2, cells)), np.empty((2, cells))
        flows, squares = np.full(cells, flow[0] * mid[0]), np.full(cells, square[0] * mid[0])
        for o in range(piece * before // pieces, (piece + 1) * before // pieces):
            for z in range(2):
                for c in range(cells):
                    for p in range(P):
                        cell[z, p, c] = lines[z, o, c, p, 0, 0]
                for side in range(2):
                    beside[side, z] = 0.0
                    for p in range(P):
                        value = face[1 - side, p]
                        if side == 0:
                            for c in range(1, cells):
                                beside[0, z, c] += value * cell[z, p, c - 1]
                        else:
                            for c in range(cells - 1):
                                beside[1, z, c] += value * cell[z, p, c + 1]
                beside[0, z, 0] = ends[0, z, o, 0, 0]
                beside[1, z, cells - 1] = ends[1, z, o, 0, 0]
            _tile(
                cell[0], cell[1], beside, own, sides, weights, flows, squares, cells, slope[0], slope[1], out[o, 0]
            )  # fmt: skip
