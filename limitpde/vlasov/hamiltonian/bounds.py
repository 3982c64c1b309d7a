"""Growth bounds of Neiss and Pickl: Corollaries 3.6, 3.7, 3.8 for (HVl), Lemmas 3.3 and 3.4 for (HLv^N).

C_Gamma is the constant of (Pot), M a bound of a norm at time 0, C = C_Gamma M^2. Norms of matrices are those of Hilbert
and Schmidt where they are integrated, operator norms where they are bounded by constants. The functions give what the
paper's proofs give; in four places that is not what is printed:

- (6), (8). The fixed point of the paper's integral equation Q = M (1 + e^{at}) + C int_0^t Q(s) e^{a(t-s)} ds, with
  a = 1 + C, has Q(0) = 2 M and is

      b_M(t) = M [1 + C + (1 + 3 C) e^{(1 + 2 C) t}] / (1 + 2 C);

  printed is C where 1 + 3 C stands (`printed_growth_bound`). For Gamma = 0 that is the constant M, while the norm of
  alpha_0(x - v t, v) grows linearly: the printed bound is wrong.
- (10). The Gronwall estimate gives C / (1 + C) e^{at} (e^{at} - 1), which is at most e^{2at} / 2 only for C <= 1.
- (11). The second derivative of e^{-S}, S = int K, also has the term |grad S|^2, which is missing; and the matrices of
  the two last terms have Hilbert-Schmidt norms up to sqrt(d) and sqrt(2 d) times their operator norms.
- Lemma 3.3. C_1 = max(1, 2 ||D^2 Gamma||); in the printed constant ||D^2 Gamma|| lacks its square.
"""

from __future__ import annotations

import math

import numpy as np

from limitpde.vlasov.model import Model

POINTS = 400
"""Gauss points of the integrals over time in (11)."""


def potential_bound(model: Model) -> float:
    """C_Gamma of (Pot), on a torus a bound for that of the periodic Gamma; infinite where there is none.

    An exterior potential is not covered by the Corollaries: with one it is infinite too.
    """
    if model.exterior is not None:
        return math.inf
    if not model.domain.periodic:
        return model.potential.bound(model.dimension)
    modes = model.potential.modes(model.x_box)
    return math.inf if modes is None else modes.bound()


def exp(x: float) -> float:
    """e^x, infinite where that is no number any more."""
    return math.exp(x) if x < 709 else math.inf


def growth_bound(M: float, constant: float, t: float) -> float:
    """b_M(t) of Corollary 3.6: ||alpha(t)||_{W^{1,2}} stays below it if ||alpha(0)||_{W^{1,2}} <= M.

    Args:
        M: bound of the norm at time 0.
        constant: C_Gamma.
        t: time >= 0.
    """
    C = constant * M**2
    return M * (1 + C + (1 + 3 * C) * exp((1 + 2 * C) * t)) / (1 + 2 * C)


def printed_growth_bound(M: float, constant: float, t: float) -> float:
    """(8) as printed, which solutions exceed; see the head of the file."""
    C = constant * M**2
    growth = C * exp((1 + 2 * C) * t) if C > 0 else 0.0
    return M * (1 + C + growth) / (1 + 2 * C)


def lipschitz_factor(M: float, constant: float, t: float) -> float:
    """Corollary 3.7: ||alpha(t) - beta(t)|| <= factor ||alpha(0) - beta(0)||, both W^{1,2} norms <= M at time 0."""
    C = constant * M**2
    rate = 1 + 2 * C
    a, b = M * (1 + C) / rate, M * (1 + 3 * C) / rate
    squares = a**2 * t + 2 * a * b * (exp(rate * t) - 1) / rate + b**2 * (exp(2 * rate * t) - 1) / (2 * rate)
    return exp(t + (4 * constant**2 * M**2 * squares if constant > 0 else 0.0))


def second_derivative_bound(
    norm: float, slope: float, curvature: float, constant: float, t: float, *, dimension: int
) -> float:
    """Corollary 3.8: a bound of ||D^2 alpha(t)||, from (9) to (11).

    Args:
        norm: ||alpha(0)||.
        slope: ||grad alpha(0)||.
        curvature: ||D^2 alpha(0)||, Hilbert-Schmidt.
        constant: C_Gamma.
        t: time >= 0.

    Keyword Args:
        dimension: d.
    """
    M = math.hypot(norm, slope)
    C = constant * norm**2
    rate = 1 + C

    def first(s: np.ndarray) -> np.ndarray:  # (9): ||D Z|| over a time s
        return np.exp(rate * s)

    def second(s: np.ndarray) -> np.ndarray:  # (10): ||D^2 Z||
        return C / rate * np.exp(rate * s) * np.expm1(rate * s)

    points, weights = np.polynomial.legendre.leggauss(POINTS)
    s, w = (points + 1) * t / 2, weights * t / 2
    end = np.array(t)
    with np.errstate(over="ignore", invalid="ignore"):
        growth = np.array([growth_bound(M, constant, float(time)) for time in s])
        force = np.where(constant > 0, constant * norm * growth, 0.0)  # |grad K|, |D^2 K|
        turn = float(w @ (force * first(t - s)))
        total = (
            curvature * first(end) ** 2
            + math.sqrt(2 * dimension) * slope * second(end)
            + 2 * slope * first(end) * turn
            + norm * math.sqrt(dimension) * (w @ (force * first(t - s) ** 2))
            + norm * math.sqrt(2 * dimension) * (w @ (force * second(t - s)))
            + norm * turn**2
        )
    return float(total) if math.isfinite(float(total)) else math.inf


def consistency_constants(constant: float, *, particles: int, dimension: int) -> tuple[float, float, float]:
    """C_1, C_2, C_3 of (MFC) for (Ham^N), Lemma 3.3, from ||D^2 Gamma||, ||D^3 Gamma|| <= C_Gamma.

    With n = N - 1: in D^2_{(z_1,z_2)} H the blocks x_1 x_1 and x_2 x_2 give brackets of at most 2 sqrt(d) C_Gamma
    ||grad_{v_1} alpha||, the two mixed ones 1/n of that. In [D^1 H, D^1 alpha] the rows of v give second derivatives of
    alpha, those of x at most sqrt(6 - 2/n) C_Gamma times their norm, by symmetry of alpha.

    Args:
        constant: C_Gamma.

    Keyword Args:
        particles: N >= 2.
        dimension: d.
    """
    n = particles - 1
    return (
        max(1.0, 2 * constant),
        math.sqrt(8 * dimension * (1 + 1 / n**2)) * constant,
        max(1.0, math.sqrt(6 - 2 / n) * constant),
    )


def many_body_slope_bound(slope: float, constants: tuple[float, float, float], t: float) -> float:
    """Lemma 3.4 (1): a bound of ||D_{z_1} alpha_N(t)||, from its value at time 0.

    Args:
        slope: ||D_{z_1} alpha_N(0)||.
        constants: C_1, C_2, C_3 of `consistency_constants`.
        t: time >= 0.
    """
    return slope * exp((1 + constants[0] ** 2) * t / 2)


def many_body_curvature_bound(slope: float, curvature: float, constants: tuple[float, float, float], t: float) -> float:
    """Lemma 3.4 (2): a bound of ||D^2_{(z_1,z_2)} alpha_N(t)||, from the two norms at time 0.

    Args:
        slope: ||D_{z_1} alpha_N(0)||.
        curvature: ||D^2_{(z_1,z_2)} alpha_N(0)||.
        constants: C_1, C_2, C_3 of `consistency_constants`.
        t: time >= 0.
    """
    first, second, third = constants
    rate = 1 + first**2
    inner = curvature**2 + second**2 / rate * slope**2 * (exp(rate * t) - 1)
    return math.sqrt(inner) * exp((1.5 + third**2) * t)
