"""A case of the Vlasov system: its own sections, and what they mean for `Solver` and `simulate`."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, Tag

from limitpde import sections
from limitpde.checked import record, told_apart
from limitpde.compare.test_functions import FunctionTable
from limitpde.compare.user_functions import UserFunction
from limitpde.errors import InputError
from limitpde.fem.mesh import Ball, Box, Disk, coarser, finer, mesh_kind
from limitpde.files import ExistingFile
from limitpde.potentials import AnyPotential
from limitpde.sections import Positive
from limitpde.vlasov.counting_section import Counting
from limitpde.vlasov.forms import check_unknown
from limitpde.vlasov.initial import Initial, PhaseDensityFromFile, Start
from limitpde.vlasov.model import Model
from limitpde.vlasov.parts import check_parts
from limitpde.vlasov.sight import check_seen, is_seen, seen

Cells = Annotated[tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(min_length=1, max_length=6)]
Parts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2, max_length=6)]
Seconds = Annotated[float, Field(ge=0)]
TRIED = 64
"""Points of phase space at which a test function by Python is tried."""
FEWEST_CELLS = 8
"""Cells along a coordinate of phase space that a quick run takes at least."""


MeshWithWalls = Annotated[
    Annotated[Box, Tag("box")]
    | Annotated[Ball, Tag("ball")]
    | Annotated[Disk, Tag("disk")]
    | Annotated[ExistingFile, Tag("path")],
    told_apart(
        mesh_kind, "'box', 'ball', 'disk'; or give the path of a gmsh file; a torus has no mesh, only pde.cells"
    ),
]
"""A mesh for x, whose boundary is a wall."""


@record
class PDE(sections.BasePDE):
    """Section [pde]: the keyword arguments of `Solver`, and what is fitted."""

    cells: Cells
    """Numbers of cells: of all 2 d coordinates, or one for x and one for v; with a mesh, those of v only."""
    degree: Annotated[int, Field(ge=1, le=5)] = 3
    """Polynomial degree k in each coordinate; a cell has (k + 1)^(2 d) unknowns."""
    order: Literal[2, 4] | None = None
    """Order of the splitting in time, Strang or six stages of Blanes and Moan; by default 2 between absorbing walls,
    which the backward drifts of order 4 would cross, otherwise 4."""
    positivity: bool = False
    """Keep f >= 0 by a limiter that conserves mass."""
    mesh: MeshWithWalls | None = None
    """A mesh with walls for x, instead of a tensor grid: a box, a ball, a disk, or the path of a gmsh file."""
    walls: Literal["absorbing", "specular"] = "absorbing"
    """What the walls of the mesh do."""
    observe_every: Annotated[int, Field(ge=1)] = 1
    """Steps between rows of diagnostics.csv and times at which W is measured; the ends of those between are joined,
    which makes them nearly twice as fast."""
    parts: Parts | None = None
    """Parts into which the ranks cut each of the 2 d coordinates of a tensor grid, x then v, or the cells of a mesh and
    each velocity, as many as ranks in all; by default, those with which a step takes the least time by the bytes that
    ranks send, and with a mesh, the cells alone while each rank has some."""
    fit: tuple[Seconds, Seconds] | None = None
    """Interval of time in which growth rate and frequency of the field are fitted."""

    def __post_init__(self) -> None:
        if self.fit is not None and not self.fit[0] < self.fit[1]:
            raise ValueError(f"fit = {list(self.fit)}: the second time must be the later one")

    def cells_of(self) -> list[tuple[Literal["x", "v"], tuple[int, ...]]]:
        """Numbers of cells along the tensor axes of x, if there are any, and of v."""
        if self.mesh is not None:
            return [("v", self.cells)]
        half = len(self.cells) // 2
        return [("x", self.cells[:half]), ("v", self.cells[half:])]

    def finer(self, factor: float) -> dict[str, Any]:
        """More cells, and a finer mesh."""
        return {"cells": [math.ceil(factor * n) for n in self.cells]} | (finer(self.mesh, factor) if self.mesh else {})

    def coarser_space(self, factor: int) -> dict[str, Any]:
        """Fewer cells, and a coarser mesh."""
        cells = tuple(max(n // factor, min(n, FEWEST_CELLS)) for n in self.cells)
        return {"cells": cells, "mesh": self.mesh and coarser(self.mesh, factor), "parts": None}


@record
class Particles(sections.BaseParticles):
    """Section [particles]: counts, and keyword arguments of `simulate`."""

    step: Positive
    """Time step."""
    order: Literal[2, 4] = 2
    """Order of the symplectic integrator."""
    method: Literal["direct", "fast", "auto"] = "auto"
    """Force sum: over all pairs, by what costs O(N) (trigonometric sums, sorted sheets, moments), or the faster one."""
    potential: AnyPotential | None = None
    """Gamma of the particles, where it is not to be that of the equation; the comparison must then reject them."""


@record
class Compare(sections.CloudCompare):
    """Section [compare]; test functions are phi(x, v): center and k have 2 d entries, x then v."""

    counting: Counting | None = None
    """Measure beta_N of Theorem 4.8, for model.form = "hamiltonian" or "hartree"."""

    def __post_init__(self) -> None:
        sections.CloudCompare.__post_init__(self)
        for number, function in enumerate(self.test_functions):
            if isinstance(function, UserFunction):
                continue
            for name, unwanted in (("n", function.n is not None), ("charge", function.charge)):
                if unwanted:
                    raise ValueError(f"test_functions[{number}].{name}: Newton's particles have none; leave it out")


@record
class Case(sections.BaseCase):
    """A case of the Vlasov system."""

    SYSTEM: ClassVar[str] = "limitpde.vlasov.system:SYSTEM"
    NEEDS: ClassVar[str] = "limitpde.vlasov.needs:loads"
    system: Literal["vlasov"]
    model: Model
    initial: Initial
    pde: PDE | None = None
    particles: Particles | None = None
    compare: Compare | None = None

    def __post_init__(self) -> None:
        sections.BaseCase.__post_init__(self)
        self.model.check_potentials(on_mesh=self.pde is not None and self.pde.mesh is not None)
        Start(self.initial, self.model)  # checks that they fit
        if self.initial.phase is not None and self.model.form == "density":
            raise ValueError(
                "initial.phase: model.form = 'density' has no phase; leave it out, or set model.form to 'hamiltonian' "
                "or 'hartree'"
            )
        if self.compare is not None:
            FunctionTable.of(self.compare.test_functions, 2 * self.model.dimension)
            self._check_functions()
            if self.compare.counting is not None:
                self._check_counting(self.compare.counting)
        if self.pde is not None:
            self._check_pde(self.pde)
        if self.particles is not None:
            self._check_particles(self.particles)

    def coarser_pde(self, pde: sections.BasePDE) -> sections.BasePDE:
        """The section [pde] of a smaller version, which keeps the cells of x or v if fewer would not see f_0."""
        small, start = pde.coarser(), Start(self.initial, self.model)
        assert isinstance(pde, PDE)
        assert isinstance(small, PDE)
        fewer = dict(small.cells_of())
        kept = (
            fewer[axis] if is_seen(seen(start, self.model, axis, fewer[axis], pde.degree)) else cells
            for axis, cells in pde.cells_of()
        )
        return replace(small, cells=tuple(itertools.chain(*kept)))

    def _check_parts(self, pde: PDE, parts: tuple[int, ...]) -> None:
        """What can be checked of them while the number of ranks is not known."""
        d = self.model.dimension
        cells = [n for _, some in pde.cells_of() for n in (some if len(some) == d else some * d)]
        if pde.mesh is not None:
            cells = [parts[0], *cells]  # those of the mesh are not known
        try:
            check_parts(parts, cells if self.model.form != "hartree" else [*cells[:d], *(1,) * d], math.prod(parts))
        except InputError as error:
            raise ValueError(str(error)) from error

    def _check_functions(self) -> None:
        """Try test functions by Python in the domain, and whether those of a torus close around it."""
        model, box = self.model, np.concatenate([self.model.x_box, self.model.v_box])
        z = box[:, 0] + np.random.default_rng(0).random((TRIED, len(box))) * (box[:, 1] - box[:, 0])
        for number, function in enumerate(self.test_functions):
            if isinstance(function, UserFunction):
                key = f"compare.test_functions[{number}]"
                function.check(z, None, self.time.end, key)
                function.check_periodic(z, None, model.torus[1], self.time.end, key)
                if self.pde is not None and model.dimension > 1:
                    raise ValueError(
                        f"compare.test_functions[{number}].python: with [pde] they are for model.dimension = 1"
                    )

    def _check_counting(self, counting: Counting) -> None:
        """Check that Theorem 4.8 can be measured.

        Raises:
            ValueError: it cannot.
        """
        model, key, allowed = self.model, "compare.counting", ""
        if model.form == "density" or self.pde is None:
            allowed = "needs [pde] and model.form = 'hamiltonian' or 'hartree', for alpha"
        elif model.dimension == 3 or model.exterior is not None:
            allowed = "needs model.dimension = 1 or 2 and no model.exterior"
        elif not math.isclose(self.initial.mass, 1.0, rel_tol=1e-12):
            allowed = "needs initial.mass = 1, as alpha is normalised"
        elif counting.times is not None and counting.times[-1] > self.time.end:
            allowed = f"times must not be after time.end = {self.time.end:g}"
        elif any(isinstance(function, UserFunction) for function in self.test_functions):
            allowed = "takes test functions with a shape only, 'gaussian' or 'wave'"
        if allowed:
            raise ValueError(f"{key}: {allowed}")

    def _check_particles(self, particles: Particles) -> None:
        if isinstance(self.initial, PhaseDensityFromFile) and self.model.dimension == 3:
            raise ValueError(
                f"initial.python = {self.initial.python!r}: particles cannot be drawn from a function in dimension 3; "
                "give a shape, or leave out [particles]"
            )
        if particles.potential is not None:
            try:
                particles.potential.check(self.model.x_box, periodic=self.model.domain.periodic)
            except InputError as error:
                raise ValueError(f"particles.{error}") from error

    def _check_pde(self, pde: PDE) -> None:
        d = self.model.dimension
        parts = 2 if pde.mesh is None else 1
        if len(pde.cells) not in (parts, parts * d):
            numbers = f"{parts} or {parts * d} numbers" if d > 1 else ("2 numbers" if parts == 2 else "1 number")
            what = "of x, then of v" if pde.mesh is None else "of v alone, as x has a mesh"
            raise ValueError(f"pde.cells = {list(pde.cells)}: must be {numbers}, {what}")
        if pde.parts is not None:
            self._check_parts(pde, pde.parts)
        if pde.fit is not None and pde.fit[0] >= self.time.end:
            raise ValueError(f"pde.fit = {list(pde.fit)}: must begin before time.end = {self.time.end:g}")
        check_unknown(self.model.form, on_mesh=pde.mesh is not None, positivity=pde.positivity)
        start = Start(self.initial, self.model)
        for axis, cells in pde.cells_of():
            check_seen(start, self.model, axis, cells, pde.degree)
        if pde.mesh is None:
            return
        if isinstance(pde.mesh, Disk) and d != 2:
            raise ValueError(f"pde.mesh.shape = 'disk': has dimension 2, not {d}; take 'ball'")
        if isinstance(pde.mesh, Ball | Disk) and d > 1 and pde.walls == "specular":
            raise ValueError(
                "pde.walls = 'specular': velocities mirrored at the wall of a ball are not on the grid; it must be "
                "'absorbing'"
            )
        if isinstance(pde.mesh, Box | Ball):
            try:
                pde.mesh.domain(d)
                pde.mesh.check(d)
            except InputError as error:
                raise ValueError(f"pde.{error}") from error
        if self.model.domain.periodic:
            raise ValueError("model.domain.periodic = true: a case with pde.mesh has walls; set it to false")
        if self.particles is not None:
            raise ValueError("particles: with pde.mesh there are walls, which the particles do not know")
