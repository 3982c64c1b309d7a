"""One coordinate of phase space: uniform cells with Gauss-Legendre points, and blocks of them for the ranks."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from limitpde.errors import InputError

DEGREES = range(1, 6)


@functools.cache
def gauss(P: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of Gauss and Legendre on [0, 1], (P,) each; not to be changed."""
    points, weights = np.polynomial.legendre.leggauss(P)
    points, weights = (points + 1) / 2, weights / 2
    points.setflags(write=False)
    weights.setflags(write=False)
    return points, weights


def lagrange(P: int, x: np.ndarray) -> np.ndarray:
    """The P polynomials that are one at one Gauss point and zero at the others, at points x (...), (..., P)."""
    points = gauss(P)[0]
    values = np.ones((*np.shape(x), P))
    for j in range(P):
        for m in range(P):
            if m != j:
                values[..., j] *= (x - points[m]) / (points[j] - points[m])
    return values


@functools.cache
def derivatives(P: int) -> np.ndarray:
    """Derivatives of those polynomials at the Gauss points, (point, polynomial); not to be changed."""
    points = gauss(P)[0]
    apart = points[:, None] - points + np.eye(P)
    scale = apart.prod(axis=1)
    table = scale[:, None] / scale / apart
    np.fill_diagonal(table, 0.0)
    np.fill_diagonal(table, -table.sum(axis=1))
    table.setflags(write=False)
    return table


@dataclass(frozen=True)
class CellAxis:
    """A coordinate cut into equal cells with equally many points each; abstract.

    Attributes:
        low: lower end of the interval.
        high: upper end.
        cells: number of cells.
        degree: one less than the points of a cell.
    """

    low: float
    high: float
    cells: int
    degree: int

    @property
    def h(self) -> float:
        """Length of a cell."""
        return (self.high - self.low) / self.cells

    @property
    def P(self) -> int:  # noqa: N802 - the letter of the papers
        """Points of a cell."""
        return self.degree + 1

    @property
    def n(self) -> int:
        """Points of the axis."""
        return self.cells * self.P


@dataclass(frozen=True)
class Axis(CellAxis):
    """A coordinate with polynomials of one degree, 1 to 5, on each cell; points are those of Gauss.

    Attributes:
        periodic: whether the ends are the same point; otherwise what leaves is lost, and nothing comes in.

    Raises:
        InputError: the interval is empty or not finite, there are no cells, or the degree is out of range.
    """

    periodic: bool

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"axis [{self.low}, {self.high}]: the second number must be the larger one, both finite")
        if self.cells < 1:
            raise InputError(f"cells = {self.cells}: must be at least 1")
        if self.degree not in DEGREES:
            raise InputError(f"degree = {self.degree}: must lie between {DEGREES[0]} and {DEGREES[-1]}")

    @property
    def nodes(self) -> np.ndarray:
        """Gauss points of all cells, ascending, (n,)."""
        points = gauss(self.P)[0]
        return np.asarray((self.low + (np.arange(self.cells)[:, None] + points) * self.h).ravel())

    @property
    def weights(self) -> np.ndarray:
        """Gauss weights of all cells, (n,); they add to high - low."""
        return np.tile(gauss(self.P)[1] * self.h, self.cells)


def block_ends(cells: int, parts: int) -> np.ndarray:
    """First cells of the parts of an axis, and the end of the last, (parts + 1,); a part may be empty."""
    return np.arange(parts + 1) * cells // parts
