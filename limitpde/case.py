"""A case file: what to solve, simulate and compare, read and checked before anything runs.

The sections [model] and [initial] are the records of the system; the fields of the others are the keyword arguments of
its `Solver` and `simulate`. A wrong key raises `InputError` with the file, the key, its value and what is allowed.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pydantic
import tomli_w
from pydantic import Discriminator, Field, Tag

from limitpde import signed
from limitpde.checked import explain, record
from limitpde.compare.test_functions import Table, TestFunction
from limitpde.errors import InputError
from limitpde.fem.mesh import Disk
from limitpde.nbody.random import REPLICA_LIMIT

MOST_OUTPUTS = 100_000
Positive = Annotated[float, Field(gt=0)]
Natural = Annotated[int, Field(ge=1, lt=REPLICA_LIMIT)]
Mesh = Annotated[
    Annotated[Disk, Tag("disk")] | Annotated[str, Tag("file")],
    Discriminator(lambda value: "file" if isinstance(value, str) else "disk"),
]


@record
class Time:
    """Section [time]."""

    end: Positive
    """Final time."""


@record
class PDE:
    """Section [pde] of the signed system: the keyword arguments of its `Solver`."""

    mesh: Mesh
    """A disk, or the path of a gmsh file."""
    step: Positive
    """Time step; the gate may take smaller ones."""
    degree: Literal[1] = 1
    """Polynomial degree."""
    multipoles: Annotated[int, Field(ge=0, le=64)] = 12
    """Highest multipole moment in the boundary data of the potential."""

    def __post_init__(self) -> None:
        if isinstance(self.mesh, str) and not Path(self.mesh).is_file():
            raise ValueError(f"mesh = {self.mesh!r}: no such file")


@record
class Particles:
    """Section [particles] of the signed system: counts, and keyword arguments of its `simulate`."""

    counts: Annotated[tuple[Natural, ...], Field(min_length=1)]
    """Particle numbers N."""
    replicas: Natural = 1
    """Independent copies of each."""
    step: Positive
    """Time step."""
    method: Literal["direct", "auto"] = "auto"
    """Force sum; "auto" takes the fastest there is for each N: the direct one."""
    kernel: Literal["capped", "regularised"] = "capped"
    """x / max(|x|^2, eps^2), or (4.5) x / (|x|^2 + eps^2)."""
    eps: Annotated[float, Field(ge=0)] | None = None
    """Length of the cap or of the regularisation; sqrt(2 gamma step) by default."""
    cutoff: Natural | None = None
    """l of the cut-off (4.6), (4.7); none by default."""

    def __post_init__(self) -> None:
        if len(set(self.counts)) != len(self.counts):
            raise ValueError(f"counts = {list(self.counts)} must differ from each other")


@record
class Compare:
    """Section [compare]."""

    test_functions: Annotated[tuple[TestFunction, ...], Field(min_length=1)]
    """phi(x, b) for which residuals and observables are measured."""


@record
class Output:
    """Section [output]."""

    directory: str | None = None
    """Where the result goes; results/NAME of the case by default."""
    every: Positive | None = None
    """Time between outputs of fields, particles and residuals; a tenth of the end by default."""
    checkpoint_every: Positive = 60.0
    """Seconds of wall time between saves of summary.json while the run goes on."""


@record
class SignedCase:
    """A case of the signed system."""

    system: Literal["signed"]
    model: signed.Model
    initial: signed.Initial
    time: Time
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """All randomness follows from it."""
    pde: PDE | None = None
    particles: Particles | None = None
    compare: Compare | None = None
    output: Output = Output()

    def __post_init__(self) -> None:
        if self.pde is None and self.particles is None:
            raise ValueError("nothing to do: the case needs a section [pde] or [particles] (or both)")
        if self.pde is not None and self.initial.points is not None:
            raise ValueError("initial.points: a case with [pde] needs densities, not points")
        if self.initial.points is not None and not Path(self.initial.points).is_file():
            raise ValueError(f"initial.points = {self.initial.points!r}: no such file")
        if self.pde is not None and self.model.gamma_bar is None:
            raise ValueError("model.gamma_bar is missing: with a fixed gamma the particles have no limit, so no [pde]")
        mass = self.initial.mass(0) + self.initial.mass(1)
        if self.particles is not None and self.initial.points is None and not math.isclose(mass, 1, rel_tol=1e-9):
            raise ValueError(f"initial: the masses add to {mass:.12g}; with [particles] they must add to 1")
        if self.compare is not None:
            Table.of(self.compare.test_functions, 2)
        if self.time.end / self._every > MOST_OUTPUTS:
            raise ValueError(f"output.every = {self._every}: too small, it asks for over {MOST_OUTPUTS} outputs")

    @property
    def _every(self) -> float:
        return self.output.every or self.time.end / 10

    @property
    def output_times(self) -> list[float]:
        """Times of output after 0, the end included."""
        every, end = self._every, self.time.end
        return [*(float(f"{k * every:.12g}") for k in range(1, math.ceil(end / every * (1 - 1e-9)))), end]


Case = SignedCase
CASES: dict[str, type[Case]] = {"signed": SignedCase}
SYSTEMS: dict[str, ModuleType] = {"signed": signed}


def read(path: str | Path, overrides: Iterable[str] = ()) -> Case:
    """Read and check a case file.

    Files that a case names (a mesh, points, python) are looked for in its own folder first.

    Args:
        path: the TOML file.
        overrides: "section.key=value" with value in TOML (or a bare word), as given to --set.

    Raises:
        InputError: the file cannot be read, or a key is wrong; one line each.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # what tomllib and the decoding of the text raise
        raise InputError(f"{path}: not a TOML file ({error})") from error
    for override in overrides:
        _override(data, override)
    return check(_with_paths(data, path.resolve().parent), where=str(path))


def check(data: dict[str, Any], *, where: str = "case") -> Case:
    """The case of nested dictionaries and lists.

    Raises:
        InputError: a key is missing, unknown, of the wrong type or out of range.
    """
    system = data.get("system")
    if not isinstance(system, str) or system not in CASES:
        known = ", ".join(f'"{name}"' for name in CASES)
        found = f"system = {system!r}" if "system" in data else "system is missing"
        raise InputError(f"{where}: {found}: must be one of {known}")
    try:
        return pydantic.TypeAdapter(CASES[system]).validate_json(_json(data, where), strict=True)
    except pydantic.ValidationError as error:
        raise InputError(explain(error, CASES[system], data, where=where)) from None


def _json(data: dict[str, Any], where: str) -> str:
    try:
        return json.dumps(data)
    except TypeError as error:
        raise InputError(f"{where}: dates and times have no place in a case ({error})") from error


def dump(case: Case) -> str:
    """The case as TOML, every default filled in."""
    values = pydantic.TypeAdapter(type(case)).dump_python(case, mode="json", exclude_none=True)
    return tomli_w.dumps(values)


def _override(data: dict[str, Any], assignment: str) -> None:
    """Set one key, "section.key=value"; parts of the key that are numbers count in lists from 0."""
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(f"--set {assignment}: must be KEY=VALUE, for instance pde.step=0.005")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    holder: Any = data
    try:
        for part in parts[:-1]:
            holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
        if isinstance(holder, list):
            holder[int(parts[-1])] = value
        elif isinstance(holder, dict):
            holder[parts[-1]] = value
        else:
            raise TypeError
    except (ValueError, IndexError, TypeError, AttributeError):
        raise InputError(f"--set {assignment}: the case has no such key to set") from None


def _with_paths(value: Any, folder: Path, key: str = "") -> Any:
    """The same data with the files it names as absolute paths, where they lie in the case's folder."""
    if isinstance(value, dict):
        return {name: _with_paths(item, folder, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_paths(item, folder) for item in value]
    if isinstance(value, str) and key in ("mesh", "points", "python"):
        name, colon, function = value.partition(":") if key == "python" else (value, "", "")
        if (folder / name).is_file():
            return str(folder / name) + colon + function
    return value
