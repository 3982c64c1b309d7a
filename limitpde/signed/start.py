"""Where the signed particles start: drawn from the initial densities, or read from a file."""

from __future__ import annotations

import math
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from mpi4py import MPI

from limitpde.densities import Uniform
from limitpde.errors import InputError
from limitpde.parallel import on_root
from limitpde.signed.model import SPECIES, Initial
from limitpde.signed.options import NEEDS_WALLS


class InitialPositions:
    """Positions and signs of N particles at time 0. Collective where it is made.

    The number of each sign is N times its share of the mass, rounded, and the same in every replica; the positive
    particles come first. Positions are independent, from the densities; or those of a file, the same in every replica.

    Args:
        initial: the densities, or the file.
        count: N.
        comm: the ranks that make the same object.

    Attributes:
        signs: (N,) of +1.0 and -1.0.

    Raises:
        InputError: the file is wrong, or holds another number of particles.
    """

    def __init__(self, initial: Initial, count: int, comm: MPI.Comm) -> None:
        self._initial = initial
        if initial.points is not None:
            path = Path(initial.points)
            self._points, self.signs = on_root(comm, lambda: _read_points(path))
            if len(self.signs) != count:
                raise InputError(f"particles.counts: initial.points holds {len(self.signs)} particles, not {count}")
            return
        if initial.needs_walls:
            raise InputError(NEEDS_WALLS)
        share, mass = initial.mass(0), initial.mass(0) + initial.mass(1)
        if not math.isclose(mass, 1, rel_tol=1e-9):
            raise InputError(f"initial: the masses add to {mass:.12g}; with particles they must add to 1")
        self._numbers = (round(count * share), count - round(count * share))
        self.signs = np.repeat([1.0, -1.0], self._numbers)

    def positions(self, rng: np.random.Generator) -> np.ndarray:
        """Positions of the particles of one replica, (N, 2)."""
        if self._initial.points is not None:
            return self._points
        return np.concatenate([self._draw(species, rng) for species in range(len(SPECIES))])

    def _draw(self, species: int, rng: np.random.Generator) -> np.ndarray:
        number = self._numbers[species]
        parts = [
            part for part in self._initial.parts(species) if not isinstance(part, Uniform)
        ]  # all: see `needs_walls`
        if number == 0:
            return np.empty((0, 2))
        chance = np.array([part.mass for part in parts]) / self._initial.mass(species)
        numbers = rng.multinomial(number, chance)
        return np.concatenate([part.sample(n, rng) for part, n in zip(parts, numbers, strict=True)])


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
