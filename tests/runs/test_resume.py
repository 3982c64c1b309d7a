"""A run that was stopped, or killed, and goes on: the result is that of a run that was never stopped.

Load: fields, tables, residuals and figures of the resumed run against those of the whole one, on any number of ranks.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from limitpde import case as cases
from limitpde.errors import InputError, Interrupted
from limitpde.parallel import StopRequest, on_root
from limitpde.results import tables, vtkhdf
from limitpde.results.fields import read_fields
from limitpde.results.vtkhdf import times
from limitpde.signed import system

SIGNED = {
    "system": "signed",
    "seed": 3,
    "model": {"sigma": 0.5, "gamma_bar": 0.4},
    "initial": {
        "positive": [{"shape": "gaussian", "mass": 0.5, "center": [-0.8, 0.0], "width": 0.6}],
        "negative": [{"shape": "gaussian", "mass": 0.5, "center": [0.8, 0.0], "width": 0.6}],
    },
    "time": {"end": 0.2},
    "pde": {"mesh": {"shape": "disk", "radius": 4.0, "cell_size": 0.5}, "step": 0.02},
    "particles": {"counts": [8, 16], "replicas": 5, "step": 0.02},
    "compare": {"test_functions": [{"shape": "gaussian", "center": [0.0, 0.0], "width": 1.0}]},
    "output": {"every": 0.05, "pictures": False},
}
REFINED = {
    "system": "signed",
    "model": {"sigma": 1.0, "gamma_bar": 4.0, "interaction": "attractive"},
    "initial": {"positive": [{"shape": "gaussian", "mass": 1.0, "center": [0.2, 0.0], "width": 0.7}]},
    "time": {"end": 0.28},
    "pde": {
        "mesh": {"shape": "disk", "radius": 5.0, "cell_size": 1.0},
        "step": 0.02,
        "refinement": {"tolerance": 0.01, "smallest_cell": 0.02},
    },
    "output": {"every": 0.04, "pictures": False},
}
"""Its outputs are on five meshes: 2, 3, 1, 1 and 1 of them."""
SAME_BUT_FOR = ("wall_seconds", "performance", "ranks", "threads")


@pytest.fixture
def stop_after(monkeypatch):
    """Have the run asked to stop after so many checks (one each PDE step, one each particle number)."""

    def arrange(checks):
        left = [checks]
        true_check = StopRequest.check

        def check(self, comm):
            left[0] -= 1
            if left[0] == 0:
                raise Interrupted("stopped by the test")
            true_check(self, comm)

        monkeypatch.setattr(StopRequest, "check", check)

    return arrange


def run(folder, comm, case=SIGNED, **options):
    return limitpde.run(cases.check(case), out=folder, comm=comm, check=False, **options).summary


def common(tmp_path_factory):
    """A new folder, the same for all ranks."""
    comm = MPI.COMM_WORLD
    return Path(comm.bcast(str(tmp_path_factory.mktemp("whole")) if comm.rank == 0 else None, root=0))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder and summary of the run that was never stopped."""
    folder = common(tmp_path_factory)
    return folder, run(folder, MPI.COMM_WORLD)


@pytest.fixture(scope="module")
def whole_refined(tmp_path_factory):
    """Folder of the run on meshes that change that was never stopped."""
    folder = common(tmp_path_factory)
    run(folder, MPI.COMM_WORLD, REFINED)
    return folder


def assert_same(value, other, path=""):
    if isinstance(value, dict):
        assert value.keys() == other.keys(), path
        for key in value:
            if key not in SAME_BUT_FOR:
                assert_same(value[key], other[key], f"{path}.{key}")
    elif isinstance(value, list):
        assert len(value) == len(other), path
        for k, pair in enumerate(zip(value, other, strict=True)):
            assert_same(*pair, f"{path}[{k}]")
    elif isinstance(value, float) and isinstance(other, float | int):
        assert value == pytest.approx(other, rel=1e-8, abs=1e-11), path
    else:
        assert value == other, path


def assert_same_files(folder, whole):
    for name in ("pde/diagnostics.csv", "compare/residuals.csv", "particles/N8/observables.csv"):
        mine, theirs = tables.read_columns(folder / name), tables.read_columns(whole / name)
        assert mine.keys() == theirs.keys()
        for column in mine:
            if mine[column].dtype.kind == "f" and not column.startswith("iterations"):
                np.testing.assert_allclose(mine[column], theirs[column], rtol=1e-8, atol=1e-11, err_msg=column)
    assert_same_fields(folder / "pde/fields.vtkhdf", whole / "pde/fields.vtkhdf")


def grids_in(path):
    with vtkhdf.reading(path) as group:
        return len(group["NumberOfPoints"])


def assert_same_fields(path, other):
    np.testing.assert_allclose(times(path), times(other), rtol=1e-12)
    for step in range(len(times(path))):
        (points, cells, mine, _), (other_points, other_cells, theirs, _) = (
            read_fields(path, step),
            read_fields(other, step),
        )
        np.testing.assert_allclose(points, other_points, rtol=0, atol=1e-12)
        assert np.array_equal(cells, other_cells)
        for field in mine:
            np.testing.assert_allclose(mine[field], theirs[field], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "checks", [1, pytest.param(4, marks=pytest.mark.ranks), 12, pytest.param(13, marks=pytest.mark.ranks)]
)
def test_a_stopped_run_goes_on_to_the_same_result(shared_folder, comm, whole, stop_after, checks):
    folder, summary = whole
    stop_after(checks)
    first = run(shared_folder / "r", comm)
    assert first["status"] == "interrupted"
    second = run(shared_folder / "r", comm, resume=True)
    assert second["status"] == "done"
    assert_same(second, summary | {"title": second["title"]})
    if comm.rank == 0:
        assert_same_files(shared_folder / "r", folder)


@pytest.mark.parametrize(("checks", "meshes"), [(12, 1), pytest.param(60, 2, marks=pytest.mark.ranks), (150, 4)])
def test_a_run_on_a_mesh_that_changes_goes_on(shared_folder, comm, whole_refined, stop_after, checks, meshes):
    """Stopped when the fields are on so many meshes; that of the last output may have changed since."""
    path = "pde/fields.vtkhdf"
    stop_after(checks)
    run(shared_folder / "r", comm, REFINED)
    assert on_root(comm, lambda: grids_in(shared_folder / "r" / path)) == meshes
    assert run(shared_folder / "r", comm, REFINED, resume=True)["status"] == "done"

    assert on_root(comm, lambda: grids_in(shared_folder / "r" / path)) == 5
    on_root(comm, lambda: assert_same_fields(shared_folder / "r" / path, whole_refined / path))


@pytest.mark.ranks
def test_replicas_that_are_kept_are_not_simulated_again(shared_folder, comm, stop_after, monkeypatch):
    stop_after(13)  # after the twelve steps of the PDE: N = 8 is finished
    run(shared_folder / "r", comm)
    seen = []
    simulate = system.simulate

    def watched(*arguments, controls, **options):
        seen.append(controls.finished)
        return simulate(*arguments, controls=controls, **options)

    monkeypatch.setattr(system, "simulate", watched)
    run(shared_folder / "r", comm, resume=True)
    kept = [sorted(number for part in finished for number in part["replicas"]) for finished in seen]
    assert kept == [[0, 1, 2, 3, 4], [], []]  # the last ones are those that halve their steps


def test_another_case_does_not_go_on(tmp_path, comm):
    run(tmp_path, comm)
    with pytest.raises(InputError, match="is the result of another case"):
        run(tmp_path, comm, {**SIGNED, "seed": 4}, resume=True)
    assert (tmp_path / "report.md").exists()


def test_resume_without_an_earlier_run_begins(tmp_path, comm):
    assert run(tmp_path / "new", comm, resume=True)["status"] == "done"


def test_without_resume_a_checkpoint_is_forgotten(tmp_path, comm, stop_after):
    stop_after(4)
    run(tmp_path, comm)
    assert list((tmp_path / "checkpoint").glob("*.npz"))
    again = run(tmp_path, comm)
    assert again["pde"]["steps"] == 12


@pytest.mark.ranks
def test_a_damaged_checkpoint_is_named_and_not_used(shared_folder, comm, whole, stop_after):
    folder, summary = whole
    stop_after(4)
    run(shared_folder / "r", comm)
    on_root(comm, lambda: (shared_folder / "r/checkpoint/solution.npz").write_bytes(b"nothing"))
    second = run(shared_folder / "r", comm, resume=True)
    note = "damaged since it was written: checkpoint/solution.npz; the equation begins anew, from t = 0"
    assert second.pop("warnings") == [note, *summary["warnings"]]
    assert_same(second, {key: value for key, value in summary.items() if key != "warnings"})
    if comm.rank == 0:
        assert_same_files(shared_folder / "r", folder)
