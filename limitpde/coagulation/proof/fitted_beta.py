"""The rate beta that a homogeneous system of one species shows by its number of particles (Proposition 3.1).

On a torus of volume |T| with N particles of one mass, spread evenly, the number s of those left jumps by c (two where
pairs vanish, one where they merge into what reacts alike) at the rate lambda s (s-1) / 2, lambda = beta(t) Z / (N |T|),
which becomes h' = -beta h^2 (3.2), or h' = -beta h^2 / 2. At finite N the rate is above its limit at first, because
no pairs have reacted before time 0 (claim 3.6): with D = d(n) + d(m),

    d = 3:  beta(t) = beta (1 + a eps / sqrt(pi D t)),  a the scattering length, beta = 4 pi D a;
    d = 2:  beta(t) = 2 pi D L / (L - log a + log(4 D t) / 2 - gamma),  L = |log eps|, gamma Euler's constant.

So time is measured by tau(t) = int_0^t beta(s) ds / beta, and beta is what makes the mean of s at the end that of the
chain in tau, by its first two moments (van Kampen): m' = -c lambda (m^2 + v - m) / 2, v' = -2 c lambda m v + c^2 lambda
m^2 / 2.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.integrate
import scipy.optimize

from limitpde.coagulation.model import Initial, Model, PowerLaw
from limitpde.coagulation.rates import microscopic, naive, propensity, scattering_length, share_at
from limitpde.densities import Uniform
from limitpde.domains import Domain

EVEN = 1e-9
"""Relative differences of rates below this count as none."""


@dataclass(frozen=True, slots=True)
class FittedBeta:
    """The rate that particles show, and what it should be."""

    beta: float
    """Fitted to the mean number of particles at the end."""
    stderr: float
    """Its standard error, from that of the mean over the replicas."""
    theory: float
    """beta of the model, (1.9) or (2.4)."""
    deviation: float
    """beta - theory, in standard errors."""
    naive: float
    """alpha int V (3.7)."""
    naive_deviation: float
    """beta - naive, in standard errors."""


def species(model: Model, initial: Initial, domain: Domain) -> int | None:
    """The one mass of a system to which a single beta can be fitted; None if it is not one of these.

    It must begin evenly spread on a torus with particles of one mass, which vanish in pairs, or merge while d(n),
    alpha(n, m) and the ranges do not depend on the mass.
    """
    masses = {part.n for part in initial.masses}
    even = all(isinstance(part.density, Uniform) for part in initial.masses)
    if len(masses) != 1 or not even or domain.kind != "torus" or model.interaction is None or model.dimension == 1:
        return None
    alike = isinstance(model.interaction.alpha, float | int) and model.ranges is None and model.fragmentation is None
    table = model.diffusion
    alike = alike and (table.power == 0 if isinstance(table, PowerLaw) else len(set(table)) == 1)
    return masses.pop() if model.reaction == "annihilation" or alike else None


def clock(model: Model, n: int, log_eps: float, t: float) -> float:
    """tau(t) = int_0^t beta(s) ds / beta of a pair of mass n, for t well above eps^2, beta by the recipe."""
    pair = np.array([n]), np.array([n])
    D = 2 * float(model.d(pair[0])[0])
    if model.dimension == 3:
        length = float(scattering_length(model, *pair, log_eps=log_eps)[0]) * math.exp(log_eps)
        return share_at(model, n, n, log_eps) * (t + 2 * length * math.sqrt(t / (math.pi * D)))
    L = -log_eps
    limit = float(microscopic(model, *pair, log_eps=model.beta.log_eps)[0])
    log_length = float(scattering_length(model, *pair, log_eps=log_eps)[0])

    def rate(log_t: float) -> float:
        logarithm = L - log_length + (math.log(4 * D) + log_t) / 2 - np.euler_gamma
        return 2 * math.pi * D * L / max(logarithm, 1.0) / limit * math.exp(log_t)

    value, _ = scipy.integrate.quad(rate, math.log(t) - 40, math.log(t), epsrel=1e-10, limit=200)
    return float(value)


def mean_left(share: float, count: int, jump: int) -> float:
    """Mean share of particles left when lambda N tau = share, for N = count particles that go `jump` at a time."""
    c, inverse = jump, 1 / count

    def rates(_: float, y: np.ndarray) -> list[float]:
        m, v = y  # mean and variance of s, over N and over N
        return [-c * (m * m + inverse * (v - m)) / 2, -2 * c * m * v + c * c * m * m / 2]

    solution = scipy.integrate.solve_ivp(rates, (0, share), [1.0, 0.0], method="DOP853", rtol=1e-10, atol=1e-12)
    return float(solution.y[0, -1])


def fit(model: Model, ensemble: Any, n: int, domain: Domain) -> FittedBeta | None:
    """Fit beta to the particles of an ensemble; None from fewer than two replicas, or where nothing or all reacted.

    Args:
        model: the parameters.
        ensemble: of particles that all begin with mass n, evenly on a torus.
        n: that mass.
        domain: the torus.
    """
    left = np.asarray(ensemble.survivors, dtype=float)[:, -1] / ensemble.count
    jump, pair = (2 if model.reaction == "annihilation" else 1), (np.array([n]), np.array([n]))
    if len(left) < 2 or not 2 / ensemble.count < left.mean() < 1:
        return None
    unit = domain.volume / ensemble.Z / clock(model, n, ensemble.log_eps, float(ensemble.times[-1]))

    def invert(mean: float) -> float:
        def excess(log_share: float) -> float:
            return mean_left(math.exp(log_share), ensemble.count, jump) - mean

        return math.exp(float(scipy.optimize.brentq(excess, -25.0, math.log(4 / mean), xtol=1e-11)))

    mean, error = float(left.mean()), float(left.std(ddof=1)) / math.sqrt(len(left))
    found = unit * invert(mean)
    step = min(max(error, 1e-6), (1 - mean) / 2, mean / 2)
    stderr = unit * abs(invert(mean + step) - invert(mean - step)) / (2 * step) * error
    theory, simple = float(propensity(model)(*pair)[0]), float(naive(model, *pair)[0])
    return FittedBeta(
        beta=found,
        stderr=stderr,
        theory=theory,
        deviation=(found - theory) / stderr if stderr > 0 else math.nan,
        naive=simple,
        naive_deviation=(found - simple) / stderr if stderr > 0 else math.nan,
    )


def rows(model: Model, ensembles: Any, initial: Initial | None, domain: Domain | None) -> list[dict[str, Any]]:
    """Entries `fitted_beta` of summary.json; none where the system is not of the kind."""
    n = None if initial is None or domain is None else species(model, initial, domain)
    if n is None or domain is None:
        return []
    fits = [(ensemble, fit(model, ensemble, n, domain)) for ensemble in ensembles]
    return [{"N": ensemble.count, **asdict(found)} for ensemble, found in fits if found is not None]
