"""Records whose fields are checked where they are made, by pydantic, with errors that a user can act on.

`record` turns an annotated class into a frozen, slotted, keyword-only dataclass. A wrong value raises `InputError`
naming the field, the value and what is allowed; an unknown field is an error that names the nearest known one. The same
records are what the sections of a case file are read into (`limitpde.case`), so both ways give the same messages.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from typing import Any, dataclass_transform

import pydantic
import pydantic.dataclasses
from pydantic_core import ErrorDetails

from limitpde.errors import InputError

Location = tuple[int | str, ...]

CONFIG = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
WORDING = {
    "Input should be a valid array": "must be a list",
    "Input should be an object": "must be a section",
    "Input should be a dictionary or an instance of": "must be a section, a",
    "Input should have": "must have",
    "Input should be": "must be",
    "Tuple should have": "must have",
    " after validation, not 0": "",
    "a valid integer": "an integer",
    "a valid ": "a ",
}


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
    return made


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
    lines = [f"{where}: {_line(detail, cls, data)}" for detail in deepest]
    return "\n".join(dict.fromkeys(lines))


def _has_deeper(location: Location, details: list[ErrorDetails]) -> bool:
    return any(len(d["loc"]) > len(location) and d["loc"][: len(location)] == location for d in details)


def _line(detail: ErrorDetails, cls: type, data: Any) -> str:
    kind, location = detail["type"], detail["loc"]
    absent = kind in ("missing", "unexpected_keyword_argument", "union_tag_not_found")
    path = _path(location, data, with_absent=absent)
    context = detail.get("ctx", {})
    match kind:
        case "missing":
            return f"{path} is missing"
        case "unexpected_keyword_argument":
            known = _known(cls, location[:-1])
            return f"{path}: unknown key{_nearest(str(location[-1]), known) or f'; known: {", ".join(known)}'}"
        case "union_tag_invalid" | "shape":
            shape = detail["input"].get("shape") if isinstance(detail["input"], dict) else detail["input"]
            allowed = context.get("expected_tags", context.get("shapes", ""))
            return f"{path}.shape = {_short(shape)}: must be one of {allowed}{_nearest(str(shape), allowed.split())}"
        case "union_tag_not_found":
            return f"{path}.shape is missing"
        case "value_error":
            message = detail["msg"].removeprefix("Value error, ")
            return f"{path}: {message}" if path else message
    message = detail["msg"]
    for pydantics, ours in WORDING.items():
        message = message.replace(pydantics, ours)
    return f"{path} = {_short(detail['input'])}: {message}"


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
    """Names of the fields of the record at a location, of all records that may stand there."""
    holders = [cls]
    for part in location:
        fields = [typing.get_type_hints(holder, include_extras=True).get(str(part)) for holder in holders]
        holders = [inner for field in fields if field is not None for inner in _records_in(field)] or holders
    return [field.name for holder in holders for field in dataclasses.fields(holder)]


def _records_in(annotation: Any) -> list[type]:
    if dataclasses.is_dataclass(annotation):
        return [annotation] if isinstance(annotation, type) else []
    return [found for argument in typing.get_args(annotation) for found in _records_in(argument)]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, [word.strip("',\"") for word in known], n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
