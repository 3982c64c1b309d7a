"""Fluxes as vectors on cells, of coagulation and of mean fields, by the mass that they move; and in files."""

from __future__ import annotations

import dolfinx.fem
import numpy as np
import pytest
import ufl
from casefiles import furnish, read, without

import limitpde
from limitpde import coagulation, meanfield
from limitpde.coagulation.model import Part, Rates
from limitpde.densities import Gaussian
from limitpde.errors import InputError
from limitpde.fem.mesh import Box, Torus
from limitpde.fem.nodes import NodeSpace
from limitpde.potentials import Harmonic


def gain(nodes, flux, values):
    """int J . grad v, of v by its values at the nodes (owned,)."""
    v = nodes.function("v", values)
    integrand = ufl.dot(flux, ufl.grad(v)) if flux.ufl_shape else flux * v.dx(0)
    form = dolfinx.fem.form(integrand * ufl.dx(domain=nodes.mesh))
    return float(nodes.comm.allreduce(dolfinx.fem.assemble_scalar(form)))


@pytest.mark.ranks
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_gradient_of_a_linear_density(dimension, comm):
    nodes = NodeSpace(Box(size=1.0, cell_size=0.3), comm, dimension=dimension)
    slope = np.array([1.0, -2.0, 0.5])[:dimension]
    rho = nodes.function("rho", 3.0 + nodes.points @ slope).x.array
    flux = nodes.cell_fluxes.diffusion(rho, 0.5)
    np.testing.assert_allclose(flux, np.broadcast_to(-0.5 * slope, flux.shape), rtol=1e-12)
    field = nodes.cell_fluxes.function("flux", flux)
    np.testing.assert_allclose(field.x.array.reshape(flux.shape), flux)


@pytest.mark.ranks
def test_flux_of_mass_on_a_torus(comm):
    """Annihilation off, beta = 0: what n f_n gains in one step of diffusion is int J . grad v dt."""
    model = coagulation.Model(
        dimension=2, diffusion={"power": -0.5}, beta=Rates(kernel="constant", scale=1e-12), n_max=4
    )
    initial = coagulation.Initial(
        masses=[Part(n=n, density=Gaussian(mass=0.5, center=(0.1, 0.2 * n), width=0.15)) for n in (1, 3)]
    )
    solver = coagulation.Solver(model, initial, mesh=Torus(size=1.0, cell_size=0.1), step=1e-5)
    nodes, n = solver.nodes, solver.masses
    v = np.cos(2 * np.pi * nodes.points[:, 0]) * np.cos(2 * np.pi * nodes.points[:, 1])
    fluxes = [gain(nodes, solver.outputs(fluxes=True)["fields"][1]["flux_mass"], v)]
    before = float(nodes.sums.total(nodes.volume * (solver.densities @ n) * v)[0])
    solver.step(1e-5)
    fluxes.append(gain(nodes, solver.outputs(fluxes=True)["fields"][1]["flux_mass"], v))
    after = float(nodes.sums.total(nodes.volume * (solver.densities @ n) * v)[0])
    assert after - before == pytest.approx(1e-5 * np.mean(fluxes), rel=1e-5)
    assert abs(after - before) > 1e-6


@pytest.mark.ranks
@pytest.mark.parametrize("dimension", [1, 2])
def test_flux_of_a_mean_field(dimension, comm):
    """It is that of a step of backward Euler, for which V at its end stands in place of the predicted one."""
    model = meanfield.Model(dimension=dimension, sigma=0.8, interaction=Harmonic(strength=0.8))
    center = (0.5, -0.2)[:dimension]
    initial = meanfield.Initial(species=[(Gaussian(mass=1.0, center=center, width=0.5),)])
    mesh = Box(size=6.0, origin=-3.0, cell_size=0.2)
    solver = meanfield.Solver(model, initial, mesh=mesh, step=1e-4, comm=comm)
    nodes = solver.nodes
    v = np.tanh(2 * nodes.points[:, 0])
    before = float(nodes.sums.total(solver.masses[0] * v)[0])
    solver.step(1e-4)
    after = float(nodes.sums.total(solver.masses[0] * v)[0])
    found = gain(nodes, solver.outputs(fluxes=True)["fields"][1]["flux"], v)
    assert found == pytest.approx((after - before) / 1e-4, rel=1e-3)
    assert abs(found) > 0.1


def test_a_case_asks_for_them(tmp_path):
    fluxes = "output.fluxes=true"
    case = read(furnish(tmp_path), fluxes, "time.end=0.1", "output.pictures=false", "particles.counts=[2]")
    field = limitpde.run(case, out=tmp_path / "out").fields()
    assert {"E", "flux_positive", "flux_negative"} <= set(field.cell_data.keys())
    assert field.cell_data["E"].shape == (field.n_cells, 3)
    (tmp_path / "case.toml").write_text(without("pde", "compare"))
    with pytest.raises(InputError, match=r"output.fluxes = true: needs a section \[pde\]"):
        read(tmp_path, fluxes)
