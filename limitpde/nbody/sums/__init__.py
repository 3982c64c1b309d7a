"""Sums of grad Gamma(x_i - x_j) and of Gamma(x_i - x_j) over Newton's particles, by what suits the potential.

gaussian, softened     torus: trigonometric, O(N K)     whole space: all pairs
cosine                 trigonometric, O(N)
poisson, d = 1         sheets, O(N log N)
harmonic, none         closed form, O(N)
python                 all pairs, by numpy

All but sheets and closed forms, which take O(N) or a sort, are shared by a team of ranks; the sums of a team are
collective in it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from limitpde.errors import InputError
from limitpde.nbody.sums.closed import AnySums, HarmonicSums, NoSums, SheetSums
from limitpde.nbody.sums.pairs import PairSums
from limitpde.nbody.sums.trigonometric import TrigonometricSums
from limitpde.nbody.teams import SINGLE, Team
from limitpde.potentials import (
    AnyPotential,
    Cosine,
    Free,
    GaussianPotential,
    Harmonic,
    Poisson,
    Softened,
    on_torus,
)
from limitpde.potentials.modes import Modes

METHODS = ("direct", "fast", "auto")
__all__ = ["METHODS", "Sums", "make_sums"]


class Sums(Protocol):
    """What gives the forces and the potential energy of R replicas of N particles."""

    def gradients(self, x: np.ndarray) -> np.ndarray:
        """sum_{j != i} grad Gamma(x_i - x_j) for positions (R, N, d), (R, N, d)."""

    def energies(self, x: np.ndarray) -> np.ndarray:
        """sum_{i < j} Gamma(x_i - x_j), (R,)."""


def make_sums(
    potential: AnyPotential, x_box: np.ndarray, *, periodic: bool, method: str = "auto", team: Team = SINGLE
) -> Sums:
    """The sums of a potential.

    Args:
        potential: Gamma.
        x_box: (d, 2) the torus.

    Keyword Args:
        periodic: whether positions are on that torus; in the whole space otherwise.
        method: "direct" (all pairs), "fast" (less than that), or "auto": fast where there is such a sum.
        team: whose ranks have the same particles, and share the sums.

    Raises:
        InputError: there is no such sum for this potential.
    """
    if method not in METHODS:
        raise InputError(f"particles.method = {method!r}: must be one of {', '.join(METHODS)}")
    name = f"potential.kind = {potential.kind!r}"
    if isinstance(potential, Poisson) and len(x_box) > 1:
        raise InputError(f"{name}: too singular for particles in d = {len(x_box)}, (Pot) does not hold; use 'softened'")
    fast = None if method == "direct" else _fast(potential, x_box, periodic=periodic, team=team)
    if fast is not None:
        return fast
    if method == "fast":
        raise InputError(f"particles.method = 'fast': there is no sum below N^2 for {name}; use 'direct' or 'auto'")
    if isinstance(potential, GaussianPotential | Softened) and not periodic:
        return PairSums(potential.strength, potential.width, softened=isinstance(potential, Softened), team=team)
    if periodic:
        return AnySums(lambda x: on_torus(potential, x, x_box), team=team)
    return AnySums(lambda x: (potential.value(x), potential.gradient(x)), team=team)


def _fast(potential: AnyPotential, x_box: np.ndarray, *, periodic: bool, team: Team) -> Sums | None:
    """A sum below N^2, if there is one."""
    d = len(x_box)
    if isinstance(potential, Free):
        return NoSums()
    if isinstance(potential, Harmonic):
        return HarmonicSums(potential.strength)
    if isinstance(potential, Poisson):
        length = float(x_box[0, 1] - x_box[0, 0])
        return SheetSums(potential.strength, length if periodic else None)
    if periodic:
        modes = potential.modes(x_box)
        first = 2 * np.pi / np.diff(x_box, axis=1)[:, 0]
        return None if modes is None else TrigonometricSums(modes, first, team)
    if isinstance(potential, Cosine):
        return TrigonometricSums(Modes(np.eye(d), np.full(d, potential.strength)), np.ones(d), team)
    return None
