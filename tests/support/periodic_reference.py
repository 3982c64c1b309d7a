"""Solution of the coagulation-diffusion equations on a periodic interval for one constant kernel and one diffusivity.

With beta = b and d(n) = D the generating function C(x, s) = sum_n f_n s^n turns (1.2) into one equation for each
complex s: w(s) = C(1) - C(s) solves

    w_t = D w_xx - (b/2) w^2,     w(0) = sum_n h_n (1 - s^n),

and f_k = (2 pi i)^-1 times the integral of C(s) s^(-k-1) over a circle about 0. So a few independent scalar equations
give every f_k, with no truncation of masses at all; w(0) is the number of particles.

Space: Fourier series. Time: Strang's splitting into exact heat flow and the exact solution w/(1 + b t w/2), with
Richardson's extrapolation over step sizes 1, 1/2, 1/4, 1/8 (its error has even powers only), of order eight.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from limitpde.arrays import Floats
from limitpde.errors import InputError

HALVINGS = 3


@dataclass(frozen=True, slots=True, eq=False)
class PeriodicSolution:
    """Densities at one time at the points i length/points."""

    points: Floats  # (points,) coordinates
    densities: Floats  # (K, points): f_1 ... f_K, per length
    number: Floats  # (points,) sum of all f_n, per length


def periodic(
    h: np.ndarray, *, D: float, b: float, time: float, steps: int, largest: int, length: float = 1.0, circle: int = 64
) -> PeriodicSolution:
    """Solves on the torus of one dimension.

    Args:
        h: initial densities (m, points) of masses 1 ... m at the points i length/points, smooth and >= 0.

    Keyword Args:
        D: diffusivity of all masses.
        b: the constant kernel.
        time: time of the solution.
        steps: steps of the coarsest of the step sizes.
        largest: K, the masses wanted.
        length: of the torus.
        circle: points s on the circle of radius 0.9; f_k comes with 0.9^circle f_{k + circle} added to it.

    Raises:
        InputError: an argument is out of range.
    """
    h = np.asarray(h, dtype=float)
    if h.ndim != 2 or not np.all(h >= 0):
        raise InputError(f"h of shape {h.shape}: must be (masses, points), all values >= 0")
    if not (D >= 0 and b >= 0 and time >= 0 and length > 0 and steps >= 1):
        raise InputError("D, b, time must be at least 0, length greater than 0, steps at least 1")
    if not 1 <= largest < circle:
        raise InputError(f"largest = {largest}: must be at least 1 and below circle = {circle}")
    radius, count = 0.9, h.shape[1]
    s = np.append(radius * np.exp(2j * np.pi * np.arange(circle) / circle), 0.0)
    n = np.arange(1, len(h) + 1)
    w = (1.0 - s[:, np.newaxis] ** n) @ h
    rows = [_strang(w, D, b, time, steps << level, length) for level in range(HALVINGS + 1)]
    for order in range(1, HALVINGS + 1):
        rows = [fine + (fine - coarse) / (4.0**order - 1.0) for coarse, fine in itertools.pairwise(rows)]
    number, C = rows[0][-1].real, rows[0][-1] - rows[0][:-1]
    k = np.arange(1, largest + 1)
    densities = (s[:-1] ** -k[:, np.newaxis]) @ C / circle
    points = np.arange(count) * (length / count)
    return PeriodicSolution(points, densities.real, number)


def _strang(w: np.ndarray, D: float, b: float, time: float, steps: int, length: float) -> np.ndarray:
    """w (J, points) after `steps` steps of half heat, reaction, half heat."""
    frequency = 2.0 * np.pi * np.fft.fftfreq(w.shape[1], length / w.shape[1])
    dt = time / steps
    half = np.exp(-D * frequency**2 * dt / 2)
    spectrum = np.fft.fft(w, axis=1)
    for _ in range(steps):
        value = np.fft.ifft(half * spectrum, axis=1)
        spectrum = half * np.fft.fft(value / (1.0 + b * dt / 2 * value), axis=1)
    return np.asarray(np.fft.ifft(spectrum, axis=1))
