"""Sums over pairs of blocks of particles, where both blocks of a pair gain from one evaluation, shared by a team.

Blocks meet in pairs, and a meeting leaves a piece of the force for each of the two. Meetings are spread over the ranks,
and so are the blocks: a rank sends each piece to the rank of its block, which adds the pieces in the order of the
meetings. So each force is the same sum, bit for bit, in a team of any size. Meetings are done some at a time, as many
as keep the pieces that a rank sends below 128 bytes for each of its particles, times the components over two, or a few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from limitpde.nbody.teams import Team

MEETINGS = 4
"""Meetings at a time, for each block."""
EACH = 16
"""Meetings at a time of each rank, at least, so that all have about as many."""


@dataclass(frozen=True, slots=True)
class Round:
    """Some of the meetings, as one rank sees them."""

    mine: np.ndarray
    """(m, 2) int64, the blocks that meet here; a block may meet itself."""
    places: np.ndarray
    """(m, 2) int64, which piece each of the two gets; the same for a block that meets itself."""
    counts: np.ndarray
    """(ranks,) pieces for each rank."""
    coming: np.ndarray
    """(ranks,) pieces from each rank."""
    gaining: np.ndarray
    """The blocks that the coming pieces are for, in their order."""


def add_shared(
    total: np.ndarray,
    meetings: Callable[[int], np.ndarray],
    block: int,
    make: Callable[[Round, np.ndarray], object],
    team: Team,
    *,
    own: bool = False,
) -> None:
    """Add the pieces of all meetings to the forces. Collective in the team.

    Args:
        total: (..., N), the forces, added to.
        meetings: number of blocks -> (meetings, 2), the blocks that meet, in the order in which their pieces are added.
        block: particles of each, but perhaps the last.
        make: does the meetings of a round, and adds to its pieces (pieces, ..., block), zero before.
        team: whose ranks share them.

    Keyword Args:
        own: whether each rank needs the forces on its own blocks alone.

    Raises:
        TeamFailure: `make` failed on any rank.
    """
    n = total.shape[-1]
    blocks = -(-n // block)
    for some in _rounds(meetings, blocks, team.size, team.rank):
        pieces = np.zeros((int(some.counts.sum()), *total.shape[:-1], block))
        make(some, pieces)
        for piece, k in zip(team.exchange(pieces, some.counts, some.coming), some.gaining, strict=True):
            gains = total[..., k * block : (k + 1) * block]
            gains += piece[..., : gains.shape[-1]]
    if own:
        return
    team.complete([total], np.minimum(team.cuts(blocks) * block, n))


@lru_cache(maxsize=64)
def _rounds(meetings: Callable[[int], np.ndarray], blocks: int, size: int, rank: int) -> list[Round]:
    """All meetings of so many blocks in a team of this size, as this rank of it sees them."""
    pairs, cuts = meetings(blocks), np.arange(size + 1) * blocks // size
    rank_of = np.searchsorted(cuts, np.arange(blocks), side="right") - 1
    at_once = max(MEETINGS * blocks, EACH * size)
    return [_round(pairs[first : first + at_once], rank_of, size, rank) for first in range(0, len(pairs), at_once)]


def _round(pairs: np.ndarray, rank_of: np.ndarray, size: int, rank: int) -> Round:
    """These meetings: the first ones are the first rank's, and so on.

    Args:
        pairs: (m, 2).
        rank_of: (blocks,) the rank of each block.
        size: of the team.
        rank: in it.
    """
    cuts = np.arange(size + 1) * len(pairs) // size
    makers = np.searchsorted(cuts, np.arange(len(pairs)), side="right") - 1
    task, side = np.nonzero(np.stack([np.ones(len(pairs), dtype=bool), pairs[:, 0] != pairs[:, 1]], axis=1))
    block = pairs[task, side]  # of each piece
    receiver, maker = rank_of[block], makers[task]
    ours = np.flatnonzero(maker == rank)
    sent = ours[np.argsort(receiver[ours], kind="stable")]
    mine = pairs[cuts[rank] : cuts[rank + 1]]
    places = np.full((len(mine), 2), -1)
    places[task[sent] - cuts[rank], side[sent]] = np.arange(len(sent))
    places[:, 1] = np.where(places[:, 1] < 0, places[:, 0], places[:, 1])
    coming = np.flatnonzero(receiver == rank)
    return Round(
        mine=mine,
        places=places,
        counts=np.bincount(receiver[sent], minlength=size),
        coming=np.bincount(maker[coming], minlength=size),
        gaining=block[coming],
    )
