"""All keys of the cases of a system, as Markdown: what they mean, what is allowed, their defaults.

They are read off the records that check a case (`limitpde.checked`), so they cannot differ from what is accepted.
"""

from __future__ import annotations

import json
from typing import Any

from limitpde.results.report import table
from limitpde.schema import of_records

HEADER = ["key", "meaning", "allowed", "default"]


def keys(system: str) -> str:
    """Tables of the sections of a case, then of the records that they are made of.

    Args:
        system: its name.
    """
    schema = of_records(system)
    records: dict[str, Any] = schema["$defs"]
    sections = {name: _records(value, records) for name, value in schema["properties"].items()}
    whole = {name: value for name, value in schema["properties"].items() if not sections[name]}
    parts = [f"# Keys of a case, system = {json.dumps(system)}", _table({"properties": whole}, schema)]
    shown = set()
    for name, found in sections.items():
        if len(found) == 1:
            parts += [f"## [{name}]", _table(records[found[0]], schema)]
            shown.add(found[0])
        elif found:
            choices = "; ".join(_title(record, records[record]) for record in found)
            parts += [f"## [{name}]", f"One of these, see below: {choices}."]
    for record in sorted(set(records) - shown, key=lambda name: _title(name, records[name])):
        parts += [f"## {_title(record, records[record])}", records[record].get("description", "").replace("\n", " ")]
        parts.append(_table(records[record], schema))
    return "\n\n".join(part for part in parts if part) + "\n"


def _records(value: dict[str, Any], records: dict[str, Any]) -> list[str]:
    """The records that a section may hold, by their names; none for a plain key."""
    options = [value, *value.get("anyOf", []), *value.get("oneOf", [])]
    return [name for option in options if (name := _referred(option)) in records]


def _referred(option: dict[str, Any]) -> str:
    return str(option.get("$ref", "")).rpartition("/")[2]


def _title(name: str, record: dict[str, Any]) -> str:
    """How a record is chosen in a case: by its shape or kind, if it has one."""
    for key in ("shape", "kind"):
        if "const" in record["properties"].get(key, {}):
            return f"{key} = {json.dumps(record['properties'][key]['const'])} ({_short(name)})"
    return _short(name)


def _short(name: str) -> str:
    return name.rpartition("__")[2]


def _table(record: dict[str, Any], schema: dict[str, Any]) -> str:
    """A row a key; "required" where it has no default."""
    required, rows = record.get("required", schema.get("required", [])), []
    for name, value in record["properties"].items():
        meaning = " ".join(str(value.get("description", "")).split()).replace("|", "\\|")
        default = "required" if name in required else _shown(value.get("default"))
        rows.append([f"`{name}`", meaning, _allowed(value, schema["$defs"]), default])
    return table(HEADER, rows)


def _shown(value: Any) -> str:
    return "none" if value is None else f"`{json.dumps(value)}`"


def _allowed(value: dict[str, Any], records: dict[str, Any]) -> str:
    """Types, choices and bounds in words."""
    options = value.get("anyOf") or value.get("oneOf") or [value]
    words = [_one(option, records) for option in options if option.get("type") != "null"]
    return "; ".join(dict.fromkeys(word for word in words if word))


def _one(option: dict[str, Any], records: dict[str, Any]) -> str:
    if _referred(option) in records:
        return _title(_referred(option), records[_referred(option)])
    if "oneOf" in option or "anyOf" in option:
        return _allowed(option, records)
    if "const" in option or "enum" in option:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in option.get("enum", [option.get("const")]))
    bounds = [
        f"{sign} {option[key]:g}"
        for key, sign in (
            ("exclusiveMinimum", ">"),
            ("minimum", ">="),
            ("exclusiveMaximum", "<"),
            ("maximum", "<="),
        )
        if key in option
    ]
    kind = str(option.get("type", ""))
    if kind == "array":
        inner = _allowed(option["items"], records) if "items" in option else ""
        return f"list of {inner}" if inner else "list"
    names = {"number": "number", "integer": "integer", "string": "text", "boolean": "true or false", "object": "table"}
    return " ".join([names.get(kind, kind), " and ".join(bounds)]).strip()
