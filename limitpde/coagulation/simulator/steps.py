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
from limitpde.nbody.cells import CellGrid, make_grid, sort_into_cells
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


@hot
def _bounds(P: Physics, A: ReplicaState) -> tuple[float, float, float, float, float]:
    """Largest d, smallest and largest range, largest rate of splitting and strength, of the particles there are."""
    most, short, long, rate, strong = 0.0, np.inf, 0.0, 0.0, 0.0
    for i in range(A.numbers[COUNT]):
        most = max(most, law(P.diffusion, A.mass[i]))
        r = law(P.ranges, A.mass[i])
        short, long, strong = min(short, r), max(long, r), max(strong, law(P.strength, A.mass[i]))
        if len(P.splitting.values):
            rate = max(rate, law(P.splitting, A.mass[i]))
    return most, short, long, rate, strong


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
def plan(P: Physics, A: ReplicaState, until: float, step: float) -> tuple[int, Plan]:
    """The next step on the way to a time, no longer than `step`; a status other than GOING says why there is none."""
    bounds = _bounds(P, A)
    most, _, long, rate, strong = bounds
    core = 2.0 * long * math.exp(P.log_eps) * P.V.reach
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
    return status, _plan_of(P, A, bounds, dt, 1.25 if by_density < left else 1.0)


@compiled
def plan_of(P: Physics, A: ReplicaState, dt: float, growth: float) -> Plan:
    """A step of the length dt."""
    return _plan_of(P, A, _bounds(P, A), dt, growth)


@hot
def _plan_of(
    P: Physics, A: ReplicaState, bounds: tuple[float, float, float, float, float], dt: float, growth: float
) -> Plan:
    """The same, where the bounds are known."""
    most, short, long, _, strong = bounds
    core = 2.0 * long * math.exp(P.log_eps) * P.V.reach
    _, longest = _edge_limits(P, core)
    reach = SPREAD * math.sqrt(4.0 * most) * math.sqrt(dt) + core
    grid = make_grid(A.x, A.numbers[COUNT], P.low, P.size, P.domain == TORUS, P.flat, min(reach, longest))
    log_rate = math.log(max(CANDIDATES * P.alpha.max() * strong * strong * P.V.highest * dt, 1e-300))
    log_rate += P.log_front - 2.0 * (P.log_eps + math.log(2.0 * short))
    return Plan(dt, reach, grid, stack_size(log_rate), growth)


@hot
def fits(P: Physics, A: ReplicaState) -> bool:
    """Whether the ranges of the particles there are fit the domain."""
    _, _, long, _, _ = _bounds(P, A)
    core = 2.0 * long * math.exp(P.log_eps) * P.V.reach
    return 1.5 * core <= _edge_limits(P, core)[1]


@hot
def look(
    P: Physics, A: ReplicaState, grid: CellGrid, slot: np.ndarray, start: np.ndarray, shrink: float, growth: float
) -> float:
    """Sort the particles into cells; from how crowded these are, set the edge for the next step.

    The edge changes by a factor between `shrink` and `growth`, which is returned.
    """
    n = A.numbers[COUNT]
    shared = sort_into_cells(A.x, n, grid, slot, start)
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


@compiled
def settle(P: Physics, A: ReplicaState) -> None:
    """Find the edge that suits the particles at time 0."""
    n = A.numbers[COUNT]
    low, high = A.x[0].copy(), A.x[0].copy()
    for i in range(n):
        for c in range(3):
            low[c], high[c] = min(low[c], A.x[i, c]), max(high[c], A.x[i, c])
    extent = max((high - low).max(), 1e-200)
    _, _, long, _, _ = _bounds(P, A)
    shortest, longest = _edge_limits(P, 2.0 * long * math.exp(P.log_eps) * P.V.reach)
    A.reals[EDGE] = extent * (CROWD / n) ** (1 / 3)
    slot = np.empty(n, dtype=np.int64)
    for _ in range(100):
        edge = min(max(A.reals[EDGE], shortest, 1e-200), longest)
        grid = make_grid(A.x, n, P.low, P.size, P.domain == TORUS, P.flat, edge)
        start = np.empty(np.prod(grid.cells) + 1, dtype=np.int64)
        A.reals[DENSITY] = 0.0
        A.reals[EDGE] = edge
        factor = look(P, A, grid, slot, start, 0.5, 2.0)
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
def arrange(
    P: Physics,
    A: ReplicaState,
    B: Moved,
    S: Sorted,
    slot: np.ndarray,
    begin: int,
    end: int,
    first: int,
    many: int,
) -> None:
    """Write down the particles begin, ..., end - 1 sorted, if their slots are among the `many` from `first` on.

    Slots are counted in a circle, and that one comes first.
    """
    _arrange(P, A, B, S, slot, begin, end, first, many)


@hot
def _arrange(P, A, B, S, slot, begin, end, first, many):  # type: ignore[no-untyped-def]
    """`arrange`."""
    n = A.numbers[COUNT]
    for i in range(begin, end):
        k = slot[i] - first if slot[i] >= first else slot[i] - first + n
        if k >= many:
            continue
        S.at[0, k], S.at[1, k], S.at[2, k] = A.x[i, 0], A.x[i, 1], A.x[i, 2]
        S.by[0, k], S.by[1, k], S.by[2, k] = B.by[i, 0], B.by[i, 1], B.by[i, 2]
        S.diffusion[k], S.ranges[k] = law(P.diffusion, A.mass[i]), law(P.ranges, A.mass[i])
        S.kind[k], S.strength[k] = min(A.mass[i], len(P.alpha)) - 1, law(P.strength, A.mass[i])
        S.ident[k], S.place[k], S.mate[k] = A.ident[i], i, A.mate[i] if len(A.mate) else -1
        if S.mate[k] >= 0:
            S.offset[0, k], S.offset[1, k], S.offset[2, k] = A.offset[i, 0], A.offset[i, 1], A.offset[i, 2]


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
            status, ahead = plan(P, A, until, step)
            if status != GOING:
                A.numbers[STATUS] = status
                break
            kept = A.reals.copy()
            start = np.empty(np.prod(ahead.grid.cells) + 1, dtype=np.int64)
            look(P, A, ahead.grid, slot, start, 0.8, ahead.growth)
            draw(P, T, A, B, 0, n, seed, replica, ahead.dt)
            arrange(P, A, B, S, slot, 0, n, 0, n)
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
