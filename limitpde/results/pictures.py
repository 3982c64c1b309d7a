"""Pictures of a finished (or broken off) run, drawn from the files it has left."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures, tables
from limitpde.results.canvas import Canvas
from limitpde.results.fields import read_fields
from limitpde.results.folder import Folder
from limitpde.results.particles import read_particles
from limitpde.results.vtkhdf import times

HISTOGRAM: dict[str, Any] = {"color": "#9ecae1", "edgecolor": "white", "lw": 0.5, "zorder": 0}
MOST_PANELS = 6
"""Test functions that get a panel of their own; the tables have all."""
ROUNDING = 1e-9
"""Part of the largest residual below which one is nothing but rounding, and is not drawn."""
NO_CHANGE = 1e-17
"""What a change that is exactly zero is drawn as, on a logarithmic axis."""
Painter = Callable[[Path, Canvas], Any]
Columns = dict[str, np.ndarray]
State = tuple[np.ndarray, np.ndarray, Columns, float]
"""Points, cells, values and time of `read_fields`."""
Cloud = tuple[np.ndarray, Columns, float]
"""Positions, data and time of `read_particles`."""


def draw(folder: Folder, system: Mapping[str, Painter]) -> tuple[list[Path], list[str]]:
    """Draw every picture for which the result has files.

    Args:
        folder: the result.
        system: name -> painter of the pictures that the system has besides those of all systems.

    Returns:
        Paths of the pictures; a note for each that could not be drawn, as where a file is damaged.
    """
    drawn, notes = [], []
    for name, paint in {**system, **PAINTERS}.items():
        path, image = f"pictures/{name}.png", io.BytesIO()
        try:
            figure = paint(folder.directory, Canvas())
            if figure is not None:
                figure.savefig(image, dpi=110)
        except Exception as error:  # a picture is no reason to lose a result
            notes.append(f"{path} could not be drawn ({type(error).__name__}: {error})")
            continue
        if figure is not None:
            folder.own(path).write_bytes(image.getvalue())
            drawn.append(folder.directory / path)
    return drawn, notes


def fields(directory: Path, stem: str = "fields") -> list[State]:
    """The first and the last step of a file of fields; none where it has none."""
    path = directory / "pde" / f"{stem}.vtkhdf"
    return [read_fields(path, step) for step in (0, -1)] if path.exists() and len(times(path)) else []


def clouds(directory: Path) -> list[Cloud]:
    """The first and the last snapshot of the largest N that has snapshots; none where there are none."""
    found = [path for path in directory.glob("particles/N*/particles.vtkhdf") if len(times(path))]
    largest = sorted(found, key=lambda path: int(path.parent.name[1:]))[-1:]
    return [read_particles(path, step) for path in largest for step in (0, -1)]


def columns(directory: Path, name: str = "pde/diagnostics.csv") -> Columns:
    """The columns of a table over time; none where it is missing or has fewer than two rows."""
    found = tables.read_columns(directory / name) if (directory / name).exists() else {}
    return found if len(found.get("t", [])) > 1 else {}


def thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """Every so many rows, so that at most this number is left."""
    return rows[:: math.ceil(len(rows) / most) or 1]


def field_map(axis: Any, state: State, name: str, *, flat: bool = False, **style: Any) -> Any:
    """Draw a field: a line, a map, or a map of the plane through the middle of a solid.

    Args:
        axis: where.
        state: what has the field.
        name: of the field.

    Keyword Args:
        flat: whether each triangle or tetrahedron has a value, and not each corner.
        style: of the map; without it, colours reach from 0 to the largest value.

    Returns:
        What a colour bar is made for; None of a line.
    """
    points, cells, values, t = state
    value, solid = values[name], bool(np.ptp(points[:, 2]) > 0)
    axis.set(title=f"{name}, t = {t:.4g}", xlabel="x")
    if cells.shape[1] == 2:
        axis.plot(*_line(state, name))
        axis.set_ylim(0, None)
        return None
    axis.set(ylabel="y", aspect="equal")
    grid = cells.shape[1] == (8 if solid else 4)
    if grid:
        edges = [np.unique(np.round(points[:, j], 12)) for j in range(3)]
        places = [np.searchsorted(along, points[cells, j].mean(axis=1)) for j, along in enumerate(edges)]
        value = value[np.lexsort(places[::-1])].reshape([max(len(along) - 1, 1) for along in edges])
        value = value[:, :, value.shape[2] // 2].T
    elif solid:
        points, cells, value = _middle_plane(points, cells, value, flat=flat)
    style = {"vmin": 0.0, "vmax": float(value.max()) or 1.0} | style
    if grid:
        return axis.pcolormesh(edges[0], edges[1], value, rasterized=True, **style)
    paint = partial(axis.tripcolor, points[:, 0], points[:, 1], cells, **style)
    return paint(facecolors=value) if flat else paint(value, shading="gouraud")


def _middle_plane(points: np.ndarray, cells: np.ndarray, value: np.ndarray, *, flat: bool) -> tuple[Any, Any, Any]:
    """Triangles of the plane z = constant through the middle of tetrahedra."""
    import pyvista  # takes a second to load, and only solid bodies need it

    grid = pyvista.UnstructuredGrid({pyvista.CellType.TETRA: cells}, points)
    (grid.cell_data if flat else grid.point_data)["value"] = value
    middle = np.asarray(grid.center) + 0.3 * np.cbrt(grid.volume / len(cells))  # between nodes, which give slivers
    plane = grid.slice(normal="z", origin=middle).triangulate()
    return np.asarray(plane.points), plane.regular_faces, np.asarray(plane["value"])


def field_panels(canvas: Canvas, rows: Sequence[Sequence[tuple[State, str, dict[str, Any]]]]) -> tuple[Any, Any]:
    """A figure and its axes: rows of maps with colour bars, each of a state, the name of a field and a style."""
    figure, axes = canvas.subplots(
        len(rows), len(rows[0]), figsize=(4.4 * len(rows[0]), 3.8 * len(rows)), squeeze=False
    )
    for axis, (state, name, style) in zip(axes.flat, chain(*rows), strict=True):
        drawn = field_map(axis, state, name, **style)
        if drawn is not None:
            figure.colorbar(drawn, ax=axis, shrink=0.8)
    return figure, axes


def density_over_x(
    canvas: Canvas, states: Sequence[State], name: str, snapshots: Sequence[Cloud], *, mass: float = 1.0
) -> Any:
    """A density of the equation on a line, first and last, over a histogram of the last particles, of this mass."""
    figure, axis = canvas.subplots(figsize=(7.2, 4.4))
    for state, style in zip(states, ({"color": "0.5", "ls": "--"}, {"color": "k"}), strict=True):
        axis.plot(*_line(state, name), lw=1.4, label=f"equation, t = {state[3]:.4g}", **style)
    low, high = states[-1][0][:, 0].min(), states[-1][0][:, 0].max()
    for positions, _, t in snapshots[-1:]:
        count = len(positions)
        bins = np.linspace(low, high, 1 + int(np.clip(math.sqrt(count) / 2, 8, 48)))
        weights = np.full(count, mass / (count * (bins[1] - bins[0])))
        axis.hist(positions[:, 0], bins, weights=weights, label=f"{count} particles, t = {t:.4g}", **HISTOGRAM)
    axis.set(xlabel="x", ylabel=name, xlim=(low, high), ylim=(0, 1.25 * axis.get_ylim()[1]))
    axis.legend(fontsize=8, ncols=3, loc="upper center")
    return figure


def _line(state: State, name: str) -> tuple[np.ndarray, np.ndarray]:
    """x and values of a field on intervals, at its points or in the middle of its cells."""
    points, cells, values, _ = state
    x = points[:, 0] if len(values[name]) == len(points) else points[cells, 0].mean(axis=1)
    order = np.argsort(x)
    return x[order], values[name][order]


def means(axis: Any, x: Any, mean: Any, stderr: Any = math.nan, **style: Any) -> None:
    """Dots with bars of two standard errors; one without a bar where that is NaN."""
    axis.errorbar(
        x,
        np.asarray(mean, dtype=float),
        2 * np.asarray(stderr, dtype=float),
        **({"fmt": "o", "ms": 4, "capsize": 2} | style),
    )


def against_count(axis: Any, entries: Sequence[figures.Record], keys: tuple[str, str], line: Any, **style: Any) -> None:
    """A figure against N with error bars, and a dashed line: a power of N through the first, or the values expected.

    Args:
        axis: where; it becomes logarithmic.
        entries: records with N, in its order.
        keys: of the figure, and of its standard error, which may be absent.
        line: the power or the values.
        style: colour, and label of the dots.
    """
    counts, values = (np.array([entry[key] for entry in entries]) for key in ("N", keys[0]))
    means(axis, counts, values, [entry.get(keys[1], math.nan) for entry in entries], ms=6, capsize=3, **style)
    expected = values[0] * (counts / counts[0]) ** line if np.ndim(line) == 0 else line
    axis.plot(counts, expected, "--", color=style["color"], lw=1)
    axis.set(xscale="log", yscale="log", xlabel="N")
    axis.legend(fontsize=8)


def invariants(
    canvas: Canvas, directory: Path, conserved: Callable[[Columns], Columns], panels: Mapping[str, Sequence[str]]
) -> Any:
    """How far what is conserved has moved, and other columns of diagnostics.csv, over time.

    Args:
        canvas: where.
        directory: the result.
        conserved: the columns -> name -> values that should not change; relative to the first where that is not zero.
        panels: title -> columns with a panel of their own; those that are absent are left out.

    Returns:
        The figure; None where there are fewer than two rows.
    """
    table, pde = columns(directory), figures.read(directory / "summary.json").get("pde", {})
    if not table:
        return None
    panels = {title: found for title, names in panels.items() if (found := [name for name in names if name in table])}
    width = math.ceil((1 + len(panels)) / 2)
    figure, grid = canvas.subplots(2, width, figsize=(4.2 * width, 6.4), squeeze=False)
    t, axes = table["t"], list(grid.ravel())
    while len(axes) > 1 + len(panels):
        axes.pop().remove()
    for name, values in conserved(table).items():
        change = np.abs(values[1:] - values[0]) / (abs(values[0]) or 1.0)
        axes[0].semilogy(t[1:], np.maximum(change, NO_CHANGE), label=name)
    axes[0].set(title="relative change of what is conserved", xlabel="t")
    axes[0].legend(fontsize=8)
    for axis, (title, names) in zip(axes[1:], panels.items(), strict=True):
        for name in names:
            shown = slice(1, None) if name == "dt" else slice(None)  # nothing leads to the first row
            axis.plot(t[shown], table[name][shown], label=name.replace("_", " "))
            axis.update_datalim([(t[-1], part * table[name][-1]) for part in (0.999, 1.001)])  # not to magnify rounding
            if isinstance(moment := pde.get(name), dict) and "rate_theory" in moment:
                axis.plot(t, moment["start"] + moment["rate_theory"] * t, "k--", lw=1, label="theory")
        axis.set(title=title, xlabel="t")
        axis.ticklabel_format(axis="y", useOffset=False)
        if len(axis.get_lines()) > 1:
            axis.legend(fontsize=8)
    return figure


def _residual_rate(directory: Path, canvas: Canvas) -> Any:
    """E|W| against N, with the fitted power of N, its 95 % interval, and the power of the theory."""
    rates = _rates(directory, "residual_mean_abs")
    entries = [entry for entry in _residuals(directory, "mean_abs") if entry["test_function"] in rates]
    if len({entry["N"] for entry in entries}) < 2:
        return None
    figure, axis = canvas.subplots(figsize=(6.4, 4.6))
    for number, rate in rates.items():
        mine = [entry for entry in entries if entry["test_function"] == number]
        if mine:
            _fitted_power(axis, mine, rate, f"C{number % 10}")
    powers = {rate["theory"] for rate in rates.values() if "theory" in rate}
    dashed = f"; dashed: theory, $N^{{{powers.pop():g}}}$" if len(powers) == 1 else ""
    axis.set(xscale="log", yscale="log", xlabel="N", ylabel="E |W[T, phi]|")
    counts = sorted({entry["N"] for entry in entries})
    axis.set_xticks(counts, map(str, counts))
    axis.set_xticks([], minor=True)
    axis.set_title(f"bars: 2 standard errors; shaded: 95 % of the slope{dashed}", fontsize=9)
    axis.legend(fontsize=8)
    return figure


def _fitted_power(axis: Any, entries: Sequence[figures.Record], rate: figures.Record, colour: str) -> None:
    """E|W| of one test function with its errors, and the line of its fitted slope."""
    counts, values, rms, replicas = (
        np.array([entry[key] for entry in entries], dtype=float) for key in ("N", "mean_abs", "rms", "replicas")
    )
    stderr = np.sqrt(np.maximum(rms**2 - values**2, 0.0) / (replicas - 1))  # E W^2 is the square of the rms
    place, size = np.exp(np.log(counts).mean()), np.exp(np.log(values).mean())
    line = np.geomspace(counts.min(), counts.max(), 50)
    interval = "its interval is not known"
    if "low" in rate and "high" in rate:
        interval = f"95 %: {rate['low']:.2f} to {rate['high']:.2f}"
        ends = [size * (line / place) ** rate[end] for end in ("low", "high")]
        axis.fill_between(line, np.minimum(*ends), np.maximum(*ends), color=colour, alpha=0.15, lw=0)
    axis.plot(line, size * (line / place) ** rate["slope"], color=colour, lw=1)
    if "theory" in rate:
        axis.plot(line, size * (line / place) ** rate["theory"], "--", color=colour, lw=1)
    label = f"{entries[0]['label']}: $N^{{{rate['slope']:.2f}}}$ ({interval})"
    means(axis, counts, values, stderr, ms=6, capsize=3, color=colour, label=label)


def _residuals(directory: Path, size: str) -> list[figures.Record]:
    """The entries of `compare.residual` in the order of N, without those whose W is nothing but rounding."""
    entries = figures.read(directory / "summary.json").get("compare", {}).get("residual", [])
    largest = max((entry[size] for entry in entries), default=0.0)
    return sorted((entry for entry in entries if entry[size] > ROUNDING * largest), key=lambda entry: entry["N"])


def _rates(directory: Path, quantity: str) -> dict[int, figures.Record]:
    """Test function -> the fitted power of N of a quantity."""
    rates = figures.read(directory / "summary.json").get("compare", {}).get("rates", [])
    return {rate["test_function"]: rate for rate in rates if rate["quantity"] == quantity and "slope" in rate}


def _residual_rms(directory: Path, canvas: Canvas) -> Any:
    """Root mean square of W against N, over the size that the theory predicts, bias and noise, where it does."""
    entries = [entry for entry in _residuals(directory, "rms") if "theory_variance" in entry]
    if len({entry["N"] for entry in entries}) < 2:
        return None
    figure, axis = canvas.subplots(figsize=(6.4, 4.6))
    for number in sorted({entry["test_function"] for entry in entries}):
        mine = [entry for entry in entries if entry["test_function"] == number]
        theory = np.sqrt([entry["theory_variance"] + entry.get("theory_mean", 0.0) ** 2 for entry in mine])
        against_count(axis, mine, ("rms", "rms_stderr"), theory, color=f"C{number % 10}", label=mine[0]["label"])
    axis.set_ylabel("root mean square of W[T, phi]")
    axis.set_title("residual of the particles in the PDE (dashed: by the quadratic variation)", fontsize=9)
    return figure


def _residual_in_time(directory: Path, canvas: Canvas) -> Any:
    """W[t, phi] of the replicas of the largest N, and of the PDE, over time."""
    table = columns(directory, "compare/residuals.csv")
    if not table:
        return None
    particles = table["system"] == "particles"
    largest = table["N"][particles].max() if particles.any() else None
    numbers = np.unique(table["test_function"])[:MOST_PANELS]
    figure, axes = canvas.subplots(1, len(numbers), figsize=(5 * len(numbers), 3.8), squeeze=False)
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


def _observables(directory: Path, canvas: Canvas) -> Any:
    """int phi dL_t of the particles for each N with error bars, over the line of the PDE."""
    entries = figures.read(directory / "summary.json").get("compare", {}).get("observables", [])
    entries = [entry for entry in entries if "pde" in entry]
    numbers = sorted({entry["test_function"] for entry in entries})[:MOST_PANELS]
    if not numbers:
        return None
    figure, axes = canvas.subplots(1, len(numbers), figsize=(5 * len(numbers), 3.8), squeeze=False)
    for axis, number in zip(axes[0], numbers, strict=True):
        mine = [entry for entry in entries if entry["test_function"] == number]
        for number_of_n, count in enumerate(sorted({entry["N"] for entry in mine})):
            rows = [(entry["t"], entry["mean"], entry.get("stderr", math.nan)) for entry in mine if entry["N"] == count]
            style = {"color": f"C{number_of_n % 10}", "label": f"N = {count}", "fmt": ".", "ms": 6, "capsize": 0}
            means(axis, *zip(*rows, strict=True), **style)
        pde = {entry["t"]: entry["pde"] for entry in mine}
        axis.plot(list(pde), list(pde.values()), "k", lw=1, label="PDE")
        axis.set(xlabel="t", title=f"int phi drho_t, test function {number}")
        axis.legend(fontsize=8)
    return figure


PAINTERS: dict[str, Painter] = {
    "residual_rate": _residual_rate,
    "residual_rms": _residual_rms,
    "residual_in_time": _residual_in_time,
    "observables": _observables,
}
"""Name of a picture that all systems have -> what draws it from the files of a result, or returns None."""
