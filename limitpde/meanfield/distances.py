"""Distances of the particles to rho at the end, species by species, beside their floor (`limitpde.compare.clouds`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from limitpde.compare.clouds import nodal_distances
from limitpde.meanfield.model import Initial
from limitpde.meanfield.pde import Solver
from limitpde.nbody.diffusions import DiffusionEnsemble


def distance_figures(
    solver: Solver, initial: Initial, ensembles: Sequence[DiffusionEnsemble], seed: int
) -> dict[str, Any]:
    """`distances`: a list over the species n, N and the distances, of the mean over replicas. Collective.

    Args:
        solver: at the end.
        initial: says which particles are of which species.
        ensembles: what was simulated, one for each N, up to that time; else there are none.
        seed: of the draws for the floor.
    """
    if not ensembles or not math.isclose(solver.t, ensembles[0].times[-1], rel_tol=1e-9):
        return {}
    nodes = solver.nodes

    def clouds(ensemble: DiffusionEnsemble, n: int) -> list[np.ndarray]:
        ends = np.cumsum([0, *initial.numbers(ensemble.count)])
        return [cloud[ends[n - 1] : ends[n]] for cloud in ensemble.ends]

    where = nodes.comm, nodes.original, nodes.points, nodes.volume
    masses = dict(enumerate(solver.masses, start=1))
    return nodal_distances(where, masses, ensembles, clouds, name="n", seed=seed, domain=nodes.domain)
