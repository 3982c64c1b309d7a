"""Phase space over an unstructured mesh: transports, walls, ledgers.

Load: orders of free streaming, the unfolded solution between mirrors, the exact outflow through absorbing walls, mass
and losses to rounding, and the same numbers on any number of ranks.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import meshio
import numpy as np
import pytest
from mpi4py import MPI

from limitpde.dolfinx_versions import cell_nodes
from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.results import shared_array
from limitpde.results.shared_array import Block, Stored
from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.grid import mesh_parts
from limitpde.vlasov.phase_space.mesh import MeshSpace, make_mesh
from limitpde.vlasov.phase_space.simplex import simplex


def axis(low, high, cells, degree):
    return Axis(low=low, high=high, cells=cells, degree=degree, periodic=False)


def make_space(mesh, d, comm, *, degree=2, v=(-2.0, 2.0), v_cells=4, **options):
    return MeshSpace(make_mesh(mesh, d, comm), [axis(*v, v_cells, degree)] * d, degree=degree, **options)


def filled(space, function):
    f = space.array()
    space.fill(f, function)
    return f


def mass(space, f):
    ones = [np.ones((1, n)) for n in space.v_shape]
    return float(space.integrate_x(space.velocity_integrals(f[0], ones)[0]))


def bell(z, width):
    return np.exp(-(z**2).sum(axis=1) / (2 * width**2))


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_reference_simplex_integrates_by_parts_and_is_exact_to_its_degree(d, degree):
    element = simplex(d, degree)
    gradients = np.concatenate([-np.ones((1, d)), np.eye(d)])
    on_facets = np.einsum("m,emj->ej", element.facet_weights, element.traces)
    inside = np.einsum("i,rij->rj", element.weights, element.derivatives)
    np.testing.assert_allclose(inside, -d * gradients.T @ on_facets, atol=1e-12)
    np.testing.assert_allclose(
        np.einsum("i,eim->em", element.weights, element.lifts), np.tile(element.facet_weights, (d + 1, 1))
    )
    assert element.weights.min() > 0
    first = element.nodes[:, 0]
    exact = 1 / np.prod([(degree + m) / m for m in range(1, d + 1)])  # mean of xi_1^k: k! d! / (k + d)!
    assert element.weights @ first**degree == pytest.approx(exact, rel=1e-12)
    assert element.diagonal == (d == 1 or (d == 2 and degree < 3) or (d == 3 and degree == 1))


@pytest.mark.parametrize(
    ("d", "degree", "sizes"), [(1, 1, (40, 80)), (1, 2, (20, 40)), (2, 1, (16, 32)), (2, 2, (10, 20))]
)
def test_free_streaming_is_of_order_one_more_than_the_degree(d, degree, sizes, comm):
    time, width = 0.25, 0.15
    errors = []
    for size in sizes:
        mesh = meshes.Ball(radius=1.0, cell_size=1 / size)
        space = make_space(mesh, d, comm, degree=degree, v=(-1.0, 1.0), v_cells=1)
        f = filled(space, lambda z: bell(z[:, :d], width))
        before = mass(space, f)
        f, lost = space.drift(f, time)
        exact = filled(space, lambda z: bell(z[:, :d] - time * z[:, d:], width))
        errors.append(space.square_integral(f[0] - exact[0]) ** 0.5)
        assert mass(space, f) + comm.allreduce(lost) == pytest.approx(before, rel=1e-13)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(degree + 1, abs=0.35)
    assert errors[1] < {1: 0.02, 2: 0.002}[degree] * 2**d


def test_drifts_forth_and_back_meet_to_the_order_of_the_mesh(comm):
    space = make_space(meshes.Ball(radius=1.0, cell_size=0.1), 2, comm, v=(-1.0, 1.0), v_cells=1)
    f = filled(space, lambda z: bell(z[:, :2], 0.2))
    start = f.copy()
    f, _ = space.drift(f, 0.2)
    f, _ = space.drift(f, -0.2)
    assert space.square_integral(f[0] - start[0]) < 1e-5 * space.square_integral(start[0])


@pytest.mark.parametrize("walls", ["absorbing", "specular"])
@pytest.mark.parametrize(("d", "degree"), [(1, 3), (2, 1), (2, 2), (2, 3)])
def test_rough_data_keep_mass_and_lose_energy(walls, d, degree, comm):
    mesh = meshes.Box(size=1.0, cell_size=0.25)
    space = make_space(mesh, d, comm, degree=degree, walls=walls)
    rng = np.random.default_rng(7)
    everything = rng.random(space.whole_shape)
    f = everything[space.place][None]
    before, squares = mass(space, f), [space.square_integral(f[0])]
    gone = 0.0
    for _ in range(3):
        f, lost = space.drift(f, 0.11)
        gone += comm.allreduce(lost)
        squares.append(space.square_integral(f[0]))
    assert mass(space, f) + gone == pytest.approx(before, rel=1e-13)
    assert gone == 0.0 if walls == "specular" else gone > 0.1 * before
    assert (np.diff(squares) < 0).all()


@pytest.mark.parametrize("d", [1, 2])
def test_a_constant_stays_one_between_mirrors(d, comm):
    space = make_space(meshes.Box(size=1.0, cell_size=0.3), d, comm, walls="specular")
    f = filled(space, lambda z: bell(z[:, d:], 0.7))
    start = f.copy()
    for dt in (0.4, -0.3):
        f, lost = space.drift(f, dt)
        assert lost == 0.0
    np.testing.assert_allclose(f, start, rtol=0, atol=1e-12)


def test_between_mirrors_the_solution_is_the_unfolded_one(comm):
    def cloud(x, v):
        return np.exp(-((x - 0.4) ** 2) / (2 * 0.1**2) - (v - 0.3) ** 2 / 2)

    def unfolded(z, time):
        x, v = z[:, 0] - time * z[:, 1], z[:, 1]
        return sum(cloud(x + 2 * m, v) + cloud(2 * m - x, -v) for m in range(-3, 4))

    time, errors = 1.1, []  # the fastest have met both walls
    for size in (10, 20):
        space = make_space(meshes.Box(size=1.0, cell_size=1 / size), 1, comm, degree=3, walls="specular", v_cells=2)
        f = filled(space, lambda z: unfolded(z, 0.0))
        before = mass(space, f)
        f, _ = space.drift(f, time)
        exact = filled(space, lambda z: unfolded(z, time))
        errors.append(space.square_integral(f[0] - exact[0]) ** 0.5)
        assert mass(space, f) == pytest.approx(before, rel=1e-13)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.5)
    assert errors[1] < 2e-4


def test_mirrors_in_the_plane_act_on_each_coordinate(comm):
    space = make_space(
        meshes.Box(size=(1.0, 0.8), cell_size=0.1), 2, comm, degree=3, walls="specular", v_cells=1, v=(-1.5, 1.5)
    )

    def line(x, v, size, center):
        return sum(bell((x + 2 * m * size - center)[:, None], 0.2) * (1 + v / 3) for m in (-1, 0, 1)) + sum(
            bell((2 * m * size - x - center)[:, None], 0.2) * (1 - v / 3) for m in (-1, 0, 1)
        )

    def solution(z, time):
        x, v = z[:, :2] - time * z[:, 2:], z[:, 2:]
        return line(x[:, 0], v[:, 0], 1.0, 0.6) * line(x[:, 1], v[:, 1], 0.8, 0.3)

    f = filled(space, lambda z: solution(z, 0.0))
    f, _ = space.drift(f, 0.5)
    exact = filled(space, lambda z: solution(z, 0.5))
    assert space.square_integral(f[0] - exact[0]) < 1e-6 * space.square_integral(exact[0])


def test_a_maxwellian_leaves_a_slab_with_half_of_its_flux_through_each_wall(comm):
    space = make_space(meshes.Box(size=1.0, cell_size=1 / 24), 1, comm, degree=3, v=(-4.0, 4.0), v_cells=16)
    thermal, time = 0.5, 0.1
    f = filled(space, lambda z: bell(z[:, 1:], thermal) / (np.sqrt(2 * np.pi) * thermal))
    f, lost = space.drift(f, time)
    speed = thermal * np.sqrt(2 / np.pi)  # mean of |v|: half leaves to the left, half to the right
    assert comm.allreduce(lost) == pytest.approx(time * speed, rel=1e-6)
    f, more = space.drift(f, 1.4)
    v, weights = space.v_nodes[0], space.v_weights[0]
    kept = weights @ (np.maximum(0.0, 1 - 1.5 * np.abs(v)) * bell(v[:, None], thermal)) / (np.sqrt(2 * np.pi) * thermal)
    assert comm.allreduce(lost + more) == pytest.approx(1 - kept, abs=1e-3)


def test_what_leaves_a_disk_is_the_flux_through_its_circle(comm):
    space = make_space(meshes.Ball(radius=1.0, cell_size=0.2), 2, comm, v=(-1.0, 1.0), v_cells=2)
    f = filled(space, lambda z: np.ones(len(z)))
    before = mass(space, f)
    time = 0.05
    f, lost = space.drift(f, time)
    rim = space.cells.wall_normals
    length = comm.allreduce(float(np.linalg.norm(rim, axis=1).sum()))
    # int |v . n| dv / 2 over the square, averaged over the polygon's normals, by quadrature in v
    v = np.stack(np.meshgrid(*[np.linspace(-1, 1, 801)[:-1] + 1 / 800] * 2), axis=-1)
    flux = comm.allreduce(float(sum(np.maximum(v @ n, 0).mean() * 4 for n in rim)))
    assert length == pytest.approx(2 * np.pi, rel=0.01)
    assert comm.allreduce(lost) == pytest.approx(time * flux, rel=2e-3)
    assert mass(space, f) + comm.allreduce(lost) == pytest.approx(before, rel=1e-13)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_kicks_translate_the_velocities_of_each_node(d, comm):
    space = make_space(meshes.Box(size=1.0, cell_size=0.5), d, comm, v=(-1.0, 1.5), v_cells=12 if d < 3 else 6)
    everywhere = np.random.default_rng(3).uniform(-1, 1, (d, space.cells.total * space.element.n))
    force = space.local_x(everywhere)
    f = filled(space, lambda z: bell(z[:, d:], 0.3))
    before, squares = mass(space, f), space.square_integral(f[0])
    f, lost = space.kick(f, force, 0.2)
    velocities = np.stack(np.meshgrid(*space.v_nodes, indexing="ij"), axis=-1)
    exact = np.exp(-((velocities - 0.2 * force.T.reshape(-1, *[1] * d, d)) ** 2).sum(axis=-1) / (2 * 0.3**2))
    assert space.square_integral(f[0] - exact) < (2e-3 if d == 3 else 1e-5) * squares
    assert mass(space, f) + comm.allreduce(lost) == pytest.approx(before, rel=1e-13)
    for dt in (1.7, 40.0):  # beyond the interval
        f, more = space.kick(f, force, dt)
        lost += more
        assert mass(space, f) + comm.allreduce(lost) == pytest.approx(before, rel=1e-13)
    assert comm.allreduce(lost) > 0.9 * before


def run(mesh, d, comm, walls="absorbing", v_cells=3, parts=None):
    space = make_space(mesh, d, comm, walls=walls, v_cells=v_cells, parts=parts)
    f = filled(space, lambda z: 1 + np.sin(3 * z[:, 0] + z[:, -1]) + z[:, d] ** 2)
    f, lost = space.drift(f, 0.13)
    rho = space.velocity_integrals(f[0], [np.ones((1, n)) for n in space.v_shape])[0]
    f, more = space.kick(f, np.stack([np.cos(2 * space.x_points[:, 0]) * (1 + rho)] * d), 0.3)
    f, again = space.drift(f, -0.07)
    rows = space.gather_x(np.stack([rho, space.x_points[:, 0]]))
    figures = [
        space.square_integral(f[0]),
        space.minimum(f[0]),
        mass(space, f),
        space.comm.allreduce(lost + more + again),
    ]
    return space.gather(f[0]), rows, np.array(figures), space


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("mesh", "d", "walls", "v_cells"),
    [
        (meshes.Box(size=1.0, cell_size=1.0), 1, "specular", 3),  # one cell
        (meshes.Box(size=1.0, cell_size=0.5), 1, "absorbing", 3),  # two
        (meshes.Box(size=1.0, cell_size=1.0), 2, "specular", 3),  # two triangles
        (meshes.Box(size=1.0, cell_size=0.2), 2, "specular", 3),
        (meshes.Box(size=1.0, cell_size=0.1), 2, "specular", 11),  # several groups of velocities
        (meshes.Ball(radius=1.0, cell_size=0.4), 2, "absorbing", 3),
        (meshes.Box(size=1.0, cell_size=0.5), 3, "specular", 3),
    ],
)
def test_all_is_the_same_on_any_number_of_ranks(mesh, d, walls, v_cells, comm):
    f, rows, figures, space = run(mesh, d, comm, walls, v_cells)
    alone, alone_rows, alone_figures, _ = run(mesh, d, MPI.COMM_SELF, walls, v_cells)
    if v_cells > 3:
        assert len(set(space.substeps)) > 1
    np.testing.assert_allclose(rows, alone_rows, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(figures, alone_figures, rtol=1e-12, atol=1e-13)
    assert f.shape[0] == (space.whole_shape[0] if comm.rank == 0 else 0)
    np.testing.assert_allclose(f, alone if comm.rank == 0 else f, rtol=0, atol=1e-12)


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("d", "parts"),
    [(1, lambda n: (1, n)), (2, lambda n: (1, 1, n)), (2, lambda n: (n // 2, 2, 1) if n % 2 == 0 else (1, n, 1))],
)
def test_velocities_are_shared(d, parts, comm, shared_folder):
    """The same as on one rank, whatever is cut; the mesh, for pictures, is cut all the same; a file holds f."""
    mesh = meshes.Ball(radius=1.0, cell_size=0.4)
    f, rows, figures, space = run(mesh, d, comm, v_cells=8, parts=parts(comm.size))
    alone, alone_rows, alone_figures, _ = run(mesh, d, MPI.COMM_SELF, v_cells=8)
    np.testing.assert_allclose(rows, alone_rows, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(figures, alone_figures, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(f, alone if comm.rank == 0 else f, rtol=0, atol=1e-12)
    means = space.cell_means(space.x_points[:, 0])
    owned = space.mesh.topology.index_map(d).size_local
    middles = space.mesh.geometry.x[cell_nodes(space.mesh)[:owned], 0].mean(axis=1)
    np.testing.assert_allclose(means, middles, rtol=0, atol=1e-14)
    mine = alone[space.place]
    shared_array.write(comm, shared_folder / "f", Block(mine.copy(), space.whole_shape, space.place))
    np.testing.assert_array_equal(np.fromfile(shared_folder / "f").reshape(space.whole_shape), alone)
    again = Block(np.zeros_like(mine), space.whole_shape, space.place)
    Stored(comm, shared_folder / "f", 0, again.shape, again.dtype).read(again)
    np.testing.assert_array_equal(again.values, mine)


def test_velocities_are_cut_where_there_are_few_cells():
    v = [axis(-2.0, 2.0, 8, 2)] * 2
    assert mesh_parts(1000, v, 64) == (64, 1, 1)
    assert mesh_parts(64, v, 64) == (16, 2, 2)  # halves have the same speeds, smaller parts have not
    assert mesh_parts(1, v, 7) == (1, 1, 7)


@pytest.mark.ranks
def test_mirrored_velocities_are_in_one_part(comm):
    box = meshes.Box(size=1.0, cell_size=0.5)
    if comm.size > 1:
        with pytest.raises(InputError, match=r"walls mirror v_2, so it must be in one part; make number 3 of them 1"):
            make_space(
                meshes.Box(size=1.0, cell_size=0.5), 2, comm, walls="specular", v_cells=8, parts=(1, 1, comm.size)
            )
    with pytest.raises(InputError, match="must be 3 numbers, of parts of each coordinate"):
        make_space(box, 2, comm, parts=(1, comm.size))


@pytest.mark.ranks
def test_natural_order_is_that_of_the_cells_of_the_input(comm, shared_folder):
    rng = np.random.default_rng(5)
    x = np.sort(rng.random(7))
    cells = rng.permutation(np.stack([np.arange(6), np.arange(1, 7)], axis=1))
    path = shared_folder / "line.msh"
    if comm.rank == 0:
        meshio.write(path, meshio.Mesh(np.stack([x, 0 * x, 0 * x], axis=1), {"line": cells}), file_format="gmsh22")
    comm.barrier()
    space = make_space(str(path), 1, comm, degree=1)
    middles = space.gather_x(space.x_points[:, 0]).reshape(6, 2).mean(axis=1)
    np.testing.assert_allclose(middles, x[cells].mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(space.all_points[:, 0], space.gather_x(space.x_points[:, 0]), rtol=0, atol=0)


def test_velocity_integrals_are_those_of_einsum(comm):
    space = make_space(meshes.Box(size=1.0, cell_size=0.5), 2, comm, degree=1, v_cells=3)
    f = filled(space, lambda z: np.cos(z @ [1.0, 2.0, 3.0, 4.0]))
    rng = np.random.default_rng(2)
    factors = [rng.standard_normal((3, n)) for n in space.v_shape]
    expected = np.einsum("rab,qa,qb,a,b->qr", f[0], *factors, *space.v_weights, optimize=True)
    np.testing.assert_allclose(space.velocity_integrals(f[0], factors), expected, atol=1e-12)


@pytest.mark.ranks
def test_squares_are_integrated_exactly_where_the_mass_matrix_is_not_diagonal(comm):
    space = make_space(meshes.Box(size=1.0, cell_size=0.5), 2, comm, degree=3, v=(0.0, 1.0), v_cells=1)
    f = filled(space, lambda z: z[:, 0] ** 3 + z[:, 1] * z[:, 3])
    assert space.square_integral(f[0]) == pytest.approx(1 / 7 + 2 / 16 + 1 / 9, rel=1e-12)


def test_a_step_that_is_split_makes_as_many_substeps_as_stability_needs(comm):
    space = make_space(meshes.Box(size=1.0, cell_size=0.05), 1, comm, degree=2, v=(-3.0, 3.0), v_cells=200)
    f = filled(space, lambda z: bell(z, 0.3))
    f, _ = space.drift(f, 0.5)
    fastest, slowest = space.substeps[0], space.substeps[-1]
    assert fastest == np.ceil(0.5 * np.abs(space.v_nodes[0]).max() / 0.05 / (0.9 * 0.225))
    assert slowest < fastest
    f, _ = space.drift(f, 0.0)
    assert max(space.substeps) == 0


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("mesh", "options", "message"),
    [
        (meshes.Ball(radius=1.0, cell_size=0.5), {"walls": "specular"}, "must be 'absorbing'"),
        (meshes.Box(size=1.0, cell_size=0.5), {"walls": "specular", "v": (-1.0, 2.0)}, "must be symmetric about 0"),
        (meshes.Box(size=1.0, cell_size=0.5), {"walls": "periodic"}, "pde.walls = 'periodic'"),
        (meshes.Torus(size=1.0, cell_size=0.5), {}, "'torus'.*tensor grid"),
        (meshes.Point(), {}, "'point'"),
        (meshes.Box(size=1.0, cell_size=0.5), {"positivity": True}, "pde.positivity"),
        (meshes.Box(size=1.0, cell_size=0.5), {"degree": 6}, "pde.degree = 6|degree = 6"),
    ],
)
def test_what_cannot_be_done_is_refused(mesh, options, message, comm):
    with pytest.raises(InputError, match=message):
        make_space(mesh, 2, comm, **options)


@pytest.mark.ranks
def test_a_step_that_is_far_too_long_is_refused(comm):
    space = make_space(meshes.Box(size=1.0, cell_size=0.5), 1, comm)
    with pytest.raises(InputError, match=r"pde\.step.*substeps"):
        space.drift(space.array(), 1e6)
