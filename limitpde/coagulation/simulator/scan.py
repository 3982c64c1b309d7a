"""Candidates for reactions of all pairs within the reach of a step, cell by cell.

Of the pairs that cells bring together most are too far apart, and of most others the paths cannot touch the support of
V: so pairs are noted, sifted, and only then asked (`pairs.meet_one`). The particles that those of a cell may meet are
put side by side first, so that a processor finds several distances at once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from limitpde.coagulation.simulator.bridge import CANDIDATES, CUT
from limitpde.coagulation.simulator.pairs import AT_ONCE, BOX, FAR, Physics, Sorted, meet_one
from limitpde.compiled import compiled, hot
from limitpde.nbody.cells import STRETCHES, CellGrid, neighbours_ahead
from limitpde.nbody.random import pair_uniforms

NEAR = 512
"""Particles that are put side by side."""
NOTED = 2048
"""Pairs that are noted before they are looked at more closely."""


class Scratch(NamedTuple):
    """Room to work in."""

    first: np.ndarray
    """(STRETCHES,) int64, see `neighbours_ahead`."""
    last: np.ndarray
    """(STRETCHES,) int64, likewise."""
    shift: np.ndarray
    """(STRETCHES, 3), likewise."""
    near: np.ndarray
    """(3, NEAR + AT_ONCE), positions of particles that those of a cell may meet, their images on a torus."""
    which: np.ndarray
    """(NEAR + AT_ONCE,) int64, their places among the sorted ones."""
    squares: np.ndarray
    """(NEAR,) of their distances from a particle."""
    hits: np.ndarray
    """(NEAR,) int64, those that are within the reach."""
    who: np.ndarray
    """(NOTED, 2) int64, pairs."""
    where: np.ndarray
    """(NOTED, 3), their displacements."""
    stack: np.ndarray
    """(., 8), see `bisect`."""


@compiled(nogil=True)
def scan(
    P: Physics,
    S: Sorted,
    grid: CellGrid,
    start: np.ndarray,
    begin: int,
    end: int,
    key: np.uint64,
    step: int,
    dt: float,
    reach: float,
    stack: np.ndarray,
    records: np.ndarray,
) -> int:
    """Candidates for reactions of the pairs met from the cells begin, ..., end - 1.

    Args:
        P: the model.
        S: the particles.
        grid: the cells.
        start: (cells + 1,) where the particles of each cell begin.
        begin: first cell.
        end: one after the last.
        key: from `pair_key`.
        step: number of the step.
        dt: its length.
        reach: largest distance of a pair that can react.
        stack: scratch for `bisect`.
        records: (k, bridge.FIELDS) overwritten; the labels are the places of the two particles, the lower number first.

    Returns:
        Records there should be; those beyond k are not written.
    """
    scratch = Scratch(
        np.empty(STRETCHES, dtype=np.int64),
        np.empty(STRETCHES, dtype=np.int64),
        np.zeros((STRETCHES, 3)),
        np.empty((3, NEAR + AT_ONCE)),
        np.empty(NEAR + AT_ONCE, dtype=np.int64),
        np.empty(NEAR),
        np.empty(NEAR, dtype=np.int64),
        np.empty((NOTED, 2), dtype=np.int64),
        np.empty((NOTED, 3)),
        stack,
    )
    return _scan(P, S, grid, start, begin, end, key, step, dt, reach, scratch, records)


@hot
def _scan(P, S, grid, start, begin, end, key, step, dt, reach, scratch, records):  # type: ignore[no-untyped-def]
    """`scan` with room to work in."""
    near, which, hits, who, where = scratch.near, scratch.which, scratch.hits, scratch.who, scratch.where
    noted = count = 0
    for cell in range(begin, end):
        own, after = start[cell], start[cell + 1]
        if own == after:
            continue
        stretches = neighbours_ahead(cell, grid, start, scratch.first, scratch.last, scratch.shift)
        stretch, place = -1, own  # the cell itself comes first
        while stretch < stretches:
            begun = place if stretch < 0 else after
            many, stretch, place = _put_side_by_side(S.at, after, stretches, stretch, place, scratch)
            for p in range(own, after):
                x0, x1, x2 = S.at[0, p], S.at[1, p], S.at[2, p]
                found = _within(near, many, x0, x1, x2, max(p + 1 - begun, 0), reach * reach, scratch.squares, hits)
                if noted + found > NOTED:
                    count = _meet_all(P, S, scratch, noted, key, step, dt, reach, records, count)
                    noted = 0
                for k in range(found):
                    who[noted, 0], who[noted, 1] = p, which[hits[k]]
                    where[noted, 0], where[noted, 1] = near[0, hits[k]] - x0, near[1, hits[k]] - x1
                    where[noted, 2] = near[2, hits[k]] - x2
                    noted += 1
    return _meet_all(P, S, scratch, noted, key, step, dt, reach, records, count)


@hot
def _put_side_by_side(at, after, stretches, stretch, place, scratch):  # type: ignore[no-untyped-def]
    """Write down positions from a place in a stretch on, -1 being the cell itself: how many, and where to go on.

    They are copied AT_ONCE at a time, some of them in vain, by unsigned numbers, which compile to vector instructions.
    """
    near, which, shift, many = scratch.near, scratch.which, scratch.shift, 0
    while stretch < stretches and many < NEAR:
        high = after if stretch < 0 else scratch.last[stretch]
        s0, s1, s2 = (0.0, 0.0, 0.0) if stretch < 0 else (shift[stretch, 0], shift[stretch, 1], shift[stretch, 2])
        top = min(high, place + NEAR - many)
        for begin in range(place, top, AT_ONCE):
            q, to = np.uint64(begin), np.uint64(many + begin - place)
            for k in range(np.uint64(AT_ONCE)):
                near[0, to + k] = at[0, q + k] + s0
                near[1, to + k] = at[1, q + k] + s1
                near[2, to + k] = at[2, q + k] + s2
                which[to + k] = q + k
        many += top - place
        place = top
        if top == high:
            stretch += 1
            place = scratch.first[stretch] if stretch < stretches else 0
    return many, stretch, place


@hot
def _within(near, many, x0, x1, x2, begin, square, squares, hits):  # type: ignore[no-untyped-def]
    """Find the points from `begin` on that are within the root of `square` of a point; how many there are."""
    for j in range(many):
        r0, r1, r2 = near[0, j] - x0, near[1, j] - x1, near[2, j] - x2
        squares[j] = r0 * r0 + r1 * r1 + r2 * r2
    found = 0
    for j in range(begin, many):  # no branch: nothing tells which are near
        hits[found] = j
        found += 1 if squares[j] <= square else 0
    return found


@hot
def _sift(P, S, scratch, noted, dt):  # type: ignore[no-untyped-def]
    """Keep the pairs whose paths may touch the support of V; how many there are."""
    by, diffusion, ranges, who, where = S.by, S.diffusion, S.ranges, scratch.who, scratch.where
    widest, kept = math.exp(P.log_eps) * P.V.reach, 0
    for k in range(noted):
        p, q, r0, r1, r2 = who[k, 0], who[k, 1], where[k, 0], where[k, 1], where[k, 2]
        y0, y1, y2 = r0 + (by[0, q] - by[0, p]), r1 + (by[1, q] - by[1, p]), r2 + (by[2, q] - by[2, p])
        rr, yy, dot = r0 * r0 + r1 * r1 + r2 * r2, y0 * y0 + y1 * y1 + y2 * y2, r0 * y0 + r1 * y1 + r2 * y2
        core, product = widest * (ranges[p] + ranges[q]), math.sqrt(rr * yy)
        both = math.sqrt(rr + yy + 2.0 * product)  # |x| + |y|
        bend = 0.5 * (product + dot) - core * (both - core)
        who[kept, 0], who[kept, 1] = p, q
        where[kept, 0], where[kept, 1], where[kept, 2] = r0, r1, r2
        far = both > 2.0 * core and bend > CUT * (1.0 + 1e-9) * (diffusion[p] + diffusion[q]) * dt
        kept += 0 if far else 1
    return kept


@hot
def _draw_early(P, S, scratch, noted, key, step, dt):  # type: ignore[no-untyped-def]
    """Keep the pairs that are near each other, or whose draw is below a bound on their chance; how many there are.

    The bound on `sphere_chance`: expm1(z) e^(-w / 2 tau) <= z / (1 - z) for z < 1. It spares most pairs the rest.
    """
    by, diffusion, ranges, ident, mate = S.by, S.diffusion, S.ranges, S.ident, S.mate
    who, where = scratch.who, scratch.where
    widest, longest, kept = math.exp(P.log_eps), math.exp(P.lengths[-1]), 0
    for k in range(noted):
        p, q, r0, r1, r2 = who[k, 0], who[k, 1], where[k, 0], where[k, 1], where[k, 2]
        y0, y1, y2 = r0 + (by[0, q] - by[0, p]), r1 + (by[1, q] - by[1, p]), r2 + (by[2, q] - by[2, p])
        rx, ry = math.sqrt(r0 * r0 + r1 * r1 + r2 * r2), math.sqrt(y0 * y0 + y1 * y1 + y2 * y2)
        width = widest * (ranges[p] + ranges[q])
        radius, i, j = longest * width, min(ident[p], ident[q]), max(ident[p], ident[q])
        z = radius * (rx + ry) / ((diffusion[p] + diffusion[q]) * dt)
        far = min(rx, ry) > FAR * P.V.reach * width * (1.0 + 1e-9) and mate[p] != ident[q] and mate[q] != ident[p]
        who[kept, 0], who[kept, 1] = p, q
        where[kept, 0], where[kept, 1], where[kept, 2] = r0, r1, r2
        if far and z < 0.5:
            u, _ = pair_uniforms(key, i, j, step, 0)
            bound = CANDIDATES * radius * (rx + ry) / (rx * ry * (1.0 - z))
            kept += 1 if u <= bound * (1.0 + 1e-9) else 0
        else:
            kept += 1
    return kept


@hot
def _meet_all(P, S, scratch, noted, key, step, dt, reach, records, count):  # type: ignore[no-untyped-def]
    """Candidates of the pairs that were written down."""
    who, where, square = scratch.who, scratch.where, reach * reach
    if P.domain < BOX:  # at a wall a mirror image may be met all the same
        noted = _sift(P, S, scratch, noted, dt)
        if P.closed and not P.flat:
            noted = _draw_early(P, S, scratch, noted, key, step, dt)
    for k in range(noted):
        r = (where[k, 0], where[k, 1], where[k, 2])
        count = meet_one(P, S, who[k, 0], who[k, 1], r, key, step, dt, square, scratch.stack, records, count)
    return count
