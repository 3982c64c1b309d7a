"""Reference solutions of (Vl) in one dimension on a torus, by Fourier series in x and in v.

    d_t f + v d_x f + F d_v f = 0,    F = -d_x (Gamma * rho + U),    rho = int f dv.

A method with nothing in common with the solver of the package but its splitting in time: uniform points, translation in
x and in v by the fast Fourier transform, hence of spectral accuracy for smooth f that vanish towards the ends of the
velocities. Mass and int f^2 are kept to rounding, momentum (U = 0) as far as f vanishes at the ends, energy to the
order of the splitting; f is not kept positive. Translation of f in v is periodic: what leaves at one end comes back at
the other, so the interval must be wide enough. Filaments become too thin for the points at the time pi / (k dv).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.fft

from limitpde.errors import InputError
from limitpde.potentials.two_body import Potential, on_torus
from limitpde.vlasov.exact import torus_symbol
from limitpde.vlasov.model import Model
from limitpde.vlasov.splitting import composition

SpectralObserver = Callable[[float, np.ndarray], None]
"""t and the values on the grid, (nx, nv)."""


@dataclass(frozen=True, slots=True)
class PhaseIntegrals:
    """Integrals over phase space."""

    mass: float
    """int f."""
    momentum: float
    """int v f."""
    kinetic: float
    """int v^2 / 2 f."""
    field_energy: float
    """W = 1/2 int rho Gamma * rho dx, without the mean of Gamma."""
    exterior: float
    """int rho U dx."""
    l2: float
    """int f^2."""
    entropy: float
    """-int f log |f|."""
    minimum: float
    """Least value on the grid."""

    @property
    def energy(self) -> float:
        """Sum of the three energies."""
        return self.kinetic + self.field_energy + self.exterior


class SpectralReference:
    """Solves (Vl) on uniform points of phase space; see the head of the file.

    Args:
        potential: Gamma, by its Fourier symbol or its modes; a Python function by its values on the grid.

    Keyword Args:
        x: interval of the torus.
        v: interval of the velocities, outside which f is negligible.
        points: numbers of points in x and in v, even.
        exterior: U at positions (n,) -> (n,), periodic; none by default.

    Attributes:
        x: (nx, 1) positions.
        v: (1, nv) velocities.
        cell: area of a cell of phase space.

    Raises:
        InputError: an argument is out of range, or the potential makes no sense on the torus.
    """

    NUMBERS: ClassVar[type] = float
    """What the values on the grid are."""

    def __init__(
        self,
        potential: Potential,
        *,
        x: tuple[float, float],
        v: tuple[float, float],
        points: tuple[int, int],
        exterior: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        for name, interval in (("x", x), ("v", v)):
            if not -math.inf < interval[0] < interval[1] < math.inf:
                raise InputError(f"{name} = {interval!r}: must be two finite numbers, the second the larger one")
        if min(points) < 4 or any(number % 2 for number in points):
            raise InputError(f"points = {points!r}: must be two even numbers >= 4")
        (nx, nv), length = points, x[1] - x[0]
        self.dx, self.dv = length / nx, (v[1] - v[0]) / nv
        self.x = x[0] + self.dx * np.arange(nx)[:, np.newaxis]
        self.v = v[0] + self.dv * np.arange(nv)[np.newaxis]
        self.cell, self.length = self.dx * self.dv, length
        self.k = 2.0 * math.pi * scipy.fft.rfftfreq(nx, self.dx)
        self.symbol = _symbol_on(potential, self.x, self.k, x)
        self.exterior = np.zeros(nx) if exterior is None else np.asarray(exterior(self.x[:, 0]), dtype=float)
        self._exterior_force = -scipy.fft.irfft(self._derivative_factor() * scipy.fft.rfft(self.exterior), nx)
        self._phases: dict[float, np.ndarray] = {}

    @classmethod
    def of(cls, model: Model, points: tuple[int, int]) -> Self:
        """The grid of a model in one dimension on a torus.

        Raises:
            InputError: the model is not that, or the points are out of range.
        """
        if model.dimension != 1 or not model.domain.periodic:
            raise InputError(
                f"dimension = {model.dimension}, domain.periodic = {model.domain.periodic}: need 1 and true"
            )
        torus, outer = model.x_box, model.exterior
        exterior = None if outer is None else lambda x: outer.value(x[:, np.newaxis], torus)
        (x,), (v,) = torus.tolist(), model.v_box.tolist()
        return cls(model.potential, x=tuple(x), v=tuple(v), points=points, exterior=exterior)

    def _derivative_factor(self) -> np.ndarray:
        """1j k, 0 for the shortest wave, whose derivative the grid does not see."""
        return np.asarray(1j * np.concatenate([self.k[:-1], [0.0]]))

    def rho(self, density: np.ndarray) -> np.ndarray:
        """int f dv, (nx,)."""
        return np.asarray(density.sum(axis=1) * self.dv)

    def convolve(self, density: np.ndarray) -> np.ndarray:
        """Gamma * rho for rho (nx,), (nx,)."""
        return np.asarray(scipy.fft.irfft(self.symbol * scipy.fft.rfft(density), len(density)))

    def convolve_gradient(self, density: np.ndarray) -> np.ndarray:
        """Gamma' * rho for rho (nx,), (nx,)."""
        factor = self._derivative_factor() * self.symbol
        return np.asarray(scipy.fft.irfft(factor * scipy.fft.rfft(density), len(density)))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """F = -Gamma' * rho - U', (nx,)."""
        return np.asarray(self._exterior_force - self.convolve_gradient(rho))

    def phases(self, time: float) -> np.ndarray:
        """e^{-i k v time}, kept for the next step; (nx/2 + 1, nv)."""
        if time not in self._phases:
            if len(self._phases) > 16:
                self._phases.clear()
            self._phases[time] = np.exp(-1j * time * self.k[:, np.newaxis] * self.v)
        return self._phases[time]

    def mode(self, density: np.ndarray, number: int) -> complex:
        """int rho e^{-ikx} dx of f (nx, nv), k = 2 pi number / length."""
        wave = np.exp(-2j * math.pi * number / self.length * self.x[:, 0])
        return complex(wave @ self.rho(density) * self.dx)

    def figures(self, density: np.ndarray) -> PhaseIntegrals:
        """Integrals of f (nx, nv)."""
        rho = self.rho(density)
        by_velocity = density.sum(axis=0) * self.cell
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = np.where(density == 0.0, 0.0, -density * np.log(np.abs(density)))
        return PhaseIntegrals(
            mass=float(by_velocity.sum()),
            momentum=float(by_velocity @ self.v[0]),
            kinetic=float(by_velocity @ self.v[0] ** 2) / 2.0,
            field_energy=float(rho @ self.convolve(rho)) * self.dx / 2.0,
            exterior=float(rho @ self.exterior) * self.dx,
            l2=float((density**2).sum()) * self.cell,
            entropy=float(entropy.sum()) * self.cell,
            minimum=float(density.min()),
        )

    def drift(self, f: np.ndarray, time: float) -> np.ndarray:
        """f(x - v time, v), (nx, nv)."""
        waves = scipy.fft.rfft(f, axis=0)
        waves *= self.phases(time)
        return np.asarray(scipy.fft.irfft(waves, len(f), axis=0, overwrite_x=True))

    def kick(self, f: np.ndarray, time: float) -> np.ndarray:
        """f(x, v - F time), (nx, nv)."""
        frequencies = 2.0 * math.pi * scipy.fft.rfftfreq(f.shape[1], self.dv)
        waves = scipy.fft.rfft(f, axis=1)
        waves *= np.exp(-1j * time * np.outer(self.force(self.rho(f)), frequencies))
        return np.asarray(scipy.fft.irfft(waves, f.shape[1], axis=1, overwrite_x=True))

    def solve(
        self,
        initial: np.ndarray,
        end: float,
        step: float,
        *,
        order: int = 4,
        observers: Iterable[SpectralObserver] = (),
    ) -> np.ndarray:
        """f at time `end`, (nx, nv).

        Args:
            initial: f_0 on the grid, such as function(grid.x, grid.v); (nx, nv).
            end: time > 0.
            step: the longest step; steps are equal.

        Keyword Args:
            order: of the splitting, 2 or 4.
            observers: called with t and f at time 0 and after every step. Without them the ends of steps are merged.

        Raises:
            InputError: an argument is out of range.
        """
        return _march(self.drift, self.kick, self._start(initial), end, step, order, list(observers))

    def _start(self, initial: np.ndarray) -> np.ndarray:
        shape = (len(self.x), self.v.shape[1])
        values = np.array(np.broadcast_to(np.asarray(initial, dtype=self.NUMBERS), shape))
        if not np.isfinite(values).all():
            raise InputError("initial: must be finite on the grid")
        return values


def _symbol_on(potential: Potential, x: np.ndarray, k: np.ndarray, interval: tuple[float, float]) -> np.ndarray:
    """Gammahat at the wave numbers of the grid, (nx/2 + 1,), zero at 0."""
    x_box = np.array([interval])
    potential.check(x_box, periodic=True)
    waves = k[:, np.newaxis]
    if potential.symbol(waves[1:2]) is None and potential.modes(x_box) is None:
        values = on_torus(potential, x - interval[0], x_box)[0]
        symbol = np.array(scipy.fft.rfft(values).real * (interval[1] - interval[0]) / len(x))
        symbol[0] = 0.0
        return symbol
    return torus_symbol(potential, waves, x_box)


def _march(
    drift: Callable[[np.ndarray, float], np.ndarray],
    kick: Callable[[np.ndarray, float], np.ndarray],
    values: np.ndarray,
    end: float,
    step: float,
    order: int,
    observers: list[SpectralObserver],
) -> np.ndarray:
    """Equal steps of a composition whose first and last stage are of the same kind; merged where nobody looks."""
    for name, value in (("end", end), ("step", step)):
        if not 0.0 < value < math.inf:
            raise InputError(f"{name} = {value!r}: must be finite and greater than 0")
    flows = {"drift": drift, "kick": kick}
    stages = composition(order)
    steps = max(math.ceil(end / step * (1.0 - 1e-12)), 1)
    dt = end / steps
    for observer in observers:
        observer(0.0, values)
    seam = stages[0][0]
    pending = 0.0  # what the last step leaves of its last stage
    for number in range(1, steps + 1):
        for kind, share in stages[:-1]:
            values = flows[kind](values, (share + pending) * dt)
            pending = 0.0
        pending = stages[-1][1]
        if observers or number == steps:
            values = flows[seam](values, pending * dt)
            pending = 0.0
        for observer in observers:
            observer(number * dt, values)
    return values
