"""The job scripts of docs/slurm: they are bash, call what they should, and queue a stopped run anew.

There is no Slurm here: `srun`, `apptainer` and `scontrol` are small programs that write down how they were called.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "docs" / "slurm").glob("*.sbatch"))
CALLED = 'echo "$(basename "$0") $* threads=${OMP_NUM_THREADS:-}" >> "$CALLS"\n'
LAUNCHERS = {"limitpde.sbatch": "srun", "limitpde_container.sbatch": "apptainer"}


@pytest.fixture
def job(tmp_path):
    """Starts a script as Slurm would, with a launcher that does something; and what was called."""

    def start(script, does, *arguments):
        for name, more in ((LAUNCHERS[script.name], does), ("scontrol", "")):
            path = tmp_path / name
            path.write_text(f"#!/bin/bash\n{CALLED}{more}\n")
            path.chmod(0o755)
        slurm = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "6", "SLURM_CPUS_PER_TASK": "2"}
        environment = (
            os.environ | slurm | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
        )
        with (tmp_path / "err").open("w") as err:
            return subprocess.Popen(["bash", str(script), *arguments], env=environment, cwd=tmp_path, stderr=err)

    return start, lambda: (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_and_ask_for_a_signal_before_the_end(script):
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    asked = [line.split(maxsplit=1)[1] for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert "--requeue" in asked
    assert any(line.startswith("--signal=") and "TERM@" in line for line in asked)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("status", [0, 2])
def test_a_run_that_ends_is_not_queued_again(job, script, status):
    start, calls = job
    assert start(script, f"exit {status}", "cases/dipole.toml").wait(30) == status
    (call,) = calls()
    assert call.startswith(LAUNCHERS[script.name])
    assert "limitpde run cases/dipole.toml --out results/dipole --resume --quiet threads=2" in call
    assert "mpiexec -n 6" in call or LAUNCHERS[script.name] == "srun"


def test_a_run_that_srun_has_stopped_is_queued_again(job):
    start, calls = job
    assert start(SCRIPTS[0], "exit 130", "dipole.toml", "out").wait(30) == 130
    assert "--out out" in calls()[0]
    assert calls()[1].startswith("scontrol requeue 77")


def test_the_signal_goes_into_the_container_and_its_run_is_queued_again(job):
    start, calls = job
    process = start(SCRIPTS[1], "trap 'echo told >> \"$CALLS\"; exit 130' TERM; sleep 20 & wait", "dipole.toml")
    while not _written(calls):
        time.sleep(0.02)
    time.sleep(0.3)  # until the trap is set
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 130
    assert calls()[1:2] == ["told"]
    assert calls()[2].startswith("scontrol requeue 77")


def _written(calls):
    try:
        return bool(calls())
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_without_a_case_a_script_says_how_it_is_called(job, script, tmp_path):
    assert job[0](script, "exit 0").wait(30) != 0
    assert "usage: " in (tmp_path / "err").read_text()
