"""Parts of pictures: what is missing is not drawn, and what cannot be drawn costs no result."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)

import numpy as np
import pytest

from limitpde.results import figures, invariants, maps, pictures, style, symbols, tables
from limitpde.results.canvas import Canvas
from limitpde.results.folder import Folder


def empty(folder):
    figures.write(folder / "summary.json", {"system": "signed"})
    return Folder(folder)


def test_nothing_is_drawn_of_nothing(tmp_path):
    assert pictures.draw(empty(tmp_path), {}) == ([], [])


def test_a_picture_that_cannot_be_drawn_is_a_note(tmp_path):
    def broken(directory, canvas):
        raise ValueError("Axis limits cannot be NaN")

    def whole(directory, canvas):
        figure, axis = canvas.subplots(figsize=(3.0, 2.0))
        axis.plot([0.0, 1.0])
        return figure

    drawn, notes = pictures.draw(empty(tmp_path), {"broken": broken, "whole": whole})
    assert [path.name for path in drawn] == ["whole.png"]
    assert len(notes) == 1
    assert "broken" in notes[0]
    assert "Axis limits cannot be NaN" in notes[0]


def test_means_have_bars_only_where_there_are_errors():
    figure, axis = Canvas().subplots(figsize=(3.0, 2.0))
    pictures.means(axis, [1, 2], [1.0, 2.0], float("nan"), label="one replica")
    pictures.means(axis, [1, 2], [1.0, 2.0], [0.1, 0.2], label="several")
    assert len(axis.get_legend_handles_labels()[1]) == 2
    figure.canvas.draw()


def state(height, t):
    """A square of two triangles with a field of this height."""
    points = np.array([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [5.0, 7.0, 0.0], [0.0, 7.0, 0.0]])
    return points, np.array([[0, 1, 2], [0, 2, 3]]), {"rho": height * np.array([0.0, 1.0, 0.5, 0.0])}, t


@pytest.mark.parametrize(("last", "middle"), [(3.0, 0.5), (0.5, np.sqrt(0.5))])
def test_maps_that_are_compared_have_one_scale_and_one_bar(last, middle):
    rows = [[maps.Panel(state(4.0, 0.0), "rho")], [maps.Panel(state(last, 1.0), "rho")]]
    figure, axes = maps.panels(Canvas(), rows)
    images = [axis.collections[0] for axis in axes.flat]
    assert [image.get_clim() for image in images] == [(0.0, 4.0)] * 2
    assert [image.norm(2.0) for image in images] == pytest.approx(
        [middle] * 2
    )  # square roots where heights differ much
    assert len(figure.axes) == 3


def test_particles_change_no_range(tmp_path):
    """As they once made that of phase space the unit square."""
    picture = maps.StatePicture(lambda states: [], lambda row, cloud: None)
    assert picture(tmp_path, Canvas()) is None

    class OfStates(maps.StatePicture):
        def rows(self, directory, steps):
            return [[maps.Panel(state(1.0, 0.0), "rho", square=False)] for _ in steps]

    figure = OfStates(lambda states: [], lambda row, cloud: None).draw(tmp_path, Canvas(), [0])
    assert (figure.axes[0].get_xlim(), figure.axes[0].get_ylim()) == ((0.0, 5.0), (0.0, 7.0))


def test_times_of_one_field_stand_beside_each_other(tmp_path):
    class OfStates(maps.StatePicture):
        def rows(self, directory, steps):
            return [[maps.Panel(state(1.0 + step, float(step)), "rho")] for step in steps]

    picture = OfStates(lambda states: [], lambda row, cloud: None)
    figure = picture.draw(tmp_path, Canvas(), [0, 1])
    left, right = figure.axes[:2]
    assert left.get_subplotspec().rowspan == right.get_subplotspec().rowspan
    assert (left.get_title(), right.get_title()) == (r"$\rho$, $t$ = 0", r"$\rho$, $t$ = 1")


def test_a_histogram_is_a_density_of_the_mass():
    axis = Canvas().subplots(figsize=(3.0, 2.0))[1]
    pictures.histogram(axis, np.linspace(1.0, 3.0, 100), 0.5 / 100)
    assert sum(bar.get_width() * bar.get_height() for bar in axis.patches) == pytest.approx(0.5)
    pictures.histogram(axis, np.empty(0), 0.5)


def test_no_linear_axis_for_rounding_and_no_offset(tmp_path):
    empty(tmp_path)
    t = np.linspace(0.0, 1.0, 11)
    (tmp_path / "pde").mkdir()
    names = ["t", "minimum", "dt", "mass"]
    table = tables.Table(tmp_path / "pde" / "diagnostics.csv", names)
    rows = np.column_stack([t, 1e-17 * t**9, np.full(11, 1 / 30), 1.0 + 1e-16 * t])
    table.extend(dict(zip(names, map(float, row), strict=True)) for row in rows)
    with style.styled():
        found = invariants.invariants(
            Canvas(), tmp_path, lambda table: {"mass": table["mass"]}, {"least": ["minimum"], "step": ["dt"]}
        )
        found.canvas.draw()
    _, least, step = found.axes
    assert least.get_yscale() == "log"
    assert step.get_ylim() == pytest.approx((0.95 / 30, 1.05 / 30))
    assert step.yaxis.get_major_formatter().get_offset() in ("", r"$\times\mathdefault{10^{-2}}\mathdefault{}$")
    assert step.get_ylabel() == symbols.symbol("dt") == r"$\Delta t$"


def test_points_of_several_counts_stand_beside_each_other():
    places = [pictures.beside([0.0, 1.0, 3.0], k, 3) for k in range(3)]
    assert all(np.all(np.diff(each) > 0) for each in np.array(places).T)
    assert np.max(np.abs(np.array(places) - [0.0, 1.0, 3.0])) < 0.25
    looks = [style.of_count(k, 5) for k in range(5)]
    assert len({look["color"] for look in looks}) == len({look["marker"] for look in looks}) == 5


def test_a_legend_above_covers_no_line():
    """The axis becomes longer, by more lines of the legend the more; its decades are those of the lines."""
    figure, axes = Canvas().subplots(1, 2, figsize=(6.0, 2.6))
    for axis, lines in zip(axes, (1, 4), strict=True):
        for k in range(lines):
            axis.semilogy([0.0, 1.0], [1e-15, 1e-3], label=f"line {k}")
        pictures.legend_above(axis)
    figure.canvas.draw()
    for axis in axes:
        box = axis.get_legend().get_window_extent()
        assert box.y0 > axis.transData.transform((0.0, 1e-3))[1]
        assert 1e-6 < max(axis.get_yticks()) <= 1e-2
    assert axes[1].get_ylim()[1] > axes[0].get_ylim()[1]


def test_phase_space_is_drawn_twice_for_particles_alone(tmp_path, monkeypatch):
    picture = maps.StatePicture(
        lambda states: [maps.Panel(states["fields"], "rho")], lambda row, cloud: None, twice=True
    )
    monkeypatch.setattr(maps.StatePicture, "files", lambda self, directory: {"fields": tmp_path})
    monkeypatch.setattr(maps, "read_fields", lambda path, step: state(1.0, float(step)))
    assert len(picture.draw(tmp_path, Canvas(), (0, -1)).axes) == 2 + 1  # two times, and the bar of colours
    monkeypatch.setattr(maps, "file_of_particles", lambda directory: tmp_path)
    monkeypatch.setattr(maps, "_at", lambda path, t: None)
    assert len(picture.draw(tmp_path, Canvas(), (0, -1)).axes) == 4 + 1
