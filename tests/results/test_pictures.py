"""Parts of pictures: what is missing is not drawn, and what cannot be drawn costs no result."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)

from limitpde.results import figures, pictures
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
