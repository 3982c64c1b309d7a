"""Pictures of a run of the mean-field system: densities with the particles over them, and what steps keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import distances, maps, pictures
from limitpde.results.canvas import Canvas
from limitpde.results.invariants import invariants
from limitpde.results.maps import Cloud, Columns, Panel, State, StatePicture

MOST_SPECIES = 8
"""Species whose distances are drawn."""
SHOWN = {
    "second moment": ["second_moment"],
    "free energy": ["free_energy"],
    "smallest density": ["minimum"],
    "step": ["dt"],
}
"""Title of a panel over time -> columns of diagnostics.csv."""
MOST_DOTS = 400
"""Particles of each species drawn over a map, so that the map can still be seen."""


def _panels(states: Mapping[str, State]) -> list[Panel]:
    """Each density, with one scale."""
    state = states["fields"]
    return [Panel(state, name) for name in state[2] if name.startswith("rho")]


def _over(row: Sequence[Any], cloud: Cloud) -> None:
    """The particles of each species over its density: dots in the plane, a histogram on a line."""
    positions, data, _ = cloud
    for species, axis in enumerate(row, start=1):
        mine = positions[data["species"] == species]
        if np.ptp(positions[:, 1]) == 0:
            pictures.histogram(axis, mine[:, 0], 1 / len(positions))
        else:
            shown = maps.thinned(mine, MOST_DOTS)
            axis.scatter(shown[:, 0], shown[:, 1], s=5, c="white", edgecolors="black", linewidths=0.25)


def _invariants(directory: Path, canvas: Canvas) -> Any:
    """Masses, free energy, second moment and smallest density over time."""
    return invariants(canvas, directory, _masses, SHOWN)


def _masses(table: Columns) -> Columns:
    found = {name: values for name, values in table.items() if name[:5] == "mass_" and name[5:].isdigit()}
    return {name.replace("_", " ") if len(found) > 1 else "mass": values for name, values in found.items()}


def _distances(directory: Path, canvas: Canvas) -> Any:
    """Distances of the particles to the densities of their species at the end against N."""
    return distances.picture(directory, canvas, "n", {n: f"species {n}" for n in range(1, MOST_SPECIES + 1)})


PAINTERS: dict[str, pictures.Painter] = {
    "fields": StatePicture(_panels, _over),
    "distances": _distances,
    "invariants": _invariants,
}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
