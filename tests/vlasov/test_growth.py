"""Growth rates and frequencies fitted to the energy of a field.

The load is carried by the exact signal of linear Landau damping (Volterra's equation) against the root of the
dispersion relation, and by synthetic signals whose rates are known.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
import pytest

from limitpde.vlasov.growth import fit_growth


def volterra(k: float, end: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """r(t) = exp(-k^2 t^2 / 2) - int_0^t K(t - s) r(s) ds, K(u) = u exp(-k^2 u^2 / 2), of Landau damping, T = n = 1."""
    t = np.linspace(0.0, end, steps + 1)
    free, kernel = np.exp(-((k * t) ** 2) / 2), t * np.exp(-((k * t) ** 2) / 2)
    r = free.copy()
    for n in range(1, steps + 1):  # K(0) = 0, so that the trapezoidal rule is explicit
        r[n] -= t[1] * (kernel[n:0:-1] @ r[:n] - kernel[n] * r[0] / 2)
    return t, r


@pytest.mark.parametrize(("window", "gamma"), [((3.0, 25.0), -0.1533821), ((10.0, 35.0), -0.1533594)])
def test_landau_damping(window, gamma):
    """k = 0.5: the root is 1.415661888604536 - 0.1533594669096048 i; fits of the exact signal differ in the window."""
    t, r = volterra(0.5, 35.0, 3500)
    found = fit_growth(t, r**2, window)
    assert found.rate == pytest.approx(gamma, abs=3e-6)
    assert found.frequency == pytest.approx(1.415661888604536, rel=5e-4)
    assert found.peaks == round((window[1] - window[0]) * 1.41566 / np.pi)


@pytest.mark.parametrize("step", [0.05, 0.2, "uneven"])
@pytest.mark.parametrize("gamma", [-0.15, 0.0, 0.2])
def test_oscillation(step, gamma):
    t = np.linspace(0, 30, 500) + 0.01 * np.sin(np.arange(500)) if step == "uneven" else np.arange(0, 30, step)
    found = fit_growth(t, 3.0 * np.exp(2 * gamma * t) * np.cos(1.3 * t - 0.4) ** 2, (2.0, 28.0))
    assert found.rate == pytest.approx(gamma, abs=5e-4)
    assert found.frequency == pytest.approx(1.3, rel=2e-3)
    assert np.exp(found.intercept) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("gamma", [-0.3, 0.2258442550347])
def test_growth_without_oscillation(gamma):
    t = np.linspace(0, 20, 41)
    energy = -1e-6 * np.exp(2 * gamma * t)  # of an attractive potential
    found = fit_growth(t, energy, (5.0, 15.0))
    assert (found.rate, found.frequency, found.peaks) == (pytest.approx(gamma, rel=1e-12), 0.0, 0)
    assert found.intercept == pytest.approx(np.log(1e-6))


def test_ripples_are_no_peaks():
    """Two streams: a growing mode with oscillating ones on it, of which the growth is fitted; a frequency is not."""
    t = np.arange(0.0, 30.0, 0.1)
    energy = np.exp(0.3 * t) * (1 + 0.3 * np.cos(2.5 * t))
    found = fit_growth(t, energy, (5.0, 25.0))
    assert (found.peaks, found.frequency) == (1, 0.0)  # the last of them, where the window ends in its fall
    assert found.rate == pytest.approx(0.15, abs=0.005)


def test_what_lies_outside_the_window_has_no_influence():
    t = np.arange(0.0, 40.0, 0.05)
    energy = np.exp(-0.2 * t) * np.cos(2 * t) ** 2
    spoilt = np.where((t < 5) | (t > 30), 7.0, energy)
    assert fit_growth(t, spoilt, (5.0, 30.0)) == fit_growth(t, energy, (5.0, 30.0))


def test_too_little_to_fit():
    assert fit_growth([], [], (0.0, 1.0)) is None
    assert fit_growth([0.0, 1.0, 2.0], [0.0, 0.0, 1.0], (0.0, 2.0)) is None  # one positive value
    assert fit_growth([0.0, 1.0], [1.0, np.e], (0.0, 1.0)).rate == pytest.approx(0.5)
    two = fit_growth(np.arange(9.0), [1, 2, 1, 2, 1, 1, 1, 1, 1], (0.0, 8.0))
    assert (two.peaks, two.frequency) == (2, 0.0)
