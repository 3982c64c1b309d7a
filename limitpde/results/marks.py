"""What a checkpoint knows of the files that grow beside it: a run goes on from them only if they still hold that.

A table is known by its first bytes, a file of fields by each of its steps: whatever is behind those, finished or torn
by a power cut, is cut off when the run goes on. All here is called on rank 0.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limitpde.results import fields
from limitpde.results.figures import sync

Mark = dict[str, Any]
"""Of a table: {"bytes": how many, "sha256": of these}. Of a file of fields: {"steps": [sha256 of each]}."""
Marks = dict[str, Mark]
"""Name of a file, relative to the folder of the result -> its mark."""


def taken(directory: Path, earlier: Mapping[str, Mark]) -> Marks:
    """The marks of all tables and fields below pde/, which are on the disk itself when this returns.

    Args:
        directory: the folder of the result.
        earlier: marks of the same files; steps in them are not read again.
    """
    marks = {}
    for path in sorted((directory / "pde").glob("*")):
        name = f"pde/{path.name}"
        if path.suffix in (".csv", ".vtkhdf"):
            sync(path)
        if path.suffix == ".csv":
            marks[name] = _table_mark(path, os.path.getsize(path))
        elif path.suffix == ".vtkhdf":
            known = earlier.get(name, {"steps": []})["steps"]
            marks[name] = {"steps": [*known, *fields.digests(path, first=len(known))]}
    if marks:
        sync(directory / "pde")
    return marks


def damaged(directory: Path, marks: Mapping[str, Mark]) -> list[str]:
    """The files that no longer hold what they did."""
    return [name for name, mark in marks.items() if not _holds(directory / name, mark)]


def _holds(path: Path, mark: Mark) -> bool:
    if not path.is_file():
        return False
    if "bytes" in mark:
        return _table_mark(path, mark["bytes"]) == mark
    try:
        return fields.digests(path, end=len(mark["steps"])) == mark["steps"]
    except Exception:  # whatever HDF5 and numpy make of a file that is damaged anywhere
        return False


def _table_mark(path: Path, size: int) -> Mark:
    with path.open("rb") as file:
        beginning = file.read(size)
    return {"bytes": len(beginning), "sha256": hashlib.sha256(beginning).hexdigest()}
