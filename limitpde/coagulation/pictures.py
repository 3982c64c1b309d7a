"""Pictures of a run of the coagulating system: fields, particles, numbers by mass, and how many are left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures, tables
from limitpde.results.fields import read_fields
from limitpde.results.particles import read_particles
from limitpde.results.pictures import invariants, largest_snapshots, subplots
from limitpde.results.vtkhdf import times

SHOWN = ("number", "f_1", "f_2", "f_3")
"""Fields with a picture."""
MOST_DOTS = 4000
"""Particles drawn in a cloud."""
VTK_TETRAHEDRON = 10


def _fields(directory: Path) -> Any:
    """Each field at the first and the last output: lines, maps, or maps of the plane through the middle."""
    path = directory / "pde" / "fields.vtkhdf"
    if not path.exists() or not len(times(path)):
        return None
    states = [read_fields(path, 0), read_fields(path, -1)]
    names = [name for name in SHOWN if name in states[0][2]]
    size = (4.2 * len(names), 7.2)
    figure, axes = subplots(2, len(names), figsize=size, squeeze=False)
    for row, state in zip(axes, states, strict=True):
        for axis, name in zip(row, names, strict=True):
            _draw(figure, axis, state, name)
            axis.set_title(f"{name}, t = {state[3]:.4g}")
    return figure


def _draw(figure: Any, axis: Any, state: tuple[Any, ...], name: str) -> None:
    points, cells, values, _ = state
    if cells.shape[1] == 2:
        order = np.argsort(points[:, 0])
        axis.plot(points[order, 0], values[name][order])
        axis.set(xlabel="x", ylim=(0, None))
        return
    value = values[name]
    if cells.shape[1] == 4:
        points, cells, value = _middle_plane(points, cells, value)
    largest = float(value.max()) or 1.0
    drawn = axis.tripcolor(points[:, 0], points[:, 1], cells, value, shading="gouraud", vmin=0.0, vmax=largest)
    figure.colorbar(drawn, ax=axis, shrink=0.75)
    axis.set(aspect="equal", xlabel="x", ylabel="y")


def _middle_plane(points: np.ndarray, cells: np.ndarray, value: np.ndarray) -> tuple[Any, Any, Any]:
    """Triangles of the plane z = constant through the middle of tetrahedra."""
    import pyvista  # takes a second to load, and only solid bodies need it

    grid = pyvista.UnstructuredGrid({VTK_TETRAHEDRON: cells}, points)
    grid.point_data["value"] = value
    middle = np.asarray(grid.center) + 0.3 * np.cbrt(grid.volume / len(cells))  # between nodes, which give slivers
    plane = grid.slice(normal="z", origin=middle).triangulate()
    return np.asarray(plane.points), plane.regular_faces, np.asarray(plane.point_data["value"])


def _particles(directory: Path) -> Any:
    """The cloud of particles at the first and the last output; the area of a dot is proportional to n^(2/3)."""
    snapshots = largest_snapshots(directory)
    if snapshots is None:
        return None
    states = [read_particles(snapshots, step) for step in (0, -1)]
    largest = max((data["mass"].max(initial=1) for _, data, _ in states), default=1)
    figure, axes = subplots(1, 2, figsize=(10, 4.8), sharex=True, sharey=True)
    for axis, (positions, data, t) in zip(axes, states, strict=True):
        every = max(1, len(positions) // MOST_DOTS)
        shown, mass = positions[::every], data["mass"][::every]
        order = np.argsort(shown[:, 2])
        dots = axis.scatter(
            shown[order, 0], shown[order, 1], s=3 * mass[order] ** (2 / 3), c=mass[order], vmin=1, vmax=largest
        )
        axis.set(title=f"{len(positions)} particles, t = {t:.4g}", aspect="equal", xlabel="x", ylabel="y")
    figure.colorbar(dots, ax=axes, label="mass", shrink=0.8)
    return figure


def _spectrum(directory: Path) -> Any:
    """How many particles of each mass there are at the end: the equation's, and those of each N with error bars."""
    summary = figures.read(directory / "summary.json")
    pde, particles = summary.get("pde", {}), summary.get("particles", [])
    if not pde and not particles:
        return None
    figure, axis = subplots(figsize=(6.4, 4.6))
    if pde:
        axis.plot(pde["masses"], pde["density_end"], "k.-", lw=1, ms=4, label="equation")
    for entry in particles:
        density = entry["density_end"]
        mean = np.array(density["mean"])
        seen = mean > 0
        error = 2 * np.array(density["stderr"])[seen] if "stderr" in density else None
        n = 1 + np.flatnonzero(seen)
        axis.errorbar(n, mean[seen], error, fmt="o", ms=4, capsize=2, label=f"particles, N = {entry['N']}")
    axis.set(xlabel="mass n", ylabel="number of particles, integral of f_n")
    n, value = (np.concatenate(each) for each in zip(*(line.get_data() for line in axis.get_lines()), strict=True))
    if np.any(value > 0):
        floor = max(value[value > 0].min(), 1e-8 * value.max())
        last = n[value >= floor].max()
        axis.set(yscale="log", ylim=(floor / 2, 2 * value.max()), xscale="log" if last > 100 else "linear")
        axis.set_xlim(0.9 if last > 100 else 0, 1.1 * last + 1)
    axis.legend()
    return figure


def _number(directory: Path) -> Any:
    """How many particles are left over time."""
    path = directory / "pde" / "diagnostics.csv"
    table = tables.read_columns(path) if path.exists() else {}
    particles = figures.read(directory / "summary.json").get("particles", [])
    if not particles and len(table.get("t", [])) < 2:
        return None
    figure, axis = subplots(figsize=(6.4, 4.6))
    if table:
        axis.plot(table["t"], table["moment_0"], "k", label="equation")
    for entry in particles:
        alive, share = entry["survivors"], entry["Z"] / entry["N"]
        error = 2 * share * np.array(alive["stderr"]) if "stderr" in alive else None
        axis.errorbar(
            alive["times"], share * np.array(alive["mean"]), error, fmt="o", ms=4, label=f"particles, N = {entry['N']}"
        )
    axis.set(xlabel="t", ylabel="number of particles, in units of N / Z", ylim=(0, None))
    axis.legend()
    return figure


def _invariants(directory: Path) -> Any:
    """The ledger of mass, moments, and the smallest density over time."""
    panels = ("mass_total", "mass_overflow", "moment_0", "moment_2", "minimum")
    return invariants(directory, masses={"ledger": "in the range, overflow and annihilated"}, panels=panels)


PAINTERS = {
    "number": _number,
    "spectrum": _spectrum,
    "fields": _fields,
    "particles": _particles,
    "invariants": _invariants,
}
"""Name of a picture -> what draws it from the files of a result, or returns None."""
