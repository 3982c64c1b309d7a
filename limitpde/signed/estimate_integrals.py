"""What the estimates of the paper (`limitpde.signed.estimates`) need of the particles, measured while they move.

Integrals over time are trapezoidal sums over the steps of the simulation, so that a step which jumps over a close
encounter leaves it out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numba
import numpy as np

from limitpde.arrays import Floats
from limitpde.compare.test_functions import TestFunction, Wave
from limitpde.compare.user_functions import UserFunction
from limitpde.compiled import compiled
from limitpde.signed.encounters import Encounters
from limitpde.signed.model import Model
from limitpde.signed.residual import ParticleResidual, ResidualIntegrals


class EstimateIntegrals:
    """What the estimates need of a batch of R replicas, accumulated while they are simulated.

    Args:
        model: the parameters.
        residual: W of these particles.
        eps: lengths of the regularisation in Lemma 5.9.
        replicas: R.
    """

    def __init__(self, model: Model, residual: ParticleResidual, eps: Sequence[float], replicas: int) -> None:
        self._model, self._eps = model, tuple(eps)
        self._powers = np.array([pair_power(model, residual.count) - 2.0, -1.0])
        self._now, self._pairs = np.empty((replicas, 4)), np.zeros((replicas, 4))
        self._closest = np.full(replicas, np.inf)
        self._shape = replicas, len(residual.table.kinds)
        self._balances = [ResidualIntegrals(residual, replicas) for _ in self._eps]

    def measure(
        self,
        x: Floats,
        y: Floats,
        drift: np.ndarray,
        signs: np.ndarray,
        encounters: Encounters,
        drift_of: Callable[[float], np.ndarray],
        rows: np.ndarray,
    ) -> None:
        """Evaluate the integrands of some of the replicas, r of them.

        Args:
            x: (r, N) positions.
            y: (r, N) positions.
            drift: (2, r, N) drifts of the equation.
            signs: (r, N).
            encounters: who counts, and who is bound to whom.
            drift_of: eps -> (2, r, N) drifts with K_eps for K.
            rows: (r,) which replicas these are.
        """
        now = np.empty((len(x), 5))
        _pair_means(x, y, signs, self._powers, now)
        self._now[rows] = now[:, :4]
        self._closest[rows] = np.minimum(self._closest[rows], now[:, 4])
        for eps, balance in zip(self._eps, self._balances, strict=True):
            balance.measure(x, y, drift, drift_of(eps), signs, encounters, rows, np.zeros(len(x)))

    def add(self, weights: np.ndarray, rows: np.ndarray) -> None:
        """Add the present integrands of the replicas in these rows, times their weights (r,), to the time integrals."""
        self._pairs[rows] += weights[:, None] * self._now[rows]
        for balance in self._balances:
            balance.add(weights, rows)

    def totals(self) -> dict[str, np.ndarray]:
        """Of each replica: pair integrals (R, 4), least distance of equal signs (R,), W - W_eps (R, P, len(eps))."""
        gaps = np.empty((*self._shape, len(self._eps)))
        for k, balance in enumerate(self._balances):
            gaps[:, :, k] = balance.excess()
        return {"pair_integrals": self._pairs, "closest": self._closest, "regularisation_gaps": gaps}

    @staticmethod
    def present(x: Floats, y: Floats, signs: np.ndarray) -> dict[str, np.ndarray]:
        """Means at one time of phi over each sign, (R, 2), and of |X|, (R,)."""
        square = x**2 + y**2
        phi = np.sqrt(1.0 + square)
        mine = np.stack([signs > 0, signs < 0], axis=1)
        by_sign = np.where(mine, phi[:, None], 0.0).sum(axis=2) / np.maximum(mine.sum(axis=2), 1)
        return {"phi": by_sign, "distance": np.sqrt(square).mean(axis=1)}


def pair_power(model: Model, count: int) -> float:
    """alpha of (4.4), halfway between 2 gamma (N - 1) / sigma^2 and 1; 1 where there is no such alpha."""
    least = 2 * model.pair_strength(count) * (count - 1) / model.sigma**2 if model.sigma > 0 else 1.0
    return 0.5 * (1.0 + min(least, 1.0))


@compiled(parallel=True)
def _pair_means(x: Floats, y: Floats, signs: Floats, powers: np.ndarray, out: np.ndarray) -> None:
    """Means of powers of |X_i - X_j|, (R, 5); infinity where two coincide, 0 where there are no such pairs.

    The columns: both powers over all pairs, the second one over those of equal and of opposite signs; then the smallest
    distance of equal signs, infinite without such pairs.
    """
    replicas, count = x.shape
    for r in numba.prange(replicas):
        first, second, number, closest = 0.0, np.zeros(2), np.zeros(2), np.inf
        for i in range(count):
            for j in range(i):
                kind = 0 if signs[r, i] * signs[r, j] > 0 else 1
                number[kind] += 1
                square = (x[r, i] - x[r, j]) ** 2 + (y[r, i] - y[r, j]) ** 2
                if kind == 0:
                    closest = min(closest, square)
                if square == 0.0:
                    first = second[kind] = np.inf
                else:
                    first += square ** (0.5 * powers[0])
                    second[kind] += square ** (0.5 * powers[1])
        pairs = max(1, count * (count - 1) // 2)
        out[r, 0], out[r, 1] = first / pairs, second.sum() / pairs
        out[r, 2], out[r, 3] = second[0] / max(1.0, number[0]), second[1] / max(1.0, number[1])
        out[r, 4] = math.sqrt(closest)


def largest_gradient(function: TestFunction) -> float:
    """max |grad phi|: e^(-1/2) / width of a Gaussian bump, |k| of a wave; NaN where it is not known."""
    if isinstance(function, UserFunction):
        return math.nan
    if isinstance(function, Wave):
        return math.hypot(*function.k)
    return math.exp(-0.5) / function.width
