"""Strengths of the particles that depend on N otherwise than those of the equation beside them.

With gamma_N = c N^-p and sigma_N = s N^-q the particles keep the equation's W, with its gamma_bar and D:

    W = M + A,   A = (N gamma_N - gamma_bar) int_0^T iint b b' K . grad phi dL^N dL^N dt
                     + (sigma_N^2 / 2 - D) int_0^T int Lap phi dL^N dt

with E M^2 of the order of sigma_N^2 / N. The first part of A is the second term of Lemma 5.10 of van Meurs, Peletier
and Slangen, E|W| <= C (N^(-1/2) + |N gamma_N - gamma_bar|), so that E|W| falls with the largest of the powers of
sigma_N N^(-1/2), N gamma_N - gamma_bar and sigma_N^2 / 2 - D. Where one of the differences does not vanish, neither
does W: the particles tend to another equation, or to none.

1/N << gamma_N << 1 of section 1.6: in the unit of time in which the drift has the prefactor gamma_bar / N the noise is
sigma_N = sigma (N gamma_N)^(-1/2), which falls, and (1.5) is expected: sigma = 0 in the equation, sigma_N in the
particles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from limitpde.checked import record
from limitpde.errors import InputError
from limitpde.signed.model import Model, Strength


@record
class PowerOfN:
    """coefficient N^power."""

    coefficient: Strength
    """At N = 1."""
    power: Annotated[float, Field(ge=-4, le=0)]
    """Power of N, at most 0."""

    def at(self, count: int) -> float:
        """At N = count."""
        return self.coefficient / float(count) ** -self.power  # coefficient / N itself for the power -1


def power_of_gap(coefficient: float, power: float, limit: float) -> float | None:
    """Power of N of |coefficient N^power - limit| for large N; None where it is zero for all N."""
    if coefficient == 0.0 or (power < 0 and limit > 0):
        return 0.0 if limit > 0 else None
    if power == 0.0:
        return None if coefficient == limit else 0.0
    return power


@dataclass(frozen=True, slots=True)
class Scaling:
    """The equation's parameters, and what the particles have instead."""

    model: Model
    """Of the equation, with gamma_bar."""
    gamma: PowerOfN | None = None
    """gamma_N; gamma_bar / N where it is left out."""
    sigma: PowerOfN | None = None
    """sigma_N; that of the model where it is left out."""

    def __post_init__(self) -> None:
        if (self.gamma or self.sigma) and self.model.gamma_bar is None:
            name = "gamma" if self.gamma else "sigma"
            raise InputError(f"particles.{name}: goes with model.gamma_bar, the strength in the equation of W")

    def particles(self, count: int) -> Model:
        """The parameters of N particles; the model itself where they do not differ."""
        model = self.model
        if self.gamma is None and self.sigma is None:
            return model
        gamma = model.pair_strength(count) if self.gamma is None else self.gamma.at(count)
        sigma = model.sigma if self.sigma is None else self.sigma.at(count)
        if (gamma, sigma) == (model.pair_strength(count), model.sigma):
            return model
        return replace(model, sigma=sigma, gamma=gamma, gamma_bar=None)

    @property
    def gamma_gap(self) -> float | None:
        """Power of N of N gamma_N - gamma_bar; None where it is zero."""
        law = self.gamma
        return None if law is None else power_of_gap(law.coefficient, 1 + law.power, float(self.model.gamma_bar or 0.0))

    @property
    def sigma_gap(self) -> float | None:
        """Power of N of sigma_N^2 / 2 - D; None where it is zero."""
        law = self.sigma
        return None if law is None else power_of_gap(law.coefficient**2 / 2, 2 * law.power, self.model.D)

    @property
    def residual_rate(self) -> float | None:
        """Power of N with which E|W| of (5.8) falls (Lemma 5.10); None for a fixed gamma, or where W is zero."""
        if self.model.gamma_bar is None:
            return None
        quiet = (self.model.sigma if self.sigma is None else self.sigma.coefficient) == 0
        noise = None if quiet else -0.5 + (0.0 if self.sigma is None else self.sigma.power)
        return max((power for power in (noise, self.gamma_gap, self.sigma_gap) if power is not None), default=None)

    @property
    def means_powers(self) -> tuple[float, ...]:
        """Powers of N with which means of the particles come to their limit, the slowest first; none if they may not.

        Interaction and fluctuations of N particles leave 1 / N, and gamma_N and sigma_N what they differ by from what
        they tend to themselves, whatever the equation beside them.
        """
        own = [] if self.gamma is None or self.gamma.coefficient == 0 else [1 + self.gamma.power]
        own += [] if self.sigma is None or self.sigma.coefficient == 0 else [2 * self.sigma.power]
        if any(power > 0 for power in own):
            return ()
        return tuple(sorted({-1.0, *(power for power in own if power < 0)}, reverse=True))

    @property
    def departs(self) -> str:
        """Why the particles cannot tend to the equation: N gamma_N or sigma_N^2 / 2 does not tend to what it has."""
        away = any(power is not None and power >= 0 for power in (self.gamma_gap, self.sigma_gap))
        return self.outside_theory if away else ""

    @property
    def outside_theory(self) -> str:
        """Which assumption of the mean-field limit (Theorem 5.4, Lemma 5.10) does not hold, if any."""
        gamma, sigma, model = self.gamma, self.sigma, self.model
        if gamma is not None and 1 + gamma.power > 0 and gamma.coefficient > 0:
            return f"particles.gamma: N gamma_N grows like N^{1 + gamma.power:g}, where (5.1) has a limit"
        if gamma is not None and self.gamma_gap == 0:
            tends = gamma.coefficient if gamma.power == -1 else 0.0
            return f"particles.gamma: N gamma_N tends to {tends:g}, not to model.gamma_bar = {model.gamma_bar:g}"
        if sigma is not None and sigma.power < 0 and model.D == 0:
            return "particles.sigma: (1.5) as the limit where the noise falls is expected (section 1.6), not proven"
        if sigma is not None and self.sigma_gap is not None:
            return f"particles.sigma: sigma_N^2 / 2 does not tend to D = {model.D:g}, and the theorem has one sigma"
        return model.outside_theory
