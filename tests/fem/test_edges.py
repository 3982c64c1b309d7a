"""The edge graph of a mesh, the fluxes along its edges, matrices made of them, and sums over all ranks.

The load is carried by the stiffness matrix that DOLFINx assembles from the weak form (K, and with it every flux), the
identities of the Voronoi areas at rounding level and the Bernoulli function in 60 digits. Each figure is global and
asserted on every rank, also where a rank owns nothing.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from decimal import Decimal, localcontext

import dolfinx.fem
import dolfinx.fem.petsc
import dolfinx.graph
import dolfinx.mesh
import numpy as np
import pytest
import scipy.sparse
import ufl
from graphs import EPS, HEXAGON, KINDS, all_to_the_last, create, everywhere, mesh_of, triangulated, wiggle, with_ghosts
from petsc4py import PETSc

from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem.attempt import Attempt, FirstGuess
from limitpde.fem.edge_flux import (
    SERIES,
    add_gradient_flux,
    add_mean_density,
    bernoulli,
    climb_along,
    fill_transport,
    predictor_edges,
    upwinding,
)
from limitpde.fem.edges import EdgeGraph, EdgeMatrix, laplacian_matrix
from limitpde.fem.gate import GatedState
from limitpde.fem.gated import History
from limitpde.fem.mesh import Disk
from limitpde.fem.sums import GlobalSums


def dense(matrix: PETSc.Mat) -> np.ndarray:
    """All rows of a PETSc matrix, on every rank."""
    indptr, columns, values = matrix.getValuesCSR()
    own = scipy.sparse.csr_matrix((values, columns, indptr), shape=(len(indptr) - 1, matrix.size[1])).toarray()
    return np.concatenate(matrix.comm.tompi4py().allgather(own))


def climb_of(graph: EdgeGraph, potential: np.ndarray) -> np.ndarray:
    """kappa (V_head - V_tail)."""
    return graph.weight * (potential[graph.head] - potential[graph.tail])


# The edge graph


@pytest.mark.parametrize("kind", KINDS)
def test_edge_weights_are_the_stiffness_matrix_of_dolfinx(comm, kind):
    graph = EdgeGraph(mesh_of(comm, kind))
    u, v = ufl.TrialFunction(graph.space), ufl.TestFunction(graph.space)
    expected = dolfinx.fem.petsc.assemble_matrix(dolfinx.fem.form(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx))
    expected.assemble()
    scale = expected.norm(PETSc.NormType.INFINITY)
    found = laplacian_matrix(graph).mat
    assert found.size == expected.size == (graph.size, graph.size)
    found.axpy(-1.0, expected)
    assert found.norm(PETSc.NormType.INFINITY) < 20 * EPS * scale

    values = wiggle(graph)
    x, b = expected.createVecs()
    x.array[:] = values[: graph.owned]
    expected.mult(x, b)
    product = graph.laplacian(values)
    assert graph.sums.maximum(np.abs(product[: graph.owned] - b.array)) < 50 * EPS * scale
    np.testing.assert_array_equal(product, graph.share(product))  # ghosts are those of the owners


@pytest.mark.parametrize("kind", KINDS)
def test_voronoi_areas_make_linear_functions_and_squares_exact(comm, kind):
    graph = EdgeGraph(mesh_of(comm, kind))
    corners = graph.points[graph.cells]
    sides = corners[:, 1:] - corners[:, :1]
    triangles = 0.5 * np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    (covered,) = graph.sums.add(np.array([triangles.sum()]))
    (total,) = graph.sums.total(graph.area)
    assert total == pytest.approx(covered, rel=1e-14)
    assert graph.sums.minimum(graph.area) > 0.0

    # sum_j kappa (x_j - x_i) = 0 and sum_j kappa |x_j - x_i|^2 = 4 m_i, inside
    shift = graph.points[graph.head] - graph.points[graph.tail]
    for axis in range(2):
        drift = graph.add_at_nodes(graph.weight * shift[:, axis], -graph.weight * shift[:, axis])
        assert graph.sums.maximum(np.abs(drift[~graph.boundary])) < 1e-13 or graph.sums.maximum(drift) == 0.0
    square = -graph.laplacian((graph.points**2).sum(axis=1))
    inside = np.where(graph.boundary, 0.0, square - 4.0 * graph.area)
    assert graph.sums.maximum(np.abs(inside)) < 1e-13


@pytest.mark.ranks
def test_graph_does_not_depend_on_ghosts_or_on_who_owns_what(comm):
    disk = Disk(radius=2.0, cell_size=0.25)
    plain = EdgeGraph(meshes.build(disk, comm))
    table = everywhere(plain, plain.area, plain.boundary, plain.laplacian(wiggle(plain)))
    for partitioner in (with_ghosts(), all_to_the_last):
        graph = EdgeGraph(create(comm, *triangulated(disk), partitioner=partitioner))
        assert graph.size == plain.size == 1 + 3 * 8 * 9
        (edges,) = graph.sums.add(np.array([len(graph.tail)]))
        assert edges == 3 * graph.size - 3 - 6 * 8  # Euler, with 6 * 8 boundary edges
        other = everywhere(graph, graph.area, graph.boundary, graph.laplacian(wiggle(graph)))
        for a, b in zip(table, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    if comm.size > 1 and comm.rank == 0:
        assert graph.owned == 0  # the case was really met


@pytest.mark.ranks
@pytest.mark.parametrize("rings", [1, 2, 7])
def test_boundary_of_a_disk_is_its_outer_ring(comm, rings):
    graph = EdgeGraph(meshes.build(Disk(radius=3.0, cell_size=3.0 / rings, center=(1.0, 2.0)), comm))
    assert graph.size == 1 + 3 * rings * (rings + 1)
    (count,) = graph.sums.total(graph.boundary.astype(float))
    assert count == 6 * rings
    radius = np.hypot(*(graph.points - [1.0, 2.0]).T)
    np.testing.assert_array_equal(graph.boundary, radius > 3.0 - 1e-9)


@pytest.mark.ranks
def test_mesh_that_is_not_delaunay_is_refused_on_every_rank(comm):
    kite = create(comm, [(0, 0), (1, 0), (0.5, 0.2), (0.5, -0.2)], [(0, 1, 2), (0, 1, 3)])
    with pytest.raises(InputError, match=r"not Delaunay: 1 edges have a negative weight \(smallest -"):
        EdgeGraph(kite)
    other_diagonal = create(comm, [(0, 0), (1, 0), (0.5, 0.2), (0.5, -0.2)], [(0, 2, 3), (1, 2, 3)])
    assert EdgeGraph(other_diagonal).size == 4


@pytest.mark.ranks
def test_mesh_must_be_of_triangles_in_the_plane(comm):
    quadrilaterals = dolfinx.mesh.create_unit_square(comm, 3, 3, dolfinx.mesh.CellType.quadrilateral)
    for mesh in (
        quadrilaterals,
        dolfinx.mesh.create_unit_cube(comm, 2, 2, 2),
        dolfinx.mesh.create_unit_interval(comm, 4),
    ):
        with pytest.raises(InputError, match="triangles in the plane"):
            EdgeGraph(mesh)


# Edge fluxes


def precise(z: float) -> tuple[float, float]:
    """B(z) and theta(z) in 60 digits, rounded."""
    if z == 0.0:
        return 1.0, 0.5
    with localcontext(prec=700 if abs(z) < 1e-6 else 80):  # e^z - 1 cancels
        x = Decimal(z)
        b = x / (x.exp() - 1)
        return float(b), float((1 - b) / x)


SIZES = [0.0, 1e-300, 1e-17, 1e-8, 1e-5, 1e-3, 1e-2, 0.1, 0.25, 0.3999, 0.4001, 1.0, 5.0, 37.0, 700.0, 1e3]


@pytest.mark.parametrize("size", SIZES)
def test_bernoulli_and_upwinding_are_right_to_rounding(size):
    for z in (size, -size):
        b, theta = precise(z)
        assert bernoulli(z) == pytest.approx(b, rel=4 * EPS, abs=1e-300)
        assert upwinding(z) == pytest.approx(theta, rel=4 * EPS, abs=4 * EPS / max(abs(z), SERIES))


def test_bernoulli_and_upwinding_are_continuous_where_the_series_takes_over():
    for function, slope, noise in ((bernoulli, 0.6, 4 * EPS), (upwinding, 1 / 12, 4 * EPS / SERIES)):
        for z in (SERIES, -SERIES):
            below, above = function(z * (1 - 1e-13)), function(z * (1 + 1e-13))
            assert abs(above - below) < slope * 2e-13 * SERIES + noise


@pytest.mark.filterwarnings("error")
def test_fluxes_survive_huge_drops_of_the_potential(comm):
    assert bernoulli(1e3) == 0.0
    assert bernoulli(-1e3) == 1e3
    assert upwinding(1e3) == pytest.approx(1e-3)  # the upwind node is the other one
    assert upwinding(-1e3) == pytest.approx(1 - 1e-3)
    assert math.isnan(bernoulli(math.nan))
    graph = EdgeGraph(meshes.build(HEXAGON, comm))
    entries = np.empty((4, len(graph.tail)))
    fill_transport(entries, graph.weight, climb_of(graph, -1e3 * wiggle(graph)), 0.5)
    assert np.isfinite(entries).all()
    assert (entries[[0, 3]] >= 0.0).all()
    assert (entries[[1, 2]] <= 0.0).all()
    np.testing.assert_array_equal(entries[0] + entries[2], 0.0)  # mass: what leaves one node enters the other
    np.testing.assert_array_equal(entries[1] + entries[3], 0.0)


def test_transport_is_the_flux_of_the_mean_density_and_vanishes_in_equilibrium(comm):
    """F_ij by fill_transport = kappa [D (rho_i - rho_j) + w q gamma (psi_i - psi_j)] by add_mean_density."""
    graph = EdgeGraph(mesh_of(comm, "disk"))
    diffusivity, drift = 0.3, -0.7
    psi, rho = wiggle(graph), 2.5 + wiggle(graph, 0.3)
    matrix = EdgeMatrix(graph)
    fill_transport(matrix.edges, graph.weight, climb_of(graph, drift * psi), diffusivity)
    by_matrix = graph.add_at_nodes(
        matrix.edges[0] * rho[graph.tail] + matrix.edges[1] * rho[graph.head],
        matrix.edges[2] * rho[graph.tail] + matrix.edges[3] * rho[graph.head],
    )
    mean = np.zeros(len(graph.tail))
    add_mean_density(mean, graph.tail, graph.head, psi, rho, diffusivity, drift)
    balance = np.zeros(graph.local)
    add_gradient_flux(balance, graph.tail, graph.head, graph.weight * diffusivity, rho)
    add_gradient_flux(balance, graph.tail, graph.head, graph.weight * mean * drift, psi)
    by_mean = -graph.share_sum(balance)
    np.testing.assert_allclose(by_matrix, by_mean, rtol=0, atol=1e-12)

    boltzmann = np.exp(-drift * psi / diffusivity)
    flux = matrix.edges[0] * boltzmann[graph.tail] + matrix.edges[1] * boltzmann[graph.head]
    scale = matrix.edges[0] * boltzmann[graph.tail]
    assert GlobalSums(comm, len(flux)).maximum(np.abs(flux) / scale) < 1e-12


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["hexagon", "disk", "one rank"])
def test_edge_matrix_with_dirichlet_rows_against_scipy(comm, kind):
    graph = EdgeGraph(mesh_of(comm, kind))
    matrix = EdgeMatrix(graph, graph.boundary)
    number = graph.index_map.local_to_global(np.arange(graph.local, dtype=np.int32))
    for fill in (1.0, -2.0):  # refilled: nothing of the first filling may stay
        rng = np.random.default_rng(comm.rank)
        matrix.edges[:] = fill * rng.standard_normal(matrix.edges.shape)
        matrix.diagonal[:] = fill * rng.standard_normal(graph.owned)
        tail, head, own = number[graph.tail], number[graph.head], number[: graph.owned]
        rows = np.concatenate([tail, tail, head, head, own])
        columns = np.concatenate([tail, head, tail, head, own])
        values = np.concatenate([matrix.edges.ravel(), matrix.diagonal])
        fixed = np.concatenate(comm.allgather(graph.boundary[: graph.owned]))
        triplets = [np.concatenate(comm.allgather(part)) for part in (values, rows, columns)]
        expected = scipy.sparse.coo_matrix((triplets[0], (triplets[1], triplets[2])), (graph.size,) * 2).toarray()
        expected[fixed] = expected[:, fixed] = 0.0
        expected[fixed, fixed] = 1.0
        np.testing.assert_allclose(dense(matrix.assemble()), expected, rtol=0, atol=1e-13)


# Sums


@pytest.mark.ranks
def test_global_sums_count_each_node_once_and_pass_nan_on(comm):
    sums = GlobalSums(comm, 2)
    values = np.array([1.0 + comm.rank, 2.0, 1e9])  # the last one is a ghost
    total, doubled = sums.total(values, 2 * values)
    assert total == comm.size * (comm.size + 1) / 2 + 2 * comm.size
    assert doubled == 2 * total
    assert sums.maximum(values) == max(2.0, comm.size)
    assert sums.minimum(values, values + 1) == 1.0
    values[1] = np.nan if comm.rank == comm.size - 1 else 2.0
    assert math.isnan(sums.maximum(values))
    assert math.isnan(sums.minimum(values))
    assert math.isnan(sums.maximum(np.zeros(2), values))
    values[1], values[2] = 2.0, np.nan  # a NaN on a ghost is not ours
    assert sums.maximum(values) == max(2.0, comm.size)
    assert sums.add(np.ones((2, 3))).tolist() == [[comm.size] * 3] * 2


@pytest.mark.ranks
def test_global_sums_where_ranks_own_nothing(comm):
    last = comm.rank == comm.size - 1
    sums = GlobalSums(comm, 3 if last else 0)
    values = np.array([-1.0, 5.0, 2.0]) if last else np.empty(0)
    assert sums.total(values).tolist() == [6.0]
    assert (sums.minimum(values), sums.maximum(values)) == (-1.0, 5.0)
    nothing = GlobalSums(comm, 0)
    assert (nothing.minimum(np.empty(0)), nothing.maximum(np.empty(0))) == (math.inf, -math.inf)
    assert nothing.total(np.empty(0)).tolist() == [0.0]


def test_one_loop_for_the_predictor_is_the_sum_of_its_terms(comm):
    graph, diffusivity, coupling, scale = EdgeGraph(mesh_of(comm, "disk")), 0.3, 0.7, 0.05
    tail, head, weight = graph.tail, graph.head, graph.weight
    psi, well = wiggle(graph), 3.0 * graph.points[:, 0] ** 2
    start, charges = psi + 0.1 * graph.points[:, 1], np.array([1.0, -1.0])
    rho = np.stack([1.0 + 0.5 * np.sin(graph.points[:, 0]), 2.0 + np.cos(graph.points[:, 1])])
    conductance, balance = np.empty(len(weight)), np.zeros(graph.local)
    potentials = np.stack([psi, well, start])
    predictor_edges(conductance, balance, tail, head, weight, rho, charges, potentials, coupling, diffusivity, scale)
    seen, expected = np.zeros(len(weight)), np.zeros(graph.local)
    for charge, density in zip(charges, rho, strict=True):
        mean = np.zeros_like(seen)
        add_mean_density(mean, tail, head, charge * coupling * psi + well, density, diffusivity, 1.0)
        add_gradient_flux(expected, tail, head, scale * charge * weight * mean, well)
        add_gradient_flux(expected, tail, head, scale * charge * diffusivity * weight, density)
        seen += mean
    np.testing.assert_allclose(conductance, weight * (1 + scale * coupling * seen), rtol=1e-13)
    add_gradient_flux(expected, tail, head, conductance, start)
    np.testing.assert_allclose(balance, expected, rtol=1e-12, atol=1e-11)
    climb = weight * (psi[head] - psi[tail])
    np.testing.assert_array_equal(climb_along(tail, head, weight, psi), climb)
    once, twice = np.empty((2, 4, len(weight)))
    fill_transport(once, weight, climb, diffusivity)
    fill_transport(twice, weight, climb, diffusivity, 2.0)
    np.testing.assert_array_equal(twice, 2.0 * once)


def test_what_is_foreseen_is_exact_for_what_the_formula_integrates_exactly():
    """A parabola by BDF2 with uneven steps, and the last values where there are too few."""
    times, (a, b) = np.array([0.0, 0.1, 0.25]), (2.0, -3.0)
    values = [np.array([a * t**2 + b * t + 1.0]) for t in times[::-1]]
    empty = GatedState(np.zeros((1, 1)), np.zeros(1), 0.0, 0.0, 0.0)
    history = History(empty, (empty, empty), (0.15, 0.1))
    found = history.foreseen(2, 0.2, values)
    np.testing.assert_allclose(found, a * 0.45**2 + b * 0.45 + 1.0, rtol=1e-13)
    assert History(empty).foreseen(2, 0.2, values) is values[0]


def test_a_first_guess_that_misses_smoothly_gains_two_orders():
    """Even BDF2 steps of sin t: what is foreseen misses dt^3, the guess dt^5; other steps begin anew."""

    def states(t: float, dt: float) -> tuple[Attempt, np.ndarray]:
        history = History(empty, (empty, empty), (dt, dt))
        attempt = Attempt(history, dt, 2, history.bdf(2, dt), None)
        return attempt, attempt.foreseen([np.array([math.sin(t - k * dt)]) for k in (1, 2, 3)])

    empty, missed = GatedState(np.zeros((1, 1)), np.zeros(1), 0.0, 0.0, 0.0), []
    for dt in (0.1, 0.05):
        first = FirstGuess()
        for k in range(3):
            t = 1.0 + (k - 2) * dt
            attempt, foreseen = states(t, dt)
            guess = first(attempt, foreseen)
            first.learn(foreseen, np.array([math.sin(t)]))
        missed.append(abs(math.sin(1.0) - guess[0]))
        longer, foreseen = states(1.0, 1.1 * dt)
        assert first(longer, foreseen) is foreseen
    assert missed[0] < 2 * 0.1**5
    assert math.log2(missed[0] / missed[1]) == pytest.approx(5.0, abs=0.3)
