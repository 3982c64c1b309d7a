"""Where coagulating particles start: masses and positions are independent, from Z^-1 h_n(x) (Hammond section 1.3)."""

from __future__ import annotations

import numpy as np

from limitpde.coagulation.model import Initial
from limitpde.densities import Gaussian, Uniform
from limitpde.domains import Domain
from limitpde.errors import InputError

RAREST = 1e-3
"""A density of which less than this share lies in the domain is refused."""
PIECE = 1 << 16
"""Particles drawn at a time."""
LARGEST_MASS = 2**62
"""Bound on the sum of all masses, which are 64-bit integers."""


class InitialParticles:
    """Positions and masses of N particles at time 0.

    Each particle belongs to a part of h with the chance of the part's share of Z and, given that, has the part's mass
    and a position from its density. On a torus positions are wrapped; in a box or a ball a position outside is drawn
    again, so that the density there counts as zero and the rest is scaled up to keep its integral.

    Args:
        initial: the densities.
        count: N.
        domain: where the particles live.

    Raises:
        InputError: a part does not fit the domain, or the masses are too large to be added.
    """

    def __init__(self, initial: Initial, count: int, domain: Domain) -> None:
        initial.check(domain)
        self.count, self.domain, self._parts = count, domain, initial.masses
        self._chance = np.array([part.density.mass for part in initial.masses]) / initial.Z
        if count * max(part.n for part in initial.masses) > LARGEST_MASS:
            raise InputError(f"initial.masses: N = {count} particles of such masses n add to more than 2^62")

    def draw(self, rng: np.random.Generator, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Positions (n, d) and masses (n,), int64, of some rows of one replica.

        All numbers of the replica are drawn, in pieces, of which these rows are kept; but all positions of a part at
        once where some may be drawn again, or where its density draws by other means than numbers one by one.

        Raises:
            InputError: hardly any of a density lies in the domain.
        """
        many, first = np.zeros((2, len(self._parts)), dtype=np.int64)
        part_of = np.empty(rows.stop - rows.start, dtype=np.int64)
        for begin in range(0, self.count, PIECE):
            end = min(begin + PIECE, self.count)
            some = rng.choice(len(self._parts), size=end - begin, p=self._chance)
            low, high = (min(max(row, begin), end) for row in (rows.start, rows.stop))
            part_of[low - rows.start : high - rows.start] = some[low - begin : high - begin]
            many += np.bincount(some, minlength=len(self._parts))
            first += np.bincount(some[: low - begin], minlength=len(self._parts))
        x = np.empty((len(part_of), self.domain.dimension))
        for number, n in enumerate(many.tolist()):
            mine = part_of == number
            at = slice(int(first[number]), int(first[number] + mine.sum()))
            x[mine] = self._some_positions(number, n, at, rng)
        return x, np.array([part.n for part in self._parts], dtype=np.int64)[part_of]

    def _some_positions(self, number: int, n: int, rows: slice, rng: np.random.Generator) -> np.ndarray:
        """Some of the n positions of a part."""
        density, domain = self._parts[number].density, self.domain
        uniform = isinstance(density, Uniform) and domain.kind != "ball"
        free = isinstance(density, Gaussian) and domain.kind in ("torus", "space")
        if n <= PIECE or not (uniform or free):
            return self._positions(number, n, rng)[rows]
        found = np.empty((rows.stop - rows.start, domain.dimension))
        for begin in range(0, n, PIECE):
            end = min(begin + PIECE, n)
            m = end - begin
            some = domain.wrap(density.sample(m, rng)) if isinstance(density, Gaussian) else domain.sample(m, rng)
            low, high = (min(max(row, begin), end) for row in (rows.start, rows.stop))
            found[low - rows.start : high - rows.start] = some[low - begin : high - begin]
        return found

    def _positions(self, number: int, n: int, rng: np.random.Generator) -> np.ndarray:
        density, domain = self._parts[number].density, self.domain
        if isinstance(density, Uniform):
            return domain.sample(n, rng)
        found, tried = np.empty((0, domain.dimension)), 0
        while len(found) < n:
            drawn = domain.wrap(density.sample(max(n, 16), rng))
            found, tried = np.concatenate([found, drawn[domain.contains(drawn)]]), tried + len(drawn)
            if tried >= 10 / RAREST and len(found) < RAREST * tried:
                raise InputError(
                    f"initial.masses[{number}]: less than {RAREST:g} of the density lies in the {domain.kind}; "
                    "move it inside"
                )
        return found[:n]
