"""exp and sin as polynomials: loops over them become vector instructions, those over the C library's do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
"""ln 2 in two parts; the first has 32 zero bits at its end, so that its product with a small integer is exact."""
FARTHEST = 700.0
"""exp(-s) is taken as exp(-FARTHEST), 1e-304, from here on: subnormal numbers would be slow."""
PI_HIGH, PI_LOW = 3.1415926218032837, 3.178650954705639e-08
"""pi in two parts; the first has 27 zero bits at its end, so that its product with a small integer is exact."""


@intrinsic
def _bits_to_float(typing: Any, bits: Any) -> Any:
    """The double with these 64 bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), generate


@njit(fastmath={"contract"}, error_model="numpy")
def exp_minus(s):  # type: ignore[no-untyped-def]
    """exp(-s) for s >= 0, relative error below 1e-15: 2^-n exp(r), |r| <= ln(2) / 2, exp(r) by Taylor to degree 12.

    Compiled without `reassoc`: the steps that split s must not be re-associated.
    """
    s = s if s < FARTHEST else FARTHEST
    n = int(s * LOG2_E + 0.5)
    r = (n * LN2_HIGH - s) + n * LN2_LOW
    p = 1.0 + r / 12
    p = 1.0 + r / 11 * p
    p = 1.0 + r * 0.1 * p
    p = 1.0 + r * (1 / 9) * p
    p = 1.0 + r * 0.125 * p
    p = 1.0 + r * (1 / 7) * p
    p = 1.0 + r * (1 / 6) * p
    p = 1.0 + r * 0.2 * p
    p = 1.0 + r * 0.25 * p
    p = 1.0 + r * (1 / 3) * p
    p = 1.0 + r * 0.5 * p
    p = 1.0 + r * p
    return p * _bits_to_float((1023 - n) << 52)


@njit(fastmath={"contract"}, error_model="numpy")
def sine(t):  # type: ignore[no-untyped-def]
    """sin t: (-1)^n sin r, t = n pi + r, |r| <= pi / 2, by Taylor to degree 21; absolute error 4e-16 + 2e-16 |t|.

    Compiled without `reassoc`: the steps that split t must not be re-associated.
    """
    n = np.floor(t * (1 / math.pi) + 0.5)
    r = (t - n * PI_HIGH) - n * PI_LOW
    q = r * r
    p = 1.0 - q * (1 / 420)
    p = 1.0 - q * (1 / 342) * p
    p = 1.0 - q * (1 / 272) * p
    p = 1.0 - q * (1 / 210) * p
    p = 1.0 - q * (1 / 156) * p
    p = 1.0 - q * (1 / 110) * p
    p = 1.0 - q * (1 / 72) * p
    p = 1.0 - q * (1 / 42) * p
    p = 1.0 - q * 0.05 * p
    p = 1.0 - q * (1 / 6) * p
    odd = n - 2.0 * np.floor(0.5 * n)
    return r * p * (1.0 - 2.0 * odd)


@njit(fastmath={"contract"}, error_model="numpy")
def mean_turn(h):  # type: ignore[no-untyped-def]
    """sin(h) / h, the mean of cos over [-h, h]."""
    return 1.0 - h * h / 6 if abs(h) < 1e-4 else sine(h) / h
