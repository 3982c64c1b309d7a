"""Observables of both sides by a function of clouds: against test functions, conserved sums and exact laws.

The load is carried by the first two: a linear one is the built-in test function on both sides to rounding, and the
square of the dipole moment of independent charges is that of the density plus its known variance over N.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import copy
import math

import numpy as np
import pytest
from ensembles import SE

from limitpde import case as cases
from limitpde.errors import InputError, Interrupted
from limitpde.meanfield.exact import gaussian_law
from limitpde.parallel import StopRequest, on_root
from limitpde.results import tables

SOURCE = """
import numpy as np

rng = np.random.default_rng()

def bump(x, mark, weight, t):
    return weight @ (mark * np.exp(-((x - [0.3, 0.2]) ** 2).sum(axis=1) / 2))

def dipole(x, mark, weight, t):
    moment = (weight * mark) @ x
    return moment @ moment

def numbers(x, mark, weight, t):
    return np.array([weight[mark == 1] @ np.cos(2 * np.pi * x[mark == 1, 0] + 0.3), (weight @ mark) ** 2, t])

def pairs(x, mark, weight, t):
    return 0.25 * weight @ (x[:, None, 0] - x[:, 0]) ** 2 @ weight

def phase(x, mark, weight, t):
    return np.array([weight @ np.cos(0.5 * x[:, 0] + 0.7 * mark[:, 0]), weight @ mark[:, 0] ** 2 / 2])

def random(x, mark, weight, t):
    return rng.random()

def each(x, mark, weight, t):
    return weight

def broken(x, mark, weight, t):
    return weight.sum() / 0 if t > 0.03 else np.nan

def late(x, mark, weight, t):
    return 1.0 if t < 0.03 else np.inf
"""
SIGNED = {
    "system": "signed",
    "seed": 3,
    "model": {"sigma": 0.5, "gamma_bar": 0.0},
    "initial": {
        "positive": [{"shape": "gaussian", "mass": 0.5, "center": [-0.2, 0.0], "width": 0.6}],
        "negative": [{"shape": "gaussian", "mass": 0.5, "center": [0.2, 0.0], "width": 0.6}],
    },
    "time": {"end": 0.2},
    "pde": {"mesh": {"shape": "disk", "radius": 5.0, "cell_size": 0.3}, "step": 0.02},
    "particles": {"counts": [8, 16], "replicas": 400, "step": 0.1, "method": "direct"},
    "compare": {
        "test_functions": [{"shape": "gaussian", "center": [0.3, 0.2], "width": 1.0, "charge": True}],
        "budget": False,
        "fluctuations": False,
    },
    "output": {"every": 0.1, "pictures": False},
}
COAGULATION = {
    "system": "coagulation",
    "seed": 5,
    "model": {"diffusion": [0.1], "interaction": {"shape": "ball", "alpha": 20.0}, "n_max": 16},
    "initial": {"masses": [{"n": 1, "shape": "uniform", "mass": 1.0}]},
    "time": {"end": 0.02},
    "pde": {"mesh": {"shape": "torus", "size": 1.0, "cell_size": 0.25}, "step": 0.01},
    "particles": {"counts": [64], "replicas": 3},
    "compare": {
        "test_functions": [{"shape": "wave", "k": [2 * math.pi, 0.0, 0.0], "phase": 0.3, "n": 1}],
        "deltas": [0.2],
        "budget": False,
        "fluctuations": False,
    },
    "output": {"every": 0.01, "pictures": False},
}
MEANFIELD = {
    "system": "meanfield",
    "model": {"dimension": 1, "sigma": 0.5, "interaction": {"kind": "harmonic", "strength": 1.0}},
    "initial": {"species": [[{"shape": "gaussian", "mass": 1.0, "center": [0.3], "width": 0.5}]]},
    "time": {"end": 0.2},
    "pde": {"mesh": {"shape": "box", "size": 8.0, "origin": -4.0, "cell_size": 0.05}, "step": 0.01},
    "particles": {"counts": [20], "replicas": 400, "step": 0.01},
    "compare": {
        "test_functions": [{"shape": "gaussian", "center": [0.0], "width": 1.0}],
        "budget": False,
        "fluctuations": False,
    },
    "output": {"every": 0.1, "pictures": False},
}

VLASOV = {
    "system": "vlasov",
    "model": {
        "potential": {"kind": "poisson", "strength": 1.0},
        "domain": {"x": [0.0, 4 * math.pi], "v": [-6.0, 6.0], "periodic": True},
    },
    "initial": {"shape": "landau", "k": 0.5, "amplitude": 0.05, "mass": 2.0},
    "time": {"end": 0.4},
    "pde": {"cells": [8, 16], "step": 0.2},
    "particles": {"counts": [50], "replicas": 3, "step": 0.2},
    "compare": {"test_functions": [{"shape": "wave", "k": [0.5, 0.7]}], "budget": False, "fluctuations": False},
    "output": {"every": 0.2, "pictures": False},
}


@pytest.fixture
def run(shared_folder, comm):
    """Run a case with these of the functions, {name: options}, in a folder of this name."""
    on_root(comm, lambda: (shared_folder / "clouds.py").write_text(SOURCE))

    def carry_out(case, functions, name="run", **options):
        case = copy.deepcopy(case)
        case["compare"]["observables"] = [
            {"python": f"{shared_folder}/clouds.py:{of}", "name": of, **keys} for of, keys in functions.items()
        ]
        return limitpde.run(cases.check(case), out=shared_folder / name, comm=comm, **options)

    return carry_out


def rows(result, which):
    return [
        row
        for row in result.summary["compare"]["observables"]
        if which in (row.get("observable"), row.get("test_function"))
    ]


def assert_equal(result, name, number):
    """A linear function is the test function, on both sides."""
    for own, built_in in zip(rows(result, name), rows(result, number), strict=True):
        assert own["t"] == built_in["t"]
        for key in ("mean", "stderr", "pde"):
            assert own[key] == pytest.approx(built_in[key], rel=1e-12, abs=1e-14)


def test_charges_and_their_squared_dipole_moment(run):
    result = run(SIGNED, {"bump": {}, "dipole": {}})
    assert_equal(result, "bump", 0)
    assert len(rows(result, "dipole")) == 6
    for row in rows(result, "dipole"):
        variance = 2 * (0.6**2 + 0.5**2 * row["t"]) / row["N"]
        assert row["pde"] == pytest.approx(0.2**2, rel=0.01)
        assert abs(row["mean"] - 0.2**2 - variance) < SE * row["stderr"]
        assert variance > 2 * SE * row["stderr"]  # so that it would be missed


def test_masses_and_the_square_of_what_is_conserved(run):
    result = run(COAGULATION, {"numbers": {"values": 3}})
    assert_equal(result, "numbers[0]", 0)
    for row in rows(result, "numbers[1]"):
        assert row["mean"] == pytest.approx(1.0, rel=1e-12)
        assert row["pde"] == pytest.approx(1.0, rel=1e-4)  # but for masses above n_max
    assert [row["pde"] for row in rows(result, "numbers[2]")] == pytest.approx([0.0, 0.01, 0.02])
    table = tables.read_columns(result.directory / "particles/N64/observables.csv")
    means = [row["mean"] for row in rows(result, "numbers[0]")]
    assert table["observable_numbers[0]_mean"].tolist() == means


def test_the_energy_of_pairs_under_a_harmonic_interaction(run):
    result = run(MEANFIELD, {"pairs": {}})
    for row in rows(result, "pairs"):
        _, variance = gaussian_law(np.array([0.3]), 0.25, row["t"], diffusivity=0.125, attraction=1.0)
        assert row["pde"] == pytest.approx(variance / 2, rel=0.01)
        assert abs(row["mean"] - (1 - 1 / 20) * variance / 2) < SE * row["stderr"]  # exact but for the step


@pytest.mark.parametrize("form", [pytest.param("density", marks=pytest.mark.ranks), "hamiltonian"])
def test_positions_and_velocities(run, form):
    case = VLASOV | {"model": VLASOV["model"] | {"form": form}}
    result = run(case, {"phase": {"values": 2}})
    assert_equal(result, "phase[0]", 0)
    table = tables.read_columns(result.directory / "particles/N50/observables.csv")
    assert [row["mean"] for row in rows(result, "phase[1]")] == pytest.approx(table["kinetic_mean"], rel=1e-12)


def test_of_the_solution_alone(run):
    case = {name: part for name, part in SIGNED.items() if name != "particles"}
    found = rows(run(case, {"dipole": {}}), "dipole")
    assert [row["t"] for row in found] == [0.0, 0.1, 0.2]
    assert all(row["pde"] == pytest.approx(0.2**2, rel=0.01) and "N" not in row for row in found)


@pytest.mark.ranks
def test_a_run_that_was_stopped_goes_on_with_them(run, monkeypatch):
    case = SIGNED | {"particles": SIGNED["particles"] | {"replicas": 4}}
    whole = run(case, {"dipole": {}}, "whole")
    true_check, left = StopRequest.check, [8]

    def check(self, comm):
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted("stopped by the test")
        true_check(self, comm)

    monkeypatch.setattr(StopRequest, "check", check)
    with pytest.raises(Interrupted):
        run(case, {"dipole": {}}, "stopped")
    again = run(case, {"dipole": {}}, "stopped", resume=True)
    for one, other in zip(rows(again, "dipole"), rows(whole, "dipole"), strict=True):
        assert one.keys() == other.keys()
        assert one["pde"] == pytest.approx(0.2**2, rel=0.01)
        for key in ("t", "mean", "pde"):
            assert one[key] == pytest.approx(other[key], rel=1e-12)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("random", "must return the same numbers"),
        ("each", "must return a number; it returned the shape"),
        ("broken", "must return finite real numbers, not nan"),
        pytest.param("late", "must return finite real numbers, not inf", marks=pytest.mark.ranks),
        ("absent", "has no function absent"),
    ],
)
def test_what_is_refused(run, name, message):
    with pytest.raises(InputError, match=message):
        run(SIGNED, {name: {}})


def test_what_a_case_refuses(tmp_path):
    one = {"python": "f.py:g", "name": "a"}
    for changed, message in (
        ({"observables": [one, one]}, "two have the name 'a'"),
        ({"observables": [one | {"name": "a|b"}]}, "name"),
        ({"observables": []}, "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            cases.check(SIGNED | {"compare": SIGNED["compare"] | changed})
