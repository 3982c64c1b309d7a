"""What gives alpha at time 0, and how much of it may be lost later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

Scale = Callable[[float], float]
"""A mass -> what it is to be multiplied with."""
RESOLVED = 1e-3
"""Share of int |alpha|^2 that may be lost without a word."""


class Amplitude(Protocol):
    """A complex function on phase space; `initial.Start` and `liouville.ProductStart` are such."""

    def alpha(self, z: np.ndarray) -> np.ndarray:
        """alpha at points, (n, 2d) -> complex (n,)."""


def loss_warning(t: float, norm: float, first: float) -> str:
    """What to say of an alpha whose norm has fallen from `first` to `norm`; empty if that is little."""
    lost = 1 - (norm / first) ** 2 if first > 0 else 0.0
    if lost < RESOLVED:
        return ""
    return (
        f"by t = {t:g}, {100 * lost:.2g} % of int |alpha|^2, the mass of f, are gone: alpha has left model.domain or "
        "varies too fast for the grid; enlarge model.domain or pde.cells"
    )
