"""The masses on which densities are resolved: all integers, or exact small integers and logarithmic pivots above.

Integers 1 ... n_max carry (1.2) as it stands. Logarithmic bins reach masses that no list of integers could: the masses
are 1, 2, ..., exact_up_to and then pivots that grow by a fixed ratio (rounded to integers, as all masses are integers),
up to `largest`. For continuous mass (section 8.3.3) there are no integers: the pivots are the powers of that ratio.

On pivots x_1 < x_2 < ... the density of particles is sum_k f_k delta(x - x_k). What has the mass v between two pivots
is split between these so that number and mass are kept (the fixed pivot technique of Kumar and Ramkrishna, Chem. Eng.
Sci. 51, 1996, 1311-1332). Products of pairs up to exact_up_to + 1 are pivots themselves, so nothing is split there.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from limitpde.checked import record
from limitpde.errors import InputError

LARGEST_MATRIX = 2048
"""Number of masses up to which beta may be stored as a matrix (and fragmentation be a matrix); factors beyond."""


@record
class Bins:
    """Logarithmic bins in place of all integers 1 ... n_max."""

    largest: Annotated[float, Field(gt=1, lt=2**53)]
    """Largest mass; what grows beyond is counted as overflow."""
    per_decade: Annotated[int, Field(ge=2, le=200)] = 20
    """Pivots for each factor of ten."""
    exact_up_to: Annotated[int, Field(ge=1, le=1024)] = 16
    """All masses up to this one are pivots; of no effect where mass is continuous."""
    continuous: bool = False
    """Whether mass is a positive real (section 8.3.3), with pivots from 1 on, rather than an integer."""

    def __post_init__(self) -> None:
        if not self.continuous and not self.exact_up_to < self.largest:
            raise ValueError(f"largest: must be above exact_up_to = {self.exact_up_to}")


def _pivots(bins: Bins) -> NDArray[np.float64]:
    first = 1 if bins.continuous else bins.exact_up_to
    count = math.ceil(bins.per_decade * math.log10(bins.largest / first) * (1 - 1e-12))
    above = first * 10.0 ** (np.arange(1, count + 1) / bins.per_decade)
    if bins.continuous:
        return np.concatenate([[1.0], above])
    return np.unique(np.concatenate([np.arange(1.0, first + 1.0), np.rint(above)]))


class MassGrid:
    """The masses of the densities f_1, ..., f_M.

    Attributes:
        M: number of masses.
        masses: (M,) float64, increasing: 1 ... n_max, or pivots of which the last is at or above `bins.largest`.
        every_integer: whether the masses are 1, 2, ..., M.
        continuous: whether mass is a real number, rather than an integer.
    """

    def __init__(self, n_max: int, bins: Bins | None = None) -> None:
        """Masses 1, ..., n_max, or the pivots of `bins`, for which n_max is of no effect.

        Raises:
            InputError: n_max is not positive.
        """
        if bins is None and n_max < 1:
            raise InputError(f"n_max = {n_max}: must be at least 1")
        found = np.arange(1.0, n_max + 1.0) if bins is None else _pivots(bins)
        self.masses: NDArray[np.float64] = found
        self.M = len(found)
        self.continuous = bins is not None and bins.continuous
        self.every_integer = not self.continuous and bool(found[-1] == len(found))

    def split(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where masses v >= x_1 go: to x_k and x_{k+1}, number and mass kept.

        Args:
            v: masses, of any shape, none below the first pivot.

        Returns:
            k (int64), and the share of the number that goes to x_k, both of the shape of v; k = M where v > x_M.
        """
        x = self.masses
        k = np.searchsorted(x, v, side="right") - 1
        low, high = x[np.clip(k, 0, self.M - 1)], x[np.clip(k + 1, 0, self.M - 1)]
        share = np.where(high > low, (high - v) / np.where(high > low, high - low, 1.0), 1.0)
        return np.where(v > x[-1], self.M, k), np.where(v >= x[-1], 1.0, share)

    def spread(self, mass: float) -> np.ndarray:
        """Numbers (M,) of particles on the pivots that stand for one particle of the given mass.

        Raises:
            InputError: the mass is outside the range.
        """
        if not self.masses[0] <= mass <= self.masses[-1]:
            raise InputError(
                f"mass {mass:g}: must lie in [{self.masses[0]:g}, {self.masses[-1]:g}], the range of masses"
            )
        k, share = self.split(np.array(mass))
        found = np.zeros(self.M)
        found[k] = share
        if share < 1.0:
            found[k + 1] = 1.0 - share
        return found
