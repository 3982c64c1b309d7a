"""The search for pairs by a team of ranks, each of which has some of the particles: by layers of cells.

Of n particles sorted by cells the ranks share the cells so that each has about n / ranks of them. From how many there
are in each layer of cells along the last axis all know in which layers the cells of a rank lie. Pairs are met in a cell
and in those ahead of it, in its layer and the next (`neighbours_ahead`). So a rank is sent the particles of its layers
and of the next one, in the order of their rows, and sorts them there as in a grid of their own.
"""

from __future__ import annotations

import numpy as np

from limitpde.coagulation.simulator.events import COUNT, Moved, ReplicaState
from limitpde.coagulation.simulator.pairs import Physics, Sorted
from limitpde.coagulation.simulator.rows import OwnRows
from limitpde.coagulation.simulator.steps import bounds_of, make_sorted, settle, write_laws
from limitpde.compiled import compiled, hot
from limitpde.nbody.cells import CellGrid, corners, layers_of, shared_cells, sort_into_cells, sort_into_layers
from limitpde.nbody.teams import Team


class Layers:
    """The layers of cells that this rank looks at. Collective in the team.

    Args:
        A: the rows of this rank.
        rows: which these are.
        grid: the cells.
        team: the ranks.

    Attributes:
        grid: cells of these layers, by themselves.
        start: (cells + 1,) where the particles of each of these begin.
        cells: first of those that are this rank's, and one after the last.
        shared: ordered pairs of all ranks that share a cell.

    Raises:
        TeamFailure: a rank of the team has failed.
    """

    def __init__(self, A: ReplicaState, rows: OwnRows, grid: CellGrid, team: Team) -> None:
        self._team, self._n, self._first = team, int(A.numbers[COUNT]), rows.mine.start
        axis = 2 if grid.cells[2] > 1 else 1
        layers, area = int(grid.cells[axis]), int(np.prod(grid.cells[:axis]))
        layer, number = np.empty(self._n, dtype=np.int64), np.empty(layers, dtype=np.int64)
        layers_of(A.x, self._n, grid, layer, number)
        everywhere = number.copy()
        team.add(everywhere)
        below, cuts = np.append(0, np.cumsum(everywhere)), team.cuts(rows.all)
        low, many = layers_of_ranks(below, cuts)
        needed = (np.arange(layers) - low[:, None]) % layers < many[:, None]
        self._counts = needed @ number
        self._coming = team.coming(self._counts)
        which, ranks = np.nonzero(needed.T)
        self._order = _dealt(layer, np.searchsorted(which, np.arange(layers + 1)), ranks, self._counts)
        own, mine = int(many[team.rank]), team.mine(cuts)
        sizes = grid.cells.copy()
        sizes[axis] = own
        self.grid = CellGrid(sizes, grid.low, grid.inverse, grid.period)
        self._x = self._sent(A.x)
        self._slot, self.start = np.empty(len(self._x), dtype=np.int64), np.empty(area * own + 1, dtype=np.int64)
        sort_into_layers(self._x, grid, int(low[team.rank]), own, self._slot, self.start)
        ends = np.searchsorted(self.start, np.array([mine.start, mine.stop]) - below[low[team.rank]])
        self.cells = (int(ends[0]), int(ends[1])) if own else (0, 0)
        shared = np.array([shared_cells(np.diff(self.start[self.cells[0] : self.cells[1] + 1]))])
        team.add(shared)
        self.shared = float(shared[0])

    def _sent(self, values: np.ndarray) -> np.ndarray:
        """OwnRows of the particles of these layers, from those of each rank's own. Collective in the team."""
        return self._team.exchange(values[self._order], self._counts, self._coming)

    def arrange(self, P: Physics, A: ReplicaState, B: Moved, S: Sorted) -> Sorted:
        """The particles sorted, in this room or in more. Collective in the team.

        Raises:
            TeamFailure: a rank of the team has failed.
        """
        m, n, slot = len(self._slot), self._n, self._slot
        if m > len(S.ident):
            S = make_sorted(m + m // 16)
        _put(self._x, slot, S.at)
        del self._x
        _put(self._sent(B.by), slot, S.by)
        mates = [A.mate[:n]] if len(A.mate) else []
        _put_numbers(
            P, self._sent(np.column_stack([A.mass[:n], A.ident[:n], np.arange(n) + self._first, *mates])), slot, S
        )
        if mates:  # few were just split off
            own = np.flatnonzero(A.mate[:n] >= 0)
            places, offsets = self._team.joined(own + self._first), self._team.joined(A.offset[own])
            sought = np.flatnonzero(S.mate[:m] >= 0)
            S.offset[:, sought] = offsets[np.searchsorted(places, S.place[sought])].T
        return S


def layers_of_ranks(below: np.ndarray, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of the layers that each rank looks at, and how many there are from there on, in a circle.

    Args:
        below: (layers + 1,) sorted particles below each layer.
        cuts: (ranks + 1,) where the ranks cut them: a rank begins with the first cell that begins at its cut or later.
    """
    layers, ends = len(below) - 1, np.maximum(np.searchsorted(below, cuts) - 1, 0)
    low, many = ends[:-1], ends[1:] - ends[:-1] + 2
    low, many = np.where(many > layers, 0, low), np.minimum(many, layers)
    return low, np.where(cuts[1:] > cuts[:-1], many, 0)


@compiled
def _dealt(layer: np.ndarray, begin: np.ndarray, ranks: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Particles in the order of the ranks that need them, and for each of these in their own.

    Args:
        layer: (n,) of each particle.
        begin: (layers + 1,) where the ranks that need a layer begin among
        ranks: (.,) these.
        counts: (size,) how many particles each rank needs.
    """
    order, place = np.empty(counts.sum(), dtype=np.int64), np.zeros(len(counts), dtype=np.int64)
    for r in range(1, len(counts)):
        place[r] = place[r - 1] + counts[r - 1]
    for i in range(len(layer)):
        for k in range(begin[layer[i]], begin[layer[i] + 1]):
            order[place[ranks[k]]] = i
            place[ranks[k]] += 1
    return order


@hot
def _put(values: np.ndarray, slot: np.ndarray, out: np.ndarray) -> None:
    """Put rows (n, 3) into columns (3, .) by their slots."""
    for i in range(len(slot)):
        for c in range(3):
            out[c, slot[i]] = values[i, c]


@hot
def _put_numbers(P: Physics, numbers: np.ndarray, slot: np.ndarray, S: Sorted) -> None:
    """Put masses, numbers, places and, if there are any, mates (n, 3 or 4) into slots."""
    for i in range(len(slot)):
        k = slot[i]
        write_laws(P, S, k, numbers[i, 0])
        S.ident[k], S.place[k], S.mate[k] = numbers[i, 1], numbers[i, 2], -1
        if numbers.shape[1] > 3:
            S.mate[k] = numbers[i, 3]


def settle_with(team: Team, P: Physics, A: ReplicaState, blocked: bool) -> None:
    """Find the edge that suits the particles of all ranks at time 0. Collective in the team.

    Args:
        team: the ranks.
        P: the model.
        A: the rows of this rank.
        blocked: whether ranks have whole blocks.

    Raises:
        TeamFailure: a rank of the team has failed.
    """
    n = int(A.numbers[COUNT])
    rows, bounds, slot = OwnRows(team, blocked, n), bounds_of(P, A), np.empty(n, dtype=np.int64)
    low, high = corners(A.x, n, False)
    high = -high
    for values in (bounds, low, high):
        team.lower(values)

    def shared(grid: CellGrid) -> float:
        if team.size > 1:
            return Layers(A, rows, grid, team).shared
        return float(sort_into_cells(A.x, n, grid, slot, np.empty(np.prod(grid.cells) + 1, dtype=np.int64)))

    settle(P, A, rows.all, (low, -high), bounds, shared)
