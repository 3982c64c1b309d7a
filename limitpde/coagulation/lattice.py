"""Coalescing random walkers on the lattice (Hammond section 2.2), and Kingman's coalescent.

Each walker jumps at rate one to one of its 2 d neighbours; each pair at one site merges at rate kappa (one in the
paper; infinite for walkers that merge when they meet, as in Cox, Ann. Probab. 17, 1989). Two regimes on the torus of
N^d sites, for d >= 3, with G the mean time that one walker from the origin ever spends there:

- times up to the order of N^2: the share s(t) of survivors of one walker a site falls as s' = -beta s^2 / 2, with
  beta = 1 / (1 / kappa + G / 2), so beta t s(t) / 2 -> 1 (a kernel that is constant, but not one);
- times of order N^d: each pair merges at the rate beta / N^d, hence s_N(N^d t / beta) -> Kingman's coalescent, in which
  each pair merges at rate one.

The displacement of a pair jumps at rate two and spends the mean time G / 2 at the origin in all; it finds the origin
from afar at the rate 2 / (G N^d), and once there merges with the chance (G / 2) / (1 / kappa + G / 2). The paper's
s_N(2 N^d t / G) has the scale upside down: for walkers that merge at once it is G N^d t / 2, as here; and at its
own rate one, 1 + G / 2 stands for G / 2.

On the finite torus two walkers that begin at independent uniform sites merge after N^d / beta_N in the mean, exactly,
with G_N = N^-d sum_{k != 0} 1 / (1 - (1/d) sum_c cos k_c), k on the dual lattice, in place of G.

The simulation is exact: events are drawn one by one by thinning. Random numbers are functions of (seed, replica,
event), and replicas are spread over the threads, so that results do not depend on how many these are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np
import scipy.special

from limitpde.compiled import compiled
from limitpde.errors import InputError, RunError
from limitpde.nbody.random import Stream, check_seed, two_uniforms

MOST_SITES = 200_000_000
"""Sites of a lattice, all replicas that run at once taken together."""
EVENT, INITIAL = int(Stream.EVENT), int(Stream.INITIAL)


def cox_constant(dimension: int) -> float:
    """G: mean time that a walker of rate one on Z^d, d >= 3, spends at its origin in all; 1.516386059152 for d = 3.

    G = int_0^inf (e^(-t/d) I_0(t/d))^d dt, to 12 digits: Gauss's rule in t up to t = d, in t^(-1/2) beyond.

    Raises:
        InputError: d < 3, where the walk is recurrent and G infinite.
    """
    if dimension < 3:
        raise InputError(f"dimension = {dimension}: must be at least 3, below that a walker returns for ever")
    nodes, weights = np.polynomial.legendre.leggauss(200)
    y, weights = (nodes + 1) / 2, weights / 2
    near = weights @ scipy.special.ive(0, y) ** dimension
    far = weights @ (2 * y**-3 * scipy.special.ive(0, y**-2.0) ** dimension)
    return float(dimension * (near + far))


def torus_constant(dimension: int, size: int) -> float:
    """G_N of the torus of size^dimension sites, which tends to G for d >= 3 and grows without bound for d < 3."""
    cosine = np.cos(2 * np.pi * np.arange(size) / size)
    total = np.zeros((1,) * dimension)
    for axis in range(dimension):
        total = total + cosine.reshape([-1 if c == axis else 1 for c in range(dimension)])
    gaps = 1 - total.ravel()[1:] / dimension
    return float((1 / gaps).sum() / size**dimension)


def pair_rate(dimension: int, merge_rate: float = 1.0, *, size: int | None = None) -> float:
    """beta = 1 / (1 / kappa + G / 2): number of sites times the rate at which a pair merges.

    Args:
        dimension: d; at least 3 on the infinite lattice.
        merge_rate: kappa > 0, at which a pair at one site merges; may be infinite.

    Keyword Args:
        size: sites along each axis of a torus, for beta_N in place of beta.

    Raises:
        InputError: an argument is out of range.
    """
    if not merge_rate > 0:
        raise InputError(f"merge_rate = {merge_rate}: must be greater than 0")
    constant = cox_constant(dimension) if size is None else torus_constant(dimension, size)
    return 1 / (1 / merge_rate + constant / 2)


# --- Kingman's coalescent ---------------------------------------------------------------------------------------------


def kingman_mean(t: float, start: int | None = None) -> float:
    """Mean number of blocks at time t > 0, Tavare's sum_k (2k - 1) e^(-k(k-1)t/2) [n]_k / n^(k), n = start or infinity.

    Raises:
        InputError: t is not positive.
    """
    if not t > 0:
        raise InputError(f"t = {t}: must be greater than 0")
    most = math.ceil(math.sqrt(2 * 40 / t)) + 2 if start is None else start
    k = np.arange(1, most + 1)
    share = np.ones(most) if start is None else np.cumprod(np.append(1.0, (start - k[:-1]) / (start + k[:-1])))
    return float(((2 * k - 1) * np.exp(-k * (k - 1) * t / 2) * share).sum())


# --- walkers ----------------------------------------------------------------------------------------------------------


def torus_walkers(
    dimension: int,
    size: int,
    times: Sequence[float],
    *,
    walkers: int | None = None,
    replicas: int = 1,
    merge_rate: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Walkers on the torus of size^dimension sites.

    Args:
        dimension: d >= 1.
        size: sites along each axis, at least 3.
        times: (T,) increasing, >= 0.

    Keyword Args:
        walkers: how many begin, at independent uniform sites; by default one begins at each site.
        replicas: R independent copies.
        merge_rate: kappa, at which each pair at one site merges; inf for at once.
        seed: of the random numbers.

    Returns:
        (R, T) numbers of walkers that are left.

    Raises:
        InputError: an argument is out of range.
    """
    if size < 3:
        raise InputError(f"size = {size}: must be at least 3, so that neighbours differ")
    sites = _check(dimension, size, times, replicas, merge_rate)
    if walkers is not None and walkers < 1:
        raise InputError(f"walkers = {walkers}: must be at least 1")
    start = np.arange(sites, dtype=np.int64) if walkers is None else np.full(walkers, -1, dtype=np.int64)
    found, _ = _simulate(
        start, dimension, size, True, merge_rate, np.array(times, dtype=float), replicas, check_seed(seed)
    )
    return found


def cluster_walkers(
    dimension: int,
    count: int,
    times: Sequence[float],
    *,
    replicas: int = 1,
    merge_rate: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Walkers that all begin at one site of Z^d: they come down, but not from infinity, to the order of (log* count)^d.

    Args:
        dimension: d >= 1.
        count: walkers.
        times: (T,) increasing, >= 0.

    Keyword Args:
        replicas: R independent copies.
        merge_rate: kappa, at which each pair at one site merges; finite.
        seed: of the random numbers.

    Returns:
        (R, T) numbers of walkers that are left.

    Raises:
        InputError: an argument is out of range.
        RunError: a walker went further than 12 standard deviations.
    """
    if count < 1 or not math.isfinite(merge_rate):
        raise InputError(f"count = {count}, merge_rate = {merge_rate}: must be at least 1, and finite")
    reach = math.ceil(12 * math.sqrt(max(times) / dimension)) + 20
    size = 2 * reach + 1
    sites = _check(dimension, size, times, replicas, merge_rate)
    start = np.full(count, (sites - 1) // 2, dtype=np.int64)
    found, inside = _simulate(
        start, dimension, size, False, merge_rate, np.array(times, dtype=float), replicas, check_seed(seed)
    )
    if not inside.all():
        raise RunError(f"a walker went further than {reach} sites from the origin")
    return found


def _check(dimension: int, size: int, times: Sequence[float], replicas: int, merge_rate: float) -> int:
    """Number of sites, if all is in range."""
    if dimension < 1 or replicas < 1:
        raise InputError(f"dimension = {dimension}, replicas = {replicas}: must be at least 1")
    if not merge_rate > 0:
        raise InputError(f"merge_rate = {merge_rate}: must be greater than 0")
    if len(times) == 0 or not np.all(np.diff(times) >= 0) or not times[0] >= 0 or not math.isfinite(times[-1]):
        raise InputError("times: must be finite, not negative and increasing")
    sites = size**dimension
    if sites * numba.get_num_threads() > MOST_SITES:
        raise InputError(f"size = {size}: {sites} sites in {dimension} dimensions are too many")
    return sites


@compiled
def _neighbour(site: int, turn: int, dimension: int, size: int, periodic: bool) -> int:
    """One of the 2 d neighbours of a site; -1 beyond the edge of a lattice that is not periodic."""
    stride = size ** (turn // 2)
    place = site // stride % size
    if turn % 2 == 0:
        if place + 1 < size:
            return site + stride
        return site - stride * (size - 1) if periodic else -1
    if place > 0:
        return site - stride
    return site + stride * (size - 1) if periodic else -1


@compiled
def _most(site: np.ndarray, count: int, occupied: np.ndarray) -> int:
    """Most walkers at one site."""
    most = 1
    for i in range(count):
        most = max(most, occupied[site[i]])
    return most


@compiled
def _place(start: np.ndarray, at_once: bool, seed: int, replica: int, site: np.ndarray, occupied: np.ndarray) -> int:
    """Put walkers where they start, -1 for a uniform site; returns how many there are, merged where that is at once."""
    count = 0
    for i in range(len(start)):
        place = start[i]
        if place < 0:
            place = int((1.0 - two_uniforms(seed, INITIAL, replica, i, 0)[0]) * len(occupied))
        if not (at_once and occupied[place] > 0):
            site[count] = place
            count += 1
            occupied[place] += 1
    return count


@compiled(parallel=True)
def _simulate(
    start: np.ndarray,
    dimension: int,
    size: int,
    periodic: bool,
    kappa: float,
    times: np.ndarray,
    replicas: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (R, T) of walkers at the times, and whether each replica (R,) stayed inside the lattice.

    Events come at the rate n (1 + kappa (c - 1) / 2), with c at least the largest number at one site: a walker is
    drawn, and with the chances of its own rates jumps, is removed by another one at its site, or nothing happens.
    """
    found = np.zeros((replicas, len(times)), dtype=np.int64)
    inside = np.ones(replicas, dtype=np.bool_)
    at_once = not np.isfinite(kappa)
    for r in numba.prange(replicas):
        site, occupied = start.copy(), np.zeros(size**dimension, dtype=np.int32)
        count, t, shown, event, until_check = _place(start, at_once, seed, r, site, occupied), 0.0, 0, 0, 0
        most = _most(site, count, occupied)
        while shown < len(times):
            if until_check == 0:
                most, until_check = _most(site, count, occupied), count + 64
            until_check -= 1
            extra = 0.0 if at_once else 0.5 * kappa * (most - 1)
            u, v = two_uniforms(seed, EVENT, r, 0, event)
            w, z = two_uniforms(seed, EVENT, r, 1, event)
            event += 1
            t -= math.log(u) / (count * (1.0 + extra))
            while shown < len(times) and (t > times[shown] or count == 1):
                found[r, shown] = count
                shown += 1
            i = int((1.0 - v) * count)
            here, choice = site[i], w * (1.0 + extra)
            if choice <= 1.0:
                target = _neighbour(here, int((1.0 - z) * 2 * dimension), dimension, size, periodic)
                if target < 0:
                    inside[r] = False
                    break
                occupied[here] -= 1
                if at_once and occupied[target] > 0:
                    count -= 1
                    site[i] = site[count]
                    continue
                site[i] = target
                occupied[target] += 1
                most = max(most, occupied[target])
            elif choice - 1.0 <= 0.5 * kappa * (occupied[here] - 1):
                occupied[here] -= 1
                count -= 1
                site[i] = site[count]
    return found, inside
