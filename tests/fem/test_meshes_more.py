"""Meshes of the coagulating system: torus, box, ball, point and gmsh files in one, two and three dimensions.

The load is carried by volumes, conformity and angles of the meshes, and by what must be refused on every rank.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import itertools
import json
import math
from collections import Counter

import dolfinx.mesh
import meshio
import numpy as np
import pydantic
import pytest
from triangulations import triangulate

from limitpde.checked import record
from limitpde.dolfinx_versions import cell_nodes
from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem.mesh import AnyMesh, Ball, Box, Disk, Point, Torus

GMSH = {1: "line", 2: "triangle", 3: "tetra"}


def volumes(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    d = points.shape[1]
    edges = points[cells[:, 1:]] - points[cells[:, :1]]
    return np.abs(np.linalg.det(edges)) / math.factorial(d)


def facets(cells: np.ndarray) -> Counter:
    """How many cells each facet has."""
    d = cells.shape[1] - 1
    return Counter(tuple(sorted(facet)) for cell in cells.tolist() for facet in itertools.combinations(cell, d))


def dihedral_angles(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Angles between the faces of tetrahedra, in degrees."""
    inverse = np.linalg.inv(points[cells[:, 1:]] - points[cells[:, :1]])
    normal = np.concatenate([-inverse.sum(axis=2, keepdims=True), inverse], axis=2)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    pairs = itertools.combinations(range(4), 2)
    return np.degrees([np.arccos(-(normal[:, :, i] * normal[:, :, j]).sum(axis=1)) for i, j in pairs])


# Shapes


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_box_is_cut_into_simplices_that_fit(dimension):
    box = Box(size=(2.0, 1.0, 0.5)[:dimension], cell_size=0.26, origin=(1.0, 0.0, -1.0)[:dimension])
    points, cells = box.cells(dimension)
    boxes = np.array([8, 4, 2])[:dimension]
    assert len(points) == np.prod(boxes + 1)
    assert len(cells) == np.prod(boxes) * math.factorial(dimension)
    np.testing.assert_allclose(
        volumes(points, cells), np.prod(box.domain(dimension).size / boxes) / math.factorial(dimension)
    )
    assert box.domain(dimension).contains(points).all()
    sharing = facets(cells)
    assert set(sharing.values()) <= {1, 2}
    for facet, count in sharing.items():
        on_wall = [
            np.ptp(points[list(facet), c]) == 0 and points[facet[0], c] in (low, high)
            for c, (low, high) in enumerate(zip(points.min(axis=0), points.max(axis=0), strict=True))
        ]
        assert any(on_wall) == (count == 1)


@pytest.mark.parametrize("layers", [1, 2, 3, 8])
def test_ball_has_layers_on_spheres_and_good_angles(layers):
    center = (1.0, -2.0, 0.5)
    points, cells = Ball(radius=2.0, cell_size=2.0 / layers, center=center).cells(3)
    radius = np.linalg.norm(points - center, axis=1)
    layer = np.rint(radius * layers / 2).astype(int)
    np.testing.assert_allclose(radius, layer * 2 / layers, rtol=0, atol=1e-14)
    assert np.bincount(layer).tolist() == [1, *(10 * k * k + 2 for k in range(1, layers + 1))]
    assert len(cells) == 20 * layers**3
    sharing = facets(cells)
    assert set(sharing.values()) <= {1, 2}
    outer = [facet for facet, count in sharing.items() if count == 1]
    assert len(outer) == 20 * layers**2
    assert (layer[np.array(outer)] == layers).all()
    angles = dihedral_angles(points, cells)
    assert angles.min() > 37.0
    assert angles.max() < 130.0


@pytest.mark.parametrize(("dimension", "exact"), [(1, 3.0), (2, math.pi * 2.25), (3, 4 / 3 * math.pi * 1.5**3)])
def test_volume_of_the_ball_is_of_order_two(dimension, exact):
    errors = [exact - volumes(*Ball(radius=1.5, cell_size=h).cells(dimension)).sum() for h in (0.3, 0.15)]
    if dimension == 1:
        np.testing.assert_allclose(errors, 0, atol=1e-13)
    else:
        assert 0 < errors[1] < 0.006 * exact
        assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1)
    assert Ball(radius=1.5, cell_size=0.3).domain(dimension).volume == pytest.approx(exact, rel=1e-14)


def test_ball_in_the_plane_is_the_disk():
    ball, disk = (
        Ball(radius=1.0, cell_size=0.25, center=(1.0, 2.0)),
        Disk(radius=1.0, cell_size=0.25, center=(1.0, 2.0)),
    )
    for a, b in zip(ball.cells(2), disk.cells(2), strict=True):
        np.testing.assert_array_equal(a, b)


def test_domains_are_those_that_were_described():
    torus = Torus(size=2.0, cell_size=0.5, origin=-1.0).domain(3)
    assert (torus.kind, torus.low.tolist(), torus.size.tolist()) == ("torus", [-1.0] * 3, [2.0] * 3)
    box = Box(size=(1.0, 2.0), cell_size=0.5, origin=(3.0, 4.0)).domain(2)
    assert (box.kind, box.low.tolist(), box.size.tolist()) == ("box", [3.0, 4.0], [1.0, 2.0])
    ball = Ball(radius=2.0, cell_size=0.5).domain(3)
    assert (ball.kind, ball.center.tolist(), ball.size.tolist()) == ("ball", [0.0] * 3, [4.0] * 3)
    point = Point().domain(2)
    assert (point.kind, point.volume) == ("torus", 1.0)


@pytest.mark.parametrize("rings", [1, 2, 3, 12])
@pytest.mark.parametrize("grading", [None, 0.3, 0.01])
def test_disk_is_the_delaunay_triangulation_of_its_nodes(rings, grading):
    finest = None if grading is None else grading * 2.0 / rings
    points, cells = Disk(radius=2.0, cell_size=2.0 / rings, center_size=finest, center=(0.4, -0.3)).cells(2)
    np.testing.assert_array_equal(in_order(cells), in_order(triangulate(points)))
    a, b, c = np.moveaxis(points[cells], 1, 0)
    assert (np.linalg.det(np.stack([b - a, c - a], axis=1)) > 0).all()


def in_order(cells: np.ndarray) -> np.ndarray:
    return np.unique(np.sort(cells, axis=1), axis=0)


@pytest.mark.parametrize(
    ("mesh", "dimension"),
    [
        *((Torus(size=1.0, cell_size=0.3), d) for d in (1, 2, 3)),
        *((Ball(radius=1.0, cell_size=0.24), d) for d in (1, 2, 3)),
        (Disk(radius=1.0, cell_size=0.19, center_size=0.03), 2),
    ],
)
@pytest.mark.parametrize("ranks", [2, 5, 200])
def test_shares_are_those_of_the_whole(mesh, dimension, ranks):
    whole = mesh.cells(dimension)
    shares = zip(*(mesh.cells(dimension, (rank, ranks)) for rank in range(ranks)), strict=True)
    for all_, parts in zip(whole, shares, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), all_)
        assert np.ptp([len(part) for part in parts]) <= 1


@pytest.mark.ranks
@pytest.mark.parametrize("mesh", [Box(size=1.0, cell_size=0.3), Ball(radius=1.0, cell_size=0.4)])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_built_mesh_has_the_points_and_cells(comm, mesh, dimension):
    built = meshes.build(mesh, comm, dimension=dimension)
    points, cells = mesh.cells(dimension)
    assert built.topology.dim == built.geometry.dim == dimension
    assert built.topology.index_map(dimension).size_global == len(cells)
    owned = built.geometry.index_map().size_local
    numbers = np.concatenate(comm.allgather(built.geometry.input_global_indices[:owned]))
    assert sorted(numbers) == list(range(len(points)))
    np.testing.assert_array_equal(built.geometry.x[:, :dimension], points[built.geometry.input_global_indices])
    mine = built.geometry.input_global_indices[cell_nodes(built)]
    np.testing.assert_array_equal(np.sort(mine), np.sort(cells[built.topology.original_cell_index]))


# Files


def write(comm, path, points, cells):
    if comm.rank == 0:
        flat = np.zeros((len(points), 3))
        flat[:, : points.shape[1]] = points
        meshio.write(path, meshio.Mesh(flat, cells), file_format="gmsh22")
    comm.barrier()
    return path


@pytest.mark.ranks
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_file_holds_simplices_of_the_dimension(comm, shared_folder, dimension):
    points, cells = Ball(radius=1.0, cell_size=0.5).cells(dimension)
    lesser = [("vertex", np.array([[0]])), ("line", np.array([[0, 1]])), ("triangle", np.array([[0, 1, 2]]))]
    path = write(comm, shared_folder / "ball.msh", points, [*lesser[:dimension], (GMSH[dimension], cells)])
    built = meshes.build(str(path), comm, dimension=dimension)
    assert built.topology.index_map(dimension).size_global == len(cells)
    assert built.geometry.dim == dimension
    for other in {1, 2, 3} - {dimension}:
        with pytest.raises(InputError, match=r"ball\.msh.*must hold (lines|triangles|tetrahedra) of first order only"):
            meshes.build(path, comm, dimension=other)


@pytest.mark.ranks
def test_lines_must_lie_along_x(comm, shared_folder):
    path = write(comm, shared_folder / "line.msh", np.array([[0.0, 0], [1, 0.1]]), [("line", np.array([[0, 1]]))])
    with pytest.raises(InputError, match=r"line\.msh.*must lie on a line along x"):
        meshes.build(path, comm, dimension=1)


# Errors of the user


@pytest.mark.parametrize("shape", [Torus, Box])
def test_cells_must_fit_into_the_edges(shape):
    with pytest.raises(InputError, match=r"cell_size = 1\.5 must not exceed size = 1\.0"):
        shape(size=1.0, cell_size=1.5)
    with pytest.raises(InputError, match=r"cell_size = 0\.7 must not exceed size = \[1\.0, 0\.5\]"):
        shape(size=(1.0, 0.5), cell_size=0.7)
    with pytest.raises(InputError, match=r"size"):
        shape(size=-1.0, cell_size=0.5)
    with pytest.raises(InputError, match=r"cell_size"):
        shape(size=1.0, cell_size=0.0)


def test_cells_must_fit_into_the_ball():
    with pytest.raises(InputError, match=r"cell_size = 2\.0 must not exceed radius = 1\.0"):
        Ball(radius=1.0, cell_size=2.0)


@pytest.mark.ranks
def test_numbers_of_entries_must_be_the_dimension(comm):
    for mesh, message in (
        (Torus(size=(1.0, 1.0), cell_size=0.5), r"mesh\.size = \[1\.0, 1\.0\]: must be a number or have 3 entries"),
        (Box(size=1.0, cell_size=0.5, origin=(0.0,)), r"mesh\.origin = \[0\.0\]: must be a number or have 3 entries"),
        (Ball(radius=1.0, cell_size=0.5, center=(0.0, 1.0)), r"mesh\.center = \[0\.0, 1\.0\]: .* 3 entries"),
        (Torus(size=1.0, cell_size=1e-5), r"mesh\.cell_size = 1e-05: makes 1e\+15 nodes, more than 1e\+08"),
        (Ball(radius=1.0, cell_size=1e-5), r"mesh\.cell_size = 1e-05: makes 4e\+15 nodes"),
        (Disk(radius=1.0, cell_size=0.5), r"mesh\.shape = 'disk': has dimension 2, not 3"),
    ):
        with pytest.raises(InputError, match=message):
            meshes.build(mesh, comm, dimension=3)


@record
class Holder:
    """A section of a case that names a mesh."""

    mesh: AnyMesh


def test_case_names_a_mesh_by_its_shape_or_by_a_path(tmp_path):
    (tmp_path / "file.msh").write_text("")
    adapter = pydantic.TypeAdapter(Holder)
    for text, expected in (
        ('{"shape": "torus", "size": 1, "cell_size": 0.5}', Torus(size=1.0, cell_size=0.5)),
        ('{"shape": "box", "size": [1, 2], "cell_size": 0.5}', Box(size=(1.0, 2.0), cell_size=0.5)),
        (
            '{"shape": "ball", "radius": 1, "cell_size": 0.5, "center": [1, 2]}',
            Ball(radius=1.0, cell_size=0.5, center=(1.0, 2.0)),
        ),
        ('{"shape": "point"}', Point()),
        (json.dumps(str(tmp_path / "file.msh")), str(tmp_path / "file.msh")),
    ):
        held = adapter.validate_json(f'{{"mesh": {text}}}', strict=True)
        assert held.mesh == expected
        assert adapter.validate_json(adapter.dump_json(held), strict=True) == held
    for wrong, message in (
        ({"shape": "taurus", "size": 1.0}, r"mesh\.shape = 'taurus': must be one of 'torus', .*did you mean torus"),
        ({"size": 1.0}, r"mesh\.shape"),
        ("some/file.msh", r"mesh = 'some/file\.msh': no such file"),
        ({"shape": "torus", "size": 1.0}, r"mesh\.cell_size is missing"),
        ({"shape": "point", "size": 1.0}, r"mesh\.size: unknown key"),
    ):
        with pytest.raises(InputError, match=message):
            Holder(mesh=wrong)


@pytest.mark.ranks
def test_a_mesh_of_dolfinx_is_taken_as_it_is(comm):
    mesh = dolfinx.mesh.create_unit_interval(comm, 4)
    assert meshes.build(mesh, comm, dimension=1) is mesh
