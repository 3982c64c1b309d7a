"""A case file: what to solve, simulate and compare, read and checked before anything runs.

Each system has its own records for the sections, in its `case.py`: [model] and [initial] are the records of the system,
the fields of the others are keyword arguments of its `Solver` and `simulate`. A wrong key raises `InputError` with the
file, the key, its value and what is allowed.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import tomli_w

from limitpde import coagulation, signed, vlasov
from limitpde.checked import explain
from limitpde.errors import InputError

SYSTEMS: dict[str, ModuleType] = {"signed": signed, "coagulation": coagulation, "vlasov": vlasov}
Case = signed.Case | coagulation.Case | vlasov.Case
CASES: dict[str, type[Case]] = {"signed": signed.Case, "coagulation": coagulation.Case, "vlasov": vlasov.Case}


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
