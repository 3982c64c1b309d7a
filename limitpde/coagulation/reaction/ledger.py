"""The mass at the nodes in twice the working precision, so that rounding of one step does not add up over many.

A step keeps mass + lost up to some 1e-16. Near an equilibrium every step makes the same error, and 1e5 steps would
make 1e-11. So the exact defect of each step is added to one density, the largest in which it is a hundred units of the
last place, a relative change of about 1e-14. A defect above LARGEST is none of rounding: it is left for all to see.
"""

import numpy as np
from numba import prange

from limitpde.compiled import compiled

LARGEST = 1e-12  # defect, relative to the mass at the node, that may come from rounding
_SPLITTER = 134217729.0  # 2^27 + 1, of Veltkamp's splitting


@compiled(error_model="numpy")
def _two_sum(a, b):  # type: ignore[no-untyped-def]
    """a + b and its rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@compiled(error_model="numpy")
def _two_product(a, b):  # type: ignore[no-untyped-def]
    """a b and its rounding error (Dekker)."""
    product = a * b
    c, d = _SPLITTER * a, _SPLITTER * b
    a_high, b_high = c - (c - a), d - (d - b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@compiled(error_model="numpy")
def _mass(f, masses):  # type: ignore[no-untyped-def]
    high = low = 0.0
    for n in range(f.size):
        product, error = _two_product(masses[n], f[n])
        high, rest = _two_sum(high, product)
        low += rest + error
    return high, low


@compiled(parallel=True, error_model="numpy")
def masses_at(f, masses):  # type: ignore[no-untyped-def]
    """sum_n masses_n f[p, n] as a sum of two doubles, (P, 2). Threaded."""
    found = np.empty((len(f), 2))
    for p in prange(len(f)):
        found[p, 0], found[p, 1] = _mass(f[p], masses)
    return found


@compiled(parallel=True, error_model="numpy")
def settle(f, masses, before, lost):  # type: ignore[no-untyped-def]
    """Makes mass + lost equal to `before` (P, 2) at every node, but for defects above LARGEST. Threaded."""
    for p in prange(len(f)):
        high, low = _mass(f[p], masses)
        difference, first = _two_sum(before[p, 0], -high)
        difference, second = _two_sum(difference, -lost[p])
        defect = difference + (first + second + before[p, 1] - low)
        size, best, largest = abs(defect), -1, 0.0
        if size > LARGEST * before[p, 0]:
            continue
        for n in range(masses.size):
            g = masses[n] * f[p, n]
            if size < g <= 2.0**46 * size and g > largest:
                best, largest = n, g
        if best >= 0:
            f[p, best] += defect / masses[best]
