"""Pictures of a run of the Vlasov system: phase space, density, field energy, invariants, distances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures, pictures
from limitpde.results.canvas import Canvas
from limitpde.results.pictures import Columns, State

MOST_DOTS = 2000
"""Particles drawn over a map, so that the map can still be seen."""


def _phase_space(directory: Path, canvas: Canvas) -> Any:
    """f at the first and the last output; in one dimension below it the same with particles of the largest N."""
    stems = ("fields", *sorted(path.stem for path in (directory / "pde").glob("slice_*.vtkhdf")))
    found = [(stem, states) for stem in stems if (states := pictures.fields(directory, stem)) and "f" in states[0][2]]
    if not found:
        return None
    clouds = pictures.clouds(directory) if found[0][0] == "fields" else []
    rows = found + found[:1] * bool(clouds)
    figure, axes = _panels(canvas, [states for _, states in rows], "f", cmap="inferno")
    for row, (stem, _) in zip(axes, rows, strict=True):
        number = stem.removeprefix("fields").removeprefix("slice_x").partition("_")[0]
        for axis in row:
            axis.set(xlabel=f"x{number}", ylabel=f"v{number}", aspect="auto")
    for axis, (positions, data, _) in zip(axes[-1], clouds, strict=False):  # there may be none
        cloud = np.column_stack([positions[:, 0], data["velocity"].reshape(len(positions), -1)[:, 0]])
        shown = pictures.thinned(cloud, MOST_DOTS)
        axis.autoscale(False)
        axis.scatter(*shown.T, s=2, c="white", lw=0)
        axis.set_title(f"{axis.get_title()}, {len(shown)} of {len(cloud)} particles")
    return figure


def _panels(canvas: Canvas, rows: Sequence[Sequence[State]], name: str, **style: Any) -> Any:
    """A figure and its axes: a field at these states, all with one scale of colours."""
    top = max(float(state[2][name].max()) for states in rows for state in states) or 1.0
    style |= {"flat": True, "vmax": top}
    return pictures.field_panels(canvas, [[(state, name, style) for state in states] for states in rows])


def _density(directory: Path, canvas: Canvas) -> Any:
    """rho over x at the first and the last output, with a histogram of the particles in one dimension."""
    states = pictures.fields(directory, "moments") or pictures.fields(directory)
    if not states or "rho" not in states[0][2]:
        return None
    if states[0][1].shape[1] == 2:
        mass = (
            figures.read(directory / "summary.json").get("pde", {}).get("mass", {}).get("total", {}).get("start", 1.0)
        )
        return pictures.density_over_x(canvas, states, "rho", pictures.clouds(directory), mass=mass)
    return _panels(canvas, [states], "rho")[0]


def _field_energy(directory: Path, canvas: Canvas) -> Any:
    """Energy of the field over time, with the line that was fitted to it."""
    table, pde = pictures.columns(directory), figures.read(directory / "summary.json").get("pde", {})
    if not table or not np.any(table["field_energy"]):
        return None
    t, energy = table["t"], np.abs(table["field_energy"])
    figure, axis = canvas.subplots(figsize=(7.2, 4.4))
    axis.semilogy(t[energy > 0], energy[energy > 0], lw=1.2, label="equation")
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


def _invariants(directory: Path, canvas: Canvas) -> Any:
    """Relative changes of what is conserved, the energies, the spread and the smallest value over time."""
    panels = {
        "energy": ["energy_kinetic", "energy_potential", "energy"],
        "second moment of the positions": ["second_moment"],
        "smallest nodal value of f": ["minimum"],
    }
    return pictures.invariants(canvas, directory, _conserved, panels)


def _conserved(table: Columns) -> Columns:
    """Mass, energy, square of f; and by how much the momentum has changed, which may be zero."""
    momentum = np.stack([table[f"momentum_{axis}"] for axis in "xyz" if f"momentum_{axis}" in table])
    change = np.abs(momentum - momentum[:, :1]).max(axis=0)
    mass = table["mass_total"] + table["mass_lost"]
    return {"mass": mass, "energy": table["energy"], "integral of f^2": table["l2"], "momentum (absolute)": change}


def _distances(directory: Path, canvas: Canvas) -> Any:
    """Distances of the particles from f at the end against N, with the power -1/2."""
    entries = figures.read(directory / "summary.json").get("compare", {}).get("distances", [])
    entries = sorted((entry for entry in entries if entry["mean"] > 0), key=lambda entry: entry["N"])
    if len({entry["N"] for entry in entries}) < 2:
        return None
    end = max(entry["t"] for entry in entries)
    figure, axis = canvas.subplots(figsize=(6.4, 4.6))
    for number, name in enumerate(dict.fromkeys(entry["distance"] for entry in entries)):
        mine = [entry for entry in entries if entry["t"] == end and entry["distance"] == name]
        pictures.against_count(axis, mine, ("mean", "stderr"), -0.5, color=f"C{number}", label=name)
    axis.set_ylabel("Wasserstein-1 distance")
    axis.set_title(f"distance of the particles from f, t = {end:.4g} (dashed: N^(-1/2))", fontsize=10)
    return figure


PAINTERS = {
    "phase_space": _phase_space,
    "field_energy": _field_energy,
    "density": _density,
    "distances": _distances,
    "invariants": _invariants,
}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
