"""The rate of reaction on the first time scale, eps^2 (Hammond claims 3.5 and 3.6), and how it leaves the naive one.

A tracer particle among N that start independent and uniform in a unit volume, Z = 1, has reacted by the time t of
order eps^2 with the probability eps^2 K(t / eps^2) to leading order, where by independence of the others, in units
of eps,

    K(tau) = int (1 - E_y exp(-alpha int_0^tau V(Y_s) ds)) dy,   Y a path from y of generator D Lap, D = d(n) + d(m).

So K(tau) / tau -> alpha int V as tau -> 0: the naive rate (3.7), and the claims. By reversal of time K' = alpha int V w
with d_tau w = D Lap w - alpha V w, w = 1 at first: K' falls to alpha int V (1 - u) = beta, the true rate, as beta (1 +
a / sqrt(pi D tau)) (d = 3), hence within a time of order eps^2 that vanishes in the limit.

K is sampled here without any error but noise: reactions are thinned from a Poisson process of the rate alpha sup V, at
whose times the path is drawn exactly. For d = 2 alpha stands for alpha / |log eps| and K is multiplied by |log eps|.
With ranges, lengths are in units of (r_n + r_m) eps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.integrate

from limitpde.coagulation.interaction import Interaction, InteractionFromFile, sphere_area
from limitpde.coagulation.model import Model
from limitpde.coagulation.rates import naive, propensity
from limitpde.errors import InputError, RunError
from limitpde.nbody.random import Stream, generator

REACH = 6.0
"""Standard deviations from the support of V within which paths begin; the others react with a chance below 1e-8."""
BATCH = 100_000
"""Paths that are followed together."""


@dataclass(frozen=True, slots=True)
class InitialSlope:
    """The chance that a tracer has reacted, over eps^2 tau, at times eps^2 tau."""

    tau: np.ndarray
    """(T,) times in units of eps^2."""
    slope: np.ndarray
    """(T,) K(tau) / tau, sampled."""
    stderr: np.ndarray
    """(T,) standard errors."""
    radial: np.ndarray | None
    """(T,) the same from the radial equation for w; none where V is not radial."""
    naive: float
    """alpha int V, the limit tau -> 0."""
    beta: float
    """Limit of K'(tau) as tau -> infinity."""


def initial_slope(
    model: Model,
    tau: Sequence[float],
    *,
    n: int = 1,
    m: int = 1,
    samples: int = 400_000,
    log_eps: float | None = None,
    seed: int = 0,
) -> InitialSlope:
    """Sample K(tau) / tau for a pair of masses.

    Args:
        model: the parameters, with an interaction, in two or three dimensions.
        tau: (T,) times > 0 in units of eps^2.

    Keyword Args:
        n: mass of the tracer.
        m: mass of the others.
        samples: paths for each time.
        log_eps: two dimensions: log eps.
        seed: of the random numbers.

    Raises:
        InputError: an argument is out of range.
    """
    if model.interaction is None or model.dimension == 1:
        raise InputError("model: needs an interaction, and dimension 2 or 3")
    if model.range_exponent < 1:
        raise InputError("model.range_exponent: must be 1; below, the naive rate is that of all times")
    if (log_eps is None) == (model.dimension == 2) or (log_eps is not None and not log_eps < 0):
        raise InputError(f"log_eps = {log_eps}: must be given for dimension 2 only, and be negative")
    if samples < 2 or len(tau) == 0 or not all(0 < t < math.inf for t in tau):
        raise InputError(f"samples = {samples}, tau = {list(tau)}: must be at least 2, and times greater than 0")
    pair = np.array([n]), np.array([m])
    reach = float(model.range_sum(*pair)[0])
    weak = 1.0 if log_eps is None else -log_eps
    alpha, D = float(model.alpha(*pair)[0]) / weak, float(model.d(pair[0])[0] + model.d(pair[1])[0])
    scaled = [t / reach**2 for t in tau]
    front = weak * reach**model.dimension
    found = [
        _sample(model.interaction, model.dimension, alpha, D, t, samples, generator(seed, Stream.TEST, k))
        for k, t in enumerate(scaled)
    ]
    times = np.array(tau)
    radial = _radial(model.interaction, model.dimension, alpha, D, scaled) if model.interaction.radial else None
    return InitialSlope(
        tau=times,
        slope=front * np.array([mean for mean, _ in found]) / times,
        stderr=front * np.array([error for _, error in found]) / times,
        radial=None if radial is None else front * radial / times,
        naive=float(naive(model, *pair)[0]),
        beta=float(propensity(model, log_eps=log_eps)(*pair)[0]),
    )


def _supremum(interaction: Interaction, dimension: int) -> float:
    """An upper bound of V: its value at 0 for the built-in shapes, twice the largest on a grid for a user's."""
    if not isinstance(interaction, InteractionFromFile):
        return float(interaction.values(np.zeros((1, dimension)))[0])
    line = np.linspace(-1, 1, 41) * interaction.radius
    points = np.stack([axis.ravel() for axis in np.meshgrid(*[line] * dimension, indexing="ij")], axis=1)
    return 2 * float(interaction.values(points).max())


def _sample(
    interaction: Interaction, d: int, alpha: float, D: float, tau: float, samples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """K(tau) and its standard error, with all lengths in units of the range.

    Paths begin at distances of the density r^(d-1) / max(1, r / R), as those from afar react more seldom.
    """
    reach = interaction.reach(d)
    far = reach + REACH * math.sqrt(2 * D * tau)
    inner, outer = reach**d / d, reach * (far ** (d - 1) - reach ** (d - 1)) / (d - 1)
    total = squares = 0.0
    for begin in range(0, samples, BATCH):
        count = min(BATCH, samples - begin)
        level = rng.random(count) * (inner + outer)
        beyond = np.maximum(level - inner, 0.0) * (d - 1) / reach + reach ** (d - 1)
        r = np.where(level < inner, (d * level) ** (1 / d), beyond ** (1 / (d - 1)))
        direction = rng.standard_normal((count, d))
        y = direction * (r / np.linalg.norm(direction, axis=1))[:, None]
        weight = sphere_area(d) * (inner + outer) * np.maximum(1.0, r / reach)
        weight *= _reactions(interaction, alpha, D, tau, y, rng)
        total, squares = total + float(weight.sum()), squares + float((weight**2).sum())
    mean = total / samples
    return mean, math.sqrt(max(squares / samples - mean**2, 0.0) / samples)


def _reactions(
    interaction: Interaction, alpha: float, D: float, tau: float, y: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Which of the paths from y (n, d) react within tau, (n,) bool."""
    bound = _supremum(interaction, y.shape[1])
    reacted, path, left = np.zeros(len(y), dtype=bool), np.arange(len(y)), np.full(len(y), tau)
    while alpha * bound > 0:
        wait = rng.exponential(1 / (alpha * bound), len(path))
        alive = wait < left
        wait, path, y, left = wait[alive], path[alive], y[alive], left[alive] - wait[alive]
        if not len(path):
            break
        y = y + np.sqrt(2 * D * wait)[:, None] * rng.standard_normal(y.shape)
        value = interaction.values(y)
        if value.max() > bound * (1 + 1e-12):
            raise RunError(f"V = {value.max():.6g} exceeds {bound:.6g}, twice its largest value on a grid of 41 points")
        hit = rng.random(len(path)) * bound < value
        reacted[path[hit]] = True
        path, y, left = path[~hit], y[~hit], left[~hit]
    return reacted


def _radial(interaction: Interaction, d: int, alpha: float, D: float, taus: Sequence[float]) -> np.ndarray:
    """K(tau), (T,), from finite volumes for w(r, tau): what w has lost, as int (1 - w) dx = int_0^tau int alpha V w."""
    order, last = np.argsort(taus), max(taus)
    reach = interaction.reach(d)
    far = reach + REACH * math.sqrt(2 * D * last)
    inner = np.linspace(0, reach, 401)
    layer = min(math.sqrt(D * min(taus)) / 10, reach / 400)
    count = math.ceil(math.log1p((far - reach) * 0.02 / layer) / math.log1p(0.02))
    outer = reach + layer * (1.02 ** np.arange(1, count + 1) - 1) / 0.02
    edges = np.concatenate([inner, outer])
    area, centres = sphere_area(d), (edges[1:] + edges[:-1]) / 2
    volume = area / d * np.diff(edges**d)
    flux = D * area * edges[1:-1] ** (d - 1) / np.diff(centres)
    gauss, weights = np.polynomial.legendre.leggauss(4)
    inside = centres[:, None] + np.diff(edges)[:, None] / 2 * gauss
    hazard = alpha * interaction.profile(inside, d) * inside ** (d - 1) @ weights / (inside ** (d - 1) @ weights)

    def rates(_: float, loss: np.ndarray) -> np.ndarray:
        flow = flux * np.diff(loss)
        return hazard * (1 - loss) + (np.append(flow, 0.0) - np.append(0.0, flow)) / volume

    solution = scipy.integrate.solve_ivp(
        rates,
        (0, last),
        np.zeros(len(volume)),
        method="LSODA",
        t_eval=np.array(taus)[order],
        lband=1,
        uband=1,
        rtol=1e-8,
        atol=1e-11,
    )
    found = np.empty(len(taus))
    found[order] = volume @ solution.y
    return found
