"""The command when its streams close, when Ctrl-C comes while it loads, and when its processes are no ranks.

The load is carried by `test_a_reader_that_goes_away_fails_nothing` and `test_ctrl_c_while_loading_is_one_line`.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import os
import shlex
import subprocess
import sys

import pytest
from processes import CASE, COMMANDS, LIMIT, command, environment, summary_of

LOADS = """
import builtins, os, signal, sys

moment, sys.argv = sys.argv[1], ["limitpde", "keys", "signed"]
load = builtins.__import__


def interrupted(name, *arguments, **keywords):
    if name == moment:
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *arguments, **keywords)


builtins.__import__ = interrupted
from limitpde.__main__ import main
main()
"""
RUN = ("run", "case.toml", "--out", "out")


def shell(script, cwd, **more):
    """Exit status, stdout and stderr of bash, in which `limitpde` is the command."""
    line = "limitpde() { " + shlex.join(command()) + ' "$@"; }; set -o pipefail; ' + script
    options = {"cwd": cwd, "env": environment() | more, "timeout": LIMIT}
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, **options)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture
def here(tmp_path):
    (tmp_path / "case.toml").write_text(CASE)
    return tmp_path


@pytest.mark.parametrize("arguments", ["keys signed", "--help", "new vlasov"])
def test_a_reader_that_goes_away_fails_nothing(here, arguments):
    status, out, err = shell(f"limitpde {arguments} | head -1", here)
    assert (status, out.count("\n"), err) == (0, 1, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "2>&1 | true"])
def test_a_run_without_its_streams_is_done(here, closed):
    assert shell(f"limitpde {shlex.join(RUN)} {closed}", here)[0] == 0
    assert summary_of(here / "out")["status"] == "done"


def test_a_wrong_case_without_its_streams_keeps_its_status(here):
    assert shell("limitpde check absent.toml 2>&-", here)[0] == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@pytest.mark.parametrize("command", ["keys signed", "info"])
def test_output_onto_a_full_disk_is_one_line(here, command):
    status, _, err = shell(f"limitpde {command} > /dev/full", here)
    assert (status, err.count("\n")) == (3, 1)
    assert "No space left" in err


@pytest.mark.parametrize("moment", ["mpi4py", "h5py", "numpy", "click", "limitpde.checked"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_ctrl_c_while_loading_is_one_line(here, ranks, moment):
    """The signal comes when a library begins to load, on all ranks."""
    (here / "loads.py").write_text(LOADS)
    line = [sys.executable, "loads.py", moment]
    line = [str(COMMANDS / "mpiexec"), "-n", "2", *line] if ranks == 2 else line
    options = {"cwd": here, "env": environment(), "timeout": LIMIT}
    ended = subprocess.run(line, capture_output=True, text=True, check=False, **options)
    assert (ended.returncode, ended.stderr) == (130, "limitpde: interrupted\n")


def test_processes_that_are_no_ranks_do_not_run(here):
    """A launcher that MPI does not understand leaves each process alone: the first one says so, none runs."""
    for rank, lines in (("0", 1), ("1", 0)):
        status, out, err = shell(f"limitpde {shlex.join(RUN)}", here, SLURM_NTASKS="2", SLURM_PROCID=rank)
        assert (status, out, err.count("\n")) == (2, "", lines)
    assert not (here / "out").exists()
    assert shell("limitpde check case.toml", here, SLURM_NTASKS="2")[0] == 0
