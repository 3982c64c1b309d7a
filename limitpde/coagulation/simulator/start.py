"""Where coagulating particles start: masses and positions are independent, from Z^-1 h_n(x) (Hammond section 1.3)."""

from __future__ import annotations

import numpy as np

from limitpde.coagulation.model import Initial
from limitpde.densities import Uniform
from limitpde.domains import Domain
from limitpde.errors import InputError

RAREST = 1e-3
"""A density of which less than this share lies in the domain is refused."""
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

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions (N, d) and masses (N,), int64, of one replica.

        Raises:
            InputError: hardly any of a density lies in the domain.
        """
        part_of = rng.choice(len(self._parts), size=self.count, p=self._chance)
        x = np.empty((self.count, self.domain.dimension))
        for number in range(len(self._parts)):
            mine = part_of == number
            x[mine] = self._positions(number, int(mine.sum()), rng)
        return x, np.array([part.n for part in self._parts], dtype=np.int64)[part_of]

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
