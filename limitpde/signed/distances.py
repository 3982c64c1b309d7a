"""Distances of L^N to rho at the end, sign by sign (van Meurs-Peletier-Slangen (5.1), Theorem 5.4), and their floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from limitpde.compare.clouds import nodal_distances
from limitpde.signed.particles import Ensemble
from limitpde.signed.pde import Solver
from limitpde.signed.residual import SIGNS


def distance_figures(solver: Solver, ensembles: Sequence[Ensemble], seed: int, comm: MPI.Comm) -> dict[str, Any]:
    """`distances`: a list over N, the sign and the distances, of the mean over replicas. Collective.

    rho has its nodal masses, spread over the parts of the nodes; each sign is divided by its mass, and so are the
    charges that are there.

    Args:
        solver: at the end.
        ensembles: what was simulated, one for each N, up to that time; else there are none.
        seed: of the draws for the floor.
        comm: the ranks.
    """
    if not ensembles or not math.isclose(solver.t, ensembles[0].times[-1], rel_tol=1e-9):
        return {}
    owned, scheme = solver.sums.owned, solver.stepping.scheme
    masses = {name: scheme.tested(density)[:owned] for name, density in solver.densities.items()}
    areas = np.abs(scheme.tested(np.ones(len(scheme.numbers))))[:owned]

    def clouds(ensemble: Ensemble, name: str) -> list[np.ndarray]:
        return [cloud[cloud[:, 2] == SIGNS[name], :2] for cloud in ensemble.ends]

    nodes = comm, scheme.numbers[:owned], solver.nodes.points[:owned, :2], areas
    return nodal_distances(nodes, masses, ensembles, clouds, name="sign", seed=seed)
