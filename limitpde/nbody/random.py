"""Random numbers from counters: what is drawn depends only on (seed, stream, replica, particle, step).

Philox4x32-10 maps a 128-bit counter to 128 random bits; for each 64-bit key it is a bijection, so distinct counters
never give the same block. No state is carried, hence the order in which ranks and threads draw cannot matter. Packing:

    key      word 0: seed, low 32 bits     word 1: seed, high 32 bits
    counter  word 0: step, low 32 bits     word 1: particle
             word 2: replica               word 3: step, bits 32-39 | stream << 8

so (stream, replica, particle, step) -> counter is one-to-one for step < 2^40, particle < 2^32, replica < 2^32 and
stream < 2^24. The compiled functions trust their caller about these ranges.

What happens between two particles draws from counters of its own, and the replica goes into the key:

    key      seed + replica * GOLDEN mod 2^64, its low and its high 32 bits; GOLDEN is odd
    counter  word 0: first particle        word 1: second particle
             word 2: step                  word 3: draw | 2^31

For one seed, replica -> key is one-to-one, and so is (first, second, step, draw) -> counter for particle < 2^32, step <
2^32 and draw < 2^31. Bit 31 of word 3 sets these counters apart from those above, whose streams are below 2^23.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011).
"""

import math
from enum import IntEnum

import numpy as np
from numba import njit

from limitpde.errors import InputError
from limitpde.nbody.limits import REPLICA_LIMIT

SEED_LIMIT = 1 << 64

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15
_PAIR = 0x80000000  # word 3 of the counters of pairs
_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # multipliers of a round
_W0, _W1 = 0x9E3779B9, 0xBB67AE85  # what a round adds to the key
_S = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(1, 7))  # of the series of sin t / t in t^2, after 1
_C = tuple((-1) ** k / math.factorial(2 * k) for k in range(1, 7))  # of cos t


class Stream(IntEnum):
    """What a draw is for; draws of different streams are independent. The values shape the results: never renumber."""

    NOISE = 0  # Brownian increments
    INITIAL = 1  # initial positions and velocities
    CHARGE = 2  # signs or types of the particles
    EVENT = 3  # coagulations, batches and other choices during a run
    TEST = 4  # test functions, bootstrap and whatever else looks at a run without changing it
    BRIDGE = 5  # where a Brownian path is half way through a step, see `Controls.halved`


@njit(inline="always")
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Philox4x32-10: 128 random bits for one counter and key.

    Args:
        c0: Word 0 of the counter, uint64 below 2^32 (uint64 so that a product of two words is exact).
        c1: Word 1, likewise.
        c2: Word 2, likewise.
        c3: Word 3, likewise.
        k0: Word 0 of the key, uint64 below 2^32.
        k1: Word 1, likewise.

    Returns:
        Four uint64 below 2^32: the words of the block.
    """
    mask, shift = np.uint64(_MASK), np.uint64(32)
    for _ in range(10):
        p0 = np.uint64(_M0) * c0
        p1 = np.uint64(_M1) * c2
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & mask, (p0 >> shift) ^ c3 ^ k1, p0 & mask
        k0 = (k0 + np.uint64(_W0)) & mask
        k1 = (k1 + np.uint64(_W1)) & mask
    return c0, c1, c2, c3


@njit(inline="always")
def counter(stream, replica, particle, step):  # type: ignore[no-untyped-def]
    """The four words of the counter, packed as the module docstring says.

    Args:
        stream: Member of Stream, below 2^24.
        replica: Number of the replica in the whole experiment, below 2^32.
        particle: Number of the particle in its replica, below 2^32.
        step: Number of the step, or of the draw, below 2^40.

    Returns:
        Four uint64 below 2^32.
    """
    mask, shift = np.uint64(_MASK), np.uint64(32)
    s = np.uint64(step)
    return s & mask, np.uint64(particle), np.uint64(replica), (s >> shift) | (np.uint64(stream) << np.uint64(8))


@njit(inline="always")
def _block(seed, stream, replica, particle, step):  # type: ignore[no-untyped-def]
    """128 random bits, as four uint64 below 2^32; arguments as in `two_uniforms`."""
    c0, c1, c2, c3 = counter(stream, replica, particle, step)
    k = np.uint64(seed)
    return philox(c0, c1, c2, c3, k & np.uint64(_MASK), k >> np.uint64(32))


@njit(inline="always")
def _two_uniforms(r0, r1, r2, r3):  # type: ignore[no-untyped-def]
    """Two uniforms on (0, 1] from a block."""
    shift, low = np.uint64(32), np.uint64(11)
    u = (((r0 << shift) | r1) >> low) + np.uint64(1)
    v = (((r2 << shift) | r3) >> low) + np.uint64(1)
    return np.float64(u) * 2.0**-53, np.float64(v) * 2.0**-53


@njit(inline="always")
def two_uniforms(seed, stream, replica, particle, step):  # type: ignore[no-untyped-def]
    """Two independent uniforms on (0, 1], each a multiple of 2^-53.

    Args:
        seed: uint64 (pass np.uint64(seed): numba reads a plain int as signed).
        stream: Member of Stream.
        replica: Number of the replica in the whole experiment.
        particle: Number of the particle in its replica.
        step: Number of the step, or of the draw.

    Returns:
        Two float64.
    """
    r0, r1, r2, r3 = _block(seed, stream, replica, particle, step)
    return _two_uniforms(r0, r1, r2, r3)


@njit(inline="always")
def two_normals(seed, stream, replica, particle, step):  # type: ignore[no-untyped-def]
    """Two independent standard normals (Box-Muller; no larger than 8.6); arguments as in `two_uniforms`."""
    u, v = two_uniforms(seed, stream, replica, particle, step)
    radius = math.sqrt(-2.0 * math.log(u))
    angle = 2.0 * math.pi * v
    return radius * math.cos(angle), radius * math.sin(angle)


@njit(inline="always")
def _direction(bits):  # type: ignore[no-untyped-def]
    """Cosine and sine of one of 2^24 evenly spaced angles: a quarter turn by the highest two bits, the rest by series.

    The series end where they are good to 1e-13; they are much faster than the library's functions.
    """
    t = (np.float64(bits & np.uint64(0x3FFFFF)) + 0.5) * (math.pi * 2.0**-23) - math.pi / 4
    q = t * t
    s = t * (1.0 + q * (_S[0] + q * (_S[1] + q * (_S[2] + q * (_S[3] + q * (_S[4] + q * _S[5]))))))
    c = 1.0 + q * (_C[0] + q * (_C[1] + q * (_C[2] + q * (_C[3] + q * (_C[4] + q * _C[5])))))
    quarter = bits >> np.uint64(22)
    if quarter & np.uint64(1):
        c, s = -s, c
    return (-c, -s) if quarter & np.uint64(2) else (c, s)


@njit(inline="always")
def _four_normals(r0, r1, r2, r3):  # type: ignore[no-untyped-def]
    """Four standard normals from a block: radii from 40 bits (so none exceeds 7.5), directions from 24."""
    eight, low = np.uint64(8), np.uint64(0xFFFFFF)
    u = np.float64(((r0 << eight) | (r1 >> np.uint64(24))) + np.uint64(1)) * 2.0**-40
    v = np.float64(((r2 << eight) | (r3 >> np.uint64(24))) + np.uint64(1)) * 2.0**-40
    r, s = math.sqrt(-2.0 * math.log(u)), math.sqrt(-2.0 * math.log(v))
    a, b = _direction(r1 & low)
    c, d = _direction(r3 & low)
    return r * a, r * b, s * c, s * d


@njit(inline="always")
def four_normals(seed, stream, replica, particle, step):  # type: ignore[no-untyped-def]
    """Four independent standard normals from one block; arguments as in `two_uniforms`. None is beyond 7.5."""
    r0, r1, r2, r3 = _block(seed, stream, replica, particle, step)
    return _four_normals(r0, r1, r2, r3)


@njit(inline="always")
def pair_key(seed, replica):  # type: ignore[no-untyped-def]
    """The key of draws for pairs of particles, uint64; see the module docstring."""
    return np.uint64(seed) + np.uint64(replica) * np.uint64(_GOLDEN)


@njit(inline="always")
def pair_block(key, first, second, step, draw):  # type: ignore[no-untyped-def]
    """128 random bits for a pair of particles, as four uint64 below 2^32; see the module docstring.

    Args:
        key: from `pair_key`.
        first: Number of a particle in its replica, below 2^32.
        second: Number of another one; (first, second) and (second, first) are different.
        step: Number of the step, below 2^32.
        draw: Number of the draw, below 2^31.
    """
    k, d = np.uint64(key), np.uint64(draw) | np.uint64(_PAIR)
    return philox(np.uint64(first), np.uint64(second), np.uint64(step), d, k & np.uint64(_MASK), k >> np.uint64(32))


@njit(inline="always")
def pair_uniforms(key, first, second, step, draw):  # type: ignore[no-untyped-def]
    """Two independent uniforms on (0, 1] for a pair; arguments as in `pair_block`."""
    r0, r1, r2, r3 = pair_block(key, first, second, step, draw)
    return _two_uniforms(r0, r1, r2, r3)


@njit(inline="always")
def pair_normals(key, first, second, step, draw):  # type: ignore[no-untyped-def]
    """Four independent standard normals for a pair; arguments as in `pair_block`. None is beyond 7.5."""
    r0, r1, r2, r3 = pair_block(key, first, second, step, draw)
    return _four_normals(r0, r1, r2, r3)


def generator(seed: int, stream: Stream, replica: int = 0) -> np.random.Generator:
    """A numpy generator of its own for each (seed, stream, replica), for vectorised draws before a run.

    It is numpy's Philox4x64-10 with the 128-bit key (seed, stream << 32 | replica), which is one-to-one.

    Args:
        seed: 0 <= seed < 2^64.
        stream: What the draws are for.
        replica: Number of the replica in the whole experiment, 0 <= replica < 2^32.

    Returns:
        The generator, at its start.

    Raises:
        InputError: seed or replica out of range.
    """
    check_seed(seed)
    if not 0 <= replica < REPLICA_LIMIT:
        raise InputError(f"replica = {replica}: 0 <= replica < 2^32 is needed")
    return np.random.Generator(np.random.Philox(key=int(seed) | (int(stream) << 32 | int(replica)) << 64))


def check_seed(seed: int) -> np.uint64:
    """The seed as the compiled functions take it.

    Raises:
        InputError: it is not in 0 <= seed < 2^64.
    """
    if not 0 <= seed < SEED_LIMIT:
        raise InputError(f"seed = {seed}: 0 <= seed < 2^64 is needed")
    return np.uint64(seed)
