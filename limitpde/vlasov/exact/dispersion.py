"""Linear stability of homogeneous equilibria of (Vl): dispersion function, its roots, the asymptote of the response.

A perturbation e^{i(kx - omega t)} of f_0(v), with density n_0 = int f_0 dv, grows or decays by the roots of

    D(k, omega) = 1 - Gammahat(k) int f_0'(v) / (v - omega / k) dv = 0,    Gammahat(k) = int Gamma e^{-ikx} dx,

on Landau's contour, which passes below omega / k. f_0 is a sum of streams with density n, drift u and temperature T,

    n (1 + c ((v - u)^2 / T - 1)) M(v),    M(v) = e^{-(v - u)^2 / (2 T)} / (2 pi T)^{1/2},    0 <= c <= 1:

a Maxwellian for c = 0, (v^2 / T) M for c = 1. With zeta = (omega / k - u) / (2 T)^{1/2} and the plasma dispersion
function Z(zeta) = i pi^{1/2} w(zeta) (Fried and Conte; w is Faddeeva's function) each stream adds

    int f' / (v - omega / k) dv = (n / (2 T)) (Z' + (c / 2) Z''').

In d dimensions k = |k|, and f_0 is its marginal along k. Landau's theory of the initial-value problem for
f = f_0(v) (1 + a cos kx) says that r(t) = rho_k(t) / rho_k(0) tends to a sum of residues, sum_j R_j e^{-i omega_j t}.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special

from limitpde.errors import InputError, RunError

FAR = 12.0
"""|zeta| beyond which the asymptotic series of Z is exact to rounding."""
TERMS = 24
"""Terms of that series."""
NEWTON_STEPS = 60
WindingMarks = tuple[np.ndarray, np.ndarray]
"""Real and imaginary parts of omega."""
SPLIT = 0.4871
"""Where a rectangle of the search is cut: off the centre, on which roots may lie."""


@dataclass(frozen=True, slots=True)
class Beam:
    """One part of a homogeneous equilibrium: n (1 + c ((v - u)^2 / T - 1)) times the Maxwellian of drift u."""

    density: float
    """n > 0, per unit of length (volume)."""
    drift: float = 0.0
    """u, along k."""
    temperature: float = 1.0
    """T > 0, the square of the thermal velocity of the Maxwellian."""
    hollow: float = 0.0
    """c: 0 for a Maxwellian, 1 for (v - u)^2 / T times it, between 0 and 1."""

    def __post_init__(self) -> None:
        if not 0.0 < self.density < math.inf:
            raise InputError(f"density = {self.density!r}: must be finite and greater than 0")
        if not math.isfinite(self.drift):
            raise InputError(f"drift = {self.drift!r}: must be finite")
        if not 0.0 < self.temperature < math.inf:
            raise InputError(f"temperature = {self.temperature!r}: must be finite and greater than 0")
        if not 0.0 <= self.hollow <= 1.0:
            raise InputError(f"hollow = {self.hollow!r}: must lie between 0 and 1")

    def value(self, v: np.ndarray) -> np.ndarray:
        """The density at velocities, in the shape of v."""
        square = (np.asarray(v) - self.drift) ** 2 / self.temperature
        scale = self.density / math.sqrt(2.0 * math.pi * self.temperature)
        return np.asarray(scale * (1.0 + self.hollow * (square - 1.0)) * np.exp(-square / 2.0))

    def transform(self, q: np.ndarray) -> np.ndarray:
        """int f e^{-iqv} dv = n e^{-iqu} (1 - c q^2 T) e^{-q^2 T / 2}, in the shape of q, complex."""
        q = np.asarray(q)
        square = q**2 * self.temperature
        gaussian = np.exp(-square / 2.0 - 1j * q * self.drift)
        return np.asarray(self.density * (1.0 - self.hollow * square) * gaussian)

    def cauchy(self, s: complex, derivatives: int) -> np.ndarray:
        """H(s) = int f / (v - s) dv on Landau's contour, and its first derivatives: (derivatives + 1,)."""
        width = math.sqrt(2.0 * self.temperature)
        z = plasma_dispersion((s - self.drift) / width, derivatives + 2)
        powers = width ** -(1.0 + np.arange(derivatives + 1))
        return np.asarray(self.density * powers * (z[:-2] + self.hollow / 2.0 * z[2:]))


def plasma_dispersion(zeta: complex, derivatives: int = 0) -> np.ndarray:
    """Z(zeta) = i pi^{1/2} w(zeta), entire, with its first derivatives: (derivatives + 1,).

    By Faddeeva's function and Z^{(m + 1)} = -2 (zeta Z^{(m)} + m Z^{(m - 1)}), Z' = -2 (1 + zeta Z); where |zeta| is
    large, and these cancel, by the series -sum_n (2n - 1)!! 2^{-n} zeta^{-2n - 1}, to which 2 i pi^{1/2} e^{-zeta^2} is
    added below the real axis.
    """
    zeta = np.complex128(zeta)
    result = np.empty(derivatives + 1, dtype=complex)
    if abs(zeta) > FAR:
        return _far_plasma_dispersion(zeta, derivatives)
    result[0] = 1j * math.sqrt(math.pi) * scipy.special.wofz(zeta)
    for m in range(derivatives):
        before = m * result[m - 1] if m else 1.0
        result[m + 1] = -2.0 * (zeta * result[m] + before)
    return result


def _far_plasma_dispersion(zeta: np.complex128, derivatives: int) -> np.ndarray:
    n = np.arange(TERMS)
    term = -np.cumprod(np.concatenate([[1.0], n[1:] - 0.5])) * (1.0 / zeta) ** (2.0 * n + 1.0)
    result = np.empty(derivatives + 1, dtype=complex)
    for m in range(derivatives + 1):
        result[m] = term.sum()
        term = -term * (2.0 * n + 1.0 + m) / zeta
    if zeta.imag < 0.0:
        residue = 2j * math.sqrt(math.pi) * np.exp(-zeta * zeta)
        hermite = [1.0, 2.0 * zeta]
        for m in range(1, derivatives):
            hermite.append(2.0 * zeta * hermite[m] - 2.0 * m * hermite[m - 1])
        result += residue * np.array([(-1) ** m * hermite[m] for m in range(derivatives + 1)])
    return result


def dispersion(omega: complex, k: float, symbol: float, streams: Sequence[Beam]) -> tuple[complex, complex]:
    """D(k, omega) and its derivative by omega.

    Args:
        omega: complex frequency; Im omega > 0 grows.
        k: wave number > 0.
        symbol: Gammahat(k).
        streams: the equilibrium, at least one.

    Raises:
        InputError: k or the streams are not as said.
    """
    _check(k, symbol, streams)
    return _dispersion(complex(omega), k, symbol, streams)


def _dispersion(omega: complex, k: float, symbol: float, streams: Sequence[Beam]) -> tuple[complex, complex]:
    _, first, second = _cauchy(omega / k, streams)
    return complex(1.0 - symbol * first), complex(-symbol * second / k)


def _cauchy(s: complex, streams: Sequence[Beam]) -> np.ndarray:
    """H, H' and H'' of all streams, (3,)."""
    return np.sum([stream.cauchy(s, 2) for stream in streams], axis=0)


def _check(k: float, symbol: float, streams: Sequence[Beam]) -> None:
    if not 0.0 < k < math.inf:
        raise InputError(f"k = {k!r}: must be finite and greater than 0")
    if not math.isfinite(symbol):
        raise InputError(f"symbol = {symbol!r}: must be finite")
    if not streams:
        raise InputError("streams = []: at least one is needed")


def root_near(guess: complex, k: float, symbol: float, streams: Sequence[Beam]) -> complex:
    """The root of D that Newton's method finds from a guess, to rounding.

    Raises:
        InputError: k, symbol or the streams are out of range.
        RunError: it does not converge.
    """
    _check(k, symbol, streams)
    omega, last = complex(guess), math.inf
    unit = k * math.sqrt(2.0 * min(stream.temperature for stream in streams))
    for _ in range(NEWTON_STEPS):
        with np.errstate(over="ignore", invalid="ignore"):  # of steps that lead far down, where e^{-zeta^2} overflows
            value, slope = _dispersion(omega, k, symbol, streams)
        if slope == 0.0 or not np.isfinite([value, slope]).all():
            break
        step, size = value / slope, abs(omega) + unit
        omega -= step
        if abs(step) <= 2e-16 * size or (abs(step) < 1e-11 * size and abs(step) >= last):
            return omega
        last = abs(step)
    raise RunError(f"no root of the dispersion function was found from omega = {guess:.6g} (k = {k:g})")


def dominant_root(k: float, symbol: float, streams: Sequence[Beam]) -> complex:
    """The root of largest Im omega; of two that are mirror images, the one with Re omega > 0.

    The argument principle counts the roots in the upper half plane and in strips below it that grow deeper until
    there is one; the counted roots are then separated and found by Newton's method.

    Raises:
        InputError: k, symbol or the streams are out of range, or symbol = 0: there is none.
        RunError: none was found down to where e^{-zeta^2} overflows.
    """
    _check(k, symbol, streams)
    if symbol == 0.0:
        raise InputError("symbol = 0.0: free streaming has no root")
    width = math.sqrt(2.0 * min(stream.temperature for stream in streams))
    widest = math.sqrt(2.0 * max(stream.temperature for stream in streams))
    plasma = math.sqrt(sum(stream.density for stream in streams) * abs(symbol))
    fastest = max(abs(stream.drift) for stream in streams)
    reach = k * (fastest + 4.0 * widest + 3.0 * plasma)  # |D - 1| < 1 beyond it, down to Im zeta of order -4
    top, depth = 1.01 * reach, 0.03 * k * width
    while depth < 18.0 * k * width:
        low, high = complex(-1.03 * reach - depth, -depth), complex(1.07 * reach + depth, top)
        found = roots_within(low, high, k, symbol, streams)
        if found:
            largest = max(omega.imag for omega in found)
            tied = [omega for omega in found if omega.imag > largest - 1e-9 * reach]
            return max(tied, key=lambda omega: omega.real)
        depth *= 1.7
    raise RunError(
        f"no root of the dispersion function down to Im omega = {-depth:.3g} (k = {k:g}, symbol = {symbol:g})"
    )


def roots_within(low: complex, high: complex, k: float, symbol: float, streams: Sequence[Beam]) -> list[complex]:
    """All roots of D in the rectangle with these lower left and upper right corners.

    Raises:
        InputError: k, symbol or the streams are out of range.
        RunError: a root lies on the boundary, or there is a multiple one.
    """
    _check(k, symbol, streams)

    def value(omega: complex) -> complex:
        return _dispersion(omega, k, symbol, streams)[0]

    marks = _marks(low, k, streams)
    number = _winding(value, low, high, marks)
    found: list[complex] = []
    pending = [(low, high, number)] if number else []
    smallest = 1e-7 * abs(high - low)
    while pending:
        low, high, number = pending.pop()
        if number == 1:
            omega = _newton_inside(low, high, k, symbol, streams)
            if omega is not None:
                found.append(omega)
                continue
        if abs(high - low) < smallest:
            raise RunError(f"the dispersion function has a multiple root near omega = {low:.6g} (k = {k:g})")
        for part_low, part_high in _halves(low, high):
            inside = _winding(value, part_low, part_high, marks)
            if inside:
                pending.append((part_low, part_high, inside))
    return sorted(found, key=lambda omega: -omega.imag)


def _newton_inside(low: complex, high: complex, k: float, symbol: float, streams: Sequence[Beam]) -> complex | None:
    """The root from the centre of the rectangle if it lies inside."""
    try:
        omega = root_near((low + high) / 2.0, k, symbol, streams)
    except RunError:
        return None
    slack = 1e-9 * abs(high - low)
    right = low.real - slack <= omega.real <= high.real + slack
    return omega if right and low.imag - slack <= omega.imag <= high.imag + slack else None


def _halves(low: complex, high: complex) -> list[tuple[complex, complex]]:
    size = high - low
    if size.real > size.imag:
        x = low.real + SPLIT * size.real
        return [(low, complex(x, high.imag)), (complex(x, low.imag), high)]
    y = low.imag + SPLIT * size.imag
    return [(low, complex(high.real, y)), (complex(low.real, y), high)]


def _winding(value: Callable[[complex], complex], low: complex, high: complex, marks: WindingMarks) -> int:
    """Zeros of an analytic function in a rectangle: the turns of its value along the boundary."""
    corners = [low, complex(high.real, low.imag), high, complex(low.real, high.imag), low]
    turned = 0.0
    for number, (start, end) in enumerate(itertools.pairwise(corners)):
        size = end - start
        along = (marks[0] - start.real) / size.real if number % 2 == 0 else (marks[1] - start.imag) / size.imag
        shares = np.union1d(np.linspace(0.0, 1.0, 9), along[(along > 0.0) & (along < 1.0)])
        points = [start + size * share for share in shares]
        stack = list(itertools.pairwise([(point, value(point)) for point in points]))
        while stack:
            (a, value_a), (b, value_b) = stack.pop()
            angle = float(np.angle(value_b * value_a.conjugate()))
            if abs(angle) < 0.7 and value_a != 0.0 and value_b != 0.0:
                turned += angle
                continue
            if abs(b - a) < 1e-12 * abs(high - low):
                raise RunError(f"the dispersion function vanishes on the boundary of the search, near omega = {a:.6g}")
            middle = (a + b) / 2.0
            value_middle = value(middle)
            stack += [((a, value_a), (middle, value_middle)), ((middle, value_middle), (b, value_b))]
    return round(turned / (2.0 * math.pi))


def _marks(low: complex, k: float, streams: Sequence[Beam]) -> WindingMarks:
    """Where an edge is sampled: as finely as D varies near the velocities of the streams, and e^{-zeta^2} below."""
    real, imaginary = [], []
    for stream in set(streams):
        width = k * math.sqrt(2.0 * stream.temperature)
        depth = max(-low.imag / width, 0.0)
        step = min(0.3, 1.0 / (2.0 + depth))
        reach = max(5.0, depth + 3.0)
        real.append(k * stream.drift + width * np.arange(-reach, reach, step))
        imaginary.append(width * np.arange(-depth, 5.0, step))
    return np.concatenate(real), np.concatenate(imaginary)


def residue(omega: complex, k: float, symbol: float, streams: Sequence[Beam]) -> complex:
    """R of the part R e^{-i omega t} of r(t) that belongs to a root: H(omega / k) / (n_0 Gammahat H''(omega / k)).

    H(s) = int f_0 / (v - s) dv; the perturbation is f_0(v) (1 + a cos kx). Of an even f_0, whose roots come in pairs
    omega, -conj(omega), each pair adds 2 |R| e^{gamma t} cos(Re omega t - theta), R = |R| e^{i theta}.

    Raises:
        InputError: k, symbol or the streams are out of range.
    """
    _check(k, symbol, streams)
    cauchy, _, second = _cauchy(omega / k, streams)
    return complex(cauchy / (sum(stream.density for stream in streams) * symbol * second))
