"""What the solver of the signed system starts from: the checks of its input, the nodal data, the kind of boundary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import dolfinx.mesh
import numpy as np

from limitpde.densities import Uniform, checked_share
from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem import simplices
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.original import original_nodes
from limitpde.fem.plane import PlaneNodes, PlanePoisson
from limitpde.fem.sums import GlobalSums
from limitpde.fem.walls import WallPoisson
from limitpde.parallel import on_all, on_root
from limitpde.signed.model import SPECIES, Initial, Model

type Boundary = Literal["plane", "grounded", "insulated"] | Mapping[str, float]
type Figures = dict[str, float]
type Mesh = meshes.Disk | meshes.Box | str | Path | dolfinx.mesh.Mesh


NEEDS_WALLS = (
    "initial: shape = 'uniform' fills a bounded domain: it needs [pde] with walls (pde.boundary), no particles"
)


def check_problem(model: Model, initial: Initial, step: float, *, bounded: bool) -> None:
    """Check that there is a limit equation to solve, in the plane or between walls.

    Raises:
        InputError: there is none, or the data or the step do not fit.
    """
    if model.gamma_bar is None:
        raise InputError("model.gamma_bar is missing: with a fixed gamma the particles have no limit equation")
    if model.interaction == "rotated":
        raise InputError(
            "model.interaction = 'rotated': is for particles; [pde] solves 'signed', 'repulsive' and 'attractive'"
        )
    if initial.needs_walls and not bounded:
        raise InputError(NEEDS_WALLS)
    if initial.points is not None:
        raise InputError("initial.points: a PDE needs densities, not points")
    if not 0 < step < math.inf:
        raise InputError(f"pde.step = {step}: must be finite and greater than 0")


def potential_solver(graph: EdgeGraph, mesh: Mesh, boundary: Boundary, multipoles: int) -> PlanePoisson | WallPoisson:
    """What solves for psi: in the whole plane, or between walls. Collective.

    Args:
        graph: the edges of the mesh.
        mesh: what the mesh was made of.
        boundary: see `limitpde.signed.pde.Solver`.
        multipoles: highest multipole moment, for the plane.

    Raises:
        InputError: the boundary is not a circle, for the plane; the mesh has no lines of such names.
    """
    if boundary == "plane":
        return PlanePoisson(graph, multipoles=multipoles)
    if isinstance(boundary, str):
        return WallPoisson(graph, np.where(graph.boundary & (boundary == "grounded"), 0.0, np.nan))
    if not isinstance(mesh, str | Path):
        raise InputError(f"pde.boundary = {dict(boundary)}: names groups of lines, which only a gmsh file has")
    values = on_root(graph.comm, lambda: simplices.boundary_values(Path(mesh), boundary))
    return WallPoisson(graph, values[original_nodes(graph.space)])


def exterior_potential(nodes: PlaneNodes, model: Model) -> np.ndarray:
    """U at the nodes, (n_local,). Collective."""
    confinement = model.confinement
    if confinement is None:
        return np.zeros(nodes.local)
    return on_all(nodes.comm, lambda: confinement.potential(nodes.points))


def initial_density(graph: EdgeGraph, initial: Initial, species: int, warnings: list[str]) -> np.ndarray:
    """Nodal values, (n_local,); each part is scaled so that its lumped mass is exact. Collective.

    Args:
        graph: the nodes.
        initial: the densities.
        species: 0 for the positive, 1 for the negative charges.
        warnings: gains a line for each part that the nodes hardly resolve.

    Raises:
        InputError: the nodes do not see a part.
    """
    density = np.zeros(graph.local)
    for number, part in enumerate(initial.parts(species)):
        if isinstance(part, Uniform):
            density += part.mass / float(graph.sums.total(graph.area)[0])
            continue
        values = on_all(graph.comm, partial(part.density, graph.points))
        share = float(graph.sums.total(graph.area * values)[0]) / part.mass
        density += values / checked_share(f"initial.{SPECIES[species]}[{number}]", share, warnings)
    return density


def moments(sums: GlobalSums, points: np.ndarray, tested: Mapping[str, np.ndarray], outer: np.ndarray) -> Figures:
    """Masses, second moment, first moments and the mass that is too far out, of nodal masses. Collective.

    Args:
        sums: over the nodes.
        points: (n_local, 2) the nodes.
        tested: species -> int rho v_i, (n_local,).
        outer: (n_local,) bool, nodes that are too far out.
    """
    total = np.asarray(sum(tested.values()))
    values = sums.total(*tested.values(), total * (points**2).sum(axis=1), *(total * points.T), total * outer)
    names = [*(f"mass_{name}" for name in tested), "second_moment", "centre_x", "centre_y", "mass_outside"]
    return dict(zip(names, map(float, values), strict=True))
