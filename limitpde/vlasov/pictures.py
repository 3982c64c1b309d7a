"""Pictures of a run of the Vlasov system: phase space, density, field energy, invariants, distances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures, maps, pictures, style
from limitpde.results.canvas import Canvas
from limitpde.results.invariants import invariants
from limitpde.results.maps import Cloud, Columns, Panel, State, StatePicture
from limitpde.results.symbols import at
from limitpde.vlasov.hamiltonian.counting import theorem_rate

MOST_DOTS = 2000
"""Particles drawn over a map, so that the map can still be seen."""
APART = 1.04
"""Ratio of the places, on a logarithmic axis, of points that belong to one N."""


def _panels(states: Mapping[str, State]) -> list[Panel]:
    """f over phase space, or over its planes."""
    found = {stem: state for stem, state in states.items() if "f" in state[2]}
    rows = []
    for stem, state in found.items():
        number = stem.removeprefix("fields").removeprefix("slice_x").partition("_")[0]
        labels = (f"$x_{number}$", f"$v_{number}$") if number else ("$x$", "$v$")
        rows.append(Panel(state, "f", flat=True, cmap="inferno", labels=labels, square=False))
    return rows


def _over(row: Sequence[Any], cloud: Cloud) -> None:
    """The particles over the last of two maps of f in one dimension."""
    positions, data, _ = cloud
    velocities = data["velocity"].reshape(len(positions), -1)
    if len(row) == 2 and row[-1].get_xlabel() == "$x$":
        shown = maps.thinned(np.column_stack([positions[:, 0], velocities[:, 0]]), MOST_DOTS)
        row[-1].scatter(*shown.T, s=2, c="white", lw=0)
        row[0].set_title(row[0].get_title(), fontsize="small")
        row[-1].set_title(f"{row[-1].get_title()}, {len(shown)} of {len(positions)} particles", fontsize="small")


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
    return maps.panels(canvas, [[Panel(state, "rho", flat=True) for state in states]])[0]


def _field_energy(directory: Path, canvas: Canvas) -> Any:
    """Energy of the field over time, with the line that was fitted to it."""
    table, pde = pictures.columns(directory), figures.read(directory / "summary.json").get("pde", {})
    if not table or not np.any(table["field_energy"]):
        return None
    t, energy = table["t"], np.abs(table["field_energy"])
    figure, axis = canvas.subplots(figsize=(6.0, 3.8))
    axis.semilogy(t[energy > 0], energy[energy > 0], lw=1.2, label="solution")
    fit = pde.get("field_fit")
    if fit is not None:
        line = np.linspace(fit["start"], min(fit["end"], t[-1]), 50)
        rate, frequency = pde["field_growth_rate"], pde["field_frequency"]
        label = f"fit: rate ${rate:.4g}$" + (f", frequency ${frequency:.4g}$" if frequency else "")
        axis.semilogy(line, np.exp(fit["intercept"] + 2 * rate * line), "k--", lw=1.2, label=label)
    low = max(energy[energy > 0].min(), 1e-18 * energy.max())
    axis.set(xlabel="$t$", ylabel="|energy of the field|", ylim=(0.5 * low, 2 * energy.max()))
    axis.legend()
    return figure


def _invariants(directory: Path, canvas: Canvas) -> Any:
    """Relative changes of what is conserved, the energies, the spread and the smallest value over time."""
    panels = {
        "energy": ["energy_kinetic", "energy_potential", "energy"],
        "second moment of the positions": ["second_moment"],
        "smallest value of $f$": ["minimum"],
    }
    return invariants(canvas, directory, _conserved, panels)


def _conserved(table: Columns) -> Columns:
    """Mass, energy, square of f; and by how much the momentum has changed, which may be zero."""
    momentum = np.stack([table[f"momentum_{axis}"] for axis in "xyz" if f"momentum_{axis}" in table])
    change = np.abs(momentum - momentum[:, :1]).max(axis=0)
    mass = table["mass_total"] + table["mass_lost"]
    return {"mass": mass, "energy": table["energy"], r"$\int f^2$": table["l2"], "momentum (absolute)": change}


def _distances(directory: Path, canvas: Canvas) -> Any:
    """Distances of the particles from f at the end against N, with those of independent draws."""
    entries = figures.read(directory / "summary.json").get("compare", {}).get("distances", [])
    entries = sorted((entry for entry in entries if entry["mean"] > 0), key=lambda entry: entry["N"])
    if len({entry["N"] for entry in entries}) < 2:
        return None
    end = max(entry["t"] for entry in entries)
    figure, axis = canvas.subplots(figsize=(5.6, 4.4))
    for number, name in enumerate(dict.fromkeys(entry["distance"] for entry in entries)):
        mine = [entry for entry in entries if entry["t"] == end and entry["distance"] == name]
        look = {"color": f"C{number % 7}", "marker": style.MARKERS[number % 8], "ms": 6, "capsize": 3}
        names = {"sliced": "sliced, in phase space", "energy": "energy distance"}
        label = names.get(name, f"of the law of ${name[0]}_{{{name[1:]}}}$")
        floors = [entry.get("floor", math.nan) for entry in mine]  # results of before have none
        pictures.against_count(axis, mine, ("mean", "stderr"), floors, label=label.replace("_{}", ""), **look)
    pictures.count_axis(
        axis, sorted({entry["N"] for entry in entries}), "distance of particles from $f$ (Wasserstein-1, energy)"
    )
    axis.set_title(f"{at(end)}; bars: 2 standard errors; dashed: independent draws", fontsize="small")
    axis.legend()
    return figure


def _counting(directory: Path, canvas: Canvas) -> Any:
    """beta_N at the last time against N, with the power of Theorem 4.8."""
    compare = figures.read(directory / "summary.json").get("compare", {})
    entries = sorted((e for e in compare.get("counting", []) if e["high"] > 0), key=lambda entry: entry["N"])
    if len({entry["N"] for entry in entries}) < 2:
        return None
    end = max(entry["t"] for entry in entries)
    figure, axis = canvas.subplots(figsize=(5.6, 4.4))
    exponents = list(dict.fromkeys(entry["lambda"] for entry in entries))
    for number, exponent in enumerate(exponents):
        mine = [entry for entry in entries if entry["t"] == end and entry["lambda"] == exponent]
        counts, low, high = (np.array([entry[key] for entry in mine], dtype=float) for key in ("N", "low", "high"))
        middle, color = (low + high) / 2, f"C{number % 7}"
        label = rf"$\lambda = {exponent:g}$"
        places = counts * APART ** (number - (len(exponents) - 1) / 2)
        axis.errorbar(
            places, middle, (high - low) / 2, fmt=style.MARKERS[number % 8], capsize=3, label=label, color=color
        )
        axis.plot(counts, middle[0] * (counts / counts[0]) ** -theorem_rate(exponent), "--", lw=1, color=color)
    pictures.count_axis(axis, sorted({entry["N"] for entry in entries}), r"$\beta_N$")
    axis.set_title(f"{at(end)}; bars: 95 %; dashed: the power of Theorem 4.8", fontsize="small")
    axis.legend()
    return figure


PAINTERS: dict[str, pictures.Painter] = {
    "phase_space": StatePicture(_panels, _over, stems=("fields", "slice_*"), twice=True),
    "field_energy": _field_energy,
    "density": _density,
    "distances": _distances,
    "counting": _counting,
    "invariants": _invariants,
}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
