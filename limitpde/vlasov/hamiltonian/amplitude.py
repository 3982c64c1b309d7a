"""What gives alpha at time 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

Scale = Callable[[float], float]
"""A mass -> what it is to be multiplied with."""


class Amplitude(Protocol):
    """A complex function on phase space; `initial.Start` and `liouville.ProductStart` are such."""

    def alpha(self, z: np.ndarray) -> np.ndarray:
        """alpha at points, (n, 2d) -> complex (n,)."""
