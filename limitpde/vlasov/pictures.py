"""Pictures of a run of the Vlasov system: phase space, density, field energy, invariants, distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures, tables
from limitpde.results.fields import read_fields
from limitpde.results.particles import read_particles
from limitpde.results.pictures import largest_snapshots, subplots
from limitpde.results.vtkhdf import times

MOST_DOTS = 2000
"""Particles drawn over a map, so that the map can still be seen."""
BINS = 48
"""Bins of a histogram of particles, at most."""
ROUNDING = 1e-17
"""What a change that is exactly zero is drawn as, on a logarithmic axis."""
CORNERS = {"lines": 2, "triangles": 3, "tetrahedra": 4}
PhaseFrame = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], float]


def _states(path: Path) -> list[PhaseFrame]:
    """The first and the last step of a file of fields; none where it has none."""
    if not path.exists() or not len(times(path)):
        return []
    return [read_fields(path, step) for step in (0, -1)]


def _grid(points: np.ndarray, d: int) -> list[np.ndarray]:
    """Edges of the cells of a tensor grid along each coordinate."""
    return [np.unique(np.round(points[:, j], 12)) for j in range(d)]


# --- phase space ------------------------------------------------------------------------------------------------------


def _phase_space(directory: Path) -> Any:
    """f at the first and the last output; in one dimension below it the same with particles of the largest N."""
    pde = directory / "pde"
    planes = [path for path in (pde / "fields.vtkhdf", *sorted(pde.glob("slice_*.vtkhdf"))) if path.exists()]
    found = [(path.stem, _states(path)) for path in planes]
    found = [(name, states) for name, states in found if states and "f" in states[0][2]]
    if not found:
        return None
    snapshots = largest_snapshots(directory) if found[0][0] == "fields" else None
    rows: list[tuple[str, list[PhaseFrame], Path | None]] = [(name, states, None) for name, states in found]
    if snapshots is not None:
        rows.append((*found[0], snapshots))
    size = (11, 3.9 * len(rows))
    figure, axes = subplots(len(rows), 2, figsize=size, squeeze=False, sharey="row")
    for row, (name, states, cloud) in zip(axes, rows, strict=True):
        number = name[len("slice_x") :].partition("_")[0]
        for axis, state, step in zip(row, states, (0, -1), strict=True):
            drawn = _phase_map(axis, state)
            if cloud is not None:
                _dots(axis, cloud, step, state)
            axis.set(xlabel=f"x{number}", ylabel=f"v{number}" if step == 0 else "")
        figure.colorbar(drawn, ax=row, shrink=0.9, pad=0.01, label="f")
    return figure


def _phase_map(axis: Any, state: PhaseFrame) -> Any:
    points, _, values, t = state
    x, v = _grid(points, 2)
    f = values["f"].reshape(len(x) - 1, len(v) - 1)
    drawn = axis.pcolormesh(x, v, f.T, cmap="inferno", vmin=0.0, vmax=float(f.max()) or 1.0, rasterized=True)
    axis.set_title(f"f, t = {t:.4g}", fontsize=10)
    return drawn


def _dots(axis: Any, snapshots: Path, step: int, state: PhaseFrame) -> None:
    positions, data, _ = read_particles(snapshots, step)
    every = math.ceil(len(positions) / MOST_DOTS)
    limits = axis.get_xlim(), axis.get_ylim()
    axis.scatter(positions[::every, 0], data["velocity"].reshape(len(positions), -1)[::every, 0], s=2, c="white", lw=0)
    axis.set(xlim=limits[0], ylim=limits[1])
    axis.set_title(f"f, t = {state[3]:.4g}, and {len(positions[::every])} of {len(positions)} particles", fontsize=10)


# --- density ----------------------------------------------------------------------------------------------------------


def _density(directory: Path) -> Any:
    """rho over x at the first and the last output, with a histogram of the particles in one dimension."""
    pde = directory / "pde"
    states = _states(pde / ("moments.vtkhdf" if (pde / "moments.vtkhdf").exists() else "fields.vtkhdf"))
    if not states or "rho" not in states[0][2]:
        return None
    if states[0][1].shape[1] == CORNERS["lines"]:
        return _density_line(directory, states)
    figure, axes = subplots(1, 2, figsize=(10.5, 4.4), sharex=True, sharey=True)
    top = max(float(state[2]["rho"].max()) for state in states) or 1.0
    for axis, (points, cells, values, t) in zip(axes, states, strict=True):
        drawn = _density_map(axis, points, cells, values["rho"], top)
        axis.set(title=f"rho, t = {t:.4g}", xlabel="x", aspect="equal")
    axes[0].set_ylabel("y")
    figure.colorbar(drawn, ax=axes, shrink=0.85, pad=0.01)
    return figure


def _density_line(directory: Path, states: Sequence[PhaseFrame]) -> Any:
    """Lines of the equation, over the histogram of the particles of the largest N at the end."""
    figure, axis = subplots(figsize=(7.2, 4.4))
    for (points, _, values, t), style in zip(states, ({"color": "0.5", "ls": "--"}, {"color": "k"}), strict=True):
        edges = _grid(points, 1)[0]
        axis.plot((edges[1:] + edges[:-1]) / 2, values["rho"], lw=1.4, label=f"equation, t = {t:.4g}", **style)
    snapshots = largest_snapshots(directory)
    if snapshots is not None:
        positions, _, t = read_particles(snapshots, -1)
        count = len(positions)
        pde = figures.read(directory / "summary.json").get("pde", {})
        mass = pde.get("mass", {}).get("total", {}).get("start", 1.0)
        bins = np.linspace(edges[0], edges[-1], 1 + min(BINS, max(8, int(math.sqrt(count) / 2))))
        weights = np.full(count, mass / (count * (bins[1] - bins[0])))
        label = f"{count} particles, t = {t:.4g}"
        axis.hist(
            positions[:, 0], bins, weights=weights, label=label, color="#9ecae1", edgecolor="white", lw=0.5, zorder=0
        )
    axis.set(xlabel="x", ylabel="rho", xlim=(edges[0], edges[-1]), ylim=(0, 1.25 * axis.get_ylim()[1]))
    axis.legend(fontsize=8, ncols=3, loc="upper center")
    return figure


def _density_map(axis: Any, points: np.ndarray, cells: np.ndarray, rho: np.ndarray, top: float) -> Any:
    """A map over the plane, or over its middle layer in space."""
    style = {"cmap": "viridis", "vmin": 0.0, "vmax": top}
    if cells.shape[1] == CORNERS["triangles"]:
        return axis.tripcolor(points[:, 0], points[:, 1], cells, facecolors=rho, **style)
    if cells.shape[1] == CORNERS["tetrahedra"] and np.ptp(points[:, 2]) > 0:
        centres = points[cells].mean(axis=1)
        layer = np.abs(centres[:, 2] - np.median(centres[:, 2])) < 0.1 * np.ptp(points[:, 2])
        return axis.scatter(centres[layer, 0], centres[layer, 1], c=rho[layer], s=12, **style)
    edges = _grid(points, 3 if np.ptp(points[:, 2]) > 0 else 2)
    values = rho.reshape([len(along) - 1 for along in edges])
    if values.ndim == 3:
        values = values[:, :, values.shape[2] // 2]
    return axis.pcolormesh(edges[0], edges[1], values.T, rasterized=True, **style)


# --- over time --------------------------------------------------------------------------------------------------------


def _diagnostics(directory: Path) -> dict[str, np.ndarray] | None:
    """Columns of diagnostics.csv; None with fewer than two rows."""
    path = directory / "pde" / "diagnostics.csv"
    table = tables.read_columns(path) if path.exists() else {}
    return table if len(table.get("t", [])) > 1 else None


def _field_energy(directory: Path) -> Any:
    """Energy of the field over time, with the line that was fitted to it."""
    table = _diagnostics(directory)
    if table is None or not np.any(table["field_energy"]):
        return None
    t, energy = table["t"], np.abs(table["field_energy"])
    figure, axis = subplots(figsize=(7.2, 4.4))
    axis.semilogy(t[energy > 0], energy[energy > 0], lw=1.2, label="equation")
    pde = figures.read(directory / "summary.json").get("pde", {})
    fit = pde.get("field_fit")
    if fit is not None:
        line = np.linspace(fit["start"], min(fit["end"], t[-1]), 50)
        rate, frequency = pde["field_growth_rate"], pde["field_frequency"]
        label = f"fit: rate {rate:.5g}" + (f", frequency {frequency:.5g}" if frequency else "")
        axis.semilogy(line, np.exp(fit["intercept"] + 2 * rate * line), "k--", lw=1.2, label=label)
    low = max(energy[energy > 0].min(), 1e-18 * energy.max())
    axis.set(xlabel="t", ylabel="|energy of the field|", ylim=(0.5 * low, 2 * energy.max()))
    axis.legend(fontsize=8)
    return figure


def _invariants(directory: Path) -> Any:
    """Relative changes of what is conserved, the energies, the spread and the smallest value over time."""
    table = _diagnostics(directory)
    if table is None:
        return None
    t = table["t"]
    figure, axes = subplots(2, 2, figsize=(10.5, 6.8))
    kept = {"mass": table["mass_total"] + table["mass_lost"], "energy": table["energy"], "integral of f^2": table["l2"]}
    for name, values in kept.items():
        size = abs(values[0]) or 1.0
        axes[0, 0].semilogy(t[1:], np.maximum(np.abs(values[1:] - values[0]) / size, ROUNDING), label=name)
    momentum = np.stack([table[f"momentum_{axis}"] for axis in "xyz" if f"momentum_{axis}" in table])
    change = np.abs(momentum - momentum[:, :1]).max(axis=0)
    axes[0, 0].semilogy(t[1:], np.maximum(change[1:], ROUNDING), label="momentum (absolute)")
    axes[0, 0].set_title("relative change of what is conserved", fontsize=10)
    for name, label in (("energy_kinetic", "kinetic"), ("energy_potential", "potential"), ("energy", "total")):
        axes[0, 1].plot(t, table[name], label=label)
    axes[0, 1].set_title("energy", fontsize=10)
    axes[1, 0].plot(t, table["second_moment"])
    axes[1, 0].set_title("second moment of the positions", fontsize=10)
    if "minimum" in table:
        axes[1, 1].plot(t, table["minimum"])
        axes[1, 1].set_title("smallest nodal value of f", fontsize=10)
    else:
        axes[1, 1].remove()
    for axis in (axes[0, 0], axes[0, 1]):
        axis.legend(fontsize=8)
    for axis in axes.ravel():
        axis.set_xlabel("t")
    return figure


# --- distances --------------------------------------------------------------------------------------------------------


def _distances(directory: Path) -> Any:
    """Distances of the particles from f at the end against N, with the power -1/2."""
    compare = figures.read(directory / "summary.json").get("compare", {})
    entries = [entry for entry in compare.get("distances", []) if entry["mean"] > 0]
    if len({entry["N"] for entry in entries}) < 2:
        return None
    end = max(entry["t"] for entry in entries)
    entries = [entry for entry in entries if entry["t"] == end]
    figure, axis = subplots(figsize=(6.4, 4.6))
    for number, name in enumerate(dict.fromkeys(entry["distance"] for entry in entries)):
        mine = sorted((entry for entry in entries if entry["distance"] == name), key=lambda entry: entry["N"])
        counts, mean = (np.array([entry[key] for entry in mine]) for key in ("N", "mean"))
        error = [2 * entry.get("stderr", 0.0) for entry in mine]
        axis.errorbar(counts, mean, error, fmt="o", color=f"C{number}", capsize=3, label=name)
        axis.plot(counts, mean[0] * np.sqrt(counts[0] / counts), "--", color=f"C{number}", lw=1)
    axis.set(xscale="log", yscale="log", xlabel="N", ylabel="Wasserstein-1 distance")
    axis.set_title(f"distance of the particles from f, t = {end:.4g} (dashed: N^(-1/2))", fontsize=10)
    axis.legend(fontsize=8)
    return figure


PAINTERS = {
    "phase_space": _phase_space,
    "field_energy": _field_energy,
    "density": _density,
    "distances": _distances,
    "invariants": _invariants,
}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
