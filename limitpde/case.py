"""A case file: what to solve, simulate and compare, read and checked before anything runs.

Each system has its own records for the sections, in its `case.py`: [model] and [initial] are the records of the system,
the fields of the others are keyword arguments of its `Solver` and `simulate`. A wrong key raises `InputError` with the
file, the key, its value and what is allowed.

A system in a package of its own is found by an entry point: the group "limitpde.systems" maps its name to the record of
its cases, as BUILT_IN does for those of this package.
"""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from importlib import metadata, resources
from pathlib import Path
from typing import Any, cast

import numpy as np
import pydantic
import tomli_w

from limitpde.checked import explain, short
from limitpde.errors import InputError
from limitpde.files import File
from limitpde.sections import BaseCase, load

BUILT_IN = {name: f"limitpde.{name}.case:Case" for name in ("signed", "coagulation", "vlasov", "meanfield")}
"""Name of a system -> the record of its cases."""
GROUP = "limitpde.systems"
type CaseLike = str | Path | Mapping[str, Any] | BaseCase
"""The path of a case file, nested dictionaries and lists as it would hold, or a case."""
type Overrides = Iterable[str] | Mapping[str, Any]
"""Lines "section.key=value", as given to --set, or keys -> values."""
DEEPEST = 32
"""Keys and lists inside each other that a case may have."""


def systems() -> dict[str, str]:
    """Name -> "module:record of its cases", of all systems that there are, those of other packages last."""
    return BUILT_IN | {entry.name: entry.value for entry in metadata.entry_points(group=GROUP)}


def record_of(system: str) -> type[BaseCase]:
    """The record of the cases of a system.

    Raises:
        InputError: there is no such system, or its package is broken.
    """
    where = BUILT_IN.get(system) or systems().get(system)
    if where is None:
        raise InputError(f"system = {short(system)}: must be one of {_quoted(systems())}")
    found = load(where)
    if not (isinstance(found, type) and issubclass(found, BaseCase)):
        raise InputError(f"system = {system!r}: {where} is no record of cases (limitpde.sections.BaseCase)")
    return found


def example(system: str) -> str:
    """A commented case to start from: case.toml beside the module of the record of its cases."""
    package = record_of(system).__module__.rpartition(".")[0]
    return resources.files(package).joinpath("case.toml").read_text(encoding="utf-8")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def read(path: str | Path, overrides: Iterable[str] = ()) -> BaseCase:
    """Read and check a case file.

    Files that a case names (a mesh, points, python) are looked for in its own folder first.

    Args:
        path: the TOML file.
        overrides: "section.key=value" with value in TOML (or a bare word), as given to --set.

    Raises:
        InputError: the file cannot be read, or a key is wrong; one line each.
    """
    return check(data_of(path, overrides), where=str(path), folder=Path(path).resolve().parent)


def data_of(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What a case file and overrides of it say, unchecked.

    Raises:
        InputError: it cannot be read, or an override is none.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # what tomllib and the decoding of the text raise
        raise InputError(f"{path}: not a TOML file ({error})") from error
    for override in overrides:
        _override(data, override)
    return data


def source_of(case: CaseLike, overrides: Overrides = ()) -> tuple[dict[str, Any], Path | None, str]:
    """What a case says, unchecked; where files that it names are looked for first; what messages begin with.

    Raises:
        InputError: it is none, its file cannot be read, or an override is none.
    """
    folder, where = None, "case"
    if isinstance(case, str | Path):
        data, folder, where = data_of(case), Path(case).resolve().parent, str(case)
    elif isinstance(case, BaseCase):
        data = values_of(case)
    elif isinstance(case, Mapping):
        data = copy.deepcopy(dict(case))
    else:
        raise InputError(f"case = {short(case)}: must be the path of a case file, a dictionary like one, or a case")
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            assign(data, str(key), value, where=f"overrides: {key}")
        return data, folder, where
    for override in [overrides] if isinstance(overrides, str) else overrides:
        _override(data, override)
    return data, folder, where


def of(case: CaseLike, overrides: Overrides = ()) -> BaseCase:
    """The case that a file, a dictionary or another case is with some overrides; see `source_of` and `check`."""
    if isinstance(case, BaseCase) and not overrides:
        return case
    data, folder, where = source_of(case, overrides)
    return check(data, where=where, folder=folder)


def check(data: dict[str, Any], *, where: str = "case", folder: Path | None = None) -> BaseCase:
    """The case of nested dictionaries and lists.

    Args:
        data: sections and keys.

    Keyword Args:
        where: what messages begin with.
        folder: where files that the case names are looked for first.

    Raises:
        InputError: a key is missing, unknown, of the wrong type or out of range.
    """
    _check_values(data, where)
    system = data.get("system")
    if not isinstance(system, str):
        found = f"system = {short(system)}" if "system" in data else "system is missing"
        raise InputError(f"{where}: {found}: must be one of {_quoted(systems())}")
    try:
        record = record_of(system)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    try:
        return pydantic.TypeAdapter(record).validate_json(_json(data, where), strict=True, context={"folder": folder})
    except pydantic.ValidationError as error:
        raise InputError(explain(error, record, data, where=where)) from None


def _json(data: dict[str, Any], where: str) -> str:
    try:
        return json.dumps(data, default=_plain)
    except TypeError as error:
        raise InputError(f"{where}: {error}") from error
    except ValueError as error:  # Python writes no integer of over 4,300 digits
        raise InputError(f"{where}: a number is too long ({error})") from None


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as those of Python."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    what = "dates and times" if isinstance(value, date | time) else f"objects of type {type(value).__name__}"
    raise TypeError(f"{what} have no place in a case ({short(value)})")


def torn(text: str) -> bool:
    """Whether a text holds bytes that were none of UTF-8."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _check_values(data: dict[str, Any], where: str) -> None:
    """Refuse what neither JSON nor a message could hold."""
    inside: list[tuple[tuple[str, ...], Any]] = [((), data)]
    while inside:
        path, value = inside.pop()
        if len(path) > DEEPEST:
            raise InputError(f"{where}: {short('.'.join(path))}: nested too deep, over {DEEPEST} keys or lists")
        if torn("".join(path)) or (isinstance(value, str) and torn(value)):
            raise InputError(f"{where}: {short('.'.join(path))} = {short(value)}: must be text that UTF-8 can hold")
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        inside += [((*path, str(key)), item) for key, item in items]


def dump(case: BaseCase, names: Mapping[str, str] | None = None) -> str:
    """The case as TOML, every default filled in.

    Args:
        case: the case.
        names: paths of files that it names -> what they are to be called.
    """

    def called(file: File) -> str:
        return file.moved((names or {}).get(str(file.path), str(file.path)))

    return tomli_w.dumps(_with_files(values_of(case), called))


def files_of(case: BaseCase) -> list[File]:
    """The files that a case names."""
    found: list[File] = []

    def note(file: File) -> str:
        found.append(file)
        return file

    _with_files(values_of(case), note)
    return found


def values_of(case: BaseCase) -> dict[str, Any]:
    """The case as nested dictionaries and lists, every default filled in; what is unset is left out."""
    values: dict[str, Any] = pydantic.TypeAdapter(type(case)).dump_python(case, mode="python", exclude_none=True)
    return values


def _with_files(values: Any, change: Callable[[File], str]) -> Any:
    """Nested dictionaries and lists with what `change` makes of the files in them."""
    if isinstance(values, dict):
        return {key: _with_files(value, change) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_with_files(value, change) for value in values]
    return change(values) if isinstance(values, File) else values


def directory_of(case: BaseCase, name: str, out: str | Path | None, *, quick: bool) -> Path:
    """The folder of the result of a case with this name, unless `out` says another."""
    directory = Path(out or case.output.directory or Path("results") / name)
    return beside(directory, "_quick") if quick and not out else directory


def beside(directory: Path, ending: str) -> Path:
    """The folder whose name has an ending behind that of another one, which may be the present one or above it."""
    named = directory if directory.name not in ("", "..") else directory.resolve()
    return named.parent / f"{named.name}{ending}"


def _override(data: dict[str, Any], assignment: str) -> None:
    """Set one key by "section.key=value"."""
    key, equals, text = assignment.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise InputError(f"--set {assignment}: must be KEY=VALUE, for instance pde.step=0.005")
    assign(data, key, value_of(text, where=f"--set {assignment}"), where=f"--set {assignment}")


def value_of(text: str, *, where: str) -> Any:
    """A value of TOML, or else the text itself, a bare word.

    Args:
        text: the value.

    Keyword Args:
        where: what a message begins with.

    Raises:
        InputError: it begins like a text, a list or a table of TOML, but is none.
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # a bare word; or what no TOML file could hold either
        word = text.strip()
    if word.startswith(("[", "{", '"', "'")):
        raise InputError(f"{where}: {short(word)} must be a value as in TOML, or a bare word")
    return word


def sweep_of(texts: Iterable[str]) -> dict[str, list[Any]] | None:
    """The values of keys by "section.key=V1,V2,...", as given to --over; None where there are none.

    Raises:
        InputError: one is not of that form, or a key is there twice.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not all(key.split(".")) or not values or key in found:
            again = "; the key is there twice" if key in found else ""
            raise InputError(f"--over {text}: must be KEY=V1,V2,..., for instance model.sigma=0.5,1.0{again}")
        found[key] = [value_of(part, where=f"--over {text}") for part in _split(values)]
    return found or None


def _split(text: str) -> list[str]:
    """Parts of a text between those commas that are outside of brackets, braces and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def assign(data: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    """Set a key of nested sections and lists.

    Args:
        data: sections and keys.
        key: "section.key"; parts that are numbers count in lists from 0.
        value: what it is to be.

    Keyword Args:
        where: what a message begins with.

    Raises:
        InputError: the case has no such key.
    """
    parts, holder = key.strip().split("."), cast(Any, data)
    try:
        for part in parts[:-1]:
            holder = _item(holder, part)
        if isinstance(holder, list):
            holder[int(parts[-1])] = value
        elif isinstance(holder, dict):
            holder[parts[-1]] = value
        else:
            raise TypeError
    except (ValueError, IndexError, TypeError, AttributeError):
        raise InputError(f"{where}: the case has no such key to set") from None


def _item(holder: Any, part: str) -> Any:
    return holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})


def value_at(case: BaseCase, key: str) -> Any:
    """What a case has at a key, defaults filled in; None where it has nothing there."""
    holder: Any = values_of(case)
    for part in key.strip().split("."):
        try:
            holder = holder[int(part)] if isinstance(holder, list | tuple) else holder.get(part)
        except (ValueError, IndexError, AttributeError):
            return None
    return list(holder) if isinstance(holder, tuple) else holder
