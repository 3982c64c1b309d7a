"""exp as a polynomial: loops over it become vector instructions, those over the C library's exp do not."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
"""ln 2 in two parts; the first has 32 zero bits at its end, so that its product with a small integer is exact."""
FARTHEST = 708.0
"""exp(-s) is taken as exp(-FARTHEST), 3e-308, from here on."""


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
