"""The series of particles of a run, and what is left of it when the writer dies.

The load is carried by `test_every_torn_append_leaves_whole_steps` (crash safety, exhaustive) and `test_killed_writer`
(the same with a real SIGKILL).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
import pytest
from mpi4py import MPI
from series import MESHES, check_particles, check_particles_vtk, write_fields, write_particles

from limitpde.errors import InputError
from limitpde.results import held_files, vtkhdf
from limitpde.results.fields import times
from limitpde.results.particles import ParticleSeries, read_particles


def test_particles_round_trip(tmp_path):
    path = tmp_path / "particles.vtkhdf"
    for steps in (1, 2, 5):
        write_particles(path, range(steps))
        check_particles(path, steps)
        check_particles_vtk(path, steps)
    write_particles(path, range(5, 300), "a")  # more than the room that a file is made with
    check_particles(path, 300)
    check_particles_vtk(path, 300)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_particles_are_padded(tmp_path, dimension):
    series = ParticleSeries(tmp_path / "particles.vtkhdf")
    x = np.arange(2.0 * dimension).reshape(2, dimension)
    series.write(1.5, x, velocity=x, inside=np.array([True, False]))
    positions, data, t = read_particles(series.path)
    assert t == 1.5
    assert np.array_equal(positions[:, :dimension], x)
    assert positions.shape == (2, 3)
    assert data["velocity"].shape == (2, 1 if dimension == 1 else 3)
    assert data["inside"].tolist() == [1, 0]


def test_particles_truncate_and_continue(tmp_path):
    path = tmp_path / "particles.vtkhdf"
    series = write_particles(path, range(9))
    for t, left in ((1e9, 9), (2.0, 5), (0.1, 1), (-1.0, 0)):
        series.truncate(t)
        check_particles(path, left)
        write_particles(path, range(left, 9), "a")
        check_particles(path, 9)
        check_particles_vtk(path, 9)


def test_particles_reject(tmp_path):
    path = tmp_path / "particles.vtkhdf"
    with pytest.raises(InputError, match="cannot be read"):
        ParticleSeries(path, mode="a")
    series = write_particles(path, range(3))
    x, data = np.ones((2, 2)), {"mass": np.ones(2), "label": np.ones(2, dtype=int)}
    for positions in (np.ones(3), np.ones((3, 4)), np.ones((2, 2), dtype=complex)):
        with pytest.raises(InputError, match="positions of shape"):
            series.write(9.0, positions)
    with pytest.raises(InputError, match="data mass of shape"):
        series.write(9.0, x, mass=np.ones(3))
    with pytest.raises(InputError, match="label: rows of shape"):
        series.write(9.0, x, **(data | {"label": np.ones(2)}))
    with pytest.raises(InputError, match="the steps in the file have"):
        series.write(9.0, x)
    with pytest.raises(InputError, match="must be later"):
        series.write(1.0, x, **data)
    check_particles(path, 3)
    write_fields(path, MESHES["one"](MPI.COMM_SELF))
    with pytest.raises(InputError, match="no file of particles"):
        ParticleSeries(path, mode="a")


@pytest.mark.parametrize("change", ["append", "truncate"])
def test_every_torn_append_leaves_whole_steps(tmp_path, monkeypatch, change):
    """After each of the writes that make up a change, the file holds the steps before it or those after it."""
    path = tmp_path / "particles.vtkhdf"
    series, states, put = write_particles(path, range(20)), [], os.pwrite

    def recorded(file, data, offset):
        half = put(file, data[: len(data) // 2], offset) if offset else 0  # the first page is not torn
        states.append(path.read_bytes())
        rest = put(file, data[half:], offset + half)
        states.append(path.read_bytes())
        return half + rest

    monkeypatch.setattr(os, "pwrite", recorded)
    if change == "append":
        write_particles(path, [20], "a")
    else:
        series.truncate(2.0)
    before, after = (20, 21) if change == "append" else (20, 5)
    assert len(states) >= (1 if change == "truncate" else 12)
    for state in [*states[:-1], states[-1]]:
        path.write_bytes(state)
        check_particles(path, after if state is states[-1] else before)
        check_particles_vtk(path, after if state is states[-1] else before)


def test_appending_leaves_the_past_alone(tmp_path):
    """An append writes no more than its rows and the step tables, however long the file is."""
    path = tmp_path / "particles.vtkhdf"
    series = ParticleSeries(path)
    for step in range(75):
        series.write(step, np.full((1000, 3), float(step)))
    before = np.frombuffer(path.read_bytes(), dtype="u1")
    series.write(75, np.full((1000, 3), 75.0))
    after = np.frombuffer(path.read_bytes(), dtype="u1")
    assert len(before) == len(after)
    assert np.count_nonzero(before != after) < 26500
    assert np.count_nonzero((before != after)[: vtkhdf.PAGE]) == 4  # three lengths and NSteps


KILLED = """
import sys, itertools, limitpde, numpy as np
sys.path.insert(0, sys.argv[2])
from limitpde.results.particles import ParticleSeries
from limitpde.results.vtkhdf import times
mode = "a" if sys.argv[3] == "a" else "w"
series = ParticleSeries(sys.argv[1], mode=mode)
print("ready", flush=True)
for step in itertools.count(len(series.times)):
    number = (step * 7) % 5
    mass, label = np.full(number, 2.0 * step), np.arange(number)
    series.write(0.5 * step, np.full((number, 2), step + 0.5), mass=mass, label=label)
    print(step + 1, flush=True)
"""


def kill_writer(path, mode, delay):
    """Let a process append in a loop, kill it, and return the number of steps that it had finished."""
    writer = subprocess.Popen([sys.executable, "-c", KILLED, path, ".", mode], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    time.sleep(delay)
    writer.send_signal(signal.SIGKILL)
    said = writer.stdout.read().split("\n")
    writer.stdout.close()
    writer.wait(timeout=60)
    return int(said[-2]) if len(said) > 1 else 0


def test_killed_writer(tmp_path):
    path, pick = tmp_path / "particles.vtkhdf", random.Random(1)
    for attempt in range(int(os.environ.get("LIMITPDE_KILLS", "6"))):
        finished = kill_writer(path, "a" if attempt % 3 else "w", pick.uniform(0, 0.2))
        steps = len(times(path))
        assert steps >= finished
        check_particles(path, steps)
        check_particles_vtk(path, steps)


@pytest.fixture
def interruptible():
    """SIGINT as in a terminal: a process in the background of a shell begins with ignoring it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_signals_are_held(interruptible):
    done = False
    with pytest.raises(KeyboardInterrupt), held_files.signals_held():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        done = True
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
