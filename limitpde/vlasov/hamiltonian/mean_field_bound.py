"""The bound of Theorem 4.8 (Neiss and Pickl) with its constants: d beta_N / dt <= B_1 beta_N + B_2, and Gronwall.

With C >= |grad Gamma|, s = ||grad_v alpha||, n = ||D_v^2 alpha||, n_N = ||Lap_{v_1} alpha_N|| and a cutoff R > 0 the
paper's proof gives, where each step is taken as sharp as it is written,

    B_1 = 2 sqrt(2) C s ((1 + 2 N^-lambda) / (1 - 1/N))^(1/2)
          + 2 C ((1 + sqrt 2) s + 2 R) N^((lambda - 1)/2) ((1 + N^-lambda) / (1 - 1/N))^(1/2),
    B_2 = sqrt(2) C s N^-lambda ((1 + 2 N^-lambda) / (1 - 1/N))^(1/2)
          + (2 C / R) (n_N + n) ((1 + N^-lambda) / (1 - 1/N))^(1/2).

In it: |Vhat| <= C |xi_1 - xi_2|, so ||Vhat p_1 p_2|| and ||(Vhat * |ahat|^2) p|| are at most sqrt(2) C s, where (14),
(15) have C ||alpha||_{W^{1,2}}^2; in term (1'') the weight ((k + 1) / N)^(1/2) stands for n(k), whose inverse does not
exist at k = 0; and Delta_{-1} m has k up to N^lambda + 1, which makes 1 + N^-lambda where the paper has 1 in (2''').
R = N^((1 - lambda)/4) gives the theorem's powers; the least bound over R is never worse. Then

    beta_N(t) <= (beta_N(0) + int_0^t B_2) exp(int_0^t B_1).

A priori the norms are those of Corollaries 3.6, 3.8 and Lemma 3.4 (`bounds`). They grow like exp(exp(t)), and so the
bound says something for very short times only; with the norms that alpha and alpha_N have (`measured`), for longer
ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from limitpde.vlasov.hamiltonian.bounds import (
    consistency_constants,
    growth_bound,
    many_body_curvature_bound,
    second_derivative_bound,
)

CUTOFFS = np.logspace(-2, 6, 161)
"""R that are tried."""
POINTS = 65
"""Times at which the a priori norms are taken."""


@dataclass(frozen=True, slots=True)
class Norms:
    """Of alpha and alpha_N, at one time."""

    slope: float
    """||grad_v alpha||."""
    curvature: float
    """||D_v^2 alpha||."""
    many: float
    """||Lap_{v_1} alpha_N||."""


def rates(norms: Norms, constant: float, *, particles: int, exponent: float, cutoff: float) -> tuple[float, float]:
    """B_1 and B_2.

    Args:
        norms: at one time.
        constant: C, at least |grad Gamma|.

    Keyword Args:
        particles: N >= 2.
        exponent: lambda in [0, 1].
        cutoff: R.
    """
    share, few, s = particles**-exponent, 1 - 1 / particles, norms.slope
    pairs, single = math.sqrt((1 + 2 * share) / few), math.sqrt((1 + share) / few)
    first = 2 * math.sqrt(2) * constant * s * pairs
    first += 2 * constant * ((1 + math.sqrt(2)) * s + 2 * cutoff) * particles ** ((exponent - 1) / 2) * single
    second = math.sqrt(2) * constant * s * share * pairs
    return first, second + 2 * constant / cutoff * (norms.many + norms.curvature) * single


def gronwall(
    times: Sequence[float], norms: Sequence[Norms], *, constant: float, start: float, particles: int, exponent: float
) -> float:
    """log10 of the least bound of beta_N at the last time, over the cutoffs; infinite where norms are.

    Args:
        times: ascending, from 0.
        norms: at these times, between which B_1 and B_2 are integrated by the trapezoidal rule.

    Keyword Args:
        constant: C.
        start: beta_N(0).
        particles: N.
        exponent: lambda.
    """
    best = math.inf
    for cutoff in CUTOFFS:
        both = [rates(n, constant, particles=particles, exponent=exponent, cutoff=float(cutoff)) for n in norms]
        if not np.isfinite(both).all():
            continue
        first, second = (float(np.trapezoid(values, times)) for values in zip(*both, strict=True))
        if start + second <= 0:
            return -math.inf
        best = min(best, math.log10(start + second) + first / math.log(10))
    return best


def a_priori(
    constant: float, dimension: int, particles: int, one: tuple[float, float], many: tuple[float, float]
) -> Callable[[float], Norms]:
    """Bounds of the norms at any time, from those at time 0 (Corollaries 3.6, 3.8, Lemma 3.4), of a normalised alpha.

    Args:
        constant: C_Gamma.
        dimension: d.
        particles: N.
        one: ||grad alpha|| and ||D^2 alpha||.
        many: ||D_{z_1} alpha_N|| and ||D^2_{(z_1,z_2)} alpha_N||.
    """
    constants = consistency_constants(constant, particles=particles, dimension=dimension)

    def at(t: float) -> Norms:
        slope = growth_bound(math.hypot(1.0, one[0]), constant, t)
        return Norms(
            math.sqrt(max(slope**2 - 1, 0.0)) if slope < 1e150 else slope,
            second_derivative_bound(1.0, *one, constant, t, dimension=dimension),
            many_body_curvature_bound(*many, constants, t),
        )

    return at
