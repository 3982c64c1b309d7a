"""Whole runs of the Vlasov system: what the contract promises, wrong models that must be refuted, and going on.

Load: the right particles pass and those of a wrong potential are refuted by W and by the observables; W is of order
1/N and explained by its compensator; a run that was stopped goes on to the same result; every form gives the same
|alpha|^2.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import copy

import numpy as np
import pytest

from limitpde import case as cases
from limitpde.errors import InputError, Interrupted
from limitpde.parallel import StopRequest
from limitpde.results import tables
from limitpde.results.fields import read_fields
from limitpde.system import system_of

SE = 4.5
CASE = {
    "system": "vlasov",
    "seed": 5,
    "model": {
        "dimension": 1,
        "potential": {"kind": "cosine", "strength": -1.0},
        "domain": {"x": [0.0, 2 * np.pi], "v": [-5.0, 5.0], "periodic": True},
    },
    "initial": {"shape": "landau", "k": 1.0, "amplitude": 0.8, "thermal": 0.6},
    "time": {"end": 2.0},
    "pde": {"cells": [16, 32], "degree": 3, "step": 0.2, "order": 4},
    "particles": {"counts": [50, 200], "replicas": 100, "step": 0.05},
    "compare": {
        "test_functions": [
            {"shape": "wave", "k": [1.0, 0.0]},
            {"shape": "gaussian", "center": [1.5, 0.5], "width": 0.9},
        ]
    },
    "output": {"every": 0.5, "pictures": False},
}


def changed(**sections):
    case = copy.deepcopy(CASE)
    for name, values in sections.items():
        case[name] = case.get(name, {}) | values
    return case


def without(*sections):
    return {name: section for name, section in copy.deepcopy(CASE).items() if name not in sections}


def run(folder, comm, case=CASE, **options):
    return limitpde.run(cases.check(case), out=folder, comm=comm, check=False, **options).summary


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    folder = comm.bcast(str(tmp_path_factory.mktemp("truth")) if comm.rank == 0 else None, root=0)
    return run(folder, comm)


@pytest.mark.ranks
def test_newtons_particles_pass(truth):
    assert truth["status"] == "done", truth.get("reason")
    assert all(abs(entry["deviation"]) < SE for entry in truth["compare"]["observables"] if "deviation" in entry)
    for entry in truth["compare"]["residual"]:
        assert entry["mean"] == pytest.approx(entry["theory_mean"], abs=1e-7)
    rates = {(r["quantity"], r["test_function"]): r for r in truth["compare"]["rates"]}
    assert ("residual_mean_abs", 0) not in rates  # no force enters the balance of cos x: W is rounding
    assert rates["residual_mean_abs", 1]["theory"] == -1.0
    assert rates["residual_mean_abs", 1]["slope"] == pytest.approx(-1.0, abs=0.25)
    assert rates["observable_mean_abs", 0]["theory"] == -0.5
    assert rates["observable_mean_abs", 0]["slope"] == pytest.approx(-0.5, abs=0.25)
    assert all(abs(entry["residual"]) < 1e-4 for entry in truth["compare"]["pde_residual"])


@pytest.mark.parametrize(
    "potential",
    [{"kind": "cosine", "strength": -1.3}, {"kind": "cosine", "strength": 1.0}, {"kind": "none"}],
    ids=["1.3", "sign", "none"],
)
def test_particles_of_a_wrong_potential_are_refuted(potential, shared_folder, comm):
    particles = {"counts": [200], "potential": potential}
    summary = run(shared_folder, comm, changed(particles=particles))
    assert summary["status"] == "done", summary.get("reason")
    wave = summary["compare"]["residual"][0]
    assert abs(wave["mean"]) < 1e-7  # cos x: the force does not enter its balance
    bump = summary["compare"]["residual"][1]
    assert abs(bump["mean"]) > 2 * SE * bump["stderr"]
    assert bump["mean"] == pytest.approx(bump["theory_mean"], abs=1e-7)
    last = [entry for entry in summary["compare"]["observables"] if entry["t"] == 2.0]
    assert max(abs(entry["deviation"]) for entry in last) > 2 * SE


@pytest.mark.ranks
def test_the_summary_has_what_the_contract_promises(truth):
    pde, (small, large) = truth["pde"], truth["particles"]
    assert pde["dofs"] == 64 * 128
    assert pde["steps"] == 10 + 2  # 0.5 is no multiple of 0.2: three steps each
    total = pde["mass"]["total"]
    assert total["start"] == pytest.approx(1.0, rel=1e-10)
    assert total["max_relative_drift"] < 1e-12
    assert pde["energy"]["max_relative_drift"] < 1e-5
    assert set(pde["energy"]) >= {"start", "end", "max_relative_drift"}
    assert pde["l2"]["end"] <= pde["l2"]["start"]
    assert abs(pde["momentum"]["end"][0]) < 1e-12
    assert pde["minimum"] > -1e-2
    assert len(pde["centre"]["end"]) == 1
    assert pde["second_moment"]["start"] > 0
    assert (small["N"], large["N"], large["replicas"], large["steps"]) == (50, 200, 100, 40)
    assert large["energy"]["max_relative_drift"] < 1e-2
    assert large["second_moment"]["end"]["stderr"] > 0
    assert set(truth["performance"]) == {"pde_dof_steps_per_second", "particle_steps_per_second"}


@pytest.mark.ranks
def test_a_stopped_run_goes_on_to_the_same_result(shared_folder, comm, truth, monkeypatch):
    left, check = [5], StopRequest.check

    def stopping(self, comm):
        left[0] -= 1
        if left[0] in (0, -8):  # in the middle of the PDE, and after the first particle number
            raise Interrupted("stopped by the test")
        check(self, comm)

    monkeypatch.setattr(StopRequest, "check", stopping)
    assert run(shared_folder, comm)["status"] == "interrupted"
    assert run(shared_folder, comm, resume=True)["status"] == "interrupted"
    resumed = run(shared_folder, comm, resume=True)
    assert resumed["status"] == "done"
    for part in ("pde", "particles"):
        assert_close(resumed[part], truth[part])
    for name in ("residual", "observables", "pde_residual"):
        assert_close(resumed["compare"][name], truth["compare"][name])
    if comm.rank == 0:
        table = tables.read_columns(shared_folder / "pde" / "diagnostics.csv")
        assert len(table["t"]) == 13


def assert_close(value, other):
    if isinstance(value, dict):
        assert value.keys() == other.keys()
        for key in value:
            assert_close(value[key], other[key])
    elif isinstance(value, list):
        assert len(value) == len(other)
        for pair in zip(value, other, strict=True):
            assert_close(*pair)
    elif isinstance(value, float):
        assert value == pytest.approx(other, rel=1e-6, abs=1e-9)
    else:
        assert value == other


def test_every_form_gives_the_same_density(shared_folder, comm):
    figures = {}
    for form in ("density", "hamiltonian", "hartree"):
        case = without("particles") | {"model": CASE["model"] | {"form": form}, "time": {"end": 1.0}}
        summary = run(shared_folder / form, comm, case)
        assert summary["status"] == "done", summary.get("reason")
        figures[form] = [entry["residual"] for entry in summary["compare"]["pde_residual"]]
        figures[form] += [summary["pde"]["energy"]["end"], summary["pde"]["second_moment"]["end"]]
    assert figures["hamiltonian"] == pytest.approx(figures["density"], abs=2e-4)
    assert figures["hartree"] == pytest.approx(figures["density"], abs=2e-4)


@pytest.mark.ranks
def test_theorem_4_8_from_a_case(shared_folder, comm):
    """One particle is excited at time 0; the figures are there, and those that are known are right."""
    excited = {"shape": "excited", "number": 1, "function": {"shape": "wave", "k": [1.0, 0.0]}}
    counting = {"counts": [4, 8], "replicas": 400, "step": 0.2, "exponents": [0.0, 0.2], "start": excited}
    case = without("particles") | {"model": CASE["model"] | {"form": "hamiltonian"}, "time": {"end": 0.4}, "output": {}}
    case["compare"] |= {"counting": counting, "budget": False}
    summary = run(shared_folder, comm, case)
    assert summary["status"] == "done", summary.get("reason")
    compare = summary["compare"]
    assert len(compare["counting"]) == 2 * 2 * 2
    for row in compare["counting"]:
        assert row["low"] <= row["high"]
        assert row["start"] == pytest.approx(min(row["N"] ** -row["lambda"], 1))
        if row["t"] == 0:
            assert row["below"] - SE * row["stderr"] - 1e-3 < row["start"] < row["above"] + SE * row["stderr"] + 1e-3
        else:
            assert row["log10_bound"] > row["log10_bound_measured_norms"] > np.log10(row["start"])
    for row in compare["marginals"]:
        assert abs(row["mean"] - row["limit"]) < row["bound"] + SE * row["stderr"]
    assert [row["theorem"] for row in compare["counting_rates"]] == pytest.approx([0.0, -0.2])
    if comm.rank == 0:
        assert "Theorem 4.8" in (shared_folder / "report.md").read_text()
        assert (shared_folder / "pictures" / "counting.png").exists()


@pytest.mark.ranks
def test_f_lies_on_the_phase_plane_for_paraview(shared_folder, comm):
    summary = run(shared_folder, comm, without("particles", "compare"))
    assert summary["status"] == "done", summary.get("reason")
    if comm.rank == 0:
        points, cells, values, t = read_fields(shared_folder / "pde" / "fields.vtkhdf")
        assert t == 2.0
        corners = points[cells]
        area = np.ptp(corners[:, :, 0], axis=1) * np.ptp(corners[:, :, 1], axis=1)
        assert (values["f"] * area).sum() == pytest.approx(summary["pde"]["mass"]["total"]["end"], rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"potential": {"kind": "yukawa"}}}, "potential"),
        ({"model": {"potential": {"kind": "cosin", "strength": 1.0}}}, "kind = 'cosin': .* did you mean cosine"),
        ({"model": {"domain": {"x": [0.0, float("nan")], "v": [-5.0, 5.0]}}}, r"domain.x\[1\] = nan: must be a finite"),
        ({"model": {"domain": {"x": [0.0, 6.3], "v": [[-5.0, 5.0], [-5.0, 5.0]]}}}, "domain.v has 2 intervals"),
        ({"initial": {"phase": [1.0, 0.0]}}, "initial.phase: model.form = 'density' has no phase"),
        ({"model": {"form": "hartree"}, "pde": {"positivity": True}}, "positivity = true: .* has no limiter"),
        (
            {
                "model": {"form": "hamiltonian"},
                "pde": {"cells": [8], "mesh": {"shape": "ball", "radius": 1, "cell_size": 1}},
            },
            "tensor grid",
        ),
        (
            {"pde": {"cells": [8], "mesh": {"shape": "disk", "radius": 1, "cell_size": 1}}},
            "'disk': has dimension 2, not 1",
        ),
        ({"pde": {"cells": [8], "mesh": {"shape": "torus", "size": 1, "cell_size": 1}}}, "a torus has no mesh"),
        (
            {"pde": {"cells": [8], "mesh": {"shape": "ball", "radius": 1, "cell_size": 1}, "parts": [1, 1, 1]}},
            r"pde.parts = \[1, 1, 1\]: must be 2 numbers",
        ),
        ({"particles": {"potential": {"kind": "harmonic"}}}, "particles.potential.kind = 'harmonic'"),
        ({"model": {"potential": {"kind": "harmonic", "strength": 1.0}}}, "periodic"),
        ({"model": {"dimension": 4}}, "dimension"),
        ({"model": {"domain": {"x": [1.0, 0.0], "v": [-5.0, 5.0]}}}, "domain"),
        ({"initial": {"k": 0.7}}, "initial.k"),
        ({"initial": {"amplitude": 1.5}}, "amplitude"),
        ({"pde": {"cells": [16]}}, "must be 2 numbers, of x, then of v"),
        ({"pde": {"degree": 6}}, "degree"),
        ({"pde": {"order": 3}}, "order"),
        ({"pde": {"fit": [3.0, 1.0]}}, "fit"),
        ({"pde": {"stpe": 0.1}}, "step"),
        ({"particles": {"counts": [10, 10]}}, "counts"),
        ({"compare": {"test_functions": [{"shape": "wave", "k": [1.0]}]}}, "2 entries"),
        ({"compare": {"counting": {"counts": [4], "step": 0.1}}}, "needs .pde. and model.form = 'hamiltonian'"),
        (
            {"compare": {"counting": {"counts": [4], "step": 0.1, "times": [3.0]}}, "model": {"form": "hartree"}},
            "times must not be after time.end",
        ),
        ({"compare": {"counting": {"counts": [1], "step": 0.1}}, "model": {"form": "hartree"}}, "at least 2"),
        ({"compare": {"test_functions": [{"shape": "wave", "k": [1.0, 0.0], "n": 1}]}}, "leave it out"),
    ],
)
def test_wrong_cases_are_one_clear_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        cases.check(changed(**changes))
    assert "\n" not in str(caught.value)


def test_a_density_that_does_not_fit_the_domain_is_pointed_out(shared_folder, comm):
    case = changed(model={"domain": {"x": [0.0, 2 * np.pi], "v": [-1.5, 1.5]}}, pde={"fit": [0.0, 9.0]})
    summary = run(shared_folder, comm, {name: case[name] for name in case if name not in ("particles", "compare")})
    assert summary["status"] == "done", summary.get("reason")
    outside, beyond = "of the mass is outside of model.domain", "goes beyond time.end"
    assert all(any(text in warning for warning in summary["warnings"]) for text in (outside, beyond))
    assert summary["pde"]["field_fit"]["end"] == case["time"]["end"]
    assert summary["pde"]["mass"]["total"]["start"] < 0.999


@pytest.mark.ranks
def test_more_numbers_than_the_memory_holds_are_refused_by_every_rank(comm):
    case = cases.check(without("particles", "compare") | {"pde": {"cells": [100_000, 100_000], "step": 0.1}})
    with pytest.raises(InputError, match="GiB for each of"):
        system_of(case).solver(case, comm)


def test_the_distances_do_not_depend_on_the_form(shared_folder, comm):
    found, few = {}, {"counts": [50], "replicas": 32}
    for form in ("density", "hartree"):
        case = changed(model={"form": form}, time={"end": 0.5}, pde={"fit": [0.0, 0.5]}, particles=few)
        case["compare"] |= {"budget": False, "fluctuations": False}
        summary = run(shared_folder / form, comm, case)
        assert summary["status"] == "done", summary.get("reason")
        found[form] = [entry["mean"] for entry in summary["compare"]["distances"]]
    assert found["hartree"] == pytest.approx(found["density"], rel=2e-3)
