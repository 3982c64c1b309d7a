"""Symmetric states of N particles at time 0: products, and what is near them without being one (Neiss-Pickl, 4.8).

With alpha_0 normalised and r = (h - mean of h) / standard deviation of h under |alpha_0|^2, h a real function on phase
space, gamma = r alpha_0 is normalised and orthogonal to alpha_0. The states are alpha_0(z_1) ... alpha_0(z_N) times

    product    1;
    tilted     prod_j (1 + s r(z_j)) / (1 + s^2)^(N/2), s^2 = c / N: again a product, but of alpha_0 + s gamma. The
               number k of particles outside alpha_0 is binomial with mean c / (1 + c / N): beta_N(0) > 0.
    excited    e_m(r(z_1), ..., r(z_N)) / binom(N, m)^(1/2), e_m the elementary symmetric polynomial: m particles in
               gamma, N - m in alpha_0, symmetrised. It is no product, k = m, beta_N(0) = min(m / N^lambda, 1).
"""

from __future__ import annotations

import math

import numpy as np

from limitpde.compare.spatial import evaluate_all
from limitpde.compare.test_functions import on_torus, waves_off_torus
from limitpde.errors import InputError
from limitpde.vlasov.counting_section import PRODUCT, ExcitedState, ManyBodyState, ProductState, TiltedState
from limitpde.vlasov.hamiltonian.grid_state import GridState
from limitpde.vlasov.initial import Start
from limitpde.vlasov.model import Model


class ManyBodyStart:
    """A state of N particles at time 0: its values, as those of the product times a factor. Not collective.

    Args:
        start: alpha_0.
        model: whose phase space it is.
        shape: what state it is.
        state: alpha_0 on a grid, by which h is normalised; not needed for a product.

    Raises:
        InputError: h does not fit phase space, or does not vary.
    """

    def __init__(
        self, start: Start, model: Model, shape: ManyBodyState = PRODUCT, state: GridState | None = None
    ) -> None:
        self._start, self._shape, self._state = start, shape, state
        if isinstance(shape, ProductState):
            return
        if state is None:
            raise InputError(f"start.shape = {shape.shape!r}: needs alpha_0 on a grid")
        low, size = model.torus
        if shape.function.dimension != 2 * model.dimension or waves_off_torus([shape.function], size):
            raise InputError("start.function: must have 2 d coordinates, x then v, and be periodic on a torus")
        self._images, self._sums = on_torus([shape.function], low, size)
        self._mean, self._scale = 0.0, 1.0
        density, h = np.abs(state.values) ** 2, self._ratios(state.nodes()).reshape(state.values.shape)
        self._mean = state.integral(density * h)
        self._scale = math.sqrt(state.integral(density * (h - self._mean) ** 2))
        if not self._scale > 1e-9:
            raise InputError("start.function: must vary where alpha_0 is not zero")

    def _ratios(self, z: np.ndarray) -> np.ndarray:
        """r at points (n, 2d), (n,)."""
        h = (self._sums @ evaluate_all(self._images, z)[0])[0]
        return np.asarray((h - self._mean) / self._scale)

    def sample(self, replicas: int, particles: int, rng: np.random.Generator) -> np.ndarray:
        """Points from the square of the product, (R, N, 2d): `factor` squared is the weight of each replica."""
        return self._start.sample(replicas * particles, rng).reshape(replicas, particles, -1)

    def log_product(self, z: np.ndarray) -> np.ndarray:
        """log prod_j alpha_0(z_j) of points (R, N, 2d), complex (R,); the real part may be minus infinity."""
        points = z.reshape(-1, z.shape[-1])
        with np.errstate(divide="ignore"):
            size = np.log(self._start.density(points)) / 2
        shape = z.shape[:2]
        return np.asarray(size.reshape(shape).sum(axis=1) + 1j * self._start.phase(points).reshape(shape).sum(axis=1))

    def factor(self, z: np.ndarray) -> np.ndarray:
        """By what the state is the product times this, at points (R, N, 2d), (R,)."""
        R, N = z.shape[:2]
        if isinstance(self._shape, ProductState):
            return np.ones(R)
        r = self._ratios(np.ascontiguousarray(z.reshape(R * N, -1))).reshape(R, N)
        if isinstance(self._shape, TiltedState):
            s = math.sqrt(self._shape.number / N)
            return np.asarray((1 + s * r).prod(axis=1) / (1 + s**2) ** (N / 2))
        m = self._shape.number
        found = np.zeros((m + 1, R))
        found[0] = 1.0
        for one in r.T:
            found[1:] += one * found[:-1]
        return np.asarray(found[m] / math.sqrt(math.comb(N, m)))

    def law(self, particles: int) -> np.ndarray:
        """<P_k> at time 0, k = 0, ..., N.

        Raises:
            InputError: more particles are to be excited than there are.
        """
        from scipy.stats import binom  # takes half a second to load

        k = np.arange(particles + 1)
        match self._shape:
            case TiltedState(number=number):
                return np.asarray(binom.pmf(k, particles, number / (particles + number)))
            case ExcitedState(number=number):
                if number > particles:
                    raise InputError(f"start.number = {number}: there are only {particles} particles")
                return np.asarray(k == number, dtype=float)
        return np.asarray(k == 0, dtype=float)

    def norms(self, particles: int) -> tuple[float, float]:
        """||D_{z_1} alpha_N|| and ||D^2_{(z_1,z_2)} alpha_N||, or bounds of them, at time 0.

        The second one is 2 ||D^2 alpha||^2 + 2 ||D alpha||^4, squared, for a product. For m excited particles z_1 is in
        gamma with the weight m / N, and D^2 of the symmetrised pair has the square of at most ||D^2 alpha||^2 +
        ||D^2 gamma||^2 + 4 ||D alpha||^2 ||D gamma||^2.
        """
        assert self._state is not None
        N, state, shape = particles, self._state, self._shape
        if isinstance(shape, ProductState):
            return _of_product(state)
        r = self._ratios(state.nodes()).reshape(state.values.shape)
        gamma = GridState(state.axes, r * state.values)
        if isinstance(shape, TiltedState):
            return _of_product(GridState(state.axes, state.values * (1 + math.sqrt(shape.number / N) * r)))
        m, (a, aa), (g, gg) = shape.number, _of_one(state), _of_one(gamma)
        none, both = (N - m) * (N - m - 1), m * (m - 1)
        one = N * (N - 1) - none - both
        pairs = none * 2 * (aa**2 + a**4) + one * (aa**2 + gg**2 + 4 * a**2 * g**2) + both * 2 * (gg**2 + g**4)
        return math.sqrt(((N - m) * a**2 + m * g**2) / N), math.sqrt(pairs / (N * (N - 1)))


def _of_one(state: GridState) -> tuple[float, float]:
    return state.slope(), state.curvature()


def _of_product(state: GridState) -> tuple[float, float]:
    slope, curvature = _of_one(state)
    return slope, math.sqrt(2 * curvature**2 + 2 * slope**4)
