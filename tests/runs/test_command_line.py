"""The command as a user meets it: wrong input, runs that fail, exit status and messages of each command.

The load is carried by `test_a_wrong_case_ends_every_rank` and `test_a_wrong_case_is_told_once` (nothing hangs, one
message, no traceback), `test_a_run_that_fails_keeps_what_it_has` and `test_new_prints_a_case_that_runs_as_it_is`.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import json
import re
import tomllib
from unittest import mock

import numpy as np
import pytest
from processes import CASE, PYTHON, call, files_below, limitpde_, steps_of, summary_of
from strips import write_strip

from limitpde import case as cases
from limitpde import cli
from limitpde.fem.mesh import Refinement

# What is wrong


SHORT = ("--set", "time.end=0.02", "pde.mesh.cell_size=1.0", "particles.counts=[4]")


@pytest.mark.parametrize(
    ("ranks", "overrides", "fragment"),
    [
        (3, ["pde.stepp=1"], "pde.stepp: unknown key; did you mean step?"),
        (2, [PYTHON.format("fails_on_rank_1")], "rank 1 only"),
    ],
    ids=["key", "raises on rank 1"],
)
def test_a_wrong_case_ends_every_rank(workshop, ranks, overrides, fragment):
    arguments = ("run", "case.toml", "--out", "wrong", *SHORT, *overrides)
    out, err = limitpde_(*arguments, ranks=ranks, cwd=workshop, status=2)
    assert fragment in err
    assert (err.count("limitpde: "), out.count("limitpde: ")) == (1, 0)


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("out", "override", "fragment"),
    [
        ("wrong", "pde.mesh=junk.msh", "junk.msh"),
        ("wrong", "pde.mesh=flat.msh", "not Delaunay"),
        ("wrong", PYTHON.format("leaves"), "densities.py"),
        ("file", "time.end=0.02", "output.directory = 'file'"),
    ],
    ids=["mesh", "not Delaunay", "leaves", "a folder that cannot be made"],
)
def test_a_wrong_case_is_told_once(workshop, comm, capsys, monkeypatch, out, override, fragment):
    monkeypatch.chdir(workshop)
    code, printed, told = call(capsys, "run", "case.toml", "--out", out, *SHORT, override)
    assert comm.allgather(code) == [2] * comm.size
    printed, told = ("".join(comm.allgather(text)) for text in (printed, told))
    assert fragment in told
    assert (told.count("limitpde: "), printed.count("limitpde: ")) == (1, 0)


def test_a_wrong_case_leaves_an_earlier_result_alone(workshop, tmp_path, capsys):
    """What only the solver finds out, that a mesh is unfit, is found before anything is touched."""
    (tmp_path / "case.toml").write_text(CASE)
    flat = f"pde.mesh={workshop / 'flat.msh'}"
    code, _, err = call(capsys, "run", tmp_path / "case.toml", "--out", tmp_path / "r", "--set", flat)
    assert (code, "not Delaunay" in err) == (2, True)
    assert not (tmp_path / "r").exists()
    assert call(capsys, "run", tmp_path / "case.toml", "--quiet", "--out", tmp_path / "r", *SHORT)[0] == 0
    before = {name: (tmp_path / "r" / name).read_bytes() for name in files_below(tmp_path / "r")}
    assert call(capsys, "run", tmp_path / "case.toml", "--out", tmp_path / "r", "--set", flat)[0] == 2
    assert {name: (tmp_path / "r" / name).read_bytes() for name in files_below(tmp_path / "r")} == before


@pytest.mark.ranks
def test_what_lies_outside_its_ball_does_not_matter_to_a_density(workshop, capsys, monkeypatch):
    monkeypatch.chdir(workshop)
    arguments = ("run", "case.toml", "--quiet", "--out", "outside", *SHORT, PYTHON.format("negative_beyond"))
    assert call(capsys, *arguments)[0] == 0
    assert summary_of(workshop / "outside")["pde"]["mass"]["positive"]["start"] == pytest.approx(0.5, rel=1e-12)


def test_points_that_are_no_file_of_points(workshop, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = "\n[".join(part for part in CASE.split("\n[") if not part.startswith("pde]"))
    (tmp_path / "case.toml").write_text(case)
    points = f"initial={{ points = '{workshop / 'empty.npz'}' }}"
    code, _, err = call(capsys, "run", "case.toml", "--set", points, "particles.counts=[8]")
    assert code == 2
    assert "empty.npz" in err


def test_check_looks_into_files(tmp_path, capsys):
    """What `run` would refuse: another number of points, and a wall that the mesh does not have."""
    np.savez(tmp_path / "p.npz", positions=np.eye(4, 2), signs=np.array([1, -1, 1, -1]))
    parts = [part for part in CASE.split("\n[") if not part.startswith("pde]")]
    (tmp_path / "points.toml").write_text("\n[".join(parts))
    points = ("--set", "initial={ points = 'p.npz' }", "particles.counts=[4, 8]")
    code, _, err = call(capsys, "check", tmp_path / "points.toml", *points)
    assert code == 2
    assert "initial.points holds 4 particles, not 8" in err
    assert call(capsys, "check", tmp_path / "points.toml", *points[:2], "particles.counts=[4]")[0] == 0

    write_strip(tmp_path / "strip.msh", 4)
    parts = [part for part in CASE.split("\n[") if not part.startswith(("particles]", "compare]"))]
    (tmp_path / "walls.toml").write_text("\n[".join(parts))
    walls = ("--set", "pde.mesh=strip.msh", "pde.boundary={ lef = 1.0 }")
    code, _, err = call(capsys, "check", tmp_path / "walls.toml", *walls)
    assert code == 2
    assert "has no lines of a physical group 'lef'" in err
    assert call(capsys, "check", tmp_path / "walls.toml", *walls[:2], "pde.boundary={ left = 1.0 }")[0] == 0


def test_a_run_that_fails_keeps_what_it_has(workshop):
    infinite = ("time.end=0.1", "model.sigma=1.3e154", "model.gamma_bar=0.0")
    arguments = ("run", "particles.toml", "--out", "fails", "--set", *infinite, "particles.counts=[4096]")
    (workshop / "particles.toml").write_text("\n[".join(p for p in CASE.split("\n[") if not p.startswith("pde]")))
    _, err = limitpde_(*arguments, ranks=2, cwd=workshop, status=3)
    assert err.count("limitpde: failed") == 1
    summary = summary_of(workshop / "fails")
    assert summary["status"] == "failed"
    assert "infinity" in summary["reason"]
    assert "**The run failed.**" in (workshop / "fails" / "report.md").read_text()
    assert steps_of(workshop / "fails" / "particles" / "N4096" / "particles.vtkhdf")[1] == 4096


# The other commands, most of them in this process


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--set", "pde.step=0.01"], 0),
        (["--set", "pde.step=0.01", "time.end=2.0"], 0),
        (["--set", "pde.step=0.01", "--set", "time.end=2.0"], 0),
        (["--set", "pde.step=0.01", "time.end=2.0", "--set", "seed=1"], 0),
        (["--set", 'output.directory="with space"'], 0),
        (["--set", "pde.mesh={ shape = 'disk', radius = 2, cell_size = 1 }"], 0),
        (["--set", "particles.counts=[2, 3]"], 0),
        (["--set=time.end=2.0"], 0),
        (["pde.step=0.01"], 2),
        (["--set"], 2),
        (["--set", "pde.step"], 2),
        (["--set", "pde.step=0.01", "other.toml"], 2),
        (["--set", "pde.step=-1"], 2),
        (["--unknown"], 2),
    ],
    ids=str,
)
def test_check(workshop, capsys, arguments, status):
    code, out, err = call(capsys, "check", workshop / "case.toml", *arguments)
    assert code == status
    assert out.startswith(f"{workshop / 'case.toml'}: a valid case\n") == (status == 0)
    assert (err == "") == (status == 0)


@pytest.mark.parametrize(
    ("key", "found"), [("modl.sigma", "modl: unknown key"), ("model.sigma", "sigma = -1: must be")]
)
def test_check_looks_at_the_study_of_a_case(workshop, capsys, key, found):
    code, _, err = call(capsys, "check", workshop / "case.toml", "--set", f"study.over={{'{key}'=[1, -1]}}")
    assert (code, found in err, err.count("case.toml")) == (2, True, 1)


def test_several_overrides_after_one_set(workshop, capsys):
    code, _, err = call(
        capsys, "check", workshop / "case.toml", "--set", "time.end=0", "pde.step=0", "--set", "seed=-1"
    )
    assert code == 2
    assert all(key in err for key in ("time.end = 0", "pde.step = 0", "seed = -1"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "nope.toml"],
        ["check"],
        ["show", "nope"],
        ["export", "nope"],
        ["new", "sined"],
        ["fly"],
        ["show"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(capsys, arguments):
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "limitpde" in err


def test_bytes_that_are_no_text_are_refused(capsys):
    code, out, err = call(capsys, "check", "case\udcff.toml")
    assert (code, out, err) == (2, "", "limitpde: 'case\\udcff.toml': must be text that UTF-8 can hold\n")


def test_whatever_is_raised_ends_a_run(capsys, monkeypatch):
    monkeypatch.setattr(cli.cli, "main", mock.Mock(side_effect=GeneratorExit))
    with pytest.raises(SystemExit, match=r"^3$"):
        cli.main(["info"])
    assert capsys.readouterr().err.rstrip().endswith("GeneratorExit")


def test_show_of_a_broken_summary(tmp_path, capsys):
    (tmp_path / "summary.json").write_text('{"status": ')
    code, _, err = call(capsys, "show", tmp_path)
    assert code == 2
    assert "summary.json" in err


def test_info(capsys):
    code, out, _ = call(capsys, "info")
    found = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert {"limitpde", "python", "dolfinx", "petsc", "mpi", "ranks"} <= found.keys()


def test_version_and_help_are_printed_once(tmp_path):
    assert limitpde_("--version", ranks=2, cwd=tmp_path)[0].count("0.") == 1


def test_new_prints_a_case_that_runs_as_it_is(tmp_path, capsys):
    code, out, _ = call(capsys, "new", "signed")
    assert code == 0
    (tmp_path / "case.toml").write_text(out)
    assert all(f"[{name}]" in out for name in ("model", "initial", "time", "pde", "particles", "compare", "output"))
    limitpde_("run", "case.toml", cwd=tmp_path)
    summary = summary_of(tmp_path / "results" / "case")
    assert summary["status"] == "done"
    assert summary["warnings"] == []
    assert sum(summary["wall_seconds"].values()) < 30


@pytest.mark.parametrize("system", cases.BUILT_IN)
def test_quick_is_a_smaller_run_of_the_same_case(system, tmp_path, capsys):
    _, out, _ = call(capsys, "new", system)
    (tmp_path / "case.toml").write_text(out)
    whole = cases.read(tmp_path / "case.toml")
    quick = whole.smaller()
    for same in ("model", "initial", "time", "seed", "compare", "output"):
        assert getattr(quick, same) == getattr(whole, same)
    assert quick.particles.counts == whole.particles.counts[:2]
    assert quick.particles.replicas <= 16
    assert quick.particles.step == whole.particles.step
    assert quick.pde.step == 2 * whole.pde.step
    assert cases.check(tomllib.loads(cases.dump(quick))) == quick
    assert cases.directory_of(whole, "case", None, quick=True).name.endswith("_quick")
    assert cases.directory_of(whole, "case", tmp_path, quick=True) == tmp_path


def test_quick_makes_a_mesh_that_refines_itself_coarser():
    case = cases.check(
        {
            "system": "signed",
            "model": {"sigma": 1.0, "gamma_bar": 1.0},
            "initial": {"positive": [{"shape": "gaussian", "mass": 1.0, "center": [0.0, 0.0], "width": 1.0}]},
            "time": {"end": 1.0},
            "pde": {
                "mesh": {"shape": "disk", "radius": 6.0, "cell_size": 0.5},
                "step": 0.1,
                "refinement": {"tolerance": 0.01, "smallest_cell": 0.02},
            },
        }
    )
    assert case.smaller().pde.refinement == Refinement(tolerance=0.04, smallest_cell=0.04)
    assert case.smaller().smaller().pde.refinement == Refinement(tolerance=0.1, smallest_cell=0.08)


def test_a_quick_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, out, _ = call(capsys, "new", "coagulation")
    (tmp_path / "case.toml").write_text(out)
    end = ["time.end=0.02", "output.every=0.02", "particles.replicas=2", "particles.counts=[50,100,200]"]
    code, out, _ = call(capsys, "run", "case.toml", "--quick", "--set", *end)
    assert code == 0
    summary = json.loads((tmp_path / "results" / "case_quick" / "summary.json").read_text())
    assert [entry["N"] for entry in summary["particles"]] == [50, 100]


@pytest.mark.parametrize("system", cases.BUILT_IN)
def test_keys_are_those_of_the_starting_case_and_more(system, capsys):
    """Every key of `new`, and what is required is said to be."""
    _, case, _ = call(capsys, "new", system)
    code, out, _ = call(capsys, "keys", system)
    assert code == 0
    data = tomllib.loads(case)
    for name, section in data.items():
        if isinstance(section, dict):
            assert f"## [{name}]" in out
            assert all(f"| `{key}` |" in out for key in section)
        else:
            assert f"| `{name}` |" in out
    assert "| `end` | Final time. | number > 0 | required |" in out
    assert "None" not in out
