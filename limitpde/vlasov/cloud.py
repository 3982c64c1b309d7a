"""f as a cloud of weighted points of phase space, for observables of the user's own."""

from __future__ import annotations

from functools import reduce

import numpy as np
from mpi4py import MPI

from limitpde.compare.cloud_functions import PointCloud
from limitpde.errors import InputError
from limitpde.vlasov.pde import Solver

LARGEST = 2**24
"""Values of f up to which it is gathered on one rank for that."""


def phase_cloud(solver: Solver, comm: MPI.Comm) -> PointCloud:
    """The nodes of the grid with their velocities as marks and f times Gauss's weights, on rank 0. Collective.

    Raises:
        InputError: f does not live on a grid of cells of x and v, or has too many values.
    """
    space, d = solver.space, solver.model.dimension
    if not hasattr(space, "x_axes") or solver.model.form == "hartree":
        where = 'model.form = "hartree"' if solver.model.form == "hartree" else "pde.mesh"
        raise InputError(f"compare.observables: with [pde] they need a grid of cells of x and v; not {where}")
    if space.dofs > LARGEST:
        raise InputError(f"compare.observables: f has {space.dofs} values; it is a cloud of at most {LARGEST} points")
    f = solver.form.density_values()
    if comm.rank != 0:
        return PointCloud(np.zeros((0, d)), np.zeros((0, d)), np.zeros(0))
    axes = [*space.x_axes, *space.v_axes]
    weight = (reduce(np.multiply.outer, [axis.weights for axis in axes]) * f).ravel()
    there = weight != 0
    z = np.stack([line.ravel()[there] for line in np.meshgrid(*(axis.nodes for axis in axes), indexing="ij")], axis=1)
    return PointCloud(z[:, :d].copy(), z[:, d:].copy(), weight[there])
