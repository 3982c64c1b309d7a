"""The sections of a case file that all systems share; each system's own stand in its `case.py`."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from limitpde.checked import record
from limitpde.nbody.random import REPLICA_LIMIT

MOST_OUTPUTS = 100_000
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


def output_times(time: Time, output: Output) -> list[float]:
    """Times of output after 0, the end included."""
    every, end = output.every or time.end / 10, time.end
    return [*(float(f"{k * every:.12g}") for k in range(1, math.ceil(end / every * (1 - 1e-9)))), end]


def check_case(case: Any) -> None:
    """Check what holds for the cases of all systems.

    Raises:
        ValueError: there is nothing to do, or there are too many outputs.
    """
    if case.pde is None and case.particles is None:
        raise ValueError("nothing to do: the case needs a section [pde] or [particles] (or both)")
    every = case.output.every or case.time.end / 10
    if case.time.end / every > MOST_OUTPUTS:
        raise ValueError(f"output.every = {every}: too small, it asks for over {MOST_OUTPUTS} outputs")


def check_mesh_file(mesh: Any) -> None:
    """Check that a mesh given by a path is there.

    Raises:
        ValueError: it is not.
    """
    if isinstance(mesh, str) and not Path(mesh).is_file():
        raise ValueError(f"mesh = {mesh!r}: no such file")


def check_counts(counts: tuple[int, ...]) -> None:
    """Check that the particle numbers differ.

    Raises:
        ValueError: two are the same.
    """
    if len(set(counts)) != len(counts):
        raise ValueError(f"counts = {list(counts)} must differ from each other")


def keywords(section: Any, *, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a section of a case, as keyword arguments."""
    return {field.name: getattr(section, field.name) for field in fields(section) if field.name not in leave_out}
