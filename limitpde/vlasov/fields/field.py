"""The field of a model on a space: rho of the nodes of one rank in, forces there out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from limitpde.parallel import on_all
from limitpde.potentials import Cosine, Free, GaussianPotential, Harmonic, Poisson, on_torus
from limitpde.potentials.modes import Modes
from limitpde.vlasov.fields.closed import HarmonicMoments, NoInteraction, Separable
from limitpde.vlasov.fields.convolution import Convolution
from limitpde.vlasov.fields.poisson import TorusPoisson
from limitpde.vlasov.fields.share import FieldShare
from limitpde.vlasov.fields.sheets import CirclePoisson, Sheets
from limitpde.vlasov.fields.trigonometric import Trigonometric
from limitpde.vlasov.model import Model

LARGEST_MATRIX = 2048
"""Nodes of a coordinate up to which a matrix over them is stored."""
LARGEST_SERIES = 20_000_000
"""Nodes of a line times modes up to which a matrix of them is stored."""


class TensorInteraction(Protocol):
    """Convolutions with Gamma of functions at the nodes (*X) that a rank has by its `FieldShare`. Collective."""

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, (*X) -> (*X)."""

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, (*X) -> (d, *X)."""

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """sum_j d_j Gamma * J_j, (d, *X) -> (*X)."""


class Field:
    """Forces and potentials at the x nodes of this rank. Collective, like all methods.

    Args:
        model: the parameters.
        space: where f lives.

    Attributes:
        share: the positions for which this rank computes.
        exterior_force: (d, *x_shape) -grad U.
        exterior_potential: (*x_shape) U.

    Raises:
        InputError: a function of the user fails, on every rank alike.
    """

    def __init__(self, model: Model, space: Any) -> None:
        self._space = space
        self.share = FieldShare(space.x_axes, space.grid)
        self._interaction = _interaction(model, self.share)
        self.exterior_potential, self.exterior_force = on_all(space.comm, lambda: _exterior(model, space))

    def force(self, rho: np.ndarray) -> np.ndarray:
        """-grad Gamma * rho, without U, (*x_shape) -> (d, *x_shape). Collective."""
        return self.share.back(self._interaction.force(self.share.mine(rho)))

    def potential(self, rho: np.ndarray) -> np.ndarray:
        """Gamma * rho, on a torus up to a constant, (*x_shape) -> (*x_shape). Collective."""
        return self.share.back(self._interaction.potential(self.share.mine(rho)))

    def coupling(self, current: np.ndarray) -> np.ndarray:
        """sum_j d_j Gamma * J_j, the phase of (HVl), (d, *x_shape) -> (*x_shape). Collective."""
        return self.share.back(self._interaction.coupling(self.share.mine(current)))

    def field_energy(self, rho: np.ndarray) -> float:
        """int rho Gamma * rho / 2. Collective."""
        return float(self._space.integrate_x(rho * self.potential(rho))) / 2


def make_field(model: Model, space: Any) -> Field:
    """The forces of a model on a tensor space. Collective.

    Raises:
        InputError: a function of the user fails, on every rank alike.
    """
    return Field(model, space)


def _exterior(model: Model, space: Any) -> tuple[np.ndarray, np.ndarray]:
    """U (*x_shape) and -grad U (d, *x_shape) at the nodes of this rank."""
    shape = tuple(space.x_shape)
    if model.exterior is None:
        return np.zeros(shape), np.zeros((model.dimension, *shape))
    points = space.x_points.reshape(-1, model.dimension)
    torus = model.x_box if model.domain.periodic else None
    value, gradient = model.exterior.value(points, torus), model.exterior.gradient(points, torus)
    return value.reshape(shape), -gradient.T.reshape(model.dimension, *shape)


def _interaction(model: Model, share: FieldShare) -> TensorInteraction:
    potential, axes, periodic = model.potential, share.axes, model.domain.periodic
    match potential:
        case Free():
            return NoInteraction(len(axes))
        case Harmonic():
            return HarmonicMoments(potential.strength, share)
        case Poisson() if len(axes) == 1:
            return (CirclePoisson if periodic else Sheets)(potential.strength, share)
        case Poisson():
            return TorusPoisson(potential.strength, share)
        case Cosine() if not periodic:
            return Trigonometric(Modes(np.eye(len(axes)), np.full(len(axes), potential.strength)), share)
        case GaussianPotential() if not periodic and max(axis.n for axis in axes) <= LARGEST_MATRIX:
            return Separable(potential.strength, potential.width, share)
    if not periodic:
        return Convolution(lambda x: (potential.value(x), potential.gradient(x)), share)
    modes = potential.modes(model.x_box)
    if modes is None or (len(axes) == 1 and len(modes.c) * axes[0].n > LARGEST_SERIES):
        return Convolution(lambda x: on_torus(potential, x, model.x_box), share)
    return Trigonometric(modes, share)
