"""What each rank of a team has of its own, and how it comes there: particles by their numbers, boxes of a tree.

A rank has the forces of its own particles alone, those of a part of the numbers (`team.cuts`), though it may have
summed up those of others: of groups of random batches, of boxes (`delivered`). Of the boxes of others it asks for
those that it needs (`NeededBoxes`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limitpde.compiled import compiled
from limitpde.nbody.teams import Team


def delivered(
    values: Sequence[np.ndarray], places: np.ndarray, cuts: np.ndarray, team: Team, out: Sequence[np.ndarray]
) -> None:
    """Give each value to the rank of its particle. Collective in the team.

    Args:
        values: (m,) each, of particles of any rank.
        places: (m,) int32, the numbers of these particles; each number is on one rank.
        cuts: (size + 1,) the particles of each rank.
        team: the ranks.
        out: (own,) for each of the values, in the order of this rank's particles; overwritten.

    Raises:
        TeamFailure: a rank of the team has failed.
    """
    if team.size == 1:
        for found, value in zip(out, values, strict=True):
            found[places] = value
        return
    order, counts = _by_rank(places, cuts)
    coming = team.coming(counts)
    at = team.exchange(places[order], counts, coming) - cuts[team.rank]
    for found, value in zip(out, values, strict=True):
        found[at] = team.exchange(value[order], counts, coming)


@compiled
def _by_rank(places: np.ndarray, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order (m,) int32 of places by ranks, in each as they come, and how many of them each rank has."""
    ranks = len(cuts) - 1
    counts, place, order = np.zeros(ranks, np.int64), np.zeros(ranks, np.int64), np.empty(len(places), np.int32)
    for i in range(len(places)):
        counts[_rank_of(places[i], cuts)] += 1
    for r in range(1, ranks):
        place[r] = place[r - 1] + counts[r - 1]
    for i in range(len(places)):
        r = _rank_of(places[i], cuts)
        order[place[r]] = i
        place[r] += 1
    return order, counts


@compiled
def _rank_of(place: int, cuts: np.ndarray) -> int:
    """The rank within whose cuts a place lies; about right at once where these are even."""
    ranks = len(cuts) - 1
    r = min(place * ranks // max(cuts[ranks], 1), ranks - 1)
    while place < cuts[r]:
        r -= 1
    while place >= cuts[r + 1]:
        r += 1
    return r


class NeededBoxes:
    """The boxes of others, of some levels of a tree, that this rank needs. Collective in the team.

    A box k of a level of b boxes, a power of two, has the number b + k.

    Args:
        needed: for each level its boxes k that are needed, rising.
        cuts: for each level the boxes of each rank, (size + 1,).
        team: the ranks.

    Attributes:
        numbers: (m,) of these boxes, those of the first rank first, and of each level after level.
        asked: numbers of the boxes of this rank that others need, for the first rank first.

    Raises:
        TeamFailure: a rank of the team has failed.
    """

    def __init__(self, needed: Sequence[np.ndarray], cuts: Sequence[np.ndarray], team: Team) -> None:
        self._team, counts = team, np.zeros(team.size, dtype=np.int64)
        self._boxes = int(cuts[-1][-1]) if cuts else 0
        parts = [np.split(k + cut[-1], np.searchsorted(k, cut[1:-1])) for k, cut in zip(needed, cuts, strict=True)]
        of_rank = [np.concatenate(some) for some in zip(*parts, strict=True)]
        counts[: len(of_rank)] = [len(some) for some in of_rank]
        self.numbers = np.concatenate([np.empty(0, dtype=np.int64), *of_rank])
        self._counts, self._coming = counts, team.coming(counts)
        self.asked = team.exchange(self.numbers, counts, self._coming)

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Rows of the needed boxes, (m, ...), from those of the boxes that are asked for. Collective in the team.

        Raises:
            TeamFailure: a rank of the team has failed.
        """
        return self._team.exchange(values, self._coming, self._counts)

    def with_points(
        self, values: Sequence[np.ndarray], n: int, low: int, high: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """The points of this rank's boxes and of the needed ones, all of one level. Collective in the team.

        Args:
            values: (own,) each, of the points of this rank's boxes.
            n: points of all ranks.
            low: first of this rank's boxes.
            high: the box after the last one.

        Returns:
            (points,) for each of the values, and (boxes,) int64, where those of each of these boxes begin.

        Raises:
            TeamFailure: a rank of the team has failed.
        """
        boxes = self._boxes
        own, _ = _ranges(np.arange(low, high + 1), n, boxes)
        begins, sizes = _ranges(self.asked - boxes, n, boxes)
        which = np.repeat(begins - own[0] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        _, needed = _ranges(self.numbers - boxes, n, boxes)
        sent, coming = (_sums(*each) for each in ((sizes, self._coming), (needed, self._counts)))
        at = np.zeros(boxes, dtype=np.int64)
        at[low:high] = own[:-1] - own[0]
        at[self.numbers - boxes] = own[-1] - own[0] + np.cumsum(needed) - needed
        exchange = self._team.exchange
        return [np.concatenate([value, exchange(value[which], sent, coming)]) for value in values], at


def _ranges(k: np.ndarray, n: int, boxes: int) -> tuple[np.ndarray, np.ndarray]:
    """The first point of each of some boxes of a level, and how many each has."""
    begins = k * n // boxes
    return begins, (k + 1) * n // boxes - begins


def _sums(sizes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The sums of so many sizes for each rank, one after the other, (ranks,)."""
    ends = np.append(0, np.cumsum(sizes))[np.append(0, np.cumsum(counts))]
    return np.diff(ends)
