"""A case of the signed system: its own sections, and what they mean for `Solver` and `simulate`."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from mpi4py import MPI
from pydantic import Field, Tag

from limitpde import sections
from limitpde.checked import record, told_apart
from limitpde.compare.test_functions import FunctionTable
from limitpde.compare.user_functions import UserFunction
from limitpde.fem.mesh import Box, Disk, Refinement, coarser, finer, mesh_kind
from limitpde.files import ExistingFile
from limitpde.sections import Natural, Positive
from limitpde.signed.confinement import ConfinementFromFile
from limitpde.signed.model import Initial, Model
from limitpde.signed.options import (
    MOST_SUBSTEPS,
    NEEDS_WALLS,
    TransportBy,
    batch_size_of,
    check_substeps,
    check_vortices,
    takes_exact_pairs,
)
from limitpde.signed.scaling import PowerOfN, Scaling

TRIED = 32
"""Points of each part of the initial densities at which grad U is compared with U."""
AnyPlaneMesh = Annotated[
    Annotated[Disk, Tag("disk")] | Annotated[Box, Tag("box")] | Annotated[ExistingFile, Tag("path")],
    told_apart(lambda value: mesh_kind(value) or "disk", "'disk', 'box'; or give the path of a gmsh file"),
]
AnyBoundary = Literal["plane", "grounded", "insulated"] | Annotated[dict[str, float], Field(min_length=1)]


@record
class PDE(sections.BasePDE):
    """Section [pde]: the keyword arguments of `Solver`."""

    mesh: AnyPlaneMesh
    """A disk, a box (between walls), or the path of a gmsh file."""
    degree: Literal[1, 2, 3, 4] = 1
    """Polynomial degree: 1 keeps densities >= 0 and the free energy falling, 2 to 4 are for smooth data."""
    tolerance: Positive | None = None
    """Relative error in L2 that a step may make; steps of fixed size by default."""
    refinement: Refinement | None = None
    """For degree 1: { tolerance = 1e-3, smallest_cell = 0.01 }, a mesh that follows the densities: edges are halved
    where interpolation errs by more than this part of the largest density, down to cells of that length, and nodes that
    came so go again. The mesh stays as it is by default."""
    undershoot: Positive | None = None
    """For degrees 2 to 4: how far below zero densities may fall, as a part of the largest; 1e-3 by default."""
    boundary: AnyBoundary = "plane"
    """psi at the boundary: that of the whole plane (on a circle); 0 ("grounded"); no field through it, net charge
    neutralised by a uniform background ("insulated"); or { left = 1.0, right = -1.0 }, the potential of conducting
    groups of lines of the gmsh file, by name or number, the rest being insulated."""
    multipoles: Annotated[int, Field(ge=0, le=64)] = 12
    """Highest multipole moment in the boundary data of the potential."""
    transport: TransportBy = "auto"
    """For degree 1: exponentially fitted fluxes, those with a correction to second order ("corrected"), or the latter
    for vortices and in steps where max |v| h / (2 D) is above `corrected_from`, but not between walls, under a
    confinement or attraction."""
    corrected_from: Positive = 1.0
    """For transport = "auto": max |v| h / (2 D) above which fluxes are corrected. Companions with larger cells have a
    number that is larger by as much, so that they correct where the solution does."""

    def __post_init__(self) -> None:
        if self.degree == 1 and self.undershoot is not None:
            raise ValueError(f"undershoot = {self.undershoot}: is for degrees 2 to 4; leave it out with degree = 1")
        if self.degree > 1 and self.transport != "auto":
            raise ValueError(f"transport = {self.transport!r}: is for degree = 1; leave it out")
        if self.degree > 1 and self.refinement is not None:
            raise ValueError(f"degree = {self.degree}: a mesh that follows the densities needs degree = 1")
        if self.boundary != "plane" and self.degree > 1:
            raise ValueError(f"degree = {self.degree}: walls need degree = 1; or leave out boundary")
        if isinstance(self.boundary, dict) and not isinstance(self.mesh, str):
            raise ValueError(f"boundary = {self.boundary}: names groups of lines, which only a gmsh file has")

    def finer(self, factor: float) -> dict[str, Any]:
        """A finer mesh, which refines itself more."""
        keys: dict[str, Any] = finer(self.mesh, factor)
        if self.refinement is not None:
            keys["refinement.smallest_cell"] = self.refinement.smallest_cell / factor
            keys["refinement.tolerance"] = self.refinement.tolerance / factor**2
        return keys

    def longer_steps(self, factor: int) -> dict[str, Any]:
        """Longer steps, and the tolerance that allows them: their errors are like step^(order + 1)."""
        growth = factor ** (3 if self.degree == 1 else 5)
        return {"step": factor * self.step, "tolerance": self.tolerance and growth * self.tolerance}

    def coarser_space(self, factor: int) -> dict[str, Any]:
        """A coarser mesh, which refines itself less."""
        refinement = None if self.refinement is None else self.refinement.coarser(factor)
        larger = {"mesh": coarser(self.mesh, factor), "refinement": refinement}
        kept = larger["mesh"] == self.mesh
        return larger | {"corrected_from": self.corrected_from if kept else factor * self.corrected_from}


@record
class Particles(sections.BaseParticles):
    """Section [particles]: counts, and keyword arguments of `simulate`."""

    step: Positive
    """Time step."""
    method: Literal["direct", "fast", "batches", "auto"] = "auto"
    """Force sum: over all pairs, by an adaptive multipole method, over random batches (cheap, with a bias of order one
    in the step), or over all pairs and by the multipole method from N = 10,000 on."""
    accuracy: Annotated[float, Field(ge=1e-14, le=0.1)] = 1e-6
    """Of the fast sum, relative to the sum of the sizes of all forces on a particle."""
    batch_size: Annotated[int, Field(ge=2)] | None = None
    """For method = "batches": particles of a random batch, at most N; 32 by default, or N."""
    substeps: Annotated[int, Field(ge=1, le=MOST_SUBSTEPS)] = 1
    """The most parts into which a replica's step may be cut where charges come close, a power of two."""
    kernel: Literal["capped", "regularised"] = "capped"
    """x / max(|x|^2, eps^2), or (4.5) x / (|x|^2 + eps^2)."""
    eps: Annotated[float, Field(ge=0)] | None = None
    """Length of the cap or of the regularisation; sqrt(2 gamma step / substeps) by default, in random batches with the
    (N - 1) / (p - 1) times stronger gamma of a pair."""
    cutoff: Natural | None = None
    """l of the cut-off (4.6), (4.7); none by default."""
    pairs: Literal["euler", "exact", "auto"] = "auto"
    """Nearest neighbours move like all others, by their exact joint law, or by that where gamma >= 0.05 sigma^2."""
    collision: Literal["through", "stick", "annihilate"] = "through"
    """What charges do that hit each other; they stick anyway where gamma >= sigma^2."""
    gamma: PowerOfN | None = None
    """gamma_N of the particles, { coefficient = c, power = -p } for c N^-p; gamma_bar / N by default. W and the
    equation keep model.gamma_bar."""
    sigma: PowerOfN | None = None
    """sigma_N of the particles, likewise; model.sigma by default. W and the equation keep D of model.sigma."""


@record
class Compare(sections.CloudCompare):
    """Section [compare]; test functions are phi(x, b)."""

    def __post_init__(self) -> None:
        sections.CloudCompare.__post_init__(self)
        FunctionTable.of(self.test_functions, 2)
        for number, function in enumerate(self.test_functions):
            if not isinstance(function, UserFunction) and function.n is not None:
                raise ValueError(f"test_functions[{number}].n = {function.n}: charges have no mass; leave it out")


@record
class Estimates:
    """Section [estimates]: the paper's estimates, measured on the particles (`limitpde.signed.estimates`)."""

    check: bool = False
    """Whether to measure them; it costs another force sum for each eps, and one sum over pairs."""
    eps: Annotated[tuple[Positive, ...], Field(min_length=2)] = (0.4, 0.2, 0.1, 0.05)
    """Lengths of the regularisation in Lemma 5.9."""


@record
class Case(sections.BaseCase):
    """A case of the signed system."""

    SYSTEM: ClassVar[str] = "limitpde.signed.system:SYSTEM"
    NEEDS: ClassVar[str] = "limitpde.signed.needs:loads"
    FLUXES: ClassVar[bool] = True
    system: Literal["signed"]
    model: Model
    initial: Initial
    pde: PDE | None = None
    particles: Particles | None = None
    compare: Compare | None = None
    estimates: Estimates = Estimates()

    def __post_init__(self) -> None:
        sections.BaseCase.__post_init__(self)
        if self.pde is not None and self.initial.points is not None:
            raise ValueError("initial.points: a case with [pde] needs densities, not points")
        if self.initial.points is not None and not os.path.isfile(self.initial.points):
            raise ValueError(f"initial.points = {self.initial.points!r}: no such file")
        if self.pde is not None and self.model.gamma_bar is None:
            raise ValueError("model.gamma_bar is missing: with a fixed gamma the particles have no limit, so no [pde]")
        self._check_combination()
        self._check_functions()
        if isinstance(self.model.confinement, ConfinementFromFile):
            self.model.confinement.check(self.initial.drawn(TRIED))
        mass = self.initial.mass(0) + self.initial.mass(1)
        if self.particles is not None and self.initial.points is None and not math.isclose(mass, 1, rel_tol=1e-9):
            raise ValueError(f"initial: the masses add to {mass:.12g}; with [particles] they must add to 1")

    def check_files(self) -> None:
        """Compare points with the particle numbers, and the names of walls with those of the mesh."""
        from limitpde.fem.mesh_files import boundary_lines
        from limitpde.signed.start import InitialPositions

        if self.particles is not None and self.initial.points is not None:
            for count in self.particles.counts:
                InitialPositions(self.initial, count, MPI.COMM_SELF)
        if self.pde is not None and isinstance(self.pde.mesh, str) and isinstance(self.pde.boundary, dict):
            boundary_lines(Path(self.pde.mesh), self.pde.boundary)

    def _check_functions(self) -> None:
        """Try test functions by Python where the data are."""
        x = self.initial.drawn(TRIED) if self.initial.points is None else np.zeros((1, 2))
        for number, function in enumerate(self.test_functions):
            if isinstance(function, UserFunction):
                if self.estimates.check:
                    raise ValueError(f"compare.test_functions[{number}].python: estimates.check needs max |grad phi|")
                for sign in (1.0, -1.0):
                    at = f"compare.test_functions[{number}]"
                    function.check(x, np.full(len(x), sign), self.time.end, at)

    @property
    def limit(self) -> Model:
        """The model of the equation: with the reaction of charges that annihilate, where that is left open."""
        particles, model = self.particles, self.model
        vanish = particles is not None and particles.collision == "annihilate" and model.gamma_bar is not None
        return replace(model, annihilation=True) if vanish and model.annihilation is None else model

    @property
    def scaling(self) -> Scaling:
        """The parameters of the equation, and what the particles have instead."""
        own = self.particles
        return Scaling(self.limit) if own is None else Scaling(self.limit, own.gamma, own.sigma)

    def _check_combination(self) -> None:
        model, pde = self.model, self.pde
        if pde is not None and pde.boundary != "plane" and self.particles is not None:
            raise ValueError(
                'pde.boundary: the particles live in the whole plane; take "plane", or leave out [particles]'
            )
        if self.initial.needs_walls and (pde is None or pde.boundary == "plane" or self.particles is not None):
            raise ValueError(NEEDS_WALLS)
        beyond = "model.sigma = 0" if model.sigma == 0 else "model.interaction = 'rotated'"
        if pde is not None and pde.degree > 1 and (model.sigma == 0 or model.interaction == "rotated"):
            raise ValueError(f"pde.degree = {pde.degree}: must be 1 with {beyond}")
        if pde is not None:
            check_vortices(model, pde.boundary)
        if self.estimates.check:
            self._check_estimates()
        if self.particles is not None:
            asked = self.particles
            check_substeps(asked.substeps)
            plain = asked.kernel == "capped" and asked.eps is None and asked.cutoff is None
            for count in asked.counts:
                if not self._batch_size(asked, count):
                    takes_exact_pairs(self.scaling.particles(count), count, asked.pairs, asked.collision, plain=plain)

    def _batch_size(self, asked: Particles, count: int) -> int | None:
        return batch_size_of(
            count,
            asked.method,
            asked.batch_size,
            pairs=asked.pairs,
            collision=asked.collision,
            cutoff=asked.cutoff,
            substeps=asked.substeps,
            estimates=self.estimates.check,
        )

    def _check_estimates(self) -> None:
        model, particles = self.model, self.particles
        if particles is None:
            raise ValueError("estimates.check = true: needs [particles]")
        if particles.gamma is not None or particles.sigma is not None:
            raise ValueError("estimates.check = true: they are for one gamma_bar and sigma; leave out particles.gamma")
        if model.interaction not in ("signed", "repulsive") or model.confinement is not None or model.sigma == 0:
            raise ValueError("estimates.check = true: they are for the system (1.1) with noise, without confinement")
        if particles.collision == "annihilate":
            raise ValueError("estimates.check = true: they are for particles that stay; take collision = 'through'")
