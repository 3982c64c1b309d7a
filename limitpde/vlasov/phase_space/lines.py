"""The lines of cells along one axis of an array, as the kernels see them.

A *run* is a set of lines that are moved alike, or (in a drift along the last position, where the velocity is the last
index) by as many whole cells; its lines lie side by side, so that its nodes are contiguous pieces of memory. Node p of
cell c of line (o, m) of run r begins at

    base[r] + o * outer_stride + (c * P + p) * node_stride + m * mid_stride

and is width[r] numbers long.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace

import numpy as np

from limitpde.vlasov.phase_space.groups import Groups
from limitpde.vlasov.phase_space.translation import Moves


@dataclass(frozen=True)
class Lines:
    """Where the lines along an axis are, and how each run is moved.

    Attributes:
        layout: (outer, outer_stride, cells, node_stride, mid, mid_stride).
        base: (R,) first number of each run.
        width: (R,) length of its pieces.
        first: (R,) index of its first move.
        moves: one move for each run, or (varying) one for each number of its pieces.
        varying: which of the two.
        cells: (R,) t of its moves.
        forward: (R,) their direction.
    """

    layout: np.ndarray
    base: np.ndarray
    width: np.ndarray
    first: np.ndarray
    moves: Moves
    varying: bool
    cells: np.ndarray
    forward: np.ndarray

    def slab(self, P: int) -> np.ndarray:
        """Numbers in one cell of all lines of a run, (R,)."""
        return np.asarray(self.width * (self.layout[0] * P * self.layout[4]))

    def pieces(self, count: int) -> list[Lines]:
        """The lines in so many parts, or as many as there can be: of outer or mid indices, or of runs of one move."""
        along = 0 if self.layout[0] > 1 else 4
        shared = int(self.layout[along])
        if shared <= 1 and self.varying:
            return [self]
        most = shared if shared > 1 else len(self.base)
        number = max(1, min(count, most))
        cuts = itertools.pairwise(most * k // number for k in range(number + 1))
        part = functools.partial(self._of_indices, along) if shared > 1 else self._of_runs
        return [part(first, end) for first, end in cuts]

    def _of_indices(self, along: int, first: int, end: int) -> Lines:
        """The lines of some outer (along = 0) or mid (4) indices."""
        layout, stride = self.layout.copy(), self.layout[along + 1]
        layout[along] = end - first
        return replace(self, layout=layout, base=self.base + first * stride)

    def _of_runs(self, first: int, end: int) -> Lines:
        """Some of the runs, of those with one move each."""
        part, moves = slice(first, end), self.moves
        some = Moves(moves.cells[part], moves.forward[part], moves.near[part], moves.far[part])
        numbers = np.arange(end - first)
        return Lines(self.layout, self.base[part], self.width[part], numbers, some, False, some.cells, some.forward)

    @functools.cached_property
    def groups(self) -> Groups:
        """What runs whose moves vary are made of."""
        return Groups.of(self.width, self.first, self.moves)


def drift_lines(shape: tuple[int, ...], axis: int, P: int, moves: Moves, widest: int) -> Lines:
    """Lines along x_axis of an array (*x_shape, *v_shape); its moves are those of the nodes of v_axis.

    Args:
        shape: of the array.
        axis: which of the d positions.
        P: nodes of a cell.
        moves: one for each node of v_axis.
        widest: longest run if moves vary within it.
    """
    d = len(shape) // 2
    count = shape[d + axis]
    inner = int(np.prod(shape[d + axis + 1 :], dtype=np.int64))
    mid = int(np.prod(shape[axis + 1 : d + axis], dtype=np.int64))
    mid_stride = count * inner
    layout = [int(np.prod(shape[:axis], dtype=np.int64)), shape[axis] * mid * mid_stride]
    layout += [shape[axis] // P, mid * mid_stride, mid, mid_stride]
    if axis < d - 1:
        first = np.arange(count)
        return Lines(
            np.array(layout), first * inner, np.full(count, inner), first, moves, False, moves.cells, moves.forward
        )
    change = (np.diff(moves.cells) != 0) | (np.diff(moves.forward) != 0)
    cuts = np.concatenate([[0], np.flatnonzero(change) + 1, [count]]) if count else np.array([0])
    firsts = [np.arange(a, b, widest) for a, b in itertools.pairwise(cuts)]
    first = np.concatenate([np.empty(0, dtype=np.int64), *firsts])
    width = np.diff(np.append(first, count)) if count else first
    return Lines(np.array(layout), first, width, first, moves, True, moves.cells[first], moves.forward[first])


def kick_lines(shape: tuple[int, ...], axis: int, P: int, moves: Moves) -> Lines:
    """Lines along v_axis of an array (*x_shape, *v_shape); its moves are those of the x nodes."""
    d = len(shape) // 2
    count, v_shape = int(np.prod(shape[:d], dtype=np.int64)), shape[d:]
    inner = int(np.prod(v_shape[axis + 1 :], dtype=np.int64))
    layout = [int(np.prod(v_shape[:axis], dtype=np.int64)), v_shape[axis] * inner, v_shape[axis] // P, inner, 1, 0]
    first = np.arange(count)
    base = first * int(np.prod(v_shape, dtype=np.int64))
    return Lines(np.array(layout), base, np.full(count, inner), first, moves, False, moves.cells, moves.forward)
