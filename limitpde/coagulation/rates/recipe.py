"""The recipe for the macroscopic rates beta(n, m) from the microscopic ones, Hammond (1.8)-(1.9) and (2.4).

With D = d(n) + d(m), s = alpha(n, m) / D and the collision probability u, -Lap u = s V (1 - u), u -> 0 at infinity,

    d = 3:  beta = alpha int V (1 - u) = D (r_n + r_m) g(s)        (1.9), with the ranges r_n of section 2.4.2;
    d = 2:  beta = 2 pi D A / (2 pi D + A),  A = alpha int V       (2.4), the limit eps -> 0;
            beta_eps = 2 pi D L / (L - log a),  L = |log eps|,     at eps, where w = 1 - u satisfies
            Lap w = s V w / L,  w proportional to log(r / a) outside the support,  w = 1 at r = 1 / eps.

P_{N,beta} of section 3.4, d = 3, carries a front F = eps^(1 / beta - 1), eps being its range: its rate at eps is
D (r_n + r_m) g(s F) / F, and in the limit the naive one.

Bounds: beta <= alpha int V (r_n + r_m)^(d-2), the naive rate, and beta <= D (r_n + r_m) Cap(supp V) for d = 3. The pair
rate alpha eps^-2 V is that of each unordered pair, and with it (1.3)-(1.4) hold as they are written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import elliprf

from limitpde.coagulation.interaction import Ellipsoid
from limitpde.coagulation.model import Model
from limitpde.coagulation.rates.scattering import integral, scattering
from limitpde.errors import InputError
from limitpde.files import evaluate

LARGEST_MATRIX = 2**14
"""Largest n_max of which all pairs make a matrix (2 GiB)."""


@dataclass(frozen=True, slots=True)
class Propensity:
    """beta(n, m) of a model, a function of masses that broadcast against each other."""

    model: Model
    log_eps: float | None = None
    """Two dimensions or P_{N,beta}: log eps for beta at that eps; None for the limit. Else eps does not matter."""

    def __call__(self, n: np.ndarray, m: np.ndarray) -> np.ndarray:
        """beta(n, m), in volume per time, of the shape n and m broadcast to.

        Raises:
            InputError: a mass below 1, or beyond the matrix beta.matrix; a Python kernel fails.
        """
        n, m = np.asarray(n), np.asarray(m)
        for mass in (n, m):
            if not np.all(mass >= 1):
                raise InputError(f"mass = {mass.min()}: must be at least 1")
        rates = self.model.beta
        return np.asarray(self._kernel(n, m) * rates.scale)

    def _kernel(self, n: np.ndarray, m: np.ndarray) -> np.ndarray:
        rates = self.model.beta
        match rates.kernel:
            case "constant":
                return np.ones(np.broadcast_shapes(n.shape, m.shape))
            case "additive":
                return np.asarray(n + m, dtype=float)
            case "multiplicative":
                return np.multiply(n, m, dtype=float)
            case "matrix":
                return _of_matrix(np.array(rates.matrix, dtype=float), n, m)
            case "python":
                return _of_function(str(rates.python), n, m)
        return microscopic(self.model, n, m, log_eps=self.log_eps)


def _of_matrix(table: np.ndarray, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    for mass in (n, m):
        if mass.size and (mass.max() > len(table) or not np.array_equal(mass, np.floor(mass))):
            raise InputError(f"mass = {mass.max()}: beta.matrix has whole masses up to {len(table)} only")
    return np.asarray(table[n.astype(np.int64) - 1, m.astype(np.int64) - 1])


def _of_function(python: str, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(n.shape, m.shape)
    n, m = (np.broadcast_to(mass, shape) for mass in (n, m))
    found, swapped = (
        evaluate(python, *masses, shapes=[shape], key="beta.python", nonnegative=True)[0] for masses in ((n, m), (m, n))
    )
    if not np.allclose(found, swapped, rtol=1e-12, atol=0):
        raise InputError(f"beta.python = {python!r}: must be symmetric, beta(n, m) = beta(m, n)")
    return found


def propensity(model: Model, *, log_eps: float | None = None) -> Propensity:
    """The macroscopic propensities beta(n, m) of a model, by its kernel `beta.kernel` times `beta.scale`.

    Args:
        model: the model.

    Keyword Args:
        log_eps: beta.kernel = "from_micro", two dimensions or P_{N,beta}: log eps for beta at this eps; None for that
            of `beta.log_eps`, or of the limit.

    Raises:
        InputError: there is no such recipe in the dimension of the model.
    """
    if model.beta.kernel == "from_micro":
        model.check_recipe()
    return Propensity(model, model.beta.log_eps if log_eps is None else log_eps)


def beta(model: Model, *, log_eps: float | None = None) -> np.ndarray:
    """All propensities of masses n, m = 1 ... n_max, (n_max, n_max).

    Args:
        model: the model.

    Keyword Args:
        log_eps: as for `propensity`.

    Raises:
        InputError: n_max is so large that the matrix would not fit the memory.
    """
    if model.n_max > LARGEST_MATRIX:
        raise InputError(
            f"model.n_max = {model.n_max}: all pairs make a matrix for n_max <= {LARGEST_MATRIX} only; "
            "call propensity(model) on the masses that are needed"
        )
    n = np.arange(1, model.n_max + 1)
    return propensity(model, log_eps=log_eps)(n[:, None], n)


def microscopic(model: Model, n: np.ndarray, m: np.ndarray, *, log_eps: float | None = None) -> np.ndarray:
    """beta(n, m) by the recipe, whatever beta.kernel is, without beta.scale.

    Args:
        model: the model; needs an interaction.
        n: masses.
        m: masses; n and m broadcast.

    Keyword Args:
        log_eps: two dimensions or P_{N,beta}: log eps; None for the limit.
    """
    model.check_recipe()
    if model.range_exponent < 1 and log_eps is None:
        return naive(model, n, m)
    n, m, D, alpha = _pair(model, n, m)
    assert model.interaction is not None
    if model.dimension == 3:
        found = np.zeros(D.shape)
        some = alpha > 0
        front = rate_front(model, log_eps)
        ranges = np.broadcast_to(model.range_sum(n, m), D.shape) / front
        s = alpha / D * front
        if some.all() and some.size:
            return np.asarray(D * ranges * scattering(model.interaction, 3).conductance(s))
        if some.any():
            found[some] = (D * ranges)[some] * scattering(model.interaction, 3).conductance(s[some])
        return found
    largest = 2 * math.pi * D
    if log_eps is None:
        total = alpha * integral(model.interaction, 2)
        return np.asarray(largest * total / (largest + total))
    length = scattering_length(model, n, m, log_eps=log_eps)
    return np.asarray(largest * -log_eps / (-log_eps - length))


def rate_front(model: Model, log_eps: float | None) -> float:
    """What the rate of a pair carries besides alpha eps^-2 V; log eps is needed where that is not one.

    Raises:
        InputError: it is missing.
    """
    if not model.depends_on_eps:
        return 1.0
    if log_eps is None:
        raise InputError("log_eps = None: must be given for dimension 2 and for range_exponent < 1")
    return math.exp(model.log_front(log_eps))


def share_at(model: Model, n: int, m: int, log_eps: float) -> float:
    """The rate at an eps over that of the limit, or of `beta.log_eps`; 1 where alpha = 0 or eps does not matter."""
    pair = np.array([n]), np.array([m])
    known = float(microscopic(model, *pair, log_eps=model.beta.log_eps)[0])
    if known == 0 or not model.depends_on_eps:
        return 1.0
    return float(microscopic(model, *pair, log_eps=log_eps)[0]) / known


def rate_error(model: Model, n: np.ndarray, m: np.ndarray, *, log_eps: float | None = None) -> np.ndarray:
    """Estimated relative error of `microscopic`; n, m broadcast. Where (2.4) holds it is zero.

    It matters for V from a file and for V that is not radial: there it is the difference of two grids, which is above
    the error of the finer one. In the limit of P_{N,beta} only int V matters. Arguments as for `microscopic`.
    """
    model.check_recipe()
    _, _, D, alpha = _pair(model, n, m)
    result, some = np.zeros(D.shape), alpha > 0
    if (model.depends_on_eps and log_eps is None) or not some.any():
        return result
    assert model.interaction is not None
    s = alpha[some] / D[some] * rate_front(model, log_eps)
    result[some] = scattering(model.interaction, model.dimension).error(s)
    return result


def naive(model: Model, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """alpha int V (r_n + r_m)^(d-2), the rate without correlations and an upper bound of beta; n, m broadcast."""
    model.check_recipe()
    n, m, _, alpha = _pair(model, n, m)
    assert model.interaction is not None
    power = model.dimension - 2
    return np.asarray(alpha * integral(model.interaction, model.dimension) * model.range_sum(n, m) ** power)


def scattering_length(model: Model, n: np.ndarray, m: np.ndarray, *, log_eps: float | None = None) -> np.ndarray:
    """Radius, in units of eps, of the absorbing ball that collides like the pair when seen from afar.

    Args:
        model: the model; needs an interaction.
        n: masses.
        m: masses; n and m broadcast.

    Keyword Args:
        log_eps: log eps, needed in two dimensions and for P_{N,beta}.

    Returns:
        d = 3: a with beta = 4 pi D a (over the front of P_{N,beta}). d = 2: log a (a itself may underflow), minus
        infinity where alpha = 0.

    Raises:
        InputError: log_eps is missing, or the particles reach further than 1 / eps.
    """
    model.check_recipe()
    if model.dimension == 3:
        _, _, D, _ = _pair(model, n, m)
        front = rate_front(model, log_eps)
        return microscopic(model, n, m, log_eps=log_eps) * front / (4 * math.pi * D)
    n, m, D, alpha = _pair(model, n, m)
    assert model.interaction is not None
    log_range = np.broadcast_to(np.log(model.range_sum(n, m)), D.shape)
    reach = math.log(model.interaction.reach(2)) + (log_range.max() if log_range.size else 0.0)
    if log_eps is None or not -log_eps > reach:
        raise InputError(
            f"log_eps = {log_eps}: must be given for dimension 2, and below {-reach:.6g}: the range must be below 1"
        )
    result = np.full(D.shape, -np.inf)
    some = alpha > 0
    s = alpha[some] / D[some] * rate_front(model, log_eps)
    if some.any():
        result[some] = log_range[some] + scattering(model.interaction, 2).log_length(s)
    return result


def capacity(model: Model) -> float:
    """Newtonian capacity of the support of V (4 pi R for a ball), d = 3: beta <= D (r_n + r_m) capacity.

    For V from a file the capacity of the ball around 0 that holds the support.

    Raises:
        InputError: the model has no interaction, or another dimension than 3.
    """
    model.check_recipe()
    interaction = model.interaction
    if model.dimension != 3:
        raise InputError(f"model.dimension = {model.dimension}: the Newtonian capacity needs dimension 3")
    if isinstance(interaction, Ellipsoid):
        return float(4 * math.pi / elliprf(*np.square(interaction.axes)))
    assert interaction is not None
    return 4 * math.pi * interaction.reach(3)


def upper_bound(model: Model, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """min(alpha int V, D Cap(supp V)) with the ranges (d = 3), min(alpha int V, 2 pi D) (d = 2); n, m broadcast.

    Raises:
        InputError: the model has no interaction, or dimension 1.
    """
    bound = naive(model, n, m)
    n, m, D, _ = _pair(model, n, m)
    other = D * model.range_sum(n, m) * capacity(model) if model.dimension == 3 else 2 * math.pi * D
    return np.minimum(bound, other)


def _pair(model: Model, n: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Masses as arrays, D = d(n) + d(m) and alpha(n, m), the last two of the broadcast shape."""
    n, m = np.asarray(n), np.asarray(m)
    D = np.asarray(model.d(n) + model.d(m))
    return n, m, D, np.asarray(model.alpha(n, m))
