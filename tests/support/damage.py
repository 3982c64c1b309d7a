"""Runs that were stopped, their files damaged in every way, and what becomes of them when they go on.

`python tests/support/endurance.py --only damage` tries many damages at random.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
from mpi4py import MPI

from limitpde import case as cases
from limitpde.errors import InputError, Interrupted
from limitpde.parallel import StopRequest
from limitpde.results import fields, particles
from limitpde.results.tables import read_columns

OUTPUT = {"checkpoint_every": 1e-6, "pictures": False}
WAVE = {"shape": "wave", "phase": 0.3}
CASES = {
    "signed": {
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
        "output": {"every": 0.04} | OUTPUT,
    },
    "coagulation": {
        "system": "coagulation",
        "seed": 3,
        "model": {
            "diffusion": {"power": -0.333, "scale": 0.1},
            "interaction": {"shape": "ball", "radius": 1.0, "alpha": 20.0},
            "beta": {"kernel": "from_micro"},
            "n_max": 6,
        },
        "initial": {"masses": [{"n": 1, "shape": "gaussian", "mass": 1.0, "center": [0.5, 0.5, 0.5], "width": 0.2}]},
        "time": {"end": 0.04},
        "pde": {"mesh": {"shape": "torus", "size": 1.0, "cell_size": 0.25}, "step": 0.005},
        "particles": {"counts": [100, 200], "replicas": 3},
        "compare": {"test_functions": [WAVE | {"k": [6.283185307179586, 0.0, 0.0], "n": 1}]},
        "output": {"every": 0.01} | OUTPUT,
    },
    "vlasov": {
        "system": "vlasov",
        "seed": 3,
        "model": {
            "dimension": 1,
            "potential": {"kind": "poisson", "strength": 1.0},
            "domain": {"x": [0.0, 12.566370614359172], "v": [-7.0, 7.0], "periodic": True},
        },
        "initial": {"shape": "landau", "k": 0.5, "amplitude": 0.3, "thermal": 1.0, "mass": 12.566370614359172},
        "time": {"end": 2.0},
        "pde": {"cells": [8, 24], "degree": 3, "step": 0.25},
        "particles": {"counts": [20, 40], "replicas": 3, "step": 0.25},
        "compare": {"test_functions": [WAVE | {"k": [0.5, 0.0]}]},
        "output": {"every": 0.5} | OUTPUT,
    },
    "kuramoto": {
        "system": "kuramoto",
        "seed": 3,
        "model": {"sigma": 1.0, "coupling": 2.0},
        "initial": {"concentration": 1.0},
        "time": {"end": 0.4},
        "pde": {"cells": 32, "step": 0.05},
        "particles": {"counts": [4, 8], "replicas": 3, "step": 0.05},
        "compare": {"test_functions": [WAVE | {"k": [1.0]}]},
        "output": {"every": 0.1} | OUTPUT,
    },
}
"""By system: cases of eight steps of the equation and two particle numbers; kuramoto is that of demos."""
STOPS = {"pde": 5, "particles": 9}
"""Where a run is stopped -> after how many questions whether it should: one a step of the equation, one each N."""
COMPUTED = ("pde", "particles", "compare")
DAMAGES = ("removed", "empty", "cut", "last byte", "bits", "junk", "longer")


def carry_out(folder, system="signed", **options):
    """Run the case of a system into a folder: its figures."""
    return limitpde.run(cases.check(CASES[system]), out=folder, comm=MPI.COMM_SELF, check=False, **options).summary


def stop(folder, checks, system):
    """Run the case into a folder until the run has asked so many times whether it should stop."""
    left, ask = [checks], StopRequest.check

    def check(self, comm):
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted("stopped by the test")
        ask(self, comm)

    with mock.patch.object(StopRequest, "check", check):
        assert carry_out(folder, system)["status"] == "interrupted"


def furnish(folder, system="signed"):
    """Put into a folder the result `whole` and, for each of STOPS, a run that was stopped there."""
    assert carry_out(folder / "whole", system)["status"] == "done"
    for name, checks in STOPS.items():
        stop(folder / name, checks, system)
    return folder


def files_of(folder):
    """Names of all files of a result that a run reads when it goes on, relative to it."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [name for name in names if not name.startswith("pictures/") and not name.startswith("report.")]


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


def outcome(folder, whole, system="signed"):
    """What becomes of a run that goes on in a folder: "same", "refused: ...", or "lost: ..."; errors are raised."""
    try:
        found = carry_out(folder, system, resume=True)
    except InputError as error:
        return f"refused: {error}" if len(str(error).splitlines()) == 1 else f"lost: {error}"
    if found["status"] != "done":
        return f"lost: {found['reason']}"
    different = differences(folder, whole)
    return f"mixed: {different} differ" if different else "same"


def differences(folder, whole):
    """Parts of the summary, and files, in which two results differ."""
    expected = json.loads((whole / "summary.json").read_text())
    found = json.loads((folder / "summary.json").read_text())
    different = [part for part in COMPUTED if not near(found[part], expected[part])]
    for name in files_of(whole):
        read = READ.get(name.rpartition("/")[2] if name.endswith(".vtkhdf") else Path(name).suffix)
        if read and not near(read(folder / name), read(whole / name)):
            different.append(name)
    return different


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
    "moments.vtkhdf": _all_steps(fields.read_fields),
    "particles.vtkhdf": _all_steps(particles.read_particles),
}
"""What a file holds, by its name or suffix."""


def tries(root, number, random, system="signed"):
    """Damage files of stopped runs at random, so many times: what was done, and what became of it, one by one."""
    furnish(root, system)
    for _ in range(number):
        folder, stopped = root / "damaged", root / random.choice(list(STOPS))
        shutil.copytree(stopped, folder)
        names = random.choice(files_of(folder), size=int(random.choice([1, 1, 2, 3])), replace=False)
        kinds = [str(random.choice(DAMAGES)) for _ in names]
        for name, kind in zip(names, kinds, strict=True):
            damage(folder / name, kind, random)
        what = f"stopped in {stopped.name}, {', '.join(map(' '.join, zip(names, kinds, strict=True)))}"
        try:
            result = outcome(folder, root / "whole", system)
        except Exception as error:
            result = f"traceback: {type(error).__name__}: {error}"
        yield what, result
        shutil.rmtree(folder)
