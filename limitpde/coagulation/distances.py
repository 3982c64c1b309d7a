"""Distances of the particles to f at the end (Hammond Theorem 1.1): of all, and mass by mass, beside their floor.

Of the empirical measures mu_N(., n) and f_n, each divided by its mass, and of the sums over n; see
`limitpde.compare.clouds`. They say nothing of how many particles of each mass there are: that is `density_end`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from limitpde.coagulation.particles import Ensemble
from limitpde.coagulation.pde import Solver
from limitpde.compare.clouds import nodal_distances

MASSES = (1, 2, 3)
"""Masses whose particles are compared by themselves."""


def distance_figures(solver: Solver, ensembles: Sequence[Ensemble], seed: int) -> dict[str, Any]:
    """`distances`: a list over the masses, N and the distances, of the mean over replicas. Collective.

    Args:
        solver: at the end; there are none without a mesh, where all is even.
        ensembles: what was simulated, one for each N, up to that time; else there are none.
        seed: of the draws for the floor.
    """
    same_end = bool(ensembles) and math.isclose(solver.t, ensembles[0].times[-1], rel_tol=1e-9)
    if not same_end or solver.mesh is None:
        return {}
    nodes, f = solver.nodes, solver.densities
    densities: dict[int | None, np.ndarray] = {None: f.sum(axis=1)}
    densities |= {n: f[:, np.searchsorted(solver.masses, n)] for n in MASSES if n in solver.masses}
    masses = {n: nodes.volume * density for n, density in densities.items()}

    def clouds(ensemble: Ensemble, n: int | None) -> list[np.ndarray]:
        kept = [cloud[cloud[:, -1] > 0 if n is None else cloud[:, -1] == n] for cloud in ensemble.ends]
        return [cloud[:, :-1] for cloud in kept]

    where = nodes.comm, nodes.original, nodes.points, nodes.volume
    return nodal_distances(where, masses, ensembles, clouds, name="n", seed=seed, domain=solver.domain)
