"""Pictures of a finished (or broken off) run, drawn from the files it has left."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures, tables
from limitpde.results.folder import Folder
from limitpde.results.vtkhdf import times

MOST_PANELS = 6
"""Test functions that get a panel of their own; the tables have all."""
ROUNDING = 1e-9
"""Part of the largest residual below which one is nothing but rounding, and is not drawn."""
Painter = Callable[[Path], Any]


def draw(folder: Folder, system: Mapping[str, Painter]) -> list[Path]:
    """Draw every picture for which the result has files; returns their paths.

    Args:
        folder: the result.
        system: name -> painter of the pictures that the system has besides those of all systems.
    """
    painters: dict[str, Painter] = {
        **system,
        "residual_rate": _residual_rate,
        "residual_in_time": _residual_in_time,
        "observables": _observables,
    }
    drawn = []
    for name, paint in painters.items():
        figure = paint(folder.directory)
        if figure is not None:
            path = folder.own(f"pictures/{name}.png")
            figure.savefig(path, dpi=110)
            drawn.append(path)
    return drawn


def subplots(rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    """A figure and its axes, one or an array of them; pyplot and its backend, which are the user's, know nothing of it.

    Args:
        rows: of axes.
        columns: of axes.

    Keyword Args:
        figsize: width and height in inches.
        options: of `matplotlib.figure.Figure.subplots`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def largest_snapshots(directory: Path) -> Path | None:
    """The particle file of the largest N that has snapshots."""
    found = [path for path in directory.glob("particles/N*/particles.vtkhdf") if len(times(path))]
    return max(found, key=lambda path: int(path.parent.name[1:])) if found else None


def invariants(directory: Path, *, masses: Mapping[str, str], panels: Sequence[str]) -> Any:
    """Relative changes of masses, and other columns of diagnostics.csv, over time.

    Args:
        directory: the result.

    Keyword Args:
        masses: column -> name of a mass that should not change.
        panels: up to five more columns, each with a panel of its own; those that are absent are left out.

    Returns:
        The figure; None where there are fewer than two rows.
    """
    path = directory / "pde" / "diagnostics.csv"
    table = tables.read_columns(path) if path.exists() else {}
    if not table or len(table["t"]) < 2:
        return None
    t = table["t"]
    panels = [name for name in panels if name in table]
    figure, grid = subplots(2, 3, figsize=(12, 6.4))
    axes = grid.ravel()
    for unused in axes[len(panels) + 1 :]:
        unused.remove()
    for column, label in masses.items():
        if column in table:
            axes[0].plot(t, table[column] / table[column][0] - 1, label=label)
    axes[0].set(title="relative change of mass", xlabel="t")
    axes[0].legend()
    for axis, name in zip(axes[1:], panels, strict=False):
        shown = slice(1, None) if name == "dt" else slice(None)  # nothing leads to the first row
        axis.plot(t[shown], table[name][shown])
        axis.set(title=name.replace("_", " "), xlabel="t")
    moment = figures.read(directory / "summary.json").get("pde", {}).get("second_moment", {})
    if "rate_theory" in moment and "second_moment" in panels:
        axis = axes[1 + panels.index("second_moment")]
        axis.plot(t, moment["start"] + moment["rate_theory"] * t, "k--", lw=1, label="theory")
        axis.legend()
    return figure


def _residual_rate(directory: Path) -> Any:
    """Root mean square of W against N, and what the theory predicts: its size with its bias, or else its power of N."""
    compare = figures.read(directory / "summary.json").get("compare", {})
    entries = compare.get("residual", [])
    largest = max((entry["rms"] for entry in entries), default=0.0)
    entries = [entry for entry in entries if entry["rms"] > ROUNDING * largest]
    rates = [rate for rate in compare.get("rates", []) if rate["quantity"] == "residual_rms"]
    powers = {rate["test_function"]: rate.get("theory") for rate in rates}
    if len({entry["N"] for entry in entries}) < 2:
        return None
    figure, axis = subplots(figsize=(6.4, 4.6))
    for number in sorted({entry["test_function"] for entry in entries}):
        colour = f"C{number % 10}"
        mine = sorted((entry for entry in entries if entry["test_function"] == number), key=lambda entry: entry["N"])
        counts = np.array([entry["N"] for entry in mine])
        rms = np.array([entry["rms"] for entry in mine])
        error = np.array([entry["rms_stderr"] for entry in mine])
        theory = np.sqrt([entry.get("theory_variance", math.nan) + entry["theory_mean"] ** 2 for entry in mine])
        power = powers.get(number)
        if np.isnan(theory).all() and power is not None:
            theory = rms[0] * (counts / counts[0]) ** power
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
    figure, axes = subplots(1, len(numbers), figsize=(5 * len(numbers), 3.8), squeeze=False)
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
    figure, axes = subplots(1, len(numbers), figsize=(5 * len(numbers), 3.8), squeeze=False)
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
