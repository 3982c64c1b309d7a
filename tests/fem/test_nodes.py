"""Nodes of simplices in one, two and three dimensions: volumes, stiffness, periodic identification, ghosts, output.

The load is carried by K against the assembly of DOLFINx, by its exact eigenvalues on a torus (which only a right
identification gives), and by equality over ranks, also where there are more ranks than nodes: what holds on one rank
then holds on any.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dolfinx.fem
import dolfinx.mesh
import meshio
import numpy as np
import pytest
import ufl
from mpi4py import MPI
from nodal import everywhere, stiffness

from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem.mesh import Ball, Box, Point, Torus
from limitpde.fem.nodes import NodeSpace
from limitpde.fem.periodic import Periodic
from limitpde.results.fields import FieldSeries, read_fields

MESHES = [
    Torus(size=1.0, cell_size=0.3),
    Torus(size=1.0, cell_size=1.0),
    Box(size=1.0, cell_size=0.3, origin=-0.5),
    Ball(radius=1.0, cell_size=0.4),
    Point(),
]
IDS = ["torus", "one box", "box", "ball", "point"]
ON_ALL_MESHES = pytest.mark.parametrize("mesh", MESHES, ids=IDS)
IN_ALL_DIMENSIONS = pytest.mark.parametrize("dimension", [1, 2, 3])


@pytest.mark.ranks
@ON_ALL_MESHES
@IN_ALL_DIMENSIONS
def test_space_does_not_depend_on_the_number_of_ranks(comm, mesh, dimension):
    many, one = NodeSpace(mesh, comm, dimension=dimension), NodeSpace(mesh, MPI.COMM_SELF, dimension=dimension)
    assert many.size == one.size == int(many.sums.add(np.array([many.owned]))[0])
    assert many.m_matrix == one.m_matrix
    np.testing.assert_array_equal(everywhere(many, many.points), everywhere(one, one.points))
    for a, b in ((everywhere(many, many.volume), everywhere(one, one.volume)), (stiffness(many), stiffness(one))):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


@ON_ALL_MESHES
@IN_ALL_DIMENSIONS
def test_stiffness_conserves_and_is_symmetric(comm, mesh, dimension):
    nodes = NodeSpace(mesh, comm, dimension=dimension)
    K, volume = stiffness(nodes), everywhere(nodes, nodes.volume)
    scale = np.abs(K).max(initial=0.0)
    np.testing.assert_allclose(K, K.T, rtol=0, atol=1e-14 * scale)
    np.testing.assert_allclose(K.sum(axis=1), 0, rtol=0, atol=1e-14 * scale)
    assert np.linalg.eigvalsh(K).min() >= -1e-13 * scale
    assert volume.min() > 0
    if not isinstance(mesh, Ball):
        assert volume.sum() == pytest.approx(nodes.domain.volume, rel=1e-13)
        assert nodes.m_matrix
    assert nodes.m_matrix == bool((K - np.diag(K.diagonal()) <= 0).all())


@pytest.mark.parametrize("mesh", MESHES[2:4], ids=IDS[2:4])
@IN_ALL_DIMENSIONS
def test_stiffness_is_that_of_dolfinx(comm, mesh, dimension):
    nodes = NodeSpace(mesh, MPI.COMM_SELF, dimension=dimension)
    u, v = ufl.TrialFunction(nodes.space), ufl.TestFunction(nodes.space)
    assembled = dolfinx.fem.assemble_matrix(dolfinx.fem.form(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx)).to_dense()
    lumped = dolfinx.fem.assemble_vector(dolfinx.fem.form(v * ufl.dx)).array
    order = np.argsort(nodes.original)
    found = NodeSpace(mesh, comm, dimension=dimension)
    np.testing.assert_allclose(stiffness(found), assembled[np.ix_(order, order)], rtol=0, atol=2e-14)
    np.testing.assert_allclose(everywhere(found, found.volume), lumped[order], rtol=1e-13)


@IN_ALL_DIMENSIONS
def test_waves_on_a_torus_are_eigenvectors(comm, dimension):
    """Eigenvalues sum_c (4 / h_c^2) sin^2(k_c h_c / 2), as of finite differences."""
    size = np.array([1.0, 2.0, 1.5])[:dimension]
    torus = Torus(size=tuple(size), cell_size=0.4, origin=0.3)
    nodes = NodeSpace(torus, comm, dimension=dimension)
    h = size / torus.boxes(dimension)
    assert nodes.size == np.prod(torus.boxes(dimension))
    np.testing.assert_allclose(nodes.volume, np.prod(h), rtol=1e-13)
    K, x = stiffness(nodes), everywhere(nodes, nodes.points)
    for turns in ([1, 0, 0], [1, 2, 1], [0, -1, 2]):
        wave = 2 * np.pi * np.array(turns[:dimension]) / size
        u = np.cos(x @ wave + 0.4)
        exact = (4 / h**2 * np.sin(wave * h / 2) ** 2).sum()
        np.testing.assert_allclose(K @ u / np.prod(h), exact * u, rtol=0, atol=1e-12 * exact + 1e-12)


def test_weights_of_obtuse_meshes_are_kept_and_told_of(comm):
    assert NodeSpace(Ball(radius=1.0, cell_size=0.2), comm, dimension=2).m_matrix
    assert not NodeSpace(Ball(radius=1.0, cell_size=0.34), comm, dimension=3).m_matrix


@pytest.mark.ranks
@pytest.mark.parametrize("mesh", MESHES[:4], ids=IDS[:4])
@IN_ALL_DIMENSIONS
def test_functions_have_the_values_of_the_nodes_everywhere(comm, mesh, dimension):
    nodes = NodeSpace(mesh, comm, dimension=dimension)

    def periodic(x):
        return 2.0 + np.cos(2 * np.pi * x).prod(axis=1)

    function = nodes.function("u", periodic(nodes.points))
    assert function.name == "u"
    at = nodes.space.tabulate_dof_coordinates()[:, :dimension]
    np.testing.assert_allclose(function.x.array, periodic(at), rtol=0, atol=1e-12)


@pytest.mark.ranks
def test_functions_can_be_written(comm, shared_folder):
    nodes = NodeSpace(Torus(size=1.0, cell_size=0.25), comm, dimension=2)
    series = FieldSeries(shared_folder / "fields.vtkhdf", nodes.mesh)
    series.write(0.0, {"u": nodes.function("u", np.sin(2 * np.pi * nodes.points[:, 0]))})
    if comm.rank == 0:
        points, _, arrays, _ = read_fields(shared_folder / "fields.vtkhdf")
        assert len(points) == 25
        np.testing.assert_allclose(arrays["u"], np.sin(2 * np.pi * points[:, 0]), rtol=0, atol=1e-15)


@pytest.mark.ranks
@pytest.mark.parametrize("mesh", MESHES, ids=IDS)
def test_ghosts_are_copies_of_their_owners(comm, mesh):
    nodes = NodeSpace(mesh, comm, dimension=2)
    assert nodes.columns.max(initial=-1) < nodes.local
    rows = np.full((nodes.local, 5), np.nan)
    rows[: nodes.owned] = nodes.original[:, None] + 0.1 * np.arange(5)
    nodes.halo.update(rows)
    number = np.concatenate(comm.allgather(nodes.original))  # by global number of the node
    np.testing.assert_array_equal(rows[nodes.owned :], number[nodes.halo.ghosts][:, None] + 0.1 * np.arange(5))


@pytest.mark.ranks
def test_a_file_or_a_mesh_of_dolfinx_has_walls(comm, shared_folder):
    points, cells = Box(size=1.0, cell_size=0.3).cells(2)
    path = shared_folder / "box.msh"
    if comm.rank == 0:
        flat = np.column_stack([points, np.zeros(len(points))])
        meshio.write(path, meshio.Mesh(flat, [("triangle", cells)]), file_format="gmsh22")
    comm.barrier()
    read, box = NodeSpace(path, comm, dimension=2), NodeSpace(Box(size=1.0, cell_size=0.3), comm, dimension=2)
    np.testing.assert_allclose(stiffness(read), stiffness(box), rtol=0, atol=1e-13)
    assert read.domain.kind == "space"
    own = NodeSpace(dolfinx.mesh.create_unit_cube(comm, 2, 2, 2), dimension=3)
    assert own.size == 27
    assert own.comm.size == comm.size
    assert own.sums.total(own.volume)[0] == pytest.approx(1.0, rel=1e-13)


@pytest.mark.ranks
def test_unfit_meshes_are_refused_on_every_rank(comm, shared_folder):
    path = shared_folder / "flat.msh"
    if comm.rank == 0:
        points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0]])
        cells = [("triangle", np.array([[0, 1, 2], [0, 1, 3]]))]
        meshio.write(path, meshio.Mesh(points, cells), file_format="gmsh22")
    comm.barrier()
    for mesh, dimension, message in (
        (path, 2, "1 of its cells are degenerate"),
        (
            dolfinx.mesh.create_unit_square(comm, 2, 2),
            3,
            "first-order tetrahedron cells in 3 dimensions, not of triangle",
        ),
        (
            dolfinx.mesh.create_unit_square(comm, 2, 2, cell_type=dolfinx.mesh.CellType.quadrilateral),
            2,
            "first-order triangle cells in 2 dimensions, not of quadrilateral",
        ),
    ):
        with pytest.raises(InputError, match=message):
            NodeSpace(mesh, comm, dimension=dimension)


@pytest.mark.ranks
@pytest.mark.parametrize(("dimension", "of_file"), [(1, False), (2, False), (3, False), (2, True)])
def test_a_mesh_of_dolfinx_becomes_the_torus(comm, dimension, of_file, shared_folder):
    """The grid that `Torus` makes, given as a mesh of one's own: the same operator, as every eigenvector shows."""
    torus = Torus(size=(1.0, 2.0, 1.5)[:dimension], cell_size=0.3, origin=-0.4)
    grid = Box(size=torus.size, cell_size=0.3, origin=-0.4)
    mesh = meshes.build(grid, comm, dimension=dimension)
    if of_file:
        points, cells = grid.cells(2)
        flat = np.column_stack([points, np.zeros(len(points))])
        mesh = shared_folder / "box.msh"
        if comm.rank == 0:
            meshio.write(mesh, meshio.Mesh(flat, [("triangle", cells)]), file_format="gmsh22")
        comm.barrier()
    nodes, same = (NodeSpace(one, comm, dimension=dimension) for one in (Periodic(mesh), torus))
    assert (nodes.size, nodes.domain.kind) == (same.size, "torus")
    np.testing.assert_allclose(nodes.domain.size, same.domain.size, rtol=1e-14)
    found, expected = (
        (np.lexsort(np.round(x, 9).T), space) for space in (nodes, same) for x in [everywhere(space, space.points)]
    )
    K, exact = (stiffness(space)[np.ix_(order, order)] for order, space in (found, expected))
    np.testing.assert_allclose(K, exact, rtol=0, atol=1e-13)
    np.testing.assert_allclose(everywhere(nodes, nodes.volume)[found[0]], everywhere(same, same.volume)[expected[0]])
    wave = 2 * np.pi / np.array(torus.size)
    function = nodes.function("u", np.cos((nodes.points + 0.4) @ wave))
    at = nodes.space.tabulate_dof_coordinates()[:, :dimension]
    np.testing.assert_allclose(function.x.array, np.cos((at + 0.4) @ wave), rtol=0, atol=1e-12)


@pytest.mark.ranks
def test_faces_that_do_not_match_are_refused(comm):
    mesh = dolfinx.mesh.create_unit_square(comm, 4, 4)
    mesh.geometry.x[:, 1] += 0.1 * mesh.geometry.x[:, 0] * mesh.geometry.x[:, 1] * (1 - mesh.geometry.x[:, 1])
    with pytest.raises(InputError, match=r"mesh: is not periodic: the node at \(1, .*\) has none opposite to it"):
        NodeSpace(Periodic(mesh), comm, dimension=2)
