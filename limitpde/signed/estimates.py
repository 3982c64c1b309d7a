"""The estimates of van Meurs, Peletier and Slangen, measured: each with what it allows and how much room is left.

    Lemma 4.3 (i)   E phi(X_t) <= (1/N_-) sum_j E phi(X_0^j) + (N/N_-) (sigma^2 + gamma (N - 1) / 2) t with
                    phi = (1 + |x|^2)^(1/2), N_- the smaller number of charges of a sign; the larger mean of both signs
    (4.2)           int_0^T |X^i - X^j|^(alpha - 2) dt is finite for alpha > 2 gamma / sigma^2: at alpha = 1, over all
                    pairs, and over those of equal and of opposite signs, which repel and attract each other
    (4.3)           equal signs never meet: their smallest distance at the steps is below r only by chance, for two
                    charges (r / |X_0^1 - X_0^2|)^(2 gamma / sigma^2) of the replicas for ever
    (4.4)           the mean over pairs of E int_0^T |X^i - X^j|^(alpha - 2) dt is at most
                    2 2^(1/2) / (alpha delta beta_0) (1 + 5/4 sigma^2 T + E|X_0|), beta_0 = N_- / N,
                    delta = alpha sigma^2 - 2 gamma (N - 1), for alpha halfway between 2 gamma (N - 1) / sigma^2 and 1
    Lemma 5.9       E|W - W_eps| <= C eps^(1 - alpha) for alpha above 2 gamma_bar / sigma^2: the power of eps, fitted
    Lemma 5.10      N^(1/2) E|W| <= C: with C = sigma T^(1/2) max |grad phi|, which Ito's isometry gives
    (4.26)          R = sum_i |X_i - mean|^2 / sigma^2 is a squared Bessel process: its dimension, by the growth of E R
    Theorem 3.1     charges of opposite sign collide with positive probability: the share of replicas in which two did

Integrals over time are trapezoidal sums over the steps of the simulation, so that a step which jumps over a close
encounter leaves it out: such figures are lower bounds of what they measure.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from limitpde.compare.statistics import mean_and_stderr
from limitpde.signed.estimate_integrals import pair_power
from limitpde.signed.model import Model
from limitpde.signed.particles import Ensemble

SURE = 4.5
"""Standard errors by which a figure must exceed its bound to refute it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate of the paper at one N."""

    source: str
    """Where it stands in the paper."""
    quantity: str
    """What was measured."""
    measured: float
    stderr: float | None
    """Standard error of the measured mean over replicas."""
    bound: float | None
    """What it must not exceed; None where it must only be finite, or positive."""
    holds: bool
    """Whether the measurement is compatible with the estimate."""
    at_least: bool = False
    """The bound is one from below."""

    @property
    def margin(self) -> float | None:
        """How much room is left: bound / measured, or the reverse for a bound from below."""
        if self.bound is None or self.measured == 0 or self.bound == 0:
            return None
        return self.measured / self.bound if self.at_least else self.bound / self.measured


def estimates(model: Model, ensemble: Ensemble) -> list[dict[str, Any]]:
    """All estimates that apply, as records of `Estimate` with their margins; none where nothing was accumulated."""
    if not ensemble.estimates:
        return []
    found = [
        _moment_bound(model, ensemble),
        *_pair_bounds(model, ensemble),
        *_regularisation(model, ensemble),
        *_martingale(model, ensemble),
        *_dimension(model, ensemble),
        *_collision(ensemble),
    ]
    return [asdict(estimate) | {"holds": bool(estimate.holds), "margin": estimate.margin} for estimate in found]


def _mean(values: np.ndarray) -> tuple[float, float | None]:
    mean, error = mean_and_stderr(values)
    return float(mean), None if error is None else float(error)


def _below(measured: float, stderr: float | None, bound: float) -> bool:
    return measured - SURE * (stderr or 0.0) <= bound


def _counts(ensemble: Ensemble) -> tuple[int, int]:
    """N and the smaller number of charges of a sign (N where there is only one sign)."""
    fewer = int(np.minimum(ensemble.positive, ensemble.count - ensemble.positive).min())
    return ensemble.count, fewer or ensemble.count


def _moment_bound(model: Model, ensemble: Ensemble) -> Estimate:
    n, fewer = _counts(ensemble)
    phi = ensemble.estimates["phi"]  # (R, 2, T)
    share = ensemble.positive / n
    start = float((share * phi[:, 0, 0] + (1 - share) * phi[:, 1, 0]).mean())
    end = ensemble.times[-1]
    bound = n / fewer * (start + (model.sigma**2 + model.pair_strength(n) * (n - 1) / 2) * end)
    worst = int(np.argmax(phi[:, :, -1].mean(axis=0)))
    measured, stderr = _mean(phi[:, worst, -1])
    return Estimate("Lemma 4.3 (i)", "E phi(X_T)", measured, stderr, bound, _below(measured, stderr, bound))


def _pair_bounds(model: Model, ensemble: Ensemble) -> list[Estimate]:
    (n, fewer), gamma, sigma2 = _counts(ensemble), model.pair_strength(ensemble.count), model.sigma**2
    integrals, found = ensemble.estimates["pair_integrals"], []
    if gamma < sigma2 / 2:
        every = ("", ", equal signs", ", opposite signs") if ensemble.both_signs else ("",)
        for which, values in zip(every, integrals[:, 1:].T, strict=False):
            measured, stderr = _mean(values)
            name = f"mean of int |X_i - X_j|^-1 dt{which}"
            found.append(Estimate("(4.2), alpha = 1", name, measured, stderr, None, math.isfinite(measured)))
        closest = ensemble.estimates["closest"]
        if np.isfinite(closest).all():
            measured, stderr = _mean(closest)
            name = "smallest distance of equal signs"
            found.append(Estimate("(4.3)", name, measured, stderr, None, bool(closest.min() > 0)))
    alpha = pair_power(model, n)
    delta = alpha * sigma2 - 2 * gamma * (n - 1)
    if n > 1 and alpha < 1 and delta > 0:
        room = 1 + 1.25 * sigma2 * ensemble.times[-1] + float(ensemble.estimates["distance"][:, 0].mean())
        bound = 2 * math.sqrt(2) / (alpha * delta * fewer / n) * room
        measured, stderr = _mean(integrals[:, 0])
        name = f"mean of int |X_i - X_j|^{alpha - 2:.3g} dt"
        found.append(Estimate("(4.4)", name, measured, stderr, bound, _below(measured, stderr, bound)))
    return found


def _regularisation(model: Model, ensemble: Ensemble) -> list[Estimate]:
    """The power of eps, at least 1 - 2 gamma_bar / sigma^2."""
    gaps, eps = np.abs(ensemble.estimates["regularisation_gaps"]), np.array(ensemble.estimate_eps)
    gamma_bar = model.pair_strength(ensemble.count) * ensemble.count
    if len(eps) < 2 or gamma_bar == 0 or model.sigma == 0 or gamma_bar >= model.sigma**2 / 2:
        return []
    least, found = 1 - 2 * gamma_bar / model.sigma**2, []
    weights = np.log(eps) - np.log(eps).mean()
    for p in range(gaps.shape[1]):
        means = gaps[:, p].mean(axis=0)
        if not means.all():
            continue
        slope = float(weights @ np.log(means) / (weights @ weights))
        # the error of the slope, from that of each mean: they are correlated, so this is linear propagation
        each = (gaps[:, p] / means) @ weights / (weights @ weights)
        stderr = _mean(each)[1]
        name = f"power of eps of E|W - W_eps|, test function {p}"
        holds = _below(least, stderr, slope)
        found.append(Estimate("Lemma 5.9", name, slope, stderr, least, holds, at_least=True))
    return found


def _martingale(model: Model, ensemble: Ensemble) -> list[Estimate]:
    if not ensemble.in_theory:
        return []
    found, n = [], ensemble.count
    for p, largest in enumerate(ensemble.estimate_gradients):
        measured, stderr = _mean(math.sqrt(n) * np.abs(ensemble.residual[:, p, -1]))
        bound = model.sigma * math.sqrt(ensemble.times[-1]) * largest
        name = f"N^(1/2) E|W|, test function {p}"
        found.append(Estimate("Lemma 5.10", name, measured, stderr, bound, _below(measured, stderr, bound)))
    return found


def _dimension(model: Model, ensemble: Ensemble) -> list[Estimate]:
    """As the distance of the measured dimension from that of (4.26), in units of its standard error."""
    gamma, n, sigma2 = model.pair_strength(ensemble.count), ensemble.count, model.sigma**2
    apart = model.confinement is not None or model.interaction == "rotated" or ensemble.collision == "annihilate"
    if apart or gamma >= sigma2 / 2 or n < 2:
        return []
    spread = n * (ensemble.second_moment - (ensemble.centre**2).sum(axis=2)) / sigma2
    measured = (spread[:, -1] - spread[:, 0]) / ensemble.times[-1]
    charge = ensemble.positive * model.charges[0] + (n - ensemble.positive) * model.charges[1]
    theory = 2 * (n - 1) + model.sense * gamma * (charge**2 - n) / sigma2 * np.ones(len(measured))  # given the signs
    difference, stderr = _mean(measured - theory)
    away, name = abs(difference), f"|dimension of R - {theory.mean():.6g}|"
    return [Estimate("(4.26)", name, away, stderr, SURE * (stderr or 0.0), stderr is None or away <= SURE * stderr)]


def _collision(ensemble: Ensemble) -> list[Estimate]:
    if not ensemble.sees_collisions or not ensemble.both_signs:
        return []
    measured, stderr = _mean(ensemble.collided.astype(float))
    return [Estimate("Theorem 3.1", "probability of a collision", measured, stderr, None, measured > 0)]
