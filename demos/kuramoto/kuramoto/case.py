"""A case: model, initial density, and the sections of a run."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from limitpde import sections
from limitpde.checked import Moderate, record
from limitpde.sections import Positive


@record
class Model:
    """Parameters of the oscillators."""

    sigma: Moderate
    """Strength of the noise."""
    coupling: Annotated[float, Field(ge=0)]
    """Strength of the coupling."""

    @property
    def D(self) -> float:  # noqa: N802 - as in the equation
        """sigma^2 / 2."""
        return self.sigma**2 / 2

    def force(self, order: complex | np.ndarray, angle: np.ndarray) -> np.ndarray:
        """F at angles, with r e^(i psi) in `order`."""
        return np.asarray(self.coupling * (order * np.exp(-1j * angle)).imag)


@record
class Initial:
    """A von Mises density exp(concentration cos theta) / (2 pi I_0(concentration))."""

    concentration: Annotated[float, Field(ge=0, le=500)] = 1.0
    """How narrow it is; 0 is even."""

    def density(self, angle: np.ndarray) -> np.ndarray:
        """rho_0 at angles."""
        peak = np.i0(self.concentration) * np.exp(-self.concentration)
        return np.asarray(np.exp(self.concentration * (np.cos(angle) - 1)) / (2 * np.pi * peak))


@record
class PDE(sections.BasePDE):
    """Section [pde]: the keyword arguments of `Solver`."""

    cells: Annotated[int, Field(ge=8, le=1_000_000)]
    """Cells of the circle."""

    def coarser_space(self, factor: int) -> dict[str, Any]:
        """Fewer cells."""
        return {"cells": max(self.cells // factor, 8)}

    def finer(self, factor: float) -> dict[str, Any]:
        """More cells."""
        return {"cells": math.ceil(factor * self.cells)}


@record
class Particles(sections.BaseParticles):
    """Section [particles]."""

    step: Positive
    """Time step."""


@record
class Compare(sections.BaseCompare):
    """Section [compare]; test functions are waves cos(k theta + phase)."""

    def __post_init__(self) -> None:
        for number, phi in enumerate(self.test_functions):
            if phi.shape != "wave" or len(phi.k) != 1 or phi.k[0] % 1 or phi.charge or phi.n is not None:
                raise ValueError(f"test_functions[{number}]: must be a wave with k = [integer], periodic on the circle")


@record
class Case(sections.BaseCase):
    """A case of the oscillators."""

    SYSTEM: ClassVar[str] = "kuramoto.system:SYSTEM"
    system: Literal["kuramoto"]
    model: Model
    initial: Initial = Initial()
    pde: PDE | None = None
    particles: Particles | None = None
    compare: Compare | None = None
