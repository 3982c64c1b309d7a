"""Solutions as functions of DOLFINx that live, with forms, meshes and tags of the user's own."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import dolfinx
import dolfinx.mesh
import numpy as np
import pytest
import ufl
from mpi4py import MPI

from limitpde import coagulation, signed
from limitpde.coagulation.model import Part, Rates
from limitpde.densities import Gaussian
from limitpde.dolfinx_versions import check_dolfinx
from limitpde.errors import InputError
from limitpde.fem.live import FormSeries, LiveFunctions
from limitpde.fem.mesh import Disk

pytestmark = pytest.mark.ranks
MODEL = signed.Model(sigma=1.0, gamma_bar=0.3)
PAIR = signed.Initial(
    positive=[Gaussian(mass=0.5, center=(0.5, 0.0), width=0.5)],
    negative=[Gaussian(mass=0.5, center=(-0.5, 0.2), width=0.6)],
)


def rectangle(dtype=np.float64):
    """A square of triangles, and the tags of its sides: 1 left, 2 right."""
    corners = [[-3.0, -3.0], [3.0, 3.0]]
    mesh = dolfinx.mesh.create_rectangle(MPI.COMM_WORLD, corners, [30, 30], dtype=dtype)
    sides = [
        dolfinx.mesh.locate_entities_boundary(mesh, 1, lambda x, at=at: np.isclose(x[0], at, atol=1e-5))
        for at in (-3, 3)
    ]
    facets, values = np.concatenate(sides), np.repeat([1, 2], list(map(len, sides)))
    order = np.argsort(facets)
    return mesh, dolfinx.mesh.meshtags(mesh, 1, facets[order], values[order].astype(np.int32))


def test_forms_see_every_state():
    """A form that was compiled before the first step, against the figures of each state."""
    solver = signed.Solver(MODEL, PAIR, mesh=Disk(radius=4.0, cell_size=0.4), step=0.02)
    live = LiveFunctions(solver, cells=solver.nodes.area)
    first = live["rho_positive"]
    x = ufl.SpatialCoordinate(live.mesh)
    dx = ufl.dx(degree=2)
    series = FormSeries(live, {"mass": first * dx, "charge": live["charge"] * dx, "x": first * x[0] * dx})
    reports = []
    solver.solve(0.1, observers=[live, series, reports.append])
    assert live["rho_positive"] is first
    assert series.times == pytest.approx([0.0, *(report.t for report in reports)])
    assert series.values["mass"] == pytest.approx([0.5] * 6, rel=1e-13)
    assert series.values["charge"] == pytest.approx([0.0] * 6, abs=1e-13)
    assert np.ptp(series.values["x"]) > 1e-3


def test_the_flux_through_conducting_sides_is_the_charge():
    """Gauss' law: -Lap psi = 2 pi (rho+ - rho-), sides 1 and 2 hold the potential, no field leaves the others."""
    mesh, tags = rectangle()
    initial = signed.Initial(positive=PAIR.positive, negative=())
    solver = signed.Solver(MODEL, initial, mesh=(mesh, tags), step=0.02, boundary={"1": 0.0, "2": 0.0})
    live = LiveFunctions(solver)
    ds = ufl.Measure("ds", live.mesh, subdomain_data=tags)
    out = -ufl.dot(ufl.grad(live["potential"]), ufl.FacetNormal(live.mesh))
    series = FormSeries(live, {"left": out * ds(1), "right": out * ds(2), "others": out * ds})
    solver.solve(0.04, observers=[live, series])
    left, right = np.array(series.values["left"]), np.array(series.values["right"])
    assert left + right == pytest.approx(np.full(3, math.pi), rel=0.01)
    assert (right > left).all()  # the charge is nearer to it


def test_tags_say_which_are_known():
    mesh, tags = rectangle()
    with pytest.raises(InputError, match=r"no facet has the tag '3' \(there are 1, 2\)"):
        signed.Solver(MODEL, PAIR, mesh=(mesh, tags), step=0.02, boundary={"3": 0.0})


def after_a_step(dtype):
    """Figures of two systems on the rectangle after a step."""
    mesh, _ = rectangle(dtype)
    charges = signed.Solver(MODEL, PAIR, mesh=mesh, step=0.02, boundary="insulated")
    model = coagulation.Model(diffusion=[0.2], dimension=2, beta=Rates(kernel="constant"), n_max=2)
    masses = coagulation.Solver(
        model, coagulation.Initial(masses=[Part(n=1, density=PAIR.positive[0])]), mesh=mesh, step=0.02
    )
    for solver in (charges, masses):
        solver.step(0.02)
    return charges.figures()["second_moment"], masses.figures()["moment_0"]


def test_coordinates_in_single_precision_will_do():
    assert after_a_step(np.float32) == pytest.approx(after_a_step(np.float64), rel=1e-6)


def test_a_file_that_is_not_there_is_named():
    solver = signed.Solver(MODEL, PAIR, mesh=Disk(radius=4.0, cell_size=0.4), step=0.02)
    with pytest.raises(InputError, match="file = 'moments': must be one of those of the solver \\('fields'\\)"):
        LiveFunctions(solver, "moments")


def test_another_dolfinx_is_one_line(monkeypatch):
    monkeypatch.setattr(dolfinx, "__version__", "0.8.0")
    with pytest.raises(InputError, match=r"^DOLFINx 0\.8\.0: limitpde works with 0\.9, 0\.10 and 0\.11$"):
        check_dolfinx()
