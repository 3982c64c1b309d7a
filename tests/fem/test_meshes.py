"""Meshes: the disk, mesh files, and files that are none.

The load is carried by `test_gmsh_file_with_unused_point_is_the_same_mesh` and by the files that must be refused on
every rank, so that none is left waiting.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import meshio
import numpy as np
import pytest
from graphs import everywhere, triangulated

from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.mesh import Disk
from limitpde.fem.plane import PlanePoisson


def write(comm, path, points, cells, file_format="gmsh22"):
    if comm.rank == 0:
        meshio.write(path, meshio.Mesh(points, cells), file_format=file_format)
    comm.barrier()
    return path


@pytest.mark.ranks
@pytest.mark.parametrize("file_format", ["gmsh22", "gmsh"])
def test_gmsh_file_with_unused_point_is_the_same_mesh(comm, shared_folder, file_format):
    disk = Disk(radius=2.0, cell_size=0.5)
    points, cells = triangulated(disk)
    stray = np.vstack([[[9.0, 9.0, 0.0]], np.column_stack([points, np.zeros(len(points))]), [[5.0, 5.0, 3.0]]])
    kinds = [("triangle", cells + 1)]
    if file_format == "gmsh22":  # meshio writes the newer format with one kind of cell only
        kinds.insert(0, ("line", np.array([[1, 2], [2, 3]])))
    path = write(comm, shared_folder / "disk.msh", stray, kinds, file_format=file_format)
    graph, expected = EdgeGraph(meshes.build(str(path), comm)), EdgeGraph(meshes.build(disk, comm))
    assert graph.size == expected.size == len(points)
    table, other = everywhere(graph, graph.area), everywhere(expected, expected.area)
    for a, b in zip(table, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)
    assert PlanePoisson(graph, multipoles=2).radius == pytest.approx(2.0, rel=1e-12)


@pytest.mark.ranks
def test_unfit_mesh_files_are_refused_on_every_rank(comm, shared_folder):
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    quads = write(comm, shared_folder / "quads.msh", square, [("quad", np.array([[0, 1, 2, 3]]))])
    both = write(
        comm,
        shared_folder / "both.msh",
        np.vstack([square, [[2.0, 0, 0]]]),
        [("quad", np.array([[0, 1, 2, 3]])), ("triangle", np.array([[1, 4, 2]]))],
    )
    lines = write(comm, shared_folder / "lines.msh", square, [("line", np.array([[0, 1]]))])
    tilted = square + np.array([[0, 0, 0], [0, 0, 1.0], [0, 0, 0], [0, 0, 0]])
    bent = write(comm, shared_folder / "bent.msh", tilted, [("triangle", np.array([[0, 1, 2], [0, 2, 3]]))])
    for path, message in (
        (quads, r"quads\.msh.*first order only \(it holds quad\)"),
        (both, r"both\.msh.*it holds quad, triangle"),
        (lines, r"lines\.msh.*it holds line"),
        (bent, r"bent\.msh.*must lie in a plane"),
        (shared_folder / "nowhere.msh", r"nowhere\.msh.*no such file"),
        (shared_folder, r"no such file"),
    ):
        with pytest.raises(InputError, match=message):
            meshes.build(path, comm)


@pytest.mark.ranks
@pytest.mark.parametrize(
    "content", [b"this is not a mesh\n", b"", b"$MeshFormat\n2.2 0 8\n$EndMeshFormat\n$Nodes\n7\n"]
)
def test_garbage_mesh_file_is_an_error_and_not_the_end(comm, shared_folder, content):
    """meshio.read ends the process (SystemExit) when it cannot read a file; the other ranks would wait for ever."""
    path = shared_folder / "garbage.msh"
    if comm.rank == 0:
        path.write_bytes(content)
    comm.barrier()
    with pytest.raises(InputError, match=r"garbage\.msh"):
        meshes.build(path, comm)


def test_disk_has_the_rings_that_were_asked_for():
    assert Disk(radius=8.0, cell_size=0.2).rings == 40
    assert Disk(radius=1.0, cell_size=0.3).rings == 4
    assert Disk(radius=1.0, cell_size=1.0).rings == 1
    assert len(Disk(radius=1.0, cell_size=0.1).cells(2)[0]) == 1 + 3 * 10 * 11
    with pytest.raises(InputError, match="must not exceed radius"):
        Disk(radius=1.0, cell_size=1.5)
