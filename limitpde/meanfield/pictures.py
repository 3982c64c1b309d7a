"""Pictures of a run of the mean-field system: densities with the particles over them, and what steps keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import pictures
from limitpde.results.canvas import Canvas
from limitpde.results.pictures import Columns

MOST_DOTS = 400
"""Particles of each species drawn over a map, so that the map can still be seen."""


def _fields(directory: Path, canvas: Canvas) -> Any:
    """Each density at the first and the last output, with the particles of replica 0 of its species."""
    states, clouds = pictures.fields(directory), pictures.clouds(directory)
    if not states:
        return None
    names = [name for name in states[0][2] if name.startswith("rho")]
    line = np.ptp(states[0][0][:, 1]) == 0
    if line and len(names) == 1:
        return pictures.density_over_x(canvas, states, names[0], clouds)
    figure, axes = pictures.field_panels(canvas, [[(state, name, {}) for name in names] for state in states])
    if line:
        return figure
    for row, cloud in zip(axes, clouds, strict=False):  # of the particles there may be none
        for species, axis in enumerate(row, start=1):
            mine = pictures.thinned(cloud[0][cloud[1]["species"] == species], MOST_DOTS)
            axis.scatter(mine[:, 0], mine[:, 1], s=5, c="white", edgecolors="black", linewidths=0.25)
    for axis in axes.flat:
        axis.set(aspect="equal")
    return figure


def _invariants(directory: Path, canvas: Canvas) -> Any:
    """Masses, free energy, second moment and smallest density over time."""
    panels = {name.replace("_", " "): [name] for name in ("second_moment", "free_energy", "minimum", "dt")}
    return pictures.invariants(canvas, directory, _masses, panels)


def _masses(table: Columns) -> Columns:
    return {
        name.replace("_", " "): values for name, values in table.items() if name[:5] == "mass_" and name[5:].isdigit()
    }


PAINTERS = {"fields": _fields, "invariants": _invariants}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
