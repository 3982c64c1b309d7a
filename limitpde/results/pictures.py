"""Pictures of a finished (or broken off) run, drawn from the files it has left."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from limitpde.results import figures, tables
from limitpde.results.fields import read_fields
from limitpde.results.particles import read_particles
from limitpde.results.vtkhdf import times

FIELD_ORDER = ("rho_positive", "rho_negative", "charge")
MOST_DOTS = 250
"""Particles of each sign drawn over a map, so that the map can still be seen."""
MOST_PANELS = 6
"""Test functions that get a panel of their own; the tables have all."""
SIGN_COLOURS = {1.0: "#b2182b", -1.0: "#2166ac"}


def draw(directory: Path) -> list[Path]:
    """Draw every picture for which the result has files; returns their paths."""
    pictures = directory / "pictures"
    pictures.mkdir(exist_ok=True)
    painters: dict[str, Callable[[Path], Any]] = {
        "fields": _fields,
        "particles": _particles,
        "invariants": _invariants,
        "residual_rate": _residual_rate,
        "residual_in_time": _residual_in_time,
        "observables": _observables,
    }
    drawn = []
    for name, paint in painters.items():
        figure = paint(directory)
        if figure is not None:
            path = pictures / f"{name}.png"
            figure.savefig(path, dpi=110)
            plt.close(figure)
            drawn.append(path)
    return drawn


def _snapshots(directory: Path) -> Path | None:
    """The particle file of the largest N."""
    found = [path for path in directory.glob("particles/N*/particles.vtkhdf") if len(times(path))]
    return max(found, key=lambda path: int(path.parent.name[1:])) if found else None


def _fields(directory: Path) -> Any:
    """Each field at the first and the last output, with the particles of replica 0 over the last two rows' maps."""
    path = directory / "pde" / "fields.vtkhdf"
    if not path.exists() or not len(times(path)):
        return None
    states = [read_fields(path, 0), read_fields(path, -1)]
    snapshots = _snapshots(directory)
    clouds = [read_particles(snapshots, k) if snapshots else None for k in (0, -1)]
    names = [name for name in FIELD_ORDER if name in states[0][2]]
    figure, axes = plt.subplots(2, len(names), figsize=(4.2 * len(names), 7.6), squeeze=False, layout="constrained")
    half = max(_half_width(state) for state in states)
    for row, ((points, cells, values, t), cloud) in enumerate(zip(states, clouds, strict=True)):
        for axis, name in zip(axes[row], names, strict=True):
            _map(figure, axis, points, cells, values[name], name)
            if cloud is not None:
                _dots(axis, cloud, name)
            axis.set(title=f"{name}, t = {t:.4g}", xlim=(-half, half), ylim=(-half, half), aspect="equal")
    return figure


def _half_width(state: tuple[Any, ...]) -> float:
    """Half the width of the square around the origin that holds what can be seen of the densities."""
    points, _, values, _ = state
    density = np.sum([array for name, array in values.items() if name.startswith("rho")], axis=0)
    seen = np.abs(points[density > 0.005 * density.max(), :2]).max()
    return float(1.1 * seen or np.abs(points).max())


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
    snapshots = _snapshots(directory)
    if snapshots is None or (directory / "pde" / "fields.vtkhdf").exists():
        return None
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), sharex=True, sharey=True, layout="constrained")
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
    path = directory / "pde" / "diagnostics.csv"
    table = tables.read_columns(path) if path.exists() else {}
    if not table or len(table["t"]) < 2:
        return None
    t = table["t"]
    panels = [name for name in ("second_moment", "free_energy", "minimum", "dt") if name in table]
    figure, grid = plt.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
    axes = grid.ravel()
    for unused in axes[len(panels) + 1 :]:
        unused.remove()
    for name in (column for column in table if column.startswith("mass_") and column != "mass_outside"):
        axes[0].plot(t, table[name] / table[name][0] - 1, label=name.removeprefix("mass_"))
    axes[0].set(title="relative change of mass", xlabel="t")
    axes[0].legend()
    for axis, name in zip(axes[1:], panels, strict=False):
        shown = slice(1, None) if name == "dt" else slice(None)  # nothing leads to the first row
        axis.plot(t[shown], table[name][shown])
        axis.set(title=name.replace("_", " "), xlabel="t")
    moment = figures.read(directory / "summary.json").get("pde", {}).get("second_moment", {})
    if "rate_theory" in moment and "second_moment" in panels:
        axis = axes[1 + panels.index("second_moment")]
        axis.plot(t, moment["start"] + moment["rate_theory"] * t, "k--", lw=1, label="virial law")
        axis.legend()
    return figure


def _residual_rate(directory: Path) -> Any:
    """Root mean square of W against N, the line that the theory predicts, and its bias where there is one."""
    entries = figures.read(directory / "summary.json").get("compare", {}).get("residual", [])
    entries = [entry for entry in entries if entry["rms"] > 0]
    if len({entry["N"] for entry in entries}) < 2:
        return None
    figure, axis = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    for number in sorted({entry["test_function"] for entry in entries}):
        colour = f"C{number % 10}"
        mine = sorted((entry for entry in entries if entry["test_function"] == number), key=lambda entry: entry["N"])
        counts = np.array([entry["N"] for entry in mine])
        rms = np.array([entry["rms"] for entry in mine])
        error = np.array([entry["rms_stderr"] for entry in mine])
        theory = np.sqrt([entry["theory_variance"] + entry["theory_mean"] ** 2 for entry in mine])
        axis.errorbar(counts, rms, 2 * error, fmt="o", color=colour, capsize=3, label=mine[0]["label"])
        axis.plot(counts, theory, "--", color=colour, lw=1)
    axis.set(xscale="log", yscale="log", xlabel="N", ylabel="root mean square of W[T, phi]")
    axis.set_title("residual of the particles in the PDE (dashed: theory)", fontsize=10)
    axis.legend(fontsize=8)
    return figure


def _residual_in_time(directory: Path) -> Any:
    """W[t, phi] of the replicas of the largest N, and of the PDE, over time."""
    path = directory / "compare" / "residuals.csv"
    table = tables.read_columns(path) if path.exists() else {}
    if not table or not len(table.get("t", [])):
        return None
    particles = table["system"] == "particles"
    largest = table["N"][particles].max() if particles.any() else None
    numbers = np.unique(table["test_function"])[:MOST_PANELS]
    figure, axes = plt.subplots(1, len(numbers), figsize=(5 * len(numbers), 3.8), squeeze=False, layout="constrained")
    for axis, number in zip(axes[0], numbers, strict=True):
        here = table["test_function"] == number
        mine = here & particles & (table["N"] == largest)
        if mine.any():
            times = np.unique(table["t"][mine])
            values = table["residual"][mine].reshape(-1, len(times))
            mean, spread = values.mean(axis=0), values.std(axis=0)
            axis.fill_between(times, mean - 2 * spread, mean + 2 * spread, alpha=0.25, label="mean +- 2 std")
            axis.plot(times, mean, label=f"particles, N = {largest:.0f}")
        pde = here & (table["system"] == "pde")
        if pde.any():
            axis.plot(table["t"][pde], table["residual"][pde], "k", label="PDE")
        axis.axhline(0, color="grey", lw=0.5)
        axis.set(xlabel="t", title=f"W[t, phi], test function {number:.0f}")
        axis.legend(fontsize=8)
    return figure


def _observables(directory: Path) -> Any:
    """int phi dL_t of the particles for each N with error bars, over the line of the PDE."""
    entries = figures.read(directory / "summary.json").get("compare", {}).get("observables", [])
    entries = [entry for entry in entries if "stderr" in entry and "pde" in entry]
    numbers = sorted({entry["test_function"] for entry in entries})[:MOST_PANELS]
    if not numbers:
        return None
    figure, axes = plt.subplots(1, len(numbers), figsize=(5 * len(numbers), 3.8), squeeze=False, layout="constrained")
    for axis, number in zip(axes[0], numbers, strict=True):
        mine = [entry for entry in entries if entry["test_function"] == number]
        for number_of_n, count in enumerate(sorted({entry["N"] for entry in mine})):
            colour = f"C{number_of_n % 10}"
            rows = [entry for entry in mine if entry["N"] == count]
            t, mean = [row["t"] for row in rows], [row["mean"] for row in rows]
            axis.errorbar(t, mean, [2 * row["stderr"] for row in rows], fmt=".", color=colour, label=f"N = {count}")
        pde = {entry["t"]: entry["pde"] for entry in mine}
        axis.plot(list(pde), list(pde.values()), "k", lw=1, label="PDE")
        axis.set(xlabel="t", title=f"int phi drho_t, test function {number}")
        axis.legend(fontsize=8)
    return figure
