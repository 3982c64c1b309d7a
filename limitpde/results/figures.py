"""summary.json: the figures of a run, written whole or not at all, at any moment of the run."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

from limitpde.errors import InputError

Record = dict[str, Any]


def clean(value: Any) -> Any:
    """The same record without None and without numbers that are not finite: a figure that does not apply is absent.

    A list in which a number does not apply is absent as a whole: without it the others would stand in wrong places.
    """
    if isinstance(value, dict):
        cleaned = {key: clean(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item is not None}
    if isinstance(value, list | tuple):
        items = [clean(item) for item in value]
        return None if any(item is None for item in items) else items
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def draft_of(path: Path) -> Path:
    """Where this process writes a new version of a file, before that takes its place."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk itself, where a power cut leaves them."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot do so for folders
            raise
    finally:
        os.close(file)


def put_in_place(draft: Path, path: Path, *, before: Path | None = None) -> None:
    """Let a finished draft take the place of a file, so that even a power cut leaves the old one or the new one.

    Args:
        draft: the new file.
        path: the old file, if there is one.

    Keyword Args:
        before: the name that the old file gets instead of being replaced.
    """
    sync(draft)
    if before is not None and path.exists():
        os.replace(path, before)
    os.replace(draft, path)
    sync(path.parent)


def write(path: Path, figures: Record) -> None:
    """Replace the file by these figures, atomically."""
    write_text(path, json.dumps(clean(figures), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically: a reader sees the old one or the new one.

    Raises:
        OSError: it cannot be written; then nothing is left of the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = draft_of(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        put_in_place(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read(path: Path) -> Record:
    """The figures of a file.

    Raises:
        InputError: there is no such file, or it does not hold the figures of a run.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not the figures of a run ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: not the figures of a run")
    return found


def system(path: Path) -> str:
    """The system of the case that summary.json belongs to.

    Raises:
        InputError: it does not hold the figures of a run.
    """
    found = read(path).get("system")
    if not isinstance(found, str):
        raise InputError(f"{path}: not the figures of a run (system)")
    return found


def case_digest(path: Path) -> str:
    """The sha256 of the case that summary.json belongs to; empty if it does not hold that."""
    try:
        return str(read(path).get("case_sha256", ""))
    except InputError:
        return ""


def earlier(path: Path) -> tuple[list[Record], dict[str, float]]:
    """What a run that goes on is told by summary.json: `inputs`, and `wall_seconds`.

    Raises:
        InputError: it does not hold the figures of a run.
    """
    found = read(path)
    inputs, seconds = found.get("inputs", []), found.get("wall_seconds")
    if not isinstance(seconds, dict) or not all(isinstance(spent, int | float) for spent in seconds.values()):
        raise InputError(f"{path}: not the figures of a run (wall_seconds)")
    if not isinstance(inputs, list) or not all(_is_input(entry) for entry in inputs):
        raise InputError(f"{path}: not the figures of a run (inputs)")
    return inputs, seconds


def _is_input(entry: object) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("copy", "sha256"))


def which(entry: Record) -> int | str:
    """What an entry of `compare.observables` is about: the number of a test function, or the user's own name."""
    found: int | str = entry["observable" if "observable" in entry else "test_function"]
    return found
