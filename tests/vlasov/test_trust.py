"""Runs that must not be trusted say so: alpha that wraps around, noise, echoes, steps, widths, mass that is missing.

Load: each figure against a law or a measurement of its own, and none exceeded by the case of `limitpde new`.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import copy
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from limitpde import case as cases
from limitpde.cautions import Caution, worst
from limitpde.vlasov import summary as summaries
from limitpde.vlasov import trust
from limitpde.vlasov.initial import Landau, PhaseDensityFromFile
from limitpde.vlasov.model import Model, PhaseDomain
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.system import SYSTEM

L = 4 * math.pi
SLOPE = """
import numpy as np

def slope(x):
    return -2 * x[:, 0], np.full_like(x, -2.0)

def gaussian(x):
    g = -2 * np.exp(-(x**2).sum(axis=1) / 2)
    return g, -x * g[:, None]

def sheets(x):
    s = np.abs(x[:, 0]) / (4 * np.pi)
    return 2 * np.pi * (s**2 - s) + 1.0, np.sign(x) * (s - 0.5)[:, None]

def hill(z):
    return np.exp(-z[:, 1] ** 2 / 0.08) * (1 + 0.5 * np.cos(z[:, 0]))
"""
STREAMS = {
    "system": "vlasov",
    "seed": 1,
    "model": {"potential": {"kind": "poisson"}, "domain": {"x": [0.0, L], "v": [-4.0, 4.0]}},
    "initial": {"shape": "two_stream", "k": 0.5, "drift": 0.99, "thermal": 0.3, "amplitude": 1e-4, "mass": L},
    "time": {"end": 20.0},
    "pde": {"cells": [24, 64], "step": 0.1},
    "particles": {"counts": [100, 400], "replicas": 6, "step": 0.1},
    "compare": {"test_functions": [{"shape": "wave", "k": [0.5, 0.0]}]},
    "output": {"pictures": False},
}


def changed(**sections: Any) -> Any:
    case = copy.deepcopy(STREAMS)
    for name, values in sections.items():
        case[name] = {**case.get(name, {}), **values}
    return cases.check(case)


def named(cautions: Any) -> dict[str, Caution]:
    return {caution.name: caution for caution in worst(cautions)}


@pytest.fixture
def functions(shared_folder: Path) -> Path:
    path = shared_folder / "functions.py"
    if MPI.COMM_WORLD.rank == 0:
        path.write_text(SLOPE)
    MPI.COMM_WORLD.barrier()
    return path


@pytest.mark.ranks
def test_alpha_that_wraps_around_ends_the_run(functions: Path, shared_folder: Path, comm: MPI.Comm) -> None:
    """A constant force of 2 on velocities of width 0.5 within 3.5: its momentum is 2 % off at t = 1.1."""
    case = {
        "system": "vlasov",
        "model": {
            "form": "hartree",
            "exterior": {"python": f"{functions}:slope"},
            "domain": {"x": [-15.0, 15.0], "v": [-3.5, 3.5], "periodic": False},
        },
        "initial": {"shape": "gaussian", "width": [0.7, 0.5]},
        "time": {"end": 2.5},
        "pde": {"cells": [60, 28], "step": 0.05},
        "output": {"pictures": False},
    }
    found = limitpde.run(cases.check(case), out=shared_folder / "wraps", comm=comm, check=False)
    assert found["status"] == "failed"
    assert "ends of model.domain.v" in found["reason"]
    assert 1.0 < found["pde"]["end_time"] < 1.2
    edge = found["cautions"]["alpha_edge"]["value"]
    assert edge == found["pde"]["alpha_edge"]["end"] > trust.WRAPPED
    assert any("up to 6.5e-02" in note for note in found["warnings"])
    earlier = limitpde.run(cases.check(case | {"time": {"end": 0.6}}), out=shared_folder / "ends", comm=comm)
    assert earlier["status"] == "done"
    assert earlier["cautions"]["alpha_edge"]["value"] < trust.EDGE


def test_noise_that_outgrows_the_signal(shared_folder: Path, comm: MPI.Comm) -> None:
    """The fastest wave grows at 0.2865: e^{5.73} / N^(1/2) is 31 and 15; distances do not fall with N, and need not."""
    found = limitpde.run(changed(), out=shared_folder, comm=comm)
    caution = found["cautions"]["noise_growth"]
    assert caution["value"] == pytest.approx(math.exp(20 * 0.28651) / 10, rel=1e-3)
    assert caution["value"] > caution["threshold"]
    assert any("noise has outgrown the signal" in note for note in found["warnings"])
    assert all("theory" not in rate for rate in found["compare"]["distance_rates"])
    entries = found["compare"]["distances"]
    ends = [entry["mean"] for entry in entries if entry["t"] > 0 and entry["distance"] == "x"]
    assert ends[1] > 0.7 * ends[0]  # 0.5 by N^(-1/2)


@pytest.mark.parametrize(
    ("initial", "growth"),
    [
        ({"amplitude": 0.5}, 2.0),  # saturated: noise stays the same part of it
        ({"thermal": 2.0}, 1.0),  # stable
        ({"shape": "maxwellian", "k": None, "amplitude": None, "drift": 0.5}, 1.0),
    ],
)
def test_noise_that_does_not_outgrow(initial: dict[str, Any], growth: float) -> None:
    given = {**STREAMS["initial"], **initial}
    case = cases.check(STREAMS | {"initial": {key: value for key, value in given.items() if value is not None}})
    assert trust.noise_growth(case) == pytest.approx(growth)
    assert not any(caution.exceeded for caution in trust.particles(case, 400))


def test_echo_of_the_velocities(comm: MPI.Comm) -> None:
    """Free flight: the wave is right to 2e-3 of its amplitude up to the threshold, and comes back by the echo time."""
    model = Model(domain=PhaseDomain(x=(0.0, L), v=(-6.0, 6.0)))
    solver = Solver(model, Landau(k=0.5, amplitude=0.5, mass=L), cells=(8, 16), step=0.5, comm=comm)
    echo = 2 * math.pi / (0.5 * 12 / 64)
    errors = []
    while solver.t < echo:
        solver.advance(0.5)
        ones = [np.ones((1, len(v))) for v in solver.space.v_nodes]
        wave = solver.form.velocity_integrals(ones)[0] * np.cos(0.5 * solver.space.x_points[..., 0])
        found = float(solver.space.integrate_x(wave)) / (0.25 * L)
        errors.append((solver.t, abs(found - math.exp(-((0.5 * solver.t) ** 2) / 2))))
    assert max(error for t, error in errors if t < trust.ECHO * echo) < 2e-3
    assert max(error for t, error in errors) > 0.5
    wide = {"model": {"domain": {"x": [0.0, L], "v": [-6.0, 6.0]}}, "pde": {"cells": [8, 16]}}
    caution = named(trust.equation(changed(**wide)))["velocity_echo"]
    assert caution.value == pytest.approx(20 / echo)
    assert not caution.exceeded
    assert named(trust.equation(changed(**wide, time={"end": 30.0})))["velocity_echo"].exceeded


@pytest.mark.parametrize(("order", "step"), [(2, 0.5), (4, 1.0)])
def test_steps_against_the_frequency(order: int, step: float) -> None:
    """The plasma frequency is 1, and so is that of the potential as a Python function."""
    caution = named(trust.equation(changed(pde={"order": order, "step": step})))["pde_step"]
    assert caution.value == pytest.approx(step / trust.STEP[order], rel=1e-12)
    assert not caution.exceeded
    assert named(trust.equation(changed(pde={"order": order, "step": 1.5 * step})))["pde_step"].exceeded
    particles = named(trust.particles(changed(particles={"order": order, "step": 1.5 * step}), 100))
    assert particles["particles_step"].exceeded


def test_a_python_potential_is_like_the_built_in_one(functions: Path, shared_folder: Path, comm: MPI.Comm) -> None:
    """Energy and growth without the mean of Gamma: a Gaussian, and the sheets of a plasma with a kink at 0."""
    figures = {}
    pairs = (("gaussian", {"kind": "gaussian", "strength": -2.0}, 0.5, 3.0), ("sheets", {"kind": "poisson"}, 1.0, 0.0))
    for name, built_in, thermal, start in pairs:
        for potential in (built_in, {"python": f"{functions}:{name}"}):
            initial = {"shape": "landau", "k": 0.5, "amplitude": 1e-4, "thermal": thermal, "mass": L}
            pde = {"cells": [16, 48], "step": 0.1, "fit": [start, 8.0]}
            run = {"initial": initial, "time": {"end": 8.0}, "pde": pde}
            given = {**STREAMS, "model": {**STREAMS["model"], "potential": potential}, **run}
            given = {key: value for key, value in given.items() if key not in ("particles", "compare")}
            found = limitpde.run(cases.check(given), out=shared_folder / name / next(iter(potential)), comm=comm)
            figures[name, "python" in potential] = found["pde"]
    for name, close in (("gaussian", 1e-4), ("sheets", 5e-3)):
        ours, theirs = figures[name, True], figures[name, False]
        assert ours["field_growth_rate"] == pytest.approx(theirs["field_growth_rate"], rel=close)
        assert ours["energy"]["start"] == pytest.approx(theirs["energy"]["start"], rel=1e-6)
    assert figures["gaussian", True]["field_growth_rate"] == pytest.approx(0.9676, rel=5e-3)  # the mode of k = 0.5


def test_widths_against_the_points_of_the_cells() -> None:
    for cells, ratio in ((16, 1.0), (32, 0.5)):
        caution = named(trust.equation(changed(initial={"thermal": 0.125}, pde={"cells": [24, cells]})))
        assert caution["initial_width_v"].value == pytest.approx(ratio)
    space = {"domain": {"x": [-5.0, 5.0], "v": [-5.0, 5.0], "periodic": False}}
    model = {"potential": {"kind": "none"}, **space}
    cloud = {"shape": "gaussian", "width": [0.12, 0.2]}
    given = {"system": "vlasov", "model": model, "initial": cloud, "time": {"end": 1.0}}
    found = named(trust.equation(cases.check(given | {"pde": {"cells": [10, 40], "degree": 3, "step": 0.1}})))
    assert found["initial_width_x"].value == pytest.approx(2.5 / 1.2)
    assert found["initial_width_x"].exceeded
    assert found["initial_width_v"].value == pytest.approx(0.3125)


@pytest.mark.parametrize(
    ("thermal", "positivity", "off"), [(0.1, True, 0.0142), (0.05, True, 1.836), (0.05, False, 0.0)]
)
def test_a_limiter_changes_the_temperature_of_narrow_streams(thermal: float, positivity: bool, off: float) -> None:
    """As a shift of negative values did in another code; the energy itself is off by less than a hundredth."""
    initial, pde = {"drift": 1.0, "thermal": thermal}, {"cells": [4, 48], "positivity": positivity}
    case = changed(model={"domain": {"x": [0.0, L], "v": [-9.0, 9.0]}}, initial=initial, pde=pde)
    start = summaries.PDESummary(SYSTEM.solver(case, MPI.COMM_SELF), case)
    caution = named(start.cautions())["initial_temperature"]
    assert caution.value == pytest.approx(off, rel=0.01, abs=1e-9)
    assert caution.exceeded == (off > 0.05)
    assert start.first["energy_kinetic"] == pytest.approx(L * (0.5 + thermal**2 / 2), rel=0.01)


def test_mass_and_energy() -> None:
    assert trust.missing(2e-3).exceeded
    assert not trust.missing(5e-4).exceeded
    assert "limiter" in trust.energy(0.02, positivity=True).text
    assert "limiter" not in trust.energy(0.02, positivity=False).text


def test_undershoots_that_leave_are_no_negative_loss(functions: Path, comm: MPI.Comm) -> None:
    """What leaves the ends of v below zero is told as a growth of the mass, not as less than nothing lost."""
    model = Model(domain=PhaseDomain(x=(0.0, 2 * math.pi), v=(-2.0, 2.0)), exterior={"kind": "cosine", "strength": 1.0})
    solver = Solver(
        model, PhaseDensityFromFile(python=f"{functions}:hill"), cells=(8, 8), degree=3, step=0.1, comm=comm
    )
    lost = []
    solver.solve(2.0, observers=[lambda report: lost.append(report.figures["mass_lost"])])
    assert min(lost) >= 0.0


def test_the_case_of_new_is_to_be_trusted() -> None:
    case = cases.check(tomllib.loads(cases.example("vlasov")))
    for given in (case, case.smaller()):
        found = [*trust.equation(given), *(c for n in given.particles.counts for c in trust.particles(given, n))]
        assert {c.name for c in found} >= {
            "initial_width_v",
            "velocity_echo",
            "pde_step",
            "particles_step",
            "noise_growth",
        }
        assert not [caution for caution in found if caution.value > 0.5 * caution.threshold]
