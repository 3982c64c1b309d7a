"""The section compare.counting of a case: how beta_N of Theorem 4.8 is to be measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from limitpde.checked import record, told_apart
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.sections import Counts, Positive


def _kind(value: object) -> str | None:
    return value.get("shape") if isinstance(value, dict) else getattr(value, "shape", None)


PhaseSpaceFunction = Annotated[
    Annotated[GaussianBump, Tag("gaussian")] | Annotated[Wave, Tag("wave")], told_apart(_kind, "'gaussian', 'wave'")
]


@record
class ProductState:
    """alpha_0 x ... x alpha_0: beta_N(0) = 0."""

    shape: Literal["product"] = "product"


@record
class TiltedState:
    """A product of alpha_0 + (number / N)^(1/2) gamma, normalised."""

    shape: Literal["tilted"] = "tilted"
    number: Annotated[float, Field(gt=0, le=10)]
    """c, about the mean number of particles outside alpha_0 at time 0."""
    function: PhaseSpaceFunction
    """h(x, v), for gamma; center and k have 2 d entries."""


@record
class ExcitedState:
    """m particles in gamma and N - m in alpha_0, symmetrised; no product."""

    shape: Literal["excited"] = "excited"
    number: Annotated[int, Field(ge=1, le=10)]
    """m, the number of particles outside alpha_0 at time 0."""
    function: PhaseSpaceFunction
    """h(x, v), for gamma; center and k have 2 d entries."""


ManyBodyState = Annotated[
    Annotated[ProductState, Tag("product")]
    | Annotated[TiltedState, Tag("tilted")]
    | Annotated[ExcitedState, Tag("excited")],
    told_apart(_kind, "'product', 'tilted', 'excited'"),
]
"""alpha_N at time 0."""
PRODUCT = ProductState()


@record
class Counting:
    """beta_N of alpha_N along Newton's trajectories, beside alpha of (HVl) on the cells of [pde]; dimension 1 or 2."""

    counts: Counts
    """Particle numbers N, at least 2; those of [particles] play no part in it."""
    replicas: Annotated[int, Field(ge=2, lt=2**31)] = 4000
    """Independent samples of each."""
    step: Positive
    """Time step of Newton's equations, forwards and backwards."""
    order: Literal[2, 4] = 4
    """Order of their symplectic integrator."""
    exponents: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (0.2,)
    """lambda of the weight min(k / N^lambda, 1); the theorem is for 0 <= lambda < 1."""
    times: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """Times, ascending, at which it is measured besides 0; the end by default."""
    levels: Annotated[int, Field(ge=0, le=6)] = 2
    """L: the probabilities of 0, ..., L particles outside alpha are measured; beta_N is known for N^lambda <= L + 1 and
    enclosed beyond. The cost grows like 2^L."""
    start: ManyBodyState = PRODUCT
    """alpha_N at time 0."""

    def __post_init__(self) -> None:
        if min(self.counts) < 2:
            raise ValueError(f"counts = {list(self.counts)}: must be at least 2")
        if self.times is not None and list(self.times) != sorted(set(self.times)):
            raise ValueError(f"times = {list(self.times)}: must ascend")
        number = getattr(self.start, "number", 0)
        if self.start.shape == "excited" and number > min(self.counts):
            raise ValueError(f"start.number = {number}: must not be above the smallest of counts, {min(self.counts)}")
