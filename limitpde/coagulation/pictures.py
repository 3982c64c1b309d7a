"""Pictures of a run of the coagulating system: fields, particles, numbers by mass, and how many are left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import distances, figures, maps, pictures, style
from limitpde.results.canvas import Canvas
from limitpde.results.invariants import invariants
from limitpde.results.maps import Cloud, Panel, State, StatePicture
from limitpde.results.symbols import at

SHOWN = ("number", "f_1", "f_2", "f_3")
"""Fields with a picture."""
MOST_DOTS = 4000
"""Particles drawn in a cloud."""
SLAB = 0.1
"""Part of the height of a cloud within which a particle counts as near the middle plane."""
OVER_TIME = {
    "mass": ["mass_total"],
    "overflow": ["mass_overflow"],
    "number of particles": ["moment_0"],
    "second moment of the masses": ["moment_2"],
    "smallest density": ["minimum"],
}
"""Title of a panel over time -> columns of diagnostics.csv."""
FLOOR = 0.1
"""Part of the smallest number of particles, other than zero, that an axis begins with."""


def _panels(states: Mapping[str, State]) -> list[Panel]:
    """The number of particles and the densities of the smallest masses: lines, maps, or a plane through the middle."""
    state = states["fields"]
    return [Panel(state, name, scale=name) for name in SHOWN if name in state[2]]


def _over(row: Sequence[Any], cloud: Cloud) -> None:
    """The particles of the mass of each map, those near its plane where they fill a solid."""
    positions, data, _ = cloud
    if len(row[0].get_lines()):
        return  # on a line there is nothing to draw them over
    z = positions[:, 2]
    near = np.abs(z - (z.min() + z.max()) / 2) <= SLAB * max(np.ptp(z), 1e-300)
    for n, axis in enumerate(row):
        shown = maps.thinned(positions[near & ((data["mass"] == n) | (n == 0))], MOST_DOTS // 8)
        axis.scatter(shown[:, 0], shown[:, 1], s=4, c="white", edgecolors="black", linewidths=0.25)


def _particles(directory: Path, canvas: Canvas) -> Any:
    """The cloud of particles at the first and the last output; the area of a dot is proportional to n^(2/3)."""
    clouds = pictures.clouds(directory)
    if not clouds:
        return None
    largest = max(data["mass"].max(initial=1) for _, data, _ in clouds)
    figure, axes = canvas.subplots(1, 2, figsize=(10, 4.8), sharex=True, sharey=True)
    colours = {"vmin": 1, "vmax": largest} if largest > 1 else {"cmap": "gray"}  # one mass: all black
    for axis, (positions, data, t) in zip(axes, clouds, strict=True):
        shown, mass = (maps.thinned(rows, MOST_DOTS) for rows in (positions, data["mass"]))
        order = np.argsort(shown[:, 2])
        x, y, _ = shown[order].T
        dots = axis.scatter(x, y, s=3 * mass[order] ** (2 / 3), c=mass[order], **colours)
        axis.set(title=f"{len(positions)} particles, {at(t)}", aspect="equal", xlabel="$x$", ylabel="$y$")
    if largest > 1:
        figure.colorbar(dots, ax=axes, label="mass $n$", shrink=0.8)
    return figure


def _spectrum(directory: Path, canvas: Canvas) -> Any:
    """How many particles of each mass there are at the end: the equation's, and those of each N with error bars."""
    summary = figures.read(directory / "summary.json")
    pde, particles = summary.get("pde", {}), summary.get("particles", [])
    if len(pde.get("masses", [])) < 2 and all(len(entry["density_end"]["mean"]) < 2 for entry in particles):
        return None  # of one mass, the number over time says all
    figure, axis = canvas.subplots(figsize=(5.6, 4.4))
    if pde:
        axis.plot(pde["masses"], pde["density_end"], "k.-", lw=1, ms=4, label="solution")
    shown = [(np.array(pde["masses"]), np.array(pde["density_end"]), 1e-8)] if pde and not particles else []
    for k, entry in enumerate(particles):
        density = entry["density_end"]
        n, errors = 1.0 + np.arange(len(density["mean"])), density.get("stderr", math.nan)
        label = rf"$N$ = {entry['N']}, $\pm$ 2 standard errors"
        look = style.of_count(k, len(particles))
        pictures.means(axis, pictures.beside(n, k, len(particles)), density["mean"], errors, label=label, **look)
        shown.append((n, np.array(density["mean"]), FLOOR))
    axis.set(xlabel="mass $n$", ylabel=r"$\int f_n$ at the end")
    _fit_axes(axis, shown)
    axis.legend()
    return figure


def _fit_axes(axis: Any, shown: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> None:
    """Ranges that hold what is not zero: masses, numbers, and the part of the smallest that the axis begins with."""
    seen = [(n[value > 0], value[value > 0], part) for n, value, part in shown if np.any(value > 0)]
    if seen:
        last = max(n.max() for n, _, _ in seen)
        low = min(part * (value.min() if part == FLOOR else value.max()) for _, value, part in seen)
        axis.set(yscale="log", ylim=(low, 2 * max(value.max() for _, value, _ in seen)))
        axis.set(xscale="log" if last > 100 else "linear", xlim=(0.9 if last > 100 else 0, 1.1 * last + 1))


def _number(directory: Path, canvas: Canvas) -> Any:
    """How many particles are left over time."""
    table, particles = pictures.columns(directory), figures.read(directory / "summary.json").get("particles", [])
    if not particles and not table:
        return None
    figure, axis = canvas.subplots(figsize=(5.6, 4.4))
    if table:
        axis.plot(table["t"], table["moment_0"], "k", label="solution", zorder=0)
    for k, entry in enumerate(particles):
        alive, share = entry["survivors"], entry["Z"] / entry["N"]
        mean, errors = (share * np.array(alive.get(name, math.nan)) for name in ("mean", "stderr"))
        places = pictures.beside(alive["times"], k, len(particles))
        label = rf"$N$ = {entry['N']}, $\pm$ 2 standard errors"
        pictures.means(axis, places, mean, errors, label=label, **style.of_count(k, len(particles)))
    axis.set(xlabel="$t$", ylabel=r"$\Sigma_n \int f_n$; particles in units of $N/Z$", ylim=(0, None))
    axis.legend()
    return figure


def _distances(directory: Path, canvas: Canvas) -> Any:
    """Distances of the particles to the densities at the end against N."""
    names = {None: "all"} | {n: f"mass {n}" for n in (1, 2, 3)}
    return distances.picture(directory, canvas, "n", names)


def _invariants(directory: Path, canvas: Canvas) -> Any:
    """The ledger of mass, moments, and the smallest density over time."""
    overflow = np.any(pictures.columns(directory).get("mass_overflow", 0))
    shown = {title: names for title, names in OVER_TIME.items() if overflow or title != "overflow"}
    return invariants(canvas, directory, lambda table: {"mass and all that left": table["ledger"]}, shown)


PAINTERS: dict[str, pictures.Painter] = {
    "number": _number,
    "spectrum": _spectrum,
    "fields": StatePicture(_panels, _over),
    "particles": _particles,
    "distances": _distances,
    "invariants": _invariants,
}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
