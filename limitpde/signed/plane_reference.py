"""Reference solution of the signed system in the whole plane, by Fourier series: an oracle for smooth data.

The system is van Meurs-Peletier-Slangen (1.3) = (5.6) with the diffusivity D,

    d_t rho_s + s gamma_bar div(rho_s K*(rho+ - rho-)) = D Lap rho_s,   s = +1, -1,   K(x) = x/|x|^2,

or that of vortices, with K_perp = (-x_2, x_1) / |x|^2 in place of s K.

Space: Fourier series on the square [-L, L)^2, products cut at 2/3 of the band; the field K*(rho+ - rho-) is that of the
whole plane, with spectral accuracy, by the truncated kernel of Vico, Greengard and Ferrando (arXiv 1604.03155).
Time: the classical Runge-Kutta method of order four, with diffusion taken exactly (integrating factor).

Mass is conserved to rounding. The limits, to be watched by whoever uses it:

- the densities (not the field) are periodic, so they must vanish at the edge of the square:
  `PlaneSolution.edge_density` says what is left there, `PlaneReference.needed_half_width` what to ask for;
- they must be resolved: `PlaneSolution.spectral_tail`;
- nothing keeps them positive: `PlaneSolution.minimum`.

The error of the second moment, whose exact law is `limitpde.signed.exact.second_moment_rate`, shows the first two.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.special

from limitpde.errors import InputError, RunError

type PlaneFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]

SIGNS = np.array([1.0, -1.0])[:, np.newaxis, np.newaxis]
EVALUATION_CHUNK = 2048  # points evaluated at a time: bounds the memory of `PlaneSolution.evaluate`
NORM_GROWTH_ALLOWED = 1e-6  # relative growth of the squared L2 norms in a step beyond which a run counts as unstable


@dataclass(frozen=True, slots=True, eq=False)
class PlaneSolution:
    """Both densities at one time on the grid axis x axis (first index: x_1, second: x_2)."""

    time: float  # time since the initial data
    axis: np.ndarray  # (points,) coordinates of the grid lines, -L + h i
    positive: np.ndarray  # (points, points) rho+ per unit area
    negative: np.ndarray  # (points, points) rho- per unit area

    @property
    def spacing(self) -> float:
        """Distance h of neighbouring grid points."""
        return float(self.axis[1] - self.axis[0])

    @property
    def at_origin(self) -> tuple[float, float]:
        """rho+ and rho- at x = 0, which is a grid point."""
        middle = self.axis.size // 2
        return float(self.positive[middle, middle]), float(self.negative[middle, middle])

    @property
    def masses(self) -> tuple[float, float]:
        """Integrals of rho+ and rho-."""
        return self._integral(self.positive), self._integral(self.negative)

    @property
    def l2_norms(self) -> tuple[float, float]:
        """L2(R^2) norms of rho+ and rho-."""
        return self._integral(self.positive**2) ** 0.5, self._integral(self.negative**2) ** 0.5

    @property
    def second_moment(self) -> float:
        """Integral of |x|^2 (rho+ + rho-)."""
        squares = self.axis**2
        return self._integral((squares[:, np.newaxis] + squares) * (self.positive + self.negative))

    @property
    def centre(self) -> np.ndarray:
        """(2,) centre of all mass, integral of x (rho+ + rho-) over the mass of both signs."""
        both = self.positive + self.negative
        first_moments = [self._integral(self.axis[:, np.newaxis] * both), self._integral(self.axis * both)]
        return np.array(first_moments) / self._integral(both)

    @property
    def minimum(self) -> tuple[float, float]:
        """Smallest grid values of rho+ and rho- (negative ones show the error: nothing enforces positivity)."""
        return float(self.positive.min()), float(self.negative.min())

    @property
    def edge_density(self) -> float:
        """Largest |rho+| or |rho-| on the edge of the square: the size of the periodic images' error."""
        return max(
            float(np.abs(rho[edge]).max()) for rho in (self.positive, self.negative) for edge in (0, np.s_[:, 0])
        )

    @property
    def spectral_tail(self) -> float:
        """Largest Fourier coefficient beyond 0.6 of the band relative to the largest of all: the resolution's error."""
        spectra = np.abs(scipy.fft.fft2(np.stack([self.positive, self.negative])))
        frequencies = np.abs(scipy.fft.fftfreq(self.axis.size)) * 2.0
        outer = np.maximum(frequencies[:, np.newaxis], frequencies) > 0.6
        return float(spectra[:, outer].max() / spectra.max())

    def evaluate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both densities anywhere in the square, by the trigonometric polynomials through the grid values.

        Args:
            points: (n, 2) positions in [-L, L]^2.

        Returns:
            rho+ and rho- at the points, each (n,).

        Raises:
            InputError: if the shape is not (n, 2) or a point lies outside the square.
        """
        points = np.asarray(points, dtype=float)
        if points.ndim != 2 or points.shape[1] != 2:
            raise InputError(f"points has the shape {points.shape}; it must be (n, 2)")
        if not np.all(np.abs(points) <= -self.axis[0]):
            raise InputError(f"points must lie in the square |x_1|, |x_2| <= half_width = {-self.axis[0]:g}")
        coefficients = scipy.fft.fft2(np.stack([self.positive, self.negative]), norm="forward")
        chunks = [
            self._trigonometric_sums(coefficients, points[first : first + EVALUATION_CHUNK])
            for first in range(0, len(points), EVALUATION_CHUNK)
        ]
        values = np.concatenate(chunks, axis=1) if chunks else np.zeros((2, 0))
        return values[0], values[1]

    def _trigonometric_sums(self, coefficients: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(2, n) values of the two Fourier series with the given (2, points, points) coefficients."""
        wavenumbers = 2.0 * np.pi * scipy.fft.fftfreq(self.axis.size, self.spacing)
        waves = np.exp(1j * (points[:, :, np.newaxis] - self.axis[0]) * wavenumbers)  # (n, 2, points)
        return np.stack([np.sum((waves[:, 0] @ table) * waves[:, 1], axis=1).real for table in coefficients])

    def _integral(self, values: np.ndarray) -> float:
        """Trapezoidal rule on the grid: spectrally accurate for what vanishes at the edge."""
        return float(values.sum()) * self.spacing**2


class PlaneReference:
    """Free-space solver of (1.3) = (5.6) for smooth data on a square grid: setup once, `solve` for any initial data.

    Args:
        diffusivity: D >= 0 (sigma^2/2 for particles with noise sigma).
        gamma_bar: strength of the interaction; > 0: equal signs repel, < 0: they attract (as in (1.2)).
        half_width: L; the grid covers [-L, L)^2.
        points: grid points per direction, even; a power of two times 1 or 3 is fastest.
        rotated: the velocities of vortices.

    Raises:
        InputError: for values outside these ranges.
    """

    def __init__(
        self, *, diffusivity: float, gamma_bar: float, half_width: float, points: int, rotated: bool = False
    ) -> None:
        if not (np.isfinite(diffusivity) and diffusivity >= 0.0):
            raise InputError(f"diffusivity = {diffusivity!r} must be a finite number >= 0")
        if not np.isfinite(gamma_bar):
            raise InputError(f"gamma_bar = {gamma_bar!r} must be a finite number")
        if not (np.isfinite(half_width) and half_width > 0.0):
            raise InputError(f"half_width = {half_width!r} must be a finite number > 0")
        if points < 16 or points % 2:
            raise InputError(f"points = {points!r} must be an even number >= 16")
        self.diffusivity, self.gamma_bar, self.half_width, self.points = diffusivity, gamma_bar, half_width, points
        self.rotated = rotated
        self.spacing = 2.0 * half_width / points
        self.axis = -half_width + self.spacing * np.arange(points)
        self._log_kernel = _truncated_log_kernel(points, self.spacing)

        full = 2.0 * np.pi * scipy.fft.fftfreq(points, self.spacing)[:, np.newaxis]
        half = 2.0 * np.pi * scipy.fft.rfftfreq(points, self.spacing)[np.newaxis, :]
        self._wavenumbers_squared = full**2 + half**2
        band_limit = 2.0 / 3.0 * np.pi / self.spacing
        kept = (np.abs(full) < band_limit) & (half < band_limit)
        self._divergence = np.stack([1j * full * kept, 1j * half * kept])  # of a vector field, products cut at 2/3

    def needed_half_width(
        self, *, offset: float, variance: float, mass: float, t_end: float, tolerance: float
    ) -> float:
        """Half width at which a Gaussian's density at t_end has dropped to `tolerance` times that of its centre.

        An estimate: diffusion widens the Gaussian (offset: distance of its centre from the origin; variance per
        coordinate), and the field of at most `mass` (of both signs) then drives its tail from r to
        (r^2 + 2 |gamma_bar| mass t)^(1/2).
        """
        tail = offset + np.sqrt(2.0 * (variance + 2.0 * self.diffusivity * t_end) * np.log(1.0 / tolerance))
        return float(np.sqrt(tail**2 + 2.0 * abs(self.gamma_bar) * mass * t_end))

    def field(self, density: np.ndarray) -> np.ndarray:
        """K*density on the grid, (2, points, points), for grid values (points, points) that vanish at the edge."""
        padded = 2 * self.points
        spectrum = scipy.fft.rfft2(density, s=(padded, padded))
        field = scipy.fft.irfft2(spectrum * self._log_kernel[:2], s=(padded, padded))
        return field[:, : self.points, : self.points]

    def potential(self, density: np.ndarray) -> np.ndarray:
        """-log|.| * density on the grid, (points, points); K*density is minus its gradient."""
        padded = 2 * self.points
        spectrum = scipy.fft.rfft2(density, s=(padded, padded))
        return -scipy.fft.irfft2(spectrum * self._log_kernel[2], s=(padded, padded))[: self.points, : self.points]

    def solve(self, positive: PlaneFunction, negative: PlaneFunction, t_end: float, step: float) -> PlaneSolution:
        """Carry the densities from time 0 to t_end.

        Args:
            positive: rho+ at time 0, a vectorised function of the coordinates (x_1, x_2).
            negative: rho- at time 0, likewise.
            t_end: final time, > 0.
            step: time step, > 0; shortened so that a whole number of steps fits.

        Returns:
            The densities at t_end.

        Raises:
            InputError: if a time is not positive, or initial values are not finite.
            RunError: if values stop being finite, or the L2 norms grow where the equation (gamma_bar >= 0) lets them
                only fall: the step is too long or the grid too coarse.
        """
        if not (np.isfinite(t_end) and t_end > 0.0 and np.isfinite(step) and step > 0.0):
            raise InputError(f"t_end = {t_end!r} and step = {step!r} must be finite numbers > 0")
        spectra = scipy.fft.rfft2(self._initial_values(positive, negative))
        steps = int(np.ceil(t_end / step * (1.0 - 1e-12)))
        spectra = self._runge_kutta(spectra, steps, t_end / steps)
        densities = scipy.fft.irfft2(spectra, s=(self.points, self.points))
        return PlaneSolution(time=t_end, axis=self.axis, positive=densities[0], negative=densities[1])

    def _initial_values(self, positive: PlaneFunction, negative: PlaneFunction) -> np.ndarray:
        """(2, points, points) grid values of the initial densities, checked."""
        x, y = np.meshgrid(self.axis, self.axis, indexing="ij")
        values = np.stack([np.broadcast_to(density(x, y), x.shape) for density in (positive, negative)])
        if not np.isfinite(values).all():
            raise InputError("the initial densities must be finite on the whole grid")
        return values

    def _runge_kutta(self, spectra: np.ndarray, steps: int, step: float) -> np.ndarray:
        """Integrating-factor Runge-Kutta 4 on the (2, points, points/2 + 1) spectra of both signs."""
        half_decay = np.exp(-0.5 * step * self.diffusivity * self._wavenumbers_squared)
        decay = half_decay**2
        for index in range(steps):
            before = _squared_norm(spectra)
            with np.errstate(over="ignore", invalid="ignore"):
                first = self._transport(spectra)
                second = self._transport(half_decay * (spectra + 0.5 * step * first))
                third = self._transport(half_decay * spectra + 0.5 * step * second)
                fourth = self._transport(decay * spectra + step * half_decay * third)
                spectra = decay * (spectra + step / 6.0 * first) + step / 6.0 * (
                    2.0 * half_decay * (second + third) + fourth
                )
                after = _squared_norm(spectra)
            grew = self.gamma_bar >= 0.0 and after > before * (1.0 + NORM_GROWTH_ALLOWED)
            if grew or not np.isfinite(after):
                raise RunError(
                    f"the densities {'grew' if grew else 'stopped being finite'} at t = {(index + 1) * step:g}: "
                    f"take a step below {step:g}, or more than {self.points} points"
                )
        return spectra

    def _transport(self, spectra: np.ndarray) -> np.ndarray:
        """Spectra of -s gamma_bar div(rho_s K*(rho+ - rho-)), or that with K_perp, from those of rho+ and rho-."""
        densities = scipy.fft.irfft2(spectra, s=(self.points, self.points))
        field = self.field(densities[0] - densities[1])
        if self.rotated:
            field = np.stack([-field[1], field[0]])
        first, second = (scipy.fft.rfft2(densities * component) for component in field)
        divergence: np.ndarray = self._divergence[0] * first + self._divergence[1] * second
        return np.asarray(-self.gamma_bar * (1.0 if self.rotated else SIGNS) * divergence)


def _squared_norm(spectra: np.ndarray) -> float:
    """A multiple of the sum of the squared L2 norms (columns 1, 2, ... of the half spectra stand for two)."""
    squares = np.abs(spectra) ** 2
    return float(2.0 * squares.sum() - squares[..., 0].sum())


def _truncated_log_kernel(points: int, spacing: float) -> np.ndarray:
    """Spectra, on the doubled grid, of the derivatives d_1, d_2 of log|x| and of log|x| itself, as convolution kernels.

    log|x| is cut to zero beyond a radius larger than any distance in the square; its Fourier transform is then smooth,
    so that a grid of four times the points per direction gives the convolution kernel to spectral accuracy. Only the
    distances that occur in the square are kept: two times the points.

    Returns:
        (3, 2 points, points + 1) complex.
    """
    oversampled = 4 * points
    radius = 1.5 * points * spacing  # > sqrt(2) * side
    k1 = 2.0 * np.pi * scipy.fft.fftfreq(oversampled, spacing)[:, np.newaxis]
    k2 = 2.0 * np.pi * scipy.fft.rfftfreq(oversampled, spacing)[np.newaxis, :]
    k = np.hypot(k1, k2)
    k[0, 0] = 1.0
    j0, j1 = scipy.special.j0(k * radius), scipy.special.j1(k * radius)
    symbol = 2.0 * np.pi * (radius * np.log(radius) * j1 / k - (1.0 - j0) / k**2)
    symbol[0, 0] = np.pi * radius**2 * (np.log(radius) - 0.5)

    highest = oversampled // 2  # an odd derivative has no part in the highest frequency
    derivatives = [1j * k1 * symbol, 1j * k2 * symbol]
    derivatives[0][highest, :] = 0.0
    derivatives[1][:, highest] = 0.0
    kept = np.r_[0:points, oversampled - points : oversampled]
    kernels = [
        scipy.fft.irfft2(spectrum, s=(oversampled, oversampled))[np.ix_(kept, kept)]
        for spectrum in (*derivatives, symbol)
    ]
    return np.asarray(scipy.fft.rfft2(np.stack(kernels)))
