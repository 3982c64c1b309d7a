"""Random numbers from counters, pair sums, threads.

The load is carried by the known answers of Random123 (the generator is the published one), the inverse of the packing
(no two draws share a counter), the plain N^2 sum in numpy (an independent implementation) and bitwise equality over
threads and splits.
"""

import math

import numba
import numpy as np
import pytest
from mpi4py import MPI
from numba import njit, prange
from scipy import stats
from scipy.spatial.distance import pdist

from limitpde.errors import InputError
from limitpde.nbody import threads
from limitpde.nbody.pairs import FLOOR, closest_equal_signs, pair_interactions, pair_sum
from limitpde.nbody.random import Stream, counter, generator, philox, two_normals, two_uniforms

ODD = [1, 2, 3, 5, 17, 63, 64, 1023]


@njit
def _philox(words):
    return philox(words[0], words[1], words[2], words[3], words[4], words[5])


@njit
def _counter(stream, replica, particle, step):
    return counter(stream, replica, particle, step)


@njit(parallel=True)
def _normals(seed, stream, replica, n, step):
    out = np.empty((n, 2))
    for i in prange(n):
        out[i] = two_normals(seed, stream, replica, i, step)
    return out


@njit
def _uniforms(seed, n):
    out = np.empty((n, 2))
    for i in range(n):
        out[i] = two_uniforms(seed, 0, 0, i, 0)
    return out


@pytest.mark.parametrize(
    ("words", "block"),
    [
        ("00000000 00000000 00000000 00000000 00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers_of_random123(words, block):
    out = _philox(np.array([int(w, 16) for w in words.split()], dtype=np.uint64))
    assert " ".join(f"{int(w):08x}" for w in out) == block


def test_packing_can_be_undone():
    top = {"stream": 2**24 - 1, "replica": 2**32 - 1, "particle": 2**32 - 1, "step": 2**40 - 1}
    rng = np.random.default_rng(0)
    draws = [dict.fromkeys(top, 0), top] + [{**dict.fromkeys(top, 0), k: v} for k, v in top.items()]
    draws += [{k: int(rng.integers(v + 1)) for k, v in top.items()} for _ in range(200)]
    for d in draws:
        c = [int(w) for w in _counter(d["stream"], d["replica"], d["particle"], d["step"])]
        assert max(c) < 2**32
        back = {"stream": c[3] >> 8, "replica": c[2], "particle": c[1], "step": c[0] | (c[3] & 255) << 32}
        assert back == d


def test_streams_have_distinct_small_numbers():
    assert len({int(s) for s in Stream}) == len(Stream.__members__)
    assert all(0 <= s < 2**24 for s in Stream)


def test_uniforms_are_in_the_half_open_interval_and_uniform():
    u = _uniforms(np.uint64(2**64 - 1), 50_000)
    assert u.min() > 0.0
    assert u.max() <= 1.0
    assert min(stats.kstest(u[:, k], "uniform").pvalue for k in (0, 1)) > 1e-3
    np.testing.assert_array_equal(u * 2.0**53, np.round(u * 2.0**53))


def test_normals_are_normal_and_independent():
    n = 50_000
    z = _normals(np.uint64(7), Stream.NOISE, 3, n, 11)
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(np.hypot(*z.T), "rayleigh").pvalue > 1e-3
    others = [
        _normals(np.uint64(8), Stream.NOISE, 3, n, 11),
        _normals(np.uint64(7), Stream.INITIAL, 3, n, 11),
        _normals(np.uint64(7), Stream.NOISE, 4, n, 11),
        _normals(np.uint64(7), Stream.NOISE, 3, n, 12),
        _normals(np.uint64(7), Stream.NOISE, 3, n, 11 + 2**32),
        _normals(np.uint64(7 + 2**32), Stream.NOISE, 3, n, 11),
        np.roll(z, 1, axis=0),
    ]
    columns = np.column_stack([z, *others])
    assert np.unique(columns[:, :-2]).size == n * (columns.shape[1] - 2)
    correlation = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    squares = np.corrcoef(columns.T**2) - np.eye(columns.shape[1])
    assert max(abs(correlation).max(), abs(squares).max()) < 5.0 / math.sqrt(n)


def test_draws_do_not_depend_on_the_number_of_threads():
    before = numba.get_num_threads()
    try:
        out = []
        for k in (1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(k)
            out.append(_normals(np.uint64(1), 0, 0, 1000, 0))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(*out)


def test_generator_is_reproducible_and_its_own_for_each_key():
    keys = [
        (s, t, r) for s in (0, 1, 2**63, 2**64 - 1) for t in (Stream.NOISE, Stream.INITIAL) for r in (0, 1, 2**32 - 1)
    ]
    first = [generator(*k).random() for k in keys]
    assert first == [generator(*k).random() for k in keys]
    assert len(set(first)) == len(keys)


@pytest.mark.parametrize(("seed", "replica"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**32)])
def test_generator_refuses_what_would_collide(seed, replica):
    with pytest.raises(InputError, match="is needed"):
        generator(seed, Stream.INITIAL, replica)


def _plasma(R, N, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, R, N))
    return x, y, np.where(rng.random(N) < 0.5, 1.0, -1.0)


def _forces(x, y, b, eps=0.05, kernel="capped"):
    fx, fy = np.full_like(x, np.nan), np.full_like(y, np.nan)
    pair_sum(x, y, b, fx, fy, eps=eps, kernel=kernel)
    return np.stack([fx, fy])


def _plain(x, y, b, eps, kernel):
    """The N^2 sum as the formula reads, and the sum of the moduli of its terms (the scale of rounding)."""
    d = np.stack([x[:, :, None] - x[:, None, :], y[:, :, None] - y[:, None, :]])
    square = (d * d).sum(0)
    r = np.maximum(square, eps * eps) if kernel == "capped" else square + eps * eps
    terms = b[:, None] * b / r * d
    return terms.sum(3), abs(terms).sum(3).max(axis=(0, 2))


@pytest.mark.parametrize("kernel", ["capped", "regularised"])
@pytest.mark.parametrize("N", ODD)
def test_pair_sum_is_the_plain_sum(N, kernel):
    x, y, b = _plasma(2, N)
    F, scale = _plain(x, y, b, 0.05, kernel)
    error = abs(_forces(x, y, b, 0.05, kernel) - F).max(axis=(0, 2))
    assert (error <= 1e-13 * scale).all()


def test_pair_sum_takes_general_charges_and_many_blocks():
    x, y, _ = _plasma(1, 2600)
    b = np.random.default_rng(5).normal(size=2600)
    F, scale = _plain(x, y, b, 0.01, "capped")
    assert abs(_forces(x, y, b, 0.01) - F).max() <= 1e-13 * scale.max()


@pytest.mark.parametrize("kernel", ["capped", "regularised"])
def test_total_force_vanishes(kernel):
    x, y, b = _plasma(3, 1023)
    total = _forces(x, y, b, 1e-3, kernel).sum(2)
    assert (abs(total) <= 1e-13 * _plain(x, y, b, 1e-3, kernel)[1] * math.sqrt(1023)).all()


@pytest.mark.parametrize("eps", [0.0, 1e-12, 0.1])
@pytest.mark.parametrize("kernel", ["capped", "regularised"])
def test_coincident_particles_exert_nothing_on_each_other(kernel, eps):
    x, y = np.full((2, 1, 70), 0.3)
    np.testing.assert_array_equal(_forces(x, y, np.ones(70), eps, kernel), 0.0)


@pytest.mark.parametrize("kernel", ["capped", "regularised"])
@pytest.mark.parametrize("distance", [1e-29, 1e-20, 1e-8, 1.0, 1e6, 1e30, 1e70])
def test_two_particles_at_extreme_distances(distance, kernel):
    near, far = np.zeros((1, 2)), np.array([[0.0, distance]])
    F = _forces(far, near, np.ones(2), 0.0, kernel)
    np.testing.assert_allclose(F[0, 0] * distance, [-1.0, 1.0], rtol=1e-15)
    np.testing.assert_array_equal(F[1], 0.0)


@pytest.mark.parametrize("kernel", ["capped", "regularised"])
def test_all_scales_at_once(kernel):
    distances = np.array([0.0, 0.0, *10.0 ** np.arange(-29, 7)])
    rng = np.random.default_rng(2)
    for order in (np.arange(len(distances)), rng.permutation(len(distances))):
        x = distances[None, order]
        F = _forces(x, np.zeros_like(x), np.ones(len(distances)), 0.0, kernel)
        d = x[0][:, None] - x[0]
        terms = np.divide(1.0, d, out=np.zeros_like(d), where=d != 0)
        assert (abs(F[0, 0] - terms.sum(1)) <= 1e-13 * abs(terms).sum(1)).all()


def test_cap_and_regularisation_below_the_floor_are_finite():
    x = np.array([[0.0, 1e-200, 1e-40]])
    for kernel in ("capped", "regularised"):
        F = _forces(x, np.zeros_like(x), np.ones(3), 0.0, kernel)
        assert np.isfinite(F).all()
        np.testing.assert_allclose(F[0, 0, 2], 2e-40 / FLOOR**2, rtol=1e-15)


def test_not_a_number_stays_one():
    x, y, b = _plasma(2, 40)
    x[1, 7] = np.nan
    F = _forces(x, y, b)
    assert np.isfinite(F[:, 0]).all()
    assert np.isnan(F[0, 1]).all()


@pytest.mark.parametrize(("R", "N"), [(7, 65), (3, 1023), (1, 2600)])
def test_forces_are_bitwise_the_same_for_any_threads_and_split(R, N):
    x, y, b = _plasma(R, N)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = _forces(x, y, b)
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        two = _forces(x, y, b)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(two, one)
    for cut in range(1, R):
        split = np.concatenate([_forces(x[:cut], y[:cut], b), _forces(x[cut:], y[cut:], b)], axis=1)
        np.testing.assert_array_equal(split, one)


@pytest.mark.parametrize("N", [*ODD, 1500])
def test_closest_equal_signs(N):
    x, y, b = _plasma(3, N)
    for charges in (b, np.ones(N)):
        expected = [
            min([pdist(np.column_stack([x[r], y[r]])[charges == s]).min(initial=np.inf) for s in (-1, 1)])
            for r in range(3)
        ]
        np.testing.assert_allclose(closest_equal_signs(x, y, charges), expected, rtol=1e-15)


def test_opposite_signs_are_never_closest():
    x = np.array([[0.0, 1e-3, 1.0]])
    np.testing.assert_array_equal(closest_equal_signs(x, 0 * x, np.array([1.0, -1.0, 1.0])), [1.0])
    np.testing.assert_array_equal(
        closest_equal_signs(x[:, :2].copy(), np.zeros((1, 2)), np.array([1.0, -1.0])), [np.inf]
    )


def test_nothing_to_do():
    for shape in ((0, 5), (3, 0)):
        z = np.zeros(shape)
        assert _forces(z, z, np.ones(shape[1])).shape == (2, *shape)
        np.testing.assert_array_equal(closest_equal_signs(z, z, np.ones(shape[1])), np.full(shape[0], np.inf))
    assert pair_interactions(3, 5) == 75


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": "newton"},
        {"eps": -1.0},
        {"eps": math.nan},
        {"b": np.ones(5)},
        {"b": np.ones(4, dtype=int)},
        {"x": np.zeros((2, 4), dtype=np.float32)},
        {"y": np.zeros((4, 2)).T},
        {"fx": np.zeros((2, 5))},
    ],
)
def test_wrong_arguments_are_named(change):
    arguments = {name: np.zeros((2, 4)) for name in ("x", "y", "fx", "fy")}
    with pytest.raises(InputError, match=f"^{next(iter(change))}\\b.* needed"):
        pair_sum(**{**arguments, "b": np.ones(4), "eps": 0.1, "kernel": "capped", **change})


@pytest.mark.ranks
def test_use_threads_follows_the_environment(monkeypatch):
    before = numba.get_num_threads()
    try:
        monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        share = threads.use_threads(MPI.COMM_WORLD)
        assert 1 <= share == numba.get_num_threads() <= numba.config.NUMBA_NUM_THREADS
        monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
        assert threads.use_threads(MPI.COMM_WORLD) == numba.get_num_threads() == 1
        monkeypatch.setenv("OMP_NUM_THREADS", "many")
        with pytest.raises(InputError, match="OMP_NUM_THREADS"):
            threads.use_threads(MPI.COMM_WORLD)
    finally:
        numba.set_num_threads(before)
