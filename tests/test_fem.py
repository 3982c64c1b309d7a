"""What the PDE solvers share: the edge graph, edge fluxes, Poisson in the plane, linear solvers, steps, sums, meshes.

The load is carried by the stiffness matrix that DOLFINx assembles from the weak form (K, and with it every flux), the
identities of the Voronoi areas at rounding level, the potential of a Gaussian in closed form with its order in the mesh
size, the symmetry of the map from charge to potential (without which there is no energy law) and the exact tail of the
multipole series. Each figure is global and asserted on every rank, also where a rank owns nothing.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

import basix.ufl
import dolfinx.fem
import dolfinx.fem.petsc
import dolfinx.graph
import dolfinx.mesh
import meshio
import numpy as np
import pytest
import scipy.sparse
import ufl
from petsc4py import PETSc

from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem.edge_flux import (
    add_gradient_flux,
    add_mean_density,
    bernoulli,
    fill_transport,
    upwinding,
)
from limitpde.fem.edges import EdgeGraph, EdgeMatrix, laplacian_matrix
from limitpde.fem.linear import LinearSolver, symmetric_options
from limitpde.fem.mesh import Disk
from limitpde.fem.plane import PlanePoisson
from limitpde.fem.stepping import Bdf, StepReport, attempts, march
from limitpde.fem.sums import GlobalSums
from limitpde.signed.exact import Gaussian

HEXAGON = Disk(radius=1.0, cell_size=1.0)  # 6 triangles: on 3 ranks each has 2 of them
EPS = np.finfo(float).eps


def create(comm, points, cells, partitioner=None) -> dolfinx.mesh.Mesh:
    """A mesh of triangles that rank 0 knows."""
    here = comm.rank == 0
    points = np.array(points, dtype=float) if here else np.empty((0, 2))
    cells = np.array(cells, dtype=np.int64) if here else np.empty((0, 3), dtype=np.int64)
    element = basix.ufl.element("Lagrange", "triangle", 1, shape=(2,))
    return dolfinx.mesh.create_mesh(comm, cells, element, points, partitioner=partitioner)


def all_to_the_last(comm, parts, types, cells):
    """Partitioner that leaves every rank but one without cells and nodes."""
    count = len(cells[0]) // 3
    table = dolfinx.graph.adjacencylist(np.full(count, parts - 1, dtype=np.int32), np.arange(count + 1, dtype=np.int32))
    return table._cpp_object


def triangulated(disk: Disk):
    return meshes._triangulate(disk.points())


def mesh_of(comm, kind: str) -> dolfinx.mesh.Mesh:
    match kind:
        case "hexagon":
            return meshes.build(HEXAGON, comm)
        case "disk":
            return meshes.build(Disk(radius=2.0, cell_size=0.25, center=(0.4, -0.3)), comm)
        case "square":
            return dolfinx.mesh.create_unit_square(comm, 5, 4)
        case "ghosts":
            ghosts = dolfinx.mesh.create_cell_partitioner(dolfinx.mesh.GhostMode.shared_facet, 2)
            return create(comm, *triangulated(Disk(radius=2.0, cell_size=0.25)), partitioner=ghosts)
        case "one rank":
            return create(comm, *triangulated(Disk(radius=1.0, cell_size=0.25)), partitioner=all_to_the_last)
    raise AssertionError(kind)


KINDS = ["hexagon", "disk", "square", "ghosts", "one rank"]


def everywhere(graph: EdgeGraph, *values: np.ndarray) -> list[np.ndarray]:
    """Points and nodal values of all ranks, on every rank, in an order that does not depend on their number."""
    own = [graph.points[: graph.owned], *(v[: graph.owned] for v in values)]
    table = np.concatenate(graph.comm.allgather(np.column_stack(own)))
    table = table[np.lexsort(np.round(table[:, :2], 9).T)]
    return [table[:, :2], *table[:, 2:].T]


def wiggle(graph: EdgeGraph, k: float = 1.0) -> np.ndarray:
    """Nodal values of mixed signs, the same for any number of ranks."""
    x, y = graph.points.T
    return np.sin(37.0 * k * x + 11.0 * y) + np.cos(23.0 * k * y - 5.0 * x) + 0.1


def dense(matrix: PETSc.Mat) -> np.ndarray:
    """All rows of a PETSc matrix, on every rank."""
    indptr, columns, values = matrix.getValuesCSR()
    own = scipy.sparse.csr_matrix((values, columns, indptr), shape=(len(indptr) - 1, matrix.size[1])).toarray()
    return np.concatenate(matrix.comm.tompi4py().allgather(own))


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


def test_graph_does_not_depend_on_ghosts_or_on_who_owns_what(comm):
    disk = Disk(radius=2.0, cell_size=0.25)
    plain = EdgeGraph(meshes.build(disk, comm))
    table = everywhere(plain, plain.area, plain.boundary, plain.laplacian(wiggle(plain)))
    ghosts = dolfinx.mesh.create_cell_partitioner(dolfinx.mesh.GhostMode.shared_facet, 2)
    for partitioner in (ghosts, all_to_the_last):
        graph = EdgeGraph(create(comm, *triangulated(disk), partitioner=partitioner))
        assert graph.size == plain.size == 1 + 3 * 8 * 9
        (edges,) = graph.sums.add(np.array([len(graph.tail)]))
        assert edges == 3 * graph.size - 3 - 6 * 8  # Euler, with 6 * 8 boundary edges
        other = everywhere(graph, graph.area, graph.boundary, graph.laplacian(wiggle(graph)))
        for a, b in zip(table, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    if comm.size > 1 and comm.rank == 0:
        assert graph.owned == 0  # the case was really met


@pytest.mark.parametrize("rings", [1, 2, 7])
def test_boundary_of_a_disk_is_its_outer_ring(comm, rings):
    graph = EdgeGraph(meshes.build(Disk(radius=3.0, cell_size=3.0 / rings, center=(1.0, 2.0)), comm))
    assert graph.size == 1 + 3 * rings * (rings + 1)
    (count,) = graph.sums.total(graph.boundary.astype(float))
    assert count == 6 * rings
    radius = np.hypot(*(graph.points - [1.0, 2.0]).T)
    np.testing.assert_array_equal(graph.boundary, radius > 3.0 - 1e-9)


def test_mesh_that_is_not_delaunay_is_refused_on_every_rank(comm):
    kite = create(comm, [(0, 0), (1, 0), (0.5, 0.2), (0.5, -0.2)], [(0, 1, 2), (0, 1, 3)])
    with pytest.raises(InputError, match=r"not Delaunay: 1 edges have a negative weight \(smallest -"):
        EdgeGraph(kite)
    other_diagonal = create(comm, [(0, 0), (1, 0), (0.5, 0.2), (0.5, -0.2)], [(0, 2, 3), (1, 2, 3)])
    assert EdgeGraph(other_diagonal).size == 4


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


SIZES = [0.0, 1e-300, 1e-17, 1e-8, 1e-5, 9.999e-4, 1.001e-3, 3e-3, 9.999e-3, 1.001e-2, 0.1, 1.0, 5.0, 37.0, 700.0, 1e3]


@pytest.mark.parametrize("size", SIZES)
def test_bernoulli_and_upwinding_are_right_to_rounding(size):
    for z in (size, -size):
        b, theta = precise(z)
        assert bernoulli(z) == pytest.approx(b, rel=4 * EPS, abs=1e-300)
        assert upwinding(z) == pytest.approx(theta, rel=4 * EPS, abs=4 * EPS / max(abs(z), 1e-2))


def test_bernoulli_and_upwinding_are_continuous_where_the_series_takes_over():
    for function, at, slope, noise in ((bernoulli, 1e-3, 0.5, 2 * EPS), (upwinding, 1e-2, 1 / 12, 4 * EPS / 1e-2)):
        for z in (at, -at):
            below, above = function(z * (1 - 1e-13)), function(z * (1 + 1e-13))
            assert abs(above - below) < slope * 2e-13 * at + noise


@pytest.mark.filterwarnings("error")
def test_fluxes_survive_huge_drops_of_the_potential(comm):
    assert bernoulli(1e3) == 0.0
    assert bernoulli(-1e3) == 1e3
    assert upwinding(1e3) == pytest.approx(1e-3)  # the upwind node is the other one
    assert upwinding(-1e3) == pytest.approx(1 - 1e-3)
    assert math.isnan(bernoulli(math.nan))
    graph = EdgeGraph(meshes.build(HEXAGON, comm))
    entries = np.empty((4, len(graph.tail)))
    fill_transport(entries, graph.tail, graph.head, graph.weight, 1e3 * wiggle(graph), 0.5, -1.0)
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
    fill_transport(matrix.edges, graph.tail, graph.head, graph.weight, psi, diffusivity, drift)
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


# Poisson in the plane


def potential_errors(comm, rings: int, gaussian: Gaussian, **disk) -> tuple[float, float]:
    """Relative errors of the potential (nodal) and of the field (energy norm, against nodal values) of a Gaussian."""
    graph = EdgeGraph(meshes.build(Disk(cell_size=disk["radius"] / rings, **disk), comm))
    poisson = PlanePoisson(graph)
    psi, expected = poisson.solve(gaussian.density(*graph.points.T)), gaussian.potential(*graph.points.T)
    error = psi - expected
    inner, norm, grad, slope = graph.sums.total(
        graph.area * error**2,
        graph.area * expected**2,
        error * graph.laplacian(error),
        expected * graph.laplacian(expected),
    )
    return math.sqrt(inner / norm), math.sqrt(grad / slope)


def test_potential_and_field_of_an_off_centre_gaussian_with_order_two(comm):
    gaussian = Gaussian(1.3, (0.9, -0.6), 0.4)
    errors = np.array([potential_errors(comm, n, gaussian, radius=7.0, center=(0.2, 0.1)) for n in (16, 32, 64)])
    orders = np.log2(errors[:-1] / errors[1:])
    assert (orders >= 1.9).all(), (errors, orders)
    assert errors[-1, 0] < 2e-3
    assert errors[-1, 1] < 5e-3


def test_boundary_data_are_the_free_potential_at_the_circle(comm):
    """The disk is far too small for other boundary values: zero, or the monopole alone, would be wrong by 0.1 to 1."""
    graph = EdgeGraph(meshes.build(Disk(radius=3.0, cell_size=0.075), comm))
    plus, minus = Gaussian(1.0, (1.0, 0.2), 0.05), Gaussian(1.0, (-0.6, 0.8), 0.05)
    charge = plus.density(*graph.points.T) - minus.density(*graph.points.T)
    expected = plus.potential(*graph.points.T) - minus.potential(*graph.points.T)
    data = PlanePoisson(graph, multipoles=16).boundary_data(charge)
    error, size = (
        graph.sums.maximum(np.where(graph.boundary, np.abs(data - expected), 0.0)),
        graph.sums.maximum(np.where(graph.boundary, np.abs(expected), 0.0)),
    )
    assert size > 0.3
    assert error < 5e-4


@pytest.mark.parametrize("kind", ["hexagon", "disk", "one rank"])
def test_charge_to_potential_is_symmetric(comm, kind):
    graph = EdgeGraph(mesh_of(comm, kind))
    poisson = PlanePoisson(graph)
    u, v = wiggle(graph), wiggle(graph, 0.37)
    a, b, scale = graph.sums.total(
        graph.area * v * poisson.solve(u), graph.area * u * poisson.solve(v), graph.area * np.abs(u * poisson.solve(v))
    )
    assert abs(a - b) < 1e-12 * scale
    psi = poisson.solve(u)
    np.testing.assert_allclose(psi, graph.share(psi), rtol=1e-14)  # ghosts are those of the owners
    residual = graph.laplacian(psi) - 2 * np.pi * graph.area * u
    assert graph.sums.maximum(np.where(graph.boundary, 0.0, np.abs(residual))) < 1e-11


def test_error_of_the_multipole_series_is_its_first_missing_term(comm):
    """A point charge at distance a: what k > K adds at the circle is sum_(k > K) (a/R)^k / k, for the exact modes."""
    graph = EdgeGraph(meshes.build(Disk(radius=2.0, cell_size=2.0 / 40), comm))
    a = 1.0  # ring 20 of 40; even rings have a node on the axis
    at = np.hypot(graph.points[:, 0] - a, graph.points[:, 1]) < 1e-9
    charge = np.where(at, 1.0 / graph.area, 0.0)
    (unit,) = graph.sums.total(graph.area * charge)
    assert unit == pytest.approx(1.0)
    complete = PlanePoisson(graph, multipoles=40).boundary_data(charge)
    for highest in (0, 2, 5, 8):
        data = PlanePoisson(graph, multipoles=highest).boundary_data(charge)
        error = graph.sums.maximum(np.abs(np.where(graph.boundary, data - complete, 0.0)))
        tail = sum((a / 2.0) ** k / k for k in range(highest + 1, 41))
        assert error == pytest.approx(tail, rel=2.0 * ((highest + 1) / 40) ** 2)  # the discrete modes: O((k h / R)^2)
    exact = -np.log(np.hypot(graph.points[:, 0] - a, graph.points[:, 1]) + at)
    gap = graph.sums.maximum(np.abs(np.where(graph.boundary, complete - exact, 0.0)))
    assert gap < 3e-4


def test_circle_of_a_shifted_disk_is_found(comm):
    for rings in (1, 6):
        graph = EdgeGraph(meshes.build(Disk(radius=2.5, cell_size=2.5 / rings, center=(13.0, -7.0)), comm))
        poisson = PlanePoisson(graph, multipoles=3)
        np.testing.assert_allclose(poisson.center, [13.0, -7.0], rtol=0, atol=1e-11)
        assert poisson.radius == pytest.approx(2.5, rel=1e-12)


def test_mesh_whose_boundary_is_no_circle_is_refused(comm):
    with pytest.raises(InputError, match="must be a circle"):
        PlanePoisson(EdgeGraph(mesh_of(comm, "square")))
    points, cells = triangulated(Disk(radius=1.0, cell_size=0.25))
    hollow = cells[~(cells == 0).any(axis=1)]  # a hole in the middle
    used, hollow = np.unique(hollow, return_inverse=True)
    with pytest.raises(InputError, match="must be a circle"):
        PlanePoisson(EdgeGraph(create(comm, points[used], hollow.reshape(-1, 3))))


# Meshes


def write(comm, path, points, cells, file_format="gmsh22"):
    if comm.rank == 0:
        meshio.write(path, meshio.Mesh(points, cells), file_format=file_format)
    comm.barrier()
    return path


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
    assert len(Disk(radius=1.0, cell_size=0.1).points()) == 1 + 3 * 10 * 11
    with pytest.raises(InputError, match="must not exceed radius"):
        Disk(radius=1.0, cell_size=1.5)


# Sums


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


def test_global_sums_where_ranks_own_nothing(comm):
    last = comm.rank == comm.size - 1
    sums = GlobalSums(comm, 3 if last else 0)
    values = np.array([-1.0, 5.0, 2.0]) if last else np.empty(0)
    assert sums.total(values).tolist() == [6.0]
    assert (sums.minimum(values), sums.maximum(values)) == (-1.0, 5.0)
    nothing = GlobalSums(comm, 0)
    assert (nothing.minimum(np.empty(0)), nothing.maximum(np.empty(0))) == (math.inf, -math.inf)
    assert nothing.total(np.empty(0)).tolist() == [0.0]


# Time steps


@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 1.37, 2.0])
@pytest.mark.parametrize("order", [1, 2])
def test_bdf_is_exact_for_polynomials(order, ratio):
    bdf, dt, t = Bdf.of(order, ratio), 0.3, 1.7
    for degree in range(order + 1):
        new, now, before = ((t + s) ** degree for s in (0.0, -dt, -dt - dt / ratio))
        derivative = (bdf.implicit * new - bdf.history[0] * now - bdf.history[1] * before) / dt
        assert derivative == pytest.approx(degree * t ** max(degree - 1, 0), abs=1e-10)
        if degree < order:
            assert bdf.extrapolation[0] * now + bdf.extrapolation[1] * before == pytest.approx(new, rel=1e-12)


def test_attempts_fall_back_to_backward_euler_and_then_halve():
    assert list(attempts(1.0, second_order=True, halvings=1)) == [(1.0, 2), (1.0, 1), (0.5, 2), (0.5, 1)]
    assert list(attempts(1.0, second_order=False, halvings=2)) == [(1.0, 1), (0.5, 1), (0.25, 1)]


@dataclass
class Clock:
    """A solver that does nothing but count; `longest` is what its gate lets pass."""

    t: float = 0.0
    suggested_step: float = 0.1
    longest: float = math.inf
    taken: list[float] = field(default_factory=list)

    def step(self, dt: float) -> StepReport:
        """Let at most dt pass."""
        assert dt > 0.0
        assert len(self.taken) < 10_000, "march does not end"
        dt = min(dt, self.longest)
        self.t += dt
        self.taken.append(dt)
        return StepReport(t=self.t, dt=dt, order=1)


def test_march_lands_on_stops_in_equal_steps():
    clock, seen = Clock(), []
    march(clock, 1.0, stops=[0.25, 0.7, 0.0, 1.0, 3.0], observers=[lambda r: seen.append(r.t)])
    np.testing.assert_allclose(clock.taken, [0.25 / 3] * 3 + [0.09] * 5 + [0.1] * 3, rtol=1e-12)
    np.testing.assert_allclose(seen, np.cumsum(clock.taken), rtol=1e-12)
    assert {round(t, 12) for t in seen} >= {0.25, 0.7, 1.0}
    march(clock, 1.0)  # nothing is left to do
    assert len(clock.taken) == 11


def test_march_reaches_the_end_when_the_gate_cuts_steps():
    clock = Clock(longest=0.03)
    march(clock, 0.5, stops=[0.2])
    assert math.isclose(clock.t, 0.5, rel_tol=1e-12)
    assert any(math.isclose(t, 0.2, rel_tol=1e-12) for t in np.cumsum(clock.taken))
    assert max(clock.taken) == 0.03
    long = Clock(suggested_step=1e300)
    march(long, 0.5)
    assert long.taken == [0.5]


def test_march_does_not_go_back_in_time():
    clock = Clock(t=1.0)
    with pytest.raises(InputError, match="end"):
        march(clock, 0.5)
    assert clock.taken == []


# Linear solvers


def linear_system(comm):
    graph = EdgeGraph(mesh_of(comm, "disk"))
    matrix = laplacian_matrix(graph, graph.boundary)
    exact = np.where(graph.boundary, 0.0, wiggle(graph))
    right = np.where(graph.boundary, 0.0, graph.laplacian(exact))
    return graph, matrix, exact, right


@pytest.mark.parametrize("constant", [True, False])
def test_linear_solver_solves_and_says_how(comm, constant):
    graph, matrix, exact, right = linear_system(comm)
    options = symmetric_options(matrix.mat, constant=constant, relative_tolerance=1e-12)
    solver = LinearSolver(matrix.mat, prefix="tested", options=options, lag=not constant)
    solution, iterations, reason = solver.solve(right[: graph.owned])
    assert reason > 0
    assert iterations >= 1
    assert graph.sums.maximum(np.abs(solution - exact[: graph.owned])) < 1e-9
    if not constant:  # a factorisation alone has no use for a guess
        _, iterations, reason = solver.solve(right[: graph.owned], guess=exact[: graph.owned])
        assert (iterations, reason > 0) == (0, True)


def test_lagged_preconditioner_still_solves_the_matrix_of_now(comm):
    graph, matrix, exact, right = linear_system(comm)
    options = symmetric_options(matrix.mat, constant=False, relative_tolerance=1e-12)
    solver = LinearSolver(matrix.mat, prefix="tested", options=options, lag=True)
    for factor in (1.0, 1.5, 40.0, 0.01):
        bent = graph.weight * (1.0 + factor * (graph.points[graph.tail, 0] > 0.5))
        matrix.edges[:] = np.array([1.0, -1.0, -1.0, 1.0])[:, None] * bent
        matrix.assemble()
        balance = np.zeros(graph.local)
        add_gradient_flux(balance, graph.tail, graph.head, bent, exact)
        right = np.where(graph.boundary, 0.0, -graph.share_sum(balance))
        solution, _, reason = solver.solve(right[: graph.owned])
        assert reason > 0
        assert graph.sums.maximum(np.abs(solution - exact[: graph.owned])) < 1e-8


def test_linear_solver_reports_failure_and_leaves_no_options_behind(comm):
    graph, matrix, _, right = linear_system(comm)
    before = set(PETSc.Options().getAll())
    hopeless = {"ksp_type": "cg", "pc_type": "none", "ksp_rtol": 1e-12, "ksp_max_it": 2}
    _, iterations, reason = LinearSolver(matrix.mat, prefix="tested", options=hopeless).solve(right[: graph.owned])
    assert reason < 0
    assert iterations == 2
    assert set(PETSc.Options().getAll()) == before


def test_options_of_the_user_win(comm):
    graph, matrix, _, right = linear_system(comm)
    database = PETSc.Options()
    database["limitpde_mine_ksp_max_it"] = 3  # one that the package sets too
    database["limitpde_mine_ksp_norm_type"] = "natural"  # one that it does not
    try:
        options = {"ksp_type": "cg", "pc_type": "none", "ksp_rtol": 1e-12, "ksp_max_it": 500}
        solver = LinearSolver(matrix.mat, prefix="mine", options=options)
        _, iterations, _ = solver.solve(right[: graph.owned])
        assert iterations == 3
        assert solver._ksp.getNormType() == PETSc.KSP.NormType.NATURAL
    finally:
        database.delValue("limitpde_mine_ksp_max_it")
        database.delValue("limitpde_mine_ksp_norm_type")
