"""Pictures of a finished (or broken off) run, drawn from the files it has left."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures, style, tables
from limitpde.results.canvas import Canvas
from limitpde.results.fields import read_fields
from limitpde.results.folder import Folder
from limitpde.results.maps import Cloud, Columns, State, file_of_particles, line
from limitpde.results.particles import read_particles
from limitpde.results.symbols import RATES, at, phi, symbol
from limitpde.results.vtkhdf import times

HISTOGRAM: dict[str, Any] = {"color": "#9ecae1", "edgecolor": "white", "lw": 0.5, "zorder": 0}
MOST_PANELS, MOST_ACROSS = 6, 3
"""Test functions that get a panel of their own (the tables have all), and panels beside each other."""
ROUNDING = 1e-9
"""Part of the largest residual below which one is nothing but rounding, and is not drawn."""
LINE = 1.6
"""Height of a line of a legend, in sizes of its letters."""
DODGE = 0.12
"""Part of the distance of two points by which those of several N are moved apart."""
Painter = Callable[[Path, Canvas], Any]


def draw(
    folder: Folder, system: Mapping[str, Painter], *, pdf: bool = False, own_style: str | None = None
) -> tuple[list[Path], list[str]]:
    """Draw every picture for which the result has files; see `draw_all`.

    Args:
        folder: the result.
        system: name -> painter of the pictures that the system has besides those of all systems.

    Keyword Args:
        pdf: write each as PDF too.
        own_style: a style of matplotlib laid over that of the package.
    """
    return draw_all(folder, {**system, **PAINTERS}, pdf=pdf, own_style=own_style)


def draw_all(
    folder: Folder,
    painters: Mapping[str, Painter],
    *,
    pdf: bool = False,
    own_style: str | None = None,
    below: str = "pictures/",
) -> tuple[list[Path], list[str]]:
    """Draw pictures, those for which the result has files.

    Args:
        folder: the result.
        painters: name -> what draws it.

    Keyword Args:
        pdf: write each as PDF too.
        own_style: a style of matplotlib laid over that of the package; see `styled`.
        below: where they go, in the folder.

    Returns:
        Paths of the pictures (PNG); a note for each that could not be drawn, as where a file is damaged.

    Raises:
        InputError: there is no such style.
    """
    drawn, notes, kinds = [], [], ("png", "pdf") if pdf else ("png",)
    with style.styled(own_style):
        for name, paint in painters.items():
            images = {kind: io.BytesIO() for kind in kinds}
            try:
                figure = paint(folder.directory, Canvas())
                for kind, image in images.items() if figure is not None else ():
                    figure.savefig(image, format=kind)
            except Exception as error:  # a picture is no reason to lose a result
                notes.append(f"{below}{name}.png could not be drawn ({type(error).__name__}: {error})")
                continue
            if figure is not None:
                for kind, image in images.items():
                    folder.own(f"{below}{name}.{kind}").write_bytes(image.getvalue())
                drawn.append(folder.directory / f"{below}{name}.png")
    return drawn, notes


def fields(directory: Path, stem: str = "fields") -> list[State]:
    """The first and the last step of a file of fields; none where it has none."""
    path = directory / "pde" / f"{stem}.vtkhdf"
    return [read_fields(path, step) for step in (0, -1)] if path.exists() and len(times(path)) else []


def clouds(directory: Path) -> list[Cloud]:
    """The first and the last snapshot of the largest N that has snapshots; none where there are none."""
    path = file_of_particles(directory)
    return [read_particles(path, step) for step in (0, -1)] if path is not None else []


def columns(directory: Path, name: str = "pde/diagnostics.csv") -> Columns:
    """The columns of a table over time; none where it is missing or has fewer than two rows."""
    found = tables.read_columns(directory / name) if (directory / name).exists() else {}
    return found if len(found.get("t", [])) > 1 else {}


def density_over_x(
    canvas: Canvas, states: Sequence[State], name: str, snapshots: Sequence[Cloud], *, mass: float = 1.0
) -> Any:
    """A density of the equation on a line, first and last, over a histogram of the last particles, of this mass."""
    figure, axis = canvas.subplots(figsize=(6.0, 3.8))
    for state, look in zip(states, ({"color": "0.5", "ls": "--"}, {"color": "k"}), strict=True):
        axis.plot(*line(state, name), label=f"equation, {at(state[3])}", **look)
    low, high = states[-1][0][:, 0].min(), states[-1][0][:, 0].max()
    axis.set(xlabel="$x$", ylabel=symbol(name), xlim=(low, high))
    for positions, _, t in snapshots[-1:]:
        histogram(axis, positions[:, 0], mass / len(positions), label=f"{len(positions)} particles, {at(t)}")
    axis.set_ylim(0, 1.25 * axis.get_ylim()[1])
    axis.legend(ncols=3, loc="upper center")
    return figure


def histogram(axis: Any, x: np.ndarray, weight: float, **look: Any) -> None:
    """Particles of this mass as a density, in bins from the first of them to the last; nothing where there are none."""
    if not len(x):
        return
    bins = np.linspace(x.min(), x.max(), 1 + int(np.clip(math.sqrt(len(x)) / 2, 8, 48)))
    axis.hist(x, bins, weights=np.full(len(x), weight / (bins[1] - bins[0])), **(HISTOGRAM | look))


def legend_above(axis: Any) -> None:
    """A legend above all that is drawn, for which the vertical axis becomes longer."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    line = LINE * FontProperties(size=rcParams["legend.fontsize"]).get_size_in_points() / 72
    lines = 0.5 + sum(1 + label.count("\n") for label in axis.get_legend_handles_labels()[1])
    part = min(line * lines / (axis.get_position().height * axis.figure.get_figheight()), 0.6)
    transform, (bottom, top) = axis.yaxis.get_transform(), axis.get_ylim()
    low, high = transform.transform((bottom, top))
    axis.set_ylim(bottom, transform.inverted().transform(low + (high - low) / (1 - part)))
    ticks = [tick for tick in axis.get_yticks() if bottom <= tick <= top]
    if axis.get_yscale() == "log" and len(ticks) > 1:  # no decades beside the legend, where nothing is
        axis.set_yticks(ticks)
        axis.set_yticks([], minor=True)
    axis.legend(loc="upper left")


def means(axis: Any, x: Any, mean: Any, stderr: Any = math.nan, **look: Any) -> None:
    """Dots with bars of two standard errors; one without a bar where that is NaN."""
    bars = 2 * np.asarray(stderr, dtype=float)
    axis.errorbar(
        x, np.asarray(mean, dtype=float), bars, **({"marker": "o", "ls": "none", "ms": 4, "capsize": 2} | look)
    )


def beside(x: Any, number: int, total: int) -> np.ndarray:
    """Places of points of the number-th of so many N, moved apart so that each can be seen; x without doubles."""
    places = np.asarray(x, dtype=float)
    room = float(np.diff(places).min()) if len(places) > 1 else 0.0
    return places + DODGE * room * (number - (total - 1) / 2)


def count_axis(axis: Any, counts: Sequence[int], label: str) -> None:
    """Logarithmic axes over N, whose ticks are the Ns."""
    axis.set(xscale="log", yscale="log", xlabel="$N$", ylabel=label)
    axis.set_xticks(counts, map(str, counts))
    axis.set_xticks([], minor=True)


def against_count(axis: Any, entries: Sequence[figures.Record], keys: tuple[str, str], line: Any, **look: Any) -> None:
    """A figure against N with bars of two standard errors, and a dashed line: a power of N, or the values expected.

    Args:
        axis: where.
        entries: records with N, in its order.
        keys: of the figure, and of its standard error, which may be absent.
        line: the power, drawn through the first value, or the values.
        look: colour, marker and label of the dots.
    """
    counts, values = (np.array([entry[key] for entry in entries]) for key in ("N", keys[0]))
    means(axis, counts, values, [entry.get(keys[1], math.nan) for entry in entries], **look)
    expected = values[0] * (counts / counts[0]) ** line if np.ndim(line) == 0 else line
    axis.plot(counts, expected, "--", color=look["color"], lw=1)


def _residual_rate(directory: Path, canvas: Canvas) -> Any:
    """E|W| against N, with the fitted power of N, its 95 % interval, and the power of the theory."""
    rates = _rates(directory, "residual_mean_abs")
    entries = [entry for entry in _residuals(directory, "mean_abs") if entry["test_function"] in rates]
    if len({entry["N"] for entry in entries}) < 2:
        return None
    figure, axis = canvas.subplots(figsize=(5.6, 4.4))
    for number, rate in rates.items():
        mine = [entry for entry in entries if entry["test_function"] == number]
        if mine:
            _fitted_power(axis, mine, rate, {"color": f"C{number % 7}", "marker": style.MARKERS[number % 8]})
    powers = {rate["theory"] for rate in rates.values() if "theory" in rate}
    dashed = f"; dashed: theory, $N^{{{powers.pop():g}}}$" if len(powers) == 1 else ""
    count_axis(axis, sorted({entry["N"] for entry in entries}), RATES)
    axis.set_title(f"bars: 2 standard errors; shaded: 95 % interval of the slope{dashed}", fontsize="small")
    axis.legend()
    return figure


def _fitted_power(axis: Any, entries: Sequence[figures.Record], rate: figures.Record, look: dict[str, str]) -> None:
    """E|W| of one test function with its errors, and the line of its fitted slope."""
    counts, values, rms, replicas = (
        np.array([entry[key] for entry in entries], dtype=float) for key in ("N", "mean_abs", "rms", "replicas")
    )
    stderr = np.sqrt(np.maximum(rms**2 - values**2, 0.0) / (replicas - 1))  # E W^2 is the square of the rms
    place, size = np.exp(np.log(counts).mean()), np.exp(np.log(values).mean())
    along, colour = np.geomspace(counts.min(), counts.max(), 50), look["color"]
    interval = "its interval is not known"
    if "low" in rate and "high" in rate:
        interval = f"95 %: ${rate['low']:.2f}$ to ${rate['high']:.2f}$"
        ends = [size * (along / place) ** rate[end] for end in ("low", "high")]
        axis.fill_between(along, np.minimum(*ends), np.maximum(*ends), color=colour, alpha=0.15, lw=0)
    axis.plot(along, size * (along / place) ** rate["slope"], color=colour, lw=1)
    if "theory" in rate:
        axis.plot(along, size * (along / place) ** rate["theory"], "--", color=colour, lw=1)
    name = phi(entries[0]["test_function"], entries[0]["label"])
    label = f"{name}\nlike $N^{{{rate['slope']:.2f}}}$ ({interval})"
    means(axis, counts, values, stderr, ms=6, capsize=3, label=label, **look)


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
    counts = sorted({entry["N"] for entry in entries})
    if len(counts) < 2:
        return None
    figure, axis = canvas.subplots(figsize=(5.6, 4.4))
    for number in sorted({entry["test_function"] for entry in entries}):
        mine = [entry for entry in entries if entry["test_function"] == number]
        theory = np.sqrt([entry["theory_variance"] + entry.get("theory_mean", 0.0) ** 2 for entry in mine])
        look = {"color": f"C{number % 7}", "marker": style.MARKERS[number % 8], "ms": 6, "capsize": 3}
        label = phi(number, mine[0]["label"])
        against_count(axis, mine, ("rms", "rms_stderr"), theory, label=label, **look)
    count_axis(axis, counts, r"root mean square of $W[T, \varphi]$")
    axis.set_title("bars: 2 standard errors; dashed: by the quadratic variation", fontsize="small")
    axis.legend()
    return figure


def _function_panels(
    canvas: Canvas, numbers: Sequence[int | str], labels: Mapping[int | str, str]
) -> tuple[Any, list[Any]]:
    """A figure, and axes over time with the name of a test function, or of an observable, above each."""
    width = min(len(numbers), MOST_ACROSS)
    rows = math.ceil(len(numbers) / width)
    figure, grid = canvas.subplots(rows, width, figsize=(4.4 * width, 3.4 * rows), squeeze=False)
    axes = list(grid.ravel())
    while len(axes) > len(numbers):
        axes.pop().remove()
    for axis, number in zip(axes, numbers, strict=True):
        axis.set(xlabel="$t$")
        title = number if isinstance(number, str) else phi(number, labels.get(number, ""))
        axis.set_title(title, fontsize="small")
    return figure, axes


def _labels(directory: Path) -> dict[int | str, str]:
    """The test functions in words."""
    compare = figures.read(directory / "summary.json").get("compare", {})
    entries = [entry for name in ("residual", "pde_residual", "observables") for entry in compare.get(name, [])]
    return {entry["test_function"]: entry["label"] for entry in entries if "label" in entry}


def _residual_in_time(directory: Path, canvas: Canvas) -> Any:
    """W[t, phi] of the replicas of the largest N, and of the PDE, over time."""
    table = columns(directory, "compare/residuals.csv")
    if not table:
        return None
    particles = table["system"] == "particles"
    largest = table["N"][particles].max() if particles.any() else None
    numbers = [int(number) for number in np.unique(table["test_function"])[:MOST_PANELS]]
    figure, axes = _function_panels(canvas, numbers, _labels(directory))
    for axis, number in zip(axes, numbers, strict=True):
        here = table["test_function"] == number
        mine = here & particles & (table["N"] == largest)
        if mine.any():
            times = np.unique(table["t"][mine])
            values = table["residual"][mine].reshape(-1, len(times))
            mean, spread = values.mean(axis=0), values.std(axis=0)
            axis.plot(times, mean, label=f"particles, $N$ = {largest:.0f}: mean")
            label = r"$\pm$ 2 standard deviations of a replica"
            axis.fill_between(times, mean - 2 * spread, mean + 2 * spread, alpha=0.25, lw=0, label=label)
        pde = here & (table["system"] == "pde")
        if pde.any():
            axis.plot(table["t"][pde], table["residual"][pde], "k", label="solution")
        axis.axhline(0, color="grey", lw=0.5)
        axis.set_ylabel(rf"$W[t, \varphi_{{{number}}}]$")
        legend_above(axis)
    return figure


def _observables(directory: Path, canvas: Canvas) -> Any:
    """int phi dL_t of the particles for each N with error bars, over the line of the PDE."""
    entries = figures.read(directory / "summary.json").get("compare", {}).get("observables", [])
    entries = [entry for entry in entries if "pde" in entry and "mean" in entry]
    return _over_time(directory, canvas, entries, r"$\int \varphi_{%d}\, \mathrm{d}\rho_t$")


def _covariances(directory: Path, canvas: Canvas) -> Any:
    """N Cov(int phi dL_s, int phi dL_T) of the particles over T - s, and what it tends to."""
    entries = figures.read(directory / "summary.json").get("compare", {}).get("covariances", [])
    mine = [
        entry | {"t": entry["lag"], "mean": entry["covariance"], "pde": entry["covariance_theory"]}
        for entry in entries
        if "covariance_theory" in entry and entry["test_function"] == entry["test_function_at_end"]
    ]
    name = r"$N\,$Cov$(\int \varphi_{%d}\, \mathrm{d}L^N_{T - t}, \int \varphi\, \mathrm{d}L^N_T)$"
    return _over_time(directory, canvas, mine, name)


def _over_time(directory: Path, canvas: Canvas, entries: Sequence[figures.Record], name: str) -> Any:
    """Means of the particles over t for each N with error bars, over a line; nothing without entries."""
    numbers = list(dict.fromkeys(map(figures.which, entries)))[:MOST_PANELS]
    if not numbers:
        return None
    figure, axes = _function_panels(canvas, numbers, _labels(directory))
    for axis, number in zip(axes, numbers, strict=True):
        mine = [entry for entry in entries if figures.which(entry) == number]
        counts = sorted({entry["N"] for entry in mine})
        for k, count in enumerate(counts):
            rows = [(entry["t"], entry["mean"], entry.get("stderr", math.nan)) for entry in mine if entry["N"] == count]
            t, mean, stderr = (np.array(values, dtype=float) for values in zip(*sorted(rows), strict=True))
            label = f"$N$ = {count}" + (r", $\pm$ 2 standard errors" if np.isfinite(stderr).any() and not k else "")
            means(axis, beside(t, k, len(counts)), mean, stderr, label=label, **style.of_count(k, len(counts)))
        pde = {entry["t"]: entry["pde"] for entry in sorted(mine, key=lambda entry: entry["t"])}
        axis.plot(list(pde), list(pde.values()), "k", lw=1, label="equation", zorder=0)
        axis.set_ylabel(number if isinstance(number, str) else name % number)
        axis.legend()
    return figure


PAINTERS: dict[str, Painter] = {
    "residual_rate": _residual_rate,
    "residual_rms": _residual_rms,
    "residual_in_time": _residual_in_time,
    "observables": _observables,
    "covariances": _covariances,
}
"""Name of a picture that all systems have -> what draws it from the files of a result, or returns None."""
