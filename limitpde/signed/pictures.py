"""Pictures of a run of the signed system: densities, charge and potential, with the particles over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import distances, maps, pictures
from limitpde.results.canvas import Canvas
from limitpde.results.invariants import invariants
from limitpde.results.maps import Cloud, Columns, Panel, State, StatePicture
from limitpde.results.symbols import at

FIELDS = {"rho_positive": (1.0,), "rho_negative": (-1.0,), "charge": (1.0, -1.0)}
"""Field -> signs of the particles drawn over it."""
SHOWN = {
    "second moment": ["second_moment"],
    "free energy": ["free_energy"],
    "smallest density": ["minimum"],
    "step": ["dt"],
}
"""Title of a panel over time -> columns of diagnostics.csv."""
MOST_DOTS = 150
"""Particles of each sign drawn over a map, so that the map can still be seen."""
SIGN_COLOURS = {1.0: "#b2182b", -1.0: "#2166ac"}


def _panels(states: Mapping[str, State]) -> list[Panel]:
    """Each density, with one scale of colours, and the charge, whose colours say its sign."""
    state = states["fields"]
    names = [name for name in FIELDS if name in state[2]]
    return [
        Panel(state, name, scale="charge", signed=True, cmap="RdBu_r") if name == "charge" else Panel(state, name)
        for name in names
    ]


def _over(row: Sequence[Any], cloud: Cloud) -> None:
    """The particles of a sign over its density, white, and all over the charge."""
    for axis, (name, signs) in zip(row, FIELDS.items(), strict=False):
        colour = {} if name == "charge" else {"c": "white"}
        _dots(axis, cloud, signs, MOST_DOTS, s=5, edgecolors="black", linewidths=0.25, **colour)


def _meshes(directory: Path, canvas: Canvas) -> Any:
    """The mesh where densities can be seen at the first and the last output, where it has changed."""
    states = pictures.fields(directory)
    if not states or np.array_equal(states[0][0], states[1][0]):
        return None
    totals = [(points, cells, {"rho": _density(values)}, t) for points, cells, values, t in states]
    figure, axes = maps.panels(canvas, [[Panel(state, "rho") for state in totals]])
    for axis, state in zip(axes.flat, totals, strict=True):
        axis.triplot(state[0][:, 0], state[0][:, 1], state[1], color="white", linewidth=0.3)
        axis.set(title=f"{len(state[0])} nodes, {at(state[3])}", **_square([state]))
    return figure


def _square(states: Sequence[State]) -> dict[str, tuple[float, float]]:
    """xlim and ylim of a square that holds what can be seen of the densities."""
    densities = [_density(values) for _, _, values, _ in states]
    seen = [state[0][rho > 0.005 * rho.max(), :2] for state, rho in zip(states, densities, strict=True)]
    lower, upper = (extreme(np.concatenate(seen), axis=0) for extreme in (np.min, np.max))
    half = 0.55 * (upper - lower).max() or np.abs(states[0][0]).max()
    sides = zip(("xlim", "ylim"), (lower + upper) / 2, strict=True)
    return {name: (float(middle - half), float(middle + half)) for name, middle in sides}


def _density(values: Columns) -> np.ndarray:
    """The sum of the densities at the nodes."""
    return np.asarray(np.sum([array for name, array in values.items() if name.startswith("rho")], axis=0))


def _dots(axis: Any, cloud: Cloud, signs: Sequence[float], most: int, **style: Any) -> None:
    """The particles of these signs, at most so many of each."""
    positions, data, _ = cloud
    for sign in signs:
        mine = maps.thinned(positions[data["sign"] == sign], most)
        axis.scatter(mine[:, 0], mine[:, 1], **({"c": SIGN_COLOURS[sign], "label": f"{sign:+.0f}"} | style))


def _particles(directory: Path, canvas: Canvas) -> Any:
    """The particles alone, where there is no field to draw them over."""
    clouds = pictures.clouds(directory)
    if not clouds or (directory / "pde" / "fields.vtkhdf").exists():
        return None
    figure, axes = canvas.subplots(1, 2, figsize=(9, 4.6), sharex=True, sharey=True)
    for axis, cloud in zip(axes, clouds, strict=True):
        _dots(axis, cloud, FIELDS["charge"], len(cloud[0]), s=6)
        axis.set(title=f"$N$ = {len(cloud[0])}, {at(cloud[2])}", aspect="equal", xlabel="$x$", ylabel="$y$")
    axes[0].legend()
    return figure


def _invariants(directory: Path, canvas: Canvas) -> Any:
    """Mass, free energy, second moment and smallest density over time."""
    return invariants(canvas, directory, _masses, SHOWN)


def _distances(directory: Path, canvas: Canvas) -> Any:
    """Distances of the charges to the densities of their sign at the end against N."""
    return distances.picture(directory, canvas, "sign", {name: f"{name} charges" for name in ("positive", "negative")})


def _masses(table: Columns) -> Columns:
    return {f"{sign} mass": table[f"mass_{sign}"] for sign in ("positive", "negative") if f"mass_{sign}" in table}


PAINTERS: dict[str, pictures.Painter] = {
    "fields": StatePicture(_panels, _over, box=_square),
    "mesh": _meshes,
    "particles": _particles,
    "distances": _distances,
    "invariants": _invariants,
}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
