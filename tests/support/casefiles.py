"""A case with every section, files of densities beside it, and overrides of it."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import copy

from limitpde import case as cases

BASE = """
system = "signed"
seed = 3
[model]
sigma = 0.5
gamma_bar = 0.4
[initial]
positive = [{ shape = "gaussian", mass = 0.5, center = [-0.8, 0.0], width = 0.6 }]
negative = [{ shape = "ring", mass = 0.5, center = [0.8, 0.0], radius = 1.0, width = 0.2 }]
[time]
end = 1.0
[pde]
mesh = { shape = "disk", radius = 4.0, cell_size = 0.5 }
step = 0.02
[particles]
counts = [4, 8]
replicas = 5
step = 0.02
[compare]
test_functions = [
  { shape = "gaussian", center = [0.0, 0.0], width = 1.0 },
  { shape = "wave", k = [1.0, 0.5], phase = 0.3, charge = true },
]
[output]
every = 0.5
"""
DENSITIES = """
import numpy as np

value = 1.0


def good(x):
    return np.exp(-(x**2).sum(axis=1))


def divides(x):
    return 1 / 0


def refuses(x):
    raise ValueError("no luck")


def nan(x):
    return np.full(len(x), np.nan)


def negative(x):
    return -np.ones(len(x))


def flat(x):
    return np.ones((len(x), 2))


def short(x):
    return np.ones(1)


class Own(Exception):
    pass


def own(x):
    raise Own("mine")
"""


def furnish(folder):
    """Put the case and the files of densities into a folder."""
    (folder / "case.toml").write_text(BASE)
    (folder / "densities.py").write_text(DENSITIES)
    (folder / "broken.py").write_text("def f(x:\n")
    return folder


def read(folder, *overrides):
    return cases.read(folder / "case.toml", overrides)


def from_python(function, more="radius = 1.0"):
    return f'initial.positive.0={{ python = "{function}", mass = 0.5, {more} }}'


def without(*sections):
    kept = [part for part in BASE.split("\n[") if part.split("]")[0] not in sections]
    return "\n[".join(kept)


def changed(data, **values):
    """The case with some keys set: initial__masses__0__n = 7."""
    data = copy.deepcopy(data)
    for key, value in values.items():
        *path, last = (int(part) if part.isdigit() else part for part in key.split("__"))
        holder = data
        for part in path:
            holder = holder[part]
        holder[last] = value
    return data
