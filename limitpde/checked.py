"""Records whose fields are checked where they are made, by pydantic, with errors that a user can act on.

`record` turns an annotated class into a frozen, slotted, keyword-only dataclass. A wrong value raises `InputError` naming
the field, the value and what is allowed; an unknown field is an error that names the nearest known one. The same
records are what the sections of a case file are read into (`limitpde.case`), so both ways give the same messages.
"""

from __future__ import annotations

import difflib
import functools
from typing import Any, TypeVar, dataclass_transform

import pydantic
import pydantic.dataclasses
from pydantic_core import ErrorDetails

from limitpde.errors import InputError

T = TypeVar("T")
CONFIG = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make a checked, frozen, slotted, keyword-only dataclass of an annotated class.

    Raises (the made class, when called):
        InputError: a field is missing, unknown, of the wrong type or out of range.
    """
    made: Any = pydantic.dataclasses.dataclass(cls, frozen=True, slots=True, kw_only=True, config=CONFIG)
    validate = made.__init__

    @functools.wraps(validate)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
        except pydantic.ValidationError as error:
            raise InputError(explain(error, kwargs, where=cls.__name__)) from None

    made.__init__ = __init__
    return made  # type: ignore[no-any-return]


def explain(error: pydantic.ValidationError, data: Any, *, where: str) -> str:
    """One line for each wrong key: `where: key = value: what is allowed`.

    Args:
        error: what pydantic found.
        data: the nested dictionaries and lists that were checked.
        where: the file or the class in which to look.
    """
    lines = [f"{where}: {_line(detail, data)}" for detail in error.errors(include_url=False)]
    return "\n".join(dict.fromkeys(lines))


def _line(detail: ErrorDetails, data: Any) -> str:
    path, parent = _locate(detail["loc"], data)
    allowed = detail["msg"].removeprefix("Value error, ")
    match detail["type"]:
        case "missing":
            return f"{path} is missing" if path else allowed
        case "unexpected_keyword_argument" | "extra_forbidden":
            return f"{path}: unknown key{_nearest(detail, parent)}"
        case "value_error" | "union_tag_invalid" | "union_tag_not_found" if isinstance(detail["input"], dict):
            return f"{path}: {allowed}" if path else allowed
        case _:
            return f"{path} = {_short(detail['input'])}: {allowed}"


def _locate(location: tuple[int | str, ...], data: Any) -> tuple[str, Any]:
    """The key as a user writes it, without pydantic's names of union members, and the value that holds it."""
    path, parent = "", data
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(part, int) and isinstance(data, list | tuple):
            path += f"[{part}]"
        elif isinstance(data, dict) and (part in data or last):
            path += f".{part}" if path else str(part)
        else:
            continue
        parent = data
        try:
            data = data[part]  # type: ignore[index, call-overload]
        except (KeyError, IndexError, TypeError):
            data = None
    return path, parent


def _nearest(detail: ErrorDetails, parent: Any) -> str:
    known = detail.get("ctx", {}).get("known", [])
    close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
