"""The heat semigroup of many fields at once.

The load is carried by exp of the discrete operator against scipy (exact in time), by the coefficients and the bound of
their degree against Bessel functions, by mass and sign at rounding level, and by equality over ranks. Eigenmodes of the
continuum show order two in the mesh.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import meshio
import numba
import numpy as np
import pytest
import scipy.linalg
import scipy.special
from mpi4py import MPI
from nodal import everywhere, norm, stiffness

from limitpde.fem import heat
from limitpde.fem.heat import HeatFlow, walk_degree, walk_law
from limitpde.fem.mesh import Ball, Box, Point, Torus
from limitpde.fem.nodes import NodeSpace

D = np.array([1.0, 0.3, 0.01, 1.0, 1e-4])


def fields_of(nodes: NodeSpace, seed: int = 1) -> np.ndarray:
    """Random fields on the nodes of this rank, the same for any number of ranks; the last is a single node."""
    table = np.random.default_rng(seed).random((nodes.size, len(D)))
    table[:, -1] = np.arange(nodes.size) == nodes.size // 2
    return table[nodes.original].copy()


# The coefficients


@pytest.mark.parametrize("z", [1e-40, 1e-6, 0.1, 1.0, 30.0, 1e3, 1e5])
def test_coefficients_are_bessel_functions(z):
    law = walk_law(np.array([z]))[:, 0]
    k = np.arange(len(law))
    np.testing.assert_allclose(law, np.where(k == 0, 1, 2) * scipy.special.ive(k, z), rtol=1e-11, atol=2e-16)
    assert law.sum() == pytest.approx(1.0, abs=2e-15)


@pytest.mark.parametrize("tail", [1e-3, 1e-8, 1e-13])
def test_degree_is_enough_and_not_much_more(tail):
    z = np.logspace(-8, 5, 60)
    for rate, degree in zip(z, walk_degree(z, tail), strict=True):
        k = np.arange(degree + 1, degree + 50 + int(10 * math.sqrt(rate)))
        left_out = 2 * scipy.special.ive(k, rate).sum()
        assert left_out <= tail
        assert (
            2 * scipy.special.ive(np.arange(max(1, int(0.6 * degree) - 2), degree + 1), rate).sum() > tail or degree < 3
        )


def test_each_rate_has_its_own_coefficients():
    z = np.array([3.0, 50.0, 3.0, 1e-3])
    table = walk_law(z)
    for column, rate in zip(table.T, z, strict=True):
        alone = walk_law(np.array([rate]))[:, 0]
        np.testing.assert_array_equal(column[: len(alone)], alone)
        assert not column[len(alone) :].any()


# Exactness in time


@pytest.mark.parametrize("dt", [1e-4, 1e-2, 0.5])
@pytest.mark.parametrize(
    ("mesh", "dimension"),
    [
        (Torus(size=1.0, cell_size=0.03), 1),
        (Torus(size=1.0, cell_size=0.15), 2),
        (Box(size=1.0, cell_size=0.25), 3),
        (Ball(radius=1.0, cell_size=0.2), 2),
    ],
    ids=["torus 1", "torus 2", "box 3", "ball 2"],
)
def test_flow_is_the_exponential_of_the_operator(comm, mesh, dimension, dt):
    nodes = NodeSpace(mesh, comm, dimension=dimension)
    A = stiffness(nodes) / everywhere(nodes, nodes.volume)[:, None]
    f = fields_of(nodes)
    before = everywhere(nodes, f)
    flow = HeatFlow(nodes, D)
    assert flow.largest_eigenvalue >= np.abs(np.linalg.eigvals(A)).max() * (1 - 1e-12)
    clipped = flow.advance(f, dt)
    expected = np.stack(
        [scipy.linalg.expm(-dt * d * A) @ column for d, column in zip(D, before.T, strict=True)], axis=1
    )
    np.testing.assert_allclose(everywhere(nodes, f), expected, rtol=0, atol=2e-15 * flow.degree(dt))
    assert clipped < 1e-13


def test_flow_is_a_semigroup(comm):
    nodes = NodeSpace(Ball(radius=1.0, cell_size=0.1), comm, dimension=2)
    flow, once, twice = HeatFlow(nodes, D), fields_of(nodes), fields_of(nodes)
    flow.advance(once, 0.03)
    for dt in (0.01, 0.0, 0.02):
        flow.advance(twice, dt)
    np.testing.assert_allclose(everywhere(nodes, once), everywhere(nodes, twice), rtol=0, atol=1e-13)


@pytest.mark.ranks
def test_blocks_of_fields_and_threads_change_nothing(comm, monkeypatch):
    nodes = NodeSpace(Torus(size=1.0, cell_size=0.1), comm, dimension=2)
    whole, parts = fields_of(nodes), fields_of(nodes)
    HeatFlow(nodes, D).advance(whole, 0.02)
    monkeypatch.setattr(heat, "SMALLEST_BLOCK", 2)
    monkeypatch.setattr(heat, "BLOCK_BYTES", 1)
    monkeypatch.setattr(heat, "ENTRIES_PER_THREAD", 1)
    flow = HeatFlow(nodes, D)
    before = numba.get_num_threads()
    flow.advance(parts, 0.02)
    assert numba.get_num_threads() == before
    np.testing.assert_allclose(whole, parts, rtol=0, atol=1e-15)


# Mass and sign


@pytest.mark.parametrize("dt", [1e-5, 0.01, 2.0])
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize(
    "mesh", [Torus(size=1.0, cell_size=0.2), Ball(radius=1.0, cell_size=0.25)], ids=["torus", "ball"]
)
def test_mass_and_sign_are_kept(comm, mesh, dimension, dt):
    nodes = NodeSpace(mesh, comm, dimension=dimension)
    f, flow = fields_of(nodes), HeatFlow(nodes, D)
    before = nodes.sums.add(nodes.volume @ f)
    for _ in range(3):
        flow.advance(f, dt)
    assert nodes.sums.minimum(f) >= 0.0
    np.testing.assert_allclose(nodes.sums.add(nodes.volume @ f), before, rtol=1e-13)
    if dt == 2.0 and nodes.domain.kind == "torus":
        mean = before[0] / nodes.sums.total(nodes.volume)[0]
        np.testing.assert_allclose(f[:, 0], mean, rtol=1e-12)


def test_maximum_does_not_rise_where_the_operator_is_an_m_matrix(comm):
    nodes = NodeSpace(Ball(radius=1.0, cell_size=0.1), comm, dimension=2)
    f, flow = fields_of(nodes), HeatFlow(nodes, D)
    for _ in range(5):
        before = [nodes.sums.maximum(f[:, k]) for k in range(len(D))]
        flow.advance(f, 1e-3)
        for k, largest in enumerate(before):
            assert nodes.sums.maximum(f[:, k]) <= largest * (1 + 1e-13)


def test_what_an_obtuse_mesh_makes_negative_is_told(comm):
    """A single node with a small diffusivity on the tetrahedra of a ball: exp(-t A) has negative entries."""
    nodes = NodeSpace(Ball(radius=1.0, cell_size=0.25), comm, dimension=3)
    A = stiffness(nodes) / everywhere(nodes, nodes.volume)[:, None]
    f, flow = fields_of(nodes), HeatFlow(nodes, D)
    dt = 30.0
    single, volume = everywhere(nodes, f)[:, -1], everywhere(nodes, nodes.volume)
    exact = scipy.linalg.expm(-D[-1] * dt * A) @ single
    negative = -(volume * np.minimum(exact, 0)).sum()
    clipped = flow.advance(f, dt)
    assert clipped == pytest.approx(negative / (volume @ single), rel=1e-6)
    assert clipped > 1e-6
    found = everywhere(nodes, f)[:, -1]
    np.testing.assert_allclose(found, np.maximum(exact, 0) / (1 + clipped), rtol=1e-10, atol=1e-13)


def test_fields_without_mass_stay_empty(comm):
    nodes = NodeSpace(Torus(size=1.0, cell_size=0.25), comm, dimension=2)
    f = np.zeros((nodes.owned, len(D)))
    f[:, 1] = 1e-300
    assert HeatFlow(nodes, D).advance(f, 0.1) == 0.0
    np.testing.assert_array_equal(f[:, [0, 2, 3, 4]], 0.0)
    np.testing.assert_allclose(f[:, 1], 1e-300, rtol=1e-13)


@pytest.mark.ranks
def test_a_point_does_not_diffuse(comm):
    nodes = NodeSpace(Point(), comm, dimension=3)
    f = np.full((nodes.owned, len(D)), 2.0)
    flow = HeatFlow(nodes, D)
    assert flow.advance(f, 1.0) == 0.0
    assert flow.degree(1.0) == 0
    assert (f == 2.0).all()


# Order two in the mesh


def ball_mode(dimension: int, r: np.ndarray) -> tuple[np.ndarray, float]:
    """A radial eigenfunction of -Lap on the unit ball without flux, and its eigenvalue."""
    if dimension == 2:
        k = scipy.special.jn_zeros(1, 1)[0]
        return scipy.special.j0(k * r), k**2
    k = 4.493409457909064 if dimension == 3 else math.pi  # tan k = k
    return (np.sinc(k * r / np.pi) if dimension == 3 else np.cos(k * r)), k**2


def mode(mesh, dimension: int, x: np.ndarray) -> tuple[np.ndarray, float]:
    if isinstance(mesh, Ball):
        return ball_mode(dimension, np.linalg.norm(x, axis=1))
    k = 2 * np.pi if isinstance(mesh, Torus) else np.pi
    return np.cos(k * x).prod(axis=1), dimension * k**2


SIZES = {1: (0.1, 0.05), 2: (0.1, 0.05), 3: (0.2, 0.1)}


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("shape", ["torus", "box", "ball", "file"])
def test_eigenmodes_decay_with_order_two(comm, shared_folder, shape, dimension):
    errors = []
    for h in SIZES[dimension]:
        described = {
            "torus": Torus(size=1.0, cell_size=h),
            "box": Box(size=1.0, cell_size=h),
            "ball": Ball(radius=1.0, cell_size=h),
            "file": Box(size=1.0, cell_size=h),
        }[shape]
        mesh = described if shape != "file" else distorted(comm, shared_folder / f"{h}.msh", described, dimension)
        nodes = NodeSpace(mesh, comm, dimension=dimension)
        start, eigenvalue = mode(described, dimension, nodes.points)
        f = (2.0 + start)[:, None].copy()
        t = 0.5 / eigenvalue
        HeatFlow(nodes, np.ones(1)).advance(f, t)
        errors.append(norm(nodes, f[:, 0] - 2.0 - math.exp(-0.5) * start))
    assert errors[1] < 0.02
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.25)


def distorted(comm, path, box: Box, dimension: int):
    """A gmsh file of the box with its inner nodes moved smoothly: what a user's unstructured mesh looks like."""
    if comm.rank == 0:
        points, cells = box.cells(dimension)
        points = points + 0.05 * np.sin(2 * np.pi * points) * np.cos(3 * points[:, ::-1])
        flat = np.zeros((len(points), 3))
        flat[:, :dimension] = points
        kind = {1: "line", 2: "triangle", 3: "tetra"}[dimension]
        meshio.write(path, meshio.Mesh(flat, [(kind, cells)]), file_format="gmsh22")
    comm.barrier()
    return path


# Ranks


@pytest.mark.ranks
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize(
    "mesh",
    [Torus(size=1.0, cell_size=0.2), Torus(size=1.0, cell_size=1.0), Ball(radius=1.0, cell_size=0.3), Point()],
    ids=["torus", "one box", "ball", "point"],
)
def test_flow_does_not_depend_on_the_number_of_ranks(comm, mesh, dimension):
    many, one = NodeSpace(mesh, comm, dimension=dimension), NodeSpace(mesh, MPI.COMM_SELF, dimension=dimension)
    found = []
    for nodes in (many, one):
        f, flow = fields_of(nodes), HeatFlow(nodes, D)
        clipped = [flow.advance(f, dt) for dt in (1e-3, 0.1)]
        found.append((everywhere(nodes, f), np.array([*clipped, flow.largest_eigenvalue])))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-10, atol=1e-13)
    assert len({tuple(row) for row in comm.allgather(found[0][1].tolist())}) == 1
