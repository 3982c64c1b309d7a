"""The Vlasov system (Neiss and Pickl): its parameters, and the part of phase space in which it is solved.

Newton's particles (Ham^N), masses m = M / N (the paper has M = 1),

    x_i' = v_i,    v_i' = -(M / (N - 1)) sum_{j != i} grad Gamma(x_i - x_j) - grad U(x_i),

with an even two-body potential Gamma and, if wanted, an exterior potential U. Their limit is

    d_t f + v . grad_x f + F . grad_v f = 0,    F = -grad Gamma * rho - grad U,    rho = int f dv.                  (Vl)

`form` says in which variables it is solved: f itself, a complex alpha with |alpha|^2 = f (HVl), or the Fourier
transform of alpha in v (HHt).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag

from limitpde.checked import Coordinate, record
from limitpde.domains import Domain
from limitpde.potentials import AnyExterior, AnyPotential, Free, Poisson

Interval = tuple[Coordinate, Coordinate]


def _intervals_kind(value: Any) -> str:
    several = isinstance(value, list | tuple) and len(value) > 0 and isinstance(value[0], list | tuple)
    return "several" if several else "one"


Intervals = Annotated[
    Annotated[Interval, Tag("one")]
    | Annotated[tuple[Interval, ...], Field(min_length=1, max_length=3), Tag("several")],
    Discriminator(_intervals_kind),
]


@record
class PhaseDomain:
    """Section [model.domain]: the box of positions and velocities in which f is represented."""

    x: Intervals
    """Interval of each position coordinate, (d, 2), or one for all."""
    v: Intervals
    """Interval of each velocity coordinate, (d, 2), or one for all; what leaves it is counted as lost."""
    periodic: bool = True
    """Positions on a torus; otherwise in the whole space, and what leaves the box is counted as lost."""

    def __post_init__(self) -> None:
        for name in ("x", "v"):
            for low, high in np.atleast_2d(getattr(self, name)):
                if not high - low > 1e-12 * max(abs(low), abs(high)):
                    raise ValueError(f"{name} = [{low:g}, {high:g}]: the second number must be the larger one")

    def box(self, axis: Literal["x", "v"], dimension: int) -> np.ndarray:
        """Intervals of the d coordinates, (d, 2).

        Raises:
            ValueError: there are neither one nor d of them.
        """
        intervals = np.atleast_2d(np.array(getattr(self, axis), dtype=float))
        if len(intervals) not in (1, dimension):
            wanted = "one is" if dimension == 1 else f"one for all or {dimension} are"
            raise ValueError(
                f"domain.{axis} has {len(intervals)} intervals: with dimension = {dimension} {wanted} needed"
            )
        return np.asarray(np.broadcast_to(intervals, (dimension, 2)))


@record
class Model:
    """Parameters of the Vlasov system, (Ham^N), (Vl), (HVl), (HHt)."""

    dimension: Literal[1, 2, 3] = 1
    """d: positions and velocities have d coordinates each."""
    potential: AnyPotential = Free()
    """Gamma, the two-body potential."""
    exterior: AnyExterior | None = None
    """U, an exterior potential; none by default."""
    form: Literal["density", "hamiltonian", "hartree"] = "density"
    """The limit as (Vl) for f, (HVl) for alpha, or (HHt) for the Fourier transform of alpha in v."""
    domain: PhaseDomain
    """The part of phase space in which f is represented."""

    def __post_init__(self) -> None:
        self.domain.box("v", self.dimension)
        self.check_potentials(on_mesh=not self.domain.periodic)

    def check_potentials(self, *, on_mesh: bool) -> None:
        """Check that Gamma and U make sense where the model is to be solved.

        Keyword Args:
            on_mesh: on a mesh with walls, which has a Green's function for Poisson's Gamma in every dimension.

        Raises:
            ValueError: they do not.
        """
        if not (on_mesh and isinstance(self.potential, Poisson)):
            self.potential.check(self.x_box, periodic=self.domain.periodic)
        if self.exterior is not None:
            self.exterior.check(self.x_box, periodic=self.domain.periodic)

    @property
    def x_box(self) -> np.ndarray:
        """Intervals of the positions, (d, 2)."""
        return self.domain.box("x", self.dimension)

    @property
    def v_box(self) -> np.ndarray:
        """Intervals of the velocities, (d, 2)."""
        return self.domain.box("v", self.dimension)

    @property
    def positions(self) -> Domain:
        """Where particles live: a torus, or the whole space."""
        low, high = self.x_box.T
        return Domain.torus(high - low, low) if self.domain.periodic else Domain.space(self.dimension)

    @property
    def torus(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower corner and edges of phase space, (2 d,) each; edges are infinite along what is not periodic."""
        low = np.concatenate([self.x_box[:, 0], self.v_box[:, 0]])
        size = np.full(2 * self.dimension, np.inf)
        if self.domain.periodic:
            size[: self.dimension] = self.x_box[:, 1] - self.x_box[:, 0]
        return low, size

    @property
    def residual_rate(self) -> float:
        """Power of N with which W falls: 1/(N - 1) is not 1/N, and that is all there is."""
        return -1.0
