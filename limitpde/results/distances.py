"""Distances of particles to the solution at the end, beside those of independent draws: a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limitpde.results import figures, pictures, style
from limitpde.results.canvas import Canvas
from limitpde.results.report import columns

KEYS = {
    "distance": "distance",
    "particles": "mean",
    "stderr": "stderr",
    "independent draws": "floor",
    "stderr of those": "floor_stderr",
}
SHOWN = ("sliced", "energy")
"""Distances with a picture."""


def section(entries: Sequence[figures.Record], kind: str, subject: str) -> str:
    """What report.md says of `compare.distances`; nothing without entries.

    Args:
        entries: of the list.
        kind: key of what is compared by itself.
        subject: what is compared, in words.
    """
    text = (
        f"At the end, of {subject}, each divided by its mass: Wasserstein-1 of the marginals and its mean over slices, "
        "and the energy distance; beside what as many independent draws from the density have. Repulsion and "
        "reactions of close pairs put particles below that, attraction above."
    )
    title = "### Distances between the particles and the solution"
    return "\n\n".join([title, columns(entries, {"N": "N", kind: kind} | KEYS), text]) if entries else ""


def picture(directory: Path, canvas: Canvas, kind: str, names: dict[Any, str]) -> Any:
    """Sliced and energy distance against N, with those of independent draws as lines; none of fewer than two N.

    Args:
        directory: the result.
        canvas: where.
        kind: key of what is compared by itself.
        names: value of the key -> what it is called.
    """
    entries = figures.read(directory / "summary.json").get("compare", {}).get("distances", [])
    entries = sorted((entry for entry in entries if entry["mean"] > 0), key=lambda entry: entry["N"])
    counts = sorted({entry["N"] for entry in entries})
    if len(counts) < 2:
        return None
    figure, axes = canvas.subplots(1, len(SHOWN), figsize=(9.6, 4.2))
    for axis, distance in zip(axes, SHOWN, strict=True):
        for number, (value, name) in enumerate(names.items()):
            mine = [entry for entry in entries if entry["distance"] == distance and entry.get(kind) == value]
            if mine:
                look = {"color": f"C{number}", "marker": style.MARKERS[number], "ms": 6, "capsize": 3}
                floors = [entry["floor"] for entry in mine]
                pictures.against_count(axis, mine, ("mean", "stderr"), floors, label=name, **look)
        pictures.count_axis(axis, counts, f"{distance} distance")
        axis.legend()
    axes[0].set_title("bars: 2 standard errors; dashed: as many independent draws", fontsize="small")
    return figure
