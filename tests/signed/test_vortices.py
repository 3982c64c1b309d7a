"""The rotated kernel in the limit: velocities K_perp * u of vortices carry both densities.

The load is carried by the Lamb-Oseen vortex, which turns without changing its shape, by a Fourier solution for two
vortices of opposite sign, and by the balance of the fluxes around each node.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import functools
import itertools

import numpy as np
import pytest
from graphs import KINDS, mesh_of, wiggle
from mpi4py import MPI
from solvers import difference, everywhere, recorded

from limitpde.compare.test_functions import GaussianBump
from limitpde.densities import Gaussian, Uniform, UniformDisk
from limitpde.errors import InputError
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.face_flux import FaceFluxes
from limitpde.fem.mesh import Box, Disk, Refinement
from limitpde.signed.case import PDE, Case
from limitpde.signed.model import Initial, Model
from limitpde.signed.pde import Solver
from limitpde.signed.plane_reference import PlaneReference
from limitpde.signed.residual import PDEResidual

MODEL = Model(sigma=0.4, gamma_bar=2.0, interaction="rotated")
ONE = Initial(positive=(Gaussian(mass=1.0, center=(0.5, 0.2), width=0.5),))
TWO = Initial(
    positive=(Gaussian(mass=0.6, center=(-0.8, 0.0), width=0.5),),
    negative=(Gaussian(mass=0.4, center=(0.7, 0.3), width=0.6),),
)


# The fluxes


@pytest.mark.parametrize("kind", KINDS)
def test_fluxes_around_a_node_add_to_zero(comm, kind):
    graph = EdgeGraph(mesh_of(comm, kind))
    flux = FaceFluxes(graph)(wiggle(graph))
    balance = graph.add_at_nodes(flux, -flux)
    scale = graph.comm.allreduce(np.abs(flux).max(initial=0.0), op=MPI.MAX)
    inside = ~graph.boundary[: graph.owned]
    assert scale > 0.0
    assert np.abs(balance[: graph.owned][inside]).max(initial=0.0) < 1e-14 * max(scale, 1.0) * 10


@pytest.mark.parametrize("kind", KINDS)
def test_flux_of_a_constant_velocity_is_its_component_times_the_face(comm, kind):
    """chi = a y - b x has v = (a, b); the face of an edge has the length kappa |x_j - x_i|."""
    graph = EdgeGraph(mesh_of(comm, kind))
    velocity = np.array([0.7, -0.4])
    stream = velocity[0] * graph.points[:, 1] - velocity[1] * graph.points[:, 0]
    along = graph.points[graph.head] - graph.points[graph.tail]
    np.testing.assert_allclose(FaceFluxes(graph)(stream), graph.weight * (along @ velocity), rtol=0, atol=1e-13)


# The equation


def lamb_oseen_error(cell_size, **options):
    """Largest nodal error at t = 1 against the heat kernel, as a part of the largest value, and the reports."""
    solver = Solver(MODEL, ONE, mesh=Disk(radius=5.0, cell_size=cell_size), **options)
    reports = recorded(solver, 1.0)
    variance = 0.25 + 2 * MODEL.D
    x = solver.graph.points - np.array([0.5, 0.2])
    exact = np.exp(-(x**2).sum(axis=1) / (2 * variance)) / (2 * np.pi * variance)
    return solver.sums.maximum(np.abs(solver.densities["positive"] - exact)) / solver.sums.maximum(exact), reports


def test_lamb_oseen_vortex():
    errors = []
    for cell_size in (0.2, 0.1, 0.05):
        error, reports = lamb_oseen_error(cell_size, step=cell_size / 4, transport="fitted")
        assert not any(report.refused for report in reports)
        assert max(abs(report.figures["mass_positive"] - 1) for report in reports) < 1e-14
        peaks = [report.figures["maximum"] for report in reports]
        assert all(b <= a for a, b in itertools.pairwise(peaks))
        errors.append(error)
    assert errors[2] < 6e-3
    assert np.log2(errors[1] / errors[2]) > 1.85
    assert all(lamb_oseen_error(h, step=h / 4)[0] < error / 4 for h, error in zip((0.2, 0.1), errors, strict=False))


def test_lamb_oseen_vortex_on_a_mesh_that_follows_it():
    refinement = Refinement(tolerance=2e-3, smallest_cell=0.01)
    error, _ = lamb_oseen_error(0.5, step=0.02, tolerance=1e-4, refinement=refinement)
    assert error < 0.01


@functools.cache
def two_vortices():
    """Spectral solution at t = 1."""

    def density(mass, center, width):
        return lambda x, y: (
            mass * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * width**2)) / (2 * np.pi * width**2)
        )

    plane = PlaneReference(diffusivity=MODEL.D, gamma_bar=2.0, half_width=8.0, points=160, rotated=True)
    plus, minus = (density(part.mass, part.center, part.width) for part in (*TWO.positive, *TWO.negative))
    return plane.solve(plus, minus, 1.0, 0.02)


def test_spectral_solution_has_the_invariants_of_vortices():
    """The centre of vorticity stays; its second moment about the origin grows with 4 D int u."""
    found = two_vortices()
    assert found.spectral_tail < 1e-7
    u, axis = found.positive - found.negative, found.axis
    cell = found.spacing**2
    centre = [float((u * z).sum()) * cell for z in (axis[:, None], axis[None, :])]
    assert centre == pytest.approx([0.6 * -0.8 - 0.4 * 0.7, -0.4 * 0.3], abs=1e-9)
    second = float((u * (axis[:, None] ** 2 + axis**2)).sum()) * cell
    first = 0.6 * (0.64 + 2 * 0.25) - 0.4 * (0.58 + 2 * 0.36)
    assert second - first == pytest.approx(4 * MODEL.D * 0.2, abs=1e-8)


def test_two_vortices_of_opposite_sign():
    errors = []
    for cell_size in (0.14, 0.07):
        mesh = Disk(radius=5.0, cell_size=cell_size)
        solver = Solver(MODEL, TWO, mesh=mesh, step=cell_size / 4, transport="fitted")
        residual = PDEResidual(solver, [GaussianBump(center=(0.0, 0.0), width=1.0)])
        solver.solve(1.0, observers=[residual])
        exact = two_vortices().evaluate(solver.graph.points)
        errors.append(
            max(difference(solver.graph, a, b) for a, b in zip(solver.densities.values(), exact, strict=True))
        )
        assert abs(residual.values[-1][0]) < 4e-3 * (cell_size / 0.1) ** 2
    assert errors[1] < 8e-3
    assert np.log2(errors[0] / errors[1]) > 1.75  # still on its way to two


def test_weak_form_knows_the_kernel():
    """W asked of the potential's kernel does not vanish for a solution of the vortices' equation."""
    solver = Solver(MODEL, TWO, mesh=Disk(radius=6.0, cell_size=0.15), step=0.02)
    wrong = Model(sigma=0.4, gamma_bar=2.0, interaction="signed")
    functions = [GaussianBump(center=(0.0, 0.0), width=1.0)]
    right, other = PDEResidual(solver, functions), PDEResidual(solver, functions, model=wrong)
    solver.solve(0.5, observers=[right, other])
    assert abs(other.values[-1][0]) > 20 * abs(right.values[-1][0])


def test_a_vortex_in_a_disk_goes_round():
    """Without noise, inside a wall that is a stream line: its image turns it.

    Upwinding (of first order) spreads it, so that its centre comes inwards; corrected fluxes by less than a quarter of
    that. No node lies on the rim of the vortex, where rounding would decide whether it has charge.
    """
    model, inwards = Model(sigma=0.0, gamma_bar=4.0, interaction="rotated"), []
    initial = Initial(positive=(UniformDisk(mass=1.0, center=(0.5, 0.0), radius=0.31),))
    for cell_size, transport in ((0.05, "fitted"), (0.025, "fitted"), (0.05, "corrected"), (0.025, "corrected")):
        mesh = Disk(radius=1.0, cell_size=cell_size)
        solver = Solver(model, initial, mesh=mesh, step=0.01, boundary="grounded", transport=transport)
        first = solver.figures()
        reports = recorded(solver, 0.5)
        last = reports[-1].figures
        assert not any(report.refused for report in reports)
        assert max(report.figures["maximum"] for report in reports) <= first["maximum"] * (1 + 1e-3)
        assert last["mass_positive"] == pytest.approx(1.0, abs=1e-13)
        inwards.append(np.hypot(first["centre_x"], first["centre_y"]) - np.hypot(last["centre_x"], last["centre_y"]))
    image = 1.0 / 0.5 - 0.5  # its distance; it moves the vortex with the velocity gamma_bar / image
    angle = np.arctan2(last["centre_y"], last["centre_x"])
    assert angle == pytest.approx(0.5 * 4.0 / image / 0.5, rel=0.1)
    assert inwards[1] < 0.65 * inwards[0]
    assert 0 < inwards[3] < inwards[2]
    assert inwards[2] < inwards[0] / 4
    assert inwards[3] < inwards[1] / 4


@pytest.mark.ranks
def test_ranks_agree(comm):
    def solved(comm):
        solver = Solver(MODEL, TWO, mesh=Disk(radius=5.0, cell_size=0.5), step=0.05, comm=comm)
        solver.solve(0.3)
        return everywhere(solver)

    ours = solved(MPI.COMM_SELF)
    np.testing.assert_allclose(solved(comm), ours, rtol=0, atol=1e-10 * np.abs(ours).max())


def test_what_has_no_limit():
    mesh, box = Disk(radius=5.0, cell_size=0.5), Box(size=2.0, cell_size=0.5)
    confined = Model(sigma=0.4, gamma_bar=2.0, interaction="rotated", confinement={"kind": "harmonic", "strength": 1.0})
    with pytest.raises(InputError, match=r"model\.confinement: the limit equation of vortices"):
        Solver(confined, ONE, mesh=mesh, step=0.1)
    with pytest.raises(InputError, match="must be 'plane', or 'grounded'"):
        Solver(MODEL, Initial(positive=(Uniform(mass=1.0),)), mesh=box, step=0.1, boundary="insulated")
    with pytest.raises(InputError, match=r"must be 1 with model\.interaction = 'rotated'"):
        Solver(MODEL, ONE, mesh=mesh, step=0.1, degree=2)
    with pytest.raises(InputError, match=r"model\.confinement"):
        Case(system="signed", model=confined, initial=ONE, time={"end": 1.0}, pde=PDE(mesh=mesh, step=0.1))
