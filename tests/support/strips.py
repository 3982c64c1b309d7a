"""A strip between two plates as a gmsh file, and what must be the same everywhere in equilibrium."""

from __future__ import annotations

import meshio
import numpy as np

from limitpde.fem import simplices

HEIGHT = 0.4


def spread_of_mu(solver):
    """Largest difference of D log rho + b g psi + U between two nodes, over all species."""
    found = []
    for charge, rho in zip(solver.charges, solver.densities.values(), strict=True):
        model, u = solver.model, np.zeros(solver.graph.local)
        if model.confinement is not None:
            u = model.confinement.potential(solver.graph.points)
        mu = model.D * np.log(rho) + charge * model.sense * model.gamma_bar * solver.potential + u
        found.append(solver.sums.maximum(mu) - solver.sums.minimum(mu))
    return max(found)


def write_strip(path, cells):
    """A strip with groups of lines "left" and "right"."""
    across = max(2, cells // 10)
    points, triangles = simplices.grid(np.array([-1.0, 0.0]), np.array([2.0, HEIGHT]), np.array([cells, across]))
    left, right = np.arange(across + 1), len(points) - 1 - across + np.arange(across + 1)
    lines = np.concatenate([np.stack([side[:-1], side[1:]], axis=1) for side in (left, right)])
    marks = [np.repeat([1, 2], across), np.full(len(triangles), 3)]
    mesh = meshio.Mesh(
        np.column_stack([points, np.zeros(len(points))]),
        [("line", lines), ("triangle", triangles)],
        cell_data={"gmsh:physical": marks, "gmsh:geometrical": marks},
        field_data={"left": np.array([1, 1]), "right": np.array([2, 1]), "inside": np.array([3, 2])},
    )
    meshio.gmsh.write(path, mesh, "2.2", binary=False)
