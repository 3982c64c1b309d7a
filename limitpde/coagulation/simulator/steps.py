"""Time steps of the coagulating particles: how long, where everybody goes, and all of it, on one thread or on many.

Given both ends of its path over a step, the free motion and the chance of a reaction of each pair are exact for a step
of any length (`bridge`), so the step is set by the density and not by eps: pairs beyond the reach of a step,

    reach = SPREAD sqrt(2 D dt) + R eps,    D = 2 max d(m),    R eps the largest distance at which V acts,

are not looked at, which misses one collision in 10^4 or less. The reach is that for which about CROWD particles share a
cell with a particle, as counted in the step before, so that dense clouds in the whole space are stepped by their own
density. A step is also so short that a particle's chance to react in it is about MEETINGS at most, to split SPLITTINGS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from limitpde.coagulation.simulator.bridge import CANDIDATES, FIELDS, stack_size
from limitpde.coagulation.simulator.events import (
    ALL_IN_TIME,
    COUNT,
    DENSITY,
    EDGE,
    FULL,
    GOING,
    STATUS,
    STEP,
    STUCK,
    TIME,
    TOO_LARGE,
    WORK,
    Functions,
    Moved,
    ReplicaState,
    evaluate,
)
from limitpde.coagulation.simulator.integrals import finish
from limitpde.coagulation.simulator.local_times import MOST_CONTACTS, touch
from limitpde.coagulation.simulator.pairs import AT_ONCE, BALL, BOX, TORUS, Physics, Sorted, law
from limitpde.coagulation.simulator.scan import scan
from limitpde.coagulation.simulator.walls import fold
from limitpde.compiled import compiled, hot
from limitpde.nbody.cells import CellGrid, corners, make_grid, sort_into_cells
from limitpde.nbody.random import four_normals, pair_key

SPREAD = 4.0
CROWD, CROWD_IN_PLANE = 1.5, 4.0
MEETINGS = 0.05
SPLITTINGS = 0.1
NOISE = 0  # Stream.NOISE


class Plan(NamedTuple):
    """One step to come."""

    dt: float
    reach: float
    grid: CellGrid
    depth: int
    """Rows of the stack for `bisect`."""
    growth: float
    """Factor by which the edge of the cells may grow: 1 where it did not set the step."""


@compiled
def bounds_of(P: Physics, A: ReplicaState) -> np.ndarray:
    """What a step must know of all particles, (11,): of some of them, the least of their bounds are those of all.

    Minus the largest d, the smallest range, minus the largest range, rate of splitting and strength; their least
    coordinates and minus the largest, infinite on a torus, where nobody asks.
    """
    found = np.full(11, np.inf)
    _bound(P, A, found)
    if P.domain != TORUS:
        low, high = corners(A.x, A.numbers[COUNT], P.flat)
        found[5:8], found[8:] = low, -high
    return found


@hot
def _bound(P, A, found):  # type: ignore[no-untyped-def]
    """Those that follow from the masses, in place."""
    most, short, long, rate, strong = 0.0, np.inf, 0.0, 0.0, 0.0
    for i in range(A.numbers[COUNT]):
        most = max(most, law(P.diffusion, A.mass[i]))
        r = law(P.ranges, A.mass[i])
        short, long, strong = min(short, r), max(long, r), max(strong, law(P.strength, A.mass[i]))
        if len(P.splitting.values):
            rate = max(rate, law(P.splitting, A.mass[i]))
    found[0], found[1], found[2], found[3], found[4] = -most, short, -long, -rate, -strong


@hot
def _edge_limits(P: Physics, core: float) -> tuple[float, float]:
    """Shortest and longest reach of a step."""
    longest = np.inf
    if P.domain > 0:
        longest = P.size[0]
        for c in range(1, 2 if P.flat else 3):
            longest = min(longest, P.size[c])
        longest *= (1 - 1e-9) / (8.0 if P.domain == BALL else 3.0)
    return 2.0 * core, longest


@hot
def _up_to_cells(P: Physics, edge: float) -> float:
    """The edge of the cells into which a torus is cut for a reach."""
    found = np.inf
    for c in range(2 if P.flat else 3):
        found = min(found, P.size[c] / math.floor(P.size[c] / edge))
    return found * (1 - 1e-9)


@compiled
def plan(P: Physics, A: ReplicaState, n: int, bounds: np.ndarray, until: float, step: float) -> tuple[int, Plan]:
    """The next step on the way to a time, no longer than `step`; a status other than GOING says why there is none.

    Args:
        P: the model.
        A: the replica, or a rank's rows of it.
        n: its particles.
        bounds: `bounds_of` all of them.
        until: the time.
        step: the longest step.
    """
    most, long, rate, strong = -bounds[0], -bounds[2], -bounds[3], -bounds[4]
    core = _core(P, bounds)
    shortest, longest = _edge_limits(P, core)
    edge = min(max(A.reals[EDGE], shortest), longest) if P.contact[0] > 0.0 else longest
    if P.domain == TORUS:  # the cells are no smaller: use them to the full
        edge = _up_to_cells(P, edge)
    spread = SPREAD * math.sqrt(4.0 * most)
    dt = ((edge - core) / spread) ** 2
    by_density = dt
    contact = P.contact[1] * 2.0 * most
    scale = math.exp(P.log_front) if P.flat else 2.0 * long * math.exp(P.log_eps)
    contact = min(P.contact[0] * strong * strong, contact) * scale
    if contact * A.reals[DENSITY] > 0.0:
        dt = min(dt, MEETINGS / (contact * A.reals[DENSITY]))
    if rate > 0.0:
        dt = min(dt, SPLITTINGS / rate)
    left = until - A.reals[TIME]
    dt = min(dt, step, left)
    status = TOO_LARGE if 1.5 * core > longest else STUCK if dt <= 1e-14 * until else GOING
    dt = left / max(1.0, math.ceil(left / dt * (1 - 1e-9))) if status == GOING else left
    A.reals[EDGE] = min(max(A.reals[EDGE], shortest), longest)
    return status, plan_of(P, n, bounds, dt, 1.25 if by_density < left else 1.0)


@hot
def _core(P: Physics, bounds: np.ndarray) -> float:
    """Largest distance at which V acts."""
    return 2.0 * -bounds[2] * math.exp(P.log_eps) * P.V.reach


@compiled
def plan_of(P: Physics, n: int, bounds: np.ndarray, dt: float, growth: float) -> Plan:
    """A step of the length dt of n particles with these `bounds_of`."""
    most, short, strong, core = -bounds[0], bounds[1], -bounds[4], _core(P, bounds)
    _, longest = _edge_limits(P, core)
    reach = SPREAD * math.sqrt(4.0 * most) * math.sqrt(dt) + core
    grid = _grid_for(P, n, bounds, min(reach, longest))
    log_rate = math.log(max(CANDIDATES * P.alpha.max() * strong * strong * P.V.highest * dt, 1e-300))
    log_rate += P.log_front - 2.0 * (P.log_eps + math.log(2.0 * short))
    return Plan(dt, reach, grid, stack_size(log_rate), growth)


@compiled
def _grid_for(P: Physics, n: int, bounds: np.ndarray, edge: float) -> CellGrid:
    """Cells of this edge for n particles with these `bounds_of`."""
    return make_grid((bounds[5:8], -bounds[8:]), n, P.low, P.size, P.domain == TORUS, P.flat, edge)


@hot
def fits(P: Physics, bounds: np.ndarray) -> bool:
    """Whether the ranges of particles with these `bounds_of` fit the domain."""
    core = _core(P, bounds)
    return 1.5 * core <= _edge_limits(P, core)[1]


@hot
def look(
    P: Physics, A: ReplicaState, grid: CellGrid, slot: np.ndarray, start: np.ndarray, shrink: float, growth: float
) -> float:
    """Sort all particles into cells, and set the edge for the next step by how `crowded` they are."""
    n = A.numbers[COUNT]
    return crowded(P, A, n, grid, sort_into_cells(A.x, n, grid, slot, start), shrink, growth)


@compiled
def crowded(P: Physics, A: ReplicaState, n: int, grid: CellGrid, shared: float, shrink: float, growth: float) -> float:
    """From how crowded n particles are in cells, ordered pairs that share one, set the edge for the next step.

    The edge changes by a factor between `shrink` and `growth`, which is returned.
    """
    volume = 1.0
    for c in range(2 if P.flat else 3):
        volume /= grid.inverse[c]
    density = shared / (n * volume)
    A.reals[DENSITY] += 0.3 * (density - A.reals[DENSITY])
    wanted = np.inf
    if density > 0.0:
        wanted = math.sqrt(CROWD_IN_PLANE / density) if P.flat else (CROWD / density) ** (1 / 3)
    factor = min(max(wanted / A.reals[EDGE], shrink), growth)
    A.reals[EDGE] *= factor
    return factor


def settle(
    P: Physics,
    A: ReplicaState,
    n: int,
    box: tuple[np.ndarray, np.ndarray],
    bounds: np.ndarray,
    shared: Callable[[CellGrid], float],
) -> None:
    """Find the edge that suits n particles at time 0.

    Args:
        P: the model.
        A: the replica, or a rank's rows of it.
        n: its particles.
        box: their `corners`, all three coordinates.
        bounds: `bounds_of` all of them.
        shared: how many ordered pairs share a cell.
    """
    extent = max((box[1] - box[0]).max(), 1e-200)
    shortest, longest = _edge_limits(P, _core(P, bounds))
    A.reals[EDGE] = extent * (CROWD / n) ** (1 / 3)
    for _ in range(100):
        edge = min(max(A.reals[EDGE], shortest, 1e-200), longest)
        grid = _grid_for(P, n, bounds, edge)
        A.reals[DENSITY], A.reals[EDGE] = 0.0, edge
        factor = crowded(P, A, n, grid, shared(grid), 0.5, 2.0)
        if 0.7 < factor < 1.4 or (factor > 1.0 and edge >= min(longest, extent)) or (factor < 1.0 and edge <= shortest):
            break
    A.reals[DENSITY] /= 0.3


@compiled
def room_to_move(P: Physics, T: Functions, A: ReplicaState) -> Moved:
    """Room for where the particles end a step."""
    return Moved(
        np.empty_like(A.x),
        np.empty_like(A.x),
        np.empty_like(A.phi),
        np.empty((len(A.mass) if P.domain >= BOX else 0, len(T.kinds))),
    )


@compiled
def make_sorted(n: int) -> Sorted:
    """Room for n sorted particles."""
    return Sorted(
        np.zeros((3, n + AT_ONCE)),
        np.empty((3, n)),
        np.empty(n),
        np.empty(n),
        np.empty(n, dtype=np.int64),
        np.empty(n),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
        np.empty((3, n)),
    )


@compiled(nogil=True)
def draw(
    P: Physics, T: Functions, A: ReplicaState, B: Moved, begin: int, end: int, seed: np.uint64, replica: int, dt: float
) -> None:
    """Draw where the particles begin, ..., end - 1 go, and evaluate the test functions there."""
    _displace(P, A, B, begin, end, seed, replica, dt)
    _arrive(P, A, B, begin, end)
    evaluate(T, B.x, begin, end, P.flat, B.phi)
    met = np.empty((MOST_CONTACTS, 8))
    for i in range(begin, min(end, len(B.walls)) if len(T.kinds) else begin):
        clock = (seed, replica, A.ident[i], A.numbers[STEP])
        variance = 2.0 * law(P.diffusion, A.mass[i]) * dt
        touch(P, T.kinds, T.parameters, A.x[i], B.by[i].copy(), variance, clock, met, B.walls[i])


@hot
def _displace(P, A, B, begin, end, seed, replica, dt):  # type: ignore[no-untyped-def]
    """Draw the displacements."""
    for i in range(begin, end):
        z = four_normals(seed, NOISE, replica, A.ident[i], A.numbers[STEP])
        size = math.sqrt(2.0 * law(P.diffusion, A.mass[i]) * dt)
        B.by[i, 0], B.by[i, 1], B.by[i, 2] = size * z[0], size * z[1], 0.0 if P.flat else size * z[2]


@compiled(nogil=True)
def arrive(P: Physics, A: ReplicaState, B: Moved, begin: int, end: int) -> None:
    """Where the particles begin, ..., end - 1 are after their displacements."""
    _arrive(P, A, B, begin, end)


@hot
def _arrive(P, A, B, begin, end):  # type: ignore[no-untyped-def]
    """`arrive`."""
    for i in range(begin, end):
        at = fold(P, A.x[i, 0] + B.by[i, 0], A.x[i, 1] + B.by[i, 1], A.x[i, 2] + B.by[i, 2])
        B.x[i, 0], B.x[i, 1], B.x[i, 2] = at


@compiled(nogil=True)
def arrange(P: Physics, A: ReplicaState, B: Moved, S: Sorted, slot: np.ndarray, begin: int, end: int) -> None:
    """Write down the particles begin, ..., end - 1 in their slots among the sorted ones."""
    _arrange(P, A, B, S, slot, begin, end)


@hot
def _arrange(P, A, B, S, slot, begin, end):  # type: ignore[no-untyped-def]
    """`arrange`."""
    for i in range(begin, end):
        k = slot[i]
        S.at[0, k], S.at[1, k], S.at[2, k] = A.x[i, 0], A.x[i, 1], A.x[i, 2]
        S.by[0, k], S.by[1, k], S.by[2, k] = B.by[i, 0], B.by[i, 1], B.by[i, 2]
        S.place[k], S.ident[k], S.mate[k] = i, A.ident[i], A.mate[i] if len(A.mate) else -1
        write_laws(P, S, k, A.mass[i])
        if S.mate[k] >= 0:
            S.offset[0, k], S.offset[1, k], S.offset[2, k] = A.offset[i, 0], A.offset[i, 1], A.offset[i, 2]


@hot
def write_laws(P, S, k, mass):  # type: ignore[no-untyped-def]
    """What follows from the mass of a sorted particle."""
    S.diffusion[k], S.ranges[k] = law(P.diffusion, mass), law(P.ranges, mass)
    S.kind[k], S.strength[k] = min(mass, len(P.alpha)) - 1, law(P.strength, mass)


@compiled
def land(A: ReplicaState, until: float, kept: np.ndarray) -> None:
    """Put the clock right at the end of the way, and back where the step could not be taken."""
    if A.numbers[STATUS] == FULL:
        A.reals[:] = kept
    elif until - A.reals[TIME] <= 1e-12 * until:
        A.reals[TIME] = until


@compiled(nogil=True)
def advance(
    P: Physics,
    T: Functions,
    A: ReplicaState,
    seed: np.uint64,
    replica: int,
    stops: np.ndarray,
    step: float,
    budget: int,
) -> None:
    """Step one replica through times, or until about `budget` particle steps are spent, or its status is not GOING."""
    rows = len(A.mass)
    S, slot = make_sorted(rows), np.empty(rows, dtype=np.int64)
    B = room_to_move(P, T, A)
    key, spent = pair_key(seed, replica), A.numbers[WORK] + budget
    records = np.empty((rows + 256, FIELDS))
    A.numbers[STATUS] = GOING
    for until in stops:
        while A.reals[TIME] < until and A.numbers[WORK] < spent and A.numbers[STATUS] == GOING:
            n = A.numbers[COUNT]
            if n == 0:
                A.reals[TIME] = until
                break
            status, ahead = plan(P, A, n, bounds_of(P, A), until, step)
            if status != GOING:
                A.numbers[STATUS] = status
                break
            kept = A.reals.copy()
            start = np.empty(np.prod(ahead.grid.cells) + 1, dtype=np.int64)
            look(P, A, ahead.grid, slot, start, 0.8, ahead.growth)
            draw(P, T, A, B, 0, n, seed, replica, ahead.dt)
            arrange(P, A, B, S, slot, 0, n)
            records, count = meet(P, S, ahead, start, key, A.numbers[STEP], records)
            A.numbers[STATUS] = finish(P, T, A, B, records[:count], seed, key, replica, ahead.dt, ALL_IN_TIME)
            land(A, until, kept)


@compiled
def meet(
    P: Physics, S: Sorted, ahead: Plan, start: np.ndarray, key: np.uint64, step: int, records: np.ndarray
) -> tuple[np.ndarray, int]:
    """The candidates of a step, in the given array or in a longer one, and their number."""
    if not P.contact[0] > 0.0:
        return records, 0
    stack, last = np.empty((ahead.depth, 8)), len(start) - 1
    while True:
        count = scan(P, S, ahead.grid, start, 0, last, key, step, ahead.dt, ahead.reach, stack, records)
        if count <= len(records):
            return records, count
        records = np.empty((2 * count, FIELDS))
