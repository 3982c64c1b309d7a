"""Meshes that follow nodal values: the estimate, the transfer of values, and the same mesh on every number of ranks.

The load is carried by quadratic functions, for which estimate and transfer are exact inside, by the mass of each part
of a mesh that changes, at rounding level, and by a serial computation of what the ranks find together.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import itertools
from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from triangulations import areas, box, check, dealt, disk, ell, hole, nothing, plain, triangulate, whole

from limitpde.errors import RunError
from limitpde.fem import mesh as meshes
from limitpde.fem import refinement as module
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.mesh import Refinement
from limitpde.fem.original import original_nodes
from limitpde.fem.patches import Patch
from limitpde.fem.refinement import GOAL, PATIENCE, AdaptiveMesh
from limitpde.fem.transfer import ChangedParts, nodal_gradients
from limitpde.fem.transfer import moved as interpolated
from limitpde.fem.triangulation import Edges, Triangulation
from limitpde.parallel import collected
from limitpde.results import shared_array
from limitpde.results.shared_array import Numbered, Stored

LINE = np.array([0.3, -1.1])
HESSIAN = np.array([[1.3, -0.4], [-0.4, 0.7]])


def quadratic(x: np.ndarray) -> np.ndarray:
    return 3 + x @ LINE + np.einsum("nd,de,ne->n", x, HESSIAN, x) / 2


def gaussian(center, width, height=1.0):
    return lambda x: height * np.exp(-((x - np.array(center)) ** 2).sum(axis=1) / (2 * width**2))


def inner(mesh: Triangulation) -> np.ndarray:
    """Nodes (n,) bool that have no neighbour on the boundary and do not lie there."""
    edges, outer = Edges.of(mesh.cells), nothing(mesh)
    outer[mesh.boundary.ends] = True
    found = ~outer
    found[edges.ends[outer[edges.ends].any(axis=1)]] = False
    return found


def estimates(mesh: Triangulation, values: np.ndarray) -> tuple[Edges, np.ndarray]:
    """e_ij of the edges, by definition."""
    edges, gradient = Edges.of(mesh.cells), nodal_gradients(mesh, values[:, None])[:, 0]
    tail, head = edges.ends.T
    along = mesh.points[head] - mesh.points[tail]
    return edges, ((gradient[tail] - gradient[head]) * along).sum(axis=1) / 8


def masses(mesh: Triangulation, values: np.ndarray) -> np.ndarray:
    return areas(mesh) @ values


def change_near(mesh: Triangulation, *spots: tuple[np.ndarray, float]):
    edges = Edges.of(mesh.cells)
    middle = mesh.points[edges.ends].mean(axis=1)
    marked = np.any([np.hypot(*(middle - spot).T) < within for spot, within in spots], axis=0)
    return mesh.changed(edges.ends[mesh.shapely(edges, marked)], nothing(mesh))


def moved(old: Triangulation, new: Triangulation, change, values: np.ndarray) -> np.ndarray:
    edges = Edges.of(old.cells), Edges.of(new.cells)
    found = interpolated(new, change, values, nodal_gradients(old, values), values.max(axis=0))
    return ChangedParts(MPI.COMM_SELF, old, new, edges, change.kept).with_mass_of(values, found)


# The estimate


def test_gradients_of_linear_functions_are_exact_and_of_quadratic_ones_inside():
    first = ell()
    turned = plain(first.points, first.cells[:, ::-1])
    for mesh in (disk(2.0, 6, (0.3, 0.1)), first, turned, box(7, 0.4)):
        linear = nodal_gradients(mesh, np.stack([mesh.points @ LINE, np.ones(len(mesh.points))], axis=1))
        np.testing.assert_allclose(linear[:, 0], np.tile(LINE, (len(mesh.points), 1)), rtol=1e-12)
        assert np.abs(linear[:, 1]).max() < 1e-12
    mesh = box(7, 0.4)  # hexagons of six triangles, each equal to the one across
    here = ~np.isin(np.arange(len(mesh.points)), mesh.boundary.ends)
    found = nodal_gradients(mesh, quadratic(mesh.points)[:, None])[:, 0]
    np.testing.assert_allclose(found[here], LINE + mesh.points[here] @ HESSIAN, rtol=1e-12)


def test_the_estimate_is_the_error_in_the_middle_of_an_edge():
    mesh = box(8, 0.2)
    edges, estimate = estimates(mesh, quadratic(mesh.points))
    ends = mesh.points[edges.ends]
    error = quadratic(ends.mean(axis=1)) - (quadratic(ends[:, 0]) + quadratic(ends[:, 1])) / 2
    here = ~np.isin(edges.ends, mesh.boundary.ends).any(axis=1)
    np.testing.assert_allclose(estimate[here], error[here], rtol=1e-10)


def test_the_estimate_of_a_smooth_function_tends_to_the_error():
    f, misses = gaussian((0.55, 0.52), 0.2), []
    for cells in (16, 32, 64):
        mesh = box(cells)
        edges, estimate = estimates(mesh, f(mesh.points))
        here = inner(mesh)[edges.ends].all(axis=1)
        error = f(mesh.points[edges.ends].mean(axis=1)) - f(mesh.points)[edges.ends].mean(axis=1)
        misses.append(np.abs(estimate - error)[here].max() / np.abs(error).max())
    assert all(a / b > 3.5 for a, b in itertools.pairwise(misses))
    assert misses[-1] < 0.02
    mesh = disk(1.0, 40)  # patches without a symmetry: no more than the right size
    edges, estimate = estimates(mesh, gaussian((0.1, -0.05), 0.3)(mesh.points))
    ends = mesh.points[edges.ends]
    values = [gaussian((0.1, -0.05), 0.3)(x) for x in (ends.mean(axis=1), ends[:, 0], ends[:, 1])]
    error = values[0] - (values[1] + values[2]) / 2
    assert 0.8 < np.abs(estimate).max() / np.abs(error).max() < 1.25
    assert np.quantile(np.abs(estimate - error), 0.9) < 0.05 * np.abs(error).max()


# The transfer


def test_transfer_of_quadratic_functions_is_exact_but_for_the_one_factor_of_the_mass():
    old, spot = box(12), np.array([0.45, 0.52])
    values = quadratic(old.points)[:, None]
    new, change = change_near(old, (spot, 0.2))
    found, exact = moved(old, new, change, values)[:, 0], quadratic(new.points)
    changed = np.abs(found / exact - 1) > 1e-14
    factor = found[changed] / exact[changed]
    assert changed.sum() > 30
    np.testing.assert_allclose(factor, factor[0], rtol=1e-12)
    assert abs(factor[0] - 1) < 1e-3
    assert masses(new, found) == pytest.approx(masses(old, values[:, 0]), rel=1e-14)
    unchanged = found[: len(old.points)] == values[:, 0]
    assert unchanged.sum() > 80  # to the bit


def test_transfer_is_of_higher_order_than_linear_interpolation():
    f = gaussian((1.1, 0.93), 0.3)
    errors, linear = [], []
    for cells in (16, 32, 64):
        old = plain(2 * box(cells).points, box(cells).cells)
        new, change = old.changed(Edges.of(old.cells).ends, nothing(old))
        values, area = f(old.points)[:, None], areas(new)
        straight = np.concatenate([values[:, 0], values[change.born[0], 0].mean(axis=1)])
        errors.append(np.sqrt(area @ (moved(old, new, change, values)[:, 0] - f(new.points)) ** 2))
        linear.append(np.sqrt(area @ (straight - f(new.points)) ** 2))
    assert all(np.log2(a / b) > 3.0 for a, b in itertools.pairwise(errors))
    assert all(np.log2(a / b) < 2.1 for a, b in itertools.pairwise(linear))
    assert errors[-1] < linear[-1] / 20


def test_transfer_on_irregular_meshes_is_better_than_linear_interpolation():
    f, rng = gaussian((0.1, 0.0), 0.3), np.random.default_rng(4)
    points = disk(1.0, 20).points
    points[np.hypot(*points.T) < 0.99] += rng.uniform(-0.01, 0.01, (np.count_nonzero(np.hypot(*points.T) < 0.99), 2))
    old = plain(points, triangulate(points))
    new, change = old.changed(Edges.of(old.cells).ends, nothing(old))
    values, area = f(old.points)[:, None], areas(new)
    straight = np.concatenate([values[:, 0], *([values[change.born[0], 0].mean(axis=1)])])
    error = moved(old, new, change, values)[:, 0] - f(new.points)
    assert area @ error**2 < area @ (straight - f(new.points)) ** 2 / 9


def test_mass_is_conserved_on_each_part_that_changes():
    old = disk(2.0, 16)
    spots = [(np.array([1.0, 0.0]), 0.3), (np.array([-0.8, 0.5]), 0.2)]
    f = [gaussian((1.0, 0.1), 0.15), gaussian((-1.0, 0.4), 0.2, 1e-9), lambda x: 1.0 * (x[:, 0] > 0.97)]
    values = np.stack([g(old.points) for g in f], axis=1)
    new, change = change_near(old, *spots)
    found = moved(old, new, change, values)
    np.testing.assert_allclose(masses(new, found), masses(old, values), rtol=1e-14)
    left_old, left_new = old.points[:, 0] < 0.1, new.points[:, 0] < 0.1  # between the two
    for mesh, table, left in ((old, values, left_old), (new, found, left_new)):
        assert areas(mesh)[left].sum() > 1
        parts = areas(mesh)[left] @ table[left]
        np.testing.assert_allclose(parts, areas(old)[left_old] @ values[left_old], rtol=1e-13)
    far = np.min([np.hypot(*(old.points - spot).T) / within for spot, within in spots], axis=0) > 3
    np.testing.assert_array_equal(found[: len(old.points)][far], values[far])
    assert found.min() >= 0
    ratio = found.max(axis=0) / values.max(axis=0)
    assert (ratio < 1.02).all()


@pytest.mark.parametrize("seed", range(4))
def test_values_stay_within_their_bounds_whatever_changes(seed):
    """Rough densities, zero on large parts, through refinement and coarsening."""
    rng = np.random.default_rng(seed)
    mesh = [disk(1.0, 6), box(6, 0.3), ell(), disk(1.0, 3)][seed]
    rough = rng.exponential(size=(len(mesh.points), 2)) ** 4
    rough[np.hypot(*(mesh.points - mesh.points[5]).T) > 0.3] = 0
    values = np.column_stack([rough, np.ones(len(mesh.points)), np.zeros(len(mesh.points))])
    total = masses(mesh, values)
    for _ in range(12):
        old, edges = mesh, Edges.of(mesh.cells)
        marked = mesh.shapely(edges, (rng.random(len(edges.ends)) < 0.03) & (len(mesh.points) < 800))
        spare = rng.random(len(mesh.points)) < 0.5
        spare[edges.ends[marked]] = False
        mesh, change = mesh.changed(edges.ends[marked], mesh.removable(edges, spare))
        before, values = values, moved(old, mesh, change, values)
        check(mesh)
        assert values.min() >= 0
        assert np.isfinite(values).all()
        np.testing.assert_allclose(masses(mesh, values), masses(old, before), rtol=1e-13)
        if old.boundary.circle is None:
            np.testing.assert_allclose(values[:, 2], 1.0, rtol=1e-11)  # a constant stays one where the area does
        np.testing.assert_array_equal(values[:, 3], 0.0)
    np.testing.assert_allclose(masses(mesh, values), total, rtol=1e-12)


def test_mass_of_removed_nodes_alone_goes_to_their_neighbours():
    first = box(6)
    mesh, _ = change_near(first, (np.array([0.5, 0.5]), 0.1))
    removed = mesh.removable(Edges.of(mesh.cells), ~nothing(mesh))
    assert removed.sum() >= 2
    values = np.where(removed, 2.0, 0.0)[:, None]
    new, change = mesh.changed(np.empty((0, 2), dtype=np.int64), removed)
    found = moved(mesh, new, change, values)
    assert masses(new, found)[0] == pytest.approx(masses(mesh, values)[0], rel=1e-14)
    assert found.min() >= 0
    assert found.max() < 2
    near = np.hypot(*(new.points - 0.5).T) < 0.35
    assert not found[~near].any()


# Refinement of known densities


def test_a_gaussian_is_resolved_to_the_tolerance():
    for tolerance in (3e-2, 3e-3):
        adaptive = AdaptiveMesh(dealt(MPI.COMM_SELF, disk(4.0, 8)), Refinement(tolerance=tolerance, smallest_cell=1e-3))
        f = gaussian((0.7, -0.4), 0.1, 5.0)
        adaptive.resolve(lambda x, f=f: f(x)[:, None])
        mesh = adaptive.triangulation
        check(mesh)
        ends = Edges.of(mesh.cells).ends
        missed = np.abs(f(mesh.points[ends].mean(axis=1)) - f(mesh.points)[ends].mean(axis=1))
        assert missed.max() <= GOAL * tolerance * 5.0
        assert missed.max() > 0.1 * tolerance * 5.0
        assert len(mesh.points) < 7 / tolerance + 400
        inside = np.abs(f(mesh.points[mesh.cells].mean(axis=1)) - f(mesh.points)[mesh.cells].mean(axis=1))
        assert inside.max() < tolerance * 5.0


def test_a_small_species_is_resolved_like_a_large_one_and_nothing_needs_nothing():
    adaptive = AdaptiveMesh(dealt(MPI.COMM_SELF, disk(4.0, 8)), Refinement(tolerance=0.02, smallest_cell=1e-3))
    small = gaussian((-1.0, 0.0), 0.1, 1e-12)
    adaptive.resolve(lambda x: np.column_stack([1 + 0 * x[:, 0], small(x), 0 * x[:, 0]]))
    ends = Edges.of(adaptive.triangulation.cells).ends
    points = adaptive.triangulation.points
    missed = np.abs(small(points[ends].mean(axis=1)) - small(points)[ends].mean(axis=1))
    assert missed.max() <= 0.01 * 1e-12
    assert np.hypot(*(points - [1.0, 0.0]).T).min() > 0.01 or len(points) < 700
    same = AdaptiveMesh(dealt(MPI.COMM_SELF, disk(4.0, 8)), Refinement(tolerance=0.02, smallest_cell=1e-3))
    same.resolve(lambda x: np.column_stack([1 + 0 * x[:, 0], 0 * x[:, 0]]))
    assert len(same.triangulation.points) == len(disk(4.0, 8).points)


def test_refinement_of_a_jump_ends_at_the_smallest_cell():
    smallest = 0.01
    adaptive = AdaptiveMesh(dealt(MPI.COMM_SELF, box(8)), Refinement(tolerance=0.02, smallest_cell=smallest))
    inside = lambda x: 1.0 * (np.hypot(*(x - 0.5).T) < 0.3)  # noqa: E731
    adaptive.resolve(lambda x: inside(x)[:, None])
    mesh = adaptive.triangulation
    check(mesh)
    edges = Edges.of(mesh.cells)
    length = mesh.length(edges)
    across = np.ptp(inside(mesh.points)[edges.ends], axis=1) > 0
    assert length[across].max() < 2 * smallest
    assert length.min() >= smallest / np.sqrt(2)
    assert len(mesh.points) < 10 * 2 * np.pi * 0.3 / smallest  # fine along the jump alone


# On ranks


class Following:
    """An adaptive mesh with its graph, and densities on it."""

    def __init__(self, comm: MPI.Comm, refinement: Refinement, first: Triangulation, functions) -> None:
        self.adaptive = AdaptiveMesh(dealt(comm, first), refinement)
        self.functions = functions
        self.attach()
        self.values = [f(self.graph.points) for f in functions]

    def attach(self) -> None:
        """Make the graph of the present mesh."""
        self.graph = EdgeGraph(meshes.put_together(self.adaptive.comm, *self.adaptive.arrays()))
        self.numbers = original_nodes(self.graph.space)

    def follow(self, watched: int = 1) -> np.ndarray | None:
        """Follow the first densities, and go on with all of them on the new mesh."""
        found = self.adaptive.follow(self.graph, self.numbers, self.values[:watched], self.values[watched:])
        if found is not None:
            self.attach()
            rows = collected(self.adaptive.comm, self.numbers, found, self.graph.size)
            self.values = list(np.ascontiguousarray(rows.T))
            found = np.concatenate(self.adaptive.comm.allgather(found))
        return found


FUNCTIONS = [gaussian((0.3, 0.1), 0.25), gaussian((-0.2, 0.3), 0.3, 2.0), lambda x: 1.0 + x[:, 0] / 10]


@pytest.mark.ranks
def test_ranks_find_the_largest_error_together(comm):
    """The mesh changes for a tolerance just below the largest estimate, and does not for one just above."""
    first = disk(1.0, 8)
    values = FUNCTIONS[0](first.points)
    edges, estimate = estimates(first, values)
    largest = float(np.abs(estimate).max() / values.max())
    for tolerance, changes in ((largest * (1 - 1e-9), True), (largest * (1 + 1e-9), False)):
        found = Following(comm, Refinement(tolerance=tolerance, smallest_cell=1e-3), first, FUNCTIONS).follow()
        assert (found is not None) == changes
    length = first.length(edges)
    long = length >= np.quantile(length, 0.9)
    largest = float(np.abs(estimate[long]).max() / values.max())
    smallest = float(length[long].min() / 2) * (1 - 1e-12)  # edges that may be halved count alone
    for tolerance, changes in ((largest * (1 - 1e-9), True), (largest * (1 + 1e-9), False)):
        found = Following(comm, Refinement(tolerance=tolerance, smallest_cell=smallest), first, FUNCTIONS).follow()
        assert (found is not None) == changes


@pytest.mark.ranks
def test_ranks_get_the_same_mesh_and_the_same_values(comm):
    refinement = Refinement(tolerance=0.01, smallest_cell=1e-3)
    runs = [Following(ranks, refinement, disk(1.0, 5), FUNCTIONS) for ranks in (comm, MPI.COMM_SELF)]
    before = [masses_of(run) for run in runs]
    together, alone = (run.follow(2) for run in runs)
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    for ours, theirs in zip(*(whole(run.adaptive.patch) for run in runs), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [run.adaptive.changes for run in runs] == [1, 1]
    for run, mass in zip(runs, before, strict=True):
        np.testing.assert_allclose(masses_of(run), mass, rtol=1e-13)
        assert run.graph.size == len(together)
    ends, group = runs[0].adaptive.lines()
    np.testing.assert_array_equal(ends, runs[1].adaptive.lines()[0])
    assert (group == -1).all()
    assert all(run.follow(2) is None for run in runs)  # the tolerance is met


def grouped() -> Triangulation:
    """A square whose walls are in groups; all nodes of each of its cells lie on one circle."""
    first = box(6)
    ends = first.boundary.ends
    return replace(first, boundary=first.boundary.grouped(ends, np.arange(len(ends)) // 4))


@pytest.mark.ranks
@pytest.mark.parametrize("domain", [lambda: disk(1.0, 1), grouped, hole], ids=["disk", "walls", "hole"])
def test_points_and_cells_are_those_of_one_rank(comm, domain):
    """Fine around a peak that goes round, and coarse again; at first some ranks have no node, or nearly none."""
    first = domain()
    size, middle = np.ptp(first.points, axis=0).max(), first.points.mean(axis=0)
    refinement = Refinement(tolerance=0.04, smallest_cell=1e-2 * size)
    runs = [AdaptiveMesh(dealt(ranks, first), refinement) for ranks in (comm, MPI.COMM_SELF)]
    sizes = []
    for turn in (0.0, 0.3, 0.6, None, None):
        for run in runs:
            at = middle + 0.35 * size * np.array([np.cos(turn or 0.0), np.sin(turn or 0.0)])
            f = flat if turn is None else gaussian(at, 0.05 * size)
            patch = run.patch
            values = np.column_stack([f(patch.mesh.points), 1 + patch.mesh.points[:, 0] ** 2])
            found = run._follow(values, 1, refining=turn is not None)
            if found is not None:
                np.testing.assert_allclose(mass_over(run.patch, found), mass_over(patch, values), rtol=1e-13)
        for ours, theirs in zip(*(whole(run.patch) for run in runs), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        sizes.append(runs[0].patch.total)
    check(runs[1].triangulation)
    assert sizes[0] > 2 * len(first.points)
    assert sizes[4] < sizes[2]


def flat(x: np.ndarray) -> np.ndarray:
    return np.ones(len(x))


def mass_over(patch: Patch, values: np.ndarray) -> np.ndarray:
    """Of all ranks."""
    return np.array(patch.comm.allreduce((areas(patch.mesh)[:, None] * values)[patch.own].sum(axis=0)))


@pytest.mark.ranks
def test_what_all_ranks_saved_one_rank_goes_on_from(comm, shared_folder):
    refinement = Refinement(tolerance=0.02, smallest_cell=1e-3)
    run = AdaptiveMesh(dealt(comm, disk(1.0, 4)), refinement)
    run.resolve(lambda x: FUNCTIONS[0](x)[:, None])
    alone = AdaptiveMesh(dealt(MPI.COMM_SELF, disk(1.0, 4)), refinement)
    restore(alone, run, shared_folder / "mesh.bin")
    for ours, theirs in zip(whole(run.patch), whole(alone.patch), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def masses_of(run: Following) -> np.ndarray:
    return run.graph.sums.total(*(run.graph.area * values for values in run.values))


@pytest.mark.ranks
def test_a_mesh_that_nothing_needs_any_more_is_coarsened_after_some_steps(comm):
    run = Following(comm, Refinement(tolerance=0.01, smallest_cell=1e-3), disk(1.0, 5), FUNCTIONS)
    first = run.graph.size
    while run.follow() is not None:
        pass
    finest = run.graph.size
    assert finest > 3 * first
    run.values = [1.0 + 0 * values for values in run.values]
    when, sizes = [], []
    for step in range(1, 12 * PATIENCE):  # the call above has been the first one on this mesh
        if run.follow() is not None:
            when.append(step + 1)
            sizes.append(run.graph.size)
    assert when == list(range(PATIENCE, (len(when) + 1) * PATIENCE, PATIENCE))
    assert all(b < a for a, b in itertools.pairwise([finest, *sizes]))
    assert run.graph.size < 1.2 * first  # what is left is not worth a new mesh


@pytest.mark.ranks
def test_goes_on_from_a_state(comm, shared_folder):
    refinement, first = Refinement(tolerance=0.02, smallest_cell=1e-3), disk(1.0, 4)
    run = Following(comm, refinement, first, FUNCTIONS)
    run.follow()
    run.values = [1.0 + 1e-3 * values for values in run.values]  # so that nodes go when the mesh is old enough
    for _ in range(PATIENCE - 3):
        run.follow()
    assert run.adaptive.changes == 1
    other = Following(comm, refinement, first, FUNCTIONS)
    restore(other.adaptive, run.adaptive, shared_folder / "mesh.bin")
    other.attach()
    nodal = np.empty((run.graph.size, len(FUNCTIONS)))
    for numbers, rows in comm.allgather((run.numbers, np.column_stack(run.values))):
        nodal[numbers] = rows
    other.values = list(np.ascontiguousarray(nodal[other.numbers].T))
    for _ in range(PATIENCE + 5):
        ours, theirs = run.follow(), other.follow()
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)
    assert run.adaptive.changes == other.adaptive.changes >= 2
    for ours, theirs in zip(whole(run.adaptive.patch), whole(other.adaptive.patch), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def restore(into: AdaptiveMesh, written: AdaptiveMesh, path) -> None:
    """Write the state of a mesh to a file, and go on with another one from there, on other ranks or the same ones."""
    state = written.state()
    counts = state.pop("counts")
    arrays = {name: rows for name, rows in state.items() if isinstance(rows, Numbered)}
    _, places = shared_array.write(written.comm, path, *arrays.values())
    kinds = [(at, rows.shape, rows.dtype) for at, rows in zip(places, arrays.values(), strict=True)]
    stored = {name: Stored(into.comm, path, *kind) for name, kind in zip(arrays, kinds, strict=True)}
    into.restore(counts, stored)


@pytest.mark.ranks
def test_zero_densities_need_nothing(comm):
    zero = [lambda x: 0 * x[:, 0]]
    run = Following(comm, Refinement(tolerance=0.02, smallest_cell=1e-3), disk(1.0, 4), zero)
    assert all(run.follow() is None for _ in range(2 * PATIENCE))


@pytest.mark.ranks
def test_every_rank_is_told_what_went_wrong_on_the_first(comm, monkeypatch):
    def broken(points):
        raise ValueError("no density")

    run = Following(comm, Refinement(tolerance=1e-4, smallest_cell=1e-3), disk(1.0, 4), FUNCTIONS)
    with pytest.raises(ValueError, match="no density"):
        run.adaptive.resolve(broken)
    monkeypatch.setattr(module, "MOST_NODES", 200)
    with pytest.raises(RunError, match=r"more than 200 nodes for pde\.refinement\.tolerance = 0\.0001; take a larger"):
        run.follow()
    with pytest.raises(RunError, match="more than 200 nodes"):
        run.adaptive.resolve(lambda x: FUNCTIONS[0](x)[:, None])
    assert comm.allreduce(1, op=MPI.SUM) == comm.size
