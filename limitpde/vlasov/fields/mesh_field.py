"""Forces on an unstructured mesh in x: finite elements for Poisson, sums over the nodes for kernels.

    kind           Gamma * rho
    poisson        phi of -Lap phi = strength rho in the domain of the mesh (`mesh_poisson`): grounded walls, phi = 0
                   there, or natural ones, without flux
    others         sum_y w_y Gamma(x - y) rho(y) over all nodes y with their weights: the whole space's Gamma, with no
                   mass outside the domain

The sum is of order k + 1 in the size of the cells, and 2k + 1 where the weights of the nodes integrate products of
degree 2k (`simplex`). It takes (number of nodes)^2 work; matrices are kept where they are small. The sums have
int rho F dx = 0 to rounding, the finite elements have not: walls carry momentum away.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np

from limitpde.errors import InputError
from limitpde.potentials import Free, Poisson, Potential
from limitpde.vlasov.fields.mesh_poisson import MeshPoisson
from limitpde.vlasov.model import Model

KEPT_ENTRIES = 1 << 25
"""Entries of the matrices of a kernel, on each rank, up to which they are kept."""
BLOCK_ENTRIES = 1 << 20
"""Pairs of nodes for which a kernel is evaluated at a time, roughly."""


class MeshInteraction(Protocol):
    """Gamma * rho on a mesh, rho given at all nodes in natural order, results at the nodes of this rank."""

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """(X,) -> (*x_shape)."""

    def force(self, rho: np.ndarray) -> np.ndarray:
        """(X,) -> (d, *x_shape)."""


class MeshField:
    """Forces and potentials at the x nodes of this rank. Collective.

    Args:
        model: the parameters.
        space: where f lives, a `MeshSpace`.

    Keyword Args:
        boundary: for kind "poisson", what phi does at the walls: "grounded" or "natural".

    Attributes:
        exterior_force: (d, *x_shape) -grad U.
        exterior_potential: (*x_shape) U.

    Raises:
        InputError: `boundary` is something else.
    """

    def __init__(self, model: Model, space: Any, *, boundary: Literal["grounded", "natural"] = "grounded") -> None:
        if boundary not in ("grounded", "natural"):
            raise InputError(f"boundary = {boundary!r}: must be 'grounded' or 'natural'")
        self._space = space
        self._interaction: MeshInteraction
        if isinstance(model.potential, Free):
            self._interaction = NoMeshInteraction(space.x_points)
        elif isinstance(model.potential, Poisson):
            self._interaction = MeshPoisson(model.potential.strength, space, boundary=boundary)
        else:
            self._interaction = NodeSums(model.potential, space)
        self.exterior_potential = np.zeros(space.x_shape)
        self.exterior_force = np.zeros((space.d, *space.x_shape))
        if model.exterior is not None:
            self.exterior_potential[:] = model.exterior.value(space.x_points)
            self.exterior_force[:] = -model.exterior.gradient(space.x_points).T

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, without U, (*x_shape) -> (d, *x_shape). Collective."""
        return self._interaction.force(self._space.gather_x(rho))

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (*x_shape) -> (*x_shape). Collective."""
        return self._interaction.potential(self._space.gather_x(rho))

    def field_energy(self, rho: np.ndarray) -> float:
        """int rho Gamma * rho / 2; for kind "poisson" int |grad phi|^2 / (2 strength). Collective."""
        exact = getattr(self._interaction, "energy", None)
        if exact is not None:
            return float(exact(self._space.gather_x(rho)))
        return float(self._space.integrate_x(rho * self.potential(rho))) / 2

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """Not there on a mesh.

        Raises:
            InputError: always.
        """
        raise InputError("model.form: the Hamiltonian forms need a tensor grid; leave out pde.mesh")


class NoMeshInteraction:
    """Gamma = 0.

    Args:
        points: (*x_shape, d).
    """

    def __init__(self, points: np.ndarray) -> None:
        self._points = points

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Zeros, (*x_shape)."""
        return np.zeros(len(self._points))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """Zeros, (d, *x_shape)."""
        return np.zeros(self._points.T.shape)


class NodeSums:
    """Sums of a kernel over all x nodes.

    Args:
        kernel: Gamma in the whole space.
        space: where f lives.
    """

    def __init__(self, kernel: Potential, space: Any) -> None:
        self._kernel, self._targets = kernel, space.x_points
        self._sources, self._weights = space.all_points, space.gather_x(space.x_weights)
        entries = (space.d + 1) * len(self._targets) * len(self._sources)
        self._matrices = self._tables(self._targets) if entries <= KEPT_ENTRIES else None

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (X,) -> (*x_shape)."""
        return self._sums(rho)[0]

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, (X,) -> (d, *x_shape)."""
        return -self._sums(rho)[1:]

    def _sums(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho and its gradient, (1 + d, *x_shape)."""
        weighted = self._weights * rho
        if self._matrices is not None:
            return np.asarray(self._matrices @ weighted)
        step = max(1, BLOCK_ENTRIES // len(self._sources))
        parts = [
            self._tables(self._targets[first : first + step]) @ weighted for first in range(0, len(self._targets), step)
        ]
        return np.concatenate(parts, axis=1) if parts else np.zeros((1 + self._targets.shape[1], 0))

    def _tables(self, targets: np.ndarray) -> np.ndarray:
        """Gamma and its gradient from all sources at targets (t, d), (1 + d, t, X)."""
        away = (targets[:, None] - self._sources).reshape(-1, targets.shape[1])
        rows = np.concatenate([self._kernel.value(away)[None], self._kernel.gradient(away).T])
        return rows.reshape(len(rows), len(targets), len(self._sources))
