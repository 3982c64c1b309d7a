"""Where a picture is drawn: on a figure of its own, or on axes that a user gives."""

from __future__ import annotations

from typing import Any

import numpy as np

from limitpde.errors import InputError


class Canvas:
    """Axes for a picture.

    Args:
        axes: matplotlib axes, one or an array of as many as the picture has panels; one is divided among several
            panels. By default a new figure, which pyplot does not know and a notebook shows.
    """

    def __init__(self, axes: Any = None) -> None:
        self._axes = axes

    def subplots(
        self, rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], squeeze: bool = True, **options: Any
    ) -> tuple[Any, Any]:
        """A figure and its axes, one or an array of them.

        Args:
            rows: of panels.
            columns: of panels.

        Keyword Args:
            figsize: width and height of a figure of its own, inches.
            squeeze: whether one panel is an axes instead of an array.
            options: of `matplotlib.figure.Figure.subplots`.

        Raises:
            InputError: there are several axes, and not as many as there are panels.
        """
        from limitpde.results.notebook import NotebookFigure

        if self._axes is None:
            figure = NotebookFigure(figsize=figsize, layout="constrained")
            return figure, figure.subplots(rows, columns, squeeze=squeeze, **options)
        given = np.array(self._axes, dtype=object).ravel()
        if wrong := [axis for axis in given if not hasattr(axis, "get_subplotspec")]:
            raise InputError(f"ax = {wrong[0]!r}: must be axes of matplotlib")
        if given.size not in (1, rows * columns):
            raise InputError(f"{given.size} axes: the picture has {rows} x {columns} panels; give one, or as many")
        if rows * columns > 1 and given.size == 1:
            axes = _divided(given[0], rows, columns, options)
        else:
            axes = given.reshape(rows, columns)
        return given[0].figure, axes if not squeeze else axes.squeeze()[()]


def _divided(axis: Any, rows: int, columns: int, options: dict[str, Any]) -> np.ndarray:
    """A grid of axes, (rows, columns), in the place of one, of which only the title stays."""
    from matplotlib.gridspec import GridSpec

    axis.set_axis_off()
    spec = axis.get_subplotspec()
    if spec is not None:
        return np.asarray(spec.subgridspec(rows, columns).subplots(squeeze=False, **options))
    left, bottom, right, top = axis.get_position().extents
    grid = GridSpec(rows, columns, figure=axis.figure, left=left, bottom=bottom, right=right, top=top)
    return np.asarray(grid.subplots(squeeze=False, **options))
