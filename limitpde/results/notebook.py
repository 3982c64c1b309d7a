"""A figure that a notebook shows where it is the value of a cell, and nowhere else: pyplot does not hold it."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A figure of matplotlib with the method that notebooks ask for."""

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi="figure")
        return image.getvalue()
