"""Whole runs of the coagulating system: what the contract promises, wrong models that must be refuted, and going on.

Load: a right beta passes and wrong ones (a factor, the naive rate) are refuted by W, by the observables and by the fit;
a run that was stopped goes on to the same result; the micro simulation is the same on any number of ranks.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import copy

import numpy as np
import pytest

from limitpde import case as cases
from limitpde.errors import Interrupted
from limitpde.parallel import StopRequest
from limitpde.results import tables

SE = 4.5
CASE = {
    "system": "coagulation",
    "seed": 7,
    "model": {
        "dimension": 3,
        "diffusion": [1.0],
        "interaction": {"shape": "ball", "alpha": 20.0},
        "n_max": 1,
        "reaction": "annihilation",
    },
    "initial": {"masses": [{"n": 1, "shape": "uniform", "mass": 1.0}]},
    "time": {"end": 0.1},
    "pde": {"mesh": {"shape": "point"}, "step": 0.001},
    "particles": {"counts": [100, 400], "replicas": 60, "method": "micro"},
    "compare": {"test_functions": [{"shape": "wave", "k": [0.0, 0.0, 0.0], "n": 1}]},
    "output": {"every": 0.02, "pictures": False},
}


def changed(**sections):
    case = copy.deepcopy(CASE)
    for name, values in sections.items():
        case[name] |= values
    return case


def run(folder, comm, case=CASE, **options):
    return limitpde.run(cases.check(case), out=folder, comm=comm, check=False, **options).summary


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    folder = comm.bcast(str(tmp_path_factory.mktemp("truth")) if comm.rank == 0 else None, root=0)
    return run(folder, comm)


@pytest.mark.ranks
def test_the_right_rate_passes(truth):
    assert truth["status"] == "done"
    largest = [entry for entry in truth["compare"]["residual"] if entry["N"] == 400]
    assert all(abs(entry["mean_deviation"]) < SE for entry in largest)
    assert all(
        abs(entry["deviation"]) < SE
        for entry in truth["compare"]["observables"]
        if entry["N"] == 400 and "deviation" in entry
    )
    fitted = {entry["N"]: entry for entry in truth["compare"]["fitted_beta"]}
    assert abs(fitted[400]["deviation"]) < SE
    assert abs(fitted[400]["naive_deviation"]) > 50
    assert abs(truth["compare"]["pde_residual"][0]["residual"]) < 1e-4


@pytest.mark.parametrize(
    "beta", [{"scale": 1.3}, {"scale": 2.0}, {"kernel": "constant", "scale": 83.7758}], ids=["1.3", "twice", "naive"]
)
def test_wrong_rates_are_refuted(shared_folder, comm, beta):
    summary = run(shared_folder, comm, changed(model={"beta": beta}, particles={"counts": [400]}))
    (residual,) = summary["compare"]["residual"]
    assert abs(residual["mean_deviation"]) > 2 * SE
    last = [entry for entry in summary["compare"]["observables"] if entry["t"] == 0.1]
    assert all(abs(entry["deviation"]) > 2 * SE for entry in last)
    (fitted,) = summary["compare"]["fitted_beta"]
    assert abs(fitted["deviation"]) > 2 * SE
    assert abs(fitted["beta"] - 17.2135003584) < SE * fitted["stderr"]  # the particles know nothing of it


def test_a_function_that_varies_is_seen_through_candidates_that_do(comm):
    """Even data: a constant candidate density would make W of a wave zero, whatever the particles do."""
    wave = {"test_functions": [{"shape": "wave", "k": [2 * np.pi, 0.0, 0.0], "n": 1}]}
    assert cases.check(CASE).deltas == (None,)
    assert cases.check(changed(compare=wave)).deltas == (0.1,)
    without = {name: section for name, section in changed(compare=wave).items() if name != "particles"}
    assert cases.check(without).deltas == ()


@pytest.mark.ranks
def test_the_summary_has_what_the_contract_promises(truth):
    pde, (small, large) = truth["pde"], truth["particles"]
    assert pde["mass"]["total"]["end"] + pde["mass"]["annihilated"]["end"] == pytest.approx(1.0, abs=1e-12)
    assert pde["mass"]["total"]["max_relative_drift"] < 1e-12
    assert pde["minimum"] >= 0
    expected = 1 / (1 + pde["beta"][0][0] * 0.1)
    assert pde["density_end"] == pytest.approx([expected], rel=1e-4)  # a step of (beta dt)^2 = 3e-4
    assert np.shape(pde["beta"]) == (1, 1)
    assert (small["N"], large["N"], large["replicas"]) == (100, 400, 60)
    alive = large["survivors"]
    assert alive["times"][-1] == 0.1
    assert len(alive["times"]) == len(alive["mean"]) == len(alive["stderr"])
    assert alive["mean"][0] == 400
    assert set(truth["performance"]) == {"pde_dof_steps_per_second", "particle_steps_per_second"}


@pytest.mark.ranks
def test_a_stopped_run_goes_on_to_the_same_result(shared_folder, comm, truth, monkeypatch):
    left, check = [40], StopRequest.check

    def stopping(self, comm):
        left[0] -= 1
        if left[0] == 0 or left[0] == -62:  # in the middle of the PDE, and after the first particle number
            raise Interrupted("stopped by the test")
        check(self, comm)

    monkeypatch.setattr(StopRequest, "check", stopping)
    assert run(shared_folder, comm)["status"] == "interrupted"
    assert run(shared_folder, comm, resume=True)["status"] in ("interrupted", "done")
    again = run(shared_folder, comm, resume=True)
    assert again["status"] == "done"
    for part in ("residual", "observables", "martingale", "fitted_beta"):
        for mine, other in zip(again["compare"][part], truth["compare"][part], strict=True):
            assert mine.keys() == other.keys()
            for key, value in mine.items():
                close = value == other[key] if isinstance(value, str) else np.isclose(value, other[key], rtol=1e-9)
                assert close, (part, key)
    assert again["pde"]["density_end"] == pytest.approx(truth["pde"]["density_end"], rel=1e-12)
    if comm.rank == 0:
        rows = tables.read_columns(shared_folder / "pde" / "diagnostics.csv")
        assert len(rows["t"]) == 101
        assert np.all(np.diff(rows["t"]) > 0)
