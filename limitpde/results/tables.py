"""Tables as CSV files: appended row by row while a run goes on, or written whole."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

Cell = str | int | float


class Table:
    """A CSV file that grows by rows; each row is on disk when `append` returns.

    Args:
        path: the file; the first rows begin it anew.
        columns: the header.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path, self._columns, self._mode = path, columns, "w"

    def keep(self, size: int) -> None:
        """Go on with the first bytes, so many, of the file that is there."""
        os.truncate(self._path, size)
        self._mode = "a"

    def append(self, row: Mapping[str, Cell]) -> None:
        """Add a row with a value for each column."""
        self.extend([row])

    def extend(self, rows: Iterable[Mapping[str, Cell]]) -> None:
        """Add rows, each with a value for each column."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open(self._mode, newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, lineterminator="\n")
            if self._mode == "w":
                writer.writeheader()
            self._mode = "a"
            writer.writerows({key: _exact(value) for key, value in row.items()} for row in rows)


def _exact(value: Cell) -> Cell:
    return repr(float(value)) if isinstance(value, float | np.floating) else value


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Columns of a table: numbers (NaN for an empty cell), or strings; a row cut short at the end is left out."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if None not in row.values()]
        names = reader.fieldnames or []
    return {name: _column([row[name] for row in rows]) for name in names}


def _column(cells: list[str]) -> np.ndarray:
    try:
        return np.array([float(cell or "nan") for cell in cells])
    except ValueError:
        return np.array(cells)
