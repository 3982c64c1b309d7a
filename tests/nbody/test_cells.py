"""Cell lists against all pairs, and the random numbers of pairs of particles.

The load is carried by the plain list of pairs (an independent implementation), for tori and folded clouds of any shape.
"""

import math

import numpy as np
import pytest
from numba import njit
from scipy import stats

from limitpde.nbody.cells import (
    FEWEST_IN_ALL,
    PER_PARTICLE,
    STRETCHES,
    corners,
    make_grid,
    neighbours_ahead,
    sort_into_cells,
)
from limitpde.nbody.random import counter, four_normals, pair_block, pair_key, pair_normals, pair_uniforms


@njit
def _pairs(x, n, low, size, torus, flat, reach):
    """Pairs within the reach, as the cells give them, with squared distances, how many shared a cell, and the cells."""
    grid = make_grid(corners(x, n, flat), n, low, size, torus, flat, reach)
    slot, start = np.empty(n, dtype=np.int64), np.empty(np.prod(grid.cells) + 1, dtype=np.int64)
    shared = sort_into_cells(x, n, grid, slot, start)
    order = np.empty(n, dtype=np.int64)
    for i in range(n):
        order[slot[i]] = i
    first, last = np.empty(STRETCHES, dtype=np.int64), np.empty(STRETCHES, dtype=np.int64)
    shift = np.empty((STRETCHES, 3))
    found = [(0, 0, 0.0) for _ in range(0)]
    for cell in range(len(start) - 1):
        stretches = neighbours_ahead(cell, grid, start, first, last, shift)
        for p in range(start[cell], start[cell + 1]):
            for k in range(-1, stretches):
                low_, high_ = (p + 1, start[cell + 1]) if k < 0 else (first[k], last[k])
                for q in range(low_, high_):
                    i, j = order[p], order[q]
                    r = x[j] - x[i]
                    if k >= 0:
                        r = r + shift[k]
                    if (r * r).sum() <= reach**2:
                        found.append((min(i, j), max(i, j), (r * r).sum()))
    return found, shared, grid.cells


def _plain(x, size, torus, reach):
    r = x[:, None] - x[None]
    if torus:
        period = np.where(size > 0, size, np.inf)
        r = r - np.where(size > 0, size, 0.0) * np.round(r / period)
    square = (r**2).sum(axis=2)
    i, j = np.nonzero(np.triu(square <= reach**2, 1))
    return {(int(a), int(b)): square[a, b] for a, b in zip(i, j, strict=True)}


def _points(rng, n, flat, kind):
    x = rng.random((n, 3)) * [1.0, 1.7, 2.6]
    if kind == "cloud":
        x = rng.standard_normal((n, 3)) * [0.3, 5.0, 1.0]
    if kind == "clusters":
        x = 0.05 * rng.standard_normal((n, 3)) + 1e3 * rng.integers(-3, 4, (n, 3))
    if kind == "outlier":
        x[0] = [1e9, -1e12, 1e-3]
    if flat:
        x[:, 2] = 0.0
    return x


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("kind", ["torus", "cloud", "clusters", "outlier", "uniform"])
@pytest.mark.parametrize("n", [1, 2, 40, 700])
def test_every_near_pair_is_met_once_and_no_other(kind, flat, n):
    rng = np.random.default_rng(n)
    x, torus = _points(rng, n, flat, kind), kind == "torus"
    low, size = np.zeros(3), np.array([1.0, 1.7, 0.0 if flat else 2.6])
    for reach in (0.33, 0.1, 0.004):
        found, _, cells = _pairs(x, n, low, size, torus, flat, reach)
        expected = _plain(x, size, torus, reach)
        assert len(found) == len(expected)
        assert {pair[:2] for pair in found} == set(expected)
        for i, j, square in found:
            assert square == pytest.approx(expected[i, j], rel=1e-6, abs=1e-13)
        assert np.prod(cells) <= max(FEWEST_IN_ALL, PER_PARTICLE * n)
        assert (cells[2] == 1) == flat


def test_sorting_keeps_the_order_within_a_cell_and_counts_companions():
    x = np.random.default_rng(0).random((500, 3))
    grid = make_grid(corners(x, 500, False), 500, np.zeros(3), np.ones(3), True, False, 0.1999)
    slot, start = np.empty(500, dtype=np.int64), np.empty(126, dtype=np.int64)
    shared = sort_into_cells(x, 500, grid, slot, start)
    cell = (np.floor(x * 5).astype(int) * [1, 5, 25]).sum(axis=1)
    np.testing.assert_array_equal(np.argsort(slot), np.argsort(cell, kind="stable"))
    number = np.bincount(cell, minlength=125)
    np.testing.assert_array_equal(np.diff(start), number)
    assert shared == (number * (number - 1)).sum()


# Random numbers of pairs


@njit
def _blocks(key, firsts, seconds, steps, draws):
    out = np.empty((len(firsts), 4), dtype=np.uint64)
    for k in range(len(firsts)):
        out[k] = pair_block(key, firsts[k], seconds[k], steps[k], draws[k])
    return out


@njit
def _key(seed, replica):
    return pair_key(seed, replica)


@njit
def _plain_counter(stream, replica, particle, step):
    return counter(stream, replica, particle, step)


@njit
def _draws(n):
    uniform, normal, other = np.empty((n, 2)), np.empty((n, 4)), np.empty((n, 4))
    for k in range(n):
        uniform[k] = pair_uniforms(np.uint64(3), 5, 7, k, 1)
        normal[k] = pair_normals(np.uint64(3), 5, 7, k, 2)
        other[k] = four_normals(np.uint64(3), 0, 1, k, 2)
    return uniform, normal, other


def test_pairs_have_draws_of_their_own():
    rng = np.random.default_rng(1)
    n = 2000
    ids = rng.integers(0, 2**32, (2, n), dtype=np.uint64)
    steps, draws = rng.integers(0, 2**32, n, dtype=np.uint64), rng.integers(0, 2**31, n, dtype=np.uint64)
    plain = _blocks(np.uint64(9), *ids, steps, draws)
    assert len(np.unique(plain[:, 0] << np.uint64(32) | plain[:, 1])) == n
    for changed in (
        (np.uint64(10), *ids, steps, draws),
        (np.uint64(9), *ids[::-1], steps, draws),
        (np.uint64(9), *ids, steps ^ np.uint64(1), draws),
        (np.uint64(9), *ids, steps, draws ^ np.uint64(1 << 30)),
    ):
        assert not (_blocks(*changed) == plain).all(axis=1).any()
    keys = {int(_key(np.uint64(5), replica)) for replica in range(5000)}
    assert len(keys) == 5000
    for stream in range(5):  # no plain counter has the bit that marks the pairs
        assert int(_plain_counter(stream, 2**32 - 1, 2**32 - 1, 2**40 - 1)[3]) < 2**31


def test_draws_of_pairs_are_uniform_and_normal():
    n = 40_000
    uniform, normal, other = _draws(n)
    assert uniform.min() > 0
    assert uniform.max() <= 1
    for sample in uniform.T:
        assert stats.kstest(sample, "uniform").pvalue > 1e-3
    for z in (normal, other):
        for sample in z.T:
            assert stats.kstest(sample, "norm").pvalue > 1e-3
        for a, b in ((0, 1), (2, 3)):
            assert stats.kstest(np.hypot(z[:, a], z[:, b]), "rayleigh").pvalue > 1e-3
            assert stats.kstest(np.arctan2(z[:, a], z[:, b]) / (2 * math.pi) + 0.5, "uniform").pvalue > 1e-3
    columns = np.column_stack([uniform, normal, other])
    for powers in (columns, columns**2):
        correlation = np.corrcoef(powers.T) - np.eye(10)
        assert abs(correlation).max() < 5 / math.sqrt(n)
