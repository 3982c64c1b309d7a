"""Equilibrium fluctuations of particles that merge and split: an Ornstein-Uhlenbeck process.

This is [24, Conjecture 2.1] of Hammond's paper. On a torus let constants f_n be an equilibrium where each reaction is
balanced by its reverse. Then the particles are reversible, independent and even but for what they share of the total
mass, and the field

    Y_n(phi) = lim sqrt(N) (int phi dmu_N(., n) - f_n int phi),    dY = (d(n) Lap + R'(f)) Y dt + noise,

R'(f) the derivative of (1.3)-(1.4) with splitting, is stationary. Its noise follows from that: for waves phi = cos(k .
x + a), k != 0, on the torus of volume v, and a lag t

    N E int phi dmu_N(., n)(s) int phi dmu_N(., m)(s + t)  ->  Z v / 2 (exp(t A_k) diag(f))_mn,   A_k = R'(f) - |k|^2 d,

as A_k diag(f) is symmetric: the fluctuation-dissipation relation. Z = sum_n int f_n = v sum f_n is what N counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.linalg

from limitpde.coagulation.case import Case
from limitpde.coagulation.model import Model
from limitpde.coagulation.proof.mass_rates import MassRates
from limitpde.coagulation.rates import propensity
from limitpde.compare.test_functions import Wave
from limitpde.densities import Uniform
from limitpde.errors import InputError

MOST_MASSES = 64
"""Masses up to which a case is looked at: the pairs of all are gone through one by one."""
BALANCED = 1e-9
"""Part of the rates up to which a reaction and its reverse may differ."""


def dimer_equilibrium(model: Model, mass: float) -> np.ndarray:
    """f_1 and f_2 with f_1 + 2 f_2 = mass, in balance for 1 + 1 <-> 2.

    f_2 = beta f_1^2 / (2 b), b what splits and stays apart per time; alpha int V f_1^2 / (2 a) where beta follows from
    the particles, a the rate of splitting.

    Raises:
        InputError: the model has other masses, or does not split.
    """
    if model.n_max != 2 or model.fragmentation is None:
        raise InputError("model: must have n_max = 2 and fragmentation")
    arrays = MassRates(model, propensity(model), np.array([2])).of(np.array([1, 2]))
    ratio = float(arrays.beta[0, 0] / (-2 * arrays.linear[1, 0, 2]))
    first = 2 * mass / (1 + math.sqrt(1 + 8 * ratio * mass))  # of 2 ratio f^2 + f = mass
    return np.array([first, ratio * first**2])


def linearised_reaction(model: Model, f: np.ndarray) -> np.ndarray:
    """R'(f), (M, M), for even densities f (M,) of the masses 1, ..., M.

    Raises:
        InputError: f is no equilibrium in which every reaction is balanced, for these rates.
    """
    masses = np.arange(1, len(f) + 1)
    arrays = MassRates(model, propensity(model), masses).of(masses)
    derivative = np.ascontiguousarray(arrays.linear[:, :, 2].T)
    change = derivative @ f
    for n in masses:
        for m in masses:
            reacts = arrays.beta[n - 1, m - 1]
            if reacts > 0 and n + m > len(f):
                raise InputError(f"masses {n} and {m} merge to one above {len(f)}: give the densities of all masses")
            for place, part in ((n - 1, -1.0), *([(n + m - 1, 0.5)] if reacts > 0 else [])):
                change[place] += part * reacts * f[n - 1] * f[m - 1]
                derivative[place, n - 1] += part * reacts * f[m - 1]
                derivative[place, m - 1] += part * reacts * f[n - 1]
    flow, size = derivative * f, np.abs(derivative * f).max(initial=0.0)
    if max(np.abs(change).max(), np.abs(flow - flow.T).max()) > BALANCED * size:
        raise InputError("these densities are no equilibrium in which each reaction is balanced by its reverse")
    return derivative


def equilibrium_covariance(
    model: Model, f: np.ndarray, wave: Sequence[float], lags: np.ndarray, *, volume: float = 1.0
) -> np.ndarray:
    """What N Cov(int phi dmu_N(., n)(s), int phi dmu_N(., m)(s + t)) tends to, (T, M, M) over t, n, m.

    Args:
        model: the parameters.
        f: the equilibrium, (M,) of the masses 1, ..., M.
        wave: k of phi = cos(k . x + a), (d,), not zero, that of a wave on the torus.
        lags: t >= 0, (T,).

    Keyword Args:
        volume: of the torus.

    Raises:
        InputError: k is zero, or f is no such equilibrium.
    """
    square = float(np.sum(np.square(wave)))
    if not square > 0:
        raise InputError("wave: must not be zero; the number of the particles of a mass depends on how they start")
    generator = linearised_reaction(model, f) - square * np.diag(model.d(np.arange(1, len(f) + 1)))
    flows = np.stack([scipy.linalg.expm(t * generator) for t in lags])
    return np.asarray(volume**2 * f.sum() / 2 * (flows * f).transpose(0, 2, 1))


def limiting_covariance(case: Case) -> np.ndarray | None:
    """What N Cov(int phi_p dmu_s, int phi_q dmu_T) tends to for the times of a case, (K, P, P), in equilibrium.

    None away from it, and for test functions other than waves with k != 0: how many particles of a mass there are in
    all depends on how they start.
    """
    model, domain = case.model, case.domain
    waves = [wave for wave in case.test_functions if isinstance(wave, Wave) and any(wave.k)]
    even = all(isinstance(part.density, Uniform) for part in case.initial.masses)
    if model.fragmentation is None or model.n_max > MOST_MASSES or domain.kind != "torus" or not even:
        return None
    if len(waves) < len(case.test_functions):
        return None
    f = np.zeros(model.n_max)
    for part in case.initial.masses:
        f[part.n - 1] += part.density.mass / domain.volume
    lags = case.time.end - np.array(case.fluctuation_times)
    found = np.zeros((len(lags), len(waves), len(waves)))
    for p, first in enumerate(waves):
        over_time = equilibrium_covariance(model, f, first.k, lags, volume=domain.volume)
        for q, second in enumerate(waves):
            seen = np.ix_(range(len(lags)), *(range(len(f)) if w.n is None else [w.n - 1] for w in (first, second)))
            masses = over_time[seen].sum(axis=(1, 2))
            for sign in (1.0, -1.0):
                if np.allclose(np.multiply(sign, second.k), first.k, rtol=0, atol=1e-9 * np.linalg.norm(first.k)):
                    found[:, p, q] += masses * math.cos(first.phase - sign * second.phase)
    return found
