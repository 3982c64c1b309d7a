"""Runs that were stopped, their files damaged in every way, and what becomes of them when they go on.

`python tests/support/damage.py --many 500` tries so many random damages and prints a tally: tried, the same figures,
refused with a line, lost, tracebacks. It ends with status 1 where anything was lost or raised.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import argparse
import collections
import json
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from mpi4py import MPI

from limitpde import case as cases
from limitpde.errors import InputError, Interrupted
from limitpde.parallel import StopRequest
from limitpde.results import fields, particles
from limitpde.results.tables import read_columns

CASE = {
    "system": "signed",
    "seed": 3,
    "model": {"sigma": 0.5, "gamma_bar": 0.4},
    "initial": {
        "positive": [{"shape": "gaussian", "mass": 0.5, "center": [-0.8, 0.0], "width": 0.8}],
        "negative": [{"shape": "gaussian", "mass": 0.5, "center": [0.8, 0.0], "width": 0.8}],
    },
    "time": {"end": 0.16},
    "pde": {"mesh": {"shape": "disk", "radius": 4.0, "cell_size": 0.8}, "step": 0.02},
    "particles": {"counts": [4, 8], "replicas": 3, "step": 0.04},
    "compare": {"test_functions": [{"shape": "gaussian", "center": [0.0, 0.0], "width": 1.0}]},
    "output": {"every": 0.04, "checkpoint_every": 1e-6},
}
STOPS = {"pde": 5, "particles": 9}
"""Where a run is stopped -> after how many questions whether it should: one a step of the equation, one each N."""
COMPUTED = ("pde", "particles", "compare")
DAMAGES = ("removed", "empty", "cut", "last byte", "bits", "junk", "longer")


def carry_out(folder, **options):
    """Run the case into a folder: its figures."""
    return limitpde.run(cases.check(CASE), out=folder, comm=MPI.COMM_SELF, **options)


def stop(folder, checks):
    """Run the case into a folder until the run has asked so many times whether it should stop."""
    left, ask = [checks], StopRequest.check

    def check(self, comm):
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted("stopped by the test")
        ask(self, comm)

    with mock.patch.object(StopRequest, "check", check):
        assert carry_out(folder)["status"] == "interrupted"


def furnish(folder):
    """Put into a folder the result `whole` and, for each of STOPS, a run that was stopped there."""
    assert carry_out(folder / "whole")["status"] == "done"
    for name, checks in STOPS.items():
        stop(folder / name, checks)
    return folder


def files_of(folder):
    """Names of all files of a result that a run reads when it goes on, relative to it."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [name for name in names if not name.startswith("pictures/") and name != "report.md"]


def damage(path, kind, random):
    """Damage a file; kinds are DAMAGES."""
    if kind == "removed":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    place = int(random.integers(max(len(data), 1)))
    if kind == "bits":
        for byte in random.integers(len(data), size=int(random.integers(1, 9))):
            data[byte] ^= 1 << int(random.integers(8))
    changed = {
        "empty": b"",
        "cut": bytes(data[:place]),
        "last byte": bytes(data[:-1]),
        "bits": bytes(data),
        "junk": bytes(data[:place]) + random.bytes(len(data) - place),
        "longer": bytes(data) + random.bytes(100),
    }
    path.write_bytes(changed[kind])


def outcome(folder, whole):
    """What becomes of a run that goes on in a folder: "same", "refused: ...", or "lost: ..."; errors are raised."""
    try:
        found = carry_out(folder, resume=True)
    except InputError as error:
        return f"refused: {error}" if len(str(error).splitlines()) == 1 else f"lost: {error}"
    if found["status"] != "done":
        return f"lost: {found['reason']}"
    expected = json.loads((whole / "summary.json").read_text())
    found = json.loads((folder / "summary.json").read_text())
    different = [part for part in COMPUTED if not near(found[part], expected[part])]
    for name in files_of(whole):
        read = READ.get(name.rpartition("/")[2] if name.endswith(".vtkhdf") else Path(name).suffix)
        if read and not near(read(folder / name), read(whole / name)):
            different.append(name)
    return f"lost: {different} differ" if different else "same"


def near(one, other):
    """Whether nested figures and arrays are the same up to rounding."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(near, one, other))
    if isinstance(one, str) or np.asarray(one).dtype.kind not in "fiu":
        return np.array_equal(one, other)
    return np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=1e-8, atol=1e-10, equal_nan=True)


def _table(path):
    return {name: cells for name, cells in read_columns(path).items() if not name.startswith("iterations")}


def _all_steps(read):
    return lambda path: [read(path, step) for step in range(len(fields.times(path)))]


READ = {
    ".csv": _table,
    "fields.vtkhdf": _all_steps(fields.read_fields),
    "particles.vtkhdf": _all_steps(particles.read_particles),
}
"""What a file holds, by its name or suffix."""


def many(tries, seed):
    """Damage files at random, `tries` times; print and return the tally."""
    random, tally = np.random.default_rng(seed), collections.Counter()
    with tempfile.TemporaryDirectory() as place:
        root = furnish(Path(place))
        for number in range(tries):
            folder = root / "damaged"
            stopped = root / random.choice(list(STOPS))
            shutil.copytree(stopped, folder)
            names = random.choice(files_of(folder), size=int(random.choice([1, 1, 2, 3])), replace=False)
            kinds = [str(random.choice(DAMAGES)) for _ in names]
            for name, kind in zip(names, kinds, strict=True):
                damage(folder / name, kind, random)
            what = f"{number}: {stopped.name}, {', '.join(map(' '.join, zip(names, kinds, strict=True)))}"
            print(what, end=" ", flush=True)
            try:
                result = outcome(folder, root / "whole")
            except Exception as error:
                result = f"traceback: {type(error).__name__}: {error}"
            print(result, flush=True)
            tally[result.partition(":")[0]] += 1
            shutil.rmtree(folder)
    print(
        f"tried {tries}: the same figures {tally['same']}, refused with a line {tally['refused']}, "
        f"lost {tally['lost']}, tracebacks {tally['traceback']}"
    )
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=100, help="how many damages")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    ended = many(given.many, given.seed)
    raise SystemExit(1 if ended["lost"] or ended["traceback"] else 0)
