"""Records whose fields are checked where they are made, by pydantic, with errors that a user can act on.

`record` turns an annotated class into a frozen, slotted, keyword-only dataclass. A wrong value raises `InputError`
naming the field, the value and what is allowed; an unknown field is an error that names the nearest known one. The same
records are what the sections of a case file are read into (`limitpde.case`), so both ways give the same messages.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
import typing
from collections.abc import Callable
from types import MappingProxyType
from typing import Annotated, Any, dataclass_transform

import pydantic
import pydantic.dataclasses
from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import ErrorDetails, PydanticCustomError

from limitpde.errors import InputError

Location = tuple[int | str, ...]

CONFIG = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
SMALLEST, LARGEST = 1e-50, 1e50
NAME = r"^[\w -]+$"
MOST_LINES, MOST_MISTAKES = 10, 200
"""Lines of a message, and mistakes that are looked at for it; of more there is only the number."""
WORDING = {
    "Input should be a valid array": "must be a list",
    "Input should be an object": "must be a section",
    "Input should be a dictionary or an instance of": "must be a section, a",
    "Input should have": "must have",
    "Input should be": "must be",
    "Input should lie": "must lie",
    "Tuple should have": "must have",
    "Dictionary should have": "must have",
    "Unable to parse input string as an integer, exceeded maximum size": "must be an integer of fewer digits",
    f"String should match pattern '{NAME}'": "must be of letters, digits, blanks, - and _",
    "a valid integer": "an integer",
    "a valid ": "a ",
}
BESIDE = "beside"
"""Marks, in what pydantic says of a record, a field whose keys stand beside those of the record in a case."""
OF_FIELDS = "\n\nArgs:\n"
"""Where a docstring of a record comes to its fields."""


def _moderate(value: float) -> float:
    if not SMALLEST <= value <= LARGEST:
        raise PydanticCustomError("moderate", f"Input should lie between {SMALLEST:g} and {LARGEST:g}")
    return value


Moderate = Annotated[float, Field(gt=0), AfterValidator(_moderate)]
"""A positive number whose powers and products are still numbers."""
Name = Annotated[str, Field(pattern=NAME)]
"""What may be part of the name of a file or a column."""
Coordinate = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""A number of either sign."""
Vector = Annotated[tuple[Coordinate, ...], Field(min_length=1)]
"""A point or a vector, (d,)."""
SpaceVector = Annotated[tuple[Coordinate, ...], Field(min_length=1, max_length=3)]
"""A point or a vector in space, (d,) with d = 1, 2, 3."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def record[T](cls: type[T]) -> type[T]:
    """Make a checked, frozen, slotted, keyword-only dataclass of an annotated class.

    Raises (the made class, when called):
        InputError: a field is missing, unknown, of the wrong type or out of range.
    """
    made: Any = pydantic.dataclasses.dataclass(cls, frozen=True, slots=True, kw_only=True, config=CONFIG)
    validate = made.__init__

    @functools.wraps(validate)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            validate(self, *args, **kwargs)
        except pydantic.ValidationError as error:
            raise InputError(explain(error, made, kwargs, where=cls.__name__)) from None

    made.__init__ = __init__
    for name, field in made.__pydantic_fields__.items():  # records derived from this one are to say the same of it
        inherited = made.__dataclass_fields__[name]
        inherited.metadata = MappingProxyType({**inherited.metadata, "description": field.description})
    made.__doc__ = _with_fields(made)
    return made


def _with_fields(made: Any) -> str:
    """The docstring of a record with what its fields are, as `help` shows it."""
    lines = []
    for name, field in made.__pydantic_fields__.items():
        about = " ".join(str(field.description or "").split()).rstrip(".")
        default = "" if field.is_required() or dataclasses.is_dataclass(field.default) else repr(field.default)
        told = f"{about}." if about else ""
        told += f" Default: {default}." if default not in ("", "None") else " Optional." if default else ""
        lines.append(f"    {name} ({made.__dataclass_fields__[name].type}): {told}".rstrip(": "))
    own = inspect.cleandoc(made.__doc__ or "").partition(OF_FIELDS)[0]
    return own + OF_FIELDS + "\n".join(lines) + "\n" if lines else own


def told_apart(kind: Callable[[Any], str | None], allowed: str, *, key: str = "shape") -> Discriminator:
    """What chooses among records by their tags, with one message for a value that is none of them.

    Args:
        kind: the tag of a value: of a dictionary that is to be checked, or of a record.
        allowed: what the message offers.

    Keyword Args:
        key: which tells the records apart, "shape" or "kind".
    """
    # no custom_error_context: Python 3.12.1 hashes the metadata of a member of a union, and a dict has no hash
    return Discriminator(kind, custom_error_type=key, custom_error_message=allowed)


def explain(error: pydantic.ValidationError, cls: type, data: Any, *, where: str) -> str:
    """One line for each wrong key: `where: key = value: what is allowed`.

    Args:
        error: what pydantic found.
        cls: the record that was to be made.
        data: the nested dictionaries and lists that were checked.
        where: the file or the class in which to look.
    """
    details = error.errors(include_url=False)
    deepest = [d for d in details if not (d["type"] == "too_short" and _has_deeper(d["loc"], details))]
    found: dict[str, list[str]] = {}
    for detail in deepest[:MOST_MISTAKES]:
        head, message = _line(detail, cls, data)
        found.setdefault(head, []).append(message)
    meant = {suggested for messages in found.values() for suggested in re.findall(r"did you mean (\w+)\?", messages[0])}
    lines: list[str] = []
    for head, messages in found.items():
        path = head.split(" = ")[0]
        if messages[0] == " is missing" and path.split(".")[-1] in meant and _sibling_unknown(path, found):
            continue
        if " = " in head and any(other.startswith(f"{path}[") for other in found):
            continue  # of a union, what fits better has said more
        first, *others = dict.fromkeys(messages)
        more = "".join(" or " + other.removeprefix(": must ").removeprefix("be ") for other in others)
        lines.append(f"{where}: {head}{first}{more}")
    unsaid = len(lines[MOST_LINES:]) + len(deepest[MOST_MISTAKES:])
    if unsaid:
        lines[MOST_LINES:] = [f"{where}: and {unsaid} more mistakes"]
    return "\n".join(lines)


def _sibling_unknown(path: str, found: dict[str, list[str]]) -> bool:
    """Whether an unknown key of the same section is taken for the missing one."""
    section, key = path.rpartition(".")[::2]
    ending = f"did you mean {key}?"
    return any(head.rpartition(".")[0] == section and m[0].endswith(ending) for head, m in found.items())


def _has_deeper(location: Location, details: list[ErrorDetails]) -> bool:
    return any(len(d["loc"]) > len(location) and d["loc"][: len(location)] == location for d in details)


def _line(detail: ErrorDetails, cls: type, data: Any) -> tuple[str, str]:
    """The key, with its value, and what is to be said of it."""
    kind, location = detail["type"], detail["loc"]
    absent = kind in ("missing", "unexpected_keyword_argument", "union_tag_not_found")
    path = _path(location, data, with_absent=absent)
    context = detail.get("ctx", {})
    match kind:
        case "missing":
            return path, " is missing"
        case "unexpected_keyword_argument":
            known = _known(cls, location[:-1])
            return path, f": unknown key{_nearest(str(location[-1]), known) or f'; known: {", ".join(known)}'}"
        case "unexpected_positional_argument":
            return short(detail["input"]), ": must be given by the name of its field"
        case "union_tag_invalid" | "shape" | "kind":
            allowed = context.get("expected_tags", detail["msg"])
            return _wrong_tag(path, detail["input"], "kind" if kind == "kind" else "shape", allowed)
        case "union_tag_not_found":
            return f"{path}.shape", " is missing"
        case "value_error":
            message = detail["msg"].removeprefix("Value error, ")
            return path, f": {message}" if path else message
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            bound, wording = next(iter(context.values())), kind.replace("_equal", " or equal to").replace("_", " ")
            shown = f"{bound:g}" if isinstance(bound, float) else bound
            return f"{path} = {short(detail['input'])}", f": must be {wording} {shown}"
    message = re.sub(r" after validation, not (\d+)", r", not \1", detail["msg"]).removesuffix(", not 0")
    for pydantics, ours in WORDING.items():
        message = message.replace(pydantics, ours)
    return f"{path} = {short(detail['input'])}", f": {message}"


def _wrong_tag(path: str, value: Any, key: str, allowed: str) -> tuple[str, str]:
    """What to say of a section whose shape or kind is none of those that there are."""
    if not isinstance(value, dict):
        return f"{path} = {short(value)}", f": must be a section with a {key}, one of {allowed}"
    if key not in value:
        return f"{path}.{key}", f" is missing: one of {allowed}"
    nearest = _nearest(str(value[key]), allowed.split())
    return f"{path}.{key} = {short(value[key])}", f": must be one of {allowed}{nearest}"


def _path(location: Location, data: Any, *, with_absent: bool) -> str:
    """The key as a user writes it, without pydantic's names of union members."""
    path = ""
    for index, part in enumerate(location):
        if isinstance(data, dict):
            present = part in data
        else:
            present = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        if present or (with_absent and index == len(location) - 1):
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
            data = data[part] if present else None
    return path


def _known(cls: type, location: Location) -> list[str]:
    """Names of the fields of the record at a location; of all records that may stand there if not told which."""
    holders: list[tuple[str, type]] = [("", cls)]
    for part in location:
        fields = [typing.get_type_hints(holder, include_extras=True).get(str(part)) for _, holder in holders]
        inner = [found for field in fields if field is not None for found in _records_in(field)]
        holders = inner or [(tag, holder) for tag, holder in holders if tag == part] or holders
    return list(dict.fromkeys(field.name for _, holder in holders for field in dataclasses.fields(holder)))


def _records_in(annotation: Any, tag: str = "") -> list[tuple[str, type]]:
    """The records that an annotation names, each with its tag in a union."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        shape = next((field.default for field in dataclasses.fields(annotation) if field.name == "shape"), "")
        return [(tag or str(shape), annotation)]
    arguments = typing.get_args(annotation)
    tag = next((argument.tag for argument in arguments if isinstance(argument, Tag)), tag)
    return [found for argument in arguments for found in _records_in(argument, tag)]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, [word.strip("',;\"") for word in known], n=1)
    return f"; did you mean {close[0]}?" if close else ""


def short(value: Any) -> str:
    """A value in a message, of 80 characters at most."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else text[:77] + "..."
