"""A torus from a mesh of a user's own: a mesh of a box whose opposite faces have the same nodes, which become one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dolfinx.la
import dolfinx.mesh
import numpy as np
from mpi4py import MPI
from scipy.spatial import cKDTree

from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.parallel import before, on_all

CLOSE = 1e-6
"""Part of the longest edge of the box within which a node lies on a face, or opposite to another one."""


@dataclass(frozen=True, slots=True)
class Periodic:
    """A mesh of DOLFINx, or the path of a gmsh file, that fills a box; its opposite faces are to be one."""

    mesh: dolfinx.mesh.Mesh | str | Path
    """Simplices; the nodes of each face of the box are those of the opposite one, moved."""


@dataclass(frozen=True, slots=True)
class Identified:
    """Which nodes of the mesh of a box are one on the torus."""

    domain: Domain
    """The torus that the box becomes."""
    number: np.ndarray
    """(n_local,) int64, global node of each degree of freedom of the mesh that this rank sees."""
    kept: np.ndarray
    """Of this rank's degrees of freedom those that are its nodes, in the order of their numbers."""
    original: np.ndarray
    """(len(kept),) int64, number of each of them, the same for any number of ranks."""


def identify(points: np.ndarray, index_map: dolfinx.common.IndexMap, place: np.ndarray, comm: MPI.Comm) -> Identified:
    """Identify the nodes on opposite faces of the box around all nodes. Collective.

    Args:
        points: (n_local, d) of the degrees of freedom of the mesh, ghosts behind.
        index_map: of these.
        place: (n_local,) their numbers in the input mesh.
        comm: the ranks.

    Raises:
        InputError: a node on a face has no partner on the opposite one.
    """
    d, owned = points.shape[1], index_map.size_local
    low, high = np.full(d, np.inf), np.full(d, -np.inf)
    comm.Allreduce(points.min(axis=0, initial=np.inf), low, op=MPI.MIN)
    comm.Allreduce(points.max(axis=0, initial=-np.inf), high, op=MPI.MAX)
    near = CLOSE * float((high - low).max())
    lower, upper = points < low + near, points > high - near
    copy = upper.any(axis=1)
    kept = np.flatnonzero(~copy[:owned])
    number = numbered(kept, index_map, comm)
    faces = kept[lower[kept].any(axis=1)]
    there = np.concatenate(comm.allgather(points[faces]))
    numbers = np.concatenate(comm.allgather(number[faces]))

    def partners() -> np.ndarray:
        moved = points[copy] - upper[copy] * (high - low)
        if not len(moved):
            return np.empty(0, dtype=np.int64)
        distance, found = cKDTree(there).query(moved) if len(there) else (np.full(len(moved), np.inf), np.array([0]))
        if (lost := np.flatnonzero(distance > near)).size:
            at = ", ".join(f"{x:.6g}" for x in points[copy][lost[0]])
            raise InputError(f"mesh: is not periodic: the node at ({at}) has none opposite to it")
        return np.asarray(numbers[found])

    number[copy] = on_all(comm, partners)
    gone = np.sort(np.concatenate(comm.allgather(place[:owned][copy[:owned]])))
    return Identified(
        domain=Domain.torus(high - low, low),
        number=number,
        kept=kept,
        original=place[kept] - np.searchsorted(gone, place[kept]),
    )


def numbered(kept: np.ndarray, index_map: dolfinx.common.IndexMap, comm: MPI.Comm) -> np.ndarray:
    """Global numbers of the degrees of freedom that are kept, rank after rank; (n_local,), 0 of others. Collective.

    Args:
        kept: those of this rank that are.
        index_map: of all.
        comm: the ranks.
    """
    shared = dolfinx.la.vector(index_map, dtype=np.int64)
    shared.array[kept] = before(comm, len(kept)) + np.arange(len(kept))
    shared.scatter_forward()
    return shared.array.copy()
