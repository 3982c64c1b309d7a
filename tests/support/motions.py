"""Exact solutions of (Vl), and of Newton's equations of two particles.

    d_t f + v . grad_x f - (grad Gamma * rho) . grad_v f = 0.

A density in phase space is a function of points z = (x, v), (n, 2d) -> (n,), as the solver takes it; a solution is a
function of t and z. Here: free streaming; the rigid rotation of the harmonic potential; the Galilean boost, which makes
a travelling solution of each steady one; products for Gamma(x) = sum_j Gamma_j(x_j); the pendulum of two particles of
the HMF model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.special

from limitpde.errors import InputError

PhaseDensity = Callable[[np.ndarray], np.ndarray]
"""z (n, 2d) -> f (n,)."""
Solution = Callable[[float, np.ndarray], np.ndarray]
"""t, z (n, 2d) -> f (n,)."""


def in_phase_space(steady: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Solution:
    """A function f(x, v) of one position and one velocity as a solution that does not change."""

    def solution(_: float, z: np.ndarray) -> np.ndarray:
        return np.asarray(steady(z[:, 0], z[:, 1]))

    return solution


def free_streaming(initial: PhaseDensity) -> Solution:
    """Gamma = 0: f(t, x, v) = f_0(x - v t, v), any d. On a torus f_0 must be periodic."""

    def solution(t: float, z: np.ndarray) -> np.ndarray:
        d = z.shape[1] // 2
        return np.asarray(initial(np.concatenate([z[:, :d] - t * z[:, d:], z[:, d:]], axis=1)))

    return solution


def free_streaming_mode(t: np.ndarray, *, k: float, temperature: float) -> np.ndarray:
    """rho_k(t) / rho_k(0) = e^{-k^2 T t^2 / 2} of Gaussian velocities without interaction, in the shape of t."""
    return np.asarray(np.exp(-(k**2) * temperature * np.asarray(t, dtype=float) ** 2 / 2.0))


def rigid_rotation(
    initial: PhaseDensity, *, strength: float = 1.0, mass: float = 1.0, centre: np.ndarray, velocity: np.ndarray
) -> Solution:
    """Gamma = strength |x|^2 / 2 in the whole space: phase space turns about the centre of mass, any f_0 and d.

    About the centre, (x, v / w) turns with the angular frequency w = (strength mass)^{1/2}; a repulsive potential
    stretches it hyperbolically instead. The centre moves with constant velocity.

    Args:
        initial: f_0.

    Keyword Args:
        strength: of the potential.
        mass: integral of f_0, > 0.
        centre: (d,) mean position of f_0.
        velocity: (d,) mean velocity of f_0.

    Raises:
        InputError: the mass is not positive.
    """
    if not 0.0 < mass < math.inf:
        raise InputError(f"mass = {mass!r}: must be finite and greater than 0")
    centre, velocity = np.atleast_1d(np.asarray(centre, float)), np.atleast_1d(np.asarray(velocity, float))
    w = math.sqrt(abs(strength) * mass)

    def solution(t: float, z: np.ndarray) -> np.ndarray:
        d = z.shape[1] // 2
        x, v = z[:, :d] - centre - velocity * t, z[:, d:] - velocity
        if strength >= 0.0:
            cosine, sine, sign = math.cos(w * t), math.sin(w * t), 1.0
        else:
            cosine, sine, sign = math.cosh(w * t), math.sinh(w * t), -1.0
        over = sine / w if w > 0.0 else t
        before = [cosine * x - over * v + centre, cosine * v + sign * w * sine * x + velocity]
        return np.asarray(initial(np.concatenate(before, axis=1)))

    return solution


def boosted(solution: Solution, velocity: np.ndarray) -> Solution:
    """f(t, x - u t, v - u): a solution of (Vl) if f is one, on a torus too; u = velocity (d,)."""
    u = np.atleast_1d(np.asarray(velocity, dtype=float))

    def moving(t: float, z: np.ndarray) -> np.ndarray:
        return np.asarray(solution(t, z - np.concatenate([u * t, u])))

    return moving


def product(solutions: Sequence[Solution]) -> Solution:
    """f_1(t, x_1, v_1) ... f_d(t, x_d, v_d) for Gamma(x) = sum_j Gamma_j(x_j).

    Each f_j must be a solution of mass 1 for Gamma_j: the force along x_j is that of rho_j times all other masses.

    Returns:
        A function of t and z (n, 2 d), x then v; it raises an InputError for z of another shape.
    """

    def solution(t: float, z: np.ndarray) -> np.ndarray:
        d = len(solutions)
        if z.shape[1] != 2 * d:
            raise InputError(f"z of the shape {z.shape}: a product of {d} needs (n, {2 * d})")
        parts = [factor(t, z[:, [j, d + j]]) for j, factor in enumerate(solutions)]
        return np.asarray(np.prod(parts, axis=0))

    return solution


# --- Two particles of the HMF model -----------------------------------------------------------------------------------


def hmf_pair_frequency(*, strength: float = -1.0, mass: float = 1.0) -> float:
    """w of the relative angle of two particles of (Ham^N) with Gamma = strength cos x: theta'' = -w^2 sin theta.

    The factor of the force is m / (N - 1) = m, so that w^2 = -2 strength m. (With m / N, as many write the HMF model,
    it is half of that.)

    Raises:
        InputError: the particles repel, or the mass is not positive.
    """
    if not (strength < 0.0 < mass and math.isfinite(strength * mass)):
        raise InputError(f"strength = {strength!r}, mass = {mass!r}: need strength < 0 and mass > 0")
    return math.sqrt(-2.0 * strength * mass)


def pendulum_period(amplitude: float, frequency: float = 1.0) -> float:
    """Period of theta'' = -w^2 sin theta released at rest from an angle: 4 K(sin^2(amplitude / 2)) / w.

    Raises:
        InputError: the amplitude does not lie between 0 and pi, or the frequency is not positive.
    """
    if not 0.0 <= abs(amplitude) < math.pi:
        raise InputError(f"amplitude = {amplitude!r}: must lie between -pi and pi")
    if not 0.0 < frequency < math.inf:
        raise InputError(f"frequency = {frequency!r}: must be finite and greater than 0")
    return float(4.0 * scipy.special.ellipk(math.sin(amplitude / 2.0) ** 2) / frequency)


def pendulum(
    t: np.ndarray, *, angle: float, speed: float = 0.0, frequency: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Angle and angular speed of theta'' = -w^2 sin theta by Jacobi's elliptic functions, each in the shape of t.

    Args:
        t: times, of either sign.

    Keyword Args:
        angle: theta(0).
        speed: theta'(0).
        frequency: w > 0.

    Raises:
        InputError: the frequency is not positive.
    """
    if not 0.0 < frequency < math.inf:
        raise InputError(f"frequency = {frequency!r}: must be finite and greater than 0")
    t, turns = np.asarray(t, dtype=float), 2.0 * math.pi * round(angle / (2.0 * math.pi))
    sine, cosine = math.sin((angle - turns) / 2.0), speed / (2.0 * frequency)
    modulus = math.hypot(sine, cosine)  # of sin(theta / 2) = modulus sn
    if modulus <= 1.0:
        phase = scipy.special.ellipkinc(math.atan2(sine, cosine), modulus**2)
        sn, cn, _, _ = scipy.special.ellipj(frequency * t + phase, modulus**2)
        return turns + 2.0 * np.arcsin(modulus * sn), 2.0 * frequency * modulus * cn
    direction = math.copysign(1.0, speed)
    phase = scipy.special.ellipkinc(direction * (angle - turns) / 2.0, modulus**-2)
    _, _, dn, amplitude = scipy.special.ellipj(modulus * frequency * t + phase, modulus**-2)
    return turns + direction * 2.0 * amplitude, direction * 2.0 * frequency * modulus * dn
