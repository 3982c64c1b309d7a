"""The sections of a case file that all systems share; what a system adds stands in its own `case.py`.

`BaseCase`, `BasePDE`, `BaseParticles` and `BaseCompare` are abstract: each system derives records of its own from them.
"""

from __future__ import annotations

import importlib
import itertools
import math
from dataclasses import fields, replace
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from limitpde.checked import record
from limitpde.compare.cloud_functions import CloudFunction, labels_of
from limitpde.compare.test_functions import TestFunction
from limitpde.nbody.limits import REPLICA_LIMIT

MOST_OUTPUTS = 100_000
SHORTEST = 1e-100
"""End of a run, whose third power is a number still."""
SAME_TIME = 1e-9
"""Part of the end by which two times of output differ, at least."""
FEWER_COUNTS, FEWER_REPLICAS = 2, 16
"""Particle numbers, and copies of each, that a quick run takes: the smallest ones."""
COARSER = 2
"""Factor by which cells and steps of the PDE grow for a quick run."""
Positive = Annotated[float, Field(gt=0)]
Natural = Annotated[int, Field(ge=1, lt=REPLICA_LIMIT)]
Counts = Annotated[tuple[Natural, ...], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


@record
class Time:
    """Section [time]."""

    end: Positive
    """Final time."""


@record
class Output:
    """Section [output]."""

    directory: str | None = None
    """Where the result goes; results/NAME of the case by default."""
    every: Positive | None = None
    """Time between outputs of fields, particles and residuals; a tenth of the end by default."""
    checkpoint_every: Positive = 60.0
    """Seconds of wall time between saves of summary.json while the run goes on."""
    pictures: bool = True
    """Whether pictures are drawn at the end; `limitpde show` draws them at any time."""
    fluxes: bool = False
    """Whether the fluxes of the densities, and of charges the electric field, are written beside them, as vectors."""


@record
class BasePDE:
    """Section [pde], as far as all systems have it."""

    step: Positive
    """Time step."""

    def coarser(self, cells: int = COARSER, steps: int = COARSER) -> Self:
        """The same with cells and steps that are larger by these factors: for quick runs, and to see the errors."""
        return replace(self, **self.longer_steps(steps), **self.coarser_space(cells))

    def finer(self, factor: float) -> dict[str, Any]:
        """Key below [pde] -> its value for cells that are smaller by a factor; nothing where they cannot be."""
        return {}

    def longer_steps(self, factor: int) -> dict[str, Any]:
        """Fields with steps that are longer by a factor."""
        return {"step": factor * self.step}

    def coarser_space(self, factor: int) -> dict[str, Any]:
        """Fields with cells that are larger by a factor."""
        return {}


@record
class BaseParticles:
    """Section [particles], as far as all systems have it."""

    counts: Counts
    """Particle numbers N."""
    replicas: Natural = 1
    """Independent copies of each."""
    ranks_per_replica: Annotated[int, Field(ge=1)] | None = None
    """MPI ranks that share the work on pairs of one copy, at least, or all there are; by default one, or where there
    are more ranks than copies, as many as have 512 particles each. Results do not depend on it."""

    def __post_init__(self) -> None:
        if len(set(self.counts)) != len(self.counts):
            raise ValueError(f"counts = {list(self.counts)} must differ from each other")

    def fewer(self) -> Self:
        """The same for a quick run. Particles keep their step, whose bias would otherwise show in the comparison."""
        counts = tuple(sorted(self.counts)[:FEWER_COUNTS])
        return replace(self, counts=counts, replicas=min(self.replicas, FEWER_REPLICAS))


@record
class BaseCompare:
    """Section [compare], as far as all systems have it."""

    test_functions: Annotated[tuple[TestFunction, ...], Field(min_length=1)]
    """phi for which residuals and observables are measured."""
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Difference between particles and solution that matters, as a part of max |phi| times the mass: the verdict is
    given for it."""
    budget: bool = True
    """Estimate the errors of the solution and of the particles' step, for about a third of the time; without, there is
    no verdict."""
    fluctuations: bool = True
    """Predict the variance of observables by the linearised equation, where that is known, on coarser cells and with
    longer steps."""
    earlier: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """Times before the end whose observables' covariances with those at the end are measured over the replicas, beside
    their prediction; they are output times as well."""


@record
class CloudCompare(BaseCompare):
    """Section [compare] of a system that shows its particles and its solution as clouds (`System.cloud`)."""

    observables: Annotated[tuple[CloudFunction, ...], Field(min_length=1)] | None = None
    """Numbers that functions of your own make of the particles and of the solution, at the output times."""

    def __post_init__(self) -> None:
        names = labels_of(self.observables or ())
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"observables: two have the name {name!r}; names must differ")


@record
class Study:
    """Section [study]: what `limitpde study` varies; `limitpde run` takes no notice of it."""

    over: Annotated[dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]], Field(min_length=1)] | None = None
    """Key of the case, such as "model.sigma" -> the values that it takes."""
    zip: bool = False
    """Whether the first values of all keys go together, and the second, and so on; all combinations by default."""
    precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Stands for compare.precision; undecided runs are refined until they are decided."""
    budget: Positive | None = None
    """Seconds within which runs may begin; undecided runs are refined as long as there is time."""


@record
class BaseCase:
    """A case; abstract: a system's own has its own types for model, initial, pde, particles and compare."""

    SYSTEM: ClassVar[str]
    """What runs it, "module:object", a `limitpde.system.System`; loaded only when a case is run."""
    NEEDS: ClassVar[str] = ""
    """What says what a case will need, "module:function", case -> list of `limitpde.needs.Load`; unknown by default."""
    FLUXES: ClassVar[bool] = False
    """Whether its solver has fluxes to write."""
    system: str
    model: object
    initial: object
    time: Time
    seed: Seed = 0
    """All randomness follows from it."""
    pde: BasePDE | None = None
    particles: BaseParticles | None = None
    compare: BaseCompare | None = None
    output: Output = Output()
    study: Study | None = None

    def __post_init__(self) -> None:
        self._check_earlier()
        if self.pde is None and self.particles is None:
            raise ValueError("nothing to do: the case needs a section [pde] or [particles] (or both)")
        if self.time.end < SHORTEST:
            raise ValueError(f"time.end = {self.time.end}: too small, must be {SHORTEST} or more")
        if self.output.fluxes and not (self.FLUXES and self.pde is not None):
            why = "needs a section [pde]" if self.FLUXES else f"system = {self.system!r} has none to write"
            raise ValueError(f"output.fluxes = true: {why}")
        every = self.output.every or self.time.end / 10
        if self.time.end / every > MOST_OUTPUTS:
            raise ValueError(f"output.every = {every}: too small, it asks for over {MOST_OUTPUTS} outputs")

    def _check_earlier(self) -> None:
        """Check the earlier times of covariances, and that there are replicas for them."""
        earlier, end = self.compare.earlier if self.compare is not None else (), self.time.end
        name = f"compare.earlier = {list(earlier)}"
        between = earlier[1:] if earlier[:1] == (0.0,) else earlier
        if earlier and any(not b - a > SAME_TIME * end for a, b in itertools.pairwise((0.0, *between, end))):
            raise ValueError(
                f"{name}: must rise, and end before time.end = {end}, no closer than {SAME_TIME * end:.3g}"
            )
        if earlier and (self.particles is None or self.particles.replicas < 2):
            raise ValueError(f"{name}: covariances over replicas need [particles] with replicas >= 2")

    def check_files(self) -> None:
        """Look into the files that the case names, as far as that is quick. On one rank.

        Raises:
            InputError: one does not hold what the case needs.
        """

    @property
    def output_times(self) -> list[float]:
        """Times of output after 0, the end included."""
        every, end = self.output.every or self.time.end / 10, self.time.end
        even = [float(f"{k * every:.12g}") for k in range(1, math.ceil(end / every * (1 - 1e-9)))]
        asked = self.fluctuation_times[:-1]
        return sorted({*asked, *(t for t in even if all(abs(s - t) > SAME_TIME * end for s in asked)), end} - {0.0})

    @property
    def fluctuation_times(self) -> tuple[float, ...]:
        """Times whose fluctuations are held against those at the end, which is the last of them."""
        return (*(self.compare.earlier if self.compare is not None else ()), self.time.end)

    @property
    def test_functions(self) -> tuple[TestFunction, ...]:
        """What is compared; nothing without [compare]."""
        return self.compare.test_functions if self.compare is not None else ()

    @property
    def observables(self) -> tuple[CloudFunction, ...]:
        """Observables of the user's own; nothing where there are none."""
        return getattr(self.compare, "observables", None) or ()

    def simulation(self, *, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
        """Keyword arguments of the system's `simulate`: the section [particles], and what all systems have."""
        return {
            **keywords(self.particles, leave_out=("counts", "ranks_per_replica", *leave_out)),
            "end": self.time.end,
            "seed": self.seed,
            "stops": self.output_times,
            "test_functions": self.test_functions,
            **({"observables": self.observables} if self.observables else {}),
        }

    def smaller(self) -> Self:
        """A smaller version for a first look: fewer particles and copies, a coarser mesh, longer PDE steps.

        Model, initial data and times stay.
        """
        changes: dict[str, Any] = {}
        if self.pde is not None:
            changes["pde"] = self.coarser_pde(self.pde)
        if self.particles is not None:
            changes["particles"] = self.particles.fewer()
        return replace(self, **changes)

    def coarser_pde(self, pde: BasePDE) -> BasePDE:
        """The section [pde] of a smaller version."""
        return pde.coarser()


def load(where: str) -> object:
    """The object that "module:name" names."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def keywords(section: Any, *, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a section of a case, as keyword arguments."""
    return {field.name: getattr(section, field.name) for field in fields(section) if field.name not in leave_out}
