"""A case of the coagulating system: its own sections, and what they mean for `Solver` and `simulate`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from limitpde import sections
from limitpde.checked import record
from limitpde.coagulation.model import Initial, Model
from limitpde.coagulation.reaction.bins import LARGEST_MATRIX, Bins, MassGrid
from limitpde.compare.test_functions import FunctionTable, Wave, fitted
from limitpde.compare.user_functions import UserFunction
from limitpde.densities import Uniform
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.fem.mesh import AnyMesh, Ball, Box, Point, Torus, coarser, finer
from limitpde.sections import Positive

TRIED = 32
"""Points at which test functions by Python are tried."""
MOST_STEPS = 1e9
"""Steps of the equation that are too many."""


@record
class PDE(sections.BasePDE):
    """Section [pde]: the keyword arguments of `Solver`."""

    mesh: AnyMesh
    """A torus, a box, a ball, a point, or the path of a gmsh file; walls let nothing through."""
    degree: Literal[1] = 1
    """Polynomial degree."""
    bins: Bins | None = None
    """Bins of masses, for wide ranges or continuous masses; every integer up to n_max by default."""

    def finer(self, factor: float) -> dict[str, Any]:
        """A finer mesh."""
        return finer(self.mesh, factor)

    def coarser_space(self, factor: int) -> dict[str, Any]:
        """A coarser mesh."""
        return {"mesh": coarser(self.mesh, factor)}


@record
class Particles(sections.BaseParticles):
    """Section [particles]: counts (of the start), and keyword arguments of `simulate`."""

    step: Positive | None = None
    """Largest time step; by default only the density sets it."""
    method: Literal["micro", "closed", "auto"] = "auto"
    """How it is decided whether a pair reacts: by the hazard along its path, which knows no beta ("micro"), or for far
    pairs by the scattering length of V ("closed")."""
    domain: Literal["torus", "space"] | None = None
    """Where the particles live: with [pde] where the equation is solved, and nothing else; without it the unit torus if
    a part of the initial data is uniform, else the whole space, by default."""


@record
class Compare(sections.CloudCompare):
    """Section [compare]; test functions are phi(x, m) = g(x) 1(m = n), without n for all masses, or of one's own."""

    deltas: tuple[Positive, ...] | None = None
    """Widths delta of the candidate densities (4.2); one that suits the domain by default, or the whole domain where
    the initial data are even."""

    def __post_init__(self) -> None:
        sections.CloudCompare.__post_init__(self)
        for number, function in enumerate(self.test_functions):
            if not isinstance(function, UserFunction) and function.charge:
                raise ValueError(f"test_functions[{number}].charge = true: masses have no charge; leave it out")


@record
class Case(sections.BaseCase):
    """A case of the coagulating system."""

    SYSTEM: ClassVar[str] = "limitpde.coagulation.system:SYSTEM"
    NEEDS: ClassVar[str] = "limitpde.coagulation.needs:loads"
    FLUXES: ClassVar[bool] = True
    system: Literal["coagulation"]
    model: Model
    initial: Initial
    pde: PDE | None = None
    particles: Particles | None = None
    compare: Compare | None = None

    def __post_init__(self) -> None:
        sections.BaseCase.__post_init__(self)
        if self.pde is not None:
            self._check_equation(self.pde)
        if self.compare is not None:
            FunctionTable.of(self.compare.test_functions, self.model.dimension)
            fitted(self.compare.test_functions, self.domain)
        if self.particles is not None:
            self._check_domain(self.particles)
            masses = np.array([part.n for part in self.initial.masses])
            for count in self.particles.counts:
                self.model.check_reach(count, masses, self.initial.Z, self.domain)
        from_file = self.pde is not None and isinstance(self.pde.mesh, str)
        self.initial.check(self.domain, volume_known=from_file and self.particles is None)
        self._check_functions()

    def _check_equation(self, pde: PDE) -> None:
        """Check what the equation asks of the other sections.

        Raises:
            ValueError: a mass has no place in its range, the mesh cannot be made, or there are too many steps.
        """
        if self.time.end / pde.step > MOST_STEPS:
            raise ValueError(
                f"pde.step = {pde.step:g}: too small, it asks for over {MOST_STEPS:g} steps up to time.end"
            )
        if isinstance(pde.mesh, Torus | Box | Ball):
            try:
                pde.mesh.check(self.model.dimension)
            except InputError as error:
                raise ValueError(f"pde.{error}") from None
        if self.model.beta.kernel == "from_micro":
            self.model.check_recipe()
        grid = MassGrid(self.model.n_max, pde.bins)
        self.model.check_powers(grid.masses[-1])
        limit = f"{grid.masses[-1]:g}, the largest mass of the equation ({'pde.bins' if pde.bins else 'model.n_max'})"
        if grid.M > LARGEST_MATRIX and not grid.every_integer:
            raise ValueError(f"pde.bins: {grid.M} masses; at most {LARGEST_MATRIX} are possible, take fewer per_decade")
        if pde.bins is not None and self.model.beta.matrix is not None:
            raise ValueError('pde.bins: beta.kernel = "matrix" has no rates for bins; leave them out')
        for number, part in enumerate(self.initial.masses):
            name = f"initial.masses[{number}]"
            if part.n > grid.masses[-1]:
                raise ValueError(f"{name}.n = {part.n}: must not exceed {limit}")
            if isinstance(pde.mesh, Point) and not isinstance(part.density, Uniform):
                raise ValueError(f"{name}.shape: must be 'uniform', as a point has only homogeneous densities")
        for number, function in enumerate(self.test_functions):
            if not isinstance(function, UserFunction) and function.n is not None and function.n not in grid.masses:
                name = f"compare.test_functions[{number}].n = {function.n}"
                raise ValueError(f"{name}: must be a mass of the equation, from 1 to {limit}")

    def _check_functions(self) -> None:
        """Try test functions by Python where the data are, at their masses and at twice these, and around a torus."""
        rng, domain = np.random.default_rng(0), self.domain
        for number, function in enumerate(self.test_functions):
            for part in self.initial.masses if isinstance(function, UserFunction) else ():
                assert isinstance(function, UserFunction)
                key = f"compare.test_functions[{number}]"
                if not isinstance(part.density, Uniform):
                    x = domain.wrap(part.density.sample(TRIED, rng))
                elif domain.bounded:
                    x = domain.sample(TRIED, rng)
                else:  # a mesh from a file, of which nothing is known here
                    x = rng.normal(size=(TRIED, self.model.dimension))
                for n in (part.n, 2.0 * part.n):
                    function.check(x, np.full(TRIED, float(n)), self.time.end, key)
                    if domain.kind == "torus":
                        function.check_periodic(x, np.full(TRIED, float(n)), domain.size, self.time.end, key)

    def _check_domain(self, particles: Particles) -> None:
        """Check that the particles live where the equation is solved.

        Raises:
            ValueError: they do not.
        """
        mesh = None if self.pde is None else self.pde.mesh
        if isinstance(mesh, str):
            raise ValueError(
                f"pde.mesh = {mesh!r}: particles know no walls of a file; beside [particles] take a torus, a box, a "
                "ball or a point, or leave one of the two sections out"
            )
        kind = None if mesh is None else self.domain.kind
        if kind is not None and particles.domain not in (None, kind):
            raise ValueError(
                f"particles.domain = {particles.domain!r}: must be that of pde.mesh, a {kind}; leave it out"
            )

    @property
    def domain(self) -> Domain:
        """Where particles live and, but for a mesh from a file, the equation is solved."""
        d = self.model.dimension
        asked = self.particles.domain if self.particles is not None else None
        mesh = self.pde.mesh if self.pde is not None else None
        if isinstance(mesh, Torus | Box | Ball | Point):
            return mesh.domain(d)
        uniform = mesh is None and any(isinstance(part.density, Uniform) for part in self.initial.masses)
        if asked == "torus" or (asked is None and uniform):
            return Point().domain(d)
        return Domain.space(d)

    @property
    def deltas(self) -> tuple[float | None, ...]:
        """Widths of the candidate densities; None, one constant over the domain, where data and functions are even."""
        if self.compare is None or self.particles is None:
            return ()
        if self.compare.deltas is not None:
            return self.compare.deltas
        even = all(isinstance(part.density, Uniform) for part in self.initial.masses)
        if even and all(isinstance(g, Wave) and not any(g.k) for g in self.compare.test_functions):
            return (None,)
        return (self.initial.default_delta(self.domain),)
