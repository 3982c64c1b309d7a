"""The model as the compiled simulator takes it."""

from __future__ import annotations

import math

import numpy as np

from limitpde.coagulation.interaction import ProductLaw
from limitpde.coagulation.model import Model, PowerLaw
from limitpde.coagulation.rates import capacity
from limitpde.coagulation.rates.scattering import integral, scattering
from limitpde.coagulation.simulator.pairs import MassLaw, Physics, law
from limitpde.coagulation.simulator.potential import potential_of
from limitpde.domains import Domain
from limitpde.errors import InputError

METHODS = ("micro", "closed", "auto")
TABULATED = 1024
"""Masses for which a power law is tabulated."""
SPACING = 0.005
"""Distance of the tabulated log(alpha / D): linear interpolation of log a is then good to 1e-6."""
DEEPEST = 60.0
"""d = 2: |log eps| up to which `auto` means `micro`."""
CROWDED = 20_000
"""d = 3: N up to which `auto` means `micro`."""


def chosen_method(method: str, model: Model, count: int, Z: float) -> str:
    """`micro` or `closed`; auto is `micro` where that costs seconds per replica.

    Raises:
        InputError: there is no such method.
    """
    if method not in METHODS:
        raise InputError(f"particles.method = {method!r}: must be one of {', '.join(METHODS)}")
    if method != "auto":
        return method
    cheap = count <= CROWDED if model.dimension == 3 else -model.log_eps(count, Z) <= DEEPEST
    return "micro" if cheap else "closed"


def physics_of(
    model: Model,
    count: int,
    Z: float,
    domain: Domain,
    *,
    method: str,
    heaviest: int,
) -> Physics:
    """What N particles of a model are and do.

    Args:
        model: the model.
        count: N.
        Z: the total mass of the initial densities.
        domain: where the particles live.

    Keyword Args:
        method: micro or closed.
        heaviest: no mass exceeds this.

    Raises:
        InputError: the model has no interaction, or its dimension is one, or no eps < 1 belongs to N.
    """
    log_eps = model.log_eps(count, Z)
    if model.interaction is None:
        raise InputError("model.interaction is missing: particles need it")
    if domain.dimension != model.dimension:
        raise InputError(f"the domain has dimension {domain.dimension}, the model {model.dimension}")
    flat = model.dimension == 2
    given = model.interaction.alpha
    alpha = np.atleast_2d(np.array(given.scale if isinstance(given, ProductLaw) else given, dtype=float))
    strength = _law(PowerLaw(power=given.power)) if isinstance(given, ProductLaw) else MassLaw(np.ones(1), 0.0, 0.0)
    log_front = model.log_front(log_eps)
    closed = method == "closed" and bool(alpha.max() > 0)
    log_s, lengths = _lengths(model, strength, alpha, log_front, heaviest) if closed else (np.zeros(2), np.zeros(2))
    bounded = domain.kind != "space"
    return Physics(
        V=potential_of(model.interaction, model.dimension),
        flat=flat,
        log_eps=log_eps,
        log_front=log_front,
        alpha=alpha,
        strength=strength,
        diffusion=_law(model.diffusion),
        ranges=MassLaw(np.array([0.5]), 0.0, 0.0) if model.ranges is None else _law(model.ranges),
        splitting=_splitting(model),
        merge=model.reaction == "coagulation",
        closed=closed,
        lengths=lengths,
        log_s=log_s,
        domain=domain.number,
        low=_padded(domain.low),
        size=_padded(domain.size) if bounded else np.zeros(3),
        contact=np.array(
            [
                alpha.max() * integral(model.interaction, model.dimension) * (1.0 if flat else math.exp(log_front)),
                2 * math.pi if flat else capacity(model),
            ]
        ),
    )


def _padded(v: np.ndarray) -> np.ndarray:
    return np.concatenate([v, np.zeros(3 - len(v))]).astype(float)


def _law(table: tuple[float, ...] | PowerLaw) -> MassLaw:
    if isinstance(table, PowerLaw):
        return MassLaw(table.at(np.arange(1, TABULATED + 1)), table.scale, table.power)
    return MassLaw(np.array(table, dtype=float), 0.0, 0.0)


def _splitting(model: Model) -> MassLaw:
    if model.fragmentation is None:
        return MassLaw(np.empty(0), 0.0, 0.0)
    found = model.fragmentation
    return MassLaw(found.at(np.arange(1, TABULATED + 1)), found.rate, found.power)


def _lengths(
    model: Model, strength: MassLaw, alpha: np.ndarray, log_front: float, heaviest: int
) -> tuple[np.ndarray, np.ndarray]:
    """The table of scattering lengths: (2,) first log(alpha / D) with one over the spacing, and the logs, (k,)."""
    masses = np.unique(np.append(np.arange(1, min(heaviest, TABULATED) + 1), heaviest))
    d = model.d(masses)
    positive = alpha[alpha > 0]
    weak, strong = sorted(2 * math.log(law(strength, int(mass))) for mass in (1, heaviest))
    low = math.log(positive.min() / (2 * d.max())) + weak + log_front - SPACING
    high = math.log(positive.max() / (2 * d.min())) + strong + log_front + SPACING
    at = np.linspace(low, high, max(8, math.ceil((high - low) / SPACING)) + 1)
    assert model.interaction is not None
    seen = scattering(model.interaction, model.dimension)
    found = (
        seen.log_length(np.exp(at)) if model.dimension == 2 else np.log(seen.conductance(np.exp(at)) / (4 * math.pi))
    )
    return np.array([low, 1 / (at[1] - at[0])]), np.asarray(found)
