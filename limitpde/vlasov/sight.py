"""What the cells of a case see of its initial density: the quadrature of their points against its integral.

Transport keeps what the cells hold, so a density that falls between their points makes a run of another problem. On a
coarse grid the quadrature sees far more, or far less, than there is: such a case is refused. Not collective, and light:
cases are checked with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from limitpde.errors import InputError
from limitpde.vlasov.initial import Start
from limitpde.vlasov.model import Model

SEEN = (0.9, 1.1)
"""Part of the mass that the points of the cells must see, before any repair."""
MOST_DOUBLED = 12
"""How often numbers of cells are doubled in search of enough."""


def seen(start: Start, model: Model, axis: Literal["x", "v"], cells: Sequence[int], degree: int) -> float:
    """What the points of the cells of x, or of v, see of the integral of f_0 over their box; 1 for a user's function.

    Args:
        start: the density.
        model: its model.
        axis: which coordinates.
        cells: their numbers, d or one for all.
        degree: k; each cell has k + 1 points.
    """
    if start.parts is None:
        return 1.0
    law, box = start.parts[0 if axis == "x" else 1], model.x_box if axis == "x" else model.v_box
    points, weights = np.polynomial.legendre.leggauss(degree + 1)
    if axis == "v" and model.form == "hartree":
        points, weights = (2 * np.arange(degree + 1) + 1) / (degree + 1) - 1, np.full(degree + 1, 2 / (degree + 1))
    sums = []
    for (low, high), number in zip(box, np.broadcast_to(cells, len(box)), strict=True):
        h = (high - low) / number
        nodes = (low + (np.arange(number)[:, None] + (points + 1) / 2) * h).ravel()
        sums.append((nodes, np.tile(weights * h / 2, number)))
    total = sum(
        np.prod([weights @ factor(nodes) for factor, (nodes, weights) in zip(term, sums, strict=True)])
        for term in law.terms()
    )
    return float(np.real(total)) / law.inside(box)


def is_seen(share: float) -> bool:
    """Whether so much of the mass is near enough to all of it."""
    return SEEN[0] <= share <= SEEN[1]


def check_seen(start: Start, model: Model, axis: Literal["x", "v"], cells: Sequence[int], degree: int) -> None:
    """Check that the cells of x, or of v, see the density.

    Raises:
        InputError: they do not.
    """
    share = seen(start, model, axis, cells, degree)
    if is_seen(share):
        return
    more = [[2**power * n for n in cells] for power in range(1, MOST_DOUBLED + 1)]
    enough = next((numbers for numbers in more if is_seen(seen(start, model, axis, numbers, degree))), None)
    number = f"; {enough} see it" if enough else ""
    raise InputError(
        f"pde.cells: {list(cells)} cells of {axis} see {share:.4g} of the mass of f_0, and must see {SEEN[0]} to "
        f"{SEEN[1]} of it{number}: f_0 falls between their points. Take more cells, or larger widths in [initial]"
    )
