"""The JSON schema of the cases of a system, read off the records that check them: for editors, and for `keys`."""

from __future__ import annotations

import copy
import json
from typing import Any

import pydantic

from limitpde import case as cases
from limitpde.checked import BESIDE, OF_FIELDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(system: str) -> str:
    """The JSON schema of the cases of a system; it refuses unknown keys. What keys must be together `check` knows.

    Args:
        system: its name.

    Raises:
        InputError: there is no such system.
    """
    found = of_records(system)
    records = found["$defs"]
    for name, record in list(records.items()):
        inner = next((key for key, value in record.get("properties", {}).items() if value.get(BESIDE)), None)
        if inner is not None:
            records[name] = _spread(record, inner, records)
    title = f"A case of limitpde, system = {json.dumps(system)}"
    return json.dumps({"$schema": DIALECT, **found, "title": title}, indent=2, ensure_ascii=False) + "\n"


def of_records(system: str) -> dict[str, Any]:
    """What pydantic says of the records of a system, whose descriptions are without those of their fields."""
    found = pydantic.TypeAdapter(cases.record_of(system)).json_schema()
    for record in (found, *found["$defs"].values()):
        if "description" in record:
            record["description"] = record["description"].partition(OF_FIELDS)[0].strip()
    return found


def _spread(record: dict[str, Any], inner: str, records: dict[str, Any]) -> dict[str, Any]:
    """A record, the keys of one of whose fields stand beside its own: one schema for each choice of that field."""
    field, choices = record["properties"][inner], []
    for option in field.get("oneOf") or field.get("anyOf") or [field]:
        choice = copy.deepcopy(records[option["$ref"].rpartition("/")[2]])
        own = {key: value for key, value in record["properties"].items() if key != inner}
        choice["properties"] = own | choice["properties"]
        choice["required"] = [*(key for key in record["required"] if key != inner), *choice.get("required", [])]
        choices.append(choice)
    return {"title": record["title"], "description": record.get("description", ""), "anyOf": choices}
