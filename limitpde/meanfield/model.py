"""Particles with an interaction of the user's own: their parameters and their initial densities.

N particles of S species, particle i of the species s_i, on a line or in the plane,

    dX_i = -(1/N) sum_{j != i} a_{s_i s_j} grad W(X_i - X_j) dt - grad U(X_i) dt + sigma dB_i,

with an even W. Their empirical measure tends to the solution of the McKean-Vlasov (aggregation-diffusion) equation

    d_t rho_s = D Lap rho_s + div(rho_s grad V_s),   V_s = sum_t a_st W * rho_t + U,   D = sigma^2 / 2,

for W with bounded second derivatives (Sznitman, Topics in propagation of chaos, 1991). Where the strengths are
symmetric it is the gradient flow of F = sum_s int (D rho_s log rho_s + U rho_s) + 1/2 sum_st a_st int rho_s W * rho_t.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, Tag

from limitpde.checked import Coordinate, Moderate, record, told_apart
from limitpde.densities import DensityFromFile, Gaussian, Ring, UniformDisk, density_kind, drawn
from limitpde.errors import InputError
from limitpde.potentials import AnyExterior, AnyPotential, Poisson

Strengths = Annotated[
    tuple[Annotated[tuple[Coordinate, ...], Field(min_length=1)], ...], Field(min_length=1, max_length=16)
]
AnyPart = Annotated[
    Annotated[Gaussian, Tag("gaussian")]
    | Annotated[UniformDisk, Tag("disk")]
    | Annotated[Ring, Tag("ring")]
    | Annotated[DensityFromFile, Tag("from file")],
    told_apart(density_kind, "'gaussian', 'disk', 'ring'; or give python = 'file.py:function'"),
]
"""A part of an initial density, in the whole space."""


@record
class Model:
    """Parameters of the particles and of their limit."""

    dimension: Literal[1, 2] = 2
    """d, of the line or the plane."""
    sigma: Moderate
    """Strength of the noise; D = sigma^2 / 2."""
    interaction: AnyPotential
    """W, even: { python = "file.py:function" }, function(x (n, d)) -> W (n,), grad W (n, d), or a potential by its
    kind; "none" for particles that do not interact."""
    exterior: AnyExterior | None = None
    """U, likewise; none by default."""
    strengths: Strengths = ((1.0,),)
    """a_st, row s for what the species s feels of each species; its size says how many species there are."""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.strengths) for row in self.strengths):
            raise ValueError(f"strengths: {len(self.strengths)} rows must have as many entries each")
        if self.dimension > 1 and isinstance(self.interaction, Poisson):
            raise ValueError("interaction.kind = 'poisson': too singular in the plane; take system = 'signed'")

    @property
    def D(self) -> float:  # noqa: N802 - as in the equation
        """sigma^2 / 2."""
        return self.sigma**2 / 2

    @property
    def matrix(self) -> np.ndarray:
        """a, (S, S)."""
        return np.array(self.strengths)

    @property
    def symmetric(self) -> bool:
        """Whether there is a free energy."""
        return bool(np.all(self.matrix == self.matrix.T))

    def check(self, box: np.ndarray) -> None:
        """Try W and U in a box (d, 2).

        Raises:
            InputError: W is not even, or a gradient is not that of its values; see `limitpde.potentials.user`.
        """
        for key, potential in (("interaction", self.interaction), ("exterior", self.exterior)):
            if potential is not None:
                try:
                    potential.check(box, periodic=False)
                except InputError as error:
                    raise InputError(f"model.{key}: {error}") from error


@record
class Initial:
    """Initial densities of all species; their masses add to one where particles are drawn from them."""

    species: Annotated[tuple[Annotated[tuple[AnyPart, ...], Field(min_length=1)], ...], Field(min_length=1)]
    """For each species the list of the parts of its density at time 0."""

    def check(self, model: Model) -> None:
        """Check that the densities are those of a model.

        Raises:
            InputError: there are more or fewer species, or a centre has another dimension.
        """
        if len(self.species) != len(model.strengths):
            raise InputError(
                f"initial.species: has {len(self.species)} lists of parts; model.strengths is for "
                f"{len(model.strengths)} species"
            )
        for s, parts in enumerate(self.species):
            for number, part in enumerate(parts):
                if len(part.center) != model.dimension:
                    name = f"initial.species[{s}][{number}].center = {list(part.center)}"
                    raise InputError(f"{name}: must have {model.dimension} coordinates")

    @property
    def masses(self) -> np.ndarray:
        """Of each species, (S,)."""
        return np.array([math.fsum(part.mass for part in parts) for parts in self.species])

    def numbers(self, count: int) -> np.ndarray:
        """How many of N particles are of each species: N times its mass, rounded so that they add to N, (S,)."""
        share = np.cumsum(self.masses) / self.masses.sum()
        return np.diff(np.round(count * share).astype(int), prepend=0)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent positions of N particles, species after species, (N, d)."""
        numbers = self.numbers(count)
        return np.concatenate([drawn(parts, n, rng) for parts, n in zip(self.species, numbers, strict=True)])

    def box(self) -> np.ndarray:
        """The smallest box around a few hundred points of each species, a quarter larger, (d, 2)."""
        x = np.concatenate([drawn(parts, 500, np.random.default_rng(0)) for parts in self.species])
        low, high = x.min(axis=0), x.max(axis=0)
        return np.stack([low - (high - low) / 8, high + (high - low) / 8], axis=1)
