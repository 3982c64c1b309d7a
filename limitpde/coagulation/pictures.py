"""Pictures of a run of the coagulating system: fields, particles, numbers by mass, and how many are left."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures, pictures
from limitpde.results.canvas import Canvas

SHOWN = ("number", "f_1", "f_2", "f_3")
"""Fields with a picture."""
MOST_DOTS = 4000
"""Particles drawn in a cloud."""


def _fields(directory: Path, canvas: Canvas) -> Any:
    """Each field at the first and the last output: lines, maps, or maps of the plane through the middle."""
    states = pictures.fields(directory)
    if not states:
        return None
    return pictures.field_panels(
        canvas, [[(state, name, {}) for name in SHOWN if name in state[2]] for state in states]
    )[0]


def _particles(directory: Path, canvas: Canvas) -> Any:
    """The cloud of particles at the first and the last output; the area of a dot is proportional to n^(2/3)."""
    clouds = pictures.clouds(directory)
    if not clouds:
        return None
    largest = max(data["mass"].max(initial=1) for _, data, _ in clouds)
    figure, axes = canvas.subplots(1, 2, figsize=(10, 4.8), sharex=True, sharey=True)
    for axis, (positions, data, t) in zip(axes, clouds, strict=True):
        shown, mass = (pictures.thinned(rows, MOST_DOTS) for rows in (positions, data["mass"]))
        order = np.argsort(shown[:, 2])
        x, y, _ = shown[order].T
        dots = axis.scatter(x, y, s=3 * mass[order] ** (2 / 3), c=mass[order], vmin=1, vmax=largest)
        axis.set(title=f"{len(positions)} particles, t = {t:.4g}", aspect="equal", xlabel="x", ylabel="y")
    figure.colorbar(dots, ax=axes, label="mass", shrink=0.8)
    return figure


def _spectrum(directory: Path, canvas: Canvas) -> Any:
    """How many particles of each mass there are at the end: the equation's, and those of each N with error bars."""
    summary = figures.read(directory / "summary.json")
    pde, particles = summary.get("pde", {}), summary.get("particles", [])
    if not pde and not particles:
        return None
    figure, axis = canvas.subplots(figsize=(6.4, 4.6))
    if pde:
        axis.plot(pde["masses"], pde["density_end"], "k.-", lw=1, ms=4, label="equation")
    for entry in particles:
        density = entry["density_end"]
        n, errors = 1 + np.arange(len(density["mean"])), density.get("stderr", math.nan)
        pictures.means(axis, n, density["mean"], errors, label=f"particles, N = {entry['N']}")
    axis.set(xlabel="mass n", ylabel="number of particles, integral of f_n")
    n, value = (np.concatenate(each) for each in zip(*(line.get_data() for line in axis.get_lines()), strict=True))
    n, value = (
        n[np.isfinite(value)],
        value[np.isfinite(value)],
    )  # a point without an error has bars that are not numbers
    if np.any(value > 0):
        floor = max(value[value > 0].min(), 1e-8 * value.max())
        last = n[value >= floor].max()
        axis.set(yscale="log", ylim=(floor / 2, 2 * value.max()), xscale="log" if last > 100 else "linear")
        axis.set_xlim(0.9 if last > 100 else 0, 1.1 * last + 1)
    axis.legend()
    return figure


def _number(directory: Path, canvas: Canvas) -> Any:
    """How many particles are left over time."""
    table, particles = pictures.columns(directory), figures.read(directory / "summary.json").get("particles", [])
    if not particles and not table:
        return None
    figure, axis = canvas.subplots(figsize=(6.4, 4.6))
    if table:
        axis.plot(table["t"], table["moment_0"], "k", label="equation")
    for entry in particles:
        alive, share = entry["survivors"], entry["Z"] / entry["N"]
        mean, errors = (share * np.array(alive.get(name, math.nan)) for name in ("mean", "stderr"))
        pictures.means(axis, alive["times"], mean, errors, label=f"particles, N = {entry['N']}")
    axis.set(xlabel="t", ylabel="number of particles, in units of N / Z", ylim=(0, None))
    axis.legend()
    return figure


def _invariants(directory: Path, canvas: Canvas) -> Any:
    """The ledger of mass, moments, and the smallest density over time."""
    names = ("mass_total", "mass_overflow", "moment_0", "moment_2", "minimum")
    panels = {name.replace("_", " "): [name] for name in names}
    return pictures.invariants(canvas, directory, lambda table: {"mass and all that left": table["ledger"]}, panels)


PAINTERS = {
    "number": _number,
    "spectrum": _spectrum,
    "fields": _fields,
    "particles": _particles,
    "invariants": _invariants,
}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
