"""The picture of what is conserved, and of other diagnostics of an equation, over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures
from limitpde.results.canvas import Canvas
from limitpde.results.maps import Columns
from limitpde.results.pictures import columns, legend_above
from limitpde.results.symbols import symbol

NO_CHANGE = 1e-17
"""What a change that is exactly zero is drawn as, on a logarithmic axis."""
WIDE, DECADES = 1e3, 1e-12
"""Ratio of values >= 0 from which their axis is logarithmic; part of the largest that such an axis begins with."""
CONSTANT = 1e-3
"""Relative range below which an axis shows five per cent on both sides, and not rounding magnified."""


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
    figure, grid = canvas.subplots(2, width, figsize=(3.4 * width, 5.4), squeeze=False)
    t, axes = table["t"], list(grid.ravel())
    while len(axes) > 1 + len(panels):
        axes.pop().remove()
    for name, values in conserved(table).items():
        change = np.abs(values[1:] - values[0]) / (abs(values[0]) or 1.0)
        axes[0].semilogy(t[1:], np.maximum(change, NO_CHANGE), label=name)
    axes[0].set(title="change of what is conserved", xlabel="$t$", ylabel="relative change")
    legend_above(axes[0])
    for axis, (title, names) in zip(axes[1:], panels.items(), strict=True):
        for name in names:
            shown = slice(1, None) if name == "dt" else slice(None)  # nothing leads to the first row
            axis.plot(t[shown], table[name][shown], label=symbol(name))
            if isinstance(moment := pde.get(name), dict) and "rate_theory" in moment:
                axis.plot(t, moment["start"] + moment["rate_theory"] * t, "k--", lw=1, label="theory")
        if len(names) == 1:
            _fit_range(axis, np.concatenate([found.get_ydata() for found in axis.get_lines()]))
        axis.set(title=title, xlabel="$t$", ylabel=symbol(names[0]) if len(names) == 1 else "")
        if len(axis.get_lines()) > 1:
            legend_above(axis)
    return figure


def _fit_range(axis: Any, values: np.ndarray) -> None:
    """Vertical range: by decades where values >= 0 differ much, and wide around what is constant."""
    low, high = float(values.min()), float(values.max())
    smallest = float(values[values > 0].min(initial=math.inf))
    if low >= 0 and high > WIDE * smallest:
        axis.set(yscale="log", ylim=(0.5 * max(smallest, DECADES * high), 2 * high))
    elif high - low < CONSTANT * max(abs(high), abs(low)):
        axis.set_ylim(*sorted((0.95 * high, 1.05 * high)))
