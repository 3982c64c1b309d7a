"""Initial densities at the nodes of a mesh, and what the solver of coagulation and diffusion refuses.

The load is carried by densities that go around a torus against a plain sum of their images, and by errors that every
rank raises.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import itertools
import math

import numpy as np
import pytest
from clouds import clouds, homogeneous, model_of

from limitpde.coagulation.model import Initial
from limitpde.coagulation.pde import Solver
from limitpde.densities import Gaussian
from limitpde.errors import InputError, RunError
from limitpde.fem.mesh import Ball, Box, Point, Torus

pytestmark = pytest.mark.ranks

# Initial data


@pytest.mark.parametrize("width", [0.1, 0.7])
def test_density_goes_around_the_torus(comm, width):
    """A centre at the seam, outside of the fundamental cell, and a cloud wider than the torus."""
    gaussian = Gaussian(mass=0.8, center=(2.05, -0.4), width=width)
    mesh = Torus(size=(1.0, 0.5), cell_size=0.05, origin=(0.0, -0.25))
    solver = Solver(model_of(), Initial(masses=[{"n": 1, "density": gaussian}]), mesh=mesh, step=0.1)
    x, expected = solver.nodes.points, np.zeros(solver.nodes.owned)
    for i, j in itertools.product(range(-12, 13), range(-24, 25)):
        expected += gaussian.density(x + np.array([i, 0.5 * j]))
    np.testing.assert_allclose(solver.densities[:, 0], expected, rtol=0, atol=1e-12 * 0.8 / width**2)
    assert solver.warnings == []


def test_ball_that_fills_the_torus_counts_its_edge_once(comm):
    initial = Initial(masses=[{"n": 1, "shape": "disk", "mass": 1.0, "center": [0.25], "radius": 0.5}])
    solver = Solver(model_of(1), initial, mesh=Torus(size=1.0, cell_size=0.125), step=0.1)
    np.testing.assert_allclose(solver.densities[:, 0], 1.0, rtol=1e-13)


def test_what_the_mesh_does_not_see_is_refused_or_told_of(comm):
    mesh = Box(size=1.0, cell_size=0.1)
    near = {"n": 1, "shape": "gaussian", "mass": 0.5, "center": [0.5, 0.5], "width": 0.1}
    with pytest.raises(InputError, match=r"initial\.masses\[1\]: the mesh sees [0-9.e-]+ of its mass"):
        Solver(model_of(), Initial(masses=[near, near | {"center": [3.0, 0.5]}]), mesh=mesh, step=0.1)
    thin = {"n": 2, "shape": "ring", "mass": 0.25, "center": [0.5, 0.5], "radius": 0.25, "width": 0.036}
    solver = Solver(model_of(), Initial(masses=[near, thin]), mesh=mesh, step=0.1)
    assert len(solver.warnings) == 1
    assert solver.warnings[0].startswith("initial.masses[1]: the nodes see ")
    assert solver.figures()["mass_total"] == pytest.approx(0.5 + 2 * 0.25, rel=1e-13)


def test_what_diffusion_had_to_clip_is_told(comm):
    initial = Initial(masses=[{"n": 1, "shape": "disk", "mass": 1.0, "center": [0.45, 0.1, 0.0], "radius": 0.2}])
    solver = Solver(model_of(3, diffusion=[0.01]), initial, mesh=Ball(radius=1.0, cell_size=0.2), step=0.1)
    known = solver.warnings
    solver.step(0.1)
    assert solver.figures()["clipped"] > 1e-6
    assert len(solver.warnings) == len(known) + 1
    assert "negative after diffusion" in solver.warnings[-1]
    assert solver.figures()["ledger"] == pytest.approx(1.0, rel=1e-13)


# Errors of the user, and of the run


def test_wrong_input_is_refused_on_every_rank(comm):
    torus, cloud = Torus(size=1.0, cell_size=0.25), clouds(2)
    heavy = homogeneous((1, 1.0), (9, 1.0))
    wide = Initial(masses=[{"n": 1, "shape": "gaussian", "mass": 1.0, "center": [0.0, 0.0], "width": 100.0}])
    for model, initial, options, message in (
        (model_of(), cloud, {"degree": 2}, r"pde\.degree = 2: must be 1"),
        (model_of(), cloud, {"step": math.nan}, r"pde\.step = nan"),
        (model_of(), cloud, {"step": 0.0}, r"pde\.step = 0\.0: must be finite and greater than 0"),
        (model_of(3), cloud, {}, r"initial\.masses\[0\]\.center = .*must have 3 coordinates"),
        (model_of(), heavy, {}, r"initial\.masses\[1\]\.n: .*9.*must"),
        (model_of(), cloud, {"mesh": Point()}, r"initial\.masses\[0\]: must have shape = 'uniform'"),
        (
            model_of(),
            cloud,
            {"step": 1e9},
            r"a time step of 5e\+08 needs \d+ terms for its diffusion, more than 200000",
        ),
        (model_of(), wide, {}, r"initial\.masses\[0\]: it is so wide .* use shape = 'uniform'"),
        (model_of(), cloud, {"mesh": "no/such/file.msh"}, "no such file"),
        (
            model_of(),
            cloud,
            {"mesh": Torus(size=(1.0,) * 3, cell_size=0.5)},
            r"mesh\.size = .*must be a number or have 2",
        ),
    ):
        with pytest.raises(InputError, match=message):
            Solver(model, initial, **({"mesh": torus, "step": 0.1} | options))
    solver = Solver(model_of(), cloud, mesh=torus, step=0.1)
    for dt in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="dt = "):
            solver.step(dt)
    assert solver.t == 0.0


def test_densities_that_are_not_finite_end_the_run_on_every_rank(comm):
    solver = Solver(model_of(), clouds(2), mesh=Torus(size=1.0, cell_size=0.25), step=0.1)
    if comm.rank == comm.size - 1:
        solver.densities[:1, 0] = np.nan  # of nothing on a rank without nodes
    anywhere = comm.allreduce(int(np.isnan(solver.densities).any()))
    assert anywhere
    with pytest.raises(RunError, match=r"no longer finite at t = 0\.1"):
        solver.step(0.1)
