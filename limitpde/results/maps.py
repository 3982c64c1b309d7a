"""Maps of fields with particles over them: at the first and the last output time, or, in a movie, at any."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results.canvas import Canvas
from limitpde.results.fields import read_fields
from limitpde.results.particles import read_particles
from limitpde.results.symbols import at, symbol
from limitpde.results.vtkhdf import times

STEEP = 2.5
"""Ratio of the largest values of maps with one scale of colours from which that is one of square roots."""
WIDTH, AROUND = 2.9, 1.0
"""Width of a panel, and height of what is written around its map, inches."""
ROOM = 1.2
"""Upper end of an axis over which a line is drawn, in parts of its largest value."""
MOST_TICKS = 5
"""On a bar of colours."""
FEWER_TICKS = 3
"""On a bar as wide as one map, with a scale of square roots, where they are close together at the upper end."""
Columns = dict[str, np.ndarray]
State = tuple[np.ndarray, np.ndarray, Columns, float]
"""Points, cells, values and time of `read_fields`."""
Cloud = tuple[np.ndarray, Columns, float]
"""Positions, data and time of `read_particles`."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What a map shows."""

    state: State
    """What has the field."""
    name: str
    """Of the field."""
    scale: str = ""
    """Maps of one figure with the same word here have one scale of colours."""
    flat: bool = False
    """Whether each cell has a value, and not each corner."""
    signed: bool = False
    """Whether the colours say the sign; without it they reach from 0 to the largest value."""
    cmap: str | None = None
    """Colours, by matplotlib's name; those of the style by default."""
    labels: tuple[str, str] = ("$x$", "$y$")
    """Of the axes."""
    square: bool = True
    """Whether both axes have one unit of length."""


def file_of_particles(directory: Path) -> Path | None:
    """The snapshots of the largest N that has any."""
    found = [path for path in directory.glob("particles/N*/particles.vtkhdf") if len(times(path))]
    return max(found, key=lambda path: int(path.parent.name[1:]), default=None)


@dataclass(frozen=True, slots=True)
class StatePicture:
    """The painter of a row of maps for the first and the last output time, which can be one for any time as well."""

    panels: Callable[[Mapping[str, State]], list[Panel]]
    """Stem of a file below pde/ -> its state at one time, to the maps of a row; none where there is nothing to show."""
    over: Callable[[Sequence[Any], Cloud], None]
    """Draws particles over the axes of such a row."""
    box: Callable[[Sequence[State]], dict[str, tuple[float, float]]] = lambda states: {}
    """States -> xlim and ylim that hold what can be seen of them."""
    stems: tuple[str, ...] = ("fields",)
    """Patterns of the files below pde/ that are read."""
    twice: bool = False
    """Whether a map that is alone in its row is drawn a second time where there are particles, for them."""

    def __call__(self, directory: Path, canvas: Canvas) -> Any:
        """The figure of the first and the last time; None where there is nothing to draw."""
        return self.draw(directory, canvas, (0, -1))

    def files(self, directory: Path) -> dict[str, Path]:
        """Stem -> the files of fields that are there."""
        found = [path for stem in self.stems for path in sorted(directory.glob(f"pde/{stem}.vtkhdf"))]
        return {path.stem: path for path in found if len(times(path))}

    def rows(self, directory: Path, steps: Iterable[int]) -> list[list[Panel]]:
        """The maps of some steps, a row each."""
        files = self.files(directory)
        states = [{stem: read_fields(path, step) for stem, path in files.items()} for step in steps] if files else []
        return [row for row in map(self.panels, states) if row]

    def limits(self, directory: Path) -> dict[str, tuple[float, float]]:
        """xlim and ylim that hold what can be seen at the first and the last time."""
        return self.box([row[0].state for row in self.rows(directory, (0, -1))])

    def draw(
        self, directory: Path, canvas: Canvas, steps: Sequence[int], tops: Mapping[str, Sequence[float]] | None = None
    ) -> Any:
        """The figure of some steps; None where there is nothing to draw.

        Args:
            directory: the result.
            canvas: where.
            steps: of the files.
            tops: word of a scale -> largest values that its colours reach to; those of the maps by default.
        """
        rows = self.rows(directory, steps)
        if not rows:
            return None
        particles = file_of_particles(directory)
        if self.twice and particles is not None and len(rows[0]) == 1:
            rows = [row * 2 for row in rows]
        alone = len(rows[0]) == 1  # then the times stand beside each other
        figure, axes = panels(canvas, [[panel for row in rows for panel in row]] if alone else rows, tops)
        limits = self.limits(directory)
        for row, shown in zip(axes.T if alone else axes, rows, strict=True):
            for axis in row:
                axis.set(**({"xlim": axis.get_xlim(), "ylim": axis.get_ylim()} | limits))  # particles change none
            cloud = _at(particles, shown[0].state[3]) if particles is not None else None
            if cloud is not None:
                self.over(row, cloud)
        return figure


def _at(path: Path, t: float) -> Cloud | None:
    """The particles at a time; None where there are none."""
    found = times(path)
    step = int(np.argmin(np.abs(found - t)))
    return read_particles(path, step) if abs(found[step] - t) <= 1e-9 * max(abs(t), 1e-3) else None


def panels(
    canvas: Canvas, rows: Sequence[Sequence[Panel]], tops: Mapping[str, Sequence[float]] | None = None
) -> tuple[Any, np.ndarray]:
    """A figure and its axes: rows of maps, one bar for each scale of colours."""
    from matplotlib.ticker import MaxNLocator

    width, height = _size(rows[0][0])
    figure, axes = canvas.subplots(
        len(rows), len(rows[0]), figsize=(width * len(rows[0]), height * len(rows)), squeeze=False
    )
    drawn = [[_Drawn.of(panel) for panel in row] for row in rows]
    tops = tops if tops is not None else _tops(drawn if len(drawn) > 1 else zip(*drawn, strict=True))
    scales: dict[str, list[tuple[Any, Any, Panel]]] = {}
    for axis, shown in zip(axes.flat, (shown for row in drawn for shown in row), strict=True):
        panel = shown.panel
        image = shown.paint(axis, _norm(tops[panel.scale], signed=panel.signed))
        if image is not None:
            scales.setdefault(panel.scale, []).append((axis, image, panel))
    for scale, found in scales.items():
        names = ", ".join(dict.fromkeys(symbol(panel.name) for _, _, panel in found))
        label = f"{names} (scale of square roots)" if _is_steep(tops[scale]) else names
        bar = figure.colorbar(
            found[0][1], ax=[axis for axis, _, _ in found], location="bottom", shrink=0.8, label=label
        )
        ticks = MOST_TICKS if len(found) > len(rows) or not _is_steep(tops[scale]) else FEWER_TICKS
        bar.locator = MaxNLocator(ticks, symmetric=found[0][2].signed)
    return figure, axes


def _size(panel: Panel) -> tuple[float, float]:
    """Width and height of a panel, inches: a map with one unit of length is as high as its domain."""
    across, up = np.ptp(panel.state[0][:, :2], axis=0)
    ratio = float(np.clip(up / across, 0.3, 1.6)) if panel.square and across > 0 and up > 0 else 1.0
    return WIDTH, AROUND + 2.0 * ratio


def tops_of(rows: Iterable[Sequence[Panel]]) -> dict[str, list[float]]:
    """Word of a scale -> the largest absolute value in each row of maps; one row at a time is held."""
    return _tops([_Drawn.of(panel) for panel in row] for row in rows)


def _tops(rows: Iterable[Sequence[_Drawn]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        largest: dict[str, float] = {}
        for shown in row:
            top = float(np.abs(shown.value).max(initial=0.0))
            largest[shown.panel.scale] = max(top, largest.get(shown.panel.scale, 0.0))
        for scale, top in largest.items():
            found.setdefault(scale, []).append(top)
    return found


def _is_steep(tops: Sequence[float]) -> bool:
    return max(tops) > STEEP * min(tops) > 0


def _norm(tops: Sequence[float], *, signed: bool) -> Any:
    """From values to colours, linear or by square roots where the maps differ much."""
    from matplotlib.colors import FuncNorm, Normalize

    top = max(tops) or 1.0
    low = -top if signed else 0.0
    if not _is_steep(tops):
        return Normalize(low, top)
    return FuncNorm((lambda v: np.sign(v) * np.sqrt(np.abs(v)), lambda c: np.sign(c) * np.square(c)), low, top)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A field as it is drawn: a line, a map, or a map of the plane through the middle of a solid."""

    panel: Panel
    points: np.ndarray
    cells: np.ndarray
    value: np.ndarray
    edges: tuple[np.ndarray, ...] = ()
    """Of boxes: their borders along each axis."""
    height: str = ""
    """Of a solid: where the plane is that is shown."""

    @classmethod
    def of(cls, panel: Panel) -> _Drawn:
        points, cells, values, _ = panel.state
        value, solid = values[panel.name], bool(np.ptp(points[:, 2]) > 0)
        if cells.shape[1] == (8 if solid else 4):
            edges = tuple(np.unique(np.round(points[:, j], 12)) for j in range(3))
            places = [np.searchsorted(along, points[cells, j].mean(axis=1)) for j, along in enumerate(edges)]
            value = value[np.lexsort(places[::-1])].reshape([max(len(along) - 1, 1) for along in edges])
            layer = value.shape[2] // 2
            height = f", $z$ = {edges[2][layer : layer + 2].mean():.3g}" if solid else ""
            return cls(panel, points, cells, value[:, :, layer].T, edges, height)
        if solid and cells.shape[1] == 4:
            points, cells, value = _middle_plane(points, cells, value, flat=panel.flat)
            return cls(panel, points, cells, value, height=f", $z$ = {points[0, 2]:.3g}")
        return cls(panel, points, cells, value)

    def paint(self, axis: Any, norm: Any) -> Any:
        """Draw it; what a colour bar is made for, or None of a line."""
        panel, (across, up) = self.panel, self.panel.labels
        axis.set(title=f"{symbol(panel.name)}, {at(panel.state[3])}{self.height}", xlabel=across)
        if self.cells.shape[1] == 2:
            axis.plot(*line(panel.state, panel.name))
            axis.set(ylim=(0, ROOM * norm.vmax), ylabel=symbol(panel.name))
            return None
        axis.set(ylabel=up, aspect="equal" if panel.square else "auto")
        axis.margins(0)
        style = {"norm": norm, "cmap": panel.cmap, "rasterized": True}
        if self.edges:
            return axis.pcolormesh(self.edges[0], self.edges[1], self.value, **style)
        paint = partial(axis.tripcolor, self.points[:, 0], self.points[:, 1], self.cells, **style)
        return paint(facecolors=self.value) if panel.flat else paint(self.value, shading="gouraud")


def _middle_plane(points: np.ndarray, cells: np.ndarray, value: np.ndarray, *, flat: bool) -> tuple[Any, Any, Any]:
    """Triangles of the plane z = constant through the middle of tetrahedra."""
    import pyvista  # takes a second to load, and only solid bodies need it

    grid = pyvista.UnstructuredGrid({pyvista.CellType.TETRA: cells}, points)
    (grid.cell_data if flat else grid.point_data)["value"] = value
    middle = np.asarray(grid.center) + 0.3 * np.cbrt(grid.volume / len(cells))  # between nodes, which give slivers
    plane = grid.slice(normal="z", origin=middle).triangulate()
    return np.asarray(plane.points), plane.regular_faces, np.asarray(plane["value"])


def line(state: State, name: str) -> tuple[np.ndarray, np.ndarray]:
    """x and values of a field on intervals, at its points or in the middle of its cells."""
    points, cells, values, _ = state
    x = points[:, 0] if len(values[name]) == len(points) else points[cells, 0].mean(axis=1)
    order = np.argsort(x)
    return x[order], values[name][order]


def thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """Every so many rows, so that at most this number is left."""
    return rows[:: math.ceil(len(rows) / most) or 1]
