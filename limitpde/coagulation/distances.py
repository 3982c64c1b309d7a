"""Distances of the particles to f at the end: of all of them, and mass by mass, beside their floor.

Of the empirical measures mu_N(., n) and f_n, each divided by its mass, and of the sums over n; see
`limitpde.compare.clouds`. They say nothing of how many particles of each mass there are: that is `density_end`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from limitpde.coagulation.particles import Ensemble
from limitpde.coagulation.pde import Solver
from limitpde.compare.clouds import Atoms, cloud_rows
from limitpde.parallel import gathered, on_root

MASSES = (1, 2, 3)
"""Masses whose particles are compared by themselves."""
FEWEST = 2
"""Particles of a mass that a replica must have in the mean."""
LEAST_SHARE = 1e-12
"""Part of all particles below which a mass of the equation counts as absent."""


def distance_figures(solver: Solver, ensembles: Sequence[Ensemble], seed: int, comm: MPI.Comm) -> dict[str, Any]:
    """`distances`: a list over the masses, N and the distances, of the mean over replicas. Collective.

    Args:
        solver: at the end; there are none without a mesh, where all is even.
        ensembles: what was simulated, one for each N, up to that time; else there are none.
        seed: of the draws for the floor.
        comm: the ranks.
    """
    same_end = bool(ensembles) and math.isclose(solver.t, ensembles[0].times[-1], rel_tol=1e-9)
    if not same_end or solver.mesh is None:
        return {}
    nodes, f = solver.nodes, solver.densities
    columns = {0: f.sum(axis=1)} | {n: f[:, np.searchsorted(solver.masses, n)] for n in MASSES if n in solver.masses}
    rows = np.column_stack([nodes.points, nodes.volume, *(nodes.volume * density for density in columns.values())])
    held = gathered(nodes.comm, nodes.original, rows)
    d = nodes.dimension

    def measure() -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        most = held[:, d + 1].sum()
        for k, n in enumerate(columns):
            masses = held[:, d + 1 + k]
            if masses.sum() <= LEAST_SHARE * most:
                continue
            density = Atoms(held[:, :d], masses, volumes=held[:, d], domain=solver.domain)
            for ensemble in ensembles:
                clouds = [cloud[(cloud[:, d] == n) | ((n == 0) & (cloud[:, d] > 0)), :d] for cloud in ensemble.ends]
                if sum(map(len, clouds)) >= FEWEST * len(clouds):
                    labels = {"N": ensemble.count, "n": n or None, "t": float(ensemble.times[-1])}
                    found += cloud_rows(density, clouds, labels, seed)
        return {"distances": found} if found else {}

    return on_root(comm, measure)
