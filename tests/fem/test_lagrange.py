"""Elements of higher order on curved triangles, their integrals and files, and additive Runge-Kutta steps.

The load is carried by the orders of interpolation on the curved disk, which a wrong map or node order loses, and by the
order conditions of the tableaus.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import itertools
import math

import numpy as np
import pytest
from mpi4py import MPI

from limitpde.fem import imex
from limitpde.fem.curved import build_curved, raised
from limitpde.fem.lagrange import LagrangeSpace
from limitpde.fem.mesh import Disk
from limitpde.results.fields import FieldSeries, read_fields

CENTER = (0.3, 0.1)


def space_of(comm, degree: int, rings: int) -> LagrangeSpace:
    return LagrangeSpace(build_curved(Disk(radius=2.0, cell_size=2.0 / rings, center=CENTER), degree, comm), degree)


def wave(x: np.ndarray) -> np.ndarray:
    return np.sin(x[:, 0]) * np.cos(x[:, 1])


def wave_gradient(x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.cos(x[:, 0]) * np.cos(x[:, 1]), -np.sin(x[:, 0]) * np.sin(x[:, 1])])


def interpolation_errors(comm, degree: int, rings: int) -> np.ndarray:
    """Errors in L2 of an interpolant and of its gradient, and of the area."""
    space = space_of(comm, degree, rings)
    quadrature, nodal = space.quadrature, wave(space.points)
    value = quadrature.values(nodal) - wave(quadrature.points)
    slope = quadrature.gradient(nodal) - wave_gradient(quadrature.points)
    squares = np.array([quadrature.weights @ value**2, quadrature.weights @ (slope**2).sum(axis=1)])
    area = space.sums.add(np.array(quadrature.weights.sum()))
    return np.array([*np.sqrt(space.sums.add(squares)), abs(float(area) - 4 * math.pi)])


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_orders_on_the_curved_disk(comm, degree):
    coarse, fine = interpolation_errors(comm, degree, 4), interpolation_errors(comm, degree, 8)
    orders = np.log2(coarse / fine)
    assert orders[0] > degree + 0.85
    assert orders[1] > degree - 0.1
    assert orders[2] > {1: 1.9, 2: 3.9, 3: 3.9, 4: 5.9}[degree]


@pytest.mark.ranks
def test_matrices_agree_with_quadrature(comm):
    space = space_of(comm, 3, 3)
    quadrature, nodal = space.quadrature, wave(space.points)
    by_matrix, by_points = space.tested(nodal), space.gather(quadrature.tested(quadrature.values(nodal)))
    np.testing.assert_allclose(by_matrix[: space.owned], by_points[: space.owned], atol=1e-10)
    energy = float(space.sums.total(nodal * space.laplacian(nodal))[0])
    along = float(space.sums.add(np.array(quadrature.along_gradient(nodal, quadrature.gradient(nodal)))))
    assert energy == pytest.approx(along, rel=1e-6)  # quadrature of a rational function, where triangles are curved
    solution, _, reason = space.helmholtz(0.3).solve((by_matrix + 0.3 * space.laplacian(nodal))[: space.owned])
    assert reason > 0
    np.testing.assert_allclose(solution, nodal[: space.owned], atol=1e-10)


def test_nodes_of_neighbours_are_shared():
    corners, triangles = Disk(radius=1.0, cell_size=0.5).cells(2)
    nodes, cells = raised(corners, triangles, 4)
    edges = len({frozenset(pair) for triangle in triangles for pair in itertools.combinations(triangle.tolist(), 2)})
    assert len(nodes) == len(corners) + 3 * edges + 3 * len(triangles)
    assert len(np.unique(nodes.round(9), axis=0)) == len(nodes)
    assert set(np.unique(cells)) == set(range(len(nodes)))


@pytest.mark.ranks
def test_curved_fields_become_flat_pieces_in_files(comm, shared_folder):
    space = space_of(comm, 3, 3)
    series = FieldSeries(shared_folder / "f.vtkhdf", space.mesh)
    series.write(0.0, {"wave": space.function("wave", wave(space.points))})
    points, corners, values, _ = read_fields(shared_folder / "f.vtkhdf")
    np.testing.assert_allclose(values["wave"], wave(points), atol=1e-14)
    a, b = points[corners[:, 1]] - points[corners[:, 0]], points[corners[:, 2]] - points[corners[:, 0]]
    areas = 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    assert areas.min() > 0
    assert len(corners) == 9 * space.mesh.topology.index_map(2).size_global
    outer = 3 * 18  # edges of the polygon between the nodes on the circle
    assert areas.sum() == pytest.approx(0.5 * outer * 4.0 * math.sin(2 * math.pi / outer), rel=1e-4)


# Time


def test_order_conditions_of_the_tableaus():
    parts = (imex.EXPLICIT, imex.IMPLICIT)
    c = imex.IMPLICIT.sum(axis=1)
    np.testing.assert_allclose(imex.EXPLICIT.sum(axis=1), c, atol=1e-14)
    for b in (imex.WEIGHTS, imex.EMBEDDED):
        conditions = [b.sum() - 1, b @ c - 1 / 2, b @ c**2 - 1 / 3, *(b @ A @ c - 1 / 6 for A in parts)]
        np.testing.assert_allclose(conditions, 0.0, atol=1e-14)
    b = imex.WEIGHTS
    fourth = [b @ c**3 - 1 / 4]
    fourth += [x for A in parts for x in ((b * c) @ A @ c - 1 / 8, b @ A @ c**2 - 1 / 12)]
    fourth += [b @ A @ other @ c - 1 / 24 for A in parts for other in parts]
    np.testing.assert_allclose(fourth, 0.0, atol=1e-14)


def test_order_four_with_a_stiff_part():
    """A nonlinear system of two unknowns with a linear part that is faster."""
    mass, stiff = np.array([2.0, 1.0]), np.array([3.0, 15.0])

    def end(steps: int) -> np.ndarray:
        y, dt = np.array([1.0, 0.5]), 1.0 / steps
        for _ in range(steps):
            y, _ = imex.step(
                y,
                dt,
                explicit=lambda y: np.array([math.sin(y[0]) + y[1], 3.0 * math.cos(y[0])]),
                stiffness=lambda y: stiff * y,
                mass=lambda y: mass * y,
                solve=lambda right: right / (mass + dt * imex.GAMMA * stiff),
                solve_mass=lambda right: right / mass,
            )
        return y

    exact = end(2000)
    errors = [np.abs(end(n) - exact).max() for n in (40, 80)]
    assert errors[1] < 1e-6
    assert math.log2(errors[0] / errors[1]) > 3.7


@pytest.mark.ranks
def test_ranks_agree(comm):
    """Global figures of three communicators of one rank each, and of all ranks together."""
    alone, together = (space_of(c, 4, 2) for c in (MPI.COMM_SELF, comm))
    found = [float(space.sums.total(space.tested(wave(space.points)))[0]) for space in (alone, together)]
    assert found[0] == pytest.approx(found[1], rel=1e-13)
