"""Parts of the ranks along the coordinates of phase space, as a user asks for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from limitpde.errors import InputError


def check_parts(parts: Sequence[int], cells: Sequence[int], ranks: int) -> None:
    """Check parts that a user asks for.

    Args:
        parts: one for each coordinate; with a mesh one for its cells, and one for each velocity.
        cells: of each of these.
        ranks: of the run.

    Raises:
        InputError: they are not one for each axis, none with more parts than cells, or not as many as there are ranks.
    """
    if len(parts) != len(cells) or any(not 1 <= p <= n for p, n in zip(parts, cells, strict=False)):
        raise InputError(
            f"pde.parts = {list(parts)}: must be {len(cells)} numbers, of parts of each coordinate (of a mesh as a "
            f"whole), x then v, at least 1 and at most its cells, {list(cells)}"
        )
    if math.prod(parts) != ranks:
        raise InputError(
            f"pde.parts = {list(parts)}: are {math.prod(parts)} parts for {ranks} ranks; their product must be the "
            "number of ranks, or leave it out"
        )
