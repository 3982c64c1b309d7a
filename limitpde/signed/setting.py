"""What the solver of the signed system starts from: the checks of its input, the nodal data, the kind of boundary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import dolfinx.mesh
import numpy as np
from mpi4py import MPI

from limitpde.compiled import compiled
from limitpde.densities import NODES, Uniform, checked_share
from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem import mesh_files
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.original import original_nodes
from limitpde.fem.patches import first_patch
from limitpde.fem.plane import PlaneNodes, PlanePoisson
from limitpde.fem.refinement import AdaptiveMesh
from limitpde.fem.sums import GlobalSums
from limitpde.fem.walls import WallPoisson
from limitpde.parallel import on_all, on_root
from limitpde.signed.confinement import ConfinementFromFile
from limitpde.signed.model import SPECIES, Initial, Model
from limitpde.signed.options import NEEDS_WALLS, BoundaryKind, check_vortices

type Figures = dict[str, float]
type WallLines = tuple[np.ndarray, np.ndarray]
type TaggedMesh = tuple[dolfinx.mesh.Mesh, dolfinx.mesh.MeshTags]
type MeshSource = meshes.Disk | meshes.Box | str | Path | dolfinx.mesh.Mesh | TaggedMesh


SEEN = (0.9, 1.1)
"""Between what the mesh may see of the mass of a part of the initial densities before that is scaled to all."""
HELD = 3.0
"""Nodes that must hold such a part, in the mean: those of a Gaussian of 0.45 cells, whose variance is 10 % off."""
OUTSIDE = 0.01
"""Share of the mass beyond 0.9 of the radius from which the wall, which the plane does not have, decides: the second
moment of a disk of radius 1.5 is 1 % off at 0.04, 10 % at 0.25 (tests/signed/test_pde.py)."""
TRIED = 500
"""Nodes of each rank at which grad U is compared with U."""
DRAWN = 200
"""Points drawn from each part of the initial densities, at which a mesh that refines itself must see it."""


def check_problem(
    model: Model,
    initial: Initial,
    step: float,
    boundary: BoundaryKind,
    degree: int,
    refinement: meshes.Refinement | None,
) -> None:
    """Check that there is a limit equation to solve, in the plane or between walls, with elements of this degree.

    Raises:
        InputError: there is none, or the data, the step or the degree do not fit.
    """
    if model.gamma_bar is None:
        raise InputError("model.gamma_bar is missing: with a fixed gamma the particles have no limit equation")
    check_vortices(model, boundary)
    if degree not in (1, 2, 3, 4):
        raise InputError(f"pde.degree = {degree}: must be 1, 2, 3 or 4")
    if degree > 1 and (model.interaction == "rotated" or boundary != "plane" or refinement is not None):
        raise InputError(f"pde.degree = {degree}: must be 1 with model.interaction = 'rotated', walls or refinement")
    if initial.needs_walls and boundary == "plane":
        raise InputError(NEEDS_WALLS)
    if initial.points is not None:
        raise InputError("initial.points: a PDE needs densities, not points")
    if not 0 < step < math.inf:
        raise InputError(f"pde.step = {step}: must be finite and greater than 0")


def wall_lines(mesh: MeshSource, boundary: BoundaryKind, comm: MPI.Comm) -> WallLines | None:
    """The lines on which a potential is given, and the place of their groups in `boundary`; None where none is named.

    Collective.

    Args:
        mesh: what the mesh is made of.
        boundary: see `limitpde.signed.pde.Solver`.
        comm: the ranks.

    Raises:
        InputError: the mesh has no lines of such names.
    """
    if isinstance(boundary, str):
        return None
    if isinstance(mesh, tuple):
        return _tagged_lines(mesh[0], mesh[1], boundary)
    if not isinstance(mesh, str | Path):
        has = "a gmsh file has, or facet tags beside a DOLFINx mesh: mesh = (mesh, tags)"
        raise InputError(f"pde.boundary = {dict(boundary)}: names groups of lines, which {has}")
    return on_root(comm, lambda: mesh_files.boundary_lines(Path(mesh), boundary))


def _tagged_lines(mesh: dolfinx.mesh.Mesh, tags: dolfinx.mesh.MeshTags, groups: Mapping[str, float]) -> WallLines:
    """The facets with the tags that are named, as `wall_lines` gives them. Collective."""
    known = sorted(set().union(*mesh.comm.allgather(np.unique(tags.values).tolist())))
    numbers, found = np.asarray(mesh.geometry.input_global_indices), []
    mesh.topology.create_connectivity(1, 2)
    for name in map(str, groups):
        if name not in map(str, known):
            raise InputError(f"pde.boundary: no facet has the tag {name!r} (there are {', '.join(map(str, known))})")
        nodes = dolfinx.mesh.entities_to_geometry(mesh, 1, tags.find(int(name)))
        found.append(np.concatenate(mesh.comm.allgather(numbers[nodes].reshape(-1, 2))))
    return np.concatenate(found), np.repeat(np.arange(len(found)), list(map(len, found)))


def adaptive_mesh(
    mesh: MeshSource,
    refinement: meshes.Refinement,
    initial: Initial,
    lines: WallLines | None,
    comm: MPI.Comm,
    *,
    round_: bool,
) -> AdaptiveMesh:
    """A mesh that follows densities, fine enough for the initial ones. Collective.

    Args:
        mesh: what the first mesh is made of.
        refinement: how fine it becomes.
        initial: the densities.
        lines: see `wall_lines`.
        comm: the ranks.

    Keyword Args:
        round_: the boundary is to stay a circle.

    Raises:
        InputError: the mesh is one of DOLFINx; the boundary is no circle; lines lie elsewhere than on the boundary.
    """
    if isinstance(mesh, dolfinx.mesh.Mesh | tuple):
        raise InputError("refinement: needs a mesh by its description or its file, not one of DOLFINx")
    given = [[part for part in initial.parts(s) if not isinstance(part, Uniform)] for s in range(len(SPECIES))]

    def densities(points: np.ndarray) -> np.ndarray:
        species = [np.asarray(sum(part.density(points) for part in parts)) for parts in given if parts]
        return np.stack(species, axis=1)

    patch = first_patch(comm, *meshes.parts(mesh, comm), lines)
    adaptive = AdaptiveMesh(patch.rounded() if round_ else patch, refinement)
    if any(given):
        parts = [part for species in given for part in species]
        drawn = np.concatenate([part.sample(DRAWN, np.random.default_rng(0)) for part in parts])
        adaptive.resolve(densities, drawn)
    return adaptive


def potential_solver(
    graph: EdgeGraph, boundary: BoundaryKind, multipoles: int, lines: WallLines | None
) -> PlanePoisson | WallPoisson:
    """What solves for psi: in the whole plane, or between walls. Collective.

    Args:
        graph: the edges of the mesh.
        boundary: see `limitpde.signed.pde.Solver`.
        multipoles: highest multipole moment, for the plane.
        lines: see `wall_lines`.

    Raises:
        InputError: the boundary is not a circle, for the plane.
    """
    if boundary == "plane":
        return PlanePoisson(graph, multipoles=multipoles)
    if isinstance(boundary, str):
        return WallPoisson(graph, np.where(graph.boundary & (boundary == "grounded"), 0.0, np.nan))
    assert lines is not None
    values, place, (ends, group) = np.full(graph.local, np.nan), original_nodes(graph.space), lines
    for number, value in enumerate(boundary.values()):
        values[np.isin(place, ends[group == number])] = value
    return WallPoisson(graph, values)


def exterior_potential(nodes: PlaneNodes, model: Model) -> np.ndarray:
    """U at the nodes, (n_local,). Collective."""
    confinement = model.confinement
    if confinement is None:
        return np.zeros(nodes.local)

    def evaluated() -> np.ndarray:
        if isinstance(confinement, ConfinementFromFile):
            confinement.check(nodes.points[:: 1 + nodes.local // TRIED])
        return confinement.potential(nodes.points)

    return on_all(nodes.comm, evaluated)


def seen_share(
    name: str, share: float, other: float, nodes: float, warnings: list[str], *, eyes: tuple[str, str] = NODES
) -> float:
    """The share of its mass that a mesh sees of a part of the initial densities, by which its values are divided.

    Args:
        name: its key.
        share: what the nodes see.
        other: what other points see: of narrow data, nodes alone may happen to see all.
        nodes: 1 / sum of the squared shares of its nodes: so many hold it.
        warnings: gains a line where it is not nearly all.

    Keyword Args:
        eyes: what sees it, in an error and in a warning.

    Raises:
        InputError: a share is not within a tenth of one, or too few nodes hold the part.
    """
    checked_share(name, share, warnings, eyes=eyes)
    low, high = SEEN
    worst = max(share, other, key=lambda seen: abs(seen - 1))
    wrong = "" if low <= worst <= high else f"{eyes[0]} {worst:.3g} of its mass, which must be {low:g} to {high:g}"
    if nodes < HELD and not wrong:
        wrong = f"it lies on {nodes:.2g} nodes of the mesh, which must be at least {HELD:g}"
    if wrong:
        raise InputError(
            f"{name}: {wrong}: the cells are too large for it, or it reaches beyond the mesh; take a smaller "
            "pde.mesh.cell_size (or center_size), pde.refinement with a smaller smallest_cell, or a larger radius"
        )
    return share


def has_reached_edge(sums: GlobalSums, mass: np.ndarray, outer: np.ndarray) -> bool:
    """Whether more than OUTSIDE of the nodal masses (n_local,) is in the outer nodes, (n_local,) bool. Collective."""
    outside, total = sums.total(mass * outer, mass)
    return bool(outside > OUTSIDE * total)


def moments(sums: GlobalSums, points: np.ndarray, tested: Mapping[str, np.ndarray], outer: np.ndarray) -> Figures:
    """Masses, second moment, first moments and the mass that is too far out, of nodal masses. Collective.

    Args:
        sums: over the nodes.
        points: (n_local, 2) the nodes.
        tested: species -> int rho v_i, (n_local,).
        outer: (n_local,) bool, nodes that are too far out.
    """
    total = np.asarray(sum(tested.values()))
    masses = [mass[: sums.owned].sum() for mass in tested.values()]
    values = sums.add(np.concatenate([masses, _moments(points, total, outer, sums.owned)]))
    names = [*(f"mass_{name}" for name in tested), "second_moment", "centre_x", "centre_y", "mass_outside"]
    return dict(zip(names, map(float, values), strict=True))


@compiled(fastmath={"reassoc", "contract"})
def _moments(points: np.ndarray, mass: np.ndarray, outer: np.ndarray, owned: int) -> np.ndarray:
    """This rank's part of the second moment, of the first ones, and of the mass in outer nodes, (4,)."""
    second, along, across, outside = 0.0, 0.0, 0.0, 0.0
    for i in range(owned):
        x, y = points[i, 0], points[i, 1]
        second += mass[i] * (x * x + y * y)
        along += mass[i] * x
        across += mass[i] * y
        outside += mass[i] * outer[i]
    return np.array([second, along, across, outside])
