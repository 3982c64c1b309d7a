"""Where the signed particles start: drawn from the initial densities, or read from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from mpi4py import MPI

from limitpde.densities import Uniform, drawn
from limitpde.errors import InputError
from limitpde.parallel import on_root
from limitpde.signed.model import SPECIES, Initial
from limitpde.signed.options import NEEDS_WALLS

NEVER = 1e-6
"""Probability below which what might happen is not spoken of."""


class InitialPositions:
    """Positions and signs of N particles at time 0. Collective where it is made.

    The number of each sign is N times its share of the mass, rounded, and the same in every replica; the positive
    particles come first. Or each charge has a sign of its own, drawn with the shares of the mass (Y_0 of section 5).
    Positions are independent, from the density of the sign; or those of a file, the same in every replica.

    Args:
        initial: the densities, or the file.
        count: N.
        comm: the ranks that make the same object.

    Attributes:
        count: N.

    Raises:
        InputError: the file is wrong, or holds another number of particles.
    """

    def __init__(self, initial: Initial, count: int, comm: MPI.Comm) -> None:
        self._initial, self.count = initial, count
        if initial.points is not None:
            path = Path(initial.points)
            self._points, self._signs = on_root(comm, lambda: _read_points(path))
            if len(self._signs) != count:
                raise InputError(f"particles.counts: initial.points holds {len(self._signs)} particles, not {count}")
            return
        if initial.needs_walls:
            raise InputError(NEEDS_WALLS)
        share, mass = initial.mass(0), initial.mass(0) + initial.mass(1)
        if not math.isclose(mass, 1, rel_tol=1e-9):
            raise InputError(f"initial: the masses add to {mass:.12g}; with particles they must add to 1")
        self._signs = np.repeat([1.0, -1.0], [round(count * share), count - round(count * share)])

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions (N, 2) and signs (N,), +1.0 and -1.0, of the particles of one replica."""
        initial, signs = self._initial, self._signs
        if initial.points is not None:
            return self._points, signs
        if initial.signs == "random":
            signs = np.where(rng.random(self.count) < initial.mass(0), 1.0, -1.0)
        positions = np.empty((self.count, 2))
        for species, sign in enumerate((1.0, -1.0)):
            mine = signs == sign
            positions[mine] = self._draw(species, int(mine.sum()), rng)
        return positions, signs

    def _draw(self, species: int, number: int, rng: np.random.Generator) -> np.ndarray:
        """Positions of so many charges of a sign, (n, 2)."""
        parts = [
            part for part in self._initial.parts(species) if not isinstance(part, Uniform)
        ]  # all: see `needs_walls`
        return drawn(parts, number, rng) if number else np.empty((0, 2))


def signs_outside(initial: Initial, counts: Sequence[int]) -> str:
    """What of (5.4), min(N_+, N_-) >= beta_0 N almost surely, random signs do not keep, in a sentence; or nothing.

    Chernoff's bound makes it likely for every beta_0 below both masses: here it is half the smaller one.
    """
    least = min(initial.mass(0), initial.mass(1))
    if initial.signs == "fixed" or least == 0:
        return ""
    from scipy.special import bdtr

    count = min(counts)
    most = math.ceil(least / 2 * count) - 1
    failing = sum(float(bdtr(most, count, initial.mass(species))) for species in range(len(SPECIES)))
    if failing < NEVER:
        return ""
    return (
        f'initial.signs = "random": (5.4) with beta_0 = {least / 2:g} holds with the probability 1 - {failing:.2g} for '
        f"N = {count}, not almost surely"
    )


def _read_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file) as data:
            positions, signs = np.asarray(data["positions"], dtype=float), np.asarray(data["signs"], dtype=float)
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
        raise InputError(f"initial.points = {str(path)!r}: needs the arrays positions and signs ({error})") from error
    if positions.ndim != 2 or positions.shape[1] != 2 or signs.shape != (len(positions),):
        raise InputError(f"initial.points = {str(path)!r}: positions must be (N, 2) and signs (N,)")
    if not np.all(np.isfinite(positions)) or not np.all(np.abs(signs) == 1):
        raise InputError(f"initial.points = {str(path)!r}: positions must be finite and signs +1 or -1")
    return positions, signs
