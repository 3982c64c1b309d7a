"""Runs that are not to be trusted say so: steps, bins, ranges and data out of the range in which the methods hold.

The load is carried by closed forms: each estimate must be of the size of the true error, and small where that is small.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from mpi4py import MPI
from states import hand_over

from limitpde import case as cases
from limitpde.coagulation import exact
from limitpde.coagulation.model import Initial, Model
from limitpde.coagulation.particles import simulate
from limitpde.coagulation.pde import Solver
from limitpde.coagulation.reaction.bins import Bins
from limitpde.coagulation.report import CoagulationWording
from limitpde.coagulation.summary import BINS_ERROR, CLOSE, PDESummary, particle_cautions
from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import GaussianBump
from limitpde.errors import InputError
from limitpde.fem.mesh import Ball, Box, Point, Torus

ONE = Initial(masses=[{"n": 1, "shape": "uniform", "mass": 1.0}])


def solved(model, end, initial=ONE, comm=MPI.COMM_SELF, mesh=None, **options):
    solver = Solver(model, initial, mesh=mesh or Point(), comm=comm, **options)
    summary = PDESummary(solver)
    solver.solve(end, observers=[summary.add])
    return solver, {caution.name: caution for caution in summary.cautions()}


# Steps of the reaction


def test_steps_that_are_long_against_the_reaction_are_told():
    """long_step.toml: number 1/51 and f_1 3.845e-4; a step of 0.1 gives 0.0207 and 4.9e-5."""
    model = Model(diffusion=[1.0], beta={"kernel": "constant", "scale": 100.0}, n_max=1024)
    solver, cautions = solved(model, 1.0, step=0.1)
    number = solver.integrated.sum()
    assert abs(51 * number - 1) > 0.05
    assert cautions["reaction_step"].exceeded
    assert cautions["reaction_step"].value > abs(51 * number - 1)
    solver, cautions = solved(model, 1.0, step=0.001)
    assert not cautions["reaction_step"].exceeded
    assert solver.integrated.sum() == pytest.approx(1 / 51, rel=1e-3)
    assert solver.integrated[0] == pytest.approx(3.845e-4, rel=5e-3)


@pytest.mark.parametrize("reaction", ["coagulation", "annihilation"])
def test_the_estimate_of_the_step_falls_as_its_square_and_holds_the_error(reaction):
    model = Model(diffusion=[1.0], beta={"kernel": "constant"}, n_max=200, reaction=reaction)
    found = []
    for step in (0.2, 0.1, 0.05):
        solver, cautions = solved(model, 2.0, step=step)
        true = 1 / 3 if reaction == "annihilation" else 1 / 2
        error = abs(solver.integrated.sum() / true - 1)
        assert error <= 1.5 * cautions["reaction_step"].value
        found.append(cautions["reaction_step"].value)
    assert math.log2(found[0] / found[1]) > 1.6
    assert math.log2(found[1] / found[2]) > 1.6


def test_mass_beyond_the_range_is_told():
    """Particles have no largest mass: with n_max = 2 the equation is another one."""
    short, wide = (Model(diffusion=[1.0], beta={"kernel": "constant"}, n_max=n) for n in (2, 64))
    lost = solved(short, 1.0, step=0.02)[1]["overflow"]
    assert lost.exceeded
    assert "model.n_max = 4" in lost.text
    assert not solved(wide, 1.0, step=0.02)[1]["overflow"].exceeded


# Bins


@pytest.mark.parametrize("per_decade", [10, 20, 80])
def test_the_error_of_the_bins_is_estimated(per_decade):
    """bins.toml: additive kernel, second moment exp(6) = 403.43 at t = 3."""
    model = Model(diffusion=[1.0], beta={"kernel": "additive"})
    solver, cautions = solved(model, 3.0, step=0.02, bins=Bins(largest=1e5, per_decade=per_decade))
    error = float(solver.masses**2 @ solver.integrated) / exact.second_moment("additive", 3.0) - 1
    estimate = cautions["bins"]
    assert 0.6 * error < estimate.value < 2 * error
    assert estimate.exceeded == (per_decade < 80)
    assert estimate.threshold == BINS_ERROR
    assert not cautions["reaction_step"].exceeded


@pytest.mark.ranks
def test_estimates_are_the_same_on_any_number_of_ranks_and_go_on_from_a_state(comm, shared_folder):
    cloud = [{"n": 1, "shape": "gaussian", "mass": 1.0, "center": [0.5, 0.5], "width": 0.2}]
    model = Model(dimension=2, diffusion=[0.01], beta={"kernel": "additive"})
    options = {"mesh": Torus(size=1.0, cell_size=0.125), "step": 0.1, "bins": Bins(largest=1e3, per_decade=6)}
    mine = Solver(model, Initial(masses=cloud), comm=comm, **options)
    mine.solve(0.4)
    again = Solver(model, Initial(masses=cloud), comm=comm, **options)
    hand_over(mine, again, shared_folder, comm)
    mine.solve(0.8)
    alone = Solver(model, Initial(masses=cloud), comm=MPI.COMM_SELF, **options)
    alone.solve(0.8)
    assert mine.reaction_error == pytest.approx(alone.reaction_error, rel=1e-9)
    assert mine.bins_error == pytest.approx(alone.bins_error, rel=1e-9)
    assert mine.reaction_error > 1e-4
    assert mine.bins_error > 1e-3
    again.solve(0.8)
    assert again.reaction_error == pytest.approx(mine.reaction_error, rel=1e-9)
    assert again.bins_error == pytest.approx(mine.bins_error, rel=1e-9)


# The range of V


class Simulated:
    """As much of an ensemble as the range is seen from."""

    def __init__(self, case, count):
        self.count, self.Z = count, case.initial.Z
        self.log_eps = case.model.log_eps(count, case.initial.Z)


def test_the_range_is_held_against_the_distance_where_particles_are_densest():
    """dense.toml: eps = 1 / 300 is 0.44 of the distance in the middle of the cloud, and 0.02 of N^(-1/3)."""

    def range_of(masses, count, **keys):
        case = cases.check(
            {
                "system": "coagulation",
                "model": {"diffusion": [0.1], "interaction": {"shape": "ball", "alpha": 1.0}},
                "initial": {"masses": masses},
                "time": {"end": 0.1},
                "particles": {"counts": [count]},
                **keys,
            }
        )
        return particle_cautions(case, Simulated(case, count))[0]

    cloud = {"n": 1, "shape": "gaussian", "mass": 1.0, "center": [0.5, 0.5, 0.5], "width": 0.02}
    dense = range_of([cloud], 300)
    assert dense.value == pytest.approx((2 * math.pi * 0.02**2) ** -0.5 * 300 ** (1 / 3) / 300, rel=0.02)
    assert dense.exceeded
    assert "N = " in dense.text
    assert range_of([cloud], 1000).value / dense.value == pytest.approx((300 / 1000) ** (2 / 3), rel=1e-6)
    even = range_of([{"n": 1, "shape": "uniform", "mass": 1.0}], 300)
    assert even.value == pytest.approx(300 ** (-2 / 3), rel=1e-9)
    assert not even.exceeded
    disk = range_of([{"n": 1, "shape": "disk", "mass": 1.0, "center": [0.5] * 3, "radius": 0.05}], 300)
    assert disk.value == pytest.approx((4 / 3 * math.pi * 0.05**3) ** (-1 / 3) * 300 ** (-2 / 3), rel=1e-9)
    assert even.threshold == CLOSE


def test_the_report_says_how_slowly_the_limit_comes_in_the_plane():
    entry = {"N": 8, "density_end": {"mean": [0.5]}, "log_eps": -8.0, "correction": 0.125}
    told = CoagulationWording().particles_section([entry, entry | {"N": 16, "correction": 1 / 16}])
    assert "1 / |log eps| = Z / N" in told
    assert "0.12 for N = 8" in told
    assert "In two dimensions" not in CoagulationWording().particles_section([entry | {"correction": None}])


# Initial data


@pytest.mark.parametrize("mesh", [lambda h: Torus(size=1.0, cell_size=h), lambda h: Box(size=1.0, cell_size=h)])
def test_data_that_jump_are_right_to_second_order(comm, mesh):
    """A disk whose edge passes through nodes: int phi h against its quadrature, and against values at the nodes."""
    part = {"n": 1, "shape": "disk", "mass": 1.0, "center": [0.5, 0.5], "radius": 0.25}
    model = Model(dimension=2, diffusion=[0.1], beta={"kernel": "constant"}, n_max=2)
    phi = GaussianBump(center=(0.3, 0.4), width=0.2)
    r, w = np.polynomial.legendre.leggauss(60)
    angle = 2 * np.pi * (np.arange(120) + 0.5) / 120
    radius = 0.125 * (r + 1)
    points = 0.5 + radius[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    value = evaluate(phi, points.reshape(-1, 2))[0].reshape(60, 120).mean(axis=1)
    true = float((w * radius) @ value / (w @ radius))
    errors = []
    for h in (1 / 8, 1 / 16, 1 / 32):
        solver = Solver(model, Initial(masses=[part]), mesh=mesh(h), step=0.1, comm=comm)
        nodes = solver.nodes
        found = float(nodes.sums.total(nodes.volume * solver.densities[:, 0] * evaluate(phi, nodes.points)[0])[0])
        assert float(nodes.sums.total(nodes.volume * solver.densities[:, 0])[0]) == pytest.approx(1.0, rel=1e-13)
        errors.append(abs(found - true))
    assert errors[2] < 6e-4
    assert math.log2(errors[0] / errors[2]) / 2 > 1.6


@pytest.mark.parametrize(
    ("part", "mesh"),
    [
        ({"shape": "gaussian", "center": [0.5, 0.5], "width": 0.02}, Torus(size=1.0, cell_size=0.125)),
        ({"shape": "gaussian", "center": [0.5625, 0.5625], "width": 0.02}, Torus(size=1.0, cell_size=0.125)),
        ({"shape": "disk", "center": [1.0, 0.5], "radius": 0.2}, Box(size=1.0, cell_size=0.0625)),
        ({"shape": "gaussian", "center": [0.8, 0.0], "width": 0.3}, Ball(radius=1.0, cell_size=0.1)),
    ],
)
def test_data_that_the_mesh_does_not_see_are_refused(part, mesh):
    model = Model(dimension=2, diffusion=[0.1], beta={"kernel": "constant"}, n_max=2)
    initial = Initial(masses=[{"n": 1, "mass": 1.0, **part}])
    with pytest.raises(InputError, match=r"initial.masses\[0\]: the mesh sees .* and must see from 0.9 to 1.1"):
        Solver(model, initial, mesh=mesh, step=0.1, comm=MPI.COMM_SELF)


# Splittings within a step


@pytest.mark.parametrize(("step", "exceeded"), [(0.006, True), (0.003, False)])
def test_particles_that_split_count_as_two_until_the_end_of_the_step(step, exceeded):
    """Dimers and monomers in balance: the caution is how many are too many, as a part of the dimers."""
    reaction = {"shape": "ball", "alpha": ((1.0, 0.0), (0.0, 0.0))}
    model = {"diffusion": [0.02, 0.01], "interaction": reaction, "fragmentation": {"rate": 2.0}, "n_max": 2}
    parts = [{"n": n, "shape": "uniform", "mass": mass} for n, mass in ((1, 0.76721133), (2, 0.61639433))]
    case = cases.check(
        {
            "system": "coagulation",
            "model": model,
            "initial": {"masses": parts},
            "time": {"end": 0.6},
            "particles": {"counts": [60], "replicas": 300, "step": step},
        }
    )
    options = case.simulation(leave_out=("domain",))
    ensemble = simulate(case.model, case.initial, count=60, domain=case.domain, **options)
    caution = particle_cautions(case, ensemble)[0]
    assert (caution.name, caution.exceeded) == ("splitting_step", exceeded)
    assert caution.value == pytest.approx(2 * 0.6 / ensemble.steps)
    extra = ensemble.survivors[:, 1:4].mean(axis=1) - 60
    expected = caution.value * 0.61639433 / 1.38360566 * 60
    assert abs(extra.mean() - expected) < 4.5 * extra.std() / math.sqrt(300)
    assert not exceeded or extra.mean() > 3 * extra.std() / math.sqrt(300)
