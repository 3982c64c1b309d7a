"""Where particles live and equations are solved: a torus, a box or ball with reflecting walls, or the whole space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from limitpde.errors import InputError

KINDS = ("space", "torus", "box", "ball")


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """A domain in R^d; compiled kernels take `number`, `low` and `size`."""

    kind: Literal["space", "torus", "box", "ball"]
    """The torus is periodic; the walls of box and ball reflect."""
    low: np.ndarray
    """(d,) lower corner of the domain, of the cube around the ball; zeros for the whole space."""
    size: np.ndarray
    """(d,) lengths of the edges from there; infinite for the whole space."""

    @classmethod
    def space(cls, dimension: int) -> Domain:
        """R^d."""
        return cls("space", np.zeros(dimension), np.full(dimension, np.inf))

    @classmethod
    def torus(cls, size: np.ndarray, low: np.ndarray | None = None) -> Domain:
        """The torus with edges `size` (d,) and lower corner `low` (d,), 0 by default."""
        return cls("torus", np.zeros(len(size)) if low is None else low, size)

    @classmethod
    def box(cls, size: np.ndarray, low: np.ndarray | None = None) -> Domain:
        """The box with edges `size` (d,) and lower corner `low` (d,), 0 by default."""
        return cls("box", np.zeros(len(size)) if low is None else low, size)

    @classmethod
    def ball(cls, radius: float, center: np.ndarray) -> Domain:
        """The ball |x - center| < radius, center (d,)."""
        return cls("ball", center - radius, np.full(len(center), 2 * radius))

    @property
    def number(self) -> int:
        """The kind, for compiled kernels: 0 space, 1 torus, 2 box, 3 ball."""
        return KINDS.index(self.kind)

    @property
    def dimension(self) -> int:
        """d."""
        return len(self.low)

    @property
    def bounded(self) -> bool:
        """Whether the volume is finite."""
        return self.kind != "space"

    @property
    def center(self) -> np.ndarray:
        """(d,) the middle; 0 for the whole space."""
        return self.low + self.size / 2 if self.bounded else self.low

    @property
    def volume(self) -> float:
        """Length, area or volume."""
        if self.kind != "ball":
            return float(np.prod(self.size))
        from scipy.special import gamma

        d = self.dimension
        return float(math.pi ** (d / 2) / gamma(d / 2 + 1) / 2**d * np.prod(self.size))

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Which of the points (n, d) lie in the domain, (n,) bool; on a torus all do."""
        if self.kind in ("space", "torus"):
            return np.ones(len(x), dtype=bool)
        if self.kind == "ball":
            return np.asarray(np.linalg.norm(x - self.center, axis=1) <= self.size[0] / 2)
        return np.asarray(((x >= self.low) & (x <= self.low + self.size)).all(axis=1))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n points evenly, (n, d).

        Raises:
            InputError: the domain is the whole space.
        """
        if not self.bounded:
            raise InputError("shape = 'uniform': needs a bounded domain, not the whole space")
        if self.kind != "ball":
            return np.asarray(self.low + self.size * rng.random((n, self.dimension)))
        normal = rng.standard_normal((n, self.dimension))
        direction = normal / np.linalg.norm(normal, axis=1, keepdims=True)
        radius = self.size[0] / 2 * rng.random((n, 1)) ** (1 / self.dimension)
        return np.asarray(self.center + radius * direction)

    def wrap(self, x: np.ndarray) -> np.ndarray:
        """The points (n, d), on a torus moved into [low, low + size)."""
        if self.kind != "torus":
            return x
        shifted = np.mod(x - self.low, self.size)
        return np.asarray(self.low + np.where(shifted < self.size, shifted, 0.0))
