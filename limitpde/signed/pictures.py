"""Pictures of a run of the signed system: densities, charge and potential, with the particles over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results.fields import read_fields
from limitpde.results.particles import read_particles
from limitpde.results.pictures import invariants, largest_snapshots, subplots
from limitpde.results.vtkhdf import times

FIELD_ORDER = ("rho_positive", "rho_negative", "charge")
MOST_DOTS = 250
"""Particles of each sign drawn over a map, so that the map can still be seen."""
SIGN_COLOURS = {1.0: "#b2182b", -1.0: "#2166ac"}


def _fields(directory: Path) -> Any:
    """Each field at the first and the last output, with the particles of replica 0 over the last two rows' maps."""
    path = directory / "pde" / "fields.vtkhdf"
    if not path.exists() or not len(times(path)):
        return None
    states = [read_fields(path, 0), read_fields(path, -1)]
    snapshots = largest_snapshots(directory)
    clouds = [read_particles(snapshots, k) if snapshots else None for k in (0, -1)]
    names = [name for name in FIELD_ORDER if name in states[0][2]]
    figure, axes = subplots(2, len(names), figsize=(4.2 * len(names), 7.6), squeeze=False)
    square = _square(states)
    for row, ((points, cells, values, t), cloud) in enumerate(zip(states, clouds, strict=True)):
        for axis, name in zip(axes[row], names, strict=True):
            _map(figure, axis, points, cells, values[name], name)
            if cloud is not None:
                _dots(axis, cloud, name)
            axis.set(title=f"{name}, t = {t:.4g}", aspect="equal", **square)
    return figure


def _meshes(directory: Path) -> Any:
    """The mesh where densities can be seen at the first and the last output, where it has changed."""
    path = directory / "pde" / "fields.vtkhdf"
    if not path.exists() or not len(times(path)):
        return None
    states = [read_fields(path, 0), read_fields(path, -1)]
    if np.array_equal(states[0][0], states[1][0]):
        return None
    figure, axes = subplots(1, 2, figsize=(10.0, 4.4))
    for axis, state in zip(axes, states, strict=True):
        points, cells, values, t = state
        _map(figure, axis, points, cells, _density(values), "rho")
        axis.triplot(points[:, 0], points[:, 1], cells, color="white", linewidth=0.3)
        axis.set(title=f"{len(points)} nodes, t = {t:.4g}", aspect="equal", **_square([state]))
    return figure


def _square(states: Sequence[tuple[Any, ...]]) -> dict[str, tuple[float, float]]:
    """xlim and ylim of a square that holds what can be seen of the densities."""
    densities = [_density(values) for _, _, values, _ in states]
    seen = [state[0][rho > 0.005 * rho.max(), :2] for state, rho in zip(states, densities, strict=True)]
    lower, upper = (extreme(np.concatenate(seen), axis=0) for extreme in (np.min, np.max))
    half = 0.55 * (upper - lower).max() or np.abs(states[0][0]).max()
    sides = zip(("xlim", "ylim"), (lower + upper) / 2, strict=True)
    return {name: (float(middle - half), float(middle + half)) for name, middle in sides}


def _density(values: dict[str, np.ndarray]) -> np.ndarray:
    """The sum of the densities at the nodes."""
    return np.asarray(np.sum([array for name, array in values.items() if name.startswith("rho")], axis=0))


def _map(figure: Any, axis: Any, points: np.ndarray, cells: np.ndarray, values: np.ndarray, name: str) -> None:
    largest = float(np.abs(values).max()) or 1.0
    signed = name == "charge"
    limits = {"vmin": -largest if signed else 0.0, "vmax": largest, "cmap": "RdBu_r" if signed else "viridis"}
    drawn = axis.tripcolor(points[:, 0], points[:, 1], cells, values, shading="gouraud", **limits)
    figure.colorbar(drawn, ax=axis, shrink=0.75)


def _dots(axis: Any, cloud: tuple[Any, ...], name: str) -> None:
    positions, data, _ = cloud
    signs = data.get("sign", np.ones(len(positions)))
    shown = {"rho_positive": (1.0,), "rho_negative": (-1.0,)}.get(name, (1.0, -1.0))
    for sign in shown:
        mine = positions[signs == sign]
        mine = mine[:: math.ceil(len(mine) / MOST_DOTS) or 1]
        colour = "white" if name.startswith("rho") else SIGN_COLOURS[sign]
        axis.scatter(mine[:, 0], mine[:, 1], s=5, c=colour, edgecolors="black", linewidths=0.25)


def _particles(directory: Path) -> Any:
    """The particles alone, where there is no field to draw them over."""
    snapshots = largest_snapshots(directory)
    if snapshots is None or (directory / "pde" / "fields.vtkhdf").exists():
        return None
    figure, axes = subplots(1, 2, figsize=(9, 4.6), sharex=True, sharey=True)
    for axis, step in zip(axes, (0, -1), strict=True):
        positions, data, t = read_particles(snapshots, step)
        for sign, colour in SIGN_COLOURS.items():
            mine = positions[data["sign"] == sign]
            axis.scatter(mine[:, 0], mine[:, 1], s=6, c=colour, label=f"{'+' if sign > 0 else '-'}1")
        axis.set(title=f"N = {len(positions)}, t = {t:.4g}", aspect="equal", xlabel="x", ylabel="y")
    axes[0].legend()
    return figure


def _invariants(directory: Path) -> Any:
    """Mass, free energy, second moment and smallest density over time."""
    names = {"mass_positive": "positive", "mass_negative": "negative"}
    return invariants(directory, masses=names, panels=("second_moment", "free_energy", "minimum", "dt"))


PAINTERS = {"fields": _fields, "mesh": _meshes, "particles": _particles, "invariants": _invariants}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
