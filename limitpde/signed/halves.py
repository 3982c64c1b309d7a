"""Steps made as two halves along the same Brownian paths, so that their difference to whole steps has little noise.

Every particle of a whole step has two standard normal numbers. Those of its halves are (whole +- inside) / sqrt(2) with
`inside` of the stream BRIDGE: they are independent, and their increments add to that of the whole step. Charges that
move by their exact law take them as the components of a Brownian motion which that law bends (`pair_step`), so they
follow the paths too, but where they hit: the first half has the Gamma variate of the whole step, and hits only where
that does; the second one draws its own. Random batches of the first half are those of the whole step, and the second
half has its own, as a step of that size would. A step that is cut has halves of each part; where the halved run cuts a
step in other parts, the noise of these is not that of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from limitpde.compiled import compiled
from limitpde.nbody.random import two_normals

INSIDE = 1 << 39
"""Added to the number of a step for the random batches in its middle; steps are below 2^39."""


@dataclass(frozen=True, slots=True)
class Path:
    """What drives some replicas through a step, or through one of its halves."""

    half: int
    """0 for a whole step, which takes its noise from counters; 1 and 2 for its halves."""
    normals: np.ndarray
    """(2, r, N) standard normals of a half; empty for a whole step."""


WHOLE = (Path(0, np.empty((2, 0, 0))),)
"""A step in one."""


def halves(shape: tuple[int, int], *, seed: int, replicas: np.ndarray, number: np.ndarray) -> tuple[Path, Path]:
    """The noise of both halves of a step.

    Args:
        shape: (r, N), replicas and particles.

    Keyword Args:
        seed: of the particle number.
        replicas: (r,) their numbers.
        number: (r,) int64, of the whole step.
    """
    first, second = np.empty((2, 2, *shape))
    _halves(np.uint64(seed), replicas, number, *first, *second)
    return Path(1, first), Path(2, second)


@compiled(parallel=True)
def _halves(seed: Any, replicas, numbers, ax, ay, bx, by):  # type: ignore[no-untyped-def]
    count = ax.shape[1]
    for task in numba.prange(ax.size):
        r, i = task // count, task % count
        a, b = two_normals(seed, 0, replicas[r], i, numbers[r])  # stream 0: NOISE
        c, d = two_normals(seed, 5, replicas[r], i, numbers[r])  # stream 5: BRIDGE
        ax[r, i], ay[r, i] = math.sqrt(0.5) * (a + c), math.sqrt(0.5) * (b + d)
        bx[r, i], by[r, i] = math.sqrt(0.5) * (a - c), math.sqrt(0.5) * (b - d)
