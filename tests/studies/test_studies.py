"""Studies: many runs of one case, on any number of ranks, refined until there is a verdict, resumed after a kill.

The load is carried by `test_a_sweep_is_the_runs_one_by_one` (each row and each folder is that of a run of its own),
`test_a_killed_study_goes_on` and `test_runs_are_refined_to_a_precision`.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import json
import os
import signal
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from mpi4py import MPI
from processes import call, limitpde_, started
from small import CHARGES, POINT

from limitpde import case as cases
from limitpde import needs
from limitpde.compare.companions import Orders
from limitpde.errors import InputError
from limitpde.parallel import StopRequest, on_root
from limitpde.refining import refinements
from limitpde.results.study import _same_range
from limitpde.studies import Sweep
from limitpde.study_needs import together
from limitpde.study_plan import StudyRun

ALPHAS = [5.0, 10.0, 20.0]
TIMES = ("seconds",)


@pytest.fixture
def quick_pictures(monkeypatch):
    """Runs that draw nothing: the picture of the study is drawn all the same."""
    monkeypatch.setattr("limitpde.results.pictures.draw", lambda folder, painters: ([], []))


def furnish(folder, text=POINT):
    (folder / "case.toml").write_text(text)
    return folder / "case.toml"


# --- what is to run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b=0.5,1.0", [0.5, 1.0]),
        ("a.b=1", [1]),
        ("a.b=[1, 2],[3]", [[1, 2], [3]]),
        ("a.b=signed,repulsive", ["signed", "repulsive"]),
        ('a.b="x,y",z', ["x,y", "z"]),
        ("a.b={ c = 1, d = [2, 3] },true", [{"c": 1, "d": [2, 3]}, True]),
    ],
)
def test_values_are_those_of_toml(text, values):
    assert cases.sweep_of([text]) == {"a.b": values}


@pytest.mark.parametrize("texts", [["a.b"], ["a.b="], ["=1"], ["a..b=1"], ["a=1", "a=2"]])
def test_what_is_no_sweep(texts):
    with pytest.raises(InputError, match="--over"):
        cases.sweep_of(texts)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ((), "nothing to vary"),
        (("--over", "model.n_maxx=1,2"), "n_maxx: unknown key"),
        (("--over", "model.n_max=4,-1"), "model.n_max = -1"),
        (("--over", "model.n_max=4,8", "--over", "pde.step=0.01", "--zip"), "as many values"),
        (("--precision", "0.1"), "needs [compare]"),
        (("--over", "model.n_max=4", "--precision", "2"), "precision"),
        (("--budget", "10"), "nothing to refine"),
    ],
)
def test_a_wrong_study_is_refused_before_anything_runs(tmp_path, capsys, arguments, fragment):
    path = furnish(tmp_path)
    code, _, told = call(capsys, "study", path, "--out", tmp_path / "s", *arguments)
    assert code == 2
    assert fragment in told
    assert not (tmp_path / "s").exists()


# --- sweeps -----------------------------------------------------------------------------------------------------------


@pytest.mark.ranks
@pytest.mark.usefixtures("quick_pictures")
def test_a_sweep_is_the_runs_one_by_one(shared_folder, comm):
    path = on_root(comm, lambda: furnish(shared_folder))
    over = {"model.interaction.alpha": np.array(ALPHAS), "model.n_max": [4, 5]}
    result = limitpde.study(path, over=over, out=shared_folder / "s", comm=comm)
    assert result["status"] == "done"
    assert [entry["run"] for entry in result["runs"]] == [f"run00{k}" for k in range(1, 7)]
    wanted = [{"model.interaction.alpha": alpha, "model.n_max": n} for alpha in ALPHAS for n in (4, 5)]
    assert [entry["values"] for entry in result["runs"]] == wanted
    if comm.rank == 0:
        table = result.table
        assert table["model.n_max"].tolist() == [4, 5] * 3
        changes = ["model.interaction.alpha=20.0", "model.n_max=5"]
        alone = limitpde.run(path, overrides=changes, out=shared_folder / "alone", comm=MPI.COMM_SELF)
        assert table["pde.moments.0.end"].iloc[-1] == alone["pde"]["moments"]["0"]["end"]
        last = result.runs[-1]
        assert (last.case.model, last["pde"]) == (alone.case.model, alone["pde"])
        assert last.diagnostics.equals(alone.diagnostics)
        assert {path.name for path in (shared_folder / "s").iterdir() if path.is_file()} == {
            "case.toml",
            "files.txt",
            "report.html",
            "report.md",
            "study.csv",
            "study.png",
            "summary.json",
        }
        assert "6 runs: 6 done." in (shared_folder / "s" / "report.md").read_text()


@pytest.mark.usefixtures("quick_pictures")
def test_the_case_says_what_varies_and_keys_may_go_together(tmp_path):
    text = POINT + '[study]\nzip = true\nover = { "model.n_max" = [4, 5], "pde.step" = [0.01, 0.005] }\n'
    result = limitpde.study(furnish(tmp_path, text), out=tmp_path / "s", comm=MPI.COMM_SELF)
    assert [entry["values"] for entry in result["runs"]] == [
        {"model.n_max": 4, "pde.step": 0.01},
        {"model.n_max": 5, "pde.step": 0.005},
    ]
    assert tomllib.loads((tmp_path / "s/run002/case.toml").read_text())["pde"]["step"] == 0.005
    assert "study" not in tomllib.loads((tmp_path / "s/run002/case.toml").read_text())
    assert limitpde.study(cases.read(tmp_path / "case.toml"), out=tmp_path / "t", comm=MPI.COMM_SELF)["runs"]


@pytest.mark.ranks
@pytest.mark.usefixtures("quick_pictures")
def test_a_run_that_fails_is_a_row(shared_folder, comm):
    """Particles that fly apart; and data that the mesh does not see, which only the solver finds out."""
    path = on_root(comm, lambda: furnish(shared_folder, CHARGES))
    over = {"model.sigma": [1.0, 1.3e154]}
    result = limitpde.study(path, over=over, out=shared_folder / "s", overrides=["model.gamma_bar=0.0"], comm=comm)
    assert [entry["status"] for entry in result["runs"]] == ["done", "failed"]
    assert "no finite number" in result["runs"][1]["reason"] or "overflow" in result["runs"][1]["reason"]
    assert (result["status"], result["reason"]) == ("failed", "1 of 2 runs failed")


@pytest.mark.usefixtures("quick_pictures")
def test_the_command_ends_with_3_where_a_run_fails(tmp_path, capsys):
    path = furnish(tmp_path, CHARGES)
    arguments = ("--out", tmp_path / "s", "--over", "model.sigma=1.0,1.3e154", "--set", "model.gamma_bar=0.0")
    code, out, told = call(capsys, "study", path, *arguments)
    assert code == 3
    assert "run002: model.sigma = 1.3e+154: failed" in told
    assert "1 of 2 runs failed" in told
    assert "report.md" in out
    assert call(capsys, "show", tmp_path / "s")[0] == 0


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_killed_study_goes_on(tmp_path):
    furnish(tmp_path)
    arguments = ("study", "case.toml", "--over", "model.n_max=4,5,6,7,8,9", "--out", "s")
    with started(*arguments, cwd=tmp_path) as process:
        deadline = time.monotonic() + 100
        while not (tmp_path / "s/run003/summary.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finished = [path for path in sorted(tmp_path.glob("s/run*/summary.json")) if status_of(path) == "done"]
    assert finished
    before = {path: path.stat().st_mtime_ns for path in finished}
    table = limitpde.Result(tmp_path / "s").table
    assert table["status"].tolist().count("done") >= 2
    assert table["status"].tolist()[-1] == "not run"
    out, _ = limitpde_(*arguments, "--resume", ranks=2, cwd=tmp_path)
    assert "6 runs: 6 done." in out
    assert {path: path.stat().st_mtime_ns for path in finished} == before
    result = limitpde.Result(tmp_path / "s")
    assert result.table["model.n_max"].tolist() == [4, 5, 6, 7, 8, 9]
    assert (result.table["pde.moments.0.end"] < 1).all()


def test_ctrl_c_ends_a_study_with_130(tmp_path):
    furnish(tmp_path)
    arguments = ("study", "case.toml", "--over", "model.n_max=4,5,6,7,8,9", "--out", "s")
    with started(*arguments, cwd=tmp_path) as process:
        deadline = time.monotonic() + 100
        while not (tmp_path / "s/run002/summary.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume goes on" in err
    table = limitpde.Result(tmp_path / "s").table
    assert table["status"].iloc[0] == "done"
    assert table["status"].iloc[-1] == "not run"
    assert "stopped" in (tmp_path / "s/report.md").read_text()


def status_of(path: Path) -> str:
    return json.loads(path.read_text())["status"]


@pytest.mark.ranks
@pytest.mark.usefixtures("quick_pictures")
def test_a_stopped_study_goes_on_to_the_same_table(shared_folder, comm, monkeypatch):
    path = on_root(comm, lambda: furnish(shared_folder))
    over = {"model.n_max": [4, 5, 6, 7]}
    whole = limitpde.study(path, over=over, out=shared_folder / "whole", comm=comm)
    true_check, left = StopRequest.check, [7]

    def check(self, comm):
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGTERM)  # of this rank; the handler asks the run and the study around it
        true_check(self, comm)

    with monkeypatch.context() as patched:
        patched.setattr(StopRequest, "check", check)
        stopped = limitpde.study(path, over=over, out=shared_folder / "s", comm=comm)
    assert stopped["status"] == "interrupted"
    assert {"interrupted", "not run"} & {entry["status"] for entry in stopped["runs"]}
    resumed = limitpde.study(path, over=over, out=shared_folder / "s", resume=True, comm=comm)
    assert resumed["status"] == "done"
    for one, other in zip(resumed["runs"], whole["runs"], strict=True):
        assert one["values"] == other["values"]
        same = {key for key in one["figures"] if key not in TIMES}
        assert {key: one["figures"][key] for key in same} == pytest.approx({key: other["figures"][key] for key in same})


@pytest.mark.usefixtures("quick_pictures")
def test_another_study_does_not_go_on(tmp_path):
    path = furnish(tmp_path)
    limitpde.study(path, over={"model.n_max": [4]}, out=tmp_path / "s", comm=MPI.COMM_SELF)
    with pytest.raises(InputError, match="another case"):
        limitpde.study(path, over={"model.n_max": [5]}, out=tmp_path / "s", resume=True, comm=MPI.COMM_SELF)
    (tmp_path / "s/mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"mine\.txt"):
        limitpde.study(path, over={"model.n_max": [5]}, out=tmp_path / "s", comm=MPI.COMM_SELF)


# --- refinement -------------------------------------------------------------------------------------------------------


@pytest.mark.ranks
@pytest.mark.usefixtures("quick_pictures")
def test_runs_are_refined_to_a_precision(shared_folder, comm):
    """Particles alone: their balance is known to 3 % with more replicas, those that the verdict has asked for."""
    path = on_root(comm, lambda: furnish(shared_folder, CHARGES))
    given = {"over": {"model.sigma": [0.5, 1.0]}, "precision": 0.03, "comm": comm}
    result = limitpde.study(path, out=shared_folder / "s", **given)
    ends = {entry["run"]: entry["figures"]["verdict.status"] for entry in result["runs"]}
    assert ends["run001"] == ends["run002"] == "undecided"
    for point in ("run001", "run002"):
        last = [entry for entry in result["runs"] if entry["run"].startswith(point)][-1]
        assert last["figures"]["verdict.status"] == "confirmed"
        assert last["figures"]["verdict.detectable"] <= 0.03
        assert last["values"]["particles.replicas"] > 8
        assert (shared_folder / "s" / last["run"] / "summary.json").is_file()
    again = limitpde.study(path, out=shared_folder / "s", resume=True, **given)
    assert [entry["run"] for entry in again["runs"]] == [entry["run"] for entry in result["runs"]]


@pytest.mark.usefixtures("quick_pictures")
def test_a_budget_ends_the_refinement(tmp_path, monkeypatch):
    """There is time until three runs are done."""
    monkeypatch.setattr(Sweep, "_left", property(lambda self: 1000.0 if len(self._entries) < 3 else 0.0))
    text = CHARGES.replace("[compare]", "[compare]\nprecision = 1e-4")
    result = limitpde.study(furnish(tmp_path, text), budget=1000.0, out=tmp_path / "s", comm=MPI.COMM_SELF)
    assert result["status"] == "done"
    assert [entry["run"] for entry in result["runs"]] == ["run001", "run001-2", "run001-3"]
    assert [entry["values"]["particles.replicas"] for entry in result["runs"]] == [8, 130, 2100]
    assert "would take about" in result["runs"][-1]["note"]
    assert "0 s of the budget are left" in result["runs"][-1]["note"]


def test_without_time_no_run_begins(tmp_path):
    path = furnish(tmp_path)
    result = limitpde.study(path, over={"model.n_max": [4]}, budget=1e-9, out=tmp_path / "s", comm=MPI.COMM_SELF)
    assert result["runs"][0]["status"] == "not run"
    assert "of the budget are left" in result["runs"][0]["reason"]


CASE = {
    "system": "signed",
    "model": {"sigma": 0.5, "gamma_bar": 0.4},
    "initial": {"positive": [{"shape": "gaussian", "mass": 1.0, "center": [0.0, 0.0], "width": 0.6}]},
    "time": {"end": 1.0},
    "pde": {"mesh": {"shape": "disk", "radius": 4.0, "cell_size": 0.2}, "step": 0.02},
    "particles": {"counts": [64, 256], "replicas": 10, "step": 0.01},
    "compare": {"test_functions": [{"shape": "gaussian", "center": [0.0, 0.0], "width": 1.0}]},
}


def undecided(**verdict):
    return {"verdict": {"status": "undecided", "sentence": "", "precision": 0.02, "causes": []} | verdict}


@pytest.mark.parametrize(
    ("verdict", "changes"),
    [
        # a fifth more than are advised, as these are an estimate
        ({"reductions": {"statistics": 2.0}, "replicas": 50}, [{"particles.replicas": 60}]),
        # both to blame; the largest alone is the cheaper way
        (
            {"reductions": {"statistics": 6.0, "mesh": 4.0}, "replicas": 900},
            [{"particles.replicas": 160, "pde.mesh.cell_size": 0.1}, {"particles.replicas": 160}],
        ),
        ({"reductions": {"step": 4.0}}, [{"pde.step": 0.00912}]),
        ({"reductions": {"the particles' step": 2.0}}, [{"particles.step": 0.00416}]),
        ({"reductions": {"finite N": 2.0}}, [{"particles.counts": [128, 512]}]),
        # how many replicas would do is not known
        ({"reductions": {"statistics": 2.0}}, [{"particles.replicas": 58}]),
        (
            {"reductions": {"mesh": 2.0, "step": 2.0}},
            [{"pde.mesh.cell_size": 0.129, "pde.step": 0.0129}, {"pde.mesh.cell_size": 0.129}],
        ),
        ({"reductions": {"domain": 10.0}}, []),
        ({}, []),
    ],
)
def test_what_a_run_changes(verdict, changes):
    assert refinements(cases.check(CASE), undecided(**verdict), Orders()) == changes


def test_a_decided_run_is_not_refined():
    decided = undecided(reductions={"statistics": 2.0})
    decided["verdict"]["status"] = "confirmed"
    assert refinements(cases.check(CASE), decided, Orders()) == []


def test_no_more_runs_at_once_than_memory_holds():
    runs = [StudyRun("run001", {}, cases.check(CASE))] * 8
    need = needs.estimate(runs[0].case, needs.Machine(1, 1, 1, 1e12)).node_memory
    assert together(runs, needs.Machine(ranks=8, neighbours=8, threads=1, memory=3.5 * need)) == 3
    assert together(runs, needs.Machine(ranks=8, neighbours=4, threads=1, memory=3.5 * need)) == 6
    assert together(runs, needs.Machine(ranks=8, neighbours=8, threads=1, memory=0.1 * need)) == 1


@pytest.mark.usefixtures("quick_pictures")
def test_a_picture_that_cannot_be_drawn_costs_no_report(tmp_path, monkeypatch):
    def broken(directory, canvas):
        raise ValueError("Axis limits cannot be NaN")

    monkeypatch.setattr("limitpde.results.study.paint", broken)
    limitpde.study(furnish(tmp_path), over={"model.n_max": [4]}, out=tmp_path / "s", comm=MPI.COMM_SELF)
    assert "could not be drawn (ValueError: Axis limits cannot be NaN)" in (tmp_path / "s/report.md").read_text()
    assert not (tmp_path / "s/study.png").exists()


def test_all_panels_have_the_range_of_all_runs():
    """One that shows the last run of a point alone, too, whose own range would be empty."""
    axes = Figure().subplots(1, 2)
    axes[0].errorbar([170.0], [0.83], [0.01])
    _same_range(axes[0], np.array([12.0, 170.0]), "particles.replicas")
    _same_range(axes[1], np.array([1.0, 2.0]), "")
    assert axes[0].get_xscale() == "log"
    assert axes[0].get_xlim() == pytest.approx((12 / (170 / 12) ** 0.05, 170 * (170 / 12) ** 0.05))
    assert axes[1].get_xlim() == pytest.approx((0.95, 2.05))
