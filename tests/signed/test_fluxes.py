"""The electric field and the fluxes of both densities, by Gauss' law and by the mass that they move."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import dolfinx.fem
import numpy as np
import pytest
import ufl
from mpi4py import MPI

from limitpde import signed
from limitpde.densities import Gaussian
from limitpde.fem.edge_flux import fill_transport
from limitpde.fem.mesh import Disk
from limitpde.signed.confinement import HarmonicTrap

pytestmark = pytest.mark.ranks
PAIR = signed.Initial(
    positive=[Gaussian(mass=0.6, center=(0.5, 0.0), width=0.6)],
    negative=[Gaussian(mass=0.4, center=(-0.5, 0.2), width=0.7)],
)
MESH = Disk(radius=5.0, cell_size=0.25)
TRAP = HarmonicTrap(strength=0.7)


def solver_of(degree=1, *, mesh=MESH, step=0.01, confinement=None, **model):
    parameters = {"sigma": 0.8, "gamma_bar": 1.5, "confinement": confinement} | model
    return signed.Solver(signed.Model(**parameters), PAIR, mesh=mesh, step=step, degree=degree)


def fields_of(solver):
    return solver.outputs(fluxes=True)["fields"][1]


def cutoff(solver, radius=1.0):
    """1 in a circle and 0 outside, with a smooth edge, as a function with the nodes of the densities."""
    nodes, function = solver.nodes, dolfinx.fem.Function(solver.nodes.space)
    function.x.array[:] = 0.5 * (1 - np.tanh((np.hypot(*nodes.points.T) - radius) / 0.4))
    return function


def integral(solver, integrand):
    form = dolfinx.fem.form(integrand * ufl.dx(domain=solver.mesh, degree=8))
    return float(solver.sums.add(np.array(dolfinx.fem.assemble_scalar(form))))


def inside(solver, v):
    """int rho_s v of both densities, as the scheme has it."""
    tested = solver.stepping.scheme.tested
    return solver.sums.total(*(tested(density) * v.x.array for density in solver.densities.values()))


@pytest.mark.parametrize("confinement", [None, TRAP])
def test_the_fluxes_are_those_of_the_scheme(confinement):
    """int J . grad v against the fitted fluxes along the edges, int E . grad v against the charge; to rounding."""
    solver = solver_of(confinement=confinement)
    solver.solve(0.02)
    graph, fields, v = solver.graph, fields_of(solver), cutoff(solver)
    for name, charge in (("positive", 1.0), ("negative", -1.0)):
        rho, entries = solver.densities[name], np.empty((4, len(graph.weight)))
        barrier = charge * 1.5 * solver.potential
        barrier += 0.0 if confinement is None else confinement.potential(graph.points)
        fill_transport(entries, graph.weight, graph.weight * (barrier[graph.head] - barrier[graph.tail]), 0.32)
        flux = entries[0] * rho[graph.tail] + entries[1] * rho[graph.head]
        gain = float(solver.sums.add(np.array(flux @ (v.x.array[graph.head] - v.x.array[graph.tail]))))
        assert abs(gain) > 0.01
        assert integral(solver, ufl.dot(fields[f"flux_{name}"], ufl.grad(v))) == pytest.approx(gain, rel=1e-11)
    v.x.array[graph.boundary] = 0.0
    positive, negative = inside(solver, v)
    found = integral(solver, ufl.dot(fields["E"], ufl.grad(v)))
    assert found == pytest.approx(-2 * math.pi * (positive - negative), rel=1e-9)


CASES = {
    "degree 1": {},
    "trap": {"confinement": TRAP},
    "degree 2": {"degree": 2, "mesh": Disk(radius=5.0, cell_size=0.5)},
    "degree 3": {"degree": 3, "mesh": Disk(radius=5.0, cell_size=0.8)},
    "rotated": {"interaction": "rotated", "mesh": Disk(radius=5.0, cell_size=0.125)},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_flux_through_a_circle_is_the_change_of_mass_inside(case):
    """d/dt int rho v = int J . grad v, the flux through the edge of the circle, by Simpson's rule over two steps."""
    solver = solver_of(**case)
    solver.solve(0.03)  # past the first steps, which are of first order
    v = cutoff(solver)
    rates, masses = [], []
    for _ in range(3):
        fields = fields_of(solver)
        rates.append([integral(solver, ufl.dot(fields[f"flux_{s}"], ufl.grad(v))) for s in ("positive", "negative")])
        masses.append(inside(solver, v))
        solver.step(0.01)
    gained = 0.01 / 3 * np.array([1.0, 4.0, 1.0]) @ np.array(rates)
    assert np.abs(gained).min() > 5e-5
    assert masses[2] - masses[0] == pytest.approx(gained, rel=0.01)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_field_of_a_gaussian(degree):
    """E = M (1 - exp(-r^2 / (2 w^2))) x / r^2 of one sign."""
    initial = signed.Initial(positive=[Gaussian(mass=1.0, center=(0.0, 0.0), width=0.7)], negative=())
    mesh = Disk(radius=5.0, cell_size={1: 0.1, 2: 0.4, 3: 0.5}[degree])
    solver = signed.Solver(signed.Model(sigma=1.0, gamma_bar=1.0), initial, mesh=mesh, step=0.01, degree=degree)
    field, x = fields_of(solver)["E"], ufl.SpatialCoordinate(solver.mesh)
    square = ufl.dot(x, x) + 1e-30
    exact = (1 - ufl.exp(-square / (2 * 0.49))) / square * x
    error = integral(solver, ufl.dot(field - exact, field - exact)) ** 0.5
    size = integral(solver, ufl.dot(exact, exact)) ** 0.5
    assert error < {1: 0.03, 2: 0.006, 3: 0.0006}[degree] * size


def test_fluxes_vanish_where_the_trap_balances():
    """Fitted fluxes of rho ~ exp(-U / D) are zero at any cell size; those of second order are not."""
    solver = solver_of(gamma_bar=1e-9, confinement=HarmonicTrap(strength=2.0))
    cells, r2 = solver.stepping.scheme._cell_fluxes, (solver.graph.points**2).sum(axis=1)
    balanced = np.exp(-r2 / 0.32)
    fitted, second = (cells.drift_diffusion(balanced, r2, 0.32, fitted=fitted) for fitted in (True, False))
    assert np.abs(fitted).max(initial=0.0) < 1e-13
    assert solver.mesh.comm.allreduce(np.abs(second).max(initial=0.0), op=MPI.MAX) > 1e-3
