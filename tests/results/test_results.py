"""What a run leaves for a person: figures, tables, pictures and the report, of whole, partial and broken-off runs.

The load is carried by `test_whatever_is_left_can_be_drawn_and_reported` (any part of a result may be missing) and
`test_a_run_of_any_shape_ends_with_a_report` (one sign, one particle, one replica, no noise in a test function, ...).
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import json
import math
import re
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from mpi4py import MPI

from limitpde import case as cases
from limitpde.errors import InputError
from limitpde.results import figures, pictures, report
from limitpde.results.folder import Folder
from limitpde.results.tables import Table, read_columns
from limitpde.signed.system import SYSTEM

CASE = {
    "system": "signed",
    "seed": 3,
    "model": {"sigma": 0.5, "gamma_bar": 0.4},
    "initial": {
        "positive": [{"shape": "gaussian", "mass": 0.5, "center": [-0.8, 0.0], "width": 0.6}],
        "negative": [{"shape": "gaussian", "mass": 0.5, "center": [0.8, 0.0], "width": 0.6}],
    },
    "time": {"end": 0.04},
    "pde": {"mesh": {"shape": "disk", "radius": 4.0, "cell_size": 0.5}, "step": 0.01},
    "particles": {"counts": [4, 8], "replicas": 3, "step": 0.01},
    "compare": {
        "test_functions": [
            {"shape": "gaussian", "center": [0.0, 0.0], "width": 1.0},
            {"shape": "wave", "k": [1.0, 0.5], "phase": 0.3, "charge": True},
        ]
    },
    "output": {"every": 0.02},
}


def run(folder, without=(), **changes):
    """A run in this process alone, of the case above with other sections."""
    data = {key: value for key, value in CASE.items() if key not in without}
    data |= {key: data[key] | value if isinstance(value, dict) else value for key, value in changes.items()}
    return limitpde.run(cases.check(data), out=folder, comm=MPI.COMM_SELF).summary


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("result") / "r"
    run(folder)
    return folder


@pytest.fixture
def copy(done, tmp_path):
    return Path(shutil.copytree(done, tmp_path / "copy"))


@pytest.fixture
def no_pictures(monkeypatch):
    """Pictures take most of the time of a small run."""
    monkeypatch.setattr(pictures, "draw", lambda folder, painters: ([], []))


def is_a_picture(path):
    pixels = matplotlib.image.imread(path)
    return min(pixels.shape[:2]) > 200 and np.ptp(pixels[..., :3]) > 0.5


# --- figures ---------------------------------------------------------------------------------------------------------


def test_a_figure_that_does_not_apply_is_absent(tmp_path):
    record = {"a": None, "b": math.nan, "c": [1.0, None, math.inf], "d": {"e": None}, "f": 0.0, "g": False, "h": ""}
    path = tmp_path / "new" / "summary.json"
    figures.write(path, record)
    assert figures.read(path) == {"d": {}, "f": 0.0, "g": False, "h": ""}  # a list is there as a whole or not at all
    assert [p.name for p in path.parent.iterdir()] == ["summary.json"]


def test_figures_are_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "summary.json"
    figures.write(path, {"a": 1})
    with pytest.raises(TypeError):
        figures.write(path, {"a": object()})
    assert figures.read(path) == {"a": 1}


@pytest.mark.usefixtures("no_pictures")
def test_run_returns_what_summary_holds(tmp_path):
    summary = run(tmp_path / "r", particles={"counts": [4], "replicas": 1})
    assert summary == figures.read(tmp_path / "r" / "summary.json")
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_keeps_every_digit(tmp_path):
    table = Table(tmp_path / "new" / "a.csv", ["t", "name", "n"])
    values = [0.1 + 0.2, np.float64(1) / 3, 5e-324, 1.7976931348623157e308]
    for t in values:
        table.append({"t": t, "name": "x,y", "n": 3})
    columns = read_columns(tmp_path / "new" / "a.csv")
    assert columns["t"].tolist() == values
    assert columns["name"].tolist() == ["x,y"] * 4
    assert columns["n"].tolist() == [3.0] * 4


@pytest.mark.parametrize(
    ("text", "rows"), [("", 0), ("t,x\n", 0), ("t,x\n1.0,2.0\n3.0", 1), ("t,x\n1.0,2.0\n3.0,4.0", 2)]
)
def test_a_table_that_was_cut_short(tmp_path, text, rows):
    (tmp_path / "a.csv").write_text(text)
    assert len(read_columns(tmp_path / "a.csv").get("t", [])) == rows


# --- pictures and report ---------------------------------------------------------------------------------------------

NAMES = {"fields", "invariants", "residual_rate", "residual_rms", "residual_in_time", "observables", "distances"}


def test_pictures_of_a_whole_run(done):
    drawn, notes = pictures.draw(Folder(done), SYSTEM.painters)
    assert not notes
    assert {path.stem for path in drawn} == NAMES
    assert all(is_a_picture(path) for path in drawn)


def test_the_report_shows_the_figures(done):
    text, summary = (done / "report.md").read_text(), figures.read(done / "summary.json")
    assert "The run is done." in text
    for heading in ("## How far the particles are from their limit", "## The limit equation", "## The particles"):
        assert heading in text
    assert f"| unknowns | {summary['pde']['dofs']} |" in text
    for entry in summary["compare"]["residual"]:
        assert f"| {entry['N']} | {entry['test_function']} | {entry['mean']:.4g} |" in text
    for rate in summary["compare"]["rates"]:
        assert f"N^{rate['slope']:.3f}" in text
    assert set(re.findall(r"\]\(pictures/(\w+)\.png\)", text)) == NAMES


def test_the_report_names_warnings_and_reasons(copy):
    summary = figures.read(copy / "summary.json") | {
        "status": "failed",
        "reason": "it blew up",
        "warnings": ["too small"],
    }
    figures.write(copy / "summary.json", summary)
    report.write(Folder(copy), [], SYSTEM.wording)
    text = (copy / "report.md").read_text()
    assert all(part in text for part in ("**The run failed.**", "it blew up", "**Note:** too small"))
    assert "pictures/" not in text


def test_names_of_any_kind_are_shown_as_they_are(copy):
    """A title is the name of a file, which may hold anything but a slash; a reason may name one."""
    summary = figures.read(copy / "summary.json")
    summary |= {"status": "failed", "title": "a*b* [x](y)\n# <b>`c` \udcff my_case _d_", "reason": "no *.msh | <here>"}
    report.write(Folder(copy), [], SYSTEM.wording, summary)
    lines = (copy / "report.md").read_text().splitlines()
    assert lines[2] == r"# a\*b\* \[x](y) \# \<b\>\`c\` \\udcff my_case \_d\_"
    assert r"no \*.msh \| \<here\>" in lines


def test_a_rate_outside_its_interval_is_pointed_out(copy):
    summary = figures.read(copy / "summary.json")
    for rate, (low, high) in zip(summary["compare"]["rates"], [(-0.6, -0.4), (0.1, 0.2)], strict=False):
        rate |= {"low": low, "high": high}
    summary["compare"]["rates"] = summary["compare"]["rates"][:2]
    figures.write(copy / "summary.json", summary)
    report.write(Folder(copy), [], SYSTEM.wording)
    text = (copy / "report.md").read_text()
    assert (text.count("theory -0.5 is inside"), text.count("theory -0.5 is outside, as one in twenty")) == (1, 1)


def cut(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))


def forget(folder, *keys):
    summary = {key: value for key, value in figures.read(folder / "summary.json").items() if key not in keys}
    figures.write(folder / "summary.json", summary | {"status": "interrupted", "reason": "killed"})


def without_steps(folder):
    """Files that were begun and have no step yet."""
    from limitpde.results import fields, particles, vtkhdf

    for path, layout in [
        *((p, particles.LAYOUT) for p in folder.rglob("particles.vtkhdf")),
        (folder / "pde" / "fields.vtkhdf", fields.LAYOUT),
    ]:
        vtkhdf.truncate(path, layout, -1.0)


PARTS = ("pde", "particles", "compare")
BROKEN = {
    "no pde": (lambda r: (shutil.rmtree(r / "pde"), forget(r, "pde")), {"fields", "invariants"}),
    "no particles": (lambda r: (shutil.rmtree(r / "particles"), forget(r, "particles")), set()),
    "no compare": (
        lambda r: (shutil.rmtree(r / "compare"), forget(r, "compare")),
        {"residual_rate", "residual_rms", "residual_in_time", "observables", "distances"},
    ),
    "empty compare": (lambda r: [cut(p) for p in r.glob("compare/*.csv")], {"residual_in_time"}),
    "one row": (lambda r: cut(r / "pde" / "diagnostics.csv"), {"invariants"}),
    "empty files": (lambda r: [p.write_text("") for p in r.rglob("*.csv")], {"invariants", "residual_in_time"}),
    "no steps": (without_steps, {"fields"}),
    "only the case": (
        lambda r: (
            [shutil.rmtree(r / d) for d in ("pde", "particles", "compare")],
            forget(r, "pde", "particles", "compare"),
        ),
        NAMES,
    ),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_whatever_is_left_can_be_drawn_and_reported(copy, damage):
    shutil.rmtree(copy / "pictures")
    do, missing = BROKEN[damage]
    do(copy)
    drawn, notes = pictures.draw(Folder(copy), SYSTEM.painters)
    assert not notes
    assert {path.stem for path in drawn} - {"particles"} == NAMES - missing
    report.write(Folder(copy), drawn, SYSTEM.wording)
    text = (copy / "report.md").read_text()
    assert set(re.findall(r"\]\(pictures/(\w+)\.png\)", text)) == {path.stem for path in drawn}
    assert ("## The limit equation" in text) == (damage not in ("no pde", "only the case"))


# --- runs of every shape ---------------------------------------------------------------------------------------------

ONE_SIGN = {"positive": [{"shape": "gaussian", "mass": 1.0, "center": [0.0, 0.0], "width": 0.6}], "negative": []}
FLAT = [{"shape": "wave", "k": [0.0, 0.0]}]
FAR = [{"shape": "gaussian", "center": [1000.0, 0.0], "width": 1.0}]
SHAPES = {
    "one particle": {"particles": {"counts": [1], "replicas": 2}},
    "two and three": {"particles": {"counts": [2, 3]}},
    "one replica": {"particles": {"replicas": 1}},
    "one sign": {"initial": ONE_SIGN},
    "repulsive": {"model": {"interaction": "repulsive"}},
    "no interaction": {"model": {"gamma_bar": 0.0}},
    "paper": {"model": {"diffusivity": "paper"}},
    "cut off": {"particles": {"kernel": "regularised", "eps": 0.1, "cutoff": 2}},
    "steps longer than the end": {"pde": {"step": 5.0}, "particles": {"step": 5.0}, "output": {"every": 5.0}},
    "no multiples": {
        "time": {"end": 0.05},
        "pde": {"step": 0.03},
        "particles": {"step": 0.04},
        "output": {"every": 0.03},
    },
    "constant test function": {"compare": {"test_functions": FLAT}},
    "far test function": {"compare": {"test_functions": FAR}},
}


DRAWN = ("one replica", "one sign", "constant test function", "far test function")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_of_any_shape_ends_with_a_report(tmp_path, shape, request):
    if shape not in DRAWN:
        request.getfixturevalue("no_pictures")
    summary = run(tmp_path / "r", **SHAPES[shape])
    assert summary["status"] == "done"
    json.dumps(summary, allow_nan=False)
    text = (tmp_path / "r" / "report.md").read_text()
    assert "nan" not in text
    assert "## How far" in text
    linked = re.findall(r"\]\(pictures/(\w+)\.png\)", text)
    assert ({"fields", "invariants", "residual_in_time"} <= set(linked)) == (shape in DRAWN)
    assert all(is_a_picture(tmp_path / "r" / "pictures" / f"{name}.png") for name in linked)
    species = ["positive"] if shape == "one sign" else ["negative", "positive"]
    assert sorted(summary["pde"]["mass"]) == species
    for n, moment in ((entry["N"], entry["second_moment"]["end"]) for entry in summary["particles"]):
        assert n >= 1
        assert moment["mean"] > 0
        assert ("stderr" in moment) == (shape != "one replica")


@pytest.mark.usefixtures("no_pictures")
def test_only_the_limit_equation(tmp_path):
    summary = run(tmp_path / "r", without=("particles", "compare"))
    assert {"particles", "compare"}.isdisjoint(summary)
    assert summary["pde"]["steps"] >= 4
    assert not (tmp_path / "r" / "particles").exists()
    assert not (tmp_path / "r" / "compare").exists()


@pytest.mark.usefixtures("no_pictures")
def test_the_limit_equation_with_test_functions(tmp_path):
    summary = run(tmp_path / "r", without=("particles",))
    assert summary["compare"].keys() == {"pde_residual"}
    assert [entry["test_function"] for entry in summary["compare"]["pde_residual"]] == [0, 1]
    assert set(read_columns(tmp_path / "r" / "compare" / "residuals.csv")["system"]) == {"pde"}


def test_only_particles(tmp_path):
    summary = run(tmp_path / "r", without=("pde",))
    assert "pde" not in summary
    assert "pde_residual" not in summary["compare"]
    assert all("pde" not in entry for entry in summary["compare"]["observables"])
    assert len(summary["compare"]["rates"]) == 4
    assert not (tmp_path / "r" / "pde").exists()
    assert is_a_picture(tmp_path / "r" / "pictures" / "particles.png")


@pytest.mark.usefixtures("no_pictures")
def test_a_fixed_strength_predicts_no_rate(tmp_path):
    data = {key: value for key, value in CASE.items() if key != "pde"} | {"model": {"sigma": 0.5, "gamma": 0.1}}
    summary = limitpde.run(cases.check(data), out=tmp_path / "r", comm=MPI.COMM_SELF)
    assert all("theory" not in rate for rate in summary["compare"]["rates"])
    assert "theory" not in (tmp_path / "r" / "report.md").read_text().split("\n\n| N |")[0]


POINTS = np.random.default_rng(0).normal(size=(4, 2))
SIGNS = np.array([1, -1, 1, -1])


def of_points(folder, path, count=4):
    data = {key: value for key, value in CASE.items() if key != "pde"}
    data |= {"initial": {"points": str(path)}, "particles": {"counts": [count], "replicas": 2, "step": 0.01}}
    return limitpde.run(cases.check(data), out=folder, comm=MPI.COMM_SELF)


@pytest.mark.usefixtures("no_pictures")
def test_points_are_where_the_particles_start(tmp_path):
    np.savez(tmp_path / "p.npz", positions=POINTS, signs=SIGNS)
    moment = of_points(tmp_path / "r", tmp_path / "p.npz")["particles"][0]["second_moment"]
    assert moment["start"] == {"mean": pytest.approx((POINTS**2).sum() / 4, rel=1e-14), "stderr": 0.0}
    assert moment["end"]["stderr"] > 0


def saved(**arrays):
    return lambda path: np.savez(path, **arrays)


def one_array(path):
    with path.open("wb") as file:
        np.save(file, POINTS)


@pytest.mark.parametrize(
    "make",
    [
        saved(positions=POINTS),
        saved(positions=POINTS, signs=np.arange(4)),
        saved(positions=np.full((4, 2), np.nan), signs=SIGNS),
        saved(positions=np.zeros((4, 3)), signs=SIGNS),
        saved(positions=np.zeros((3, 2)), signs=np.ones(3)),
        saved(positions=np.array([object()] * 4), signs=SIGNS),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 and nothing"),
        lambda path: path.write_text("hello"),
        one_array,
    ],
    ids=["no signs", "signs", "nan", "shape", "count", "objects", "empty", "zip", "text", "one array"],
)
def test_points_that_are_wrong(tmp_path, make):
    make(tmp_path / "p.npz")
    with pytest.raises(InputError, match=r"initial\.points"):
        of_points(tmp_path / "r", tmp_path / "p.npz")
