"""Poisson's equation in the plane, solved in a disk: potential, boundary data, multipoles.

The load is carried by the potential of a Gaussian in closed form with its order in the mesh size, the symmetry of the
map from charge to potential (without which there is no energy law) and the exact tail of the multipole series. Each
figure is global and asserted on every rank, also where a rank owns nothing.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from graphs import create, mesh_of, triangulated, wiggle

from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.mesh import Disk
from limitpde.fem.plane import PlanePoisson
from limitpde.signed.exact import Blob

pytestmark = pytest.mark.ranks


def potential_errors(comm, rings: int, gaussian: Blob, **disk) -> tuple[float, float]:
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
    gaussian = Blob(1.3, (0.9, -0.6), 0.4)
    errors = np.array([potential_errors(comm, n, gaussian, radius=7.0, center=(0.2, 0.1)) for n in (16, 32, 64)])
    orders = np.log2(errors[:-1] / errors[1:])
    assert (orders >= 1.9).all(), (errors, orders)
    assert errors[-1, 0] < 2e-3
    assert errors[-1, 1] < 5e-3


def test_boundary_data_are_the_free_potential_at_the_circle(comm):
    """The disk is far too small for other boundary values: zero, or the monopole alone, would be wrong by 0.1 to 1."""
    graph = EdgeGraph(meshes.build(Disk(radius=3.0, cell_size=0.075), comm))
    plus, minus = Blob(1.0, (1.0, 0.2), 0.05), Blob(1.0, (-0.6, 0.8), 0.05)
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
