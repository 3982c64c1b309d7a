"""Sums over many particles of terms that are made for some of them at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LONGEST = 1 << 15
"""Particles whose terms are made at a time."""


def block_sums(terms: Callable[[slice], np.ndarray], first: int, last: int) -> np.ndarray:
    """Sums along the last axis of the terms of particles `first` to `last`, with the bits of numpy's sum of them all.

    They are cut where numpy's pairwise sum cuts, and so are the same whatever LONGEST is.

    Args:
        terms: (..., m) of m particles.
        first: particle.
        last: the particle after the last one.
    """
    count = last - first
    if count <= LONGEST:
        return np.asarray(terms(slice(first, last)).sum(axis=-1))
    middle = first + count // 2 - count // 2 % 8
    return block_sums(terms, first, middle) + block_sums(terms, middle, last)
