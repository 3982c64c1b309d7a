"""Tables as CSV files: appended row by row while a run goes on, or written whole."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

Cell = str | int | float


class Table:
    """A CSV file that grows by rows; each row is on disk when `append` returns.

    Args:
        path: the file; it is begun anew.
        columns: the header; without it, the keys of the first row.
    """

    def __init__(self, path: Path, columns: Sequence[str] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._columns = path, columns
        path.write_text(",".join(columns) + "\n" if columns else "")

    def append(self, row: Mapping[str, Cell]) -> None:
        """Add a row with a value for each column."""
        self.extend([row])

    def extend(self, rows: Iterable[Mapping[str, Cell]]) -> None:
        """Add rows, each with a value for each column."""
        rows = list(rows)
        with self._path.open("a", newline="") as file:
            if self._columns is None and rows:
                self._columns = list(rows[0])
                file.write(",".join(self._columns) + "\n")
            writer = csv.DictWriter(file, self._columns or [], lineterminator="\n")
            writer.writerows({key: _exact(value) for key, value in row.items()} for row in rows)


def _exact(value: Cell) -> Cell:
    return repr(float(value)) if isinstance(value, float | np.floating) else value


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Columns of a table: numbers (NaN for an empty cell), or strings; a row cut short at the end is left out."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if None not in row.values()]
        names = reader.fieldnames or []
    return {name: _column([row[name] for row in rows]) for name in names}


def _column(cells: list[str]) -> np.ndarray:
    try:
        return np.array([float(cell or "nan") for cell in cells])
    except ValueError:
        return np.array(cells)
