"""What one pair of particles does over one step: by the package, by independent means, and exactly.

Distances are in units of the pair's range l, times in units of l^2 / D.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import scipy.special
from numba import njit

from limitpde.coagulation.simulator.bridge import CANDIDATES, FIELDS, bisect, stack_size
from limitpde.coagulation.simulator.potential import value
from limitpde.nbody.random import pair_key


@njit
def _bridges(V, flat, scale, rate, a, b, pairs, seed):
    """Reactions, their summed times, summed p, and summed (accepted - p)^2, of bridges from a to b in units of l."""
    unit = math.sqrt(scale)
    x, y = (a[0] / unit, a[1] / unit, a[2] / unit), (b[0] / unit, b[1] / unit, b[2] / unit)
    log_rate = math.log(CANDIDATES * rate * scale)
    stack, records = np.empty((stack_size(log_rate), 8)), np.empty((1000, FIELDS))
    out = np.zeros(4)
    for k in range(pairs):
        pair = (pair_key(seed, 0), k, k + 1, 0)
        count = bisect(V, flat, -math.log(unit), log_rate, x, y, False, pair, 0, stack, records, 0, 0, 0)
        for c in range(count):
            out[0] += records[c, 2]
            out[1] += records[c, 2] * records[c, 0]
            out[2] += records[c, 1]
            out[3] += (records[c, 2] - records[c, 1]) ** 2
    return out


def bridges(V, dimension, alpha, time, a, b, pairs, seed=1):
    """Chance of a reaction and its standard error, mean p, and mean (accepted - p)^2, of bridges from a to b."""
    rate = alpha * V.highest
    a, b = (tuple(map(float, np.pad(point, (0, 3 - len(point))))) for point in (a, b))
    hits, _, chance, square = _bridges(V, dimension == 2, time, rate, a, b, pairs, np.uint64(seed)) / pairs
    return hits, math.sqrt(max(hits * (1 - hits), 1 / pairs) / pairs), chance, square


@njit
def _walks(V, flat, alpha, start, time, cuts, pairs, seed, rng):
    """Share of pairs that started at a distance and reacted before a time, in steps cut at random."""
    records, hits = np.empty((1000, FIELDS)), 0
    for k in range(pairs):
        x, y, z = start, 0.0, 0.0
        for step in range(cuts):
            dt = time / cuts
            spread, unit = math.sqrt(2 * dt), math.sqrt(dt)
            b = (
                x + spread * rng.standard_normal(),
                y + spread * rng.standard_normal(),
                z + spread * rng.standard_normal(),
            )
            if flat:
                b = (b[0], b[1], 0.0)
            log_rate = math.log(CANDIDATES * alpha * V.highest * dt)
            stack = np.empty((stack_size(log_rate), 8))
            count = bisect(
                V, flat, -math.log(unit), log_rate, (x / unit, y / unit, z / unit),
                (b[0] / unit, b[1] / unit, b[2] / unit), False, (pair_key(seed, 1), k, k + 1, step), 0,
                stack, records, 0, 0, 0,
            )  # fmt: skip
            if count > 0 and records[count - 1, 2] > 0:
                hits += 1
                break
            x, y, z = b
    return hits / pairs


def walks(V, dimension, alpha, start, time, cuts, pairs, seed=1):
    """Share of pairs that react before a time, and its standard error."""
    share = _walks(V, dimension == 2, alpha, start, time, cuts, pairs, np.uint64(seed), np.random.default_rng(seed))
    return share, math.sqrt(max(share * (1 - share), 1 / pairs) / pairs)


def reaction_chance(profile, reach, dimension, alpha, start, time, cells=1500):
    """Chance that a pair at a distance has reacted before a time: d_t S = Lap S - alpha V S, by finite volumes in r.

    Second order in space and in time (a damped start), to about 1e-4.
    """
    far = max(reach, start) + 7 * math.sqrt(2 * time)
    edge = np.concatenate(
        [np.linspace(0, 1.5 * reach, cells // 2, endpoint=False), np.linspace(1.5, far / reach, cells) * reach]
    )
    middle = (edge[1:] + edge[:-1]) / 2
    volume = np.diff(edge**dimension) / dimension
    flow = edge[1:-1] ** (dimension - 1) / np.diff(middle)
    inside = middle[edge[1:] <= reach * (1 + 1e-12)]
    V = np.zeros(len(middle))
    V[: len(inside)] = profile(inside)
    main = np.zeros(len(middle))
    main[:-1] -= flow
    main[1:] -= flow
    matrix = scipy.sparse.diags([flow, main, flow], [-1, 0, 1]).multiply((1 / volume)[:, None])
    matrix = (matrix - scipy.sparse.diags(alpha * V)).tocsc()
    steps, S = 400, np.ones(len(middle))
    one = scipy.sparse.identity(len(middle), format="csc")
    times = np.linspace(0, 1, steps + 1) ** 2 * time
    for k, dt in enumerate(np.diff(times)):
        if k < 4:
            S = scipy.sparse.linalg.spsolve(one - dt * matrix, S)
        else:
            S = scipy.sparse.linalg.spsolve(one - dt / 2 * matrix, S + dt / 2 * (matrix @ S))
    return 1 - float(np.interp(start, middle, S))


@njit
def _fine(V, flat, alpha, time, a, b, steps, pairs, rng):
    """Share of bridges that react, from many short steps along each, with the hazard at their middles."""
    total, dt = 0.0, time / steps
    for _ in range(pairs):
        x, y, z = a
        hazard = 0.0
        for k in range(steps):
            share, left = 1.0 / (steps - k), (steps - k - 1.0) / (steps - k)
            spread = math.sqrt(2 * dt * left)
            u = x + share * (b[0] - x) + spread * rng.standard_normal()
            v = y + share * (b[1] - y) + spread * rng.standard_normal()
            w = 0.0 if flat else z + share * (b[2] - z) + spread * rng.standard_normal()
            hazard += 0.5 * dt * alpha * (value(V, x, y, z) + value(V, u, v, w))
            x, y, z = u, v, w
        total += 1 - math.exp(-hazard)
    return total / pairs


def fine_bridges(V, dimension, alpha, time, a, b, steps, pairs, seed=1):
    """Chance that a bridge from a to b reacts, by many short steps: independent, good to the length of the steps."""
    a, b = (tuple(map(float, np.pad(point, (0, 3 - len(point))))) for point in (a, b))
    return _fine(V, dimension == 2, alpha, time, a, b, steps, pairs, np.random.default_rng(seed))


def over_all_ends(chance, x, time, dimension, nodes=200):
    """Mean of chance(|x|, |y|, x.y) over the end y of a free path from distance x, by Gauss's rule."""
    t, weights = np.polynomial.legendre.leggauss(nodes)
    low, high = max(0.0, x - 9 * math.sqrt(2 * time)), x + 9 * math.sqrt(2 * time)
    r, wr = (low + high) / 2 + (high - low) / 2 * t, (high - low) / 2 * weights
    # the angle, squeezed towards 0 or pi alike: y may lie on either side
    angle, wa = math.pi / 2 * (t + 1), math.pi / 2 * weights
    area = 2 * math.pi * np.sin(angle) if dimension == 3 else np.full(nodes, 2.0)
    total = 0.0
    for distance, weight in zip(r, wr, strict=True):
        square = (distance - x) ** 2 + 2 * x * distance * (1 - np.cos(angle))
        density = np.exp(-square / (4 * time)) / (4 * math.pi * time) ** (dimension / 2)
        values = np.array([chance(x, distance, x * distance * math.cos(phi)) for phi in angle])
        total += weight * distance ** (dimension - 1) * float((wa * area * density * values).sum())
    return total


def disk_capture(x, log_radius, time):
    """Chance that Brownian motion (generator Lap) from x meets a small disk before a time, by Talbot's rule."""
    M, total = 32, 0.0
    level = math.log(2) - np.euler_gamma - log_radius
    for k in range(M):
        theta = (k + 0.5) * math.pi / M
        cot = 1 / math.tan(theta)
        s = 2 * M / (5 * time) * theta * (cot + 1j)
        slope = 2 * M / (5 * time) * (1j + cot - theta * (1 + cot * cot))
        root = np.sqrt(s)
        image = scipy.special.kv(0, root * x) / (level - np.log(root)) / s
        total += (np.exp(s * time) * image * slope).imag / M
    return float(total)
