"""f_0 and alpha_0 on a space, with the mass that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.vlasov.initial import Start
from limitpde.vlasov.phase_space import projection
from limitpde.vlasov.sight import SEEN, is_seen


def fill_density(start: Start, space: Any, f: np.ndarray) -> None:
    """Set f (*x_shape, *v_shape) to the projection of f_0, and scale it to the mass of f_0 in the box. Collective.

    On a mesh velocities, and positions that are independent of them, are projected; a user's function is taken at the
    nodes there, as the mass within a mesh is not known beforehand.

    Raises:
        InputError: the points of the cells see far more, or far less, than the mass.
    """
    on_mesh = not hasattr(space, "x_axes")
    if start.parts is not None:
        positions, velocities = start.parts
        v = projection.separable(velocities.terms(), space.v_axes, space.place[-space.d :])
        if on_mesh:
            x = space.project(positions.density)
            _check(_integral(space, positions.density(space.x_points)), _integral(space, x), "pde.mesh: its points")
        else:
            x = projection.separable(positions.terms(), space.x_axes, space.place[: space.d])
        np.multiply(x.reshape(*x.shape, *(1,) * v.ndim), start.mass * v, out=f)
    else:
        space.fill(f[None], lambda z: start.density(z)[None])
        if not on_mesh:
            _check(_mass(space, f), start.mass, "pde.cells: their points")
            peak = float(space.comm.allreduce(f.max(initial=0.0), op=MPI.MAX))
            axes, cells = (*space.x_axes, *space.v_axes), space.grid.cells(space.comm.rank)
            f[...] = projection.of_function(start.density, axes, cells, peak)
    if getattr(space, "positivity", False):
        projection.keep_positive(f, space.degree + 1)
    mass = _mass(space, f)
    wanted = min(mass, start.mass) if on_mesh else start.mass * (1 - start.outside)
    f *= wanted / mass


def mass_factor(start: Start, seen: float) -> float:
    """What |alpha_0|^2, whose integral at the nodes is seen, is to be multiplied with.

    Raises:
        InputError: the nodes see far more, or far less, than the mass.
    """
    wanted = start.mass * (1 - start.outside)
    _check(seen, wanted, "pde.cells: their points")
    return wanted / seen


def _integral(space: Any, values: np.ndarray) -> float:
    """Int over x of values (*x_shape). Collective."""
    return float(space.integrate_x(values))


def _mass(space: Any, f: np.ndarray) -> float:
    """Int f. Collective."""
    return _integral(space, space.velocity_integrals(f, [np.ones((1, len(v))) for v in space.v_nodes])[0])


def _check(seen: float, mass: float, what: str) -> None:
    if not is_seen(seen / mass if mass > 0 else 0.0):
        raise InputError(
            f"{what} see {seen:.6g} of the mass {mass:.6g} of f_0, and must see {SEEN[0]} to {SEEN[1]} times that: "
            "f_0 falls between them. Take more cells, or wider initial data"
        )
