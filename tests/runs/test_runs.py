"""A run to its end as a user meets it: files, tables, figures, the contract of the summary, any number of ranks.

The load is carried by `test_summary_keeps_the_contract`, `test_figures_are_what_they_say` (the summary against the
tables) and `test_ranks_do_not_matter` (files of 1, 2 and 3 ranks).
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import csv
import math
from pathlib import Path

import numpy as np
import pytest
from processes import (
    CASE,
    DRAWN,
    PYTHON,
    call,
    files_below,
    limitpde_,
    steps_of,
    summary_of,
)

from limitpde import case as cases
from limitpde.results.tables import read_columns

FILES = {
    "case.toml",
    "compare/rates.csv",
    "compare/residuals.csv",
    "files.txt",
    "particles/N4/observables.csv",
    "particles/N4/particles.vtkhdf",
    "particles/N8/observables.csv",
    "particles/N8/particles.vtkhdf",
    "pde/diagnostics.csv",
    "pde/fields.vtkhdf",
    "report.html",
    "report.md",
    "summary.json",
}


@pytest.fixture(scope="module")
def results(workshop):
    """The folders of the same case on 1, 2 and 3 ranks, and what was printed."""
    (workshop / "drawn.toml").write_text(DRAWN)
    printed = {}
    for ranks in (1, 2, 3):
        printed[ranks] = limitpde_("run", "drawn.toml", "--out", f"on{ranks}", ranks=ranks, cwd=workshop)
    return {ranks: (workshop / f"on{ranks}", *printed[ranks]) for ranks in printed}


# What a run leaves


def test_a_run_leaves_its_files_and_prints_one_line(results):
    for folder, out, err in results.values():
        verdict, where = out.splitlines()
        assert verdict == summary_of(folder)["verdict"]["sentence"]
        assert where == f"{folder.name}/report.md"
        assert err == ""
        found = files_below(folder)
        pictures = {name for name in found if name.startswith("pictures/")}
        checkpoint = {name for name in found if name.startswith("checkpoint/")}
        assert found - pictures - checkpoint == FILES
        assert len(pictures) >= 4
        assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
        report = (folder / "report.md").read_text()
        assert all(f"]({name})" in report for name in pictures)


def number(value):
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def count(value):
    return isinstance(value, int) and value > 0


MOMENT = {"mean": number, "stderr": number}
MASS = {"start": number, "end": number, "max_relative_drift": number}
CONTRACT = {
    "status": lambda value: value == "done",
    "versions": {"limitpde": str, "dolfinx": str, "petsc": str, "numpy": str},
    "ranks": count,
    "threads": count,
    "wall_seconds": dict.fromkeys(("pde", "particles", "compare", "output"), number),
    "performance": {"pair_interactions_per_second": {"4": number, "8": number}, "pde_dof_steps_per_second": number},
    "pde": {
        "dofs": count,
        "steps": count,
        "mass": {"positive": MASS, "negative": MASS},
        "minimum": number,
        "second_moment": {"start": number, "end": number},
        "centre": {"start": [number, number], "end": [number, number]},
        "free_energy": {"start": number, "end": number, "largest_increase": number},
    },
    "particles": [
        {"N": count, "replicas": count, "steps": count, "second_moment": {"start": MOMENT, "end": MOMENT}},
    ]
    * 2,
    "compare": {
        "residual": [
            {"N": count, "mean": number, "mean_abs": number, "variance": number, "stderr": number}
            | {"test_function": number, "theory_variance": number}
        ]
        * 4,
        "pde_residual": [{"test_function": number}] * 2,
        "rates": [{"quantity": str, "slope": number, "low": number, "high": number, "theory": number}] * 4,
        "fluctuations": [
            {"N": count, "test_function": number, "variance_theory": number, "variance": number, "stderr": number}
        ]
        * 4,
        "observables": [
            {"N": count, "test_function": number, "t": number, "mean": number, "stderr": number, "pde": number}
        ]
        * 12,
    },
}


def keeps(value, contract, path="summary"):
    if isinstance(contract, dict):
        for key, inner in contract.items():
            assert key in value, f"{path}.{key} is absent"
            keeps(value[key], inner, f"{path}.{key}")
    elif isinstance(contract, list):
        assert len(value) == len(contract), path
        for index, (item, inner) in enumerate(zip(value, contract, strict=True)):
            keeps(item, inner, f"{path}[{index}]")
    else:
        good = isinstance(value, contract) if isinstance(contract, type) else contract(value)
        assert good, f"{path} = {value!r}"


def test_summary_keeps_the_contract(results):
    for ranks, (folder, _, _) in results.items():
        summary = summary_of(folder)
        keeps(summary, CONTRACT)
        assert "reason" not in summary
        assert summary["ranks"] == ranks
        assert [entry["N"] for entry in summary["particles"]] == [4, 8]
        assert all(entry["replicas"] == 5 for entry in summary["particles"])
        assert {rate["theory"] for rate in summary["compare"]["rates"]} == {-0.5}
        assert {rate["theory"] for rate in summary["compare"]["fluctuation_rates"]} == {-1.0}
        pairs = {(entry["N"], entry["test_function"]) for entry in summary["compare"]["residual"]}
        assert pairs == {(n, p) for n in (4, 8) for p in (0, 1)}


def test_figures_are_what_they_say(results):
    folder = results[1][0]
    summary = summary_of(folder)
    pde, table = summary["pde"], read_columns(folder / "pde" / "diagnostics.csv")
    assert table["t"][0] == 0.0
    assert table["t"][-1] == pytest.approx(0.1, rel=1e-12)
    assert len(table["t"]) == pde["steps"] + 1
    assert pde["minimum"] == table["minimum"].min()
    assert pde["mass"]["positive"]["start"] == pytest.approx(0.5, rel=1e-12)
    assert 0 <= pde["mass"]["positive"]["max_relative_drift"] < 1e-12
    assert (pde["second_moment"]["start"], pde["second_moment"]["end"]) == tuple(table["second_moment"][[0, -1]])
    assert pde["free_energy"]["end"] < pde["free_energy"]["start"]
    rows = read_columns(folder / "compare" / "residuals.csv")
    for entry in summary["compare"]["residual"]:
        mine = (rows["system"] == "particles") & (rows["N"] == entry["N"]) & (rows["t"] == rows["t"].max())
        values = rows["residual"][mine & (rows["test_function"] == entry["test_function"])]
        assert len(values) == 5
        assert entry["mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert entry["mean_abs"] == pytest.approx(np.abs(values).mean(), rel=1e-12)
        assert entry["variance"] == pytest.approx(values.var(ddof=1), rel=1e-12)
        assert entry["stderr"] == pytest.approx(values.std(ddof=1) / math.sqrt(5), rel=1e-12)
        assert entry["theory_variance"] > 0


def test_tables_keep_the_contract(results):
    folder = results[1][0]
    headers = {}
    for name in sorted(files_below(folder)):
        if name.endswith(".csv"):
            with (folder / name).open(newline="") as file:
                rows = list(csv.reader(file))
            headers[name] = rows[0]
            assert {len(row) for row in rows} == {len(rows[0])}, name
    assert headers["compare/residuals.csv"] == ["system", "N", "replica", "test_function", "t", "residual"]
    assert headers["compare/rates.csv"] == ["quantity", "test_function", "slope", "slope_low", "slope_high", "theory"]
    assert headers["pde/diagnostics.csv"][0] == headers["particles/N4/observables.csv"][0] == "t"
    assert {"mass_positive", "mass_negative", "free_energy", "minimum"} <= set(headers["pde/diagnostics.csv"])
    rows = read_columns(folder / "compare" / "residuals.csv")
    particles = rows["system"] == "particles"
    assert np.unique(rows["t"][particles]).tolist() == [0.0, 0.05, 0.1]
    assert np.unique(rows["replica"][particles]).tolist() == [0, 1, 2, 3, 4]
    assert np.all(np.isin([0.0, 0.05], rows["t"][~particles]))
    assert np.all(rows["residual"][rows["t"] == 0] == 0)


def test_paraview_files_keep_the_contract(results):
    for folder, _, _ in results.values():
        times, points, arrays = steps_of(folder / "pde" / "fields.vtkhdf")
        assert times == pytest.approx((0.0, 0.05, 0.1))
        assert points == 1 + 3 * 8 * 9
        assert arrays >= {"rho_positive", "rho_negative", "potential"}
        for n in (4, 8):
            times, points, arrays = steps_of(folder / "particles" / f"N{n}" / "particles.vtkhdf")
            assert times == (0.0, 0.05, 0.1)
            assert (points, arrays) == (n, {"sign"})


def close(a, b, path="summary"):
    """Equal up to 1e-9 of the value, or to rounding where it is rounding."""
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a.keys() - {"wall_seconds", "performance", "ranks", "threads", "title"}:
            close(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), path
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            close(x, y, f"{path}[{index}]")
    elif isinstance(a, float):
        assert math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-13), f"{path}: {a} {b}"
    else:
        assert a == b, path


def rows_of_particles(folder):
    return [row for row in (folder / "compare/residuals.csv").read_text().splitlines() if row.startswith("particles,")]


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_do_not_matter(results, ranks):
    one, many = results[1][0], results[ranks][0]
    close(summary_of(one), summary_of(many))
    assert len(rows_of_particles(one)) == 2 * 5 * 2 * 3
    assert rows_of_particles(one) == rows_of_particles(many)
    for name in ("case.toml", "particles/N8/observables.csv"):
        assert (one / name).read_text() == (many / name).read_text()


def test_the_case_of_a_result_is_the_case(results, workshop):
    assert cases.read(results[1][0] / "case.toml") == cases.read(workshop / "drawn.toml")


def test_show_and_export(results, capsys):
    folder = results[2][0]
    before = {path.name for path in (folder / "pictures").iterdir()}
    for path in (folder / "pictures").iterdir():
        path.unlink()
    (folder / "report.md").unlink()
    code, out, _ = call(capsys, "show", folder)
    assert code == 0
    assert {Path(line).name for line in out.splitlines()} == before == {p.name for p in (folder / "pictures").iterdir()}
    assert "The run is done." in (folder / "report.md").read_text()
    code, out, _ = call(capsys, "export", folder)
    assert code == 0
    assert sorted(Path(line).name for line in out.splitlines()) == ["fields.pvd", "particles.pvd", "particles.pvd"]
    assert len(list((folder / "pde" / "fields.steps").iterdir())) == 3


# Where it is left


def test_a_run_from_elsewhere_replaces_an_earlier_one(workshop, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "result"
    mesh = ("--set", "pde.mesh=disk.msh", PYTHON.format("good"))
    short = ("time.end=0.04", "--set", "particles.replicas=2", "output.directory=result")
    assert call(capsys, "run", workshop / "case.toml", *mesh, *short, "particles.counts=[4, 6]")[0] == 0
    assert call(capsys, "export", "result")[0] == 0
    assert (other / "pde" / "fields.pvd").exists()
    assert call(capsys, "run", workshop / "case.toml", "--quiet", *mesh, *short, "particles.counts=[8]")[0] == 0
    found = {name for name in files_below(other) if not name.endswith(".png")}
    kept = {f"checkpoint/{name}" for name in ("solution.npz", "solution-1.bin", "previous.npz", "N8-0.npz")}
    inputs = {"inputs/disk.msh", "inputs/densities.py"}
    assert found - kept - inputs == {name for name in FILES if "N4" not in name}
    assert inputs <= found
    assert [entry["N"] for entry in summary_of(other)["particles"]] == [8]
    case = cases.read(other / "case.toml")
    assert (case.time.end, case.particles.replicas, case.particles.counts) == (0.04, 2, (8,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result"]


def test_the_users_own_case_is_not_overwritten(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = CASE.replace("end = 0.1", "end = 0.02  # a comment of the user's")
    (tmp_path / "case.toml").write_text(text)
    call(capsys, "run", "case.toml", "--quiet", "--out", ".")
    assert (tmp_path / "case.toml").read_text() == text
