"""How far clouds of N points are from a measure given as atoms, and how far N independent draws from it would be.

Of the coordinates one by one W_1 of the marginals, exactly; of all together the mean over slices of W_1, and the energy
distance (2 E|X - Y| - E|X - X'| - E|Y - Y'|)^(1/2). As |x| is c_d times the mean of |theta . x| over directions theta,
the square of the latter is c_d times the mean over slices of 2 int (F - G)^2, from the same distribution functions F, G
as W_1 = int |F - G|.

All of these are of order N^(-1/2) for N independent points (the floor) and for particles that nearly are: what matters
is how far above or below the floor they lie. Attraction puts particles above it, repulsion and screening below.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from limitpde.compare.distances import directions
from limitpde.compare.statistics import mean_and_stderr
from limitpde.errors import RunError

SLICES = 32
"""Directions of the slices."""
MOST_CLOUDS = 32
"""Replicas of each N that are measured, and draws for their floor."""
ENERGY = "energy"
"""Name of the energy distance."""


class Atoms:
    """A measure in the whole space, divided by its mass. Not collective.

    Args:
        points: where its atoms are, (n, d).
        masses: their masses, (n,); a few may be negative.

    Attributes:
        names: of the distances: those of the coordinates, "sliced" and "energy".

    Raises:
        RunError: the masses do not have a positive sum.
    """

    def __init__(self, points: np.ndarray, masses: np.ndarray) -> None:
        total, d = float(masses.sum()), points.shape[1]
        if not (math.isfinite(total) and total > 0):
            raise RunError(f"distances of particles: the mass of the density is {total:g}, it must be positive")
        self._points, self._masses = points, masses / total
        self._lines = np.concatenate([np.eye(d), directions(d, SLICES)])
        self._projected = [points @ line for line in self._lines]
        self.names = [*[f"x{j + 1}" for j in range(d)], "sliced", ENERGY]
        # 1 / E|theta_1| for theta even on the sphere
        self._constant = math.sqrt(math.pi) * math.gamma((d + 1) / 2) / math.gamma(d / 2)

    def distances(self, cloud: np.ndarray) -> np.ndarray:
        """Those of a cloud (N, d), in the order of `names`."""
        found = np.array(
            [self._line(own, cloud @ line) for own, line in zip(self._projected, self._lines, strict=True)]
        )
        d = cloud.shape[1]
        sliced, squares = found[d:].mean(axis=0)
        return np.array([*found[:d, 0], sliced, math.sqrt(self._constant * squares)])

    def _line(self, own: np.ndarray, given: np.ndarray) -> tuple[float, float]:
        """int |F - G| and 2 int (F - G)^2 on a line."""
        points = np.concatenate([own, given])
        order = np.argsort(points, kind="stable")
        steps = np.concatenate([self._masses, np.full(len(given), -1 / len(given))])[order]
        gap, lengths = np.cumsum(steps)[:-1], np.diff(points[order])
        return float(np.abs(gap) @ lengths), float(2 * gap**2 @ lengths)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Independent points of the measure, (n, d); negative masses count as zero."""
        masses = np.maximum(self._masses, 0.0)
        return np.asarray(self._points[rng.choice(len(masses), size=n, p=masses / masses.sum())])


def cloud_rows(
    measure: Atoms, clouds: Sequence[np.ndarray], labels: dict[str, Any], seed: int
) -> Iterator[dict[str, Any]]:
    """Rows over the distances: their mean over clouds (N, d), and that of as many independent draws, the floor.

    Args:
        measure: to which they are compared.
        clouds: at least one, of points each; those of no points are left out.
        labels: what all rows have besides.
        seed: of the draws.
    """
    clouds, rng = [cloud for cloud in clouds if len(cloud)], np.random.default_rng([seed, len(clouds)])
    if not clouds:
        return
    found = np.array([measure.distances(cloud) for cloud in clouds])
    floors = np.array([measure.distances(measure.draw(len(cloud), rng)) for cloud in clouds])
    for j, name in enumerate(measure.names):
        row = labels | {"distance": name, "replicas": len(clouds)}
        for key, values in (("mean", found[:, j]), ("floor", floors[:, j])):
            mean, error = mean_and_stderr(values)
            row[key] = float(mean)
            if error is not None:
                row["stderr" if key == "mean" else "floor_stderr"] = float(error)
        yield row
