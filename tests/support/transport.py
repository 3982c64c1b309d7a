"""Wasserstein-1 distances between clouds by linear programming, for the distances that the package computes faster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limitpde.errors import RunError


def exact_distance(
    a: np.ndarray,
    b: np.ndarray,
    *,
    a_masses: np.ndarray | None = None,
    b_masses: np.ndarray | None = None,
    periods: Sequence[float] = (),
) -> float:
    """W_1 between two clouds by linear programming (POT's network simplex): n m numbers, up to some 10^7.

    Args:
        a: points of one cloud, (n, D).
        b: points of the other, (m, D).

    Keyword Args:
        a_masses: their masses, (n,), divided by their sum; equal by default.
        b_masses: those of the other, (m,).
        periods: lengths of the circles on which the first coordinates live; the others live on lines.

    Raises:
        RunError: the linear programme was not solved.
    """
    import ot

    squares = np.zeros((len(a), len(b)))
    for j in range(a.shape[1]):
        apart = np.abs(a[:, None, j] - b[None, :, j])
        if j < len(periods):
            apart %= periods[j]
            apart = np.minimum(apart, periods[j] - apart)
        squares += apart**2
    masses = [
        np.full(len(points), 1 / len(points)) if given is None else given / given.sum()
        for points, given in ((a, a_masses), (b, b_masses))
    ]
    cost, log = ot.emd2(*masses, np.sqrt(squares), numItermax=10_000_000, log=True)
    if log["warning"] is not None:
        raise RunError(f"Wasserstein distance: the linear programme was not solved: {log['warning']}")
    return float(cost)
