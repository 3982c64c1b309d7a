"""Delaunay triangulations that gain and lose nodes, on domains that are round, not convex, pierced or pointed.

The load is carried by random sequences of changes: whatever was halved and removed, edge weights are >= 0 (here and in
the edge graph that the schemes use), Voronoi areas add to the area of the domain, its boundary stays what it was, and
what was refined can be coarsened to the first nodes again.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import itertools
from dataclasses import replace

import numpy as np
import pytest
from graphs import create
from mpi4py import MPI
from triangulations import (
    DOMAINS,
    POLYGONS,
    area_inside,
    areas,
    box,
    check,
    cross,
    disk,
    ell,
    hole,
    nothing,
    plain,
    random_change,
    refined,
    size_of,
    smallest_angle,
    triangulate,
)

from limitpde.errors import RunError
from limitpde.fem import flips
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.original import original_nodes
from limitpde.fem.triangulation import Boundary, Change, Edges, Triangulation

# Any sequence of changes


@pytest.mark.parametrize("domain", DOMAINS)
def test_random_changes(domain):
    rng = np.random.default_rng(len(domain))
    first = mesh = DOMAINS[domain]()
    born = died = 0
    for _ in range(25):
        old = mesh
        mesh, change = random_change(old, rng)
        check(mesh)
        kept = len(change.kept)
        assert kept + sum(map(len, change.born)) == len(mesh.points)
        np.testing.assert_array_equal(mesh.points[:kept], old.points[change.kept])
        np.testing.assert_array_equal(mesh.level[:kept], old.level[change.kept])
        np.testing.assert_array_equal(mesh.points[: len(first.points)], first.points)  # never lost
        assert (mesh.level[len(first.points) :] > 0).all()
        born += len(mesh.points) - kept
        died += len(old.points) - kept
    assert born > 100
    assert died > 10
    if domain in POLYGONS:
        assert area_inside(mesh) == pytest.approx(area_inside(first), rel=1e-11)


@pytest.mark.parametrize("domain", ["disk", "turned box", "L", "slit", "room"])
def test_the_edge_graph_accepts_what_came_out(domain):
    rng = np.random.default_rng(1)
    mesh = DOMAINS[domain]()
    for _ in range(6):
        mesh, _ = random_change(mesh, rng)
    graph = EdgeGraph(create(MPI.COMM_SELF, mesh.points, mesh.cells))
    number = original_nodes(graph.space)
    np.testing.assert_allclose(graph.area, areas(mesh)[number], rtol=1e-10)
    np.testing.assert_array_equal(np.sort(number[graph.boundary]), np.sort(mesh.boundary.ends[:, 0]))


@pytest.mark.parametrize("domain", ["disk", "hexagon", "box", "turned box", "L", "hole", "room"])
def test_coarsening_returns_to_the_first_nodes(domain):
    rng = np.random.default_rng(7)
    first = mesh = DOMAINS[domain]()
    for _ in range(8):
        mesh, _ = random_change(mesh, rng)
    assert len(mesh.points) > 1.2 * len(first.points)
    assert_coarsens(mesh, first)


@pytest.mark.parametrize("domain", DOMAINS)
def test_halving_everything_and_coarsening(domain):
    first = DOMAINS[domain]()
    edges = Edges.of(first.cells)
    mesh, change = first.changed(edges.ends, nothing(first))
    check(mesh)
    np.testing.assert_array_equal(change.born[0], edges.ends)
    middle = mesh.points[len(first.points) :][: len(edges.ends)]
    inner = ~np.isin(np.arange(len(first.points), len(mesh.points)), mesh.boundary.ends)[: len(middle)]
    np.testing.assert_array_equal(middle[inner], first.points[edges.ends].mean(axis=1)[inner])
    if domain not in STUBBORN:
        assert_coarsens(mesh, first)


STUBBORN = ("slit", "60 degrees", "30 degrees", "5 degrees", "flat cells")
"""Where walls meet at less than 60 degrees or nearly touch, nodes of two walls may need each other."""


def assert_coarsens(mesh: Triangulation, first: Triangulation) -> None:
    for _ in range(100):
        mesh, change = coarsened(mesh)
        check(mesh)
        assert not change.born
        if len(mesh.points) == len(first.points):
            break
    np.testing.assert_array_equal(mesh.points, first.points)
    np.testing.assert_array_equal(np.unique(mesh.boundary.ends, axis=0), np.unique(first.boundary.ends, axis=0))
    assert area_inside(mesh) == pytest.approx(area_inside(first), rel=1e-12)


def coarsened(mesh: Triangulation) -> tuple[Triangulation, Change]:
    """Without as many nodes as may go together."""
    return mesh.changed(np.empty((0, 2), dtype=np.int64), mesh.removable(Edges.of(mesh.cells), ~nothing(mesh)))


# What the boundary is, and stays


def test_boundary_of_cells_in_any_order():
    mesh = hole()
    rng = np.random.default_rng(5)
    turned = np.array([rng.permutation(cell) for cell in mesh.cells])  # half of them clockwise
    found = Boundary.of(mesh.points, turned)
    np.testing.assert_array_equal(np.unique(found.ends, axis=0), np.unique(mesh.boundary.ends, axis=0))
    a, b = (mesh.points[end] for end in found.ends.T)
    assert cross(a, b).sum() / 2 == pytest.approx(1 - 1 / 9, rel=1e-12)  # the hole counts with the other sign
    both = [mesh.changed(Edges.of(cells).ends[::3], nothing(mesh))[0] for cells in (mesh.cells, turned)]
    np.testing.assert_array_equal(both[0].points, both[1].points)
    check(both[1])


def test_groups_are_inherited_by_halves_and_restored_with_them():
    first = ell()
    lines = first.boundary.ends[:, ::-1]  # given the other way round, one of them twice
    groups = np.arange(len(lines)) // 2
    boundary = first.boundary.grouped(np.concatenate([lines[:1], lines]), np.concatenate([[99], groups]))
    np.testing.assert_array_equal(boundary.group, groups)
    some = first.boundary.grouped(lines[3:5], groups[3:5])
    np.testing.assert_array_equal(np.flatnonzero(some.group >= 0), [3, 4])
    first = mesh = replace(first, boundary=boundary)
    length = groups_by_length(first)
    rng = np.random.default_rng(11)
    for _ in range(12):
        mesh, _ = random_change(mesh, rng)
        np.testing.assert_allclose(groups_by_length(mesh), length, rtol=1e-12)
        ways = mesh.points[mesh.boundary.ends[:, 1]] - mesh.points[mesh.boundary.ends[:, 0]]
        for group in range(len(length)):
            parents = ways[mesh.boundary.group == group]
            assert len(np.unique(np.round(np.arctan2(*parents.T), 9))) <= 2  # on the same two lines
    assert len(mesh.boundary.ends) > 1.5 * len(lines)
    assert_coarsens(mesh, first)


def groups_by_length(mesh: Triangulation) -> np.ndarray:
    ways = np.hypot(*(mesh.points[mesh.boundary.ends[:, 1]] - mesh.points[mesh.boundary.ends[:, 0]]).T)
    return np.bincount(mesh.boundary.group, ways)


def test_refinement_at_a_circle_converges_to_its_area():
    mesh = disk(2.0, 3, (0.4, -0.3))
    missing = []
    for _ in range(4):
        missing.append(4 * np.pi - areas(mesh).sum())
        on_circle = np.isin(Edges.of(mesh.cells).ends, mesh.boundary.ends).any(axis=1)
        mesh, _ = mesh.changed(Edges.of(mesh.cells).ends[on_circle], nothing(mesh))
        check(mesh)
    ratios = [a / b for a, b in itertools.pairwise(missing)]
    np.testing.assert_allclose(ratios, 4.0, rtol=0.02)  # polygons with twice as many corners


# Where and how


def test_what_is_far_from_a_change_stays():
    mesh = disk(1.0, 8)
    for where in ((0.5, 0.1), (0.52, 0.12), (-0.7, 0.7)):
        edges = Edges.of(mesh.cells)
        marked = refined(mesh, edges, np.array(where), 0.2, 0.0)
        far = np.hypot(*(mesh.points - np.array(where)).T) > 0.55
        before = areas(mesh)
        old, (mesh, change) = mesh, mesh.changed(edges.ends[marked], nothing(mesh))
        np.testing.assert_array_equal(change.kept, np.arange(len(old.points)))
        np.testing.assert_array_equal(mesh.points[: len(old.points)], old.points)
        after = areas(mesh)[: len(old.points)]
        np.testing.assert_allclose(after[far], before[far], rtol=1e-14)
        assert far.sum() > 100
        assert (after < 0.9 * before).sum() > 10
        near = np.hypot(*(mesh.points[mesh.cells].mean(axis=1) - np.array(where)).T) < 0.15
        edges = Edges.of(mesh.cells)
        assert mesh.length(edges)[edges.of_cells[near]].max() < 0.16


@pytest.mark.parametrize(("domain", "least"), [("disk", 25.0), ("box", 44.0), ("turned box", 44.0), ("L", 44.0)])
def test_halving_keeps_the_shape_of_cells(domain, least):
    for seed in range(4):
        rng, mesh = np.random.default_rng(seed), DOMAINS[domain]()
        while len(mesh.points) < 1500:
            edges = Edges.of(mesh.cells)
            chosen = rng.integers(len(edges.ends))
            near, within = mesh.points[edges.ends[chosen]].mean(axis=0), 2 * mesh.length(edges)[chosen]
            mesh, _ = mesh.changed(edges.ends[refined(mesh, edges, near, within, 1e-4)], nothing(mesh))
            assert smallest_angle(mesh) > least
        lengths = mesh.length(Edges.of(mesh.cells))
        assert lengths.max() > 20 * lengths.min()


@pytest.mark.parametrize("domain", ["disk", "box", "turned box", "L", "hole"])
def test_a_spot_that_wanders_leaves_no_slender_cells(domain):
    """Fine around a point that goes round, coarse behind it."""
    mesh = DOMAINS[domain]()
    middle, counts = np.full(2, 0.0 if domain == "disk" else 0.5), []
    for k in range(120):
        spot = middle + 0.35 * size_of(mesh) * np.array([np.cos(2 * np.pi * k / 40), np.sin(2 * np.pi * k / 40)])
        edges = Edges.of(mesh.cells)
        length, distance = mesh.length(edges), np.hypot(*(mesh.points - spot).T)
        from_middle = np.hypot(*(mesh.points[edges.ends].mean(axis=1) - spot).T)
        marked = mesh.shapely(edges, (length > 0.3 * from_middle) & (length > 0.04))
        longest = np.zeros(len(mesh.points))
        for end in edges.ends.T:
            np.maximum.at(longest, end, np.where(marked, np.inf, length))
        mesh, _ = mesh.changed(edges.ends[marked], mesh.removable(edges, longest < 0.1 * distance))
        check(mesh)
        assert smallest_angle(mesh) > 5.0
        counts.append(len(mesh.points))
    assert max(counts[80:]) < 1.1 * max(counts[40:80])  # it does not fill up
    assert counts[-1] < 1500


def test_a_node_that_the_boundary_needs_comes_back_as_it_was():
    """The middle of the base of a flat triangle over a node: without it, the base would lie under an obtuse angle."""
    points = np.array([[0, 0], [2, 0], [2, 2], [0, 2], [1, 0.5]])
    first = plain(points, np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]))
    mesh, change = first.changed(np.array([[2, 3]]), nothing(first))  # also [0, 1], which lies under an obtuse angle
    assert [batch.tolist() for batch in change.born] == [[[2, 3]], [[0, 1]]]
    check(mesh)
    removed = mesh.removable(Edges.of(mesh.cells), ~nothing(mesh))
    np.testing.assert_array_equal(np.flatnonzero(removed), [5, 6])
    mesh, change = mesh.changed(np.empty((0, 2), dtype=np.int64), removed)
    np.testing.assert_array_equal(change.kept, [0, 1, 2, 3, 4, 6])
    assert not change.born
    check(mesh)
    np.testing.assert_array_equal(mesh.points[5], [1, 0])
    np.testing.assert_array_equal(np.flatnonzero(mesh.needed), [5])


def test_cells_that_rounding_cannot_tell_apart():
    mesh, spot = box(angle=0.3), np.array([0.37, 0.21])

    def halved_at_the_spot() -> Triangulation:
        edges = Edges.of(mesh.cells)
        distance = np.hypot(*(mesh.points[edges.ends].mean(axis=1) - spot).T)
        return mesh.changed(edges.ends[mesh.shapely(edges, distance < 2 * mesh.length(edges))], nothing(mesh))[0]

    for _ in range(17):
        mesh = halved_at_the_spot()
        check(mesh)
        assert smallest_angle(mesh) > 44
    assert mesh.length(Edges.of(mesh.cells)).min() < 3e-6
    with pytest.raises(RunError, match="too short to tell its nodes apart"):
        halved_at_the_spot()


def test_a_crack_stays_one():
    """Two nodes at one place, on two sides of it."""
    first = box()
    points = np.concatenate([first.points, first.points[:1]])
    cells = first.cells.copy()
    (at,) = np.nonzero((cells == 0).any(axis=1))
    cells[at[0]][cells[at[0]] == 0] = len(first.points)  # a crack that begins in the corner
    cracked = plain(points, cells)
    mesh, _ = cracked.changed(Edges.of(cells).ends, nothing(cracked))
    check(mesh)
    assert len(mesh.boundary.ends) == 2 * len(cracked.boundary.ends) == 2 * (len(first.boundary.ends) + 2)
    mesh, _ = coarsened(mesh)
    check(mesh)
    assert len(mesh.boundary.ends) < 2 * len(cracked.boundary.ends)


def test_flips_end_at_the_delaunay_triangulation():
    rng = np.random.default_rng(3)
    for spread in (0.0, 0.15, 0.25):
        first = box(20)
        inside = (first.points > 0).all(axis=1) & (first.points < 1).all(axis=1)
        points = first.points + spread / 20 * rng.uniform(-1, 1, (len(first.points), 2)) * inside[:, None]
        cells = flips.turned(points, rng.permuted(first.cells, axis=1))
        found, _ = flips.delaunay(points, cells, Edges.of(cells).of_cells)
        mesh = plain(points, found)
        assert mesh.weights(Edges.of(found)).min() > -1e-12
        assert areas(mesh).sum() == pytest.approx(1.0, rel=1e-13)
        if spread:
            sorted_ = [np.unique(np.sort(some, axis=1), axis=0) for some in (found, triangulate(points))]
            np.testing.assert_array_equal(*sorted_)
            assert (sorted_[0] != np.unique(np.sort(cells, axis=1), axis=0)).any()


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_of_nodes_on_circles_there_is_one_triangulation(angle):
    """Squares with any of their diagonals, in any order, end at the same triangles."""
    first, rng, found = box(8, angle), np.random.default_rng(2), []
    corner = (9 * np.arange(8)[:, None] + np.arange(8)).ravel()
    for _ in range(3):
        a, b, c, d = corner, corner + 9, corner + 10, corner + 1
        pairs = [np.stack(rows, axis=1) for rows in (([a, b, c], [a, c, d]), ([a, b, d], [b, c, d])) for rows in rows]
        chosen = rng.random(len(corner)) < 0.5
        cells = np.concatenate([np.where(chosen[:, None], pairs[k], pairs[k + 2]) for k in range(2)])
        cells = flips.turned(first.points, rng.permutation(cells))
        cells, _ = flips.delaunay(first.points, cells, Edges.of(cells).of_cells)
        found.append(np.unique(np.sort(cells, axis=1), axis=0))
    for cells in found[1:]:
        np.testing.assert_array_equal(cells, found[0])
