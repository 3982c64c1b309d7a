"""Lines that lie side by side, with a move each, put together so that vector registers are full of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space.registers import LANES
from limitpde.vlasov.phase_space.translation import Moves


@dataclass(frozen=True)
class Groups:
    """Up to LANES lines side by side that are moved by as many whole cells, G of them.

    Attributes:
        run: (G,) the run to which each belongs.
        ahead: (G,) its first line in that run.
        width: (G,) its number of lines.
        table: (G, P, P, 2, LANES) near and far matrices of its lines; zero for lines that are not there.
    """

    run: np.ndarray
    ahead: np.ndarray
    width: np.ndarray
    table: np.ndarray

    @classmethod
    def of(cls, width: np.ndarray, first: np.ndarray, moves: Moves) -> Groups:
        """The groups of runs: widths (R,), number (R,) of the move of the first line of each, and all moves."""
        count = -(-width // LANES)
        run = np.repeat(np.arange(len(count)), count)
        ahead = LANES * (np.arange(len(run)) - (np.cumsum(count) - count)[run])
        lanes = np.minimum(LANES, width[run] - ahead)
        P = moves.near.shape[1]
        table = np.empty((len(run), P, P, 2, LANES))
        _arrange(moves.near, moves.far, first[run] + ahead, lanes, table)
        return cls(run, ahead, lanes, table)


@compiled
def _arrange(near: np.ndarray, far: np.ndarray, first: np.ndarray, width: np.ndarray, table: np.ndarray) -> None:
    """The matrices of the lines of each group side by side, those of lines that are not there zero."""
    P = table.shape[1]
    for g in range(len(first)):
        for k in range(LANES):
            for q in range(P):
                for r in range(P):
                    table[g, q, r, 0, k] = near[first[g] + k, q, r] if k < width[g] else 0.0
                    table[g, q, r, 1, k] = far[first[g] + k, q, r] if k < width[g] else 0.0
