"""The unknown of the limit equation, as `Solver` drives it: f itself, or a complex alpha with |alpha|^2 = f."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from limitpde.errors import InputError
from limitpde.results.shared_array import Block
from limitpde.vlasov.initial import Start


@dataclass(frozen=True, slots=True)
class Moments:
    """Velocity moments of f at the x nodes of this rank."""

    rho: np.ndarray
    """(*x_shape) int f dv."""
    momentum: np.ndarray
    """(d, *x_shape) int v f dv."""
    kinetic: np.ndarray
    """(*x_shape) int |v|^2 / 2 f dv."""

    @classmethod
    def of(cls, form: Form) -> Moments:
        """The moments of what a form holds. Collective."""
        v_nodes = form.space.v_nodes
        d = len(v_nodes)
        factors = [np.ones((1 + 2 * d, len(v))) for v in v_nodes]
        for j, v in enumerate(v_nodes):
            factors[j][1 + j] = v
            factors[j][1 + d + j] = v**2 / 2
        found = form.velocity_integrals(factors)
        return cls(found[0], found[1 : 1 + d], found[1 + d :].sum(axis=0))


class Form(Protocol):
    """What `Solver` needs of an unknown. Every method is collective."""

    space: Any
    """Where f lives: TensorSpace, MeshSpace, or a space of the form's own."""
    lost: float
    """Mass that has left the domain on this rank."""

    @property
    def values(self) -> np.ndarray:
        """F at the nodes of this rank, (*x_shape, *v_shape)."""

    def drift(self, dt: float) -> None:
        """Transport in x over dt."""

    def kick(self, dt: float) -> None:
        """Transport in v by the present force over dt."""

    def velocity_integrals(self, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Int f prod_j factors[j][q](v_j) dv at the x nodes, (Q, *x_shape); factors: d arrays (Q, n_j)."""

    def figures(self, t: float) -> dict[str, float]:
        """Norms, extrema and invariants of its own."""

    def density_values(self) -> np.ndarray:
        """F at the nodes in natural order, on rank 0."""

    def block(self) -> Block:
        """The unknown, as this rank has it."""

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs besides, on rank 0."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`, given on every rank, and from what was put into `block`."""


def check_unknown(form: str, *, on_mesh: bool, positivity: bool) -> None:
    """Check that a form of the equation can be solved where it is to be.

    Args:
        form: "density", "hamiltonian" or "hartree".

    Keyword Args:
        on_mesh: whether x has a mesh instead of a tensor grid.
        positivity: whether there is to be a limiter.

    Raises:
        InputError: it cannot.
    """
    if form != "density" and on_mesh:
        raise InputError(f"model.form = {form!r}: alpha needs a tensor grid; leave out pde.mesh")
    if form != "density" and positivity:
        raise InputError(f"pde.positivity = true: |alpha|^2 >= 0 by itself, model.form = {form!r} has no limiter")
    if on_mesh and positivity:
        raise InputError("pde.positivity = true: there is no limiter on a mesh; leave it out, or leave out pde.mesh")


class DensityForm:
    """f of (Vl) itself.

    Args:
        start: the initial density.
        space: where f lives.
        field: the forces.
    """

    def __init__(self, start: Start, space: Any, field: Any) -> None:
        from limitpde.vlasov.initial_values import fill_density  # compiles

        self.space, self._field = space, field
        self.lost = 0.0
        self._f = space.array(1)
        fill_density(start, space, self._f[0])
        self._force: np.ndarray | None = None

    @property
    def values(self) -> np.ndarray:
        """F at the nodes of this rank, (*x_shape, *v_shape)."""
        return np.asarray(self._f[0])

    def drift(self, dt: float) -> None:
        """f(x, v) -> f(x - v dt, v), exactly. Collective."""
        self._f, lost = self.space.drift(self._f, dt)
        self.lost += lost
        self._force = None

    def kick(self, dt: float) -> None:
        """f(x, v) -> f(x, v - F dt), exactly, with the present F, which a kick does not change. Collective."""
        if self._force is None:
            ones = [np.ones((1, len(v))) for v in self.space.v_nodes]
            self._force = self._field.force(self.velocity_integrals(ones)[0]) + self._field.exterior_force
        self._f, lost = self.space.kick(self._f, self._force, dt)
        self.lost += lost

    def velocity_integrals(self, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Int f prod_j factors[j][q](v_j) dv at the x nodes, (Q, *x_shape). Collective."""
        return np.asarray(self.space.velocity_integrals(self.values, factors))

    def figures(self, t: float) -> dict[str, float]:
        """Int f^2 and the smallest nodal value. Collective."""
        square, least = self.space.square_and_minimum(self.values)
        return {"l2": square, "minimum": least}

    def density_values(self) -> np.ndarray:
        """F at the nodes in natural order, on rank 0. Collective."""
        return np.asarray(self.space.gather(self.values))

    def block(self) -> Block:
        """F, as this rank has it."""
        return Block(self._f[0], self.space.whole_shape, self.space.place)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs besides: nothing."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what was put into `block`."""
        self._force = None
