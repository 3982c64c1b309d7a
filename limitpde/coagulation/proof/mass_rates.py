"""What masses do to each other, (1.3)-(1.4) and splitting, as arrays for the masses that are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limitpde.coagulation.model import Model
from limitpde.coagulation.rates import naive

Beta = Callable[[np.ndarray, np.ndarray], np.ndarray]
TABLE = 256
"""Up to this mass the rates are tabulated once and for all."""


@dataclass(frozen=True, slots=True, eq=False)
class MassRateArrays:
    """Masses and their rates, for compiled sums."""

    masses: np.ndarray
    """(M,) int64."""
    beta: np.ndarray
    """(M, M)."""
    merge: bool
    """Whether a pair merges; otherwise it vanishes."""
    linear: np.ndarray
    """(M, S, 3): what a particle adds to the tracked number, d(n) times that, and what splitting adds per time."""


class MassRates:
    """Rates of the masses whose change is asked for.

    Args:
        model: the parameters.
        beta: the propensities, of arrays of masses that broadcast.
        tracked: masses (S,) whose change is asked for; 0 stands for all.
    """

    def __init__(self, model: Model, beta: Beta, tracked: np.ndarray) -> None:
        self.model, self.tracked = model, tracked
        self._beta = beta
        self._dense: MassRateArrays | None = None

    def at(self, mass: np.ndarray) -> tuple[np.ndarray, MassRateArrays]:
        """Places (n,) of the masses (n,) of particles in a system of masses, and that system."""
        most = int(mass.max(initial=1))
        if most > TABLE:
            found, places = np.unique(mass, return_inverse=True)
            return places, self.of(found)
        if self._dense is None or most > len(self._dense.masses):
            self._dense = self.of(np.arange(1, min(TABLE, max(2 * most, self.model.n_max)) + 1))
        return mass - 1, self._dense

    def of(self, masses: np.ndarray) -> MassRateArrays:
        """The system of these masses (M,)."""
        masses = masses.astype(np.int64)
        linear = np.zeros((len(masses), len(self.tracked), 3))
        for s, n in enumerate(self.tracked):
            linear[:, s, 0] = masses == n if n else 1.0
        linear[:, :, 1] = linear[:, :, 0] * self.model.d(masses)[:, None]
        linear[:, :, 2] = self.splittings(masses)
        beta = self.rates(masses[:, None], masses[None, :])
        return MassRateArrays(masses, beta, self.model.reaction == "coagulation", linear)

    def rates(self, n: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Beta of masses that broadcast. A matrix has no entries for masses beyond n_max: these do not react."""
        most = self.model.n_max
        if self.model.beta.kernel != "matrix":
            return np.asarray(self._beta(n, m), dtype=float)
        return np.where((n <= most) & (m <= most), self._beta(np.minimum(n, most), np.minimum(m, most)), 0.0)

    def splittings(self, masses: np.ndarray) -> np.ndarray:
        """What one particle of each mass (M,) adds, by splitting, to the tracked numbers per time, (M, S).

        A mass n splits at the rate k(n) into m and n - m, m even on 1 ... n-1, and the parts stay apart with a chance
        `escape`: so mass j gains 2 k(n) / (n-1) escape(j, n-j) f_n of each n > j.
        """
        model, found = self.model, np.zeros((len(masses), len(self.tracked)))
        if model.fragmentation is None:
            return found
        for k, (n, rate) in enumerate(zip(masses, model.fragmentation.at(masses), strict=True)):
            part = np.arange(1, n)
            if len(part) == 0:
                continue
            apart = rate / len(part) * self.escape(part, n - part)
            for s, asked in enumerate(self.tracked):
                gain = 2 * apart[asked - 1] if 0 < asked < n else 0.0
                loss = apart.sum() if asked == n else 0.0
                found[k, s] = apart.sum() if asked == 0 else gain - loss
        return found

    def escape(self, n: np.ndarray, m: np.ndarray) -> np.ndarray:
        """The chance that the two parts of a splitting do not merge at once: beta / (alpha int V (r_n + r_m)^(d-2)).

        It is 1 where beta does not follow from the particles, or this pair does not react.
        """
        if self.model.beta.kernel != "from_micro":
            return np.ones(np.broadcast_shapes(np.shape(n), np.shape(m)))
        bound = self.model.beta.scale * naive(self.model, n, m)
        return np.where(bound > 0, self.rates(n, m) / np.where(bound > 0, bound, 1.0), 1.0)
