"""What a grid holds of f_0: the mass that was asked for, to rounding, or an error that says what to change.

Load: integrals of polynomials against the projection are those of f_0; jumps of a user's function cost no mass; data
between the points of the cells are refused by the case, by the solver and by a quick run alike.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from limitpde import case as cases
from limitpde.errors import InputError
from limitpde.vlasov.exact.dispersion import Beam, dominant_root
from limitpde.vlasov.initial import Landau, Maxwellian, PhaseDensityFromFile, PhaseGaussian, Start, TwoStream
from limitpde.vlasov.model import Model, PhaseDomain
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.phase_space import Axis, projection
from limitpde.vlasov.sight import seen

L = 4 * math.pi
TORUS = Model(potential={"kind": "poisson"}, domain=PhaseDomain(x=(0.0, L), v=(-6.0, 6.0)))
STREAMS = TwoStream(k=0.5, drift=1.0, thermal=0.05, mass=L)
TWO_STREAM = {
    "system": "vlasov",
    "model": {"potential": {"kind": "poisson"}, "domain": {"x": [0.0, L], "v": [-6.0, 6.0]}},
    "initial": {"shape": "two_stream", "k": 0.5, "drift": 1.0, "thermal": 0.05, "mass": L},
    "time": {"end": 8.0},
    "pde": {"cells": [16, 32], "step": 0.1, "fit": [3.0, 7.0]},
    "output": {"pictures": False},
}
FUNCTIONS = """
import numpy as np

def bag(z):
    return 1.0 * ((np.abs(z[:, 1]) < 1.2) & (np.abs(z[:, 0] - np.pi) < 2))

def disk(z):
    return 1.0 * ((z[:, 0] - np.pi) ** 2 + z[:, 1] ** 2 < 1.5)

def ball(z):
    return 1.0 * (((z - np.array([np.pi, np.pi, 0, 0])) ** 2).sum(axis=1) < 1.5)

def dust(z):
    return np.exp(-((z[:, 0] - 0.95) ** 2 + (z[:, 1] - 0.2) ** 2) / (2 * 0.02**2))
"""


@pytest.fixture
def functions(shared_folder: Path) -> Path:
    path = shared_folder / "functions.py"
    if MPI.COMM_WORLD.rank == 0:
        path.write_text(FUNCTIONS)
    MPI.COMM_WORLD.barrier()
    return path


@pytest.mark.ranks
@pytest.mark.parametrize("form", ["density", "hamiltonian", "hartree"])
def test_narrow_streams_have_their_mass(form: str, comm: MPI.Comm) -> None:
    """At their nodes, 0.53 of a standard deviation apart, the mass was 13.75 instead of 4 pi."""
    solver = Solver(replace(TORUS, form=form), STREAMS, cells=(16, 32), step=0.1, comm=comm)
    figures = solver.figures()
    assert figures["mass_total"] == pytest.approx(L, rel=1e-13)
    if form == "density":
        assert figures["energy_kinetic"] == pytest.approx(L * (1 + 0.05**2) / 2, rel=1e-12)


def test_the_growth_rate_of_narrow_streams(comm: MPI.Comm, shared_folder: Path) -> None:
    gamma = dominant_root(0.5, 4.0, [Beam(0.5, 1.0, 0.05**2), Beam(0.5, -1.0, 0.05**2)]).imag
    assert gamma == pytest.approx(0.33945, abs=1e-5)
    found = limitpde.run(cases.check(TWO_STREAM), out=shared_folder, comm=comm)
    assert found["pde"]["field_growth_rate"] == pytest.approx(gamma, abs=0.004)


def test_cells_that_do_not_see_the_streams() -> None:
    message = r"pde.cells: \[16\] cells of v see 1.949 of the mass .* \[32\] see it"
    with pytest.raises(InputError, match=message):
        cases.check(TWO_STREAM | {"pde": {"cells": [16, 16], "step": 0.1}})
    with pytest.raises(InputError, match=message):
        Solver(TORUS, STREAMS, cells=(16, 16), step=0.1)
    assert seen(Start(STREAMS, TORUS), TORUS, "v", (32,), 3) == pytest.approx(13.7532 / L, abs=1e-4)


def test_a_quick_run_keeps_the_cells_that_it_needs() -> None:
    assert cases.check(TWO_STREAM).smaller().pde.cells == (8, 32)
    wide = TWO_STREAM | {"initial": TWO_STREAM["initial"] | {"thermal": 0.3}}
    assert cases.check(wide).smaller().pde.cells == (8, 16)


def test_a_narrow_cloud_is_refused_along_x_and_on_a_mesh() -> None:
    space = Model(domain=PhaseDomain(x=(-5.0, 5.0), v=(-5.0, 5.0), periodic=False))
    cloud = PhaseGaussian(center=[0.5, 0.0], width=[0.02, 1.0])
    with pytest.raises(InputError, match=r"pde.cells: \[10\] cells of x see"):
        Solver(space, cloud, cells=(10, 10), step=0.1)
    mesh = {"shape": "box", "size": 1.0, "cell_size": 0.25}
    box = Model(domain=PhaseDomain(x=(0.0, 1.0), v=(-5.0, 5.0), periodic=False))
    with pytest.raises(InputError, match=r"pde.mesh: its points see"):
        Solver(box, PhaseGaussian(center=[0.5, 0.0], width=[0.01, 1.0]), cells=(10,), mesh=_box(mesh), step=0.1)


def _box(mesh: dict[str, object]) -> object:
    from limitpde.fem.mesh import Box

    return Box(**mesh)  # type: ignore[arg-type]


@pytest.mark.ranks
@pytest.mark.parametrize(("name", "cells", "second"), [("bag", (20, 20), 0.48), ("disk", (13, 17), 0.375)])
def test_jumps_of_a_function_cost_no_mass(
    name: str, cells: tuple[int, int], second: float, functions: Path, comm: MPI.Comm
) -> None:
    """`second` is the mean of v^2, a third of 1.2^2 and a quarter of 1.5."""
    model = Model(domain=PhaseDomain(x=(0.0, 2 * math.pi), v=(-2.0, 2.0)))
    initial = PhaseDensityFromFile(python=f"{functions}:{name}", mass=1.0)
    figures = Solver(model, initial, cells=cells, step=0.1, comm=comm).figures()
    assert figures["mass_total"] == pytest.approx(1.0, rel=1e-13)
    assert 2 * figures["energy_kinetic"] == pytest.approx(second, rel=5e-4)
    positive = Solver(model, initial, cells=cells, step=0.1, positivity=True, comm=comm).figures()
    assert positive["minimum"] >= 0.0 > figures["minimum"]
    assert positive["mass_total"] == pytest.approx(1.0, rel=1e-13)
    alpha = Solver(replace(model, form="hamiltonian"), initial, cells=cells, step=0.1, comm=comm).figures()
    assert alpha["mass_total"] == pytest.approx(1.0, rel=1e-13)


def test_jumps_in_two_dimensions(functions: Path) -> None:
    model = Model(dimension=2, domain=PhaseDomain(x=(0.0, 2 * math.pi), v=(-2.0, 2.0)))
    initial = PhaseDensityFromFile(python=f"{functions}:ball", mass=1.0)
    figures = Solver(model, initial, cells=(6, 6), degree=2, step=0.1).figures()
    assert figures["mass_total"] == pytest.approx(1.0, rel=1e-13)
    assert 2 * figures["energy_kinetic"] == pytest.approx(2 * 1.5 / 6, rel=2e-2)


def test_dust_between_the_points_is_refused(functions: Path) -> None:
    model = Model(domain=PhaseDomain(x=(0.0, 2 * math.pi), v=(-2.0, 2.0)))
    with pytest.raises(InputError, match=r"pde.cells: their points see .* of the mass 1 of f_0"):
        Solver(model, PhaseDensityFromFile(python=f"{functions}:dust"), cells=(10, 10), step=0.1)


def test_the_projection_keeps_polynomials_in_each_cell() -> None:
    """Int f_0 v^p for p up to the degree, cell by cell, of a stream narrower than the points of a cell."""
    axis = Axis(-1.0, 1.0, 5, 3, False)
    values = projection.line(axis, lambda v: np.exp(-((v - 0.31) ** 2) / (2 * 0.03**2)))
    v = np.linspace(-1.0, 1.0, 1_000_001)
    exact = np.exp(-((v - 0.31) ** 2) / (2 * 0.03**2))
    for cell in range(5):
        part, inside = slice(4 * cell, 4 * cell + 4), (v >= -1 + 0.4 * cell) & (v <= -0.6 + 0.4 * cell)
        for p in range(4):
            found = (axis.weights * values * axis.nodes**p)[part].sum()
            assert found == pytest.approx(np.trapezoid(exact[inside] * v[inside] ** p, v[inside]), abs=1e-8)


def test_waves_and_clouds_are_projected_as_they_are() -> None:
    """Where the cells resolve it, the projection is near f_0 itself: in two dimensions, with waves across the axes."""
    model = Model(dimension=2, domain=PhaseDomain(x=(0.0, 2 * math.pi), v=(-5.0, 5.0)))
    for initial in (Landau(k=(1.0, -2.0), amplitude=0.5), Maxwellian(center=(1.0, 2.0), width=0.8, drift=(0.3, 0.1))):
        solver = Solver(model, initial, cells=(8, 8), step=0.1)
        start, f = Start(initial, model), solver.form.values
        v = np.stack(np.meshgrid(*solver.space.v_nodes, indexing="ij"), axis=-1).reshape(-1, 2)
        x = solver.space.x_points[3, 7]
        exact = start.density(np.concatenate([np.tile(x, (len(v), 1)), v], axis=1))
        assert np.abs(f[3, 7].ravel() - exact).max() < 0.02 * f.max()
