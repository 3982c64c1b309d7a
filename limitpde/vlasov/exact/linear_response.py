"""The linear response of a homogeneous equilibrium, for all times, by a Volterra equation.

The density mode of the linearised (Vl) from f = f_0(v) (1 + a cos kx) is rho_k(t) = r(t) rho_k(0),

    r(t) = g(kt) / n_0 - int_0^t K(t - s) r(s) ds,    K(u) = k^2 Gammahat(k) u g(ku),    g(q) = int f_0 e^{-iqv} dv:

free streaming, and what its field does. Solved by collocation at Gauss-Legendre points of equal panels, so fine that
the error is that of rounding; K falls like a Gaussian, and panels from which nothing comes any more are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.interpolate import BarycentricInterpolator

from limitpde.errors import InputError
from limitpde.vlasov.exact.dispersion import Beam

POINTS = 16
"""Gauss points of a panel."""
FORGOTTEN = 9.0
"""k t sqrt(T) beyond which g(kt) is zero to rounding."""
MOST_PANELS = 200_000
MOST_PAIRS = 20_000_000
"""Pairs of panels."""


def linear_response(times: np.ndarray, *, k: float, symbol: float, streams: Sequence[Beam]) -> np.ndarray:
    """r(t) = rho_k(t) / rho_k(0) to about 1e-14 (of its largest value so far): (n,) complex, real for an even f_0.

    Args:
        times: (n,), >= 0.

    Keyword Args:
        k: wave number > 0; in d dimensions |k|.
        symbol: Gammahat(k).
        streams: the equilibrium f_0; in d dimensions its marginal along k.

    Raises:
        InputError: an argument is out of range, or the times need too many panels.
    """
    times = np.atleast_1d(np.asarray(times, dtype=float))
    if times.ndim != 1 or not (np.isfinite(times) & (times >= 0.0)).all():
        raise InputError(f"times = {times!r}: must be finite numbers >= 0, of the shape (n,)")
    if not (0.0 < k < math.inf and math.isfinite(symbol) and streams):
        raise InputError(f"k = {k!r}, symbol = {symbol!r}: k > 0, a finite symbol and at least one stream are needed")
    if times.size == 0:
        return np.zeros(0, dtype=complex)
    width = _panel(k, symbol, streams)
    panels = max(math.ceil(times.max() / width), 1)
    if panels > MOST_PANELS or panels * _memory(k, streams, width, panels) > MOST_PAIRS:
        raise InputError(f"times = ... {times.max():g}: too long for these streams, needs {panels} panels")
    nodes, response = _collocate(k, symbol, streams, width, panels)
    which = np.minimum((times / width).astype(int), panels - 1)
    result = np.empty(times.shape, dtype=complex)
    for panel in np.unique(which):
        mine = which == panel
        result[mine] = BarycentricInterpolator(nodes, response[panel])(times[mine] / width - panel)
    return result


def _panel(k: float, symbol: float, streams: Sequence[Beam]) -> float:
    """A time in which neither free streaming nor the plasma oscillation does much."""
    fastest = max(abs(stream.drift) + 3.0 * math.sqrt(stream.temperature) for stream in streams)
    plasma = k * math.sqrt(abs(symbol) * sum(stream.density for stream in streams))
    return 1.2 / (k * fastest + plasma)


def _memory(k: float, streams: Sequence[Beam], width: float, panels: int) -> int:
    """Earlier panels whose field is still felt."""
    coldest = math.sqrt(min(stream.temperature for stream in streams))
    return min(panels - 1, int(min(FORGOTTEN / (k * coldest * width), MOST_PANELS)) + 1)


def _transform(q: np.ndarray, streams: Sequence[Beam]) -> np.ndarray:
    return sum((stream.transform(q) for stream in streams), np.zeros(q.shape, dtype=complex))


def _collocate(
    k: float, symbol: float, streams: Sequence[Beam], width: float, panels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [0, 1] and r at those of every panel, (panels, POINTS)."""
    x, w = np.polynomial.legendre.leggauss(POINTS)
    nodes, weights = (x + 1.0) / 2.0, w / 2.0

    def kernel(u: np.ndarray) -> np.ndarray:
        return k**2 * symbol * u * _transform(k * u, streams)

    inner = nodes[:, np.newaxis] * nodes  # quadrature points of [0, node], one row for each node
    basis = BarycentricInterpolator(nodes, np.eye(POINTS))(inner.ravel()).reshape(POINTS, POINTS, POINTS)
    own = kernel(width * (nodes[:, np.newaxis] - inner)) * weights * nodes[:, np.newaxis] * width
    inverse = np.linalg.inv(np.eye(POINTS) + np.einsum("iq,iqj->ij", own, basis))
    memory = _memory(k, streams, width, panels)
    lags = np.arange(1, memory + 1)[:, np.newaxis, np.newaxis]
    past = width * kernel(width * (lags + nodes[:, np.newaxis] - nodes)) * weights  # lag, node, earlier node
    total = sum(stream.density for stream in streams)
    response = np.zeros((panels, POINTS), dtype=complex)
    for panel in range(panels):
        known = min(panel, memory)
        earlier = response[panel - known : panel][::-1]
        right = _transform(k * width * (panel + nodes), streams) / total
        response[panel] = inverse @ (right - np.einsum("lij,lj->i", past[:known], earlier))
    return nodes, response
