"""Distances of L^N to rho at the end, sign by sign (van Meurs-Peletier-Slangen (5.1), Theorem 5.4), and their floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from limitpde.compare.clouds import Atoms, cloud_rows
from limitpde.parallel import on_root
from limitpde.signed.particles import Ensemble
from limitpde.signed.pde import Solver
from limitpde.signed.residual import SIGNS


def distance_figures(solver: Solver, ensembles: Sequence[Ensemble], seed: int, comm: MPI.Comm) -> dict[str, Any]:
    """`distances`: a list over N, the sign and the distances, of the mean over replicas. Collective.

    rho is the measure of its nodal masses; each sign is divided by its mass, and so are the charges that are there.

    Args:
        solver: at the end.
        ensembles: what was simulated, one for each N, up to that time; else there are none.
        seed: of the draws for the floor.
        comm: the ranks.
    """
    if not ensembles or not math.isclose(solver.t, ensembles[0].times[-1], rel_tol=1e-9):
        return {}
    owned = solver.sums.owned
    masses = {name: solver.stepping.scheme.tested(density)[:owned] for name, density in solver.densities.items()}
    parts = comm.gather((solver.stepping.scheme.numbers[:owned], solver.nodes.points[:owned, :2], masses))

    def measure() -> dict[str, Any]:
        assert parts is not None
        order = np.argsort(np.concatenate([part[0] for part in parts]))  # that of the mesh, for draws by their numbers
        points = np.concatenate([part[1] for part in parts])[order]
        rows = []
        for name in masses:
            rho = Atoms(points, np.concatenate([part[2][name] for part in parts])[order])
            for ensemble in ensembles:
                clouds = [cloud[cloud[:, 2] == SIGNS[name], :2] for cloud in ensemble.ends]
                labels = {"N": ensemble.count, "sign": name, "t": float(ensemble.times[-1])}
                rows += list(cloud_rows(rho, clouds, labels, seed))
        return {"distances": rows} if rows else {}

    return on_root(comm, measure)
