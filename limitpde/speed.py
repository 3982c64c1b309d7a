"""How fast runs have been on this machine: work per second of each part, kept in the user's cache from run to run.

speed.json in limitpde/ of XDG_CACHE_HOME, or else of ~/.cache, is only for estimates: it is replaced whole, what is
damaged in it counts as absent, and a cache that cannot be written is no error.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from limitpde.results import figures

KEPT = 6
"""Measurements of a kind and size that are kept; the fastest of them counts: the others were compiled or disturbed."""
HIGHEST = 1e15
"""Work per second beyond which a number in the file is damage."""

Measured = dict[str, list[tuple[float, float]]]
"""Kind, class of size, threads and ranks -> (size, work per second of all ranks) of the latest runs, the last at the
end."""
Shipped = Sequence[tuple[float, float]]
"""(Size, work per second of one core), sizes ascending."""


def file() -> Path:
    """Where measured speeds are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limitpde" / "speed.json"


def read() -> Measured:
    """What earlier runs have measured; nothing where the file is missing or damaged."""
    try:
        found = json.loads(file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: kept for key, rows in found.items() if (kept := _sound(rows))}


def _sound(rows: object) -> list[tuple[float, float]]:
    """Those of the rows that are a size and a speed."""
    kept = []
    for row in rows if isinstance(rows, list) else []:
        numbers = isinstance(row, list) and len(row) == 2 and all(type(part) in (int, float) for part in row)
        if numbers and 0 < row[0] < math.inf and 0 < row[1] < HIGHEST:
            kept.append((float(row[0]), float(row[1])))
    return kept


def key_of(kind: str, size: float, threads: int, ranks: int) -> str:
    """What measurements of about the same size stand under."""
    return f"{kind}, size 10^{round(math.log10(max(size, 1.0)))}, {threads} threads, {ranks} ranks"


def learn(entries: Sequence[tuple[str, float, float]]) -> None:
    """Add measurements (key, size, work per second) of a run; nothing happens where the file cannot be written."""
    known = read()
    for key, size, speed in entries:
        if 0 < speed < HIGHEST:
            known[key] = [*known.get(key, []), (size, speed)][-KEPT:]
    with suppress(OSError, RuntimeError):
        figures.write_text(file(), json.dumps(known, indent=1, sort_keys=True) + "\n")


def per_second(
    known: Mapping[str, Sequence[tuple[float, float]]],
    kind: str,
    size: float,
    *,
    threads: int,
    ranks: int,
    shipped: Shipped,
) -> tuple[float, bool]:
    """Work per second of all ranks that is to be expected, and whether it was measured on this machine.

    The speed as shipped, between the sizes for which it is known, times what this machine has been faster on the
    nearest class of sizes, with as many threads and ranks where there was such a run.

    Args:
        known: what was measured.
        kind: of the work.
        size: unknowns, or particles.

    Keyword Args:
        threads: of each rank.
        ranks: how many.
        shipped: speeds of one core of another machine.
    """
    cores = threads * ranks
    here = {key: rows for key, rows in known.items() if key.startswith(f"{kind}, size ")}
    alike = {key: rows for key, rows in here.items() if key.endswith(f", {threads} threads, {ranks} ranks")}
    best: tuple[float, float] | None = None  # distance of sizes, factor
    for key, rows in (alike or here).items():
        try:
            their_threads, their_ranks = (int(part.split()[0]) for part in key.rsplit(", ", 2)[1:])
        except (ValueError, IndexError):
            continue
        size_there = rows[-1][0]
        factor = max(speed / (_shipped(shipped, there) * their_threads * their_ranks) for there, speed in rows)
        distance = abs(math.log(size_there / max(size, 1.0)))
        if best is None or distance < best[0]:
            best = distance, factor
    return cores * _shipped(shipped, size) * (1.0 if best is None else best[1]), best is not None


def _shipped(shipped: Shipped, size: float) -> float:
    sizes, speeds = np.log(np.array(shipped, dtype=float)).T
    return float(np.exp(np.interp(math.log(max(size, 1.0)), sizes, speeds)))
