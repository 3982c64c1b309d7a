"""Runs that do not come to their end: Ctrl-C, SIGTERM, SIGKILL, a full disk.

The load is carried by `test_an_interrupted_run_keeps_what_it_has`, `test_a_killed_run_is_readable` and
`test_a_full_disk_ends_the_run`: whatever was computed must be readable afterwards, and the summary says what happened.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from processes import DRAWN, LIMIT, call, end, files_below, started, steps_of, summary_of

from limitpde.results.tables import read_columns

LONG_PDE = ("--set", "pde.step=1e-5", "output.checkpoint_every=0.05")
LONG_PARTICLES = ("--set", "particles.counts=[4, 2048]", "particles.step=0.0001")


def in_pde(folder):
    return rows_in(folder / "pde" / "diagnostics.csv") > 20


def in_particles(folder):
    return (folder / "particles" / "N2048" / "particles.vtkhdf").exists()


def in_pictures(folder):
    return rows_in(folder / "compare" / "rates.csv") > 1


def rows_in(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def interrupted(cwd, arguments, moment, disturb, *, ranks=1):
    """Send a signal, or do something else, at some moment of a run: exit status, stderr, folder."""
    folder = cwd / "out"
    with started("run", "case.toml", "--out", "out", *arguments, ranks=ranks, cwd=cwd) as process:
        try:
            began = time.monotonic()
            while not moment(folder):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() - began < LIMIT
                if (folder / "summary.json").exists():
                    assert summary_of(folder)["status"] == "interrupted"
                time.sleep(0.01)
            disturb(process) if callable(disturb) else process.send_signal(disturb)
            _, err = process.communicate(timeout=LIMIT)
        except BaseException:
            end(process)
            raise
    return process.returncode, err, folder


@pytest.fixture
def here(tmp_path):
    (tmp_path / "case.toml").write_text(DRAWN)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "moment", "number", "ranks"),
    [
        (LONG_PDE, in_pde, signal.SIGINT, 1),
        (LONG_PDE, in_pde, signal.SIGTERM, 2),
        (LONG_PARTICLES, in_particles, signal.SIGINT, 2),
        (LONG_PARTICLES, in_particles, signal.SIGTERM, 1),
    ],
    ids=["PDE, Ctrl-C", "PDE, SIGTERM, 2 ranks", "particles, Ctrl-C, 2 ranks", "particles, SIGTERM"],
)
def test_an_interrupted_run_keeps_what_it_has(here, arguments, moment, number, ranks):
    status, err, folder = interrupted(here, arguments, moment, number, ranks=ranks)
    assert status == 130
    assert "Traceback" not in err
    assert err.count("limitpde: interrupted") == 1
    summary = summary_of(folder)
    assert summary["status"] == "interrupted"
    assert "stopped" in summary["reason"]
    assert summary["pde"]["steps"] >= 5
    assert "**The run was stopped.**" in (folder / "report.md").read_text()
    assert (folder / "pictures" / "fields.png").read_bytes().startswith(b"\x89PNG")
    assert steps_of(folder / "pde" / "fields.vtkhdf")[1] == 217
    if moment is in_particles:
        assert [entry["N"] for entry in summary["particles"]] == [4]
        assert steps_of(folder / "particles" / "N2048" / "particles.vtkhdf")[1] == 2048
        assert {entry["N"] for entry in summary["compare"]["residual"]} == {4}


def test_a_full_disk_ends_the_run(here):
    """A bound on the size of files, set while the run goes on, stands for the full disk."""

    def fill(process):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (400_000, 400_000))

    arguments = ("--set", "output.every=0.0005", "pde.step=0.00025", "output.pictures=false")
    status, err, folder = interrupted(here, arguments, in_pde, fill)
    assert status == 3
    assert "Traceback" not in err
    assert err.count("limitpde: ") == 1
    summary = summary_of(folder)
    assert summary["status"] == "failed"
    assert "large" in summary["reason"]
    assert summary["pde"]["steps"] >= 20
    assert "**The run failed.**" in (folder / "report.md").read_text()
    assert steps_of(folder / "pde" / "fields.vtkhdf")[1] == 217
    assert not [name for name in files_below(folder) if name.endswith(".tmp")]


@pytest.mark.parametrize(("number", "ranks"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_run_interrupted_at_its_end_says_how_it_ended(here, number, ranks):
    status, err, folder = interrupted(here, (), in_pictures, number, ranks=ranks)
    assert "Traceback" not in err
    assert {0: "done", 130: "interrupted"}[status] == summary_of(folder)["status"]
    assert "## The particles" in (folder / "report.md").read_text()


@pytest.mark.parametrize(("arguments", "moment"), [(LONG_PDE, in_pde), (LONG_PARTICLES, in_particles)])
def test_a_killed_run_is_readable(here, arguments, moment, capsys, monkeypatch):
    status, _, folder = interrupted(here, arguments, moment, signal.SIGKILL)
    assert status == -signal.SIGKILL
    summary = summary_of(folder)
    assert summary["status"] == "interrupted"
    assert "killed" in summary["reason"]
    assert steps_of(folder / "pde" / "fields.vtkhdf")[1] == 217
    times = read_columns(folder / "pde" / "diagnostics.csv")["t"]
    assert times[0] == 0
    assert np.all(np.diff(times) > 0)
    monkeypatch.chdir(here)
    code, out, _ = call(capsys, "show", "out")
    assert code == 0
    assert out.splitlines() == [f"out/pictures/{path.name}" for path in drawn(folder, out)]
    assert "**The run was stopped.**" in (folder / "report.md").read_text()


def drawn(folder, out):
    pictures = [folder / "pictures" / Path(line).name for line in out.splitlines()]
    assert folder / "pictures" / "fields.png" in pictures
    assert all(path.is_file() for path in pictures)
    return pictures
