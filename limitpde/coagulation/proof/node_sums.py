"""Compiled sums over the nodes of a mollifier's grid: candidate densities against test functions, and products.

For each plane of nodes the particles in reach are chained to the nodes, so that a node costs what is near it: time is
proportional to (particles) x (nodes within delta) and, at each node, to the square of the number of different masses
there. A product f_n f_m is a sum over pairs i != j: the pairs of a particle with itself are left out.
"""

# numba's functions of tuples of mixed arrays have no signature that mypy could check
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import numba
import numpy as np

from limitpde.coagulation.proof.mollifier import cells_near, eta_at, fold
from limitpde.compare.spatial import spatial
from limitpde.compiled import compiled

BLOCKS = 64
"""Groups of planes that a thread works on in one go; has no effect on the results."""


@compiled
def planes(x, grid, place, planes, delta):
    """Which particles reach which plane of nodes along the first axis.

    Args:
        x: (n, 3) positions.
        grid: kind, low, edge and nodes of the Grid.
        place: places along the first axis of the Grid.
        planes: number of nodes kept along the first axis.
        delta: reach of the mollifier.

    Returns:
        The starts (planes + 1,) of the planes in the lists that follow, the particles, their (distance / delta)^2.
    """
    kind, low, edge, nodes = grid
    starts = np.zeros(planes + 1, dtype=np.int64)
    for i in range(len(x)):
        begin, end = cells_near(x[i, 0], low[0], edge[0], delta)
        for k in range(begin, end):
            node = fold(k, nodes[0], kind)
            if node >= 0:
                starts[place[node] + 1] += 1
    starts = np.cumsum(starts)
    filled = starts[:-1].copy()
    particle, square = np.empty(starts[-1], dtype=np.int64), np.empty(starts[-1])
    for i in range(len(x)):
        begin, end = cells_near(x[i, 0], low[0], edge[0], delta)
        for k in range(begin, end):
            node = fold(k, nodes[0], kind)
            if node >= 0:
                plane = place[node]
                particle[filled[plane]] = i
                square[filled[plane]] = ((low[0] + (k + 0.5) * edge[0] - x[i, 0]) / delta) ** 2
                filled[plane] += 1
    return starts, particle, square


@compiled
def _deposit(x, span, reach, grid, delta, table, places, columns, head, lists):
    """Chain to the nodes of one plane what the particles deposit there; returns the number of nodes reached."""
    kind, low, edge, nodes = grid
    particle, square = reach
    follower, depositor, value, touched = lists
    count, reached, inverse = 0, 0, 1.0 / delta
    for e in range(span[0], span[1]):
        i = particle[e]
        begin1, end1 = cells_near(x[i, 1], low[1], edge[1], delta)
        begin2, end2 = cells_near(x[i, 2], low[2], edge[2], delta)
        for k1 in range(begin1, end1):
            row = fold(k1, nodes[1], kind)
            near = square[e] + ((low[1] + (k1 + 0.5) * edge[1] - x[i, 1]) * inverse) ** 2
            if row < 0 or near >= 1.0:
                continue
            for k2 in range(begin2, end2):
                s = near + ((low[2] + (k2 + 0.5) * edge[2] - x[i, 2]) * inverse) ** 2
                if s >= 1.0:
                    continue
                column, eta = fold(k2, nodes[2], kind), eta_at(s, table)
                if column < 0 or eta == 0.0:
                    continue
                node = places[1][row] * columns + places[2][column]
                if head[node] < 0:
                    touched[reached] = node
                    reached += 1
                follower[count], depositor[count], value[count] = head[node], i, eta
                head[node] = count
                count += 1
    return reached


@compiled
def _pairs(node_sum, node_square, a, b):
    """Pairs of different particles of the masses at the places a, b at one node."""
    if a == b:
        return max(0.5 * (node_sum[a] * node_sum[a] - node_square[a]), 0.0)
    return node_sum[a] * node_sum[b]


@compiled
def _react(node_sum, node_square, present, here, masses, beta, merge, tracked, rates, products, weight):
    """Pair sums at one node: rates of change of the tracked densities go to rates[:, 3], products to products.

    node_sum and node_square hold, for each mass, the sums of the deposits and of their squares; present[:here] the
    places of the masses that are there. rates[0] belongs to the number of particles, rates[s] to mass tracked[s].
    """
    few = len(products)
    for p in range(here):
        a = present[p]
        for q in range(p + 1):
            b = present[q]
            pairs = _pairs(node_sum, node_square, a, b)
            n, m = masses[a], masses[b]
            if n <= few and m <= few:
                products[n - 1, m - 1] += weight * pairs
                products[m - 1, n - 1] += weight * pairs
            rate = beta[a, b] * pairs
            rates[0, 3] -= rate if merge else 2.0 * rate
            for s in range(1, len(tracked)):
                rates[s, 3] += rate * ((merge and tracked[s] == n + m) - (tracked[s] == n) - (tracked[s] == m))


@compiled
def _collect(entry, factor, follower, depositor, value, mass, node_sum, node_square, present):
    """Sums over the particles chained to one node, mass by mass; returns how many masses and particles are there.

    What one particle deposits at a node more than once, as its own image behind a wall or around a torus, is chained in
    a row, and is added up before it is squared.
    """
    here = particles = 0
    while entry >= 0:
        i, f = depositor[entry], value[entry]
        entry = follower[entry]
        while entry >= 0 and depositor[entry] == i:
            f += value[entry]
            entry = follower[entry]
        f *= factor
        a = mass[i]
        if node_sum[a] == 0.0:
            present[here] = a
            here += 1
        node_sum[a] += f
        node_square[a] += f * f
        particles += 1
    return here, particles


@compiled
def _add_up(plane, reached, mass, head, lists, work, geometry, cut, system, functions, scale, found, products):
    """What the nodes of one plane add to the sums found (4, F) and to the products (L, L); clears the chains."""
    follower, depositor, value, touched = lists
    node_sum, node_square, present, rates, position, gradient = work
    low, edge, kept = geometry
    weights, shares = cut
    masses, beta, merge, tracked, linear = system
    slots, kinds, parameters, values = functions
    columns, stored, varied = len(kept[2]), len(values) > 0, len(weights) > 1
    first = plane * len(kept[1]) * columns
    for t in range(reached):
        node = touched[t]
        flat = first + node
        weight, share = (weights[flat], shares[flat]) if varied else (weights[0], shares[0])
        entry = head[node]
        head[node] = -1
        if weight == 0.0:
            continue
        here, particles = _collect(
            entry, scale / share, follower, depositor, value, mass, node_sum, node_square, present
        )
        rates[:] = 0.0
        for p in range(here):
            a = present[p]
            for s in range(len(tracked)):
                rates[s, 0] += linear[a, s, 0] * node_sum[a]
                rates[s, 1] += linear[a, s, 1] * node_sum[a]
                rates[s, 2] += linear[a, s, 2] * node_sum[a]
        if particles > 1:
            _react(node_sum, node_square, present, here, masses, beta, merge, tracked, rates, products, weight)
        for p in range(here):
            node_sum[present[p]] = node_square[present[p]] = 0.0
        if not stored:
            position[0] = low[0] + (kept[0][plane] + 0.5) * edge[0]
            position[1] = low[1] + (kept[1][node // columns] + 0.5) * edge[1]
            position[2] = low[2] + (kept[2][node % columns] + 0.5) * edge[2]
        for f in range(len(slots)):
            s = slots[f]
            if stored:
                g, laplacian = values[flat, f, 0], values[flat, f, 1]
            else:
                g, laplacian = spatial(kinds[f], parameters[f], position[: len(gradient)], gradient)
            found[0, f] += weight * g * rates[s, 0]
            found[1, f] += weight * laplacian * rates[s, 1]
            found[2, f] += weight * g * rates[s, 2]
            found[3, f] += weight * g * rates[s, 3]


@compiled(parallel=True)
def node_sums(x, mass, starts, reach, grid, delta, table, lines, cut, system, functions, dimension, few):
    """Sums over the nodes, plane by plane, of the candidate densities (Z/N = 1) against test functions.

    Args:
        x: (n, 3) positions.
        mass: (n,) places of the particles' masses among `masses`.
        starts: of `planes`.
        reach: particle and square of `planes`.
        grid: kind, low, edge and nodes of the Grid.
        delta: reach of the mollifier.
        table: eta_table.
        lines: places and kept of the Grid.
        cut: weight and share of the Grid.
        system: masses (M,); beta (M, M); whether pairs merge; tracked masses (S,), the first of which is 0 for all;
            linear (M, S, 3): what a density adds to the tracked number, its diffusion and its linear reaction.
        functions: slots (F,), places among the tracked; kinds (F,); parameters; values (nodes, F, 2) of g and Lap g, or
            (0, F, 2) for evaluating them here.
        dimension: d.
        few: L.

    Returns:
        (planes, 4, F): int phi f, int d Lap phi f, the linear and the pairs' part of the reaction against phi;
        (planes, L, L): int f_n f_m.
    """
    places, kept = lines
    count, columns, scale = len(kept[0]), len(kept[2]), delta ** (-float(dimension))
    sums, products = np.zeros((count, 4, len(functions[0]))), np.zeros((count, few, few))
    most = np.max(starts[1:] - starts[:-1])
    for c in range(1, dimension):
        most *= int(2.0 * delta / grid[2][c]) + 2
    for block in numba.prange(min(BLOCKS, count)):
        nodes, kinds = len(kept[1]) * columns, len(system[0])
        head = np.full(nodes, -1, dtype=np.int32)
        lists = (
            np.empty(most, dtype=np.int32),
            np.empty(most, dtype=np.int32),
            np.empty(most),
            np.empty(min(most, nodes), dtype=np.int32),
        )
        work = (
            np.zeros(kinds),
            np.zeros(kinds),
            np.empty(kinds, dtype=np.int64),
            np.empty((len(system[3]), 4)),
            np.empty(3),
            np.empty(dimension),
        )
        geometry = grid[1], grid[2], kept
        for plane in range(block, count, BLOCKS):
            span = (starts[plane], starts[plane + 1])
            reached = _deposit(x, span, reach, grid, delta, table, places, columns, head, lists)
            found, local = np.zeros((4, len(functions[0]))), np.zeros((few, few))
            _add_up(plane, reached, mass, head, lists, work, geometry, cut, system, functions, scale, found, local)
            sums[plane], products[plane] = found, local
    return sums, products


@compiled
def node_entries(x, mass, starts, reach, grid, delta, table, lines, cut, system, dimension, few):
    """What there is of each mass at each node, and what its pairs make, for functions that are evaluated elsewhere.

    Args:
        x: (n, 3) positions.
        mass: (n,) places of the particles' masses among `masses`.
        starts: of `planes`.
        reach: particle and square of `planes`.
        grid: kind, low, edge and nodes of the Grid.
        delta: reach of the mollifier.
        table: eta_table.
        lines: places and kept of the Grid.
        cut: weight and share of the Grid.
        system: masses (M,); beta (M, M); whether pairs merge.
        dimension: d.
        few: L.

    Returns:
        (k, 7): place of the mass, node, its point, f and the rate at which pairs take from f, both times the volume;
        (l, 5): mass that pairs make, point, rate times volume;
        (L, L): int f_n f_m.
    """
    places, kept = lines
    masses, beta, merge = system
    weights, shares = cut
    columns, scale = len(kept[2]), delta ** (-float(dimension))
    nodes, varied = len(kept[1]) * columns, len(weights) > 1
    most = np.max(starts[1:] - starts[:-1])
    for c in range(1, dimension):
        most *= int(2.0 * delta / grid[2][c]) + 2
    head = np.full(nodes, -1, dtype=np.int32)
    touched = np.empty(min(most, nodes), dtype=np.int32)
    lists = (np.empty(most, dtype=np.int32), np.empty(most, dtype=np.int32), np.empty(most), touched)
    node_sum, node_square = np.zeros(len(masses)), np.zeros(len(masses))
    present, products = np.empty(len(masses), dtype=np.int64), np.zeros((few, few))
    found, made, count, gains = np.empty((64, 7)), np.empty((64, 5)), 0, 0
    for plane in range(len(kept[0])):
        span = (starts[plane], starts[plane + 1])
        for t in range(_deposit(x, span, reach, grid, delta, table, places, columns, head, lists)):
            node = touched[t]
            flat, entry = plane * nodes + node, head[node]
            weight, share = (weights[flat], shares[flat]) if varied else (weights[0], shares[0])
            head[node] = -1
            if weight == 0.0:
                continue
            factor = scale / share
            here, _ = _collect(entry, factor, lists[0], lists[1], lists[2], mass, node_sum, node_square, present)
            while count + here > len(found):
                found = np.concatenate((found, np.empty_like(found)))
            while gains + here * here > len(made):
                made = np.concatenate((made, np.empty_like(made)))
            point = (
                grid[1][0] + (kept[0][plane] + 0.5) * grid[2][0],
                grid[1][1] + (kept[1][node // columns] + 0.5) * grid[2][1],
                grid[1][2] + (kept[2][node % columns] + 0.5) * grid[2][2],
            )
            for p in range(here):
                a = present[p]
                found[count + p, 0], found[count + p, 1] = a, flat
                found[count + p, 2], found[count + p, 3], found[count + p, 4] = point
                found[count + p, 5], found[count + p, 6] = weight * node_sum[a], 0.0
            for p in range(here):
                for q in range(p + 1):
                    a, b = present[p], present[q]
                    n, m, pairs = masses[a], masses[b], weight * _pairs(node_sum, node_square, a, b)
                    if n <= few and m <= few:
                        products[n - 1, m - 1] += pairs
                        products[m - 1, n - 1] += pairs
                    rate = beta[a, b] * pairs
                    found[count + p, 6] += rate
                    found[count + q, 6] += rate
                    if merge and rate > 0.0:
                        made[gains, 0], made[gains, 4] = n + m, rate
                        made[gains, 1], made[gains, 2], made[gains, 3] = point
                        gains += 1
            for p in range(here):
                node_sum[present[p]] = node_square[present[p]] = 0.0
            count += here
    return found[:count], made[:gains], products
