"""A case of the mean-field system: its own sections, and what they mean for `Solver` and `simulate`."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np

from limitpde import sections
from limitpde.checked import Moderate, record
from limitpde.compare.test_functions import FunctionTable
from limitpde.compare.user_functions import UserFunction
from limitpde.errors import InputError
from limitpde.fem.mesh import Box, coarser, finer
from limitpde.meanfield.model import Initial, Model
from limitpde.potentials import AnyPotential
from limitpde.sections import Positive

TRIED = 32
"""Points of each species at which test functions by Python are tried."""


@record
class PDE(sections.BasePDE):
    """Section [pde]: the keyword arguments of `Solver`."""

    mesh: Box
    """An interval or a rectangle around all mass; its walls let nothing through."""

    def finer(self, factor: float) -> dict[str, Any]:
        """A finer mesh."""
        return finer(self.mesh, factor)

    def coarser_space(self, factor: int) -> dict[str, Any]:
        """A coarser mesh."""
        return {"mesh": coarser(self.mesh, factor)}


@record
class Particles(sections.BaseParticles):
    """Section [particles]: counts, and keyword arguments of `simulate`."""

    step: Positive
    """Time step."""
    interaction: AnyPotential | None = None
    """W of the particles, where it is not to be that of the model: W[T, phi] and the equation keep model.interaction,
    and the comparison must reject the particles."""
    sigma: Moderate | None = None
    """sigma of the particles, likewise."""


@record
class Compare(sections.CloudCompare):
    """Section [compare]; test functions are phi(x, s), of all species or, with n, of the species n = 1, 2, ... only."""

    def __post_init__(self) -> None:
        sections.CloudCompare.__post_init__(self)
        for number, function in enumerate(self.test_functions):
            if not isinstance(function, UserFunction) and function.charge:
                raise ValueError(f"test_functions[{number}].charge = true: there are no charges; leave it out")


@record
class Case(sections.BaseCase):
    """A case of the mean-field system."""

    SYSTEM: ClassVar[str] = "limitpde.meanfield.system:SYSTEM"
    NEEDS: ClassVar[str] = "limitpde.meanfield.needs:loads"
    FLUXES: ClassVar[bool] = True
    system: Literal["meanfield"]
    model: Model
    initial: Initial
    pde: PDE | None = None
    particles: Particles | None = None
    compare: Compare | None = None

    def __post_init__(self) -> None:
        sections.BaseCase.__post_init__(self)
        self.initial.check(self.model)
        self._check_functions()
        box = self.initial.box()
        if self.pde is not None:
            try:
                self.pde.mesh.check(self.model.dimension)
                domain = self.pde.mesh.domain(self.model.dimension)
            except InputError as error:
                raise ValueError(f"pde.{error}") from None
            box = np.stack([domain.low, domain.low + domain.size], axis=1)
        self.model.check(box)
        if self.particles is None:
            return
        if self.particles.interaction is not None:
            try:
                self.particles.interaction.check(box, periodic=False)
            except InputError as error:
                raise ValueError(f"particles.interaction: {error}") from None
        mass = float(self.initial.masses.sum())
        if not math.isclose(mass, 1, rel_tol=1e-9):
            raise ValueError(f"initial: the masses add to {mass:.12g}; with [particles] they must add to 1")

    def _check_functions(self) -> None:
        """Check the species of test functions, and try those by Python where the data are."""
        FunctionTable.of(self.test_functions, self.model.dimension)
        species = len(self.model.strengths)
        for number, function in enumerate(self.test_functions):
            at = f"compare.test_functions[{number}]"
            if isinstance(function, UserFunction):
                x = self.initial.draw(TRIED * species, np.random.default_rng(0))
                for s in range(species):
                    function.check(x, np.full(len(x), s + 1.0), self.time.end, at)
            elif function.n is not None and function.n > species:
                raise ValueError(f"{at}.n = {function.n}: there are {species} species")
