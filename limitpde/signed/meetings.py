"""Which charges of opposite sign meet within a step: every pair may, not only nearest neighbours.

Between its places y and y' before and after a step of dt, the difference of two charges is a Brownian bridge but for a
drift of order a = gamma / sigma^2. With z = |y| |y'| / (2 sigma^2 dt) and theta the angle between them, the expected
number of its visits at zero that end the pair is

    h = 4 pi gamma int_0^dt p_s(y, 0) p_(dt - s)(0, y') ds / p_dt(y, y') = 2 a K_0(z) exp(-z cos theta)

to first order in a, p the density of the difference. So a pair meets with probability 1 - exp(-h): where an exponential
number of its own is below h. Of pairs that share a charge, the one whose number is the smallest part of its h meets
first. Summed over all pairs this is the reaction 4 pi gamma_bar rho_+ rho_- of the limit (Langevin's rate), whatever
dt. Pairs that move by their exact law are decided by that law.

In the second half of a step that is made in two (`limitpde.signed.halves`) h goes on from that of the first half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from scipy.spatial import cKDTree
from scipy.special import k0e

from limitpde.compiled import compiled
from limitpde.nbody.random import pair_key, pair_uniforms
from limitpde.signed.encounters import Encounters

BRUTE_FORCE = 2000
"""Particles up to which pairs are sought among all; above, by a k-d tree."""
REACH = 8.0
"""Distance of pairs found by the tree, in units of sigma (2 dt)^(1/2), the spread of a pair in a step."""
FARTHEST = 12.5
"""y . y' / (2 sigma^2 dt) from which a pair is passed over: h is below 2 a exp(-25)."""
CLOCK = 1 << 28
"""Draw of the exponential number of a pair."""


@dataclass(frozen=True, slots=True)
class Past:
    """Where a step began of which this is the second half."""

    x: np.ndarray
    """(r, N)."""
    y: np.ndarray
    """(r, N)."""
    partner: np.ndarray
    """(r, N) with whom each particle moved by an exact law in the first half."""


def meet(
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    charges: np.ndarray,
    partner: np.ndarray,
    encounters: Encounters,
    *,
    ratio: np.ndarray,
    spread: np.ndarray,
    seed: int,
    replicas: np.ndarray,
    number: np.ndarray,
    past: Past | None = None,
) -> np.ndarray:
    """The pairs that meet, (m, 3): row, and both particles; in the order in which they do, and not those of partners.

    Args:
        before: x and y, (r, N) each, before the step.
        after: the same after it.
        charges: (r, N) b_i.
        partner: (r, N) with whom each particle moved by an exact law; -1 where with none.
        encounters: of the replicas.

    Keyword Args:
        ratio: (r,) a.
        spread: (r,) 2 sigma^2 dt.
        seed: of the particle number.
        replicas: (r,) their numbers.
        number: (r,) int64, of the step.
        past: for the second half of a step, where it began.
    """
    places = np.stack([*before, *after])
    pairs = _candidates(places, charges, partner, encounters.alive, spread)
    row, i, j = pairs.T
    clock = _clocks(np.uint64(seed), replicas, number, pairs)
    start = np.zeros(len(pairs))
    if past is not None:
        apart = past.partner[row, i] != j
        start[apart] = _hazard(np.stack([past.x, past.y, *before]), pairs[apart], ratio, spread)
    hazard = _hazard(places, pairs, ratio, spread)
    met = (clock > start) & (clock <= start + hazard)
    order = np.argsort(((clock - start)[met] / hazard[met]), kind="stable")
    return np.asarray(pairs[met][order])


def within_reach(
    before: tuple[np.ndarray, np.ndarray],
    charges: np.ndarray,
    partner: np.ndarray,
    encounters: Encounters,
    *,
    reach: np.ndarray,
) -> np.ndarray:
    """The same without noise: pairs whose |y|^2, which falls by 4 gamma dt = reach (r,), is no more than that."""
    places = np.stack([*before, *before])
    pairs = _candidates(places, charges, partner, encounters.alive, reach / FARTHEST)
    row, i, j = pairs.T
    x, y = places[:2, row, i] - places[:2, row, j]
    return np.asarray(pairs[np.argsort((x**2 + y**2) / reach[row], kind="stable")])


def _candidates(
    places: np.ndarray, charges: np.ndarray, partner: np.ndarray, alive: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """Pairs of opposite charges that may meet, (m, 3), in the order of the replicas and particles."""
    if places.shape[2] <= BRUTE_FORCE:
        return np.asarray(_near(places, charges, partner, alive, spread))
    found = []
    for r in range(places.shape[1]):
        i, j = cKDTree(places[:2, r].T).query_pairs(REACH * np.sqrt(spread[r]), output_type="ndarray").T
        x0, y0, x1, y1 = (place[i] - place[j] for place in places[:, r])
        keep = (charges[r, i] * charges[r, j] < 0) & alive[r, i] & alive[r, j] & (partner[r, i] != j)
        keep &= x0 * x1 + y0 * y1 < FARTHEST * spread[r]
        some = np.column_stack([np.full(keep.sum(), r), i[keep], j[keep]])
        found.append(some[np.lexsort(some.T[::-1])])
    return np.concatenate(found)


@compiled
def _near(places, charges, partner, alive, spread):  # type: ignore[no-untyped-def]
    """The same among all pairs."""
    replicas, count = alive.shape
    found = np.empty((1024, 3), dtype=np.int64)
    m = 0
    for r in range(replicas):
        for i in range(count):
            if not alive[r, i]:
                continue
            for j in range(i + 1, count):
                dot = (places[0, r, i] - places[0, r, j]) * (places[2, r, i] - places[2, r, j])
                dot += (places[1, r, i] - places[1, r, j]) * (places[3, r, i] - places[3, r, j])
                far = dot >= FARTHEST * spread[r]
                if far or charges[r, i] * charges[r, j] >= 0.0 or not alive[r, j] or partner[r, i] == j:
                    continue
                if m == len(found):
                    longer = np.empty((2 * m, 3), dtype=np.int64)
                    longer[:m] = found
                    found = longer
                found[m, 0], found[m, 1], found[m, 2] = r, i, j
                m += 1
    return found[:m]


def _hazard(places: np.ndarray, pairs: np.ndarray, ratio: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """h of pairs (m, 3) between two times, (m,), of x, y before and after, (4, r, N)."""
    row, i, j = pairs.T
    x0, y0, x1, y1 = places[:, row, i] - places[:, row, j]
    z = np.hypot(x0, y0) * np.hypot(x1, y1) / spread[row]
    turned = z + (x0 * x1 + y0 * y1) / spread[row]  # z (1 + cos theta) >= 0
    return np.asarray(2 * ratio[row] * k0e(np.maximum(z, 1e-300)) * np.exp(-turned))


@compiled(parallel=True)
def _clocks(seed: Any, replicas, number, pairs):  # type: ignore[no-untyped-def]
    """The exponential numbers of pairs, (m,)."""
    out = np.empty(len(pairs))
    for k in numba.prange(len(pairs)):
        r = pairs[k, 0]
        u, _ = pair_uniforms(pair_key(seed, replicas[r]), pairs[k, 1], pairs[k, 2], number[r], CLOCK)
        out[k] = -np.log(u)
    return out


def bound(pairs: np.ndarray, encounters: Encounters, *, vanish: bool) -> np.ndarray:
    """Bind pairs (m, 3) to each other, each if both are still free; those that were bound, (k, 3).

    Args:
        pairs: in the order in which they meet.
        encounters: of the replicas, updated.

    Keyword Args:
        vanish: whether they are taken out.
    """
    taken = np.zeros(len(pairs), dtype=bool)
    for k, (r, i, j) in enumerate(pairs.tolist()):
        if encounters.bond[r, i] < 0 and encounters.bond[r, j] < 0:
            encounters.alive[r, [i, j]] = not vanish
            encounters.bond[r, [i, j]] = j, i
            encounters.collided[r] = taken[k] = True
    return pairs[taken]
