"""A folder belongs to one run at a time, keeps what it did not write, and holds all that its case needs.

The load is carried by two real processes in one folder, by a folder of foreign files that stays as it was to the byte,
and by a result that was moved and runs again with the same figures.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from processes import CASE, DENSITIES, PYTHON, call, end, files_below, started, summary_of

from limitpde.case import beside
from limitpde.errors import InputError
from limitpde.needs import free_disk
from limitpde.results import folder as folders
from limitpde.results import lock
from limitpde.results.folder import ALWAYS, Folder
from limitpde.results.lock import Lock

SHORT = ("time.end=0.02", "pde.mesh.cell_size=1.0", "particles.counts=[4]", "output.pictures=false")
LONG = ("time.end=50", "output.every=10", "particles.replicas=20000")


@pytest.fixture
def cases(tmp_path):
    (tmp_path / "case.toml").write_text(CASE)
    (tmp_path / "densities.py").write_text(DENSITIES)
    return tmp_path


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


# One run at a time


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing came of it"
        time.sleep(0.1)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_second_run_is_told_who_has_the_folder(cases, capsys, ranks):
    first = started("run", "case.toml", "--out", "r", "--quiet", "--set", *LONG, ranks=ranks, cwd=cases)
    try:
        wait_for(lambda: (cases / "r" / "summary.json").exists())
        for more in ([], ["--resume"]):
            code, _, err = call(capsys, "run", cases / "case.toml", "--out", cases / "r", "--set", *LONG, *more)
            assert code == 2
            assert "is in use by process" in err
            assert len(err.strip().splitlines()) == 1
        assert call(capsys, "show", cases / "r")[0] == 2
        assert first.poll() is None
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
        assert summary_of(cases / "r")["status"] == "interrupted"
        assert not (cases / "r" / lock.NAME).exists()
    finally:
        if first.poll() is None:
            end(first)


def test_a_killed_run_leaves_no_lock_that_counts(cases, capsys):
    first = started("run", "case.toml", "--out", "r", "--quiet", "--set", *LONG, cwd=cases)
    wait_for(lambda: (cases / "r" / "summary.json").exists())
    first.kill()
    first.communicate(timeout=60)
    assert (cases / "r" / lock.NAME).exists()
    assert call(capsys, "run", cases / "case.toml", "--quiet", "--out", cases / "r", "--set", *SHORT)[0] == 0


def test_a_lock_is_for_one_holder_also_in_one_process(tmp_path):
    first, second = Lock(tmp_path / "r"), Lock(tmp_path / "r")
    first.take()
    with pytest.raises(InputError, match=f"in use by process {os.getpid()} on "):
        second.take()
    first.free()
    second.take()
    second.free()
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("holder", "gone"),
    [
        ({}, True),
        ({"host": "elsewhere", "process": 1, "started": "5"}, False),
        ({"host": None, "process": os.getpid(), "started": "0"}, True),
        ({"host": None, "process": 2**22 + 1, "started": "5"}, True),
        ({"host": None, "process": os.getpid(), "started": None}, False),
    ],
)
def test_where_a_file_system_knows_no_locks_the_record_decides(tmp_path, monkeypatch, holder, gone):
    """None stands for what is true of this process."""

    def refuse(file, operation):
        raise OSError(lock.UNKNOWN[0], "no locks here")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    me = lock._me()
    record = {key: me[key] if value is None else value for key, value in holder.items()}
    (tmp_path / lock.NAME).write_text(json.dumps(record) if record else "")
    if gone:
        Lock(tmp_path).take()
    else:
        with pytest.raises(InputError, match="in use by process"):
            Lock(tmp_path).take()


# What no run has written


@pytest.mark.parametrize("foreign", ["notes.txt", "pde/fields.vtkhdf", "checkpoint/mine.npz", "pictures/photo.png"])
def test_foreign_files_are_refused_and_stay(cases, capsys, foreign):
    path = cases / "r" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    code, _, err = call(capsys, "run", cases / "case.toml", "--out", cases / "r", "--set", *SHORT)
    assert (code, foreign in err) == (2, True)
    assert contents(cases / "r") == {foreign: b"mine"}


def test_foreign_files_are_not_all_counted(tmp_path, monkeypatch):
    for name in "abcde":
        (tmp_path / name).touch()
    for most, told in ((9, ": a, b, c and 2 more;"), (4, " and many more;")):
        monkeypatch.setattr(folders, "MOST_COUNTED", most)
        with pytest.raises(InputError, match=re.escape(told)):
            Folder(tmp_path).check("", resume=False)


def test_the_disk_that_a_result_may_take_is_not_that_of_foreign_files(tmp_path):
    free, large = free_disk(tmp_path), 1 << 42
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", large)  # takes no room
    assert free_disk(tmp_path) < free + large / 2
    (tmp_path / folders.LIST).touch()
    assert free_disk(tmp_path) > free + large / 2


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "b/" * 3000], ids=["null", "long name", "long path"])
def test_a_folder_that_cannot_be(cases, name):
    with pytest.raises(InputError, match=r"output\.directory = '.*(not the name of a folder|File name too long)"):
        limitpde.run(cases / "case.toml", out=name, quiet=True)


@pytest.mark.parametrize(
    ("name", "found"), [("r", "r_quick"), (".", "{0}_quick"), ("x/..", "{0}_quick"), ("/", "/_quick")]
)
def test_a_folder_of_any_name_has_one_beside_it(tmp_path, monkeypatch, name, found):
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    assert beside(Path(name), "_quick") == Path(found.format(tmp_path))


@pytest.mark.parametrize("left", ["", "fil", "files.txt\n"])
def test_a_list_that_a_full_disk_cut_is_the_run_s_own(tmp_path, left):
    (tmp_path / "files.txt").write_text(left)
    folder = Folder(tmp_path)
    assert folder.check("case", resume=True) == (False, [])
    folder.begin("case", resume=False)
    assert (tmp_path / "files.txt").read_text().splitlines()[-3:] == list(ALWAYS)
    (tmp_path / "case.toml").unlink()
    (tmp_path / "files.txt").write_text("of mine")
    with pytest.raises(InputError, match=r"files\.txt"):
        Folder(tmp_path).check("case", resume=False)


def test_foreign_files_in_a_result_are_refused_and_stay(cases, capsys):
    run = ("run", cases / "case.toml", "--quiet", "--out", cases / "r", "--set", *SHORT)
    assert call(capsys, *run)[0] == 0
    (cases / "r" / "compare" / "mine.csv").write_text("mine")
    before = contents(cases / "r")
    assert call(capsys, *run)[0] == 2
    assert contents(cases / "r") == before
    (cases / "r" / "compare" / "mine.csv").unlink()
    assert call(capsys, *run)[0] == 0


def test_links_are_not_followed(cases, capsys):
    """A folder of a result that is a link elsewhere, and a file that is one."""
    run = ("run", cases / "case.toml", "--quiet", "--out", cases / "r", "--set", *SHORT)
    assert call(capsys, *run)[0] == 0
    shutil.move(cases / "r" / "pde", cases / "elsewhere")
    (cases / "r" / "pde").symlink_to(cases / "elsewhere", target_is_directory=True)
    before = contents(cases / "elsewhere")
    assert call(capsys, *run)[0] == 2
    assert contents(cases / "elsewhere") == before
    (cases / "r" / "pde").unlink()
    (cases / "r" / "report.md").unlink()
    (cases / "r" / "report.md").symlink_to(cases / "case.toml")
    assert call(capsys, *run)[0] == 2
    assert (cases / "case.toml").read_text() == CASE


def test_drafts_of_a_killed_run_are_cleared(cases, capsys):
    run = ("run", cases / "case.toml", "--quiet", "--out", cases / "r", "--set", *SHORT)
    assert call(capsys, *run)[0] == 0
    for name in ("summary.json.77.tmp", "checkpoint/solution.npz.77.tmp", "pde/fields.vtkhdf.77.tmp"):
        (cases / "r" / name).write_text("half")
    assert call(capsys, *run)[0] == 0
    assert not list((cases / "r").rglob("*.tmp"))


def test_exports_are_the_run_s_own(cases, capsys):
    run = ("run", cases / "case.toml", "--quiet", "--out", cases / "r", "--set", *SHORT)
    assert call(capsys, *run)[0] == 0
    assert call(capsys, "export", cases / "r")[0] == 0
    assert (cases / "r" / "pde" / "fields.pvd").exists()
    assert call(capsys, *run)[0] == 0
    assert not (cases / "r" / "pde" / "fields.pvd").exists()


def test_what_is_listed_is_there_and_what_is_there_is_listed(cases, capsys):
    assert call(capsys, "run", cases / "case.toml", "--quiet", "--out", cases / "r", "--set", *SHORT)[0] == 0
    folder = Folder(cases / "r")
    assert all(folder._is_own(name) for name in folder._names())
    assert len(list(folder._names())) > 10


# Inputs


def with_file(cases, *more):
    own = PYTHON.format("good")
    return ("run", cases / "case.toml", "--quiet", "--out", cases / "r", "--set", *SHORT, own, *more)


def test_a_result_runs_again_where_it_is_moved(cases, capsys):
    assert call(capsys, *with_file(cases))[0] == 0
    first = summary_of(cases / "r")
    (entry,) = first["inputs"]
    assert entry["copy"] == "inputs/densities.py"
    assert (cases / "r" / entry["copy"]).read_text() == DENSITIES
    (cases / "moved").mkdir()
    shutil.move(cases / "r", cases / "moved" / "r")
    (cases / "densities.py").unlink()
    again = cases / "again"
    assert call(capsys, "run", cases / "moved" / "r" / "case.toml", "--quiet", "--out", again)[0] == 0
    second = summary_of(again)
    for part in ("pde", "particles", "compare"):
        assert second[part] == first[part]
    assert second["inputs"][0]["sha256"] == entry["sha256"]
    assert (again / "case.toml").read_text() == (cases / "moved" / "r" / "case.toml").read_text()


def test_resume_with_a_file_that_has_changed_is_refused(cases, capsys):
    assert call(capsys, *with_file(cases))[0] == 0
    before = contents(cases / "r")
    (cases / "densities.py").write_text(DENSITIES + "\n# changed\n")
    code, _, err = call(capsys, *with_file(cases), "--resume")
    assert code == 2
    assert "densities.py has changed since the earlier run" in err
    assert contents(cases / "r") == before
    (cases / "densities.py").write_text(DENSITIES)
    assert call(capsys, *with_file(cases), "--resume")[0] == 0


def test_an_edited_file_is_read_anew_in_a_living_process(cases, capsys):
    assert call(capsys, *with_file(cases, "pde.mesh.cell_size=0.3"))[0] == 0
    first = summary_of(cases / "r")["pde"]["second_moment"]["start"]
    (cases / "densities.py").write_text(DENSITIES.replace("-(x**2)", "-0.5 * (x**2)"))
    assert call(capsys, *with_file(cases, "pde.mesh.cell_size=0.3"))[0] == 0
    assert summary_of(cases / "r")["pde"]["second_moment"]["start"] > 1.05 * first


def test_two_files_of_one_name(tmp_path):
    from limitpde.files import PythonFunction
    from limitpde.results.inputs import Inputs

    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f.py").write_text(folder)
    files = [PythonFunction(f"{tmp_path / folder / 'f.py'}:f") for folder in "aba"]
    inputs = Inputs(files)
    assert list(inputs.names.values()) == ["inputs/f.py", "inputs/f-2.py"]


def test_what_the_particles_refuse_does_not_cost_a_result(cases, capsys):
    """Pairs that act across the torus are found out by the simulator only."""
    call_new = call(capsys, "new", "coagulation")[1]
    (cases / "coagulation.toml").write_text(call_new)
    small = ("time.end=0.01", "pde.mesh.cell_size=0.25", "particles.replicas=1")
    run = ("run", cases / "coagulation.toml", "--quiet", "--out", cases / "r", "--set", *small)
    assert call(capsys, *run, "particles.counts=[100]")[0] == 0
    before = contents(cases / "r")
    code, _, err = call(capsys, *run, "particles.counts=[2]")
    assert (code, "particles.counts" in err) == (2, True)
    assert contents(cases / "r") == before
